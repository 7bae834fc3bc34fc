"""ReFit's full-frame camera: three numbers of the crop ↔ a place in front of the whole picture's camera.

Source: ReFit (Wang & Daniilidis, ICCV 2023) `lib/models/refit.py`, after CLIFF (Li et al., ECCV 2022), section 3.2.
The network predicts cam = (scale, x, y): the body's metres are scale · side / 2 pixels large at its depth, and x, y are
metres off the crop's centre. Camera frame is OpenCV's (x right, y down, z forward).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from refit_rt.model.config import OFFSET_GAIN, SIDE_MEAN, SIDE_SPREAD


class View(NamedTuple):
    """Where the crops were cut and through which lens, all in pixels of the whole picture."""

    square: Tensor  # (B, 3) centre x, centre y, side
    focal_px: Tensor  # (B,)
    centre_px: Tensor  # (B, 2) principal point


def translation(cam: Tensor, view: View) -> Tensor:
    """(B, 3) cam → (B, 3) metres: what to add to the body's points to stand them before the whole picture's camera."""
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
    """(B, P, 3) body metres → (B, P, 2) pixels of the crop, through the whole picture's camera."""
    placed = points + translation(cam, view)[:, None]
    image_px = placed[..., :2] / placed[..., 2:] * view.focal_px[:, None, None] + view.centre_px[:, None]
    corner = view.square[:, :2] - view.square[:, 2:] / 2
    return (image_px - corner[:, None]) * (crop_px / view.square[:, 2])[:, None, None]


def box_features(view: View) -> Tensor:
    """(B, 3): where in the picture the crop is and how large, whitened as in CLIFF, so that the network knows
    from which angle it sees the person."""
    offset = (view.square[:, :2] - view.centre_px) / view.focal_px[:, None] * OFFSET_GAIN
    side = (view.square[:, 2] / view.focal_px - SIDE_MEAN) / SIDE_SPREAD
    return torch.cat([offset, side[:, None]], dim=-1)
