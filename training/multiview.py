"""Multi-view training: the views of a person agree after every iteration, and gradients pass through the agreement."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from refit_rt.model.body import BodyTorch
from refit_rt.model.camera import View, cam_from_translation, translation
from refit_rt.model.refit import Agree
from refit_rt.model.rotation import matrix_from_6d, sixd_from_matrix
from refit_rt.model.update import State
from refit_rt.model.views import SAY_ALONG_RAY

NEAREST_M = 0.1  # least distance from a camera: rays that miss each other may cross nearer to it, or behind it
LEAST_SIZES = 0.1  # bounds the gradient where views face opposite ways, so that their rotations have no mean


def agree_in_groups(body: BodyTorch, view: View, camera_from_world: Tensor) -> Agree:
    """Makes the function that lets the last G * N rows of a batch, N views of each of G people, agree.

    camera_from_world (G, N, 4, 4) metres; each group has its own world. The function does for each group what
    `views.average_place` does, and leaves the rows before the groups unchanged.
    """
    groups, count = camera_from_world.shape[:2]
    turn, shift = camera_from_world[..., :3, :3], camera_from_world[..., :3, 3]
    seen_by = View(*(part[-groups * count :] for part in view))

    def each(numbers: Tensor) -> Tensor:
        return numbers.unflatten(0, (groups, count))

    def agree(state: State) -> State:
        alone = len(state.betas) - groups * count
        several = State(*(part[alone:] for part in state))
        betas = each(several.betas).mean(1, keepdim=True).expand(-1, count, -1)
        others = each(several.pose6d[:, 6:]).mean(1, keepdim=True).expand(-1, count, -1)
        root = (turn.mT @ each(matrix_from_6d(several.pose6d[:, :6])[:, 0])).mean(1)
        root = sixd_from_matrix((turn @ nearest_rotation(root)[:, None]).flatten(0, 1)[:, None])
        rest = body.rest_joints(betas.flatten(0, 1))[:, 0]
        pelvis = each(translation(several.cam, seen_by) + rest)
        back = (turn @ _crossing(pelvis, turn, shift)).squeeze(-1) + shift - each(rest)
        back = torch.cat([back[..., :2], back[..., 2:].clamp(min=NEAREST_M)], -1).flatten(0, 1)
        one = State(
            torch.cat([root, others.flatten(0, 1)], 1), betas.flatten(0, 1), cam_from_translation(back, seen_by)
        )
        return State(*(torch.cat([old[:alone], new]) for old, new in zip(state, one, strict=True)))

    return agree


def _crossing(pelvis: Tensor, turn: Tensor, shift: Tensor) -> Tensor:
    """Where the rays to the views' pelvises (G, N, 3), each in its camera's frame, meet in the world: (G, 1, 3, 1)."""
    ray = torch.nn.functional.normalize(pelvis, dim=-1)
    trust = torch.eye(3, device=ray.device) - (1 - SAY_ALONG_RAY) * ray[..., :, None] * ray[..., None, :]
    trust = turn.mT @ trust @ turn
    in_world = turn.mT @ (pelvis - shift)[..., None]
    return torch.linalg.solve(trust.sum(1), (trust @ in_world).sum(1))[:, None]


def nearest_rotation(mean: Tensor) -> Tensor:
    """Finds the rotations nearest to means of rotations (…, 3, 3), as `rotation.mean_rotation` does.

    torch's own gradient of the SVD divides by differences of singular values, which are zero where the views agree.
    """
    nearest = _Nearest.apply(mean)
    assert isinstance(nearest, Tensor)
    return nearest


class _Nearest(torch.autograd.Function):
    """Maps M = U S V' to U V'. The derivative is U W V' with W_ij = (P_ij - P_ji) / (s_i + s_j) and P = U' dM V."""

    @staticmethod
    def forward(ctx, mean: Tensor) -> Tensor:
        left, sizes, right = torch.linalg.svd(mean)
        ctx.save_for_backward(left, sizes, right)
        return left @ right

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> Tensor:
        left, sizes, right = ctx.saved_tensors
        inside = left.mT @ gradient @ right.mT
        pairs = (sizes[..., :, None] + sizes[..., None, :]).clamp(min=LEAST_SIZES)
        return left @ ((inside - inside.mT) / pairs) @ right
