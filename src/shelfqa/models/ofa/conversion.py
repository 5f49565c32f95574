"""Published OFA weights under our names.

Two formats exist. The hub's (`OFA-Sys/ofa-*`, `pytorch_model.bin`) has our names but for what we leave out. fairseq's
(`*.pt`, key `model`) renames, in `encoder.layers.N` and `decoder.layers.N`:

| fairseq                          | here                               |
| -------------------------------- | ---------------------------------- |
| `attn_ln` (encoder)              | `self_attn_mid_layer_norm`         |
| `self_attn_ln` (decoder)         | `self_attn_mid_layer_norm`         |
| `encoder_attn` (decoder)         | `cross_attn`                       |
| `encoder_attn_layer_norm`        | `cross_attn_layer_norm`            |
| `cross_attn_ln` (decoder)        | `cross_attn_mid_layer_norm`        |
| `ffn_layernorm`                  | `ffn_layer_norm`                   |

Everything else is named alike. Left out from both, since it is computed or serves no answer:

| key                                                          | why                             |
| ------------------------------------------------------------ | ------------------------------- |
| `*.token_rp_bucket`, `*.image_rp_bucket`                     | computed from the sizes         |
| `*.version` (fairseq)                                        | no weight                       |
| `decoder.image_position_idx`, `decoder.embed_image_positions`, `decoder.image_pos_ln`, `decoder.image_rel_pos_table_list`, `decoder.code_layernorm_embedding` | for writing image codes |

`decoder.embed_tokens` must equal `encoder.embed_tokens`, and so must `decoder.output_projection` where they are shared.
fairseq checkpoints without `scale_heads` lack `c_attn`: the gains are then 1.
"""  # noqa: E501 - a table's row

from __future__ import annotations

import argparse
import math
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from shelfqa.errors import InputError
from shelfqa.models.ofa.configuration import RESNET_BLOCKS, OfaConfig
from shelfqa.models.ofa.modeling import OfaForVisualQuestionAnswering

_LEFT_OUT = re.compile(
    r"(encoder|decoder)\.(version|token_rp_bucket|image_rp_bucket|image_position_idx)$"
    r"|decoder\.(embed_image_positions|image_pos_ln|image_rel_pos_table_list|code_layernorm_embedding)\."
)
_FAIRSEQ_NAMES = {
    "attn_ln": "self_attn_mid_layer_norm",
    "self_attn_ln": "self_attn_mid_layer_norm",
    "encoder_attn": "cross_attn",
    "encoder_attn_layer_norm": "cross_attn_layer_norm",
    "cross_attn_ln": "cross_attn_mid_layer_norm",
    "ffn_layernorm": "ffn_layer_norm",
}
_FAIRSEQ_PART = re.compile(r"((?:encoder|decoder)\.layers\.\d+\.)(\w+)\.")
_EMBEDDING = "encoder.embed_tokens.weight"
_DECODER_EMBEDDING = "decoder.embed_tokens.weight"
_PROJECTION = "decoder.output_projection.weight"
_SHOWN_KEYS = 8
_NUMPY_SCALAR: Any = np.float64(0).__reduce__()[0]
_HARMLESS = [
    argparse.Namespace,
    np.dtype,
    *(type(np.dtype(name)) for name in ("float64", "float32", "int64", "bool")),
    _NUMPY_SCALAR,
    (_NUMPY_SCALAR, "numpy.core.multiarray.scalar"),  # its name before numpy 2
]
"""What fairseq keeps beside the weights: arguments, and numbers of its training."""


class FairseqCheckpoint(NamedTuple):
    """What a fairseq `*.pt` file holds of a model."""

    state: dict[str, Tensor]
    arguments: dict[str, Any]
    """The command line that it was trained with."""


def convert_hub_state(state: Mapping[str, Tensor], config: OfaConfig) -> dict[str, Tensor]:
    """Return the hub's weights under our names, complete for a model of `config`.

    Raises:
        InputError: keys are unknown or missing, or a shape is not that of `config`; it names them.

    """
    return _checked({key: value for key, value in state.items() if not _LEFT_OUT.match(key)}, config)


