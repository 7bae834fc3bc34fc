"""Whether a calibration fits its pictures: points that several cameras see → how far each camera's picture is shifted.

A picture that was cropped, or a camera that was knocked since, shows as a shift of its principal point. Shifts that
look as if all points had moved stay unseen, and of those that fit alike, the smallest are taken.
"""

from dataclasses import dataclass, replace

import numpy as np

from refit_rt.cameras import Rig

ROUNDS = 30  # of points, then shifts; on four cameras, the last ones change the shifts by less than 0.1 px
FEWEST = 10  # points that a camera must share with others
SIGNIFICANT_PX = 2.0  # less is within what joints of people are off on average
NOTICED = 1.2  # an error that falls by less than this factor does not speak for a shift


@dataclass(frozen=True, slots=True, eq=False)
class Misfit:
    """How a rig fits points, as it is and with shifted principal points."""

    shift_px: np.ndarray  # (camera, 2) to add to the principal point; NaN: the camera shares too few points
    error_px: np.ndarray  # (camera,) median distance between pixels and the triangulated points, as the rig is
    shifted_px: np.ndarray  # (camera,) the same with the shifts

    def sentences(self, rig: Rig) -> list[str]:
        """One for each camera that does not fit, with the cure."""
        found = []
        for number, camera in enumerate(rig):
            x, y = self.shift_px[number]
            lower = self.error_px[number] > NOTICED * self.shifted_px[number]
            if lower and np.hypot(x, y) > SIGNIFICANT_PX:
                found.append(
                    f"{camera.name}: its picture is off the calibration by ({x:.0f}, {y:.0f}) px; its error falls from "
                    f"{self.error_px[number]:.1f} to {self.shifted_px[number]:.1f} px without that. See whether its "
                    "video was cropped or scaled, or the camera was moved since, and calibrate again"
                )
        return found


def misfit(rig: Rig, pixels: np.ndarray) -> Misfit:
    """pixels (camera, point, 2) of the same points, NaN where a camera does not see one: joints of people, or marks."""
    shared = np.isfinite(pixels).all(-1) & (np.isfinite(pixels).all(-1).sum(0) >= 2)
    enough = shared.sum(1) >= FEWEST
    errors = _residuals(rig, pixels)
    shift = np.zeros((len(rig), 2))
    shifted = rig
    unseen = _unseen(rig, rig.triangulate(pixels))
    for _ in range(ROUNDS):
        residuals = _residuals(shifted, pixels)
        for number in np.flatnonzero(enough):
            shift[number] += np.nanmedian(residuals[number], axis=0)
        shift[enough] -= _part_in(unseen[:, enough], shift[enough])
        shifted = replace(rig, cameras=tuple(
            replace(camera, centre_px=tuple(np.add(camera.centre_px, by).tolist()))
            for camera, by in zip(rig, shift, strict=True)
        ))  # fmt: skip
    shift[~enough] = np.nan
    return Misfit(shift, _median(errors, enough), _median(_residuals(shifted, pixels), enough))


def _unseen(rig: Rig, points: np.ndarray) -> np.ndarray:
    """(3, camera, 2): how each camera's picture shifts when the points' middle moves by 1 cm along x, y and z."""
    middle = np.nanmedian(points, axis=0)
    return np.stack([[c.project(middle + 0.01 * axis) - c.project(middle) for c in rig] for axis in np.eye(3)])


def _part_in(directions: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """The part of (camera, 2) that a sum of directions (3, camera, 2) makes."""
    basis = directions.reshape(len(directions), -1).T
    return (basis @ np.linalg.lstsq(basis, shift.ravel(), rcond=None)[0]).reshape(shift.shape)


def _residuals(rig: Rig, pixels: np.ndarray) -> np.ndarray:
    """(camera, point, 2) pixels minus the projection of the triangulated points."""
    points = rig.triangulate(pixels)
    return pixels - np.stack([camera.project(points) for camera in rig])


def _median(residuals: np.ndarray, enough: np.ndarray) -> np.ndarray:
    lengths = np.full(len(residuals), np.nan)
    lengths[enough] = np.nanmedian(np.linalg.norm(residuals[enough], axis=-1), axis=1)
    return lengths
