"""Finding a board in pictures, and the reasons for which it is not found."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from calib.adjust import Corners, Scene, project
from calib.board import Board, page_of, picture_of
from calib.detect import SMALLEST_MARKER_PX, Detector, look, why_not
from refit_rt.errors import UserError
from tests.support import board_rig
from training.evaluation.calibration import BOARD as RENDERED
from training.evaluation.calibration import Painter

BOARD = Board("charuco", 8, 6, 0.029, 0.02175)
CHESSBOARD = Board("chessboard", 7, 6, 0.029)


def filmed(board: Board, turned: bool = False, scale: float = 1.0) -> np.ndarray:
    """A print of the board, seen at a slant, 1280 x 720 grey."""
    page = picture_of(page_of(board, "A4"), dpi=100)
    height, width = page.shape
    corners = np.array([[250, 60], [1000, 120], [960, 640], [290, 600]], np.float32)
    corners = (corners - (640, 360)) * scale + (640, 360)
    corners = np.roll(corners, 2, 0) if turned else corners
    warp = cv2.getPerspectiveTransform(
        np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32), corners.astype(np.float32)
    )
    blurred = cv2.GaussianBlur(page, (0, 0), 0.6)
    return cv2.warpPerspective(blurred, warp, (1280, 720), borderMode=cv2.BORDER_CONSTANT, borderValue=(120,))


def test_part_of_a_charuco_board_is_found_with_the_right_numbers() -> None:
    whole = Detector(BOARD)(filmed(BOARD))
    hidden = filmed(BOARD)
    hidden[:, :560] = 120
    part = Detector(BOARD)(hidden)
    assert whole is not None
    assert part is not None
    assert 6 <= len(part.ids) < len(whole.ids) == 35
    where = np.searchsorted(whole.ids, part.ids)
    assert np.abs(whole.pixels[where] - part.pixels).max() < 0.3


def test_a_chessboard_begins_at_the_same_corner_upside_down() -> None:
    upright = Detector(CHESSBOARD)(filmed(CHESSBOARD))
    turned = Detector(CHESSBOARD)(filmed(CHESSBOARD, turned=True))
    assert upright is not None
    assert turned is not None
    assert upright.pixels[0, 0] < 640 < turned.pixels[0, 0]
    assert upright.pixels[0, 1] < 360 < turned.pixels[0, 1]


@pytest.mark.parametrize(
    ("given", "picture", "says"),
    [
        (BOARD, filmed(BOARD)[:, ::-1], "are mirrored. Turn mirroring off"),
        (replace(BOARD, columns=6, rows=8), filmed(BOARD), "has 8 columns and 6 rows: exchange them"),
        (replace(BOARD, inverted=True), filmed(BOARD), "black and white are exchanged"),
        (BOARD, 255 - filmed(BOARD), "black and white are exchanged"),
        (replace(BOARD, legacy=True), filmed(BOARD), "OpenCV's other pattern"),
        (replace(BOARD, columns=9, rows=7), filmed(BOARD), "shows markers of DICT_4X4_50, but no ChArUco board of 9"),
        (
            replace(BOARD, columns=9, rows=7),
            filmed(BOARD, scale=0.4),
            "px wide, and 30 are needed. Film the board nearer",
        ),
        (replace(BOARD, dictionary="DICT_6X6_50"), filmed(BOARD), "shows no ChArUco board"),
        (replace(CHESSBOARD, columns=6, rows=5), filmed(CHESSBOARD), "has 7 x 6 squares: columns and rows count"),
        (CHESSBOARD, np.full((720, 1280), 90, np.uint8), "Film it closer, sharper"),
    ],
)
def test_the_reason_is_named(given: Board, picture: np.ndarray, says: str) -> None:
    picture = np.ascontiguousarray(picture)
    assert says in why_not(given, [picture])
    with pytest.raises(UserError, match=r"^cam_1: ") as error:
        look(given, "cam_1", iter([(0, picture)]))
    assert says in str(error.value)


def test_small_markers_are_measured() -> None:
    seen = look(BOARD, "cam_1", iter([(4, filmed(BOARD))]))
    assert (seen.frames, list(seen.views), seen.size) == (1, [4], (1280, 720))
    assert seen.marker_px > SMALLEST_MARKER_PX
    assert look(BOARD, "cam_1", iter([(4, filmed(BOARD, scale=0.5))])).marker_px < SMALLEST_MARKER_PX


def test_pictures_of_two_sizes_are_refused() -> None:
    with pytest.raises(UserError, match=r"\(640, 360\) pixels among those of \(1280, 720\)"):
        look(BOARD, "cam_1", iter([(0, filmed(BOARD)), (1, filmed(BOARD)[::2, ::2])]))


def test_corners_of_a_rendered_board_are_where_the_lens_puts_them() -> None:
    rng = np.random.default_rng(0)
    lenses, places = board_rig.ring(rng)
    scene = Scene(lenses, places, np.zeros((0, 4, 4)))
    scene = replace(scene, world_from_board=board_rig.close_up(rng, scene, 0, 1))
    picture = Painter(lenses[0], noise=4.0, blur_px=0.8)(rng, places[0] @ scene.world_from_board[0])
    assert picture is not None
    view = Detector(RENDERED)(picture)
    assert view is not None
    zeros = np.zeros(len(view.ids), int)
    truth = project(scene, Corners(zeros, zeros, RENDERED.points[view.ids], view.pixels))
    assert len(view.ids) > 20
    assert np.abs(view.pixels - truth).max() < 0.3
    assert np.abs((view.pixels - truth).mean(0)).max() < 0.05
