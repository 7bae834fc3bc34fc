"""Whether a rig fits what its cameras see: a knocked camera is named, with the angle."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from calib.check import matched
from calib.misfit import knocked, misfit
from refit_rt.cameras import Rig
from tests.support import walkers


def turned(rig: Rig, number: int, degrees: tuple[float, float, float]) -> Rig:
    """The rig whose file says that one camera points another way than it does."""
    place = rig.cameras[number].world_from_camera.copy()
    place[:3, :3] = place[:3, :3] @ cv2.Rodrigues(np.radians(np.array(degrees)))[0]
    cameras = list(rig.cameras)
    cameras[number] = replace(cameras[number], world_from_camera=place)
    return replace(rig, cameras=tuple(cameras))


@pytest.fixture(scope="module")
def truth() -> Rig:
    return Rig(tuple(walkers.cameras(4)))


@pytest.fixture(scope="module")
def seen(truth: Rig) -> list:
    """Two people for three seconds; the second camera is 40 ms late."""
    return walkers.watched(list(truth.cameras), (1, 2), 3.0, (0.0, 0.04, 0.0, 0.0))


def test_a_rig_that_fits_is_left_alone(truth: Rig, seen: list) -> None:
    rig, pixels = matched(truth, seen, {"cam2": 0.04})
    assert knocked(rig, pixels) == []
    assert misfit(rig, pixels).sentences(rig) == []


@pytest.mark.parametrize("degrees", [(0.0, 1.0, 0.0), (0.0, 0.0, 2.0), (1.5, -4.0, 0.0)])
def test_a_knocked_camera_is_named_with_its_angle(truth: Rig, seen: list, degrees: tuple[float, float, float]) -> None:
    rig, pixels = matched(turned(truth, 2, degrees), seen, {"cam2": 0.04})
    (found,) = knocked(rig, pixels)
    assert rig.names[found.camera] == "cam3"
    assert found.turn_deg == pytest.approx(np.linalg.norm(degrees), abs=0.25)
    assert 1.2 * found.turned_px < found.error_px
    assert found.turned_px < 6
    assert "cam3: was knocked, by" in found.sentence(rig)


def test_two_knocked_cameras_of_four_are_both_named(truth: Rig, seen: list) -> None:
    rig, pixels = matched(turned(turned(truth, 0, (0, 2, 0)), 3, (-1.5, 0, 0)), seen, {"cam2": 0.04})
    assert {rig.names[one.camera] for one in knocked(rig, pixels)} == {"cam1", "cam4"}
