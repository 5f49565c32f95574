from __future__ import annotations

import csv
from pathlib import Path

import pytest

from shelfqa.catalogue.exports import EXPORTS, recognise
from shelfqa.catalogue.languages import Languages
from shelfqa.catalogue.listing import Reading
from shelfqa.catalogue.tabular import read_tables, table_files
from shelfqa.errors import ConfigError, InputError

SHOPIFY = (
    "Handle Title Body Vendor Category Type Tags O1n O1v O2n O2v SKU Grams Price Src Pos VarImage Cost Color Status"
)
OLDER = (
    *("Handle", "Title", "Body (HTML)", "Vendor", "Product Category", "Type", "Tags", "Option1 Name", "Option1 Value"),
    *("Option2 Name", "Option2 Value", "Variant SKU", "Variant Grams", "Variant Price", "Image Src", "Image Position"),
    *("Variant Image", "Cost per item", "Color (product.metafields.shopify.color-pattern)", "Status"),
)
CURRENT = (
    *("URL handle", "Title", "Description", "Vendor", "Product category", "Type", "Tags", "Option1 name"),
    *("Option1 value", "Option2 name", "Option2 value", "SKU", "Weight value (grams)", "Price", "Product image URL"),
    *("Image position", "Variant image URL", "Cost per item", "Color (product.metafields.shopify.color-pattern)"),
    "Status",
)
CDN = "https://cdn.shopify.com/s/files/1/0/products"


def shopify(file: Path, header: tuple[str, ...], *rows: dict[str, str]) -> Reading:
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(header)
        writer.writerows([row.get(name, "") for name in SHOPIFY.split()] for row in rows)
    return read(file)


def read(file: Path, mapping: str = "auto", columns: dict[str, str] | None = None) -> Reading:
    return read_tables([file], file.parent, columns or {}, Languages(), mapping=mapping)


TEE = {
    "Handle": "tee",
    "Title": "Fine Tee",
    "Body": "<p>Soft\ntee</p><ul><li>100% <b>cotton</b></li><li>Machine wash</ul>",
    "Vendor": "Acme",
    "Category": "Apparel & Accessories > Clothing > Shirts",
    "Tags": "summer, tee, Summer",
    "O1n": "Color",
    "O1v": "Red",
    "O2n": "Size",
    "O2v": "S",
    "SKU": "T-R-S",
    "Grams": "200.0",
    "Price": "19.90",
    "Src": f"{CDN}/tee-back.jpg?v=1",
    "Pos": "2",
    "Cost": "5",
    "Color": "red; blue",
    "Status": "active",
}
MUG = {"Handle": "mug", "Title": "Mug", "Type": "Mugs", "O1n": "Title", "O1v": "Default Title", "Src": f"{CDN}/mug.jpg"}


@pytest.mark.parametrize("header", [OLDER, CURRENT])
def test_a_shopify_product_of_several_rows_is_one_listing(tmp_path: Path, header: tuple[str, ...]) -> None:
    reading = shopify(
        tmp_path / "a.csv",
        header,
        TEE,
        {
            "Handle": "tee",
            "O1v": "Red",
            "O2v": "M",
            "Price": "19.90",
            "Grams": "200.0",
            "Src": f"{CDN}/tee.jpg",
            "Pos": "1",
        },
        MUG | {"Grams": "0", "Color": "Grey", "SKU": "M1"},
        {"Handle": "tee", "O1v": "Blue", "O2v": "S", "Price": "21.5", "Grams": "200.0", "VarImage": f"{CDN}/blue.jpg"},
    )
    tee, mug = reading.listings
    assert (tee.product_id, tee.name, tee.brand, tee.product_type) == ("tee", "Fine Tee", "Acme", "shirts")
    assert (tee.image_path, tee.other_image_paths) == ("tee.jpg", ["tee-back.jpg", "blue.jpg"])
    assert (tee.description, tee.bullet_points) == (
        "Soft tee 100% cotton Machine wash",
        ["100% cotton", "Machine wash"],
    )
    assert (tee.keywords, tee.color, tee.line) == (["summer", "tee"], "Red", 2)
    assert tee.attributes == {
        "color_given": "Red, Blue",
        "color_metafield": ["red", "blue"],
        "color_standard": "red",
        "number_of_variants": 3,
        "price_max": 21.5,
        "price_min": 19.9,
        "status": "active",
        "variants": {"Color": ["Red", "Blue"], "Size": ["S", "M"]},
        "weight": {"value": 200.0, "unit": "g"},
    }
    assert (mug.product_type, mug.color, mug.attributes["sku"]) == ("mugs", "Grey", "M1")
    assert not {"variants", "weight", "cost_per_item"} & mug.attributes.keys()
    assert (reading.drops, reading.notes["row joined to its product"]) == ([], 2)


def test_the_colour_is_that_of_the_variant_on_the_main_picture(tmp_path: Path) -> None:
    reading = shopify(
        tmp_path / "a.csv",
        OLDER,
        TEE | {"Pos": "2", "O1n": "Farbe"},
        {"Handle": "tee", "O1v": "Blue", "O2v": "S", "Src": f"{CDN}/b.jpg", "Pos": "1", "VarImage": f"{CDN}/b.jpg"},
    )
    (tee,) = reading.listings
    assert (tee.image_path, tee.color, tee.attributes["color_given"]) == ("b.jpg", "Blue", "Blue")


