"""Views that agree on one body in the world."""

import numpy as np
import pytest
import torch

from refit_rt import geometry
from refit_rt.fit.agree import Eye, agreed, crossing, facing_together
from refit_rt.fit.crops import translation_from_cam
from refit_rt.geometry import matrix_from_axis_angle
from refit_rt.model import camera as torch_camera
from refit_rt.model import update, views
from refit_rt.model.body import BodyTorch
from refit_rt.types import Pose, Square, State
from tests.support.all_knowing import BODY
from tests.support.rotations import angle_between
from tests.support.studio import joints_of, ring, standing

ROLLS = (0.0, 0.4, -1.2, 3.0)


def eyes_of(rolls: tuple[float, ...] = (0.0,) * 4, radius_m: float = 4.0, camera_rolls=(0.0,) * 4) -> list[Eye]:
    """Crops of four cameras, which need not be in the middle of the person."""
    rng = np.random.default_rng(0)
    cameras = ring(4, radius_m, camera_rolls)
    squares = [Square(rng.uniform([450, 350], [550, 450]), rng.uniform(350, 500), roll) for roll in rolls]
    return [Eye.of(square, camera) for square, camera in zip(squares, cameras, strict=True)]


def states_of(eyes: list[Eye], body: Pose) -> list[State]:
    return [eye.state(body, BODY) for eye in eyes]


def assert_same(found: Pose, body: Pose, most_mm: float, most_deg: float) -> None:
    assert 1000 * np.linalg.norm(joints_of(found) - joints_of(body), axis=1).max() < most_mm
    assert np.rad2deg(angle_between(found.rotations, body.rotations)).max() < most_deg


@pytest.mark.parametrize("seed", range(4))
def test_a_body_in_a_rolled_crop_comes_back_to_the_world_within_a_tenth_of_a_millimetre(seed: int) -> None:
    body = standing(seed)
    for eye, state in zip(eyes := eyes_of(ROLLS, camera_rolls=ROLLS[::-1]), states_of(eyes, body), strict=True):
        pelvis = body.trans + BODY.rest_pelvis(body.betas)
        assert 1000 * np.linalg.norm(eye.pelvis(state, BODY) - pelvis) < 0.1
        assert np.rad2deg(angle_between(eye.root(state), body.rotations[0])) < 0.05


def test_a_state_shows_the_body_where_the_camera_sees_it() -> None:
    """In the picture that is turned about its principal point by the crop's roll."""
    body, cameras = standing(4), ring(4, rolls=ROLLS)
    for eye, camera, roll in zip(eyes_of(ROLLS, camera_rolls=ROLLS), cameras, ROLLS, strict=True):
        state = eye.state(body, BODY)
        rotations = geometry.matrix_from_6d(state.pose6d.reshape(24, 6))
        there = BODY.joints(rotations, state.betas) + translation_from_cam(state.cam, eye.view)
        found = geometry.project(there, camera.focal_px, camera.centre_px)
        pixels = camera.project(joints_of(body)) - camera.centre_px
        turned = pixels @ geometry.roll_matrix(roll)[:2, :2].T + camera.centre_px
        assert np.abs(found - turned).max() < 0.05
        assert there[12, 1] < there[0, 1]  # the neck is above the pelvis: whoever stands is upright in the crop
        np.testing.assert_allclose(eye.place, camera.position, atol=1e-9)


def test_views_that_see_the_same_body_agree_on_it() -> None:
    body = standing(5)
    eyes = eyes_of(ROLLS, camera_rolls=ROLLS)
    assert_same(agreed(eyes, states_of(eyes, body), np.array([1.0, 5.0, 2.0, 0.1]), BODY), body, 0.2, 0.1)
    alone = agreed(eyes[:1], states_of(eyes[:1], body), np.ones(1), BODY)
    assert_same(alone, body, 0.2, 0.1)


def test_a_view_counts_by_its_weight() -> None:
    body, other = standing(6), standing(7)
    eyes = eyes_of()
    states = [*states_of(eyes[:3], body), *states_of(eyes[3:], other)]
    found = agreed(eyes, states, np.array([1.0, 1.0, 1.0, 0.0]), BODY)
    np.testing.assert_allclose(found.betas, body.betas, atol=1e-5)
    assert np.rad2deg(angle_between(found.rotations, body.rotations)).max() < 0.1
    half = agreed(eyes, states, np.array([1.0, 0.0, 0.0, 1.0]), BODY)
    np.testing.assert_allclose(half.betas, (body.betas + other.betas) / 2, atol=1e-5)


def test_numbers_that_are_not_orthonormal_count_as_their_rotation() -> None:
    body, eyes = standing(8), eyes_of()
    long = [State(3 * state.pose6d, state.betas, state.cam) for state in states_of(eyes, body)]
    assert_same(agreed(eyes, [long[0], *states_of(eyes[1:], body)], np.ones(4), BODY), body, 0.2, 0.1)


def sights(away_m: float = 4.0) -> tuple[np.ndarray, np.ndarray]:
    """Where four cameras and a point are."""
    return np.stack([camera.position for camera in ring(4, away_m)]), np.array([0.3, 1.1, -0.4])


def test_errors_of_depth_vanish_where_lines_of_sight_cross() -> None:
    eyes, point = sights()
    for seed in range(10):
        depth = np.random.default_rng(seed).uniform(0.8, 1.25, 4)[:, None]
        places = eyes + depth * (point - eyes)
        alone_mm = 1000 * np.linalg.norm(places - point, axis=1)
        assert alone_mm.mean() > 150
        assert 1000 * np.linalg.norm(crossing(eyes, places, np.full(4, 0.25)) - point) < 15
        of_two = crossing(eyes[:2], places[:2], np.full(2, 0.5))
        assert 1000 * np.linalg.norm(of_two - point) < 25
    np.testing.assert_allclose(crossing(eyes[:1], places[:1], np.ones(1)), places[0], atol=1e-9)


