"""What `shelfqa train` calls beside the loop of a study's notebook: equal samples, how much faster, as well learned?

BLIP-VQA-base at its true size with random weights, a drawn catalogue, five questions about each picture with the
answers of its listing. Both sides put the same LoRA on queries and values, see equally many samples, ten a step, each
once, and run in a process of their own on the same device with the same threads. Loading the weights, evaluation and a
warm-up count on neither side; reading and encoding the pictures does, and so do the checkpoints that shelfqa writes.

Then both are asked for the loss on the same held-out questions, over the answers' tokens and ends alone. At the study's
rate of 5e-5 random weights hardly learn in so few steps (10.5 to 10.1); both have a constant --rate of 1e-3, at which
it falls below 7 on both sides. The run fails if shelfqa is less than twice as fast, or if its loss is higher.

    python benchmarks/train.py
    python benchmarks/train.py --question-tokens 128 --answer-tokens 32    # as another study pads
    python benchmarks/train.py --images 400 --device cuda
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error"}
os.environ |= {"TOKENIZERS_PARALLELISM": "false"}

import torch
from full_size import blip_vqa_base
from held_out import HeldOut, Losses
from torch.utils.flop_counter import FlopCounterMode
from training_loop import Recipe, Row, StudyLoop, together

from shelfqa.artifacts import read_table
from shelfqa.catalogue.demo.write import DemoConfig, draw_catalogue
from shelfqa.catalogue.settings import CurateConfig
from shelfqa.machine import processors
from shelfqa.models.base import Loading, Query
from shelfqa.models.loading import load_model, resolve_device, resolve_dtype
from shelfqa.models.lora import LoraSettings, attach
from shelfqa.questions.settings import GenerateConfig
from shelfqa.stages.curate import curate
from shelfqa.stages.generate import generate
from shelfqa.training.data import Sample
from shelfqa.training.features import changes_with_training, feature_source
from shelfqa.training.run_card import device_name, peak_memory_bytes
from shelfqa.training.settings import Precision, Settings, TrainConfig, resolve
from shelfqa.training.trainer import Trainer

T = TypeVar("T")

PRESET = "blip-lora-amp"
"""The study's settings; rate, batches and dropout are given over it."""
PICTURES_A_BATCH = 2
HELD_OUT_PICTURES = 4
PEAK_TFLOPS = {
    "H100 PCIe": 756,
    "H100": 989,
    "H200": 989,
    "B200": 2250,
    "A100": 312,
    "L40S": 362,
    "L4": 121,
}
"""What chips do at most in bfloat16 and float16, by a part of their name: dense, as their makers say."""
_BAR = 2.0
_LOSS_TOLERANCE = 0.01
_PRECISIONS: dict[Any, Precision] = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


class Task(NamedTuple):
    """What both sides do."""

    checkpoint: Path
    train: list[Row]
    held_out: list[Row]
    recipe: Recipe
    device: str
    threads: int


class Side(NamedTuple):
    """What came of one side."""

    samples: int
    seconds: float
    before: Losses
    after: Losses
    peak_memory_bytes: int
    """Of the GPU, else of the process with its weights."""
    flops: float
    """What was computed, padding counted in."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both sides, print a table, return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20, help="pictures to train on")
    parser.add_argument("--questions-per-image", type=int, default=5)
    parser.add_argument("--steps", type=int, help="batches, of two pictures' questions; by default each picture once")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16", "float16"])
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate of both sides")
    parser.add_argument("--question-tokens", type=int, help="the loop pads questions to so many; default: the longest")
    parser.add_argument("--answer-tokens", type=int, default=20, help="the loop pads answers to so many")
    parser.add_argument("--threads", type=int, default=processors())
    options = parser.parse_args(arguments)
    if options.images % PICTURES_A_BATCH:
        parser.error(f"--images has to be a multiple of {PICTURES_A_BATCH}, so that all batches are full")
    device = resolve_device(options.device)
    recipe = recipe_of(options, resolve_dtype(options.dtype, device))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = drawn(folder, options.images + HELD_OUT_PICTURES, options.questions_per_image)
        texts = [text for row in rows for text in (row.question, row.answer)]
        checkpoint = alone(partial(blip_vqa_base, folder / "model", texts=texts, sharper=1.0))
        held_out = HELD_OUT_PICTURES * options.questions_per_image
        task = Task(checkpoint, rows[held_out:], rows[:held_out], recipe, str(device), options.threads)
        print(
            f"{options.images} pictures, {options.questions_per_image} questions about each; {recipe.steps} steps of "
            f"{recipe.batch_size} questions at the rate {recipe.rate:g}, LoRA of rank {recipe.rank}; "
            f"{device_name(str(device))}, {str(recipe.dtype).removeprefix('torch.')}, {options.threads} threads, load "
            f"{os.getloadavg()[0]:.1f}",
            flush=True,
        )
        loop = alone(partial(by_loop, task))
        ours = alone(partial(by_shelfqa, task))
    return report(loop, ours, recipe.dtype, device)


def recipe_of(options: argparse.Namespace, dtype: torch.dtype) -> Recipe:
    """Return how both sides train."""
    batch_size = PICTURES_A_BATCH * options.questions_per_image
    study = resolve(TrainConfig(preset=PRESET), None)
    return Recipe(
        rank=study.rank,
        alpha=study.alpha,
        dropout=0.05,
        targets=tuple(study.targets),
        rate=options.rate,
        weight_decay=study.weight_decay,
        max_grad_norm=study.max_grad_norm,
        batch_size=batch_size,
        steps=options.steps or options.images // PICTURES_A_BATCH,
        dtype=dtype,
        question_tokens=options.question_tokens,
        answer_tokens=options.answer_tokens,
    )


def alone(work: Callable[[], T]) -> T:
    """Do some work in a process of its own, so that neither its memory nor its allocator is another's."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work).result()


