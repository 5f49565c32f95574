"""How hosted models are asked: limits, money, patience. None of it changes a reply."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from shelfqa.config import Config

_AboveZero = Annotated[float, Meta(gt=0)]
_Count = Annotated[int, Meta(gt=0)]
_Dollars = Annotated[float, Meta(ge=0)]


class ClientConfig(Config, frozen=True):
    """Limits and prices of hosted models; what is left out is not limited."""

    base_url: Annotated[
        str | None, Meta(description="Address of the API, where it is not the provider's own: vLLM, Ollama, a proxy.")
    ] = None
    requests_per_minute: Annotated[
        _AboveZero | None, Meta(description="Most requests in any minute; sent evenly, earlier runs count too.")
    ] = None
    tokens_per_minute: Annotated[
        _Count | None, Meta(description="Most tokens in any minute, of requests and replies together.")
    ] = None
    requests_per_day: Annotated[
        _Count | None, Meta(description="Most requests in any 24 hours; when they are used up the run stops.")
    ] = None
    concurrency: Annotated[
        int,
        Meta(ge=1, description="Most requests under way at once; fewer when the server says it is busy, then more."),
    ] = 64
    timeout_s: Annotated[float, Meta(gt=0, description="Seconds that one request may take.")] = 120.0
    budget: Annotated[
        _Dollars | None, Meta(description="Dollars that the run may spend; it stops before it would spend more.")
    ] = None
    input_price: Annotated[
        _Dollars | None,
        Meta(description="Dollars a million input tokens, where the model's price is unknown or another."),
    ] = None
    output_price: Annotated[_Dollars | None, Meta(description="Dollars a million output tokens.")] = None
    batch: Annotated[
        bool, Meta(description="Hand the requests in as batches: half the price, done within a day, go on any time.")
    ] = False
    batch_requests: Annotated[int, Meta(ge=1, description="Most requests of one batch.")] = 5000
    poll_s: Annotated[float, Meta(gt=0, description="Seconds between two looks at batches.")] = 60.0
    store: Annotated[
        str | None,
        Meta(
            description="SQLite file in which every reply is kept; by default one for all runs, in the user's cache "
            "folder."
        ),
    ] = None
