"""What can go wrong, as a tree.

ShelfqaError            the base: catch this one
├── UserError           the caller's mistake, or the machine's state: one line, exit code 2
│   ├── ConfigError     a recipe or a flag holds an unknown key or a value of the wrong type
│   ├── InputError      a file or folder that is missing, unreadable or lacks a column
│   └── StorageError    the disk is full or does not let us write
├── ImageError          a picture that cannot be used: recorded against its row, never fatal
└── GateFailure         a check that the user asked for failed: exit code 1
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ShelfqaError(Exception):
    """Base of every error that shelfqa raises on purpose."""

    exit_code = 2


class UserError(ShelfqaError):
    """The caller can mend this: the message says how, in one line."""


class ConfigError(UserError):
    """A configuration key or value that is not accepted."""


class InputError(UserError):
    """An input file or folder that is missing, unreadable or incomplete."""


class StorageError(UserError):
    """Writing an artifact failed: no space left, or no permission."""


class ImageError(ShelfqaError):
    """A picture that cannot be used; `reason` is a short slug for counting."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


class GateFailure(ShelfqaError):
    """A check found something that the user asked to be told of."""

    exit_code = 1


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the nearest known name, or all known names where none is near.

    >>> did_you_mean("epoch", ["epochs", "rank"])
    " Did you mean 'epochs'?"
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f" Did you mean {near[0]!r}?"
    return f" Known: {', '.join(names)}." if names else ""
