"""Published checkpoints of OFA and ViLBERT as folders that `load_model` reads: safetensors and nothing pickled."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Literal, get_args

from shelfqa.artifacts import storage_errors
from shelfqa.errors import InputError, did_you_mean
from shelfqa.hub import load_error
from shelfqa.models.answer_lists import read_answers
from shelfqa.models.loading import quiet_transformers

Kind = Literal["ofa", "vilbert"]

_BERT = "google-bert/bert-base-uncased"
_OFA = "OFA-Sys/ofa-base"
_FAIRSEQ_SUFFIX = ".pt"


def convert(
    source: Path,
    out: Path,
    kind: Kind,
    *,
    config: Path | None = None,
    answers: Path | None = None,
    tokenizer: str | None = None,
    fresh_head: bool = False,
) -> int:
    """Write the checkpoint `source` as a new folder; return how many weights it holds.

    Torch's files are read by its restricted unpickler, which runs no code of theirs.

    Args:
        source: of ViLBERT the authors' `.bin` or `.safetensors`; of OFA fairseq's `.pt`, or the hub's `.bin`.
        out: the folder to make.
        kind: whose checkpoint it is.
        config: of ViLBERT the authors' JSON file; of OFA a `config.json`, by default the one beside `source` or, for
            fairseq, what the checkpoint tells.
        answers: ViLBERT's table of answers in the order of its outputs, as `answer_lists.read_answers` reads it.
        tokenizer: a folder, a hub name or, for ViLBERT, a vocab.txt. By default `bert-base-uncased` for ViLBERT; for
            OFA the folder of `source` if it has a vocabulary, else that of `OFA-Sys/ofa-base`.
        fresh_head: whether ViLBERT's answer head is drawn anew, for `pretrained_model.bin` or for other answers.

    Raises:
        UserError: if something is missing, broken or does not fit, or `out` is there already.

    """
    if kind not in get_args(Kind):
        raise InputError(f"Unknown kind of checkpoint {kind!r}.{did_you_mean(str(kind), get_args(Kind))}")
    if not source.is_file():
        raise InputError(f"There is no file {str(source)!r}: give the published checkpoint itself, not its folder.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{str(out)!r} is there already and would be overwritten: give another --out, or remove it.")
    if kind == "vilbert":
        module, words = _vilbert(source, config, answers, tokenizer, fresh_head=fresh_head)
    else:
        for name, value in (("answers", answers), ("fresh-head", fresh_head)):
            if value:
                raise InputError(f"OFA writes its answers and has no table of them: leave out --{name}.")
        module, words = _ofa(source, config, tokenizer)
    _write(out, module, words)
    return sum(weight.numel() for weight in module.parameters())


def _vilbert(
    source: Path, config: Path | None, answers: Path | None, tokenizer: str | None, *, fresh_head: bool
) -> tuple[Any, Any]:
    """Return the model and its tokenizer."""
    from shelfqa.models.vilbert.conversion import model_from_published, read_config, read_published

    if config is None or answers is None:
        raise InputError(
            "ViLBERT's checkpoints hold neither sizes nor answers: give --config, such as "
            "bert_base_6layer_6conect.json, and --answers, the list in trainval_label2ans saved as JSON or text."
        )
    published = read_published(source, allow_pickle=True)
    settings = read_config(config, read_answers(answers), published)
    module = model_from_published(published, settings, fresh_head=fresh_head)
    words = _bert_tokenizer(tokenizer or _BERT)
    if len(words) != settings.vocab_size:
        raise InputError(
            f"The tokenizer {tokenizer or _BERT!r} knows {len(words)} word pieces, the checkpoint "
            f"{settings.vocab_size}: give the vocab.txt that it was trained with as --tokenizer."
        )
    return module, words


def _bert_tokenizer(source: str) -> Any:
    from transformers import AutoTokenizer, BertTokenizer

    file = Path(source)
    if file.suffix == ".txt":
        if not file.is_file():
            raise InputError(f"There is no vocabulary {source!r}: give a vocab.txt, a folder with one, or a hub name.")
        return BertTokenizer(str(file))
    try:
        return AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise load_error(source, error, instead="give its vocab.txt as --tokenizer.") from None


def _ofa(source: Path, config: Path | None, tokenizer: str | None) -> tuple[Any, Any]:
    """Return the model and its processor."""
    from shelfqa.models.ofa.conversion import (
        convert_fairseq_state,
        convert_hub_state,
        fairseq_config,
        read_fairseq_checkpoint,
        read_hub_state,
    )
    from shelfqa.models.ofa.modeling import OfaForVisualQuestionAnswering
    from shelfqa.models.ofa.processing import OfaProcessor

    if source.suffix == _FAIRSEQ_SUFFIX:
        checkpoint = read_fairseq_checkpoint(source)
        settings = _ofa_config(config) if config else fairseq_config(checkpoint.state, checkpoint.arguments)
        state = convert_fairseq_state(checkpoint.state, settings)
    else:
        settings = _ofa_config(config or source.with_name("config.json"))
        state = convert_hub_state(read_hub_state(source), settings)
    module = OfaForVisualQuestionAnswering(settings)
    module.load_state_dict(state)
    beside = (source.with_name("vocab.json")).is_file()
    where = tokenizer or (str(source.parent) if beside else _OFA)
    try:
        processor = OfaProcessor.from_pretrained(where, image_side_px=settings.patch_image_size)
    except (OSError, ValueError) as error:
        hint = "give a folder with OFA's vocab.json and merges.txt as --tokenizer."
        raise load_error(where, error, instead=hint) from None
    if len(processor.tokenizer) > settings.vocab_size:
        raise InputError(
            f"The tokenizer in {where!r} knows {len(processor.tokenizer)} tokens, the checkpoint "
            f"{settings.vocab_size}: give the folder of the one that it was trained with as --tokenizer."
        )
    return module, processor


def _ofa_config(file: Path) -> Any:
    from shelfqa.models.ofa.configuration import OfaConfig

    try:
        return OfaConfig.from_json_file(str(file))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"Cannot read {str(file)!r} as an OFA configuration: {error}; give one as --config.") from None


def _write(out: Path, module: Any, words: Any) -> None:
    """Write into a folder beside `out` first, so that `out` is whole or not there."""
    partial = out.with_name(f"{out.name}.partial")
    with storage_errors(out):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        with quiet_transformers():
            module.save_pretrained(partial)
        words.save_pretrained(partial)
        if out.is_dir():
            out.rmdir()
        partial.replace(out)
