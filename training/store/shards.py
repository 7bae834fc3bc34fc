"""The store of rendered people on disk: shards of crops and their truth, read in random order."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from refit_rt.errors import UserError

ROWS = 1024  # per shard: 14 MB of pictures
QUALITY = 95  # of the JPEG files: camera artefacts are part of the render, and storage should add none
LABELS = {  # the numbers of one row of labels
    "rotations": 216,  # 24 matrices
    "betas": 10,
    "trans": 3,
    "box": 3,  # x, y, side
    "focal_px": 1,
    "centre_px": 2,  # the principal point
    "roll": 1,
    "visible": 1,  # share of the surface
    "fps": 1,  # frames per second of the row's clip; 0: a still
    "kind": 1,  # of `synthetic.gestures`; -1: recorded motion
}
LABEL_COUNT = sum(LABELS.values())
FILES = ("pictures.npy", "ends.npy", "labels.npy", "previous.npy")
AROUND = "around.npy"  # only in shards in which several cameras see a person at the same moment
# A row's place among such views: the row of its group's first view (the others follow it; -1: no group), and the
# upright camera of its labels in the group's own world, metres.
PLACE = np.dtype([("first", np.int32), ("camera_from_world", np.float32, (4, 4))])


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Crops and their truth."""

    images: np.ndarray  # (n, 256, 256, 3) uint8 RGB
    labels: np.ndarray  # (n, LABEL_COUNT) float32
    previous: np.ndarray  # (n,) int32 row of the same person at the previous moment, in the same shard; -1: none
    camera_from_world: np.ndarray  # (n, 4, 4) float32 metres, in the world of the row's group; zeros: no group


@dataclass(frozen=True, slots=True, eq=False)
class Shard:
    """One folder: its pictures as JPEG in one array, and the other columns."""

    pictures: np.ndarray  # (bytes,) uint8, mapped
    ends: np.ndarray  # (n,) int64 end of each picture
    labels: np.ndarray  # (n, LABEL_COUNT) float32
    previous: np.ndarray  # (n,) int32
    around: np.ndarray  # (n,) PLACE
    kept: dict[int, np.ndarray] | None = None  # decoded pictures by row; None: none are kept

    def picture(self, row: int) -> np.ndarray:
        """The picture of a row (256, 256, 3) uint8 RGB. Raises UserError if it is damaged."""
        if self.kept is not None and row in self.kept:
            return self.kept[row]
        begin = int(self.ends[row - 1]) if row else 0
        image = cv2.imdecode(np.asarray(self.pictures[begin : self.ends[row]]), cv2.IMREAD_COLOR_RGB)
        if image is None:
            raise UserError(f"a shard's picture {row} is damaged. Delete the store's last shard, or render it again")
        if self.kept is not None:
            self.kept[row] = image
        return image


class Writer:
    """Collects rows and writes them to a folder in whole shards. Raises UserError if the folder cannot be made."""

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
        """Adds one person's moments in order, each as image (256, 256, 3) uint8 RGB and labels (LABEL_COUNT,)."""
        self._make_room(len(moments))
        for index, (image, labels) in enumerate(moments):
            self._append(image, labels, len(self._rows) - 1 if index else -1, no_group(1)[0])

    def add_around(self, views: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
        """Adds one moment of a person, one view per camera: image and labels as in `add`, camera_from_world (4, 4)."""
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
        """Writes the collected rows as one shard, whole or not at all. Raises UserError on a full disk."""
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
                f"{part}: cannot be written ({error.strerror}). The {self._shard} earlier shards are complete. "
                f"To continue, make room and start again"
            ) from error
        self._shard += 1
        self._rows, self._around = [], []


class Store:
    """All shards of a folder. `rescan` finds those that producers have added."""

    def __init__(self, folder: Path, unpacked: bool = False) -> None:
        """unpacked: keep decoded pictures in memory, 0.2 MB each. Raises UserError if there is no shard."""
        self.folder, self._unpacked = folder, unpacked
        self._found: dict[str, Shard] = {}
        self.rescan()
        if not self._found:
            raise UserError(f"{folder}: holds no rendered people. Make some: python -m training.produce {folder}")

    def rescan(self) -> None:
        """Reads new shards. Raises UserError for a damaged one."""
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
        """The rows of an index (n, 2) of shard and row. Without `pictures`, `images` is empty."""
        shards = [(self.shards[shard], int(row)) for shard, row in index]
        images = np.stack([s.picture(row) for s, row in shards]) if pictures else np.zeros((0, 256, 256, 3), np.uint8)
        labels = np.stack([s.labels[row] for s, row in shards])
        cameras = np.stack([s.around["camera_from_world"][row] for s, row in shards])
        return Rows(images, labels, np.array([s.previous[row] for s, row in shards], np.int32), cameras)

    def labels(self) -> np.ndarray:
        """The labels (rows, LABEL_COUNT) of all rows."""
        return np.concatenate([shard.labels for shard in self.shards])


def no_group(rows: int) -> np.ndarray:
    """PLACE (rows,) of rows seen by one camera alone."""
    places = np.zeros(rows, PLACE)
    places["first"] = -1
    return places


def _groups(number: int, shard: Shard) -> np.ndarray:
    """The rows of `Store.around` (groups, 3) of one shard."""
    first, views = np.unique(shard.around["first"][shard.around["first"] >= 0], return_counts=True)
    return np.stack([np.full(len(first), number), first, views], 1)


def read_shard(path: Path, unpacked: bool = False) -> Shard:
    """Reads a shard; `unpacked` as in `Store`. Raises UserError for a folder that `Writer` has not written."""
    try:
        pictures = np.load(path / FILES[0], mmap_mode="r")
        ends, labels, previous = (np.load(path / name) for name in FILES[1:])
        around = np.load(path / AROUND) if (path / AROUND).exists() else no_group(len(ends))
        shard = Shard(pictures, ends, labels, previous, around, {} if unpacked else None)
    except (OSError, ValueError, EOFError) as error:  # EOFError: an empty file
        raise UserError(f"{path}: not a shard of rendered people ({error}). Delete it") from error
    right = shard.labels.shape == (len(ends), LABEL_COUNT) and ends[-1] == len(pictures)
    if not right or around.dtype != PLACE or len(around) != len(ends):
        raise UserError(f"{path}: its pictures and labels do not fit each other. Delete it")
    return shard