def drawn(folder: Path, pictures: int, questions: int) -> list[Row]:
    """Draw a catalogue; return so many questions about each of so many pictures, with the answers of its listings."""
    draw_catalogue(folder / "catalogue", DemoConfig(products=2 * pictures))
    curate(folder / "catalogue", folder / "curated", CurateConfig())
    generate(folder / "curated", folder / "questions", GenerateConfig(per_product=questions))
    found: dict[str, list[Row]] = {}
    for row in read_table(folder / "questions", "questions").to_pylist():
        path = row["image_paths"][0]
        picture = folder / "catalogue" / "images" / "small" / path
        found.setdefault(path, []).append(Row(picture, row["question"], row["answer"]))
    whole = [some for some in found.values() if len(some) == questions][:pictures]
    if len(whole) < pictures:
        sys.exit(f"Only {len(whole)} pictures of the drawn catalogue have {questions} questions: ask fewer of each.")
    return [row for some in whole for row in some]


def by_loop(task: Task) -> Side:
    """Train as the study's notebook does."""
    torch.set_num_threads(task.threads)
    device = torch.device(task.device)
    loop = StudyLoop(task.checkpoint, task.train, task.recipe, device)
    asked = HeldOut(loop.module, task.checkpoint, task.held_out)
    before = asked.losses()
    batch = together([loop.rows.inputs_of(row) for row in task.held_out[: task.recipe.batch_size]])
    step_flops = flops_of(lambda: loop.backward(batch))
    loop.forget_gradients()
    clock = Clock(device)
    torch.manual_seed(0)
    samples = loop.run()
    seconds, peak = clock.seconds(), peak_memory_bytes()
    return Side(samples, seconds, before, asked.losses(), peak, task.recipe.steps * step_flops)


def by_shelfqa(task: Task) -> Side:
    """Train through what `shelfqa train` calls."""
    torch.set_num_threads(task.threads)
    recipe, device = task.recipe, torch.device(task.device)
    model = load_model(str(task.checkpoint), device=task.device, loading=Loading(dtype=torch.float32))
    torch.manual_seed(0)
    attach(model, LoraSettings(recipe.rank, recipe.alpha, recipe.dropout, recipe.targets))
    model.module.to(device).eval()
    asked = HeldOut(model.module, task.checkpoint, task.held_out)
    before = asked.losses()
    picture_flops, step_flops = warmed_up(model, task)
    paths, samples = _samples(task.train)
    with tempfile.TemporaryDirectory() as work:
        clock = Clock(device)
        trains_vision = changes_with_training(model, paths)
        source = feature_source(model, paths, Path(work), trains_vision=trains_vision)
        measured = samples[: recipe.batch_size]
        result = Trainer(model, source, samples, measured, settings_of(recipe, len(samples)), Path(work)).run()
        seconds = clock.seconds() - result.cost.evaluation_seconds
    cost = result.cost
    flops = len(paths) * picture_flops + recipe.steps * step_flops
    return Side(cost.samples, seconds, before, asked.losses(), cost.peak_memory_bytes, flops)


