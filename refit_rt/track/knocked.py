"""Notices a camera of a rig that was knocked, from where key points lie beside the bodies of all views.

A turned camera sees everybody shifted by one angle, and draws the bodies a little away from where the other cameras see
them. For each camera, the shift and that displacement are found together by least squares, as if it alone were turned;
the one that explains most is named once it does so for some seconds.
"""

import logging
from collections import deque

import numpy as np

from refit_rt import geometry
from refit_rt.cameras import Camera
from refit_rt.track.evidence import JOINTS_THERE, POINTS
from refit_rt.track.many_cameras import Finding
from refit_rt.types import WorldFit

log = logging.getLogger(__name__)

SCORE, LEAST_POINTS = 0.3, 6  # of key points that count; how many of them
SAME_S, HISTORY_S = 0.02, 0.6  # a body this near to a look's frame is that frame's; bodies are kept for late looks
TOGETHER_S, EVERY_S = 0.5, 0.2  # looks of one person at several cameras; between two comparisons
LEAST_CAMERAS = 3  # two cameras show that they contradict each other, not which one is wrong
WINDOW, LEAST_S = 60, 5.0  # comparisons that are judged together, and the time that they must cover
LEAST_DEG = 0.7  # the fit of a rig as it should be shifts people by up to 0.3 degrees
EXPLAINED = 0.5  # a turn of one camera leaves less than this share of what the key points are off


class Knocked:
    """Watches the cameras of a rig. Each is reported once, in the log."""

    def __init__(self, cameras: list[Camera]) -> None:
        self._cameras = cameras
        self._bodies: dict[int, deque] = {}  # id → (time_s, joints)
        self._seen: dict[int, dict[int, tuple[float, np.ndarray, np.ndarray]]] = {}  # id → camera → time, shift, slope
        self._compared_s: dict[int, float] = {}
        self._window: deque = deque(maxlen=WINDOW)  # of (time_s, shifts, left, left by no turn)
        self.reported: dict[int, float] = {}  # camera → degrees

    def note(self, time_s: float, findings: list[Finding], fits: list[WorldFit]) -> None:
        """Takes in the bodies of a tick and the key points that were found since the last one."""
        for fit in fits:
            bodies = self._bodies.setdefault(fit.id, deque())
            bodies.append((time_s, fit.joints))
            while time_s - bodies[0][0] > HISTORY_S:
                bodies.popleft()
        if len(self._cameras) < LEAST_CAMERAS:
            return
        present = {fit.id for fit in fits}
        for table in (self._bodies, self._seen, self._compared_s):
            for gone in table.keys() - present:
                del table[gone]
        for found in findings:
            self._take(found)
        for person in {found.id for found in findings} & self._seen.keys():
            if time_s - self._compared_s.get(person, -np.inf) >= EVERY_S:
                self._compare(person, time_s)

    def _take(self, found: Finding) -> None:
        """Keeps by which angle the key points lie beside the body of their time, and how the body's moves change it."""
        bodies = self._bodies.get(found.id)
        if not bodies:
            return
        then_s, joints = min(bodies, key=lambda one: abs(one[0] - found.time_s))
        points = found.keypoints[POINTS]
        sure = points[:, 2] >= SCORE
        if abs(then_s - found.time_s) > SAME_S or sure.sum() < LEAST_POINTS:
            return
        camera = self._cameras[found.camera]
        there = camera.camera(joints[JOINTS_THERE[sure]])
        off = points[sure, :2] - geometry.project(there, camera.focal_px, camera.centre_px)
        x, y, z = there.mean(0)
        slope = np.array([[1, 0, -x / z], [0, 1, -y / z]]) @ camera.camera_from_world[:3, :3] / z
        self._seen.setdefault(found.id, {})[found.camera] = then_s, np.median(off, axis=0) / camera.focal_px, slope

    def _compare(self, person: int, time_s: float) -> None:
        """Each camera's shift, as if it alone were turned, and what is left in the others."""
        seen = {camera: one for camera, one in self._seen[person].items() if time_s - one[0] <= TOGETHER_S}
        if len(seen) < LEAST_CAMERAS:
            return
        self._compared_s[person] = time_s
        shifts, left = np.full((len(self._cameras), 2), np.nan), np.full(len(self._cameras), np.nan)
        for camera, (_, shift, slope) in seen.items():
            moved, left[camera] = _displaced([one for other, one in seen.items() if other != camera])
            shifts[camera] = shift - slope @ moved
        self._window.append((time_s, shifts, left, _displaced(list(seen.values()))[1]))
        first_s = self._window[0][0]
        if len(self._window) == WINDOW and time_s - first_s >= LEAST_S:
            self._judge()

    def _judge(self) -> None:
        _, shifts, left, none = (np.array(column) for column in zip(*self._window, strict=True))
        often = np.isfinite(left).mean(0) >= 0.5
        if not often.any():
            return
        shares = np.where(often, np.nanmean(np.where(often, left, 0.0), axis=0), np.inf) / max(none.mean(), 1e-12)
        camera = int(shares.argmin())
        degrees = float(np.degrees(np.linalg.norm(np.nanmedian(shifts[:, camera], axis=0))))
        if shares[camera] < EXPLAINED and degrees > LEAST_DEG and camera not in self.reported:
            self.reported[camera] = degrees
            log.warning(
                "camera '%s' points %.1f degrees away from where its calibration puts it: it was knocked. See refit-rt "
                "calibrate check, and calibrate again",
                self._cameras[camera].name,
                degrees,
            )


def _displaced(seen: list[tuple[float, np.ndarray, np.ndarray]]) -> tuple[np.ndarray, float]:
    """How a body must move (3,) to lie where cameras see it, in metres, and the mean square of the angles left."""
    shift, slope = np.concatenate([one[1] for one in seen]), np.concatenate([one[2] for one in seen])
    moved = np.linalg.lstsq(slope, shift, rcond=None)[0]
    return moved, float(((shift - slope @ moved) ** 2).sum() / len(seen))
