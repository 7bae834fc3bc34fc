"""People who talk to a webcam: hands and elbows are where a talker's are, and hands hold their objects."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from refit_rt.body.smpl import joint_transforms, load_body
from training.synthetic import Generator, motion, webcam
from training.synthetic.gestures import LEFT_ARM, RIGHT_ARM, random_gestures
from training.synthetic.textures import make_textures

BODY = load_body()
MEAN = np.zeros(10)


@pytest.fixture(scope="module")
def textures():
    return make_textures(np.random.default_rng(0), [])


def in_chest(pose: np.ndarray) -> np.ndarray:
    """Joints (24, 3) in the chest's frame, metres from it."""
    transforms, joints = joint_transforms(BODY, pose, MEAN)
    return (joints - joints[9]) @ transforms[9, :3, :3]


@pytest.mark.parametrize(("side", "joints"), [(1.0, LEFT_ARM), (-1.0, RIGHT_ARM)])
def test_the_wrist_reaches_the_place_it_was_sent_to(side, joints):
    """Within what a shrug moves the shoulder and bones that are not quite on the axes."""
    rng = np.random.default_rng(1)
    poses, _ = random_gestures(rng, 8)
    place = np.array([side * 0.1, -0.1, 0.35])
    webcam._reach(rng, poses, np.tile(place, (8, 1)), side, joints, BODY)
    for pose in poses:
        at = in_chest(pose)
        assert np.linalg.norm(at[joints[3]] - at[joints[1]] - place) < 0.04


def test_elbows_hang_and_bend_forwards_only():
    rng = np.random.default_rng(2)
    talks = [webcam.random_talk(rng, 1, 0.0, BODY) for _ in range(60)]
    both = [talk for talk in talks if talk.mode == webcam.HOLD_TWO]
    assert len(both) > 4
    for talk in both:
        at = in_chest(talk.rotations[0])
        for side, (_, shoulder, elbow, wrist) in ((1.0, LEFT_ARM), (-1.0, RIGHT_ARM)):
            bend = Rotation.from_matrix(talk.rotations[0, elbow]).as_euler("YXZ")
            assert 0.05 < -side * bend[0] < webcam.MOST_BEND_RAD + 0.01
            assert abs(bend[2]) < 0.1
            line = at[shoulder] + 0.5 * (at[wrist] - at[shoulder])
            assert at[elbow, 1] < line[1]
            assert at[wrist, 2] > 0.1


def test_hands_of_talkers_rarely_intersect_the_body():
    rng = np.random.default_rng(3)
    poses = np.concatenate([webcam.random_talk(rng, 1, 0.0, BODY).rotations for _ in range(60)])
    assert motion.through_itself(BODY, poses).mean() < 0.05


def test_what_two_hands_hold_stays_between_them(textures):
    rng = np.random.default_rng(4)
    talks = [webcam.random_talk(rng, 6, 8.0, BODY) for _ in range(30)]
    shown = 0
    for talk in talks:
        joints = np.stack([BODY.joints(pose, MEAN) for pose in talk.rotations])
        held = webcam.random_held(rng, textures, talk, joints[0])
        assert (held is None) == (talk.mode in (webcam.BOTH, webcam.ONE))
        if held is None:
            continue
        for at in joints:
            middle = held.at(at).points.mean(0)
            hands = at[20:22].mean(0) if held.two else at[20 if held.left else 21]
            assert np.linalg.norm(middle - hands) < 0.17
            shown += 1
        if held.two:  # as wide as the hands are apart
            across = joints[0, 20] - joints[0, 21]
            along = held.at(joints[0]).points @ across / np.linalg.norm(across)
            assert abs(np.ptp(along) - max(np.linalg.norm(across) - 0.02, 0.1)) < 0.001
    assert shown > 12


def test_talkers_move_little_by_little():
    talk = webcam.random_talk(np.random.default_rng(5), 30, 30.0, BODY)
    joints = np.stack([BODY.joints(pose, MEAN) for pose in talk.rotations])
    step = np.linalg.norm(np.diff(joints, axis=0), axis=-1).max()
    assert 0.001 < step < 0.12


def test_talkers_are_seen_from_near_by_and_leave_the_others_as_they_were():
    plain, some = Generator(seed=6, outfits=4), Generator(seed=6, outfits=4, webcam=0.5)
    talkers = [number for number in range(12) if some._talker(number) is not None]
    assert 2 < len(talkers) < 10
    near = []
    for number in range(12):
        sample = some.sample(number)
        if number in talkers:
            near.append(sample.trans[2])
            assert sample.kind in webcam.KINDS
        else:
            np.testing.assert_array_equal(sample.image, plain.sample(number).image)
    assert np.median(near) < 2.0


def test_a_clip_of_a_talker_is_repeatable_and_one_place():
    one = Generator(seed=7, outfits=4, webcam=1.0)
    first, again = one.clip(3, 15.0, 2), Generator(seed=7, outfits=4, webcam=1.0).clip(3, 15.0, 2)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.image, b.image)
    assert np.linalg.norm(first[0].joints - first[2].joints, axis=-1).mean() < 0.15


@pytest.mark.parametrize("left", [True, False])
def test_only_the_chosen_hand_gestures(left):
    poses, _ = random_gestures(np.random.default_rng(8), 4)
    before = poses.copy()
    webcam._put_hands(np.random.default_rng(9), poses, webcam.ONE, left, BODY)
    talks, rests = (LEFT_ARM, RIGHT_ARM) if left else (RIGHT_ARM, LEFT_ARM)
    np.testing.assert_array_equal(poses[:, rests], before[:, rests])
    assert np.abs(poses[:, talks] - before[:, talks]).max() > 0.1


def test_talkers_are_on_the_move_from_the_first_moment():
    rng = np.random.default_rng(10)
    steps = []
    for _ in range(12):
        talk = webcam.random_talk(rng, 3, 15.0, BODY)
        joints = np.stack([BODY.joints(pose, MEAN) for pose in talk.rotations])
        steps.append(np.linalg.norm(np.diff(joints[:, 20:22], axis=0), axis=-1).max(1))
    first, second = np.mean(steps, 0)
    assert first > 0.5 * second
