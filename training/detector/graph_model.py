"""The .json and .bin of a TensorFlow.js graph model → its nodes and weights."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from refit_rt.errors import UserError

DTYPES = {"float32": np.float32, "int32": np.int32, "bool": np.bool_}


@dataclass(frozen=True, slots=True)
class Node:
    """One operation of a graph."""

    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, Any]  # as TensorFlow's protocol buffers look in JSON

    def numbers(self, name: str) -> list[int]:
        """An attribute that is a list of integers."""
        return [int(number) for number in self.attributes[name]["list"]["i"]]

    def text(self, name: str) -> str:
        """An attribute that is a string."""
        return base64.b64decode(self.attributes[name]["s"]).decode()

    def texts(self, name: str) -> list[str]:
        """An attribute that is a list of strings. It is empty where the attribute is absent."""
        listed = self.attributes.get(name, {}).get("list", {}).get("s", [])
        return [base64.b64decode(one).decode() for one in listed]

    def flag(self, name: str) -> bool:
        """An attribute that is true or false. It is false where it is absent."""
        return bool(self.attributes.get(name, {}).get("b", False))


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """A graph model."""

    nodes: Mapping[str, Node]  # by name, without the constants
    weights: Mapping[str, np.ndarray]  # the constants by name, in TensorFlow's layouts

    def needed(self, outputs: list[str]) -> list[Node]:
        """The nodes that the outputs depend on, each after the nodes it reads. Raises UserError for an unknown name."""
        order: dict[str, Node] = {}

        def visit(name: str) -> None:
            if name in order or name in self.weights:
                return
            if name not in self.nodes:
                raise UserError(f"the graph has no node {name}. Give version 3.0.4 of the package")
            for source in self.nodes[name].inputs:
                visit(source)
            order[name] = self.nodes[name]

        for name in outputs:
            visit(name)
        return list(order.values())


def graph_of(description: bytes, data: bytes) -> Graph:
    """The graph of a model's .json and the content of its .bin files, one after the other."""
    parsed = json.loads(description)
    nodes = [
        Node(one["name"], one["op"], tuple(map(plain_name, one.get("input", ()))), one.get("attr", {}))
        for one in parsed["modelTopology"]["node"]
    ]
    entries = [entry for group in parsed["weightsManifest"] for entry in group["weights"]]
    return Graph({node.name: node for node in nodes if node.op != "Const"}, weights_of(entries, data))


def plain_name(source: str) -> str:
    """The node of an input such as ^node or node:0."""
    return source.lstrip("^").split(":")[0]


def weights_of(entries: list[dict[str, Any]], data: bytes) -> dict[str, np.ndarray]:
    """The weights that a manifest lists, in its order. Floats that are stored in half precision become float32."""
    weights, start = {}, 0
    for entry in entries:
        kind = DTYPES[entry["dtype"]]
        stored = entry.get("quantization", {}).get("dtype")
        if stored not in (None, "float16"):
            raise UserError(f"the weight {entry['name']} is stored as {stored}. Give a model in float32 or float16")
        dtype = np.dtype(stored or kind)
        count = int(np.prod(entry["shape"], dtype=np.int64))
        weights[entry["name"]] = np.frombuffer(data, dtype, count, start).astype(kind).reshape(entry["shape"])
        start += count * dtype.itemsize
    if start != len(data):
        raise UserError(f"the weights have {len(data)} bytes, but {start} are described. Give the .bin of this .json")
    return weights
