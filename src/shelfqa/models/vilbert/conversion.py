"""From the authors' published ViLBERT checkpoints to ours.

`multi_task_model.bin` has everything; `pretrained_model.bin` lacks the answer head and the task tokens. A name may
begin with `module.`, as DataParallel saves it; each ends in `.weight` or `.bias`. N and M count from 0.

| published | ours |
| --- | --- |
| `bert.embeddings.{word,position}_embeddings` | `language.embeddings.{words,positions}` |
| `bert.embeddings.{token_type,task}_embeddings` | `language.embeddings.{token_types,tasks}` |
| `bert.embeddings.LayerNorm` | `language.embeddings.norm` |
| `bert.v_embeddings.image_embeddings` | `vision.embeddings.features` |
| `bert.v_embeddings.image_location_embeddings` | `vision.embeddings.boxes` |
| `bert.v_embeddings.LayerNorm` | `vision.embeddings.norm` |
| `bert.encoder.layer.N`, `bert.encoder.v_layer.N` | `language.layers.N`, `vision.layers.N` |
| … `.attention.self.{query,key,value}` | … `.attention.{query,key,value}` |
| … `.attention.output.{dense,LayerNorm}` | … `.attention.{output,norm}` |
| … `.intermediate.dense` | … `.feed_forward.expand` |
| … `.output.{dense,LayerNorm}` | … `.feed_forward.{contract,norm}` |
| `bert.encoder.v_layer.N.attention.self.dyLinear_{q,k}` | `vision.gates.N.{query,key}` |
| `bert.encoder.c_layer.M`, what has 1 in the name: `v` | `connector.M.vision` (regions read words) |
| `bert.encoder.c_layer.M`, what has 2 in the name: `t` | `connector.M.language` (words read regions) |
| … `.biattention.query1`, `.key2`, `.value2` | … `.vision.attention.{query,key,value}` |
| … `.biattention.query2`, `.key1`, `.value1` | … `.language.attention.{query,key,value}` |
| … `.biOutput.dense1`, `.biOutput.LayerNorm1` | … `.vision.attention.{output,norm}` |
| … `.biOutput.dense2`, `.biOutput.LayerNorm2` | … `.language.attention.{output,norm}` |
| … `.{v,t}_intermediate.dense` | … `.{vision,language}.feed_forward.expand` |
| … `.{v,t}_output.{dense,LayerNorm}` | … `.{vision,language}.feed_forward.{contract,norm}` |
| `bert.{t,v}_pooler.dense` | `{language,vision}.pooler` |
| `vil_prediction.logit_fc.{0,2,3}` | `answer_head.{expand,norm,answers}` |

Dropped: `cls.*` (pre-training), `vil_prediction_gqa.*`, `vil_binary_prediction.*`, `vil_tri_prediction.*`,
`vil_logit.*`, `vision_logit.*`, `linguisic_logit.*` (other tasks), `bert.encoder.c_layer.M.biOutput.q_dense{1,2}.*`
(never used) and, where `with_coattention` is false, all of `bert.encoder.c_layer`.
Any other name is an error, and so is a weight of ours that is not there.

The answers are not in the checkpoint. They are the list in the authors' `trainval_label2ans.pkl`, in its order; it is a
pickle, which shelfqa does not read: save it as JSON where you trust it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shelfqa.errors import InputError
from shelfqa.models.vilbert.configuration import ViLbertConfig
from shelfqa.models.vilbert.modeling import ViLbertForQuestionAnswering

_HEAD = "answer_head."
_TASK_TOKENS = "bert.embeddings.task_embeddings.weight"
_GATES = ".attention.self.dyLinear_q.weight"
_DROPPED = re.compile(
    r"(cls|vil_prediction_gqa|vil_binary_prediction|vil_tri_prediction|vil_logit|vision_logit|linguisic_logit)\."
    r"|bert\.encoder\.c_layer\.\d+\.biOutput\.q_dense[12]\."
)
_CONNECTOR = re.compile(r"bert\.encoder\.c_layer\.")
_NAMED_AT_MOST = 5

_PLACES = (
    (r"language\.embeddings\.words\.", "bert.embeddings.word_embeddings."),
    (r"language\.embeddings\.positions\.", "bert.embeddings.position_embeddings."),
    (r"language\.embeddings\.token_types\.", "bert.embeddings.token_type_embeddings."),
    (r"language\.embeddings\.tasks\.", "bert.embeddings.task_embeddings."),
    (r"language\.embeddings\.norm\.", "bert.embeddings.LayerNorm."),
    (r"vision\.embeddings\.features\.", "bert.v_embeddings.image_embeddings."),
    (r"vision\.embeddings\.boxes\.", "bert.v_embeddings.image_location_embeddings."),
    (r"vision\.embeddings\.norm\.", "bert.v_embeddings.LayerNorm."),
    (r"language\.layers\.(\d+)\.", r"bert.encoder.layer.\1."),
    (r"vision\.layers\.(\d+)\.", r"bert.encoder.v_layer.\1."),
    (r"vision\.gates\.(\d+)\.query\.", r"bert.encoder.v_layer.\1.attention.self.dyLinear_q."),
    (r"vision\.gates\.(\d+)\.key\.", r"bert.encoder.v_layer.\1.attention.self.dyLinear_k."),
    (r"connector\.(\d+)\.vision\.attention\.query\.", r"bert.encoder.c_layer.\1.biattention.query1."),
    (r"connector\.(\d+)\.vision\.attention\.(key|value)\.", r"bert.encoder.c_layer.\1.biattention.\g<2>2."),
    (r"connector\.(\d+)\.vision\.attention\.output\.", r"bert.encoder.c_layer.\1.biOutput.dense1."),
    (r"connector\.(\d+)\.vision\.attention\.norm\.", r"bert.encoder.c_layer.\1.biOutput.LayerNorm1."),
    (r"connector\.(\d+)\.vision\.feed_forward\.", r"bert.encoder.c_layer.\1.v_feed_forward."),
    (r"connector\.(\d+)\.language\.attention\.query\.", r"bert.encoder.c_layer.\1.biattention.query2."),
    (r"connector\.(\d+)\.language\.attention\.(key|value)\.", r"bert.encoder.c_layer.\1.biattention.\g<2>1."),
    (r"connector\.(\d+)\.language\.attention\.output\.", r"bert.encoder.c_layer.\1.biOutput.dense2."),
    (r"connector\.(\d+)\.language\.attention\.norm\.", r"bert.encoder.c_layer.\1.biOutput.LayerNorm2."),
    (r"connector\.(\d+)\.language\.feed_forward\.", r"bert.encoder.c_layer.\1.t_feed_forward."),
    (r"language\.pooler\.", "bert.t_pooler.dense."),
    (r"vision\.pooler\.", "bert.v_pooler.dense."),
    (r"answer_head\.expand\.", "vil_prediction.logit_fc.0."),
    (r"answer_head\.norm\.", "vil_prediction.logit_fc.2."),
    (r"answer_head\.answers\.", "vil_prediction.logit_fc.3."),
)
_PARTS = (
    (r"\.attention\.(query|key|value)\.", r".attention.self.\1."),
    (r"\.attention\.output\.", ".attention.output.dense."),
    (r"\.attention\.norm\.", ".attention.output.LayerNorm."),
    (r"([._])feed_forward\.expand\.", r"\1intermediate.dense."),
    (r"([._])feed_forward\.contract\.", r"\1output.dense."),
    (r"([._])feed_forward\.norm\.", r"\1output.LayerNorm."),
)


def published_name(name: str) -> str:
    """Return what the published checkpoints call our weight `name`.

    >>> published_name("connector.0.vision.attention.key.weight")
    'bert.encoder.c_layer.0.biattention.key2.weight'
    """
    for pattern, published in _PLACES:
        moved, found = re.subn(rf"^{pattern}", published, name)
        if found:
            break
    else:
        raise InputError(f"ViLBERT has no weight {name!r}.")
    for pattern, published in _PARTS:
        renamed, found = re.subn(pattern, published, moved)
        if found:
            return renamed
    return moved


def read_config(path: Path, answers: Sequence[str], published: Mapping[str, Tensor]) -> ViLbertConfig:
    """Return the configuration in the authors' JSON file, completed by what only the weights tell.

    Whether there are task tokens and gates are options of the authors' command line, not of their JSON files.

    Args:
        path: for example `bert_base_6layer_6conect.json`.
        answers: the table of answers, in the order of `trainval_label2ans`.
        published: the weights it is for, as `read_published` gives them.

    Raises:
        InputError: if the file cannot be read, or an answer comes twice.
        ConfigError: if it asks for a model that is not supported.

    """
    try:
        fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        fields = dict(fields)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"Cannot read {str(path)!r} as a JSON object: {error}") from None
    twice = [answer for answer, count in Counter(answers).items() if count > 1]
    if twice:
        raise InputError(f"The table of answers holds {_some(twice)} more than once.")
    names = {name.removeprefix("module.") for name in published}
    fields |= {
        "task_specific_tokens": _TASK_TOKENS in names,
        "dynamic_attention": any(name.endswith(_GATES) for name in names),
        "id2label": dict(enumerate(answers)),
        "label2id": {answer: index for index, answer in enumerate(answers)},
    }
    fields.pop("num_labels", None)
    return ViLbertConfig(**fields)


def read_published(path: Path, *, allow_pickle: bool = False) -> dict[str, Tensor]:
    """Return the weights in a safetensors file or, if `allow_pickle`, in a `.bin` or `.pt` file of torch.

    A torch file is read by `torch.load(weights_only=True)`, which runs no code of the file.

    Raises:
        InputError: if the file is missing, broken or of another kind, or may not be read.

    """
    if not path.is_file():
        raise InputError(f"There is no file {str(path)!r}: give the published checkpoint, e.g. multi_task_model.bin.")
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        try:
            return dict(load_file(path))
        except Exception as error:  # safetensors raises a type of its own that it does not document
            raise InputError(f"Cannot read {str(path)!r} as safetensors: {error}") from None
    if not allow_pickle:
        raise InputError(
            f"{str(path)!r} is no safetensors file: a torch file is read only if you ask for it (allow_pickle=True)."
        )
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken archive raises many types
        raise InputError(f"Cannot read {str(path)!r} as a torch file of weights: {str(error)[:200]}") from None
    if not isinstance(weights, dict) or not all(isinstance(weight, Tensor) for weight in weights.values()):
        raise InputError(f"{str(path)!r} holds no table of weights by name.")
    return weights


def convert_state_dict(
    published: Mapping[str, Tensor], model: ViLbertForQuestionAnswering, *, fresh_head: bool = False
) -> dict[str, Tensor]:
    """Return the published weights under our names.

    Args:
        published: weights by their published names.
        model: the model they are for; it is not changed.
        fresh_head: leave the answer head out, whether the checkpoint has one or not.

    Raises:
        InputError: if there are weights that we do not know, weights of ours that are missing, or other shapes.

    """
    found = {name.removeprefix("module."): weight for name, weight in published.items()}
    wanted = {
        published_name(name): (name, weight.shape)
        for name, weight in model.state_dict().items()
        if not (fresh_head and name.startswith(_HEAD))
    }
    unread = [name for name in found if name not in wanted and not _is_dropped(name, model.config, fresh_head)]
    if unread:
        raise InputError(f"The checkpoint has weights that this ViLBERT has not: {_some(unread)}.")
    missing = [name for name in wanted if name not in found]
    if missing:
        head = any(name.startswith("vil_prediction.") for name in missing)
        hint = " For an untrained answer head, give --fresh-head." if head else ""
        raise InputError(f"The checkpoint lacks {_some(missing)}.{hint}")
    for name, (_, shape) in wanted.items():
        if found[name].shape != shape:
            raise InputError(
                f"{name!r} has the shape {tuple(found[name].shape)}, but the configuration and the answers ask for "
                f"{tuple(shape)}."
            )
    return {ours: found[name] for name, (ours, _) in wanted.items()}


def model_from_published(
    published: Mapping[str, Tensor], config: ViLbertConfig, *, fresh_head: bool = False
) -> ViLbertForQuestionAnswering:
    """Return the model with the published weights, in eval mode; `save_pretrained` then writes it as safetensors.

    Args:
        published: weights by their published names, as `read_published` gives them.
        config: their sizes and the table of answers, as `read_config` gives them.
        fresh_head: draw a new answer head (from torch's global generator), for a checkpoint without one or for
            other answers.

    Raises:
        InputError: as `convert_state_dict`.

    """
    model = ViLbertForQuestionAnswering(config)
    state = convert_state_dict(published, model, fresh_head=fresh_head)
    model.load_state_dict(state, strict=not fresh_head)
    model.eval()
    return model


def _is_dropped(name: str, config: ViLbertConfig, fresh_head: bool) -> bool:
    if _DROPPED.match(name):
        return True
    if fresh_head and name.startswith("vil_prediction."):
        return True
    return not config.with_coattention and _CONNECTOR.match(name) is not None


def _some(names: Iterable[str]) -> str:
    listed = [repr(name) for name in names]
    more = f" and {len(listed) - _NAMED_AT_MOST} more" if len(listed) > _NAMED_AT_MOST else ""
    return ", ".join(listed[:_NAMED_AT_MOST]) + more
