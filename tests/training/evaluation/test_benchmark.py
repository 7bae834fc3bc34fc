"""The benchmark fits every moment once, follows people as the runtime does, and measures no error of the truth."""

import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="evaluation needs torch: pip install refit-rt[train]")

from refit_rt import geometry, types  # noqa: E402
from refit_rt.body.smpl import load_body  # noqa: E402
from refit_rt.bundle.read import Crop  # noqa: E402
from refit_rt.cameras import Camera  # noqa: E402
from refit_rt.commands.machine import processor_model  # noqa: E402
from refit_rt.errors import UserError  # noqa: E402
from refit_rt.fit import mirror, start  # noqa: E402
from refit_rt.fit.memory import remembered as remembered_live  # noqa: E402
from refit_rt.fit.memory import start_from  # noqa: E402
from refit_rt.fit.place import out_of_crop  # noqa: E402
from refit_rt.geometry import matrix_from_axis_angle  # noqa: E402
from refit_rt.model.camera import View, cam_from_translation, translation  # noqa: E402
from refit_rt.model.config import EDGE  # noqa: E402
from refit_rt.model.refit import Encoded as TorchEncoded  # noqa: E402
from refit_rt.model.rotation import sixd_from_matrix  # noqa: E402
from refit_rt.model.update import State  # noqa: E402
from refit_rt.types import Frame, Square  # noqa: E402
from tests.support.tiny import lively  # noqa: E402
from training import evaluate  # noqa: E402
from training.evaluation import benchmark, benchmark_report, benchmark_sheets, tracked  # noqa: E402
from training.store.shards import LABELS, Store, Writer  # noqa: E402

torch.set_num_threads(1)
BODY = load_body()
UPRIGHT = np.diag([1.0, -1.0, -1.0])  # a body that stands in front of the camera and faces it


def turned(degrees: float) -> np.ndarray:
    """Rotations (24, 3, 3) of a T-pose that is turned about the vertical from facing the camera."""
    rotations = np.tile(np.eye(3), (24, 1, 1))
    rotations[0] = UPRIGHT @ matrix_from_axis_angle(np.array([0.0, np.deg2rad(degrees), 0.0]))
    return rotations


def store_of(folder: Path, lengths: tuple[int, ...]) -> Store:
    """A store of chains of people in the T-pose in front of noise, turned by 10 degrees per moment, at 20 fps."""
    rng = np.random.default_rng(3)
    writer = Writer(folder, "held")
    for length in lengths:
        moments = []
        for moment in range(length):
            rotations, trans, fps = turned(10.0 * moment), np.array([0.1, 0.2, 4.0]), 20.0 if length > 1 else 0.0
            parts = {
                "rotations": rotations.ravel(),
                "betas": np.zeros(10),
                "trans": trans,
                "box": [500, 400, 300],
                "focal_px": [600],
                "centre_px": [480, 360],
                "roll": [0.1 * moment],
                "visible": [0.8],
                "fps": [fps],
                "kind": [0],
            }
            assert {name: len(part) for name, part in parts.items()} == LABELS
            label = np.concatenate(list(parts.values())).astype(np.float32)
            moments.append((rng.integers(0, 256, (256, 256, 3), np.uint8), label))
        writer.add(moments)
    writer.flush()
    return Store(folder)


@pytest.fixture(scope="module")
def network():
    return lively(EDGE, BODY)


def scored(network, store: Store, limit: int = 0) -> benchmark.Scores:
    return benchmark.score(network, store, benchmark.Protocol(2, 1, min_confidence=0.0), limit, BODY)


def test_chains_are_found_whole(tmp_path):
    store = store_of(tmp_path, (1, 3, 2, 1, 1))
    chains = benchmark.find_chains(store)
    assert chains.place.tolist() == [0, 0, 1, 2, 0, 1, 0, 0]
    assert chains.chain.tolist() == [0, 1, 1, 1, 4, 4, 6, 7]
    assert chains.kind.tolist() == [0, 1, 1, 1, 1, 1, 0, 0]
    assert chains.fps.tolist() == [0, 20, 20, 20, 20, 20, 0, 0]
    assert benchmark.find_chains(store, 2).row.tolist() == [0, 4, 5, 6]  # the chain of three is longer than that


