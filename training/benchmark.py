"""A checkpoint on a held-out store: errors an iteration, cold and from the network's own answer of the moment before.

Rows of a store form chains (one person's moments). The first moment of a chain is fitted cold; every later one both
cold and warm, the start blended from the answer to the moment before as the runtime does it: see `warm_start`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from refit_rt import config
from refit_rt.body import Body, load_body
from refit_rt.errors import UserError
from refit_rt.fit import MOST_SCALE
from refit_rt.model.blazepose import LANDMARK_VALUES, blazepose_of
from refit_rt.model.body import BodyTorch
from refit_rt.model.camera import View, cam_from_translation, project_to_crop, translation
from refit_rt.model.config import EDGE
from refit_rt.model.hrnet import Seen
from refit_rt.model.refit import Estimate, ReFit, build
from refit_rt.model.rotation import sixd_from_matrix
from refit_rt.model.start import blend
from refit_rt.model.update import State
from training import metrics
from training.losses import mpjpe_mm, pa_mpjpe_mm
from training.real_clip import MEDIAPIPE_LIMBS, SMPL_LIMBS
from training.store import LABELS, Rows, Store
from training.train import read_checkpoint
from training.warm import exchanged, opposed, turn_camera

BATCH = 64
CROP_PX = EDGE.crop_px
MEASURES = ("mpjpe", "pa", "pve", "px")  # mm, mm after Procrustes, mm of the whole surface, pixels of the crop
HEAD = ("MPJPE mm", "PA-MPJPE mm", "PVE mm", "px of 256")
RIGHT_PX = 15.0  # mean error of the backbone's own limb landmarks up to which it saw the person right
WELL, HALF = 0.9, 0.5  # shares of the surface that is seen


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Of n rows."""

    cold: np.ndarray  # (n, iterations + 1, MEASURES); [:, 0] is the first estimate
    warm: np.ndarray  # (n, iterations + 1, MEASURES), NaN for the first moment of a chain; [:, 0] is the blended start
    cold_joints: np.ndarray  # (n, 24, 3) metres, pelvis at the origin, camera before the crop's roll; last iteration
    warm_joints: np.ndarray  # the same, after the iterations that live use makes
    true_joints: np.ndarray  # (n, 24, 3)
    place: np.ndarray  # (n,) in its chain, from 0
    chain: np.ndarray  # (n,) which chain
    visible: np.ndarray  # (n,) share of the surface
    landmarks_px: np.ndarray  # (n,) mean error of the backbone's limb landmarks
    away: np.ndarray  # (n,) -1 faces the camera .. 1 turns the back


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Rows as the network and the measures take them."""

    seen: Seen
    view: View
    rotations: Tensor  # (B, 24, 3, 3)
    betas: Tensor  # (B, 10)
    trans: Tensor  # (B, 3) metres
    roll: Tensor  # (B,)
    visible: Tensor  # (B,)
    landmarks: Tensor  # (B, 33, 2) crop pixels, the backbone's


def load_network(checkpoint: Path, body: Body | None = None) -> ReFit:
    """The averaged weights of a checkpoint of training.train, ready to evaluate. Raises UserError."""
    found = read_checkpoint(checkpoint)
    network = build(EDGE, body or load_body())
    try:
        network.load_state_dict(found["average"])
    except (KeyError, TypeError, RuntimeError) as error:
        raise UserError(f"{checkpoint}: is a checkpoint of another network. Give one of this version") from error
    return network.eval()


def batch_of(network: ReFit, store: Store, rows: Rows) -> Batch:
    """Rows of a store → tensors."""
    label = dict(zip(LABELS, torch.from_numpy(rows.labels).split(list(LABELS.values()), dim=1), strict=True))
    features = torch.from_numpy(rows.features).float() * torch.from_numpy(store.step).view(1, -1, 1, 1)
    raw = torch.from_numpy(rows.landmarks).float()
    summary, world = torch.from_numpy(rows.summary).float(), torch.from_numpy(rows.world).float()
    seen = blazepose_of(network).see(features, summary.view(-1, 288, 2, 2), raw, world)
    view = View(label["box"], label["focal_px"][:, 0], label["centre_px"])
    landmarks = raw[:, :LANDMARK_VALUES].view(-1, 39, 5)[:, :33, :2]
    return Batch(seen, view, label["rotations"].view(-1, 24, 3, 3), label["betas"], label["trans"], label["roll"][:, 0],
                 label["visible"][:, 0], landmarks)  # fmt: skip


def chains(store: Store, limit: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each row: its place in its chain, its chain, and the row (of the result) of the moment before, -1 for none.

    Whole chains up to about `limit` rows (0: all), in the order of the store.
    """
    number = {tuple(pair): i for i, pair in enumerate(store.index.tolist())}
    count = len(store) if not limit else min(limit, len(store))
    place, chain, before = (np.zeros(len(store), np.int64) for _ in range(3))
    for i, (shard, row) in enumerate(store.index.tolist()):
        previous = int(store.list[shard].previous[row])
        before[i] = number[shard, previous] if previous >= 0 else -1
        place[i] = place[before[i]] + 1 if previous >= 0 else 0
        chain[i] = chain[before[i]] if previous >= 0 else i
    while count < len(store) and place[count]:
        count += 1
    return place[:count], chain[:count], before[:count]


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What was made of each row (n), for the moment after it."""

    rotations: Tensor  # (n, 24, 3, 3)
    betas: Tensor  # (n, 10)
    trans: Tensor  # (n, 3) metres, camera of the row's crop
    roll: Tensor  # (n,) of the row's crop

    def keep(self, rows: np.ndarray, estimate: Estimate, batch: Batch) -> None:
        self.rotations[rows], self.betas[rows] = estimate.rotations, estimate.betas
        self.trans[rows], self.roll[rows] = translation(estimate.cam, batch.view), batch.roll


def warm_start(
    network: ReFit, last: Answers, rows: np.ndarray, batch: Batch, fresh: Estimate, share: float
) -> tuple[Estimate, Tensor]:
    """Where the loop starts: the body of `rows` blended with the fresh one as refit_rt.fit does it, and where (B,) the
    two face away from each other, so that the landmarks' left and right must be exchanged."""
    body = fresh._replace(rotations=last.rotations[rows], betas=last.betas[rows])
    rotations, place = turn_camera(body, last.trans[rows], last.roll[rows] - batch.roll, network)
    cam = cam_from_translation(place, batch.view)
    scale = cam[:, 0] / fresh.cam[:, 0].clamp(min=1e-3)
    fits = (scale < MOST_SCALE) & (scale > 1 / MOST_SCALE) & (place[:, 2] > 0.1)
    away = fits & opposed(rotations, fresh.rotations)
    state = State(sixd_from_matrix(rotations), body.betas, torch.where(fits[:, None], cam, fresh.cam))
    weight = torch.where(away, 1.0, torch.where(fits, share, 0.0))
    return network.place(blend(fresh.state, state, weight), batch.view), away


