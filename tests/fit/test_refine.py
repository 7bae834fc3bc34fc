"""Bodies that are moved onto a detection's key points."""

import functools
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from refit_rt import config, geometry
from refit_rt.body.smpl import joint_transforms
from refit_rt.bundle.read import Bundle, find_bundle, load_bundle
from refit_rt.commands.demo_clip import CLIP
from refit_rt.detect.movenet import MoveNet
from refit_rt.errors import UserError
from refit_rt.fit import reference, refine
from refit_rt.fit.load import errors_of
from refit_rt.fit.refine import LEAST_EASING_S, POINT_JOINTS, POINTS, Corrector, Eased, Errors, correction
from refit_rt.follow import load_follower
from refit_rt.types import Pose, Square
from tests.support.all_knowing import BODY, CAMERA

SIDE_PX = 300.0


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(find_bundle("edge"))


@pytest.fixture(scope="module")
def errors(bundle: Bundle) -> Errors:
    found = errors_of(bundle)
    assert found is not None
    return found


def pose_of(rng: np.random.Generator) -> Pose:
    """Somebody four metres away, not far from standing."""
    turns = Rotation.from_rotvec(rng.normal(0, 0.3, (24, 3))).as_matrix()
    turns[0] = turns[0] @ np.diag([1.0, -1.0, -1.0])
    return Pose(turns, rng.normal(size=10), rng.normal([0, 0, 4], [0.3, 0.2, 0.4]))


def joints_of(pose: Pose) -> np.ndarray:
    return BODY.joints(pose.rotations, pose.betas) + pose.trans


def places_of(pose: Pose, offsets: np.ndarray) -> np.ndarray:
    """Where a body's key points are: (12, 3) metres."""
    world, joints = joint_transforms(BODY, pose.rotations, pose.betas)
    parents = world[BODY.parents[POINT_JOINTS], :, :3]
    return joints[POINT_JOINTS] + (parents @ offsets[..., None])[..., 0] + pose.trans


@functools.cache
def offsets() -> np.ndarray:
    """The bundle's."""
    found = errors_of(load_bundle(find_bundle("edge")))
    assert found is not None
    return found.offsets


def seen(pose: Pose, score: float = 0.9) -> np.ndarray:
    """A detector's key points (17, 3) that lie exactly on a body."""
    points = np.full((17, 3), score)
    points[POINTS, :2] = geometry.project(places_of(pose, offsets()), CAMERA.focal_px, CAMERA.centre_px)
    points[:5, :2] = points[POINTS[:2], :2].mean(0)
    return points


def corrected(pose: Pose, change: np.ndarray, roll: float) -> Pose:
    axes = refine.place_axes(BODY.rest_pelvis(pose.betas) + pose.trans, roll)
    return refine.corrected(pose, change, axes)


def mistaken(pose: Pose, errors: Errors, rng: np.random.Generator, roll: float = 0.0) -> Pose:
    """A body with one of the network's errors."""
    return corrected(pose, rng.multivariate_normal(np.zeros(refine.NUMBERS), errors.covariance), roll)


def off_px(pose: Pose, points: np.ndarray) -> float:
    return float(np.linalg.norm(seen(pose)[POINTS, :2] - points[POINTS, :2], axis=-1).mean())


@pytest.mark.parametrize("seed", range(6))
def test_the_compiled_correction_is_the_reference(seed: int, errors: Errors) -> None:
    rng = np.random.default_rng(seed)
    truth, roll = pose_of(rng), float(rng.uniform(-3, 3))
    points = seen(truth)
    points[:, :2] += rng.normal(0, 4, (17, 2))
    points[:, 2] = rng.uniform(0.25, 1, 17)
    given = mistaken(truth, errors, rng, roll), points, roll, SIDE_PX, CAMERA, BODY, errors
    found = correction(*given)
    assert found is not None
    np.testing.assert_allclose(found, reference.correction(*given), atol=2e-5)
    assert np.abs(found).max() > 0.02


def test_a_body_moves_onto_its_key_points_and_nearer_to_the_truth(errors: Errors) -> None:
    rng = np.random.default_rng(0)
    before, after = np.zeros((40, 2)), np.zeros((40, 2))
    for row in range(40):
        truth = pose_of(rng)
        start, points = mistaken(truth, errors, rng), seen(truth)
        found = correction(start, points, 0.0, SIDE_PX, CAMERA, BODY, errors)
        assert found is not None
        for out, body in ((before, start), (after, corrected(start, found, 0.0))):
            away = joints_of(body) - joints_of(truth)
            out[row] = off_px(body, points), 1000 * np.linalg.norm(away - away[:1], axis=-1).mean()
    assert after[:, 0].mean() < 0.3 * before[:, 0].mean()
    assert after[:, 1].mean() < 0.85 * before[:, 1].mean()


