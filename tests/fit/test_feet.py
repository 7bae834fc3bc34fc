from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from refit_rt import config, geometry
from refit_rt.fit import feet_kernels as kernel
from refit_rt.fit.feet import Feet
from refit_rt.follow import Follower
from refit_rt.types import PERSON_FIELDS, People
from tests.support import fakes, planted, steps
from tests.support.fakes import FakeDetector, FakeFitter, FakeTracker
from tests.support.rotations import angle_between

CAMERA = steps.camera()
BEGUN = 10  # frames after which it is known what a foot does
BOTH = pytest.mark.parametrize("floor", [steps.FLOOR, None], ids=["floor", "no floor"])


def planting(shown, feet=None, camera=CAMERA, measured=None):
    """The people of each frame, with their feet on the floor."""
    feet = feet or Feet(config.Smooth(), steps.BODY)
    return [feet.plant(people, camera, upright=True, measured=measured) for people in shown]


def slide_mm(shown, truth):
    """How far a foot that truly stands moves from frame to frame: mean of heels and balls."""
    moved = 1000 * np.linalg.norm(np.diff(steps.feet_of(shown), axis=0), axis=-1)
    stands = np.tile(truth.stands, (1, 2))
    return moved[stands[1:] & stands[:-1]].mean()


def limbs_mm(shown, truth):
    """The mean error of the joints about the pelvis."""
    joints = np.stack([people.joints_world[0] for people in shown])
    off = (joints - joints[:, :1]) - (truth.joints - truth.joints[:, :1])
    return 1000 * np.linalg.norm(off, axis=-1).mean()


def contacts_of(shown):
    """(T, 4) after the first frames."""
    return np.stack([people.contacts[0] for people in shown])[BEGUN:]


@BOTH
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_walk_slides_less_than_half_as_much_and_its_limbs_are_as_right(floor, seed):
    truth = steps.walk()
    shown = steps.seen(truth, CAMERA, seed=seed, floor=floor)
    out = planting(shown)
    assert slide_mm(out, truth) < 0.45 * slide_mm(shown, truth)
    assert limbs_mm(out, truth) < limbs_mm(shown, truth) + 1


@BOTH
def test_contacts_say_which_foot_stands(floor):
    truth = steps.walk()
    contacts = contacts_of(planting(steps.seen(truth, CAMERA, floor=floor)))
    stands = np.tile(truth.stands, (1, 2))[BEGUN:]
    assert contacts[stands].mean() > 0.9
    assert contacts[~stands].mean() < 0.25


def test_a_walk_without_errors_stays_as_it_is():
    truth = steps.walk()
    shown = steps.seen(truth, CAMERA, seed=None)
    out = planting(shown)
    moved = 1000 * np.linalg.norm(
        np.stack([a.joints_world[0] - b.joints_world[0] for a, b in zip(out, shown, strict=True)]), axis=-1
    )
    assert moved.mean() < 2
    assert moved.max() < 30  # a foot that lifts, before that is seen


def test_the_body_does_not_drift_from_where_it_is_seen():
    truth = steps.walk(seconds=8)
    shown = steps.seen(truth, CAMERA, seed=3)
    out = planting(shown)
    moved_px = np.stack([a.joints_px[0] - b.joints_px[0] for a, b in zip(out, shown, strict=True)])
    moved_m = np.stack([a.joints_world[0, 0] - b.joints_world[0, 0] for a, b in zip(out, shown, strict=True)])
    assert np.linalg.norm(moved_px, axis=-1).mean() < 1.7  # of 200 px that the person is tall
    assert np.linalg.norm(moved_m.mean(0)) < 0.05  # the depth itself errs by 0.07


@BOTH
def test_somebody_who_stands_is_still(floor):
    truth = steps.stand()
    shown = steps.seen(truth, CAMERA, floor=floor)
    assert slide_mm(planting(shown)[BEGUN:], steps.stand(seconds=3 - BEGUN / steps.FPS)) < 0.3 * slide_mm(shown, truth)


def test_feet_that_lift_do_not_jump():
    truth = steps.walk()
    for seed in (None, 0, 1, 2):
        shown = steps.seen(truth, CAMERA, seed=seed)
        before, after = (
            1000 * np.linalg.norm(np.diff(steps.feet_of(some), 2, axis=0), axis=-1).max()
            for some in (shown, planting(shown))
        )
        assert after < before + 20  # mm per frame squared, where a foot's swing has 32 by itself


