"""Reads and writes motion.npz, the recording of a run: one row per person and frame."""

import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from refit_rt.errors import UserError
from refit_rt.files import ROOM, write_whole
from refit_rt.types import PUBLISHED_FIELDS, People

SCHEMA = "refit_rt.motion/1"

NAMES = {"ids": "person"}  # field → column, where the names differ
FLAT = {"poses": (72,)}  # field → shape in the file: a pose is one row of 72 numbers, as in AMASS
# The columns of the file. `frame` is the frame's index at the source; `time_s` is in seconds since its first frame.
ROW = np.dtype(
    [("frame", "<i8"), ("time_s", "<f8")]
    + [(NAMES.get(name, name), dtype, FLAT.get(name, shape)) for name, (dtype, shape) in PUBLISHED_FIELDS.items()]
)
COLUMNS = tuple(ROW.names or ())
# More columns of a recording of stills, and the shape of a row. `name` is the picture's file; lens and size are each
# picture's own. `person` counts the people of each picture from 0; `fps` and `time_s` mean nothing.
STILL_COLUMNS = {"name": (), "picture_focal_px": (), "picture_size": (2,)}
STILL_ROW = np.dtype(
    [(name, ROW[name]) for name in COLUMNS] + [("picture_focal_px", "<f4"), ("picture_size", "<i4", (2,))]
)
FACTS = ("focal_px", "fps", "size", "body", "bundle", "schema")
CHUNK_ROWS = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """A recording in memory, with N rows of the columns in ROW. Those of STILL_COLUMNS are None for a clip."""

    frame: np.ndarray  # (N,) int64
    time_s: np.ndarray  # (N,) float64
    person: np.ndarray  # (N,) int64
    poses: np.ndarray  # (N, 72) float32
    betas: np.ndarray  # (N, 10) float32
    trans: np.ndarray  # (N, 3) float32
    joints_camera: np.ndarray  # (N, 24, 3) float32
    joints_px: np.ndarray  # (N, 24, 2) float32
    joints_world: np.ndarray  # (N, 24, 3) float32
    box: np.ndarray  # (N, 4) float32
    confidence: np.ndarray  # (N,) float32
    iterations: np.ndarray  # (N,) int32
    focal_px: float
    fps: float
    size: tuple[int, int]  # width, height in pixels
    body: str
    bundle: str
    schema: str = SCHEMA
    name: np.ndarray | None = None  # (N,) str, the picture's file without its folder
    picture_focal_px: np.ndarray | None = None  # (N,) float32; `focal_px` is the first picture's
    picture_size: np.ndarray | None = None  # (N, 2) int32 width, height in pixels; `size` is the first picture's

    def people(self, frame: int, camera: str = "") -> People:
        """The people of one frame. A recording keeps no principal point, so the image centre stands in for it."""
        rows = np.flatnonzero(self.frame == frame)
        size, focal_px = self.size, self.focal_px
        if self.picture_size is not None and self.picture_focal_px is not None and len(rows):
            size = int(self.picture_size[rows[0], 0]), int(self.picture_size[rows[0], 1])
            focal_px = float(self.picture_focal_px[rows[0]])
        return People.of(
            {name: getattr(self, NAMES.get(name, name))[rows] for name in PUBLISHED_FIELDS},
            camera=camera,
            frame_index=frame,
            captured_s=0.0,
            time_s=float(self.time_s[rows[0]]) if len(rows) else 0.0,
            dropped=0,
            size=size,
            focal_px=focal_px,
            centre_px=((size[0] - 1) / 2, (size[1] - 1) / 2),
        )


