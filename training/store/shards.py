"""Rendered people on disk: shards of pictures and their truth, which a trainer reads at random."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from refit_rt.errors import UserError

ROWS = 1024  # a shard: 14 MB of pictures
QUALITY = 95  # of the pictures' JPEG: what a camera does to them was drawn before, this must add nothing
# One row of labels: 24 rotations, betas, translation, box (x, y, side), focal, principal point, roll, visible share,
# frames per second of its clip (0: a still), kind of `synthetic.gestures` (-1: recorded).
LABELS = {"rotations": 216, "betas": 10, "trans": 3, "box": 3, "focal_px": 1, "centre_px": 2, "roll": 1, "visible": 1,
          "fps": 1, "kind": 1}  # fmt: skip
LABEL_COUNT = sum(LABELS.values())
FILES = ("pictures.npy", "ends.npy", "labels.npy", "previous.npy")
AROUND = "around.npy"  # only in shards in which several cameras see somebody at the same moment
# A row's place among such views: the row of its group's first view (the others follow it; -1: it has none), and the
# camera of its labels, the upright one, in a world of the group's own, metres.
PLACE = np.dtype([("first", np.int32), ("camera_from_world", np.float32, (4, 4))])


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """A number of crops and the truth."""

    images: np.ndarray  # (n, 256, 256, 3) uint8 RGB
    labels: np.ndarray  # (n, LABEL_COUNT) float32
    previous: np.ndarray  # (n,) int32 row of the same person a moment before, in the same shard; -1: none
    camera_from_world: np.ndarray  # (n, 4, 4) float32 metres, the world of the row's group; zeros: it has none


@dataclass(frozen=True, slots=True, eq=False)
class Shard:
    """One folder: its pictures end to end as JPEG, and the rest an array each."""

    pictures: np.ndarray  # (bytes,) uint8, mapped
    ends: np.ndarray  # (n,) int64 where each picture ends
    labels: np.ndarray  # (n, LABEL_COUNT) float32
    previous: np.ndarray  # (n,) int32
    around: np.ndarray  # (n,) PLACE
    kept: dict[int, np.ndarray] | None = None  # pictures that were unpacked before; None: none is kept

    def picture(self, row: int) -> np.ndarray:
        """(256, 256, 3) uint8 RGB."""
        if self.kept is not None and row in self.kept:
            return self.kept[row]
        begin = int(self.ends[row - 1]) if row else 0
        image = cv2.imdecode(np.asarray(self.pictures[begin : self.ends[row]]), cv2.IMREAD_COLOR_RGB)
        if image is None:
            raise UserError(f"a shard's picture {row} is damaged. Delete the store's last folder, or render it again")
        if self.kept is not None:
            self.kept[row] = image
        return image


class Writer:
    """Collects rows and leaves whole shards in a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._rows: list[tuple[np.ndarray, np.ndarray, int]] = []
        self._around: list[np.ndarray | np.void] = []  # PLACE of each row
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder}: cannot be made ({error.strerror}). Give a folder of your own") from error
        self._shard = len(list(folder.glob(f"{name}-*")))

    def add(self, moments: list[tuple[np.ndarray, np.ndarray]]) -> None:
        """One person's moments in order: each (image (256, 256, 3) uint8 RGB, labels (LABEL_COUNT,))."""
        self._make_room(len(moments))
        for index, (image, labels) in enumerate(moments):
            self._append(image, labels, len(self._rows) - 1 if index else -1, no_group(1)[0])

    def add_around(self, views: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
        """One person at one moment, a view each camera: image and labels as in `add`, camera_from_world (4, 4)."""
        self._make_room(len(views))
        first = len(self._rows)
        for image, labels, camera_from_world in views:
            self._append(image, labels, -1, np.array((first, camera_from_world), PLACE))

    def _make_room(self, rows: int) -> None:
        if len(self._rows) + rows > ROWS:
            self.flush()

    def _append(self, image: np.ndarray, labels: np.ndarray, previous: int, place: np.ndarray | np.void) -> None:
        written = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
        self._rows.append((written, labels, previous))
        self._around.append(place)

    def flush(self) -> None:
        """Writes what was collected as one shard; it appears whole or not at all. Raises UserError on a full disk."""
        if not self._rows:
            return
        pictures, labels, previous = zip(*self._rows, strict=True)
        ends = np.cumsum([len(picture) for picture in pictures], dtype=np.int64)
        columns = (np.concatenate(pictures), ends, np.asarray(labels, np.float32), np.asarray(previous, np.int32))
        around = np.stack(self._around)
        part = self._folder / f".{self._name}-{self._shard:04d}.part"
        try:
            part.mkdir(exist_ok=True)
            for name, column in zip(FILES, columns, strict=True):
                np.save(part / name, column)
            if (around["first"] >= 0).any():
                np.save(part / AROUND, around)
            part.rename(self._folder / f"{self._name}-{self._shard:04d}")
        except OSError as error:
            raise UserError(
                f"{part}: cannot be written ({error.strerror}). The {self._shard} shards before it are whole; "
                f"make room and start again"
            ) from error
        self._shard += 1
        self._rows, self._around = [], []


class Store:
    """All whole shards of a folder; `rescan` finds new ones while a producer goes on."""

    def __init__(self, folder: Path, unpacked: bool = False) -> None:
        """unpacked: pictures stay in memory once they were read, 0.2 MB each. Raises UserError: nothing is there."""
        self.folder, self._unpacked = folder, unpacked
        self._found: dict[str, Shard] = {}
        self.rescan()
        if not self._found:
            raise UserError(f"{folder}: holds no rendered people. Make some: python -m training.produce {folder}")

    def rescan(self) -> None:
        for path in sorted(self.folder.glob("[!.]*-[0-9][0-9][0-9][0-9]")):
            if path.name not in self._found:
                self._found[path.name] = read_shard(path, self._unpacked)
        self.shards = list(self._found.values())
        self.index = np.concatenate(  # (rows, 2) shard number, row
            [np.stack([np.full(len(s.labels), i), np.arange(len(s.labels))], 1) for i, s in enumerate(self.shards)]
            or [np.zeros((0, 2), np.int64)]
        )
        self.around = np.concatenate(  # (groups, 3) shard number, row of the first view, number of views
            [_groups(i, shard) for i, shard in enumerate(self.shards)] or [np.zeros((0, 3), np.int64)]
        )

    def __len__(self) -> int:
        return len(self.index)

    def take(self, index: np.ndarray, pictures: bool = True) -> Rows:
        """Rows by (n, 2) shard and row. pictures: else `images` stays empty."""
        shards = [(self.shards[shard], int(row)) for shard, row in index]
        images = np.stack([s.picture(row) for s, row in shards]) if pictures else np.zeros((0, 256, 256, 3), np.uint8)
        labels = np.stack([s.labels[row] for s, row in shards])
        cameras = np.stack([s.around["camera_from_world"][row] for s, row in shards])
        return Rows(images, labels, np.array([s.previous[row] for s, row in shards], np.int32), cameras)

    def labels(self) -> np.ndarray:
        """(rows, LABEL_COUNT) of all."""
        return np.concatenate([shard.labels for shard in self.shards])


def no_group(rows: int) -> np.ndarray:
    """(rows,) PLACE of rows that one camera alone has seen."""
    places = np.zeros(rows, PLACE)
    places["first"] = -1
    return places


def _groups(number: int, shard: Shard) -> np.ndarray:
    """(groups, 3) as `Store.around`, of the shard of this number."""
    first, views = np.unique(shard.around["first"][shard.around["first"] >= 0], return_counts=True)
    return np.stack([np.full(len(first), number), first, views], 1)


def read_shard(path: Path, unpacked: bool = False) -> Shard:
    """unpacked: as of `Store`. Raises UserError for a folder that is not one of `Writer`'s."""
    try:
        pictures = np.load(path / FILES[0], mmap_mode="r")
        ends, labels, previous = (np.load(path / name) for name in FILES[1:])
        around = np.load(path / AROUND) if (path / AROUND).exists() else no_group(len(ends))
        shard = Shard(pictures, ends, labels, previous, around, {} if unpacked else None)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: is no shard of rendered people ({error}). Delete it") from error
    right = shard.labels.shape == (len(ends), LABEL_COUNT) and ends[-1] == len(pictures)
    if not right or around.dtype != PLACE or len(around) != len(ends):
        raise UserError(f"{path}: its pictures and labels do not fit each other. Delete it")
    return shard
