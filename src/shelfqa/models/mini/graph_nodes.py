"""Writing an ONNX graph node by node; the weights stay where they are, in a safetensors file.

Needs the package `onnx`, which only those who export graphs have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from shelfqa.models.mini.weights_file import WEIGHTS_FILE, Place

OPSET = 20
"""The first with Gelu; ONNX Runtime reads it from 1.17 on."""
_IR_VERSION = 9
_TYPES = {"F16": TensorProto.FLOAT16, "BF16": TensorProto.BFLOAT16, "F32": TensorProto.FLOAT}

Value = str
"""A value of the graph, by its name."""
Dims = Sequence[int | str]


class GraphNodes:
    """A graph under construction; every method adds nodes and returns the name of their result."""

    def __init__(self, places: Mapping[str, Place]) -> None:
        """Build on the weights at `places`."""
        self._places = places
        self._nodes: list[onnx.NodeProto] = []
        self._stored: dict[str, onnx.TensorProto] = {}
        self._cast: dict[str, Value] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, kind: int, dims: Dims) -> Value:
        """Declare an input; a dimension that may vary has a name."""
        self._inputs.append(helper.make_tensor_value_info(name, kind, dims))
        return name

    def output(self, name: str, value: Value, dims: Dims) -> None:
        """Declare an output of floats."""
        self._nodes.append(helper.make_node("Identity", [value], [name], name=name))
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims))

    def op(self, kind: str, *inputs: Value, **attributes: Any) -> Value:
        """Add a node with one result."""
        name = f"{kind}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def constant(self, value: NDArray[Any] | Sequence[int] | float) -> Value:
        """Store a small constant: whole numbers as int64, others as float32; equal ones once."""
        array = np.asarray(value)
        array = array.astype(np.int64 if np.issubdtype(array.dtype, np.integer) else np.float32)
        name = f"{array.dtype}_{'x'.join(map(str, array.shape))}_{'_'.join(map(str, array.ravel().tolist()))}"
        self._stored.setdefault(name, numpy_helper.from_array(array, name))
        return name

    def stored(self, name: str) -> Value:
        """Point at a weight, in the type that it is stored in."""
        if name not in self._stored:
            place = self._places[name]
            tensor = TensorProto(
                name=name, data_type=_TYPES[place.dtype], dims=place.shape, data_location=TensorProto.EXTERNAL
            )
            for key, value in {"location": WEIGHTS_FILE, "offset": place.offset, "length": place.length}.items():
                tensor.external_data.add(key=key, value=str(value))
            self._stored[name] = tensor
        return name

    def floats(self, value: Value) -> Value:
        """Make float32 of a value."""
        return self.op("Cast", value, to=TensorProto.FLOAT)

    def weight(self, name: str) -> Value:
        """Point at a weight, made float32; ONNX Runtime does that once, when it loads the graph."""
        if name not in self._cast:
            self._cast[name] = self.floats(self.stored(name))
        return self._cast[name]

    def linear(self, x: Value, name: str) -> Value:
        """Map [rows, in] to [rows, out] by the torch layer `name`."""
        return self.op("Gemm", x, self.weight(f"{name}.weight"), self.weight(f"{name}.bias"), transB=1)

    def layer_norm(self, x: Value, name: str, epsilon: float) -> Value:
        """Normalise over the last dimension by the torch layer `name`."""
        scale, bias = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        return self.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=epsilon)

    def reshape(self, x: Value, *dims: int) -> Value:
        """Give another shape; 0 keeps a dimension, one may be -1."""
        return self.op("Reshape", x, self.constant(dims))

    def model(self, name: str, facts: Mapping[str, str]) -> onnx.ModelProto:
        """Return the graph, with `facts` as its metadata."""
        graph = helper.make_graph(self._nodes, name, self._inputs, self._outputs, list(self._stored.values()))
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=_IR_VERSION, producer_name="shelfqa"
        )
        helper.set_model_props(model, dict(facts))
        return model
