"""Reads and writes motion.npz, the recording of a run: one row per person and frame.

While a run goes on, its rows are in motion.unfinished beside the target, and they stay there when it is killed:

| part | what |
|---|---|
| line 1 | MAGIC |
| line 2 | one JSON object: `row`, a list of [column, numpy dtype, shape]; the FACTS, `gender` and `axes` |
| rest | the rows, packed. The last one may be cut off |

`fps` 0 in it: it is computed from the rows.
"""

import json
import logging
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import IO, Any

import numpy as np

from refit_rt.errors import UserError
from refit_rt.files import ROOM, write_whole
from refit_rt.stream.wire import FRAME_OF_REFERENCE
from refit_rt.types import ADDED_FIELDS, PUBLISHED_FIELDS, People

log = logging.getLogger(__name__)

SCHEMA = "refit_rt.motion/1"
MAGIC = b"refit_rt.unfinished/1\n"
UNFINISHED = ".unfinished"

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
NAME_CHARACTERS = 255  # no file system of Linux, macOS or Windows has longer names
STILL_ROW = np.dtype(
    [(name, ROW[name]) for name in COLUMNS]
    + [("picture_focal_px", "<f4"), ("picture_size", "<i4", (2,)), ("name", f"<U{NAME_CHARACTERS}")]
)
PLACES = ("cameras", "world_from_cameras", "floor")  # facts that are left out where they are not known
FACTS = ("focal_px", "fps", "size", "body", "bundle", "schema")
GENDER = "neutral"  # of the body model: AMASS names it
AXES = f"{FRAME_OF_REFERENCE}; joints_world: y up, metres"
CHUNK_ROWS = 4096
RECORD_AGAIN = "Record it again: refit-rt run clip.mp4 --out DIR"


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
    views: np.ndarray  # (N,) int32
    contacts: np.ndarray  # (N, 4) float32
    focal_px: float
    fps: float
    size: tuple[int, int]  # width, height in pixels
    body: str
    bundle: str
    schema: str = SCHEMA
    gender: str = GENDER
    axes: str = AXES  # in words; the file has `fps` once more as `mocap_framerate`, AMASS's name
    cameras: tuple[str, ...] = ()  # names; empty: not known, as in files of earlier releases
    world_from_cameras: tuple[tuple[float, ...], ...] = ()  # of each: the upper (3, 4) of its matrix, row after row
    floor: tuple[float, ...] | None = None  # (4,) as in People, as it was known at the end; None: it was not
    name: np.ndarray | None = None  # (N,) str, the picture's file without its folder
    picture_focal_px: np.ndarray | None = None  # (N,) float32; `focal_px` is the first picture's
    picture_size: np.ndarray | None = None  # (N, 2) int32 width, height in pixels; `size` is the first picture's

    def people(self, frame: int, camera: str = "") -> People:
        """The people of one frame. A recording keeps no principal point, so the image centre stands in for it.

        camera: a name for the camera of a file that keeps none.
        """
        rows = np.flatnonzero(self.frame == frame)
        size, focal_px = self.size, self.focal_px
        if self.picture_size is not None and self.picture_focal_px is not None and len(rows):
            size = int(self.picture_size[rows[0], 0]), int(self.picture_size[rows[0], 1])
            focal_px = float(self.picture_focal_px[rows[0]])
        return People.of(
            {name: getattr(self, NAMES.get(name, name))[rows] for name in PUBLISHED_FIELDS},
            camera=self.cameras[0] if self.cameras else camera,
            frame_index=frame,
            captured_s=0.0,
            time_s=float(self.time_s[rows[0]]) if len(rows) else 0.0,
            dropped=0,
            size=size,
            focal_px=focal_px,
            centre_px=((size[0] - 1) / 2, (size[1] - 1) / 2),
            cameras=self.cameras,
            world_from_cameras=self.world_from_cameras,
            floor=self.floor,
        )


