"""Whether a calibration fits its pictures, from points that several cameras see."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from calib.misfit import misfit
from refit_rt.cameras import Rig, read_rig
from tests.calib.test_floor import ring, seen
from tests.support.paths import SHARED

TREADMILL = SHARED / "media/treadmill_4cam"
JOINTS = np.random.default_rng(0).uniform((-0.6, 0, -0.6), (0.6, 1.8, 0.6), (300, 3))


def test_a_rig_that_fits_is_left_alone_and_a_blind_camera_says_nothing():
    rng = np.random.default_rng(1)
    rig = ring(4, rng)
    pixels = seen(rig, JOINTS, 5.0, rng)
    pixels[3, 5:] = np.nan
    found = misfit(rig, pixels)
    assert found.sentences(rig) == []
    assert np.isnan(found.shift_px[3]).all()
    assert np.nanmax(np.abs(found.shift_px)) < 2


def test_a_cropped_picture_and_a_knocked_camera_are_named():
    rng = np.random.default_rng(2)
    rig = ring(5, rng)
    pixels = seen(rig, JOINTS, 5.0, rng)
    cropped = pixels.copy()
    cropped[1] -= (0, 30)
    found = misfit(rig, cropped)
    assert any(line.startswith("cam_1: its picture is off") for line in found.sentences(rig))
    assert np.linalg.norm(found.shift_px, axis=-1).argmax() == 1
    knocked = rig.cameras[2].world_from_camera.copy()
    knocked[:3, :3] = knocked[:3, :3] @ cv2.Rodrigues(np.radians([0.0, 1.0, 0.0]))[0]
    moved = replace(rig.cameras[2], world_from_camera=knocked)
    pixels[2] = moved.project(JOINTS) + rng.normal(0, 5, (300, 2))
    assert np.linalg.norm(misfit(rig, pixels).shift_px, axis=-1).argmax() == 2


@pytest.mark.skipif(not TREADMILL.is_dir(), reason="needs ../shared/media/treadmill_4cam")
def test_the_treadmills_own_file_does_not_fit_its_videos_and_the_recommended_one_does():
    """Joints as a detector finds them, 5 px off, where the recommended calibration puts them; z is up there."""
    known = read_rig(TREADMILL / "calibration_recommended.json")
    given = Rig(
        tuple(replace(a, size=b.size) for a, b in zip(read_rig(TREADMILL / "Calib.qca.txt"), known, strict=True))
    )
    pixels = seen(known, JOINTS[:, [0, 2, 1]], 5.0, np.random.default_rng(3))
    assert misfit(known, pixels).sentences(known) == []
    found = misfit(given, pixels)
    says = found.sentences(given)
    assert {line[:5] for line in says} >= {"cam01", "cam03"}
    assert found.error_px.max() > 12
    assert found.shifted_px.max() < 8
