from __future__ import annotations

import csv
import doctest
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shelfqa.questions import checks
from shelfqa.questions.checks import Checked, check_pairs, is_flat_json, leaks, one_word, yes_no_surplus
from shelfqa.questions.rules import Proposed, Rules

WORD = Rules(least=1, most=3)
FREE = Rules(least=1, most=3, answers="free")
TASKS = Rules(least=1, tasks=("count", "attributes"), json_tasks=("attributes",), difficulty=(0, 1))
ONE_WORDS = {
    "mug": "mug", "A mug.": "mug", "the North": "North", '"T-shirt"': "T-shirt", "“T-shirt”": "T-shirt",
    "women's": "women's", "l’Oréal": "l’Oréal", "(red)": "red", "**red**": "red", "- red": "red", " red \n": "red",
    "red...": "red", "yes!": "yes", "KitchenAid®": "KitchenAid", "red\u200b": "red", 'a "mug"': "mug",
    "12 cm": "12cm", "500 ml": "500ml", "5 W.": "5W", "14 K": "14K", "40 °C": "40°C", "50 %": "50%", "10%": "10%",
    '5 "': '5"', '5"': '5"', '"5"': "5", '1/2 "': '1/2"', "½ ″": "½″", "5'10\"": "5'10\"",
    "2.5": "2.5", ".925": ".925", "1/2": "1/2", "1,000": "1,000", "2,5": "2,5", "$5.00": "$5.00", "-5": "-5",
    "12:45": "12:45", "10x12": "10x12", "18+": "18+", "C++": "C++", "#5": "#5", "'90s": "90s", "U.S.A.": "U.S.A",
    "USB-C": "USB-C", "A4": "A4", "a": "a", "H&M": "H&M", "AT&T": "AT&T", "M&M's": "M&M's",
    "BLACK+DECKER": "BLACK+DECKER", "Side-by-side": "Side-by-side", "五": "五", "陶器。": "陶器", "हिन्दी": "हिन्दी",
}  # fmt: skip
SEVERAL_OR_NONE = (
    "black and white", "dark blue", "black/white", "7/S", "N/A", "red,blue", "1,2,3", "black&white", "black+white",
    "can_opener", "12 inches", "10 x 12", "a 4", "red (dark)", "Answer: red", "x=5", "@home", "赤、青", "黒・白", "",
    "?", "✓", "...", "''", "\ud800", "red--blue", "re\x00d", "a" * 501,
)  # fmt: skip


def reasons(checked: Checked) -> list[str]:
    return [reason for _, reason, _ in checked.rejected]


def test_doctests() -> None:
    assert doctest.testmod(checks).failed == 0


@pytest.mark.parametrize(("answer", "word"), ONE_WORDS.items())
def test_one_word(answer: str, word: str) -> None:
    assert one_word(answer) == word


@pytest.mark.parametrize("answer", SEVERAL_OR_NONE)
def test_what_is_not_one_word(answer: str) -> None:
    assert one_word(answer) is None


@given(st.one_of(st.text(), st.text(alphabet="ab5 \"'.,-+&/½%the(*“”’°", max_size=9)))
def test_a_word_is_one_token_and_its_own_word(answer: str) -> None:
    word = one_word(answer)
    if word is not None:
        assert len(word.split()) == 1
        assert one_word(word) == word
        assert word in answer.replace(" ", "") or one_word(answer.replace("\u200b", "")) == word


@pytest.mark.parametrize(
    ("question", "answer", "expected"),
    [
        ("How many boxes are shown?", "box", True),
        ("What is in the box?", "boxes", True),
        ("What is on the shelves?", "shelf", True),
        ("What is the mug's shape?", "mug", True),
        ("What are the 2 legs made of?", "two", True),
        ("What grey thing is it?", "gray", True),
        ("What dark blue thing is it?", "Dark Blue", True),
        ("What kind of t-shirt is it?", "T-Shirt", True),
        ("What kind of shirt is it?", "t-shirt", False),
        ("What is on the floor?", "slip-on", False),
        ("What USB port is it?", "USB-A", False),
        ("What shade of blue is it?", "dark blue", False),
        ("Is there no handle?", "no", False),
        ("Does it say yes?", "Yes.", False),
        ("How many legs does this one have?", "one", False),
        ("How many legs does the 1 have?", "one", True),
        ("What is this?", "I", False),
        ("What is the mug?", "the", False),
        ("", "mug", False),
        ("What is it?", "", False),
    ],
)
def test_leaks(question: str, answer: str, expected: bool) -> None:
    assert leaks(question, answer) is expected


