"""What the options of `predict` change, as a user sees it."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from predicting import assert_same_answers, rows_of, shelfqa, table
from shelfqa.artifacts import read_manifest, read_table
from shelfqa.models import ocr
from shelfqa.models.adapters.chat import ChatVqa
from shelfqa.models.base import Decoding, Query
from shelfqa.records import Answer
from tiny_chat import llava
from tiny_models import COLOURS, blip_checkpoint, mini_checkpoint, picture, questions_artifact
from tiny_pretrained import clip_checkpoint

Asked = list[tuple[Sequence[Query], Decoding]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.set_num_threads(1)
    made: dict[str, Callable[[Path], Path]] = {
        "llava": llava,
        "blip": blip_checkpoint,
        "mini": mini_checkpoint,
        "clip": clip_checkpoint,
    }
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in made.items()}


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return questions_artifact(tmp_path_factory.mktemp("data"), broken=(2,))


@pytest.fixture
def replies(monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, list[str]], Asked]:
    """Put words into the chat model's mouth, by question, and note how it is asked."""
    said: dict[str, list[str]] = {}
    asked: Asked = []

    def answer(self: ChatVqa, features: Any, queries: Sequence[Query], decoding: Decoding) -> list[list[Answer]]:
        asked.append((queries, decoding))
        found = [next((texts for words, texts in said.items() if words in one.question), ["yes"]) for one in queries]
        return [[Answer(text, 0.5 / (place + 1)) for place, text in enumerate(texts)] for texts in found]

    monkeypatch.setattr(ChatVqa, "answer", answer)
    return said, asked


def ask(model: Path | str, questions: Path, out: Path, *options: object) -> list[dict[str, Any]]:
    arguments = ["--model", model, "--questions", questions, "--out", out, "--device", "cpu", *options]
    assert shelfqa("predict", *arguments) == 0
    return rows_of(out)