def test_a_store_is_scored_cold_and_followed(network, tmp_path):
    scores = scored(network, store_of(tmp_path, (1, 3, 2)))
    assert scores.cold.shape == (6, 3, len(benchmark.MEASURES))
    assert np.isfinite(scores.cold).all()
    assert (np.isnan(scores.warm[0]).all((1, 2)) == (scores.chains.place == 0)).all()
    assert np.isnan(scores.warm[1:]).all()
    np.testing.assert_allclose(scores.facing_away, -np.cos(np.deg2rad([0, 0, 10, 20, 0, 10])), atol=1e-6)
    iterations, parts, steadiness = benchmark_report.report(scores, live=1)
    assert iterations.heads[2:] == list(benchmark_report.HEADS)
    assert [row[:2] for row in iterations.rows] == [
        *([f"stills, cold {i}", "1"] for i in range(3)),
        *([f"clips, {way} {i}", "3"] for way in ("cold", "warm") for i in range(3)),
    ]
    assert ["facing the camera: clips, warm 1", "3"] in [row[:2] for row in parts.rows]
    assert [row[0] for row in steadiness.rows] == [
        f"clips, 20 fps: {way}" for way in ("cold 2", "warm 1", "warm 1, published", "truth")
    ]


def test_a_bundle_is_scored_by_its_name_and_its_tables_printed_in_markdown(tmp_path, monkeypatch, capsys):
    store_of(tmp_path, (1, 3))
    given = ["benchmark", "edge", str(tmp_path), "--iterations", "1", "--live", "1", "--markdown"]
    monkeypatch.setattr("sys.argv", ["evaluate", *given])
    assert evaluate.main() == 0
    boxes, *tables = capsys.readouterr().out.rstrip().split("\n\n`")
    assert boxes.startswith("Boxes: ")
    heads = ("| set, start, iterations | rows |", "| part | rows |", "| set, start, iterations | people |")
    assert len(tables) == len(heads)
    for table, head in zip(tables, heads, strict=True):
        first, blank, found, rule, *rows = table.splitlines()
        command = shlex.join(["python", "-m", "training.evaluate", *given])
        assert first.removeprefix("`") == f"{command}` on {processor_model()}:"
        assert blank == ""
        assert found.startswith(head)
        assert set(rule) == set("| -")
        assert rows
        assert {row.count("|") for row in rows} == {found.count("|")}


def test_the_size_of_batches_changes_nothing(network, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "LONG", 5)
    store = store_of(tmp_path, (1, 9, 2, 1, 6))
    at_once = scored(network, store)
    monkeypatch.setattr(benchmark, "BATCH", 3)
    few = scored(network, store)
    for name in ("cold", "warm", "warm_joints", "cold_joints", "landmarks_px"):
        np.testing.assert_allclose(getattr(few, name), getattr(at_once, name), rtol=1e-3, atol=1e-3, err_msg=name)


def test_long_clips_are_followed_at_a_half_and_a_quarter_of_their_rate_as_if_the_rest_did_not_exist(
    network, tmp_path, monkeypatch
):
    monkeypatch.setattr(benchmark, "LONG", 5)
    store = store_of(tmp_path / "all", (9,))
    scores = scored(network, store)
    for rate, every in enumerate(benchmark.EVERY):
        known = np.isfinite(scores.warm[rate, :, 1, 0])
        assert np.flatnonzero(known).tolist() == list(range(every, 9, every))
        assert np.isnan(scores.warm[rate, :, 2]).all()  # long clips get `live` updates only
    writer, rows = Writer(tmp_path / "half", "held"), store.take(store.index[::2])
    writer.add(list(zip(rows.images, rows.labels, strict=True)))
    writer.flush()
    half = scored(network, Store(tmp_path / "half"))
    np.testing.assert_allclose(half.warm_joints[0], scores.warm_joints[1, ::2], atol=2e-3)  # JPEG again: 2 mm
    *_, steadiness = benchmark_report.report(scores, live=1)
    assert "long clips, 5 fps: warm 1" in [row[0] for row in steadiness.rows]