@pytest.mark.parametrize("fps", [15.0, 60.0])
def test_other_frame_rates_slide_less_too(fps):
    truth = steps.walk(fps=fps)
    shown = steps.seen(truth, CAMERA, floor=steps.FLOOR)
    assert slide_mm(planting(shown), truth) < 0.5 * slide_mm(shown, truth)


@BOTH
def test_feet_on_a_belt_that_moves_are_left_alone(floor):
    shown = steps.seen(steps.walk(belt=True), CAMERA, floor=floor)
    out = planting(shown)
    assert contacts_of(out).mean() < 0.1
    moved_m = np.stack([a.joints_world[0] - b.joints_world[0] for a, b in zip(out, shown, strict=True)])
    assert np.abs(moved_m).max() < 0.01


def test_feet_in_the_air_do_not_stand():
    truth = steps.jump()
    out = planting(steps.seen(truth, CAMERA))
    contacts, stands = contacts_of(out), np.tile(truth.stands, (1, 2))[BEGUN:]
    assert contacts[~stands].mean() < 0.05
    assert contacts[stands].mean() > 0.8


def test_a_jump_is_as_high_as_it_is_seen():
    shown = steps.seen(steps.jump(), CAMERA)
    seen, held = (np.ptp(steps.feet_of(some)[BEGUN:, :, 1], axis=0) for some in (shown, planting(shown)))
    assert np.abs(seen - held).max() < 0.02


def test_feet_that_hang_over_the_floor_do_not_stand():
    shown = steps.seen(steps.sit(), CAMERA)
    out = planting(shown)
    assert contacts_of(out).max() < 0.05
    np.testing.assert_allclose(out[-1].joints_world, shown[-1].joints_world, atol=1e-4)


def test_feet_outside_the_picture_are_left_alone():
    shown = [replace(people, size=(1280, 450)) for people in steps.seen(steps.stand(), CAMERA)]
    assert (steps.feet_of(shown)[..., 1] < 0.3).all()
    out = planting(shown)
    assert contacts_of(out).max() < 0.01
    np.testing.assert_allclose(out[-1].joints_world, shown[-1].joints_world, atol=1e-4)


def test_what_is_published_belongs_together():
    shown = steps.seen(steps.walk(), CAMERA)
    for before, people in zip(shown, planting(shown), strict=True):
        rotations = geometry.matrix_from_axis_angle(people.poses[0].astype(float))
        joints = steps.BODY.joints(rotations, people.betas[0]) + people.trans[0]
        np.testing.assert_allclose(people.joints_camera[0], joints, atol=1e-4)
        np.testing.assert_allclose(people.joints_world[0], CAMERA.world(joints), atol=1e-4)
        np.testing.assert_allclose(
            people.joints_px[0], geometry.project(joints, CAMERA.focal_px, CAMERA.centre_px), atol=0.05
        )
        kept = [name for name in PERSON_FIELDS if name not in CHANGED]
        assert all(np.array_equal(getattr(before, name), getattr(people, name)) for name in kept)
        assert ((people.contacts >= 0) & (people.contacts <= 1)).all()


CHANGED = ("poses", "trans", "joints_camera", "joints_px", "joints_world", "contacts")


def test_only_legs_are_bent():
    shown = steps.seen(steps.walk(), CAMERA)
    others = [joint for joint in range(24) if joint not in (1, 2, 4, 5, 7, 8)]
    for before, after in zip(shown, planting(shown), strict=True):
        np.testing.assert_array_equal(before.poses[0, others], after.poses[0, others])


def together(*each: list[People]) -> list[People]:
    """Several people in one message."""
    return [
        replace(one[0], **{name: np.concatenate([getattr(people, name) for people in one]) for name in PERSON_FIELDS})
        for one in zip(*each, strict=True)
    ]


