from dataclasses import replace

import numpy as np
import pytest

from refit_rt import config, geometry
from refit_rt.body.smpl import load_body
from refit_rt.cameras import Camera
from refit_rt.fit.smooth import NOISE, Smoother, predicted_error
from tests.support.fakes import CENTRE, people
from tests.support.rotations import angle_between

CAMERA = Camera("test", (640, 480), 800.0, CENTRE)
RATE_HZ = 60.0


@pytest.fixture(scope="module")
def body():
    return load_body()


def filtered(body, poses, trans=None, times_s=None, settings=None, confidence=0.95):
    """poses (T, 24, 3) of one person through the filter -> the People of each frame."""
    smoother = Smoother(settings or config.Smooth(), body)
    times_s = np.arange(len(poses)) / RATE_HZ if times_s is None else times_s
    trans = np.tile([0.0, 0.0, 4.0], (len(poses), 1)) if trans is None else trans
    return [
        smoother.smooth(
            replace(people([3], t, poses=pose[None], trans=place[None]), confidence=np.array([confidence], np.float32)),
            CAMERA,
        )
        for t, pose, place in zip(times_s, poses, trans, strict=True)
    ]


def turned(angles_rad):
    """(T,) -> poses in which the left elbow turns about y."""
    poses = np.zeros((len(angles_rad), 24, 3))
    poses[:, 18, 1] = angles_rad
    return poses


def jitter(out):
    """The mean step (rad) of shoulders, elbows, hips and knees from frame to frame."""
    return np.diff(np.stack([p.poses[0] for p in out])[60:, [1, 2, 4, 5, 16, 17, 18, 19]], axis=0).std()


def noise_at_rest(confidence):
    """(600, 24, 3) as measured at 30 frames a second for this confidence."""
    deviations = NOISE * predicted_error(confidence)
    return np.random.default_rng(0).normal(size=(600, 24, 3)) * deviations[:, None]


@pytest.mark.parametrize("confidence", [0.7, 0.95])
def test_jitter_at_rest_is_cut_to_a_quarter(body, confidence):
    noise = noise_at_rest(confidence)
    still = filtered(body, noise, confidence=confidence)
    assert jitter(still) < jitter([people([3], poses=pose[None]) for pose in noise]) / 4


def test_a_body_that_is_hard_to_see_coasts_where_one_in_plain_view_follows(body):
    angles = np.concatenate([np.zeros(30), np.full(10, np.deg2rad(4))])  # too little to be no noise
    seen, hard = (filtered(body, turned(angles), confidence=c)[31].poses[0, 18, 1] for c in (0.98, 0.4))
    assert seen > 1.4 * hard > 0


def test_noise_in_depth_does_not_move_the_body_across_the_picture(body):
    trans = np.tile([1.0, 0.5, 4.0], (120, 1))
    trans *= 1 + np.random.default_rng(1).normal(0, 0.02, (120, 1))  # along the line of sight
    trans -= body.rest_pelvis(people([3]).betas[0])
    out = filtered(body, np.zeros((120, 24, 3)), trans)
    pelvis_px = np.stack([p.joints_px[0, 0] for p in out])
    assert np.ptp(pelvis_px[60:], axis=0).max() < 0.2
    depth = np.stack([p.joints_camera[0, 0, 2] for p in out])[60:]
    assert np.diff(depth).std() < np.diff(trans[60:, 2]).std() / 5


def test_a_fast_turn_lags_less_than_fifty_milliseconds(body):
    speed_rad_s = np.deg2rad(360)
    angles = speed_rad_s * np.arange(40) / RATE_HZ
    out = filtered(body, turned(angles))[-1].poses[0, 18]
    lag_s = (
        angle_between(
            geometry.matrix_from_axis_angle(out), geometry.matrix_from_axis_angle(np.array([0, angles[-1], 0]))
        )
        / speed_rad_s
    )
    assert 0 < lag_s < 0.030