class Measure:
    """What estimates of a batch are off by."""

    def __init__(self, body: Body, batch: Batch) -> None:
        self._surface = BodyTorch(body, np.arange(len(body.template)))
        self.joints, self._vertices = self._surface(batch.rotations, batch.betas)
        cam = cam_from_translation(batch.trans, batch.view)
        self.joints_px = project_to_crop(self.joints, cam, batch.view)
        # Joints beside the lens, out of sight, project to anywhere: their pixels say nothing.
        self.inside = ((self.joints_px >= 0) & (self.joints_px <= CROP_PX)).all(-1)

    def __call__(self, estimate: Estimate) -> Tensor:
        """(B, MEASURES)."""
        joints, vertices = self._surface(estimate.rotations, estimate.betas)
        off_px = (estimate.joints_px - self.joints_px).norm(dim=-1).where(self.inside, torch.nan).nanmean(1)
        pve = metrics.pve_mm(vertices, joints[:, 0], self._vertices, self.joints[:, 0])
        return torch.stack([mpjpe_mm(joints, self.joints), pa_mpjpe_mm(joints, self.joints), pve, off_px], 1)


@torch.no_grad()
def score(network: ReFit, store: Store, iterations: int = 5, live: int = 2, share: float = config.Fit().blend,
          limit: int = 0, body: Body | None = None) -> Scores:  # fmt: skip
    """Every row of a store. live: iterations after which a warm answer is handed on to the next moment."""
    body = body or load_body()
    place, chain, before = chains(store, limit)
    out, count = _empty(iterations, place, chain), len(place)
    answers = Answers(torch.zeros(count, 24, 3, 3), torch.zeros(count, 10), torch.zeros(count, 3), torch.zeros(count))
    for rows in _levels(place):
        batch = batch_of(network, store, store.take(store.index[rows]))
        measure, encoded = Measure(body, batch), network.encode_features(batch.seen)
        cold = network(encoded, batch.view, iterations)
        out.cold[rows] = torch.stack([measure(one) for one in cold], 1).numpy()
        last = cold[-1]
        if place[rows[0]]:
            start, away = warm_start(network, answers, before[rows], batch, cold[0], share)
            assert encoded.keypoints is not None
            turned = encoded._replace(keypoints=exchanged(encoded.keypoints, away))
            warm = [start, *network(turned, batch.view, iterations, start)[1:]]
            out.warm[rows] = torch.stack([measure(one) for one in warm], 1).numpy()
            last = warm[live]
        _note(out, rows, batch, measure, cold[-1], last)
        answers.keep(rows, last, batch)
    return out


def _empty(iterations: int, place: np.ndarray, chain: np.ndarray) -> Scores:
    count = len(place)
    cold, warm = (np.full((count, iterations + 1, len(MEASURES)), np.nan) for _ in range(2))
    joints = [np.zeros((count, 24, 3)) for _ in range(3)]
    sorting = [np.zeros(count) for _ in range(3)]
    return Scores(cold, warm, joints[0], joints[1], joints[2], place, chain, sorting[0], sorting[1], sorting[2])


