"""The lens: what a calibration file says, and what is wrong with one."""

import json

import cv2
import numpy as np
import pytest

from refit_rt import config
from refit_rt.cameras import Camera, Rig, camera_for, check_calibration, read_rig, write_rig
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


@pytest.fixture
def rig() -> Rig:
    """Two cameras with bent lenses, one of them with pixels that are not square, 4 m from the world's origin."""
    cameras = []
    for name, angle, aspect in (("left", 0.3, 1.0), ("right", -0.8, 1.02)):
        world_from_camera = np.eye(4)
        world_from_camera[:3, :3] = cv2.Rodrigues(np.array([0.1, angle, -0.2]))[0]
        world_from_camera[:3, 3] = -4 * world_from_camera[:3, 2] + (0.1, -0.2, 0.3)
        bent = np.array([-0.05, 0.1, 0.001, 0.001, 0.01])
        cameras.append(Camera(name, (1080, 1920), 1600.0, (541.0, 958.0), bent, world_from_camera, aspect))
    return Rig(tuple(cameras))


POINT = np.array([[0.1, 0.2, 0.3], [-0.4, 0.1, 0.0]])


def assert_same_pixels(read: Rig, known: Rig) -> None:
    for one, other in zip(read, known, strict=True):
        assert one.size == other.size
        np.testing.assert_allclose(one.project(POINT), other.project(POINT), atol=1e-6)


def test_a_rig_comes_back_from_its_file(rig, tmp_path):
    write_rig(rig, tmp_path / "deep" / "rig.json")
    read = read_rig(tmp_path / "deep" / "rig.json")
    assert read.names == ("left", "right")
    assert_same_pixels(read, rig)
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["rig.json"]


def test_a_point_goes_to_pixels_and_back_along_its_ray(rig):
    for camera in rig:
        here = camera.camera(POINT)
        np.testing.assert_allclose(camera.world(here), POINT, atol=1e-12)
        np.testing.assert_allclose(camera.rays(camera.project(POINT)), here[:, :2] / here[:, 2:], atol=1e-6)
        np.testing.assert_allclose(camera.camera_from_world @ camera.world_from_camera, np.eye(4), atol=1e-12)


def test_a_rig_in_words_of_other_programs_is_read(rig, tmp_path):
    entries = [
        {"name": c.name, "size": list(c.size), "K": c.matrix.tolist(), "dist": c.distortion.tolist(),
         "R_world_to_cam": c.camera_from_world[:3, :3].tolist(), "t_world_to_cam": c.camera_from_world[:3, 3].tolist()}
        for c in rig
    ]  # fmt: skip
    file = tmp_path / "rig.json"
    file.write_text(json.dumps({"cameras": entries}))
    assert_same_pixels(read_rig(file), rig)
    for key in ("K", "size", "R_world_to_cam"):
        less = [{name: value for name, value in entry.items() if name != key} for entry in entries]
        file.write_text(json.dumps({"cameras": less}))
        with pytest.raises(UserError, match=r"'left' has no ('matrix'|'size'|place)"):
            read_rig(file)
    with pytest.raises(UserError, match="cannot be read"):
        read_rig(tmp_path / "none.json")


def test_a_newer_schema_is_refused(tmp_path):
    file = tmp_path / "rig.json"
    file.write_text(json.dumps({"schema": "refit_rt.rig/2", "cameras": []}))
    with pytest.raises(UserError, match=r"schema 'refit_rt\.rig/2'.*Update refit-rt"):
        read_rig(file)


def test_a_rig_of_caliscope_is_read(rig, tmp_path):
    """One of its cameras with its turn as a matrix, the other with a rotation vector; its videos are cam_0.mp4, …"""
    tables = []
    for number, camera in enumerate(rig):
        turn = camera.camera_from_world[:3, :3]
        turn = cv2.Rodrigues(turn)[0][:, 0] if number else turn
        tables.append(
            f"[cameras.{number}]\ncam_id = {number}\nsize = {list(camera.size)}\nmatrix = {camera.matrix.tolist()}\n"
            f"distortions = {camera.distortion.tolist()}\nrotation = {turn.tolist()}\n"
            f"translation = {camera.camera_from_world[:3, 3].tolist()}\n"
        )
    file = tmp_path / "rig.toml"
    file.write_text("\n".join(tables))
    read = read_rig(file)
    assert read.names == ("cam_0", "cam_1")
    assert_same_pixels(read, rig)
    file.write_text("\n".join(tables).replace("distortions", "distortion"))
    with pytest.raises(UserError, match="lacks 'distortions'"):
        read_rig(file)
    file.write_text("cameras = [")
    with pytest.raises(UserError, match="is no calibration file"):
        read_rig(file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"distortion": [0.1, 0, 0, 0, 0, 0.2]}, "6 distortion coefficients"),
        ({"distortion": None}, "'right' has no 'distortion'"),
        ({"name": "left"}, "two cameras have the same name"),
        ({"name": None}, "lacks 'name'"),
    ],
)
def test_a_rig_that_would_be_read_in_part_is_refused(rig, tmp_path, change, message):
    file = tmp_path / "rig.json"
    write_rig(rig, file)
    content = json.loads(file.read_text())
    changed = content["cameras"][1] | change
    content["cameras"][1] = {key: value for key, value in changed.items() if value is not None}
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        read_rig(file)


def test_a_rounded_rotation_comes_back_as_it_was(rig, tmp_path):
    file = tmp_path / "rig.json"
    write_rig(rig, file)
    content = json.loads(file.read_text())
    rounded = np.round(content["cameras"][0]["camera_from_world"], 4)
    content["cameras"][0]["camera_from_world"] = rounded.tolist()
    file.write_text(json.dumps(content))
    np.testing.assert_allclose(read_rig(file)["left"].camera_from_world, rounded, atol=1e-12)