def convert_fairseq_state(state: Mapping[str, Tensor], config: OfaConfig) -> dict[str, Tensor]:
    """Return fairseq's weights under our names, complete for a model of `config`.

    Raises:
        InputError: keys are unknown or missing, or a shape is not that of `config`; it names them.

    """
    converted = {_fairseq_name(key): value for key, value in state.items() if not _LEFT_OUT.match(key)}
    for key, shape in _expected(config).items():
        if key.endswith(".c_attn") and key not in converted:
            converted[key] = torch.ones(shape)
    if _EMBEDDING in converted:
        converted.setdefault(_DECODER_EMBEDDING, converted[_EMBEDDING])
        if config.share_decoder_input_output_embed:
            converted.setdefault(_PROJECTION, converted[_EMBEDDING])
    return _checked(converted, config)


def read_hub_state(file: str | Path) -> dict[str, Tensor]:
    """Read a `pytorch_model.bin` without running anything that it holds.

    Raises:
        InputError: the file cannot be read so.

    """
    state: dict[str, Tensor] = _load(file)
    return state


def read_fairseq_checkpoint(file: str | Path) -> FairseqCheckpoint:
    """Read a fairseq `*.pt` file without running anything that it holds.

    Where it keeps averaged weights (`extra_state.ema`), those are taken, as in the authors' evaluation of VQA.

    Raises:
        InputError: the file cannot be read so, or holds no model.

    """
    checkpoint = _load(file)
    if not isinstance(checkpoint, Mapping) or "model" not in checkpoint:
        raise InputError(f"{str(file)!r} holds no fairseq model: give a checkpoint of OFA's own training code")
    averaged = (checkpoint.get("extra_state") or {}).get("ema") or {}
    arguments = checkpoint.get("args")
    if arguments is None:
        settings = checkpoint.get("cfg") or {}
        arguments = {**_mapping(settings.get("task")), **_mapping(settings.get("model"))}
    return FairseqCheckpoint({**checkpoint["model"], **averaged}, _mapping(arguments))


def fairseq_config(state: Mapping[str, Tensor], arguments: Mapping[str, Any]) -> OfaConfig:
    """Derive a configuration from fairseq's weights, and from the arguments what no shape tells.

    Raises:
        InputError: there are no arguments, a weight is missing, or the ResNet is none that we know.

    """
    if not arguments:
        raise InputError("no arguments of the training beside the weights: give a checkpoint with 'args' or 'cfg'")
    try:
        return OfaConfig(**_sizes(state), **_switches(state), **_choices(arguments))
    except KeyError as missing:
        raise InputError(f"no {missing.args[0]!r} among the weights: give the whole of a fairseq OFA model") from None


def _sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    vocab_size, size = state[_EMBEDDING].shape
    found: dict[str, Any] = {"vocab_size": vocab_size, "d_model": size}
    for side in ("encoder", "decoder"):
        distances, heads = state[f"{side}.token_rel_pos_table_list.0.weight"].shape
        found["token_bucket_size"] = (distances + 1) // 2
        found[f"{side}_attention_heads"] = heads
        found[f"{side}_layers"] = _count(state, f"{side}.layers.")
        found[f"{side}_ffn_dim"] = state[f"{side}.layers.0.fc1.weight"].shape[0]
    found["max_position_embeddings"] = state["encoder.embed_positions.weight"].shape[0] - 2
    found["image_bucket_size"] = math.isqrt(state["encoder.embed_image_positions.weight"].shape[0] - 1)
    blocks = tuple(_count(state, f"encoder.embed_images.layer{stage}.") for stage in (1, 2, 3))
    names = [name for name, known in RESNET_BLOCKS.items() if known == blocks]
    if not names:
        raise InputError(f"a vision tower with stages of {blocks} blocks is no ResNet of OFA: {RESNET_BLOCKS}")
    return {**found, "resnet_type": names[0]}


