"""Converts a network's convolutions to int8, with ranges measured on pictures and weights rounded for those inputs."""

from collections.abc import Collection, Iterable, Mapping

import numpy as np
import onnx
from onnx import helper

from refit_rt.bundle.equalise import Spread, constants, convolutions, equalise, is_depthwise, numbers, replace
from refit_rt.inference import openvino as ov

# Weights have seven bits: with eight, the paired sums of processors without VNNI overflow, which triples the error.
# Depthwise kernels add no pairs and have eight bits: BlazePose's maps then differ by 8 % rather than 10 %.
WEIGHT_TOP, DEPTHWISE_TOP = 63, 127
ACTIVATION_TOP = 255
DAMPING = 0.01  # of the mean variance of a layer's inputs
# Parts of BlazePose that stay in float: they are cheap, and in int8 they cost much accuracy. In float, the stem reduces
# the maps' difference from 8 to 7 %, the others reduce the landmarks' from 4.7 to 2 px. With these parts in float, the
# maps of BlazePose's heavy network differ by 6 % and its landmarks by 1.5 px; its way from the map to the summary
# (/descent/, /joins/) may be in int8.
LEFT = ("/stem/", "/summary/", "/landmarks/", "/world/")


def compiled(model: onnx.ModelProto, extra: Iterable[str] = ()) -> ov.CompiledModel:
    """Compiles a model in f32, except for its int8 layers. extra: tensors that become outputs too."""
    core = ov.Core()
    read = core.read_model(model.SerializeToString(), b"")
    outputs = {name for port in read.outputs for name in port.get_names()}
    read.add_outputs([name for name in extra if name not in outputs])
    return core.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"})


def observe(model: onnx.ModelProto, pictures: Iterable[np.ndarray]) -> dict[str, Spread]:
    """The statistics of each convolution's input, by its name. model: the result of `plain`; pictures: (height, width,
    3) uint8 each, as the model takes them."""
    values = constants(model)
    names = {node.input[0] for node in convolutions(model)}
    mixed = {node.input[0] for node in convolutions(model) if values[node.input[1]].shape[2:] == (1, 1)}
    run, found = compiled(model, sorted(names)), {}
    for picture in pictures:
        for port, value in run([picture[None]]).items():
            for name in port.get_names() & names:
                one = spread(value[0].reshape(value.shape[1], -1), name in mixed)
                found[name] = joined(found[name], one) if name in found else one
    return found


def spread(pixels: np.ndarray, products: bool) -> Spread:
    """The statistics of one tensor. pixels: (channels, n)."""
    power = (pixels @ pixels.T).astype(np.float64) if products else None
    return Spread(pixels.min(1), pixels.max(1), pixels.sum(1, dtype=np.float64), power, pixels.shape[1])


def joined(one: Spread, other: Spread) -> Spread:
    power = None if one.power is None or other.power is None else one.power + other.power
    least, most = np.minimum(one.least, other.least), np.maximum(one.most, other.most)
    return Spread(least, most, one.total + other.total, power, one.count + other.count)


def in_int8(model: onnx.ModelProto, seen: Mapping[str, Spread], left: Collection[str] = LEFT) -> onnx.ModelProto:
    """The network with its convolutions in int8. model: the result of `plain`; seen: that of `observe`; left: parts of
    the names of convolutions that stay in float."""
    values = constants(model)
    names = {node.name for node in convolutions(model) if fits(node, values) and not any(p in node.name for p in left)}
    model, even = equalise(model, seen, names)
    values, nodes = constants(model), []
    for node in model.graph.node:
        if node.op_type == "Conv" and node.name in names:
            source = node.input[0]
            nodes += eight_bit_tensor(source, even[source], values)
            node.input[0] = f"{source}.read"
            nodes.append(eight_bit_weight(node, even[source], values))
        nodes.append(node)
    replace(model, nodes, values)
    return model


