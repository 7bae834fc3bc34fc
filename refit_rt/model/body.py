"""The body model in torch: rotations and shape → joints and chosen surface points, differentiable."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from refit_rt.errors import UserError

if TYPE_CHECKING:
    from refit_rt.body.smpl import Body


class BodyTorch(nn.Module):
    """SMPL's equations (Loper et al., 2015) at its joints and a chosen set of vertices.

    Units are metres, and y points up in the rest pose. As in SMPL, the root rotates about the pelvis's rest position
    and no translation is applied. All joints at the same depth of the tree are posed in one product. The module holds
    no weights: its buffers stay out of state dicts.
    """

    template: Tensor
    shape_dirs: Tensor
    pose_dirs: Tensor | None
    joint_template: Tensor
    joint_shape_dirs: Tensor
    skinning: Tensor

    def __init__(self, body: Body, points: np.ndarray | None = None) -> None:
        """body: arrays as in refit_rt.body.smpl.Body; points: (P,) vertex ids, the body's markers by default."""
        super().__init__()
        if points is None and body.markers is None:
            raise UserError(f"body '{body.name}' holds no markers. Import it again with refit-rt import-smpl")
        chosen = np.asarray(body.markers if points is None else points)
        self.point_count = len(chosen)
        self._keep("template", body.template[chosen])
        self._keep("shape_dirs", body.shape_dirs[chosen].reshape(-1, body.shape_dirs.shape[-1]))
        pose_dirs = body.pose_dirs
        self._keep("pose_dirs", None if pose_dirs is None else pose_dirs[chosen].reshape(-1, pose_dirs.shape[-1]))
        self._keep("joint_template", body.joint_template)
        self._keep("joint_shape_dirs", body.joint_shape_dirs.reshape(-1, body.joint_shape_dirs.shape[-1]))
        self._keep("skinning", body.skinning[chosen])
        self._plan(np.asarray(body.parents))

    def _keep(self, name: str, array: np.ndarray | None) -> None:
        tensor = None if array is None else torch.tensor(np.asarray(array, np.float32))
        self.register_buffer(name, tensor, persistent=False)

    def _plan(self, parents: np.ndarray) -> None:
        """Sorts the joints by depth, so that each level depends only on the level above it."""
        depth = [0] * len(parents)
        for joint in range(1, len(parents)):
            depth[joint] = depth[parents[joint]] + 1
        levels = [[joint for joint, d in enumerate(depth) if d == level] for level in range(max(depth) + 1)]
        self.level_count = len(levels)
        for level, members in enumerate(levels):
            above = levels[level - 1] if level else []
            parent_indices = [above.index(parents[joint]) for joint in members] if level else [0]
            self.register_buffer(f"joints_at_{level}", torch.tensor(members), persistent=False)
            self.register_buffer(f"parents_at_{level}", torch.tensor(parent_indices), persistent=False)
        order = [joint for members in levels for joint in members]
        self.register_buffer("by_joint", torch.tensor(np.argsort(order)), persistent=False)
        self.register_buffer("parents", torch.tensor(np.maximum(parents, 0)), persistent=False)

    def rest_joints(self, betas: Tensor) -> Tensor:
        """(B, 10) → (B, 24, 3) metres, in the rest pose; row 0 is the pelvis, about which the root rotates."""
        return self.joint_template + (betas @ self.joint_shape_dirs.T).unflatten(-1, (-1, 3))

    def pose(self, rotations: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 24, 3, 3) relative rotations, (B, 24, 3) rest joints → the posed joints' rotations and positions in the
        body's frame."""
        bones = rest - rest[:, self.get_buffer("parents")]
        turned, placed = [rotations[:, :1]], [rest[:, :1]]
        for level in range(1, self.level_count):
            joints, parents = self.get_buffer(f"joints_at_{level}"), self.get_buffer(f"parents_at_{level}")
            turn, place = turned[-1][:, parents], placed[-1][:, parents]
            turned.append(turn @ rotations[:, joints])
            placed.append(place + (turn @ bones[:, joints, :, None]).squeeze(-1))
        order = self.get_buffer("by_joint")
        return torch.cat(turned, 1)[:, order], torch.cat(placed, 1)[:, order]

    def forward(self, rotations: Tensor, betas: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 24, 3, 3) relative rotations, (B, 10) → joints (B, 24, 3), points (B, P, 3), metres."""
        rest = self.rest_joints(betas)
        turned, joints = self.pose(rotations, rest)
        points = self.template + (betas @ self.shape_dirs.T).unflatten(-1, (-1, 3))
        if self.pose_dirs is not None:
            bend = (rotations[:, 1:] - torch.eye(3, device=rotations.device)).flatten(1)
            points = points + (bend @ self.pose_dirs.T).unflatten(-1, (-1, 3))
        shift = joints - (turned @ rest[..., None]).squeeze(-1)
        blend = self.skinning @ torch.cat([turned.flatten(2), shift], dim=-1)  # (B, P, 12)
        return joints, (blend[..., :9].unflatten(-1, (3, 3)) @ points[..., None]).squeeze(-1) + blend[..., 9:]
