"""The data card: its own page, its section of the report, and the choice of samples."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scored import NASTY, AnyConfig, write_run
from test_report_page import Page

from shelfqa.artifacts import Counts, StageRun, build, write_parquet
from shelfqa.catalogue.steps import AnyStep, Cap, RequiredFields, Step
from shelfqa.errors import InputError
from shelfqa.records import IMAGE_COLUMNS, PRODUCT_COLUMNS
from shelfqa.report.card import write_card
from shelfqa.report.samples import contact_sheet
from shelfqa.report.step_words import step_words
from shelfqa.stages.report import ReportConfig, find_inputs, report

TYPES = {"mug": 30, "lamp": 12, NASTY: 6, "chair": 2}
COUNTS = Counts(read=73, kept=50, dropped={"over-cap": 20, "broken-json": 3})


def details() -> dict[str, Any]:
    types = {name: {"read": number, "kept": number, "dropped": {}} for name, number in TYPES.items()}
    types["mug"] = {"read": 48, "kept": 30, "dropped": {"over-cap": 18}}
    types["wallet"] = {"read": 2, "kept": 0, "dropped": {"over-cap": 2}}
    return {
        "preset": "score-and-cap",
        "steps": [
            {"step": "read", "parameters": {}, "kept": 70, "dropped": {"broken-json": 3}, "restored": {}},
            {
                "step": "cap",
                "parameters": {"per_type": 200, "by": "richness", "seed": None},
                "kept": 49,
                "dropped": {"over-cap": 21},
                "restored": {},
            },
            {
                "step": "every-type",
                "parameters": {"per_type": 1},
                "kept": 50,
                "dropped": {},
                "restored": {"over-cap": 1},
            },
        ],
        "by_product_type": TYPES,
        "types": types,
        "field_coverage": {"name": 1.0, "attributes.model_name": 0.0004},
        "languages_kept": {"en_US": 48, "none": 2},
        "languages_read": {"en_US": 140, "de_DE": 11},
        "dropped_by_file": {"a: b.json.gz: broken-json": 3, "c.json.gz: over-cap": 20},
        "notes": {f"column {NASTY}": 4},
        "pictures": {
            "checked": 55,
            "unreadable": 1,
            "blank": 2,
            "equal_files": {"groups": 1, "pictures": 2, "across_products": 1},
            "near_duplicates": {"groups": 3, "pictures": 8},
        },
    }


def products() -> pa.Table:
    rows = [
        {"product_id": f"p{n}", "product_type": name, "name": f"{NASTY} {n}", "image_path": f"{n}.jpg"}
        for n, name in enumerate(name for name, number in TYPES.items() for _ in range(number))
    ]
    return pa.Table.from_pylist(rows, schema=PRODUCT_COLUMNS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A curated folder with its pictures, of which one is missing and one broken."""
    folder = tmp_path_factory.mktemp("curated")
    table = products()
    write_parquet(folder / "products.parquet", table)
    (folder / "pictures").mkdir()
    for number in range(2, table.num_rows):
        Image.new("RGB", (300, 200), (number * 5, 90, 120)).save(folder / "pictures" / f"{number}.jpg")
    (folder / "pictures" / "1.jpg").write_bytes(b"<html>not found</html>")
    sizes = [{"image_path": f"{n}.jpg", "width_px": 300, "height_px": 200} for n in range(table.num_rows)]
    write_parquet(folder / "images.parquet", pa.Table.from_pylist(sizes, schema=IMAGE_COLUMNS))
    return folder


@pytest.fixture(scope="module")
def html(folder: Path) -> str:
    return write_card("our shop", COUNTS, details(), folder, folder / "pictures")


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", Page(html).text)


def test_page_is_whole_and_well_formed(html: str) -> None:
    page = Page(html)
    assert page.open == []
    assert "script" not in re.findall(r"<(\w+)", html)
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert "http" not in re.sub(r"data:image/jpeg;base64,[\w+/=]+", "", html)
    assert {link[1:] for link in page.links if link.startswith("#")} <= page.ids
    assert NASTY not in html
    assert NASTY in page.text


def test_numbers_are_told(html: str) -> None:
    text = text_of(html)
    assert "Of 73 listings in our shop, 50 (68%) are kept, in 4 of 5 product types; 55 pictures were looked at." in text
    assert "cap At most 200 of a product type, the richest 49 over-cap 21" in text
    assert "brought back: over-cap +1" in text
    assert "mug 48 30 62%" in text
    assert "1 product type lost every listing wallet over-cap 2" in text
    assert "name 100%" in text
    assert "model name <0.1%" in text
    assert "en_US 140 48" in text
    assert "de_DE 11 0" in text
    assert "in groups of equal files (1 group, 1 of them across products) 2" in text
    assert "256 to 511 50" in text
    assert "a: b.json.gz broken-json 3" in text
    shares = [float(width) for width in re.findall(r'style="width:([\d.]+)%"', html)]
    assert shares
    assert all(0 <= share <= 100 for share in shares)


