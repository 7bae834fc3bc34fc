"""Rows of a store → tensors, mirrored or not, and read ahead while the network works."""

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
    """Crops as the network takes them, and the truth."""

    images: Tensor  # (B, 3, 256, 256) RGB 0..1
    truth: Truth
    view: View
    trans: Tensor  # (B, 3) metres
    roll: Tensor  # (B,) radians
    visible: Tensor  # (B,) share of the surface


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """One step's rows, and those of the moments before, where there are any."""

    rows: Rows
    before: Rows  # of `own` only
    own: np.ndarray  # rows that start from the network's own answer to the moment before
    cameras: int = 0  # the last rows are groups of so many views of one person at one moment; 0: none are
    groups: int = 0

    @property
    def alone(self) -> int:
        """Number of rows before the groups."""
        return len(self.rows.labels) - self.cameras * self.groups


def mirror(rows: Rows, where: np.ndarray) -> Rows:
    """The rows `where` (n,) says so seen in a mirror. The picture is turned about the crop's middle, the camera about
    its principal point, and left and right limbs change places: the body is its own mirror image to a millimetre.
    The world of a group of views is mirrored with them: all of a group must be, or none."""
    images, labels = rows.images.copy(), rows.labels.copy()
    images[where] = images[where][:, :, ::-1]
    start = dict(zip(LABELS, np.cumsum([0, *LABELS.values()]), strict=False))
    rotations = labels[where, :216].reshape(-1, 24, 3, 3)
    labels[where, :216] = mirrored(rotations).reshape(-1, 216)
    labels[where, start["trans"]] *= -1
    # Pixel 0 of the crop changes places with pixel 255, and [0, 256] is the box: its middle lies at 127.5 of 256.
    side = labels[where, start["box"] + 2]
    labels[where, start["box"]] = 2 * labels[where, start["centre_px"]] - labels[where, start["box"]] + side / 256
    labels[where, start["roll"]] *= -1
    cameras = np.where(where[:, None, None], FLIP @ rows.camera_from_world @ FLIP, rows.camera_from_world)
    return Rows(images, labels, rows.previous, cameras)


def make_batch(rows: Rows, body: BodyTorch, device: torch.device | str = "cpu") -> Batch:
    """Rows → tensors on a device, the truth's joints and markers with them."""
    with torch.no_grad():
        images = torch.from_numpy(rows.images).to(device).permute(0, 3, 1, 2).float() / 255
        parts = torch.from_numpy(rows.labels).to(device).split(list(LABELS.values()), dim=1)
        label = dict(zip(LABELS, parts, strict=True))
        view = View(label["box"], label["focal_px"][:, 0], label["centre_px"])
        rotations = label["rotations"].view(-1, 24, 3, 3)
        truth = truth_of(body, rotations, label["betas"], label["trans"], view)
        return Batch(images, truth, view, label["trans"], label["roll"][:, 0], label["visible"][:, 0])


def truth_of(body: BodyTorch, rotations: Tensor, betas: Tensor, trans: Tensor, view: View) -> Truth:
    """The truth of a posed body in its crop."""
    joints, markers = body(rotations, betas)
    cam = cam_from_translation(trans, view)
    joints_px, markers_px = (project_to_crop(points, cam, view) for points in (joints, markers))
    return Truth(rotations, betas, cam, joints, markers, joints_px, markers_px)


def draw(store: Store, rng: np.random.Generator, count: int, own_previous: float, flip: float, groups: int = 0,
         cameras: int = 0) -> Callable[[], Drawn]:  # fmt: skip
    """Chooses rows now; the answer reads and unpacks them, on any thread. count: of all rows; the last of them are
    `groups` people whom `cameras` see at the same moment. Raises UserError: the store has no such groups."""
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
    """Any `cameras` views of each of some groups: (groups * cameras, 2) shard and row. Raises UserError: none has as
    many views."""
    large = store.around[store.around[:, 2] >= cameras]
    if not len(large):
        raise UserError(
            f"{store.folder}: nobody in it is seen by {cameras} cameras at once. Make some: "
            f"python -m training.produce {store.folder} --around 0.3, or give `around: 0`"
        )
    chosen = large[rng.integers(0, len(large), groups)]
    return np.concatenate(
        [np.stack([np.full(cameras, shard), first + rng.permutation(views)[:cameras]], 1)
         for shard, first, views in chosen]
    )  # fmt: skip


def ahead(choose: Callable[[int], Callable[[], Drawn]], first_step: int, threads: int) -> Generator[Drawn, None, None]:
    """Endless batches from a step on, in order; some are unpacked beforehand on threads of their own."""
    with ThreadPoolExecutor(max(threads, 1)) as pool:
        waiting = deque(pool.submit(choose(first_step + i)) for i in range(threads))
        step = first_step + threads
        while True:
            waiting.append(pool.submit(choose(step)))
            yield waiting.popleft().result()
            step += 1
