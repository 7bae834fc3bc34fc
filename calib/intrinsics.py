"""The lens of one camera, from a target seen in many places."""

from dataclasses import dataclass, field

import cv2
import numpy as np

from calib.adjust import lens_of
from calib.board import Board
from calib.detect import Sightings, View
from refit_rt.errors import UserError

FEWEST_VIEWS = 5
MOST_VIEWS = 60  # calibrateCamera's time grows with their number; 25 good ones suffice
FAR_OFF = 3.0  # times the median error of a view: it is left out
GRID = 5  # coverage is counted in 5 x 5 fields of the picture
ENOUGH_COVERAGE = 0.6
ENOUGH_TILT_DEG = 20.0  # without a tilt, focal length and distance are one number
LOOSE = 0.005  # of the focal length: a standard deviation above it is marked


@dataclass(frozen=True, slots=True, eq=False)
class Lens:
    """A lens, and how well it is known."""

    lens: np.ndarray  # (9,) as in adjust.LENS; k3 is 0, for programs that read four distortion coefficients
    deviation: np.ndarray  # (9,) standard deviations
    rms_px: float
    views: tuple[int, ...]  # moments that were used
    rejected: tuple[int, ...]  # moments whose error is beyond 3 times the median
    coverage: float  # share of the fields of the picture with a corner
    tilt_deg: tuple[float, ...]  # of the views: the board's normal against the viewing axis
    distance_m: tuple[float, ...]  # of the views
    weaknesses: tuple[str, ...] = field(default=())

    @property
    def loose(self) -> bool:
        """Whether the focal length is known worse than to 0.5 %."""
        return bool(self.deviation[0] > LOOSE * self.lens[0])


def solve_lens(board: Board, seen: Sightings) -> Lens:
    """OpenCV's calibration (Zhang 2000) with k3 fixed to 0, then without the views that fit badly. Raises UserError."""
    moments = chosen(seen)
    if len(moments) < FEWEST_VIEWS:
        raise UserError(
            f"{seen.name}: shows the board in {len(seen.views)} frames, and {FEWEST_VIEWS} are needed for its lens. "
            "Record more, or give the lenses with --intrinsics"
        )
    result = _calibrate(board, seen, moments)
    error = np.ravel(result[-1])
    good = error <= FAR_OFF * np.median(error)
    rejected = [moment for moment, keep in zip(moments, good, strict=True) if not keep]
    if rejected and good.sum() >= FEWEST_VIEWS:
        moments = [moment for moment, keep in zip(moments, good, strict=True) if keep]
        result = _calibrate(board, seen, moments)
    else:
        rejected = []
    rms_px, matrix, distortion, turns, places, spread = result[:6]
    tilts = tuple(float(tilt_of(cv2.Rodrigues(turn)[0], place)) for turn, place in zip(turns, places, strict=True))
    away = tuple(float(np.linalg.norm(place)) for place in places)
    deviation = np.concatenate([np.ravel(spread)[:8], [0.0]])
    lens = lens_of(matrix, distortion)
    if not (np.isfinite(lens).all() and lens[0] > 0):
        raise UserError(f"{seen.name}: its views fix no lens. Record the board tilted, and nearer to the camera")
    part = coverage(seen, moments)
    return Lens(
        lens, deviation, float(rms_px), tuple(moments), tuple(rejected), part, tilts, away,
        tuple(_weaknesses(seen, lens, deviation, part, tilts)),
    )  # fmt: skip


def chosen(seen: Sightings) -> list[int]:
    """The moments to use: all, or 60 that differ most in place, size and slant (farthest first)."""
    moments = sorted(seen.views)
    if len(moments) <= MOST_VIEWS:
        return moments
    traits = np.array([_traits(seen.views[moment], seen.size) for moment in moments])
    taken = [int(np.argmax([len(seen.views[moment].ids) for moment in moments]))]
    away = np.full(len(moments), np.inf)
    for _ in range(MOST_VIEWS - 1):
        away = np.minimum(away, np.linalg.norm(traits - traits[taken[-1]], axis=1))
        taken.append(int(np.argmax(away)))
    return sorted(moments[index] for index in taken)


def coverage(seen: Sightings, moments: list[int]) -> float:
    """Share of the 5 x 5 fields of the picture in which a corner was seen."""
    pixels = np.concatenate([seen.views[moment].pixels for moment in moments])
    fields = np.clip((pixels / seen.size * GRID).astype(int), 0, GRID - 1)
    return len(np.unique(fields[:, 0] * GRID + fields[:, 1])) / GRID**2


def tilt_of(turn: np.ndarray, place: np.ndarray) -> float:
    """Degrees between a board's normal and the line to it, of its pose in the camera's frame."""
    towards = np.ravel(place) / np.linalg.norm(place)
    return float(np.rad2deg(np.arccos(np.clip(abs(turn[:, 2] @ towards), 0, 1))))


def _calibrate(board: Board, seen: Sightings, moments: list[int]) -> tuple:
    views = [seen.views[moment] for moment in moments]
    points = [board.points[view.ids].astype(np.float32) for view in views]
    pixels = [view.pixels.astype(np.float32) for view in views]
    try:
        return cv2.calibrateCameraExtended(points, pixels, seen.size, None, None, flags=cv2.CALIB_FIX_K3)  # type: ignore[call-overload]
    except cv2.error as error:
        raise UserError(f"{seen.name}: its views fix no lens. Record the board tilted and in more places") from error


def _traits(view: View, size: tuple[int, int]) -> np.ndarray:
    """Place, size and slant of a view, each of about unit range (5,)."""
    middle = view.pixels.mean(0) / size
    spread = np.cov((view.pixels / size[0]).T)
    wide, high = np.sqrt(np.diag(spread))
    return np.array([*middle, 3 * wide, 3 * high, spread[0, 1] / max(wide * high, 1e-9) / 2])


def _weaknesses(seen: Sightings, lens: np.ndarray, deviation: np.ndarray, part: float, tilts: tuple) -> list[str]:
    """Sentences for the user: what is weak, and what to record."""
    found = []
    if deviation[0] > LOOSE * lens[0]:
        share = 100 * deviation[0] / lens[0]
        found.append(f"{seen.name}: its focal length is only known to {share:.1f} %. Record the board near it, tilted")
    if part < ENOUGH_COVERAGE:
        found.append(f"{seen.name}: the board was in {100 * part:.0f} % of its picture. Hold it into the corners too")
    if max(tilts) < ENOUGH_TILT_DEG:
        found.append(f"{seen.name}: the board was never tilted by more than {max(tilts):.0f} degrees. Tilt it by 40")
    return found
