"""Losses that training minimises, and errors that evaluation reports."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from refit_rt.model.refit import Estimate

GAMMA = 0.85  # an iteration's weight is GAMMA to the power of the number of iterations after it (ReFit, section 3.6)


class Truth(NamedTuple):
    """The true body in each crop, in the crop's camera frame."""

    rotations: Tensor  # (B, 24, 3, 3)
    betas: Tensor  # (B, 10)
    cam: Tensor  # (B, 3)
    joints: Tensor  # (B, 24, 3) metres before the translation
    markers: Tensor  # (B, M, 3)
    joints_px: Tensor  # (B, 24, 2) crop pixels
    markers_px: Tensor  # (B, M, 2)


class Weights(NamedTuple):
    """The weight of each term. The 2-D and shape terms are strong: a sixth of them leaves limbs off in the picture."""

    pixels: float = 18.0
    joints: float = 10.0
    markers: float = 5.0
    rotations: float = 3.0
    betas: float = 0.1
    cam: float = 0.3
    confidence: float = 0.05


def estimate_loss(estimate: Estimate, truth: Truth, weights: Weights) -> Tensor:
    """The loss of one estimate, a scalar."""

    def root(points: Tensor, joints: Tensor) -> Tensor:
        return points - joints[:, :1]

    pixels = torch.cat([estimate.joints_px, estimate.markers_px], 1).clamp(-300, 560) / 128
    true_pixels = torch.cat([truth.joints_px, truth.markers_px], 1).clamp(-300, 560) / 128
    loss = weights.pixels * smooth_l1_loss(pixels, true_pixels, beta=0.05)
    joints, true_joints = root(estimate.joints, estimate.joints), root(truth.joints, truth.joints)
    loss = loss + weights.joints * smooth_l1_loss(joints, true_joints, beta=0.02)
    markers, true_markers = root(estimate.markers, estimate.joints), root(truth.markers, truth.joints)
    loss = loss + weights.markers * smooth_l1_loss(markers, true_markers, beta=0.02)
    loss = loss + weights.rotations * (estimate.rotations - truth.rotations).square().mean()
    loss = loss + weights.betas * (estimate.betas - truth.betas).square().mean()
    loss = loss + weights.cam * (estimate.cam - truth.cam).abs().clamp(max=1).mean()
    if estimate.log_error is not None:
        loss = loss + weights.confidence * confidence_loss(estimate, truth)
    return loss


def confidence_loss(estimate: Estimate, truth: Truth) -> Tensor:
    """Compares the head's prediction with the log of `pixel_error`; a Laplace likelihood is not needed.

    Joints outside the crop do not count: if they do, nine of ten people cut off by the picture are taken for lost.
    """
    assert estimate.log_error is not None
    error = pixel_error(estimate, truth).detach().clamp(0.5, 200)
    return smooth_l1_loss(estimate.log_error, error.log())


def total_loss(estimates: list[Estimate], truth: Truth, weights: Weights) -> Tensor:
    """The loss of all estimates, with larger weights for later ones."""
    last = len(estimates) - 1
    terms = [GAMMA ** (last - i) * estimate_loss(estimate, truth, weights) for i, estimate in enumerate(estimates)]
    return torch.stack(terms).sum()


def mpjpe_mm(joints: Tensor, true_joints: Tensor) -> Tensor:
    """Mean joint errors (B,) mm with the pelvis as origin, of joints (B, J, 3) metres each."""
    return ((joints - joints[:, :1]) - (true_joints - true_joints[:, :1])).norm(dim=-1).mean(1) * 1000


def pa_mpjpe_mm(joints: Tensor, true_joints: Tensor) -> Tensor:
    """Mean joint errors (B,) mm after the best similarity (Procrustes), of joints (B, J, 3) metres each."""
    x, y = joints - joints.mean(1, keepdim=True), true_joints - true_joints.mean(1, keepdim=True)
    u, s, v = torch.linalg.svd(x.transpose(1, 2) @ y)
    mirror = torch.ones_like(s)
    mirror[:, 2] = torch.det(u @ v)
    rotation = u @ torch.diag_embed(mirror) @ v
    scale = (s * mirror).sum(1) / x.square().sum((1, 2)).clamp(min=1e-9)
    return (scale[:, None, None] * x @ rotation - y).norm(dim=-1).mean(1) * 1000


def pixel_error(estimate: Estimate, truth: Truth) -> Tensor:
    """Mean errors (B,) px of the joints in the crop. Joints outside the view may project to any pixel."""
    inside = ((truth.joints_px >= 0) & (truth.joints_px <= 256)).all(-1)
    off = (estimate.joints_px - truth.joints_px).norm(dim=-1)
    return (off * inside).sum(1) / inside.sum(1).clamp(min=1)


def errors_of(estimate: Estimate, truth: Truth) -> Tensor:
    """Errors (B, 3): MPJPE mm, PA-MPJPE mm, px."""
    joints = estimate.joints, truth.joints
    return torch.stack([mpjpe_mm(*joints), pa_mpjpe_mm(*joints), pixel_error(estimate, truth)], 1)
