"""Writes an ONNX file node by node; the same calls give the same bytes."""

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

OPSET = 17  # TensorRT 10's parser silently reads the newer GridSample (20) as "nearest"
IR_VERSION = 8  # the version that belongs to this opset; onnx writes its newest by default, which older readers refuse
DOMAIN = "refit"  # of the plugin nodes
Value = str | np.ndarray  # the name of a node's output, or an array that becomes a weight


class Writer:
    """A graph under construction. Its methods return the names of their outputs, which are numbered in order."""

    def __init__(self, batch: int = 1) -> None:
        self.batch = batch
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, shape: tuple[int, ...], dtype: type) -> str:
        self._inputs.append(port(name, shape, dtype))
        return name

    def output(self, name: str, made: str, shape: tuple[int, ...], dtype: type) -> None:
        """Makes the tensor `made` an output of the graph, under `name`."""
        self._outputs.append(port(name, shape, dtype))
        for node in self._nodes:
            for names in (node.input, node.output):
                for place, old in enumerate(names):
                    if old == made:
                        names[place] = name

    def weight(self, name: str, array: np.ndarray) -> str:
        self._weights[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def op(self, kind: str, *inputs: Value, outputs: int = 1, domain: str = "", **attributes: Any) -> Any:
        """Adds a node → the name of its output, or a list of names when it has several."""
        label = f"{kind}_{len(self._nodes)}"
        names = [
            given if isinstance(given, str) else self.weight(f"{label}_in{place}", given)
            for place, given in enumerate(inputs)
        ]
        made = [f"{label}_out{place}" for place in range(outputs)]
        self._nodes.append(helper.make_node(kind, names, made, label, domain=domain, **attributes))
        return made if outputs > 1 else made[0]

    def plugin(self, kind: str, *inputs: Value, outputs: int = 1, **attributes: Any) -> Any:
        """Adds a node of trt_plugins. Its namespace is written twice: TensorRT reads the attribute, and from 10.10 on
        the domain."""
        return self.op(
            kind,
            *inputs,
            outputs=outputs,
            domain=DOMAIN,
            plugin_version="1",
            plugin_namespace=DOMAIN,
            **attributes,
        )

    def reshape(self, x: str, *shape: int) -> str:
        return self.op("Reshape", x, np.array(shape, np.int64))

    def cast(self, x: str, dtype: type) -> str:
        return self.op("Cast", x, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def concat(self, *parts: Value, axis: int) -> str:
        return self.op("Concat", *parts, axis=axis)

    def split(self, x: str, *sizes: int, axis: int) -> list[str]:
        return self.op("Split", x, np.array(sizes, np.int64), outputs=len(sizes), axis=axis)

    def cut(self, x: str, begin: int, end: int, axis: int) -> str:
        return self.op("Slice", x, *(np.array([number], np.int64) for number in (begin, end, axis)))

    def linear(self, x: str, weight: np.ndarray, bias: np.ndarray) -> str:
        """x weight + bias. weight: (in, out), or one matrix per head (head, in, out) with x (B, head, 1, in)."""
        return self.op("Add", self.op("MatMul", x, weight), bias)

    def model(self, name: str) -> onnx.ModelProto:
        """The finished model, checked by onnx."""
        graph = helper.make_graph(self._nodes, name, self._inputs, self._outputs, list(self._weights.values()))
        opsets = [helper.make_opsetid("", OPSET)]
        if any(node.domain == DOMAIN for node in self._nodes):
            opsets.append(helper.make_opsetid(DOMAIN, 1))
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="refit_rt")
        onnx.checker.check_model(model)
        return model


def port(name: str, shape: tuple[int, ...], dtype: type) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)


def file_bytes(model: onnx.ModelProto) -> bytes:
    """Serialises a model; the same model always gives the same bytes."""
    return model.SerializeToString(deterministic=True)