def fits(node: onnx.NodeProto, values: Mapping[str, np.ndarray]) -> bool:
    """Whether a convolution mixes all its channels or none of them."""
    return numbers(node, "group", 1) == [1] or is_depthwise(node, values[node.input[1]])


def eight_bit_tensor(name: str, seen: Spread, values: dict[str, np.ndarray]) -> list[onnx.NodeProto]:
    """The nodes that round a tensor to eight bits. Their step and zero point are added to `values`."""
    least, most = min(float(seen.least.min()), 0.0), max(float(seen.most.max()), 0.0)
    step = max(most - least, 1e-12) / ACTIVATION_TOP
    values[f"{name}.step"] = np.array(step, np.float32)
    values[f"{name}.zero"] = np.array(round(-least / step), np.uint8)
    terms = [f"{name}.step", f"{name}.zero"]
    return [
        helper.make_node("QuantizeLinear", [name, *terms], [f"{name}.eight"]),
        helper.make_node("DequantizeLinear", [f"{name}.eight", *terms], [f"{name}.read"]),
    ]


def eight_bit_weight(node: onnx.NodeProto, seen: Spread, values: dict[str, np.ndarray]) -> onnx.NodeProto:
    """Rounds a convolution's weight, corrects its bias for the mean error → the node that dequantises the weight."""
    _, name, bias = node.input
    weight, depthwise = values[name], is_depthwise(node, values[name])
    whole, step = rounded(weight, DEPTHWISE_TOP if depthwise else WEIGHT_TOP, seen)
    lost = (weight - whole * step[:, None, None, None]).sum((2, 3))
    mean = seen.total / seen.count
    values[bias] = (values[bias] + (lost[:, 0] * mean if depthwise else lost @ mean)).astype(np.float32)
    values[f"{name}.eight"], values[f"{name}.step"] = whole, step
    values[f"{name}.zero"] = np.zeros(len(step), np.int8)
    node.input[1] = f"{name}.read"
    terms = [f"{name}.eight", f"{name}.step", f"{name}.zero"]
    return helper.make_node("DequantizeLinear", terms, [f"{name}.read"], axis=0)


def rounded(weight: np.ndarray, top: int, seen: Spread) -> tuple[np.ndarray, np.ndarray]:
    """weight (out, in, k, k) → int8 of the same shape, at most `top`, and the step of each output channel (out,)."""
    step = np.maximum(np.abs(weight).max((1, 2, 3)) / top, 1e-12).astype(np.float32)
    if seen.power is None or weight.shape[1:] != (len(seen.least), 1, 1):
        return np.round(weight / step[:, None, None, None]).astype(np.int8), step
    mean = seen.total / seen.count  # the bias corrects the mean's error, so only the variation matters here
    varied = seen.power / seen.count - np.outer(mean, mean)
    return rounded_together(weight[:, :, 0, 0] / step[:, None], top, varied).astype(np.int8)[:, :, None, None], step


def rounded_together(weight: np.ndarray, top: int, varied: np.ndarray) -> np.ndarray:
    """weight (out, in) in steps → whole numbers. Input channels are rounded one after another, and the remaining ones
    compensate each error as far as the inputs are correlated (Frantar et al. 2022, "GPTQ", algorithm 1). varied: (in,
    in) covariance."""
    order = np.argsort(-np.diag(varied))
    values, vectors = np.linalg.eigh(varied[np.ix_(order, order)])
    values = np.maximum(values, 0) + DAMPING * max(float(values.mean()), 1e-12)
    chain = np.linalg.cholesky((vectors / values) @ vectors.T).T  # upper triangle
    rest, whole = weight[:, order].astype(np.float64), np.zeros(weight.shape)
    for index in range(len(order)):
        whole[:, index] = np.clip(np.round(rest[:, index]), -top, top)
        off = (rest[:, index] - whole[:, index]) / chain[index, index]
        rest[:, index + 1 :] -= off[:, None] * chain[index, index + 1 :]
    return whole[:, np.argsort(order)]
