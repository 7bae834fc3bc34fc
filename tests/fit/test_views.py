"""The fit in all views of a rig, against a body whose place is known (support/studio.py)."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from refit_rt import config, geometry
from refit_rt.body.smpl import joint_transforms
from refit_rt.body.stature import Stature
from refit_rt.bundle.read import find_bundle, load_bundle
from refit_rt.cameras import Camera
from refit_rt.fit import reference, refine
from refit_rt.fit.load import errors_of
from refit_rt.fit.refine import NO_SHAPE, NUMBERS, POINT_JOINTS, POINTS, Errors, Sight, most_probable
from refit_rt.fit.views import OPPOSED_S, ViewsFitter, with_betas
from refit_rt.types import BETAS, Pose, Wanted, WorldFit
from tests.support.all_knowing import BODY, UPRIGHT
from tests.support.rotations import angle_between
from tests.support.studio import AllKnowingRig, frames, joints_of, ring, standing

PERSON = 4
ROLLS = (0.0, 0.5, 0.0, -0.3)


@pytest.fixture(scope="module")
def errors() -> Errors:
    found = errors_of(load_bundle(find_bundle("edge")))
    assert found is not None
    return found


def wanted(body: Pose, cameras: list[Camera], views: tuple[int, ...], cold: bool) -> Wanted:
    """The person, with a detector's boxes where the fit starts cold."""
    boxes = {}
    for view in views if cold else ():
        pixels = cameras[view].project(joints_of(body))
        dx, dy = pixels[12] - pixels[0]
        boxes[view] = np.concatenate([pixels.min(0), pixels.max(0)]), float(np.arctan2(dx, -dy))
    return Wanted(PERSON, views, boxes)


class Studio:
    """A rig, its fit, and the person in the middle of it."""

    def __init__(self, body: Pose, count: int = 4, rolls: tuple[float, ...] = (), off: float = 0.0, **other) -> None:
        errors, settings = other.pop("errors", None), config.Fit(**{"mirror": "turns", **other})
        self.body, self.cameras, self.index = body, ring(count, rolls=rolls), 0
        self.runner = AllKnowingRig(body, self.cameras, off)
        self.fitter = ViewsFitter(settings, self.runner, BODY, UPRIGHT, errors=errors)

    @property
    def time_s(self) -> float:
        """Of the next tick."""
        return self.index / 30

    def tick(
        self, views: tuple[int, ...] | None = None, without: tuple[int, ...] = (), cold: bool | None = None
    ) -> WorldFit:
        """One tick. views: the cameras that the tracker names; cold: the person is new, as in the first tick."""
        views = tuple(range(len(self.cameras))) if views is None else views
        one = wanted(self.body, self.cameras, views, self.index == 0 if cold is None else cold)
        (fit,) = self.fitter.fit(self.time_s, frames(self.cameras, self.index, without), self.cameras, [one])
        self.index += 1
        return fit

    def look(self, camera: int, body: Pose, errors: Errors, noise_px: float = 0.0) -> None:
        """What a detector finds of a body in the picture of the last tick."""
        index = self.index - 1
        points = keypoints(body, self.cameras[camera], errors)
        points[:, :2] += np.random.default_rng([index, camera]).normal(0, noise_px, (17, 2))
        self.fitter.look(PERSON, camera, index / 30, points)


def keypoints(body: Pose, camera: Camera, errors: Errors, score: float = 0.9) -> np.ndarray:
    """A detector's key points (17, 3) that lie exactly on a body of the world."""
    world, joints = joint_transforms(BODY, body.rotations, body.betas)
    parents = world[BODY.parents[POINT_JOINTS], :, :3]
    there = joints[POINT_JOINTS] + (parents @ errors.offsets[..., None])[..., 0] + body.trans
    points = np.full((17, 3), score)
    points[POINTS, :2] = camera.project(there)
    points[:5, :2] = points[POINTS[:2], :2].mean(0)
    return points


