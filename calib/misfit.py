"""Whether a calibration fits its pictures: points that several cameras see → how far each camera's picture is shifted.

A picture that was cropped, or a camera that was knocked since, shows as a shift of its principal point. Shifts that
look as if all points had moved stay unseen, and of those that fit alike, the smallest are taken.
"""

from dataclasses import dataclass, replace

import numpy as np

from refit_rt.cameras import Camera, Rig

ROUNDS = 30  # of points, then shifts; on four cameras, the last ones change the shifts by less than 0.1 px
FEWEST = 10  # points that a camera must share with others
SIGNIFICANT_PX = 2.0  # less is within what joints of people are off on average
LEAST_TURN_DEG = 0.3  # joints of people err alike in one view by up to 0.2 degrees
TURN_ROUNDS, STRAY = 5, 3.0  # of a turn; directions farther off than so many medians are left out
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


@dataclass(frozen=True, slots=True, eq=False)
class Knock:
    """A camera that points another way than the rig says."""

    camera: int
    turn_deg: float
    error_px: float  # median distance of its pixels from the points that the other cameras see
    turned_px: float  # the same, with the camera turned

    def sentence(self, rig: Rig) -> str:
        """What happened to the camera, and the cure."""
        return (
            f"{rig.names[self.camera]}: was knocked, by {self.turn_deg:.1f} degrees: turned so, its error falls from "
            f"{self.error_px:.1f} to {self.turned_px:.1f} px. Calibrate again, or turn the camera back"
        )


def knocked(rig: Rig, pixels: np.ndarray) -> list[Knock]:
    """The cameras that a turn brings back to what the others see, the worst first.

    pixels: as for `misfit`. A rig of fewer than three cameras does not show which one was knocked: the list is empty.
    Of the cameras, the one is named whose turn leaves the least error in all of them; then it is turned, and the next
    one is looked for.
    """
    found: list[Knock] = []
    while len(found) < len(rig) - 2:
        tries = [
            (_typical(turned, pixels), number, turned)
            for number in range(len(rig))
            if number not in [one.camera for one in found] and (turned := _turned(rig, pixels, number)) is not None
        ]
        if not tries:
            break
        _, number, turned = min(tries, key=lambda one: one[0])
        deg = _angle_deg(rig.cameras[number], turned.cameras[number])
        points = rig.triangulate(_without(pixels, number))
        off = [
            float(np.nanmedian(np.linalg.norm(pixels[number] - one.cameras[number].project(points), axis=-1)))
            for one in (rig, turned)
        ]
        if deg < LEAST_TURN_DEG or off[0] < NOTICED * off[1]:
            break
        found.append(Knock(number, deg, *off))
        rig = turned
    return found


def _without(pixels: np.ndarray, number: int) -> np.ndarray:
    others = pixels.copy()
    others[number] = np.nan
    return others


def _turned(rig: Rig, pixels: np.ndarray, number: int) -> Rig | None:
    """The rig with one camera turned about its own place to where the others see the points; None: they share too few.

    Least squares of directions (Kabsch), without those that are far off for their camera.
    """
    camera = rig.cameras[number]
    points = rig.triangulate(_without(pixels, number))
    both = np.isfinite(points).all(-1) & np.isfinite(pixels[number]).all(-1)
    if both.sum() < FEWEST:
        return None
    there = points[both] - camera.position
    there /= np.linalg.norm(there, axis=1, keepdims=True)
    here = np.concatenate([camera.rays(pixels[number, both]), np.ones((both.sum(), 1))], 1)
    here /= np.linalg.norm(here, axis=1, keepdims=True)
    turn, near = camera.world_from_camera[:3, :3], np.ones(len(here), bool)
    for _ in range(TURN_ROUNDS):
        left, _, right = np.linalg.svd(there[near].T @ here[near])
        turn = (left * [1.0, 1.0, np.sign(np.linalg.det(left @ right))]) @ right
        off = np.linalg.norm(there - here @ turn.T, axis=1)
        near = off <= STRAY * np.median(off)
    place = camera.world_from_camera.copy()
    place[:3, :3] = turn
    cameras = list(rig.cameras)
    cameras[number] = replace(camera, world_from_camera=place)
    return replace(rig, cameras=tuple(cameras))


def _typical(rig: Rig, pixels: np.ndarray) -> float:
    """Median distance in pixels, of all points in all cameras."""
    return float(np.nanmedian(np.linalg.norm(_residuals(rig, pixels), axis=-1)))


def _angle_deg(one: Camera, other: Camera) -> float:
    turn = one.world_from_camera[:3, :3].T @ other.world_from_camera[:3, :3]
    return float(np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))))
