from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from shelfqa.models.base import Decoding, Query
from shelfqa.statistics import mean_interval
from shelfqa.training.data import Sample
from tiny_blip2 import BLIP2_FAMILIES
from tiny_chat import CHAT_FAMILIES
from tiny_models import blip_checkpoint
from tiny_ofa import ofa_checkpoint
from tiny_pretrained import clip_checkpoint
from training_runs import SAMPLES, adapted, trainer, trainer_of


def test_training_stops_when_nothing_gets_better(checkpoint_folder: Path, pictures: list[Path], tmp_path: Path) -> None:
    run = trainer(checkpoint_folder, pictures, tmp_path / "work", patience=1, evaluate_every=1)
    for group in run.optimizer.param_groups:
        group["top_rate"] = 0.0
    result = run.run()
    assert (result.steps, result.best_step, result.stopped_early) == (1, 0, True)
    assert result.best_exact_match == result.first_exact_match


def test_of_equal_exact_matches_the_lower_loss_is_better(tmp_path: Path, pictures: list[Path]) -> None:
    """Far from the first right answer, early stopping would else stop a model that learns, and keep none of it."""
    run = trainer_of(
        adapted(blip_checkpoint(tmp_path / "blip")), pictures, tmp_path / "work", patience=1, evaluate_every=1
    )
    result = run.run()
    evaluated = [row for row in result.history if row["validation_exact_match"] is not None]
    assert {row["validation_exact_match"] for row in evaluated} == {0.0}
    assert result.best_step == min(evaluated, key=lambda row: row["validation_loss"])["step"] > 0


def test_exact_match_has_an_interval_over_pictures(
    checkpoint_folder: Path, pictures: list[Path], tmp_path: Path
) -> None:
    """Three questions about a picture that are right or wrong together are no more than one."""
    run = trainer(checkpoint_folder, pictures, tmp_path / "alone")
    queries = [Query("what color is it?", (image,)) for image in range(4)]
    said = [best.text for best, *_ in run.model.answer(run.source.features(range(4)), queries, Decoding(top_k=1))]
    samples = [
        Sample(
            f"q{image}-{number}",
            "what color is it?",
            said[image] if image < 2 else next(other for other in ("red", "blue") if other != said[image]),
            image,
        )
        for image in range(4)
        for number in range(3)
    ]
    several = trainer(checkpoint_folder, pictures, tmp_path / "several", samples=samples).evaluate().exact_match
    single = trainer(checkpoint_folder, pictures, tmp_path / "single", samples=samples[::3]).evaluate().exact_match
    assert several == single == mean_interval([1.0, 1.0, 0.0, 0.0], range(4))
    one = trainer(checkpoint_folder, pictures, tmp_path / "one", samples=samples[:3]).evaluate().exact_match
    assert one == (1.0, 0.0, 1.0)


@pytest.mark.parametrize("make", [blip_checkpoint, clip_checkpoint])
def test_the_accumulated_loss_is_that_of_one_large_batch(
    make: Callable[[Path], Path], tmp_path: Path, pictures: list[Path]
) -> None:
    """BLIP's answers have different numbers of tokens, and CLIP tells an answer from all others of the step."""
    folder = make(tmp_path / "model")
    samples = [
        SAMPLES[0]._replace(answer="red"),
        SAMPLES[1]._replace(answer="a blue and green metal mug"),
        SAMPLES[2]._replace(answer="blue"),
    ]
    found = {}
    for batch_size, accumulation in ((3, 1), (1, 3)):
        run = trainer_of(
            adapted(folder, ("language",)),
            pictures,
            tmp_path / str(batch_size),
            samples=samples,
            batch_size=batch_size,
            accumulation=accumulation,
            max_steps=2,
        )
        history = run.run().history
        assert [row["step"] for row in history] == [0, 1, 2]
        found[batch_size] = [row["train_loss"] for row in history[1:]]
    assert found[1] == pytest.approx(found[3], rel=1e-5)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_keeps_norms_and_weights_in_float32(
    precision: str, checkpoint_folder: Path, pictures: list[Path], tmp_path: Path
) -> None:
    model = adapted(checkpoint_folder)
    types: dict[type, set[torch.dtype]] = {torch.nn.LayerNorm: set(), torch.nn.Linear: set()}
    for part in model.module.modules():
        if type(part) in types:
            part.register_forward_hook(lambda part, _, found: types[type(part)].add(found.dtype))
    run = trainer_of(model, pictures, tmp_path / "work", precision=precision, max_steps=2)
    for seen in types.values():
        seen.clear()  # of encoding
    run.run()
    assert types[torch.nn.LayerNorm] == {torch.float32}
    assert types[torch.nn.Linear] == {{"bf16": torch.bfloat16, "fp16": torch.float16}[precision]}
    assert {weight.dtype for weight in run.weights.values()} == {torch.float32}


def test_a_picture_is_encoded_once_a_step_whatever_is_asked_about_it(tmp_path: Path, pictures: list[Path]) -> None:
    samples = [Sample(f"{image}-{n}", "what color?", "red", image) for n in range(3) for image in range(2)]
    run = trainer_of(
        adapted(blip_checkpoint(tmp_path / "blip"), ("vision", "language")),
        pictures,
        tmp_path / "work",
        samples=samples,
        trains_vision=True,
        batch_size=6,
        max_steps=1,
    )
    plain: Any = run.model.encode
    encoded: list[int] = []

    def counted(some: Any) -> Any:
        encoded.append(len(some))
        return plain(some)

    run.model.encode = counted  # type: ignore[method-assign, assignment]
    run.run()
    assert encoded == [2, 2, 2]  # to evaluate, in the step, to evaluate


AGAIN = {
    "blip": (blip_checkpoint, "BlipTextLayer"),
    "blip2-t5": (BLIP2_FAMILIES["blip2-t5"], "T5Block"),
    "idefics3": (CHAT_FAMILIES["idefics3"], "LlamaDecoderLayer"),
    "ofa": (ofa_checkpoint, "OfaDecoderLayer"),
    "clip": (clip_checkpoint, "CLIPEncoderLayer"),
}


@pytest.mark.parametrize("family", ["blip", *(pytest.param(name, marks=pytest.mark.slow) for name in list(AGAIN)[1:])])
def test_activations_computed_again_give_the_same_weights(family: str, tmp_path: Path, pictures: list[Path]) -> None:
    make, layer_name = AGAIN[family]
    folder = make(tmp_path / "model")
    found = []
    for again in (False, True):
        model = adapted(folder, ("language", "vision"), dropout=0.1)
        run = trainer_of(
            model, pictures, tmp_path / str(again), trains_vision=True, gradient_checkpointing=again, max_steps=2
        )
        layers = [part for part in model.module.modules() if type(part).__name__ == layer_name]
        assert layers
        assert {getattr(layer, "gradient_checkpointing", False) for layer in layers} == {again}
        run.run()
        found.append(run.weights)
    for name, weight in found[0].items():
        assert torch.equal(weight, found[1][name]), name