@pytest.mark.parametrize(
    ("pair", "rules", "reason", "detail"),
    [
        (Proposed(" ?", "mug"), WORD, "empty-question", "'?'"),
        (Proposed("What?", " "), WORD, "empty-answer", "' '"),
        (Proposed("What?", "a", 2, task="count"), TASKS, "difficulty-out-of-range", "2 is none of 0, 1"),
        (Proposed("What?", "a", None, task="count"), TASKS, "difficulty-out-of-range", "None is none of 0, 1"),
        (Proposed("What?", "a", 1, task="size"), TASKS, "unknown-task", "'size' is none of count, attributes"),
        (Proposed("What?", "a", 1), TASKS, "unknown-task", "None is none of count, attributes"),
        (Proposed("a" * 301, "mug"), WORD, "too-long", "the question has 301 characters, at most 300"),
        (Proposed("What?", "a" * 41), WORD, "too-long", "the answer has 41 characters, at most 40"),
        (Proposed("wood", "mug"), WORD, "no-question", "'wood' is a single word"),
        (Proposed("What?", "dark blue"), WORD, "answer-not-one-word", "'dark blue'"),
        (Proposed("What?", "{}", 1, task="attributes"), TASKS, "answer-not-json", "'{}'"),
        (Proposed("What mug?", "A mug"), WORD, "answer-in-question", "'mug' in 'What mug?'"),
        (Proposed("What red mug?", "red mug"), FREE, "answer-in-question", "'red mug' in 'What red mug?'"),
        (
            Proposed("What is in the title of the listing?", "mug"),
            WORD,
            "mentions-listing",
            "'listing' in 'What is in the title of the listing?'",
        ),
    ],
)
def test_each_reason_and_its_detail(pair: Proposed, rules: Rules, reason: str, detail: str) -> None:
    assert check_pairs([pair], rules) == ([], [(pair, reason, detail)])


@pytest.mark.parametrize(
    ("pair", "rules", "answer"),
    [
        (Proposed("What?", '"A mug."'), WORD, "mug"),
        (Proposed("What?", "a" * 40), WORD, "a" * 40),
        (Proposed("Is there no handle?", "No"), WORD, "No"),
        (Proposed("What?", " dark\n blue. "), FREE, "dark blue."),
        (Proposed("Is it a big red mug?", "a big red mug"), FREE, "a big red mug"),
        (Proposed("What?", "x" * 999), FREE, "x" * 999),
        (Proposed("What?", ' {"color": "red"} ', 1, task="attributes"), TASKS, '{"color": "red"}'),
    ],
)
def test_what_is_accepted_and_how(pair: Proposed, rules: Rules, answer: str) -> None:
    assert check_pairs([pair], rules) == ([pair._replace(answer=answer)], [])


def test_duplicates_of_accepted_questions_and_what_is_over() -> None:
    pairs = [
        Proposed("What color is the mug?", "dark blue"),
        Proposed("What color is the mug?", "blue"),
        Proposed("what  colour is a mug", "red"),
        Proposed("What's the shape?", "round"),
        Proposed("What is the shape?", "round"),
        Proposed("How many handles?", "1"),
        Proposed("How many legs?", "dark"),
        Proposed("How many legs?", "4"),
        Proposed("How many handles", "2"),
    ]
    checked = check_pairs(pairs, WORD)
    assert [pair.answer for pair in checked.accepted] == ["blue", "round", "1"]
    assert reasons(checked) == [
        "answer-not-one-word",
        "duplicate-question",
        "duplicate-question",
        "over-count",
        "over-count",
        "duplicate-question",
    ]
    assert checked.rejected[1][2] == "'what colour is a mug' asks the same as 'What color is the mug?'"
    assert checked.rejected[3][2] == "more than 3 pairs"


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("What does the listing say?", True),
        ("What type of lock is mentioned in the description?", True),
        ("What metal is mentioned?", True),
        ("What is the heel described as?", True),
        ("What warranty period is specified?", True),
        ("What do the customer reviews praise?", True),
        ("How many pieces are listed in the product title?", True),
        ("What material is it made of, according to the name?", True),
        ("How long is it (as stated in the context)?", True),
        ("What is the product description about?", True),
        ("What color does the metadata give?", True),
        ("What material is mentioned on the product page?", True),
        ("What material is mentioned on the box?", False),
        ("What flavor is described prominently on the package?", False),
        ("What is the description on the label?", False),
        ("How many words are in the product name on the label?", False),
        ("What is the title on the book?", False),
        ("What is the brand name?", False),
        ("What shape best describes the lid?", False),
        ("How would the texture be described?", False),
        ("What size is it, according to the label?", False),
        ("What time is it according to the clock?", False),
        ("Are the pads arranged in a specific pattern?", False),
        ("How many pounds is the listed weight?", False),
        ("What color is the text?", False),
        ("Does it have a preview window?", False),
    ],
)
def test_questions_about_the_listing(question: str, expected: bool) -> None:
    assert (reasons(check_pairs([Proposed(question, "zebra")], WORD)) == ["mentions-listing"]) is expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('{"color": "red", "legs": 4, "height": 2.5, "new": true, "tags": ["a", "b"]}', True),
        ('{"tags": []}', True),
        ("{}", False),
        ('{"color": null}', False),
        ('{"color": {"main": "red"}}', False),
        ('{"tags": [1]}', False),
        ('{"height": NaN}', False),
        ('["red"]', False),
        ('"red"', False),
        ("red", False),
        ('{"color": "red"', False),
        ('{"color": "\ud800"}', False),
        ('{"a":' * 100_000, False),
    ],
)
def test_flat_json(answer: str, expected: bool) -> None:
    assert is_flat_json(answer) is expected


