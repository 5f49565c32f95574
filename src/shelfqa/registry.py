"""Tables of names that load what they name only when asked.

An entry is a string `module:attribute`; importing the table imports none of them. Other packages add entries
through the entry-point group of the same name.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Iterator, Mapping
from typing import Any

from shelfqa.errors import ConfigError, did_you_mean


class Registry:
    """Names of one kind of thing (`kind` is used in messages), each with the address of its implementation."""

    def __init__(self, kind: str, entries: Mapping[str, str]) -> None:
        self.kind = kind
        self._entries = dict(entries)
        for entry in importlib.metadata.entry_points(group=f"shelfqa.{kind}"):
            self.add(entry.name, entry.value)

    def add(self, name: str, address: str) -> None:
        """Add an entry; a name that is taken by another address is an error."""
        if self._entries.get(name, address) != address:
            raise ConfigError(
                f"{self.kind} {name!r} is already registered as {self._entries[name]!r}, not {address!r}."
            )
        self._entries[name] = address

    def load(self, name: str) -> Any:
        """Import and return what `name` stands for; unknown names raise `ConfigError` with the nearest known one."""
        if name not in self._entries:
            raise ConfigError(f"Unknown {self.kind} {name!r}.{did_you_mean(name, self._entries)}")
        module, _, attribute = self._entries[name].partition(":")
        return getattr(importlib.import_module(module), attribute)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        return len(self._entries)
