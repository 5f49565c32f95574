"""The wire formats of OpenAI, Anthropic and Gemini, as their SDKs read and write them."""

from __future__ import annotations

import itertools
import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, NamedTuple

PICTURE_TOKENS = 258
_numbers = itertools.count(1)


class Asked(NamedTuple):
    """A request to a model, whichever API it came by."""

    model: str
    system: str
    prompt: str
    schema: Mapping[str, Any] | None
    pictures: int
    parameters: frozenset[str]
    max_tokens: int


class Invalid(Exception):
    """The request keeps not to its API."""


class Answer(NamedTuple):
    """What is sent back."""

    status: int
    body: Any
    """Something to write as JSON, or the bytes themselves."""
    headers: tuple[tuple[str, str], ...] = ()


def tokens(text: str) -> int:
    """Return how many tokens the text counts as: one for each four characters, and one."""
    return len(text) // 4 + 1


def input_tokens(asked: Asked) -> int:
    system = tokens(asked.system) if asked.system else 0
    return system + tokens(asked.prompt) + PICTURE_TOKENS * asked.pictures


def fresh_id() -> str:
    return f"{next(_numbers):012x}"


def timestamp(at: float | None = None) -> str:
    """Return the time as the APIs write it."""
    return datetime.fromtimestamp(time.time() if at is None else at, UTC).isoformat().replace("+00:00", "Z")


class Wire(ABC):
    """One API: how a request is read, and how replies and errors are written."""

    name: ClassVar[str]

    @abstractmethod
    def read(self, body: Any, model: str) -> Asked:
        """Return what is asked; `model` is that of the path. Raises `Invalid`."""

    @abstractmethod
    def reply(self, asked: Asked, text: str, ending: str, thoughts: int) -> dict[str, Any]:
        """Return a reply that ends in "stop", "cut", "null_content", "refused" or "filtered"."""

    @abstractmethod
    def error(self, kind: str, said: str = "", wait_s: float | None = None) -> Answer:
        """Return an error: "busy", "quota", "key", "model", "server_error", "unavailable" or "bad_request"."""


