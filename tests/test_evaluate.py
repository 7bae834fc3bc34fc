"""The yardsticks are right: bodies whose error is known get that error."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="evaluation needs torch: pip install refit-rt[train]")

from refit_rt.body import load_body  # noqa: E402
from refit_rt.cameras import Camera  # noqa: E402
from refit_rt.errors import UserError  # noqa: E402
from refit_rt.geometry import axis_angle_from_matrix  # noqa: E402
from refit_rt.model.camera import View, cam_from_translation  # noqa: E402
from refit_rt.model.config import EDGE  # noqa: E402
from refit_rt.model.refit import build  # noqa: E402
from refit_rt.model.rotation import matrix_from_axis_angle, sixd_from_matrix  # noqa: E402
from refit_rt.model.update import State  # noqa: E402
from training import benchmark, evaluate, metrics, real_fit, sheets  # noqa: E402
from training.real_clip import SMPL_LIMBS  # noqa: E402
from training.real_fit import Clip, Track  # noqa: E402
from training.store import LABEL_COUNT, LABELS, Store, Writer  # noqa: E402
from training.warm import turn_camera  # noqa: E402

torch.set_num_threads(1)
BODY = load_body()
UPRIGHT = np.diag([1.0, -1.0, -1.0])  # a body that stands before the camera and faces it


def turned(degrees: float) -> np.ndarray:
    """Rotations (24, 3, 3) of a T-pose that is turned about its own axis from facing the camera."""
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


def test_even_motion_does_not_shake_and_a_jump_does():
    even = limbs(frames=9) + np.arange(9)[:, None, None] * np.array([0.01, 0, 0])
    np.testing.assert_allclose(metrics.acceleration_mm(even), 0, atol=1e-6)
    even[4] += (0.005, 0, 0)
    np.testing.assert_allclose(metrics.acceleration_mm(even), [0, 0, 5, 10, 5, 0, 0], atol=1e-6)
    np.testing.assert_allclose(metrics.acceleration_error_mm(even, even), 0)


def test_facing_is_known_from_shoulders_and_hips():
    np.testing.assert_allclose(metrics.facing(limbs())[0], [0, 0, -1], atol=0.15)
    # Shoulders lie a little behind the hips, so chests look a few degrees up: half a turn is that much less.
    for degrees in (0, 30, 120, 180):
        np.testing.assert_allclose(np.rad2deg(metrics.turned_rad(limbs(degrees), limbs())), degrees, atol=8)


def test_size_is_the_length_of_bones():
    np.testing.assert_allclose(metrics.size_share(1.1 * limbs(70), limbs()), 1.1)


def test_tables_are_rectangular():
    lines = metrics.table(["name", "mm"], [["a long one", "1.0"], ["b", "100.25"]]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[1].endswith("-: |")


def store_of(folder: Path, lengths: tuple[int, ...]) -> Store:
    """A store of chains of people in the T-pose, each moment turned by 10 degrees."""
    rng = np.random.default_rng(3)
    step = np.full(48, 0.05, np.float32)
    writer = Writer(folder, "held", step)
    np.save(folder / "step.npy", step)
    for length in lengths:
        moments = []
        for moment in range(length):
            rotations, trans = turned(10.0 * moment), np.array([0.1, 0.2, 4.0])
            parts = [rotations.ravel(), np.zeros(10), trans, [500, 400, 300], [600], [480, 360], [0.1 * moment], [0.8]]
            label = np.concatenate(parts).astype(np.float32)
            assert len(label) == LABEL_COUNT
            marks = rng.uniform(0, 256, 195)
            moments.append(
                (rng.uniform(0, 6, (48, 64, 64)), rng.uniform(-1, 1, 1152), marks, rng.normal(0, 1, 117), label)
            )
        writer.add(moments)
    writer.flush()
    return Store(folder)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build(EDGE, BODY).eval()


def test_chains_are_found_and_never_cut(tmp_path):
    store = store_of(tmp_path, (1, 3, 2))
    place, chain, before = benchmark.chains(store, 0)
    assert place.tolist() == [0, 0, 1, 2, 0, 1]
    assert chain.tolist() == [0, 1, 1, 1, 4, 4]
    assert before.tolist() == [-1, -1, 1, 2, -1, 4]
    assert len(benchmark.chains(store, 3)[0]) == 4


def test_a_store_is_scored_cold_and_warm(network, tmp_path):
    scores = benchmark.score(network, store_of(tmp_path, (1, 3, 2)), iterations=2, live=1, body=BODY)
    assert scores.cold.shape == (6, 3, len(benchmark.MEASURES))
    assert np.isfinite(scores.cold).all()
    assert (np.isnan(scores.warm).all((1, 2)) == (scores.place == 0)).all()
    facing = -np.cos(np.deg2rad([0, 0, 10, 20, 0, 10]))
    np.testing.assert_allclose(scores.away, facing, atol=1e-6)
    report = benchmark.report(scores, live=1)
    for part in ("cold 2", "warm 1", "faces the camera", "jitter"):
        assert part in report


def test_the_truth_itself_has_no_error(network, tmp_path):
    store = store_of(tmp_path, (2,))
    batch = benchmark.batch_of(network, store, store.take(store.index))
    cam = cam_from_translation(batch.trans, batch.view)
    truth = network.place(State(sixd_from_matrix(batch.rotations), batch.betas, cam), batch.view)
    np.testing.assert_allclose(benchmark.Measure(BODY, batch)(truth).detach(), 0, atol=0.05)


def test_the_last_body_starts_where_it_was_though_the_crop_is_turned(network, tmp_path):
    """The same body before the same camera, its crops upright by different rolls: within a tenth of a millimetre."""
    store = store_of(tmp_path, (1,))
    rows = store.take(store.index[[0, 0]])
    batch = benchmark.batch_of(network, store, rows)
    rolls = torch.tensor([0.5, -0.3])
    truth = network.place(
        State(sixd_from_matrix(batch.rotations), batch.betas, cam_from_translation(batch.trans, batch.view)), batch.view
    )
    body, place = turn_camera(truth, batch.trans, -rolls, network)  # camera frame → frames of the rolled crops
    last = benchmark.Answers(body[:1], truth.betas[:1], place[:1], rolls[:1])
    there = SimpleNamespace(view=View(*(part[1:] for part in batch.view)), roll=rolls[1:])
    cam = cam_from_translation(place[1:], there.view)
    fresh = network.place(State(sixd_from_matrix(body[1:]), truth.betas[1:], cam), there.view)
    start, opposed = benchmark.warm_start(network, last, np.array([0]), there, fresh, 1.0)  # type: ignore[arg-type]
    assert not opposed.any()
    np.testing.assert_allclose(start.joints.detach(), fresh.joints.detach(), atol=1e-4)
    np.testing.assert_allclose(start.cam.detach(), fresh.cam.detach(), atol=1e-4)
    half_turn = matrix_from_axis_angle(torch.tensor([[0.0, torch.pi, 0.0]]))
    away = fresh._replace(rotations=torch.cat([fresh.rotations[:, :1] @ half_turn[:, None], fresh.rotations[:, 1:]], 1))
    away = network.place(State(sixd_from_matrix(away.rotations), away.betas, away.cam), there.view)
    start, opposed = benchmark.warm_start(network, last, np.array([0]), there, away, 0.3)  # type: ignore[arg-type]
    assert opposed.all()
    np.testing.assert_allclose(start.joints.detach(), fresh.joints.detach(), atol=1e-4)


def clip_of(frames: int = 6) -> Clip:
    """A T-pose that stands still, grey pictures of it."""
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


def test_a_fit_that_is_the_truth_scores_nothing():
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


def test_frames_left_out_by_a_lower_rate_are_left_out_of_the_scores():
    clip = clip_of()
    half = track_of(clip).every(2)
    assert half.frames.tolist() == [0, 2, 4]
    assert len(real_fit.scores(clip, half)["pa"]) == 3


def test_every_wanted_frame_reaches_the_fitter_with_its_time():
    clip, seen = clip_of(), []

    def fit(tracks, camera):
        seen.append((tracks.frame.index, tracks.frame.time_s, camera.name, tracks.xyxy.shape))
        row = track_of(clip)
        people = {"joints_camera": row.joints, "joints_px": row.joints_px, "poses": row.poses, "betas": row.betas,
                  "trans": row.trans, "confidence": row.confidence}  # fmt: skip
        return SimpleNamespace(**{name: value[:1] for name, value in people.items()}), np.zeros(1)

    track = real_fit.fit_clip(clip, SimpleNamespace(fit=fit), every=3)  # type: ignore[arg-type]
    assert seen == [(0, 0.0, "cam", (1, 4)), (3, 0.05, "cam", (1, 4))]
    assert track.joints.shape == (2, 24, 3)


def test_a_sheet_shows_the_body_where_it_stands(tmp_path):
    clip = clip_of()
    sheets.sheet([(clip, track_of(clip), 0, "one")], BODY, tmp_path / "deep" / "one.png")
    assert (tmp_path / "deep" / "one.png").stat().st_size > 5000
    picture, fitted, side = np.split(sheets.tiles(clip, track_of(clip), 0, BODY), 3, axis=1)
    assert 0.03 < (fitted != 90).any(-1).mean() < 0.3
    assert (side[0, 0] == 255).all()
    assert picture.shape == (sheets.TILE_PX, sheets.TILE_PX, 3)


def test_landmarks_of_frames_without_a_person_come_from_the_nearest():
    marks = np.arange(5.0)[:, None, None] * np.ones((5, 33, 2))
    marks[[0, 3]] = np.nan
    assert real_fit.held(marks)[:, 0, 0].tolist() == [1, 1, 2, 2, 4]
    with pytest.raises(UserError, match="no one"):
        real_fit.held(np.full((5, 33, 2), np.nan))


def test_bad_input_is_told_in_one_line(tmp_path):
    with pytest.raises(UserError, match="no multiple"):
        evaluate._every(60.0, 25.0)
    with pytest.raises(UserError, match="no multiple"):
        evaluate._every(30.0, 60.0)
    with pytest.raises(UserError, match="no checkpoint"):
        benchmark.load_network(tmp_path / "none.pt")
    torch.save({"average": {"weight": torch.zeros(3)}}, tmp_path / "other.pt")
    with pytest.raises(UserError, match="another network"):
        benchmark.load_network(tmp_path / "other.pt")
    with pytest.raises(UserError, match=r"training\.produce"):
        list(evaluate.benchmark(evaluate.Benchmark(tmp_path / "none.pt", tmp_path)))
    with pytest.raises(UserError, match="no bundle"), evaluate.bundle_folder(str(tmp_path)):
        pass


def test_labels_are_in_the_order_that_the_store_says():
    assert list(LABELS) == ["rotations", "betas", "trans", "box", "focal_px", "centre_px", "roll", "visible"]
