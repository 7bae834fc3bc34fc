"""Rotations in torch: 6-D, matrices, axis-angle, and their mean.

The 6-D form is that of ReFit and SPIN: the six numbers are read as (3, 2), and the columns are the first two basis
vectors before orthonormalisation (Zhou et al., "On the Continuity of Rotation Representations in Neural Networks", CVPR
2019).
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize


def matrix_from_6d(pose6d: Tensor) -> Tensor:
    """(…, 6n) → (…, n, 3, 3): Gram-Schmidt on the two columns; the third is their cross product."""
    columns = pose6d.unflatten(-1, (-1, 3, 2))
    first = normalize(columns[..., 0], dim=-1)
    along = (first * columns[..., 1]).sum(-1, keepdim=True)
    second = normalize(columns[..., 1] - along * first, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=-1)


def sixd_from_matrix(rotations: Tensor) -> Tensor:
    """(…, n, 3, 3) → (…, 6n): the first two columns, row by row."""
    return rotations[..., :2].flatten(-3)


def matrix_from_axis_angle(axis_angle: Tensor) -> Tensor:
    """(…, 3) radians → (…, 3, 3) by Rodrigues' formula; exact and differentiable at zero."""
    angle = axis_angle.pow(2).sum(-1, keepdim=True).clamp_min(1e-16).sqrt()[..., None]
    x, y, z = axis_angle.unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    eye = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return eye + torch.sin(angle) / angle * skew + (1 - torch.cos(angle)) / angle**2 * (skew @ skew)


def axis_angle_from_matrix(rotations: Tensor) -> Tensor:
    """(…, 3, 3) → (…, 3) radians, angle in 0..π. The conversion goes through the quaternion and starts from its largest
    component, which stays exact near half a turn."""
    diagonal = rotations.diagonal(dim1=-2, dim2=-1)
    xx, yy, zz = diagonal.unbind(-1)
    r = rotations
    four = torch.stack([1 + xx + yy + zz, 1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz], dim=-1)
    wx, wy, wz = r[..., 2, 1] - r[..., 1, 2], r[..., 0, 2] - r[..., 2, 0], r[..., 1, 0] - r[..., 0, 1]
    xy, xz, yz = r[..., 1, 0] + r[..., 0, 1], r[..., 0, 2] + r[..., 2, 0], r[..., 2, 1] + r[..., 1, 2]
    rows = torch.stack(
        [
            torch.stack([four[..., 0], wx, wy, wz], -1),
            torch.stack([wx, four[..., 1], xy, xz], -1),
            torch.stack([wy, xy, four[..., 2], yz], -1),
            torch.stack([wz, xz, yz, four[..., 3]], -1),
        ],
        dim=-2,
    )  # row i is the quaternion (w, x, y, z) times four times its component i
    best = four.argmax(-1)[..., None, None].expand(*four.shape[:-1], 1, 4)
    quaternion = normalize(rows.gather(-2, best).squeeze(-2), dim=-1)
    quaternion = torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    sine = quaternion[..., 1:].norm(dim=-1, keepdim=True)
    angle = 2 * torch.atan2(sine, quaternion[..., :1])
    return torch.where(sine > 1e-7, angle / sine.clamp_min(1e-7), torch.full_like(angle, 2.0)) * quaternion[..., 1:]


def mean_rotation(rotations: Tensor, weights: Tensor | None = None) -> Tensor:
    """(view, …, 3, 3) → (…, 3, 3): the rotation nearest to the (weighted) mean matrix, by singular value decomposition.

    As in the official code, the determinant is not forced to +1: views agree well enough that it is never -1.
    weights: (view,) or None.
    """
    if weights is not None:
        rotations = rotations * (weights / weights.sum()).view(-1, *[1] * (rotations.dim() - 1)) * len(rotations)
    left, _, right = torch.linalg.svd(rotations.mean(0))
    return left @ right
