"""Some 500 seeded corruptions of catalogues: each is read to its last line, or refused in one line.

What must have been read is worked out apart from shelfqa: by counting the lines that are not blank in the bytes
written, and with zlib, byte by byte, for damaged gzip files.
"""

from __future__ import annotations

import gzip
import json
import random
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from corruption import DEPTHS, NUMBERS, SHAPES, TEXTS, Raw, curated, flipped, joined, not_blank, seeds
from shelfqa.catalogue import abo
from shelfqa.catalogue.abo_listing import RawListing
from shelfqa.catalogue.languages import DEFAULT_LANGUAGES
from shelfqa.errors import UserError
from tiny_catalogue import listing, tagged


class Case(NamedTuple):
    """A damaged file, how many listings it holds to the eye, and how many of them are plainly whole."""

    name: str
    data: bytes
    lines: int
    whole: int = 0


def shard_lines(rng: random.Random) -> list[bytes]:
    """A few listings that say much, each about itself."""
    found = []
    for number in range(rng.randint(3, 8)):
        fields = {
            "item_keywords": tagged(*(f"word {rng.random()}" for _ in range(rng.randint(0, 4)))),
            "bullet_point": [*tagged("Für die Küche", tag="de_DE"), *tagged("For the kitchen", tag="en_IN")],
            "brand": tagged("Acmé"),
            "item_weight": [
                {"unit": "pounds", "value": rng.random(), "normalized_value": {"unit": "pounds", "value": 1}}
            ],
            "item_dimensions": {"height": {"unit": "inches", "value": 3.5}},
            "other_image_id": [f"I{rng.randrange(9):03}"],
            "node": [{"node_id": 7, "node_name": "/Kitchen/Mugs"}],
            "number_of_items": 2,
            "model_year": [{"value": 2019}],
        }
        row = listing(number, item_id=f"P{rng.randrange(10**9)}", **fields)
        found.append(json.dumps(row, ensure_ascii=rng.random() < 0.5).encode())
    return found


def plainly_whole(data: bytes) -> int:
    """Lines that Python reads as an object with a product and an image."""
    found = 0
    for line in data.split(b"\n"):
        try:
            row = json.loads(line.decode())
        except (ValueError, RecursionError):
            continue
        found += isinstance(row, dict) and row.get("item_id", "")[:1] == "P" and row.get("main_image_id", "")[:1] == "I"
    return found


def plain(lines: list[bytes]) -> Case:
    return text(joined(lines))


def text(data: bytes) -> Case:
    return Case(".json", data, not_blank(data))


def gzipped(data: bytes) -> Case:
    """A gzip file, perhaps damaged: the lines that end before the damage, and one for the damage itself."""
    if data[:2] not in (b"\x1f\x8b", b"\x1f", b""):
        return Case(".json.gz", data, not_blank(data))
    unpacked, rest, whole = b"", data, False
    while not whole:
        unpacker, used = zlib.decompressobj(wbits=31), 0
        try:
            while used < len(rest) and not unpacker.eof:
                unpacked += unpacker.decompress(rest[used : used + 1])
                used += 1
        except zlib.error:
            break
        if not unpacker.eof:
            break
        rest = rest[used:].lstrip(b"\0")
        whole = not rest
    if whole:
        return Case(".json.gz", data, not_blank(unpacked), plainly_whole(unpacked))
    saved = unpacked[: unpacked.rfind(b"\n") + 1]
    return Case(".json.gz", data, not_blank(saved) + 1, plainly_whole(saved))


NAMES = RawListing.__struct_encode_fields__


def with_value(line: bytes, name: str, value: Any, rng: random.Random) -> bytes:
    """The line with a field set; sometimes the value stands deeper, where a text or a number is expected."""
    if not isinstance(value, Raw):
        value = Raw(json.dumps(value, ensure_ascii=rng.random() < 0.5))
    forms = [
        "%s",
        '[{"value": %s}]',
        '[{"language_tag": "en_US", "value": %s}]',
        '{"height": {"value": %s, "unit": "cm"}}',
    ]
    forms += [
        '[{"value": %s, "unit": "grams"}]',
        '[{"normalized_value": {"value": %s, "unit": "pounds"}}]',
        '{"%s": 1}',
    ]
    form = rng.choice(forms)
    put = form.replace("%s", value.strip('"') if form == '{"%s": 1}' else value)
    kept = {key: one for key, one in json.loads(line).items() if key != name}
    return (json.dumps(kept)[:-1] + f', "{name}": {put}}}').encode("utf-8", "surrogatepass")


def in_a_field(values: list[Any]) -> Callable[[random.Random], Case]:
    def corrupt(rng: random.Random) -> Case:
        lines = shard_lines(rng)
        for _ in range(rng.randint(1, 3)):
            place = rng.randrange(len(lines))
            try:
                lines[place] = with_value(lines[place], rng.choice(NAMES), rng.choice(values), rng)
            except (ValueError, RecursionError):
                continue  # the value before has broken the line
        return plain(lines)

    return corrupt


