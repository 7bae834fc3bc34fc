"""The compiled arithmetic of the fit against its reference in numpy, on random bodies, crops and pictures."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from refit_rt import geometry
from refit_rt.bundle.read import Crop
from refit_rt.fit import crops, kernels, memory, mirror, place, reference, smooth, start
from refit_rt.fit.mirror import Moment
from refit_rt.types import Pose, Result, Square, State
from tests.support.all_knowing import BODY, CAMERA

MANY = 200
NOTHING = np.zeros(0, np.float32)


def rotations_of(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Any rotations (*shape, 3, 3)."""
    return Rotation.random(int(np.prod(shape)), rng=rng).as_matrix().reshape(*shape, 3, 3)


def pose_of(rng: np.random.Generator) -> Pose:
    trans = rng.normal([0, 0, 4], [1, 1, 1.5])
    return Pose(rotations_of(rng, 24), rng.normal(size=10), trans)


def square_of(rng: np.random.Generator) -> Square:
    return Square(rng.uniform([0, 0], [1000, 800]), rng.uniform(50, 900), rng.uniform(-np.pi, np.pi))


def near(pose: Pose, rng: np.random.Generator, angle: float) -> np.ndarray:
    """The rotations (24, 3, 3) of a pose, each turned by up to `angle` radians."""
    return pose.rotations @ Rotation.from_rotvec(rng.uniform(-1, 1, (24, 3)) * angle / 3**0.5).as_matrix()


@pytest.mark.parametrize("spread_px", [10, 150, 600])
def test_the_square_of_a_body_is_the_reference(spread_px: int) -> None:
    rng = np.random.default_rng(spread_px)
    for _ in range(MANY):
        points = rng.normal(rng.uniform(-200, 1200, 2), spread_px, (91, 2))
        crop = Crop(normalise_roll=bool(rng.integers(2)), beyond=rng.uniform(0, 1), margin=rng.uniform(1, 1.5))
        given = points, rng.uniform(-np.pi, np.pi), (1000, 800), crop
        ours, theirs = crops.square_of_body(*given), reference.square_of_body(*given)
        np.testing.assert_allclose(ours.centre_px, theirs.centre_px, atol=1e-9)
        assert ours.side_px == pytest.approx(theirs.side_px, abs=1e-9)
        assert ours.roll == theirs.roll


def test_a_start_is_the_reference_with_the_same_decision() -> None:
    rng, decisions = np.random.default_rng(0), []
    for turn in range(5 * MANY):
        pose, square = pose_of(rng), square_of(rng)
        view = crops.view_of(square, CAMERA)
        last = reference.into_crop(pose, square, BODY)
        seen = near(last, rng, rng.uniform(0, 3))
        if turn % 3:
            seen[0] = last.rotations[0] @ Rotation.from_rotvec([0, rng.uniform(-2.5, 2.5), 0]).as_matrix()
        cam = crops.cam_from_translation(last.trans, view) * rng.uniform([0.5, 0.9, 0.9], [2, 1.1, 1.1])
        six = geometry.six_d_from_matrix(seen) * rng.uniform(0.5, 2)
        fresh = State(
            six.reshape(144).astype(np.float32), (pose.betas + 0.1).astype(np.float32), cam.astype(np.float32)
        )
        since_s = rng.choice([np.inf, 4.0, 4.8, 5.0])
        around = Square(np.zeros(2), 100.0, 0.0)
        known = memory.Memory(
            Moment(5.0, pose), around, np.zeros(2), since_s, min(since_s, 5.0) - rng.uniform(0, 2), False, None
        )
        given = known, fresh, square, view, BODY, rng.uniform(0, 1), 5.0
        ours, theirs = memory.start_from(*given), reference.start_from(*given)
        decisions.append(0 if theirs is None else 1 + theirs.exchange)
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            assert ours.exchange == theirs.exchange
            np.testing.assert_allclose(ours.state.pose6d, theirs.state.pose6d, atol=1e-5)
            np.testing.assert_allclose(ours.state.betas, theirs.state.betas, atol=1e-5)
            np.testing.assert_allclose(ours.state.cam, theirs.state.cam, rtol=1e-5, atol=1e-5)
    assert min(np.bincount(decisions, minlength=3)) > 30  # cold, warm and opposed all occur