def test_a_walk_lags_less_than_eight_centimetres(body):
    trans = np.stack([1.4 * np.arange(60) / RATE_HZ, np.zeros(60), np.full(60, 4.0)], 1)  # 1.4 m/s
    out = filtered(body, np.zeros((60, 24, 3)), trans)[-1]
    assert 0 < trans[-1, 0] - out.trans[0, 0] < 0.08


def test_a_turn_through_half_a_circle_does_not_jump(body):
    angles = np.linspace(np.deg2rad(150), np.deg2rad(210), 60)
    # Beyond 180 degrees the axis flips.
    wrapped = geometry.axis_angle_from_matrix(
        geometry.matrix_from_axis_angle(turned(angles))
    )  # beyond 180 it flips sign
    out = geometry.matrix_from_axis_angle(np.stack([p.poses[0, 18].astype(float) for p in filtered(body, wrapped)]))
    steps_deg = np.rad2deg(angle_between(out[1:], out[:-1]))
    assert steps_deg.max() < 1.5  # the hand itself turns 1.02 degrees a frame


def test_the_frame_rate_hardly_matters(body):
    noise = np.random.default_rng(0)
    ends = []
    for rate_hz in (15.0, 60.0):
        times_s = np.arange(int(rate_hz)) / rate_hz
        times_s[1:-1] += noise.uniform(-0.2, 0.2, len(times_s) - 2) / rate_hz  # irregular
        ends.append(filtered(body, turned(2 * times_s), times_s=times_s)[-1].poses[0, 18, 1])
    assert abs(ends[0] - ends[1]) < np.deg2rad(8)


def test_the_shape_settles_on_the_mean_and_is_held(body):
    smoother, rng = Smoother(config.Smooth(), body), np.random.default_rng(0)
    shapes = []
    for k in range(900):
        person = people([3], k / RATE_HZ)
        out = smoother.smooth(replace(person, betas=(1 + 0.3 * rng.normal(size=(1, 10))).astype(np.float32)), CAMERA)
        shapes.append(out.betas[0])
    assert np.abs(shapes[-1] - 1).max() < 0.15
    still = np.tile(np.eye(3), (24, 1, 1))
    arms = np.array([body.joints(still, shape)[[16, 18, 20]] for shape in shapes[180:]])
    bones = np.linalg.norm(np.diff(arms, axis=1), axis=-1)
    assert (bones.std(0) / bones.mean(0)).max() < 0.003


def test_joints_move_with_the_pose(body):
    rng = np.random.default_rng(0)
    out = filtered(body, rng.normal(size=(5, 24, 3)) * 0.3)[-1]
    rotations = geometry.matrix_from_axis_angle(out.poses[0].astype(float))
    joints = body.joints(rotations, out.betas[0]) + out.trans[0]
    np.testing.assert_allclose(out.joints_camera[0], joints, atol=1e-5)  # metres
    np.testing.assert_allclose(out.joints_px[0], geometry.project(joints, 800.0, CENTRE), atol=0.01)  # pixels
    np.testing.assert_allclose(out.joints_world[0], joints * [1, -1, -1], atol=1e-5)


def test_each_person_has_a_memory_and_it_goes_with_them(body):
    smoother = Smoother(config.Smooth(), body)
    still, bent = np.zeros((1, 24, 3)), turned(np.array([0.1]))

    def smooth(ids, time_s, poses):
        sure = np.full(len(ids), 0.95, np.float32)
        return smoother.smooth(replace(people(ids, time_s, poses=poses), confidence=sure), CAMERA)

    smooth([1], 0.0, still)
    both = smooth([1, 2], 0.02, np.concatenate([bent, bent]))
    assert both.poses[0, 18, 1] < 0.08  # person 1 was still a moment ago
    assert both.poses[1, 18, 1] == pytest.approx(0.1)  # person 2 is new
    again = smooth([1], 1.0, still)
    assert again.poses[0, 18, 1] == pytest.approx(0.0, abs=1e-6)  # a second later all is forgotten


def test_off_changes_nothing(body):
    person = people([1])
    assert Smoother(config.Smooth(enabled=False), body).smooth(person, CAMERA) is person


def test_nobody_stays_nobody(body):
    assert len(Smoother(config.Smooth(), body).smooth(people([]), CAMERA).ids) == 0
