"""Calibration files of other programs: example files as their documentation shows them, round trips, bad files."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from refit_rt.cameras import Camera, Figures, Format, Rig, read_camera, read_rig, write_rig
from refit_rt.errors import UserError
from tests.support.paths import SHARED

TREADMILL = SHARED / "media/treadmill_4cam"
POINTS = np.random.default_rng(0).uniform((-1, 0, -1), (1, 2, 1), (50, 3))  # metres, where people are
WRITTEN: list[tuple[Format, str]] = [
    ("refit-rt", "rig.json"),
    ("easymocap", "folder"),
    ("easymocap", "folder/extri.yml"),
    ("anipose", "calibration.toml"),
    ("caliscope", "camera_array.toml"),
    ("pose2sim", "Calib_studio.toml"),
    ("opencv", "cameras.yml"),
    ("opencv", "folder"),
    ("colmap", "folder"),
]


def looking(name: str, azimuth: float, distortion: list[float], aspect: float = 1.0) -> Camera:
    """A camera 3.5 m from the middle of the room, 2 m above the floor, that looks at 1 m."""
    position = np.array([3.5 * np.sin(azimuth), 2.0, 3.5 * np.cos(azimuth)])
    forward = (0.0, 1.0, 0.0) - position
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, (0.0, 1.0, 0.0))
    right /= np.linalg.norm(right)
    place = np.eye(4)
    place[:3, :3] = np.stack([right, np.cross(forward, right), forward], -1)
    place[:3, 3] = position
    return Camera(name, (1920, 1080), 1400.0, (955.3, 541.7), np.array(distortion), place, aspect)


@pytest.fixture
def rig() -> Rig:
    """Lenses without k3, as Pose2Sim has none; one with pixels that are not square."""
    first = looking("cam_0", 0.3, [-0.1, 0.06, 0.0008, -0.0005, 0.0])
    return Rig((first, looking("cam_1", 1.9, [0.0] * 5, 1.01), looking("cam_2", -1.6, [-0.08, 0.05, 0.0, 0.0, 0.0])))


def off_px(one: Rig, other: Rig) -> float:
    """The largest distance between the pixels of the same points."""
    assert one.names == other.names
    assert [camera.size for camera in one] == [camera.size for camera in other]
    return max(float(np.abs(a.project(POINTS) - b.project(POINTS)).max()) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(("form", "name"), WRITTEN)
def test_every_format_comes_back_within_a_hundredth_of_a_pixel(form, name, rig, tmp_path):
    write_rig(rig, tmp_path / name, form)
    assert off_px(read_rig(tmp_path / name), rig) < 0.01


@pytest.mark.parametrize(("form", "name"), [row for row in WRITTEN if row[0] != "pose2sim"])
def test_k3_and_a_world_far_away_come_back_too(form, name, rig, tmp_path):
    far = rig.moved(np.array([[0.0, 0, 1, 30], [1, 0, 0, 4], [0, 1, 0, -20], [0, 0, 0, 1]]))
    bent = replace(far.cameras[0], distortion=np.array([-0.1, 0.06, 0.001, 0.001, 0.02]))
    far = replace(far, cameras=(bent, *far.cameras[1:]))
    write_rig(far, tmp_path / name, form)
    read = read_rig(tmp_path / name)
    points = far.cameras[0].world(rig.cameras[0].camera(POINTS))
    for one, other in zip(read, far, strict=True):
        np.testing.assert_allclose(one.project(points), other.project(points), atol=0.01)


def test_a_toml_is_toml_and_its_name_says_whose(rig, tmp_path):
    for name, says in (
        ("rig.toml", "[cam_0]"),
        ("camera_array.toml", "[cameras.0]"),
        ("Calib.toml", "fisheye = false"),
    ):
        write_rig(rig, tmp_path / name)
        assert says in (tmp_path / name).read_text()
        assert off_px(read_rig(tmp_path / name), rig) < 0.01


def test_the_floor_notes_and_figures_are_kept_in_the_own_file_alone(rig, tmp_path):
    figures = Figures(rms_px=0.21, held_out_px=0.24, made="2026-11-28T12:00", approximate=True)
    known = replace(rig, floor=True, notes="tripods taped down", figures=figures)
    assert write_rig(known, tmp_path / "rig.json") == ()
    read = read_rig(tmp_path / "rig.json")
    assert (read.floor, read.notes, read.figures) == (True, "tripods taped down", figures)
    lost = write_rig(known, tmp_path / "calibration.toml")
    assert lost[0] == "anipose cannot hold that y = 0 is the floor"
    assert "error = 0.21" in (tmp_path / "calibration.toml").read_text()
    assert not read_rig(tmp_path / "calibration.toml").floor


def test_a_camera_under_a_known_floor_is_refused(rig, tmp_path):
    down = np.eye(4)
    down[1, 3] = -2.3
    sunk = replace(rig.moved(down), floor=True)
    with pytest.raises(UserError, match=r"'cam_0' stands 0\.30 m under the floor.*calibrate floor"):
        write_rig(sunk, tmp_path / "rig.json")
    write_rig(replace(sunk, floor=False), tmp_path / "rig.json")
    content = json.loads((tmp_path / "rig.json").read_text())
    (tmp_path / "rig.json").write_text(json.dumps(content | {"floor": True}))
    with pytest.raises(UserError, match="under the floor"):
        read_rig(tmp_path / "rig.json")


# Where the examples put a point 1 m right of, 0.5 m below and 4 m before the camera: 1000 px of focal length, the
# centre at (640, 360) with pixels as in OpenCV, no distortion.
EXAMPLE_PX = (890.0, 485.0)
LENS = "[ [ 1000.0, 0.0, 640.0,], [ 0.0, 1000.0, 360.0,], [ 0.0, 0.0, 1.0,],]"
ANIPOSE = f"""[cam_0]
name = "left"
size = [ 1280, 720,]
matrix = {LENS}
distortions = [ 0.0, 0.0, 0.0, 0.0, 0.0,]
rotation = [ 3.141592653589793, 0.0, 0.0,]
translation = [ 0.0, 0.0, 4.0,]

