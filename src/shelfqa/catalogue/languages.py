"""Which of a listing's texts are taken: those in the wanted language that comes first."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

DEFAULT_LANGUAGES = ("en_US", "en_GB", "en_IN", "en_*")

Value = TypeVar("Value")


class Chosen(NamedTuple, Generic[Value]):
    """The values in the best language; `tag` is that language, or None where the values have none."""

    values: list[Value]
    tag: str | None


class Languages:
    """Wanted language tags, best first; `*` stands for anything, `en-US` and `en_US` are the same."""

    def __init__(self, wanted: Sequence[str] = DEFAULT_LANGUAGES) -> None:
        self._patterns = [_normal(pattern) for pattern in wanted]
        self._ranks: dict[str, int | None] = {}

    @property
    def untagged_rank(self) -> int:
        """The rank of a text without a tag: wanted, but after every tagged one."""
        return len(self._patterns)

    @property
    def unwanted_rank(self) -> int:
        """A rank after all wanted ones."""
        return len(self._patterns) + 1

    def rank(self, tag: str | None) -> int | None:
        """Return the place of a tag among the wanted ones (0 is best), or None if it is not wanted."""
        if not tag:
            return self.untagged_rank
        if tag not in self._ranks:
            matches = (n for n, pattern in enumerate(self._patterns) if fnmatch.fnmatchcase(_normal(tag), pattern))
            self._ranks[tag] = next(matches, None)
        return self._ranks[tag]

    def choose(self, tagged: Iterable[tuple[str | None, Value]]) -> Chosen[Value]:
        """Return, of (tag, value) pairs, the values of the best wanted tag, in order; several can share a pattern."""
        best: tuple[int, str] | None = None
        values: list[Value] = []
        for tag, value in tagged:
            rank = self.rank(tag)
            if rank is None:
                continue
            key = (rank, tag or "")
            if best is None or key < best:
                best, values = key, []
            if key == best:
                values.append(value)
        return Chosen(values, (best[1] or None) if best is not None else None)


def _normal(tag: str) -> str:
    return tag.strip().replace("-", "_").casefold()
