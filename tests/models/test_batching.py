"""How many questions are taken at once, where memory is short and where there is room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from predicting import assert_same_answers, rows_of, shelfqa
from shelfqa.models import batching
from shelfqa.models.adapters.mini import MiniVqa
from shelfqa.models.base import Decoding, Query
from shelfqa.models.batching import BatchSize, answer_in_batches
from shelfqa.models.loading import load_model
from tiny_models import COLOURS, mini_checkpoint, picture, questions_artifact

CPU_ALLOCATOR = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
    "40000000000 bytes. Error code 12 (Cannot allocate memory)"
)
NO_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError(CPU_ALLOCATOR),
    MemoryError(),
]
Narrow = Callable[[str, int, Exception], list[int]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return mini_checkpoint(tmp_path_factory.mktemp("mini"))


@pytest.fixture(scope="module")
def options(model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    data = questions_artifact(tmp_path_factory.mktemp("data"))
    return ["predict", "--questions", data, "--model", model, "--device", "cpu", "--splits", "train"]


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Narrow:
    """Let `answer`, `explain` or `encode` of the model fail above so many at once; returns how many were tried."""

    def make(method: str, most: int, error: Exception) -> list[int]:
        tried: list[int] = []
        plain: Any = getattr(MiniVqa, method)

        def limited(self: MiniVqa, *arguments: Any) -> Any:
            rows: Sequence[object] = arguments[0] if method == "encode" else arguments[1]
            tried.append(len(rows))
            if len(rows) > most:
                raise error
            return plain(self, *arguments)

        monkeypatch.setattr(MiniVqa, method, limited)
        return tried

    return make


@pytest.mark.parametrize("error", NO_MEMORY, ids=["GPU", "CPU", "Python"])
def test_batches_are_halved_for_good(error: Exception, options: list[object], narrow: Narrow, tmp_path: Path) -> None:
    assert shelfqa(*options, "--out", tmp_path / "whole") == 0
    tried = narrow("explain", 5, error)
    encoded = narrow("encode", 1, error)
    assert shelfqa(*options, "--out", tmp_path / "out") == 0
    assert tried[:4] == [32, 16, 8, 4]
    assert max(tried[3:]) == 4
    assert encoded[:2] == [2, 1]
    assert max(encoded[1:]) == 1
    assert_same_answers(rows_of(tmp_path / "out"), rows_of(tmp_path / "whole"))


def test_the_user_says_how_many_at_once(options: list[object], narrow: Narrow, tmp_path: Path) -> None:
    tried = narrow("explain", 99, NO_MEMORY[0])
    assert shelfqa(*options, "--batch-size", 5, "--out", tmp_path / "out") == 0
    assert tried == [5, 5, 5, 5, 5, 5, 2]


@pytest.mark.parametrize(("method", "what"), [("explain", "question"), ("encode", "picture")])
def test_one_that_is_too_large_is_told(
    method: str, what: str, options: list[object], narrow: Narrow, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    narrow(method, 0, NO_MEMORY[0])
    assert shelfqa(*options, "--out", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"Not enough memory on the device for a single {what}: run with --device cpu, with --dtype bfloat16" in said


def test_other_faults_are_no_lack_of_memory(
    options: list[object], narrow: Narrow, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tried = narrow("explain", 0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert shelfqa(*options, "--out", tmp_path / "out") == 3
    assert tried == [32]
    assert "mat1 and mat2" in capsys.readouterr().err


def test_batches_grow_where_a_gpu_has_room(model: Path, narrow: Narrow, monkeypatch: pytest.MonkeyPatch) -> None:
    shares = iter([0.1, 0.2, 0.5, 0.3, 0.3, 0.3, 0.3])
    monkeypatch.setattr(batching, "_memory_share", lambda: next(shares))
    loaded = load_model(str(model), device="cpu")
    features = loaded.encode_images([picture(COLOURS["red"])])
    queries = [Query(f"what is it {number}?", (0,)) for number in range(60)]
    tried = narrow("answer", 99, NO_MEMORY[0])
    size = BatchSize(2, most=16)
    found = answer_in_batches(loaded, features, queries, Decoding(), size)
    assert tried == [2, 4, 8, 8, 16, 16, 6]
    assert size.rows == 16
    monkeypatch.undo()
    whole = answer_in_batches(loaded, features, queries, Decoding(), BatchSize(60))
    assert [[one.text for one in best] for best in found] == [[one.text for one in best] for best in whole]


def test_a_size_that_failed_is_not_grown_into_again() -> None:
    size = BatchSize(16, most=512)
    size.grow(16, 0.1)
    size.halve(32)
    size.grow(16, 0.1)
    assert size.rows == 16
    asked = BatchSize(16)
    asked.grow(16, 0.1)
    assert asked.rows == 16
