"""The settings of a network, and the numbers of its design that running needs too. No torch here."""

from dataclasses import dataclass
from typing import Literal

from refit_rt.types import JOINTS

HEADS = JOINTS + 2  # one GRU each: joints, then shape, then camera
MAP_STRIDE = 4  # crop pixels per cell of a feature map
KEYPOINTS = 33  # BlazePose's landmarks
# Landmarks and the SMPL joints that sit in nearly the same place, limb by limb from shoulders to toes, then the nose
# with the head joint. Their constant differences are left to the network.
LANDMARKS = (11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28, 19, 20, 31, 32, 0)
LANDMARK_JOINTS = (16, 17, 18, 19, 20, 21, 1, 2, 4, 5, 7, 8, 22, 23, 10, 11, 15)
RESIDUAL_PX = 16.0  # a landmark this far from its joint counts as one; four times this is the most that is passed on
# CLIFF's whitening of where a crop is, kept for the official weights. 2.8 is about 1 / the spread of (offset / focal);
# 0.24 and 0.06 are mean and spread of (side / focal) over its training sets.
OFFSET_GAIN, SIDE_MEAN, SIDE_SPREAD = 2.8, 0.24, 0.06
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_SPREAD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ReFitConfig:
    """The defaults are the official network: with HRNet-W48 they fit its checkpoints."""

    backbone: Literal["hrnet_w48", "hrnet_w32", "blazepose"] = "hrnet_w48"
    crop_px: int = 256  # side of the square crop that the backbone sees
    rgb_mean: tuple[float, float, float] = IMAGENET_MEAN  # of RGB 0..1, taken off before the backbone
    rgb_spread: tuple[float, float, float] = IMAGENET_SPREAD  # and divided by this
    marker_count: int = 67  # each has a feature map of its own
    window_radius: int = 3  # cells each way: 7x7 are sampled around a marker
    flow: int = 5  # numbers kept of each window
    local: int = 256  # numbers kept of all windows together
    hidden: int = 32  # width of each of the 26 GRUs
    iterations: int = 5
    marker_dropout: float = 0.25  # share of markers that training hides from the loop
    light_heads: bool = False  # map and init heads of 1x1 size, for a backbone that costs 10 ms and not 300
    map_hidden: int = 64  # width of the light map head
    init_hidden: int = 384  # width of the light init head
    keypoint_feedback: bool = False  # the loop also sees where the backbone's own 2-D landmarks are
    confidence: bool = False  # a head that predicts the error
    # The least scale the camera may take, a person of a tenth of the crop: at zero the body meets the lens and projects
    # to nonsense. None as in the official code.
    scale_floor: float | None = None


EDGE = ReFitConfig(
    backbone="blazepose",
    rgb_mean=(0.0, 0.0, 0.0),
    rgb_spread=(1.0, 1.0, 1.0),
    light_heads=True,
    keypoint_feedback=True,
    confidence=True,
    scale_floor=0.15,
)
