"""A TensorFlow.js graph of convolutions → ONNX, channels first inside, whole pictures in and out.

Pictures come as OpenCV has them, (1, height, width, 3) uint8 BGR, so the first weights' channels are exchanged where a
network takes RGB. All outputs have their channels last, (1, rows, columns, channels), so that one cell's numbers lie
side by side. The sizes that a graph states are not kept: its enlargements and reductions become factors.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from refit_rt.errors import UserError
from training.detector.graph_model import Graph, Node

OPSET, IR_VERSION = 17, 8
PICTURE = "picture"
TO_CHANNELS_FIRST, TO_CHANNELS_LAST = (0, 3, 1, 2), (0, 2, 3, 1)
CONVOLUTIONS = ("Conv2D", "_FusedConv2D", "DepthwiseConv2dNative", "FusedDepthwiseConv2dNative")
WITH_CONSTANT = {"Sub": "Sub", "Mul": "Mul", "AddV2": "Add", "Add": "Add"}
SIZES = ("Shape", "StridedSlice")  # what a resize computes its size from; its factor alone is used here


@dataclass(frozen=True, slots=True)
class Taken:
    """What the network's own input is: pixels 0..255 minus a mean, over a deviation, per channel in `order`."""

    order: Literal["RGB", "BGR"] = "RGB"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    deviation: tuple[float, float, float] = (1.0, 1.0, 1.0)


RGB = Taken()


