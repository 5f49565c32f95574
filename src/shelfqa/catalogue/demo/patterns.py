"""Patterns as functions of surface coordinates: how much of the second colour lies at (u, v), 0 to 1."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from shelfqa.catalogue.demo.canvas import FloatArray

PatternDrawer = Callable[[FloatArray, FloatArray, float], FloatArray]


def _edge(distance: FloatArray, softness: float) -> FloatArray:
    """Return 1 inside (positive distance), 0 outside, with a soft step of this width."""
    return np.asarray(np.clip(distance / softness + 0.5, 0, 1), np.float32)


def _wave(values: FloatArray) -> FloatArray:
    """Triangle wave of period 1 between 0 and 1."""
    return np.asarray(np.abs(values - np.floor(values) - 0.5) * 2, np.float32)


def striped(u: FloatArray, v: FloatArray, softness: float) -> FloatArray:
    """Parallel bands."""
    return _edge(0.4 - _wave(v + 0.5), softness * 2)


def dotted(u: FloatArray, v: FloatArray, softness: float) -> FloatArray:
    """Round dots on a staggered grid."""
    row = np.floor(v)
    x, y = u + 0.5 * (row % 2), v - row - 0.5
    x = x - np.floor(x) - 0.5
    return _edge(0.29 - np.hypot(x, y), softness)


def checked(u: FloatArray, v: FloatArray, softness: float) -> FloatArray:
    """Woven checks: where two bands cross, the second colour is full."""
    across = _edge(0.42 - _wave(u * 0.8), softness * 2)
    down = _edge(0.42 - _wave(v * 0.8), softness * 2)
    return 0.5 * across + 0.5 * down


def zigzag(u: FloatArray, v: FloatArray, softness: float) -> FloatArray:
    """Bands that go up and down in sharp corners."""
    return _edge(0.39 - _wave(v * 0.85 + 0.5 * _wave(u)), softness * 2.4)


def _cells(u: FloatArray, v: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return radius and angle about the centre of each cell of a staggered grid, turned cell by cell."""
    row = np.floor(v)
    shifted = u + 0.5 * (row % 2)
    column = np.floor(shifted)
    x, y = shifted - column - 0.5, v - row - 0.5
    turn = (column * 2.4 + row * 1.7) % 6.283
    return np.hypot(x, y), np.arctan2(y, x) + turn


def floral(u: FloatArray, v: FloatArray, softness: float) -> FloatArray:
    """Flowers of five petals with an open centre."""
    radius, angle = _cells(u, v)
    petal = 0.17 + 0.27 * np.abs(np.cos(2.5 * angle))
    return _edge(petal - radius, softness) * _edge(radius - 0.1, softness)


def starry(u: FloatArray, v: FloatArray, softness: float) -> FloatArray:
    """Five-pointed stars."""
    radius, angle = _cells(u, v)
    sector = 2 * np.pi / 5
    folded = np.abs((angle % sector) - sector / 2)
    # The edge between an inner corner (0.17 out) and a point (0.43 out) is a straight line in polar coordinates.
    inner, outer = 0.17, 0.43
    turn = sector / 2
    edge = inner * outer * np.sin(turn) / (outer * np.sin(folded) + inner * np.sin(turn - folded) + 1e-6)
    return _edge(edge - radius, softness)


PATTERNS: dict[str, PatternDrawer] = {
    "Striped": striped,
    "Dotted": dotted,
    "Checked": checked,
    "Zigzag": zigzag,
    "Floral": floral,
    "Stars": starry,
}
PATTERN_NAMES: tuple[str, ...] = ("Solid", *PATTERNS)
