"""Runs of `shelfqa predict` that are killed at random moments, and started again."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import torch

from local_server import serving
from predicting import assert_same_answers, forked, rows_of, shelfqa, table
from shelfqa.artifacts import write_parquet
from shelfqa.models import answering
from tiny_chat import idefics3
from tiny_models import mini_checkpoint, questions_artifact

Finished = dict[str, tuple[int, int]]


def finished_parts(out: Path) -> Finished:
    """Which parts there are, with what changes if one is written again."""
    states = ((file.name, file.stat()) for file in (out / ".work" / "parts").glob("*.parquet"))
    return {name: (state.st_ino, state.st_mtime_ns) for name, state in states}


def part_names(count: int) -> list[str]:
    return [f"part-{number:06d}.parquet" for number in range(count)]


def killed(child: int) -> bool:
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return questions_artifact(tmp_path_factory.mktemp("data"), products=36)


@pytest.mark.parametrize("make", [mini_checkpoint, idefics3])
def test_killed_at_random_it_goes_on(
    make: Callable[[Path], Path], questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "PART_QUESTIONS", 4)
    model = make(tmp_path / make.__name__)
    options = ["--questions", questions, "--model", model, "--device", "cpu", "--max-new-tokens", 5]
    options += ["--splits", "train", "--splits", "test", "--shuffle-images"]
    assert shelfqa("predict", *options, "--out", tmp_path / "whole") == 0

    written: list[str] = []

    def noted(path: Path, values: Any) -> None:
        written.append(path.name)
        write_parquet(path, values)
        time.sleep(0.05)

    monkeypatch.setattr(answering, "write_parquet", noted)
    generator = random.Random(make.__name__)
    out, before = tmp_path / "killed", Finished()
    for _ in range(4):
        child = forked("predict", *options, "--out", out)
        while len(finished_parts(out)) == len(before):
            time.sleep(0.001)
        time.sleep(generator.uniform(0, 0.1))
        assert killed(child)
        after = finished_parts(out)
        assert before.items() <= after.items()
        before = after
    assert 0 < len(before) < 15
    assert shelfqa("predict", *options, "--out", out) == 0
    assert sorted(written) == [name for name in part_names(15) if name not in before]
    assert_same_answers(rows_of(out), rows_of(tmp_path / "whole"))
    assert not (out / ".work").exists()


@pytest.mark.slow
@pytest.mark.parametrize("make", [mini_checkpoint, idefics3])
def test_a_process_of_its_own_is_killed(make: Callable[[Path], Path], tmp_path: Path) -> None:
    data = questions_artifact(tmp_path, products=4)
    names = [f"{number}.png" for number in range(4)]
    file = table(tmp_path, [(name, f"what is it {place}?") for name in names for place in range(300)])
    program = [sys.executable, "-m", "shelfqa.cli", "predict", "--questions", file, "--images", data.parent / "images"]
    program += ["--model", make(tmp_path / "model"), "--device", "cpu", "--max-new-tokens", "3", "--top-k", "1"]
    subprocess.run([*map(str, program), "--out", str(tmp_path / "whole")], check=True, capture_output=True)
    generator, out, before = random.Random(1), tmp_path / "killed", Finished()
    for parts in (1, 3, 5):
        with subprocess.Popen([*map(str, program), "--out", str(out)], stderr=subprocess.DEVNULL) as running:
            while len(finished_parts(out)) < parts and running.poll() is None:
                time.sleep(0.005)
            time.sleep(generator.uniform(0, 0.05))
            running.kill()
        after = finished_parts(out)
        assert before.items() <= after.items()
        before = after
    subprocess.run([*map(str, program), "--out", str(out)], check=True, capture_output=True)
    assert_same_answers(rows_of(out), rows_of(tmp_path / "whole"))


class _Handler(BaseHTTPRequestHandler):
    asked: Counter[str]

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = body["messages"][0]["content"][-1]["text"].splitlines()[0]
        self.asked[prompt] += 1
        time.sleep(0.05)
        message = {"role": "assistant", "content": f"It is {prompt.split()[-1]}"}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        reply = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
        data = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def kept_replies(store: Path) -> set[str]:
    """The last words of all replies that are kept."""
    if not store.is_file():
        return set()
    with contextlib.closing(sqlite3.connect(store, timeout=60)) as connection:
        try:
            return {text.split()[-1] for (text,) in connection.execute("SELECT text FROM replies")}
        except sqlite3.OperationalError:  # no table yet
            return set()


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_replies_that_came_are_not_asked_for_again(
    questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openai")
    words = [f"word{number}" for number in range(60)]
    file = table(tmp_path, [(f"{number % 9}.png", f"what is {word}") for number, word in enumerate(words)])
    options = ["--questions", file, "--images", questions.parent / "images", "--model", "openai:m", "--top-k", 1]
    _Handler.asked = Counter()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving(_Handler) as url:
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        generator = random.Random(0)
        store = tmp_path / "out" / "replies.sqlite"
        for least in (10, 30):
            child = forked("predict", *options, "--out", tmp_path / "out")
            while len(kept_replies(store)) < least:
                time.sleep(0.01)
            time.sleep(generator.uniform(0, 0.05))
            assert killed(child)
        kept = kept_replies(store)
        before = _Handler.asked.copy()
        assert shelfqa("predict", *options, "--out", tmp_path / "out") == 0
        again = _Handler.asked - before
        assert {prompt.split()[-1] for prompt in again} == set(words) - kept
        assert all(count == 1 for count in again.values())
    assert [row["prediction"] for row in rows_of(tmp_path / "out")] == words
