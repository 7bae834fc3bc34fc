"""The settings of a network: which backbone, how wide, how many iterations."""

from dataclasses import dataclass
from typing import Literal

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_SPREAD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ReFitConfig:
    """The defaults are the official network: with HRNet-W48 they fit its checkpoints."""

    backbone: Literal["hrnet_w48", "hrnet_w32", "blazepose"] = "hrnet_w48"
    crop_px: int = 256  # side of the square crop that the backbone sees
    rgb_mean: tuple[float, float, float] = IMAGENET_MEAN  # of RGB 0..1, taken off before the backbone
    rgb_spread: tuple[float, float, float] = IMAGENET_SPREAD  # and divided by this
    marker_count: int = 67  # one feature map and one look a marker
    window_radius: int = 3  # cells each way: 7x7 are looked at around a marker
    flow: int = 5  # numbers kept of each window
    local: int = 256  # numbers kept of all windows together
    hidden: int = 32  # width of each of the 26 GRUs
    iterations: int = 5
    marker_dropout: float = 0.25  # share of markers that training hides from the loop
    light_heads: bool = False  # map and init heads of 1x1 size, for a backbone that costs 10 ms and not 300
    map_hidden: int = 64  # width of the light map head
    init_hidden: int = 384  # width of the light init head
    keypoint_feedback: bool = False  # the loop also sees where the backbone's own 2-D landmarks are
    confidence: bool = False  # a head that foretells the error
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
