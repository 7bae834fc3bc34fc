"""The fit stage against a body whose place is known.

The picture holds its own coordinates as colours, so that a stand-in for the network can read where, how large and how
turned a crop was cut, and answers with the truth as seen there. What is tested is all the geometry between.
"""

from dataclasses import dataclass

import numpy as np
import pytest

from refit_rt import config, geometry, mirror
from refit_rt.body import load_body
from refit_rt.cameras import Camera
from refit_rt.crops import cam_from_translation, lean, square, translation_from_cam
from refit_rt.fit import EXCHANGED, Fitter
from refit_rt.runners import Result, Seen, State, View
from refit_rt.types import Frame, Tracks

WIDTH, HEIGHT, FOCAL_PX = 1000, 800, 900.0
BODY = load_body()
CAMERA = Camera("test", (WIDTH, HEIGHT), FOCAL_PX, (499.5, 399.5))


@dataclass
class Truth:
    """A body in the camera's frame."""

    rotations: np.ndarray
    betas: np.ndarray
    trans: np.ndarray

    @property
    def joints(self) -> np.ndarray:
        return BODY.joints(self.rotations, self.betas) + self.trans


def truth(seed: int, roll: float = 0.0, trans: tuple[float, float, float] = (0.3, 0.2, 3.5)) -> Truth:
    """Somebody in a random pose who leans clockwise by `roll`."""
    rng = np.random.default_rng(seed)
    rotations = geometry.matrix_from_axis_angle(rng.normal(0, 0.15, (24, 3)))
    upright = geometry.matrix_from_axis_angle(np.array([np.pi, 0.0, 0.0]))
    rotations[0] = geometry.roll_matrix(roll).T @ upright @ geometry.matrix_from_axis_angle(rng.normal(0, 0.1, 3))
    return Truth(rotations.astype(np.float32), rng.normal(0, 1, 10).astype(np.float32), np.array(trans))


class AllKnowing:
    """Answers every crop, and every mirror image of one, with the truth; its first estimate is `off` by some radians a
    joint. sway: metres by which a mirror image shows people further right, and a crop as it is further left."""

    crop_px = 256

    def __init__(self, who: Truth, off: float = 0.0, sway: float = 0.0) -> None:
        self.who, self.off, self.sway, self.rolls, self.hands, self.asked = who, off, sway, [], [], []

    def encode(self, crop: np.ndarray) -> Seen:
        red, green, blue = crop[..., 0], crop[..., 1], crop[..., 2]
        v, u = np.nonzero((red == 255) & (green > 8) & (green < 190) & (blue > 8) & (blue < 240))
        known = np.column_stack([u, v, np.ones(len(u))])
        image = np.linalg.lstsq(known, np.column_stack([blue[v, u], green[v, u]]) * 4.0, rcond=None)[0]
        # Columns of the crop's axes in the picture: the first is (cos, sin) of the roll, or in a mirror its opposite.
        self.hands.append(bool(np.linalg.det(image[:2]) < 0))
        right = -image[0] if self.hands[-1] else image[0]
        self.rolls.append(float(np.arctan2(right[1], right[0])))
        hidden = np.zeros((26, 32), np.float32)
        hidden[0, :2] = self.hands[-1], self.rolls[-1]
        return Seen(np.zeros((67, 64, 64), np.float32), hidden)

    def _state(self, seen: Seen, view: View, off: float = 0.0) -> State:
        in_mirror, roll = bool(seen.hidden[0, 0]), float(seen.hidden[0, 1])
        view = mirror.mirrored_view(view, self.crop_px) if in_mirror else view
        turn = geometry.roll_matrix(roll)
        rotations = self.who.rotations @ geometry.matrix_from_axis_angle(np.full((24, 3), off))
        rotations[0] = turn @ rotations[0]
        pelvis = BODY.joint_template[0] + BODY.joint_shape_dirs[0] @ self.who.betas
        place = self.who.trans + np.array([self.sway if in_mirror else -self.sway, 0, 0])
        cam = cam_from_translation(turn @ (place + pelvis) - pelvis, view)
        state = State(geometry.six_d_from_matrix(rotations).reshape(144), self.who.betas, cam)
        return mirror.mirrored_state(state, self.crop_px) if in_mirror else state

    def initial(self, seen: Seen, view: View) -> State:
        return self._state(seen, view, self.off)

    def iterate(self, seen, view, state, iterations, update_rad=0.0, deadline_s=None) -> Result:
        right = state  # of no iteration: it is asked where a body is
        if iterations:
            self.asked.append((mirror.mirrored_state(state, 256) if seen.hidden[0, 0] else state, iterations))
            right = self._state(seen, view)
        rotations = geometry.matrix_from_6d(right.pose6d.reshape(24, 6))
        joints, markers = BODY.joints(rotations, right.betas), BODY.markers_at(rotations, right.betas)
        nowhere = np.zeros((24, 2))
        return Result(right, iterations, 0.0, 2.0, rotations, joints, markers, nowhere, nowhere)


