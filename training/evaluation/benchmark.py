"""Scores a network on a held-out store: errors per iteration, each moment cold and from the previous moment.

The rows of a store form chains, the moments of one person: stills, clips, and long clips, which are followed at their
own rate and at a half and a quarter of it. The first moment of a chain is fitted cold, each later one both cold and
followed, with the start that the runtime chooses (see `tracked`).
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from refit_rt import config
from refit_rt.body.smpl import Body, load_body
from refit_rt.errors import UserError
from refit_rt.fit import mirror
from refit_rt.fit.start import given_up
from refit_rt.geometry import axis_angle_from_matrix
from refit_rt.model.body import BodyTorch
from refit_rt.model.camera import View, cam_from_translation, project_to_crop
from refit_rt.model.refit import Encoded, Estimate, ReFit, build
from refit_rt.model.weights import edge_of
from training.checkpoint import load_into, read_start
from training.evaluation import metrics
from training.evaluation.real_clip import MEDIAPIPE_LIMBS, SMPL_LIMBS
from training.evaluation.tracked import Crops, Memory, Pass, confidence, either, part_of, some
from training.losses import mpjpe_mm, pa_mpjpe_mm
from training.store.shards import LABELS, Rows, Store

log = logging.getLogger(__name__)
BATCH = 32
MEASURES = ("mpjpe", "pa", "pve", "px")  # mm, mm after Procrustes, mm of the whole surface, pixels of the crop
EVERY = (1, 2, 4)  # long clips are followed in every n-th frame
LONG = 600  # chains of at least this many moments are long clips
LOG_S = 30.0
KINDS = ("stills", "clips", "long clips")
Precision = Literal["f32", "bf16"]


@dataclass(frozen=True, slots=True)
class Protocol:
    """How the network fits people in an evaluation."""

    iterations: int = 5
    live: int = config.Fit().iterations  # updates of a followed fit whose result the next moment starts from
    share: float = config.Fit().blend  # of the last body in the start
    min_confidence: float = config.Fit().min_confidence  # below it the live fitter starts cold and forgets the body
    turns: bool = config.Fit().mirror == "turns"  # every other moment is fitted mirrored
    precision: Precision = "f32"  # of the encoder


@dataclass(frozen=True, slots=True, eq=False)
class Chains:
    """The chain of each of n chosen rows."""

    row: np.ndarray  # (n,) in the store
    place: np.ndarray  # (n,) in its chain, from 0
    chain: np.ndarray  # (n,) the row of the chain's first moment
    kind: np.ndarray  # (n,) index into KINDS
    fps: np.ndarray  # (n,) moments per second; 0: a still


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """The scores of n rows, followed at r rates.

    Followed scores are NaN where a row is skipped at a rate, for first moments, and where they are not computed: long
    clips have no PVE, and only `live` updates.
    """

    chains: Chains
    cold: np.ndarray  # (n, iterations + 1, MEASURES); [:, 0] is the first estimate
    warm: np.ndarray  # (r, n, iterations + 1, MEASURES); [..., 0, :] is the start
    restarted: np.ndarray  # (r, n) bool: the live fitter would start cold
    cold_joints: np.ndarray  # (n, 24, 3) metres about the pelvis, in the unrolled camera, after the last update
    warm_joints: np.ndarray  # (r, n, 24, 3) the same after `live` updates; the cold ones for first moments
    warm_poses: np.ndarray  # (r, n, 24, 3) axis-angle of the same bodies, in the unrolled camera
    warm_betas: np.ndarray  # (r, n, 10)
    warm_confidence: np.ndarray  # (r, n)
    true_joints: np.ndarray  # (n, 24, 3)
    visible: np.ndarray  # (n,) share of the surface
    landmarks_px: np.ndarray  # (n,) mean error of the backbone's limb landmarks; NaN: it has none
    facing_away: np.ndarray  # (n,) from -1, facing the camera, to 1, with the back to it


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Rows in the form that the network and the measures take."""

    crops: Crops
    rotations: Tensor  # (B, 24, 3, 3)
    betas: Tensor  # (B, 10)
    trans: Tensor  # (B, 3) metres
    visible: Tensor  # (B,)