def test_a_body_at_the_lens_is_no_start() -> None:
    rng = np.random.default_rng(1)
    pose = replace(pose_of(rng), trans=np.array([0.0, 0.0, 0.05]))
    known = memory.Memory(Moment(5.0, pose), square_of(rng), np.zeros(2), np.inf, 4.0, False, None)
    fresh = State(np.tile(np.eye(3)[:, :2].ravel(), 24), np.zeros(10), np.array([0.9, 0.0, 0.0]))
    given = known, fresh, square_of(rng), crops.view_of(square_of(rng), CAMERA), BODY, 0.4, 5.0
    assert memory.start_from(*given) is None
    assert reference.start_from(*given) is None


@pytest.mark.parametrize("normalise_roll", [False, True])
def test_a_placed_result_is_the_reference(normalise_roll: bool) -> None:
    rng, crop = np.random.default_rng(2), Crop(normalise_roll=normalise_roll)
    for turn in range(MANY):
        square = square_of(rng)
        view = crops.view_of(square, CAMERA)
        state = State(NOTHING, rng.normal(size=10).astype(np.float32), rng.uniform([0.3, -1, -1], [1.5, 1, 1]))
        rotations = rotations_of(rng, 24).astype(np.float32)
        rotations[1:] = near(Pose(np.tile(np.eye(3), (24, 1, 1)), NOTHING, NOTHING), rng, 0.5)[1:]
        joints, markers = (at(rotations, state.betas) for at in (BODY.joints, BODY.markers_at))
        error_px = None if turn % 4 == 0 else rng.uniform(1, 30)
        presence = None if turn % 3 == 0 else rng.uniform(0, 1)
        result = Result(state, 2, 0.0, error_px, rotations, joints, markers, NOTHING, NOTHING, presence)
        given = result, view, square, CAMERA, BODY, crop
        ours, theirs = place.out_of_crop(*given), reference.out_of_crop(*given)
        np.testing.assert_allclose(ours.pose.rotations, theirs.pose.rotations, atol=1e-6)
        np.testing.assert_allclose(ours.pose.trans, theirs.pose.trans, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(ours.joints, theirs.points[:24], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(ours.points_px, theirs.points_px, atol=0.01)
        assert ours.roll == pytest.approx(theirs.roll, abs=1e-4)
        assert ours.confidence == pytest.approx(theirs.confidence, abs=1e-6)


def test_the_mean_of_three_bodies_is_the_reference() -> None:
    rng = np.random.default_rng(3)
    for _ in range(MANY):
        now = pose_of(rng)
        bodies = [now, *(Pose(near(now, rng, 0.5), rng.normal(size=10), rng.normal(size=3)) for _ in range(2))]
        moments = [Moment(time_s, body) for time_s, body in zip((1.0, 0.97, 0.9), bodies, strict=True)]
        ours, theirs = place.averaged(*moments), mirror.averaged(*moments)
        for name in ("rotations", "betas", "trans"):
            np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), atol=1e-9)


def test_joints_and_markers_project_as_everywhere() -> None:
    rng = np.random.default_rng(4)
    pose = pose_of(rng)
    before = place.Fitted(pose, NOTHING, NOTHING, 0.0, 1.0, 2, cold=False, opposed=False, mirrored=False)
    moved = before.with_pose(pose, BODY, CAMERA)
    points = np.concatenate([at(pose.rotations, pose.betas) for at in (BODY.joints, BODY.markers_at)]) + pose.trans
    np.testing.assert_allclose(moved.joints, points[:24], atol=1e-6)
    pixels = geometry.project(points, CAMERA.focal_px, CAMERA.centre_px)
    np.testing.assert_allclose(moved.points_px, pixels, rtol=1e-5, atol=1e-3)


def test_axis_angles_are_scipys() -> None:
    rng = np.random.default_rng(5)
    angles = np.concatenate([np.linspace(0, np.pi - 1e-4, 60), [1e-12, 1e-7, 1e-3]])
    axes = rng.normal(size=(len(angles), 24, 3))
    vectors = axes / np.linalg.norm(axes, axis=-1, keepdims=True) * angles[:, None, None]
    rotations = Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix().reshape(-1, 24, 3, 3)
    ours = np.empty(vectors.shape, np.float32)
    kernels.axis_angles(rotations, ours)
    np.testing.assert_allclose(ours, vectors, atol=1e-5)
    halves = rotations_of(rng, 50, 24)
    halves = halves @ np.diag([1.0, -1.0, -1.0]) @ halves.swapaxes(-1, -2)  # half turns: the axis has two signs
    ours = np.empty((50, 24, 3), np.float32)
    kernels.axis_angles(halves, ours)
    back = Rotation.from_rotvec(ours.reshape(-1, 3)).as_matrix().reshape(halves.shape)
    np.testing.assert_allclose(back, halves, atol=1e-5)


