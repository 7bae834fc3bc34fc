"""Starts of the loop in training: the network's last estimate in this crop's camera, or a perturbed truth."""

import torch
from torch import Tensor

from refit_rt.fit import start
from refit_rt.model.refit import Estimate, ReFit
from refit_rt.model.rotation import matrix_from_6d, matrix_from_axis_angle, sixd_from_matrix


def apart(a: Tensor, b: Tensor) -> Tensor:
    """Angles (B,) in radians between the root rotations of two bodies (B, 24, 3, 3)."""
    trace = (a[:, 0] * b[:, 0]).sum((1, 2))
    return torch.acos(((trace - 1) / 2).clamp(-1, 1))


def exchanged(keypoints: Tensor, where: Tensor) -> Tensor:
    """Exchanges left and right of the landmarks (B, 33, 4) `where` (B,) is true."""
    return torch.where(where[:, None, None], start.exchanged(keypoints), keypoints)


def disturb(pose6d: Tensor, betas: Tensor, cam: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Perturbs the truth as a tracker might: up to 0.35 rad per joint, 10 % in scale, and the shape."""
    count, device = len(pose6d), pose6d.device
    size = 0.03 + 0.32 * torch.rand(count, 1, 1, device=device)
    turns = torch.randn(count, 24, 3, device=device) * size * (0.3 + 0.7 * torch.rand(count, 24, 1, device=device))
    rotations = matrix_from_6d(pose6d) @ matrix_from_axis_angle(turns)
    share = size[:, :, 0] / 0.35
    scale = cam[:, :1] * (1 + 0.1 * share * torch.randn(count, 1, device=device))
    place = cam[:, 1:] + 0.07 * share * torch.randn(count, 2, device=device)
    return sixd_from_matrix(rotations), betas + 0.6 * share * torch.randn_like(betas), torch.cat([scale, place], 1)


def turn_camera(answer: Estimate, place: Tensor, roll: Tensor, net: ReFit) -> tuple[Tensor, Tensor]:
    """Rolls the camera that sees a body by `roll` (B,) radians. Returns rotations and translation (B, 3) metres.

    The root turns about the pelvis's rest place J, so T' = Z (T + J) - J, where Z is the roll.
    """
    cos, sin, zero = roll.cos(), roll.sin(), torch.zeros_like(roll)
    turn = torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, zero + 1], -1).view(-1, 3, 3)
    rotations = answer.rotations.clone()
    rotations[:, 0] = turn @ rotations[:, 0]
    pelvis = net.body.rest_joints(answer.betas)[:, 0]
    return rotations, (turn @ (place + pelvis)[..., None]).squeeze(-1) - pelvis
