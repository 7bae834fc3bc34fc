"""How NanoDet-g is made."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from refit_rt.detect.nanodet import BINS, SIDE_PX, NanoDet, parts_of, reduced
from refit_rt.detect.network import fitted
from training.detector.agreement import Look, Seen
from training.detector.graph_model import Graph
from training.detector.onnx_graph import Taken
from training.detector.recipe import Recipe, averaged

ROOT = "PartitionedCall/"
# Maps of 80 classes and 4 x BINS logits of distances, channels last, a picture's sides over their stride.
HEADS = {"stride_8": f"{ROOT}Add_29", "stride_16": f"{ROOT}Add_33", "stride_32": f"{ROOT}Add_37"}
CLASSES, PERSON = 80, 0  # of COCO


def trimmed(graph: Graph) -> Graph:
    """The same graph whose heads know one class, people."""
    kept = np.r_[PERSON, CLASSES : CLASSES + 4 * BINS]
    weights = dict(graph.weights)
    for head in HEADS.values():
        convolution, bias = graph.nodes[head].inputs
        for name in (graph.nodes[convolution].inputs[1], bias):
            weights[name] = weights[name][..., kept]
    return replace(graph, weights=weights)


def inputs(picture: np.ndarray) -> Iterator[np.ndarray]:
    """The whole picture and its squares, as the product looks at them."""
    small = reduced(picture)
    for left, top, right, bottom in parts_of(small.shape[1], small.shape[0]):
        yield fitted(averaged(small[top:bottom, left:right], SIDE_PX), SIDE_PX)[0]


def look(path: Path) -> Look:
    network = NanoDet(path)

    def seen(picture: np.ndarray, least: float) -> Seen:
        xyxy, score, _ = network.find(picture, least)
        return Seen(xyxy, score)

    return seen


RECIPE = Recipe(
    name="nanodet",
    files={
        "package/models/nanodet.json": "4495eb0ec74bd33ee40a79aa06ebc1ccd7e28be1bf7355d93ffb570b8d77f45d",
        "package/models/nanodet.bin": "5d0e4f8c4eded666287330be03017d494787d35f523fd77ca23f59db984a4ad9",
    },
    heads=HEADS,
    shortened=(ROOT, "onnx_tf_prefix_"),
    taken=Taken("BGR", mean=(103.53, 116.28, 123.675), deviation=(57.375, 57.12, 58.395)),  # of NanoDet's own settings
    in_float=(),
    trimmed=trimmed,
    inputs=inputs,
    look=look,
    least=0.4,
)