def test_the_truth_has_no_error(network, tmp_path):
    store = store_of(tmp_path, (2,))
    batch = benchmark.batch_of(network, store.take(store.index))
    view = batch.crops.view
    cam = cam_from_translation(batch.trans, view)
    truth = network.place(State(sixd_from_matrix(batch.rotations), batch.betas, cam), view)
    measure = benchmark.Measure(benchmark.BodyTorch(BODY, np.arange(len(BODY.template))), batch, 256)
    np.testing.assert_allclose(measure(truth), 0, atol=0.05)
    moved = network.place(State(sixd_from_matrix(batch.rotations), batch.betas, cam + torch.tensor([0, 0.05, 0])), view)
    np.testing.assert_allclose(measure(moved)[:, :3], 0, atol=0.05)  # a shift of 5 cm is an error of pixels alone
    np.testing.assert_allclose(measure(moved)[:, 3], 0.05 * 600 / 4 * 256 / 300, atol=1.0)


def test_half_precision_gives_nearly_the_same_maps(network, tmp_path):
    images = store_of(tmp_path, (1,)).take(np.zeros((1, 2), int)).images
    exact, rounded = (benchmark.encode(network, images, precision) for precision in ("f32", "bf16"))
    assert rounded.maps.dtype == torch.float32
    off = (rounded.maps - exact.maps).square().mean().sqrt() / exact.maps.square().mean().sqrt()
    assert 1e-4 < float(off.detach()) < 0.2


def random_state(seed: int, cam: tuple[float, float, float]) -> State:
    rng = np.random.default_rng(seed)
    rotations = matrix_from_axis_angle(rng.normal(0, 0.4, (24, 3)))
    rotations[0] = UPRIGHT @ rotations[0]
    pose = sixd_from_matrix(torch.from_numpy(rotations).float()[None])
    return State(pose, torch.from_numpy(rng.normal(0, 1, (1, 10))).float(), torch.tensor([cam]))


def crops_of(roll: float, time_s: float = 0.0) -> tracked.Crops:
    view = View(torch.tensor([[500.0, 400, 300]]), torch.tensor([600.0]), torch.tensor([[480.0, 360]]))
    encoded = TorchEncoded(torch.zeros(1, 1), torch.zeros(1, 1), None)
    return tracked.Crops(encoded, view, torch.tensor([roll]), torch.tensor([time_s]))


def remembered(network, state: State, roll: float) -> tracked.Memory:
    """The memory of one person, fitted at time 0 in a crop of this roll."""
    memory, crops = tracked.Memory.of(1), crops_of(roll)
    yes = torch.ones(1, dtype=torch.bool)
    memory.keep(torch.tensor([0]), network.place(state, crops.view), crops, yes, ~yes)
    return memory


@torch.no_grad()
def test_the_start_is_the_runtimes(network):
    """The fitter keeps bodies in the camera's frame, the benchmark in the last crop's; they agree to 0.1 mm."""
    last, fresh, rolls = random_state(1, (0.9, 0.05, 0.1)), random_state(2, (1.0, 0.0, 0.15)), (0.5, -0.3)
    before, now = crops_of(rolls[0]), crops_of(rolls[1], 0.1)
    start, exchange, cold = remembered(network, last, rolls[0]).start(
        network, torch.tensor([0]), now, network.place(fresh, now.view), 0.7
    )
    assert not exchange.any()
    assert not cold.any()
    squares = [Square(np.array([500.0, 400.0]), 300.0, roll) for roll in rolls]
    camera = Camera("cam", (960, 720), 600.0, (480, 360))
    view = types.View((500.0, 400.0, 300.0), 600.0, (480.0, 360.0))
    states = [types.State(*(part[0].numpy() for part in state)) for state in (last, fresh)]
    answer = network.place(last, before.view)
    placed = (
        part[0].numpy()
        for part in (answer.rotations, answer.joints, answer.markers, answer.joints_px, answer.markers_px)
    )
    result = types.Result(states[0], 2, 0.0, None, *placed)
    crop = Crop(normalise_roll=True)
    fitted = out_of_crop(result, view, squares[0], camera, BODY, crop)
    memory = remembered_live(Frame("cam", 0, 0.0, 0.0, np.zeros((720, 960, 3), np.uint8)), fitted, None, crop)
    warm = start_from(memory, states[1], squares[1], view, BODY, 0.7, 0.1)
    assert warm is not None
    expected = warm.state
    body = network.place(
        State(*(torch.from_numpy(part)[None] for part in (expected.pose6d, expected.betas, expected.cam))), now.view
    )
    np.testing.assert_allclose(start.joints, body.joints, atol=1e-4)
    np.testing.assert_allclose(start.cam, body.cam, atol=1e-4)


