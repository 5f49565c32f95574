from __future__ import annotations

import doctest
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shelfqa.questions import structured
from shelfqa.questions.rules import Proposed, Rules
from shelfqa.questions.structured import read_reply, reply_schema

pytest.importorskip("json_repair")

ONE = Rules(least=1)
FULL = Rules(
    least=2, difficulty=(0, 1, 2, 3, 5), metadata_flag=True, tasks=("count", "attributes"), json_tasks=("attributes",)
)
MUG = '{"question": "What is it?", "answer": "mug"}'
RED = '{"question": "What color?", "answer": "red"}'
MUG_PAIR, RED_PAIR = Proposed("What is it?", "mug"), Proposed("What color?", "red")


def full(**fields: Any) -> dict[str, Any]:
    return {
        "task": "count",
        "question": "How many?",
        "answer": "4",
        "difficulty": 3,
        "used_metadata": False,
    } | fields


def reply(*items: Any) -> str:
    return json.dumps({"pairs": items})


def test_doctests() -> None:
    assert doctest.testmod(structured).failed == 0


def test_the_schema_is_one_that_strict_modes_take() -> None:
    schema = reply_schema(FULL)
    pair = schema["properties"]["pairs"]["items"]
    assert list(pair["properties"]) == ["task", "question", "answer", "difficulty", "used_metadata"]
    assert pair["properties"]["difficulty"]["enum"] == [0, 1, 2, 3, 5]
    assert pair["properties"]["task"]["enum"] == ["count", "attributes"]
    for level in (schema, pair):
        assert level["required"] == list(level["properties"])
        assert level["additionalProperties"] is False
    text = json.dumps(schema)
    assert not any(word in text for word in ("$ref", "$defs", "minItems", "maxItems", "anyOf"))
    assert all("description" in field for field in pair["properties"].values())
    assert list(reply_schema(ONE)["properties"]["pairs"]["items"]["properties"]) == ["question", "answer"]


@pytest.mark.parametrize(
    ("text", "repairs"),
    [
        (f'{{"pairs": [{MUG}]}}', ()),
        (f'```json\n{{"pairs": [{MUG}]}}\n```', ("code-fence",)),
        (f'Here you are [as asked]: {{"pairs": [{MUG}]}} Anything {{else}}?', ("around",)),
        (f'<think>{{"pairs": [{RED}]}}</think>{{"pairs": [{MUG}]}}', ("around",)),
        (f"[{MUG}]", ("bare-list",)),
        (MUG, ("loose-pairs",)),
        (f'{{"reply": {{"pairs": [{MUG}]}}}}', ("wrapped",)),
        (f'{{"qa_pairs": [{MUG}]}}', ("other-name",)),
        (f'{{"notes": "", "pairs": [{MUG}]}}', ("extra-keys",)),
        ('{"pairs": [{"question": "What is it?", "answer": "mug", "why": "it looks so"}]}', ("extra-keys",)),
        (f'{{"pairs": [{MUG},],}}', ("syntax",)),
        (f'```\n{{"pairs": [{MUG},]}}\n```', ("syntax",)),
        ("{'pairs': [{'question': 'What is it?', 'answer': 'mug'}]}", ("syntax",)),
        ("{pairs: [{question: 'What is it?', answer: 'mug'}]}", ("syntax",)),
        ("{“pairs”: [{“question”: “What is it?”, “answer”: “mug”}]}", ("syntax",)),
        ('{"pairs": [{"question": "What is it?" "answer": "mug"}]}', ("syntax",)),
        (f'{{"pairs": [{MUG}, {{"question": "What', ("cut",)),
        (f'{{"pairs": [{MUG}, ', ("cut",)),
        (f'{{"pairs": [{MUG}', ("cut",)),
        (f'{{"pairs": [{MUG}]', ("bare-list",)),
    ],
)
def test_what_is_mended_without_doubt(text: str, repairs: tuple[str, ...]) -> None:
    if repairs == ("bare-list",) and text.startswith("{"):
        repairs = ("around", "bare-list")
    assert read_reply(text, ONE) == ([MUG_PAIR], repairs, None)


def test_quotes_within_quotes() -> None:
    text = '{"pairs": [{"question": "What does the "logo" say?", "answer": "ACME"}, ' + MUG + "]}"
    assert read_reply(text, ONE).pairs == [Proposed('What does the "logo" say?', "ACME"), MUG_PAIR]