class MotionWriter:
    """Writes rows to motion.unfinished beside the target, so that hours of motion need no memory; `close` writes the
    npz and removes that file.

    Each frame's rows are with the operating system when `add` returns, so that a killed process loses none. A power
    failure costs what the system has not yet put on the disk. An unfinished file that is there already is kept, and
    this recording's is then called motion-2.unfinished.
    """

    def __init__(self, path: Path, fps: float, body: str, bundle: str, stills: bool = False) -> None:
        """fps: the source's frame rate; 0: it is computed from the frames' indices and times. stills: the frames are
        pictures by themselves.

        Every method raises UserError when the disk cannot be written, and this one for the name of an unfinished file.
        """
        if path.suffix.lower() == UNFINISHED:
            raise UserError(f"{path}: is a name of unfinished recordings. Give another, such as {path.stem}.npz")
        self._path, self._row = path, STILL_ROW if stills else ROW
        self._first: People | None = None
        self._last: People | None = None
        self._facts = {"fps": float(fps), "body": body, "bundle": bundle, "schema": SCHEMA}
        self._facts |= {"gender": GENDER, "axes": AXES}
        self._part: Path | None = None  # the unfinished file, from the first frame to the end
        self._file: IO[bytes] | None = None
        self._start = self._count = 0  # where the rows begin; how many there are
        with self._reported():
            if left := unfinished(path):
                log.warning("%s", _kept(left))

    def add(self, people: People, name: str = "") -> None:
        """Adds one row per person. The recording's focal length and size are those of the first frame.

        name: of the picture's file, for stills.
        """
        rows = np.zeros(len(people.ids), self._row)
        rows["frame"], rows["time_s"] = people.frame_index, people.time_s
        for field in PUBLISHED_FIELDS:
            column = NAMES.get(field, field)
            rows[column] = getattr(people, field).reshape(rows[column].shape)
        if self._row is STILL_ROW:
            rows["name"], rows["picture_focal_px"], rows["picture_size"] = name, people.focal_px, people.size
        with self._reported():
            file = self._file or self._begin(people)
            file.write(rows.tobytes())
            file.flush()
        self._last = people
        self._count += len(rows)

    def _begin(self, first: People) -> IO[bytes]:
        """Makes the unfinished file."""
        self._first = first
        self._facts |= {"focal_px": float(first.focal_px), "size": [int(side) for side in first.size]}
        self._facts |= known_places(first)
        row = [(name, kind, *shape) for name, kind, *shape in self._row.descr]
        self._part, self._file = _created(self._path)
        self._file.write(MAGIC + json.dumps(self._facts | {"row": row}).encode() + b"\n")
        self._start = self._file.tell()
        return self._file

    def close(self) -> None:
        """Writes the npz, complete or not at all. Where it cannot be written, the unfinished file stays. Without any
        frame, it leaves no file."""
        file, self._file = self._file, None
        if file is None or self._part is None or self._first is None:
            return
        last, written = self._last or self._first, False
        self._facts |= known_places(last)
        if not self._facts["fps"]:
            self._facts["fps"] = _rate(last.frame_index - self._first.frame_index, last.time_s - self._first.time_s)
        try:
            with self._reported(), file:
                self._write(file)
            written = True
        finally:
            if written or not self._count:
                self._remove(self._part)  # closed: Windows removes no open file

    def _write(self, rows: IO[bytes]) -> None:
        with write_whole(self._path, self._cure) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
            for name in self._row.names or ():
                if name != "name":
                    self._write_column(archive, rows, name)
            entries = self._facts | {"mocap_framerate": self._facts["fps"]}
            if self._row is STILL_ROW:
                names = [name for chunk in self._chunks(rows) for name in chunk["name"].tolist()]
                entries["name"] = np.array(names, np.str_)  # as wide as the longest
            for name, value in entries.items():
                with archive.open(f"{name}.npy", "w") as file:
                    np.lib.format.write_array(file, np.asarray(value), allow_pickle=False)

    def _write_column(self, archive: zipfile.ZipFile, rows: IO[bytes], name: str) -> None:
        """Writes one column as an npy member of the archive, CHUNK_ROWS rows at a time."""
        field = np.zeros(0, self._row)[name]
        header = np.lib.format.header_data_from_array_1_0(field) | {"shape": (self._count, *field.shape[1:])}
        with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array_header_1_0(file, header)
            for chunk in self._chunks(rows):
                file.write(np.ascontiguousarray(chunk[name]).tobytes())

    def _chunks(self, rows: IO[bytes]) -> Iterator[np.ndarray]:
        """The rows of the unfinished file."""
        rows.seek(self._start)
        for begin in range(0, self._count, CHUNK_ROWS):
            size = min(CHUNK_ROWS, self._count - begin)
            yield np.frombuffer(rows.read(size * self._row.itemsize), self._row)

    def _remove(self, part: Path) -> None:
        try:
            part.unlink(missing_ok=True)
        except OSError as error:  # on Windows, while another program reads it
            log.warning("%s can be deleted: %s has all of it (%s)", part, self._path, error.strerror)

    @property
    def _cure(self) -> str:
        return f"{ROOM}. {_readable(self._part)}" if self._part and self._count else ROOM

    @contextmanager
    def _reported(self) -> Iterator[None]:
        """Turns an OSError in the block (a full disk, a deleted folder) into a UserError."""
        try:
            yield
        except OSError as error:
            raise UserError(f"{self._path}: cannot be written ({error.strerror}). {self._cure}") from error


