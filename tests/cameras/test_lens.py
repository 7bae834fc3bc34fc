"""A lens that bends lines: points, boxes, crops and pictures, against OpenCV and against the whole straight picture."""

import cv2
import numpy as np
import pytest

from refit_rt import geometry
from refit_rt.cameras import Camera, lens
from refit_rt.types import Boxes, Frame, Known, Square

SIZE = (1280, 720)
BARREL = Camera("wide", SIZE, 900.0, (650.0, 350.0), np.array([-0.25, 0.05, 0.001, -0.002, 0.0]))
PINCUSHION = Camera("far", SIZE, 1100.0, (630.0, 370.0), np.array([0.1, 0.02, 0.0, 0.0, 0.01]), aspect=1.004)
STRAIGHT = Camera("straight", SIZE, 900.0, (639.5, 359.5))
LENSES = pytest.mark.parametrize("camera", [BARREL, PINCUSHION], ids=["barrel", "pincushion"])


def coordinates() -> np.ndarray:
    """A picture whose pixels hold their own x and y, and 1."""
    y, x = np.mgrid[: SIZE[1], : SIZE[0]].astype(np.float32)
    return np.stack([x, y, np.ones_like(x)], -1)


def grid(step: int = 40) -> np.ndarray:
    """(n, 2) pixels all over the picture, its edge included."""
    x, y = np.meshgrid(np.linspace(0, SIZE[0] - 1, SIZE[0] // step), np.linspace(0, SIZE[1] - 1, SIZE[1] // step))
    return np.stack([x, y], -1).reshape(-1, 2)


def test_a_bent_line_is_straight_in_the_straight_picture_within_half_a_pixel() -> None:
    camera = Camera("wide", (640, 480), 500.0, (319.5, 239.5), np.array([-0.25, 0.05, 0.0, 0.0, 0.0]))
    true = np.column_stack([np.linspace(60, 580, 60), np.full(60, 100.0)])  # a straight line, high in the picture
    rays = np.column_stack([(true - camera.centre_px) / 500, np.ones(60)])
    bent, _ = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), camera.matrix, camera.distortion)
    image = np.zeros((480, 640), np.uint8)
    cv2.polylines(image, [np.round(bent[:, 0] * 16).astype(np.int32)], False, 255, 2, cv2.LINE_AA, 4)
    straight = lens.straight_picture(image, camera).astype(float)
    columns = np.arange(80, 560)
    rows = (straight[:, columns] * np.arange(480)[:, None]).sum(0) / straight[:, columns].sum(0)
    assert np.abs(rows - 100).max() < 0.5


@LENSES
def test_points_go_there_and_back_and_as_the_camera_projects(camera: Camera) -> None:
    taken = grid()
    straight = lens.straightened(taken, camera)
    assert np.abs(straight - taken).max() > 20
    assert np.abs(lens.bent(straight, camera) - taken).max() < 1e-3
    away = np.column_stack([(straight - camera.centre_px) / camera.focal_px, np.ones(len(straight))])
    assert np.abs(camera.project(camera.world(away)) - taken).max() < 1e-3


def test_points_beyond_the_picture_and_unseen_ones_do_no_harm() -> None:
    edge, beyond = np.array([[0.0, 300.0]]), np.array([[-5000.0, 300.0]])
    moved = lens.straightened(edge, BARREL) - edge
    np.testing.assert_allclose(lens.straightened(beyond, BARREL), beyond + moved)
    points = np.array([[np.nan, np.nan], [200.0, 100.0]])
    for move in (lens.bent, lens.straightened):
        there = move(points, BARREL)
        assert np.isnan(there[0]).all()
        np.testing.assert_allclose(there[1:], move(points[1:], BARREL))
        assert move(np.zeros((0, 17, 2)), BARREL).shape == (0, 17, 2)


@LENSES
@pytest.mark.parametrize(
    "square",
    [
        Square(np.array([640.0, 360.0]), 300.0, 0.3),
        Square(np.array([420.0, 300.0]), 590.0, -0.2),  # halved once
        Square(np.array([180.0, 500.0]), 220.0, -0.6),  # near a corner
        Square(np.array([1190.0, 650.0]), 420.0, 0.0),  # beyond the picture
    ],
    ids=["middle", "halved", "corner", "beyond"],
)
def test_a_crop_is_that_of_the_whole_straight_picture_within_a_twentieth_of_a_pixel(
    camera: Camera, square: Square
) -> None:
    image = coordinates()
    expected = geometry.crop(lens.straight_picture(image, camera), square, 256)
    found = lens.crop(image, square, 256, camera)
    whole = [
        cv2.erode((one[..., 2] > 0.999).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0 for one in (expected, found)
    ]
    both = whole[0] & whole[1]
    assert both.mean() > 0.2
    assert np.abs(found - expected)[both].max() / (square.side_px / 256) < 0.05
    assert (whole[0] != whole[1]).mean() < 0.01  # what lies beyond the picture is black in both


def test_a_square_without_any_pixel_is_black() -> None:
    for side_px in (300.0, 900.0):
        assert not lens.crop(coordinates(), Square(np.array([-900.0, 300.0]), side_px), 64, BARREL).any()


def test_a_lens_that_bends_nothing_changes_nothing() -> None:
    assert not lens.bends(STRAIGHT)
    assert lens.bends(Camera("tall", SIZE, 900.0, (639.5, 359.5), aspect=1.01))  # its pixels are no squares
    image, square = coordinates(), Square(np.array([600.0, 300.0]), 500.0, 0.1)
    assert lens.straight_picture(image, STRAIGHT) is image
    np.testing.assert_array_equal(lens.crop(image, square, 64, STRAIGHT), geometry.crop(image, square, 64))
    points = grid()
    assert lens.bent(points, STRAIGHT) is points
    assert lens.straightened(points, STRAIGHT) is points


@LENSES
def test_what_a_detector_finds_lies_where_a_straight_lens_would_show_it(camera: Camera) -> None:
    straight = np.array([[200.0, 100.0, 320.0, 600.0], [900.0, 250.0, 1000.0, 690.0]], np.float32)
    known = Known(np.arange(2), straight, np.zeros(2, np.float32))
    taken = lens.bent_known(known, camera)
    assert np.abs(taken.xyxy - straight).max() > 1.5
    outlines = np.stack([np.column_stack([np.full(50, x), np.linspace(y0, y1, 50)]) for x0, y0, x1, y1 in straight
                         for x in (x0, x1)])  # fmt: skip
    points = np.concatenate([lens.bent(outlines[:, :17], camera), np.full((4, 17, 1), 0.7)], -1).astype(np.float32)
    frame = Frame("wide", 0, 0.0, 0.0, np.zeros((SIZE[1], SIZE[0], 3), np.uint8))
    ones = np.ones(2, np.float32)
    found = lens.straightened_boxes(Boxes(frame, taken.xyxy, ones, 0 * ones, points[:2], np.arange(2)), camera)
    assert np.abs(found.xyxy - straight).max() < 1.5  # a straight side is none in the picture as taken
    assert found.keypoints is not None
    assert np.abs(found.keypoints[..., :2] - outlines[:2, :17]).max() < 1e-3
    np.testing.assert_array_equal(found.keypoints[..., 2], points[:2, :, 2])
    assert found.frame is frame
    nothing = lens.straightened_boxes(Boxes(frame, np.zeros((0, 4), np.float32), ones[:0], ones[:0]), camera)
    assert (nothing.xyxy.shape, nothing.keypoints) == ((0, 4), None)
