"""The fit stage against a body whose place is known (support/all_knowing.py): it tests all the geometry between."""

from dataclasses import replace

import numpy as np
import pytest

from refit_rt import config, geometry
from refit_rt.bundle.read import Crop
from refit_rt.fit.crops import (
    cam_from_translation,
    lean,
    square_of_body,
    translation_from_cam,
    view_of,
    within_reach,
)
from refit_rt.fit.fitter import Fitter
from refit_rt.fit.memory import remembered, start_from
from refit_rt.fit.start import ANKLES, EXCHANGED, HIPS, KNEES, MISSING_HIPS, MISSING_KNEES
from refit_rt.geometry import square_around
from refit_rt.types import Encoded, State, Tracks, View
from tests.support.all_knowing import (
    BODY,
    CAMERA,
    FOCAL_PX,
    HEIGHT,
    UPRIGHT,
    AllKnowing,
    Truth,
    fitted,
    follow,
    picture,
    truth,
)
from tests.support.rotations import angle_between


@pytest.mark.parametrize("roll_deg", [0, 25, -50, 90, 180])
def test_a_leaning_person_comes_back_to_the_camera_within_three_millimetres(roll_deg: int) -> None:
    roll = np.deg2rad(roll_deg)
    who = truth(1, roll)
    runner = AllKnowing(who)
    people = follow(Fitter(config.Fit(), runner, BODY, UPRIGHT), who, 0, roll)
    assert np.abs(people.joints_camera[0] - who.joints).max() < 0.003
    posed = BODY.joints(geometry.matrix_from_axis_angle(people.poses[0]), people.betas[0]) + people.trans[0]
    assert np.abs(posed - who.joints).max() < 0.003
    pixels = geometry.project(who.joints, FOCAL_PX, CAMERA.centre_px)
    assert np.abs(people.joints_px[0] - pixels).max() < 1
    assert abs(np.angle(np.exp(1j * (people.roll[0] - roll)))) < np.deg2rad(12)  # the spine is bent a little


def test_official_crops_are_never_turned() -> None:
    who = truth(2, np.deg2rad(30))
    runner = AllKnowing(who)
    people = follow(Fitter(config.Fit(), runner, BODY, Crop()), who, 0, np.deg2rad(30))
    assert np.abs(runner.rolls).max() < 1e-3
    assert people.roll[0] == 0
    assert np.abs(people.joints_camera[0] - who.joints).max() < 0.003


def test_a_known_person_starts_between_last_body_and_fresh_estimate() -> None:
    who = truth(3)
    runner = AllKnowing(who, off=0.2)
    fitter = Fitter(config.Fit(blend=0.7, iterations=2, cold_iterations=5), runner, BODY, UPRIGHT)
    for index in range(2):
        follow(fitter, who, index)
    (_, cold), (start, warm) = runner.asked
    assert (cold, warm) == (5, 2)
    rotations = geometry.matrix_from_6d(start.pose6d.reshape(24, 6))[1:]
    off = angle_between(rotations, who.rotations[1:])
    full = angle_between(who.rotations[1:] @ geometry.matrix_from_axis_angle(np.full((23, 3), 0.2)), who.rotations[1:])
    assert np.allclose(off / full, 0.3, atol=0.03)


@pytest.mark.parametrize(("scale", "shift_px", "looks"), [(1, 0, 1), (1.1, 0, 1), (2, 0, 2), (0.6, 0, 2), (1, 100, 2)])
def test_a_new_person_is_looked_at_again_where_the_detections_square_was_another(
    scale: float, shift_px: float, looks: int
) -> None:
    who = truth(3)
    runner = AllKnowing(who)
    points = fitted(who).points_px
    middle, side = (points.min(0) + points.max(0)) / 2 + (shift_px, 0), scale * np.ptp(points, axis=0).max()
    box, one = np.concatenate([middle - side / 2, middle + side / 2])[None].astype(np.float32), np.ones(1, np.float32)
    tracks = Tracks(picture(), np.array([4]), box, 0 * one, one, np.array([True]))
    people = Fitter(config.Fit(), runner, BODY, UPRIGHT).fit(tracks, CAMERA)
    assert len(runner.asked) == looks
    assert np.abs(people.joints_camera[0] - who.joints).max() < 0.003