def _levels(place: np.ndarray) -> Iterator[np.ndarray]:
    """Batches of rows: all first moments, then all second ones, …"""
    for level in range(int(place.max(initial=-1)) + 1):
        rows = np.flatnonzero(place == level)
        yield from (rows[first : first + BATCH] for first in range(0, len(rows), BATCH))


def _note(out: Scores, rows: np.ndarray, batch: Batch, measure: Measure, cold: Estimate, warm: Estimate) -> None:
    """Joints, and what the rows are sorted by."""
    # Rows of geometry.roll_matrix: points @ upright takes the crop's turn back.
    cos, sin, zero = batch.roll.cos(), batch.roll.sin(), torch.zeros_like(batch.roll)
    upright = torch.stack([cos, sin, zero, -sin, cos, zero, zero, zero, zero + 1], -1).view(-1, 3, 3)

    def in_camera(joints: Tensor) -> np.ndarray:
        return ((joints - joints[:, :1]) @ upright).numpy()

    out.cold_joints[rows], out.warm_joints[rows] = in_camera(cold.joints), in_camera(warm.joints)
    out.true_joints[rows] = in_camera(measure.joints)
    limbs = torch.from_numpy(SMPL_LIMBS)
    off = (batch.landmarks[:, torch.from_numpy(MEDIAPIPE_LIMBS)] - measure.joints_px[:, limbs]).norm(dim=-1)
    out.landmarks_px[rows] = off.where(measure.inside[:, limbs], torch.nan).nanmean(1).nan_to_num(torch.inf).numpy()
    out.away[rows], out.visible[rows] = batch.rotations[:, 0, 2, 2].numpy(), batch.visible.numpy()


def report(scores: Scores, live: int) -> str:
    """The tables: an iteration each, then the parts of the set, then what chains tell."""
    parts = [_iterations(scores), _subsets(scores, live)]
    if (scores.place > 1).any():
        parts.append(_steadiness(scores))
    return "\n\n".join(parts)


def _cells(values: np.ndarray) -> list[str]:
    """(n, MEASURES) → mean and median of each."""
    if not len(values):
        return ["-"] * len(MEASURES)
    both = zip(np.nanmean(values, 0), np.nanmedian(values, 0), strict=True)
    return [f"{mean:.1f} / {median:.1f}" for mean, median in both]


def _iterations(scores: Scores) -> str:
    again = scores.place > 0
    rows = [[f"cold {i}", str(len(again)), *_cells(scores.cold[:, i])] for i in range(scores.cold.shape[1])]
    if again.any():
        rows.append(["cold, last, of the same rows as warm", str(again.sum()), *_cells(scores.cold[again, -1])])
        rows += [[f"warm {i}", str(again.sum()), *_cells(scores.warm[again, i])] for i in range(scores.warm.shape[1])]
    return metrics.table(["start, iterations", "rows", *HEAD], rows)


def _subsets(scores: Scores, live: int) -> str:
    """Cold after the last iteration, and warm after `live`."""
    seen, right, away = scores.visible, scores.landmarks_px <= RIGHT_PX, scores.away
    groups = {
        f"{WELL:.0%} of the surface seen or more": seen >= WELL,
        f"{HALF:.0%} to {WELL:.0%} seen": (seen >= HALF) & (seen < WELL),
        f"less than {HALF:.0%} seen": seen < HALF,
        f"backbone's landmarks right (< {RIGHT_PX:.0f} px)": right,
        "backbone's landmarks wrong": ~right,
        "faces the camera": away < -0.5,
        "from the side": np.abs(away) <= 0.5,
        "turns the back": away > 0.5,
    }
    again = scores.place > 0
    rows = []
    for name, group in groups.items():
        rows.append([f"cold: {name}", str(group.sum()), *_cells(scores.cold[group, -1])])
        if (group & again).any():
            rows.append([f"warm {live}: {name}", str((group & again).sum()), *_cells(scores.warm[group & again, live])])
    return metrics.table(["part", "rows", *HEAD], rows)


def _steadiness(scores: Scores) -> str:
    """Acceleration of chains of three moments and more, and their first and last third."""
    chained = [np.flatnonzero(scores.chain == chain) for chain in np.unique(scores.chain[scores.place > 1])]
    rows = []
    for name, joints in (("cold", scores.cold_joints), ("warm", scores.warm_joints), ("truth", scores.true_joints)):
        shaking = np.concatenate([metrics.acceleration_mm(joints[one]) for one in chained])
        off = np.concatenate([metrics.acceleration_error_mm(joints[one], scores.true_joints[one]) for one in chained])
        error = 1000 * np.linalg.norm(joints - scores.true_joints, axis=-1).mean(1)
        thirds = [np.mean([error[np.array_split(one, 3)[i]].mean() for one in chained]) for i in (0, 2)]
        rows.append([name, f"{shaking.mean():.1f}", f"{off.mean():.1f}", *(f"{third:.1f}" for third in thirds)])
    return metrics.table(["chains", "jitter mm", "acceleration error mm", "MPJPE first third", "last third"], rows)