def off_mm(fit: WorldFit, body: Pose) -> float:
    """The farthest joint's error."""
    return float(1000 * np.linalg.norm(fit.joints - joints_of(body), axis=1).max())


def bones_m(pose: Pose) -> np.ndarray:
    """(8,) lengths of thighs, shins, upper and lower arms."""
    joints = joints_of(pose)
    ends = np.array([(1, 4), (2, 5), (4, 7), (5, 8), (16, 18), (17, 19), (18, 20), (19, 21)])
    return np.linalg.norm(joints[ends[:, 0]] - joints[ends[:, 1]], axis=1)


# The loop in all views


@pytest.mark.parametrize("rolls", [(), ROLLS])
@pytest.mark.parametrize("mirror", ["off", "turns"])
def test_a_body_is_found_in_the_world_within_three_millimetres_cold_and_warm(
    rolls: tuple[float, ...], mirror: str
) -> None:
    body = standing(1)
    studio = Studio(body, rolls=rolls, off=0.2, mirror=mirror)
    first, second = studio.tick(), studio.tick()
    for fit in (first, second):
        assert off_mm(fit, body) < 3
        assert np.rad2deg(angle_between(fit.pose.rotations, body.rotations)).max() < 0.5
        np.testing.assert_allclose(fit.pose.betas, body.betas, atol=0.01)
        assert fit.views == (0, 1, 2, 3)
        assert fit.id == PERSON
        assert fit.confidence > 0.9
        posed = BODY.joints(fit.pose.rotations, fit.pose.betas) + fit.pose.trans
        np.testing.assert_allclose(posed, fit.joints, atol=1e-6)
    assert (first.cold, first.iterations) == (True, config.Fit().cold_iterations)
    assert (second.cold, second.iterations) == (False, config.Fit().iterations)
    assert np.sum(studio.runner.hands) == (2 if mirror == "turns" else 0)  # every other view of the second tick
    if rolls:
        assert np.rad2deg(np.ptp(studio.runner.rolls[:4])) > 30  # people are upright in the crop


def test_somebody_who_walks_is_followed_within_millimetres() -> None:
    body = standing(2, (-0.6, 1.0, 0.2))
    studio = Studio(body)
    for index in range(12):
        studio.body = studio.runner.body = replace(body, trans=body.trans + np.array([0.05 * index, 0, 0]))
        fit = studio.tick()
        assert off_mm(fit, studio.body) < 4
        assert fit.cold == (index == 0)


def test_a_view_that_drops_out_and_returns_moves_the_body_by_less_than_two_millimetres() -> None:
    body = standing(3)
    studio = Studio(body, rolls=ROLLS)
    studio.tick()
    without = [(), (2,), (2, 3), (), (0, 1, 2), ()]
    for gone in without:
        fit = studio.tick(without=gone)
        assert fit.views == tuple(sorted({0, 1, 2, 3} - set(gone)))
        assert not fit.cold
        assert off_mm(fit, body) < 2
    assert studio.tick(views=(1, 3)).views == (1, 3)


def test_a_person_whose_cameras_all_drop_out_moves_on_and_is_found_again() -> None:
    body = standing(4)
    studio = Studio(body)
    for _ in range(3):
        studio.tick()
    for _ in range(3):
        gone = studio.tick(without=(0, 1, 2, 3))
        assert (gone.views, gone.confidence, gone.iterations) == ((), 0.0, 0)
        assert off_mm(gone, body) < 5
    again = studio.tick()
    assert not again.cold
    assert off_mm(again, body) < 3
    studio.index += 60
    later = studio.tick(cold=False)
    assert later.cold  # nothing is believed of a body that is two seconds old
    assert off_mm(later, body) < 3


