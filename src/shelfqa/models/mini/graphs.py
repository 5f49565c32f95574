"""`mini` as two ONNX graphs beside its weights: one reads pictures, one answers questions about a picture.

    pixels [n, side, side, 3] uint8 --picture.onnx--> keys, values, lengths --+
                                                                              v
    input_ids, attention_mask [q, t] ----------------------------------question.onnx--> logits, attention

Shapes: n pictures, q questions, t tokens, k query vectors, l fusion layers, h heads, e = d / h, p cells of a picture.
The graphs follow `vision.py`, `modeling.py` and `language.py` operation by operation and point at the numbers in
`model.safetensors`; `tests/models/test_mini_runtime.py` holds both against torch. Needs the package `onnx`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from shelfqa.models.mini.graph_nodes import GraphNodes, Value
from shelfqa.models.mini.runtime import LAYOUT, PICTURE_GRAPH, QUESTION_GRAPH
from shelfqa.models.mini.vision import (
    _BN_EPSILON,
    _PIXEL_MEAN,
    _PIXEL_SCALE,
    COLOUR_LEVELS,
    DETAIL_STAGE,
    MIDDLE_STAGE,
    Stage,
)
from shelfqa.models.mini.weights_file import Place, fingerprint, read_config, read_places

_CELL_PX = 32
_NEVER = 1e9
"""Taken off the score of padding: its share of a softmax in float32 is 0."""


def export_graphs(folder: Path) -> list[Path]:
    """Write both graphs beside the weights of the checkpoint in `folder`; return their files.

    Raises:
        InputError: if `folder` holds no checkpoint of `mini`.

    """
    config, places = read_config(folder), read_places(folder)
    facts = {LAYOUT: fingerprint(folder, config)}
    models = {
        PICTURE_GRAPH: _PictureGraph(config, places).model("picture", facts),
        QUESTION_GRAPH: _QuestionGraph(config, places).model("question", facts),
    }
    for name, model in models.items():
        onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
        (folder / name).write_bytes(model.SerializeToString(deterministic=True))
    return [folder / name for name in models]


class _Graph(GraphNodes):
    """What both graphs know of the model's sizes."""

    def __init__(self, config: Mapping[str, Any], places: Mapping[str, Place]) -> None:
        super().__init__(places)
        self.side: int = config["image_side_px"]
        self.cells = (self.side // _CELL_PX) ** 2
        self.wide: int = config["hidden_size"]
        self.heads: int = config["num_attention_heads"]
        self.each = self.wide // self.heads
        self.queries: int = config["query_vectors"]
        self.text_layers = [f"language.text.{index}" for index in range(config["text_layers"])]
        self.fusion_layers = [f"language.fusion.{index}" for index in range(config["fusion_layers"])]
        self.epsilon: float = config["layer_norm_eps"]
        self.answers = places["answer_head.bias"].shape[0]
        self.key_dims = (len(self.fusion_layers), self.heads, self.each, self.cells)
        self.value_dims = (len(self.fusion_layers), self.heads, self.cells, self.each)
        self.length_dims = (len(self.fusion_layers), self.heads, self.cells)

    def norm(self, x: Value, name: str) -> Value:
        """Normalise by the torch layer `name`."""
        return self.layer_norm(x, name, self.epsilon)


class _PictureGraph(_Graph):
    """The vision tower, the connector, and what the fusion layers keep of a picture."""

    def __init__(self, config: Mapping[str, Any], places: Mapping[str, Place]) -> None:
        super().__init__(config, places)
        pixels = self.input("pixels", TensorProto.UINT8, ["n", self.side, self.side, 3])
        levels = self.op("Transpose", self.floats(pixels), perm=[0, 3, 1, 2])
        cells = self._connect(self._tower(levels, [Stage(*stage) for stage in config["vision_stages"]]))
        kept = zip(*(self._kept(cells, layer) for layer in self.fusion_layers), strict=True)
        dims = {"keys": self.key_dims, "values": self.value_dims, "lengths": self.length_dims}
        for (name, shape), parts in zip(dims.items(), kept, strict=True):
            joined = [self.op("Unsqueeze", part, self.constant([1])) for part in parts]
            self.output(name, self.op("Concat", *joined, axis=1), ["n", *shape])

    def _tower(self, levels: Value, stages: list[Stage]) -> Value:
        pixels = self.op("Div", self.op("Sub", levels, self.constant(_PIXEL_MEAN)), self.constant(_PIXEL_SCALE))
        x, side = self._conv_norm(pixels, "vision_tower.stem", self.side, stride=2), -(-self.side // 2)
        detail = middle = x
        for number, stage in enumerate(stages):
            for repeat in range(stage.repeats):
                stride = stage.stride if repeat == 0 else 1
                x = self._block(x, f"vision_tower.stages.{number}.{repeat}", side, stride, stage.expansion)
                side = -(-side // stride)
            detail = x if number == DETAIL_STAGE else detail
            middle = x if number == MIDDLE_STAGE else middle
        parts = [self._conv_norm(x, "vision_tower.head", side)]
        parts += [*self._mean_and_deviation(detail, 4), *self._colour(levels)]
        top, *shallow = (self._by_cell(part) for part in parts)
        return self.op("Concat", top, self._four_by_cell(middle, 2 * side), *shallow, axis=2)

    def _block(self, x: Value, name: str, side: int, stride: int, expansion: int) -> Value:
        y = self._conv_norm(x, f"{name}.expand", side) if expansion > 1 else x
        y = self._conv_norm(y, f"{name}.depthwise", side, stride=stride, by_channel=True)
        y = self._conv_norm(y, f"{name}.project", -(-side // stride), activate=False)
        shapes = [self._places[f"{name}.{part}.conv.weight"].shape for part in ("depthwise", "project")]
        same = stride == 1 and shapes[0][0] == shapes[1][0] * expansion
        return self.op("Add", x, y) if same else y

    def _conv_norm(
        self, x: Value, name: str, side: int, *, stride: int = 1, by_channel: bool = False, activate: bool = True
    ) -> Value:
        """Convolution, batch norm, ReLU6, with TensorFlow's padding: what is odd goes right and bottom."""
        out, _, kernel, _ = self._places[f"{name}.conv.weight"].shape
        total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        x = self.op(
            "Conv", x, self.weight(f"{name}.conv.weight"), kernel_shape=[kernel] * 2, strides=[stride] * 2,
            pads=[total // 2] * 2 + [total - total // 2] * 2, group=out if by_channel else 1,
        )  # fmt: skip
        numbers = [self.weight(f"{name}.norm.{part}") for part in ("weight", "bias", "running_mean", "running_var")]
        x = self.op("BatchNormalization", x, *numbers, epsilon=_BN_EPSILON)
        return self.op("Clip", x, self.constant(0.0), self.constant(6.0)) if activate else x

    def _pool(self, x: Value, cell: int) -> Value:
        return self.op("AveragePool", x, kernel_shape=[cell] * 2, strides=[cell] * 2)

    def _mean_and_deviation(self, x: Value, cell: int) -> tuple[Value, Value]:
        mean = self._pool(x, cell)
        variance = self.op("Sub", self._pool(self.op("Mul", x, x), cell), self.op("Mul", mean, mean))
        return mean, self.op("Sqrt", self.op("Add", self.op("Relu", variance), self.constant(1e-6)))

    def _colour(self, levels: Value) -> tuple[Value, Value, Value]:
        """Soft RGB histogram (square-rooted), mean and deviation of each cell, of levels 0 to 255."""
        rgb = self.op("Div", levels, self.constant(255.0))
        small = self.op("Mul", self._pool(rgb, 2), self.constant(float(COLOUR_LEVELS - 1)))
        lattice: Value | None = None
        for channel in (2, 1, 0):  # [n, 1, h, w] against each level
            plane = self.op("Gather", small, self.constant([channel]), axis=1)
            steps = self.constant(np.arange(COLOUR_LEVELS, dtype=np.float32).reshape(1, -1, 1, 1))
            far = self.op("Abs", self.op("Sub", plane, steps))
            near = self.op("Relu", self.op("Sub", self.constant(1.0), far))
            if lattice is None:
                lattice = near
                continue
            pairs = self.op(
                "Mul", self.op("Unsqueeze", near, self.constant([2])), self.op("Unsqueeze", lattice, self.constant([1]))
            )
            lattice = self.reshape(pairs, 0, -1, self.side // 2, self.side // 2)
        assert lattice is not None
        return self.op("Sqrt", self._pool(lattice, _CELL_PX // 2)), *self._mean_and_deviation(rgb, _CELL_PX)

    def _by_cell(self, x: Value) -> Value:
        """[n, channels, rows, columns] -> [n, p, channels]."""
        return self.op("Transpose", self.reshape(x, 0, 0, -1), perm=[0, 2, 1])

    def _four_by_cell(self, x: Value, side: int) -> Value:
        """[n, channels, 2 rows, 2 columns] -> [n, p, channels * 4]."""
        blocks = self.reshape(x, 0, -1, side // 2, 2, side // 2, 2)
        return self.reshape(self.op("Transpose", blocks, perm=[0, 2, 4, 1, 3, 5]), 0, self.cells, -1)

    def _connect(self, features: Value) -> Value:
        """[n, p, channels] -> [n * p, d]."""
        mean, scale = self.weight("connector.feature_mean"), self.weight("connector.feature_scale")
        standard = self.op("Mul", self.op("Sub", features, mean), scale)
        (channels,) = self._places["connector.feature_mean"].shape
        projected = self.op("Gelu", self.linear(self.reshape(standard, -1, channels), "connector.project"))
        placed = self.op("Add", self.reshape(projected, -1, self.cells, self.wide), self.weight("connector.places"))
        return self.reshape(self.norm(placed, "connector.norm"), -1, self.wide)

    def _kept(self, cells: Value, layer: str) -> tuple[Value, Value, Value]:
        """Return keys [n, h, e, p], values [n, h, p, e], and how long what each cell sends would be, [n, h, p]."""
        name = f"{layer}.picture_attention"
        keys, values = (
            self.reshape(self.linear(cells, f"{name}.{part}"), -1, self.cells, self.heads, self.each)
            for part in ("key", "value")
        )
        values = self.op("Transpose", values, perm=[0, 2, 1, 3])
        output = self.reshape(self.weight(f"{name}.output.weight"), self.wide, self.heads, self.each)
        sent = self.op("MatMul", values, self.op("Transpose", output, perm=[1, 2, 0]))
        lengths = self.op("ReduceL2", sent, self.constant([-1]), keepdims=0)
        return self.op("Transpose", keys, perm=[0, 2, 3, 1]), values, lengths


class _QuestionGraph(_Graph):
    """Text layers, fusion layers, pooler and answer head, for questions about one picture."""

    def __init__(self, config: Mapping[str, Any], places: Mapping[str, Place]) -> None:
        super().__init__(config, places)
        ids = self.input("input_ids", TensorProto.INT64, ["q", "t"])
        mask = self.input("attention_mask", TensorProto.INT64, ["q", "t"])
        keys = self.input("keys", TensorProto.FLOAT, self.key_dims)
        values = self.input("values", TensorProto.FLOAT, self.value_dims)
        lengths = self.input("lengths", TensorProto.FLOAT, self.length_dims)
        absent = self.op("Sub", self.constant(1.0), self.floats(mask))
        absent = self.op("Mul", absent, self.constant(-_NEVER))
        self._mask = self.op("Unsqueeze", absent, self.constant([1, 2]))
        self._questions_and_tokens = self.op("Shape", ids)
        words = self._read(ids)
        self.output("logits", self._look(words, keys, values, lengths), ["q", self.answers])

    def _read(self, ids: Value) -> Value:
        """[q, t] -> words that have read each other, [q * t, d]."""
        tokens = self.op("Gather", self._questions_and_tokens, self.constant([1]))
        places = self.op("Slice", self.stored("language.embeddings.places.weight"), self.constant([0]), tokens)
        words = self.floats(self.op("Gather", self.stored("language.embeddings.words.weight"), ids))
        x = self.norm(self.op("Add", words, self.floats(places)), "language.embeddings.norm")
        x = self.reshape(x, -1, self.wide)
        for layer in self.text_layers:
            x = self._transform(self._attend(x, x, layer, asking=self._split(self._questions_and_tokens)), layer)
        return x

    def _split(self, dims: Value) -> Value:
        """Return the shape [*dims, h, e]."""
        return self.op("Concat", dims, self.constant([self.heads, self.each]), axis=0)

    def _attend(self, x: Value, words: Value, layer: str, *, asking: Value) -> Value:
        """Let x [rows, d], which is `asking` as [q, rows / q, h, e], read the words of its question."""
        name = f"{layer}.attention"
        read = self._split(self._questions_and_tokens)
        query, key, value = (
            self.op("Transpose", self.op("Reshape", self.linear(source, f"{name}.{part}"), dims), perm=perm)
            for source, part, dims, perm in (
                (x, "query", asking, [0, 2, 1, 3]),
                (words, "key", read, [0, 2, 3, 1]),
                (words, "value", read, [0, 2, 1, 3]),
            )
        )
        scores = self.op("Mul", self.op("MatMul", query, key), self.constant(1 / math.sqrt(self.each)))
        shares = self.op("Softmax", self.op("Add", scores, self._mask), axis=-1)
        mixed = self.op("Transpose", self.op("MatMul", shares, value), perm=[0, 2, 1, 3])
        out = self.linear(self.reshape(mixed, -1, self.wide), f"{name}.output")
        return self.norm(self.op("Add", x, out), f"{layer}.attention_norm")

    def _transform(self, x: Value, layer: str) -> Value:
        inside = self.op("Gelu", self.linear(x, f"{layer}.feed_forward.expand"))
        x = self.op("Add", x, self.linear(inside, f"{layer}.feed_forward.contract"))
        return self.norm(x, f"{layer}.feed_forward_norm")

    def _look(self, words: Value, keys: Value, values: Value, lengths: Value) -> Value:
        """Return logits [q, answers]; add the output `attention`."""
        sentences = self.op(
            "Reshape", words, self.op("Concat", self._questions_and_tokens, self.constant([-1]), axis=0)
        )
        first = self.op("Gather", sentences, self.constant([0]), axis=1)
        x = self.reshape(self.op("Add", first, self.weight("language.queries")), -1, self.wide)
        asking = self.constant([-1, self.queries, self.heads, self.each])
        sums: list[Value] = []
        for number, layer in enumerate(self.fusion_layers):
            x = self._attend(x, words, layer, asking=asking)
            place = self.constant(np.array(number))
            own = [self.op("Gather", kept, place, axis=0) for kept in (keys, values, lengths)]
            x, seen = self._see(x, f"{layer}.picture_attention", f"{layer}.picture_norm", *own)
            x = self._transform(x, layer)
            sums.append(seen)
        total = self.op("Sum", *sums)  # [k * q, p]
        total = self.op("ReduceSum", self.reshape(total, -1, self.queries, self.cells), self.constant([1]), keepdims=0)
        whole = self.op("ReduceSum", total, self.constant([-1]), keepdims=1)
        self.output("attention", self.op("Div", total, whole), ["q", self.cells])
        pooled = self.op("Gelu", self.linear(self.reshape(x, -1, self.queries * self.wide), "language.pooler"))
        return self.linear(self.norm(pooled, "language.pooler_norm"), "answer_head")

    def _see(self, x: Value, name: str, norm: str, keys: Value, values: Value, lengths: Value) -> tuple[Value, Value]:
        """Let query vectors [q * k, d] look at the picture; return them, and what they took of each cell [q * k, p].

        What is taken of a cell is what `language.Attention.taken` says; the lengths come with the picture (`_kept`).
        """
        query = self.reshape(self.linear(self.norm(x, norm), f"{name}.query"), -1, self.heads, self.each)
        query = self.op("Transpose", query, perm=[1, 0, 2])
        scores = self.op("Mul", self.op("MatMul", query, keys), self.constant(1 / math.sqrt(self.each)))
        shares = self.op("Softmax", scores, axis=-1)  # [h, q * k, p]
        taken = self.op("Mul", shares, self.op("Unsqueeze", lengths, self.constant([1])))
        taken = self.op("ReduceSum", taken, self.constant([0]), keepdims=0)
        mixed = self.op("Transpose", self.op("MatMul", shares, values), perm=[1, 0, 2])
        seen = self.linear(self.reshape(mixed, -1, self.wide), f"{name}.output")
        return self.op("Add", x, seen), taken