@torch.no_grad()
def test_mirrored_views_and_states_are_the_runtimes(network):
    state, crops = random_state(1, (0.9, 0.05, 0.1)), crops_of(0.0)
    view = types.View(crops.view.square[0].numpy(), 600.0, crops.view.centre_px[0].numpy())
    there = tracked.mirrored_view(crops.view, 256, torch.tensor([True]))
    np.testing.assert_allclose(there.square[0], mirror.mirrored_view(view, 256).square, atol=1e-3)
    expected = mirror.mirrored_state(types.State(*(part[0].numpy() for part in state)), 256)
    for where, wanted in ((True, expected), (False, types.State(*(part[0].numpy() for part in state)))):
        found = tracked.mirrored_state(state, 256, torch.tensor([where]))
        for name in ("pose6d", "betas", "cam"):
            np.testing.assert_allclose(getattr(found, name)[0], getattr(wanted, name), atol=1e-6)


@torch.no_grad()
def test_the_mean_of_three_results_is_the_runtimes(network):
    """The runtime averages in the camera's frame, the benchmark in the last crop's; they agree to 0.1 mm."""
    moments, people, yes = ((0.0, 0.2), (0.03, -0.1), (0.1, 0.4)), torch.tensor([0]), torch.ones(1, dtype=torch.bool)
    memory, answers = tracked.Memory.of(1), []
    for i, (time_s, roll) in enumerate(moments):
        crops = crops_of(roll, time_s)
        answer = network.place(random_state(1, (0.9 + 0.01 * i, 0.05 * i, 0.1)), crops.view)
        turn = geometry.roll_matrix(roll)
        rotations = answer.rotations[0].numpy().copy()
        rotations[0] = turn.T @ rotations[0]
        pelvis = BODY.rest_pelvis(answer.betas[0].numpy())
        place = turn.T @ (translation(answer.cam, crops.view)[0].numpy() + pelvis) - pelvis
        answers.append(mirror.Moment(time_s, types.Pose(rotations, answer.betas[0].numpy(), place)))
        if i < 2:
            memory.keep(people, answer, crops, yes, ~yes, torch.tensor([i == 0]))
    expected = mirror.averaged(*reversed(answers))
    mean = memory.averaged(network, people, answer, crops, yes)
    joints = (mean.joints[0] + translation(mean.cam, crops.view)).numpy() @ turn
    np.testing.assert_allclose(joints, BODY.joints(expected.rotations, expected.betas) + expected.trans, atol=1e-4)
    alone = memory.averaged(network, people, answer, crops, ~yes)
    np.testing.assert_array_equal(alone.joints, answer.joints)


