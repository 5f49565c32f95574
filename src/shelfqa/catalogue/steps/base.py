"""What all steps of selection share: their base class, and SQL for the fields of a listing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from shelfqa.catalogue.listing import BRIEF_TEXTS
from shelfqa.catalogue.selection import Selection, literal
from shelfqa.config import Config
from shelfqa.errors import ConfigError, did_you_mean

_TEXTS = ("product_type", "name", "brand", "color", "material", "description", "language", "domain")
LISTS = ("bullet_points", "keywords")
_FIELDS = (*_TEXTS, *LISTS)


def text_sql(field: str) -> str:
    """Return SQL over `parts p` for a field as one text, null where it is missing; `attributes.NAME` is one, too."""
    if field in _TEXTS:
        return f"p.{field}"
    if field in LISTS:
        return f"nullif(array_to_string(p.{field}, ', '), '')"
    kind, _, name = field.partition(".")
    if kind == "attributes" and name:
        pointer = "/" + name.replace("~", "~0").replace("/", "~1")
        return f"json_extract_string(p.attributes, {literal(pointer)})"
    raise ConfigError(
        f"curate.steps: unknown field {field!r}.{did_you_mean(field, _FIELDS)} Fields: {', '.join(_FIELDS)}, "
        "attributes.NAME."
    )


def said_sql(field: str) -> str:
    """Return SQL over `parts p` that is equal where a field says the same but for case, and null where nothing."""
    return f"p.{field}_key" if field in LISTS else f"lower({text_sql(field)})"


def all_brief(fields: Iterable[str], known: Iterable[str] = (*BRIEF_TEXTS, *LISTS)) -> bool:
    """Return whether a brief reading has all the fields."""
    return set(fields) <= set(known)


Fields = Annotated[
    tuple[str, ...], Meta(description="Fields of the products; attributes as `attributes.pattern`.", min_length=1)
]


class Step(Config, frozen=True, tag_field="step"):
    """Base of the steps."""

    by_listing: ClassVar[bool] = False
    """Whether the step judges each listing by itself, so that pictures need not be looked at before."""

    def __post_init__(self) -> None:
        for field in getattr(self, "fields", ()):
            text_sql(field)

    @property
    def brief(self) -> bool:
        """Whether a brief reading of the listings (`BRIEF_TEXTS`, and keys of the lists) is enough for the step."""
        return True

    def apply(self, selection: Selection, seed: int) -> None:
        """Drop listings."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """The name that recipes use."""
        return str(self.__struct_config__.tag)

    def parameters(self) -> dict[str, Any]:
        """Return the step's settings, for the manifest."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return {key: value for key, value in values.items() if key != "step"}

    def drop(self, selection: Selection, query: str) -> None:
        """Drop the rows of a query (row, reason, detail) in the step's name."""
        selection.drop(self.name, query, self.parameters())