def test_one_key_point_that_is_far_off_moves_the_body_by_little(errors: Errors) -> None:
    truth = pose_of(np.random.default_rng(3))
    points = seen(truth)
    points[9, :2] += 150, -80  # the left wrist
    found = correction(truth, points, 0.0, SIDE_PX, CAMERA, BODY, errors)
    assert found is not None
    away = np.linalg.norm(joints_of(corrected(truth, found, 0.0)) - joints_of(truth), axis=-1)
    assert away.max() < 0.04


@pytest.mark.parametrize(
    ("pairs", "back"), [([(5, 6)], True), ([(7, 8), (9, 10)], True), ([(13, 14), (15, 16)], True), ([(7, 8)], False)]
)
def test_sides_that_a_detector_exchanges_are_those_of_the_body(
    pairs: list[tuple[int, int]], back: bool, errors: Errors
) -> None:
    truth = pose_of(np.random.default_rng(8))
    points = seen(truth)
    given = points.copy()
    for one, other in pairs:
        given[[one, other]] = points[[other, one]]
    np.testing.assert_array_equal(refine.sided(given, joints_of(truth), CAMERA), points if back else given)
    found = correction(truth, given, 0.0, SIDE_PX, CAMERA, BODY, errors)
    assert found is not None
    if back:
        assert np.abs(found).max() < 0.01


def test_sides_that_the_body_cannot_tell_are_those_of_a_moment_ago() -> None:
    truth = pose_of(np.random.default_rng(8))
    points, joints = seen(truth), joints_of(truth)
    given = points.copy()
    given[[13, 15, 14, 16]] = points[[14, 16, 13, 15]]
    between = joints.copy()
    for pair in ([4, 5], [7, 8]):
        between[pair] = joints[pair].mean(0)
    np.testing.assert_array_equal(refine.sided(given, between, CAMERA), given)
    np.testing.assert_array_equal(refine.sided(given, between, CAMERA, before=points), points)
    np.testing.assert_array_equal(refine.sided(given, between, CAMERA, before=given), given)
    np.testing.assert_array_equal(refine.sided(given, joints, CAMERA, before=given), points)  # the body can tell


def test_a_follower_holds_the_sides_for_a_moment(errors: Errors) -> None:
    truth = pose_of(np.random.default_rng(8))
    points = seen(truth)
    exchanged = points.copy()
    exchanged[[13, 15, 14, 16]] = points[[14, 16, 13, 15]]

    def closed(angle: float) -> Pose:
        """The same body, its legs turned towards each other in the picture."""
        rotations, root = truth.rotations.copy(), truth.rotations[0]
        for leg, sign in ((1, 1), (2, -1)):
            rotations[leg] = root.T @ Rotation.from_euler("z", sign * angle).as_matrix() @ root @ rotations[leg]
        return Pose(rotations, truth.betas, truth.trans)

    def in_doubt(body: Pose) -> bool:
        return all((refine.sided(look, joints_of(body), CAMERA) == look).all() for look in (points, exchanged))

    body = next(body for body in map(closed, np.linspace(-1, 1, 101)) if in_doubt(body))

    def second(look: np.ndarray, time_s: float) -> Pose:
        corrector = Corrector(BODY, errors)
        square = Square(np.zeros(2), SIDE_PX)
        corrector.correct(0, 0.0, truth, square, CAMERA, (0.0, points))
        pose = corrector.correct(0, time_s, body, square, CAMERA, (time_s, look))
        assert pose is not None
        return pose

    soon, late = 1 / 30, 0.4
    assert np.abs(joints_of(second(exchanged, soon)) - joints_of(second(points, soon))).max() < 1e-6
    assert np.abs(joints_of(second(exchanged, late)) - joints_of(second(points, late))).max() > 0.02


def test_key_points_that_are_not_seen_say_nothing(errors: Errors) -> None:
    truth = pose_of(np.random.default_rng(4))
    points = seen(truth)
    points[POINTS[3:], 2] = 0.1
    assert correction(truth, points, 0.0, SIDE_PX, CAMERA, BODY, errors) is None
    assert correction(truth, np.full((17, 3), np.nan), 0.0, SIDE_PX, CAMERA, BODY, errors) is None


@pytest.fixture
def follow(errors: Errors) -> Callable[..., Pose | None]:
    corrector = Corrector(BODY, errors)
    square = Square(np.array([640.0, 360.0]), SIDE_PX, 0.0)

    def step(time_s: float, pose: Pose, look: tuple[float, np.ndarray] | None = None, person: int = 0) -> Pose | None:
        return corrector.correct(person, time_s, pose, square, CAMERA, look)

    step.corrector = corrector  # type: ignore[attr-defined]
    return step


