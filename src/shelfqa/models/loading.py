"""From a name to a model that answers: presets, hub names, folders, and adapters on top."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from shelfqa.errors import InputError, UserError
from shelfqa.hub import in_cache, load_error
from shelfqa.machine import available_memory_mb, keep_freed_memory
from shelfqa.models.fitting import weights_gb
from shelfqa.models.presets import PRESETS, source_of
from shelfqa.progress import say
from shelfqa.registry import Registry

if TYPE_CHECKING:
    import torch

    from shelfqa.models.base import Loading, VqaModel

FAMILIES = Registry(
    "model family",
    {
        "any-image-text-to-text": "shelfqa.models.adapters.any_chat:AnyChatVqa",
        "blip": "shelfqa.models.adapters.blip:BlipVqa",
        "blip-2": "shelfqa.models.adapters.blip2:Blip2Vqa",
        "idefics2": "shelfqa.models.adapters.chat:ChatVqa",
        "idefics3": "shelfqa.models.adapters.chat:ChatVqa",
        "instructblip": "shelfqa.models.adapters.blip2:Blip2Vqa",
        "llava": "shelfqa.models.adapters.chat:ChatVqa",
        "ofa": "shelfqa.models.adapters.ofa:OfaVqa",
        "paligemma": "shelfqa.models.adapters.chat:ChatVqa",
        "qwen2_5_vl": "shelfqa.models.adapters.chat:ChatVqa",
        "qwen2_vl": "shelfqa.models.adapters.chat:ChatVqa",
        "smolvlm": "shelfqa.models.adapters.chat:ChatVqa",
        "clip": "shelfqa.models.adapters.dual_encoder:DualEncoderVqa",
        "lxmert": "shelfqa.models.adapters.lxmert:LxmertVqa",
        "shelfqa-mini": "shelfqa.models.adapters.mini:MiniVqa",
        "siglip": "shelfqa.models.adapters.dual_encoder:DualEncoderVqa",
        "siglip2": "shelfqa.models.adapters.dual_encoder:DualEncoderVqa",
        "vilbert": "shelfqa.models.adapters.vilbert:ViLbertVqa",
        "vilt": "shelfqa.models.adapters.vilt:ViltVqa",
    },
)
"""The adapter of each `model_type` in a checkpoint's config.json."""

_ARCHITECTURES = {
    "blip": "BlipForQuestionAnswering",
    "blip-2": "Blip2ForConditionalGeneration",
    "clip": "CLIPModel",
    "siglip": "SiglipModel",
    "siglip2": "Siglip2Model",
    "vilt": "ViltForQuestionAnswering",
}
"""Where one `model_type` covers several tasks: the architecture that answers questions."""

_ANY_CHAT = "any-image-text-to-text"
"""The entry for what transformers' AutoModelForImageTextToText loads and no other entry names."""

_FLASH_ATTENTION = "flash_attention_2"
_WITHOUT_FLASH_ATTENTION = frozenset({"blip-2", "instructblip", "paligemma"})
"""Model types that need masks which it does not take: of shared prompts, or of prompts read in both directions."""

_INSTEAD = "use `mini`, which needs neither."


