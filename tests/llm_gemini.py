"""The wire format of Gemini, as its SDK reads and writes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_wire import Answer, Asked, Invalid, Wire, fresh_id, input_tokens, tokens


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
