"""Steps that judge each listing by itself."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from shelfqa.catalogue.listing import BRIEF_TEXTS
from shelfqa.catalogue.selection import Selection, literal
from shelfqa.catalogue.steps.base import LISTS, Fields, Step, all_brief, said_sql, text_sql


class WantedLanguage(Step, frozen=True, tag="wanted-language"):
    """Drop listings that have no text in a wanted language (`languages`)."""

    by_listing = True

    @property
    def brief(self) -> bool:
        """Whether a brief reading is enough."""
        return False

    def apply(self, selection: Selection, seed: int) -> None:
        """Drop listings."""
        texts = ("name", "color", "material", "description", *LISTS)
        none = " AND ".join(f"{text_sql(field)} IS NULL" for field in texts)
        self.drop(
            selection,
            f"""SELECT row, 'no-wanted-language' AS reason, 'no text is in a wanted language' AS detail
                FROM parts p SEMI JOIN alive USING (row) WHERE p.language IS NULL AND {none}""",
        )


class RequiredFields(Step, frozen=True, tag="required-fields"):
    """Drop listings that lack any of the fields."""

    by_listing = True

    fields: Fields

    @property
    def brief(self) -> bool:
        """Whether a brief reading is enough."""
        return all_brief(self.fields)

    def apply(self, selection: Selection, seed: int) -> None:
        """Drop listings."""
        cases = " ".join(f"WHEN {said_sql(field)} IS NULL THEN {literal(f'no-{field}')}" for field in self.fields)
        self.drop(
            selection,
            f"""SELECT row, reason, 'the listing does not say it in a wanted language' AS detail FROM (
                  SELECT row, CASE {cases} END AS reason FROM parts p SEMI JOIN alive USING (row))
                WHERE reason IS NOT NULL""",
        )


class AsciiOnly(Step, frozen=True, tag="ascii-only"):
    """Drop listings with a character outside ASCII in any of the fields."""

    by_listing = True

    fields: Fields = ("name", "product_type", "color")

    @property
    def brief(self) -> bool:
        """Whether a brief reading is enough."""
        return all_brief(self.fields, BRIEF_TEXTS)

    def apply(self, selection: Selection, seed: int) -> None:
        """Drop listings."""
        cases = " ".join(
            f"WHEN strlen({text_sql(field)}) <> length({text_sql(field)}) THEN {literal(field)}"
            for field in self.fields
        )
        self.drop(
            selection,
            f"""SELECT row, 'not-ascii' AS reason, field || ' holds other characters than ASCII' AS detail FROM (
                  SELECT row, CASE {cases} END AS field FROM parts p SEMI JOIN alive USING (row))
                WHERE field IS NOT NULL""",
        )


class Blocked(Step, frozen=True, tag="blocked"):
    """Drop listings by product id or by the id of the main image."""

    by_listing = True

    product_ids: Annotated[tuple[str, ...], Meta(description="Product ids to leave out.")] = ()
    image_ids: Annotated[tuple[str, ...], Meta(description="Image ids, or image paths, to leave out.")] = ()

    def apply(self, selection: Selection, seed: int) -> None:
        """Drop listings."""
        products = ", ".join(map(literal, self.product_ids)) or "NULL"
        images = ", ".join(map(literal, self.image_ids)) or "NULL"
        self.drop(
            selection,
            f"""SELECT row, 'blocked' AS reason, 'its id is on the list' AS detail FROM alive
                WHERE product_id IN ({products}) OR image_id IN ({images}) OR image_path IN ({images})""",
        )


class Richness(Step, frozen=True, tag="richness"):
    """Drop listings that say too little: one point each for a colour, bullet points, keywords."""

    by_listing = True

    minimum: Annotated[int, Meta(description="Points that a listing needs, of 3.", ge=0, le=3)] = 2
    min_pieces: Annotated[
        int,
        Meta(description="Bullet points and keywords count from this many pieces between commas on.", ge=1),
    ] = 1

    @property
    def brief(self) -> bool:
        """Whether a brief reading is enough."""
        return self.min_pieces == 1

    def apply(self, selection: Selection, seed: int) -> None:
        """Drop listings."""
        points, source = "richness", "alive"
        if self.min_pieces > 1:
            lists = [f"len(string_split({text_sql(field)}, ','))" for field in LISTS]
            pieces = " + ".join(f"coalesce({length} >= {self.min_pieces}, false)::INT" for length in lists)
            points, source = f"(p.color IS NOT NULL)::INT + {pieces}", "parts p SEMI JOIN alive USING (row)"
        self.drop(
            selection,
            f"""SELECT row, 'low-richness' AS reason, points || ' of colour, bullet points, keywords' AS detail
                FROM (SELECT row, {points} AS points FROM {source}) WHERE points < {self.minimum}""",
        )


class DescribeFromBulletPoints(Step, frozen=True, tag="describe-from-bullet-points"):
    """Join the bullet points to one description, in place of the listing's own."""

    by_listing = True

    separator: Annotated[str, Meta(description="What stands between two bullet points.")] = " | "

    def apply(self, selection: Selection, seed: int) -> None:
        """Replace the description."""
        selection.replaced["description"] = f"nullif(array_to_string(p.bullet_points, {literal(self.separator)}), '')"
        selection.unchanged(self.name, self.parameters())
