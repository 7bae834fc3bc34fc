"""ReFit's full-frame camera: the network's (scale, x, y) for a crop ↔ the body's translation in the camera frame.

Source: ReFit (Wang & Daniilidis, ICCV 2023) `lib/models/refit.py`, after CLIFF (Li et al., ECCV 2022), section 3.2.
The network predicts cam = (scale, x, y): one metre at the body's depth covers scale · side / 2 pixels of the image, and
x, y are offsets from the crop's centre in metres. The camera frame is OpenCV's (x right, y down, z forward).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from refit_rt.model.config import OFFSET_GAIN, SIDE_MEAN, SIDE_SPREAD


class View(NamedTuple):
    """Where the crops lie in the full image, and the camera's intrinsics, all in image pixels."""

    square: Tensor  # (B, 3) centre x, centre y, side
    focal_px: Tensor  # (B,)
    centre_px: Tensor  # (B, 2) principal point


def translation(cam: Tensor, view: View) -> Tensor:
    """(B, 3) cam → (B, 3) metres: the vector that moves the body's points into the frame of the full image's camera."""
    scale, x, y = cam.unbind(-1)
    px_per_metre = view.square[:, 2] * scale / 2  # at the body's depth
    offset = view.square[:, :2] - view.centre_px
    return torch.stack(
        [x + offset[:, 0] / px_per_metre, y + offset[:, 1] / px_per_metre, view.focal_px / px_per_metre], dim=-1
    )


def cam_from_translation(place: Tensor, view: View) -> Tensor:
    """The exact inverse of `translation`: (B, 3) metres → (B, 3) cam for this crop. The depth must be positive."""
    px_per_metre = view.focal_px / place[:, 2]
    offset = (view.square[:, :2] - view.centre_px) / px_per_metre[:, None]
    scale = 2 * px_per_metre / view.square[:, 2]
    return torch.stack([scale, place[:, 0] - offset[:, 0], place[:, 1] - offset[:, 1]], -1)


def project_to_crop(points: Tensor, cam: Tensor, view: View, crop_px: int = 256) -> Tensor:
    """(B, P, 3) body metres → (B, P, 2) pixels of the crop, through the full image's camera."""
    placed = points + translation(cam, view)[:, None]
    image_px = placed[..., :2] / placed[..., 2:] * view.focal_px[:, None, None] + view.centre_px[:, None]
    corner = view.square[:, :2] - view.square[:, 2:] / 2
    return (image_px - corner[:, None]) * (crop_px / view.square[:, 2])[:, None, None]


def box_features(view: View) -> Tensor:
    """(B, 3): the crop's position and size in the image, whitened as in CLIFF. They tell the network the angle from
    which the camera views the person."""
    offset = (view.square[:, :2] - view.centre_px) / view.focal_px[:, None] * OFFSET_GAIN
    side = (view.square[:, 2] / view.focal_px - SIDE_MEAN) / SIDE_SPREAD
    return torch.cat([offset, side[:, None]], dim=-1)
