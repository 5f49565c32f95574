from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from shelfqa.errors import ConfigError, InputError
from shelfqa.models.answer_lists import answer_list, read_answers
from shelfqa.text import normalize_answer

TRAINING = [
    ("What color is the mug?", "Red"),
    ("What color is it?", "red."),
    ("What color is the lid?", "Blue"),
    ("How many legs?", "Four"),
    ("How many wheels?", "two"),
    ("How many doors?", ""),
]


def test_common_answers_are_plain_normalised_words() -> None:
    common = answer_list("common", [])("anything")
    assert len(common) > 100
    assert {"yes", "no", "2", "red", "wood", "round", "chair", "living room"} <= set(common)
    assert [normalize_answer(answer) for answer in common] == list(common)
    assert len(set(common)) == len(common)


def test_all_answers_come_most_frequent_first() -> None:
    assert answer_list("all", TRAINING)("whatever") == ("red", "2", "4", "blue")


def test_answers_per_type_are_those_to_such_questions() -> None:
    candidates = answer_list("per-type", TRAINING)
    assert candidates("Which colour has the lamp?") == ("red", "blue")
    assert candidates("How many lamps?") == ("2", "4")
    assert candidates("Is it made in Italy?") == ("red", "2", "4", "blue")


@pytest.mark.parametrize("name", ["common", "all", "per-type"])
def test_equal_lists_are_the_same_tuple(name: str) -> None:
    candidates = answer_list(name, TRAINING)
    assert candidates("How many lamps?") is candidates("how many mugs?")


@pytest.mark.parametrize("name", ["all", "per-type"])
@pytest.mark.parametrize("training", [[], [("what?", ""), ("what?", "The")]])
def test_an_empty_training_split_is_told(name: str, training: list[tuple[str, str]]) -> None:
    with pytest.raises(InputError, match=rf"'{name}'.*run shelfqa split first, or use the list 'common'"):
        answer_list(name, training)


def test_an_unknown_name_is_told() -> None:
    with pytest.raises(ConfigError, match=r"no answer list 'comon'\. Did you mean 'common'\?"):
        answer_list("comon", TRAINING)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.txt", b"\xef\xbb\xbfRed\r\n\r\ndark blue\nred\n"),
        ("list.json", b'["Red", " dark blue", "red"]'),
        ("list.csv", b"question,answer\nwhat?,Red\nwhat?,dark blue\nwhat?,\nwhat?,red\n"),
        ("list.jsonl", b'{"answer": "Red"}\n{"answer": "dark blue"}\n{"answer": "red"}\n'),
    ],
)
def test_files_are_read(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert read_answers(tmp_path / name) == ("Red", "dark blue", "red")
    assert answer_list(tmp_path / name, [])("what?") == ("Red", "dark blue")
    assert answer_list(str(tmp_path / name), [])("how?") == ("Red", "dark blue")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("list.txt", b" \n\n", "holds no answer"),
        ("list.txt", b"red\n\xff\n", r"line 2: is not UTF-8"),
        ("list.json", b'{"red": 1}', r"is to hold one list of texts"),
        ("list.json", b'["red", 2]', r"is to hold one list of texts"),
        ("list.json", b"[", "is no valid JSON"),
        ("list.csv", b"question,reply\nwhat?,red\n", r"has no column 'answer': its columns are 'question', 'reply'"),
        ("list.csv", b'answer\nred\n"blue\n', r"list\.csv', line 3"),
        ("list.pdf", b"", "of an unknown kind"),
    ],
)
def test_unusable_files_are_told(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        answer_list(tmp_path / name, TRAINING)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["none.txt", "none.json", "none.csv"])
def test_missing_files_are_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="none"):
        answer_list(tmp_path / name, TRAINING)
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match="none"):
        answer_list(tmp_path / name, TRAINING)


def test_no_torch_is_needed() -> None:
    code = "import sys, shelfqa.models.answer_lists; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_the_common_list_covers_most_answers_about_real_products(abo_slice: Path) -> None:
    import csv

    with (abo_slice / "questions" / "gemini_three_per_image.csv").open(encoding="utf-8", newline="") as stream:
        answers = [normalize_answer(row["answer"]) for row in csv.DictReader(stream)]
    common = set(answer_list("common", [])(""))
    assert sum(answer in common for answer in answers) / len(answers) == pytest.approx(0.848, abs=0.001)
