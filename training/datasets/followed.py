"""Scores a network on labelled sequences: errors per iteration, each frame cold and from the previous frame."""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from refit_rt.body.smpl import Body
from refit_rt.errors import UserError
from refit_rt.fit.crops import NECK, PELVIS, SHORT_TORSO, lean
from refit_rt.model.body import BodyTorch
from refit_rt.model.camera import View
from refit_rt.model.refit import Estimate, ReFit
from training.datasets.crop import Change, cut_out, read_picture
from training.datasets.record import Bodies, Record, Table
from training.evaluation import metrics
from training.evaluation.tracked import Crops, Memory, either
from training.losses import pa_mpjpe_mm
from training.starts import exchanged

log = logging.getLogger(__name__)
FPS = 30.0  # of 3DPW and EMDB
BATCH = 32
MEASURES = ("MPJPE mm", "PA-MPJPE mm", "PVE mm")


@dataclass(frozen=True, slots=True)
class Protocol:
    """How the network fits people in an evaluation."""

    iterations: int
    live: int  # updates of a followed fit whose result the next frame starts from
    share: float  # of the last body in the start
    upright: bool  # crops stand people upright


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Errors and joints of n frames, in the table's order."""

    chain: np.ndarray  # (n,) which person
    place: np.ndarray  # (n,) in an unbroken run of frames, from 0
    cold: np.ndarray  # (n, iterations + 1, 3) MEASURES; [:, 0] is the first estimate
    warm: np.ndarray  # (n, iterations + 1, 3) NaN for the first of a run; [:, 0] is the start
    cold_points: np.ndarray  # (n, iterations + 1, J, 3) float32 metres about the pelvis, camera
    warm_points: np.ndarray  # the same; the cold ones for the first frame of a run
    true_points: np.ndarray  # (n, J, 3)

    def cold_acceleration(self) -> list[np.ndarray]:
        """Acceleration errors per count of updates: mm per frame squared, for each frame between two others."""
        return self._acceleration(self.cold_points)

    def warm_acceleration(self) -> list[np.ndarray]:
        return self._acceleration(self.warm_points)

    def _acceleration(self, points: np.ndarray) -> list[np.ndarray]:
        third = np.flatnonzero(self.place >= 2)  # a run's rows are consecutive
        errors = []
        for i in range(points.shape[1]):
            off = points[:, i] - self.true_points
            errors.append(1000 * np.linalg.norm(off[third] - 2 * off[third - 1] + off[third - 2], axis=-1).mean(-1))
        return errors


class Yardstick:
    """Measures bodies: SMPL's joints, or joints regressed from the surface, and the surface, about the pelvis."""

    def __init__(self, body: Body, regressor: np.ndarray | None, device: torch.device) -> None:
        """regressor (1 + J, vertices): its first row is the origin."""
        self._surface = BodyTorch(body, np.arange(len(body.template))).to(device)
        self._regressor = None if regressor is None else torch.from_numpy(regressor).to(device)

    def __call__(self, rotations: Tensor, betas: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 24, 3, 3), (B, 10) → points (B, J, 3), vertices (B, V, 3), metres about the pelvis."""
        joints, vertices = self._surface(rotations, betas)
        if self._regressor is not None:
            joints = self._regressor @ vertices
        root = joints[:, :1]
        return (joints if self._regressor is None else joints[:, 1:]) - root, vertices - root


def runs(table: Table, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows to score, and the place of each in its run. A run ends where the person or the frame number jumps."""
    chains, frames = table.chains, table.frames
    if chains is None or frames is None:
        raise UserError(
            f"{table.source}: its labels do not say which frames follow each other. Use the files of 3DPW or EMDB"
        )
    follows = np.zeros(len(table), bool)
    follows[1:] = (np.diff(chains) == 0) & (np.diff(frames) == 1)
    index = np.arange(len(table))
    place = index - np.maximum.accumulate(np.where(follows, 0, index))
    first = np.maximum.accumulate(np.where(np.diff(chains, prepend=-1) != 0, index, 0))
    rows = np.flatnonzero(index - first < limit) if limit else index
    return rows, place[rows]


