"""A network's configuration, and the design constants that the runtimes need too. This module imports no torch."""

from dataclasses import dataclass, replace
from typing import Literal

from refit_rt.types import JOINTS

HEADS = JOINTS + 2  # one GRU per head: the joints, then shape, then camera
MAP_STRIDE = 4  # crop pixels per cell of a feature map
KEYPOINTS = 33  # BlazePose's landmarks
# Landmarks and the SMPL joints at nearly the same positions, limb by limb from shoulders to toes, then the nose and the
# head joint. The network learns the constant offsets between them.
LANDMARKS = (11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28, 19, 20, 31, 32, 0)
LANDMARK_JOINTS = (16, 17, 18, 19, 20, 21, 1, 2, 4, 5, 7, 8, 22, 23, 10, 11, 15)
RESIDUAL_PX = 16.0  # unit of the distance from a landmark to its joint; longer distances are clipped to four units
# CLIFF's whitening of a crop's position and size, kept for the official weights. 2.8 is about 1 / the standard
# deviation of (offset / focal); 0.24 and 0.06 are the mean and standard deviation of (side / focal) over its training
# sets.
OFFSET_GAIN, SIDE_MEAN, SIDE_SPREAD = 2.8, 0.24, 0.06
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_SPREAD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ReFitConfig:
    """A network's architecture. The defaults are the official network: with HRNet-W48 they fit its checkpoints."""

    backbone: Literal["hrnet_w48", "hrnet_w32", "blazepose", "blazepose_heavy"] = "hrnet_w48"
    crop_px: int = 256  # side of the square crop that the backbone receives
    rgb_mean: tuple[float, float, float] = IMAGENET_MEAN  # of RGB 0..1, subtracted before the backbone
    rgb_spread: tuple[float, float, float] = IMAGENET_SPREAD  # the difference is divided by this
    marker_count: int = 67  # each marker has its own feature map
    window_radius: int = 3  # cells in each direction: a 7x7 window is sampled around each marker
    flow: int = 5  # numbers kept of each window
    local: int = 256  # numbers kept of all windows together
    hidden: int = 32  # width of each of the 26 GRUs
    iterations: int = 5
    marker_dropout: float = 0.25  # share of the markers that training hides from the loop
    light_heads: bool = False  # 1x1 map and init heads, for a backbone that takes 10 ms rather than 300
    map_hidden: int = 64  # width of the light map head
    init_hidden: int = 384  # width of the light init head
    keypoint_feedback: bool = False  # the loop also receives the backbone's own 2-D landmarks
    confidence: bool = False  # a head that predicts the error
    presence: bool = False  # a head that tells whether the crop shows a person; training.presence trains it last
    # Lower limit of the camera's scale, because at zero the body reaches the lens and its projection is meaningless.
    # At EDGE's 0.15 a person is a tenth as large as the crop. None sets no limit, as in the official code.
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
HEAVY = replace(EDGE, backbone="blazepose_heavy")  # the same heads behind BlazePose's heavy landmark network