def known_places(people: People) -> dict[str, Any]:
    """The facts about cameras and floor that a frame's people have: those of PLACES that are known."""
    return {name: fact for name in PLACES if (fact := getattr(people, name))}


def write_motion(path: Path, motion: Motion, person: int | None = None) -> None:
    """Writes a recording, or one person of it, as motion.npz. Raises UserError when it cannot be written."""
    writer = MotionWriter(path, motion.fps, motion.body, motion.bundle, stills=motion.name is not None)
    try:
        for row in np.unique(motion.frame, return_index=True)[1]:
            people = motion.people(int(motion.frame[row]))
            shown = people if person is None else people.take(people.ids == person)
            writer.add(shown, "" if motion.name is None else str(motion.name[row]))
    finally:
        writer.close()


def unfinished(path: Path) -> list[Path]:
    """The unfinished files beside a recording that bear its name, newest last: of runs that were killed or still
    go on.

    Raises OSError when the folder cannot be listed.
    """
    ours = re.compile(rf"{re.escape(path.stem)}(-[0-9]+)?{re.escape(UNFINISHED)}")
    left = (file for file in path.parent.iterdir() if ours.fullmatch(file.name))
    return sorted(left, key=lambda file: file.stat().st_mtime)


def _created(path: Path) -> tuple[Path, IO[bytes]]:
    """A new unfinished file for a recording, under the first free name, opened for writing and reading."""
    for number in count(1):
        part = path.with_name(f"{path.stem}{f'-{number}' * (number > 1)}{UNFINISHED}")
        try:
            return part, part.open("x+b")
        except FileExistsError:
            continue
    raise AssertionError("numbers do not end")


def _kept(left: list[Path]) -> str:
    """The line about unfinished files that lie where a new recording begins."""
    names = ", ".join(map(str, left))
    return f"{names}: kept, left by other runs, which were killed or still go on. {_verbs(left[-1])}"


def _readable(part: Path) -> str:
    return f"What has been recorded is in {part}. {_verbs(part)}"


def _verbs(part: Path) -> str:
    """How to use an unfinished file."""
    return f"Use it like a motion.npz: refit-rt export {part} --to glb, or refit-rt replay {part}"


def _rate(frames: int, seconds: float) -> float:
    """Frames per second; 0 where no time has passed."""
    return frames / seconds if seconds > 0 else 0.0


