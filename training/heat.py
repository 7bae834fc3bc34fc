"""A second task for the backbone's map while it learns: where each joint and marker lies, and how deep.

The loop looks at 7x7 cells round markers only, so that little of the map is taught by each picture. Heat over the
whole map (Tompson et al., NeurIPS 2014) and the depth of what lies at a point (the location maps of VNect, Mehta et
al., 2017) teach all of it. Nothing of this is exported.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample, log_softmax, smooth_l1_loss

from refit_rt.model.config import MAP_STRIDE
from training.losses import Truth

WIDTH = 64  # of the layer that heat and depth share
SPREAD_PX = 6.0  # deviation of a point's true heat
AT_ONCE = 32  # points of a step, drawn anew each time: all 91 cost three times as much
DEPTH_WEIGHT, DEPTH_BETA_M = 8.0, 0.05


class Heat(nn.Module):
    """Whitened map (B, C, 64, 64) → one loss of heat and depth."""

    def __init__(self, channels: int, points: int) -> None:
        super().__init__()
        self.shared = nn.Conv2d(channels, WIDTH, 1)
        self.heat = nn.Linear(WIDTH, points, bias=False)  # a softmax needs none
        self.depth = nn.Linear(WIDTH, points)
        self.points = points

    def forward(self, features: Tensor, truth: Truth) -> Tensor:
        """A scalar; points outside of the crop count for nothing."""
        chosen = torch.randperm(self.points, device=features.device)[:AT_ONCE]
        places = torch.cat([truth.joints_px, truth.markers_px], 1)[:, chosen]  # (B, P, 2) crop pixels
        depths = (torch.cat([truth.joints, truth.markers], 1) - truth.joints[:, :1])[:, chosen, 2]  # metres
        side = features.shape[-1]
        inside = ((places >= 0) & (places < MAP_STRIDE * side)).all(-1).float()
        count = inside.sum().clamp(min=1)
        shared = torch.relu(self.shared(features))
        # An axis at a time: the true heat is a product of two.
        centres = MAP_STRIDE * torch.arange(side, device=features.device) + (MAP_STRIDE - 1) / 2
        along = torch.softmax(-((centres - places[..., None]) ** 2) / (2 * SPREAD_PX**2), -1)  # (B, P, 2, side)
        wanted = along[:, :, 1, :, None] * along[:, :, 0, None, :]
        told = torch.einsum("pc,bcyx->bpyx", self.heat.weight[chosen], shared)
        crossed = -(wanted.flatten(2) * log_softmax(told.flatten(2), -1)).sum(-1)
        # Cell i has its centre at pixel 4 i + 1.5: -1 and 1 are the outer edges of the outermost cells.
        grid = (places + 0.5) / (MAP_STRIDE * side / 2) - 1
        there = grid_sample(shared, grid[:, :, None], align_corners=False)[..., 0]  # (B, WIDTH, P)
        deep = torch.einsum("pc,bcp->bp", self.depth.weight[chosen], there) + self.depth.bias[chosen]
        off = smooth_l1_loss(deep, depths, beta=DEPTH_BETA_M, reduction="none")
        return ((crossed + DEPTH_WEIGHT * off) * inside).sum() / count