def _objects(schema: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        for name, inner in schema.items():
            if name in ("properties", "$defs"):
                for one in inner.values():
                    yield from _objects(one)
            elif name == "items":
                yield from _objects(inner)
            elif name in ("anyOf", "oneOf", "allOf"):
                for one in inner:
                    yield from _objects(one)


def _texts_and_pictures(content: Any, picture: str) -> tuple[list[str], int]:
    if isinstance(content, str):
        return [content], 0
    texts, pictures = [], 0
    for part in content:
        if part["type"] == "text":
            texts.append(part["text"])
        elif part["type"] == picture:
            pictures += 1
        else:
            raise Invalid(f"Invalid value: '{part['type']}'.")
    return texts, pictures


class OpenAI(Wire):
    name = "openai"

    def read(self, body: Any, model: str) -> Asked:
        system: list[str] = []
        prompt: list[str] = []
        pictures = 0
        for message in body["messages"]:
            if message["role"] not in ("system", "developer", "user", "assistant"):
                raise Invalid(f"Invalid value: '{message['role']}'.")
            texts, count = _texts_and_pictures(message["content"], "image_url")
            pictures += count
            if message["role"] == "user":
                prompt += texts
            elif message["role"] != "assistant":
                system += texts
        if not prompt:
            raise Invalid("Invalid 'messages': empty array.")
        schema = None
        if (form := body.get("response_format") or {}).get("type") == "json_schema":
            schema = form["json_schema"]["schema"]
            if form["json_schema"].get("strict"):
                self._check(form["json_schema"]["name"], schema)
        limit = body.get("max_completion_tokens") or body.get("max_tokens") or 4096
        parameters = frozenset(body)
        return Asked(body["model"], "\n".join(system), "\n".join(prompt), schema, pictures, parameters, limit)

    @staticmethod
    def _check(name: str, schema: Any) -> None:
        for one in _objects(schema):
            if one.get("type") == "object":
                if one.get("additionalProperties") is not False:
                    lacks = "'additionalProperties' is required to be supplied and to be false."
                elif sorted(one.get("required", [])) != sorted(one.get("properties", {})):
                    lacks = "'required' is required to be supplied and to be an array including every key."
                else:
                    continue
                raise Invalid(f"Invalid schema for response_format '{name}': In context=(), {lacks}")

    def reply(self, asked: Asked, text: str, ending: str, thoughts: int) -> dict[str, Any]:
        refusal = "I'm sorry, but I can't help with that." if ending == "refused" else None
        content = None if ending in ("refused", "filtered", "null_content") else text
        finish = {"cut": "length", "filtered": "content_filter"}.get(ending, "stop")
        sent, made = input_tokens(asked), tokens(content or refusal or "") + thoughts
        return {
            "id": f"chatcmpl-{fresh_id()}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": f"{asked.model}-exact",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": content, "refusal": refusal, "annotations": []},
                    "logprobs": None,
                    "finish_reason": finish,
                }
            ],
            "usage": {
                "prompt_tokens": sent,
                "completion_tokens": made,
                "total_tokens": sent + made,
                "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": thoughts, "audio_tokens": 0},
            },
            "service_tier": "default",
            "system_fingerprint": None,
        }

    def error(self, kind: str, said: str = "", wait_s: float | None = None) -> Answer:
        headers = [("x-request-id", f"req_{fresh_id()}")]
        if wait_s is not None:
            headers += [("retry-after", str(math.ceil(wait_s))), ("retry-after-ms", str(math.ceil(wait_s * 1000)))]
        status, type_, code, message = {
            "busy": (429, "requests", "rate_limit_exceeded", "Rate limit reached on requests per min (RPM)."),
            "quota": (
                429,
                "insufficient_quota",
                "insufficient_quota",
                "You exceeded your current quota, please check your plan and billing details.",
            ),
            "key": (401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided: ****."),
            "model": (404, "invalid_request_error", "model_not_found", "The model does not exist."),
            "missing": (404, "invalid_request_error", None, "No such object."),
            "server_error": (500, "server_error", None, "The server had an error while processing your request."),
            "unavailable": (503, "server_error", None, "The server is overloaded or not ready yet."),
            "refuses": (400, "invalid_request_error", "unsupported_parameter", f"Unsupported parameter: '{said}'."),
            "bad_request": (400, "invalid_request_error", None, "Invalid 'messages'."),
        }[kind]
        if kind == "refuses":
            message = f"Unsupported parameter: '{said}' is not supported with this model."
        elif said:
            message = said
        param = {"refuses": said, "bad_request": "messages", "model": "model"}.get(kind)
        body = {"error": {"message": message, "type": type_, "param": param, "code": code}}
        return Answer(status, body, tuple(headers))


class Anthropic(Wire):
    name = "anthropic"

    _UNSUPPORTED: ClassVar = ("minimum", "maximum", "multipleOf", "minLength", "maxLength", "maxItems", "uniqueItems")

    def read(self, body: Any, model: str) -> Asked:
        system, _ = _texts_and_pictures(body.get("system") or [], "image")
        prompt: list[str] = []
        pictures = 0
        for message in body["messages"]:
            if message["role"] not in ("user", "assistant"):
                raise Invalid("messages: Unexpected role. The Messages API has a top-level `system` parameter.")
            texts, count = _texts_and_pictures(message["content"], "image")
            pictures += count
            if message["role"] == "user":
                prompt += texts
        if not prompt:
            raise Invalid("messages: at least one message is required")
        if "max_tokens" not in body:
            raise Invalid("max_tokens: Field required")
        schema = None
        form = (body.get("output_config") or {}).get("format")
        if form:
            schema = form["schema"]
            self._check(schema)
        parameters = frozenset(body)
        return Asked(
            body["model"], "\n".join(system), "\n".join(prompt), schema, pictures, parameters, body["max_tokens"]
        )

    def _check(self, schema: Any) -> None:
        where = "output_config.format.schema"
        for one in _objects(schema):
            kind = one.get("type")
            if kind == "object" and one.get("additionalProperties") is not False:
                raise Invalid(f"{where}: For 'object' type, 'additionalProperties' must be explicitly set to false")
            for name in self._UNSUPPORTED:
                if name in one:
                    raise Invalid(f"{where}: For '{kind}' type, property '{name}' is not supported")
            if one.get("minItems", 0) > 1:
                raise Invalid(f"{where}: For 'array' type, 'minItems' values other than 0 or 1 are not supported")

    def reply(self, asked: Asked, text: str, ending: str, thoughts: int) -> dict[str, Any]:
        empty = ending in ("refused", "null_content")
        details = {"type": "refusal", "category": None, "explanation": None} if ending == "refused" else None
        return {
            "id": f"msg_{fresh_id()}",
            "type": "message",
            "role": "assistant",
            "model": f"{asked.model}-exact",
            "content": [] if empty else [{"type": "text", "text": text, "citations": None}],
            "stop_reason": {"cut": "max_tokens", "refused": "refusal"}.get(ending, "end_turn"),
            "stop_sequence": None,
            "stop_details": details,
            "container": None,
            "usage": {
                "input_tokens": input_tokens(asked),
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "output_tokens": tokens("" if empty else text) + thoughts,
                "service_tier": "standard",
            },
        }

    def error(self, kind: str, said: str = "", wait_s: float | None = None) -> Answer:
        id_ = f"req_{fresh_id()}"
        headers = [("request-id", id_)]
        if wait_s is not None:
            headers.append(("retry-after", f"{wait_s:g}"))
        status, type_, message = {
            "busy": (429, "rate_limit_error", "This request would exceed the rate limit for your organization."),
            "quota": (
                400,
                "invalid_request_error",
                "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing.",
            ),
            "quota_billing": (402, "billing_error", "There is an issue with your billing or payment information."),
            "quota_spend_limit": (429, "rate_limit_error", "You have reached your specified API usage limits."),
            "key": (401, "authentication_error", "invalid x-api-key"),
            "model": (404, "not_found_error", "model: no such model"),
            "missing": (404, "not_found_error", "Not found"),
            "server_error": (500, "api_error", "Internal server error"),
            "unavailable": (529, "overloaded_error", "Overloaded"),
            "refuses": (400, "invalid_request_error", f"`{said}` is not supported for this model."),
            "filtered": (400, "invalid_request_error", "Output blocked by content filtering policy"),
            "bad_request": (400, "invalid_request_error", "messages.0.content: Input should be valid"),
        }[kind]
        error: dict[str, Any] = {"type": type_, "message": said if said and kind != "refuses" else message}
        if kind == "quota_spend_limit":
            error["details"] = {"error_code": "enforced_spend_limit_reached"}
        return Answer(status, {"type": "error", "error": error, "request_id": id_}, tuple(headers))


def either(of: Mapping[str, Any], name: str, default: Any = None) -> Any:
    """Return a field of Gemini's, whose names may be written in both ways."""
    if name in of:
        return of[name]
    return of.get("".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name), default)


