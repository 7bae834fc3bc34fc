"""Every view of a rig is drawn with the bodies as its camera sees them."""

from collections.abc import Mapping
from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from refit_rt.body.smpl import load_body
from refit_rt.cameras import Camera, seen_from
from refit_rt.draw.mosaic import Mosaic, MosaicWriter
from refit_rt.draw.video import OverlayWriter
from refit_rt.geometry import matrix_from_axis_angle
from refit_rt.types import Frame, FrameSet, People
from tests.support.fakes import people

SIZE = (320, 240)
PICTURE = np.full((SIZE[1], SIZE[0], 3), 128, np.uint8)


def camera(name: str, turn_deg: float, size: tuple[int, int] = SIZE) -> Camera:
    """On a ring of 4 m around the origin, 1 m above it, facing the middle."""
    angle = np.radians(turn_deg)
    place = np.eye(4)
    place[:3, :3] = Rotation.from_euler("y", angle).as_matrix() @ np.diag([1.0, -1.0, -1.0])
    place[:3, 3] = 4 * np.sin(angle), 1.0, 4 * np.cos(angle)
    return Camera(name, size, 300.0 * size[0] / 320, ((size[0] - 1) / 2, (size[1] - 1) / 2), world_from_camera=place)


@pytest.fixture(scope="module")
def body():
    return load_body()


def seen(body, here: Camera, count: int = 2) -> People:
    """People near the middle of the ring, complete, in the frame of a camera."""
    some = people(list(range(count)), trans=np.array([[0.3 * k, 0.9, 4.0] for k in range(count)], np.float32))
    some = replace(some, camera=here.name, size=here.size, focal_px=here.focal_px, centre_px=here.centre_px)
    rotations, joints = matrix_from_axis_angle(some.poses), []
    for k in range(count):
        joints.append(body.joints_and_markers(rotations[k], some.betas[k])[:24] + some.trans[k])
    return replace(some, joints_camera=np.array(joints, np.float32).reshape(count, 24, 3))


def surface(body, of: People, k: int) -> np.ndarray:
    """(V, 3) metres in the frame of the people's camera."""
    return body.vertices(matrix_from_axis_angle(of.poses[k]), of.betas[k]) + of.trans[k]


def test_another_camera_sees_the_same_surface_in_the_world(body):
    here, there = camera("a", 0), camera("b", 110)
    of_a = seen(body, here)
    of_b = seen_from(of_a, here, there)
    for k in range(2):
        error_m = there.world(surface(body, of_b, k)) - here.world(surface(body, of_a, k))
        assert np.abs(error_m).max() < 1e-5
    np.testing.assert_allclose(there.world(of_b.joints_camera), here.world(of_a.joints_camera), atol=1e-5)
    np.testing.assert_allclose(of_b.joints_px, there.project(here.world(of_a.joints_camera)), atol=1e-2)
    assert (of_b.camera, of_b.size) == ("b", SIZE)
    back = seen_from(of_b, there, here)
    np.testing.assert_allclose(back.trans, of_a.trans, atol=1e-5)


def test_nobody_is_seen_as_nobody(body):
    here, there = camera("a", 0), camera("b", 110)
    assert len(seen_from(seen(body, here, 0), here, there).ids) == 0


def tick(frames: Mapping[str, np.ndarray | None], index: int = 0) -> FrameSet:
    made = tuple(
        None if image is None else Frame(name, index, 100.0 + index / 10, index / 10, image)
        for name, image in frames.items()
    )
    return FrameSet(tuple(frames), made, index, 100.0 + index / 10, index / 10)


def test_each_view_shows_the_body_where_its_camera_sees_it(body):
    cameras = {name: camera(name, turn) for name, turn in (("a", 0), ("b", 90), ("c", 180))}
    of_a = seen(body, cameras["a"], 1)
    picture = Mosaic(body, cameras).draw(tick(dict.fromkeys(cameras, PICTURE)), of_a)
    assert picture.shape == (2 * SIZE[1], 2 * SIZE[0], 3)
    for number, (name, one) in enumerate(cameras.items()):
        row, column = divmod(number, 2)
        view = picture[row * SIZE[1] : (row + 1) * SIZE[1], column * SIZE[0] : (column + 1) * SIZE[0]]
        points = one.project(cameras["a"].world(surface(body, of_a, 0)))
        drawn = np.argwhere((view[50:] != 128).any(-1))[:, ::-1] + (0, 50)  # below the texts
        expected = np.clip([points[:, 0].min(), points[:, 0].max(), points[:, 1].max()], 0, (319, 319, 239))
        found = [drawn[:, 0].min(), drawn[:, 0].max(), drawn[:, 1].max()]
        np.testing.assert_allclose(found, expected, atol=2.5, err_msg=name)
    assert not picture[SIZE[1] :, SIZE[0] :].any()  # three views in a grid of four


def test_a_camera_without_a_picture_is_black_and_named(body):
    cameras = {name: camera(name, turn) for name, turn in (("a", 0), ("b", 90))}
    picture = Mosaic(body, cameras).draw(tick({"a": None, "b": PICTURE}), seen(body, cameras["a"]))
    assert picture.shape == (SIZE[1], 2 * SIZE[0], 3)
    assert not picture[40:, : SIZE[0]].any()
    assert picture[:40, : SIZE[0]].any()
    assert (picture[100:, SIZE[0] :] > 0).mean() > 0.9


def test_large_and_portrait_pictures_are_scaled_into_the_grid(body):
    cameras = {"a": camera("a", 0, (1280, 720)), "b": camera("b", 90, (720, 1280))}
    frames = {n: np.full((one.size[1], one.size[0], 3), 128, np.uint8) for n, one in cameras.items()}
    picture = Mosaic(body, cameras).draw(tick(frames), seen(body, cameras["a"], 0))
    assert picture.shape == (360, 1280, 3)
    assert picture[300, 960].tolist() == [128] * 3
    assert not picture[300, 660].any()  # beside the portrait


def test_a_person_outside_of_a_view_is_not_labelled_in_it(body):
    cameras = {"a": camera("a", 0), "b": replace(camera("b", 0), world_from_camera=camera("b", 180).world_from_camera)}
    away = seen(body, cameras["a"], 1)
    shift = np.array([0, 0, 6], np.float32)  # behind camera b
    away = replace(away, trans=away.trans + shift, joints_camera=away.joints_camera + shift)
    picture = Mosaic(body, cameras).draw(tick(dict.fromkeys(cameras, PICTURE)), away)
    assert (picture[50:, SIZE[0] :] == 128).all()
    assert (picture[50:, : SIZE[0]] != 128).any()


def test_the_video_has_one_picture_per_tick(body, tmp_path):
    cameras = {name: camera(name, turn) for name, turn in (("a", 0), ("b", 90))}
    video = OverlayWriter(tmp_path / "overlay.mp4", 10, lambda _: lambda picture, _: picture)
    writer = MosaicWriter(Mosaic(body, cameras), video)
    for index in range(3):
        writer.draw((tick({"a": PICTURE, "b": None if index else PICTURE}, index), seen(body, cameras["a"])))
    writer.close()
    read, pictures = cv2.VideoCapture(str(tmp_path / "overlay.mp4")), []
    while (got := read.read())[0]:
        pictures.append(got[1])
    assert [picture.shape for picture in pictures] == [(240, 640, 3)] * 3
    assert pictures[0][200, 330].mean() > 80
    assert pictures[2][200, 330].mean() < 12