def test_shopify_rows_that_belong_to_no_product_are_drops(tmp_path: Path) -> None:
    reading = shopify(
        tmp_path / "a.csv",
        OLDER,
        TEE,
        {"Handle": "ghost", "Src": f"{CDN}/x.jpg"},
        {"Title": "No handle"},
        {"Handle": "bare", "Title": "Without picture"},
        {"Handle": "bare", "O1v": "x"},
        {"Handle": "tee", "Title": "Another tee", "Src": f"{CDN}/x.jpg"},
        {"Handle": "tee", "Src": f"{CDN}/y.jpg"},
        {"Handle": "late", "Src": f"{CDN}/late.jpg"},
        {"Handle": "late", "Title": "Title below"},
        TEE | {"Src": f"{CDN}/again.jpg", "Pos": "9"},
    )
    assert [found.product_id for found in reading.listings] == ["tee", "late"]
    assert reading.listings[0].other_image_paths == ["again.jpg"]
    assert sorted((drop.line - 1, drop.product_id, drop.reason) for drop in reading.drops if drop.product_id) == [
        (3, "ghost", "no-title"),
        (5, "bare", "no-image-id"),
        (7, "tee", "handle-used-twice"),
        (8, "tee", "handle-used-twice"),
    ]
    assert [drop.reason for drop in reading.drops if drop.product_id is None] == ["no-product-id"]
    assert reading.notes["row joined to its product"] == 3
    assert reading.read + 3 == 10


CLASSIC = (
    "item_sku\titem_name\tbrand_name\tfeed_product_type\tmain_image_url\tother_image_url1\tother_image_url2\t"
    "bullet_point1\tbullet_point2\tgeneric_keywords\tproduct_description\tcolor_name\tcolor_map\tmaterial_type1\t"
    "material_type2\titem_weight\titem_weight_unit_of_measure\titem_height\titem_width\t"
    "item_dimensions_unit_of_measure\tparent_child\tupdate_delete"
)


def classic(*rows: str, preamble: str = "") -> str:
    width = CLASSIC.count("\t")
    return preamble + "\n".join([CLASSIC, *(row + "\t" * (width - row.count("\t")) for row in rows)]) + "\n"


MUG_ROW = (
    'A1\tMug 5" tall\tAcme\tDRINKING_CUP\thttps://m.media-amazon.com/images/I/71a.jpg\thttps://x.y/2.jpg\t'
    "https://x.y/3.jpg\tBig\tbig\tmug; cup\t<b>Hi</b>&nbsp;there\tSea Foam\tGreen\tClay\tCork\t1.5\tpounds\t"
    "10\t20\tMM\tChild\tUpdate"
)
TEMPLATE = (
    "TemplateType=fptcustom\tVersion=2021.1\tsettings=attributeRow=3&contentLanguageTag={tag}&dataRow=5&labelRow=2\n"
    '"Seller ""SKU"""\tProduct, Name\n'
)