def test_each_of_several_people_is_held_as_if_alone():
    walks, stands = steps.seen(steps.walk(3), CAMERA, person=4), steps.seen(steps.stand(3), CAMERA, person=9, seed=5)
    both, alone = planting(together(walks, stands)), (planting(walks), planting(stands))
    for frame, people in enumerate(both):
        for row in range(2):
            np.testing.assert_array_equal(people.joints_world[row], alone[row][frame].joints_world[0])


def test_a_person_who_is_lost_and_comes_back_begins_afresh():
    shown = steps.seen(steps.walk(), CAMERA)
    feet = Feet(config.Smooth(), steps.BODY)
    planting(shown[:40], feet)
    nobody = [people.take([]) for people in shown[40:80]]
    assert all(len(people.ids) == 0 for people in planting(nobody, feet))
    back = planting(shown[80:81], feet)[0]
    np.testing.assert_allclose(back.joints_world, shown[80].joints_world, atol=1e-5)
    assert (back.contacts == 0).all()


def test_a_short_gap_is_bridged_and_the_body_does_not_jump():
    truth = steps.stand()
    shown = steps.seen(truth, CAMERA)
    kept = shown[:40] + shown[48:]
    out = planting(kept)
    step_mm = 1000 * np.linalg.norm(np.diff(steps.feet_of(out), axis=0), axis=-1)
    seen_mm = 1000 * np.linalg.norm(np.diff(steps.feet_of(kept), axis=0), axis=-1)
    assert step_mm[39].max() < 0.5 * seen_mm[39].max()


@pytest.mark.parametrize("back_s", [0.0, -1.0])
def test_a_time_that_does_not_advance_begins_afresh(back_s):
    shown = steps.seen(steps.stand(), CAMERA)
    feet = Feet(config.Smooth(), steps.BODY)
    planting(shown[:40], feet)
    again = planting([replace(shown[40], time_s=shown[39].time_s + back_s)], feet)[0]
    assert np.isfinite(again.joints_world).all()
    assert (again.contacts == 0).all()


def test_forget_begins_afresh():
    shown = steps.seen(steps.stand(), CAMERA)
    feet = Feet(config.Smooth(), steps.BODY)
    planting(shown[:40], feet)
    feet.forget()
    assert (planting(shown[40:41], feet)[0].contacts == 0).all()


@pytest.mark.parametrize("settings", [config.Smooth(feet=False), config.Smooth(enabled=False)])
def test_without_the_setting_people_are_unchanged(settings):
    shown = steps.seen(steps.walk(1), CAMERA)
    feet = Feet(settings, steps.BODY)
    assert all(feet.plant(people, CAMERA) is people for people in shown)


def test_a_rig_holds_feet_as_still_along_as_across():
    truth = steps.walk()
    shown = steps.seen(truth, CAMERA, seed=4)
    sure = [replace(people, views=np.array([3], np.int32)) for people in shown]
    out = planting(sure, measured=np.ones(1, bool))
    assert slide_mm(out, truth) < 0.8 * slide_mm(sure, truth)  # the errors are those of one camera


@pytest.mark.parametrize("feet", [True, False])
def test_the_follower_of_one_camera_holds_feet_and_forgets_them(feet):
    truth = steps.stand()
    shown = steps.seen(truth, steps.camera("camera"), floor=None)

    class Shown(FakeFitter):
        """Shows one frame after the other, whatever the picture."""

        def fit(self, tracks, camera):
            index = tracks.frame.index
            return replace(shown[index], ids=tracks.ids) if len(tracks.ids) else shown[index].take([])

    settings = config.Settings(smooth=config.Smooth(feet=feet))
    follower = Follower(settings, FakeDetector(), cast(Any, FakeTracker()), cast(Any, Shown(steps.BODY)))
    published = [follower.follow(fakes.frame(k, k / steps.FPS)) for k in range(60)]
    assert (published[-1].contacts > 0.9).all() == feet
    assert (published[-1].contacts == 0).all() == (not feet)
    follower.forget()
    assert (follower.follow(fakes.frame(60, 2.0)).contacts == 0).all()