def test_last_body_is_the_start_again_in_a_crop_of_another_roll() -> None:
    who, frame = truth(4), picture()
    memory = remembered(frame, fitted(who), None, UPRIGHT)
    square = replace(memory.square(frame), roll=0.5)  # as if the crop were turned another way
    view = view_of(square, CAMERA)
    turn = geometry.roll_matrix(square.roll)
    same = who.rotations.copy()
    same[0] = turn @ same[0]
    pelvis = BODY.rest_pelvis(who.betas)
    cam = cam_from_translation(turn @ (who.trans + pelvis) - pelvis, view)
    fresh = State(geometry.six_d_from_matrix(same).reshape(144), who.betas, cam)
    warm = start_from(memory, fresh, square, view, BODY, 1.0, 0.1)
    assert warm is not None
    assert not warm.exchange
    turned = geometry.matrix_from_6d(warm.state.pose6d.reshape(24, 6))
    assert angle_between(turned, same).max() < np.deg2rad(0.1)
    np.testing.assert_allclose(warm.state.cam, cam, atol=1e-4)


def test_a_body_seen_from_the_other_side_is_believed_for_most_of_a_second() -> None:
    who = truth(5)
    runner = AllKnowing(who)
    fitter = Fitter(config.Fit(), runner, BODY, UPRIGHT)
    for index in range(30):
        follow(fitter, who, index)
    runner.who, runner.stays = turned_round(who), True  # from now on the network sees a back where a chest is
    made = []
    for index in range(30, 70):
        follow(fitter, who, index)
        start, iterations = runner.asked[-1]
        made.append(iterations)
        if iterations == config.Fit().cold_iterations:
            break
        rotations = geometry.matrix_from_6d(start.pose6d.reshape(24, 6))
        assert angle_between(rotations[1:], who.rotations[1:]).max() < np.deg2rad(1)
    assert 20 <= len(made) <= 24  # 0.7 s at 30 frames a second, then cold


def turned_round(who: Truth) -> Truth:
    other = Truth(who.rotations.copy(), who.betas, who.trans)
    other.rotations[0] = geometry.matrix_from_axis_angle(np.array([0.0, 2.5, 0.0])) @ who.rotations[0]
    return other


def test_a_first_body_seen_from_the_wrong_side_is_soon_given_up() -> None:
    who = truth(5)
    runner = AllKnowing(turned_round(who), stays=True)
    fitter = Fitter(config.Fit(), runner, BODY, UPRIGHT)
    follow(fitter, who, 0)
    runner.who = who
    made = []
    for index in range(1, 6):
        people = follow(fitter, who, index)
        made.append(runner.asked[-1][1])
    assert config.Fit().cold_iterations in made[:3]
    root = geometry.matrix_from_axis_angle(people.poses[0, 0])
    assert angle_between(root, who.rotations[0]) < np.deg2rad(5)


def test_exchanged_landmarks_are_left_for_right() -> None:
    assert sorted(EXCHANGED.tolist()) == list(range(33))
    assert (EXCHANGED[EXCHANGED] == np.arange(33)).all()
    assert EXCHANGED[[0, 2, 7, 11, 16, 23, 32]].tolist() == [0, 5, 8, 12, 15, 24, 31]


def test_a_person_whom_a_detection_puts_elsewhere_begins_anew() -> None:
    runner = AllKnowing(truth(8))
    fitter = Fitter(config.Fit(), runner, BODY, UPRIGHT)
    follow(fitter, runner.who, 0)
    runner.who = truth(9, trans=(-0.9, 0.2, 3.5))
    people = follow(fitter, runner.who, 1, fresh=True)
    assert {iterations for _, iterations in runner.asked} == {5}
    assert np.abs(people.joints_camera[0] - runner.who.joints).max() < 0.003


@pytest.mark.parametrize(
    ("lowest", "share"),
    [
        (ANKLES, 0.0),
        (KNEES, MISSING_KNEES),
        (HIPS, MISSING_HIPS),
        ([5, 6], 0.8),
    ],
)
def test_somebody_cut_off_by_the_lower_edge_is_first_looked_at_beyond_it(lowest: list[int], share: float) -> None:
    class Asked(AllKnowing):
        def initial(self, encoded: Encoded, view: View) -> State:
            squares.append(view.square)
            return super().initial(encoded, view)

    def first_square(bottom_px: float) -> np.ndarray:
        squares.clear()
        box = np.array([[400, 300, 500, bottom_px]], np.float32)
        keypoints = np.zeros((1, 17, 3), np.float32)
        keypoints[0, : max(lowest) + 1, 2] = 0.9
        one = np.ones(1, np.float32)
        seen = Tracks(picture(), np.array([4]), box, 0 * one, one, np.array([True]), keypoints)
        Fitter(config.Fit(), Asked(truth(1)), BODY, crop).fit(seen, CAMERA)
        return np.array(squares[0])

    squares: list = []
    crop = Crop(normalise_roll=True, beyond=0.8)
    height = HEIGHT - 300
    x, y, side = first_square(HEIGHT)
    assert (x, y) == pytest.approx((450, 300 + (1 + share) * height / 2), abs=0.5)
    assert side == pytest.approx(crop.margin * (1 + share) * height, abs=1)
    for elsewhere in (HEIGHT - 100, HEIGHT + 200):  # ends in the picture, or has been extended already
        assert first_square(elsewhere)[2] == pytest.approx(crop.margin * (elsewhere - 300), abs=1)


