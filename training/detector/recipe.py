"""What the making of a detector depends on."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.detector.agreement import Look
from training.detector.graph_model import Graph
from training.detector.onnx_graph import Taken


@dataclass(frozen=True, slots=True)
class Recipe:
    """One network of the npm package, and what the product makes of it."""

    name: str  # of the network and of its ONNX graph
    files: Mapping[str, str]  # SHA-256 of the .json and the .bin in the package, by their names
    heads: Mapping[str, str]  # the graph's node by the name of each output
    shortened: tuple[str, ...]  # beginnings of names that are left out
    taken: Taken
    in_float: tuple[str, ...]  # parts of the names of layers that stay in float
    trimmed: Callable[[Graph], Graph]  # leaves out of a graph what the product does not read
    inputs: Callable[
        [np.ndarray], Iterable[np.ndarray]
    ]  # the network's inputs for a picture, as the product makes them
    look: Callable[[Path], Look]  # the product's way of looking with the network in a file
    least: float  # lowest score of a person that counts when two versions are compared
