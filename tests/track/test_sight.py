"""Where the cameras of a rig see bodies of the world, against each camera's own projection."""

import numpy as np
import pytest

from refit_rt.cameras import Camera
from refit_rt.track.sight import NEARER_M, REACH_M, Sight
from tests.support.crowd import Crowd, stand
from tests.support.studio import ring

CAMERAS = ring(4, 4.5)
ALL = [0, 1, 2, 3]


def people(*places: tuple[float, float]) -> np.ndarray:
    """(P, 24, 3) of people who stand at places."""
    return np.stack(list(Crowd({str(row): stand(x, z, 0.1) for row, (x, z) in enumerate(places)}).people(0).values()))


def behind(joints: np.ndarray, others: np.ndarray, camera: Camera) -> float:
    """The share of joints (24, 3) on whose way to the camera a joint of others (n, 3) is."""
    arms, there = joints - camera.position, others - camera.position
    far = np.linalg.norm(arms, axis=1)
    along = (arms / far[:, None]) @ there.T
    across = np.linalg.norm(there[None] - along[..., None] * (arms / far[:, None])[:, None], axis=-1)
    return float(((across < REACH_M) & (along > 0) & (along < far[:, None] - NEARER_M)).any(1).mean())


def test_pixels_are_those_of_each_camera() -> None:
    joints, sight = people((0.4, 0.2), (-0.8, -0.3)), Sight(CAMERAS, 40.0)
    pixels = sight.pixels([3, 1], joints)
    for row, camera in enumerate((CAMERAS[3], CAMERAS[1])):
        np.testing.assert_allclose(pixels[row], camera.project(joints), atol=1e-6)
        away = sight.rays([3, 1][row], pixels[row])
        back = (joints - camera.position) / np.linalg.norm(joints - camera.position, axis=-1, keepdims=True)
        np.testing.assert_allclose(away, back, atol=1e-9)


def test_who_is_behind_a_camera_or_far_too_small_is_not_seen() -> None:
    sight = Sight(CAMERAS, 40.0)
    past = 1.4 * CAMERAS[0].position
    joints = np.concatenate([people((past[0], past[2])), people((0, 0)), np.full((1, 24, 3), np.nan)])
    pixels = sight.pixels(ALL, joints)
    assert np.isnan(pixels[0, 0]).all()
    assert np.isnan(pixels[:, 2]).all()
    shares = sight.shares(ALL, pixels)
    assert shares[0, 0] == 0
    assert (shares[:, 2] == 0).all()
    assert (shares[:, 1] > 0.9).all()
    assert (Sight(CAMERAS, 4000.0).shares(ALL, pixels) == 0).all()


def test_the_share_is_that_of_the_box_inside_the_picture() -> None:
    sight = Sight(CAMERAS, 40.0)
    pixels = sight.pixels([0], people((0, 0)))
    low, high = pixels[0, 0].min(0), pixels[0, 0].max(0)
    moved = pixels - np.array([(low[0] + high[0]) / 2, 0])  # the picture's left edge halves the box
    whole = (min(high[1], CAMERAS[0].size[1]) - max(low[1], 0)) / (high[1] - low[1])
    assert sight.shares([0], moved)[0, 0] == pytest.approx(0.5 * whole)


def test_people_in_a_row_hide_one_another_and_nobody_hides_alone() -> None:
    towards = CAMERAS[0].position[[0, 2]] / np.linalg.norm(CAMERAS[0].position[[0, 2]])
    row = people(*((float(step * towards[0]), float(step * towards[1])) for step in (-0.6, 0.1, 0.8)))
    sight = Sight(CAMERAS, 40.0)
    hidden = sight.hidden(ALL, row)
    assert hidden[0, 0] > 0.7
    assert hidden[0, 2] == 0
    for column in range(3):
        others = np.delete(row, column, 0).reshape(-1, 3)
        expected = [behind(row[column], others, camera) for camera in CAMERAS]
        np.testing.assert_allclose(hidden[:, column], expected)
    assert sight.hidden(ALL, row[:1]).tolist() == [[0.0]] * 4
    assert sight.hidden([], row).shape == (0, 3)
