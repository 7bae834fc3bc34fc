"""The bundle adjustment and the chain of cameras, on points with a known truth."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from calib.adjust import Corners, Freedom, Scene, _Problem, adjust, adjust_and_trim
from calib.board import Board
from calib.detect import Sightings, View
from calib.extrinsics import solve_places
from calib.solve import solved
from refit_rt.cameras import Camera, Rig
from refit_rt.errors import UserError
from tests.support import board_rig

BOARD = Board("charuco", board_rig.COLUMNS, board_rig.ROWS, board_rig.SQUARE_M, 0.075)
FREE = np.tile([True] * 8 + [False], (4, 1))


@pytest.fixture(scope="module")
def truth() -> Scene:
    """Four cameras, 40 boards between them and 15 close to each."""
    rng = np.random.default_rng(1)
    lenses, places = board_rig.ring(rng)
    scene = Scene(lenses, places, board_rig.held_up(rng, 40))
    near = [board_rig.close_up(rng, scene, camera, 15) for camera in range(4)]
    return replace(scene, world_from_board=np.concatenate([scene.world_from_board, *near]))


@pytest.fixture(scope="module")
def corners(truth: Scene) -> Corners:
    return board_rig.seen(np.random.default_rng(2), truth)


def moved(scene: Scene, focal: float = 1.0) -> Scene:
    """A start that is 0.5 degrees and 20 mm off, with a focal length that is off by a factor."""
    rng, lenses = np.random.default_rng(3), scene.lenses.copy()
    lenses[:, :2] *= focal
    shifted = []
    for places in (scene.camera_from_world, scene.world_from_board):
        places = places.copy()
        turn = Rotation.from_rotvec(rng.normal(0, np.deg2rad(0.3), (len(places), 3))).as_matrix()
        places[:, :3, :3] = turn @ places[:, :3, :3]
        places[:, :3, 3] += rng.normal(0, 0.012, (len(places), 3))
        shifted.append(places)
    shifted[0][0] = scene.camera_from_world[0]
    return Scene(lenses, *shifted)


def with_outliers(corners: Corners, share: float) -> Corners:
    """A share of the corners is moved by 8 px."""
    rng = np.random.default_rng(4)
    wrong = np.flatnonzero(rng.random(len(corners)) < share)
    angle = rng.uniform(0, 2 * np.pi, len(wrong))
    pixel = corners.pixel.copy()
    pixel[wrong] += 8 * np.stack([np.cos(angle), np.sin(angle)], 1)
    return replace(corners, pixel=pixel)


def test_the_jacobian_is_that_of_finite_differences(truth: Scene, corners: Corners) -> None:
    some = corners.where(np.arange(0, len(corners), 40))
    start = moved(truth)
    problem = _Problem(some, start, Freedom(lenses=FREE, usual=truth.lenses, deviation=np.full((4, 9), 0.5)))
    x = problem.pack(start)
    slope = problem.jacobian(x).toarray()
    for index in [*range(54), *range(54, len(x), 13)]:  # the lenses and cameras, and some boards
        step = np.zeros(len(x))
        step[index] = 1e-6 * max(1.0, abs(x[index]))
        difference = (problem.residual(x + step) - problem.residual(x - step)) / (2 * step[index])
        np.testing.assert_allclose(slope[:, index], difference, atol=1e-5 * max(1.0, np.abs(difference).max()))


def test_cameras_are_found_to_a_tenth_of_a_millimetre_in_the_volume(truth: Scene, corners: Corners) -> None:
    found = adjust(corners, moved(truth), Freedom())
    turn_deg, centre_mm, volume_mm = board_rig.errors(found.scene, truth, np.random.default_rng(5))
    assert turn_deg < 0.03
    assert centre_mm < 3
    assert volume_mm < 0.12
    assert found.rms_px == pytest.approx(0.15 * np.sqrt(2), rel=0.06)


def test_three_percent_of_outliers_cost_nothing_after_trimming(truth: Scene, corners: Corners) -> None:
    spoilt = with_outliers(corners, 0.03)
    linear = adjust(spoilt, moved(truth), Freedom())
    found = adjust_and_trim(spoilt, moved(truth), Freedom(lenses=FREE))
    rng = np.random.default_rng(6)
    assert board_rig.errors(linear.scene, truth, rng)[2] > 0.2
    assert board_rig.errors(found.scene, truth, rng)[2] < 0.2
    assert 0.965 < found.used.mean() < 0.975


def test_a_focal_length_guessed_40_percent_wrong_is_recovered_to_1_percent(truth: Scene, corners: Corners) -> None:
    found = adjust_and_trim(corners, moved(truth, 1.4), Freedom(lenses=FREE))
    assert np.abs(found.scene.lenses[:, :2] / truth.lenses[:, :2] - 1).max() < 0.002
    assert np.abs(found.scene.lenses - truth.lenses)[:, 2:4].max() < 3.0
    spread = np.abs(found.scene.lenses - truth.lenses)[:, :8] / found.deviation[:, :8]
    assert 0.3 < np.sqrt((spread**2).mean()) < 2.0


def sightings(corners: Corners, drop: frozenset[tuple[int, int]] = frozenset()) -> list[Sightings]:
    """The corners as what four cameras saw; `drop` are (camera, board) pairs that were not seen."""
    cameras = []
    for camera in range(4):
        views = {}
        for board in np.unique(corners.board[corners.camera == camera]):
            rows = (corners.camera == camera) & (corners.board == board)
            grid = np.round(corners.point[rows, :2] / board_rig.SQUARE_M).astype(int) - 1
            ids = grid[:, 1] * (board_rig.COLUMNS - 1) + grid[:, 0]
            if (camera, int(board)) not in drop and len(ids) >= 8:
                views[int(board)] = View(ids, corners.pixel[rows])
        cameras.append(Sightings(f"cam_{camera}", board_rig.SIZE, 100, views))
    return cameras


def test_a_rig_is_found_from_the_corners_alone(truth: Scene, corners: Corners) -> None:
    near = [set(range(40 + 15 * camera, 55 + 15 * camera)) for camera in range(4)]
    seen = sightings(with_outliers(corners, 0.03))
    found = solve_places(BOARD, seen, truth.lenses * 1.002, np.ones((4, 9)), near)
    turn_deg, centre_mm, volume_mm = board_rig.errors(found.adjusted.scene, truth, np.random.default_rng(7))
    assert turn_deg < 0.15
    assert centre_mm < 10
    assert volume_mm < 0.2
    assert np.abs(found.adjusted.scene.lenses[:, 0] / truth.lenses[:, 0] - 1).max() < 0.002
    held = found.held_out_residual_px[found.held_out]
    assert np.sqrt((held**2).sum(1).mean()) < 0.30


def test_lenses_from_elsewhere_stay_as_they_are(truth: Scene, corners: Corners) -> None:
    found = solve_places(BOARD, sightings(corners), truth.lenses, None, [set()] * 4)
    np.testing.assert_array_equal(found.adjusted.scene.lenses, truth.lenses)
    assert board_rig.errors(found.adjusted.scene, truth, np.random.default_rng(8))[2] < 0.2


def test_a_camera_that_shares_no_board_is_named(truth: Scene, corners: Corners) -> None:
    lonely = frozenset((3, board) for board in range(40)) | {(other, b) for other in range(3) for b in range(85, 100)}
    with pytest.raises(UserError, match=r"cam_3: no camera sees the board together with it often enough .*Record"):
        solve_places(BOARD, sightings(corners, lonely), truth.lenses, None, [set()] * 4)


def test_a_chessboard_that_looks_the_same_after_half_a_turn_ties_no_cameras(truth: Scene, corners: Corners) -> None:
    with pytest.raises(UserError, match="look the same after half a turn"):
        solve_places(Board("chessboard", 8, 6), sightings(corners), truth.lenses, None, [set()] * 4)


def carried(rng: np.random.Generator, truth: Scene, delay: np.ndarray) -> list[Sightings]:
    """What four cameras saw of a board that is carried about; their pictures are `delay` (camera,) frames old."""
    seen = []
    for camera in range(4):
        at = (np.arange(160) - delay[camera]) / 160 * 2 * np.pi
        boards = np.tile(np.eye(4), (160, 1, 1))
        boards[:, :3, :3] = (
            Rotation.from_rotvec(at[:, None] * [0, 0, 1]) * Rotation.from_rotvec([2.3, 0, 0])
        ).as_matrix()
        middle = np.stack([0.5 * np.sin(2 * at), 0.5 * np.cos(3 * at), 1 + 0.4 * np.sin(5 * at)], 1)
        boards[:, :3, 3] = middle - boards[:, :3, :3] @ board_rig.CENTRE
        corners = board_rig.seen(rng, replace(truth, world_from_board=boards))
        column = np.round(corners.point[:, 0] / board_rig.SQUARE_M)
        seen.append(sightings(corners.where(np.flatnonzero(column % 5 == 1)))[camera])  # 10 corners fix a pose too
    return seen


def test_the_delays_of_cameras_that_film_a_moving_board_are_found(truth: Scene) -> None:
    delay = np.array([0.0, 0.7, -0.3, 0.2])
    seen = carried(np.random.default_rng(9), truth, delay)
    found = solve_places(BOARD, seen, truth.lenses, None, [set()] * 4)
    delays = found.adjusted.scene.delays
    np.testing.assert_allclose(delays - delays[0], delay, atol=0.03)
    turn_deg, centre_mm, _ = board_rig.errors(found.adjusted.scene, truth, np.random.default_rng(10))
    assert turn_deg < 0.1
    assert centre_mm < 8
    assert found.adjusted.rms_px < 0.3


def test_cameras_that_film_at_once_get_no_delay(truth: Scene) -> None:
    seen = carried(np.random.default_rng(11), truth, np.zeros(4))
    found = solve_places(BOARD, seen, truth.lenses, None, [set()] * 4)
    assert found.adjusted.scene.delay is None or not found.adjusted.scene.delay.any()


def test_the_rig_keeps_the_delays_in_seconds(truth: Scene) -> None:
    seen = carried(np.random.default_rng(9), truth, np.array([0.0, 0.7, -0.3, 0.2]))
    lenses = [
        Camera(
            one.name, one.size, float(lens[:2].mean()), (lens[2], lens[3]), lens[4:], aspect=float(lens[1] / lens[0])
        )
        for one, lens in zip(seen, truth.lenses, strict=True)
    ]
    found = solved(BOARD, seen, Rig(tuple(lenses)), step_s=1 / 25)
    late_s = np.array([camera.delay_s for camera in found.rig])
    np.testing.assert_allclose(late_s - late_s[0], np.array([0.0, 0.7, -0.3, 0.2]) / 25, atol=0.002)
    assert any("in a run with the rig" in text for text in found.weaknesses)