class Scorer:
    """One evaluation: the network, the previous fit of each run, and the scores so far."""

    def __init__(
        self,
        network: ReFit,
        table: Table,
        own: Body,
        bodies: Bodies,
        protocol: Protocol,
        limit: int,
        regressor: np.ndarray | None,
    ) -> None:
        rows, place = runs(table, limit)
        self.table = table.take(rows)
        self._network, self._protocol, self._bodies = network, protocol, bodies
        self._device = network.mean_betas.device
        self._own = Yardstick(own, regressor, self._device)
        self._same_mesh = len(own.template) == len(bodies.neutral.template)
        self._truth: dict[int, Yardstick] = {}
        self._regressor = regressor
        assert self.table.chains is not None
        self._run = np.cumsum(place == 0) - 1
        self._memory = Memory.of(self._run.max(initial=-1) + 1).to(self._device)
        self._lean = np.zeros(len(self._memory.roll))
        count, ways = len(place), protocol.iterations + 1
        joints = 24 if regressor is None else len(regressor) - 1
        errors = np.full((2, count, ways, len(MEASURES)), np.nan)
        points = np.zeros((2, count, ways, joints, 3), np.float32)
        self.out = Scores(
            chain=self.table.chains,
            place=place,
            cold=errors[0],
            warm=errors[1],
            cold_points=points[0],
            warm_points=points[1],
            true_points=np.zeros((count, joints, 3), np.float32),
        )

    def block(self, rows: np.ndarray) -> None:
        """Scores rows (B,) of different runs, all at the same place in their runs."""
        records = [self.table[row] for row in rows]
        pictures = [read_picture(record) for record in records]
        points, vertices = self._true(records)
        self.out.true_points[rows] = points.cpu().numpy()

        def note(errors: np.ndarray, kept: np.ndarray, estimates: list[Estimate], roll: Tensor) -> None:
            for i, one in enumerate(estimates):
                errors[rows, i], kept[rows, i] = self._measure(one, roll, points, vertices)

        crops = self._crops(records, pictures, np.zeros(len(rows)), rows)
        cold = self._network(crops.encoded, crops.view, self._protocol.iterations)
        if self._protocol.upright:
            crops = self._crops(records, pictures, leans(cold[-1], crops, self._network.config.crop_px), rows)
            cold = self._network(crops.encoded, crops.view, self._protocol.iterations)
        note(self.out.cold, self.out.cold_points, cold, crops.roll)
        answer, opposed = cold[-1], torch.zeros(len(rows), dtype=torch.bool, device=self._device)
        if self.out.place[rows[0]]:
            if self._protocol.upright:
                crops = self._crops(records, pictures, self._lean[self._run[rows]], rows)
                cold = self._network(crops.encoded, crops.view, self._protocol.iterations)
            warm, opposed = self._follow(rows, crops, cold)
            note(self.out.warm, self.out.warm_points, warm, crops.roll)
            answer = warm[self._protocol.live]
        else:
            self.out.warm_points[rows] = self.out.cold_points[rows]
        people = torch.from_numpy(self._run[rows]).to(self._device)
        self._memory.keep(people, answer, crops, torch.ones_like(opposed), opposed)
        self._lean[self._run[rows]] = leans(answer, crops, self._network.config.crop_px)

    def _follow(self, rows: np.ndarray, crops: Crops, cold: list[Estimate]) -> tuple[list[Estimate], Tensor]:
        """Fits from the previous frame, as the runtime does; where that is impossible, returns the cold fits."""
        people = torch.from_numpy(self._run[rows]).to(self._device)
        start, exchange, restarted = self._memory.start(self._network, people, crops, cold[0], self._protocol.share)
        encoded = crops.encoded
        if encoded.keypoints is not None:
            encoded = encoded._replace(keypoints=exchanged(encoded.keypoints, exchange))
        warm = [start, *self._network(encoded, crops.view, self._protocol.iterations, start)[1:]]
        return [either(restarted, cold[i], one) for i, one in enumerate(warm)], exchange

    def _crops(self, records: list[Record], pictures: list[np.ndarray], roll: np.ndarray, rows: np.ndarray) -> Crops:
        """Crops at the labels' boxes, turned by roll (B,)."""
        samples = [
            cut_out(record, picture, Change(roll=float(turn)))
            for record, picture, turn in zip(records, pictures, roll, strict=True)
        ]

        def tensor(values: list) -> Tensor:
            return torch.from_numpy(np.asarray(values, np.float32)).to(self._device)

        images = torch.from_numpy(np.stack([one.image for one in samples])).to(self._device)
        encoded = self._network.encode(images.permute(0, 3, 1, 2).float() / 255)
        view = View(*(tensor([getattr(one, name) for one in samples]) for name in ("box", "focal_px", "centre_px")))
        return Crops(encoded, view, tensor(list(roll)), tensor(list(self.out.place[rows] / FPS)))

    def _true(self, records: list[Record]) -> tuple[Tensor, Tensor]:
        """True points and vertices, each from the body of its gender."""
        points: list[Tensor] = []
        surfaces: list[Tensor] = []
        for record in records:
            body = self._bodies.of(record.gender)
            if id(body) not in self._truth:
                self._truth[id(body)] = Yardstick(body, self._regressor, self._device)
            parts = (torch.from_numpy(np.asarray(part, np.float32)[None]) for part in (record.rotations, record.betas))
            joints, vertices = self._truth[id(body)](*(part.to(self._device) for part in parts))
            points.append(joints)
            surfaces.append(vertices)
        return torch.cat(points), torch.cat(surfaces)

    def _measure(self, one: Estimate, roll: Tensor, true: Tensor, surface: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Errors (B, MEASURES), and the points (B, J, 3) in the unturned camera."""
        points, vertices = self._own(one.rotations, one.betas)
        upright = turns(roll)
        points, vertices = points @ upright, vertices @ upright
        mpjpe = (points - true).norm(dim=-1).mean(1) * 1000
        pve = torch.full_like(mpjpe, torch.nan)
        if self._same_mesh:
            pve = metrics.pve_mm(vertices, torch.zeros_like(vertices[:, 0]), surface, torch.zeros_like(surface[:, 0]))
        return torch.stack([mpjpe, pa_mpjpe_mm(points, true), pve], 1).cpu().numpy(), points.cpu().numpy()


@torch.no_grad()
def score(
    network: ReFit,
    table: Table,
    own: Body,
    bodies: Bodies,
    protocol: Protocol,
    limit: int = 0,
    regressor: np.ndarray | None = None,
) -> Scores:
    """Scores every frame, or the first `limit` of each person. own: the network's body; bodies: the truth's.

    regressor (1 + J, vertices) gives the origin and the joints to compare; None: SMPL's 24 about the pelvis. Raises
    UserError.
    """
    scorer = Scorer(network, table, own, bodies, protocol, limit, regressor)
    done, logged = 0, time.monotonic()
    for rows in blocks(scorer.out.place):
        scorer.block(rows)
        done += len(rows)
        if time.monotonic() - logged > 30:
            logged = time.monotonic()
            log.info("%s: %d of %d frames", table.source, done, len(scorer.out.place))
    return scorer.out


def blocks(place: np.ndarray) -> Iterator[np.ndarray]:
    """Yields batches of rows: the first frames of all runs, then the second ones, and so on."""
    for level in range(int(place.max(initial=-1)) + 1):
        rows = np.flatnonzero(place == level)
        yield from (rows[first : first + BATCH] for first in range(0, len(rows), BATCH))


def leans(estimate: Estimate, crops: Crops, crop_px: int) -> np.ndarray:
    """(B,) radians by which people lean in the picture, from their trunks in their crops."""
    joints, roll = estimate.joints_px.cpu().numpy(), crops.roll.cpu().numpy()
    least_px = SHORT_TORSO * crop_px
    return np.array(
        [turn + lean(one[PELVIS], one[NECK], least_px, 0.0) for one, turn in zip(joints, roll, strict=True)]
    )


def turns(roll: Tensor) -> Tensor:
    """(B, 3, 3) rotations: points (B, n, 3) of crops turned by roll (B,), times this, are in the unturned camera."""
    cos, sin, zero = roll.cos(), roll.sin(), torch.zeros_like(roll)
    return torch.stack([cos, sin, zero, -sin, cos, zero, zero, zero, zero + 1], -1).view(-1, 3, 3)
