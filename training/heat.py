"""A second task for the backbone's map during training: to predict where each joint and marker lies, and how deep.

The loop samples the map only in 7x7 cells around the markers, so each picture teaches little of it. Heat maps (Tompson
et al., NeurIPS 2014) and the depth at each point (the location maps of VNect, Mehta et al., 2017) teach all of it.
None of this is exported.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample, log_softmax, smooth_l1_loss

from refit_rt.model.config import MAP_STRIDE
from training.losses import Truth

WIDTH = 64  # channels of the layer that heat and depth share
SPREAD_PX = 6.0  # standard deviation of a point's target heat
AT_ONCE = 32  # points per step, drawn at random: all 91 take three times as long
DEPTH_WEIGHT, DEPTH_BETA_M = 8.0, 0.05


class Heat(nn.Module):
    """Turns the whitened map (B, C, 64, 64) into one loss of heat and depth."""

    def __init__(self, channels: int, points: int) -> None:
        super().__init__()
        self.shared = nn.Conv2d(channels, WIDTH, 1)
        self.heat = nn.Linear(WIDTH, points, bias=False)  # softmax ignores a bias
        self.depth = nn.Linear(WIDTH, points)
        self.points = points

    def forward(self, features: Tensor, truth: Truth) -> Tensor:
        """The loss, a scalar. Points outside the crop do not count."""
        chosen = torch.randperm(self.points, device=features.device)[:AT_ONCE]
        places = torch.cat([truth.joints_px, truth.markers_px], 1)[:, chosen]  # (B, P, 2) crop pixels
        depths = (torch.cat([truth.joints, truth.markers], 1) - truth.joints[:, :1])[:, chosen, 2]  # metres
        side = features.shape[-1]
        inside = ((places >= 0) & (places < MAP_STRIDE * side)).all(-1).float()
        count = inside.sum().clamp(min=1)
        shared = torch.relu(self.shared(features))
        # The target heat is separable: one factor per axis.
        centres = MAP_STRIDE * torch.arange(side, device=features.device) + (MAP_STRIDE - 1) / 2
        along = torch.softmax(-((centres - places[..., None]) ** 2) / (2 * SPREAD_PX**2), -1)  # (B, P, 2, side)
        target = along[:, :, 1, :, None] * along[:, :, 0, None, :]
        logits = torch.einsum("pc,bcyx->bpyx", self.heat.weight[chosen], shared)
        cross_entropy = -(target.flatten(2) * log_softmax(logits.flatten(2), -1)).sum(-1)
        # The centre of cell i is pixel 4 i + 1.5; -1 and 1 are the outer edges of the outermost cells.
        grid = (places + 0.5) / (MAP_STRIDE * side / 2) - 1
        there = grid_sample(shared, grid[:, :, None], align_corners=False)[..., 0]  # (B, WIDTH, P)
        deep = torch.einsum("pc,bcp->bp", self.depth.weight[chosen], there) + self.depth.bias[chosen]
        off = smooth_l1_loss(deep, depths, beta=DEPTH_BETA_M, reduction="none")
        return ((cross_entropy + DEPTH_WEIGHT * off) * inside).sum() / count
