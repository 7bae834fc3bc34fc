"""What training.noise measures is found again where it is known: motion, noise, drift, lag, and followed people."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from refit_rt import config
from refit_rt.body.smpl import load_body
from refit_rt.errors import UserError
from refit_rt.fit import smooth
from refit_rt.fit.fitter import Fitter
from refit_rt.fit.mirror import SWAP
from refit_rt.geometry import axis_angle_from_matrix, matrix_from_axis_angle
from tests.support import all_knowing
from tests.support.rotations import angle_between
from training import noise
from training.followed_clips import Recording, Sensor, follow, load_recordings
from training.synthetic.generator import Sample

BODY = load_body()
FPS = 30.0
ACROSS_M, DEPTH = 0.15, 0.25  # noise of the place per metre of predicted error


def recording_of(
    seed: int, frames: int, per_metre: np.ndarray | float, fps: float = FPS, swing_rad: float = 0.3
) -> Recording:
    """Joints that swing slowly, fitted with noise of per_metre (24,) rad per metre of the error that is predicted."""
    rng = np.random.default_rng(seed)
    times_s = np.arange(frames) / fps
    swing = swing_rad * np.sin(2 * np.pi * 0.4 * times_s[:, None, None] + rng.uniform(0, 6, (24, 3)))
    true = matrix_from_axis_angle(swing)
    confidence = np.repeat(rng.uniform(0.65, 0.97, frames // 10 + 1), 10)[:frames]
    error_m = np.array([smooth.predicted_error(one) for one in confidence])
    turned = rng.normal(size=(frames, 24, 3)) * (error_m[:, None] * per_metre)[..., None]
    betas = np.tile(rng.normal(size=10), (frames, 1))
    place = np.array([0.2, -0.1, 3.0]) + 0.3 * np.sin(times_s[:, None] + rng.uniform(0, 6, 3))
    z = place[:, 2] * np.exp(DEPTH * error_m * rng.normal(size=frames))
    flat = place[:, :2] / place[:, 2:] + (ACROSS_M * error_m / place[:, 2])[:, None] * rng.normal(size=(frames, 2))
    seen, pelvis = np.column_stack([flat * z[:, None], z]), BODY.rest_pelvis(betas)
    poses = axis_angle_from_matrix(true @ matrix_from_axis_angle(turned))
    return Recording(fps, poses, betas, seen - pelvis, confidence, true, betas, place - pelvis)


@pytest.mark.parametrize("fps", [15.0, 60.0])
@pytest.mark.parametrize("density", [1.0, 4.0])
def test_white_acceleration_of_known_density_is_found_again(density: float, fps: float) -> None:
    rng = np.random.default_rng(0)
    first = rng.normal(size=(4000, 3)) * np.exp(rng.uniform(np.log(0.05), np.log(3), (4000, 1)))
    deviation = np.sqrt(density * np.linalg.norm(first, axis=1) ** noise.POWER / fps)
    second = first + deviation[:, None] * rng.normal(size=(4000, 3))
    begin = matrix_from_axis_angle(rng.normal(size=(4000, 3)))
    middle = begin @ matrix_from_axis_angle(first / fps)
    rotations = np.stack([begin, middle, middle @ matrix_from_axis_angle(second / fps)])
    speed, found = noise.unrest(noise.spin(rotations, fps), fps)
    np.testing.assert_allclose(speed[0], np.linalg.norm(first, axis=1), atol=1e-6)
    assert noise.factor(speed[0], found[0], noise.SPEEDS) == pytest.approx(density, rel=0.1)


def test_noise_in_proportion_to_the_predicted_error_is_found_again() -> None:
    per_metre = np.linspace(0.2, 1.4, 24)
    rows = noise.changes(recording_of(1, 4000, per_metre), BODY)
    np.testing.assert_allclose(noise.noise_per_metre(rows.error_m, rows.turns), per_metre, rtol=0.08)
    np.testing.assert_allclose(noise.noise_per_metre(rows.error_m, rows.place), [ACROSS_M, DEPTH], rtol=0.08)


def test_errors_that_stay_are_no_noise_and_lost_people_do_not_count() -> None:
    still = recording_of(2, 400, 0.0)
    turn = matrix_from_axis_angle(np.array([0.0, 2.0, 0.0]))
    poses = axis_angle_from_matrix(matrix_from_axis_angle(still.poses) @ turn)
    rows = noise.changes(replace(still, poses=poses), BODY)  # exchanged throughout
    assert np.rad2deg(np.sqrt(rows.turns.max())) < 1e-3
    part = np.concatenate([poses[:200], still.poses[200:]])
    found = noise.changes(replace(still, poses=part), BODY)
    assert len(found.error_m) == len(still) - 2
    assert np.rad2deg(np.sqrt(found.turns.max())) < 1e-3


def test_classes_of_few_rows_do_not_count() -> None:
    x = np.concatenate([np.full(100, 0.5), np.full(noise.LEAST_ROWS - 1, 1.5), np.full(100, 2.5)])
    found = noise.classes(x, 2 * x, np.array([0, 1, 2, 3]))
    np.testing.assert_allclose(found.y, [1, np.nan, 5])
    assert noise.middle(np.array([1.0, np.nan, 4.0])) == pytest.approx(2)
    assert np.isnan(noise.middle(np.array([np.nan])))


@pytest.mark.parametrize("drift_s", [0.02, 0.1])
def test_the_drift_of_errors_is_found_again(drift_s: float) -> None:
    variances = {fps: 3 * (1 + 1 / fps / drift_s) for fps in (60.0, 30.0, 15.0, 6.0)}
    assert noise.drift_s(variances) == pytest.approx(drift_s, rel=0.02)
    assert np.isnan(noise.drift_s({30.0: 1.0}))


def test_noise_is_compared_between_rates() -> None:
    per_metre = np.full(24, 0.8)
    rates = {fps: noise.changes(recording_of(3, 1500, per_metre * k, fps), BODY) for fps, k in ((30.0, 1), (15.0, 1.5))}
    found = noise.per_rate(rates, per_metre)
    assert found == {30: pytest.approx(1, rel=0.1), 15: pytest.approx(2.25, rel=0.1)}


@pytest.mark.parametrize("dropped", [0.0, 0.4])
@pytest.mark.parametrize("late_s", [-0.01, 0.0, 0.03])
def test_a_known_lag_is_found_again(late_s: float, dropped: float) -> None:
    rng = np.random.default_rng(4)
    times_s = np.flatnonzero(rng.random(400) >= dropped) / 60
    phase, offset = rng.uniform(0, 6, (2, 12, 3))
    true, late = (0.3 * np.sin(3 * (times_s - by)[:, None, None] + phase) for by in (0.0, late_s))
    assert 1000 * noise.lag_s(late + offset, true, times_s) == pytest.approx(1000 * late_s, abs=1)


def test_acceleration_is_the_second_difference_also_where_frames_are_missing() -> None:
    times_s = np.arange(60) / FPS
    path = 0.5 * 9.0 * times_s[:, None, None] ** 2 * np.array([1.0, 0, 0])  # 9 m/s^2
    assert noise.acceleration_mm(path, times_s, FPS) == pytest.approx(1000 * 9.0 / FPS**2)
    uniform = times_s[:, None, None] * np.array([1.0, 2.0, 0])
    kept = np.delete(np.arange(60), [5, 6, 20, 41])
    assert noise.acceleration_mm(uniform[kept], times_s[kept], FPS) == pytest.approx(0, abs=1e-9)


def test_the_printed_noise_is_that_of_the_recordings(tmp_path: Path) -> None:
    per_metre = np.linspace(0.3, 1.2, 24)
    per_metre = (per_metre + per_metre[SWAP]) / 2
    for number in range(3):
        recording_of(number, 800, per_metre, swing_rad=0.6).save(tmp_path / f"{number}.npz")
    tables = [part for part in noise.measure(noise.Measure(tmp_path)) if isinstance(part, noise.Table)]
    rows = {row[0]: row for table in tables for row in table.rows}
    for name, joint in noise.JOINTS.items():
        assert float(rows[name][-2]) == pytest.approx(per_metre[joint], rel=0.1)
    assert float(rows["PLACE_NOISE across"][1]) == pytest.approx(ACROSS_M, rel=0.1)


def test_clips_at_other_rates_give_no_noise(tmp_path: Path) -> None:
    recording_of(0, 200, 0.5, fps=60.0).save(tmp_path / "one.npz")
    with pytest.raises(UserError, match=r"has no clips at 30 frames per second\. Make some: .* --clips 200"):
        list(noise.measure(noise.Measure(tmp_path)))


def test_the_filter_is_compared_with_the_fits_it_is_given(tmp_path: Path) -> None:
    for number in range(2):
        recording_of(number, 120, smooth.NOISE).save(tmp_path / f"{number}.npz")
    (table,) = (p for p in noise.compare(noise.Compare(tmp_path, strength=(1.0,))) if isinstance(p, noise.Table))
    (none, clips, *fits), (strength, _, *filtered) = table.rows
    assert (none, strength, clips) == ("30: no filter", "30: strength 1", "2")
    error, acceleration, _, place, jitter = np.array(filtered, float) / np.array(fits, float)
    assert error < 1
    assert max(acceleration, place, jitter) < 0.5


def test_recordings_are_read_as_they_were_written(tmp_path: Path) -> None:
    one = recording_of(5, 40, 0.5)
    one.save(tmp_path / "one.npz")
    (read,) = load_recordings(tmp_path)
    assert read.fps == FPS
    np.testing.assert_allclose(read.true_rotations, one.true_rotations)
    np.testing.assert_allclose(read.poses, one.poses)


@pytest.mark.parametrize("fault", ["damaged", "without", "shape"])
def test_a_file_that_is_no_recording_is_named(tmp_path: Path, fault: str) -> None:
    path = tmp_path / "one.npz"
    one = recording_of(5, 40, 0.5)
    (replace(one, betas=one.betas[1:]) if fault == "shape" else one).save(path)
    if fault == "damaged":
        path.write_bytes(path.read_bytes()[:200])
    elif fault == "without":
        np.savez(path, fps=30.0)
    with pytest.raises(UserError, match=r"one\.npz: not a recording \(.*\)\. Make some: python -m training\.noise"):
        load_recordings(tmp_path)


def test_a_cameras_pictures_have_its_noise_and_its_channels() -> None:
    image = np.full((64, 96, 3), (60, 120, 180), np.uint8)
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(Sensor().picture(rng, image), image[..., ::-1])
    first, second = (Sensor(grain=5.0).picture(rng, image).astype(float) for _ in range(2))
    assert (first - second).std() == pytest.approx(5 * np.sqrt(2), rel=0.05)
    packed = Sensor(quality=90).picture(rng, image)
    np.testing.assert_allclose(packed.mean((0, 1)), (180, 120, 60), atol=3)


def test_a_followed_person_is_recorded_beside_the_truth() -> None:
    who = all_knowing.truth(3)
    runner = all_knowing.AllKnowing(who)
    fitter = Fitter(config.Fit(keypoints=False), runner, BODY, all_knowing.UPRIGHT)
    centre_px = np.array(all_knowing.CAMERA.centre_px, np.float32)
    shown = all_knowing.picture().image[..., ::-1]
    sample = Sample(
        image=shown, rotations=who.rotations, betas=who.betas, trans=who.trans.astype(np.float32),
        box=np.zeros(3, np.float32), focal_px=all_knowing.FOCAL_PX, centre_px=centre_px,
        size=(all_knowing.WIDTH, all_knowing.HEIGHT), joints=who.joints, roll=0.0, visible=1.0, kind=0,
    )  # fmt: skip
    recording = follow([sample] * 4, FPS, fitter, Sensor(), np.random.default_rng(0))
    assert len(recording) == 4
    off = angle_between(matrix_from_axis_angle(recording.poses.astype(float)), recording.true_rotations)
    assert np.rad2deg(off).max() < 0.5
    np.testing.assert_allclose(recording.trans, recording.true_trans, atol=0.02)
    np.testing.assert_allclose(recording.betas, recording.true_betas, atol=1e-5)
    assert (recording.confidence > 0.5).all()
