"""Settings of `generate`: who writes the questions, about what, in which style."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from shelfqa.config import Config
from shelfqa.questions.from_metadata import FIELDS

ProviderName = Literal["metadata", "file", "gemini", "openai", "anthropic", "local", "scripted"]


class GenerateConfig(Config, frozen=True, kw_only=True):
    """Settings of `generate`."""

    provider: Annotated[
        ProviderName,
        Meta(
            description="Where questions come from: listing fields (metadata), labelled files (file), or a model: "
            "hosted by gemini, openai (and what speaks its API) or anthropic, or local."
        ),
    ] = "metadata"
    seed: Annotated[int, Meta(ge=0, description="Seed of the choice of wordings, and of products to compare.")] = 0
    per_product: Annotated[int, Meta(ge=1, description="Most questions about one product, of `metadata`.")] = 5
    fields: Annotated[tuple[str, ...], Meta(description="Listing fields that `metadata` asks about.")] = FIELDS
    files: Annotated[
        tuple[str, ...], Meta(description="Labelled files of `file`: CSV, TSV, JSON lines or Parquet.")
    ] = ()
    columns: Annotated[
        dict[str, str],
        Meta(description="For `file`: image, question, answer, split, difficulty, used_metadata -> your column."),
    ] = field(default_factory=dict)
    model: Annotated[
        str | None, Meta(description="The model that writes, as its provider calls it; for `local` as in predict.")
    ] = None
    style: Annotated[
        str,
        Meta(
            description="What a model is asked to write: single-word, single-word-with-metadata, graded, instruction, "
            "or a YAML file of your own."
        ),
    ] = "single-word"
    text_only: Annotated[
        bool, Meta(description="Show the model no pictures: it writes from listing text and feedback alone.")
    ] = False
    feedback: Annotated[
        str | None,
        Meta(
            description="Table of customer feedback (product_id, text); personal data is taken out before it is sent."
        ),
    ] = None
    image_side_px: Annotated[
        Annotated[int, Meta(ge=16)] | None,
        Meta(description="Larger pictures are sent scaled down to this longer side."),
    ] = 768
    yes_share: Annotated[
        float, Meta(ge=0.5, le=1, description="Most that yes, or no, may be among yes/no answers of a model.")
    ] = 0.6
    limit: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="Ask a model about the first so many products only.")
    ] = None