def written(
    graph: Graph,
    outputs: Mapping[str, str],
    prefixes: tuple[str, ...] = (),
    taken: Taken = RGB,
    name: str = "detector",
) -> onnx.ModelProto:
    """The part of a graph that its outputs need. Sides of pictures must be multiples of 2 at each halving.

    outputs: the graph's node by the name of each ONNX output. prefixes: what the names of layers are shortened by.
    name: of the ONNX graph. Raises UserError for an operation that neither MoveNet nor NanoDet has.
    """
    writer = Writer(graph, prefixes, taken)
    for node in graph.needed(list(outputs.values())):
        writer.add(node)
    for output, source in outputs.items():
        writer.node("Transpose", [writer.tensors[source]], output, perm=TO_CHANNELS_LAST)
    shape = [1, "height", "width", 3]
    ends = [helper.make_tensor_value_info(one, TensorProto.FLOAT, [1, "rows", "columns", None]) for one in outputs]
    made = helper.make_graph(
        writer.nodes,
        name,
        [helper.make_tensor_value_info(PICTURE, TensorProto.UINT8, shape)],
        ends,
        [numpy_helper.from_array(np.ascontiguousarray(value), key) for key, value in writer.constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    return model


@dataclass
class Writer:
    """Writes node after node."""

    graph: Graph
    prefixes: tuple[str, ...]
    taken: Taken
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    tensors: dict[str, str] = field(default_factory=dict)  # ONNX tensor by the node of the graph that computes it
    blue_first: set[str] = field(default_factory=set)  # nodes whose channels are still blue, green and red
    padded: dict[str, list[int]] = field(default_factory=dict)  # rows and columns before and after, by the pad's node
    strides: dict[str, float] = field(default_factory=dict)  # input pixels per cell, by the node of the graph
    side: int = 0  # of the graph's own input, if it states one

    def add(self, node: Node) -> None:
        """Writes what one node of the graph does. Raises UserError."""
        sources = [self.strides[source] for source in node.inputs if source in self.strides]
        self.strides[node.name] = sources[0] if sources else 1.0
        if node.op == "Placeholder":
            self.picture(node)
        elif node.op in ("Cast", "Transpose"):  # all tensors have their channels first here
            self.same(node)
        elif node.op in ("Pad", "PadV2"):
            self.pad(node)
        elif node.op in CONVOLUTIONS:
            self.convolution(node)
        elif node.op == "MaxPool":
            self.largest(node)
        elif node.op == "LeakyRelu":
            slope = node.attributes["alpha"]["f"]
            source = self.tensors[node.inputs[0]]
            self.tensors[node.name] = self.node("LeakyRelu", [source], self.short(node.name), alpha=slope)
        elif node.op == "ConcatV2":
            sources = [self.tensors[source] for source in node.inputs[:-1]]
            self.tensors[node.name] = self.node("Concat", sources, self.short(node.name), axis=1)
        elif node.op == "Sigmoid":
            self.tensors[node.name] = self.node("Sigmoid", [self.tensors[node.inputs[0]]], self.short(node.name))
        elif node.op == "ResizeBilinear":
            self.resize(node)
        elif node.op in WITH_CONSTANT and node.inputs[0] in self.tensors:
            self.sum_or_product(node)
        elif node.op not in SIZES and not self.is_size(node):
            raise UserError(f"the graph's node {node.name} is a {node.op}, which no part of MoveNet or NanoDet is")

    def picture(self, node: Node) -> None:
        """Writes the input, as the network takes it."""
        sides = node.attributes.get("shape", {}).get("shape", {}).get("dim", [])
        self.side = int(sides[-1]["size"]) if sides else 0  # the network's pictures are square where it states a size
        tensor = self.node("Transpose", [PICTURE], f"{PICTURE}.first", perm=TO_CHANNELS_FIRST)
        tensor = self.node("Cast", [tensor], f"{PICTURE}.float", to=TensorProto.FLOAT)
        swap = -1 if self.taken.order == "RGB" else 1
        if any(self.taken.mean):
            mean = np.array(self.taken.mean[::swap], np.float32).reshape(1, 3, 1, 1)
            tensor = self.node("Sub", [tensor, self.constant("mean", mean)], f"{PICTURE}.centred")
        if self.taken.deviation != (1.0, 1.0, 1.0):
            unit = 1 / np.array(self.taken.deviation[::swap], np.float32).reshape(1, 3, 1, 1)
            tensor = self.node("Mul", [tensor, self.constant("unit", unit)], f"{PICTURE}.scaled")
        self.tensors[node.name] = tensor
        if self.taken.order == "RGB":
            self.blue_first.add(node.name)

    def node(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Adds a node that is named like its output."""
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants[name] = value
        return name

    def short(self, name: str) -> str:
        for prefix in self.prefixes:
            name = name.removeprefix(prefix)
        return name

    def same(self, node: Node) -> None:
        """Passes a node's input on."""
        self.tensors[node.name] = self.tensors[node.inputs[0]]
        if node.inputs[0] in self.padded:
            self.padded[node.name] = self.padded[node.inputs[0]]
        if node.inputs[0] in self.blue_first:
            self.blue_first.add(node.name)

    def pad(self, node: Node) -> None:
        """Passes a node's input on, and leaves its border to the convolution or the pool that reads it."""
        self.same(node)
        by_axis = self.graph.weights[node.inputs[1]]
        rows, columns = by_axis[by_axis.any(1)]  # none in the batch and in the channels, whichever axis they are
        self.padded[node.name] = [int(number) for number in (rows[0], columns[0], rows[1], columns[1])]

    def largest(self, node: Node) -> None:
        """A maximum over neighbours; its border never wins."""
        source, kernel, strides = node.inputs[0], node.numbers("ksize")[1:3], node.numbers("strides")[1:3]
        border = self.padded.get(source) or pads(tuple(kernel), strides, node.text("padding"))
        self.strides[node.name] *= strides[0]
        self.tensors[node.name] = self.node(
            "MaxPool",
            [self.tensors[source]],
            self.short(node.name),
            kernel_shape=kernel,
            strides=strides,
            pads=border,
        )

    def is_size(self, node: Node) -> bool:
        """Whether a node computes the size of a resize."""
        return node.op == "Mul" and self.graph.nodes[node.inputs[0]].op in SIZES

    def sum_or_product(self, node: Node) -> None:
        """Two tensors, or a tensor and a constant with one number or one per channel."""
        one, other = node.inputs
        name = self.short(node.name)
        if other in self.tensors:
            inputs = [self.tensors[one], self.tensors[other]]
        elif (read := self.made(one)) and read.op_type == "Conv" and len(read.input) == 2:
            read.input.append(self.constant(self.short(other), self.graph.weights[other].ravel()))
            return self.same(node)
        else:
            value = self.graph.weights[other].reshape(1, -1, 1, 1)
            if node.op != "Mul" and not value.any():
                return self.same(node)
            if one in self.blue_first:
                self.blue_first.add(node.name)
                value = value[:, ::-1]
            inputs = [self.tensors[one], self.constant(self.short(other), value)]
        self.tensors[node.name] = self.node(WITH_CONSTANT[node.op], inputs, name)

    def made(self, name: str) -> onnx.NodeProto | None:
        """The node that computes the tensor of a node of the graph, if there is one."""
        return next((one for one in reversed(self.nodes) if one.output[0] == self.tensors[name]), None)

    def resize(self, node: Node) -> None:
        """A bilinear enlargement or reduction by a fixed factor, whatever the size of its input."""
        source, size = node.inputs
        if not node.flag("half_pixel_centers") or node.flag("align_corners"):
            raise UserError(f"the graph's resize {node.name} does not align the centres of pixels")
        if size in self.graph.weights:  # of a map of a picture of the graph's own size
            rows, columns = self.graph.weights[size] * self.strides[source] / self.side
        else:
            rows, columns = self.graph.weights[self.graph.nodes[size].inputs[1]]
        self.strides[node.name] = self.strides[source] / rows
        name = self.short(node.name)
        scales = self.constant(f"{name}.scales", np.array([1, 1, rows, columns], np.float32))
        self.tensors[node.name] = self.node(
            "Resize",
            [self.tensors[source], "", scales],
            name,
            mode="linear",
            coordinate_transformation_mode="half_pixel",
        )

    def convolution(self, node: Node) -> None:
        """A convolution, and what is fused to it: a bias and a clip."""
        source, kernel, *bias = node.inputs
        weight = self.graph.weights[kernel]  # (k, k, in, out), or (k, k, in, 1) in a depthwise convolution
        depthwise = "Depthwise" in node.op
        if depthwise and weight.shape[3] != 1:
            raise UserError(f"the graph's node {node.name} has {weight.shape[3]} kernels per channel, not one")
        weight = weight.transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))
        if source in self.blue_first:
            weight = weight[:, ::-1]
        name, fused = self.short(node.name), node.texts("fused_ops")
        clip = fused[-1] if fused and fused[-1] != "BiasAdd" else ""
        inputs = [self.tensors[source], self.constant(self.short(kernel), weight)]
        inputs += [self.constant(self.short(one), self.graph.weights[one]) for one in bias]
        strides = node.numbers("strides")[1:3]
        self.strides[node.name] *= strides[0]
        border = self.padded.get(source) or pads(weight.shape[2:], strides, node.text("padding"))
        out = self.node(
            "Conv",
            inputs,
            f"{name}.sum" if clip else name,
            strides=strides,
            group=len(weight) if depthwise else 1,
            kernel_shape=weight.shape[2:],
            pads=border,
        )
        if clip == "Relu":
            out = self.node("Relu", [out], name)
        elif clip == "Relu6":
            low, high = (
                self.constant("relu6.low", np.array(0, np.float32)),
                self.constant("relu6.high", np.array(6, np.float32)),
            )
            out = self.node("Clip", [out, low, high], name)
        elif clip:
            raise UserError(f"the graph's node {node.name} ends in {clip}, which no part of MoveNet or NanoDet does")
        self.tensors[node.name] = out


def pads(kernel: tuple[int, ...], strides: list[int], padding: str) -> list[int]:
    """TensorFlow's padding for sides that are multiples of the stride: rows and columns before, then after."""
    whole = [side - stride if padding == "SAME" else 0 for side, stride in zip(kernel, strides, strict=True)]
    whole = [max(number, 0) for number in whole]
    return [number // 2 for number in whole] + [number - number // 2 for number in whole]
