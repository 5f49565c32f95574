"""Listings in DuckDB: which are still kept, and why the others are not.

Tables that steps may query:
  parts     every listing as read, `LISTING_COLUMNS`; wide, so name the columns that are needed
  listing   row, file, line, product_id, product_type, image_id, image_path, domain, language_rank, richness, content,
            tie, and `place`: the order in which listings are preferred, the richest first
  alive     the rows of `listing` that no step has dropped
  other     row, place, image_path: the other images of each listing
  fate      row, step, reason, detail, kept_row: what was dropped, by the number of the step
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from shelfqa.catalogue.parts import Part
from shelfqa.errors import StorageError
from shelfqa.machine import memory_mb
from shelfqa.records import DROPPED_COLUMNS, IMAGE_COLUMNS, PRODUCT_COLUMNS

MEMORY_MB = 2400
"""DuckDB keeps to this much memory, and to half of the machine's; what does not fit is written to the work folder."""

_BATCH_ROWS = 16384
_SHOWN_BY = """
    SELECT image_path, list(DISTINCT product_id ORDER BY product_id) AS product_ids FROM (
      SELECT image_path, product_id FROM alive
      UNION ALL
      SELECT o.image_path, l.product_id FROM other o JOIN alive l USING (row)) GROUP BY image_path"""


class StepCounts(msgspec.Struct, kw_only=True):
    """What one step did: its settings, how many listings it left, and what it dropped and brought back by reason."""

    step: str
    parameters: dict[str, Any]
    kept: int
    dropped: dict[str, int]
    restored: dict[str, int]


