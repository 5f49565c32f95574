"""The table of product types and who draws them."""

from __future__ import annotations

from shelfqa.catalogue.demo.clothing import draw_backpack, draw_shirt, draw_shoe, draw_umbrella
from shelfqa.catalogue.demo.drawing import Drawer
from shelfqa.catalogue.demo.furniture import draw_chair, draw_lamp, draw_sofa, draw_table
from shelfqa.catalogue.demo.goods import draw_book, draw_box, draw_case, draw_clock, draw_cushion, draw_rug
from shelfqa.catalogue.demo.tableware import draw_bottle, draw_mug, draw_plate, draw_vase

DRAWERS: dict[str, Drawer] = {
    "mug": draw_mug,
    "bottle": draw_bottle,
    "shirt": draw_shirt,
    "backpack": draw_backpack,
    "chair": draw_chair,
    "lamp": draw_lamp,
    "clock": draw_clock,
    "table": draw_table,
    "shoe": draw_shoe,
    "case": draw_case,
    "box": draw_box,
    "plate": draw_plate,
    "umbrella": draw_umbrella,
    "book": draw_book,
    "cushion": draw_cushion,
    "vase": draw_vase,
    "sofa": draw_sofa,
    "rug": draw_rug,
}
