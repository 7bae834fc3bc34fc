"""Feedback: samples the feature maps at the body's projected markers.

ReFit, section 3.3: each marker samples a 7x7 window of its own feature map; a linear layer per marker reduces the
window to five numbers; one layer over all markers makes the local feature vector that every GRU receives.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample

from refit_rt.model.config import (
    KEYPOINTS,
    LANDMARK_JOINTS,
    LANDMARKS,
    MAP_STRIDE,
    RESIDUAL_PX,
    ReFitConfig,
)

KEYPOINT_HIDDEN = 256


class MultiLinear(nn.Module):
    """One linear layer per head, all heads in one product."""

    def __init__(self, heads: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = inputs**-0.5  # as in nn.Linear
        self.weight = nn.Parameter(torch.empty(heads, outputs, inputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(heads, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """(B, heads, inputs) → (B, heads, outputs)."""
        return torch.baddbmm(self.bias[:, None], x.transpose(0, 1), self.weight.transpose(1, 2)).transpose(0, 1)


def window_offsets(radius: int) -> Tensor:
    """((2r+1)², 2) x, y in cells, in the order that the official weights expect: x is the slow index.

    The official code builds the offsets as (dy, dx) and adds them to (x, y), so its windows are the transpose of what
    its comments suggest. The weights are trained that way.
    """
    steps = torch.arange(-radius, radius + 1, dtype=torch.float32)
    return torch.stack(torch.meshgrid(steps, steps, indexing="ij"), dim=-1).flatten(0, 1)


def sample_maps(maps: Tensor, markers_px: Tensor, offsets: Tensor) -> Tensor:
    """maps (B, M, H, W), markers (B, M, 2) crop px, offsets (K, 2) cells → (B, M, K), bilinear, zero outside."""
    batch, markers, height, width = maps.shape
    cells = markers_px[:, :, None] / MAP_STRIDE + offsets
    # Cell centres lie at whole numbers, so corners align: -1 and 1 are the centres of the first and the last cell.
    grid = 2 * torch.stack((cells[..., 0] / (width - 1), cells[..., 1] / (height - 1)), -1) - 1
    seen = grid_sample(
        maps.reshape(batch * markers, 1, height, width).float(),
        grid.reshape(batch * markers, 1, -1, 2),
        align_corners=True,
    )
    return seen.reshape(batch, markers, -1)


def keypoint_state(keypoints: Tensor, crop_px: int) -> Tensor:
    """(B, 33, 4) landmarks → (B, 132): x, y of each, then depths, then visibilities, all in about -1..1."""
    half = crop_px / 2
    return torch.cat([(keypoints[..., :2] / half - 1).flatten(1), keypoints[..., 2] / half, keypoints[..., 3]], dim=1)


class KeypointFeedback(nn.Module):
    """The backbone's 2-D landmarks against the projected body → a term of the local features, initialised to zero."""

    landmarks: Tensor
    joints: Tensor

    def __init__(self, config: ReFitConfig) -> None:
        super().__init__()
        self.crop_px = config.crop_px
        # These are buffers because indexing with a list copies it to the GPU, which synchronises the stream and cannot
        # be recorded in a CUDA graph.
        self.register_buffer("landmarks", torch.tensor(LANDMARKS), persistent=False)
        self.register_buffer("joints", torch.tensor(LANDMARK_JOINTS), persistent=False)
        inputs = 4 * KEYPOINTS + 2 * 24 + 2 * config.marker_count + 2 * len(LANDMARKS)
        self.first = nn.Linear(inputs, KEYPOINT_HIDDEN)
        self.last = nn.Linear(KEYPOINT_HIDDEN, config.local)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, keypoints: Tensor, joints_px: Tensor, markers_px: Tensor) -> Tensor:
        """(B, 33, 4), (B, 24, 2), (B, M, 2) crop px → (B, local)."""
        half = self.crop_px / 2
        body = [(points / half - 1).clamp(-3, 3).flatten(1) for points in (joints_px, markers_px)]
        x = torch.cat([keypoint_state(keypoints, self.crop_px), *body, self.residual(keypoints, joints_px)], dim=1)
        return self.last(torch.relu(self.first(x)))

    def residual(self, keypoints: Tensor, joints_px: Tensor) -> Tensor:
        """(B, 33, 4) landmarks, (B, 24, 2) projected joints → (B, 34): each landmark minus its joint, weighted by the
        landmark's visibility."""
        landmarks = keypoints[:, self.landmarks]
        apart = ((landmarks[..., :2] - joints_px[:, self.joints]) / RESIDUAL_PX).clamp(-4, 4)
        return (apart * landmarks[..., 3:]).flatten(1)


class Feedback(nn.Module):
    """Maps and the projected body → the local feature vector."""

    offsets: Tensor

    def __init__(self, config: ReFitConfig) -> None:
        super().__init__()
        self.dropout = config.marker_dropout
        self.register_buffer("offsets", window_offsets(config.window_radius), persistent=False)
        self.flow = MultiLinear(config.marker_count, len(self.offsets), config.flow)
        self.local = nn.Linear(config.marker_count * config.flow, config.local)
        self.keypoints = KeypointFeedback(config) if config.keypoint_feedback else None

    def marker_mask(self, maps: Tensor) -> Tensor | None:
        """(B, M, 1), 0 for the markers that training hides for a whole loop (ReFit, section 3.5); None at inference."""
        if not self.training or self.dropout == 0:
            return None
        kept = torch.rand(*maps.shape[:2], 1, device=maps.device) >= self.dropout
        return kept / (1 - self.dropout)

    def forward(
        self, maps: Tensor, keypoints: Tensor | None, markers_px: Tensor, joints_px: Tensor, mask: Tensor | None
    ) -> Tensor:
        """(B, M, 64, 64), (B, 33, 4) | None, (B, M, 2), (B, 24, 2) crop px → (B, local)."""
        flow = self.flow(sample_maps(maps, markers_px, self.offsets))
        local = self.local((flow if mask is None else flow * mask).flatten(1))
        if self.keypoints is not None and keypoints is not None:
            local = local + self.keypoints(keypoints, joints_px, markers_px)
        return local
