"""Hosted models as answerers: what they are asked, and what is made of their replies."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from predicting import rows_of, shelfqa, table
from shelfqa.providers import scripted
from shelfqa.providers.base import ProviderError, Reply, Request
from tiny_models import COLOURS, picture


class Recorded:
    """A provider that replies by a function and notes what it is asked."""

    name = "scripted"
    model = "recorded"

    def __init__(self, say: Callable[[str], str]) -> None:
        self._say = say
        self.prompts: list[str] = []
        self.images: list[list[str]] = []

    async def ask(self, request: Request, pictures: Sequence[bytes]) -> Reply:
        assert len(pictures) == len(request.images)
        self.prompts.append(request.prompt)
        self.images.append([path.name for path in request.images])
        return Reply(text=self._say(request.prompt), model=self.model)

    async def close(self) -> None:
        pass


Speaks = Callable[[Callable[[str], str]], Recorded]


@pytest.fixture
def speaks(monkeypatch: pytest.MonkeyPatch) -> Speaks:
    """Put a recorded provider where `scripted:any` is looked up."""

    def put(say: Callable[[str], str]) -> Recorded:
        made = Recorded(say)
        monkeypatch.setattr(scripted, "from_file", lambda name, **_: made)
        return made

    return put


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed, (name, rgb) in enumerate(COLOURS.items()):
        picture(rgb, seed).save(folder / f"{name}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def ask(folder: Path, rows: Sequence[tuple[str, ...]], *options: object, code: int = 0) -> list[dict[str, object]]:
    """Run `predict` with the model `scripted:any`."""
    out = folder.parent / "out"
    where = ["--questions", table(folder.parent, rows), "--images", folder, "--out", out]
    assert shelfqa("predict", *where, "--model", "scripted:any", *options) == code
    return rows_of(out) if code == 0 else []


def refusing(prompt: str) -> str:
    raise ProviderError("openai: the request is refused (status 400)", kind="request")


def failing(prompt: str) -> str:
    raise ProviderError("openai: quota used up (status 429)", kind="quota")


def test_stated_probabilities_are_kept(speaks: Speaks, pictures: Path) -> None:
    stated = {"answers": [{"answer": "blue", "probability": 0.2}, {"answer": "The color is red.", "probability": 0.7}]}
    made = speaks(lambda _: f"Here you are:\n```json\n{json.dumps(stated)}\n```")
    (row,) = ask(pictures, [("red.png", "what color is it?")])
    assert row["prediction"] == "red"
    assert row["reply"] == "The color is red."
    assert row["alternatives"] == [{"answer": "red", "probability": 0.7}, {"answer": "blue", "probability": 0.2}]
    assert row["model"] == "scripted:any"
    assert "5 best guesses" in made.prompts[0]
    assert made.images == [["red.png"]]


def test_asked_for_one_answer_it_states_no_probability(speaks: Speaks, pictures: Path) -> None:
    made = speaks(lambda _: "It is a mug.")
    (row,) = ask(pictures, [("red.png", "what is it?")], "--top-k", 1)
    assert row["alternatives"] == [{"answer": "mug", "probability": None}]
    assert "JSON" not in made.prompts[0]


@pytest.mark.parametrize("top_k", [1, 5])
def test_a_refusal_is_an_empty_answer(top_k: int, speaks: Speaks, pictures: Path) -> None:
    speaks(lambda _: "")
    (row,) = ask(pictures, [("red.png", "what is it?")], "--top-k", top_k)
    assert (row["prediction"], row["error"]) == ("", None)


def test_failures_are_recorded_row_by_row(speaks: Speaks, pictures: Path) -> None:
    made = speaks(lambda prompt: refusing(prompt) if "fail" in prompt else "red")
    rows = [
        ("red.png", "what?"),
        ("red.png", "fail?"),
        ("broken.png", "what?"),
        ("gone.png", "what?"),
        ("red.png", " "),
    ]
    found = ask(pictures, rows, "--top-k", 1)
    assert [row["prediction"] for row in found] == ["red", None, None, None, None]
    reasons = [str(row["error"]).split(":")[0] for row in found[1:]]
    assert reasons == ["openai", "not-an-image", "missing", "empty question"]
    assert len(made.prompts) == 2


def test_many_unreadable_pictures_do_not_end_the_run(speaks: Speaks, pictures: Path) -> None:
    speaks(lambda _: "red")
    rows = [(f"gone{number}.png", "what?") for number in range(30)]
    found = ask(pictures, [*rows, ("red.png", "what?")], "--top-k", 1)
    assert [row["prediction"] for row in found] == [None] * 30 + ["red"]


def test_a_used_up_quota_ends_the_run(speaks: Speaks, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = speaks(failing)
    ask(pictures, [("red.png", f"{number}?") for number in range(50)], code=2)
    assert len(made.prompts) < 30
    assert capsys.readouterr().err == "shelfqa: error: openai: quota used up (status 429).\n"


def test_a_model_that_takes_no_request_ends_the_run(
    speaks: Speaks, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = speaks(refusing)
    ask(pictures, [("red.png", f"{number}?") for number in range(500)], code=2)
    assert len(made.prompts) < 100
    assert "None of the first 10 requests got a reply: openai: the request is refused" in capsys.readouterr().err


def test_a_quota_that_runs_out_loses_no_reply(
    speaks: Speaks, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [("red.png", f"what is number {number}?") for number in range(60)]
    left = iter(range(20))
    speaks(lambda prompt: "red" if next(left, None) is not None else failing(prompt))
    ask(pictures, rows, "--top-k", 1, code=2)
    said = capsys.readouterr().err
    assert "openai: quota used up (status 429). 20 replies of this run are kept in" in said

    made = speaks(lambda _: "red")
    assert [row["prediction"] for row in ask(pictures, rows, "--top-k", 1)] == ["red"] * 60
    assert len(made.prompts) == 40


def test_failed_rows_of_a_finished_run_are_asked_again(speaks: Speaks, pictures: Path) -> None:
    rows = [("red.png", f"{word}?") for word in ("what", "fail", "which")]
    speaks(lambda prompt: refusing(prompt) if "fail" in prompt else "red")
    assert [row["prediction"] for row in ask(pictures, rows, "--top-k", 1)] == ["red", None, "red"]
    made = speaks(lambda _: "blue")
    assert [row["prediction"] for row in ask(pictures, rows, "--top-k", 1)] == ["red", None, "red"]
    found = ask(pictures, rows, "--top-k", 1, "--retry-failed")
    assert [row["prediction"] for row in found] == ["red", "blue", "red"]
    assert len(made.prompts) == 1


def test_what_is_refused_again_and_again_does_not_hold_up_the_rest(speaks: Speaks, pictures: Path) -> None:
    def say(prompt: str) -> str:
        if "odd" in prompt:
            refusing(prompt)
        return "red"

    speaks(say)
    found = ask(pictures, [("red.png", "what?"), *[("red.png", f"odd {number}?") for number in range(30)]])
    assert [row["prediction"] for row in found] == ["red"] + [None] * 30


def test_candidates_are_what_the_reply_may_name(speaks: Speaks, pictures: Path) -> None:
    (pictures / "colours.txt").write_text("Dark Red\nblue\n")
    replies = {"first": "It is dark red.", "second": "green", "third": "Blue"}
    made = speaks(lambda prompt: next(text for word, text in replies.items() if word in prompt))
    rows = [("red.png", f"what is the {word}?") for word in replies]
    found = ask(pictures, rows, "--top-k", 1, "--candidates", pictures / "colours.txt")
    assert [row["prediction"] for row in found] == ["Dark Red", None, "blue"]
    assert found[1]["error"] == "reply: it names none of the candidates"
    assert all("Choose from: Dark Red, blue." in prompt for prompt in made.prompts)


def test_replies_that_name_no_candidate_are_replies(speaks: Speaks, pictures: Path) -> None:
    (pictures / "colours.txt").write_text("red\nblue\n")
    speaks(lambda _: "I cannot tell")
    rows = [("red.png", f"what is {number}?") for number in range(20)]
    found = ask(pictures, rows, "--top-k", 1, "--candidates", pictures / "colours.txt")
    assert {row["error"] for row in found} == {"reply: it names none of the candidates"}


def test_a_long_list_of_candidates_is_refused(
    speaks: Speaks, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    speaks(lambda _: "red")
    ask(pictures, [("red.png", "what?")], "--candidates", "common", code=2)
    assert "a hosted model is shown 300 at most" in capsys.readouterr().err


def test_pictures_of_examples_are_numbered_before_the_question(speaks: Speaks, pictures: Path) -> None:
    examples = pictures / "examples.jsonl"
    shown = [("blue.png", "what color?", "blue"), ("broken.png", "what?", "nothing"), ("red.png", "which?", "red")]
    lines = [json.dumps(dict(zip(("image_path", "question", "answer"), one, strict=True))) for one in shown]
    examples.write_text("\n".join(lines))
    made = speaks(lambda _: "green")
    found = ask(pictures, [("green.png", "is it?")], "--top-k", 1, "--examples", examples, "--shots", 3)
    assert made.images == [["blue.png", "red.png", "green.png"]]
    assert made.prompts[0].splitlines()[:2] == ["Image 1: what color?", "Answer: blue"]
    assert "Image 2: which?\nAnswer: red\n" in made.prompts[0]
    assert "Image 3: is it?" in made.prompts[0]
    assert "nothing" not in made.prompts[0]
    assert found[0]["model"] == "scripted:any, 3 examples"
