"""The lens: what a calibration file says, and what is wrong with one."""

import json

import numpy as np
import pytest

from refit_rt import config
from refit_rt.cameras import camera_for, check_calibration
from refit_rt.errors import UserError

LENS = {"name": "left", "size": [1280, 720], "matrix": [[900, 0, 640], [0, 900, 350], [0, 0, 1]]}


@pytest.fixture
def calibrated(tmp_path):
    """A function that writes a calibration file and gives the settings which name it."""

    def write(content: object) -> config.Camera:
        path = tmp_path / "rig.json"
        path.write_text(json.dumps(content))
        return config.Camera(calibration=str(path))

    return write


def test_a_calibrated_lens_scales_with_the_picture(calibrated):
    settings = calibrated({"cameras": [LENS]})
    check_calibration(settings, "left")
    camera = camera_for(settings, "left", (640, 360))
    assert camera.focal_px == 450
    assert camera.centre_px == (319.75, 174.75)
    with pytest.raises(UserError, match=r"was calibrated at \(1280, 720\), the video is \(640, 480\)"):
        camera_for(settings, "left", (640, 480))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([], "is no calibration file"),
        ({"cameras": [1]}, "is no calibration file"),
        ({"cameras": [{"name": "right"}]}, "has no camera 'left', only right"),
        ({"cameras": [{"name": "left"}]}, "camera 'left' has no 'matrix'"),
        ({"cameras": [LENS | {"size": 5}]}, "camera 'left' is of no use"),
        ({"cameras": [LENS | {"size": [0, 720]}]}, "must be above zero"),
        ({"cameras": [LENS | {"matrix": [[0] * 3] * 3}]}, "must be above zero"),
        ({"cameras": [LENS | {"camera_from_world": np.zeros((4, 4)).tolist()}]}, "Singular matrix"),
        ({"cameras": [LENS | {"distortion": "none"}]}, "camera 'left' is of no use"),
    ],
)
def test_a_calibration_of_no_use_is_refused_before_any_picture(calibrated, content, says):
    with pytest.raises(UserError, match=says) as error:
        check_calibration(calibrated(content), "left")
    assert "leave camera.calibration empty" in str(error.value) or "Set capture.name" in str(error.value)


def test_a_calibration_may_lie_in_the_users_home(calibrated, tmp_path, monkeypatch):
    calibrated({"cameras": [LENS]})
    monkeypatch.setenv("HOME", str(tmp_path))
    assert camera_for(config.Camera(calibration="~/rig.json"), "left", (1280, 720)).focal_px == 900


def test_without_a_calibration_there_is_nothing_to_check():
    check_calibration(config.Camera(), "left")
