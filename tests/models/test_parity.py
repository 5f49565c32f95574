from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from shelfqa.errors import GateFailure, InputError
from shelfqa.models.answering import Asked, Found
from shelfqa.models.parity import Answerer, Item, Limits, compare, gate, sampled
from shelfqa.records import Answer

ITEMS = [Item(f"q{number}", Asked(f"question {number}?", (Path(f"{number // 2}.png"),))) for number in range(4)]
STRICT = Limits(tolerance=1e-3)


def saying(*answers: tuple[str, float] | None) -> Answerer:
    """A form that gives these answers, or fails where there is None."""

    def answer(asked: Sequence[Asked]) -> list[Found]:
        assert len(asked) == len(answers)
        return [
            Found([], "unreadable: broken", 0.0)
            if one is None
            else Found([Answer(*one), Answer("other", 0.1)], None, 0.0)
            for one in answers
        ]

    return answer


SAME = (("red", 0.8), ("blue", 0.6), ("2", 0.5), None)


def test_equal_answers_pass_and_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    near = (("red", 0.8004), *SAME[1:])
    found = gate(ITEMS, {"adapter": saying(*SAME), "merged": saying(*near)}, STRICT, tmp_path / "parity.json")
    assert found.passed
    assert (found.items, found.pictures, found.unanswered) == (4, 2, 1)
    assert found.distances["merged"].different == 0
    assert found.distances["merged"].largest == pytest.approx(0.0004)
    assert found.distances["merged"].largest_at == "q0"
    assert "answer 4 questions alike" in capsys.readouterr().err
    written = json.loads((tmp_path / "parity.json").read_text())
    assert written["passed"] is True
    assert written["tolerance"] == STRICT.tolerance
    assert written["differences"] == []


def test_another_answer_fails_and_the_question_is_named(tmp_path: Path) -> None:
    other = (SAME[0], ("green", 0.55), *SAME[2:])
    forms = {"adapter": saying(*SAME), "merged": saying(*SAME), "reloaded": saying(*other)}
    with pytest.raises(GateFailure) as failure:
        gate(ITEMS, forms, STRICT, tmp_path / "parity.json")
    message = str(failure.value)
    assert "0 of 4 answers of merged" in message
    assert "1 of 4 answers of reloaded differ from those of adapter" in message
    assert "q1 ('question 1?'): adapter 'blue' (0.600), merged 'blue' (0.600), reloaded 'green' (0.550)." in message
    assert "\n" not in message
    assert failure.value.exit_code == 1
    written = json.loads((tmp_path / "parity.json").read_text())
    assert written["passed"] is False
    assert [one["question_id"] for one in written["differences"]] == ["q1"]
    assert written["differences"][0]["given"]["reloaded"]["answer"] == "green"


def test_the_same_answer_with_another_probability_fails_too() -> None:
    found = compare(ITEMS, {"one": saying(*SAME), "two": saying(("red", 0.7), *SAME[1:])}, STRICT)
    assert not found.passed
    assert found.distances["two"].different == 0
    assert [one.question_id for one in found.differences] == ["q0"]
    assert compare(ITEMS, {"one": saying(*SAME), "two": saying(("red", 0.7), *SAME[1:])}, Limits(0.2)).passed


def test_what_one_form_alone_can_answer_differs() -> None:
    found = compare(ITEMS, {"one": saying(*SAME), "two": saying(*SAME[:3], ("red", 0.9))}, STRICT)
    assert found.distances["two"].different == 1
    assert not found.passed


def test_a_share_of_other_answers_can_be_allowed() -> None:
    forms = {"one": saying(*SAME), "two": saying(("pink", 0.8), *SAME[1:])}
    assert compare(ITEMS, forms, Limits(0.01, different=0.25)).passed
    assert not compare(ITEMS, forms, Limits(0.01, different=0.2)).passed
    many = {"one": saying(*SAME * 25), "two": saying(*SAME * 25)}
    assert compare(ITEMS * 25, many, Limits(0.01, different=0.29)).allowed_different == 29  # not 28.999… cut off


def test_questions_that_nothing_can_answer_are_no_gate() -> None:
    with pytest.raises(InputError, match="None of the 4 questions of the gate can be answered: unreadable"):
        compare(ITEMS, {"one": saying(None, None, None, None), "two": saying(*SAME)}, STRICT)


def test_forms_are_asked_one_after_the_other() -> None:
    order: list[str] = []

    def form(name: str) -> Answerer:
        def answer(asked: Sequence[Asked]) -> Sequence[Found]:
            order.append(name)
            return saying(*SAME)(asked)

        return answer

    compare(ITEMS, {name: form(name) for name in ("c", "a", "b")}, STRICT)
    assert order == ["c", "a", "b"]


def test_the_sample_is_drawn_by_seed_and_spread_over_the_pictures() -> None:
    rows = [{"image_paths": [f"{number // 5}.png"]} for number in range(50)]
    chosen = sampled(rows, 10, seed=0)
    assert chosen == sampled(rows, 10, seed=0)
    assert chosen != sampled(rows, 10, seed=1)
    assert chosen == sorted(chosen)
    assert {rows[place]["image_paths"][0] for place in chosen} == {f"{number}.png" for number in range(10)}
    assert len(sampled(rows, 20, seed=0)) == 20
    assert sampled(rows, 200, seed=0) == list(range(50))
