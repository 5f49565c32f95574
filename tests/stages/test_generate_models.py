"""`shelfqa generate` by a model: what it is asked, what is made of its replies, and what is asked again."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from generating import write_curated
from predicting import shelfqa
from shelfqa.artifacts import read_manifest, read_table
from shelfqa.providers import scripted
from shelfqa.providers.base import ProviderError, Reply, Request, Usage
from shelfqa.records import QUESTION_COLUMNS

Say = Callable[[Request], Reply | str]


class Recorded:
    """A provider that replies by a function and notes what it is asked."""

    name = "scripted"
    model = "writer"

    def __init__(self, say: Say) -> None:
        self._say = say
        self.requests: list[Request] = []

    async def ask(self, request: Request, pictures: Sequence[bytes]) -> Reply:
        assert len(pictures) == len(request.images)
        self.requests.append(request)
        said = self._say(request)
        return said if isinstance(said, Reply) else Reply(text=said, model="writer-1", usage=Usage(1000, 100))

    async def close(self) -> None:
        pass


Speaks = Callable[[Say], Recorded]


@pytest.fixture
def speaks(monkeypatch: pytest.MonkeyPatch) -> Speaks:
    """Put a recorded provider where `--provider scripted` is looked up."""

    def put(say: Say) -> Recorded:
        made = Recorded(say)
        monkeypatch.setattr(scripted, "from_file", lambda name, **_: made)
        return made

    return put


@pytest.fixture
def curated(tmp_path: Path) -> Path:
    return write_curated(tmp_path / "curated", 12, pictures=12)


def number_of(request: Request) -> int:
    found = re.search(r"number (\d+)", request.prompt)
    assert found is not None
    return int(found[1])


def pairs(*proposed: tuple[object, ...], names: Sequence[str] = ("question", "answer")) -> str:
    return json.dumps({"pairs": [dict(zip(names, pair, strict=True)) for pair in proposed]})


def three(request: Request) -> str:
    number = number_of(request)
    return pairs((f"What is item {number}?", "mug"), ("What color is it?", "navy"), ("Is it round?", "yes"))


def generate(curated: Path, *options: object, code: int = 0) -> dict[str, Any]:
    """Run `generate --provider scripted` and return the manifest's counts and details."""
    out = curated.parent / "out"
    assert shelfqa("generate", curated, "--provider", "scripted", "--model", "w", "--out", out, *options) == code
    if code:
        return {}
    manifest = read_manifest(out)
    assert manifest is not None
    counts = manifest.counts
    assert counts.read == counts.kept + sum(counts.dropped.values())
    assert counts.kept == read_table(out, "questions").num_rows
    assert Counter(read_table(out, "dropped")["reason"].to_pylist()) == counts.dropped
    return {"kept": counts.kept, "dropped": counts.dropped, **manifest.details}


