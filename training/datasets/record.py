"""Record, one labelled person in a picture of any data set, and Table, which holds many of them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from refit_rt.body.smpl import Body
from refit_rt.errors import UserError
from refit_rt.geometry import matrix_from_axis_angle

PIXELS_PER_SCALE = 200  # person height that SPIN's "scale" 1.0 means: its box is scale * 200 pixels wide


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """One person in a label file. Pixels are those of the whole picture; None marks what the file lacks."""

    source: str
    image: Path
    box: np.ndarray  # (3,) centre x, centre y, side of the square round the person
    gender: str  # of the SMPL model that the betas belong to: neutral, male, female
    focal_px: float | None
    centre_px: np.ndarray | None  # (2,) principal point
    rotations: np.ndarray | None  # (24, 3, 3) relative to the parent joint, the root's in the camera frame
    betas: np.ndarray | None  # (10,)
    pelvis_m: np.ndarray | None  # (3,) metres, where SMPL's root joint is in the camera frame
    keypoints_2d: np.ndarray | None  # (73, 3) x, y, confidence of training.datasets.joints.NAMES
    keypoints_3d: np.ndarray | None  # (73, 4) metres about any origin, axes of the camera, and confidence


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A label file in columns, n people. `table[i]` is a Record; a column is None where the file lacks it."""

    source: str
    folder: Path  # of the pictures
    names: np.ndarray  # (n,) str, pictures within the folder
    boxes: np.ndarray  # (n, 3) float32
    genders: np.ndarray | None = None  # (n,) str
    focals_px: np.ndarray | None = None  # (n,) float32, with centres_px or not at all
    centres_px: np.ndarray | None = None  # (n, 2) float32
    poses: np.ndarray | None = None  # (n, 24, 3) float32 axis-angle; NaN: the row has no SMPL
    betas: np.ndarray | None = None  # (n, 10) float32, with poses or not at all
    pelvis_m: np.ndarray | None = None  # (n, 3) float32
    keypoints_2d: np.ndarray | None = None  # (n, 73, 3) float32
    keypoints_3d: np.ndarray | None = None  # (n, 73, 4) float32
    chains: np.ndarray | None = None  # (n,) number of the person and sequence, for tracking
    frames: np.ndarray | None = None  # (n,) picture number within the sequence

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, row: int) -> Record:
        def at(column: np.ndarray | None) -> np.ndarray | None:
            return None if column is None else column[row]

        pose, focal = at(self.poses), at(self.focals_px)
        known = pose is not None and bool(np.isfinite(pose).all())
        return Record(
            source=self.source,
            image=self.folder / str(self.names[row]),
            box=self.boxes[row],
            gender="neutral" if self.genders is None else str(self.genders[row]),
            focal_px=None if focal is None else float(focal),
            centre_px=at(self.centres_px),
            rotations=matrix_from_axis_angle(pose.astype(float)) if pose is not None and known else None,
            betas=at(self.betas) if known else None,
            pelvis_m=at(self.pelvis_m) if known else None,
            keypoints_2d=at(self.keypoints_2d),
            keypoints_3d=at(self.keypoints_3d),
        )

    def take(self, rows: np.ndarray) -> "Table":
        """The chosen rows: (m,) indices or (n,) bool."""
        columns = {field.name: getattr(self, field.name) for field in fields(self)[2:]}
        return replace(self, **{name: column[rows] for name, column in columns.items() if column is not None})


def joined(tables: Sequence[Table]) -> Table:
    """Concatenates tables of one data set, which must have the same columns. Raises UserError."""
    first = tables[0]
    if len(tables) == 1:
        return first
    columns: dict[str, Any] = {}
    for name in (field.name for field in fields(Table)[2:]):
        parts = [getattr(table, name) for table in tables]
        if any(part is None for part in parts) and any(part is not None for part in parts):
            raise UserError(f"{first.source}: some label files have {name}, others do not. Use files of one kind")
        columns[name] = None if parts[0] is None else np.concatenate(parts)
    return Table(first.source, first.folder, **columns)


@dataclass(frozen=True, slots=True, eq=False)
class Bodies:
    """The SMPL bodies that labels refer to; the neutral one stands in for a missing one."""

    neutral: Body
    male: Body | None = None
    female: Body | None = None

    def of(self, gender: str) -> Body:
        """The body of a gender: male, female, m or f; anything else is neutral."""
        chosen = {"m": self.male, "f": self.female}.get(gender[:1].lower())
        return chosen or self.neutral


def check_pictures(table: Table, labels: Path) -> Table:
    """Returns the table if its first, middle and last pictures exist. Raises UserError for a wrong or empty folder."""
    if not len(table):
        raise UserError(f"{labels}: holds no usable person. Fetch or create the label file again")
    if not table.folder.is_dir():
        raise UserError(f"{table.folder}: no such folder, though {labels} refers to pictures in it. Set `images`")
    for row in (0, len(table) // 2, len(table) - 1):
        path = table.folder / str(table.names[row])
        if not path.is_file():
            raise UserError(f"{path}: no such picture, though {labels} names it. Set `images` to the folder above it")
    return table
