"""Gives the input channels of each convolution similar ranges, so that eight bits resolve them; outputs stay the same.

The effect is that of cross-layer equalisation and bias absorption (Nagel et al. 2019, "Data-free quantization through
weight equalization and bias correction", sections 4.1 and 4.2), but with measured ranges and at each convolution's
input: each channel is shifted and scaled before the convolution, and the convolution's weights undo it. Clips between
two layers are then no obstacle, and OpenVINO merges shift and scale into the rounding.

BlazePose needs this: batch-norm is folded into its weights, the channels of a layer differ in size by a factor of 10 to
100, and those of its residual stream have means that are large compared with their variation.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

LEAST_WIDTH = 1 / 256  # of the layer's widest channel: one that is constant in calibration may still vary a little
BALANCE = 0.5  # share of the unevenness that moves from the activations into weights that share a quantisation step


@dataclass(slots=True, eq=False)
class Spread:
    """Statistics of a tensor over all calibration crops."""

    least: np.ndarray  # (channels,)
    most: np.ndarray  # (channels,)
    total: np.ndarray  # (channels,) sum
    power: np.ndarray | None  # (channels, channels) sum of products, if a 1x1 convolution reads the tensor
    count: int  # pixels

    def rescaled(self, shift: np.ndarray, scale: np.ndarray) -> "Spread":
        """The statistics of (x - shift) / scale. shift, scale: (channels,)."""
        power = self.power
        if power is not None:
            crossed = np.outer(shift, self.total)
            power = (power - crossed - crossed.T + self.count * np.outer(shift, shift)) / np.outer(scale, scale)
        total = (self.total - self.count * shift) / scale
        return Spread((self.least - shift) / scale, (self.most - shift) / scale, total, power, self.count)


def plain(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which every tensor that does not depend on the input is an initialiser, including casts of weights."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    known, kept = constants(model), []
    for node in model.graph.node:
        if any(name and name not in known for name in node.input):
            kept.append(node)
            continue
        inputs = {name: known[name] for name in node.input if name}
        outputs: list[np.ndarray] = ReferenceEvaluator(node).run(None, inputs)  # type: ignore[assignment]
        known.update(zip(node.output, outputs, strict=True))
    replace(model, kept, known)
    return model


def constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """The initialisers by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def replace(model: onnx.ModelProto, nodes: list[onnx.NodeProto], values: Mapping[str, np.ndarray]) -> None:
    """Replaces a model's nodes, and its initialisers by those of `values` that the nodes read."""
    read = {name for node in nodes for name in node.input}
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in values.items() if name in read
    )


def convolutions(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    return (node for node in model.graph.node if node.op_type == "Conv")


def numbers(node: onnx.NodeProto, name: str, default: int) -> list[int]:
    """An attribute with one or several integers, as a list."""
    return next((list(found.ints) or [found.i] for found in node.attribute if found.name == name), [default])


def is_depthwise(node: onnx.NodeProto, weight: np.ndarray) -> bool:
    """Whether each output channel reads exactly one input channel."""
    return numbers(node, "group", 1) == [weight.shape[0]] and weight.shape[1] == 1


def equalise(
    model: onnx.ModelProto, seen: Mapping[str, Spread], names: Collection[str]
) -> tuple[onnx.ModelProto, dict[str, Spread]]:
    """The same network with equalised inputs of the named convolutions, and the new inputs' statistics by their names.

    model: the result of `plain`. seen: the statistics by tensor that `int8.observe` measures.
    """
    model = onnx.ModelProto.FromString(model.SerializeToString())
    values, nodes, after = constants(model), [], {}
    for node in model.graph.node:
        if node.op_type == "Conv" and node.name in names:
            nodes += before(node, seen[node.input[0]], values, after)
        nodes.append(node)
    replace(model, nodes, values)
    return model, after


def before(
    node: onnx.NodeProto, seen: Spread, values: dict[str, np.ndarray], after: dict[str, Spread]
) -> list[onnx.NodeProto]:
    """The nodes for shift and scale before a convolution. Its weight and bias are changed to undo them."""
    source, kernel, *bias = node.input
    weight = values[kernel]
    shift, scale = shift_and_scale(seen, weight, is_depthwise(node, weight), any(numbers(node, "pads", 0)))
    along = scale[:, None, None, None] if is_depthwise(node, weight) else scale[None, :, None, None]
    taken = weight.sum((2, 3), dtype=np.float64)
    offset = taken[:, 0] * shift if is_depthwise(node, weight) else taken @ shift
    own = f"{node.output[0]}."  # new names, because two convolutions may share a weight
    values[f"{own}weight"] = (weight * along).astype(np.float32)
    values[f"{own}bias"] = ((values[bias[0]] if bias else 0) + offset).astype(np.float32)
    values[f"{own}shift"] = shift.astype(np.float32)[None, :, None, None]
    values[f"{own}scale"] = (1 / scale).astype(np.float32)[None, :, None, None]
    after[f"{own}even"] = seen.rescaled(shift, scale)
    del node.input[:]
    node.input.extend([f"{own}even", f"{own}weight", f"{own}bias"])
    moved = [helper.make_node("Sub", [source, f"{own}shift"], [f"{own}moved"])] if shift.any() else []
    return [*moved, helper.make_node("Mul", [f"{own}moved" if moved else source, f"{own}scale"], [f"{own}even"])]


def shift_and_scale(seen: Spread, weight: np.ndarray, depthwise: bool, padded: bool) -> tuple[np.ndarray, np.ndarray]:
    """shift and scale, (channels,) each. A padded input is not shifted, because its padded zeros must stay zeros.

    A depthwise weight has one quantisation step per channel, so it can absorb all the unevenness. Where the weights of
    many channels share a step, each side takes the square root of it, as in the paper's equation 11.
    """
    shift = np.zeros(len(seen.least)) if padded else seen.least.astype(np.float64)
    width = np.maximum(seen.most - shift, shift - seen.least)
    width = np.maximum(width, max(LEAST_WIDTH * width.max(), 1e-6))
    if depthwise:
        return shift, width
    column = np.abs(weight).max((0, 2, 3)).astype(np.float64)
    column = np.maximum(column, max(LEAST_WIDTH * column.max(), 1e-12))
    scale = width ** (1 - BALANCE) / column**BALANCE
    return shift, scale * (width / scale).max()
