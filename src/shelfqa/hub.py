"""The model hub: whether it can be asked, what of it is here, what went wrong with a model, and giving it a folder."""

from __future__ import annotations

import importlib.util
import json
import re
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from shelfqa.errors import InputError, UserError, did_you_mean

_UNREACHABLE = frozenset(
    {"OfflineModeIsEnabled", "LocalEntryNotFoundError", "ConnectionError", "ConnectError", "ConnectTimeout"}
)
_BROKEN_OFF = frozenset({"ReadTimeout", "WriteTimeout", "ReadError", "WriteError", "RemoteProtocolError"})
_SMALL_PUBLIC_MODEL = "Salesforce/blip-vqa-base"
_NO_WEIGHTS = ("no file named", "not appear to have a file named")
"""How transformers says that a checkpoint lacks the kind of weights that was asked for."""
_UNKNOWN = frozenset({"RepositoryNotFoundError", "HFValidationError", "RevisionNotFoundError"})
_REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_KEPT_HERE = frozenset({"manifest.json", "parity.json"})
"""What stages note for this machine: settings with their paths, and questions of the gate."""
_TEXTS = frozenset({".json", ".md", ".txt", ".yaml", ".yml", ".jinja", ".py"})
_VOCABULARIES = frozenset({"tokenizer.json", "vocab.json", "vocab.txt", "merges.txt", "added_tokens.json"})
"""Texts in which what looks like a path is a word."""


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


class PushFile(NamedTuple):
    """A file that goes to the hub."""

    path: str
    """Inside the folder, with slashes."""
    size: int
    """Bytes."""


def files_to_push(folder: Path, private: Iterable[Path] = ()) -> list[PushFile]:
    """Return what `push` uploads: all files but hidden ones and what stages note for this machine.

    Args:
        folder: a checkpoint, or an adapter.
        private: folders whose paths may stand in no file, beside the home, the working and the temporary folder.

    Raises:
        InputError: if there is nothing, or a text names a folder of this machine.

    """
    found = []
    roots = [Path.home(), Path.cwd(), Path(tempfile.gettempdir()), *private]
    places = {place for root in roots for place in (root.absolute(), root.resolve())}
    secret = [str(place) for place in sorted(places, key=str, reverse=True) if len(place.parts) > 1]
    for file in sorted(folder.rglob("*")):
        inside = file.relative_to(folder)
        if not file.is_file() or str(inside) in _KEPT_HERE or any(part.startswith(".") for part in inside.parts):
            continue
        if file.suffix in _TEXTS and file.name not in _VOCABULARIES:
            named = _private_path(file.read_text(encoding="utf-8", errors="replace"), secret)
            if named is not None:
                raise InputError(
                    f"{str(file)!r} would be uploaded and names {named!r}, a folder of this machine: take it out first."
                )
        found.append(PushFile(inside.as_posix(), file.stat().st_size))
    if not found:
        raise InputError(f"There is nothing to push in {str(folder)!r}.")
    return found


def _private_path(text: str, secret: Iterable[str]) -> str | None:
    """Return the path of this machine that a text holds, None if there is none."""
    for root in secret:
        for written in (root, json.dumps(root)[1:-1]):
            found = re.search(re.escape(written) + r"""(?![\w.-])[^\s"'<>]*""", text)
            if found is not None:
                return found[0]
    return None


def check_push(repository: str) -> None:
    """Raise one line if a push to `repository` cannot succeed: to be known before hours of work, not after.

    Raises:
        UserError: if the hub's client is missing, the name is no OWNER/NAME, there is no token, the hub does not accept
            it or cannot be reached.

    """
    if importlib.util.find_spec("huggingface_hub") is None:
        raise UserError("Pushing needs the package 'huggingface_hub': pip install 'shelfqa[models]'.")
    if _REPOSITORY.fullmatch(repository) is None:
        raise UserError(f"{repository!r} is no name of a repository on the hub: give OWNER/NAME, such as me/shop-vqa.")
    from huggingface_hub import HfApi, constants, get_token

    if constants.is_offline_mode():
        raise UserError("HF_HUB_OFFLINE is set, so nothing can be pushed to the hub: unset it, or leave out the push.")
    if get_token() is None:
        raise UserError("Pushing needs a token of the hub that may write: run `hf auth login`, or set HF_TOKEN.")
    with _push_errors(repository):
        account = HfApi().whoami()
    if ((account.get("auth") or {}).get("accessToken") or {}).get("role") == "read":
        raise UserError("The hub's token may only read: make one that may write, then run `hf auth login` with it.")


def push(folder: Path, repository: str, *, public: bool = False, private_paths: Iterable[Path] = ()) -> str:
    """Upload a folder to the hub; return its address there.

    Args:
        folder: a checkpoint, or an adapter.
        repository: OWNER/NAME; made if it is not there.
        public: whether anyone may read a repository that is made; one that is there stays as it is.
        private_paths: as `private` of `files_to_push`.

    Raises:
        UserError: as `check_push` does, if the token may not write there, or a file names a folder of this machine.

    """
    files = [file.path for file in files_to_push(folder, private_paths)]
    check_push(repository)
    from huggingface_hub import HfApi

    api = HfApi()
    with _push_errors(repository):
        made = api.create_repo(repository, private=not public, repo_type="model", exist_ok=True)
        # fnmatch takes [ as the beginning of a set of letters.
        exactly = [re.sub(r"([*?\[])", r"[\1]", file) for file in files]
        api.upload_folder(
            repo_id=repository, folder_path=folder, allow_patterns=exactly, commit_message="Upload by shelfqa"
        )
    return str(made)


@contextmanager
def _push_errors(repository: str) -> Iterator[None]:
    """Turn what the hub's client raises into one line that says what to do."""
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError):
            raise
        status = getattr(getattr(error, "response", None), "status_code", None)
        kinds = {type(cause).__name__ for cause in _chain(error)}
        if status == 401:
            message = "The hub does not accept the token: run `hf auth login`, or set HF_TOKEN to one that may write."
        elif status == 403:
            message = (
                f"The hub's token may not write to {repository!r}: give one that may, or a repository of your own."
            )
        elif status is None and kinds & (_UNREACHABLE | _BROKEN_OFF):
            message = "The hub cannot be reached: check the network, then run the same command again to push."
        elif status is not None or isinstance(error, ValueError):
            message = f"The hub refuses {repository!r}: {' '.join(str(error).split())[:300]}"
        else:
            raise
        raise UserError(message) from None
