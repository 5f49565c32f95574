"""The picture that `shelfqa ask --explain` writes: photographs under a heat map, question and answer below.

Drawn with Pillow, whose import costs a fifteenth of matplotlib's; the type is one that matplotlib ships.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image, ImageDraw, ImageFont

from shelfqa.heat import overlay
from shelfqa.models.mini.square import photo_box

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PHOTO_PX = 560
"""The longer side of a photograph as it is shown."""
_NARROWEST_PX = 360
_MARGIN_PX = 28
_TEXT_PX = 22
_LINE_PX = 31
_BAR_PX = 8
_MAX_COLUMNS = 3
_INK, _PALE, _RULE, _SURE = (28, 32, 40), (104, 112, 126), (224, 227, 232), (70, 84, 110)


class Panel(NamedTuple):
    """One question: what was asked and said, how sure, and where the model looked."""

    question: str
    answer: str
    probability: float
    attention: NDArray[np.float32]
    """Shares [rows, columns] of the cells of the photograph's white square."""


def draw(photo: Image.Image, panels: Sequence[Panel]) -> Image.Image:
    """Return a picture with a panel a question, at most three beside each other."""
    shown = photo.convert("RGB")
    box = photo_box(*shown.size, _PHOTO_PX)
    shown = shown.resize((box.width, box.height), Image.Resampling.LANCZOS)
    wide = max(shown.width, _NARROWEST_PX)
    plain, bold = _font("DejaVuSans.ttf"), _font("DejaVuSans-Bold.ttf")
    texts = [(_wrapped(panel.question, plain, wide), _wrapped(panel.answer, bold, wide)) for panel in panels]
    columns = 2 if len(panels) == 4 else min(len(panels), _MAX_COLUMNS)
    rows = [range(start, min(start + columns, len(panels))) for start in range(0, len(panels), columns)]
    heights = [shown.height + max(_text_height(*texts[place]) for place in row) for row in rows]
    width = columns * wide + (columns + 1) * _MARGIN_PX
    page = Image.new("RGB", (width, sum(heights) + _MARGIN_PX * (len(rows) + 1)), "white")
    pen = ImageDraw.Draw(page)
    top = _MARGIN_PX
    for row, height in zip(rows, heights, strict=True):
        for column, place in enumerate(row):
            left = _MARGIN_PX + column * (wide + _MARGIN_PX)
            at = (left + (wide - shown.width) // 2, top)
            page.paste(_heated(shown, panels[place].attention), at)
            pen.rectangle((at[0] - 1, at[1] - 1, at[0] + shown.width, at[1] + shown.height), outline=_RULE)
            y = top + shown.height + 14
            question, answer = texts[place]
            y = _write(pen, question, plain, _PALE, left, y)
            y = _write(pen, answer, bold, _INK, left, y + 2)
            _bar(pen, panels[place].probability, plain, (left, y + 6), wide)
        top += height + _MARGIN_PX
    return page


def _heated(photo: Image.Image, attention: NDArray[np.float32]) -> Image.Image:
    """Return the photograph with warm colours where the model looked."""
    side = max(photo.size)
    box = photo_box(*photo.size, side)
    heat = overlay(attention, side).crop((box.left, box.top, box.left + photo.width, box.top + photo.height))
    shown = photo.convert("RGBA")
    shown.alpha_composite(heat)
    return shown.convert("RGB")


def _bar(
    pen: ImageDraw.ImageDraw, probability: float, font: ImageFont.FreeTypeFont, at: tuple[int, int], wide: int
) -> None:
    """Draw how sure the model is."""
    left, middle = at[0], at[1] + _TEXT_PX // 2
    top, bottom, full = middle - _BAR_PX // 2, middle + _BAR_PX // 2, wide - 84
    filled = max(_BAR_PX, round(full * probability))
    pen.rounded_rectangle((left, top, left + full, bottom), _BAR_PX // 2, fill=_RULE)
    pen.rounded_rectangle((left, top, left + filled, bottom), _BAR_PX // 2, fill=_SURE)
    pen.text((left + wide, middle), f"{probability:.0%}", fill=_INK, font=font, anchor="rm")


def _text_height(question: list[str], answer: list[str]) -> int:
    return 14 + (len(question) + len(answer)) * _LINE_PX + 8 + _LINE_PX


def _write(
    pen: ImageDraw.ImageDraw, lines: Sequence[str], font: ImageFont.FreeTypeFont, colour: tuple[int, int, int],
    left: int, top: int,
) -> int:  # fmt: skip
    for line in lines:
        pen.text((left, top), line, fill=colour, font=font)
        top += _LINE_PX
    return top


def _wrapped(text: str, font: ImageFont.FreeTypeFont, wide: int) -> list[str]:
    """Break a text into lines that fit a panel; a word that is too long for one is broken."""
    lines = [""]
    for word in text.split():
        while font.getlength(word) > wide:
            fits = max(1, math.floor(len(word) * wide / font.getlength(word)) - 1)
            lines += [word[:fits]]
            word = word[fits:]
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= wide:
            lines[-1] = longer
        else:
            lines.append(word)
    return [line for line in lines if line]


def _font(name: str) -> ImageFont.FreeTypeFont:
    """Return a type of matplotlib's, without importing it."""
    found = importlib.util.find_spec("matplotlib")
    assert found is not None
    assert found.origin is not None
    return ImageFont.truetype(Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / name, _TEXT_PX)