@pytest.mark.parametrize("stray", range(4))
@pytest.mark.parametrize("away_m", [0.6, 1.5])
def test_a_line_of_sight_to_another_person_is_left_out(stray: int, away_m: float) -> None:
    eyes, point = sights()
    places = np.tile(point, (4, 1)) + np.random.default_rng(stray).normal(0, 0.01, (4, 3))
    across = np.cross(point - eyes[stray], [0, 1.0, 0])
    places[stray] += away_m * across / np.linalg.norm(across)
    assert 1000 * np.linalg.norm(crossing(eyes, places, np.full(4, 0.25)) - point) < 25


def test_lines_of_sight_that_pass_each_other_by_a_little_all_count() -> None:
    eyes, point = sights()
    places = np.tile(point, (4, 1))
    across = np.cross(point - eyes[0], [0, 1.0, 0])
    places[0] += 0.1 * across / np.linalg.norm(across)
    found = crossing(eyes, places, np.full(4, 0.25))
    assert 0.02 < np.linalg.norm(found - point) < 0.1


def test_the_bodys_orientation_is_the_mean_in_the_world() -> None:
    eyes, body = eyes_of(ROLLS, camera_rolls=ROLLS[::-1]), standing(10)

    def turned(angle: float) -> Pose:
        rotations = body.rotations.copy()
        rotations[0] = matrix_from_axis_angle(np.array([0, angle, 0])) @ rotations[0]
        return Pose(rotations, body.betas, body.trans)

    states = [eye.state(turned(angle), BODY) for eye, angle in zip(eyes, (0.0, 0.3, -0.3, 0.0), strict=True)]
    assert_same(agreed(eyes, states, np.ones(4), BODY), body, 1.0, 0.5)
    opposite = [eyes[0].state(turned(0.0), BODY), eyes[1].state(turned(np.pi), BODY)]
    assert np.linalg.det(agreed(eyes[:2], opposite, np.ones(2), BODY).rotations[0]) == pytest.approx(1)


def test_views_that_take_front_for_back_do_not_face_with_the_others() -> None:
    turns = np.array([[0, 0.1, 0], [0, 3.0, 0], [0, -0.3, 0.2], [0.2, 0.2, 0]])
    assert facing_together(matrix_from_axis_angle(turns)).tolist() == [True, False, True, True]
    assert facing_together(matrix_from_axis_angle(turns[:1])).tolist() == [True]
    assert facing_together(matrix_from_axis_angle(turns[:2])).sum() == 1
    two = np.array([[0, 3.0, 0], [0, 0.1, 0], [0, 0.2, 0], [0, 2.9, 0], [0, 0.1, 0]])
    assert facing_together(matrix_from_axis_angle(two)).tolist() == [False, True, True, False, True]


def test_the_networks_own_agreement_of_views_is_the_same() -> None:
    """`model.views.average_place`, by which networks are trained, knows no rolled crops and weighs lines of sight by
    the distance across them, which is the same for cameras that are equally far away."""
    eyes = eyes_of()
    body, weights = standing(9, (0.0, 1.0, 0.0), 0.1), np.array([1.0, 2.0, 0.5, 1.0])
    rng = np.random.default_rng(1)
    states = []
    for state in states_of(eyes, body):
        six = state.pose6d.reshape(24, 6)
        turns = geometry.matrix_from_6d(six) @ matrix_from_axis_angle(rng.normal(0, 0.05, (24, 3)))
        pose6d = geometry.six_d_from_matrix(turns).ravel().astype(np.float32)
        noise = rng.normal(0, 0.005, 3) * (1, 3, 3)
        states.append(State(pose6d, state.betas + rng.normal(0, 0.1, 10).astype(np.float32), state.cam + noise))
    found = agreed(eyes, states, weights, BODY)

    there = np.tile(np.eye(4, dtype=np.float32), (4, 1, 1))
    there[:, :3, :3], there[:, :3, 3] = [eye.turn for eye in eyes], [eye.shift for eye in eyes]
    view = torch_camera.View(
        torch.tensor(np.array([eye.view.square for eye in eyes]), dtype=torch.float32),
        torch.tensor([eye.view.focal_px for eye in eyes]),
        torch.tensor(np.array([eye.view.centre_px for eye in eyes]), dtype=torch.float32),
    )
    agree = views.average_place(BodyTorch(BODY), view, torch.tensor(there), torch.tensor(weights).float())
    twin = agree(
        update.State(*(torch.tensor(np.stack([getattr(one, name) for one in states])).float()
                       for name in ("pose6d", "betas", "cam")))
    )  # fmt: skip
    for row, eye in enumerate(eyes):
        same = State(twin.pose6d[row].numpy(), twin.betas[row].numpy(), twin.cam[row].numpy())
        here = eye.state(found, BODY)
        np.testing.assert_allclose(same.betas, here.betas, atol=1e-5)
        turned = [geometry.matrix_from_6d(one.pose6d.reshape(24, 6).astype(float)) for one in (same, here)]
        assert np.rad2deg(angle_between(*turned)).max() < 0.1
        assert 1000 * np.linalg.norm(eye.pelvis(same, BODY) - eye.pelvis(here, BODY)) < 2
