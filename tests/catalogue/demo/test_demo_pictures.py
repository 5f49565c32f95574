"""What can be seen in a drawn picture is what its specification says."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image

from shelfqa.catalogue.demo import identifiers
from shelfqa.catalogue.demo.labels import lettering
from shelfqa.catalogue.demo.palette import SHADES
from shelfqa.catalogue.demo.scene import render
from shelfqa.catalogue.demo.spec import KIND_NAMES, KINDS, Spec, sample_spec

SPECS = [sample_spec(3, index) for index in range(2000)]


def plain_spec(kind: str, **changes: object) -> Spec:
    details = KINDS[kind]
    spec = Spec(
        seed=5,
        index=1,
        kind=kind,
        color="Red",
        shade="Crimson",
        rgb=(184, 18, 38),
        accent=(250, 247, 240),
        material=details.materials[0],
        pattern="Solid",
        style=details.styles[0],
        shape=details.shapes[0] if details.shapes else None,
        brand=None,
        count=1,
        views=0,
    )
    return dataclasses.replace(spec, **changes)  # type: ignore[arg-type]


def pixels(picture: Image.Image) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    return np.asarray(picture, np.int16)


def red_share(picture: Image.Image) -> float:
    rgb = pixels(picture)
    return float(((rgb[..., 0] - rgb[..., 1] > 60) & (rgb[..., 0] - rgb[..., 2] > 60)).mean())


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_each_type_is_drawn_in_its_colour(kind: str) -> None:
    picture = render(plain_spec(kind))
    assert max(picture.size) == 256
    assert picture.mode == "RGB"
    assert np.asarray(picture.convert("L"), np.float32).std() > 4, "the picture is blank"
    assert red_share(picture) > 0.03


@pytest.mark.parametrize("kind", ["mug", "clock", "shirt"])
def test_a_pattern_changes_the_picture(kind: str) -> None:
    solid, dotted = render(plain_spec(kind)), render(plain_spec(kind, pattern="Dotted"))
    assert np.abs(pixels(solid) - pixels(dotted)).mean() > 1


def test_a_set_shows_as_many_objects_as_it_counts() -> None:
    from scipy.ndimage import label

    for count in range(1, 7):
        rgb = pixels(render(plain_spec("plate", count=count)))
        mask = (rgb[..., 0] - rgb[..., 1]) > 60
        regions, _ = label(mask)
        sizes = np.bincount(regions.ravel())[1:]
        assert (sizes > 200).sum() == count


def test_a_brand_is_visible_on_the_product_or_on_a_tag() -> None:
    for kind in ("mug", "chair"):
        bare, named = render(plain_spec(kind)), render(plain_spec(kind, brand="Velora"))
        assert (np.abs(pixels(bare) - pixels(named)).max(axis=2) > 60).mean() > 0.002
    assert lettering("Velora").shape[0] > 60


def test_a_mirrored_view_differs_from_the_main_one() -> None:
    spec = plain_spec("mug", views=2)
    main, other = render(spec), render(spec, 1)
    assert np.abs(pixels(main) - pixels(other)).mean() > 3


def test_two_products_of_one_kind_do_not_look_alike() -> None:
    first, second = (render(plain_spec("bottle", index=index)) for index in (1, 2))
    shrunk = [pixels(picture.convert("L").resize((16, 16))) for picture in (first, second)]
    assert np.abs(shrunk[0] - shrunk[1]).mean() > 2


def test_every_type_comes_once_in_each_deal() -> None:
    size = len(KIND_NAMES)
    assert {spec.kind for spec in SPECS[:size]} == set(KIND_NAMES)
    assert {spec.kind for spec in SPECS[size : 2 * size]} == set(KIND_NAMES)


def test_attributes_suit_their_type() -> None:
    for spec in SPECS:
        details = KINDS[spec.kind]
        assert spec.material in details.materials
        assert spec.style in details.styles
        assert (spec.shape in details.shapes) if details.shapes else spec.shape is None
        assert 1 <= spec.count <= details.most
        assert spec.rgb in {shade.rgb for shade in SHADES[spec.color]}


@pytest.mark.parametrize("field", ["kind", "pattern", "brand"])
def test_colour_cannot_be_guessed_from_another_attribute(field: str) -> None:
    from scipy.stats import chi2_contingency

    rows = sorted({str(getattr(spec, field)) for spec in SPECS})
    columns = sorted(SHADES)
    table = np.zeros((len(rows), len(columns)))
    for spec in SPECS:
        table[rows.index(str(getattr(spec, field))), columns.index(spec.color)] += 1
    assert chi2_contingency(table).pvalue > 0.001
    assert table.sum(0).max() / len(SPECS) < 0.12


def test_identifiers_never_collide() -> None:
    indices = range(30_000)
    assert len({identifiers.item_id(1, index) for index in indices}) == 30_000
    images = [(index, view) for index in indices for view in range(4)]
    assert len({identifiers.image_id(1, *image) for image in images}) == len(images)
    assert len({identifiers.image_path(1, *image) for image in images}) == len(images)
    assert len(identifiers.item_id(1, 5)) == 10