@pytest.mark.parametrize("name", ["a.txt", "a.tsv", "a.csv"])
def test_a_classic_amazon_template(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    parent = "P1\tFamily" + "\t" * 19 + "Parent"
    gone = "A2\tOld\t\t\thttps://x.y/2.jpg" + "\t" * 17 + "Delete"
    file.write_text(classic("ABC\tExample", parent, MUG_ROW, gone, preamble=TEMPLATE.format(tag="en_US")), "utf-8-sig")
    reading = read(file)
    (mug,) = reading.listings
    assert (mug.product_id, mug.name, mug.product_type, mug.language) == ("A1", 'Mug 5" tall', "drinking cup", "en_US")
    assert (mug.image_path, mug.other_image_paths) == ("71a.jpg", ["2.jpg", "3.jpg"])
    assert (mug.bullet_points, mug.keywords, mug.material) == (["Big"], ["mug", "cup"], "Clay, Cork")
    assert (mug.color, mug.description) == ("Sea Foam", "Hi there")
    assert mug.attributes == {
        "color_given": "Sea Foam",
        "color_map": "Green",
        "color_standard": "green",
        "weight": {"value": 680.389, "unit": "g"},
        "dimensions": {"height": {"value": 1.0, "unit": "cm"}, "width": {"value": 2.0, "unit": "cm"}},
    }
    assert [(drop.line, drop.product_id, drop.reason) for drop in reading.drops] == [
        (5, "P1", "parent-without-image"),
        (7, "A2", "marked-for-deletion"),
    ]
    assert reading.notes["line above the header or example row passed over"] == 3


def test_the_language_of_an_amazon_template_counts(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text(classic("ABC\tExample", MUG_ROW, preamble=TEMPLATE.format(tag="de_DE")))
    (mug,) = read(file).listings
    assert (mug.product_id, mug.name, mug.color, mug.language) == ("A1", None, None, None)
    assert mug.attributes.keys() == {"weight", "dimensions"}


def test_the_newer_amazon_header_with_two_languages(tmp_path: Path) -> None:
    place = "[marketplace_id=ATVPDKIKX0DER]"
    cells = {
        "contribution_sku#1.value": "A1",
        "::record_action": "Create",
        "product_type#1.value": "MUG",
        f"item_name{place}[language_tag=de_DE]#1.value": "Tasse",
        f"item_name{place}[language_tag=en_US]#1.value": "Mug",
        f"brand{place}[language_tag=en_US]#1.value": "Acme",
        f"bullet_point{place}[language_tag=en_US]#2.value": "Two",
        f"bullet_point{place}[language_tag=en_US]#1.value": "One",
        f"bullet_point{place}[language_tag=de_DE]#1.value": "Eins",
        f"main_product_image_locator{place}#1.media_location": "https://x.y/1.jpg",
        f"other_product_image_locator_2{place}#1.media_location": "https://x.y/3.jpg",
        f"other_product_image_locator_1{place}#1.media_location": "https://x.y/2.jpg",
        f"color{place}[language_tag=en_US]#1.value": "Midnight",
        f"color{place}[language_tag=en_US]#1.standardized_values#1": "Blue",
        f"pattern{place}[language_tag=de_DE]#1.value": "Streifen",
        f"style{place}[language_tag=en_US]#1.value": "Modern",
        f"item_weight{place}#1.value": "2",
        f"item_weight{place}#1.unit": "Pounds",
        f"item_dimensions{place}#1.length.value": "3",
        f"item_dimensions{place}#1.length.unit": "Inches",
        f"item_dimensions{place}#1.height.normalized_value.value": "2",
        f"item_dimensions{place}#1.height.normalized_value.unit": "Centimeters",
    }
    file = tmp_path / "a.csv"
    file.write_text(f"{','.join(cells)}\n{','.join(cells.values())}\n")
    reading = read(file)
    (mug,) = reading.listings
    assert (mug.product_id, mug.name, mug.brand, mug.language) == ("A1", "Mug", "Acme", "en_US")
    assert (mug.image_path, mug.other_image_paths) == ("1.jpg", ["2.jpg", "3.jpg"])
    assert (mug.bullet_points, mug.color) == (["One", "Two"], "Midnight")
    assert mug.attributes == {
        "color_given": "Midnight",
        "color_map": "Blue",
        "color_standard": "blue",
        "style": "Modern",
        "weight": {"value": 907.185, "unit": "g"},
        "dimensions": {"height": {"value": 2.0, "unit": "cm"}, "length": {"value": 7.62, "unit": "cm"}},
    }
    assert reading.languages == {"de_DE": 1, "en_US": 1}


def test_the_amazon_listings_report(tmp_path: Path) -> None:
    file = tmp_path / "report.txt"
    file.write_text("item-name\titem-description\tseller-sku\tprice\timage-url\tasin1\nMug\tNice\tS1\t5\tm.jpg\tB01\n")
    (mug,) = read(file).listings
    assert (mug.product_id, mug.name, mug.description, mug.image_path) == ("S1", "Mug", "Nice", "m.jpg")


def test_headers_are_recognised() -> None:
    assert recognise(OLDER) == recognise(CURRENT) == "shopify"
    assert recognise(CLASSIC.split("\t")) == "amazon"
    assert recognise(["sku", "title", "image", "handle"]) == recognise([]) == "generic"
    assert set(EXPORTS) == {"amazon", "shopify", "generic"}


def test_a_mapping_can_be_named_and_columns_go_before_it(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text(f"{','.join(OLDER)},Made Of\nmug,Mug{',' * 12},a.jpg{',' * 6}Clay\n")
    assert read(file, "generic").listings[0].material is None
    assert read(file, "shopify", {"material": "Made Of"}).listings[0].material == "Clay"
    assert read(file, "auto", {"material": "Made Of", "brand": "Title"}).listings[0].brand == "Mug"
    with pytest.raises(ConfigError, match=r"unknown mapping 'shopfy'.*'shopify'"):
        read(file, "shopfy")
    with pytest.raises(InputError, match="lacks the column 'gone'"):
        read(file, "shopify", {"material": "gone"})
    (tmp_path / "b.csv").write_text("id,image\n1,a.jpg\n")
    with pytest.raises(InputError, match=r"b\.csv' is no Shopify export: it lacks 'handle'"):
        read(tmp_path / "b.csv", "shopify")


def test_a_folder_takes_text_files_only_where_they_are_exports(tmp_path: Path) -> None:
    (tmp_path / "inventory.txt").write_text(classic(MUG_ROW, preamble=TEMPLATE.format(tag="en_US")))
    (tmp_path / "readme.txt").write_text("Put item_sku, item_name and brand_name of the product here.\n")
    (tmp_path / "binary.txt").write_bytes(bytes(range(256)))
    (tmp_path / "empty.txt").touch()
    (tmp_path / ".hidden.csv").write_text("id,image\n")
    assert [file.name for file in table_files(tmp_path)] == ["inventory.txt"]