def test_the_filter_of_rotations_is_the_reference() -> None:
    rng = np.random.default_rng(6)
    turns, spin, spread = np.zeros((24, 4)), np.zeros((24, 3)), np.zeros((24, 3))
    rotations, smoothed = np.empty((24, 3, 3)), np.empty((24, 3), np.float32)
    constants = smooth.DENSITY, smooth.REST_DENSITY, smooth.FIRST_SPREAD, smooth.MOST_SIGMAS
    before, pose = None, rng.normal(size=(24, 3))
    for index in range(60):
        pose = pose + rng.normal(0, 0.2 if index % 20 else 0.8, (24, 3))  # now and then an unlikely turn
        dt_s, noise = rng.uniform(0.01, 0.1) if index else 0.0, rng.uniform(0.01, 0.1, 24)
        kernels.filter_turns(pose, dt_s, noise, *constants, turns, spin, spread, rotations, smoothed)
        before = reference.filtered(before, pose, dt_s, noise)
        np.testing.assert_allclose(rotations, before.now.as_matrix(), atol=1e-9)
        np.testing.assert_allclose(spin, before.speed, atol=1e-6)
        np.testing.assert_allclose(spread, before.covariance.reshape(24, 4)[:, [0, 1, 3]], rtol=1e-6, atol=1e-12)
        back = Rotation.from_rotvec(smoothed.astype(np.float64))
        assert (back.inv() * before.now).magnitude().max() < 1e-5


def test_the_filter_of_the_place_is_the_reference() -> None:
    rng = np.random.default_rng(8)
    place, velocity, spread = np.zeros(3), np.zeros(3), np.zeros((3, 3))
    constants = smooth.PLACE_DENSITY, smooth.PLACE_REST_DENSITY, smooth.FIRST_SPREAD, smooth.MOST_SIGMAS
    before, pelvis = None, np.array([0.3, -0.2, 4.0])
    for index in range(60):
        pelvis = pelvis + rng.normal(0, 0.02 if index % 20 else 0.5, 3)
        dt_s, noise = rng.uniform(0.01, 0.1) if index else 0.0, rng.uniform(0.002, 0.02, 2)
        kernels.filter_place(pelvis, dt_s, noise, *constants, place, velocity, spread)
        before = reference.moved(before, pelvis, dt_s, noise)
        np.testing.assert_allclose(place, before.now, atol=1e-9)
        np.testing.assert_allclose(velocity, before.speed, atol=1e-8)
        np.testing.assert_allclose(spread, before.covariance.reshape(3, 4)[:, [0, 1, 3]], rtol=1e-6, atol=1e-12)


def test_a_mirrored_state_is_the_policys() -> None:
    rng = np.random.default_rng(9)
    state = State(*(rng.uniform(0.2, 1, size).astype(np.float32) for size in (144, 10, 3)))
    theirs = mirror.mirrored_state(state, 256)
    pose6d, cam = np.empty(144, np.float32), np.empty(3, np.float32)
    kernels.mirror(state.pose6d, state.cam, 256, mirror.SWAP, mirror.SIX_D_SIGNS, pose6d, cam)
    np.testing.assert_array_equal(pose6d, theirs.pose6d)
    np.testing.assert_allclose(cam, theirs.cam, rtol=1e-6)


def test_confidence_is_the_policys() -> None:
    rng = np.random.default_rng(7)
    for turn in range(MANY):
        error_px = None if turn % 2 else rng.uniform(0, 40)
        scale, presence = rng.uniform(-0.1, 1.5), None if turn % 3 else rng.uniform(0, 1)
        theirs = start.confidence(error_px, np.float64(scale), presence)
        ours = kernels.trust(
            -1.0 if error_px is None else error_px,
            scale,
            1.0 if presence is None else presence,
            start.HALF_CROP_PX,
            start.CONFIDENT_M,
        )
        assert ours == pytest.approx(float(theirs), abs=1e-6)
