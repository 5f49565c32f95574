"""Named mappings: the exports of known shop systems, told by their headers."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from shelfqa.catalogue import amazon, columns, shopify
from shelfqa.catalogue.columns import Record, Source
from shelfqa.errors import ConfigError, did_you_mean
from shelfqa.records import Drop
from shelfqa.rows import HeaderPlace, opening_lines


class Export(NamedTuple):
    """How a kind of table is told by its columns, and how its rows become records, one a product."""

    recognises: Callable[[Sequence[str]], bool]
    records: Callable[[Source], Iterator[Record | Drop]]


EXPORTS: dict[str, Export] = {
    "shopify": Export(shopify.recognises, shopify.records),
    "amazon": Export(amazon.recognises, amazon.records),
    "generic": Export(lambda _: True, columns.records),
}
"""Every mapping by name; the first that recognises a header is taken where none is named."""

AUTO = "auto"

_ATTRIBUTE_ROW = re.compile(r"\battributeRow=(\d+)")
_DATA_ROW = re.compile(r"\bdataRow=(\d+)")


def recognise(header: Sequence[str]) -> str:
    """Return the name of the mapping that fits a header; `generic` fits every one."""
    return next(name for name, export in EXPORTS.items() if export.recognises(header))


def export_named(mapping: str, header: Sequence[str]) -> Export:
    """Return the mapping of that name, or for `auto` the one that the header asks for.

    Raises:
        ConfigError: if there is no mapping of that name.

    """
    check(mapping)
    return EXPORTS[recognise(header) if mapping == AUTO else mapping]


def check(mapping: str) -> None:
    """Raise `ConfigError` unless `mapping` is `auto` or a key of `EXPORTS`."""
    if mapping != AUTO and mapping not in EXPORTS:
        raise ConfigError(f"mapping: unknown mapping {mapping!r}.{did_you_mean(mapping, [AUTO, *EXPORTS])}")


def find_header(lines: Sequence[str]) -> HeaderPlace:
    """Return where the header is: after the preamble of an Amazon template, else in the first line.

    A template says in its first line which row holds the field names and which the first product; example rows
    between them are skipped.
    """
    for number, line in enumerate(lines):
        if not any(EXPORTS["amazon"].recognises(_cells(line, mark)) for mark in ("\t", ",", ";", "|")):
            continue
        settings = "\n".join(lines[:number])
        header, data = _ATTRIBUTE_ROW.search(settings), _DATA_ROW.search(settings)
        skipped = int(data[1]) - int(header[1]) - 1 if header and data else 0
        return HeaderPlace(number, min(max(skipped, 0), 5))
    return HeaderPlace()


def is_export_text(path: Path) -> bool:
    """Return whether a `.txt` file holds the header of a known export among its first lines."""
    if not path.name.lower().removesuffix(".gz").endswith(".txt"):
        return False
    lines = opening_lines(path)
    place = find_header(lines)
    header = lines[place.line] if lines else ""
    return any(recognise(_cells(header, mark)) != "generic" for mark in ("\t", ",", ";", "|"))


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:
        return []
