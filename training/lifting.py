"""People without pictures: poses, cameras, and the landmarks that the backbone would predict, with typical errors.

They train the first estimate and the part of the loop that reads landmarks: thousands per second, where rendering gives
tens. training.landmark_map gives the true landmarks of a body; their errors are copied from the last rows that the
trainer has drawn.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from refit_rt.geometry import project
from refit_rt.model.blazepose import blazepose_of
from refit_rt.model.camera import View
from refit_rt.model.config import KEYPOINTS
from refit_rt.model.refit import Encoded, ReFit
from training.landmark_map import POINTS, Observed, answer_of, inside, load_map, observed
from training.losses import Truth
from training.store.batches import truth_of
from training.synthetic import cameras, motion
from training.synthetic.motion import about_y
from training.synthetic.people import random_betas

DONORS, ENOUGH = 4096, 512  # rows whose errors are kept, and the fewest that suffice
CANDIDATES = 192  # donors drawn per person, of which the one with the most similar view lends its errors
YAW_SCALE_RAD, INSIDE_SCALE = 0.3, 0.1  # differences of heading and of share in the crop that weigh the same


@dataclass(frozen=True, slots=True, eq=False)
class Lifted:
    """A batch of simulated encoder outputs, and the truth."""

    encoded: Encoded
    view: View
    truth: Truth


class Lifter:
    """Draws batches of people without pictures, once it has noted the errors of `ENOUGH` rows."""

    def __init__(self, net: ReFit, recorded: "motion.Motion | None") -> None:
        from refit_rt.body.smpl import load_body

        self._net, self._motion, self._body = net, recorded, load_body()
        self._device = net.mean_betas.device
        self._map = load_map(self._device)
        self.donors: list[tuple[Tensor, ...]] = []  # what `note` keeps of a batch; a checkpoint holds it too

    @property
    def ready(self) -> bool:
        return sum(len(donor[0]) for donor in self.donors) >= ENOUGH

    @torch.no_grad()
    def note(self, truth: Truth, trans: Tensor, view: View, landmarks: Tensor, world: Tensor) -> None:
        """Keeps the errors of a batch's raw landmarks (B, 195) and world landmarks (B, 117), and drops the oldest."""
        seen, answer = observed(truth, trans, view), answer_of(landmarks, world)
        ideal = self._map(seen)
        place = torch.cat([ideal.pixels, ideal.depth[..., None]], -1)
        points = landmarks.view(-1, POINTS, 5)
        off = torch.cat([points[..., :3] - place, points[..., 3:]], -1)
        self.donors.append((off, answer.metres - ideal.metres, facing(truth.rotations), inside(seen.pixels)))
        while sum(len(donor[0]) for donor in self.donors[1:]) >= DONORS:
            self.donors.pop(0)

    def batch(self, count: int, rng: np.random.Generator) -> Lifted:
        """Draws `count` people."""
        rotations, betas, trans, view = self._people(count, rng)
        with torch.no_grad():
            net = self._net
            truth = truth_of(net.body, rotations, betas, trans, view)
            landmarks, world = self._answers(truth, observed(truth, trans, view), rng)
            flat = blazepose_of(net).flat(landmarks.new_zeros(count, 288, 2, 2), landmarks, world)
            # There is no picture, so its 2x2 summary is hidden, as it is for some rendered rows.
            flat[:, landmarks.shape[1] + world.shape[1] :] = 0
            points = landmarks.view(-1, POINTS, 5)[:, :KEYPOINTS]
            keypoints = torch.cat([points[..., :3], torch.sigmoid(points[..., 3:4])], -1)
        hidden = torch.tanh(net.init_head(flat)).unflatten(1, (26, -1))
        blind = torch.zeros(count, net.config.marker_count, 64, 64, device=self._device)
        return Lifted(Encoded(blind, hidden, keypoints), view, truth)

    def _people(self, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, View]:
        body = self._body
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
            pelvis = body.rest_pelvis(betas)
            rotations[0] = seen.camera_from_world @ rotations[0]
            trans = seen.camera_from_world @ (pelvis + shift - seen.place) - pelvis
            rows.append((rotations, betas, trans, box, seen.focal_px, seen.centre_px))
        columns = [
            torch.from_numpy(np.stack(column).astype(np.float32)).to(self._device) for column in zip(*rows, strict=True)
        ]
        rotations, betas, trans, box, focal_px, centre_px = columns
        return rotations, betas, trans, View(box, focal_px, centre_px)

    def _answers(self, truth: Truth, seen: Observed, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Makes landmarks (B, 195) and world landmarks (B, 117) with the errors of donors in similar views."""
        offs, offs_m, yaws, insides = (torch.cat(parts) for parts in zip(*self.donors, strict=True))
        candidates = torch.from_numpy(rng.integers(0, len(offs), (len(seen.pixels), CANDIDATES))).to(self._device)
        yaw = facing(truth.rotations)[:, None] - yaws[candidates]
        whole = (inside(seen.pixels)[:, None] - insides[candidates]) / INSIDE_SCALE
        apart = (1 - yaw.cos()) / YAW_SCALE_RAD**2 + whole**2
        donor = candidates.gather(1, apart.argmin(1, keepdim=True))[:, 0]
        ideal, off = self._map(seen), offs[donor]
        place = torch.cat([ideal.pixels, ideal.depth[..., None]], -1) + off[..., :3]
        return torch.cat([place, off[..., 3:]], -1).flatten(1), (ideal.metres + offs_m[donor]).flatten(1)


def box_of(rng: np.random.Generator, pixels: np.ndarray, view: cameras.View) -> np.ndarray:
    """Draws a tracker's box (3,), centre and side, around the points (n, 2) px that lie in the picture or near it."""
    half = np.array(view.size) / 2 * (1 + rng.uniform(0, 0.4))
    within = pixels[(np.abs(pixels - view.centre_px) < half).all(1)]
    box = cameras.box_around(within if len(within) > 8 else pixels)
    box[:2] += rng.normal(0, 0.025, 2) * box[2]
    box[2] = np.clip(box[2] * rng.uniform(0.85, 1.2), 24.0, 2.2 * max(view.size))
    return box


def facing(rotations: Tensor) -> Tensor:
    """The headings (B,) in radians about the vertical of bodies (B, 24, 3, 3), relative to the camera."""
    forward = rotations[:, 0, :, 2]
    return torch.atan2(forward[:, 0], -forward[:, 2])
