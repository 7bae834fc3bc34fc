"""The triangulation finds the known joints of a person seen by a known rig."""

import numpy as np
import pytest

from refit_rt.cameras import Camera, Rig, read_rig, write_rig
from refit_rt.errors import UserError
from tests.support.paths import SHARED
from training.evaluation import real_clip
from training.evaluation.real_clip import LIMBS, Reference

FRAMES = 20


@pytest.fixture(scope="module")
def rig() -> Rig:
    """Four cameras on a circle of 4 m, 2 m above the floor (world: z up), looking at the middle of a person."""
    cameras = []
    for i, angle in enumerate(np.deg2rad([20, 110, 200, 290])):
        place = np.array([4 * np.cos(angle), 4 * np.sin(angle), 2.0])
        ahead = np.array([0, 0, 1.0]) - place
        ahead /= np.linalg.norm(ahead)
        right = np.cross(ahead, [0, 0, 1.0])
        right /= np.linalg.norm(right)
        rotation = np.stack([right, np.cross(ahead, right), ahead])
        distortion = np.array([-0.05, 0.1, 0.001, 0.001, 0])
        world_from_camera = np.eye(4)
        world_from_camera[:3, :3], world_from_camera[:3, 3] = rotation.T, place
        cameras.append(Camera(f"cam{i}", (1080, 1920), 1600.0, (540.0, 960.0), distortion, world_from_camera))
    return Rig(tuple(cameras))


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    """Joints (FRAMES, 12, 3) metres of an upright person who walks one metre, arms and legs apart."""
    side = np.tile([0.2, -0.2, 0.35, -0.35, 0.4, -0.4, 0.1, -0.1, 0.12, -0.12, 0.12, -0.12], (FRAMES, 1))
    height = np.tile(np.repeat([1.45, 1.2, 1.0, 0.95, 0.5, 0.08], 2), (FRAMES, 1))
    ahead = np.linspace(-0.5, 0.5, FRAMES)[:, None] + np.random.default_rng(0).normal(0, 0.02, (1, 12))
    return np.stack([side, ahead, height], -1)


def pixels_of(rig: Rig, points: np.ndarray) -> np.ndarray:
    return np.stack([camera.project(points) for camera in rig])


def test_joints_are_found_through_distorting_lenses(rig, points):
    seen = pixels_of(rig, points)
    found, residual = real_clip.limbs_of(rig, seen, np.ones(seen.shape[:3]))
    np.testing.assert_allclose(found, points, atol=1e-4)
    assert residual.max() < 0.1


def test_a_camera_that_errs_on_a_joint_is_outvoted(rig, points):
    seen = pixels_of(rig, points)
    seen[2, 5, 4] += (150, -90)
    found, _ = real_clip.limbs_of(rig, seen, np.ones(seen.shape[:3]))
    np.testing.assert_allclose(found, points, atol=1e-3)


def test_a_camera_that_confuses_left_and_right_is_corrected(rig, points):
    """Swapped back, its joints count like those of the other cameras."""
    seen = pixels_of(rig, points)
    seen[1] = seen[1].reshape(FRAMES, 6, 2, 2)[:, :, ::-1].reshape(FRAMES, 12, 2)
    found, residual = real_clip.limbs_of(rig, seen, np.ones(seen.shape[:3]))
    np.testing.assert_allclose(found, points, atol=1e-3)
    untangled = real_clip.unmirrored(rig, seen, found)
    np.testing.assert_allclose(untangled, pixels_of(rig, points), atol=0.5)
    assert np.isfinite(residual).all()


def test_a_joint_on_which_no_three_cameras_agree_is_interpolated_in_time(rig, points):
    seen = pixels_of(rig, points)
    seen[:, 9, 4] += np.random.default_rng(1).normal(0, 200, (4, 2))
    found, residual = real_clip.limbs_of(rig, seen, np.ones(seen.shape[:3]))
    assert np.isnan(residual[9, 4])
    assert np.isfinite(residual).sum() == residual.size - 1
    np.testing.assert_allclose(found[9, 4], points[9, 4], atol=5e-3)


def test_frames_without_a_detection_in_one_camera_use_the_others(rig, points):
    seen = pixels_of(rig, points)
    seen[0, 3:6] = np.nan
    found, _ = real_clip.limbs_of(rig, seen, np.ones(seen.shape[:3]))
    np.testing.assert_allclose(found, points, atol=1e-3)


def test_videos_of_another_rig_are_refused(rig, points):
    seen = pixels_of(rig, points) + np.random.default_rng(2).uniform(-400, 400, (4, FRAMES, 12, 2))
    with pytest.raises(UserError, match="never agree on"):
        real_clip.limbs_of(rig, seen, np.ones(seen.shape[:3]))