def load_network(source: str | Path, body: Body | None = None) -> ReFit:
    """Loads an edge network for evaluation: the averaged weights of a checkpoint of training.train, or a bundle, by the
    name of a shipped one or by its folder. Raises UserError."""
    checkpoint = read_start(source)
    network = build(edge_of(checkpoint.get("average", {})), body or load_body())
    load_into(network, checkpoint, "average", Path(source))
    return network.eval()


def encode(network: ReFit, images: np.ndarray, precision: Precision = "f32") -> Encoded:
    """Encodes crops (B, 256, 256, 3) uint8 RGB. With bf16, inputs and outputs of convolutions are rounded as with
    `fit.precision: bf16`; torch does so on any processor, but slowly."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        encoded = network.encode(pixels)
    maps, hidden, keypoints = encoded
    return Encoded(maps.float(), hidden.float(), None if keypoints is None else keypoints.float())


def batch_of(network: ReFit, rows: Rows, time_s: np.ndarray | None = None, precision: Precision = "f32") -> Batch:
    """Turns rows of a store into tensors. time_s (B,): since the person's first moment."""
    label = dict(zip(LABELS, torch.from_numpy(rows.labels).split(list(LABELS.values()), dim=1), strict=True))
    view = View(label["box"], label["focal_px"][:, 0], label["centre_px"])
    times = torch.zeros(len(rows.labels)) if time_s is None else torch.from_numpy(time_s).float()
    crops = Crops(encode(network, rows.images, precision), view, label["roll"][:, 0], times)
    return Batch(crops, label["rotations"].view(-1, 24, 3, 3), label["betas"], label["trans"], label["visible"][:, 0])


def find_chains(store: Store, limit: int = 0) -> Chains:
    """Finds whole chains in the order of the store: all, or about `limit` rows of each kind, in chains no longer than
    that. Raises UserError for a store in which a person's moments are not consecutive."""
    previous = np.concatenate([shard.previous for shard in store.shards])
    first = np.flatnonzero(previous < 0)
    length = np.diff(np.append(first, len(previous)))
    chain, place = np.repeat(first, length), np.arange(len(previous)) - np.repeat(first, length)
    if (previous >= 0).any() and (store.index[:, 1] - previous != 1)[previous >= 0].any():
        raise UserError(f"{store.folder}: the moments of a person are not consecutive. Render it again")
    kind = np.where(length == 1, 0, np.where(length < LONG, 1, 2))
    wanted = length <= (limit or len(previous))
    for one in range(len(KINDS) if limit else 0):
        of_kind = wanted & (kind == one)
        wanted[of_kind] = np.cumsum(length[of_kind]) - length[of_kind] < limit
    chosen = np.repeat(wanted, length)
    fps = store.labels()[:, list(LABELS).index("fps") - len(LABELS)]
    return Chains(np.flatnonzero(chosen), place[chosen], chain[chosen], np.repeat(kind, length)[chosen], fps[chosen])


class Measure:
    """Measures the errors of estimates of a batch."""

    def __init__(self, surface: BodyTorch, batch: Batch, crop_px: int) -> None:
        self._surface, view = surface, batch.crops.view
        self.joints, self._vertices = surface(batch.rotations, batch.betas)
        cam = cam_from_translation(batch.trans, view)
        self.joints_px = project_to_crop(self.joints, cam, view, crop_px)
        # Joints outside the view may project to any pixel, so only those in the crop count.
        self.inside = ((self.joints_px >= 0) & (self.joints_px <= crop_px)).all(-1)

    def __call__(self, estimate: Estimate, of: Tensor | slice = slice(None), surface: bool = True) -> np.ndarray:
        """Errors (m, MEASURES) of estimates of the rows `of` the batch. Without `surface`, the slow PVE is NaN."""
        true, off_px = self.joints[of], (estimate.joints_px - self.joints_px[of]).norm(dim=-1)
        off_px = off_px.where(self.inside[of], torch.nan).nanmean(1)
        pve = torch.full_like(off_px, torch.nan)
        if surface:
            joints, vertices = self._surface(estimate.rotations, estimate.betas)
            pve = metrics.pve_mm(vertices, joints[:, 0], self._vertices[of], true[:, 0])
        errors = [mpjpe_mm(estimate.joints, true), pa_mpjpe_mm(estimate.joints, true), pve, off_px]
        return torch.stack(errors, 1).numpy()


