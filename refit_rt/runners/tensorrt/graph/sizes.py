"""How large a network's arrays are and which are halves: what files and engines have in common, without onnx."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from refit_rt.body.smpl import JOINTS
from refit_rt.bundle.read import Bundle
from refit_rt.errors import UserError

Nodes = Literal["none", "gru", "both"]  # which of the plugins' nodes a step holds
HEADS = JOINTS + 2
MAP_STRIDE = 4  # crop pixels a cell


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the arrays of a bundle's loop say of it."""

    batch: int
    markers: int
    side: int  # cells of a map
    local: int
    hidden: int
    radius: int  # cells of the look-up window
    crop_px: int
    keypoints: bool


def sizes_of(bundle: Bundle, batch: int) -> Sizes:
    """Raises UserError when loop.safetensors lacks an array."""
    weights = bundle.weights
    try:
        return Sizes(
            batch=batch,
            markers=bundle.card.markers,
            side=bundle.crop.size_px // MAP_STRIDE,
            local=len(weights["feedback.local.bias"]),
            hidden=weights["update.gru.from_hidden"].shape[2],
            radius=int(weights["feedback.flow.weight"].shape[2] ** 0.5) // 2,
            crop_px=bundle.crop.size_px,
            keypoints="feedback.keypoints.first.weight" in weights,
        )
    except KeyError as error:
        raise UserError(f"{bundle.path}: loop.safetensors lacks {error}. Export the bundle again") from error


def maps_dtype(half: bool, nodes: Nodes) -> type:
    """Halves for the Look node alone: TensorRT samples maps and places of one type, which for places is 32 bits."""
    return np.float16 if half and nodes == "both" else np.float32
