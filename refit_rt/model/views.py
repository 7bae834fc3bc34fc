"""Variants of the network's loop: several views that agree, a known shape, and the flip test."""

import torch
from torch import Tensor

from refit_rt.model.body import BodyTorch
from refit_rt.model.camera import View, cam_from_translation, translation
from refit_rt.model.refit import Agree, Estimate, ReFit
from refit_rt.model.rotation import (
    axis_angle_from_matrix,
    matrix_from_6d,
    matrix_from_axis_angle,
    mean_rotation,
    sixd_from_matrix,
)
from refit_rt.model.update import State

MIRROR = [0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20, 23, 22]  # left ↔ right joints
# One view determines the direction to a person far better than the distance: its weight along its ray is cut to this.
SAY_ALONG_RAY = 0.01


def hold_shape(betas: Tensor) -> Agree:
    """Keeps a known shape (B, 10) while pose and camera are fitted: ReFit's shape registration (section 4.4)."""

    def agree(state: State) -> State:
        return state._replace(betas=betas)

    return agree


def average_views(camera_from_world: Tensor, weights: Tensor | None = None) -> Agree:
    """Gives all views one shape, one pose and one orientation in the world after every step. The batch is one person
    seen by N cameras.

    camera_from_world: (N, 3, 3) rotations; weights: (N,). As in the official multi-view code, body rotations are
    averaged in 6-D and the root's by singular value decomposition, and each view keeps its own camera numbers.
    `average_place` averages the translation too.
    """
    share = (torch.ones(len(camera_from_world)) if weights is None else weights).to(camera_from_world)
    share = share / share.sum()

    def agree(state: State) -> State:
        count = len(state.betas)
        betas = (share[:, None] * state.betas).sum(0).expand(count, -1)
        body = (share[:, None] * state.pose6d[:, 6:]).sum(0).expand(count, -1)
        root = camera_from_world.mT @ matrix_from_6d(state.pose6d[:, :6])[:, 0]
        root = camera_from_world @ mean_rotation(root, share)
        return State(torch.cat([sixd_from_matrix(root[:, None]), body], dim=1), betas, state.cam)

    return agree


def average_place(body: BodyTorch, view: View, camera_from_world: Tensor, weights: Tensor | None = None) -> Agree:
    """As `average_views`, and the views also agree on the pelvis's position in the world.

    camera_from_world: (N, 4, 4), metres. The position is the weighted least-squares mean of the views' own pelvis
    positions. Each view counts fully across its ray and hardly along it, so that the crossing rays determine the depth.
    The official code does not average the translation.
    """
    turn, shift = camera_from_world[:, :3, :3], camera_from_world[:, :3, 3]
    share = (torch.ones(len(turn)) if weights is None else weights).to(turn)
    same_person = average_views(turn, weights)

    def agree(state: State) -> State:
        state = same_person(state)
        rest = body.rest_joints(state.betas)[:, 0]  # the root rotates about the pelvis, so the pose does not move it
        pelvis = translation(state.cam, view) + rest
        ray = torch.nn.functional.normalize(pelvis, dim=-1)
        eye = torch.eye(3, device=ray.device)
        trust = share[:, None, None] * (eye - (1 - SAY_ALONG_RAY) * ray[:, :, None] * ray[:, None])
        trust = turn.mT @ trust @ turn
        in_world = turn.mT @ (pelvis - shift)[..., None]
        place = torch.linalg.solve(trust.sum(0), (trust @ in_world).sum(0))
        back = (turn @ place).squeeze(-1) + shift - rest
        return state._replace(cam=cam_from_translation(back, view))

    return agree


def flip_test(
    model: ReFit, images: Tensor, view: View, image_width_px: Tensor, iterations: int | None = None
) -> Estimate:
    """The mean of a fit and of the mirrored fit of the mirrored crop. images: RGB 0..1; image_width_px: (B,).

    As in the official code, rotations and shape are averaged, and the camera is that of the unmirrored fit. The
    principal point is not mirrored, because it lies at the image's centre or close to it.
    """
    plain = model(images, view, iterations)[-1]
    square = torch.cat([image_width_px[:, None] - view.square[:, :1], view.square[:, 1:]], dim=1)
    mirrored = model(images.flip(-1), view._replace(square=square), iterations)[-1]
    rotations = mean_rotation(torch.stack([plain.rotations, mirror(mirrored.rotations)]))
    return model.place(State(sixd_from_matrix(rotations), (plain.betas + mirrored.betas) / 2, plain.cam), view)


def mirror(rotations: Tensor) -> Tensor:
    """(B, 24, 3, 3) → the pose of the mirror image: sides swapped, rotations about y and z reversed."""
    axis_angle = axis_angle_from_matrix(rotations[:, MIRROR])
    return matrix_from_axis_angle(axis_angle * torch.tensor([1.0, -1.0, -1.0], device=rotations.device))
