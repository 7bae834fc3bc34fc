"""Mixes data sets by ratio into batches of crops that depend on seed and step only, not on the count of workers.

mix = open_mix(recipe.sets, body, batch=64, augment=recipe.augment, seed=0)
for batch in batches(mix, first_step=0, workers=8): ...
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
import numpy as np
import torch
from torch import Tensor

from refit_rt.body.smpl import Body
from refit_rt.errors import UserError
from training.datasets.crop import Augment, Sample, cut_out, pelvis_in_sight, random_change, read_picture
from training.datasets.emdb import read_emdb
from training.datasets.joints import COUNT
from training.datasets.occlude import occlude, read_cut_outs
from training.datasets.record import Bodies, Record, Table
from training.datasets.spin import read_bedlam, read_eft, read_spin
from training.datasets.threedpw import read_3dpw
from training.store.shards import LABEL_COUNT, LABELS

STARTS = np.cumsum([0, *LABELS.values()])
COLUMN = {name: slice(a, b) for name, a, b in zip(LABELS, STARTS[:-1], STARTS[1:], strict=True)}
UPRIGHT = np.diag([1.0, -1.0, -1.0])  # a body that faces the camera
DEFAULT_SPLIT = {"3dpw": "train", "emdb": "emdb2"}


class SetRecipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One data set of a mix, as a recipe describes it."""

    kind: Literal["spin", "eft", "bedlam", "3dpw", "emdb"]
    """spin: an .npz in SPIN's format, which ReFit, EFT and AGORA share; the other kinds read the set's own files."""
    labels: str
    """The label file; for 3dpw and emdb the data set's folder; for bedlam one file or the folder of all files."""
    images: str = ""
    """The folder that picture names are relative to; empty: the labels' folder, or the usual one of 3DPW and EMDB."""
    ratio: float
    """Share of the rows drawn from this set; the shares need not add up to 1."""
    split: str = ""
    """3dpw: train, validation or test; emdb: emdb1, emdb2 or all. Empty: train and emdb2."""
    keypoints_3d: bool = True
    """False: leave `S` unread (ReFit does so for COCO and MPII)."""


class Batch(NamedTuple):
    """Crops and their labels. `labels` are complete for every row; where has_smpl or has_place is 0 they hold a
    stand-in (an upright body that fills the box), which no loss may use."""

    images: Tensor  # (B, 256, 256, 3) uint8 RGB
    labels: Tensor  # (B, LABEL_COUNT) float32 in the layout of training.store.shards.LABELS
    keypoints_2d: Tensor  # (B, 73, 3) float32 crop px, confidence (0: unknown), of training.datasets.joints.NAMES
    keypoints_3d: Tensor  # (B, 73, 4) float32 metres about any origin, confidence
    has_smpl: Tensor  # (B,) float32 1: rotations and betas are true
    has_place: Tensor  # (B,) float32 1: trans is true as well, so that the whole body may be projected
    source: Tensor  # (B,) int64 which set, in the order of the mix


