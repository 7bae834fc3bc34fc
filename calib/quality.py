"""What a calibration was made of and how well it fits: the record that `solve` leaves for `report`.

How `solve` fills it, after the last adjustment:

    Quality(
        cameras=tuple(CameraQuality(name, size, frame, corner, px, residual_px, used, held_out, distance_m, tilt_deg,
                                    lens_rms_px, deviation) for each camera, in the rig's order),
        pairs=..., corners_m=..., square_m=..., squares_m=..., board="ChArUco 8 x 6, 100 mm", made="2026-11-28 12:00",
    )
    write_quality(quality, beside(rig_path))

One row per detected corner, of every frame that was looked at: also of those that only the lens was found from, and of
those that were trimmed. `report` draws coverage from all rows, and residuals from the rows with a finite residual.
"""

import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from refit_rt.cameras.rig import Rig
from refit_rt.errors import UserError
from refit_rt.files import write_whole

SCHEMA = "refit_rt.calibration_quality/1"
COLUMNS = ("frame", "corner", "px", "residual_px", "used", "held_out", "distance_m", "tilt_deg")  # arrays per camera


@dataclass(frozen=True, slots=True, eq=False)
class CameraQuality:
    """The corners that one camera saw, and how well its lens is known. One row per corner."""

    name: str
    size: tuple[int, int]  # width, height in pixels
    frame: np.ndarray  # (corner,) int: moments, the same number in all cameras
    corner: np.ndarray  # (corner,) int: the corner's number on the board
    px: np.ndarray  # (corner, 2) where it was found, moved by the camera's delay where the board moved
    residual_px: np.ndarray  # (corner, 2) found minus projected by the solved rig; NaN: not part of the rig's solution
    used: np.ndarray  # (corner,) bool: False: trimmed as an outlier, or held out
    held_out: np.ndarray  # (corner,) bool: belongs to a frame that the solution did not see
    distance_m: np.ndarray = field(default_factory=lambda: np.zeros(0))  # (view,) of the board, one per frame it saw
    tilt_deg: np.ndarray = field(default_factory=lambda: np.zeros(0))  # (view,) board's normal against the view axis
    lens_rms_px: float = float("nan")  # of the lens alone; NaN: the lens came from a file
    deviation: dict[str, float] = field(default_factory=dict)  # standard deviations: focal_px, centre_px, k1, …

    @property
    def rms_px(self) -> float:
        """Of the used corners: the root of the mean squared distance. NaN: there are none."""
        return rms(self.residual_px[self.used])

    @property
    def held_out_px(self) -> float:
        """As `rms_px`, of the corners that the solution did not see."""
        return rms(self.residual_px[self.held_out])


@dataclass(frozen=True, slots=True, eq=False)
class Quality:
    """The record of one calibration."""

    cameras: tuple[CameraQuality, ...]
    pairs: np.ndarray  # (camera, camera) int: frames in which both saw the board; on the diagonal, each alone
    corners_m: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))  # (n, 3) world: where the board has been
    square_m: float = float("nan")  # side of a square as entered; NaN: no board
    squares_m: np.ndarray = field(default_factory=lambda: np.zeros(0))  # (n,) sides triangulated corner by corner
    lengths: tuple[tuple[str, float, float], ...] = ()  # what, metres measured by hand, metres in the rig
    board: str = ""  # in words
    made: str = ""  # date and time, ISO 8601
    approximate: bool = False  # made from people, not from a board

    @property
    def rms_px(self) -> float:
        """Over all cameras, of the used corners."""
        return rms(np.concatenate([one.residual_px[one.used] for one in self.cameras]))

    @property
    def held_out_px(self) -> float:
        """Over all cameras, of the corners that the solution did not see."""
        return rms(np.concatenate([one.residual_px[one.held_out] for one in self.cameras]))


