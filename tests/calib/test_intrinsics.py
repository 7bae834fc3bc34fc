"""The lens of one camera: points with a known truth, and chessboards of a real studio."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calib.adjust import Scene
from calib.board import Board
from calib.detect import Sightings, View, look, pictures_at
from calib.intrinsics import solve_lens
from refit_rt.errors import UserError
from tests.support import board_rig
from tests.support.paths import ROOT

BOARD = Board("charuco", board_rig.COLUMNS, board_rig.ROWS, board_rig.SQUARE_M, 0.075)
BOARD_OF_STUDIO = Board("chessboard", 5, 8, 0.06)
TREADMILL = ROOT.parent / "shared" / "media" / "treadmill_4cam"


@pytest.fixture(scope="module")
def seen() -> tuple[Sightings, np.ndarray]:
    """25 views of a board close to a camera with 0.1 px of noise, and the camera's true lens (9,)."""
    rng = np.random.default_rng(0)
    lenses, places = board_rig.ring(rng, 1)
    scene = Scene(lenses, places, np.zeros((0, 4, 4)))
    scene = replace(scene, world_from_board=board_rig.close_up(rng, scene, 0, 25))
    corners = board_rig.seen(rng, scene, 0.1)
    views = {}
    for board in np.unique(corners.board):
        rows = corners.board == board
        grid = np.round(corners.point[rows, :2] / board_rig.SQUARE_M).astype(int) - 1
        if rows.sum() >= 12:
            views[int(board)] = View(grid[:, 1] * (board_rig.COLUMNS - 1) + grid[:, 0], corners.pixel[rows])
    return Sightings("left", board_rig.SIZE, 100, views), lenses[0]


def test_a_lens_is_found_to_a_tenth_of_a_percent(seen: tuple[Sightings, np.ndarray]) -> None:
    found = solve_lens(BOARD, seen[0])
    assert np.abs(found.lens[:2] / seen[1][:2] - 1).max() < 0.001
    assert np.abs(found.lens[2:4] - seen[1][2:4]).max() < 1.5
    assert found.rms_px == pytest.approx(0.1 * np.sqrt(2), rel=0.1)
    assert found.lens[8] == 0
    assert not found.loose
    assert not found.rejected
    assert found.coverage > 0.9


def test_a_view_that_fits_badly_is_left_out(seen: tuple[Sightings, np.ndarray]) -> None:
    views = dict(seen[0].views)
    moment = sorted(views)[3]
    shaken = views[moment].pixels + np.random.default_rng(1).normal(0, 3, views[moment].pixels.shape)
    views[moment] = View(views[moment].ids, shaken)
    found = solve_lens(BOARD, replace(seen[0], views=views))
    assert found.rejected == (moment,)
    assert np.abs(found.lens[:2] / seen[1][:2] - 1).max() < 0.001


def test_too_few_views_are_refused(seen: tuple[Sightings, np.ndarray]) -> None:
    few = dict(list(seen[0].views.items())[:4])
    with pytest.raises(UserError, match=r"left: shows the board in 4 frames, and 5 are needed.*--intrinsics"):
        solve_lens(BOARD, replace(seen[0], views=few))


@pytest.mark.skipif(not TREADMILL.is_dir(), reason="needs the recordings in shared/media")
def test_the_focal_length_of_a_real_camera_is_within_a_percent() -> None:
    name = "cam03"
    known = json.loads((TREADMILL / "calibration_recommended.json").read_text())["cameras"]
    matrix = next(one["K"] for one in known if one["name"] == name)
    folder: Path = TREADMILL / "chessboard" / name
    found = solve_lens(BOARD_OF_STUDIO, look(BOARD_OF_STUDIO, name, pictures_at(folder, list(range(7)))))
    assert found.lens[0] == pytest.approx(matrix[0][0], rel=0.01)
    assert found.lens[1] == pytest.approx(matrix[1][1], rel=0.01)
