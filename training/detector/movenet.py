"""How MoveNet MultiPose is made."""

from pathlib import Path

import numpy as np

from refit_rt.detect.movenet import LONGER_PX, MoveNet
from refit_rt.detect.network import fitted
from training.detector.agreement import Look, Seen
from training.detector.onnx_graph import Taken
from training.detector.recipe import Recipe, averaged

ROOT = "StatefulPartitionedCall/"
HEADS = {  # maps at a quarter of the picture's sides, channels last
    "centre": f"{ROOT}Sigmoid",  # 1: is here a person's centre?
    "size": f"{ROOT}box_scale_0/conv2d_5/BiasAdd",  # 2: height and width of the box, in cells
    "offset": f"{ROOT}box_offset_0/conv2d_6/BiasAdd",  # 2: from the cell to the box's centre, y and x, in cells
    "regressed": f"{ROOT}kpt_regress_0/conv2d_8/BiasAdd",  # 34: from the cell to the person's 17 key points
    "heat": f"{ROOT}Sigmoid_1",  # 17: is here such a key point?
    "heat_offset": f"{ROOT}kpt_offset_0/conv2d_9/BiasAdd",  # 34: from the cell to the key point of each kind
}


def look(path: Path) -> Look:
    network = MoveNet(path)

    def seen(picture: np.ndarray, least: float) -> Seen:
        found = network.look(picture, least)
        return Seen(found.xyxy, found.score, found.keypoints)

    return seen


RECIPE = Recipe(
    name="movenet",
    files={
        "package/models/movenet-multipose.json": "3c76e18669efc50148b28d0be97db491dc055cb2be292d248ec129031c5aa5de",
        "package/models/movenet-multipose.bin": "19828492d4a69c2e08915916c70f4d22c421c3b59152dfa5601834fc54f54118",
    },
    heads=HEADS,
    shortened=(ROOT, "center_net_mobile_net_v2fpn_feature_extractor/", "model_1/", "model/"),
    taken=Taken("RGB"),
    # The first layer, and those that join the maps of three sizes before the heads. They add 6 to 9 % to the time, and
    # take the key points' mean error from 1.22 to 0.74 % of the person's longer side.
    in_float=(
        "Conv1_",
        *("separable_conv2d/separable", "re_lu/", "separable_conv2d_1/", "re_lu_1/", "separable_conv2d_2/", "re_lu_2/"),
    ),
    trimmed=lambda graph: graph,
    inputs=lambda picture: [fitted(averaged(picture, LONGER_PX), LONGER_PX)[0]],
    look=look,
    least=0.2,
)
