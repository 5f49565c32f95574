"""Curation as the published notebooks do it: lines to dicts, dicts to a data frame, and pandas from there.

The other side of `benchmarks/curate.py`: it shares no code with shelfqa and uses plain json, gzip and pandas, one
process. The presets do what shelfqa's presets of the same name do, so that both must keep the same images.

    python benchmarks/notebooks.py score-and-cap ../shared/abo --out kept.csv
"""

from __future__ import annotations

import argparse
import fnmatch
import gzip
import json
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

LANGUAGES = {
    "score-and-cap": ("en_US", "en_GB", "en_IN", "en_*", "*"),
    "balanced-sample": ("en_*",),
    "main-image-descriptions": ("en_IN",),
}
BLOCKED_IMAGES = ["518Dk4FOzZL", "719hoe+OvIL", "71Qbh8wmhnL"]
PLAIN_COLORS = {"beige", "black", "blue", "bronze", "brown", "clear", "gold", "green", "grey", "gray", "multi"} | {
    *("multicolor", "off-white", "orange", "pink", "purple", "red", "silver", "turquoise", "white", "yellow")
}
RANK_ORDER = ["richness", "path", "product_id", "domain"]
CAP = 200
SAMPLE = 5000
DESCRIPTION_SEPARATOR = " | "
AS_TEXT: Any = {"dtype": str, "keep_default_na": False}

SEPARATOR = "\n"
"""Between the parts of a list that is kept in one cell."""


@cache
def language_rank(tag: str | None, languages: tuple[str, ...]) -> int | None:
    """Return the place of a language among the wanted ones; texts without a language come last."""
    if not tag:
        return len(languages)
    for place, pattern in enumerate(languages):
        if fnmatch.fnmatchcase(tag.strip().replace("-", "_").casefold(), pattern.casefold()):
            return place
    return None