def bytes_put_in(*values: bytes) -> Callable[[random.Random], Case]:
    def corrupt(rng: random.Random) -> Case:
        data = joined(shard_lines(rng))
        for _ in range(rng.randint(1, 3)):
            place = rng.randrange(len(data))
            data = data[:place] + rng.choice(values) + data[place:]
        return text(data) if rng.random() < 0.5 else gzipped(gzip.compress(data))

    return corrupt


def lines_lost_and_repeated(rng: random.Random) -> Case:
    lines = shard_lines(rng)
    lines += rng.choices(lines, k=rng.randint(0, 3))
    lines += rng.choices([b"", b" ", b"\t\r", b"\x0b\x0c", b"{}", b"[]", b"null", b'"x"', b"7", b"{", b"}"], k=3)
    rng.shuffle(lines)
    return plain(lines[rng.randint(0, 2) :])


def bytes_flipped(rng: random.Random) -> Case:
    return text(flipped(joined(shard_lines(rng)), rng))


def cut_off(rng: random.Random) -> Case:
    data = joined(shard_lines(rng))
    return text(data[: rng.randrange(len(data))])


def gzip_cut_off(rng: random.Random) -> Case:
    data = gzip.compress(joined(shard_lines(rng)), mtime=0)
    return gzipped(data[: rng.choice([rng.randrange(len(data)), rng.randrange(21), len(data) - rng.randrange(9)])])


def gzip_flipped(rng: random.Random) -> Case:
    data = gzip.compress(joined(shard_lines(rng)), rng.choice([0, 1, 9]), mtime=0)
    return gzipped(flipped(data, rng, start=rng.choice([0, 10, len(data) - 9])))


def gzip_members(rng: random.Random) -> Case:
    """Several members, cut within lines, empty ones and padding among them; perhaps the last is damaged."""
    data = joined(shard_lines(rng))
    members = []
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(data) + 1)
        members.append(gzip.compress(data[:place], mtime=0))
        data = data[place:]
        members.append(rng.choice([b"", gzip.compress(b""), b"\0" * rng.randint(1, 600)]))
    packed = b"".join(members) + gzip.compress(data, mtime=0)
    return gzipped(packed if rng.random() < 0.5 else packed[: -rng.randint(1, 30)])


def gzip_with_a_tail(rng: random.Random) -> Case:
    lines = shard_lines(rng)
    tail = rng.choice(
        [b"garbage" * 9, b"\0" * 9, b"\x1f\x8b", b"\x1f\x8b\x08" + b"\xff" * 20, b"\n", rng.randbytes(40)]
    )
    return gzipped(gzip.compress(joined(lines)[: -rng.randint(0, 1) or None], mtime=0) + tail)


def named_otherwise(rng: random.Random) -> Case:
    """Text that is called `.gz`, gzip that is not, and files without any content."""
    data = joined(shard_lines(rng))
    packed = gzip.compress(data, mtime=0)
    case = rng.choice([Case(".json.gz", data, not_blank(data)), Case(".json", packed, not_blank(packed))])
    empty = rng.choice([text(b""), gzipped(b""), gzipped(gzip.compress(b"")), text(b"\n\n \n"), text(b"\xef\xbb\xbf")])
    return rng.choice([case, case._replace(name=".json.gz", data=data, lines=not_blank(data)), empty._replace(lines=0)
        if empty.data in (b"\xef\xbb\xbf", b"\n\n \n", gzip.compress(b"")) else empty])  # fmt: skip


def other_encodings(rng: random.Random) -> Case:
    lines = [line.decode() for line in shard_lines(rng)]
    whole = "\n".join(lines) + rng.choice(["", "\n", "\n\n"])
    count = len(lines)
    kind = rng.randrange(5)
    if kind == 0:
        return Case(".json", whole.encode(rng.choice(["utf-8-sig", "utf-16"])), count)
    if kind == 1:
        return Case(".json", b"\xfe\xff" + whole.encode("utf-16-be"), count)
    if kind == 2:
        return Case(".json.gz", gzip.compress(whole.encode("utf-16")), count)
    if kind == 3:  # half a character at the end: the whole file is one fault
        return Case(".json", whole.encode("utf-16")[:-1], 1)
    return text(whole.encode(rng.choice(["latin-1", "cp1252", "utf-16-le", "utf-32"]), "replace"))


def line_ends(rng: random.Random) -> Case:
    end = rng.choice([b"\r\n", b"\r", b"\n\r", b"\n\n", b" \n", b"\x00\n", b"\x85\n", b"\x0b\n"])
    return text(end.join(shard_lines(rng)) + rng.choice([end, b"", b"\n"]))


def very_long_lines(rng: random.Random) -> Case:
    lines = shard_lines(rng)
    lines[0] = with_value(lines[0], "item_name", tagged("ü" * 700_000), rng)
    lines[1:1] = [b"[" * 300_000, b"x" * 600_000, b'{"item_id": "' + b"9" * 600_000]
    return plain(lines) if rng.random() < 0.5 else gzipped(gzip.compress(joined(lines), 1))