class Selection:
    """The listings of a catalogue on their way through the steps."""

    def __init__(self, parts: Sequence[Part], work: Path, threads: int) -> None:
        import duckdb

        self.con = duckdb.connect()
        self.steps: list[StepCounts] = []
        self.notes: Counter[str] = Counter()
        self.replaced: dict[str, str] = {}
        """Columns of the products that a step writes anew, as SQL over `parts`."""
        spill = work / "spill"
        spill.mkdir(parents=True, exist_ok=True)
        self.con.execute(f"SET threads = {threads}")
        memory = min(MEMORY_MB, (memory_mb() or 2 * MEMORY_MB) // 2)
        self.con.execute(f"SET memory_limit = '{memory}MB'")
        self.con.execute(f"SET temp_directory = {literal(str(spill))}")
        self.con.execute("SET enable_progress_bar = false")
        self._view("parts", [part.listings for part in parts])
        self._view("part_drops", [part.drops for part in parts])
        self.con.execute(
            "CREATE TABLE fate (row BIGINT, step INTEGER, reason VARCHAR, detail VARCHAR, kept_row BIGINT)"
        )

    def replace_parts(self, parts: Sequence[Part]) -> None:
        """Take `parts` from listings that were read again, found by file and line; at least those that are alive."""
        self.con.execute("DROP VIEW parts")
        self._view("read_again", [part.listings for part in parts])
        self.con.execute(
            "CREATE VIEW parts AS SELECT p.* REPLACE (l.row AS row) FROM read_again p JOIN listing l USING (file, line)"
        )

    def kept_lines(self) -> dict[str, list[int]]:
        """Return the lines of the kept listings by file."""
        return dict(self.rows("SELECT file, list(line) FROM alive GROUP BY file"))

    def close(self) -> None:
        """Give the memory back."""
        self.con.close()

    def _view(self, name: str, files: Sequence[Path]) -> None:
        listed = ", ".join(literal(str(file)) for file in files)
        self.con.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet([{listed}])")

    def place_images(self, image_table: pa.Table, notes: Counter[str]) -> None:
        """Find the path of each image, and make the tables that steps query.

        Listings whose image is not in the table, or lies outside the images folder, are dropped.

        Args:
            image_table: `image_id` and `path`; empty where listings name paths themselves.
            notes: what was met in the image table, counted.

        """
        self.notes.update(notes)
        self.con.register("image_rows", image_table)
        self.con.execute(
            """CREATE TABLE image AS
               SELECT image_id, arg_max(path, n) AS path
               FROM (SELECT image_id, path, row_number() OVER () AS n FROM image_rows) GROUP BY image_id"""
        )
        self.con.unregister("image_rows")
        self.con.execute(
            """CREATE TABLE listing AS
               SELECT *, row_number() OVER () AS place FROM (
                 SELECT p.row, p.file, p.line, p.product_id, p.product_type, p.image_id,
                        coalesce(p.image_path, image.path) AS image_path, p.domain, p.language_rank, p.richness,
                        p.content, p.tie
                 FROM parts p LEFT JOIN image USING (image_id)
                 ORDER BY richness DESC, image_path, product_id, coalesce(p.domain, ''), tie, p.file, p.line)"""
        )
        self.con.execute("CREATE VIEW alive AS SELECT * FROM listing ANTI JOIN fate USING (row)")
        self.con.execute(
            """CREATE TABLE named AS
               SELECT row, place, coalesce(given.path, image.path) AS image_path FROM (
                 SELECT row, unnest(other_image_ids) AS image_id, NULL AS path,
                        unnest(range(len(other_image_ids))) AS place FROM parts WHERE len(other_image_ids) > 0
                 UNION ALL
                 SELECT row, NULL, unnest(other_image_paths), unnest(range(len(other_image_paths)))
                 FROM parts WHERE len(other_image_paths) > 0) given
               LEFT JOIN image USING (image_id)"""
        )
        (missing,) = self.rows("SELECT count(*) FROM named WHERE image_path IS NULL")[0]
        self.notes["other image left out: not in the image table"] += missing
        self.con.execute(
            f"""CREATE TABLE other AS
                SELECT n.row, n.image_path, min(n.place) AS place FROM named n JOIN listing l USING (row)
                WHERE n.image_path <> l.image_path AND NOT {_escapes("n.image_path")} GROUP BY n.row, n.image_path"""
        )
        self.con.execute("DROP TABLE named")
        self.drop(
            "images",
            f"""SELECT row, 'image-not-listed' AS reason, '''' || image_id || ''' is not in the image table' AS detail
                FROM alive WHERE image_path IS NULL
                UNION ALL
                SELECT row, 'image-outside-folder', '''' || image_path || ''' is not under the images folder'
                FROM alive WHERE {_escapes("image_path")}""",
        )

    def drop(self, step: str, query: str, parameters: dict[str, Any] | None = None) -> None:
        """Drop the rows of a query with the columns row, reason, detail and perhaps kept_row; count them."""
        before = self._dropped()
        number = len(self.steps)
        with _storage_errors():
            self.con.execute(f"INSERT INTO fate BY NAME SELECT {number} AS step, * FROM ({query})")
        self._count(step, parameters or {}, before)

    def unchanged(self, step: str, parameters: dict[str, Any]) -> None:
        """Record a step that drops nothing."""
        self._count(step, parameters, self._dropped())

    def restore(self, step: str, parameters: dict[str, Any], rows: Sequence[int], swapped: Mapping[int, int]) -> None:
        """Bring back dropped rows, and drop the keys of `swapped` for the rows that are its values."""
        before = self._dropped()
        self.con.register("restored", pa.table({"row": pa.array(rows, pa.int64())}))
        self.con.execute("DELETE FROM fate WHERE row IN (SELECT row FROM restored)")
        self.con.unregister("restored")
        taken = {"row": pa.array(swapped.keys(), pa.int64()), "kept_row": pa.array(swapped.values(), pa.int64())}
        self.con.register("swapped", pa.table(taken))
        self.con.execute(
            f"INSERT INTO fate BY NAME SELECT {len(self.steps)} AS step, 'same-image' AS reason, * FROM swapped"
        )
        self.con.unregister("swapped")
        self._count(step, parameters, before)

    def _dropped(self) -> dict[str, int]:
        return dict(self.rows("SELECT reason, count(*) FROM fate GROUP BY reason"))

    def _count(self, step: str, parameters: dict[str, Any], before: dict[str, int]) -> None:
        after = self._dropped()
        names = sorted(before.keys() | after.keys())
        changed = {name: after.get(name, 0) - before.get(name, 0) for name in names}
        dropped = {name: number for name, number in changed.items() if number > 0}
        restored = {name: -number for name, number in changed.items() if number < 0}
        self.steps.append(
            StepCounts(step=step, parameters=parameters, kept=self.kept(), dropped=dropped, restored=restored)
        )

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a small result."""
        with _storage_errors():
            return list(self.con.execute(query).fetchall())

    def batches(self, query: str) -> Iterator[pa.RecordBatch]:
        """Yield a large result piece by piece."""
        with _storage_errors(), self.con.cursor() as con:  # of its own, so that several results can be read at once
            yield from con.sql(query).to_arrow_reader(_BATCH_ROWS)

    def table(self, query: str) -> pa.Table:
        """Return the result of a query as an Arrow table."""
        with _storage_errors():
            return self.con.sql(query).to_arrow_table()

    def image_paths(self, *, others: bool) -> list[str]:
        """Return every image path of the kept listings once, sorted."""
        query = "SELECT image_path FROM alive"
        if others:
            query += " UNION SELECT image_path FROM other SEMI JOIN alive USING (row)"
        return [path for (path,) in self.rows(f"SELECT DISTINCT image_path FROM ({query}) ORDER BY image_path")]

    def drop_pictures(self, faults: pa.Table) -> None:
        """Drop listings by their main image, and take other images away; `faults`: image_path, reason, detail."""
        self.con.register("faults", faults)
        self.drop("pictures", "SELECT row, reason, detail FROM alive JOIN faults USING (image_path)")
        for reason, number in self.rows(
            """SELECT reason, count(*) FROM other SEMI JOIN alive USING (row) JOIN faults USING (image_path)
               GROUP BY reason"""
        ):
            self.notes[f"other image left out: {reason}"] = number
        self.con.execute("DELETE FROM other WHERE image_path IN (SELECT image_path FROM faults)")
        self.con.unregister("faults")

    def product_ids(self, image_paths: pa.ChunkedArray) -> list[list[str] | None]:
        """Return the kept products that show each of the images."""
        self.con.register("asked", pa.table({"image_path": image_paths, "n": range(len(image_paths))}))
        found = self.rows(f"SELECT product_ids FROM asked LEFT JOIN ({_SHOWN_BY}) USING (image_path) ORDER BY n")
        self.con.unregister("asked")
        return [ids for (ids,) in found]

    def images(self, checked: pa.Table | None) -> Iterator[pa.RecordBatch]:
        """Yield the pictures of the kept listings, and those that could not be read, as `IMAGE_COLUMNS`."""
        checked = IMAGE_COLUMNS.empty_table().drop(["product_ids"]) if checked is None else checked
        self.con.register("looked_at", checked)
        self.con.execute("CREATE TABLE checked AS SELECT * FROM looked_at")
        self.con.unregister("looked_at")
        own = {"image_path": "image_path", "product_ids": "coalesce(s.product_ids, []::VARCHAR[])"}
        columns = ", ".join(f"{own.get(name, f'c.{name}')} AS {name}" for name in IMAGE_COLUMNS.names)
        query = f"""
            SELECT {columns} FROM ({_SHOWN_BY}) s
            FULL JOIN checked c USING (image_path)
            WHERE s.product_ids IS NOT NULL OR c.error IS NOT NULL ORDER BY image_path"""
        yield from self._equal_batches(query, IMAGE_COLUMNS)
        self.con.execute("DROP TABLE checked")

    def dropped(self) -> dict[str, int]:
        """Return how many listings were dropped, at reading too, by reason."""
        return dict(
            self.rows(
                """SELECT reason, count(*) FROM (SELECT reason FROM part_drops UNION ALL SELECT reason FROM fate)
                   GROUP BY reason ORDER BY reason"""
            )
        )

    def kept(self) -> int:
        """Return how many listings are kept."""
        ((number,),) = self.rows("SELECT count(*) FROM alive")
        return int(number)

    def products(self) -> Iterator[pa.RecordBatch]:
        """Yield the kept listings as `PRODUCT_COLUMNS`, in order of product id."""
        own = {"image_path": "l.image_path", "other_image_paths": "coalesce(o.paths, []::VARCHAR[])"}
        own |= {"richness": "l.richness"} | self.replaced
        columns = ", ".join(f"{own.get(name, f'p.{name}')} AS {name}" for name in PRODUCT_COLUMNS.names)
        query = f"""
            SELECT {columns} FROM alive l JOIN parts p USING (row)
            LEFT JOIN (SELECT row, list(image_path ORDER BY place) AS paths FROM other SEMI JOIN alive USING (row)
                       GROUP BY row) o USING (row)
            ORDER BY l.product_id, l.image_path, l.tie"""
        yield from self._equal_batches(query, PRODUCT_COLUMNS)

    def drops(self) -> Iterator[pa.RecordBatch]:
        """Yield what was dropped as `DROPPED_COLUMNS`, in order of file and line."""
        query = """
            SELECT file, line, product_id, reason, detail FROM part_drops
            UNION ALL
            SELECT l.file, l.line, l.product_id, f.reason,
                   coalesce(k.file || ':' || k.line || ' is kept', f.detail) AS detail
            FROM fate f JOIN listing l USING (row) LEFT JOIN listing k ON k.row = f.kept_row
            ORDER BY file, line, reason, detail"""
        yield from self._equal_batches(query, DROPPED_COLUMNS)

    def _equal_batches(self, query: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Yield the result of a query in batches of equal size, so that files do not depend on threads."""
        waiting = schema.empty_table()
        for batch in self.batches(query):
            waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch]).select(schema.names).cast(schema)])
            while waiting.num_rows >= _BATCH_ROWS:
                yield from waiting.slice(0, _BATCH_ROWS).combine_chunks().to_batches()
                waiting = waiting.slice(_BATCH_ROWS)
        yield from waiting.combine_chunks().to_batches()


def _escapes(path: str) -> str:
    """Return SQL that tells whether a path leads out of the images folder."""
    climbs = rf"(contains({path}, '..') AND regexp_matches({path}, '(^|[/\\])\.\.([/\\]|$)'))"
    return rf"({climbs} OR left({path}, 1) IN ('/', '\') OR substr({path}, 2, 1) = ':')"


@contextmanager
def _storage_errors() -> Iterator[None]:
    import duckdb

    try:
        yield
    except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
        raise StorageError(f"Selecting the listings failed: {str(error).splitlines()[0]}") from None


def literal(text: str) -> str:
    """Return the text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"
