"""Each picture of a batch passes the tower once, however many questions of the batch are about it.

For models that transformers drives by itself: their `forward` hands the pictures of all prompts, equal ones too, to
`get_image_features`. Where that takes and gives a row for each prompt, it is given those of distinct pictures alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch import Tensor

_NAME = "get_image_features"


class DistinctPictures:
    """Spares the tower of a transformers model the pictures that it has just seen."""

    def __init__(self, module: Any) -> None:
        """Do so for `module`, if it has the method that this takes."""
        self._inner = getattr(module, "model", module)
        self._plain: Any = getattr(self._inner, _NAME, None)
        self._fits = self._plain is not None

    @contextmanager
    def once_each(self, pictures: Sequence[int] | None) -> Iterator[None]:
        """Let the tower see each picture once.

        Args:
            pictures: which picture each of the prompts shows; None where one shows several or none.

        """
        if not self._fits or pictures is None or len(set(pictures)) == len(pictures):
            yield
            return
        chosen = list({picture: place for place, picture in reversed(list(enumerate(pictures)))}.values())
        seat = {pictures[place]: number for number, place in enumerate(chosen)}
        back = [seat[picture] for picture in pictures]

        @wraps(self._plain)  # `generate` reads the signature
        def once(*arguments: Any, **inputs: Any) -> Any:
            found = self._of_chosen(len(pictures), chosen, arguments, inputs)
            if found is None:
                return self._plain(*arguments, **inputs)
            rows = found.pooler_output
            many = isinstance(rows, Tensor)
            found.pooler_output = rows[torch.tensor(back, device=rows.device)] if many else [rows[one] for one in back]
            return found

        setattr(self._inner, _NAME, once)
        try:
            yield
        finally:
            delattr(self._inner, _NAME)

    def _of_chosen(
        self, prompts: int, chosen: Sequence[int], arguments: Sequence[Any], inputs: Mapping[str, Any]
    ) -> Any:
        """Return what the tower makes of the chosen prompts' pictures; None, once for all, if rows are no prompts."""
        shown = [value for value in (*arguments, *inputs.values()) if isinstance(value, Tensor)]
        self._fits = self._fits and bool(shown) and all(len(value) == prompts for value in shown)
        if not self._fits:
            return None

        def picked(value: Any) -> Any:
            return value[list(chosen)] if isinstance(value, Tensor) else value

        found = self._plain(*map(picked, arguments), **{name: picked(value) for name, value in inputs.items()})
        rows = getattr(found, "pooler_output", None)
        self._fits = rows is not None and len(rows) == len(chosen)
        return found if self._fits else None
