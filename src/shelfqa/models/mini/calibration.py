"""What a checkpoint's configuration says of its probabilities."""

from __future__ import annotations

from typing import NamedTuple, Self

from shelfqa.errors import InputError


class Calibration(NamedTuple):
    """How logits become probabilities, and which are too low for an answer."""

    temperature: float = 1.0
    """What logits are divided by."""
    unanswerable_below: float = 0.0
    """The probability under which the best answer stands for "I do not know"."""

    @classmethod
    def checked(cls, temperature: float = 1.0, unanswerable_below: float = 0.0) -> Self:
        """Return both settings.

        Raises:
            InputError: if one is out of range.

        """
        if not (isinstance(temperature, int | float) and 0 < temperature < float("inf")):
            raise InputError(f"temperature is {temperature!r} in the configuration of a mini model: expected over 0.")
        if not (isinstance(unanswerable_below, int | float) and 0 <= unanswerable_below <= 1):
            raise InputError(
                f"unanswerable_below is {unanswerable_below!r} in the configuration of a mini model: expected 0 to 1."
            )
        return cls(float(temperature), float(unanswerable_below))