def test_without_warm_starts_every_tick_starts_cold_around_the_last_body() -> None:
    body = standing(5)
    studio = Studio(body, warm=False)
    for _ in range(3):
        fit = studio.tick()
        assert fit.cold
        assert off_mm(fit, body) < 3


def test_a_view_whose_answers_are_wrong_counts_less() -> None:
    body, other = standing(6), standing(6, (0.5, 1.0, 0.3), bent_rad=0.4)
    off = {}
    for name, error_px in (("alike", 2.0), ("doubted", 40.0)):
        studio = Studio(body, mirror="off")
        studio.runner.in_view = {3: replace(other, rotations=turned(other, 0.5).rotations)}
        studio.runner.errors_px = {3: error_px}
        studio.tick()
        off[name] = off_mm(studio.tick(), body)
    absent = Studio(body, mirror="off")
    absent.runner.in_view, absent.runner.presences = {3: other}, dict.fromkeys(range(4), 1.0) | {3: 0.0}
    absent.tick()
    assert off["alike"] > 50
    assert off["doubted"] < 0.2 * off["alike"]
    assert off_mm(absent.tick(), body) < 3


def turned(body: Pose, angle: float) -> Pose:
    """The body about the world's vertical."""
    rotations = body.rotations.copy()
    rotations[0] = geometry.matrix_from_axis_angle(np.array([0, angle, 0])) @ rotations[0]
    return replace(body, rotations=rotations)


@pytest.mark.parametrize("cold", [True, False])
def test_a_view_that_takes_front_for_back_does_not_turn_the_body(cold: bool) -> None:
    body = standing(7)
    studio = Studio(body, mirror="off")
    if not cold:
        studio.tick()
    first = studio.runner.initial
    wrong = {1: turned(body, 3.0)}

    def initial(encoded, view):
        studio.runner.in_view = wrong
        state = first(encoded, view)
        studio.runner.in_view = {}
        return state

    studio.runner.initial = initial  # type: ignore[method-assign]
    started = len(studio.runner.asked)
    assert off_mm(studio.tick(), body) < 3
    assert len(studio.runner.asked) > started
    for state, _ in studio.runner.asked[started : started + 4]:  # no view starts at a body that faces away
        turns = geometry.matrix_from_6d(state.pose6d.reshape(24, 6))
        assert np.rad2deg(angle_between(turns[1:], body.rotations[1:])).max() < 3


def test_most_views_that_face_another_way_are_believed_after_less_than_half_a_second() -> None:
    body = standing(8)
    studio = Studio(turned(body, 3.0), mirror="off")
    studio.tick()
    studio.tick()
    studio.runner.body, studio.runner.stays = body, True  # the loop keeps the turned body wherever it starts
    colds = []
    for _ in range(20):
        fit = studio.tick()
        colds.append(fit.cold)
    assert OPPOSED_S <= colds.index(True) / 30 <= OPPOSED_S + 0.1
    assert off_mm(fit, body) < 5


def test_a_person_without_confidence_is_given_up() -> None:
    body = standing(9)
    studio = Studio(body)
    studio.tick()
    studio.runner.presences = dict.fromkeys(range(4), 0.1)
    lost = studio.tick()
    assert lost.confidence == 0
    studio.runner.presences = {}
    assert studio.tick(cold=True).cold


def test_who_is_forgotten_starts_cold() -> None:
    studio = Studio(standing(10))
    studio.tick()
    studio.fitter.forget(PERSON + 1)
    assert not studio.tick().cold
    studio.fitter.forget(PERSON)
    assert studio.tick(cold=True).cold
    studio.fitter.forget()
    assert studio.tick(cold=True).cold


def test_nobody_is_no_work() -> None:
    studio = Studio(standing(11))
    assert studio.fitter.fit(0.0, frames(studio.cameras), studio.cameras, []) == []
    assert studio.runner.seen_in == []


# Key points and the shape