@given(
    st.lists(
        st.builds(
            Proposed,
            st.text() | st.sampled_from(["What color?", "Which colour?", "What is it?"]),
            st.text() | st.sampled_from(["red", "A mug.", '{"a": 1}']),
            st.sampled_from([None, 0, 7]),
            st.none() | st.booleans(),
            st.sampled_from([None, "count", "attributes"]),
        ),
        max_size=8,
    ),
    st.sampled_from([WORD, FREE, TASKS]),
)
def test_every_pair_is_accepted_or_rejected_and_what_is_accepted_stays_so(pairs: list[Proposed], rules: Rules) -> None:
    checked = check_pairs(pairs, rules)
    assert len(checked.accepted) + len(checked.rejected) == len(pairs)
    assert all(pair in pairs and reason and detail for pair, reason, detail in checked.rejected)
    assert len(checked.accepted) <= rules.most
    assert check_pairs(checked.accepted, rules) == (checked.accepted, [])


def run_of(yes: int, no: int) -> list[tuple[str, str]]:
    pairs = [(f"y{number}", "Yes.") for number in range(yes)] + [(f"n{number}", "no") for number in range(no)]
    return [*pairs, ("other", "red"), ("long", "no idea")]


@pytest.mark.parametrize(
    ("yes", "no", "share", "kept"),
    [
        (95, 5, 0.6, (7, 5)),
        (5, 95, 0.6, (5, 7)),
        (98, 2, 0.6, (3, 2)),
        (60, 40, 0.6, (60, 40)),
        (61, 40, 0.6, (60, 40)),
        (70, 30, 0.5, (30, 30)),
        (100, 10, 0.9, (90, 10)),
        (20, 0, 0.6, (0, 0)),
        (18, 1, 0.6, (18, 1)),
        (19, 1, 0.6, (1, 1)),
        (99, 1, 1, (99, 1)),
        (0, 0, 0.6, (0, 0)),
    ],
)
def test_the_surplus_of_yes_or_no(yes: int, no: int, share: float, kept: tuple[int, int]) -> None:
    pairs = run_of(yes, no)
    dropped = yes_no_surplus(pairs, share)
    counts = Counter(answer for pair_id, answer in pairs if pair_id not in dropped)
    assert (counts["Yes."], counts["no"]) == kept
    assert not dropped & {"other", "long"}


@given(st.integers(0, 60), st.integers(0, 60), st.floats(0.5, 1), st.randoms(use_true_random=False))
def test_the_share_is_kept_whatever_the_order_and_no_more_is_dropped(yes: int, no: int, share: float, rng: Any) -> None:
    pairs = run_of(yes, no)
    dropped = yes_no_surplus(pairs, share)
    assert yes_no_surplus(rng.sample(pairs, len(pairs)), share) == dropped
    rarer, other = sorted((yes, no))
    if rarer + other >= 20 and rarer:
        left = other - len(dropped)
        assert left <= share * (left + rarer) + 1e-6
        assert not dropped or left + 1 > share * (left + 1 + rarer) - 1e-6
    assert len({pair_id[0] for pair_id in dropped}) <= 1


@pytest.mark.parametrize("share", [0.49, 1.01, float("nan")])
def test_a_share_that_cannot_be_kept_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=r"most_share is .*: expected 0\.5 to 1"):
        yes_no_surplus([], share)


@pytest.mark.parametrize(
    ("name", "most_rejected", "mentions"),
    [
        ("gemini_five_per_image", 0.03, (29, 29)),
        ("gemini_three_per_image", 0.01, (0, 5)),
        ("gemini_used_metadata", 0.01, (1, 1)),
        ("gemini_with_difficulty", 0.04, (120, 200)),
    ],
)
def test_of_real_pairs_few_are_rejected(
    abo_slice: Path, name: str, most_rejected: float, mentions: tuple[int, int]
) -> None:
    products: defaultdict[str, list[Proposed]] = defaultdict(list)
    with (abo_slice / "questions" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            products[row["path"]].append(Proposed(row["question"], row["answer"]))
    found = Counter(
        reason for pairs in products.values() for reason in reasons(check_pairs(pairs, Rules(least=1, most=1000)))
    )
    assert set(found) <= {
        "empty-answer",
        "answer-not-one-word",
        "answer-in-question",
        "duplicate-question",
        "mentions-listing",
    }
    assert found["answer-not-one-word"] <= 2
    assert mentions[0] <= found["mentions-listing"] <= mentions[1]
    assert sum(found.values()) <= most_rejected * sum(map(len, products.values()))