def choose(entries: list[dict[str, Any]], languages: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the entries in the best wanted language."""
    best: tuple[int, str] | None = None
    chosen: list[dict[str, Any]] = []
    for entry in entries:
        tag = entry.get("language_tag")
        rank = language_rank(tag, languages)
        if rank is None:
            continue
        key = (rank, tag or "")
        if best is None or key < best:
            best, chosen = key, []
        if key == best:
            chosen.append(entry)
    return chosen


def clean(value: Any) -> str:
    """Return a value as text with single blanks; empty where there is none."""
    if isinstance(value, str):
        return " ".join(value.split())
    if value is None or isinstance(value, (dict, list)):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value)


def clean_list(values: list[Any]) -> list[str]:
    """Return the non-empty texts, each once whatever its case."""
    seen, found = set(), []
    for value in values:
        text = clean(value)
        if text and text.casefold() not in seen:
            seen.add(text.casefold())
            found.append(text)
    return found


def values(listing: dict[str, Any], field: str, languages: tuple[str, ...]) -> list[Any]:
    """Return the values of a field in the best language, as they stand."""
    entries = [entry for entry in listing.get(field) or [] if entry.get("value")]
    return [entry["value"] for entry in choose(entries, languages)]


def comparable(values: list[Any]) -> str:
    """Return texts as one, without case and blanks."""
    return "".join("".join(map(str, values)).lower().split())


def color(listing: dict[str, Any], languages: tuple[str, ...]) -> str:
    """Return the standardized colour, or else the colour as given."""
    entries = listing.get("color") or []
    chosen = choose(entries, languages)
    given = clean_list([entry.get("value") for entry in chosen])
    standard = clean_list([name for entry in chosen for name in entry.get("standardized_values") or []])
    if not chosen:
        names = clean_list([name for entry in entries for name in entry.get("standardized_values") or []])
        standard = [name for name in names if name.lower() in PLAIN_COLORS]
    if standard:
        return standard[0].lower()
    return given[0] if given else ""


def product_type(listing: dict[str, Any]) -> str:
    """Return the product type in lower case with blanks."""
    value = listing.get("product_type")
    values = [value] if isinstance(value, str) else [entry.get("value") for entry in value or []]
    names = [clean(clean(value).replace("_", " ").lower()) for value in values]
    return next((name for name in names if name), "")


def flatten(listing: dict[str, Any], languages: tuple[str, ...]) -> dict[str, Any]:
    """Return the fields of a listing that curation looks at."""
    names = clean_list(values(listing, "item_name", languages))
    keywords = values(listing, "item_keywords", languages)
    points = values(listing, "bullet_point", languages)
    return {
        "product_id": clean(listing.get("item_id")),
        "domain": clean(listing.get("domain_name")),
        "image_id": clean(listing.get("main_image_id")),
        "other_ids": SEPARATOR.join(listing.get("other_image_id") or []),
        "product_type": product_type(listing),
        "name": names[0] if names else "",
        "color": color(listing, languages),
        "keywords": comparable(keywords),
        "bullet_points": comparable(points),
        "description": DESCRIPTION_SEPARATOR.join(clean_list(points)),
    }


def read_listings(catalogue: Path, languages: tuple[str, ...]) -> pd.DataFrame:
    """Read all shards line by line; lines that cannot be read are left out."""
    rows = []
    folder = catalogue / "listings" / "metadata"
    for shard in sorted([*folder.glob("*.json.gz"), *folder.glob("*.json")]):
        with gzip.open(shard, "rb") if shard.suffix == ".gz" else shard.open("rb") as file:
            try:
                for line in file:
                    try:
                        listing = json.loads(line)
                    except ValueError:
                        continue
                    if isinstance(listing, dict):
                        rows.append(flatten(listing, languages))
            except EOFError:
                print(f"{shard.name} breaks off", file=sys.stderr)
    print(f"{len(rows)} listings read", file=sys.stderr)
    return pd.DataFrame(rows)


def read_images(catalogue: Path) -> pd.DataFrame:
    """Return the image table without incomplete rows."""
    tables = [catalogue / "images" / "metadata" / name for name in ("images.csv.gz", "images.csv")]
    images = pd.read_csv(next(table for table in tables if table.exists()), **AS_TEXT)
    return images[(images["image_id"] != "") & (images["path"] != "")]


def read_catalogue(catalogue: Path, languages: tuple[str, ...]) -> pd.DataFrame:
    """Return the listings that have a product id and an image, with its path."""
    listings = read_listings(catalogue, languages)
    listings = listings[listings["product_id"] != ""]
    return listings.merge(read_images(catalogue)[["image_id", "path"]], on="image_id", how="inner")


def in_rank_order(df: pd.DataFrame) -> pd.DataFrame:
    """Put the richest listings first."""
    df["richness"] = (df[["color", "bullet_points", "keywords"]] != "").sum(axis=1)
    return df.sort_values(RANK_ORDER, ascending=[False, True, True, True], kind="stable")


def score(row: pd.Series) -> int:
    """Return a point each for a colour, bullet points and keywords."""
    return int(row["color"] != "") + int(row["bullet_points"] != "") + int(row["keywords"] != "")


def score_and_cap(catalogue: Path, folder: Path) -> pd.DataFrame:
    """Keep the richest listings of each product type, at most 200, and something of every type.

    As in the two notebooks of the study, each of which leaves a CSV file to the next.
    """
    complete_metadata(catalogue, folder)
    df = pd.read_csv(folder / "complete_metadata.csv", **AS_TEXT)
    df["richness"] = df.apply(score, axis=1)
    rich = df[df["richness"] >= 2]
    fields = ["color", "keywords", "bullet_points"]
    groups = []
    for _, group in rich.groupby("product_type"):
        said = group[fields].apply(lambda column: column.str.lower())
        nothing = (said == "").all(axis=1)
        groups.append(group[~said.duplicated() | nothing].head(CAP))
    kept = pd.concat(groups) if groups else rich
    kept = kept.sort_values(RANK_ORDER, ascending=[False, True, True, True], kind="stable")
    return with_every_type(kept.drop_duplicates(subset=["path"]), df)


def complete_metadata(catalogue: Path, folder: Path) -> None:
    """Write the listings that have an image, without duplicates and without those whose other images mislead."""
    listings = read_listings(catalogue, LANGUAGES["score-and-cap"])
    listings.to_csv(folder / "JSON_metadata.csv", index=False)
    df = listings[listings["product_id"] != ""]
    images = read_images(catalogue)
    df = df.merge(images, on="image_id", how="left").drop(columns=["height", "width"])
    df = df[~df["path"].isna()]
    path_of = dict(zip(images["image_id"], images["path"], strict=True))
    df["other_paths"] = [other_paths(ids, path, path_of) for ids, path in zip(df["other_ids"], df["path"], strict=True)]
    df = in_rank_order(df)
    said = df[["name", "product_type", "color", "keywords", "bullet_points", "path", "other_paths"]]
    df = df[~said.apply(lambda column: column.str.lower()).duplicated()]

    main_paths = set(df["path"])
    misleading = set()
    for _, row in df.iterrows():
        if any(path in main_paths for path in row["other_paths"].split(SEPARATOR)):
            misleading.add(row["path"])
    df = df[~df["path"].isin(misleading)]
    df.drop(columns=["other_paths"]).to_csv(folder / "complete_metadata.csv", index=False)


def other_paths(ids: str, main_path: str, path_of: dict[str, str]) -> str:
    """Return the paths of the other images, each once, without those that are not in the image table."""
    paths = [path_of[image_id] for image_id in ids.split(SEPARATOR) if image_id in path_of]
    return SEPARATOR.join(path for path in dict.fromkeys(paths) if path != main_path)


def with_every_type(kept: pd.DataFrame, df: pd.DataFrame) -> pd.DataFrame:
    """Give the product types that have no listing left some of theirs back."""
    for name in sorted(set(df["product_type"]) - set(kept["product_type"])):
        group = df[df["product_type"] == name].drop_duplicates(subset=["path"])
        unused = group[~group["path"].isin(kept["path"])].head(CAP)
        if len(unused) > 0:
            kept = pd.concat([kept, unused])
            continue
        counts = kept["product_type"].value_counts()
        for _, row in group.iterrows():
            holder = kept[kept["path"] == row["path"]].iloc[0]
            if counts[holder["product_type"]] > 1:
                kept = pd.concat([kept[kept["path"] != row["path"]], row.to_frame().T])
                break
    return kept


def balanced_sample(catalogue: Path, folder: Path) -> pd.DataFrame:
    """Keep complete English listings, at most 5,000 of each product type by chance."""
    df = in_rank_order(read_catalogue(catalogue, LANGUAGES["balanced-sample"]))
    fields = ["name", "product_type", "color", "keywords"]
    df = df[(df[fields] != "").all(axis=1)]
    for field in ["name", "product_type", "color"]:
        df = df[df[field].apply(lambda text: text.isascii())]
    df = df[~df["image_id"].isin(BLOCKED_IMAGES)].drop_duplicates(subset=["path"])
    groups = []
    for _, group in df.sort_values("path").groupby("product_type"):
        groups.append(group if len(group) <= SAMPLE else group.sample(SAMPLE, random_state=42))
    return pd.concat(groups) if groups else df


def main_image_descriptions(catalogue: Path, folder: Path) -> pd.DataFrame:
    """Keep a listing of each main image that has bullet points, joined as its description."""
    df = in_rank_order(read_catalogue(catalogue, LANGUAGES["main-image-descriptions"]))
    return df[df["description"] != ""].drop_duplicates(subset=["path"])


PRESETS = {
    "score-and-cap": score_and_cap,
    "balanced-sample": balanced_sample,
    "main-image-descriptions": main_image_descriptions,
}


def main() -> int:
    """Run one preset on a catalogue and write what it keeps."""
    parser = argparse.ArgumentParser(description="Curate a catalogue in ABO's layout as notebooks do.")
    parser.add_argument("preset", choices=list(PRESETS))
    parser.add_argument("catalogue", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="the CSV file to write")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.out.parent) as folder:
        kept = PRESETS[args.preset](args.catalogue, Path(folder)).sort_values("path")
    if args.preset != "main-image-descriptions":
        kept["description"] = ""
    kept[["path", "product_id", "product_type", "description"]].to_csv(args.out, index=False)
    print(f"{len(kept)} images kept", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
