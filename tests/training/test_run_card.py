from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from shelfqa.training.run_card import as_json, history_table, peak_memory_bytes, readme_part, run_card
from shelfqa.training.trainer import Cost, Result


def row(step: int, match: float | None) -> dict[str, Any]:
    return {
        "step": step, "epoch": step / 10, "train_loss": 3 / step if step else None, "learning_rate": 0.1,
        "validation_loss": 2.5 if match is not None else None, "validation_exact_match": match, "seconds": 1.0 * step,
    }  # fmt: skip


HISTORY = [row(0, 0.1), row(5, None), row(10, 0.4), row(20, 0.3)]
RESULT = Result(HISTORY, 20, 10, 0.4, 0.1, True, Cost(110.0, 10.0, 500, 2, 3_000_000_000))


def card(**given: Any) -> dict[str, Any]:
    values: dict[str, Any] = {"device": "cpu", "processes": 2, "parallel": "ddp", "precision": "fp32"}
    found: dict[str, Any] = json.loads(
        as_json(run_card(RESULT, run="abc", padding_share=0.0512345, **(values | given)))
    )
    return found


def test_the_card_has_curves_cost_and_versions() -> None:
    found = card()
    assert found["curves"]["train_loss"] == {"first": 0.6, "last": 0.15, "lowest": 0.15, "highest": 0.6}
    assert found["curves"]["validation_exact_match"] == {"first": 0.1, "last": 0.3, "lowest": 0.1, "highest": 0.4}
    assert (found["curves"]["best_step"], found["curves"]["stopped_early"]) == (10, True)
    assert found["cost"] == {
        "seconds": 110.0, "evaluation_seconds": 10.0, "samples": 500, "skipped_steps": 2,
        "peak_memory_bytes": 3_000_000_000, "samples_a_second": 5.0, "padding_share": 0.0512,
    }  # fmt: skip
    assert {"python", "shelfqa", "torch", "transformers", "peft"} <= found["versions"].keys()
    assert (found["device"]["processes"], found["device"]["parallel"]) == (2, "ddp")
    assert found["settings_and_data"] == "manifest.json"
    assert history_table(RESULT).num_rows == 4


def test_memory_is_the_process_s_where_the_gpu_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 0)
    assert peak_memory_bytes() > 10_000_000
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 5)
    assert peak_memory_bytes() == 5


def test_the_readme_shows_the_curve_and_no_folder_of_this_machine() -> None:
    told = readme_part({"model": "/home/me/models/blip", "rank": 16, "answers": None}, "f00", RESULT)
    assert "| 0 |  | 2.5000 | 0.1000 |\n| 10 | 0.3000 | 2.5000 | 0.4000 |\n| 20 | 0.1500 | 2.5000 | 0.3000 |\n" in told
    assert "fingerprint `f00`" in told
    assert '    model: "blip"\n    rank: 16\n    answers: null\n' in told
    assert "/home" not in told


def test_a_long_curve_is_shown_in_part_with_its_best_point() -> None:
    history = [row(step, 0.5 if step == 37 else 0.1) for step in range(100)]
    told = readme_part({}, "f00", RESULT._replace(history=history, best_step=37))
    shown = [line for line in told.splitlines() if line.startswith("| ") and line[2].isdigit()]
    assert 12 <= len(shown) <= 13
    assert shown[0].startswith("| 0 ")
    assert shown[-1].startswith("| 99 ")
    assert any(line.startswith("| 37 ") for line in shown)
