"""The measures of evaluation: bodies with a known error get that error, and results are printed as tables."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="evaluation needs torch: pip install refit-rt[train]")

from refit_rt.body.smpl import load_body  # noqa: E402
from refit_rt.bundle.read import EDGE_CROP  # noqa: E402
from refit_rt.cameras import Camera  # noqa: E402
from refit_rt.commands.bench.table import Table  # noqa: E402
from refit_rt.errors import UserError  # noqa: E402
from refit_rt.geometry import axis_angle_from_matrix, matrix_from_axis_angle  # noqa: E402
from training import evaluate  # noqa: E402
from training.evaluation import benchmark, metrics, real_fit, sheets  # noqa: E402
from training.evaluation.real_clip import SMPL_LIMBS  # noqa: E402
from training.evaluation.real_fit import Clip, Track  # noqa: E402
from training.evaluation.smoothed import published_joints  # noqa: E402

torch.set_num_threads(1)
BODY = load_body()
UPRIGHT = np.diag([1.0, -1.0, -1.0])  # a body that stands in front of the camera and faces it


def turned(degrees: float) -> np.ndarray:
    """Rotations (24, 3, 3) of a T-pose that is turned about the vertical from facing the camera."""
    angle = np.deg2rad(degrees)
    about_y = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    rotations = np.tile(np.eye(3), (24, 1, 1))
    rotations[0] = UPRIGHT @ about_y
    return rotations


def limbs(degrees: float = 0.0, frames: int = 6) -> np.ndarray:
    """(frames, 12, 3) metres, camera frame, 4 m away."""
    joints = BODY.joints(turned(degrees), np.zeros(10)) + np.array([0.0, 0, 4])
    return np.tile(joints[SMPL_LIMBS].astype(float), (frames, 1, 1))


def test_place_does_not_count_and_size_and_turn_only_before_procrustes():
    truth = limbs()
    moved = truth + np.array([0.3, -0.2, 1.0])
    np.testing.assert_allclose(metrics.limb_errors_mm(moved, truth)[0], 0, atol=1e-6)
    mpjpe, aligned = metrics.limb_errors_mm(1.2 * limbs(40), truth)
    assert mpjpe.min() > 100
    np.testing.assert_allclose(aligned, 0, atol=0.05)


def test_an_error_is_the_mean_over_the_limbs():
    wrong = limbs()
    wrong[:, 4] += (0, 0, 0.12)  # one wrist of twelve joints, 120 mm
    np.testing.assert_allclose(metrics.limb_errors_mm(wrong, limbs())[0], 10, atol=1e-4)


def test_even_motion_has_no_jitter_and_a_jump_has():
    even = limbs(frames=9) + np.arange(9)[:, None, None] * np.array([0.01, 0, 0])
    np.testing.assert_allclose(metrics.acceleration_mm(even), 0, atol=1e-6)
    even[4] += (0.005, 0, 0)
    np.testing.assert_allclose(metrics.acceleration_mm(even), [0, 0, 5, 10, 5, 0, 0], atol=1e-6)
    np.testing.assert_allclose(metrics.acceleration_error_mm(even, even), 0)


def test_facing_is_known_from_shoulders_and_hips():
    np.testing.assert_allclose(metrics.facing(limbs())[0], [0, 0, -1], atol=0.15)
    # Shoulders lie a little behind the hips, so chests point a few degrees up: half a turn is that much less.
    for degrees in (0, 30, 120, 180):
        np.testing.assert_allclose(np.rad2deg(metrics.turned_rad(limbs(degrees), limbs())), degrees, atol=8)


def test_size_is_the_length_of_bones():
    np.testing.assert_allclose(metrics.size_share(1.1 * limbs(70), limbs()), 1.1)


def clip_of(frames: int = 6) -> Clip:
    """A clip of a static T-pose with grey pictures."""
    camera = Camera("cam", (480, 640), 600.0, (240.0, 320.0))
    truth = limbs(frames=frames)
    pixels = truth[..., :2] / truth[..., 2:] * 600 + (240, 320)
    boxes = np.tile([100.0, 100, 400, 600], (frames, 1))
    images = [np.full((640, 480, 3), 90, np.uint8)] * frames
    return Clip(camera, images, truth, pixels, boxes, np.zeros(frames), np.full(frames, 600 * 1.7 / 4), 60.0)


def track_of(clip: Clip, degrees: float = 0.0, shift_m: float = 0.0) -> Track:
    count = len(clip.frames)
    rotations, trans = turned(degrees), np.array([0, 0, 4 + shift_m])
    joints = BODY.joints(rotations, np.zeros(10)) + trans
    pixels = joints[:, :2] / joints[:, 2:] * 600 + (240, 320)
    columns = [joints, pixels, axis_angle_from_matrix(rotations), np.zeros(10), trans, np.ones(())]
    return Track(np.arange(count), *(np.stack([column] * count) for column in columns))


def test_the_truth_has_no_error():
    clip = clip_of()
    scores = real_fit.scores(clip, track_of(clip))
    for name, expected in (
        ("mpjpe", 0),
        ("pa", 0),
        ("px", 0),
        ("jitter", 0),
        ("depth", 0),
        ("size", 100),
        ("turned", 0),
    ):
        np.testing.assert_allclose(scores[name], expected, atol=0.05, err_msg=name)
    scores = real_fit.scores(clip, track_of(clip, degrees=180, shift_m=0.5))
    np.testing.assert_allclose(scores["turned"], 100)
    np.testing.assert_allclose(scores["depth"], 500, atol=30)  # the hips lie a little behind the pelvis's middle
    mm, share = real_fit.joint_errors(clip, track_of(clip))
    np.testing.assert_allclose(mm, 0, atol=0.05)
    np.testing.assert_allclose(share, 0, atol=0.05)


def test_at_a_desk_only_known_joints_are_measured():
    """Hips and legs are not known: the shoulders are the origin, and errors of the legs do not count."""
    clip, track = clip_of(), track_of(clip_of())
    clip.limbs[:, 6:] = np.nan
    clip.limbs_px[:, 6:] = np.nan
    track.joints[:, [4, 5, 7, 8]] += 0.5
    track.joints[:, 21] += (0, 0, 0.12)  # one wrist of six joints
    scores = real_fit.scores(clip, track)
    np.testing.assert_allclose(scores["mpjpe"], 20, atol=0.01)
    for name, expected in (("px", 0), ("jitter", 0), ("depth", 0), ("turned", 0)):
        np.testing.assert_allclose(scores[name], expected, atol=0.05, err_msg=name)
    np.testing.assert_allclose(real_fit.scores(clip, track_of(clip, degrees=180))["turned"], 100)
    mm, _ = real_fit.joint_errors(clip, track)
    np.testing.assert_allclose(mm[:, :5], 0, atol=0.05)
    np.testing.assert_allclose(mm[:, 5], 120, atol=0.1)
    assert np.isnan(mm[:, 6:]).all()


def test_frames_that_a_lower_rate_skips_are_not_scored():
    clip = clip_of()
    half = track_of(clip).every(2)
    assert half.frames.tolist() == [0, 2, 4]
    assert len(real_fit.scores(clip, half)["pa"]) == 3


def test_publishing_keeps_a_static_body_and_calms_a_shaking_one():
    poses = np.tile(axis_angle_from_matrix(turned(20)), (40, 1, 1))
    betas, sure = np.zeros((40, 10)), np.full(40, 0.9)
    joints = BODY.joints(turned(20), np.zeros(10))
    published = published_joints(poses, betas, sure, 30.0, BODY)
    np.testing.assert_allclose(published, np.tile(joints - joints[:1], (40, 1, 1)), atol=1e-4)
    shaking = poses + np.random.default_rng(0).normal(0, 0.03, poses.shape)
    raw = np.stack([BODY.joints(matrix_from_axis_angle(pose), np.zeros(10)) for pose in shaking])
    calm = metrics.acceleration_mm(published_joints(shaking, betas, sure, 30.0, BODY)).mean()
    assert calm < 0.5 * metrics.acceleration_mm(raw - raw[:, :1]).mean()


def test_every_nth_frame_reaches_the_fitter_with_its_time():
    clip, seen = clip_of(), []

    def fit(tracks, camera):
        seen.append((tracks.frame.index, tracks.frame.time_s, camera.name, tracks.xyxy.shape))
        row = track_of(clip)
        return SimpleNamespace(
            joints_camera=row.joints[:1],
            joints_px=row.joints_px[:1],
            poses=row.poses[:1],
            betas=row.betas[:1],
            trans=row.trans[:1],
            confidence=row.confidence[:1],
            box=np.zeros((1, 4)),
            roll=np.zeros(1),
        )

    track = real_fit.fit_clip(clip, SimpleNamespace(fit=fit), every=3)  # type: ignore[arg-type]
    assert seen == [(0, 0.0, "cam", (1, 4)), (3, 0.05, "cam", (1, 4))]
    assert track.joints.shape == (2, 24, 3)


def test_a_sheet_shows_the_body_where_it_stands(tmp_path):
    clip = clip_of()
    tiles = sheets.tiles(clip, track_of(clip), 0, BODY)
    picture, fitted, side = np.split(tiles, 3, axis=1)
    assert 0.03 < (fitted != 90).any(-1).mean() < 0.3
    assert (side[0, 0] == 255).all()
    assert picture.shape == (sheets.TILE_PX, sheets.TILE_PX, 3)
    sheets.sheet([(tiles, "one")], tmp_path / "deep" / "one.png")
    assert (tmp_path / "deep" / "one.png").stat().st_size > 5000


def test_a_sheet_of_a_person_at_a_desk_shows_the_known_joints():
    clip = clip_of()
    clip.limbs[:, 6:], clip.limbs_px[:, 6:] = np.nan, np.nan
    picture, fitted, side = np.split(sheets.tiles(clip, track_of(clip), 0, BODY), 3, axis=1)
    for part in (picture != 90, fitted != 90, side != 255):
        assert 0.005 < part.any(-1).mean() < 0.6


def test_a_crop_on_a_sheet_shows_the_body_where_its_joints_are():
    """The body's pixels extend to the true joints, and beyond them by at most the size of a hand or a head."""
    crop, lens = np.full((256, 256, 3), 90, np.uint8), (480.0, np.array([127.5, 120.0]))
    trans = np.array([0.1, 0.1, 4.2])
    points, joints = (
        found + trans for found in (BODY.vertices(turned(0), np.zeros(10)), BODY.joints(turned(0), np.zeros(10)))
    )
    front = BODY.template[:, 2] > 0
    _, fitted, _ = np.split(sheets.crop_tiles(crop, points, front, joints[SMPL_LIMBS], BODY, lens), 3, axis=1)
    rows, columns = np.nonzero((fitted != 90).any(-1))
    px = (joints[:, :2] / joints[:, 2:] * lens[0] + lens[1] + 0.5) * sheets.TILE_PX / 256 - 0.5
    assert px[:, 0].min() - 20 < columns.min() < px[:, 0].min() + 1
    assert px[:, 0].max() - 1 < columns.max() < px[:, 0].max() + 20
    assert px[:, 1].max() - 1 < rows.max() < px[:, 1].max() + 12