[metadata]
adjusted = false
error = 0.1629
"""
POSE2SIM = f"""[cam_01]
name = "left"
size = [ 1280.0, 720.0]
matrix = {LENS}
distortions = [ 0.0, 0.0, 0.0, 0.0]
rotation = [ 3.141592653589793, 0.0, 0.0]
translation = [ 0.0, 0.0, 4.0]
fisheye = false

[metadata]
adjusted = false
error = 0.0
"""
CALISCOPE = f"""[cameras.0]
cam_id = 0
rotation_count = 0
error = 0.5
ignore = false
size = [1280, 720]
matrix = {LENS}
distortions = [0.0, 0.0, 0.0, 0.0, 0.0]
translation = [0.0, 0.0, 4.0]
rotation = [[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]]

[cameras.1]
cam_id = 1
ignore = true
size = [1280, 720]
"""
INTRI = """%YAML:1.0
---
names:
  - "left"
K_left: !!opencv-matrix
  rows: 3
  cols: 3
  dt: d
  data: [1000.000000, 0.000000, 640.000000, 0.000000, 1000.000000, 360.000000, 0.000000, 0.000000, 1.000000]
dist_left: !!opencv-matrix
  rows: 1
  cols: 5
  dt: d
  data: [0.000000, 0.000000, 0.000000, 0.000000, 0.000000]
"""
INTRI_SIZE = "H_left: 720\nW_left: 1280\n"
EXTRI = """%YAML:1.0
---
names:
  - "left"
R_left: !!opencv-matrix
  rows: 3
  cols: 1
  dt: d
  data: [3.141593, 0.000000, 0.000000]
