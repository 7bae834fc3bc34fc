"""Where the loop starts: the mean body, and the blend of a fresh estimate with the last frame's body."""

import numpy as np
import torch
from torch import Tensor

from refit_rt.model.rotation import matrix_from_6d, matrix_from_axis_angle, sixd_from_matrix
from refit_rt.model.update import State

LEFT_SHOULDER, RIGHT_SHOULDER = 16, 17
ARMS_DOWN_RAD = 0.9


def standing_mean() -> State:
    """A person who stands upright before the camera and fills the crop, arms hanging away from the body. Batch of one.

    The body's y axis points up and the camera's points down, so upright is half a turn about x. Official weights bring
    their own mean.
    """
    axis_angle = torch.zeros(24, 3)
    axis_angle[0, 0] = np.pi
    axis_angle[LEFT_SHOULDER, 2], axis_angle[RIGHT_SHOULDER, 2] = -ARMS_DOWN_RAD, ARMS_DOWN_RAD
    # Scale 0.95 and y 0.15 m are the mean over people cropped with a margin of one fifth.
    return State(
        sixd_from_matrix(matrix_from_axis_angle(axis_angle))[None],
        torch.zeros(1, 10),
        torch.tensor([[0.95, 0.0, 0.15]]),
    )


def blend(fresh: State, start: State, start_weight: Tensor) -> State:
    """start_weight · start + (1 - start_weight) · fresh. start_weight: (B,); 0 gives exactly `fresh`, a cold start.

    Rotations are mixed as orthonormal 6-D, which is close to the mean rotation while they are well under half a turn
    apart.
    """
    weight = start_weight.view(-1, 1).to(fresh.pose6d)
    mixed = State(
        torch.lerp(orthonormal(fresh.pose6d), orthonormal(start.pose6d), weight),
        torch.lerp(fresh.betas, start.betas, weight),
        torch.lerp(fresh.cam, start.cam, weight),
    )
    return State(*(torch.where(weight > 0, new, old) for new, old in zip(mixed, fresh, strict=True)))


def orthonormal(pose6d: Tensor) -> Tensor:
    """(B, 144) → the same rotations with orthonormal columns."""
    return sixd_from_matrix(matrix_from_6d(pose6d))