@pytest.mark.parametrize(
    "item",
    [
        '{"question": "Is it 5", wide?", "answer": "yes"}',
        '{"question": "a "answer": "b"}',
        '{"question": "Is it "big", "answer": "red" or "tall"?", "answer": "big"}',
        '{"question": "a", "answer": "5" wide"}',
        '{"question": "a", "answer": }',
        '{"question": "a", "answer": "red", "blue"}',
        '{"question": "a", "answer": None}',
        '{"question": "a", // why?\n "answer": "b"}',
    ],
)
def test_what_cannot_be_mended_without_doubt_is_left_out_and_told(item: str) -> None:
    read = read_reply(f'{{"pairs": [{MUG}, {item}, {RED}]}}', Rules(least=3))
    assert read.pairs == [MUG_PAIR, RED_PAIR]
    assert read.problem is not None
    assert read.problem.startswith("not valid JSON (line ")
    assert read.problem.endswith("2 pairs, expected 3")


@pytest.mark.parametrize(
    ("fields", "expected", "repairs"),
    [
        ({}, {}, ()),
        ({"difficulty": "3", "used_metadata": "False"}, {}, ("type",)),
        ({"difficulty": 3.0}, {}, ()),
        ({"answer": 4}, {}, ("type",)),
        ({"answer": 2.5}, {"answer": "2.5"}, ("type",)),
        ({"task": " Count"}, {}, ("spelling",)),
        (
            {"task": "attributes", "answer": {"color": "red", "legs": 4}},
            {"task": "attributes", "answer": '{"color": "red", "legs": 4}'},
            ("type",),
        ),
    ],
)
def test_values_of_another_type(fields: dict[str, Any], expected: dict[str, Any], repairs: tuple[str, ...]) -> None:
    read = read_reply(reply(full(), full(**fields)), FULL)
    assert read == ([Proposed(**full()), Proposed(**full(**expected))], repairs, None)


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        (full(difficulty=4), "pairs[1].difficulty is 4: expected one of 0, 1, 2, 3, 5"),
        (full(difficulty="hard"), "pairs[1].difficulty is 'hard': expected one of 0, 1, 2, 3, 5"),
        (full(difficulty=True), "pairs[1].difficulty is true: expected one of 0, 1, 2, 3, 5"),
        (full(difficulty=10**30), f"pairs[1].difficulty is {10**30}: expected one of 0, 1, 2, 3, 5"),
        (full(used_metadata=1), "pairs[1].used_metadata is 1: expected true or false"),
        (full(task="cuont"), "pairs[1].task is 'cuont': expected one of count, attributes"),
        (full(answer=None), "pairs[1].answer is null: expected text"),
        (full(answer=float("nan")), "pairs[1].answer is nan: expected text"),
        (full(answer=True), "pairs[1].answer is true: expected text"),
        (full(answer={"a": 1}), "pairs[1].answer is an object: expected text"),
        (full(question=["a"]), "pairs[1].question is a list: expected text"),
        (full(question="\ud800"), r"pairs[1].question is '\ud800': expected text"),
        ({"question": "a", "task": "count"}, "pairs[1].answer is missing"),
        ("text", "pairs[1] is 'text': expected an object"),
        ("x" * 99, f"pairs[1] is '{'x' * 56}...: expected an object"),
    ],
)
def test_a_broken_pair_is_told_and_the_others_are_kept(item: Any, problem: str) -> None:
    assert read_reply(reply(full(), item), FULL) == ([Proposed(**full())], (), problem)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty reply"),
        (" \n", "empty reply"),
        ("I cannot help with {that}.", "no JSON object found"),
        ("[1] and {}", 'no list of pairs found: expected {"pairs": [...]}'),
        ('{"pairs": "none"}', 'no list of pairs found: expected {"pairs": [...]}'),
        ('{"pairs": []}', "0 pairs, expected 3"),
        (f'{{"pairs": [{MUG}]}}', "1 pair, expected 3"),
        (f'{{"pairs": [{MUG}, {RED}, {{"questi', "the reply ends early: 2 pairs, expected 3"),
        ('{"pairs": [{"question": "What', "the reply ends early: no whole pair"),
        ('{"pairs": [], "pairs": []}', "the reply has pairs twice"),
        (
            '{"pairs": [{"question": "a", "question": "b", "answer": "c"}, 1, 2, 3, 4]}',
            "pairs[0] has question twice; pairs[1] is 1: expected an object; pairs[2] is 2: expected an object; "
            "2 more broken pairs",
        ),
    ],
)
def test_what_is_wrong_is_told_in_a_line(text: str, problem: str) -> None:
    assert read_reply(text, Rules(least=3)).problem == problem