def _switches(state: Mapping[str, Tensor]) -> dict[str, Any]:
    projection = state.get(_PROJECTION)
    return {
        "normformer": "encoder.layers.0.ffn_layernorm.weight" in state,
        "layernorm_embedding": "encoder.layernorm_embedding.weight" in state,
        "patch_layernorm_embedding": "encoder.patch_layernorm_embedding.weight" in state,
        "add_type_embedding": "encoder.type_embedding.weight" in state,
        "encoder_normalize_before": "encoder.layer_norm.weight" in state,
        "decoder_normalize_before": "decoder.layer_norm.weight" in state,
        "share_decoder_input_output_embed": projection is None or torch.equal(projection, state[_EMBEDDING]),
    }


def _choices(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what only the arguments tell; what they lack has the default of the authors' `ofa_large`."""
    entangled = bool(arguments.get("entangle_position_embedding", False))
    same = {
        "activation_function": ("activation_fn", "gelu"),
        "attn_scale_factor": ("attn_scale_factor", 2.0),
        "dropout": ("dropout", 0.0),
        "attention_dropout": ("attention_dropout", 0.0),
        "activation_dropout": ("activation_dropout", 0.0),
        "encoder_drop_path_rate": ("encoder_drop_path_rate", 0.0),
        "decoder_drop_path_rate": ("decoder_drop_path_rate", 0.0),
        "resnet_drop_path_rate": ("resnet_drop_path_rate", 0.0),
        "interpolate_position": ("interpolate_position", False),
        "orig_patch_image_size": ("orig_patch_image_size", 256),
        "patch_image_size": ("patch_image_size", 480),
        "prompt_type": ("prompt_type", "none"),
    }
    found = {ours: arguments.get(theirs) for ours, (theirs, _) in same.items()}
    return {
        **{ours: default if found[ours] is None else found[ours] for ours, (_, default) in same.items()},
        "scale_embedding": not arguments.get("no_scale_embedding", True),
        "entangle_position_embedding": entangled,
        "decoder_entangle_position_embedding": not arguments.get("disable_entangle", False),
    }


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    numbers = {key[len(prefix) :].split(".")[0] for key in state if key.startswith(prefix)}
    return len(numbers)


def _fairseq_name(key: str) -> str:
    part = _FAIRSEQ_PART.match(key)
    if part is None or part[2] not in _FAIRSEQ_NAMES:
        return key
    return f"{part[1]}{_FAIRSEQ_NAMES[part[2]]}{key[part.end(2) :]}"


def _expected(config: OfaConfig) -> dict[str, torch.Size]:
    with torch.device("meta"):
        return {key: value.shape for key, value in OfaForVisualQuestionAnswering(config).state_dict().items()}


def _checked(converted: dict[str, Tensor], config: OfaConfig) -> dict[str, Tensor]:
    expected = _expected(config)
    unknown = sorted(converted.keys() - expected.keys())
    if unknown:
        raise InputError(f"this model has no {_listed(unknown)}: give an OFA checkpoint with its own configuration")
    missing = sorted(expected.keys() - converted.keys())
    if missing:
        raise InputError(f"the weights lack {_listed(missing)}: give the whole of a checkpoint with its configuration")
    wrong = [f"{key} {tuple(converted[key].shape)}" for key, shape in expected.items() if converted[key].shape != shape]
    if wrong:
        raise InputError(f"{_listed(wrong)} has not the shape that the configuration says: give the matching one")
    shared = [_DECODER_EMBEDDING] + [_PROJECTION] * config.share_decoder_input_output_embed
    for key in shared:
        if not torch.equal(converted[key], converted[_EMBEDDING]):
            raise InputError(f"{key!r} differs from {_EMBEDDING!r}, which this model shares")
    return converted


def _listed(keys: list[str]) -> str:
    more = f" and {len(keys) - _SHOWN_KEYS} more" if len(keys) > _SHOWN_KEYS else ""
    return ", ".join(repr(key) for key in keys[:_SHOWN_KEYS]) + more


def _mapping(arguments: Any) -> dict[str, Any]:
    if isinstance(arguments, argparse.Namespace):
        return vars(arguments)
    return dict(arguments or {})


def _load(file: str | Path) -> Any:
    with torch.serialization.safe_globals(_HARMLESS):
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, pickle.UnpicklingError) as error:
            first = str(error).strip().splitlines()[0]
            raise InputError(f"cannot read the weights {str(file)!r}: {first}; download the file again") from None
