"""Weights in grams and lengths in centimetres, whatever unit the shop wrote; what is not certain is not converted.

One shape for every reader: `{"value": 1200.0, "unit": "g"}` for a weight, and for the dimensions one such object a
side: `{"height": {"value": 10.0, "unit": "cm"}, "width": …}`. Values are rounded to six significant digits.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any


def _units(**factors: tuple[float, str]) -> dict[str, float]:
    return {name: factor for factor, names in factors.values() for name in names.split(", ")}


GRAMS = _units(
    mg=(0.001, "mg, milligram, milligrams, milligramme"),
    g=(1.0, "g, gr, grs, gm, gms, gram, grams, gramm, gramme, grammes, gramo, gramos, grammi, grammo"),
    kg=(1000.0, "kg, kgs, kilo, kilos, kilogram, kilograms, kilogramm, kilogramme, kilogrammes, kilogramo, kilogramos"),
    t=(1_000_000.0, "tonne, tonnes, metric ton, metric tons"),
    oz=(28.349523125, "oz, ozs, ounce, ounces, onza, onzas, once, onces"),
    lb=(453.59237, "lb, lbs, pound, pounds, libra, libras, livre, livres"),
    hundredth_lb=(4.5359237, "hundredths pound, hundredths pounds"),
    stone=(6350.29318, "stone, stones"),
)
"""Units of weight, in grams. Left out as ambiguous: `ton`, `Pfund`, `st` (stone, German Stück)."""

CENTIMETRES = _units(
    mm=(0.1, "mm, mms, millimeter, millimeters, millimetre, millimetres, milimetros, millimetri"),
    cm=(1.0, "cm, cms, centimeter, centimeters, centimetre, centimetres, zentimeter, centimetros, centímetros"),
    dm=(10.0, "dm, decimeter, decimeters, decimetre, decimetres"),
    m=(100.0, "m, mtr, meter, meters, metre, metres, metro, metros"),
    inch=(2.54, "in, ins, inch, inches, inch., \", ″, ”, '', zoll, pulgada, pulgadas, pouce, pouces, pollice, pollici"),
    hundredth_inch=(0.0254, "hundredths inch, hundredths inches"),
    ft=(30.48, "ft, foot, feet, ', ′, ’, pie, pies"),
    yd=(91.44, "yd, yds, yard, yards"),
)
"""Units of length, in centimetres."""

SIDES: dict[str, str] = {
    name: side
    for side, names in {
        "length": "length, l, lg, länge, largo, lunghezza, longueur, long",
        "width": "width, w, breite, b, ancho, larghezza, largeur, wide",
        "height": "height, h, ht, höhe, alto, altezza, hauteur, high, tall",
        "depth": "depth, d, tiefe, t, profundidad, profondità, profondeur, deep",
        "diameter": "diameter, dia, diam, ø, durchmesser, diámetro, diametro, diamètre",
        "thickness": "thickness, thick, dicke, stärke",
    }.items()
    for name in names.split(", ")
}
"""The names of a side in texts."""

_MAX_AMOUNT = 1e15
_FRACTIONS = {"½": " 1/2", "¼": " 1/4", "¾": " 3/4", "⅓": " 1/3", "⅔": " 2/3", "⅛": " 1/8", "⅜": " 3/8"} | {
    "⅝": " 5/8",
    "⅞": " 7/8",
}
_NUMBER = r"\d[\d.,]*(?:[ '\u00a0\u202f]\d{3}(?!\d))*(?:[.,]\d+)?(?:[ -]\d+/\d+)?|\d+/\d+|\.\d+"


def _either(names: Mapping[str, object]) -> str:
    return "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))


def _piece(table: Mapping[str, float]) -> re.Pattern[str]:
    return re.compile(rf"\s*(?P<number>{_NUMBER})\s*-?\s*(?P<unit>{_either(table)})\.?(?![^\W\d_])[\s,]*")


_WEIGHT_PIECE = _piece(GRAMS)
_LENGTH_PIECE = _piece(CENTIMETRES)
_ABOUT = re.compile(r"^\s*(?:approximately|approx\.?|about|circa|ca\.?|~|≈|±)\s*", re.IGNORECASE)
_ALSO = re.compile(r"\s+/\s+|[()\[\]]|\s+=\s+")
_AGREE = 0.05
_TIMES = re.compile(r"\s*(?:[x×✕*]|\bby\b)\s*")
_LABEL = "|".join(re.escape(name) for name in sorted(SIDES, key=len, reverse=True))
_ORDER = re.compile(rf"[(\[]?\s*((?:{_LABEL})(?:\s*[x×*/]\s*(?:{_LABEL})){{1,3}})\s*[)\]]?\s*:?")


def weight_g(value: object, unit: str | None = None) -> float | None:
    """Return a weight in grams, more than 0, or None where it is not certain.

    Args:
        value: a number, or a text such as "2.5", "2,5 kg", "2 lb 3 oz".
        unit: the unit of a value that names none.

    >>> weight_g("2.5 lbs"), weight_g(1.2, "Kilograms"), weight_g("light")
    (1133.98, 1200.0, None)

    """
    return _amount(value, unit, GRAMS)


def length_cm(value: object, unit: str | None = None) -> float | None:
    """Return a length in centimetres, more than 0, or None where it is not certain; arguments as of `weight_g`.

    >>> length_cm("12,5 cm"), length_cm("5' 3\\""), length_cm("1 1/2 in"), length_cm("10-12 cm")
    (12.5, 160.02, 3.81, None)
    """
    return _amount(value, unit, CENTIMETRES)


def dimensions(text: object, unit: str | None = None, order: str | None = None) -> dict[str, float]:
    """Return the sides named in a text such as `10 x 20 x 30 cm`, in centimetres; empty where it is not certain.

    Args:
        text: two or three lengths; the unit can stand with each, or once after the last.
        unit: the unit where the text names none.
        order: the sides' names where the text gives none, as in "LxWxH"; without, they are `side_1`, `side_2`, ….

    >>> dimensions('10"L x 5"W x 3"H'), dimensions("20 x 30 mm")
    ({'length': 25.4, 'width': 12.7, 'height': 7.62}, {'side_1': 2.0, 'side_2': 3.0})

    """
    if not isinstance(text, str):
        return {}
    raw = _ABOUT.sub("", _plain(text))
    found = _ORDER.search(raw)
    if found:
        order, raw = found[1], raw[: found.start()] + raw[found.end() :]
    parts = [part for part in _TIMES.split(raw.strip(" .;:")) if part]
    if not 2 <= len(parts) <= 4:
        return {}
    labelled = [_labelled(part) for part in parts]
    last = _trailing_unit(labelled[-1][1])
    sides: dict[str, float] = {}
    names = [SIDES[name] for name in re.split(r"\s*[x×*/]\s*", _plain(order))] if order else []
    for number, (label, rest) in enumerate(labelled):
        length = length_cm(rest, last or unit)
        name = label or (names[number] if len(names) == len(parts) else f"side_{number + 1}")
        if length is None or name in sides or bool(label) != bool(labelled[0][0]):
            return {}
        sides[name] = length
    return sides


def measured_weight(value: object, unit: str | None = None) -> dict[str, Any] | None:
    """Return `{"value": grams, "unit": "g"}` of a number, a text, or an object with `value` and `unit` (or a list).

    An object's `normalized_value`, as Amazon Berkeley Objects gives it, goes before its own value.
    """
    grams = weight_g(*_value_and_unit(value, unit))
    return None if grams is None else {"value": grams, "unit": "g"}


def measured_length(value: object, unit: str | None = None) -> dict[str, Any] | None:
    """Return `{"value": centimetres, "unit": "cm"}`; arguments as of `measured_weight`."""
    centimetres = length_cm(*_value_and_unit(value, unit))
    return None if centimetres is None else {"value": centimetres, "unit": "cm"}


def measured_sides(value: object, unit: str | None = None, order: str | None = None) -> dict[str, dict[str, Any]]:
    """Return side -> `{"value": centimetres, "unit": "cm"}` of a text, or of an object with a value for each side."""
    if isinstance(value, Mapping):
        own = value.get("unit")
        inner = own if isinstance(own, str) else unit
        read = {SIDES.get(_plain(str(side)), ""): measured_length(one, inner) for side, one in value.items()}
        return {side: one for side, one in sorted(read.items()) if side and one is not None}
    return {side: {"value": one, "unit": "cm"} for side, one in dimensions(value, unit, order).items()}


def _value_and_unit(value: object, unit: str | None) -> tuple[object, str | None]:
    if isinstance(value, (list, tuple)):
        value = value[0] if len(value) == 1 else None
    if not isinstance(value, Mapping):
        return value, unit
    inner = value.get("normalized_value")
    best = inner if isinstance(inner, Mapping) and inner.get("value") is not None else value
    own = best.get("unit")
    return best.get("value"), own if isinstance(own, str) else unit


def _plain(text: str) -> str:
    text = text.casefold().replace("_", " ")
    for mark, spelt in _FRACTIONS.items():
        text = text.replace(mark, spelt)
    return " ".join(text.split())


def _amount(value: object, unit: str | None, table: dict[str, float]) -> float | None:
    """Return a value in the base unit of `table`, or None."""
    factor = table.get(_plain(unit).rstrip(".")) if unit else None
    amount: float | None
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        amount = value * factor if factor and abs(value) < _MAX_AMOUNT else None
    elif isinstance(value, str):
        amount = _of_text(value, factor, table is GRAMS)
    else:
        return None
    if amount is None or not math.isfinite(amount) or amount <= 0:
        return None
    return float(f"{amount:.6g}")


@lru_cache(maxsize=1 << 14)
def _of_text(value: str, factor: float | None, of_weight: bool) -> float | None:
    text = _ABOUT.sub("", _plain(value))
    table = GRAMS if of_weight else CENTIMETRES
    amounts = [_sum(part, factor, table) for part in _ALSO.split(text) if part.strip()]
    known = [one for one in amounts if one is not None]
    agree = bool(known) and len(known) == len(amounts) and max(known) - min(known) <= _AGREE * max(known)
    return known[0] if agree else None


def _sum(text: str, factor: float | None, table: dict[str, float]) -> float | None:
    """Return what `5 ft 3 in` comes to: one or more numbers with units, each smaller than the one before."""
    bare = _number(text)
    if bare is not None:
        return bare * factor if factor else None
    total, position, before = 0.0, 0, math.inf
    piece = _WEIGHT_PIECE if table is GRAMS else _LENGTH_PIECE
    while position < len(text):
        match = piece.match(text, position)
        number = _number(match["number"]) if match else None
        if match is None or number is None or table[match["unit"]] >= before:
            return None
        before = table[match["unit"]]
        total += number * before
        position = match.end()
    return total if position else None


def _number(text: str) -> float | None:
    """Return a number such as 12.5, 12,5, 1.234,5, 1 1/2 or 3/4; None where `1,234` could be two numbers."""
    text = text.strip()
    fraction = re.fullmatch(r"(?:(\d+)[ -])?(\d+)/(\d+)", text)
    if fraction:
        whole, above, below = fraction.groups()
        return int(whole or 0) + int(above) / int(below) if int(below) else None
    text = re.sub(r"(?<=\d)[ '\u00a0\u202f](?=\d{3}(?!\d))", "", text)
    if re.fullmatch(r"\d+|\d*\.\d+|\d+\.", text):
        return float(text)
    if re.fullmatch(r"\d+,\d{1,2}|\d+,\d{4,}|0,\d+", text):
        return float(text.replace(",", "."))
    if re.fullmatch(r"\d{1,3}(?:,\d{3})+\.\d+|\d{1,3}(?:,\d{3}){2,}", text):
        return float(text.replace(",", ""))
    if re.fullmatch(r"\d{1,3}(?:\.\d{3})+,\d+|\d{1,3}(?:\.\d{3}){2,}", text):
        return float(text.replace(".", "").replace(",", "."))
    return None


def _labelled(part: str) -> tuple[str, str]:
    """Return the side that a part names before or after its length, or "", and the length."""
    before = re.match(rf"\s*({_LABEL})\s*[.:=]?\s*(?=[\d.])", part)
    if before:
        return SIDES[before[1]], part[before.end() :]
    after = re.search(rf"(?<=[\d\s\"'″”′’.(a-z])[\s(]*\b({_LABEL})\)?\s*$", part)
    if after and after.start() and re.search(r"\d", part[: after.start()]):
        return SIDES[after[1]], part[: after.start()]
    return "", part


def _trailing_unit(text: str) -> str | None:
    """Return the one unit that ends a text, as in `30 cm`."""
    match = re.fullmatch(rf"(?:{_NUMBER})\s*({_either(CENTIMETRES)})", text.strip().rstrip("."))
    return match[1] if match else None
