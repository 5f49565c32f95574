from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

from held_out import HeldOut, Losses
from train import Side, Task, by_loop, by_shelfqa, faults
from training_loop import Recipe, Row, StudyLoop, together

from shelfqa.models.base import Query
from shelfqa.models.loading import load_model
from tiny_models import COLOURS, blip_checkpoint, picture

QUESTIONS = ("what color is it?", "how many?", "what kind of product is this?", "what shape?", "is it made of metal?")


def _rows(folder: Path, pictures: int, first: int = 0) -> list[Row]:
    """Five questions about each picture of one colour."""
    rows = []
    for number in range(first, first + pictures):
        colour = list(COLOURS)[number % 4]
        path = folder / f"{number}.png"
        picture(COLOURS[colour], number).save(path)
        answers = (colour, "2", "mug", "round", "no")
        rows += [Row(path, question, answer) for question, answer in zip(QUESTIONS, answers, strict=True)]
    return rows


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    folder = tmp_path_factory.mktemp("task")
    checkpoint = blip_checkpoint(folder / "model")
    recipe = Recipe(
        rank=4,
        alpha=8,
        dropout=0.0,
        targets=("query", "value"),
        rate=0.02,
        weight_decay=0.01,
        max_grad_norm=1.0,
        batch_size=10,
        steps=6,
        dtype=torch.float32,
        workers=0,
    )
    return Task(checkpoint, _rows(folder, 8), _rows(folder, 2, first=8), recipe, "cpu", threads=1)


def test_both_sides_see_as_many_samples_and_are_asked_the_same(task: Task) -> None:
    loop, ours = by_loop(task), by_shelfqa(task)
    assert loop.samples == ours.samples == 60  # 40 in an epoch
    assert loop.before == pytest.approx(ours.before, abs=1e-4)
    assert ours.after.as_asked < ours.before.as_asked - 0.1
    assert loop.after.as_taught != loop.before.as_taught
    assert loop.flops > 2 * ours.flops
    assert min(loop.seconds, ours.seconds) > 0


def test_held_out_loss_is_that_of_the_answers_alone(task: Task) -> None:
    model = load_model(str(task.checkpoint), device="cpu")
    found = HeldOut(model.module, task.checkpoint, task.held_out).losses()
    with torch.no_grad():
        features = model.encode([model.inputs_of(row.picture) for row in task.held_out])
        queries = [Query(row.question, (place,)) for place, row in enumerate(task.held_out)]
        expected = model.loss(features, queries, [row.answer for row in task.held_out])
    assert found.as_asked == pytest.approx(float(expected), abs=1e-4)
    assert found.as_taught != pytest.approx(found.as_asked, abs=1e-3)


def test_the_loop_pads_answers_and_leaves_the_padding_in_the_labels(task: Task) -> None:
    loop = StudyLoop(task.checkpoint, task.train, task.recipe, torch.device("cpu"))
    batch = together([loop.rows[place] for place in range(5)])
    assert batch["labels"].shape == (5, 20)
    assert (batch["labels"] == 0).sum() > 5 * 16
    assert batch["input_ids"].shape[1] == 9  # [CLS], "what kind of product is this ?" and [SEP]
    assert len(batch["pixel_values"]) == 5

    other = StudyLoop(task.checkpoint, task.train, task.recipe._replace(question_tokens=32), torch.device("cpu"))
    assert together([other.rows[0]])["input_ids"].shape == (1, 32)


def test_what_misses_a_bar_is_told() -> None:
    loop = Side(80, 80.0, Losses(10.0, 10.0), Losses(9.0, 8.0), 1, 1.0)
    ours = loop._replace(seconds=20.0, after=Losses(7.0, 7.5))
    assert faults(loop, ours, 4.0) == []
    assert "1.50 times" in faults(loop, ours, 1.5)[0]
    assert "8.500, the loop's 8.000" in faults(loop, ours._replace(after=Losses(8.5, 7.0)), 4.0)[0]
    assert "did not fall" in faults(loop, ours._replace(after=Losses(10.0, 7.0)), 4.0)[0]
    assert "saw 80 samples and shelfqa 75" in faults(loop, ours._replace(samples=75), 4.0)[0]
