"""Update: 26 small GRUs (24 joints, shape, camera) and the corrections decoded from them.

ReFit, section 3.4. Every GRU receives the same input, so the input's product with all their weights is one matrix
product; only the product with the hidden state is separate for each GRU. The kernels of `runners/cpu` and `trt_plugins`
do the same.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from refit_rt.model.config import HEADS, ReFitConfig
from refit_rt.model.feedback import MultiLinear
from refit_rt.types import BETAS, JOINTS

SIXD, CAM, BOX = 6, 3, 3


class State(NamedTuple):
    """The parameters that the loop updates."""

    pose6d: Tensor  # (B, 144) 24 joints x 6-D, not yet orthonormal
    betas: Tensor  # (B, 10)
    cam: Tensor  # (B, 3) scale, x, y: see camera.py

    def detach(self) -> "State":
        return State(*(part.detach() for part in self))

    def plus(self, change: "State", scale_floor: float | None) -> "State":
        """The sum of both. scale_floor keeps the body in front of the lens; None sets no limit."""
        pose6d, betas, cam = (old + new for old, new in zip(self, change, strict=True))
        if scale_floor is not None:
            cam = torch.cat([cam[:, :1].clamp_min(scale_floor), cam[:, 1:]], dim=1)
        return State(pose6d, betas, cam)


class BatchedGRU(nn.Module):
    """h' = (1 - z) · h + z · q for every person and head; the gates are stored in the order z, r, q."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        bound = (inputs + hidden) ** -0.5
        self.from_input = nn.Linear(inputs, HEADS * 3 * hidden)  # rows: head, then gate, then unit
        self.from_hidden = nn.Parameter(torch.empty(HEADS, 3 * hidden, hidden).uniform_(-bound, bound))
        nn.init.uniform_(self.from_input.weight, -bound, bound)
        nn.init.uniform_(self.from_input.bias, -bound, bound)

    def forward(self, hidden: Tensor, x: Tensor) -> Tensor:
        """hidden (B, 26, H), x (B, inputs) → (B, 26, H)."""
        gates, candidate = self.from_input(x).unflatten(1, (HEADS, -1)).split([2 * self.hidden, self.hidden], dim=-1)
        weights = self.from_hidden.transpose(1, 2)  # (26, H, 3H)
        z, r = torch.sigmoid(gates + heads_product(hidden, weights[..., : 2 * self.hidden])).chunk(2, dim=-1)
        q = torch.tanh(candidate + heads_product(r * hidden, weights[..., 2 * self.hidden :]))
        return (1 - z) * hidden + z * q


def heads_product(x: Tensor, weights: Tensor) -> Tensor:
    """(B, heads, I), (heads, I, O) → (B, heads, O)."""
    return (x.transpose(0, 1) @ weights).transpose(0, 1)


class Regressor(nn.Module):
    """Hidden states and box features → changes of pose, shape and camera; one layer and one decoder per head."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.layer = MultiLinear(HEADS, hidden + BOX, hidden)
        self.pose = MultiLinear(JOINTS, hidden, SIXD)
        self.betas = nn.Linear(hidden, BETAS)
        self.cam = nn.Linear(hidden, CAM)
        for decoder in (self.pose, self.betas, self.cam):  # small first steps keep the body in the crop
            with torch.no_grad():
                decoder.weight.mul_(0.3)
                decoder.bias.zero_()

    def forward(self, hidden: Tensor, box: Tensor) -> State:
        """hidden (B, 26, H), box features (B, 3)."""
        y = torch.relu(self.layer(torch.cat([hidden, box[:, None].expand(-1, HEADS, -1)], dim=-1)))
        return State(self.pose(y[:, :JOINTS]).flatten(1), self.betas(y[:, JOINTS]), self.cam(y[:, JOINTS + 1]))


class Update(nn.Module):
    """Local features and the current state → new hidden states."""

    def __init__(self, config: ReFitConfig) -> None:
        super().__init__()
        self.gru = BatchedGRU(config.local + BOX + SIXD * JOINTS + BETAS + CAM, config.hidden)

    def forward(self, hidden: Tensor, local: Tensor, box: Tensor, state: State) -> Tensor:
        return self.gru(hidden, torch.cat([local, box, *state], dim=-1))


class Confidence(nn.Module):
    """Hidden states → log of the expected error. No gradient flows back into the loop: this head does not steer it."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.first = nn.Linear(HEADS * hidden + BOX, 64)
        self.last = nn.Linear(64, 1)

    def forward(self, hidden: Tensor, box: Tensor) -> Tensor:
        """(B, 26, H), (B, 3) → (B,) log of the expected mean error, which training measures in crop pixels."""
        x = torch.cat([hidden.detach().flatten(1), box], dim=-1)
        return self.last(torch.relu(self.first(x))).squeeze(-1)
