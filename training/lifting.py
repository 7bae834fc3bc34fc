"""Bodies without pictures: poses from motion, cameras, and the landmarks that BlazePose would answer, errors included.

The network's first estimate and the part of its loop that looks at landmarks learn from these too: thousands a second,
where rendering gives tens. How BlazePose's landmarks follow from a body, and how they err, is measured on a store.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from refit_rt.geometry import project
from refit_rt.model.blazepose import LANDMARKS, blazepose_of
from refit_rt.model.camera import View, cam_from_translation, project_to_crop
from refit_rt.model.refit import Encoded, ReFit
from training.losses import Truth
from training.synthetic import cameras, motion
from training.synthetic.motion import about_y
from training.synthetic.people import random_betas

DONORS = 8192  # rows of the store whose errors are lent
CANDIDATES = 192  # of which the one seen most alike is taken
RIDGE = 3e-2
YAW_SCALE_RAD, INSIDE_SCALE = 0.3, 0.1  # how alike two views are
ALL_POINTS = 39


@dataclass(frozen=True, slots=True, eq=False)
class Lifted:
    """A batch of simulated answers and the truth behind them."""

    encoded: Encoded
    view: View
    truth: Truth


class Lifter:
    """Draws batches. `measure` first, on rows of a store."""

    def __init__(self, net: ReFit, recorded: "motion.Motion | None", seed: int) -> None:
        self._net, self._motion = net, recorded
        self._rng = np.random.default_rng(seed)
        self._body = motion_body(net)

    def measure(self, truth: Truth, trans: Tensor, view: View, landmarks: Tensor, world: Tensor) -> None:
        """Fits landmarks as fixed mixtures of body points, and keeps the errors: all (rows, …) of a store."""
        with torch.no_grad():
            pixels, depths, metres = observed(truth, trans, view)
            points = landmarks.view(-1, ALL_POINTS, 5)
            visible = inside(pixels) > 0.95  # mixtures are learned from people who are wholly in the crop
            self._to_pixels = mixture(pixels[visible], points[visible][..., :2])
            self._to_depth = mixture(depths[visible][..., None], points[visible][..., 2:3])
            self._to_world = mixture(metres[visible], world[visible].view(-1, ALL_POINTS, 3))
            place = torch.cat([apply(self._to_pixels, pixels), apply(self._to_depth, depths[..., None])], -1)
            self._off = torch.cat([points[..., :3] - place, points[..., 3:]], -1)
            self._off_world = world.view(-1, ALL_POINTS, 3) - apply(self._to_world, metres)
            self._donor_yaw, self._donor_inside = facing(truth.rotations), inside(pixels)

    def batch(self, count: int) -> Lifted:
        """So many people that nobody rendered."""
        rotations, betas, trans, view = self._people(count)
        with torch.no_grad():
            net = self._net
            joints, markers = net.body(rotations, betas)
            cam = cam_from_translation(trans, view)
            joints_px, markers_px = (project_to_crop(points, cam, view) for points in (joints, markers))
            truth = Truth(rotations, betas, cam, joints, markers, joints_px, markers_px)
            landmarks, world = self._answers(truth, trans, view)
            flat = blazepose_of(net).flat(landmarks.new_zeros(count, 288, 2, 2), landmarks, world)
            flat[:, landmarks.shape[1] + world.shape[1] :] = (
                0  # the picture's own summary is hidden, as it is in part of training
            )
            points = landmarks.view(-1, ALL_POINTS, 5)[:, :LANDMARKS]
            keypoints = torch.cat([points[..., :3], torch.sigmoid(points[..., 3:4])], -1)
        hidden = torch.tanh(net.init_head(flat)).unflatten(1, (26, -1))
        blind = torch.zeros(count, net.config.marker_count, 64, 64)
        return Lifted(Encoded(blind, hidden, keypoints), view, truth)

    def _people(self, count: int) -> tuple[Tensor, Tensor, Tensor, View]:
        rng, body = self._rng, self._body
        poses = motion.random_poses(rng, count, body, self._motion, 0.6).rotations.astype(float)
        rows = []
        for rotations in poses:
            heading = rng.uniform(-np.pi, np.pi) if rng.random() < 0.6 else rng.normal(0, 0.6)
            rotations[0] = about_y(np.array(heading)) @ rotations[0]
            betas = random_betas(rng)
            joints, markers = body.joints(rotations, betas), body.markers_at(rotations, betas)
            points = np.concatenate([joints, markers])
            shift = np.array([-joints[0, 0], -points[:, 1].min(), -joints[0, 2]])
            placed = joints + shift
            view = cameras.random_view(rng, placed, rng.random() < 0.15)
            seen = cameras.stood_upright(view, placed, cameras.random_roll_error(rng))
            camera = seen.to_camera(points + shift)
            box = box_of(rng, project(camera, seen.focal_px, seen.centre_px), seen)
            pelvis = body.joint_template[0] + body.joint_shape_dirs[0] @ betas
            rotations[0] = seen.camera_from_world @ rotations[0]
            trans = seen.camera_from_world @ (pelvis + shift - seen.place) - pelvis
            rows.append((rotations, betas, trans, box, seen.focal_px, seen.centre_px))
        columns = [torch.from_numpy(np.stack(column).astype(np.float32)) for column in zip(*rows, strict=True)]
        rotations, betas, trans, box, focal_px, centre_px = columns
        return rotations, betas, trans, View(box, focal_px, centre_px)

    def _answers(self, truth: Truth, trans: Tensor, view: View) -> tuple[Tensor, Tensor]:
        """Landmarks (B, 195) and world landmarks (B, 117) with the errors of donors seen alike."""
        pixels, depths, metres = observed(truth, trans, view)
        candidates = torch.from_numpy(self._rng.integers(0, len(self._off), (len(pixels), CANDIDATES)))
        yaw = facing(truth.rotations)[:, None] - self._donor_yaw[candidates]
        apart = (1 - yaw.cos()) / YAW_SCALE_RAD**2 + (
            (inside(pixels)[:, None] - self._donor_inside[candidates]) / INSIDE_SCALE
        ) ** 2
        donor = candidates.gather(1, apart.argmin(1, keepdim=True))[:, 0]
        place = torch.cat([apply(self._to_pixels, pixels), apply(self._to_depth, depths[..., None])], -1)
        off = self._off[donor]
        points = torch.cat([place + off[..., :3], off[..., 3:]], -1)
        return points.flatten(1), (apply(self._to_world, metres) + self._off_world[donor]).flatten(1)


def motion_body(net: ReFit):
    """The body the poses are tried on, for those that go through themselves."""
    from refit_rt.body import load_body

    return load_body()


def box_of(rng: np.random.Generator, pixels: np.ndarray, view: cameras.View) -> np.ndarray:
    """A tracker's box round points (n, 2): what is in the picture, and some more. (3,) centre and side."""
    half = np.array(view.size) / 2 * (1 + rng.uniform(0, 0.4))
    within = pixels[(np.abs(pixels - view.centre_px) < half).all(1)]
    box = cameras.box_around(within if len(within) > 8 else pixels)
    box[:2] += rng.normal(0, 0.025, 2) * box[2]
    box[2] = np.clip(box[2] * rng.uniform(0.85, 1.2), 24.0, 2.2 * max(view.size))
    return box


