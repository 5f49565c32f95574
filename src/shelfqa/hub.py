"""The model hub: whether it can be asked, what of it is here, and what went wrong with a model, in one line."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from shelfqa.errors import InputError, UserError, did_you_mean

_UNREACHABLE = frozenset(
    {"OfflineModeIsEnabled", "LocalEntryNotFoundError", "ConnectionError", "ConnectError", "ConnectTimeout"}
)
_SMALL_PUBLIC_MODEL = "Salesforce/blip-vqa-base"
_NO_WEIGHTS = ("no file named", "not appear to have a file named")
"""How transformers says that a checkpoint lacks the kind of weights that was asked for."""
_UNKNOWN = frozenset({"RepositoryNotFoundError", "HFValidationError", "RevisionNotFoundError"})


def load_error(name: str, error: BaseException, *, instead: str, known: Iterable[str] = ()) -> UserError:
    """Return the error to raise for `error`, which came up while the model `name` was loaded.

    Args:
        name: a folder or a hub name.
        error: what transformers or the hub's client raised.
        instead: what to do where the hub cannot be reached, after "check the name and the network, or".
        known: names that may have been meant.

    """
    if isinstance(error, UserError):
        return error
    kinds = {type(cause).__name__ for cause in _chain(error)}
    message = " ".join(str(error).split())
    if "GatedRepoError" in kinds:
        return InputError(f"The model {name!r} is gated: accept its terms on its hub page, then `hf auth login`.")
    if kinds & _UNREACHABLE or "offline" in message.lower():
        return InputError(
            f"The model {name!r} is neither a folder here nor in the cache, and the hub cannot be reached: "
            f"check the name and the network, or {instead}{_nearest(name, known)}"
        )
    if kinds & _UNKNOWN:
        return InputError(f"There is no model {name!r} here or on the hub.{did_you_mean(name, known)}")
    if "safetensors" in message and any(words in message.lower() for words in _NO_WEIGHTS):
        if "pytorch_model.bin" in message:  # looked for only where pickled weights are let in
            return InputError(f"{name!r} holds no weights that shelfqa reads: no safetensors, no pytorch_model.bin.")
        return InputError(
            f"{name!r} has no safetensors weights: read what there is with --pickled-weights, or convert with "
            "`shelfqa models convert`."
        )
    return InputError(f"Cannot load the model {name!r}: {message[:300]}")


def _nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint at the preset that may have been meant, none for hub names and presets themselves."""
    hint = "" if "/" in name or name in known else did_you_mean(name, known)
    return hint if hint.startswith(" Did") else ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


class HubState(NamedTuple):
    """Whether the hub can be asked, as far as can be seen; no secrets."""

    cache: Path
    """Where downloaded models lie."""
    offline: bool
    """Whether `HF_HUB_OFFLINE` keeps the client from asking."""
    token: bool
    """Whether a token is at hand, which gated models need; whether the hub accepts it is not asked."""
    reachable: bool | None = None
    """None where it was not tried."""
    why: str = ""
    """Why it is not reachable."""


def hub_state(*, ask: bool, timeout_s: float = 2.0) -> HubState:
    """Return where the hub's cache is, and whether the hub answers.

    Args:
        ask: whether to try the network.
        timeout_s: how long to wait for the hub's answer at most.

    Raises:
        ImportError: if the hub's client is not installed.

    """
    from huggingface_hub import HfApi, constants, get_token

    state = HubState(Path(constants.HF_HUB_CACHE), bool(constants.HF_HUB_OFFLINE), get_token() is not None)
    if not ask or state.offline:
        return state
    errors: list[BaseException | None] = []

    def look() -> None:
        try:
            HfApi().model_info(_SMALL_PUBLIC_MODEL, timeout=timeout_s, token=False)
            errors.append(None)
        except BaseException as error:
            errors.append(error)

    asking = threading.Thread(target=look, daemon=True)  # a name server that is silent heeds no timeout
    asking.start()
    asking.join(timeout_s + 0.5)
    if not errors:
        return state._replace(reachable=False, why=f"no answer in {timeout_s:g} s")
    error = errors[0]
    if error is None or type(error).__name__ in _UNKNOWN:  # the hub answered, be it that it has no such model now
        return state._replace(reachable=True)
    return state._replace(reachable=False, why=type(error).__name__)


def in_cache(source: str) -> bool:
    """Say whether a hub model's configuration and all of its weights are in the cache.

    Raises:
        ImportError: if the hub's client is not installed.

    """
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(source, "config.json")
    if not isinstance(config, str):
        return False
    snapshot = Path(config).parent
    for index in snapshot.glob("*.index.json"):
        try:
            shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError):
            continue
        if shards and all((snapshot / shard).exists() for shard in shards):
            return True
    single = ("model.safetensors", "pytorch_model.bin")
    return any((snapshot / name).exists() for name in single)