def test_a_range_is_told_and_too_many_are_no_problem() -> None:
    assert read_reply(reply(), Rules(least=3, most=5)).problem == "0 pairs, expected 3 to 5"
    read = read_reply(f'{{"pairs": [{", ".join([MUG] * 9)}]}}', Rules(least=3, most=5))
    assert (len(read.pairs), read.problem) == (9, None)


def test_a_reply_that_is_cut_is_not_mended() -> None:
    text = f'{{"pairs": [{MUG}, {{"question": "What does the "logo" say?", "answer": "ACME"}}]}}'
    assert len(read_reply(text, ONE).pairs) == 2
    assert read_reply(text, ONE, cut=True) == ([MUG_PAIR], ("cut",), None)


def pairs_of(alphabet: str) -> st.SearchStrategy[list[Proposed]]:
    words = st.text(alphabet=alphabet, max_size=12)
    return st.lists(st.builds(Proposed, words, words, st.none(), st.none(), st.none()), min_size=1, max_size=4)


def written(pairs: list[Proposed]) -> str:
    return reply(*({"question": pair.question, "answer": pair.answer} for pair in pairs))


@given(pairs_of("ab \"'{}[],:\\n\n5"), st.data())
def test_of_a_reply_cut_anywhere_only_its_own_whole_pairs_are_taken(pairs: list[Proposed], data: st.DataObject) -> None:
    text = written(pairs)
    end = data.draw(st.integers(0, len(text)))
    read = read_reply(text[:end], ONE, cut=data.draw(st.booleans()))
    assert read.pairs == pairs[: len(read.pairs)]
    if end == len(text):
        assert read == (pairs, (), None)


@given(pairs_of("ab \"'{}[],:\\n\n5"), st.sampled_from(["trailing commas", "single quotes"]))
def test_mending_gives_what_was_meant_or_nothing(pairs: list[Proposed], fault: str) -> None:
    text = written(pairs)
    text = text[:-2] + ",]}" if fault == "trailing commas" else repr(json.loads(text))
    assert all(pair in pairs for pair in read_reply(text, ONE).pairs)


@given(pairs_of("ab '\"5"))
def test_quotes_within_quotes_are_what_was_meant_or_nothing(pairs: list[Proposed]) -> None:
    text = written(pairs).replace('\\"', '"')
    assert all(pair in pairs for pair in read_reply(text, ONE).pairs)


JUNK = st.one_of(
    st.text(),
    st.text(alphabet="{}[]\",:\\pairsquestion'\ud800 1.e-", max_size=80),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["pairs", "question", "answer", "task", "difficulty", "used_metadata", "x"]), inner
            )
        ),
        max_leaves=20,
    ).map(json.dumps),
)


@given(JUNK, st.sampled_from([ONE, FULL]), st.booleans())
def test_no_reply_makes_it_raise(text: str, rules: Rules, cut: bool) -> None:
    read = read_reply(text, rules, cut=cut)
    assert (read.problem is None) <= (len(read.pairs) >= rules.least)
    if read.problem is not None:
        assert len(read.problem.splitlines()) == 1
        assert len(read.problem.encode()) < 1000
    for pair in read.pairs:
        assert (pair.question + pair.answer).encode() is not None
        assert pair.task is None or pair.task in rules.tasks
        assert pair.difficulty is None or pair.difficulty in rules.difficulty


@pytest.mark.parametrize(
    "text",
    [
        "[" * 1_000_000,
        '{"a":' * 200_000,
        '"' * 1_000_000,
        '{"pairs": ' + 'x"y\\z,' * 160_000,
        '{"pairs": [' + '{"question":"a"b"c","answer":"d"},' * 30_000,
        "[" * 900 + '{"a":1},' * 120_000,
        "[\nx" * 300_000,
        '{"pairs": [' + "{" * 31_000 + "}]}",
        '{"pairs": [' + '"[{' * 10_000 + "}]}",
        '{"pairs": [' + '"' * 31_000 + "}]}",
        '{"pairs": 1' + ', "pairs": 1' * 80_000 + "}",
        '{"question":}' + " " * 1_000_000 + "]",
        '{"pairs": [{"question": "a", "answer": ' + "[" * 500 + "]" * 500 + "}]}",
        '{"pairs": [{"question": "a", "answer": ' + "9" * 1_000_000 + "}]}",
    ],
    ids=range(14),
)
def test_no_reply_takes_long(text: str) -> None:
    began = time.process_time()
    read_reply(text, FULL)
    assert time.process_time() - began < 5


def test_without_json_repair_whole_pairs_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "json_repair", None)
    read = read_reply(f'{{"pairs": [{MUG},]}}', ONE)
    assert read.pairs == [MUG_PAIR]
    assert "not valid JSON" in str(read.problem)