def test_the_model_of_contact_is_that_in_numpy():
    rng = np.random.default_rng(0)
    axes, _ = kernel.axes_of(rng.normal(size=3))
    last, speed, odds = rng.normal(size=(4, 3)), rng.normal(size=(4, 3)), rng.normal(size=4)
    points, noise = last + 0.01 * rng.normal(size=(4, 3)), np.array([0.15, 0.15, 0.4])
    heights, height_noise = 0.05 * rng.normal(size=4), np.array([0.03, 0.05, np.inf, 0.1])
    expected = planted.weigh(points, 0.03, axes, noise, 1.0, heights, height_noise, last, speed, odds)
    kernel.weigh(points, 0.03, axes, noise, 1.0, heights, height_noise, last, speed, odds)
    np.testing.assert_allclose(speed, expected[0], atol=1e-12)
    np.testing.assert_allclose(odds, expected[1], atol=1e-10)
    np.testing.assert_array_equal(last, points)


def test_the_axes_of_a_line_of_sight_are_orthonormal():
    for sight in (np.array([0.3, -0.2, 4.0]), np.array([0.0, 0.0, 2.0]), np.array([-1.0, 5.0, 1.0]), np.zeros(3)):
        axes, length = kernel.axes_of(sight)
        np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
        np.testing.assert_allclose(axes[2] * length, sight, atol=1e-12)


def test_the_filter_of_places_is_that_in_numpy():
    rng = np.random.default_rng(0)
    axes, _ = kernel.axes_of(rng.normal(size=3))
    deviation, dt_s = np.array([0.01, 0.01, 0.12]), 0.04
    place, spread = np.zeros((3, 3)), np.zeros((3, 3, 3))
    spread[:, 0, 0] = deviation**2
    odds, stands, share = np.full(4, 4.0), np.zeros(2, bool), np.zeros(2)
    offset, points = np.zeros((2, 2, 3)), rng.normal(size=(4, 3))
    kernel.hold(points, dt_s, axes, deviation, odds, stands, share, place, spread, offset)
    assert stands.all()
    for _ in range(5):
        points = points + 0.004 * rng.normal(size=(4, 3))
        filtered = planted.Filter(place, spread, axes)
        filtered.predict(dt_s, axes, deviation, stands)
        for foot in range(2):
            filtered.observe(dt_s, foot, (points[foot] + points[foot + 2]) / 2)
        kernel.hold(points, dt_s, axes, deviation, odds, stands, share, place, spread, offset)
        np.testing.assert_allclose(place.reshape(9), filtered.state, atol=1e-9)
        np.testing.assert_allclose(spread, filtered.spread(axes), atol=1e-9)


@pytest.mark.parametrize("hip", [1, 2])
def test_a_leg_bends_as_in_numpy_and_the_foot_does_not_turn(hip):
    truth, rng = steps.walk(1), np.random.default_rng(0)
    for rotations, pelvis in zip(truth.rotations, truth.pelvis, strict=True):
        move = 0.02 * rng.normal(size=3)
        joints = steps.BODY.joints(rotations, np.zeros(10)).astype(np.float64)
        joints += pelvis - joints[0]
        expected, bent = planted.bend(rotations, joints, hip, move), rotations.copy()
        kernel.bend(bent, joints, hip, move)
        np.testing.assert_allclose(bent, expected, atol=1e-9)
        foot, was = (one[0] @ one[hip] @ one[hip + 3] @ one[hip + 6] for one in (bent, rotations))
        assert angle_between(foot, was) < 1e-5
        after = steps.BODY.joints(bent, np.zeros(10)).astype(np.float64)
        after += pelvis - after[0]
        # Across the leg it moves as asked; along it, only as far as the knee allows
        leg = (joints[hip + 6] - joints[hip]) / np.linalg.norm(joints[hip + 6] - joints[hip])
        missed = after[hip + 6] - joints[hip + 6] - move
        assert np.linalg.norm(missed - (missed @ leg) * leg) < 0.002
        assert np.linalg.norm(after[hip + 3] - joints[hip + 3]) < 0.05


def test_a_released_foot_comes_back_without_a_jump():
    for fps in (15.0, 30.0, 60.0):
        offset = np.zeros((2, 3))
        offset[0, 0] = 0.05
        path = [0.05]
        for _ in range(round(0.15 * fps)):
            kernel._spring(1 / fps, offset)
            path.append(offset[0, 0])
        assert 0 < path[-1] < 0.0065  # within 0.15 s
        assert np.diff(path).max() < 0  # and it does not swing beyond