def settings_of(recipe: Recipe, samples: int) -> Settings:
    """Return the recipe as settings of `train`, which evaluate before the first step and after the last."""
    config = TrainConfig(
        preset=PRESET,
        learning_rate=recipe.rate,
        batch_size=recipe.batch_size,
        epochs=-(-recipe.steps * recipe.batch_size // samples),
        max_steps=recipe.steps,
        warmup_ratio=0.0,
        schedule="constant",
        evaluate_every=recipe.steps,
        precision=_PRECISIONS[recipe.dtype],
    )
    return resolve(config, None)


def _samples(rows: Sequence[Row]) -> tuple[list[Path], list[Sample]]:
    """Return the pictures of rows, each once, and the rows as samples."""
    places: dict[Path, int] = {}
    samples = [
        Sample(f"q{number}", row.question, row.answer, places.setdefault(row.picture, len(places)))
        for number, row in enumerate(rows)
    ]
    return list(places), samples


def warmed_up(model: Any, task: Task) -> tuple[float, float]:
    """Encode and learn one batch of held-out questions, then forget it; return FLOPs a picture and FLOPs a step."""
    recipe = task.recipe
    paths, samples = _samples(task.held_out[: recipe.batch_size])
    pictures = [model.inputs_of(path) for path in paths]
    queries = [Query(sample.question, (sample.image,)) for sample in samples]
    features: Any = []

    def encode() -> None:
        with torch.no_grad():
            features.extend(model.encode(pictures))

    def learn() -> None:
        with torch.autocast(model.device.type, recipe.dtype, enabled=recipe.dtype != torch.float32):
            loss = model.loss(features, queries, [sample.answer for sample in samples])
        loss.backward()

    encoding = flops_of(encode)

    model.module.train()
    learning = flops_of(learn)
    model.module.eval()
    model.module.zero_grad(set_to_none=True)
    return encoding / len(paths), learning


def flops_of(work: Callable[[], object]) -> float:
    """Return how many floating point operations some work takes, as torch counts them."""
    with FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops())


class Clock:
    """Measures the time of one side, all of it that a GPU has left to do counted in, and the peak of its memory."""

    def __init__(self, device: torch.device) -> None:
        """Start."""
        self._device = device
        self._wait()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        self._started = time.perf_counter()

    def seconds(self) -> float:
        """Return the time since the start."""
        self._wait()
        return time.perf_counter() - self._started

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def peak_tflops(device: torch.device, dtype: torch.dtype) -> float | None:
    """Return what the chip does at most, in TFLOP a second; None where that is not known."""
    if device.type != "cuda" or dtype == torch.float32:
        return None
    name = torch.cuda.get_device_name(device)
    return next((float(peak) for part, peak in PEAK_TFLOPS.items() if part in name), None)


def report(loop: Side, ours: Side, dtype: torch.dtype, device: torch.device) -> int:
    """Print the table and what is wrong; return the exit code."""
    peak = peak_tflops(device, dtype)
    head = ("", "samples/s", "seconds", "TFLOP/sample", "of the peak", "peak memory", "held-out loss", "after", "[CLS]")
    print("{:<10}{:>11}{:>9}{:>14}{:>13}{:>13}{:>15}{:>8}{:>8}".format(*head))
    for name, side in (("loop", loop), ("shelfqa", ours)):
        share = "not known" if peak is None else f"{side.flops / side.seconds / (peak * 1e12):.1%}"
        print(
            f"{name:<10}{side.samples / side.seconds:>11.2f}{side.seconds:>9.1f}"
            f"{side.flops / side.samples / 1e12:>14.3f}{share:>13}{side.peak_memory_bytes / 1e9:>10.1f} GB"
            f"{side.before.as_asked:>15.3f}{side.after.as_asked:>8.3f}{side.after.as_taught:>8.3f}"
        )
    ratio = ours.samples / ours.seconds / (loop.samples / loop.seconds)
    print(f"ratio: {ratio:.1f} times; load {os.getloadavg()[0]:.1f} at the end")
    wrong = faults(loop, ours, ratio)
    for fault in wrong:
        print(fault)
    return 1 if wrong else 0


def faults(loop: Side, ours: Side, ratio: float) -> list[str]:
    """Return in a line each what is not as it should be."""
    found = []
    if loop.samples != ours.samples:
        found.append(f"The loop saw {loop.samples} samples and shelfqa {ours.samples}.")
    if ratio < _BAR:
        found.append(f"shelfqa is {ratio:.2f} times as fast, expected {_BAR:g}.")
    if ours.after.as_asked >= ours.before.as_asked:
        found.append("shelfqa's held-out loss did not fall: try another --rate or more --images.")
    if ours.after.as_asked > min(loop.after) + _LOSS_TOLERANCE:
        found.append(f"shelfqa's held-out loss is {ours.after.as_asked:.3f}, the loop's {min(loop.after):.3f}.")
    return found


if __name__ == "__main__":
    sys.exit(main())
