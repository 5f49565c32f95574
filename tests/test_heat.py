"""Heat maps: clear where a model took little, warm where it took most, small inside a page."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from shelfqa.heat import hottest, overlay, overlay_uri


def spot(row: int, column: int, side: int = 8) -> NDArray[np.float32]:
    shares = np.full((side, side), 0.001, dtype=np.float32)
    shares[row, column] = 0.3
    return shares


def test_the_hottest_cell_is_red_and_what_was_passed_over_is_clear() -> None:
    painted = np.asarray(overlay(spot(2, 6), 160))
    assert painted.shape == (160, 160, 4)
    red, green, blue, opaque = painted[50, 130].tolist()
    assert red > 2 * green
    assert red > 2 * blue
    assert 150 < opaque < 200  # the photograph shines through
    far = painted.copy()
    far[20:80, 100:160] = 0
    assert far[..., 3].max() == 0


@pytest.mark.parametrize("shares", [np.full((8, 8), 1 / 64, dtype=np.float32), np.zeros((8, 8), dtype=np.float32)])
def test_a_map_without_a_hottest_cell_is_even(shares: NDArray[np.float32]) -> None:
    assert len(np.unique(np.asarray(overlay(shares, 40)).reshape(-1, 4), axis=0)) == 1


def test_inside_a_page_it_is_the_same_picture_and_small() -> None:
    random = np.random.default_rng(0).dirichlet(np.full(64, 0.3)).reshape(8, 8).astype(np.float32)
    for shares in (spot(0, 0), random, spot(1, 1, side=2)):
        uri = overlay_uri(shares)
        assert len(uri) < 6000
        assert uri == overlay_uri(shares)
        kind, data = uri.split(",")
        assert kind == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            found = np.asarray(picture.convert("RGBA")).astype(int)
        expected = np.asarray(overlay(shares, found.shape[0])).astype(int)
        assert np.abs(found - expected)[expected[..., 3] > 0].max() < 12


@pytest.mark.parametrize(
    ("row", "column", "said"), [(0, 0, "upper left"), (4, 4, "middle"), (7, 3, "lower"), (3, 7, "right")]
)
def test_where_it_is_hottest_is_said_in_words(row: int, column: int, said: str) -> None:
    assert hottest(spot(row, column)) == said
