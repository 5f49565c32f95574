"""The test server of models takes batches from the SDKs as their own servers do, and lets them fail as it is told."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import Mapping
from typing import Any

import pytest

from llm_clients import (
    MODEL,
    PROVIDERS,
    SCHEMA,
    Clients,
    anthropic,
    arguments,
    clients,
    genai,
    openai,
    process,
    server,
    shared_clients,
)
from llm_faults import say
from llm_server import Server

__all__ = ["clients", "process", "server", "shared_clients"]  # the fixtures
pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


def run_batch(
    clients: Clients, server: Server, provider: str, prompts: Mapping[str, str]
) -> tuple[str, dict[str, str], str]:
    """Hand in a batch, wait, and return how it ended, how each request did, and its id."""
    bodies = {id_: arguments(provider, prompt, schema=SCHEMA) for id_, prompt in prompts.items()}
    deadline = time.monotonic() + 5
    if provider == "openai":
        url = "/v1/chat/completions"
        lines = [{"custom_id": id_, "method": "POST", "url": url, "body": body} for id_, body in bodies.items()]
        content = "".join(json.dumps(line) + "\n" for line in lines).encode()
        file = clients.openai.files.create(file=("in.jsonl", content), purpose="batch")
        batches = clients.openai.batches
        metadata = {"name": "mine"}
        batch = batches.create(input_file_id=file.id, endpoint=url, completion_window="24h", metadata=metadata)
        assert batch.status == "in_progress"
        assert next(iter(batches.list(limit=1))).metadata == {"name": "mine"}
        while batch.status == "in_progress" and time.monotonic() < deadline:
            batch = batches.retrieve(batch.id)
            time.sleep(0.01)
        results = {}
        for output in (batch.output_file_id, batch.error_file_id):
            for line in clients.openai.files.content(output).text.splitlines() if output else []:
                one = json.loads(line)
                body = one["response"] and one["response"]["body"]
                if body and "choices" in body:
                    results[one["custom_id"]] = body["choices"][0]["message"]["content"]
                else:
                    results[one["custom_id"]] = one["error"]["code"] if one["error"] else body["error"]["type"]
        return batch.status, results, batch.id
    if provider == "anthropic":
        batches = clients.anthropic.messages.batches
        batch = batches.create(requests=[{"custom_id": id_, "params": body} for id_, body in bodies.items()])
        assert next(iter(batches.list(limit=1))).id == batch.id
        while batch.processing_status != "ended" and time.monotonic() < deadline:
            batch = batches.retrieve(batch.id)
            time.sleep(0.01)
        results = {}
        for one in batches.results(batch.id):
            ok = one.result.type == "succeeded"
            results[one.custom_id] = one.result.message.content[0].text if ok else one.result.type
        return batch.processing_status, results, batch.id
    lines = []
    for id_, prompt in prompts.items():
        config = {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}
        contents = [{"role": "user", "parts": [{"text": prompt}]}]
        lines.append({"key": id_, "request": {"contents": contents, "generationConfig": config}})
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    file = clients.gemini.files.upload(file=io.BytesIO(content), config={"mime_type": "jsonl", "display_name": "in"})
    assert file.size_bytes == len(content)
    batch = clients.gemini.batches.create(model=MODEL, src=file.name, config={"display_name": "mine"})
    assert clients.gemini.batches.list(config={"page_size": 1}).page[0].display_name == "mine"
    while not batch.done and time.monotonic() < deadline:
        batch = clients.gemini.batches.get(name=batch.name)
        time.sleep(0.01)
    results = {}
    if batch.dest:
        for line in clients.gemini.files.download(file=batch.dest.file_name).splitlines():
            one = json.loads(line)
            ok = "response" in one
            text = one["response"]["candidates"][0]["content"]["parts"][0]["text"] if ok else one["error"]["code"]
            results[one["key"]] = text
    return batch.state.value, results, batch.name


ENDED = {"openai": "completed", "anthropic": "ended", "gemini": "JOB_STATE_SUCCEEDED"}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_batch(server: Server, clients: Clients, provider: str) -> None:
    server.settings(batch_s=0.1)
    prompts = {f"id-{i}": f"prompt {i}" for i in range(5)}
    state, results, _ = run_batch(clients, server, provider, prompts)
    assert state == ENDED[provider]
    assert results == {id_: say(prompt, "", SCHEMA, 0) for id_, prompt in prompts.items()}
    log = server.log()
    assert log["paid"] == {"1": 5}
    assert log["sources"] == {f"{provider} batch": 5}
    assert log["batch_calls"][f"{provider} create"] == 1


@pytest.mark.parametrize("provider", PROVIDERS)
def test_batch_of_which_some_fail(server: Server, clients: Clients, provider: str) -> None:
    server.settings(batch_errored=0.3, batch_expired=0.3, batch_s=0.02)
    prompts = {f"id-{i}": f"prompt {i}" for i in range(60)}
    state, results, _ = run_batch(clients, server, provider, prompts)
    errored, expired = {"openai": ("server_error", "batch_expired"), "anthropic": ("errored", "expired")}.get(
        provider, (13, 4)
    )
    assert state == {"openai": "expired"}.get(provider, ENDED[provider])
    said: list[object] = list(results.values())
    assert len(said) == 60
    assert 8 < said.count(errored) < 28
    assert 8 < said.count(expired) < 28
    assert server.log()["paid"] == {"1": 60 - said.count(errored) - said.count(expired)}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_batch_that_fails_and_batch_that_expires(server: Server, clients: Clients, provider: str) -> None:
    server.settings(batches_fail=1, batches_expire=1, batch_part_done=0.5, batch_s=0.02)
    prompts = {f"id-{i}": f"prompt {i}" for i in range(4)}
    failed, results, id_ = run_batch(clients, server, provider, prompts)
    assert failed == {"openai": "failed", "anthropic": "ended", "gemini": "JOB_STATE_FAILED"}[provider]
    assert results == (dict.fromkeys(prompts, "errored") if provider == "anthropic" else {})
    if provider == "openai":
        assert clients.openai.batches.retrieve(id_).errors.data[0].code == "token_limit_exceeded"
    expired, results, _ = run_batch(clients, server, provider, prompts)
    assert expired == {"openai": "expired", "anthropic": "ended", "gemini": "JOB_STATE_EXPIRED"}[provider]
    assert sum(text.startswith("{") for text in results.values()) == (0 if provider == "gemini" else 2)
    ended, results, _ = run_batch(clients, server, provider, prompts)
    assert ended == ENDED[provider]
    assert len(results) == 4


def test_batch_whose_making_is_not_heard_of(server: Server, clients: Clients) -> None:
    server.settings(batch_creates_lost=1, batch_s=0.02)
    with pytest.raises(anthropic.APIConnectionError):
        run_batch(clients, server, "anthropic", {"id-1": "prompt"})
    assert len(clients.anthropic.messages.batches.list().data) == 1
    server.settings(batch_calls_fail=1.0)
    with pytest.raises(openai.InternalServerError):
        clients.openai.batches.list()


def test_batches_of_gemini_inline_and_late(server: Server, clients: Clients) -> None:
    server.settings(batch_output_late_s=0.1)
    contents = [{"role": "user", "parts": [{"text": "prompt"}]}]
    batches = clients.gemini.batches
    name = batches.create(model=MODEL, src=[{"contents": contents, "metadata": {"key": "id-1"}}]).name
    while not (batch := batches.get(name=name)).done:
        time.sleep(0.01)
    assert batch.state.value == "JOB_STATE_SUCCEEDED"
    assert batch.dest is None
    time.sleep(0.11)
    (one,) = batches.get(name=name).dest.inlined_responses
    assert one.metadata == {"key": "id-1"}
    assert one.response.text == say("prompt", "", None, 0)


def test_lists_of_batches_go_on(server: Server, clients: Clients) -> None:
    requests = [{"custom_id": "a", "params": arguments("anthropic", "prompt")}]
    ids = [clients.anthropic.messages.batches.create(requests=requests).id for _ in range(5)]
    assert [one.id for one in clients.anthropic.messages.batches.list(limit=2)] == ids[::-1]
    inlined = [{"contents": [{"role": "user", "parts": [{"text": "prompt"}]}]}]
    names = [clients.gemini.batches.create(model=MODEL, src=inlined).name for _ in range(3)]
    assert [one.name for one in clients.gemini.batches.list(config={"page_size": 2})] == names[::-1]


def test_async_batch_clients(server: Server) -> None:
    async def through_all() -> list[Any]:
        client = genai.Client(vertexai=False, api_key="k", http_options={"base_url": server.url("gemini")})
        content = json.dumps({"key": "a", "request": {"contents": [{"parts": [{"text": "prompt"}]}]}}).encode()
        file = await client.aio.files.upload(file=io.BytesIO(content), config={"mime_type": "jsonl"})
        batch = await client.aio.batches.create(model=MODEL, src=file.name)
        while not (batch := await client.aio.batches.get(name=batch.name)).done:
            await asyncio.sleep(0.01)
        results = await client.aio.files.download(file=batch.dest.file_name)
        await client.aio.aclose()
        client.close()
        async with anthropic.AsyncAnthropic(base_url=server.url("anthropic"), api_key="k") as other:
            requests = [{"custom_id": "a", "params": arguments("anthropic", "prompt")}]
            made = await other.messages.batches.create(requests=requests)
            while (await other.messages.batches.retrieve(made.id)).processing_status != "ended":
                await asyncio.sleep(0.01)
            ended = [one async for one in await other.messages.batches.results(made.id)]
        async with openai.AsyncOpenAI(base_url=server.url("openai"), api_key="k") as third:
            uploaded = await third.files.create(file=("in.jsonl", b"{}"), purpose="batch")
            downloaded = await third.files.content(uploaded.id)
        return [json.loads(results)["key"], ended[0].custom_id, downloaded.text]

    assert asyncio.run(through_all()) == ["a", "a", "{}"]
