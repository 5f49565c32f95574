"""Keys of APIs stay in the environment."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from generating import write_curated
from llm_server import running
from predicting import shelfqa

for package in ("openai", "anthropic", "google.genai"):
    pytest.importorskip(package)

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

KEY = "sk-secret-0123456789abcdef"
MODELS = {"openai": "gpt-4o-mini", "anthropic": "claude-next", "gemini": "gemini-2.5-flash"}


@pytest.mark.parametrize("name", MODELS)
def test_no_key_is_written_anywhere(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    curated = write_curated(tmp_path / "curated", 6)
    out = tmp_path / "out"
    with running(key=KEY) as server:
        where = ("--provider", name, "--model", MODELS[name], "--base-url", server.url(name), "--out", out)
        monkeypatch.setenv(f"{name.upper()}_API_KEY", KEY + "-wrong")
        assert shelfqa("generate", curated, *where) == 2
        assert "is not accepted" in capfd.readouterr().err
        monkeypatch.setenv(f"{name.upper()}_API_KEY", KEY)
        assert shelfqa("generate", curated, *where) == 0
    told = capfd.readouterr()
    written = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert {"manifest.json", "questions.parquet", "failures.parquet", "replies.sqlite"} <= {p.name for p in written}
    assert not [path for path, data in written.items() if KEY.encode() in data]
    assert KEY not in told.out + told.err + caplog.text