SHARDS: dict[str, Callable[[random.Random], Case]] = {
    "lines lost and repeated": lines_lost_and_repeated,
    "bytes flipped": bytes_flipped,
    "cut off": cut_off,
    "gzip cut off": gzip_cut_off,
    "gzip flipped": gzip_flipped,
    "gzip of several members": gzip_members,
    "gzip with a tail": gzip_with_a_tail,
    "named otherwise": named_otherwise,
    "other encodings": other_encodings,
    "line ends": line_ends,
    "very long lines": very_long_lines,
    "invalid UTF-8": bytes_put_in(b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80"),
    "NUL and marks": bytes_put_in(b"\0", b"\xef\xbb\xbf", b"\x1a", b"\x1f\x8b", b'"', b"\\", b"{", b",", b"\n"),
    "numbers in fields": in_a_field(NUMBERS),
    "texts in fields": in_a_field(TEXTS),
    "other forms in fields": in_a_field(SHAPES),
    "deep nesting in fields": in_a_field(DEPTHS),
}


def abo_folder(folder: Path, cases: list[Case], image_table: bytes | None = None) -> Path:
    metadata = folder / "listings" / "metadata"
    metadata.mkdir(parents=True)
    for number, case in enumerate(cases):
        (metadata / f"listings_{number:03}{case.name}").write_bytes(case.data)
    (folder / "images" / "metadata").mkdir(parents=True)
    table = "\n".join(["image_id,height,width,path", *(f"I{number:03},4,4,aa/{number:03}.png" for number in range(9))])
    if image_table is None:
        (folder / "images" / "metadata" / "images.csv.gz").write_bytes(gzip.compress(table.encode()))
    else:
        opening = image_table[:2] == b"\x1f\x8b"
        (folder / "images" / "metadata" / f"images.csv{'.gz' if opening else ''}").write_bytes(image_table)
    return folder


@pytest.mark.parametrize("kind", SHARDS)
def test_every_line_of_a_damaged_shard_is_read_or_told(tmp_path: Path, kind: str) -> None:
    cases = [SHARDS[kind](rng) for rng in seeds(kind)]
    folder = abo_folder(tmp_path / "abo", cases)
    source = abo.AboSource(abo.find_parts(folder, pictures_needed=False), DEFAULT_LANGUAGES, 1)
    parts = source.read(tmp_path / "parts", brief=False)
    for number, (case, part) in enumerate(zip(cases, parts, strict=True)):
        summary = part.summary()
        assert summary is not None
        assert summary.listings + summary.drops == case.lines, (kind, number, case.data[:300])
        assert summary.listings >= case.whole, (kind, number, case.data[:300])
    assert sum(case.lines for case in cases) == curated(folder, tmp_path / "out", preset="score-and-cap")


def image_table(rng: random.Random) -> bytes:
    rows = [f"I{number:03},4,4,aa/{number:03}.png" for number in range(9)]
    odd = ["../x.png", "/etc/passwd", "", '"a', 'a"b', "\0", "a,b", "C:\\x", "ü" * 300, "\ud800", '"a\nb"', ".", "~"]
    for _ in range(rng.randint(0, 3)):
        place = rng.randrange(len(rows))
        rows[place] = f"I{place:03},{rng.choice(['4', '', 'x', 'NaN'])},4,{rng.choice(odd)}"
    rows += rng.choices([*rows, "", ",,,", "I1", "I001,4,4,aa/007.png", '"', "\t"], k=2)
    header = rng.choice(["image_id,height,width,path"] * 5 + ["path,height,width,image_id"])
    header = rng.choice(
        [header] * 12 + ["", "image_id", "a,b,c,d", "image_id,image_id,path,path", "image_id,path", '"image_id']
    )
    whole = rng.choice(["\n", "\n", "\r\n", "\r"]).join([header, *rows]) + rng.choice(["", "\n"])
    data = whole.encode(rng.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16"]), "surrogatepass")
    if rng.random() < 0.3:
        data = flipped(data, rng)
    if rng.random() < 0.5:
        data = gzip.compress(data, mtime=0)
        if rng.random() < 0.5:
            data = rng.choice([data[: rng.randrange(2, len(data))], flipped(data, rng, 2), data + b"tail" * 9])
    return data


@pytest.mark.parametrize("number", range(30))
def test_a_damaged_image_table_loses_no_listing(tmp_path: Path, number: int) -> None:
    rng = random.Random(f"image table {number}")
    lines = shard_lines(rng)
    folder = abo_folder(tmp_path / "abo", [plain(lines)], image_table(rng))
    said = "images.csv"
    try:
        assert curated(folder, tmp_path / "out") == len(lines)
    except UserError as error:
        said = str(error)
    assert "images.csv" in said
    assert "\n" not in said