@torch.no_grad()
def test_a_body_that_faces_away_is_trusted_for_a_limited_time(network):
    last, people, yes = random_state(1, (0.9, 0.05, 0.1)), torch.tensor([0]), torch.ones(1, dtype=torch.bool)
    memory = remembered(network, last, 0.0)
    memory.born_s[:] = -2.0
    half_turn = torch.from_numpy(matrix_from_axis_angle(np.array([0.0, np.pi, 0.0]))).float()
    fresh = network.place(last, crops_of(0.0).view)
    rotations = torch.cat([fresh.rotations[:, :1] @ half_turn, fresh.rotations[:, 1:]], 1)
    fresh = network.place(last._replace(pose6d=sixd_from_matrix(rotations)), crops_of(0.0).view)
    for time_s, trusted in ((0.1, True), (0.4, True), (0.79, True), (0.81, False)):
        crops = crops_of(0.0, time_s)
        start, exchange, cold = memory.start(network, people, crops, fresh, 0.3)
        assert (bool(exchange), bool(cold)) == (trusted, not trusted)
        same = network.place(last, crops.view) if trusted else fresh
        np.testing.assert_allclose(start.joints, same.joints, atol=1e-4)
        memory.keep(people, network.place(last, crops.view), crops, yes, exchange)


@torch.no_grad()
def test_a_start_is_cold_where_no_body_is_known_or_its_size_differs(network):
    last, people, crops = random_state(1, (0.9, 0.05, 0.1)), torch.tensor([0]), crops_of(0.0, 0.1)
    fresh = network.place(random_state(2, (1.0, 0.0, 0.15)), crops.view)
    _, _, cold = tracked.Memory.of(1).start(network, people, crops, fresh, 0.5)
    assert cold.all()
    small = network.place(last._replace(cam=torch.tensor([[0.3, 0.0, 0.1]])), crops.view)
    _, _, cold = remembered(network, last, 0.0).start(network, people, crops, small, 0.5)
    assert cold.all()


def test_an_error_counts_in_metres_so_half_a_body_that_fills_the_crop_is_trusted_like_a_whole_one():
    def sure(scale: float, error_px: float) -> float:
        return float(start.confidence(error_px, np.float64(scale), None))

    assert sure(0.95, 14.0) == pytest.approx(0.5, abs=0.01)  # a whole body fills the crop
    assert sure(1.9, 28.0) == pytest.approx(sure(0.95, 14.0), abs=1e-4)
    assert sure(1.9, 14.0) > 0.75


@torch.no_grad()
def test_people_who_seem_absent_restart_at_every_moment(tmp_path):
    """The confidence of the benchmark is the product with the presence, so a head that sees nobody refuses all."""
    seen = lively(replace(EDGE, presence=True), BODY)
    assert seen.presence is not None
    seen.presence.weight.zero_()
    restarted = []
    for bias in (-20.0, 20.0):
        seen.presence.bias.fill_(bias)
        protocol = benchmark.Protocol(2, 1, min_confidence=1e-6)
        restarted.append(benchmark.score(seen, store_of(tmp_path / f"{bias}", (3,)), protocol, 0, BODY).restarted[0])
    assert restarted[0].tolist() == [False, True, True]
    assert not restarted[1].all()


def test_people_with_low_confidence_restart_at_every_moment(network, tmp_path):
    """With a least confidence that cannot be reached, the followed results are the cold ones."""
    protocol = benchmark.Protocol(2, 1, min_confidence=1.1)
    scores = benchmark.score(network, store_of(tmp_path, (3,)), protocol, 0, BODY)
    assert scores.restarted[0].tolist() == [False, True, True]
    np.testing.assert_allclose(scores.warm_joints[0], scores.cold_joints, atol=1e-6)
    np.testing.assert_allclose(scores.warm[0, 1:, 1], scores.cold[1:, -1], atol=1e-4)


def test_sheets_show_stills_alone(network, tmp_path):
    store = store_of(tmp_path / "store", (1, 2, 1))
    found = benchmark_sheets.still_sheets(network, store, scored(network, store), tmp_path / "sheets", BODY)
    assert [Path(path).stem for path in found] == ["best", "median", "worst", "spread"]
    assert all(Path(path).stat().st_size > 20_000 for path in found)


def test_a_limit_that_leaves_no_row_and_a_folder_without_rows_are_refused(network, tmp_path):
    store = store_of(tmp_path / "store", (2,))
    with pytest.raises(UserError, match="--limit 1"):
        scored(network, store, 1)
    with pytest.raises(UserError, match=r"training\.produce"):
        Store(tmp_path)
