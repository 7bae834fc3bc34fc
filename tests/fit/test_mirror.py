"""Looking at people in a mirror: what one hand answers is the mirror image of the other, and nothing sways."""

import numpy as np
import pytest

from refit_rt import config, geometry
from refit_rt.bundle.read import find_bundle, load_bundle
from refit_rt.fit import mirror
from refit_rt.fit.fitter import Fitter, exchanged
from refit_rt.fit.start import EXCHANGED
from refit_rt.runners.cpu.runner import CpuRunner
from refit_rt.types import Encoded, Pose, State, View
from tests.support.all_knowing import BODY, UPRIGHT, AllKnowing, Truth, follow, truth

VIEW = View((512.0, 380.0, 320.0), 900.0, (500.0, 400.0))


@pytest.fixture(scope="module")
def runner() -> CpuRunner:
    return CpuRunner(load_bundle(find_bundle("edge")), "f32", 1)


@pytest.fixture(scope="module")
def crop() -> np.ndarray:
    """Something that is not its own mirror image."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (8, 8, 3)).astype(np.uint8)
    return np.kron(coarse, np.ones((32, 32, 1), np.uint8))


def test_a_mirrored_state_is_where_the_mirror_image_of_the_body_is() -> None:
    who = truth(1)
    there = mirror.mirrored_view(VIEW, 256)
    state = State(geometry.six_d_from_matrix(who.rotations).reshape(144), 0 * who.betas, np.array([0.9, 0.1, 0.2]))
    other = mirror.mirrored_state(state, 256)
    pixels = []
    for one, view in ((state, VIEW), (other, there)):
        rotations = geometry.matrix_from_6d(one.pose6d.reshape(24, 6))
        x, y, side = view.square
        scale = side * one.cam[0] / 2
        place = np.array([one.cam[1] + (x - 500) / scale, one.cam[2] + (y - 400) / scale, 900 / scale])
        points = geometry.project(BODY.joints(rotations, one.betas) + place, 900.0, (500.0, 400.0))
        pixels.append((points - np.array([x, y]) + side / 2) * 256 / side)
    flipped = np.stack([255 - pixels[1][mirror.SWAP, 0], pixels[1][mirror.SWAP, 1]], 1)
    np.testing.assert_allclose(flipped, pixels[0], atol=0.3)  # the free body is its mirror image to a millimetre
    back = mirror.mirrored_state(other, 256)
    for name in ("pose6d", "betas", "cam"):
        np.testing.assert_allclose(getattr(back, name), getattr(state, name), atol=1e-6)


def test_the_mirror_image_of_a_crop_is_answered_with_the_mirror_image_of_the_body(runner, crop) -> None:
    other, flipped = mirror.MirroredRunner(runner), np.ascontiguousarray(crop[:, ::-1])
    there = mirror.mirrored_view(VIEW, 256)
    encoded, seen_other = runner.encode(crop), other.encode(flipped)
    begin, begin_other = runner.initial(encoded, VIEW), other.initial(seen_other, there)
    right = runner.iterate(encoded, VIEW, begin, 2)
    found = other.iterate(seen_other, there, begin_other, 2)
    same = mirror.mirrored_state(found.state, 256)
    np.testing.assert_allclose(same.pose6d, right.state.pose6d, atol=1e-3)
    np.testing.assert_allclose(same.cam, right.state.cam, atol=1e-4)
    assert (found.iterations, found.error_px) == (2, pytest.approx(right.error_px, rel=1e-3))


def test_looking_twice_answers_the_mean_and_the_same_in_a_mirror(runner, crop) -> None:
    twice, flipped = mirror.TwiceRunner(runner), np.ascontiguousarray(crop[:, ::-1])
    answers = []
    for image, view in ((crop, VIEW), (flipped, mirror.mirrored_view(VIEW, 256))):
        encoded = twice.encode(image)
        answers.append(twice.iterate(encoded, view, twice.initial(encoded, view), 3))
    there = mirror.mirrored_state(answers[1].state, 256)
    np.testing.assert_allclose(there.pose6d, answers[0].state.pose6d, atol=1e-3)
    plain = runner.encode(crop)
    alone = runner.iterate(plain, VIEW, runner.initial(plain, VIEW), 3)
    assert np.abs(alone.state.pose6d - answers[0].state.pose6d).max() > 0.01
    assert answers[0].iterations == 3
    both = [runner.iterate(one, VIEW, answers[0].state, 0).presence for one in (plain, runner.encode(flipped))]
    assert answers[0].presence == pytest.approx(sum(both) / 2, abs=1e-5)


def test_left_and_right_are_exchanged_in_both_looks() -> None:
    rng = np.random.default_rng(0)
    marks = rng.random((2, 33, 4)).astype(np.float32)
    nothing = np.zeros(0)
    encoded = exchanged(Encoded(nothing, nothing, marks[0], Encoded(nothing, nothing, marks[1])))
    assert encoded.mirrored is not None
    np.testing.assert_array_equal(encoded.keypoints, marks[0][EXCHANGED])
    np.testing.assert_array_equal(encoded.mirrored.keypoints, marks[1][EXCHANGED])


@pytest.mark.parametrize("how", ["off", "turns", "both"])
def test_whatever_is_looked_at_a_leaning_person_comes_back_within_three_millimetres(how) -> None:
    roll = np.deg2rad(25)
    who = truth(1, roll)
    runner = AllKnowing(who)
    fitter = Fitter(config.Fit(mirror=how), runner, BODY, UPRIGHT)
    for index in range(6):
        people = follow(fitter, who, index, roll)
        assert np.abs(people.joints_camera[0] - who.joints).max() < 0.003
    looks = {"off": [False] * 5, "turns": [True, False, True, False, True], "both": [False, True] * 5}
    assert runner.hands[2 if how != "both" else 4 :] == looks[how]  # a new person is looked at twice


def test_what_sways_from_hand_to_hand_is_not_told_and_even_motion_is_not_held_back() -> None:
    walker, step = truth(2), np.array([0.02, 0.0, -0.01])  # 0.6 m/s at 30 frames a second
    runner = AllKnowing(walker, sway=0.03)
    fitter = Fitter(config.Fit(mirror="turns"), runner, BODY, UPRIGHT)
    off = []
    for index in range(10):
        here = Truth(walker.rotations, walker.betas, walker.trans + index * step)
        runner.who = here
        people = follow(fitter, here, index)
        off.append(people.joints_camera[0] - here.joints)
    assert np.abs(off[0][:, 0]).min() > 0.025  # the first look has one hand's error
    assert np.abs(off[3:]).max() < 0.003


def test_nothing_is_taken_from_before_a_cut() -> None:
    who = truth(3)
    runner = AllKnowing(who)
    fitter = Fitter(config.Fit(), runner, BODY, UPRIGHT)
    for index in range(5):
        follow(fitter, who, index)
    elsewhere = truth(4, trans=(-0.6, 0.0, 4.0))
    runner.who = elsewhere
    for index in range(5, 9):
        people = follow(fitter, elsewhere, index, fresh=index == 5)
        assert np.abs(people.joints_camera[0] - elsewhere.joints).max() < 0.003


def test_the_mean_of_mirrored_and_unmirrored_bodies_cancels_what_alternates_at_uneven_times() -> None:
    still = np.tile(np.eye(3), (24, 1, 1))

    def at(time_s: float, sway: float) -> mirror.Moment:
        return mirror.Moment(time_s, Pose(still, np.full(10, time_s + sway), np.array([1.0, 2.0, 3.0]) * time_s + sway))

    mean = mirror.averaged(at(0.10, 0.05), at(0.04, -0.05), at(0.0, 0.05))
    np.testing.assert_allclose(mean.trans, np.array([1.0, 2.0, 3.0]) * 0.10, atol=1e-9)
    np.testing.assert_allclose(mean.betas, 0.10, atol=1e-9)
    np.testing.assert_allclose(mean.rotations, still, atol=1e-9)
    assert mirror.carried_mean(4.0, 2.0, 8.0, 0.5) == 0.75 * 4 + 0.5 * 2 - 0.25 * 8