@pytest.mark.parametrize("shapes", [0, BETAS])
@pytest.mark.parametrize("seed", range(2))
def test_the_compiled_correction_of_three_views_is_the_reference(seed: int, shapes: int, errors: Errors) -> None:
    rng, cameras = np.random.default_rng(seed), ring(3, rolls=ROLLS[:3])
    truth = standing(seed)
    change = 0.5 * rng.multivariate_normal(np.zeros(NUMBERS), errors.covariance)
    change[72:] *= 0.3
    start = with_betas(refine.corrected(truth, change, np.eye(3)), truth.betas + rng.normal(0, 0.5, BETAS), BODY)
    covariance = np.eye(NUMBERS + shapes)
    covariance[:72, :72], covariance[72:75, 72:75] = errors.covariance[:72, :72], 0.05**2 * np.eye(3)
    sights = []
    for camera in cameras:
        points = keypoints(truth, camera, errors)
        points[:, :2] += rng.normal(0, 3, (17, 2))
        points[:, 2] = rng.uniform(0.25, 1, 17)
        sights.append(Sight(start, points, 300.0, camera, camera.camera_from_world))
    dirs = np.asarray(BODY.joint_shape_dirs, np.float64) if shapes else NO_SHAPE
    found = most_probable(sights, BODY, errors, covariance, np.eye(3), dirs)
    assert found is not None
    twin = reference.most_probable(sights, BODY, errors, covariance, np.eye(3))
    np.testing.assert_allclose(found[:NUMBERS], twin[:NUMBERS], atol=1e-4)
    np.testing.assert_allclose(found[NUMBERS:], twin[NUMBERS:], atol=5e-3)
    assert np.abs(found).max() > 0.05


@pytest.fixture
def mistaken(errors: Errors) -> Callable[..., tuple[Studio, Pose]]:
    """A studio whose network takes everybody for the mean shape, and the true body."""

    def make(seed: int, count: int = 4, **other) -> tuple[Studio, Pose]:
        truth = standing(seed)
        betas = np.random.default_rng(seed).normal(0, 1.5, BETAS)
        truth = with_betas(truth, betas, BODY)
        return Studio(with_betas(truth, np.zeros(BETAS), BODY), count, errors=errors, **other), truth

    return make


def follow(studio: Studio, truth: Pose, errors: Errors, views: tuple[int, ...], ticks: int = 36) -> WorldFit:
    """Ticks with a look in some views in every third of them."""
    for _ in range(ticks):
        fit = studio.tick()
        if studio.index % 3 == 0:
            for camera in views:
                studio.look(camera, truth, errors, noise_px=1.5)
    return fit


def test_key_points_of_several_views_find_the_bones_within_two_percent(mistaken, errors: Errors) -> None:
    before, after = [], []
    for seed in (1, 2):
        studio, truth = mistaken(seed)
        fit = follow(studio, truth, errors, (0, 1, 2, 3))
        before.append(np.abs(bones_m(studio.body) / bones_m(truth) - 1).mean())
        after.append(np.abs(bones_m(fit.pose) / bones_m(truth) - 1).mean())
        assert off_mm(fit, truth) < 60
    assert np.mean(before) > 0.025
    assert np.mean(after) < 0.02
    assert np.mean(after) < 0.6 * np.mean(before)


def test_a_known_stature_is_held_while_the_bones_are_measured(mistaken, errors: Errors) -> None:
    height = Stature(BODY, 0.0)
    for seed in (1, 2):
        _, truth = mistaken(seed)
        tall_m = height.of(truth.betas)
        assert abs(tall_m - height.of(np.zeros(BETAS))) > 0.01
        studio, _ = mistaken(seed, stature_m=tall_m)
        first = studio.tick()
        last = follow(studio, truth, errors, (0, 1, 2, 3))
        for fit in (first, last):
            assert abs(height.of(fit.pose.betas) - tall_m) < 1e-3
            assert np.linalg.norm(fit.joints[0] - joints_of(truth)[0]) < 0.02
        wrong = [np.abs(bones_m(fit.pose) / bones_m(truth) - 1).mean() for fit in (first, last)]
        assert wrong[1] < min(0.02, wrong[0])


