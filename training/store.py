"""Rendered people on disk, already seen by the frozen backbone: shards of arrays that a trainer reads at random."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from refit_rt.errors import UserError

ROWS = 1024  # a shard: 200 MB of features
# One row of labels: 24 rotations, betas, translation, box (x, y, side), focal, principal point, roll, visible share.
LABELS = {"rotations": 216, "betas": 10, "trans": 3, "box": 3, "focal_px": 1, "centre_px": 2, "roll": 1, "visible": 1}
LABEL_COUNT = sum(LABELS.values())


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """What a backbone answered for a number of crops, and the truth."""

    features: np.ndarray  # (n, 48, 64, 64) uint8: value / `step` of the store, a channel each
    summary: np.ndarray  # (n, 1152) float16
    landmarks: np.ndarray  # (n, 195) float32
    world: np.ndarray  # (n, 117) float32
    labels: np.ndarray  # (n, LABEL_COUNT) float32
    previous: np.ndarray  # (n,) int32 row of the same person a moment before, in the same shard; -1: none


class Writer:
    """Collects rows and leaves whole shards in a folder. `step` (48,) is the quantum of each feature channel."""

    def __init__(self, folder: Path, name: str, step: np.ndarray) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._name, self._step = folder, name, step.reshape(-1, 1, 1)
        self._rows: list[tuple] = []
        self._shard = len(list(folder.glob(f"{name}-*")))

    def add(self, groups: list[tuple]) -> None:
        """One person's moments in order: each (features (48, 64, 64) float, summary, landmarks, world, labels)."""
        if len(self._rows) + len(groups) > ROWS:
            self.flush()
        for index, (features, *rest) in enumerate(groups):
            quanta = np.clip(np.rint(features / self._step), 0, 255).astype(np.uint8)
            self._rows.append((quanta, *rest, len(self._rows) - 1 if index else -1))

    def flush(self) -> None:
        """Writes what was collected as one shard; it appears whole or not at all."""
        if not self._rows:
            return
        part = self._folder / f".{self._name}-{self._shard:04d}.part"
        part.mkdir(exist_ok=True)
        for name, kind, column in zip(Rows.__dataclass_fields__, DTYPES, zip(*self._rows, strict=True), strict=True):
            np.save(part / f"{name}.npy", np.asarray(column, kind))
        part.rename(self._folder / f"{self._name}-{self._shard:04d}")
        self._shard += 1
        self._rows = []


DTYPES = (np.uint8, np.float16, np.float32, np.float32, np.float32, np.int32)


class Store:
    """All whole shards of a folder; `rescan` finds new ones while a producer goes on."""

    def __init__(self, folder: Path) -> None:
        if not (folder / "step.npy").exists():
            raise UserError(f"{folder}: holds no rendered people. Make some: python -m training.produce {folder}")
        self.folder = folder
        self.step = np.load(folder / "step.npy")  # (48,)
        self._shards: dict[str, Rows] = {}
        self.index = np.zeros((0, 2), np.int64)  # (rows, 2) shard number, row
        self.rescan()

    def rescan(self) -> None:
        for path in sorted(self.folder.glob("[!.]*-[0-9][0-9][0-9][0-9]")):
            if path.name not in self._shards:
                arrays = [np.load(path / f"{name}.npy", mmap_mode="r") for name in Rows.__dataclass_fields__]
                self._shards[path.name] = Rows(*arrays)
        self.list = list(self._shards.values())
        self.index = np.concatenate(
            [np.stack([np.full(len(s.labels), i), np.arange(len(s.labels))], 1) for i, s in enumerate(self.list)]
            or [self.index]
        )

    def __len__(self) -> int:
        return len(self.index)

    def take(self, index: np.ndarray) -> Rows:
        """Rows by (n, 2) shard and row."""
        columns = []
        for name in Rows.__dataclass_fields__:
            columns.append(np.stack([getattr(self.list[shard], name)[row] for shard, row in index]))
        return Rows(*columns)