def test_landmarks_of_frames_without_a_detection_come_from_the_nearest_frame():
    marks = np.arange(5.0)[:, None, None] * np.ones((5, 33, 2))
    marks[[0, 3]] = np.nan
    assert real_fit.held(marks)[:, 0, 0].tolist() == [1, 1, 2, 2, 4]
    with pytest.raises(UserError, match="has no detections"):
        real_fit.held(np.full((5, 33, 2), np.nan))


def test_the_tables_of_a_real_clip_name_every_way_of_fitting(monkeypatch: pytest.MonkeyPatch):
    clip = clip_of(frames=12)
    reference = SimpleNamespace(points=clip.limbs, residual_px=np.ones((12, 12)), fps=60.0, height_m=1.7)
    tracks = lambda clips, way: [track_of(one).every(way.every) for one in clips]  # noqa: E731
    fit = SimpleNamespace(fit=tracks, body=BODY, crop=EDGE_CROP)
    monkeypatch.setattr(evaluate, "load_reference", lambda _: reference)
    monkeypatch.setattr(evaluate, "whole_rig", lambda _: [clip.camera])
    monkeypatch.setattr(evaluate, "bundle_folder", lambda _: nullcontext(Path()))
    monkeypatch.setattr(real_fit, "load_clip", lambda *_: clip)
    monkeypatch.setattr(real_fit, "Runtime", lambda *_: fit)
    settings = evaluate.Real(
        "edge", Path("clip"), Path("rig.json"), Path("clip.npz"), rates=(60.0, 30.0), iterations=(2,)
    )
    protocol, boxes, errors, joints = evaluate.real(settings)
    assert isinstance(protocol, str)
    assert "1 cameras, 12 frames each at 60 fps" in protocol
    assert str(boxes).startswith("Boxes: a detector's, 1.2 times the longer side of mediapipe's 33 landmarks")
    assert isinstance(errors, Table)
    assert errors.heads[:3] == ["start, updates", "fps", "MPJPE mm"]
    assert [row[:3] for row in errors.rows] == [
        ["cold 2", "60", "0.0 / 0.0"],
        ["cold 2", "30", "0.0 / 0.0"],
        ["warm 2", "60", "0.0 / 0.0"],
        ["warm 2", "30", "0.0 / 0.0"],
        ["warm 2, published", "60", "0.0 / 0.0"],
        ["warm 2, published", "30", "0.0 / 0.0"],
    ]
    assert isinstance(joints, Table)
    assert joints.heads == ["warm 2, 60 fps: mean / median", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"]
    assert joints.rows == [["mm about the hips", *["0.0 / 0.0"] * 6], ["2-D %", *["0.0 / 0.0"] * 6]]


def test_bad_input_is_reported_in_one_line(tmp_path):
    with pytest.raises(UserError, match="no multiple"):
        evaluate._every(60.0, 25.0)
    with pytest.raises(UserError, match="no multiple"):
        evaluate._every(30.0, 60.0)
    with pytest.raises(UserError, match="no such file"):
        benchmark.load_network(tmp_path / "none.pt")
    torch.save({"average": {"weight": torch.zeros(3)}}, tmp_path / "other.pt")
    with pytest.raises(UserError, match="another network"):
        benchmark.load_network(tmp_path / "other.pt")
    with pytest.raises(UserError, match=r"training\.produce"):
        list(evaluate.benchmark(evaluate.Benchmark("none.pt", tmp_path)))
    with pytest.raises(UserError, match="no bundle"):
        benchmark.load_network(tmp_path)
    with pytest.raises(UserError, match="no bundle"), evaluate.bundle_folder(str(tmp_path)):
        pass