class Mix:
    """`mix.batch(step)` is that step's batch; batches depend on seed, rank and step alone."""

    def __init__(
        self,
        tables: Mapping[str, Table],
        ratios: Mapping[str, float],
        body: Body,
        batch: int,
        augment: Augment,
        seed: int = 0,
        rank: int = 0,
    ) -> None:
        """body: the one that is trained; `labels` give its translation. rank: of the process, so that GPUs differ."""
        self.names, self.tables = list(tables), list(tables.values())
        shares = np.array([ratios[name] for name in self.names], float)
        if not self.names or shares.min() < 0 or not 0 < shares.sum() < np.inf:
            raise UserError(f"sets: ratios {dict(ratios)} must not be negative, and one must be above 0. Set `ratio`")
        self.shares = shares / shares.sum()
        self._body, self._batch, self._augment, self._seed = body, batch, augment, (seed, rank)
        self._cut_outs = read_cut_outs(Path(augment.occluders)) if augment.occluders else []

    def draw(self, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draws a step's rows: the set, the row in it, and the seed of its augmentation, (B,) each."""
        rng = np.random.default_rng((*self._seed, step))
        which = rng.choice(len(self.tables), self._batch, p=self.shares)
        sizes = np.array([len(table) for table in self.tables])[which]
        return which, (rng.random(self._batch) * sizes).astype(int), rng.integers(0, 2**63, self._batch)

    def batch(self, step: int) -> Batch:
        """The batch of a step; safe on any thread. Raises UserError for an unreadable picture."""
        which, rows, seeds = self.draw(step)
        samples = [
            self.sample(self.tables[table][row], np.random.default_rng(seed))
            for table, row, seed in zip(which, rows, seeds, strict=True)
        ]
        return batch_of(samples, which, self._body)

    def sample(self, record: Record, rng: np.random.Generator) -> Sample:
        """The randomly augmented crop of one record. Raises UserError for an unreadable picture."""
        image = read_picture(record)
        sample = cut_out(record, image, random_change(rng, record, self._augment))
        if rng.random() < self._augment.occlude:
            sample.image[:] = occlude(rng, sample.image, image, self._cut_outs)
        return sample


def batch_of(samples: list[Sample], source: np.ndarray, body: Body) -> Batch:
    """Stacks samples of any sets into tensors. source (B,): the set of each."""
    count = len(samples)
    labels = np.zeros((count, LABEL_COUNT), np.float32)
    points_2d, points_3d = np.zeros((count, COUNT, 3), np.float32), np.zeros((count, COUNT, 4), np.float32)
    has = np.zeros((2, count), np.float32)
    standing = np.tile(np.eye(3), (24, 1, 1))
    standing[0] = UPRIGHT
    for row, one in enumerate(samples):
        has[0, row], has[1, row] = one.rotations is not None, one.pelvis_m is not None and one.rotations is not None
        rotations = standing if one.rotations is None else one.rotations
        betas = np.zeros(10) if one.betas is None else one.betas
        pelvis = one.pelvis_m if one.pelvis_m is not None and has[1, row] else pelvis_in_sight(one)
        values = {
            "rotations": rotations.ravel(),
            "betas": betas,
            "trans": pelvis - body.rest_pelvis(betas),
            "box": one.box,
            "focal_px": one.focal_px,
            "centre_px": one.centre_px,
            "roll": one.roll,
            "visible": 1.0,
            "fps": 0.0,
            "kind": -1.0,
        }
        for name, value in values.items():
            labels[row, COLUMN[name]] = value
        points_2d[row] = 0 if one.keypoints_2d is None else one.keypoints_2d
        points_3d[row] = 0 if one.keypoints_3d is None else one.keypoints_3d
    arrays = (np.stack([one.image for one in samples]), labels, points_2d, points_3d, *has, source.astype(np.int64))
    return Batch(*(torch.from_numpy(array) for array in arrays))


def open_set(name: str, recipe: SetRecipe, bodies: Bodies) -> Table:
    """Reads a data set's labels and checks that its pictures exist. Raises UserError."""
    labels = Path(recipe.labels).expanduser()
    home = labels if recipe.kind in ("3dpw", "emdb") else labels.parent
    pictures = Path(recipe.images).expanduser() if recipe.images else home
    split = recipe.split or DEFAULT_SPLIT.get(recipe.kind, "")
    match recipe.kind:
        case "spin":
            return read_spin(name, labels, pictures, recipe.keypoints_3d)
        case "eft":
            return read_eft(name, labels, pictures)
        case "bedlam":
            return read_bedlam(name, labels, pictures, bodies)
        case "3dpw":
            return read_3dpw(name, labels, split, bodies, Path(recipe.images).expanduser() if recipe.images else None)
        case "emdb":
            return read_emdb(name, labels, split, bodies)


def open_mix(
    sets: Mapping[str, SetRecipe], bodies: Bodies | Body, batch: int, augment: Augment, seed: int = 0, rank: int = 0
) -> Mix:
    """Opens all sets of a recipe, except those with ratio 0. Raises UserError."""
    bodies = bodies if isinstance(bodies, Bodies) else Bodies(bodies)
    used = {name: recipe for name, recipe in sets.items() if recipe.ratio}
    tables = {name: open_set(name, recipe, bodies) for name, recipe in used.items()}
    ratios = {name: recipe.ratio for name, recipe in used.items()}
    return Mix(tables, ratios, bodies.neutral, batch, augment, seed, rank)


def batches(mix: Mix, first_step: int = 0, threads: int = 2) -> Iterator[Batch]:
    """Yields endless batches from `first_step` on; separate threads cut some of them in advance.

    Threads suffice because OpenCV does nearly all the work and releases the interpreter meanwhile; worker processes
    hang when they are forked from a process whose OpenCV has threads. Raises UserError for an unreadable picture.
    """
    with ThreadPoolExecutor(threads) as pool:
        waiting = [pool.submit(mix.batch, first_step + ahead) for ahead in range(threads)]
        try:
            for step in count(first_step + threads):
                waiting.append(pool.submit(mix.batch, step))
                yield waiting.pop(0).result()
        finally:
            for one in waiting:
                one.cancel()