class MotionWriter:
    """Collects rows in an unnamed temporary file, so that hours of motion need no memory; `close` writes the npz.

    Until then the folder shows no file, and no file stays behind when the process is killed.
    """

    def __init__(self, path: Path, fps: float, body: str, bundle: str, stills: bool = False) -> None:
        """fps: the source's frame rate; 0: it is computed from the frames' indices and times. stills: the frames are
        pictures by themselves.

        Every method raises UserError when the disk cannot be written.
        """
        self._path, self._row = path, STILL_ROW if stills else ROW
        self._names: list[str] | None = [] if stills else None  # of each row's picture
        self._first: People | None = None
        self._last: People | None = None
        self._facts = {"focal_px": 0.0, "fps": fps, "size": (0, 0), "body": body, "bundle": bundle, "schema": SCHEMA}
        with _reported(path):
            self._rows = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115 - closed in close
        self._count = 0

    def add(self, people: People, name: str = "") -> None:
        """Adds one row per person. The recording's focal length and size are those of the first frame.

        name: of the picture's file, for stills.
        """
        if self._first is None:
            self._first = people
            self._facts |= {"focal_px": people.focal_px, "size": people.size}
        self._last = people
        rows = np.zeros(len(people.ids), self._row)
        rows["frame"], rows["time_s"] = people.frame_index, people.time_s
        for field in PUBLISHED_FIELDS:
            column = NAMES.get(field, field)
            rows[column] = getattr(people, field).reshape(rows[column].shape)
        if self._names is not None:
            self._names += [name] * len(rows)
            rows["picture_focal_px"], rows["picture_size"] = people.focal_px, people.size
        with _reported(self._path):
            self._rows.write(rows.tobytes())
        self._count += len(rows)

    def close(self) -> None:
        """Writes the npz, complete or not at all. Without any frame, it leaves no file."""
        if self._rows.closed or self._first is None or self._last is None:
            with _reported(self._path):
                self._rows.close()
            return
        if not self._facts["fps"] and self._last.time_s > self._first.time_s:
            frames = self._last.frame_index - self._first.frame_index
            self._facts["fps"] = frames / (self._last.time_s - self._first.time_s)
        with _reported(self._path):
            self._write()

    def _write(self) -> None:
        try:
            with write_whole(self._path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
                for name in self._row.names or ():
                    self._write_column(archive, name)
                names = {} if self._names is None else {"name": np.array(self._names, np.str_)}
                for name, value in (self._facts | names).items():
                    with archive.open(f"{name}.npy", "w") as file:
                        np.lib.format.write_array(file, np.asarray(value), allow_pickle=False)
        finally:
            self._rows.close()

    def _write_column(self, archive: zipfile.ZipFile, name: str) -> None:
        """Writes one column as an npy member of the archive, CHUNK_ROWS rows at a time."""
        field = np.zeros(0, self._row)[name]
        header = np.lib.format.header_data_from_array_1_0(field) | {"shape": (self._count, *field.shape[1:])}
        self._rows.seek(0)
        with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array_header_1_0(file, header)
            while chunk := self._rows.read(CHUNK_ROWS * self._row.itemsize):
                file.write(np.ascontiguousarray(np.frombuffer(chunk, self._row)[name]).tobytes())


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    """Turns an OSError in the block (a full disk, a deleted folder) into a UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}). {ROOM}") from error


def read_motion(path: Path) -> Motion:
    """Reads a motion.npz. Raises UserError if the file is missing, damaged, incomplete or of another kind."""
    cure = "Record it again: refit-rt run clip.mp4 --out DIR"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            entries = {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file. {cure}") from error
    except Exception as error:  # numpy, zipfile and zlib each raise their own error for damaged bytes
        raise UserError(f"{path}: is not a motion.npz ({error}). {cure}") from error
    shapes = {name: ROW[name].shape for name in COLUMNS}
    if "name" in entries:  # a recording of stills
        shapes |= STILL_COLUMNS
    missing = [name for name in (*shapes, *FACTS) if name not in entries]
    if missing:
        raise UserError(f"{path}: is not a motion.npz, it lacks {', '.join(missing)}. {cure}")
    if str(entries["schema"]) != SCHEMA:
        raise UserError(f"{path}: has schema '{entries['schema']}', but this version reads '{SCHEMA}'. {cure}")
    count = len(entries["frame"])
    for name, shape in shapes.items():
        expected = (count, *shape)
        if entries[name].shape != expected:
            raise UserError(f"{path}: {name} has shape {entries[name].shape}, but {expected} is needed. {cure}")
    facts = {name: entries[name].item() for name in ("focal_px", "fps", "body", "bundle", "schema")}
    width, height = (int(side) for side in entries["size"])
    return Motion(**{name: entries[name] for name in shapes}, size=(width, height), **facts)
