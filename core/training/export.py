"""The exported model: an ONNX graph written straight from the tuple of layers and the weights.

Raw pixels go in as they are in an image file, gray or coloured; what makes them gray, scaling and softmax are in the
graph, so that whoever serves the model can do none of them differently. The classic operators of opset 13 are read by
every runtime of the last years.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, assert_never

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.capi import onnxruntime_pybind11_state as runtime_errors

from core.domain.exports import FEATURE_MAPS, INPUT, LOGITS, PROBABILITIES, ModelMetadata
from core.domain.layers import (
    LEAKY_SLOPE,
    NORM_EPSILON,
    TANH_HEIGHT,
    TANH_SLOPE,
    Activation,
    BatchNorm,
    Convolution,
    Dense,
    Dropout,
    Flatten,
    GlobalPool,
    Layer,
    Pool,
    RadialBasis,
    Scaling,
    Shape,
    Subsampling,
    input_shapes,
)

_OPSET = 13
_IR_VERSION = 8
# What red, green and blue count where Pillow makes an image gray (ITU-R BT.601), in shares of 2 to the 16th: 1 in all.
_GRAY_WEIGHTS = np.array([19_595, 38_470, 7_471]) / 2**16
# The runtime's errors have no base of their own.
_RUNTIME_ERRORS = (
    runtime_errors.Fail,
    runtime_errors.InvalidArgument,
    runtime_errors.InvalidGraph,
    runtime_errors.InvalidProtobuf,
    runtime_errors.NotImplemented,
    runtime_errors.RuntimeException,
)

Arrays = Mapping[str, npt.NDArray[Any]]


def export_model(network: Sequence[Layer], weights: Arrays, metadata: ModelMetadata, *, channels: int) -> bytes:
    """Return the ONNX file of ``network``.

    It takes ``image``, uint8 ``(batch, height, width, channels)``, with 1 channel (gray) or 3 (red, green, blue),
    whichever the network takes, and gives ``logits`` and ``probabilities``, both ``(batch, classes)``, and
    ``feature_maps_1``, … ``(batch, filters, height, width)``: what each convolution sees, after its activation.

    Args:
        network: The layers.
        weights: The net's ``state_dict`` as arrays.
        metadata: Written into the file.
        channels: What the network takes, 1 or 3.
    """
    size = metadata.image_size
    graph = _Graph(weights)
    value = graph.add("Transpose", [graph.add("Cast", [INPUT], to=TensorProto.FLOAT)], perm=[0, 3, 1, 2])
    if channels == 1:
        value = graph.add_gray(value)
    outputs: list[tuple[str, Shape]] = []
    shapes = input_shapes(network, (channels, size, size))
    sees = False
    for place, layer in enumerate(network):
        value = graph.add_layer(layer, value)
        sees = isinstance(layer, Convolution) or (sees and isinstance(layer, BatchNorm | Activation))
        if sees and isinstance(layer, Activation):
            outputs.append((graph.name_output(value, f"{FEATURE_MAPS}{len(outputs) + 1}"), shapes[place + 1]))
            value = outputs[-1][0]
    logits = graph.name_output(value, LOGITS)
    shares = graph.name_output(graph.add("Softmax", [logits], axis=1), PROBABILITIES)
    outputs = [(logits, shapes[-1]), (shares, shapes[-1]), *outputs]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "lenet",
            [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["batch", size, size, "channels"])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape]) for name, shape in outputs],
            graph.initializers,
        ),
        producer_name="lenet-platform",
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
    )
    helper.set_model_props(model, metadata.properties())
    onnx.checker.check_model(model, full_check=True)
    written: bytes = model.SerializeToString()
    return written


def run_exported(path: Path, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return the logits that the exported model gives for ``pixels`` ``(images, height, width, channels)``.

    Raises:
        ValueError: The file is no model that the runtime can load and run.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        (logits,) = session.run([LOGITS], {INPUT: pixels})
    except _RUNTIME_ERRORS as error:
        raise ValueError("The runtime cannot use the model.") from error
    answers: npt.NDArray[np.float32] = logits
    return answers


class _Graph:
    """Nodes and constants in the order in which they were added."""

    def __init__(self, weights: Arrays) -> None:
        self._weights = weights
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def add(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add a node and return the name of its result."""
        name = f"value{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def name_output(self, value: str, name: str) -> str:
        """Give the newest node's result a name of its own."""
        assert self.nodes[-1].output[0] == value
        self.nodes[-1].output[0] = name
        return name

    def constant(self, name: str, array: npt.ArrayLike, kind: type[np.generic] = np.float32) -> str:
        """Add a constant unless it is there."""
        if all(known.name != name for known in self.initializers):
            self.initializers.append(numpy_helper.from_array(np.asarray(array, kind), name))
        return name

    def weight(self, *names: str) -> list[str]:
        """Add weights by their names in the ``state_dict``; those that the net does not have are left out."""
        return [self.constant(name, self._weights[name]) for name in names if name in self._weights]

    def add_gray(self, value: str) -> str:
        """Add what makes pixels gray as Pillow does, to the last bit: 24 bits hold every sum, so none is rounded.

        Pixels that are gray are multiplied by all three weights, which leaves them as they are.
        """
        weighed = self.add("Mul", [value, self.constant("gray_weights", _GRAY_WEIGHTS.reshape(3, 1, 1))])
        summed = self.add("ReduceSum", [weighed, self.constant("channel_axis", [1], np.int64)], keepdims=1)
        return self.add("Floor", [self.add("Add", [summed, self.constant("half", 0.5)])])

    def add_layer(self, layer: Layer, value: str) -> str:  # noqa: C901, PLR0911 - one for each kind of layer
        """Add a layer that takes ``value``; return the name of what it gives."""
        name = layer.name
        match layer:
            case Scaling():
                # Its three scales, where a network takes colours, make three channels of a gray one too.
                (scale, shift) = self.weight(f"{name}.scale", f"{name}.shift")
                return self.add("Add", [self.add("Mul", [value, scale]), shift])
            case Convolution():
                filters = self.constant(f"{name}.weight", _spread(layer, self._weights[f"{name}.weight"]))
                weights = [filters, *self.weight(f"{name}.bias")]
                return self.add("Conv", [value, *weights], pads=[layer.padding] * 4)
            case BatchNorm():
                parts = ("weight", "bias", "running_mean", "running_var")
                weights = self.weight(*(f"{name}.{part}" for part in parts))
                return self.add("BatchNormalization", [value, *weights], epsilon=NORM_EPSILON)
            case Activation():
                return self._add_activation(layer, value)
            case Pool():
                operator = "MaxPool" if layer.method == "max" else "AveragePool"
                return self.add(operator, [value], kernel_shape=[layer.size] * 2, strides=[layer.size] * 2)
            case Subsampling():
                return self._add_subsampling(layer, value)
            case GlobalPool():
                return self.add("GlobalMaxPool" if layer.method == "max" else "GlobalAveragePool", [value])
            case Flatten():
                return self.add("Flatten", [value])
            case Dense():
                return self.add("Gemm", [value, *self.weight(f"{name}.weight", f"{name}.bias")], transB=1)
            case Dropout():
                return value
            case RadialBasis():
                return self._add_distances(layer, value)
            case _:
                assert_never(layer)

    def _add_activation(self, layer: Activation, value: str) -> str:  # noqa: PLR0911 - one for each function
        match layer.function:
            case "relu":
                return self.add("Relu", [value])
            case "tanh":
                return self.add("Tanh", [value])
            case "sigmoid":
                return self.add("Sigmoid", [value])
            case "leaky_relu":
                return self.add("LeakyRelu", [value], alpha=LEAKY_SLOPE)
            case "silu":
                return self.add("Mul", [value, self.add("Sigmoid", [value])])
            case "gelu":
                return self._add_gelu(value)
            case "scaled_tanh":
                height, slope = self.constant("height", TANH_HEIGHT), self.constant("slope", TANH_SLOPE)
                return self.add("Mul", [self.add("Tanh", [self.add("Mul", [value, slope])]), height])
            case _:
                assert_never(layer.function)

    def _add_subsampling(self, layer: Subsampling, value: str) -> str:
        name, sides = layer.name, [layer.size] * 2
        weight, bias = (self._weights[f"{name}.{part}"].reshape(-1, 1, 1) for part in ("weight", "bias"))
        means = self.add("AveragePool", [value], kernel_shape=sides, strides=sides)
        scaled = self.add("Mul", [means, self.constant(f"{name}.weight", layer.size**2 * weight)])
        return self.add("Add", [scaled, self.constant(f"{name}.bias", bias)])

    def _add_distances(self, layer: RadialBasis, value: str) -> str:
        """Add ``-(x - w)²`` as ``2xw - w² - x²``: one matrix product for all classes."""
        codes = self._weights[f"{layer.name}.codes"]
        doubled = self.constant(f"{layer.name}.codes", 2 * codes)
        squares = self.constant(f"{layer.name}.squares", -np.square(codes).sum(axis=1))
        products = self.add("Gemm", [value, doubled, squares], transB=1)
        return self.add("Sub", [products, self.add("ReduceSumSquare", [value], axes=[1], keepdims=1)])

    def _add_gelu(self, value: str) -> str:
        """Add ``x · Φ(x)``, with the error function: this opset has no operator of that name."""
        root, one, half = self.constant("root2", math.sqrt(2)), self.constant("one", 1), self.constant("half", 0.5)
        normal = self.add("Add", [self.add("Erf", [self.add("Div", [value, root])]), one])
        return self.add("Mul", [self.add("Mul", [value, half]), normal])


def _spread(layer: Convolution, weights: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the filters ``(filters, maps, kernel, kernel)``, with zeros where a filter does not see a map."""
    if layer.connections is None:
        return weights
    maps = 1 + max(max(seen) for seen in layer.connections)
    spread = np.zeros((layer.filters, maps, *weights.shape[1:]), weights.dtype)
    places = [(number, seen) for number, all_seen in enumerate(layer.connections) for seen in all_seen]
    spread[tuple(np.transpose(places))] = weights
    return spread