def reference_of(rig: Rig, points: np.ndarray) -> Reference:
    marks = np.zeros((4, FRAMES, 33, 2))
    marks[:, :, real_clip.MEDIAPIPE_LIMBS] = pixels_of(rig, points)
    names = tuple(camera.name for camera in rig)
    return Reference(points, np.ones(points.shape[:2]), marks, np.ones(marks.shape[:3]), names, 60.0)


def test_a_reference_is_read_as_it_was_written(rig, points, tmp_path):
    reference = reference_of(rig, points)
    real_clip.save_reference(tmp_path / "deep" / "clip.npz", reference)
    again = real_clip.load_reference(tmp_path / "deep" / "clip.npz")
    np.testing.assert_array_equal(again.points, points)
    assert again.cameras == reference.cameras
    assert again.fps == 60.0
    np.testing.assert_array_equal(again.limbs_px, pixels_of(rig, points))


def test_stature_depends_on_bones_but_not_on_posture(rig, points):
    upright = reference_of(rig, points).height_m
    # the slanting legs are 0.87 m long and the trunk 0.5 m, together 0.779 of the stature
    assert upright == pytest.approx(1.37 / 0.779, abs=0.03)
    tilt = np.array([[1, 0, 0], [0, 0.5, -(0.75**0.5)], [0, 0.75**0.5, 0.5]])  # bent over by 60 degrees as a whole
    assert reference_of(rig, points @ tilt.T).height_m == pytest.approx(upright, abs=1e-6)


def test_one_camera_alone_cannot_triangulate(rig, tmp_path):
    write_rig(Rig(rig.cameras[:1]), tmp_path / "rig.json")
    with pytest.raises(UserError, match="1 camera"):
        real_clip.whole_rig(tmp_path / "rig.json")


def test_legs_that_no_camera_sees_are_not_known_and_the_arms_give_the_stature(rig, points):
    seen = pixels_of(rig, points)
    seen[:, :, 8:] += np.random.default_rng(3).normal(0, 300, (4, FRAMES, 4, 2))  # knees and ankles: guesses
    found, residual = real_clip.limbs_of(rig, seen, np.ones(seen.shape[:3]))
    np.testing.assert_allclose(found[:, :8], points[:, :8], atol=1e-3)
    assert np.isnan(found[:, 8:]).all()
    assert np.isnan(residual[:, 8:]).mean() > 0.7
    guessed = np.ones(seen.shape[:3])
    guessed[1:, :, 8:] = 0.1  # all cameras agree, but three of them only guess
    alike, _ = real_clip.limbs_of(rig, pixels_of(rig, points), guessed)
    assert np.isnan(alike[:, 8:]).all()
    assert np.isfinite(alike[:, :8]).all()
    arm = np.linalg.norm(np.diff(points[0, [0, 2, 4]], axis=0), axis=-1).sum()
    other = np.linalg.norm(np.diff(points[0, [1, 3, 5]], axis=0), axis=-1).sum()
    assert reference_of(rig, found).height_m == pytest.approx((arm + other) / 2 / 0.332)


def test_bad_input_is_reported_in_one_line(rig, tmp_path):
    with pytest.raises(UserError, match=r"cam0\.mp4"):
        real_clip.make_reference(tmp_path, rig, "python3")
    for camera in rig:
        (tmp_path / f"{camera.name}.mp4").touch()
    with pytest.raises(UserError, match="no such Python"):
        real_clip.make_reference(tmp_path, rig, str(tmp_path / "missing-python"))
    with pytest.raises(UserError, match=r"training\.evaluation\.real_clip"):
        real_clip.load_reference(tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", points=np.zeros(3))
    with pytest.raises(UserError, match=r"training\.evaluation\.real_clip"):
        real_clip.load_reference(tmp_path / "other.npz")


def test_the_treadmill_calibration_sees_its_own_floor():
    """The middle of the treadmill lies in every camera's picture."""
    file = SHARED / "media/treadmill_4cam/calibration_recommended.json"
    if not file.exists():
        pytest.skip("no ../shared/media here")
    for camera in read_rig(file):
        x, y = camera.project(np.array([0.0, 0.0, 0.0]))
        assert 0 < x < camera.size[0]
        assert 0 < y < camera.size[1]


def test_limbs_come_in_pairs_left_first():
    """`unmirrored` relies on this order."""
    for left, right in zip(LIMBS[::2], LIMBS[1::2], strict=True):
        assert (left[0], right[0]) == ("l", "r")
        assert left[2:] == right[2:]
