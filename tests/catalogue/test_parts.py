from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from shelfqa.catalogue import parts
from shelfqa.catalogue.listing import LISTING_COLUMNS, Listing
from shelfqa.catalogue.parts import Part
from shelfqa.records import DROPPED_COLUMNS, Drop


def listings(number: int) -> Iterator[Listing | Drop]:
    for line in range(number):
        if line % 5 == 4:
            yield Drop("f", line, None, "broken-json", "broken")
        else:
            yield Listing(file="f", line=line, product_id=f"P{line}")


@pytest.mark.parametrize("number", [0, 1, 7, 8, 16, 23])
def test_all_that_is_found_is_written_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(parts, "_BATCH_ROWS", 8)
    part = Part(tmp_path / "new" / "folder", 3)
    summary = part.write(listings(number), Counter(a=2), Counter(en=1))
    assert part.summary() == summary
    rows, drops = pq.read_table(part.listings), pq.read_table(part.drops)
    assert rows.schema.equals(LISTING_COLUMNS)
    assert drops.schema.equals(DROPPED_COLUMNS)
    assert (summary.listings, summary.drops) == (rows.num_rows, drops.num_rows)
    assert summary.listings + summary.drops == number
    assert rows["line"].to_pylist() == [line for line in range(number) if line % 5 != 4]
    first = 3 << 36
    assert rows["row"].to_pylist() == list(range(first, first + rows.num_rows))
    assert (summary.notes, summary.languages) == ({"a": 2}, {"en": 1})


def test_counts_are_taken_when_all_is_read(tmp_path: Path) -> None:
    notes: Counter[str] = Counter()

    def counting() -> Iterator[Listing]:
        for line in range(3):
            notes["met"] += 1
            yield Listing(file="f", line=line, product_id="P")

    assert Part(tmp_path, 0).write(counting(), notes, Counter()).notes == {"met": 3}


def test_a_part_that_was_broken_off_is_not_finished(tmp_path: Path) -> None:
    part = Part(tmp_path, 0)

    def breaking_off() -> Iterator[Listing]:
        yield Listing(file="f", line=1, product_id="P")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        part.write(breaking_off(), Counter(), Counter())
    assert part.summary() is None
    part.write(listings(2), Counter(), Counter())
    assert pq.read_table(part.listings).num_rows == 2