def read_motion(path: Path) -> Motion:
    """Reads a motion.npz, or the motion.unfinished of a run that was killed or still goes on, up to its last whole row.

    Raises UserError if the file is missing, damaged, incomplete or of another kind.
    """
    cure = RECORD_AGAIN
    try:
        entries, whole = _entries(path)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file. {_instead(path) or cure}") from error
    except Exception as error:  # numpy, zipfile, json and zlib each raise their own error for damaged bytes
        raise UserError(f"{path}: is not a motion.npz ({error}). {cure}") from error
    shapes = {name: ROW[name].shape for name in COLUMNS}
    if entries.get("frame", np.zeros(())).ndim:  # an earlier release does not know them
        added = {name: np.zeros((len(entries["frame"]), *shapes[name]), ROW[name].base) for name in ADDED_FIELDS}
        entries = added | entries
    if "name" in entries:  # a recording of stills
        shapes |= STILL_COLUMNS
    missing = [name for name in (*shapes, *FACTS) if name not in entries]
    if missing:
        raise UserError(f"{path}: is not a motion.npz, it lacks {', '.join(missing)}. {cure}")
    if str(entries["schema"]) != SCHEMA:
        raise UserError(f"{path}: has schema '{entries['schema']}', but this version reads '{SCHEMA}'. {cure}")
    rows = len(entries["frame"]) if entries["frame"].ndim else 0
    for name, shape in shapes.items():
        expected = (rows, *shape)
        if entries[name].shape != expected:
            raise UserError(f"{path}: {name} has shape {entries[name].shape}, but {expected} is needed. {cure}")
    if not whole:
        seconds = "" if "name" in entries else f" over {_seconds(entries):.1f} s"
        log.warning(
            "%s: its run was killed or still goes on; it has %d row%s%s", path, rows, "s" * (rows != 1), seconds
        )
    known = ("focal_px", "fps", "body", "bundle", "schema", "gender", "axes")
    facts = {name: entries[name].item() for name in known if name in entries}
    if {"cameras", "world_from_cameras"} <= entries.keys():
        names = tuple(map(str, np.atleast_1d(entries["cameras"]).tolist()))
        places = _numbers(path, entries, "world_from_cameras", (len(names), 12))
        facts |= {"cameras": names, "world_from_cameras": tuple(map(tuple, places))}
    if "floor" in entries:
        facts["floor"] = tuple(_numbers(path, entries, "floor", (4,)))
    width, height = (int(side) for side in entries["size"])
    return Motion(**{name: entries[name] for name in shapes}, size=(width, height), **facts)


def _numbers(path: Path, entries: dict[str, np.ndarray], name: str, shape: tuple[int, ...]) -> list:
    """An entry of finite numbers, as a list. Raises UserError for one of another kind or shape."""
    array = entries[name]
    if array.shape != shape or array.dtype.kind not in "fi" or not np.isfinite(array).all():
        raise UserError(f"{path}: {name} is not {shape} finite numbers. {RECORD_AGAIN}")
    return array.tolist()


def _instead(path: Path) -> str:
    """What to read in place of a missing recording; empty where there is nothing."""
    try:
        left = unfinished(path)
    except OSError:
        return ""
    return f"Its run was killed or still goes on. {_readable(left[-1])}" if left else ""


def _entries(path: Path) -> tuple[dict[str, np.ndarray], bool]:
    """The entries of a recording by name, and whether it is a whole one. Raises errors of every kind for damaged
    bytes."""
    with path.open("rb") as file:
        if file.read(len(MAGIC)) == MAGIC or path.suffix == UNFINISHED:
            file.seek(0)
            return _unfinished_entries(file), False
        file.seek(0)
        with np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}, True


def _unfinished_entries(file: IO[bytes]) -> dict[str, np.ndarray]:
    """The entries of an unfinished file, up to its last whole row."""
    if file.readline() != MAGIC or not (text := file.readline()).endswith(b"\n"):
        raise ValueError("it has not even a whole header")
    facts = json.loads(text)
    row = np.dtype([(name, kind, tuple(*shape)) for name, kind, *shape in facts.pop("row")])
    data = file.read()
    rows = np.frombuffer(data, row, len(data) // row.itemsize)
    # After a power failure, XFS may leave zeros where it has noted a file's new length but not its bytes.
    filled = np.flatnonzero(rows.view(np.uint8).reshape(len(rows), row.itemsize).any(1))
    rows = rows[: filled[-1] + 1] if len(filled) else rows[:0]
    entries = {name: np.ascontiguousarray(rows[name]) for name in row.names or ()}
    if "name" in entries:
        entries["name"] = np.array(entries["name"].tolist(), np.str_)
    if facts["fps"] == 0 and len(rows):
        facts["fps"] = _rate(int(rows["frame"][-1] - rows["frame"][0]), _seconds(entries))
    return entries | {name: np.asarray(value) for name, value in facts.items()}


def _seconds(entries: dict[str, np.ndarray]) -> float:
    """From the first row to the last."""
    time_s = entries["time_s"]
    return float(time_s[-1] - time_s[0]) if len(time_s) else 0.0
