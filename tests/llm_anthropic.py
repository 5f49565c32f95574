"""The wire format of Anthropic, as its SDK reads and writes it."""

from __future__ import annotations

from typing import Any, ClassVar

from llm_wire import Answer, Asked, Invalid, Wire, fresh_id, input_tokens, objects_in, texts_and_pictures, tokens


class Anthropic(Wire):
    name = "anthropic"

    _UNSUPPORTED: ClassVar = ("minimum", "maximum", "multipleOf", "minLength", "maxLength", "maxItems", "uniqueItems")

    def read(self, body: Any, model: str) -> Asked:
        system, _ = texts_and_pictures(body.get("system") or [], "image")
        prompt: list[str] = []
        pictures = 0
        for message in body["messages"]:
            if message["role"] not in ("user", "assistant"):
                raise Invalid("messages: Unexpected role. The Messages API has a top-level `system` parameter.")
            texts, count = texts_and_pictures(message["content"], "image")
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
        for one in objects_in(schema):
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
