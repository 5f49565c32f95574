"""Embeddings of texts that are kept from one call to the next."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Generic, TypeVar

from torch import Tensor

Key = TypeVar("Key", bound=Hashable)
Text = TypeVar("Text", bound=Hashable)


class TextCache(Generic[Key, Text]):
    """Keeps the embeddings of groups of texts, such as a question's with all its answers; drops the longest unused."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._kept: OrderedDict[Key, Tensor] = OrderedDict()
        self._bytes = 0
        self._state: Hashable = None

    def get(
        self, state: Hashable, groups: Mapping[Key, Sequence[Text]], embed: Callable[[Sequence[Text]], Tensor]
    ) -> dict[Key, Tensor]:
        """Return the embeddings [texts, d] of each group; what is not kept is embedded, each distinct text once.

        Args:
            state: what the embeddings depend on beside the texts; all is forgotten where it changes, and nothing is
                kept where it is None.
            groups: texts by what they are to be kept under.
            embed: maps texts to their embeddings [t, d].

        """
        if state is None or state != self._state:
            self._kept.clear()
            self._bytes, self._state = 0, state
        found = {key: self._kept[key] for key in groups if key in self._kept}
        for key in found:
            self._kept.move_to_end(key)
        missing = {key: texts for key, texts in groups.items() if key not in found}
        if missing:
            distinct = dict.fromkeys(text for texts in missing.values() for text in texts)
            places = {text: place for place, text in enumerate(distinct)}
            embedded = embed(list(distinct))
            for key, texts in missing.items():
                found[key] = embedded[[places[text] for text in texts]]
                if state is not None and not embedded.requires_grad:
                    self._keep(key, found[key])
        return found

    def _keep(self, key: Key, embedded: Tensor) -> None:
        self._kept[key] = embedded
        self._bytes += embedded.nbytes
        while self._bytes > self.most_bytes:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= dropped.nbytes