T_left: !!opencv-matrix
  rows: 3
  cols: 1
  dt: d
  data: [0.000000, 0.000000, 4.000000]
"""
OPENCV = """%YAML:1.0
---
calibration_time: "Thu Jan 30 14:43:57 2020"
image_width: 1280
image_height: 720
board_width: 4
board_height: 11
square_size: 2.5000000000000000e-01
camera_matrix: !!opencv-matrix
   rows: 3
   cols: 3
   dt: d
   data: [ 1.0e+03, 0., 6.4e+02, 0., 1.0e+03, 3.6e+02, 0., 0., 1. ]
distortion_coefficients: !!opencv-matrix
   rows: 5
   cols: 1
   dt: d
   data: [ 0., 0., 0., 0., 0. ]
R: !!opencv-matrix
   rows: 3
   cols: 3
   dt: d
   data: [ 1., 0., 0., 0., -1., 0., 0., 0., -1. ]
T: !!opencv-matrix
   rows: 3
   cols: 1
   dt: d
   data: [ 0., 0., 4. ]
"""
COLMAP_CAMERAS = """# Camera list with one line of data per camera:
#   CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]
# Number of cameras: 1
7 SIMPLE_RADIAL 1280 720 1000 640.5 360.5 0
"""
COLMAP_IMAGES = """# Image list with two lines of data per image:
#   IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME
#   POINTS2D[] as (X, Y, POINT3D_ID)
# Number of images: 1, mean observations per image: 2
1 0 1 0 0 0 0 4 7 left.JPG
2362.39 248.498 58396 1784.7 268.254 -1
"""
QUALISYS = """<?xml version="1.0" encoding="UTF-8"?>
<calibration created="2026-01-01" source="Calib.qca.txt" type="regular" qtm-version="2023.3">
 <results std-dev="0.5" min-max-diff="1.0"/>
 <cameras>
  <camera active="1" avg-residual="0.4" serial="left" model="Miqus Video" viewrotation="0">
   <fov_video left="100" top="0" right="1379" bottom="719"/>
   <transform x="0" y="0" z="4000" r11="1" r12="0" r13="0" r21="0" r22="1" r23="0" r31="0" r32="0" r33="1"/>
   <intrinsic focallength="9.3" sensorMinU="0" sensorMaxU="95936" sensorMinV="0" sensorMaxV="46016" focalLengthU="64000"
    focalLengthV="64000" centerPointU="47360" centerPointV="23040" skew="0" radialDistortion1="0" radialDistortion2="0"
    radialDistortion3="0" tangentalDistortion1="0" tangentalDistortion2="0"/>
  </camera>
  <camera active="0" avg-residual="0" serial="off" viewrotation="0"/>
 </cameras>
