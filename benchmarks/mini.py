"""The bundled model on ONNX Runtime beside the same model in torch: a cold start, and answers a second.

Cold start: the whole process `shelfqa ask PHOTO QUESTION`, from start to exit. Torch's side is the same command with a
copy of the checkpoint without its graphs, which therefore goes the way of `predict`. Answers a second: five questions
about each picture, files decoded on both sides, loading left out; torch's side is what `shelfqa predict` calls. Both
read the same weights in float32 with the same threads. The run fails if an answer differs, if the cold start is less
than 3 times as fast, or if answers come more slowly than torch's.

    python benchmarks/mini.py
    python benchmarks/mini.py --images 200 --repeats 10
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error"}
os.environ |= {"TOKENIZERS_PARALLELISM": "false"}

import torch
from measured import Measured, measure
from predict import pictures

from shelfqa.images import load_image
from shelfqa.machine import processors
from shelfqa.models.answering import Asked, Pace, Search, answer_in_parts
from shelfqa.models.loading import load_model
from shelfqa.models.mini import checkpoint_dir
from shelfqa.models.mini.runtime import PICTURE_GRAPH, QUESTION_GRAPH, MiniRuntime
from shelfqa.models.wording import Wording

QUESTIONS = (
    "What color is this product?",
    "What kind of product is shown in the picture?",
    "What material is it made of?",
    "How many are there?",
    "Is the surface of the product plain or patterned?",
)
_COLD_BAR, _RATE_BAR = 3.0, 1.0
_TURN = 16
"""Pictures that a side answers about before the other's turn."""


Answer = Callable[[Sequence[Path]], list[str]]
"""Answers all of `QUESTIONS` about each picture."""


class Side(NamedTuple):
    """What one side answered, how long it took, and what all its threads computed."""

    answers: list[str]
    seconds: float
    cpu_seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both comparisons, print a table, return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64, help="pictures, of five questions each")
    parser.add_argument("--repeats", type=int, default=5, help="cold starts of each side; the median counts")
    parser.add_argument("--threads", type=int, default=processors())
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        paths = pictures(Path(folder), options.images)
        without = Path(folder) / "mini"
        shutil.copytree(checkpoint_dir(), without, ignore=shutil.ignore_patterns(PICTURE_GRAPH, QUESTION_GRAPH))
        print(
            f"{processors()} processors, {options.threads} threads, load {os.getloadavg()[0]:.1f}; "
            f"{len(paths)} pictures, {len(QUESTIONS)} questions about each"
        )
        print(f"{'':<34}{'torch':>12}{'onnxruntime':>14}{'ratio':>8}")
        cold = cold_starts(paths[0], without, options.repeats)
        rate = rates(paths, without, options.threads)
        one_question(paths[0], without, options.threads)
    print(f"load {os.getloadavg()[0]:.1f} at the end; answers a second: {rate:.1f} times")
    print(f"ratio: {cold:.1f} times")
    return 0 if cold >= _COLD_BAR and rate >= _RATE_BAR else 1


def row(name: str, both: Sequence[float], unit: str = "", *, ratio: float | None = None) -> None:
    """Print one line of the table: torch's number, that of the graphs, and how many times as good theirs is."""
    told = f"{ratio:>8.1f}" if ratio is not None else ""
    print(f"{name:<34}{both[0]:>10.2f}{unit:<2}{both[1]:>12.2f}{unit:<2}{told}", flush=True)


def cold_starts(photo: Path, without: Path, repeats: int) -> float:
    """Start the command on both sides by turns; return how many times as fast the graphs' median is."""
    command = [sys.executable, "-m", "shelfqa.cli", "ask", str(photo), QUESTIONS[0]]
    runs: list[tuple[Measured, Measured]] = []
    measure([*command, "--model", str(without)])  # reads the files once
    measure(command)
    for _ in range(repeats):
        runs.append((measure([*command, "--model", str(without)]), measure(command)))
    if len({one.messages for pair in runs for one in pair}) > 1:
        sys.exit("cold start: answers differ")
    slow, fast = ([pair[side] for pair in runs] for side in (0, 1))
    middle = [statistics.median(run.seconds for run in side) for side in (slow, fast)]
    row("cold start, median", middle, " s", ratio=middle[0] / middle[1])
    row("cold start, best", [min(run.seconds for run in side) for side in (slow, fast)], " s")
    row("  processor time", [statistics.median(run.cpu_seconds for run in side) for side in (slow, fast)], " s")
    row("  peak memory", [max(run.peak_mb for run in side) for side in (slow, fast)], "MB")
    return middle[0] / middle[1]