def test_key_points_of_one_view_do_not_change_the_shape(mistaken, errors: Errors) -> None:
    studio, truth = mistaken(0)
    fit = follow(studio, truth, errors, (1,), ticks=30)
    np.testing.assert_allclose(fit.pose.betas, np.zeros(BETAS), atol=1e-3)


def test_a_shape_settles_without_a_jolt(mistaken, errors: Errors) -> None:
    studio, truth = mistaken(1)
    lengths = []
    for index in range(36):
        fit = studio.tick()
        lengths.append(bones_m(fit.pose))
        for camera in range(4) if index % 3 == 0 else ():
            studio.look(camera, truth, errors)
    steps_mm = 1000 * np.abs(np.diff(lengths, axis=0)).max(1)
    assert np.abs(lengths[-1] - lengths[0]).max() > 0.01
    assert steps_mm.max() < 5
    assert steps_mm[-5:].max() < 1


def test_a_measured_shape_outlives_a_new_start(mistaken, errors: Errors) -> None:
    studio, truth = mistaken(2)
    fit = follow(studio, truth, errors, (0, 1, 2, 3))
    again = studio.tick(cold=True)
    assert again.cold
    assert np.abs(bones_m(again.pose) / bones_m(fit.pose) - 1).max() < 0.01
    studio.fitter.forget(PERSON)
    afresh = studio.tick(cold=True)
    np.testing.assert_allclose(afresh.pose.betas, np.zeros(BETAS), atol=1e-3)


def test_key_points_move_the_body_nearer_to_the_truth(errors: Errors) -> None:
    before, after = [], []
    for seed in range(3):
        truth = standing(20 + seed)
        change = np.random.default_rng(seed).multivariate_normal(np.zeros(NUMBERS), errors.covariance)
        change[72:] = 0.02, -0.01, 0.03
        studio = Studio(refine.corrected(truth, change, np.eye(3)), errors=errors)
        before.append(off_mm(studio.tick(), truth))
        after.append(off_mm(follow(studio, truth, errors, (0, 2), ticks=15), truth))
    assert np.mean(after) < 0.75 * np.mean(before)


def test_key_points_of_a_view_that_is_gone_or_of_an_unknown_person_say_nothing(errors: Errors) -> None:
    truth, wrong = standing(30), standing(30, (0.35, 1.0, 0.0))
    studio = Studio(truth, errors=errors)
    studio.tick()
    studio.fitter.look(PERSON + 1, 0, 0.0, keypoints(wrong, studio.cameras[0], errors))
    studio.tick(views=(1, 2))
    studio.look(0, wrong, errors)  # of a tick in which the person is not fitted there
    assert off_mm(studio.tick(), truth) < 3
    late = Studio(truth, errors=errors)
    late.tick()
    for _ in range(12):
        late.tick()
    late.fitter.look(PERSON, 0, 0.0, keypoints(wrong, studio.cameras[0], errors))  # 0.4 s ago
    assert off_mm(late.tick(), truth) < 3


def test_a_known_shape_is_held(tmp_path, mistaken, errors: Errors) -> None:
    known = np.random.default_rng(5).normal(0, 1, BETAS)
    np.savez(tmp_path / "ann.npz", betas=known)
    studio, truth = mistaken(3, shapes={str(PERSON): str(tmp_path / "ann.npz")})
    first = studio.tick()
    fit = follow(studio, truth, errors, (0, 1, 2, 3), ticks=15)
    for one in (first, fit):
        np.testing.assert_allclose(one.pose.betas, known, atol=1e-5)
    assert 1000 * np.linalg.norm(first.joints[0] - joints_of(truth)[0]) < 3  # the pelvis stays where it was