def test_same_inputs_same_bytes(html: str, folder: Path) -> None:
    assert write_card("our shop", COUNTS, details(), folder, folder / "pictures") == html


def test_card_without_details(tmp_path: Path) -> None:
    html = write_card("shop", COUNTS, {}, tmp_path, None)
    page = Page(html)
    assert page.open == []
    assert {link[1:] for link in page.links if link.startswith("#")} <= page.ids
    assert "over-cap 20" in text_of(html)
    empty = Counts(read=0, kept=0, dropped={})
    assert "Of 0 listings in shop, 0 are kept." in text_of(write_card("shop", empty, {"steps": []}, tmp_path, None))


def test_contact_sheet(folder: Path) -> None:
    samples = contact_sheet(folder / "products.parquet", folder / "pictures", number=12)
    assert [sample.product_type for sample in samples] == ["mug"] * 3 + ["lamp"] * 4 + [NASTY] * 3 + ["chair"] * 2
    everything = contact_sheet(folder / "products.parquet", folder / "pictures", number=60)
    ids = {sample.product_id for sample in everything}
    assert ids == {f"p{n}" for n in range(2, 50)}
    assert all(sample.uri.startswith("data:image/jpeg;base64,") for sample in everything)


def test_contact_sheet_over_row_groups(folder: Path, tmp_path: Path) -> None:
    table = products()
    with pq.ParquetWriter(tmp_path / "products.parquet", PRODUCT_COLUMNS) as writer:
        for start in range(0, table.num_rows, 7):
            writer.write_table(table.slice(start, 7))
    sheet = contact_sheet(tmp_path / "products.parquet", folder / "pictures", number=12)
    assert sheet == contact_sheet(folder / "products.parquet", folder / "pictures", number=12)


def test_contact_sheet_of_little(folder: Path, tmp_path: Path) -> None:
    for name, rows in (("empty", []), ("untyped", [{"product_id": None, "image_path": "5.jpg"}, {}])):
        file = tmp_path / f"{name}.parquet"
        write_parquet(file, pa.Table.from_pylist(rows, schema=PRODUCT_COLUMNS))
        samples = contact_sheet(file, folder / "pictures")
        assert [sample[:3] for sample in samples] == [("", "", "")] * (name == "untyped")
    assert contact_sheet(folder / "products.parquet", tmp_path / "nowhere") == []
    (tmp_path / "broken.parquet").write_bytes(b"no table")
    with pytest.raises(InputError, match=r"broken\.parquet' is no readable Parquet file"):
        contact_sheet(tmp_path / "broken.parquet", folder / "pictures")


def test_every_step_has_words() -> None:
    needed: dict[type[Step], Step] = {RequiredFields: RequiredFields(fields=("name",)), Cap: Cap(per_type=5)}
    for kind in get_args(AnyStep):
        step: Step = needed[kind] if kind in needed else kind()
        assert step_words(step.name, step.parameters())[:1].isupper(), (
            f"{step.name} has no words in report/step_words.py"
        )


def test_report_of_a_curated_folder_alone(folder: Path, tmp_path: Path) -> None:
    def body(run: StageRun) -> None:
        run.write_table("products", products())
        run.details = details() | {"catalogue": "our shop"}
        run.counts, run.images = COUNTS, folder / "pictures"

    build("curate", tmp_path / "curated", AnyConfig(), {}, body)
    report(find_inputs(tmp_path / "curated"), tmp_path / "report", ReportConfig())
    html = (tmp_path / "report" / "index.html").read_text("utf-8")
    page = Page(html)
    assert page.open == []
    assert {link[1:] for link in page.links if link.startswith("#")} <= page.ids
    assert {"catalogue", "card-types", "made"} <= page.ids
    assert not {"models", "data", "errors"} & page.ids
    assert text_of(html).count("Of 73 listings in our shop") == 1
    assert len(page.images) == 40


def test_report_of_a_run_tells_curation_once(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    report(find_inputs(run), tmp_path / "report", ReportConfig(resamples=200))
    html = (tmp_path / "report" / "index.html").read_text("utf-8")
    assert 'id="catalogue"' in html
    assert text_of(html).count("duplicate listing 5") == 1
    assert "Products by type" not in html


def test_card_is_light() -> None:
    code = "import sys, shelfqa.report.card; print({'matplotlib', 'torch', 'scipy.stats', 'jinja2'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
