"""Lists of answers for models that can only choose: which answers a question is to be answered from.

How much of the right answers each list holds, compared in normalised form, on questions about Amazon Berkeley Objects
that language models wrote; `all` and `per-type` on the fifth whose pictures are not those of training:

    questions                 common   all     per-type   answers in: common   all     per-type (mean)
    44,000, five a picture    79.7 %   97.9 %  96.4 %                 360      1,877   337
    26,706, three a picture   84.8 %   97.4 %  95.9 %                 360      1,300   185
    3,721, from metadata      71.5 %   86.3 %  82.6 %                 360      662     112
    7,390, with difficulty    54.6 %   84.1 %  78.2 %                 360      1,503   345

Over all 81,817 questions `common` holds 78.7 % of the answers. It was chosen with a look at their frequencies, so that
other shops' answers will be covered less.

Importing this module imports no torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from shelfqa.errors import ConfigError, InputError, did_you_mean
from shelfqa.lines import BadRow, read_lines
from shelfqa.question_types import question_type
from shelfqa.rows import is_table, read_rows
from shelfqa.text import normalize_answer

AnswerList = Callable[[str], tuple[str, ...]]
"""Maps a question to the answers to choose from; equal lists are the same tuple."""

NAMES = ("common", "all", "per-type")

_COMMON = """
yes no
0 1 2 3 4 5 6 7 8 9 10 11 12
black white grey silver gold brown blue navy teal turquoise green olive red maroon burgundy pink purple lavender
orange peach yellow beige tan cream ivory khaki charcoal copper bronze rose-gold clear transparent multicolor
leather suede faux-leather fabric cotton linen wool silk satin velvet denim canvas polyester nylon fleece fur knit
mesh lace rubber plastic silicone foam metal steel stainless-steel aluminum iron brass chrome nickel wood oak walnut
pine bamboo wicker rattan cork glass crystal ceramic porcelain stone marble granite paper cardboard diamond pearl
textile synthetic microfiber rope
round circle oval square rectangular cube triangle star heart teardrop hexagon cylindrical sphere cone curved straight
flat pointed tapered domed irregular block wedge stiletto cross bow vertical horizontal
solid plain striped floral geometric plaid checkered polka-dot dotted chevron herringbone paisley animal-print leopard
camouflage abstract woven quilted tufted braided ribbed textured smooth rough soft hard shiny glossy matte polished
brushed metallic distressed
small medium large tall short long wide narrow thick thin single double twin full queen king high low
shoe sneaker boot sandal slipper loafer heel flat pump shirt t-shirt dress jacket sweater pants socks hat cap scarf
gloves belt bag handbag backpack tote wallet suitcase necklace ring earrings bracelet pendant watch sunglasses
chair sofa stool ottoman bench table desk bed mattress headboard dresser cabinet shelf bookcase lamp chandelier mirror
clock rug curtain pillow blanket sheet towel vase picture-frame
mug cup plate bowl bottle jar pan knife fork spoon basket box
phone phone-case cable charger adapter battery headphones speaker camera laptop keyboard tv light-bulb
faucet handle knob hook screw tool tape toy book plant candle food coffee tea vitamins shampoo soap
bedroom living-room dining-room kitchen bathroom office outdoors indoors wall floor ceiling
laces zipper buckle button velcro slip-on strap chain clasp snap drawstring elastic handles wheels legs
open closed top bottom front back side left right center
modern traditional casual formal classic vintage rustic contemporary minimalist athletic simple delicate running ankle
plush
flower leaf tree bird cat dog butterfly animal letters numbers text logo stripes dots stars lines
man woman boy girl baby new used wireless usb electric manual
"""
"""Ours: the kinds of words that questions about products are answered with; `-` stands for a space."""
_COMMON_ANSWERS = tuple(dict.fromkeys(word.replace("-", " ") for word in _COMMON.split()))


def answer_list(name_or_file: str | Path, training: Sequence[tuple[str, str]]) -> AnswerList:
    """Return what maps a question to its candidates.

    Args:
        name_or_file: `common`, our list of everyday answers about products; `all`, the normalised answers of the
            training questions, most frequent first; `per-type`, of those the answers to questions of the same type
            (`shelfqa.question_types`), or all where the type was never seen; or a file as `read_answers` reads it.
        training: questions and answers of the training split, for `all` and `per-type`.

    Raises:
        ConfigError: if there is neither such a list nor such a file.
        InputError: if the training split is empty, or the file is unreadable or holds no answer.

    """
    if name_or_file == "common":
        return _always(_COMMON_ANSWERS)
    if name_or_file in ("all", "per-type"):
        counted = [(question, normalize_answer(answer)) for question, answer in training]
        whole = _by_frequency(answer for _, answer in counted)
        if not whole:
            raise InputError(
                f"The answer list {str(name_or_file)!r} is made of the split 'train', which holds no answers: run "
                "shelfqa split first, or use the list 'common'."
            )
        return _always(whole) if name_or_file == "all" else _per_type(counted, whole)
    path = Path(name_or_file)
    if not path.suffix and not path.exists():
        raise ConfigError(
            f"There is no answer list {str(name_or_file)!r}.{did_you_mean(str(name_or_file), NAMES)} A file (.txt, "
            ".json, .csv) is accepted too."
        )
    return _always(_distinct(read_answers(path)))


def read_answers(path: Path) -> tuple[str, ...]:
    """Return the answers in a file, as they stand and in its order, repetitions kept.

    Args:
        path: a `.txt` file with one answer a line, a `.json` file with a list of texts, or a table (`.csv`, `.tsv`,
            `.jsonl`, `.parquet`) with a column `answer`. Blank lines and empty cells of tables are passed over.

    Raises:
        InputError: if the file is missing, unreadable, of another kind, or holds no answer.

    """
    name = path.name.lower()
    if name.endswith(".json"):
        answers = _from_json(path)
    elif is_table(path):
        answers = _from_table(path)
    elif name.endswith(".txt"):
        answers = _from_text(path)
    else:
        raise InputError(f"The answer list {str(path)!r} is of an unknown kind: give a .txt, .json or .csv file.")
    if not answers:
        raise InputError(f"The answer list {str(path)!r} holds no answer: give one a line.")
    return tuple(answers)


def _always(answers: tuple[str, ...]) -> AnswerList:
    return lambda question: answers


def _per_type(counted: Sequence[tuple[str, str]], whole: tuple[str, ...]) -> AnswerList:
    of_type: dict[str, list[str]] = {}
    for question, answer in counted:
        of_type.setdefault(question_type(question), []).append(answer)
    lists = {name: _by_frequency(answers) for name, answers in of_type.items()}
    return lambda question: lists.get(question_type(question)) or whole


def _by_frequency(answers: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct answers, most frequent first, ties in alphabetical order; the empty one is left out."""
    counts = Counter(answer for answer in answers if answer)
    return tuple(sorted(counts, key=lambda answer: (-counts[answer], answer)))


