"""Which of a listing's texts are taken: those in the wanted language that comes first."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Sequence
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

    def best(self, tags: Collection[str | None]) -> str | None:
        """Return the wanted tag that comes first, "" for a text without a tag, or None where none is wanted.

        Of several tags that share a pattern, the first by name is taken.
        """
        found: tuple[int, str] | None = None
        for tag in tags:
            rank = self.rank(tag)
            if rank is not None and (found is None or (rank, tag or "") < found):
                found = (rank, tag or "")
        return found[1] if found is not None else None

    def choose(self, tagged: Sequence[tuple[str | None, Value]]) -> Chosen[Value]:
        """Return, of (tag, value) pairs, the values of the best wanted tag, in order."""
        best = self.best({tag for tag, _ in tagged})
        return Chosen([value for tag, value in tagged if (tag or "") == best], best or None)


def _normal(tag: str) -> str:
    return tag.strip().replace("-", "_").casefold()