def picture(index: int = 0, fps: float = 30.0) -> Frame:
    """Blue is x / 4, green is y / 4, red marks the picture's inside."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    image = np.stack([x / 4, y / 4, np.full_like(x, 255)], -1).round().astype(np.uint8)
    return Frame("test", index, index / fps, index / fps, image)


def follow(fitter: Fitter, who: Truth, index: int, roll: float = 0.0, fresh: bool = False):
    pixels = geometry.project(who.joints, FOCAL_PX, CAMERA.centre_px)
    box = np.concatenate([pixels.min(0), pixels.max(0)])[None].astype(np.float32)
    one = np.ones(1, np.float32)
    tracks = Tracks(picture(index), np.array([4]), box, roll * one, one, np.array([index == 0 or fresh]))
    return fitter.fit(tracks, CAMERA)


@pytest.mark.parametrize("roll_deg", [0, 25, -50, 90, 180])
def test_a_leaning_person_comes_back_to_the_camera_within_three_millimetres(roll_deg: int) -> None:
    roll = np.deg2rad(roll_deg)
    who = truth(1, roll)
    runner = AllKnowing(who)
    people, rolls = follow(Fitter(config.Fit(), runner, BODY, 1.2, True), who, 0, roll)
    assert np.abs(people.joints_camera[0] - who.joints).max() < 0.003
    posed = BODY.joints(geometry.matrix_from_axis_angle(people.poses[0]), people.betas[0]) + people.trans[0]
    assert np.abs(posed - who.joints).max() < 0.003
    pixels = geometry.project(who.joints, FOCAL_PX, CAMERA.centre_px)
    assert np.abs(people.joints_px[0] - pixels).max() < 1
    assert abs(np.angle(np.exp(1j * (rolls[0] - roll)))) < np.deg2rad(12)  # the spine is bent a little


def test_official_crops_are_never_turned() -> None:
    who = truth(2, np.deg2rad(30))
    runner = AllKnowing(who)
    people, rolls = follow(Fitter(config.Fit(), runner, BODY, 1.2, False), who, 0, np.deg2rad(30))
    assert np.abs(runner.rolls).max() < 1e-3
    assert rolls[0] == 0
    assert np.abs(people.joints_camera[0] - who.joints).max() < 0.003


def test_a_known_person_starts_between_last_body_and_fresh_estimate() -> None:
    who = truth(3)
    runner = AllKnowing(who, off=0.2)
    fitter = Fitter(config.Fit(blend=0.7, iterations=2, cold_iterations=5), runner, BODY, 1.2, True)
    for index in range(2):
        follow(fitter, who, index)
    (_, cold), (_, again), (start, warm) = runner.asked
    assert (cold, again, warm) == (5, 5, 2)  # a new person is looked at twice
    rotations = geometry.matrix_from_6d(start.pose6d.reshape(24, 6))[1:]
    off = geometry.angle_between(rotations, who.rotations[1:])
    full = geometry.angle_between(
        who.rotations[1:] @ geometry.matrix_from_axis_angle(np.full((23, 3), 0.2)), who.rotations[1:]
    )
    assert np.allclose(off / full, 0.3, atol=0.03)


def test_last_body_is_the_start_again_in_a_crop_of_another_roll() -> None:
    who = truth(4)
    runner = AllKnowing(who, off=0.0)
    fitter = Fitter(config.Fit(blend=1.0), runner, BODY, 1.2, True)
    follow(fitter, who, 0)
    fitter._memory[4].roll += 0.5  # as if the crop were turned another way now
    follow(fitter, who, 1)
    start, _ = runner.asked[-1]
    turned = geometry.matrix_from_6d(start.pose6d.reshape(24, 6))
    assert geometry.angle_between(turned[0], geometry.roll_matrix(runner.rolls[-1]) @ who.rotations[0]) < np.deg2rad(
        0.5
    )


def test_a_body_seen_from_the_other_side_is_believed_for_most_of_a_second() -> None:
    who = truth(5)
    runner = AllKnowing(who)
    fitter = Fitter(config.Fit(), runner, BODY, 1.2, True)
    for index in range(30):
        follow(fitter, who, index)
    runner.who = turned_round(who)  # from now on the network sees a back where a chest is
    made = []
    for index in range(30, 70):
        before = fitter._memory[4].rotations.copy()
        follow(fitter, who, index)
        start, iterations = runner.asked[-1]
        made.append(iterations)
        if iterations == config.Fit().iterations:
            rotations = geometry.matrix_from_6d(start.pose6d.reshape(24, 6))
            assert geometry.angle_between(rotations[1:], before[1:]).max() < np.deg2rad(1)
        fitter._memory[4].rotations[:] = before  # the loop stays with the body it was given
        if iterations == config.Fit().cold_iterations:
            break
    assert 20 <= len(made) <= 24  # 0.7 s at 30 frames a second, then anew


def turned_round(who: Truth) -> Truth:
    other = Truth(who.rotations.copy(), who.betas, who.trans)
    other.rotations[0] = geometry.matrix_from_axis_angle(np.array([0.0, 2.5, 0.0])) @ who.rotations[0]
    return other


def test_a_first_body_seen_from_the_wrong_side_is_soon_given_up() -> None:
    who = truth(5)
    runner = AllKnowing(turned_round(who))
    fitter = Fitter(config.Fit(), runner, BODY, 1.2, True)
    follow(fitter, who, 0)
    runner.who = who
    made = []
    for index in range(1, 6):
        before = fitter._memory[4].rotations.copy()
        follow(fitter, who, index)
        made.append(runner.asked[-1][1])
        if made[-1] == config.Fit().iterations and index < 3:
            fitter._memory[4].rotations[:] = before  # the loop stays with the body it was given
    assert config.Fit().cold_iterations in made[:3]
    assert geometry.angle_between(fitter._memory[4].rotations[0], who.rotations[0]) < np.deg2rad(5)


def test_exchanged_landmarks_are_left_for_right() -> None:
    assert sorted(EXCHANGED.tolist()) == list(range(33))
    assert (EXCHANGED[EXCHANGED] == np.arange(33)).all()
    assert EXCHANGED[[0, 2, 7, 11, 16, 23, 32]].tolist() == [0, 5, 8, 12, 15, 24, 31]


def test_a_person_whom_a_detection_puts_elsewhere_begins_anew() -> None:
    runner = AllKnowing(truth(8))
    fitter = Fitter(config.Fit(), runner, BODY, 1.2, True)
    follow(fitter, runner.who, 0)
    runner.who = truth(9, trans=(-0.9, 0.2, 3.5))
    people, _ = follow(fitter, runner.who, 1, fresh=True)
    assert [iterations for _, iterations in runner.asked] == [5] * 4
    assert np.abs(people.joints_camera[0] - runner.who.joints).max() < 0.003


def test_nobody_is_remembered_for_long() -> None:
    who = truth(6)
    runner = AllKnowing(who)
    fitter = Fitter(config.Fit(), runner, BODY, 1.2, True)
    follow(fitter, who, 0)
    follow(fitter, who, 60)  # two seconds later
    assert [iterations for _, iterations in runner.asked] == [5] * 4


def test_a_frame_without_people_is_a_message_without_people() -> None:
    fitter = Fitter(config.Fit(), AllKnowing(truth(7)), BODY, 1.2, True)
    none = np.zeros(0, np.float32)
    tracks = Tracks(picture(), np.zeros(0, np.int64), np.zeros((0, 4), np.float32), none, none, np.zeros(0, bool))
    people, rolls = fitter.fit(tracks, CAMERA)
    assert people.poses.shape == (0, 24, 3)
    assert people.joints_px.shape == (0, 24, 2)
    assert rolls.shape == (0,)


def test_the_full_frame_camera_and_its_inverse_agree() -> None:
    view = View((200.0, 650.0, 320.0), 1200.0, (640.0, 360.0))
    trans = np.array([-0.8, 0.5, 4.2])
    assert np.allclose(translation_from_cam(cam_from_translation(trans, view), view), trans, atol=1e-12)


def test_lean_and_square() -> None:
    assert lean(np.zeros(2), np.array([10.0, -10.0]), 1.0, 0.0) == pytest.approx(
        np.pi / 4
    )  # head to the right: clockwise
    assert lean(np.zeros(2), np.array([0.1, -0.1]), 1.0, 0.3) == 0.3
    centre, side = square(np.array([0.0, 0.0, 10.0, 40.0]), 1.5)
    assert centre.tolist() == [5, 20]
    assert side == 60