def load_model(
    name_or_path: str, *, adapter: Path | None = None, device: str = "auto", loading: Loading | None = None
) -> VqaModel:
    """Return a model that is ready to answer.

    Args:
        name_or_path: a preset of `shelfqa models`, a hub name, or a folder with a checkpoint.
        adapter: a folder in PEFT format, as `shelfqa train` writes it.
        device: `auto`, or what torch calls it.
        loading: how to read the checkpoint; by default its weights become float32 on a CPU and bfloat16 on a GPU
            that has it, quantised where the adapter was trained on quantised ones.

    Raises:
        UserError: if the extras are missing, the model cannot be had or is no VQA model, the memory does not suffice,
            or the adapter was made for another.

    """
    require_extras()

    from safetensors import SafetensorError

    from shelfqa.models.base import Loading
    from shelfqa.models.batching import out_of_memory

    place = resolve_device(device)
    if place.type == "cuda":
        torch.cuda.set_device(place)  # so that what asks for "the" GPU means this one
    if place.type == "cpu":
        keep_freed_memory()
    loading = loading or Loading(dtype=resolve_dtype("auto", place))
    if loading.quantize is None and adapter is not None:
        loading = loading._replace(quantize=_as_trained(adapter, place))
    source = source_of(name_or_path)
    family = _family(source, name_or_path, loading)
    _check_options(family, name_or_path, loading)
    _check_memory(source, name_or_path, loading.dtype.itemsize, place)
    fetched = not Path(source).is_dir() and not in_cache(source)
    if fetched:
        say(f"{name_or_path}: fetching {source} from the hub")
    with quiet_transformers(bars=fetched):
        try:
            model: VqaModel = family.from_pretrained(source, name_or_path, loading)
            model.fingerprint = weights_fingerprint(model.module)
            if loading.quantize in ("nf4", "int8"):
                from shelfqa.models.quantization import quantize

                quantize(model, loading.quantize, loading.dtype, place)
            model.module.to(place)
        except SafetensorError as error:
            raise InputError(
                f"The weights of {name_or_path!r} are broken ({error}): fetch or write the checkpoint again."
            ) from None
        except (OSError, ValueError, RuntimeError, MemoryError, ImportError, KeyError) as error:
            if out_of_memory(error):
                raise _too_large(name_or_path, place) from None
            raise load_error(name_or_path, error, instead=_INSTEAD, known=PRESETS) from None
    _check_tokenizer(model)
    model.module.eval()
    if adapter is not None:
        from shelfqa.models.lora import load_adapter

        load_adapter(model, adapter)
        model.module.eval()
    return model


def _as_trained(adapter: Path, device: torch.device) -> Literal["none", "nf4", "int8"]:
    """Return what an adapter's base was quantised to in training, `none` where that cannot be done here."""
    from shelfqa.models.lora import quantization_noted
    from shelfqa.models.quantization import hindrance

    bits = quantization_noted(adapter)
    why = hindrance(device) if bits is not None else None
    if why is not None:
        say(f"{adapter} was trained on weights of {bits}; they stay unquantised, and answers may differ: {why}")
    return "none" if bits is None or why is not None else bits


def _check_options(family: type[VqaModel], name: str, loading: Loading) -> None:
    """Refuse options for which the model has no place, since passing over them would look as if they had worked."""
    wrong = {
        "--split-images": loading.split_images is not None and family.family != "chat",
        "--regions": loading.regions is not None and not family.reads_regions,
        "--answers": bool(loading.answers) and family.family != "classifier",
        "--image-side-px": loading.image_side_px is not None and family.fixed_resolution,
    }
    for option, given in wrong.items():
        if given:
            raise UserError(f"The model {name!r} has no place for {option}: leave it out.")


def _check_memory(source: str, name: str, bytes_a_weight: int, device: torch.device) -> None:
    """Refuse weights that cannot fit: on a CPU, where the system kills who takes too much, nobody else would."""
    needed, left = weights_gb(source, bytes_a_weight), available_memory_mb()
    if device.type == "cpu" and needed is not None and left is not None and needed * 1000 > left:
        raise _too_large(name, device)


def _check_tokenizer(model: VqaModel) -> None:
    """Raise one line if the checkpoint came without its tokenizer, in whose place transformers makes an empty one."""
    tokenizer = getattr(model, "tokenizer", None)
    if tokenizer is not None and len(tokenizer) <= len(tokenizer.all_special_ids):
        raise InputError(
            f"The model {model.name!r} has no words: its tokenizer is missing. Put the tokenizer's files beside its "
            "weights."
        )


def _too_large(name: str, device: torch.device) -> UserError:
    return UserError(
        f"The model {name!r} does not fit into the memory of {str(device)!r}: try --dtype bfloat16, --device cpu, or a "
        "smaller model (`shelfqa doctor` says what fits this machine)."
    )


def require_extras() -> None:
    """Raise one line if the packages that run models are not installed."""
    for package in ("torch", "transformers", "peft"):
        if importlib.util.find_spec(package) is None:
            raise UserError(f"Running models needs the package {package!r}: pip install 'shelfqa[models]'.")