</calibration>
"""
EXAMPLES: dict[str, dict[str, str]] = {  # what is given → the files that are there
    "calibration.toml": {"calibration.toml": ANIPOSE},
    "Calib_scene.toml": {"Calib_scene.toml": POSE2SIM},
    "camera_array.toml": {"camera_array.toml": CALISCOPE},
    "mocap": {"mocap/intri.yml": INTRI + INTRI_SIZE, "mocap/extri.yml": EXTRI},
    "mocap/intri.yml": {"mocap/intri.yml": INTRI + INTRI_SIZE, "mocap/extri.yml": EXTRI},
    "left.yml": {"left.yml": OPENCV},
    "per_camera": {"per_camera/left.yml": OPENCV},
    "sparse": {"sparse/cameras.txt": COLMAP_CAMERAS, "sparse/images.txt": COLMAP_IMAGES},
    "sparse/images.txt": {"sparse/cameras.txt": COLMAP_CAMERAS, "sparse/images.txt": COLMAP_IMAGES},
    "Calib.qca.txt": {"Calib.qca.txt": QUALISYS},
}


def put(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)


@pytest.mark.parametrize("given", EXAMPLES)
def test_a_documented_example_puts_a_point_where_its_program_does(given, tmp_path):
    """The camera stands at (0, 0, 4) and looks along -z, y up: half a turn about x from the world."""
    put(tmp_path, EXAMPLES[given])
    rig = read_rig(tmp_path / given)
    assert rig.names == ("cam_0",) if given == "camera_array.toml" else rig.names == ("left",)
    assert rig.cameras[0].size == (1280, 720)
    np.testing.assert_allclose(rig.cameras[0].position, (0, 0, 4), atol=1e-5)
    np.testing.assert_allclose(rig.cameras[0].project(np.array([[1.0, -0.5, 0.0]]))[0], EXAMPLE_PX, atol=1e-3)


def test_a_size_that_a_file_lacks_is_given_and_otherwise_asked_for(tmp_path):
    put(tmp_path, {"mocap/intri.yml": INTRI, "mocap/extri.yml": EXTRI})
    with pytest.raises(UserError, match=r"'left' has no 'size'.*calibrate convert .* --size WIDTH HEIGHT"):
        read_rig(tmp_path / "mocap")
    assert read_rig(tmp_path / "mocap", size=(1280, 720))["left"].size == (1280, 720)
    with pytest.raises(UserError, match=r"centre \(640, 360\) is outside of its images of 640 x 360"):
        read_rig(tmp_path / "mocap", size=(640, 360))


def test_a_rig_in_millimetres_is_refused_until_its_unit_is_given(tmp_path):
    other = ANIPOSE.replace("cam_0", "cam_1").replace("left", "right").replace("4.0", "2500.0")
    put(tmp_path, {"calibration.toml": ANIPOSE.replace("4.0", "-1500.0") + other.partition("[metadata]")[0]})
    with pytest.raises(UserError, match=r"stand 4000 m apart, so its unit is not the metre.*--unit mm"):
        read_rig(tmp_path / "calibration.toml")
    rig = read_rig(tmp_path / "calibration.toml", unit_m=0.001)
    assert np.linalg.norm(rig.cameras[0].position - rig.cameras[1].position) == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("given", "files", "says"),
    [
        ("calibration.toml", {"calibration.toml": ANIPOSE.replace("1000.0", "nan")}, "'left' is of no use"),
        ("calibration.toml", {"calibration.toml": ANIPOSE.replace(" 4.0", " inf")}, "'left' is of no use"),
        ("calibration.toml", {"calibration.toml": ANIPOSE + ANIPOSE.replace("cam_0", "a").partition("[meta")[0]},
         "two cameras have the same name"),
        ("calibration.toml", {"calibration.toml": "[metadata]\nerror = 0.0\n"}, "holds no camera"),
        ("calibration.toml", {"calibration.toml": "cameras"}, "is no calibration file"),
        ("Calib.toml", {"Calib.toml": POSE2SIM.replace("fisheye = false", "fisheye = true")}, "fisheye lens"),
        ("camera_array.toml", {"camera_array.toml": CALISCOPE.replace("[[1.0, 0.0", "[[-1.0, 0.0")}, "is left-handed"),
        ("camera_array.toml", {"camera_array.toml": CALISCOPE.replace("[[1.0, 0.0", "[[0.8, 0.0")}, "no rotation"),
        ("mocap", {"mocap/intri.yml": INTRI + INTRI_SIZE}, r"extri\.yml: cannot be read"),
        ("mocap", {"mocap/intri.yml": INTRI, "mocap/extri.yml": EXTRI.replace("R_left", "R_right")}, "lacks 'Rot_left"),
        ("mocap", {"mocap/intri.yml": "K_left: 5\n", "mocap/extri.yml": EXTRI}, "is no calibration file"),
        ("mocap", {"mocap/intri.yml": "%YAML:1.0\n---\na: 5\n", "mocap/extri.yml": EXTRI}, "lacks 'names'"),
        ("left.yml", {"left.yml": OPENCV.replace("camera_matrix", "matrix")}, "'left' has no 'matrix'"),
        ("left.yml", {"left.yml": "\x00"}, "is no calibration file"),
        ("empty", {"empty/readme.md": "nothing"}, "this folder holds no calibration"),
        ("sparse", {"sparse/cameras.txt": COLMAP_CAMERAS}, r"images\.txt: cannot be read"),
        ("sparse", {"sparse/cameras.txt": COLMAP_CAMERAS.replace("SIMPLE_RADIAL", "FOV"),
                    "sparse/images.txt": COLMAP_IMAGES}, "lens model FOV is not read"),
        ("sparse", {"sparse/cameras.txt": COLMAP_CAMERAS.replace("7 SIMPLE", "8 SIMPLE"),
                    "sparse/images.txt": COLMAP_IMAGES}, "it lacks '7'"),
        ("a.qca.txt", {"a.qca.txt": QUALISYS[:-40]}, "no xml"),
        ("a.qca.txt", {"a.qca.txt": QUALISYS.replace("focalLengthU", "focal")}, "lacks 'focalLengthU'"),
        ("a.qca.txt", {"a.qca.txt": QUALISYS.replace('skew="0"', 'skew="640"')}, "skewed by 10 px"),
        ("rig.json", {"rig.json": '{"cameras": []}'}, "holds no camera"),
        ("rig.json", {"rig.json": '{"cameras": [], "floor": 1}'}, "floor is true or false"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_in_one_line_that_names_it(given, files, says, tmp_path):
    put(tmp_path, files)
    with pytest.raises(UserError, match=says) as error:
        read_rig(tmp_path / given)
    assert str(error.value).startswith(str(tmp_path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "form", "name", "says"),
    [
        ({"distortion": np.array([0.0, 0, 0, 0, 0.5])}, "pose2sim", "Calib.toml", r"off by up to [0-9.]+ px"),
        ({"name": "left side"}, "easymocap", "folder", "cannot hold the name 'left side'"),
        ({"name": 'a"b'}, "opencv", "rig.yml", "without quotes"),
        ({"name": "../up"}, "opencv", "folder", "no file can be called"),
        ({"name": "a/b"}, "colmap", "folder", "no image can be called"),
        ({}, "qualisys", "a.qca.txt", "is read, not written"),
        ({}, "anipose", "rig.json", "anipose is a toml file"),
        ({}, None, "rig.bin", "no format is called so"),
        ({}, None, "folder", "give the format with --to"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_with_nothing_written(change, form, name, says, rig, tmp_path):
    changed = replace(rig, cameras=(*rig.cameras[:2], replace(rig.cameras[2], **change)))
    with pytest.raises(UserError, match=says):
        write_rig(changed, tmp_path / name, form)
    assert not list(tmp_path.iterdir())


def test_caliscope_numbers_cameras_and_says_which_is_which(rig, tmp_path):
    renamed = replace(rig, cameras=tuple(replace(c, name=n) for c, n in zip(rig, ("door", "cam_01", "c"), strict=True)))
    lost = write_rig(renamed, tmp_path / "camera_array.toml")
    assert lost == ("Caliscope numbers its cameras: door is cam_0, cam_01 is cam_1, c is cam_2",)
    assert read_rig(tmp_path / "camera_array.toml").names == ("cam_0", "cam_1", "cam_2")


def test_the_rig_of_some_sources_is_scaled_and_what_does_not_fit_is_named(rig):
    some = rig.for_sources({"cam_2": (960, 540), "cam_0": (1920, 1080)})
    assert some.names == ("cam_2", "cam_0")
    half = (some["cam_2"].project(POINTS) + 0.5) * 2 - 0.5
    np.testing.assert_allclose(half, rig["cam_2"].project(POINTS), atol=1e-9)
    with pytest.raises(ValueError, match="has no camera 'door', only cam_0, cam_1, cam_2"):
        rig.for_sources({"door": (1920, 1080)})
    with pytest.raises(ValueError, match=r"'cam_1' was calibrated at \(1920, 1080\), the video is \(640, 480\)"):
        rig.for_sources({"cam_1": (640, 480)})


def test_delays_are_kept_by_this_projects_file_and_said_to_be_lost_by_others(rig, tmp_path):
    late = replace(rig, cameras=(rig.cameras[0], replace(rig.cameras[1], delay_s=0.0412), rig.cameras[2]))
    assert write_rig(late, tmp_path / "rig.json") == ()
    assert read_rig(tmp_path / "rig.json").delays_s == {"cam_1": 0.0412}
    assert "delay_s" not in (tmp_path / "rig.json").read_text().split("cam_1")[0]
    lost = write_rig(late, tmp_path / "calibration.toml")
    assert "anipose cannot hold the cameras' delays (set capture.delays_s)" in lost
    assert read_rig(tmp_path / "calibration.toml").delays_s == {}
    text = (tmp_path / "rig.json").read_text().replace("0.0412", "NaN")
    (tmp_path / "rig.json").write_text(text)
    with pytest.raises(UserError, match=r"camera 'cam_1' is of no use .its delay_s is not finite"):
        read_rig(tmp_path / "rig.json")


def test_points_are_triangulated_from_the_cameras_that_see_them(rig):
    pixels = np.stack([camera.project(POINTS) for camera in rig])
    pixels[0, :10] = np.nan
    pixels[:2, 10] = np.nan
    found = rig.triangulate(pixels)
    assert np.isnan(found[10]).all()
    np.testing.assert_allclose(np.delete(found, 10, 0), np.delete(POINTS, 10, 0), atol=1e-6)
    noisy = rig.triangulate(pixels + np.random.default_rng(1).normal(0, 0.5, pixels.shape))
    assert np.nanmedian(np.linalg.norm(noisy - POINTS, axis=-1)) < 0.003


def test_a_rig_in_another_world_sees_the_same(rig):
    turn = np.eye(4)
    turn[:3, :3] = cv2.Rodrigues(np.array([0.3, -2.0, 0.7]))[0]
    turn[:3, 3] = (1.0, 2.0, 3.0)
    moved = rig.moved(turn, scale=1.7)
    points = 1.7 * POINTS @ turn[:3, :3].T + turn[:3, 3]
    for one, other in zip(rig, moved, strict=True):
        np.testing.assert_allclose(other.project(points), one.project(POINTS), atol=1e-6)


@pytest.mark.skipif(not TREADMILL.is_dir(), reason="needs ../shared/media/treadmill_4cam")
def test_the_qualisys_file_of_the_treadmill_has_the_known_places_and_misfit():
    """The recommended calibration has the same places and, for the cameras whose videos were not scaled, the same focal
    lengths; what differs is the principal point, by 8 to 14 px."""
    given = read_rig(TREADMILL / "Calib.qca.txt")
    known = read_rig(TREADMILL / "calibration_recommended.json")
    assert given.names == known.names
    for one, other in zip(given, known, strict=True):
        assert one.size == (1088, 1920)
        np.testing.assert_allclose(one.world_from_camera, other.world_from_camera, atol=1e-6)
        np.testing.assert_allclose(one.distortion, other.distortion, atol=1e-9)
    for name in ("cam03", "cam04"):
        assert given[name].focal_px == pytest.approx(known[name].focal_px, rel=1e-6)
        shift = np.linalg.norm(np.subtract(given[name].centre_px, known[name].centre_px))
        assert 7 < shift < 15
    with pytest.raises(UserError, match=r"'cam01' was calibrated at \(1088, 1920\), the video is \(1080, 1920\)"):
        read_camera(TREADMILL / "Calib.qca.txt", "cam01", (1080, 1920))
