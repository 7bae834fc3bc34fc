"""What is weak in a calibration: the reason of each weakness, and its cure.

The limits are those of the calibration study: 0.2 px are reached on rendered boards, real rigs stay under 0.5 px, and
above 2 px something is wrong. Coverage, distances and tilts are what separates focal length from distance.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from calib.quality import CameraQuality, Quality
from refit_rt.cameras.rig import Rig

GOOD_PX, USABLE_PX, BAD_PX = 0.5, 1.0, 2.0
GOOD_M, USABLE_M = 0.003, 0.010  # error of a known length
GRID = 5  # the picture is looked at in 5 x 5 fields
COVERED, EDGES_COVERED = 0.8, 0.75  # share of all fields, and of those at the edges
FIELD_CORNERS = 3  # found corners that cover a field
FEW_FRAMES, FEW_SHARED = 20, 10  # of one camera, and of two together
DISTANCES, TILT_DEG = 2.0, 25.0  # farthest over nearest board, and the largest tilt
TRIMMED = 0.05  # share of outliers
FOCAL = 0.005  # standard deviation of the focal length over itself
WRONG_SQUARE = 0.005  # squares that are so much larger or smaller than entered


@dataclass(frozen=True, slots=True)
class Weakness:
    """One thing that is weak."""

    reason: str
    cure: str
    grave: bool = False  # the rig should not be used like this


def weaknesses(rig: Rig, quality: Quality) -> list[Weakness]:
    """The grave ones first."""
    found = [*_fit(quality), *_pairs(quality), *_lengths(quality), *_world(rig, quality)]
    for camera in quality.cameras:
        found += _coverage(camera)
    return sorted(found, key=lambda one: not one.grave)


def verdict(quality: Quality) -> str:
    """In one word: good, usable or poor."""
    error = quality.held_out_px if np.isfinite(quality.held_out_px) else quality.rms_px
    return "good" if error <= GOOD_PX else "usable" if error <= USABLE_PX else "poor"


def coverage(camera: CameraQuality) -> np.ndarray:
    """Found corners per field of the picture (GRID, GRID), rows from the top."""
    width, height = camera.size
    x, y = camera.px[:, 0], camera.px[:, 1]
    limits = [[-0.5, height - 0.5], [-0.5, width - 0.5]]
    return np.histogram2d(y, x, bins=GRID, range=limits)[0]


def share_covered(camera: CameraQuality) -> tuple[float, float]:
    """Shares of all fields and of those at the edges that are covered."""
    covered = coverage(camera) >= FIELD_CORNERS
    edges = np.ones((GRID, GRID), bool)
    edges[1:-1, 1:-1] = False
    return float(covered.mean()), float(covered[edges].mean())


def _fit(quality: Quality) -> Iterator[Weakness]:
    rms, held_out = quality.rms_px, quality.held_out_px
    if rms > USABLE_PX:
        yield Weakness(
            f"The cameras and the board agree to {rms:.2f} px only; {GOOD_PX} px are good.",
            "Use a flat, stiff board, hold it still at each place, and check its rows, columns and square.",
            rms > BAD_PX,
        )
    if held_out > 1.5 * rms:
        yield Weakness(
            f"Boards that the calibration did not see are {held_out:.2f} px off, those it saw {rms:.2f} px.",
            "Record more places of the board: there are too few for what is solved.",
        )
    each = {one.name: one.rms_px for one in quality.cameras}
    for name, value in each.items():
        others = [other for key, other in each.items() if key != name and np.isfinite(other)]
        if others and value > 2 * np.median(others) and value > GOOD_PX:
            yield Weakness(
                f"{name} is {value:.2f} px off, the others {np.median(others):.2f} px.",
                f"See whether {name} moved during the recording, runs late, or refocuses; fix it and record again.",
                value > BAD_PX,
            )
    for one in quality.cameras:
        if one.rms_px > 2 * one.lens_rms_px and one.rms_px > GOOD_PX:
            yield Weakness(
                f"{one.name} alone fits the board to {one.lens_rms_px:.2f} px, together with the others to "
                f"{one.rms_px:.2f} px: the board moved between the cameras' moments.",
                "Hold the board still for a second at each place, or synchronise the cameras.",
            )
        part = np.isfinite(one.residual_px).all(-1)  # of the rig's solution; other frames are of the lens alone
        share = 1 - float(np.mean((one.used | one.held_out)[part])) if part.any() else 0.0
        if share > TRIMMED:
            yield Weakness(
                f"{share:.0%} of the corners of {one.name} did not fit and were left out.",
                "Look for motion blur, reflections on the board, and other markers in view.",
            )
        focal = one.deviation.get("focal_px", 0.0)
        if focal > FOCAL * max(one.size):
            yield Weakness(
                f"The focal length of {one.name} is known to {focal:.0f} px only.",
                f"Bring the board closer to {one.name}, tilted by 30 to 45 degrees, and also far away.",
            )


def _coverage(camera: CameraQuality) -> Iterator[Weakness]:
    name, frames = camera.name, len(np.unique(camera.frame))
    if not frames:
        yield Weakness(f"{name} never saw the board.", f"Show {name} the board, together with another camera.", True)
        return
    if frames < FEW_FRAMES:
        yield Weakness(f"{name} saw the board in {frames} frames.", f"Show {name} {FEW_FRAMES} places or more.")
    whole, edges = share_covered(camera)
    if whole < COVERED or edges < EDGES_COVERED:
        yield Weakness(
            f"The board was in {whole:.0%} of the picture of {name}, and in {edges:.0%} of its edges, where the lens "
            "bends most.",
            f"Move the board through the empty fields of {name}, up to its edges and corners.",
        )
    if len(camera.distance_m) and camera.distance_m.max() < DISTANCES * camera.distance_m.min():
        yield Weakness(
            f"{name} saw the board from {camera.distance_m.min():.1f} to {camera.distance_m.max():.1f} m: that does "
            "not part focal length from distance.",
            f"Bring the board close to {name}, until it fills the picture, and also twice as far away or more.",
        )
    if len(camera.tilt_deg) and camera.tilt_deg.max() < TILT_DEG:
        yield Weakness(
            f"{name} saw the board tilted by {camera.tilt_deg.max():.0f} degrees at most.",
            "Tilt the board by 30 to 45 degrees to each side, and forwards and backwards.",
        )


def _pairs(quality: Quality) -> Iterator[Weakness]:
    names = [one.name for one in quality.cameras]
    shared = quality.pairs * ~np.eye(len(names), dtype=bool)
    for name, row in zip(names, shared if len(names) > 1 else [], strict=False):
        best = names[int(row.argmax())]
        if row.max() == 0:
            yield Weakness(
                f"{name} never saw the board together with another camera.",
                f"Hold the board where {name} and a second camera see it, at {FEW_SHARED} places or more.",
                True,
            )
        elif row.max() < FEW_SHARED:
            yield Weakness(
                f"{name} saw the board together with another camera in {row.max()} frames at the most ({best}).",
                f"Hold the board where {name} and {best} both see it, at {FEW_SHARED} places or more.",
            )
        elif len(names) > 2 and (row >= FEW_SHARED).sum() == 1:
            yield Weakness(
                f"{name} hangs on {best} alone: an error of that pair is noticed by no other.",
                f"Hold the board where {name} and a third camera see it.",
            )


def _lengths(quality: Quality) -> Iterator[Weakness]:
    sides = quality.squares_m[np.isfinite(quality.squares_m)]
    if len(sides):
        bias = float(np.median(sides)) / quality.square_m - 1
        off_m = float(np.sqrt(np.mean((sides - quality.square_m) ** 2)))
        if abs(bias) > WRONG_SQUARE:
            yield Weakness(
                f"The board's squares are {bias:+.1%} off their entered side of {1000 * quality.square_m:.1f} mm.",
                "Measure ten squares in a row with a ruler, and enter a tenth of that.",
            )
        if off_m > USABLE_M:
            yield Weakness(
                f"Squares measured from two cameras are {1000 * off_m:.1f} mm off.",
                "See what is said of pixels above; the space where the board was seen by two cameras is too small.",
                True,
            )
    for what, measured, found in quality.lengths:
        if abs(found - measured) > GOOD_M:
            yield Weakness(
                f"{what} is {measured:.3f} m long and {found:.3f} m in the rig ({found / measured - 1:+.2%}).",
                "Reprojection cannot see a wrong scale: measure the board's squares again, or set the scale by this "
                "length (calibrate floor).",
                abs(found - measured) > max(USABLE_M, 0.01 * measured),
            )


def _world(rig: Rig, quality: Quality) -> Iterator[Weakness]:
    if quality.approximate:
        yield Weakness("The rig was found from people: centimetres, not millimetres.", "Calibrate with a board.")
    if not rig.floor:
        yield Weakness(
            "Where the floor is, is unknown: bodies have a place among the cameras, but no up and no ground.",
            "Lay the board on the floor, mark points on it, or let a person walk about: refit-rt calibrate floor.",
        )
    if not quality.lengths:
        yield Weakness(
            "No measured length was checked: reprojection cannot see a wrong scale.",
            "Measure the distance between two cameras or marks with a tape, and enter it: calibrate floor --points.",
        )