class Scorer:
    """One evaluation: the network, the memory of each person at each rate, and the scores so far."""

    def __init__(self, network: ReFit, store: Store, protocol: Protocol, limit: int, body: Body) -> None:
        self.network, self.store, self.protocol = network, store, protocol
        self.chains = find_chains(store, limit)
        self.out = _empty(self.chains, protocol.iterations)
        self._surface = BodyTorch(body, np.arange(len(body.template)))
        people, self._person = np.unique(self.chains.chain, return_inverse=True)
        self._memory = Memory.of(len(EVERY) * len(people))
        self._people = len(people)

    def block(self, rows: np.ndarray) -> None:
        """Scores rows (B,) of any kind. The rows of a person come in order, over all calls too."""
        chains, network = self.chains, self.network
        times = chains.place[rows] / np.maximum(chains.fps[rows], 1)
        taken = self.store.take(self.store.index[chains.row[rows]])
        batch = batch_of(network, taken, times, self.protocol.precision)
        measure = Measure(self._surface, batch, network.config.crop_px)
        cold = network(batch.crops.encoded, batch.crops.view, self.protocol.iterations)
        long = chains.kind[rows] == 2
        errors = np.stack([measure(one, surface=not long.all()) for one in cold], 1)
        errors[long, :, MEASURES.index("pve")] = np.nan
        self.out.cold[rows] = errors
        _note(self.out, rows, batch, measure, cold[-1])
        turns = self.protocol.turns and bool(chains.place[rows].any())
        mirrored = batch.crops.encoded
        if turns:
            mirrored = encode(network, np.ascontiguousarray(taken.images[:, :, ::-1]), self.protocol.precision)
        for level in np.unique(chains.place[rows]):
            for long in (False, True):
                here = np.flatnonzero((chains.place[rows] == level) & ((chains.kind[rows] == 2) == long))
                rates = [rate for rate, every in enumerate(EVERY) if level % every == 0 and (long or not rate)]
                if len(here) and rates:
                    index, rate = np.tile(here, len(rates)), np.repeat(rates, len(here))
                    self._follow(rows[index], rate, torch.from_numpy(index), batch.crops, mirrored, cold, measure, long)

    def _follow(
        self,
        rows: np.ndarray,
        rate: np.ndarray,
        index: Tensor,
        crops: Crops,
        mirrored: Encoded,
        cold: list[Estimate],
        measure: Measure,
        long: bool,
    ) -> None:
        """Follows people to one moment, each at a rate (m,).

        index (m,): their rows in the batch. mirrored: the encoder's output for the batch's mirrored crops.
        """
        people = torch.from_numpy(rate * self._people + self._person[rows])
        crops, cold = crops.part(index), [some(one, index) for one in cold]
        answer, opposed, presence = (
            cold[-1],
            torch.zeros(len(rows), dtype=torch.bool),
            self.network.present(crops.encoded),
        )
        restarted, in_mirror, published = ~opposed, opposed, answer
        if self.chains.place[rows[0]]:
            live = self.protocol.live
            in_mirror = mirror.turn(self._memory.known[people], self._memory.in_mirror[people]) & self.protocol.turns
            run = Pass(self.network, crops, in_mirror, part_of(mirrored, index))
            fresh = run.fresh(cold[0])
            start, opposed, no_start = self._memory.start(self.network, people, crops, fresh, self.protocol.share)
            warm = [start, *run.steps(start, opposed, live if long else self.protocol.iterations)]
            warm = [either(no_start, cold[-1] if i == live else cold[i], one) for i, one in enumerate(warm)]
            sure, cold_sure = confidence(warm[live], run.presence), confidence(cold[-1], presence)
            lost = given_up(sure, cold_sure, self.protocol.min_confidence)
            opposed, answer, restarted = opposed & ~lost, either(lost, cold[-1], warm[live]), no_start | lost
            in_mirror = in_mirror & ~restarted
            if presence is not None and run.presence is not None:
                presence = torch.where(in_mirror, run.presence, presence)
            turned = ~restarted & (in_mirror != self._memory.in_mirror[people])
            published = self._memory.averaged(self.network, people, answer, crops, turned)
            warm[live] = published
            errors = np.stack([measure(one, index, not long) for one in warm], 1)
            self.out.warm[rate, rows, : errors.shape[1]] = errors
            self.out.restarted[rate, rows] = restarted.numpy()
        self.out.warm_joints[rate, rows] = _in_camera(published.joints, crops.roll)
        rotations = published.rotations.clone()
        rotations[:, 0] = _turn(crops.roll).transpose(1, 2) @ rotations[:, 0]
        self.out.warm_poses[rate, rows] = axis_angle_from_matrix(rotations.numpy())
        self.out.warm_betas[rate, rows] = published.betas.numpy()
        sure = confidence(answer, presence)
        self.out.warm_confidence[rate, rows] = sure.numpy()
        known = sure >= self.protocol.min_confidence
        self._memory.keep(people, answer, crops, known, opposed, restarted, in_mirror)


