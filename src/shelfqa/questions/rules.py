"""What the replies of a style hold, and the pairs that a model proposes in them."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from msgspec import Meta

from shelfqa.config import Config


class Rules(Config, frozen=True):
    """What is asked of a reply; the schema, its validation and the checks at the door are made from it."""

    least: Annotated[int, Meta(ge=1, description="Fewest pairs in a reply.")] = 3
    most: Annotated[int, Meta(ge=1, description="Most pairs in a reply; what is over is left out.")] = 3
    answers: Annotated[
        Literal["one-word", "free"], Meta(description="Whether each answer is a single word, or any text.")
    ] = "one-word"
    difficulty: Annotated[
        tuple[int, ...], Meta(description="Levels of difficulty that a pair may have; empty: pairs have none.")
    ] = ()
    metadata_flag: Annotated[
        bool, Meta(description="Whether each pair says if its answer took the listing's text to find.")
    ] = False
    tasks: Annotated[tuple[str, ...], Meta(description="Tasks that a pair may belong to; empty: pairs name none.")] = ()
    json_tasks: Annotated[tuple[str, ...], Meta(description="Those of `tasks` whose answers are JSON objects.")] = ()


class Proposed(NamedTuple):
    """A pair as the model proposes it."""

    question: str
    answer: str
    difficulty: int | None = None
    used_metadata: bool | None = None
    task: str | None = None