def in_space(rig: Rig, cameras: tuple[CameraQuality, ...], across: int) -> tuple[np.ndarray, np.ndarray]:
    """Corners (n, 3) that two cameras or more saw, triangulated frame by frame without the board's shape, in the rig's
    world; and the sides (m,) of squares between neighbours. across: corners per row of the board; 0: no squares.
    """
    keys = np.unique(np.concatenate([np.stack([one.frame, one.corner], -1) for one in cameras]), axis=0)
    pixels = np.full((len(cameras), len(keys), 2), np.nan)
    for number, one in enumerate(cameras):
        good = one.used | one.held_out
        rows = {(frame, corner): row for row, (frame, corner) in enumerate(keys.tolist())}
        at = [rows[pair] for pair in zip(one.frame[good].tolist(), one.corner[good].tolist(), strict=True)]
        pixels[number, at] = one.px[good]
    points = rig.triangulate(pixels)
    places = {(frame, corner): point for (frame, corner), point in zip(keys.tolist(), points, strict=True)}
    sides = []
    for (frame, corner), point in places.items() if across else ():
        right = (frame, corner + 1) if (corner + 1) % across else None
        for other in (right, (frame, corner + across)):
            if other in places:
                sides.append(float(np.linalg.norm(places[other] - point)))
    return points[np.isfinite(points).all(-1)], np.array([side for side in sides if np.isfinite(side)])


def rms(residual_px: np.ndarray) -> float:
    """Root of the mean squared length of the finite rows of (n, 2). NaN: there are none."""
    finite = residual_px[np.isfinite(residual_px).all(-1)]
    return float(np.sqrt((finite**2).sum(-1).mean())) if len(finite) else float("nan")


def beside(rig: Path) -> Path:
    """Where the record of a rig's file lies: rig.json → rig.quality.npz."""
    return rig.with_suffix(".quality.npz")


def write_quality(quality: Quality, path: Path) -> None:
    """Writes what `read_quality` reads. Raises UserError when it cannot be written."""
    words = {
        "schema": SCHEMA,
        "square_m": quality.square_m,
        "lengths": quality.lengths,
        "board": quality.board,
        "made": quality.made,
        "approximate": quality.approximate,
        "cameras": [
            {"name": one.name, "size": one.size, "lens_rms_px": one.lens_rms_px, "deviation": one.deviation}
            for one in quality.cameras
        ],
    }
    arrays = {f"{n}.{name}": getattr(one, name) for n, one in enumerate(quality.cameras) for name in COLUMNS}
    arrays |= {"pairs": quality.pairs, "corners_m": quality.corners_m, "squares_m": quality.squares_m}
    with write_whole(path) as part, part.open("wb") as file:
        np.savez_compressed(file, words=np.array(json.dumps(words)), **arrays)


def read_quality(path: Path) -> Quality:
    """Raises UserError for a file that is missing or is no such record."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            words = json.loads(str(file["words"]))
            if words["schema"] != SCHEMA:
                raise UserError(f"{path}: has schema '{words['schema']}', but this version reads '{SCHEMA}'")
            cameras = tuple(
                CameraQuality(
                    name=one["name"],
                    size=(one["size"][0], one["size"][1]),
                    lens_rms_px=one["lens_rms_px"],
                    deviation=one["deviation"],
                    **{name: file[f"{number}.{name}"] for name in COLUMNS},
                )
                for number, one in enumerate(words["cameras"])
            )
            lengths = tuple((name, measured, found) for name, measured, found in words["lengths"])
            arrays = {name: file[name] for name in ("pairs", "corners_m", "squares_m")}
    except OSError as error:
        cure = "Give the file that refit-rt calibrate solve wrote beside the rig"
        raise UserError(f"{path}: cannot be read ({error.strerror or error}). {cure}") from error
    except (KeyError, ValueError, TypeError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        cure = "Give the file that refit-rt calibrate solve wrote beside the rig"
        raise UserError(f"{path}: is no record of a calibration. {cure}") from error
    return Quality(
        cameras=cameras,
        square_m=words["square_m"],
        lengths=lengths,
        board=words["board"],
        made=words["made"],
        approximate=words["approximate"],
        **arrays,
    )
