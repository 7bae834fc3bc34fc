"""What the making of a detector depends on."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
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


def averaged(picture: np.ndarray, longer_px: int) -> np.ndarray:
    """The picture reduced to `longer_px` on its longer side by averages of areas: slower than the product's way, and
    what the shipped networks were calibrated with. A smaller picture stays as it is."""
    height, width = picture.shape[:2]
    factor = longer_px / max(height, width)
    small = max(1, round(width * factor)), max(1, round(height * factor))
    while min(picture.shape[1] / small[0], picture.shape[0] / small[1]) >= 3:
        picture = cv2.resize(picture, (picture.shape[1] // 2, picture.shape[0] // 2), interpolation=cv2.INTER_AREA)
    return cv2.resize(picture, small, interpolation=cv2.INTER_AREA) if width > small[0] else picture