def test_nobody_is_remembered_for_long() -> None:
    who = truth(6)
    runner = AllKnowing(who)
    fitter = Fitter(config.Fit(), runner, BODY, UPRIGHT)
    follow(fitter, who, 0)
    follow(fitter, who, 60)  # two seconds later
    assert [iterations for _, iterations in runner.asked] == [5] * 4


def test_a_frame_without_people_is_a_message_without_people() -> None:
    fitter = Fitter(config.Fit(), AllKnowing(truth(7)), BODY, UPRIGHT)
    none = np.zeros(0, np.float32)
    tracks = Tracks(picture(), np.zeros(0, np.int64), np.zeros((0, 4), np.float32), none, none, np.zeros(0, bool))
    people = fitter.fit(tracks, CAMERA)
    assert people.poses.shape == (0, 24, 3)
    assert people.joints_px.shape == (0, 24, 2)
    assert people.roll.shape == (0,)


def test_the_full_frame_camera_and_its_inverse_agree() -> None:
    view = View((200.0, 650.0, 320.0), 1200.0, (640.0, 360.0))
    trans = np.array([-0.8, 0.5, 4.2])
    assert np.allclose(translation_from_cam(cam_from_translation(trans, view), view), trans, atol=1e-12)


def test_a_body_beyond_the_picture_is_followed_as_far_as_the_network_wants() -> None:
    """Of somebody whose upper 300 px are in the picture and 600 below it."""
    points = np.array([[400.0, 500.0], [500.0, 800.0], [450.0, 1400.0]])
    low, high = np.zeros(2), np.array([1000.0, 800.0])
    for beyond, bottom in ((0.0, 800.0), (0.5, 950.0), (0.8, 1040.0), (3.0, 1400.0)):
        within = within_reach(points, low, high, beyond)
        assert within[:, 1].max() == pytest.approx(bottom)
        assert within[:, 1].min() == 500.0
    on_both_sides = within_reach(np.array([[-400.0, 300.0], [100.0, 300.0], [300.0, 300.0], [500.0, 300.0]]), low,
                                 np.array([350.0, 800.0]), 0.5)  # fmt: skip
    # 200 px are in, 500 are beyond on the left and 200 on the right: 100 of room, shared in proportion
    assert np.ptp(on_both_sides[:, 0]) == pytest.approx(300)
    assert on_both_sides[:, 0].min() == pytest.approx(100 - 100 * 5 / 7)
    nobody = within_reach(points + 5000, low, high, 0.8)
    assert (nobody == high).all()


@pytest.mark.parametrize("beyond", [0.0, 0.2, 0.8])
def test_the_crop_of_somebody_cut_off_is_the_bundles(beyond: float) -> None:
    who = truth(5, trans=(0.0, 0.9, 1.6))  # near: about the upper half of the body is in the picture
    fitter = Fitter(config.Fit(), AllKnowing(who), BODY, Crop(beyond=beyond))
    people = follow(fitter, who, 0)
    assert np.abs(people.joints_camera[0] - who.joints).max() < 0.01
    pixels = fitted(who).points_px
    inside = pixels[((pixels >= 0) & (pixels <= [999, 799])).all(1)]
    assert 20 < len(inside) < 80
    cut = square_of_body(pixels, 0.0, (1000, 800), Crop(beyond=beyond)).side_px
    visible, whole = np.ptp(inside, 0).max(), np.ptp(pixels, 0).max()
    assert whole > 1.25 * visible
    assert cut == pytest.approx(1.2 * min((1 + beyond) * visible, whole), rel=0.02)


def test_the_crop_of_somebody_who_has_all_but_left_does_not_collapse() -> None:
    leaving = np.array([[995.0, 400.0], [1100.0, 300.0], [1250.0, 900.0]])  # one marker is left in the picture
    assert square_of_body(leaving, 0.0, (1000, 800), UPRIGHT).side_px == pytest.approx(0.2 * 600)
    far = leaving[0] + 100 * (leaving - leaving[0])  # however far away the rest is said to be
    assert square_of_body(far, 0.0, (1000, 800), UPRIGHT).side_px == pytest.approx(0.2 * 1000)


def test_lean_and_square() -> None:
    assert lean(np.zeros(2), np.array([10.0, -10.0]), 1.0, 0.0) == pytest.approx(
        np.pi / 4
    )  # head to the right: clockwise
    assert lean(np.zeros(2), np.array([0.1, -0.1]), 1.0, 0.3) == 0.3
    around = square_around(np.array([0.0, 0.0, 10.0, 40.0]), 1.5)
    assert around.centre_px.tolist() == [5, 20]
    assert around.side_px == 60