def test_a_late_look_is_compared_with_the_body_of_its_own_frame(follow: Callable[..., Pose | None]) -> None:
    still = pose_of(np.random.default_rng(5))
    walked = [replace(still, trans=still.trans + np.array([0.03 * index, 0, 0])) for index in range(4)]
    for index in range(3):
        assert follow(index / 30, walked[index]) is None
    now = follow(3 / 30, walked[3], (0.0, seen(walked[0])))
    assert now is not None
    np.testing.assert_allclose(joints_of(now), joints_of(walked[3]), atol=1e-3)


def test_a_correction_fades_and_a_new_one_begins_without_a_jolt(
    follow: Callable[..., Pose | None], errors: Errors
) -> None:
    rng = np.random.default_rng(6)
    truth = pose_of(rng)
    wrong = mistaken(truth, errors, rng)

    def moved(time_s: float, look: tuple[float, np.ndarray] | None = None) -> float:
        pose = follow(time_s, wrong, look)
        assert pose is not None
        return float(np.linalg.norm(joints_of(pose) - joints_of(wrong), axis=-1).mean())

    first = moved(0.0, (0.0, seen(truth)))
    faded = [moved(index / 30) for index in range(1, 31)]
    assert first > faded[8] > faded[-1]
    assert faded[-1] < 0.1 * first
    again = [moved(31 / 30, (31 / 30, seen(truth))), *(moved(index / 30) for index in range(32, 36))]
    assert again[0] < 0.45 * first
    assert max(again) > 0.55 * first


def test_a_correction_is_eased_in_over_the_time_between_two_looks() -> None:
    def reached(gap_s: float) -> float:
        """The share of a wanted correction that is applied one look after it is asked for."""
        change = Eased(least_easing_s=LEAST_EASING_S)
        change.take(np.zeros(75), 0.0)
        change.at(0.0)
        change.take(np.ones(75), gap_s)
        now = change.at(gap_s)
        assert now is not None
        return float(now.max())

    # of 1 - exp(-gap / time constant): 0.05 s for a gap of 1/60 s, the gap itself for 0.08 s, and 0.1 s for 0.25 s
    assert reached(1 / 60) == pytest.approx(0.28, abs=0.01)
    assert reached(0.08) == pytest.approx(0.63, abs=0.01)
    assert reached(0.25) == pytest.approx(0.92, abs=0.01)


def test_nobody_is_corrected_by_what_was_seen_of_others_or_before_a_new_start(
    follow: Callable[..., Pose | None],
) -> None:
    pose = pose_of(np.random.default_rng(7))
    assert follow(0.0, pose, (0.0, seen(pose))) is not None
    assert follow(0.0, pose, None, person=1) is None
    follow.corrector.forget(0)  # type: ignore[attr-defined]
    assert follow(1 / 30, pose) is None
    assert follow(1 / 30, pose, (0.5, seen(pose))) is None  # no body is kept of that frame


def test_a_bundle_may_lack_its_errors_but_not_hold_others(bundle: Bundle) -> None:
    assert errors_of(replace(bundle, errors=None)) is None
    with pytest.raises(UserError, match=r"errors\.safetensors"):
        errors_of(replace(bundle, errors={"covariance": np.eye(3, dtype=np.float32)}))


def test_what_is_published_lies_nearer_to_the_key_points_and_the_network_goes_on_from_its_own() -> None:
    video = cv2.VideoCapture(str(CLIP))
    pictures = [video.read()[1] for _ in range(8)]
    video.release()
    points = MoveNet().look(pictures[-1], 0.5).keypoints[0]
    off, starts = {}, {}
    for keypoints in (False, True):
        settings = config.Settings(
            detect=config.Detect(every_s=0.001),
            fit=config.Fit(keypoints=keypoints),
            smooth=config.Smooth(enabled=False),
        )
        follower = load_follower(settings)
        for index, picture in enumerate(pictures):
            people = follower.follow(picture, index / 30)
        away = np.linalg.norm(people.joints_px[0, POINT_JOINTS] - points[POINTS, :2], axis=-1)
        off[keypoints] = away[[2, 3, 4, 5, 8, 9]].mean()  # elbows, wrists and knees, which lie on their joints
        (memory,) = follower.fitter._memory.values()
        starts[keypoints] = memory.moment.pose.rotations
    assert off[True] < 0.8 * off[False]
    np.testing.assert_allclose(starts[True], starts[False], atol=1e-6)
