"""The wire format of OpenAI, as its SDK reads and writes it."""

from __future__ import annotations

import math
import time
from typing import Any

from llm_wire import Answer, Asked, Invalid, Wire, fresh_id, input_tokens, objects_in, texts_and_pictures, tokens


class OpenAI(Wire):
    name = "openai"

    def read(self, body: Any, model: str) -> Asked:
        system: list[str] = []
        prompt: list[str] = []
        pictures = 0
        for message in body["messages"]:
            if message["role"] not in ("system", "developer", "user", "assistant"):
                raise Invalid(f"Invalid value: '{message['role']}'.")
            texts, count = texts_and_pictures(message["content"], "image_url")
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
        for one in objects_in(schema):
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