def observed(truth: Truth, trans: Tensor, view: View) -> tuple[Tensor, Tensor, Tensor]:
    """Joints and markers (B, P) as BlazePose speaks of points: crop pixels (…, 2), depth behind the hips in crop
    pixels, and metres from the middle of the hips (…, 3)."""
    points = torch.cat([truth.joints, truth.markers], 1)
    pixels = torch.cat([truth.joints_px, truth.markers_px], 1).clamp(-400, 656)
    hips = truth.joints[:, 1:3].mean(1, keepdim=True)
    depth_m = hips[:, 0, 2] + trans[:, 2]
    px_per_metre = view.focal_px / depth_m.clamp(min=0.2) * 256 / view.box[:, 2]
    return pixels, (points[..., 2] - hips[..., 2]) * px_per_metre[:, None], points - hips


def mixture(points: Tensor, landmarks: Tensor) -> Tensor:
    """Weights (L, P + 1) that make landmarks (rows, L, d) of points (rows, P, d) and a constant; ridge regression."""
    rows = torch.cat([points, torch.ones_like(points[:, :1])], 1).transpose(1, 2).flatten(0, 1).double()
    wanted = landmarks.transpose(1, 2).flatten(0, 1).double()
    gram = rows.T @ rows
    ridge = RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.double)
    return torch.linalg.solve(gram + ridge, rows.T @ wanted).T.float()


def apply(weights: Tensor, points: Tensor) -> Tensor:
    """(L, P + 1), (B, P, d) -> (B, L, d)."""
    return weights[:, :-1] @ points + weights[:, -1:]


def inside(pixels: Tensor) -> Tensor:
    """Share of points (B, P, 2) in the crop, (B,)."""
    return ((pixels > 0) & (pixels < 256)).all(-1).float().mean(1)


def facing(rotations: Tensor) -> Tensor:
    """Where a body (B, 24, 3, 3) faces in the picture: angle about the vertical, (B,) radians."""
    forward = rotations[:, 0, :, 2]
    return torch.atan2(forward[:, 0], -forward[:, 2])