@torch.no_grad()
def score(
    network: ReFit, store: Store, protocol: Protocol | None = None, limit: int = 0, body: Body | None = None
) -> Scores:
    """Scores all rows of a store, or about `limit` of each kind. Raises UserError if the limit leaves no row."""
    scorer = Scorer(network, store, protocol or Protocol(), limit, body or load_body())
    done, logged = 0, time.monotonic()
    if not len(scorer.chains.row):
        raise UserError(f"--limit {limit}: every person of {store.folder} has more moments. Set a larger limit")
    for rows in blocks(scorer.chains):
        scorer.block(rows)
        done += len(rows)
        if time.monotonic() - logged > LOG_S:
            logged = time.monotonic()
            log.info("%d of %d rows", done, len(scorer.chains.row))
    return scorer.out


def blocks(chains: Chains) -> Iterator[np.ndarray]:
    """Yields batches of rows: the first moments of all chains, then the second ones, and so on."""
    order = np.lexsort((chains.chain, chains.place))
    yield from (order[first : first + BATCH] for first in range(0, len(order), BATCH))


def _empty(chains: Chains, iterations: int) -> Scores:
    """Scores without any row."""
    count, rates = len(chains.row), len(EVERY)
    cold = np.full((count, iterations + 1, len(MEASURES)), np.nan)
    return Scores(
        chains=chains,
        cold=cold,
        warm=np.full((rates, *cold.shape), np.nan),
        restarted=np.zeros((rates, count), bool),
        cold_joints=np.zeros((count, 24, 3)),
        warm_joints=np.full((rates, count, 24, 3), np.nan),
        warm_poses=np.full((rates, count, 24, 3), np.nan),
        warm_betas=np.full((rates, count, 10), np.nan),
        warm_confidence=np.full((rates, count), np.nan),
        true_joints=np.zeros((count, 24, 3)),
        visible=np.zeros(count),
        landmarks_px=np.zeros(count),
        facing_away=np.zeros(count),
    )


def _in_camera(joints: Tensor, roll: Tensor) -> np.ndarray:
    """Joints (B, 24, 3) of crops turned by roll (B,) -> joints about the pelvis, in the unrolled camera."""
    return ((joints - joints[:, :1]) @ _turn(roll)).numpy()


def _turn(roll: Tensor) -> Tensor:
    """geometry.roll_matrix (B, 3, 3) of each roll (B,): points of a crop, times this, are in the unrolled camera."""
    cos, sin, zero = roll.cos(), roll.sin(), torch.zeros_like(roll)
    return torch.stack([cos, sin, zero, -sin, cos, zero, zero, zero, zero + 1], -1).view(-1, 3, 3)


def _note(out: Scores, rows: np.ndarray, batch: Batch, measure: Measure, cold: Estimate) -> None:
    """Stores the joints, and the measures by which the report groups the rows."""
    out.cold_joints[rows] = _in_camera(cold.joints, batch.crops.roll)
    out.true_joints[rows] = _in_camera(measure.joints, batch.crops.roll)
    out.facing_away[rows], out.visible[rows] = batch.rotations[:, 0, 2, 2].numpy(), batch.visible.numpy()
    keypoints, limbs = batch.crops.encoded.keypoints, torch.from_numpy(SMPL_LIMBS)
    out.landmarks_px[rows] = np.nan
    if keypoints is not None:
        off = (keypoints[:, torch.from_numpy(MEDIAPIPE_LIMBS), :2] - measure.joints_px[:, limbs]).norm(dim=-1)
        off = off.where(measure.inside[:, limbs], torch.nan).nanmean(1)
        out.landmarks_px[rows] = off.nan_to_num(torch.inf).numpy()
