"""refit-rt calibrate convert: from one calibration format to another, with its world, unit and image size."""

from dataclasses import replace

import numpy as np
import pytest

from calib.convert import convert, turned
from refit_rt.cameras import Camera, Rig, read_rig, write_rig
from refit_rt.errors import UserError
from refit_rt.geometry import WORLD_FROM_CAMERA

POINT = np.array([[0.2, 0.4, -3.0]])


@pytest.fixture
def rig() -> Rig:
    """Two upright cameras, half a metre apart, 1.5 m above the floor."""
    places = [np.eye(4), np.eye(4)]
    for number, place in enumerate(places):
        place[:3, :3] = WORLD_FROM_CAMERA
        place[:3, 3] = (0.5 * number, 1.5, 0.0)
    names = ("left", "right")
    lens = np.array([-0.1, 0.01, 0.0, 0.0, 0.0])
    cameras = (
        Camera(name, (640, 480), 500.0, (320.0, 240.0), lens, at) for name, at in zip(names, places, strict=True)
    )
    return Rig(tuple(cameras), floor=True)


def test_a_rig_goes_to_another_format_and_back(rig, tmp_path, capsys):
    write_rig(rig, tmp_path / "rig.json")
    assert convert(str(tmp_path / "rig.json"), str(tmp_path / "mocap"), to="easymocap") == 0
    assert "2 cameras, left, right\n  easymocap cannot hold that y = 0 is the floor" in capsys.readouterr().out
    assert convert(str(tmp_path / "mocap"), str(tmp_path / "back.json")) == 0
    assert "add --up z" in capsys.readouterr().out
    back = read_rig(tmp_path / "back.json")
    for one, other in zip(back, rig, strict=True):
        np.testing.assert_allclose(one.project(POINT), other.project(POINT), atol=1e-6)


def test_a_world_with_z_up_becomes_one_with_y_up(rig, tmp_path):
    """A camera 1.5 m above the floor stays there, and the picture of a point stays the same."""
    write_rig(rig, tmp_path / "rig.json")
    convert(str(tmp_path / "rig.json"), str(tmp_path / "z.toml"), up_out="z")
    raised = read_rig(tmp_path / "z.toml")
    np.testing.assert_allclose([camera.position[2] for camera in raised], 1.5)
    convert(str(tmp_path / "z.toml"), str(tmp_path / "y.json"), up="z")
    again = read_rig(tmp_path / "y.json")
    np.testing.assert_allclose(again["right"].position, rig["right"].position, atol=1e-12)
    np.testing.assert_allclose(again["right"].project(POINT), rig["right"].project(POINT), atol=1e-6)
    np.testing.assert_allclose(turned(rig, "-y", "y")["left"].position, (0, -1.5, 0), atol=1e-12)


def test_the_floor_stays_known_between_rig_files(rig, tmp_path):
    write_rig(rig, tmp_path / "rig.json")
    convert(str(tmp_path / "rig.json"), str(tmp_path / "copy.json"))
    assert read_rig(tmp_path / "copy.json").floor


def test_millimetres_and_a_missing_size_are_given(rig, tmp_path):
    far = replace(rig.moved(np.eye(4), scale=1000.0), floor=False)
    from refit_rt.cameras import anipose, easymocap

    anipose.write(far, tmp_path / "mm.toml")
    with pytest.raises(UserError, match="--unit mm"):
        convert(str(tmp_path / "mm.toml"), str(tmp_path / "rig.json"))
    assert not (tmp_path / "rig.json").exists()
    convert(str(tmp_path / "mm.toml"), str(tmp_path / "rig.json"), unit="mm")
    np.testing.assert_allclose(read_rig(tmp_path / "rig.json")["right"].position, (0.5, 1.5, 0.0), atol=1e-12)
    easymocap.write(rig, tmp_path / "mocap")
    file = tmp_path / "mocap" / "intri.yml"
    file.write_text("".join(line for line in file.read_text().splitlines(True) if line[:2] not in ("H_", "W_")))
    with pytest.raises(UserError, match="--size WIDTH HEIGHT"):
        convert(str(tmp_path / "mocap"), str(tmp_path / "sized.json"))
    convert(str(tmp_path / "mocap"), str(tmp_path / "sized.json"), size=(640, 480))
    assert read_rig(tmp_path / "sized.json")["left"].size == (640, 480)


def test_what_makes_no_sense_is_refused(rig, tmp_path):
    write_rig(rig, tmp_path / "rig.json")
    with pytest.raises(UserError, match="has y up"):
        convert(str(tmp_path / "rig.json"), str(tmp_path / "z.json"), up_out="z")
    with pytest.raises(UserError, match="both must be above zero"):
        convert(str(tmp_path / "rig.json"), str(tmp_path / "z.json"), size=(640, 0))
