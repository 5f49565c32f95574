"""A model hub on this machine that takes uploads, for tests of what pushes to it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import NamedTuple

import pytest

from local_server import serving

TOKEN = "hf_of_a_test"
OWNER = "me"


class Hub(NamedTuple):
    """What has been pushed, and how the hub behaves."""

    repositories: dict[str, dict[str, bytes]]
    """Files by their paths, by repository."""
    private: dict[str, bool]
    role: list[str]
    """What the token may: write, or read; the last counts."""
    requests: list[str]


@contextmanager
def hub_server(patch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Serve a hub, and let the hub's client talk to it with a token."""
    from huggingface_hub import constants

    hub = Hub({}, {}, ["write"], [])
    with serving(_handler(hub)) as address:
        patch.setattr(constants, "ENDPOINT", address)
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        patch.setenv("HF_TOKEN", TOKEN)
        yield hub


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hub.requests.append(f"GET {self.path}")
            if self.path.startswith("/api/whoami-v2"):
                self._answer({"name": OWNER, "type": "user", "auth": {"accessToken": {"role": hub.role[-1]}}})
            else:
                self._answer({"error": "Not found"}, 404)

        def do_POST(self) -> None:
            hub.requests.append(f"POST {self.path}")
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = self.path.partition("?")[0].split("/")
            if self.path == "/api/repos/create":
                self._create(json.loads(body))
            elif self.path == "/api/validate-yaml":
                self._answer({"errors": [], "warnings": []})
            elif parts[-2] == "preupload":
                files = [file | {"uploadMode": "regular", "shouldIgnore": False} for file in json.loads(body)["files"]]
                self._answer({"files": files})
            elif parts[-2] == "commit":
                self._commit("/".join(parts[3:5]), body)
            else:
                self._answer({"error": "Not found"}, 404)

        def _create(self, wanted: dict[str, str | bool | None]) -> None:
            name = f"{wanted['organization'] or OWNER}/{wanted['name']}"
            if not name.startswith(f"{OWNER}/"):
                self._answer({"error": "You don't have the rights to create a model under this namespace"}, 403)
                return
            hub.repositories.setdefault(name, {})
            hub.private[name] = wanted.get("private") is True or wanted.get("visibility") == "private"
            self._answer({"url": f"http://{self.headers['Host']}/{name}", "name": name, "id": name})

        def _commit(self, name: str, body: bytes) -> None:
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    hub.repositories[name][entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            address = f"http://{self.headers['Host']}/{name}/commit/0"
            self._answer({"success": True, "commitOid": "0" * 40, "commitUrl": address, "hookOutput": ""})

        def _answer(self, values: dict[str, object], status: int = 200) -> None:
            if self.headers.get("Authorization") != f"Bearer {TOKEN}" and self.path != "/api/validate-yaml":
                values, status = {"error": "Invalid credentials"}, 401
            data = json.dumps(values).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    return Handler
