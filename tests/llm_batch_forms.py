"""A batch of requests, and how OpenAI, Anthropic and Gemini write it and its endings."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from llm_faults import Settings
from llm_wire import Wire, timestamp

DAY_S = 86_400
_RPC_CODES = {400: 3, 404: 5, 429: 8, 500: 13, 503: 14}


class Ending(NamedTuple):
    """How a request in a batch ended."""

    kind: Literal["ok", "errored", "expired"]
    status: int
    body: Any


@dataclass
class Batch:
    id: str
    wire: Wire
    number: int
    model: str
    about: dict[str, Any]
    items: list[tuple[str, Any]]
    """The id and body of each request; empty when all are answered."""
    total: int
    at: float = field(default_factory=time.time)
    started: float = field(default_factory=time.monotonic)
    state: Literal["working", "done", "failed", "expired"] = "working"
    ended: float | None = None
    """When, in seconds since 1970."""
    errors: list[dict[str, Any]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    results: list[tuple[str, Ending]] = field(default_factory=list)
    output: str | None = None
    error_output: str | None = None


def gemini_ending(ending: Ending) -> dict[str, Any]:
    if ending.kind == "ok":
        return {"response": ending.body}
    if ending.kind == "expired":
        return {"error": {"code": 4, "message": "The request expired."}}
    return {"error": {"code": _RPC_CODES.get(ending.status, 2), "message": ending.body["error"]["message"]}}


def written(batch: Batch, settings: Settings) -> dict[str, Any]:
    """Return the batch as its API writes it."""
    return {"openai": _openai_batch, "anthropic": _anthropic_batch, "gemini": _gemini_batch}[batch.wire.name](
        batch, settings
    )


def _done(batch: Batch, settings: Settings) -> int:
    """Return how many requests have an answer, as far as is told while the batch is under way."""
    if batch.ended is not None:
        return batch.counts["ok"]
    share = (time.monotonic() - batch.started) / settings.batch_s if settings.batch_s else 1.0
    return min(batch.total - 1, int(batch.total * share)) if batch.total else 0


def _openai_batch(batch: Batch, settings: Settings) -> dict[str, Any]:
    at = int(batch.at)
    ended = None if batch.ended is None else int(batch.ended)
    status = {"working": "in_progress", "done": "completed"}.get(batch.state, batch.state)
    failed_whole = batch.state == "failed"
    errored = 0 if failed_whole else batch.counts["errored"]
    total = 0 if failed_whole else batch.total
    return {
        "id": batch.id,
        "object": "batch",
        "completion_window": "24h",
        "created_at": at,
        "expires_at": at + DAY_S,
        "in_progress_at": None if failed_whole else at,
        "finalizing_at": ended if batch.state == "done" else None,
        "completed_at": ended if batch.state == "done" else None,
        "failed_at": ended if failed_whole else None,
        "expired_at": ended if batch.state == "expired" else None,
        "cancelling_at": None,
        "cancelled_at": None,
        "status": status,
        "errors": {"object": "list", "data": batch.errors} if batch.errors else None,
        "output_file_id": batch.output,
        # for a batch without errors the API was seen to say "" rather than null
        "error_file_id": batch.error_output or ("" if batch.state == "done" else None),
        "request_counts": {"total": total, "completed": _done(batch, settings), "failed": errored},
        **batch.about,
    }


def _anthropic_batch(batch: Batch, settings: Settings) -> dict[str, Any]:
    ended = batch.ended is not None
    counts = {
        "processing": 0 if ended else batch.total,
        "succeeded": batch.counts["ok"] if ended else 0,
        "errored": batch.counts["errored"] if ended else 0,
        "canceled": 0,
        "expired": batch.counts["expired"] if ended else 0,
    }
    return {
        "id": batch.id,
        "type": "message_batch",
        "processing_status": "ended" if ended else "in_progress",
        "request_counts": counts,
        "created_at": timestamp(batch.at),
        "expires_at": timestamp(batch.at + DAY_S),
        "ended_at": timestamp(batch.ended) if batch.ended is not None else None,
        "cancel_initiated_at": None,
        "archived_at": None,
        "results_url": f"http://{batch.about['host']}/v1/messages/batches/{batch.id}/results" if ended else None,
    }


def _gemini_batch(batch: Batch, settings: Settings) -> dict[str, Any]:
    done, errored = _done(batch, settings), batch.counts["errored"] + batch.counts["expired"]
    stats = {"requestCount": batch.total, "successfulRequestCount": done}
    if batch.ended is None:
        stats["pendingRequestCount"] = batch.total - done
    elif batch.state == "done":
        stats["failedRequestCount"] = errored
    state = {"working": "RUNNING", "done": "SUCCEEDED", "failed": "FAILED", "expired": "EXPIRED"}[batch.state]
    metadata: dict[str, Any] = {
        "@type": "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch",
        "model": f"models/{batch.model}",
        **batch.about,
        "createTime": timestamp(batch.at),
        "updateTime": timestamp(batch.ended or batch.at),
        "batchStats": {name: str(count) for name, count in stats.items() if count},
        "state": f"BATCH_STATE_{state}",
        "name": batch.id,
    }
    operation: dict[str, Any] = {"name": batch.id, "metadata": metadata}
    if batch.ended is None:
        return operation
    metadata["endTime"] = timestamp(batch.ended)
    operation["done"] = True
    if batch.state == "failed":
        operation["error"] = {"code": 8, "message": batch.errors[0]["message"]}
    elif batch.state == "done" and time.time() - batch.ended >= settings.batch_output_late_s:
        if batch.output:
            output: dict[str, Any] = {"responsesFile": batch.output}
        else:
            inlined = []
            for note, ending in batch.results:
                metadata_of = {} if (kept := json.loads(note)) is None else {"metadata": kept}
                inlined.append(gemini_ending(ending) | metadata_of)
            output = {"inlinedResponses": {"inlinedResponses": inlined}}
        metadata["output"] = output
        kind = "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatchOutput"
        operation["response"] = {"@type": kind, **output}
    return operation


def item_ending(status: int, body: Any, *, expired: bool) -> Ending:
    """Return how a request of a batch ended, from what its asking was answered with."""
    if expired:
        return Ending("expired", 0, None)
    return Ending("ok" if status == 200 else "errored", status, body)