def resolve_device(device: str, number: int = 0) -> torch.device:
    """Return the torch device for `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.

    Args:
        device: as the user calls it.
        number: which GPU to take where the user names none, for several processes on a machine.

    Raises:
        UserError: if torch does not know it or this machine lacks it.

    """
    import torch

    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", number % torch.cuda.device_count())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        place = torch.device(device)
    except RuntimeError:
        raise UserError(f"Unknown device {device!r}: give auto, cpu, cuda, cuda:1 or mps.") from None
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not present.get(place.type, True):
        raise UserError(f"This machine has no usable {device!r} device: run with --device cpu, or auto.")
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise UserError(f"This machine has no GPU {place.index}: give cuda:0 to cuda:{torch.cuda.device_count() - 1}.")
    if place.type == "cuda" and place.index is None:
        return torch.device("cuda", number % torch.cuda.device_count())
    return place


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the torch type for `auto`, `float32`, `bfloat16` or `float16`.

    Raises:
        UserError: if the device has no arithmetic of that type.

    """
    import torch

    bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
    if name == "auto":
        return torch.bfloat16 if bf16 else torch.float32
    if name == "bfloat16" and device.type == "cuda" and not bf16:
        raise UserError("This GPU has no bfloat16 arithmetic: give --dtype float16 or float32.")
    found: torch.dtype = getattr(torch, name)
    return found


def weights_fingerprint(module: Any) -> str:
    """Return a digest of names, shapes and a sample of values of the weights, the same for every float type."""
    import torch

    digest = hashlib.sha256()
    for name, weight in sorted(module.named_parameters()):
        sample = weight.detach().flatten()[:16].to("cpu", torch.bfloat16).view(torch.int16)
        digest.update(f"{name} {tuple(weight.shape)}".encode())
        digest.update(sample.numpy().tobytes())
    return digest.hexdigest()[:16]


def _family(source: str, name: str, loading: Loading) -> type[VqaModel]:
    """Return the adapter for the checkpoint, by the `model_type` and architecture in its config.json."""
    if loading.attention == _FLASH_ATTENTION and importlib.util.find_spec("flash_attn") is None:
        raise UserError(
            f"The attention {_FLASH_ATTENTION!r} needs the package 'flash_attn', which is not installed: "
            "pip install flash-attn, or give --attention sdpa."
        )
    from transformers import PretrainedConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    folder = Path(source)
    if folder.is_dir() and not (folder / "config.json").is_file():
        hint = " It is an adapter: give its base model, and this folder as --adapter." if _is_adapter(folder) else ""
        raise InputError(f"The folder {name!r} holds no config.json, so no model.{hint or _KNOWN}")
    try:
        with quiet_transformers():
            config, _ = PretrainedConfig.get_config_dict(source)
    except (OSError, ValueError) as error:
        raise load_error(name, error, instead=_INSTEAD, known=PRESETS) from None
    model_type, architectures = str(config.get("model_type")), config.get("architectures") or []
    wanted = _ARCHITECTURES.get(model_type)
    if model_type in FAMILIES and (wanted is None or not architectures or wanted in architectures):
        family: type[VqaModel] = FAMILIES.load(model_type)
        if loading.attention != _FLASH_ATTENTION:
            return family
        if model_type in _WITHOUT_FLASH_ATTENTION:
            raise UserError(f"The model {name!r} takes no {_FLASH_ATTENTION!r}: give --attention sdpa.")
        # It takes no mask by which the questions of a picture share their prompt.
        return FAMILIES.load(_ANY_CHAT) if family.family == "chat" else family
    custom = loading.remote_code and "AutoModelForImageTextToText" in (config.get("auto_map") or {})
    if custom or (model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES and model_type not in FAMILIES):
        fallback: type[VqaModel] = FAMILIES.load(_ANY_CHAT)
        return fallback
    what = architectures[0] if architectures else f"model type {model_type!r}"
    code = " Its own code runs with --remote-code only." if config.get("auto_map") and not loading.remote_code else ""
    raise InputError(f"{name!r} ({what}) is no visual question answering model that shelfqa runs.{code}{_KNOWN}")


_KNOWN = " `shelfqa models` lists those it knows by name."


def _is_adapter(folder: Path) -> bool:
    return (folder / "adapter_config.json").is_file()


@contextmanager
def quiet_transformers(*, bars: bool = False) -> Iterator[None]:
    """Keep the reports of transformers and of the hub's client off the terminal for a while.

    Args:
        bars: whether progress bars may be drawn, as a download deserves.

    """
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    before, hub_before, had_bars = (
        logging.get_verbosity(),
        hub_logging.get_verbosity(),
        logging.is_progress_bar_enabled(),
    )
    logging.set_verbosity_error()
    hub_logging.set_verbosity(logging.ERROR)
    if not bars:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        hub_logging.set_verbosity(hub_before)
        if had_bars:
            logging.enable_progress_bar()
