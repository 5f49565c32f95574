"""What went wrong in getting a model from a folder or the hub, in one line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from shelfqa.errors import InputError, UserError, did_you_mean

_UNREACHABLE = frozenset(
    {"OfflineModeIsEnabled", "LocalEntryNotFoundError", "ConnectionError", "ConnectError", "ConnectTimeout"}
)
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
            f"check the name and the network, or {instead}"
        )
    if kinds & _UNKNOWN:
        return InputError(f"There is no model {name!r} here or on the hub.{did_you_mean(name, known)}")
    if "safetensors" in message and "no file named" in message.lower():
        return InputError(f"{name!r} has no safetensors weights; shelfqa loads no other format: convert them first.")
    return InputError(f"Cannot load the model {name!r}: {message[:300]}")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
