"""What is found before the first step, with each fault planted; and that a run after it is as one without."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from preflighting import RGB, SAMPLES, findings, look, ready, turned
from shelfqa.errors import UserError
from shelfqa.records import Answer
from shelfqa.training import overfit, preflight_steps
from shelfqa.training.data import Sample
from shelfqa.training.lengths import measured
from shelfqa.training.overfit import choose_pairs
from shelfqa.training.preflight import Wanted
from shelfqa.training.preflight_memory import MemoryWatch
from shelfqa.training.preflight_tokens import count_pictures
from tiny_chat import CHAT_FAMILIES
from tiny_models import blip_checkpoint, mini_checkpoint
from tiny_pretrained import clip_checkpoint

idefics3 = CHAT_FAMILIES["idefics3"]
FAMILIES = (mini_checkpoint, blip_checkpoint, idefics3, clip_checkpoint)
TOKENS_ALONE = Wanted(steps=False)


@pytest.mark.parametrize("make", FAMILIES, ids=lambda make: make.__name__)
def test_a_sound_run_is_measured_and_learns_its_pairs(make: Callable[[Path], Path], tmp_path: Path) -> None:
    trainer = ready(make, tmp_path, epochs=3)
    found = look(trainer)
    assert found.errors == []
    found.require()
    assert found.overfit is not None
    assert (found.overfit.pairs, found.overfit.exact_match, found.overfit.wrong) == (8, 1.0, [])
    assert found.overfit.first_loss is not None
    assert found.overfit.last_loss is not None
    assert found.overfit.last_loss < found.overfit.first_loss / 2
    assert found.memory is not None
    assert found.memory.questions == 4
    assert found.memory.optimizer_gb == pytest.approx(8e-9 * found.trainable_parameters["total"])
    assert found.duration is not None
    assert (found.duration.steps, found.duration.epochs, found.duration.evaluations) == (6, 3, 4)
    assert found.duration.seconds >= found.duration.step_seconds * 6 > 0
    assert found.tokens.whole.longest >= found.tokens.question.longest > 0
    assert (found.tokens.answer is not None) == (make is not mini_checkpoint)
    assert (found.tokens.picture is not None) == (make is idefics3)
    assert found.all_parameters > found.trainable_parameters["total"] > 0


@pytest.mark.parametrize(
    ("make", "retain"),
    [(mini_checkpoint, 0.0), (mini_checkpoint, 1.0), (blip_checkpoint, 0.0)],
    ids=["classifier", "classifier held at what it knew", "generator"],
)
def test_a_run_after_it_is_the_same_bit_for_bit(make: Callable[[Path], Path], retain: float, tmp_path: Path) -> None:
    ends = []
    for name in ("with", "without"):
        trainer = ready(make, tmp_path / name, dropout=0.2, epochs=2, learning_rate=0.01, retain=retain)
        random = torch.get_rng_state()
        modes = [part.training for part in trainer.model.module.modules()]
        if name == "with":
            assert look(trainer).overfit is not None
        assert torch.equal(torch.get_rng_state(), random)
        assert [part.training for part in trainer.model.module.modules()] == modes
        assert all(weight.grad is None for weight in trainer.weights.values())
        result = trainer.run()
        ends.append((trainer.weights, [{**row, "seconds": 0} for row in result.history]))
    (weights, history), (others, other_history) = ends
    assert history == other_history
    assert all(torch.equal(weight, others[key]) for key, weight in weights.items())


def test_answers_beyond_the_limit_are_errors_that_name_them(tmp_path: Path) -> None:
    long = [sample._replace(answer="blue " * 300) if sample.image in (2, 5) else sample for sample in SAMPLES]
    found = look(ready(blip_checkpoint, tmp_path, long))
    (finding,) = found.errors
    assert (finding.check, finding.question_ids, finding.count) == ("answers", ["q2", "q5"], 2)
    assert "2 answers are longer than the 19 tokens" in finding.message
    assert "up to 301" in finding.message
    with pytest.raises(UserError, match=r"^The preflight stops this run: 2 answers .* Questions: q2, q5\.$"):
        found.require()
    assert found.overfit is not None  # of a dry run, with the others
    assert found.overfit.pairs == 6
    assert look(ready(blip_checkpoint, tmp_path, long), Wanted()).memory is None


@pytest.mark.parametrize("make", [blip_checkpoint, idefics3, clip_checkpoint], ids=lambda make: make.__name__)
def test_at_most_five_are_named_and_all_are_counted(make: Callable[[Path], Path], tmp_path: Path) -> None:
    long = [sample._replace(answer="blue " * 300) for sample in SAMPLES]
    (finding,) = findings(look(ready(make, tmp_path, long), TOKENS_ALONE), "answers")
    assert finding.question_ids == ["q0", "q1", "q2", "q3", "q4"]
    assert finding.line().endswith("Questions: q0, q1, q2, q3, q4 and 3 more.")


@pytest.mark.parametrize("make", FAMILIES, ids=lambda make: make.__name__)
def test_a_question_of_a_thousand_words_is_told(make: Callable[[Path], Path], tmp_path: Path) -> None:
    long = [SAMPLES[0]._replace(question="marvellous " * 1000), *SAMPLES[1:]]
    found = look(ready(make, tmp_path, long), TOKENS_ALONE)
    (finding,) = findings(found, "tokens", "warning")
    assert finding.question_ids == ["q0"]
    assert found.errors == []
    assert found.tokens.longest[0] == "q0"


def test_a_picture_is_never_cut(tmp_path: Path) -> None:
    samples = [sample._replace(question="it?") if sample.image == 3 else sample for sample in SAMPLES]
    trainer = ready(CHAT_FAMILIES["qwen2_5_vl"], tmp_path, samples)
    for image in (0, 1, 2, 4, 5, 6, 7):
        Image.new("RGB", (16, 16), RGB[image]).save(tmp_path / "pictures" / f"{image}.png")
    model: Any = trainer.model
    small, *_ = measured(model, trainer.train_samples, trainer.source).counts
    model._most_tokens = 64 + small.picture + small.question
    trainer.measures = measured(model, trainer.train_samples, trainer.source)
    found = look(trainer, Wanted(overfit_steps=1, dry=True))
    (finding,) = findings(found, "tokens")
    assert finding.question_ids == ["q3"]
    assert "pictures are never cut" in finding.message
    assert found.duration is not None  # the others' steps are measured


def test_answers_that_evaluation_cannot_write_whole_are_told(tmp_path: Path) -> None:
    long = [sample._replace(answer="dark blue and rather like the sea") for sample in SAMPLES[:1]] + SAMPLES[1:]
    (finding,) = findings(look(ready(idefics3, tmp_path, long), TOKENS_ALONE), "answers", "warning")
    assert finding.question_ids == ["q0"]
    assert "20 tokens that evaluation writes" in finding.message


def test_answers_without_tokens_or_that_change_on_the_way_are_told(tmp_path: Path) -> None:
    odd = [SAMPLES[0]._replace(answer="\u2603"), SAMPLES[1]._replace(answer="t-shirt\u2603"), *SAMPLES[2:]]
    found = look(ready(blip_checkpoint, tmp_path, odd), TOKENS_ALONE)
    assert [finding.question_ids for finding in findings(found, "answers")] == [["q0"]]
    (finding,) = findings(found, "answers", "warning")
    assert finding.question_ids == ["q1"]
    assert "read back" in finding.message


def test_labels_that_are_all_padding_are_told_of_a_writer(tmp_path: Path) -> None:
    trainer = ready(blip_checkpoint, tmp_path)
    model: Any = trainer.model
    plain = model._answer_tokens

    def padding(answers: Any) -> Any:
        tokens = plain(answers)
        tokens["attention_mask"] = torch.zeros_like(tokens["attention_mask"])
        return tokens

    model._answer_tokens = padding
    (finding,) = look(trainer).errors
    assert finding.check == "step"
    assert "padding" in finding.message
    assert finding.count == 4


def test_labels_that_are_all_ignored_are_told_of_a_classifier(tmp_path: Path) -> None:
    trainer = ready(mini_checkpoint, tmp_path)
    model: Any = trainer.model
    model._index = {}
    assert "padding" in findings(look(trainer), "step")[0].message


def test_labels_that_are_padding_are_found_by_learning_by_heart_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = ready(mini_checkpoint, tmp_path)
    vars(trainer.model)["_index"] = {}
    monkeypatch.setattr(preflight_steps, "_fault", lambda *_: None)
    (finding,) = findings(look(trainer), "overfit")
    assert "0 before anything is learned" in finding.message
    assert "as padding is" in finding.message


@pytest.mark.parametrize("make", [mini_checkpoint, idefics3], ids=lambda make: make.__name__)
def test_decoding_that_says_something_else_is_told(make: Callable[[Path], Path], tmp_path: Path) -> None:
    trainer = ready(make, tmp_path)
    vars(trainer.model)["answer"] = lambda features, queries, decoding: [[Answer("banana", 0.9)]] * len(queries)
    found = look(trainer)
    (finding,) = found.errors
    assert finding.check == "overfit"
    assert "labels, loss and decoding do not agree" in finding.message
    assert "'red' answered as 'banana'" in finding.message
    assert (finding.count, len(finding.question_ids)) == (8, 5)
    assert found.overfit is not None
    assert found.overfit.exact_match == 0
    assert {pair.said for pair in found.overfit.wrong} == {"banana"}


def test_a_loss_that_stands_still_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overfit, "_FIRST_RATE", 1e-9)
    monkeypatch.setattr(overfit, "_HIGHEST_RATE", 1e-9)
    found = look(ready(mini_checkpoint, tmp_path), Wanted(overfit_steps=40, dry=True))
    (finding,) = findings(found, "overfit")
    assert "stays at" in finding.message
    assert "--targets" in finding.message


def test_too_few_steps_are_no_error(tmp_path: Path) -> None:
    found = look(ready(blip_checkpoint, tmp_path), Wanted(overfit_steps=12, dry=True))
    assert found.errors == []
    assert "too few to tell" in findings(found, "overfit", "warning")[0].message


def test_a_model_of_lists_learns_from_steps_of_several_answers(tmp_path: Path) -> None:
    alike = [sample._replace(answer="red") for sample in SAMPLES]
    (finding,) = look(ready(clip_checkpoint, tmp_path, alike), TOKENS_ALONE).errors
    assert "The only answer is 'red'" in finding.message
    (finding,) = look(ready(clip_checkpoint, tmp_path, batch_size=1), TOKENS_ALONE).errors
    assert "A step of one question holds one answer" in finding.message
    assert "--batch-size" in finding.message
    assert look(ready(clip_checkpoint, tmp_path, batch_size=1, accumulation=4), Wanted()).errors == []


def test_a_loss_that_no_weight_takes_part_in_is_told(tmp_path: Path) -> None:
    trainer = ready(mini_checkpoint, tmp_path)
    plain = trainer.model.loss
    vars(trainer.model)["loss"] = lambda *given: plain(*given).detach()
    (finding,) = look(trainer).errors
    assert "No weight gets a gradient" in finding.message


def test_what_does_not_fit_into_memory_is_told_with_the_longest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryWatch, "peak_gb", lambda self: 7.0)
    monkeypatch.setattr("shelfqa.training.preflight_memory.available_memory_mb", lambda: 5_000)
    found = look(ready(mini_checkpoint, tmp_path))
    (finding,) = findings(found, "memory")
    assert "more than the 5.0 GB" in finding.message
    assert "--batch-size (now 4)" in finding.message
    assert "--gradient-checkpointing" in finding.message
    assert found.memory is not None
    assert finding.question_ids == found.memory.longest


def test_a_step_that_memory_ends_names_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = [*SAMPLES[:7], SAMPLES[7]._replace(question="what color is the mug on the table?")]
    trainer = ready(mini_checkpoint, tmp_path, long)
    plain = trainer.loss

    def short(samples: Any, *given: Any) -> Any:
        if any(sample.question_id == "q7" for sample in samples):
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return plain(samples, *given)

    monkeypatch.setattr(trainer, "loss", short)
    found = look(trainer)
    (finding,) = found.errors
    assert (finding.check, finding.question_ids[0]) == ("memory", "q7")
    assert found.memory is not None
    assert found.memory.step_gb is None
    assert found.overfit is None


def test_learning_by_heart_is_left_to_dry_runs_where_it_is_long_against_the_run(tmp_path: Path) -> None:
    short = look(ready(mini_checkpoint, tmp_path, epochs=1), Wanted())
    assert short.overfit is None
    assert short.duration is not None
    assert "--dry-run tries it" in findings(short, "overfit", "note")[0].message
    assert look(ready(mini_checkpoint, tmp_path, epochs=3000), Wanted(overfit_steps=30)).overfit is not None


def test_pictures_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    trainer = ready(mini_checkpoint, tmp_path)
    (tmp_path / "pictures" / "1.png").write_bytes(b"<html>")
    found = look(trainer)
    (finding,) = findings(found, "pictures", "warning")
    assert finding.question_ids == ["q1"]
    assert found.overfit is not None
    assert found.overfit.pairs == 7


def test_pairs_are_of_different_pictures_and_answers() -> None:
    some = [
        Sample(f"{image}-{n}", f"question {n}", ("red", "A red.", "blue")[n], image)
        for image in range(3)
        for n in range(3)
    ]
    chosen = choose_pairs(some, 8)
    assert [sample.question_id for sample in chosen] == ["0-0", "1-2", "2-0"]
    assert len(choose_pairs(some, 2)) == 2


def test_pictures_are_counted_by_the_size_in_which_they_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model: Any = ready(CHAT_FAMILIES["qwen2_5_vl"], tmp_path).model
    for name, size in (("a", (60, 24)), ("b", (24, 60)), ("d", (31, 31))):
        Image.new("RGB", size).save(tmp_path / f"{name}.jpg")
    turned(tmp_path / "c.jpg", (60, 24))
    paths = {place: tmp_path / f"{name}.jpg" for place, name in enumerate("abcd")}
    (tmp_path / "e.jpg").write_bytes(b"no picture")
    counts = count_pictures(model, paths | {4: tmp_path / "e.jpg"})
    assert counts == {place: model.picture_tokens(model.inputs_of(path)) for place, path in paths.items()}
    monkeypatch.setattr("shelfqa.training.preflight_tokens._MOST_SIZES", 1)
    assert len(set(count_pictures(model, paths).values())) == 1


WATCHING = """
import torch
from shelfqa.training.preflight_memory import MemoryWatch
watch = MemoryWatch(torch.device("cpu"))
block = torch.ones(60_000_000)
print(watch.peak_gb(), watch.available_gb is None or watch.available_gb > 0)
"""


def test_memory_is_watched() -> None:
    """In a process of its own: one that has freed much gives the block out of that."""
    told = subprocess.run([sys.executable, "-c", WATCHING], capture_output=True, text=True, check=True, timeout=120)
    peak, there = told.stdout.split()
    assert 0.15 < float(peak) < 1
    assert there == "True"