def questions(curated: Path) -> list[dict[str, Any]]:
    table = read_table(curated.parent / "out", "questions")
    assert table.schema.equals(QUESTION_COLUMNS)
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def failures(curated: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = read_table(curated.parent / "out", "failures").to_pylist()
    return rows


def test_every_pair_says_where_it_came_from(speaks: Speaks, curated: Path) -> None:
    made = speaks(three)
    found = generate(curated)
    assert found["kept"] == 36
    assert len(made.requests) == 12
    assert {tuple(row["source"].values()) for row in questions(curated)} == {
        ("scripted", "writer", "single-word-1", None)
    }
    assert found["spent"] == {"dollars": None, "requests": 12, "tokens": 13_200, "unknown": 0}
    assert failures(curated) == []
    assert all(request.schema is not None and len(request.images) == 1 for request in made.requests)


def test_what_a_model_gets_wrong_is_counted_or_listed(speaks: Speaks, curated: Path) -> None:
    good = ("What is item 5?", "mug")

    def say(request: Request) -> Reply | str:
        match number_of(request):
            case 0:
                return Reply(text="", model="writer-1", refused=True)
            case 1:
                return "I would rather talk."
            case 2:
                raise ProviderError("w: the request is refused (status 400)", kind="request")
            case 3:
                return pairs(("What?", "dark blue"), ("Is the mug a mug?", "mug"), ("?", "x"))
            case 4:
                return pairs(good, good, ("What color is it?", "red"), ("What shape is it?", "round"))
            case _:
                return three(request)

    made = speaks(say)
    found = generate(curated)
    assert found["failures"] == {"no-pair-left": 1, "off-schema": 1, "refused": 1, "request": 1}
    assert found["dropped"] == {
        "answer-in-question": 1,
        "answer-not-one-word": 1,
        "duplicate-question": 1,
        "empty-question": 1,
        **found["failures"],
    }
    assert found["kept"] == 3 + 7 * 3
    listed = {row["reason"]: row for row in failures(curated)}
    assert listed["off-schema"]["reply"] == "I would rather talk."
    assert listed["off-schema"]["askings"] == 3
    assert listed["request"]["reply"] is None
    asked_again = [request.prompt for request in made.requests if "I would rather talk." in request.prompt]
    assert all("no JSON object" in prompt for prompt in asked_again)


def test_failed_products_are_asked_again_when_that_is_wanted(speaks: Speaks, curated: Path) -> None:
    def say(request: Request) -> Reply | str:
        if number_of(request) == 0:
            return Reply(text="", model="writer-1", refused=True)
        if number_of(request) == 1:
            raise ProviderError("w: the request is refused (status 400)", kind="request")
        return three(request)

    speaks(say)
    assert generate(curated)["failures"] == {"refused": 1, "request": 1}
    made = speaks(three)
    assert generate(curated)["failures"] == {"refused": 1, "request": 1}
    assert made.requests == []
    assert generate(curated, "--retry-failed")["failures"] == {}
    assert sorted(map(number_of, made.requests)) == [0, 1]
    assert len(questions(curated)) == 36


def test_a_changed_listing_asks_about_that_product_alone(speaks: Speaks, curated: Path) -> None:
    made = speaks(three)
    generate(curated)
    path = curated / "products.parquet"
    rows = pq.read_table(path)
    changed = rows.to_pylist()
    changed[3]["color"] = "azure"
    pq.write_table(type(rows).from_pylist(changed, schema=rows.schema), path)
    generate(curated)
    assert len(made.requests) == 13
    assert "azure" in made.requests[-1].prompt
    generate(curated, "--style", "graded", code=0)
    assert len(made.requests) > 13


def test_a_dry_run_asks_nothing(speaks: Speaks, curated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = speaks(three)
    prices = ("--input-price", 1, "--output-price", 10, "--requests-per-minute", 2)
    where = ("generate", curated, "--provider", "scripted", "--model", "writer", "--out", curated.parent / "out")
    assert shelfqa(*where, "--dry-run", "--json", *prices) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["jobs"], told["requests"], told["done"]) == (12, 12, 0)
    assert told["dollars"] == pytest.approx((told["input_tokens"] + 10 * told["output_tokens"]) / 1e6)
    assert (told["seconds"], told["limited_by"]) == (360, "requests_per_minute")
    assert made.requests == []
    assert shelfqa(*where, "--dry-run", *prices) == 0
    assert "6 min 0 s at the limit of --requests-per-minute" in capsys.readouterr().out
    assert not (curated.parent / "out" / "questions.parquet").exists()
    assert shelfqa("generate", curated, "--out", curated.parent / "out", "--dry-run") == 2
    assert "asks no model" in capsys.readouterr().err


def test_a_budget_ends_the_run_and_a_larger_one_goes_on(
    speaks: Speaks, curated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = speaks(three)
    prices = ("--input-price", 1000, "--output-price", 0, "--concurrency", 1)  # a dollar a request
    generate(curated, "--budget", 5.5, *prices, code=2)
    said = capsys.readouterr().err
    assert re.search(r"The budget of \$5\.50 is used up: \$\d\.\d+ spent, .* 5 replies of this run are kept", said)
    assert len(made.requests) == 5
    found = generate(curated, "--budget", 50, *prices)
    assert len(made.requests) == 12
    assert found["spent"]["dollars"] == pytest.approx(12)
    generate(curated.parent / "curated", "--budget", 1, "--style", "graded", code=2)
    assert "A budget needs a price" in capsys.readouterr().err


def test_without_pictures_the_model_is_told_so(speaks: Speaks, curated: Path) -> None:
    made = speaks(three)
    generate(curated, "--text-only")
    assert all(request.images == () for request in made.requests)
    assert all(row["image_paths"] for row in questions(curated))


def test_feedback_goes_along_without_personal_data(speaks: Speaks, curated: Path, tmp_path: Path) -> None:
    file = tmp_path / "feedback.csv"
    file.write_text(
        "product_id,text\nP00001,The handle broke. Call me on +1 415 555 0134 or ann.lee@example.com\n"
        "P00001,Order 111-1234567-1234567 came late\nP99999,whose is this\nP00002,\n"
    )
    made = speaks(three)
    found = generate(curated, "--feedback", file)
    (prompt,) = [request.prompt for request in made.requests if number_of(request) == 1]
    assert "The handle broke" in prompt
    assert not any(secret in prompt for secret in ("555", "ann.lee", "1234567"))
    assert found["redacted"] == {"EMAIL": 1, "ORDER": 1, "PHONE": 1}
    assert found["dropped"] == {"empty-feedback": 1, "feedback-without-product": 1}


def test_comparisons_are_about_two_pictures(speaks: Speaks, curated: Path) -> None:
    names = ("task", "question", "answer")
    other = [("recognition", f"What is this, number {n}?", "a blue mug") for n in range(5)]
    said = pairs(("comparison", "Which of the two is darker?", "The first one."), *other, names=names)
    made = speaks(lambda _: said)
    found = generate(curated, "--style", "instruction")
    assert found["by_task"] == {"recognition": 60, "comparison": 12}
    by_task = {row["task"]: row["image_paths"] for row in questions(curated)}
    assert (len(by_task["comparison"]), len(by_task["recognition"])) == (2, 1)
    assert all(len(request.images) == 2 for request in made.requests)


def test_yes_and_no_are_balanced(speaks: Speaks, tmp_path: Path) -> None:
    curated = write_curated(tmp_path / "curated", 40, pictures=40)
    speaks(lambda request: pairs(("Is it round?", "no" if number_of(request) % 10 == 0 else "yes")))
    found = generate(curated, "--yes-share", 0.6)
    assert Counter(row["answer"] for row in questions(curated)) == {"yes": 6, "no": 4}
    assert found["dropped"]["yes-no-balance"] == 30


def test_products_that_share_a_picture_share_its_pairs(speaks: Speaks, tmp_path: Path) -> None:
    curated = write_curated(tmp_path / "curated", 10, pictures=4)
    speaks(lambda _: pairs(("Is it round?", "yes"), ("What color is it?", "red"), ("What is it?", "mug")))
    found = generate(curated)
    assert found["kept"] == 12
    assert found["dropped"] == {"same-pair": 18}
    assert len({row["question_id"] for row in questions(curated)}) == 12


def test_a_style_of_ones_own(speaks: Speaks, curated: Path, tmp_path: Path) -> None:
    style = tmp_path / "mine.yaml"
    style.write_text("rules: {least: 1, most: 1}\nprompt: |\n  Ask something.\n  {{ data }}\n  {{ reply }}\n")
    made = speaks(lambda request: pairs((f"What is item {number_of(request)}?", "mug")))
    assert generate(curated, "--style", style)["kept"] == 12
    assert re.fullmatch(r"mine-[0-9a-f]{8}", questions(curated)[0]["source"]["prompt_version"])
    style.write_text(style.read_text().replace("something", "something else"))
    generate(curated, "--style", style)
    assert len(made.requests) == 24


def test_mistakes_are_one_line(
    curated: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GEMINI_API_KEY", raising=False)
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)
    out = curated.parent / "out"
    cases = [
        (("--provider", "gemini"), "needs --model NAME"),
        (("--model", "x"), "the provider 'metadata' asks no model"),
        (("--provider", "gemini", "--model", "x"), "needs a key: set the environment variable"),
        (("--provider", "openai", "--model", "x", "--style", "gradde"), "Did you mean 'graded'?"),
        (("--provider", "openai", "--model", "x", "--requests-per-minute", 0), "requests_per_minute"),
        (("--provider", "local", "--model", "mini"), "mini"),
        (("--provider", "scripted", "--model", "none.json"), "Cannot read the script"),
        (("--provider", "openai", "--model", "x", "--base-url", "ftp://x"), "the base URL is no address"),
    ]
    for options, expected in cases:
        assert shelfqa("generate", curated, "--out", out, *options) == 2
        said = capsys.readouterr().err
        assert expected in said
        assert said.count("\n") == 1