class Gemini(Wire):
    name = "gemini"

    def read(self, body: Any, model: str) -> Asked:
        prompt: list[str] = []
        pictures = 0
        for content in body["contents"]:
            if content.get("role", "user") != "user":
                continue
            for part in content["parts"]:
                if "text" in part:
                    prompt.append(part["text"])
                elif either(part, "inlineData") or either(part, "fileData"):
                    pictures += 1
                else:
                    raise Invalid("Invalid JSON payload received. Unknown name at 'contents[0].parts[0]'.")
        if not prompt:
            raise Invalid("* GenerateContentRequest.contents: contents is not specified")
        system = [part["text"] for part in either(body, "systemInstruction", {"parts": []})["parts"]]
        config = either(body, "generationConfig", {})
        schema = either(config, "responseJsonSchema") or either(config, "responseSchema")
        if schema and either(config, "responseMimeType") != "application/json":
            raise Invalid("* GenerateContentRequest.generation_config.response_mime_type: must be application/json")
        limit = either(config, "maxOutputTokens", 8192)
        parameters = frozenset(body) | frozenset(config)
        return Asked(model, "\n".join(system), "\n".join(prompt), schema, pictures, parameters, limit)

    def reply(self, asked: Asked, text: str, ending: str, thoughts: int) -> dict[str, Any]:
        sent = input_tokens(asked)
        usage: dict[str, Any] = {"promptTokenCount": sent}
        reply: dict[str, Any] = {"usageMetadata": usage, "modelVersion": f"{asked.model}-exact"}
        reply["responseId"] = fresh_id()
        made = 0
        if ending == "refused":
            reply["promptFeedback"] = {"blockReason": "PROHIBITED_CONTENT"}
        elif ending == "filtered":
            reply["candidates"] = [{"finishReason": "SAFETY", "index": 0}]
        elif ending == "null_content":  # the count of no tokens is left out, as zeros are
            reply["candidates"] = [{"content": {"role": "model"}, "finishReason": "STOP", "index": 0}]
        else:
            content = {"parts": [{"text": text}], "role": "model"}
            finish = "MAX_TOKENS" if ending == "cut" else "STOP"
            reply["candidates"] = [{"content": content, "finishReason": finish, "index": 0}]
            usage["candidatesTokenCount"] = made = tokens(text)
        if thoughts:
            usage["thoughtsTokenCount"] = thoughts
        usage["totalTokenCount"] = sent + made + thoughts
        return reply

    def error(self, kind: str, said: str = "", wait_s: float | None = None) -> Answer:
        quota = "You exceeded your current quota, please check your plan and billing details."
        status, name, message = {
            "busy": (429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."),
            "quota": (429, "RESOURCE_EXHAUSTED", quota),
            "key": (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
            "model": (404, "NOT_FOUND", "The model is not found or is not supported for generateContent."),
            "missing": (404, "NOT_FOUND", "Requested entity was not found."),
            "server_error": (500, "INTERNAL", "An internal error has occurred. Please retry."),
            "unavailable": (503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
            "refuses": (400, "INVALID_ARGUMENT", f"{said} is not supported for this model."),
            "bad_request": (400, "INVALID_ARGUMENT", "Request contains an invalid argument."),
        }[kind]
        details: list[dict[str, Any]] = []
        if kind == "key":
            reason = {"reason": "API_KEY_INVALID", "domain": "googleapis.com"}
            details.append({"@type": "type.googleapis.com/google.rpc.ErrorInfo", **reason})
        if kind == "quota" or (kind == "busy" and wait_s is not None):
            message = quota
            span = "Day" if kind == "quota" else "Minute"
            violation = {
                "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
                "quotaId": f"GenerateRequestsPer{span}PerProjectPerModel-FreeTier",
            }
            details.append({"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]})
            wait_s = 1.5 if wait_s is None else wait_s  # it is told even where only the next day helps
            details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{wait_s:.9g}s"})
        error: dict[str, Any] = {"code": status, "message": said if said and kind != "refuses" else message}
        error["status"] = name
        if details:
            error["details"] = details
        return Answer(status, {"error": error})


WIRES: dict[str, Wire] = {wire.name: wire for wire in (OpenAI(), Anthropic(), Gemini())}


def as_bytes(answer: Answer, *, close: bool = False) -> bytes:
    """Return the answer as HTTP."""
    kind = "application/octet-stream"
    body = answer.body
    if not isinstance(body, bytes):
        kind, body = "application/json", json.dumps(body, ensure_ascii=False).encode()
    head = f"HTTP/1.1 {answer.status} {_PHRASES.get(answer.status, 'Error')}\r\nContent-Type: {kind}\r\n"
    for name, value in answer.headers:
        head += f"{name}: {value}\r\n"
    head += f"Content-Length: {len(body)}\r\n{'Connection: close' if close else 'Connection: keep-alive'}\r\n\r\n"
    return head.encode("latin-1") + body


_PHRASES = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}
