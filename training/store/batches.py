"""Draws batches from a store: rows, some of them mirrored, as tensors, read ahead in threads."""

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from refit_rt.errors import UserError
from refit_rt.model.body import BodyTorch
from refit_rt.model.camera import View, cam_from_translation, project_to_crop
from training.losses import Truth
from training.store.shards import LABELS, Rows, Store
from training.synthetic.motion import mirrored

FLIP = np.diag(np.array([-1, 1, 1, 1], np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Crops in the form that the network takes, and the truth."""

    images: Tensor  # (B, 3, 256, 256) RGB 0..1
    truth: Truth
    view: View
    trans: Tensor  # (B, 3) metres
    roll: Tensor  # (B,) radians
    visible: Tensor  # (B,) share of the surface


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """One step's rows, and the rows of their previous moments."""

    rows: Rows
    before: Rows  # the previous moments of the rows `own`
    own: np.ndarray  # rows that start from the network's own estimate of the previous moment
    cameras: int = 0  # views per group
    groups: int = 0  # the last rows are so many groups of views of one person at one moment

    @property
    def alone(self) -> int:
        """The number of rows before the groups."""
        return len(self.rows.labels) - self.cameras * self.groups


def mirror(rows: Rows, where: np.ndarray) -> Rows:
    """Mirrors the rows `where` (n,) is true: the picture about the crop's middle, the camera about its principal point,
    and left and right limbs are exchanged; the free body is symmetric to a millimetre. The world of a group of views is
    mirrored with them, so all rows of a group must be mirrored, or none."""
    images, labels = rows.images.copy(), rows.labels.copy()
    images[where] = images[where][:, :, ::-1]
    start = dict(zip(LABELS, np.cumsum([0, *LABELS.values()]), strict=False))
    rotations = labels[where, :216].reshape(-1, 24, 3, 3)
    labels[where, :216] = mirrored(rotations).reshape(-1, 216)
    labels[where, start["trans"]] *= -1
    # Pixels 0 and 255 of the crop are exchanged, while the box is [0, 256]: the mirror plane is at 127.5, not at 128.
    side = labels[where, start["box"] + 2]
    labels[where, start["box"]] = 2 * labels[where, start["centre_px"]] - labels[where, start["box"]] + side / 256
    labels[where, start["roll"]] *= -1
    cameras = np.where(where[:, None, None], FLIP @ rows.camera_from_world @ FLIP, rows.camera_from_world)
    return Rows(images, labels, rows.previous, cameras)


def make_batch(rows: Rows, body: BodyTorch, device: torch.device | str = "cpu") -> Batch:
    """Turns rows into tensors on a device, and computes the true joints and markers."""
    with torch.no_grad():
        images = torch.from_numpy(rows.images).to(device).permute(0, 3, 1, 2).float() / 255
        parts = torch.from_numpy(rows.labels).to(device).split(list(LABELS.values()), dim=1)
        label = dict(zip(LABELS, parts, strict=True))
        view = View(label["box"], label["focal_px"][:, 0], label["centre_px"])
        rotations = label["rotations"].view(-1, 24, 3, 3)
        truth = truth_of(body, rotations, label["betas"], label["trans"], view)
        return Batch(images, truth, view, label["trans"], label["roll"][:, 0], label["visible"][:, 0])


def truth_of(body: BodyTorch, rotations: Tensor, betas: Tensor, trans: Tensor, view: View) -> Truth:
    """Computes the truth of posed bodies in their crops."""
    joints, markers = body(rotations, betas)
    cam = cam_from_translation(trans, view)
    joints_px, markers_px = (project_to_crop(points, cam, view) for points in (joints, markers))
    return Truth(rotations, betas, cam, joints, markers, joints_px, markers_px)


def draw(
    store: Store,
    rng: np.random.Generator,
    count: int,
    own_previous: float,
    flip: float,
    groups: int = 0,
    cameras: int = 0,
) -> Callable[[], Drawn]:
    """Chooses `count` rows and returns a function that reads them, on any thread.

    The last rows are `groups` people, each seen by `cameras` cameras at the same moment. own_previous, flip: shares of
    rows, see EdgeRecipe. Raises UserError if the store has no such groups.
    """
    count -= groups * cameras
    index = store.index[rng.integers(0, len(store), count)]
    chance, mirrored_rows = rng.random(count), rng.random(count) < flip
    shards = store.shards
    if groups:
        index = np.concatenate([index, draw_groups(store, rng, groups, cameras)])
        chance = np.concatenate([chance, np.ones(groups * cameras)])
        mirrored_rows = np.concatenate([mirrored_rows, np.repeat(rng.random(groups) < flip, cameras)])

    def read() -> Drawn:
        previous = np.array([shards[shard].previous[row] for shard, row in index])
        own = np.flatnonzero((previous >= 0) & (chance < own_previous))
        rows = mirror(store.take(index), mirrored_rows)
        before = (
            store.take(np.stack([index[own, 0], previous[own]], 1))
            if len(own)
            else Rows(rows.images[:0], rows.labels[:0], rows.previous[:0], rows.camera_from_world[:0])
        )
        return Drawn(rows, mirror(before, mirrored_rows[own]), own, cameras, groups)

    return read


def draw_groups(store: Store, rng: np.random.Generator, groups: int, cameras: int) -> np.ndarray:
    """Draws groups, and `cameras` views of each: shard and row (groups * cameras, 2). Raises UserError if no group has
    enough views."""
    large = store.around[store.around[:, 2] >= cameras]
    if not len(large):
        raise UserError(
            f"{store.folder}: no person in it is seen by {cameras} cameras at once. Render some: "
            f"python -m training.produce {store.folder} --around 0.3, or set `around: 0`"
        )
    chosen = large[rng.integers(0, len(large), groups)]
    drawn = [(shard, first + rng.permutation(views)[:cameras]) for shard, first, views in chosen]
    return np.concatenate([np.stack([np.full(cameras, shard), rows], 1) for shard, rows in drawn])


def ahead(choose: Callable[[int], Callable[[], Drawn]], first_step: int, threads: int) -> Generator[Drawn, None, None]:
    """Yields batches without end, in order from `first_step` on. Threads read them ahead."""
    with ThreadPoolExecutor(max(threads, 1)) as pool:
        waiting = deque(pool.submit(choose(first_step + i)) for i in range(threads))
        step = first_step + threads
        while True:
            waiting.append(pool.submit(choose(step)))
            yield waiting.popleft().result()
            step += 1