def message(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The line that a mistake gives."""
    capsys.readouterr()
    assert shelfqa("predict", "--device", "cpu", *arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("shelfqa: error: ")
    assert said.count("\n") == 1
    return said


Replies = tuple[dict[str, list[str]], Asked]


@pytest.mark.parametrize(
    ("form", "prediction", "reply", "alternatives"),
    [
        ("raw", "The color of the mug is dark blue.", None, ["The color of the mug is dark blue.", "Dark blue", "red"]),
        ("short", "dark blue", "The color of the mug is dark blue.", ["dark blue", "Dark blue", "red"]),
        ("word", "blue", "The color of the mug is dark blue.", ["blue", "red"]),
        ("auto", "dark blue", "The color of the mug is dark blue.", ["dark blue", "Dark blue", "red"]),
    ],
)
def test_the_form_of_answers(
    form: str,
    prediction: str,
    reply: str | None,
    alternatives: list[str],
    models: dict[str, Path],
    questions: Path,
    replies: Replies,
    tmp_path: Path,
) -> None:
    replies[0]["color"] = ["The color of the mug is dark blue.", "Dark blue", "red"]
    row = ask(models["llava"], questions, tmp_path / "out", "--answer-form", form, "--limit", 1)[0]
    assert (row["prediction"], row["reply"]) == (prediction, reply)
    assert [one["answer"] for one in row["alternatives"]] == alternatives
    assert row["alternatives"][0]["probability"] == 0.5


def test_prompts_and_decoding_reach_the_model(
    models: dict[str, Path], questions: Path, replies: Replies, tmp_path: Path
) -> None:
    options = ["--prompt", "Look. {question} In one word:", "--one-word", "--beams", 2, "--max-new-tokens", 7]
    ask(models["llava"], questions, tmp_path / "out", *options, "--top-k", 3, "--limit", 1)
    ((queries, decoding),) = replies[1]
    assert [one.question for one in queries] == ["Look. what color is it? In one word:"]
    assert decoding == Decoding(top_k=3, beams=2, max_new_tokens=7, one_word=True)


def test_a_prompt_without_a_place_for_the_question_is_told(
    questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--questions", questions, "--out", tmp_path / "out", "--prompt", "What is it?"]
    assert "predict.prompt is 'What is it?': it needs {question}" in message(capsys, *options)


@pytest.mark.parametrize("name", ["blip", "llava", "mini", "clip"])
def test_candidates_are_all_that_is_said(name: str, models: dict[str, Path], questions: Path, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("red\nBlue\nzebra\n")
    found = ask(models[name], questions, tmp_path / "file", "--candidates", words)
    assert {one["answer"].lower() for row in found for one in row["alternatives"]} <= {"red", "blue", "zebra"}
    assert all(row["error"] is None for row in found)

    found = ask(models[name], questions, tmp_path / "type", "--candidates", "per-type")
    told = {row["question"]: {one["answer"] for one in row["alternatives"]} for row in found if row["alternatives"]}
    assert told["what color is it?"] <= set(COLOURS)
    if name != "mini":  # whose table holds no numbers
        assert told["how many?"] <= {"1", "2"}


def test_candidates_that_a_classifier_does_not_know_are_a_failure(
    models: dict[str, Path], questions: Path, tmp_path: Path
) -> None:
    words = tmp_path / "words.txt"
    words.write_text("zebra\n")
    found = ask(models["mini"], questions, tmp_path / "out", "--candidates", words)
    assert {row["error"] for row in found} == {"no answer: the model can give none of the candidates"}
    assert {row["prediction"] for row in found} == {None}


def test_dual_encoders_bring_a_list_of_their_own(models: dict[str, Path], questions: Path, tmp_path: Path) -> None:
    found = ask(models["clip"], questions, tmp_path / "split", "--top-k", 50)
    assert {one["answer"] for one in found[0]["alternatives"]} == {*COLOURS, "1", "2"}
    file = table(tmp_path, [("20.png", "what color is it?")])
    found = ask(models["clip"], file, tmp_path / "file", "--images", questions.parent / "images", "--top-k", 300)
    assert {"yes", "wood", "living room"} <= {one["answer"] for one in found[0]["alternatives"]}


def test_examples_of_the_same_type(models: dict[str, Path], questions: Path, replies: Replies, tmp_path: Path) -> None:
    options = ["--examples", "same-type", "--shots", 5, "--splits", "train"]
    found = ask(models["llava"], questions, tmp_path / "out", *options, "--answer-form", "raw")
    assert {row["model"] for row in found} == {f"{models['llava']}, 5 examples"}
    queries = [one for some, _ in replies[1] for one in some]
    assert len(queries) == 30  # of 32 about 16 products, one picture is broken
    by_picture: dict[tuple[int, ...], set[Any]] = {}
    for one in queries:
        by_picture.setdefault(one.images, set()).add(one.shots)
        assert len(one.shots) in (4, 5)  # five, but for the broken picture
        assert all(one.images != shot.images for shot in one.shots)
    assert all(len(shots) == 1 for shots in by_picture.values())
    assert len({shots for some in by_picture.values() for shots in some}) > 1


def test_examples_of_a_file(
    models: dict[str, Path], questions: Path, replies: Replies, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = tmp_path / "examples.csv"

    def write(*rows: Sequence[str]) -> Path:
        with examples.open("w", newline="") as stream:
            csv.writer(stream).writerows([("question", "answer", "image_path", "product_id"), *rows])
        return examples

    write(
        ("broken?", "yes", "2.png", ""),
        ("own picture?", "yes", "20.png", ""),
        ("own product?", "yes", "5.png", "p20"),
        ("color?", "blue", "1.png", ""),
        ("no picture?", "yes", "", ""),
    )
    options = ["--examples", examples, "--shots", 9, "--prompt", "Q: {question}"]
    ask(models["llava"], questions, tmp_path / "out", *options, "--limit", 3)
    shown = [[(shot.question, shot.answer) for shot in one.shots] for some, _ in replies[1] for one in some]
    assert shown[0] == shown[1] == [("Q: color?", "blue"), ("Q: no picture?", "yes")]
    assert [question for question, _ in shown[2]] == ["Q: own picture?", "Q: own product?", *(q for q, _ in shown[0])]

    where = ["--questions", questions, "--model", models["llava"], "--out", tmp_path / "none", "--examples"]
    assert "line 2: there is no picture" in message(capsys, *where, write(("what?", "red", "gone.png", "")))
    assert "line 2: an example needs a question and an answer" in message(capsys, *where, write(("what?", "", "", "")))
    assert "holds no examples" in message(capsys, *where, write())


@pytest.fixture
def several(tmp_path: Path) -> Path:
    """Rows of two pictures, of one, and of two of which one is broken."""
    for seed, (name, rgb) in enumerate(COLOURS.items()):
        picture(rgb, seed).save(tmp_path / f"{name}.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    rows = [
        {"image_paths": ["red.png", "blue.png"], "question": "which is red?", "product_id": "a"},
        {"image_paths": ["green.png"], "question": "what color is it?", "product_id": "b"},
        {"image_paths": ["broken.png", "black.png"], "question": "how many?", "product_id": "c"},
        {"image_paths": [], "question": "how many?", "product_id": "d"},
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path / "rows.jsonl"


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_several_pictures(kind: str, models: dict[str, Path], several: Path, tmp_path: Path) -> None:
    file = several
    if kind == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        file = tmp_path / "rows.parquet"
        pq.write_table(pa.Table.from_pylist([json.loads(line) for line in several.read_text().splitlines()]), file)
    where = ["--images", tmp_path, "--max-new-tokens", 4]
    both = ask(models["llava"], file, tmp_path / "chat", *where)
    assert [row["error"] and row["error"].split(":")[0] for row in both] == [None, None, "not-an-image", "no picture"]
    assert both[0]["image_paths"] == ["red.png", "blue.png"]
    one = ask(models["blip"], file, tmp_path / "one", *where)
    takes_one = f"several pictures: {models['blip']} takes one (see --use-images)"
    assert [row["error"] for row in one] == [takes_one, None, takes_one, "no picture: the row names none"]
    first = ask(models["blip"], file, tmp_path / "first", *where, "--use-images", "first")
    assert [row["prediction"] is not None for row in first] == [True, True, False, False]
    seen = ask(models["llava"], file, tmp_path / "chat-first", *where, "--use-images", "first")
    assert seen[0]["alternatives"] != both[0]["alternatives"]
    assert_same_answers(seen[1:2], both[1:2])


def test_shuffled_pictures_are_never_of_the_same_product(
    models: dict[str, Path], replies: Replies, tmp_path: Path
) -> None:
    colours = {"a": "red", "b": "blue", "c": "green"}
    rows = []
    for product, colour in colours.items():
        for number in range(2):
            picture(COLOURS[colour], number).save(tmp_path / f"{product}{number}.png")
        paths = [f"{product}{number}.png" for number in range(2)]
        rows += [{"image_paths": paths, "question": f"{product}?", "product_id": product}]
    rows += [{"image_paths": ["a0.png"], "question": "twin?", "product_id": "twin"}]  # another shop, the same picture
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    encoded: list[Path] = []
    plain = ChatVqa.inputs_of

    def noted(self: ChatVqa, path: Path) -> Any:
        encoded.append(path)
        return plain(self, path)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ChatVqa, "inputs_of", noted)
        patched.setattr("shelfqa.models.answering.PART_QUESTIONS", 1)  # so that each question decodes its own
        found = ask(models["llava"], file, tmp_path / "out", "--images", tmp_path, "--shuffle-images")
    shown = [path.name[0] for path in encoded]
    assert len(shown) == 7
    assert "a" not in shown[:2]
    assert "b" not in shown[2:4]
    assert "c" not in shown[4:6]
    assert shown[6] != "a"
    assert found[0]["image_paths"] == ["a0.png", "a1.png"]
    assert found[0]["model"].endswith(", shuffled pictures")


def test_print_on_the_pictures_goes_into_the_prompt(
    models: dict[str, Path], questions: Path, replies: Replies, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = {"20.png": ("ACME", "{question} 500 ml")}

    def read_texts(paths: Sequence[Path], *, cache: Path | None) -> dict[Path, tuple[str, ...]]:
        assert len(paths) == len(set(paths))
        return {path: lines.get(path.name, ()) for path in paths}

    monkeypatch.setattr(ocr, "read_texts", read_texts)
    ask(models["llava"], questions, tmp_path / "out", "--ocr", "--limit", 3, "--prompt", "{question} Briefly:")
    ask(models["llava"], questions, tmp_path / "own", "--ocr", "--limit", 1, "--prompt", "<{ocr}> {question}")
    words = [one.question for some, _ in replies[1] for one in some]
    assert sorted(words) == [
        "<ACME, {question} 500 ml> what color is it?",
        "OCR tokens: ACME, {question} 500 ml. how many? Briefly:",
        "OCR tokens: ACME, {question} 500 ml. what color is it? Briefly:",
        "what color is it? Briefly:",
    ]


def test_splits_limit_and_what_the_manifest_tells(models: dict[str, Path], questions: Path, tmp_path: Path) -> None:
    found = ask(models["mini"], questions, tmp_path / "out", "--splits", "train", "--splits", "test", "--limit", 7)
    assert [row["question_id"] for row in found] == ["0-what", "0-how", "1-what", "1-how", "2-what", "2-how", "3-what"]
    manifest = read_manifest(tmp_path / "out")
    assert manifest is not None
    assert manifest.details == {"questions": 7, "pictures": 4, "failures": {"not-an-image": 2}}
    assert manifest.counts.read == manifest.counts.kept == 7
    seconds = read_table(tmp_path / "out", "predictions").column("seconds").to_pylist()
    assert [value > 0 for value in seconds] == [row["error"] is None for row in found]
    assert sum(seconds) <= manifest.seconds + 0.01


def test_a_folder_of_pictures_may_hold_the_predictions(models: dict[str, Path], tmp_path: Path) -> None:
    picture(COLOURS["red"]).save(tmp_path / "red.png")
    file = table(tmp_path, [("red.png", "what color is it?")])
    for _ in range(2):
        ask(models["mini"], file, tmp_path / "out", "--images", tmp_path)
    first = (tmp_path / "out" / "manifest.json").stat().st_mtime_ns
    ask(models["mini"], file, tmp_path / "out", "--images", tmp_path)
    assert (tmp_path / "out" / "manifest.json").stat().st_mtime_ns == first
    picture(COLOURS["blue"]).save(tmp_path / "red.png")
    ask(models["mini"], file, tmp_path / "out", "--images", tmp_path)
    assert (tmp_path / "out" / "manifest.json").stat().st_mtime_ns > first


def test_improbable_answers_become_unanswerable(models: dict[str, Path], questions: Path, tmp_path: Path) -> None:
    plain = ask(models["mini"], questions, tmp_path / "plain", "--top-k", 2)
    best = sorted(row["alternatives"][0]["probability"] for row in plain if row["alternatives"])
    threshold = best[len(best) // 2]
    found = ask(models["mini"], questions, tmp_path / "out", "--top-k", 2, "--unanswerable-below", threshold)
    changed = 0
    for before, after in zip(plain, found, strict=True):
        if before["error"] is None and before["alternatives"][0]["probability"] < threshold:
            changed += 1
            assert after["prediction"] == "unanswerable"
            word, *others = after["alternatives"]
            assert word == {"answer": "unanswerable", "probability": None}
            assert others == before["alternatives"]
            assert after["reply"] == before["reply"]
            before, after = ({**row, "prediction": None, "alternatives": None} for row in (before, after))
        assert after == before | {"model": f"{models['mini']}, unanswerable below {threshold:g}"}
    manifest = read_manifest(tmp_path / "out")
    assert manifest is not None
    assert 0 < changed == manifest.details["unanswerable"] < len([row for row in plain if row["error"] is None])


def test_the_blind_baselines_can_say_unanswerable_too(questions: Path, tmp_path: Path) -> None:
    found = ask("majority", questions, tmp_path / "out", "--unanswerable-below", 1, "--limit", 3)
    assert {row["prediction"] for row in found} == {"unanswerable"}
    assert all(len(row["alternatives"]) > 1 for row in found)


def test_a_threshold_that_is_no_probability(
    questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--questions", questions, "--out", tmp_path / "out", "--unanswerable-below", 40]
    assert "unanswerable_below: expected `float` <= 1.0" in message(capsys, *options)
