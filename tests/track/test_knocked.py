"""A camera that is knocked during a session is named, from key points beside bodies."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from refit_rt.cameras import Camera, Rig
from refit_rt.track.evidence import JOINTS_THERE, POINTS
from refit_rt.track.knocked import Knocked
from refit_rt.track.many_cameras import Finding
from refit_rt.types import Pose, WorldFit
from tests.support import walkers

NOBODY = Pose(np.tile(np.eye(3), (24, 1, 1)), np.zeros(10), np.zeros(3))


def watch(truth: list[Camera], said: list[Camera], people: tuple[int, ...] = (1, 2), seconds: float = 14.0) -> Knocked:
    """Bodies where the rig as it is said to be puts them; key points of one camera per tick, as the true one sees."""
    rng, watcher, times_s = np.random.default_rng(0), Knocked(said), np.arange(0, seconds, 0.04)
    bodies = {person: walkers.walk(person, times_s) for person in people}
    for tick, time_s in enumerate(times_s):
        findings, fits = [], []
        for person in people:
            joints = bodies[person][tick]
            pixels = np.stack([camera.project(joints) for camera in truth])
            placed = Rig(tuple(said)).triangulate(pixels)
            fits.append(WorldFit(person, NOBODY, placed + rng.normal(0, 0.01, (1, 3)), 0.9, 2, (0, 1), cold=False))
            camera = tick % len(truth)
            keypoints = np.zeros((17, 3))
            keypoints[POINTS, :2] = pixels[camera, JOINTS_THERE] + rng.normal(0, 6, (len(POINTS), 2))
            keypoints[:, 2] = 0.8
            findings.append(Finding(person, camera, float(time_s), keypoints))
        watcher.note(float(time_s), findings, fits)
    return watcher


def turned(cameras: list[Camera], number: int, degrees: tuple[float, float, float]) -> list[Camera]:
    place = cameras[number].world_from_camera.copy()
    place[:3, :3] = place[:3, :3] @ cv2.Rodrigues(np.radians(np.array(degrees)))[0]
    return [replace(one, world_from_camera=place) if row == number else one for row, one in enumerate(cameras)]


@pytest.mark.parametrize("count", [3, 4])
def test_a_camera_that_was_turned_by_two_degrees_is_named_once_with_its_angle(count: int, caplog) -> None:
    truth = walkers.cameras(count)
    watcher = watch(truth, turned(truth, 1, (0.9, 1.8, 0.0)))
    assert list(watcher.reported) == [1]
    assert watcher.reported[1] == pytest.approx(2.0, abs=0.4)
    assert [record.getMessage()[:20] for record in caplog.records] == ["camera 'cam2' points"]


def test_a_rig_that_fits_is_not_accused(caplog) -> None:
    truth = walkers.cameras(4)
    assert watch(truth, truth).reported == {}
    assert watch(truth, turned(truth, 0, (0.0, 0.2, 0.0))).reported == {}
    assert watch(truth[:2], turned(truth, 0, (0.0, 3.0, 0.0))[:2]).reported == {}
    assert not caplog.records