def _distinct(answers: Iterable[str]) -> tuple[str, ...]:
    """Return the first spelling of each answer."""
    spelling: dict[str, str] = {}
    for answer in answers:
        spelling.setdefault(normalize_answer(answer), answer)
    return tuple(spelling.values())


def _from_text(path: Path) -> list[str]:
    answers = []
    for line in read_lines(path):
        if isinstance(line, BadRow):
            raise InputError(f"{str(path)!r}, line {line.line}: {line.detail}.")
        try:
            answers.append(line.data.decode("utf-8").strip())
        except UnicodeDecodeError:
            raise InputError(f"{str(path)!r}, line {line.number}: is not UTF-8: save the file as UTF-8.") from None
    return [answer for answer in answers if answer]


def _from_json(path: Path) -> list[str]:
    try:
        answers: Any = msgspec.json.decode(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except OSError as error:
        raise InputError(f"Cannot read {str(path)!r}: {error.strerror}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{str(path)!r} is no valid JSON: {error}.") from None
    if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
        raise InputError(f'{str(path)!r} is to hold one list of texts, such as ["red", "blue"].')
    return [answer.strip() for answer in answers]


def _from_table(path: Path) -> list[str]:
    table = read_rows(path)
    if "answer" not in table.columns:
        raise InputError(
            f"{str(path)!r} has no column 'answer': its columns are {', '.join(map(repr, table.columns))}."
        )
    for bad in table.bad:
        raise InputError(f"{str(path)!r}, line {bad.line}: {bad.detail}.")
    cells = (row.values.get("answer") for row in table.rows)
    return [text for cell in cells if cell is not None and (text := str(cell).strip())]
