"""Steps that compare listings with each other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
from msgspec import Meta
from numpy.typing import NDArray

from shelfqa.catalogue.missing_types import find_missing_types
from shelfqa.catalogue.selection import Selection, literal
from shelfqa.catalogue.steps.base import Fields, Step, all_brief, said_sql
from shelfqa.catalogue.steps.judging import Richness


def _keep_first(group: str, order: str, reason: str, *, source: str = "alive l") -> str:
    """Return a query that drops all but the first row of each group."""
    return f"""
        SELECT row, {reason} AS reason, NULL AS detail, first AS kept_row FROM (
          SELECT l.*, first_value(l.row) OVER same AS first FROM {source}
          WINDOW same AS (PARTITION BY {group} ORDER BY {order}
                          ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING))
        WHERE row <> first"""


class ExactDuplicates(Step, frozen=True, tag="exact-duplicates"):
    """Of listings that agree in the fields (case apart, in lists blanks too) and in all images, keep one."""

    fields: Annotated[
        tuple[str, ...], Meta(description="Fields to compare beside the images; none given: all but id and market.")
    ] = ()

    @property
    def brief(self) -> bool:
        """Whether a brief reading is enough."""
        return bool(self.fields) and all_brief(self.fields)

    def apply(self, selection: Selection, seed: int) -> None:
        """Drop listings."""
        selection.con.execute(
            """CREATE TEMP TABLE shared AS SELECT image_path FROM alive GROUP BY image_path HAVING count(*) > 1;
               CREATE TEMP TABLE others AS
               SELECT row, md5(string_agg(image_path, chr(10) ORDER BY place)) AS others
               FROM other SEMI JOIN (SELECT row FROM alive SEMI JOIN shared USING (image_path)) USING (row)
               GROUP BY row"""
        )
        said = f"struct_pack({_packed(self.fields)})" if self.fields else "p.content"
        selection.con.execute(
            f"""CREATE TEMP TABLE compared AS
                SELECT l.row, l.place, l.image_path, o.others, {said} AS said
                FROM alive l SEMI JOIN shared USING (image_path) JOIN parts p USING (row)
                LEFT JOIN others o USING (row)"""
        )
        group, order = "l.image_path, l.others, l.said", "l.place"
        self.drop(selection, _keep_first(group, order, "'exact-duplicate'", source="compared l"))
        selection.con.execute("DROP TABLE shared; DROP TABLE others; DROP TABLE compared")


class OtherImageConsistency(Step, frozen=True, tag="other-image-consistency"):
    """Drop listings of which another image is the main image of another listing: it may show another product."""

    def apply(self, selection: Selection, seed: int) -> None:
        """Drop listings."""
        self.drop(
            selection,
            """SELECT row, 'other-image-is-main-image' AS reason,
                      'another image, ' || elsewhere || ', is the main image of another listing' AS detail
               FROM alive JOIN (
                 SELECT l.image_path, min(o.image_path) AS elsewhere FROM alive l JOIN other o USING (row)
                 WHERE o.image_path IN (SELECT image_path FROM alive) GROUP BY l.image_path) USING (image_path)""",
        )


class NearDuplicateMetadata(Step, frozen=True, tag="near-duplicate-metadata"):
    """Within a product type, of listings that say the same in some fields (case apart), keep the richest.

    Listings that say nothing in any of the fields are not compared.
    """

    fields: Fields = ("color", "keywords", "bullet_points")

    @property
    def brief(self) -> bool:
        """Whether a brief reading is enough."""
        return all_brief(self.fields)

    def apply(self, selection: Selection, seed: int) -> None:
        """Drop listings."""
        says = " OR ".join(f"{said_sql(field)} IS NOT NULL" for field in self.fields)
        selection.con.execute(
            f"""CREATE TEMP TABLE compared AS
                SELECT l.row, l.place, l.product_type, struct_pack({_packed(self.fields)}) AS said
                FROM alive l JOIN parts p USING (row) WHERE {says}"""
        )
        group = "coalesce(l.product_type, ''), l.said"
        self.drop(selection, _keep_first(group, "l.place", "'near-duplicate-metadata'", source="compared l"))
        selection.con.execute("DROP TABLE compared")


def _packed(fields: Iterable[str]) -> str:
    return ", ".join(f"f{number} := {said_sql(field)}" for number, field in enumerate(fields))


class Cap(Step, frozen=True, tag="cap"):
    """Keep at most a number of listings of each product type."""

    per_type: Annotated[int, Meta(description="Listings of a product type that stay.", ge=1)]
    by: Annotated[Literal["richness", "sample"], Meta(description="Which ones: the richest, or a random sample.")] = (
        "richness"
    )
    seed: Annotated[int | None, Meta(description="Seed of the sample; left out, the seed of the recipe.")] = None

    def apply(self, selection: Selection, seed: int) -> None:
        """Drop listings."""
        if self.by == "richness":
            self.drop(
                selection,
                f"""SELECT row, 'over-cap' AS reason, 'number ' || n || ' of its type by richness' AS detail FROM (
                      SELECT row, row_number() OVER (PARTITION BY coalesce(product_type, '') ORDER BY place) AS n
                      FROM alive) WHERE n > {self.per_type}""",
            )
            return
        unlucky = _not_sampled(selection, self.per_type, seed if self.seed is None else self.seed)
        selection.con.register("unlucky", unlucky)
        self.drop(selection, "SELECT row, 'over-cap' AS reason, 'not in the sample of its type' AS detail FROM unlucky")
        selection.con.unregister("unlucky")


def _not_sampled(selection: Selection, per_type: int, seed: int) -> pa.Table:
    """Return the rows that a sample of each type leaves out; what `DataFrame.sample(random_state=seed)` would keep."""
    rows: list[NDArray[np.int64]] = [np.empty(0, dtype=np.int64)]
    types = selection.rows(
        f"""SELECT list(row ORDER BY image_path, place) FROM alive GROUP BY coalesce(product_type, '')
            HAVING count(*) > {per_type} ORDER BY coalesce(product_type, '')"""
    )
    for (listings,) in types:
        sampled = np.random.RandomState(seed).choice(len(listings), per_type, replace=False)
        rows.append(np.delete(np.asarray(listings, dtype=np.int64), sampled))
    return pa.table({"row": np.concatenate(rows)})


class OnePerImage(Step, frozen=True, tag="one-per-image"):
    """Of listings with the same main image, keep the richest."""

    def apply(self, selection: Selection, seed: int) -> None:
        """Drop listings."""
        self.drop(selection, _keep_first("l.image_path", "l.place", "'same-image'"))


class OnePerProduct(Step, frozen=True, tag="one-per-product"):
    """Of listings with the same product id, keep the best language, then the first domain, then the richest."""

    domains: Annotated[
        tuple[str, ...], Meta(description="Which domain's listing of a product is kept, best first; then by name.")
    ] = ("amazon.com", "amazon.co.uk", "amazon.in")

    @property
    def brief(self) -> bool:
        """Whether a brief reading is enough."""
        return False

    def apply(self, selection: Selection, seed: int) -> None:
        """Drop listings."""
        cases = " ".join(f"WHEN {literal(domain)} THEN {place}" for place, domain in enumerate(self.domains))
        place = f"CASE l.domain {cases} ELSE {len(self.domains)} END" if cases else "0"
        order = f"l.language_rank, {place}, l.richness DESC, coalesce(l.domain, ''), l.content, l.tie, l.place"
        repeated = _keep_first("l.product_id", order, "'repeated-product'")
        self.drop(
            selection,
            f"""SELECT d.row, d.detail, d.kept_row,
                       CASE WHEN coalesce(a.domain, '') <> coalesce(b.domain, '') THEN 'other-domain'
                            WHEN a.content = b.content AND a.image_path = b.image_path THEN 'exact-duplicate'
                            ELSE d.reason END AS reason
                FROM ({repeated}) d JOIN listing a ON a.row = d.row JOIN listing b ON b.row = d.kept_row""",
        )


class EveryType(Step, frozen=True, tag="every-type"):
    """Bring back listings of product types that the steps before left without any.

    Only listings that `richness`, `near-duplicate-metadata`, `cap` or `one-per-image` dropped come back, the richest
    first, one an image, and only images that no kept listing uses. Where a type has none but used ones, it takes the
    first whose holder's type keeps another listing.
    """

    per_type: Annotated[int, Meta(description="Listings of such a type that come back at most.", ge=1)] = 1

    def apply(self, selection: Selection, seed: int) -> None:
        """Bring listings back."""
        limits = [str(step.__struct_config__.tag) for step in (Richness, NearDuplicateMetadata, Cap, OnePerImage)]
        back = find_missing_types(selection, limits, self.per_type)
        selection.restore(self.name, self.parameters(), back.rows, back.swapped)