def rates(paths: Sequence[Path], without: Path, threads: int) -> float:
    """Answer on both sides by turns; return how many times as many answers a second the graphs give."""
    slow, fast = by_turns(paths, by_torch(without), by_graphs(threads))
    different = sum(one != other for one, other in zip(slow.answers, fast.answers, strict=True))
    if different:
        sys.exit(f"{different} of {len(slow.answers)} answers differ")
    count = len(slow.answers)
    row("answers a second", [count / slow.seconds, count / fast.seconds], ratio=slow.seconds / fast.seconds)
    row("  processor time an answer", [1000 * side.cpu_seconds / count for side in (slow, fast)], "ms")
    return slow.seconds / fast.seconds


def by_turns(paths: Sequence[Path], *sides: Answer) -> list[Side]:
    """Let the sides answer about a few pictures each in turn, so that other work on the machine disturbs all alike."""
    found = [Side([], 0.0, 0.0) for _ in sides]
    for side in sides:
        side(paths[:1])  # warm
    for start in range(0, len(paths), _TURN):
        for place, side in enumerate(sides):
            before, cpu_before = time.perf_counter(), time.process_time()
            answers = side(paths[start : start + _TURN])
            taken, cpu_taken = time.perf_counter() - before, time.process_time() - cpu_before
            so_far = found[place]
            found[place] = Side(so_far.answers + answers, so_far.seconds + taken, so_far.cpu_seconds + cpu_taken)
    return found


def by_torch(checkpoint: Path) -> Answer:
    """Answer through what `shelfqa predict` calls."""
    model = load_model(str(checkpoint), device="cpu")
    wording, search = Wording("{question}", "raw"), Search(top_k=1)

    def answer(paths: Sequence[Path]) -> list[str]:
        asked = [Asked(question, (path,)) for path in paths for question in QUESTIONS]
        with tempfile.TemporaryDirectory() as parts:
            found = answer_in_parts(
                asked, lambda: model, Path(parts), wording=wording, search=search, pace=Pace(workers=processors())
            )
        return [one.answers[0].text for one in found or []]

    return answer


def by_graphs(threads: int) -> Answer:
    """Answer by `MiniRuntime`, a picture after the other."""
    runtime = MiniRuntime.load(checkpoint_dir(), threads=threads)

    def answer(paths: Sequence[Path]) -> list[str]:
        found = []
        for path in paths:
            [seen] = runtime.encode([load_image(path)])
            found += [told.best.text for told in runtime.answer(seen, QUESTIONS, top_k=1)]
        return found

    return answer


def one_question(photo: Path, checkpoint: Path, threads: int) -> None:
    """Print how long a loaded model takes for a picture, and for one question about it."""
    from shelfqa.models.base import Decoding, Query

    image = load_image(photo)
    runtime, model = MiniRuntime.load(checkpoint_dir(), threads=threads), load_model(str(checkpoint), device="cpu")
    with torch.inference_mode():
        [seen], features = runtime.encode([image]), model.encode_images([image])
        queries, decoding = [Query(QUESTIONS[0], (0,))], Decoding(1)
        for name, slow, fast in (
            ("one picture", lambda: model.encode_images([image]), lambda: runtime.encode([image])),
            (
                "one question about it",
                lambda: model.answer(features, queries, decoding),
                lambda: runtime.answer(seen, QUESTIONS[:1], top_k=1),
            ),
        ):
            times = [1000 * statistics.median(seconds(each) for _ in range(30)) for each in (slow, fast)]
            row(f"{name}, median", times, "ms", ratio=times[0] / times[1])


def seconds(call: Callable[[], object]) -> float:
    """Return how long one call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
