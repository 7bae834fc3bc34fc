"""The fast loop and the encoder give the torch network's outputs, and errors are clear."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the fast loop's reference is in torch: pip install refit-rt[train]")
onnx = pytest.importorskip("onnx", reason="exporting needs onnx: pip install refit-rt[train]")

from refit_rt import config  # noqa: E402
from refit_rt.body.smpl import load_body  # noqa: E402
from refit_rt.bundle.make import Facts, export_bundle  # noqa: E402
from refit_rt.bundle.quantise import quantise  # noqa: E402
from refit_rt.bundle.read import find_bundle, load_bundle  # noqa: E402
from refit_rt.errors import UserError  # noqa: E402
from refit_rt.model.config import EDGE, ReFitConfig  # noqa: E402
from refit_rt.runners.cpu import kernels, precision  # noqa: E402
from refit_rt.runners.cpu.encoder import OpenVinoEncoder, widths  # noqa: E402
from refit_rt.runners.cpu.runner import CpuRunner  # noqa: E402
from refit_rt.runners.make import make_runner  # noqa: E402
from refit_rt.runners.torch.runner import TorchRunner, torch_view  # noqa: E402
from refit_rt.types import State, View  # noqa: E402
from tests.support.paths import ROOT  # noqa: E402
from tests.support.tiny import lively  # noqa: E402

torch.set_num_threads(1)
VIEW = View((700.0, 400.0, 420.0), 1100.0, (640.0, 360.0))
CONFIGS = {"edge": replace(EDGE, presence=True), "official": ReFitConfig()}


def a_crop(seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((16, 16, 1), np.uint8))


@pytest.fixture(scope="module")
def models():
    return {name: lively(config, load_body()) for name, config in CONFIGS.items()}


@pytest.fixture(scope="module")
def bundles(models, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    for name, model in models.items():
        export_bundle(model, folder / name, Facts(name, "none"))
    return {name: folder / name for name in models}


@pytest.fixture(scope="module", params=CONFIGS)
def runner_and_model(request, bundles, models) -> tuple[CpuRunner, object]:
    return CpuRunner(load_bundle(bundles[request.param]), "f32", 1), models[request.param]


@pytest.fixture(scope="module")
def edge(bundles) -> CpuRunner:
    return CpuRunner(load_bundle(bundles["edge"]), "f32", 1)


@torch.no_grad()
def test_the_bundle_gives_the_torch_networks_pose_within_1e_4(runner_and_model):
    runner, model = runner_and_model
    for seed in range(3):
        crop = a_crop(seed)
        images = torch.as_tensor(crop).permute(2, 0, 1)[None].float() / 255
        truth = model(images, torch_view(VIEW), 5)
        seen = runner.encode(crop)
        state = runner.initial(seen, VIEW)
        np.testing.assert_allclose(state.pose6d, truth[0].pose6d[0], atol=1e-4)
        for done in range(1, 6):
            result = runner.iterate(seen, VIEW, state, done)
            assert result.iterations == done
            for ours, theirs, tolerance in (
                ("rotations", "rotations", 1e-4),
                ("joints", "joints", 1e-4),
                ("markers", "markers", 1e-4),
                ("markers_px", "markers_px", 0.02),
                ("joints_px", "joints_px", 0.02),
            ):
                np.testing.assert_allclose(getattr(result, ours), getattr(truth[done], theirs)[0], atol=tolerance)
            np.testing.assert_allclose(result.state.pose6d, truth[done].pose6d[0], atol=1e-4)
            np.testing.assert_allclose(result.state.cam, truth[done].cam[0], atol=1e-4)
        presence = model.present(model.encode(images))
        assert (result.presence is None) == (presence is None) == (not model.config.presence)
        if presence is not None:
            assert result.presence == pytest.approx(float(presence), abs=1e-4)
        moved = float((truth[5].pose6d - truth[0].pose6d).abs().max())
        assert moved > 0.05  # otherwise a loop without effect would pass


def test_the_torch_runner_gives_the_same_from_a_warm_start(bundles):
    bundle = load_bundle(bundles["edge"])
    fast, slow = CpuRunner(bundle, "f32", 1), TorchRunner(bundle, 1)
    seen = fast.encode(a_crop())
    begin = fast.iterate(seen, VIEW, fast.initial(seen, VIEW), 2).state
    ours, theirs = (runner.iterate(runner.encode(a_crop(1)), VIEW, begin, 2) for runner in (fast, slow))
    np.testing.assert_allclose(ours.rotations, theirs.rotations, atol=1e-4)
    assert ours.update_rad == pytest.approx(theirs.update_rad, abs=1e-4)
    assert ours.error_px == pytest.approx(theirs.error_px, rel=1e-4)
    assert ours.presence == pytest.approx(theirs.presence, abs=1e-4)
    assert ours.presence is not None
    assert 0.01 < ours.presence < 0.99


def test_markers_at_the_edge_and_outside_of_the_crop_are_sampled_as_in_torch(bundles):
    bundle = load_bundle(bundles["official"])
    fast, slow = CpuRunner(bundle, "f32", 1), TorchRunner(bundle, 1)
    seen = fast.encode(a_crop())
    state = fast.initial(seen, VIEW)
    for shift in (0.5, 1.0, 30.0):  # metres to the side: half outside, at the edge, far away
        pushed = State(state.pose6d, state.betas, state.cam + np.array([0, shift, -shift], np.float32))
        ours, theirs = (runner.iterate(seen, VIEW, pushed, 1) for runner in (fast, slow))
        np.testing.assert_allclose(ours.state.pose6d, theirs.state.pose6d, atol=1e-4)


def test_single_iterations_with_a_deadline_give_the_same_as_all_at_once(edge):
    seen = edge.encode(a_crop())
    state = edge.initial(seen, VIEW)
    at_once = edge.iterate(seen, VIEW, state, 4)
    one_by_one = edge.iterate(seen, VIEW, state, 4, deadline_s=monotonic() + 60)
    np.testing.assert_array_equal(at_once.state.pose6d, one_by_one.state.pose6d)
    late = edge.iterate(seen, VIEW, state, 4, deadline_s=monotonic() - 1)
    assert late.iterations == 1


def test_an_update_below_the_threshold_ends_the_loop(edge):
    seen = edge.encode(a_crop())
    state = edge.initial(seen, VIEW)
    assert edge.iterate(seen, VIEW, state, 5, update_rad=3.0).iterations == 1
    assert edge.iterate(seen, VIEW, state, 5, update_rad=3.0, deadline_s=monotonic() + 60).iterations == 1
    assert edge.iterate(seen, VIEW, state, 5, update_rad=1e-9).iterations == 5
    assert edge.iterate(seen, VIEW, state, 0).iterations == 0


def test_inputs_and_results_are_never_changed(edge):
    seen = edge.encode(a_crop())
    state = edge.initial(seen, VIEW)
    before, maps = state.pose6d.copy(), seen.maps.copy()
    first = edge.iterate(seen, VIEW, state, 2)
    kept = first.rotations.copy()
    edge.iterate(edge.encode(a_crop(5)), VIEW, first.state, 3)
    np.testing.assert_array_equal(state.pose6d, before)
    np.testing.assert_array_equal(seen.maps, maps)
    np.testing.assert_array_equal(first.rotations, kept)


def test_a_body_behind_the_lens_does_not_crash(edge):
    seen = edge.encode(a_crop())
    state = edge.initial(seen, VIEW)
    for cam in ([0.0, 0, 0], [np.nan, 0, 0], [-1.0, 5, 5]):
        edge.iterate(seen, VIEW, State(state.pose6d, state.betas, np.array(cam, np.float32)), 2)


def test_the_written_out_sigmoid_is_the_sigmoid_within_2e_7():
    x = np.concatenate([np.linspace(-30, 30, 4001), [-1e9, -200, 0, 200, 1e9]]).astype(np.float32)
    ours = x.copy()
    kernels.sigmoid(ours, np.zeros(len(x), np.int32))
    with np.errstate(over="ignore"):
        truth = 1 / (1 + np.exp(-x.astype(np.float64)))
    np.testing.assert_allclose(ours, truth, atol=2e-7)


@pytest.mark.parametrize("setting", ["auto", "bf16"])
def test_lower_precision_stays_close(bundles, edge, setting):
    bundle = load_bundle(bundles["edge"])
    near = OpenVinoEncoder(bundle, setting, 1)(a_crop())
    exact = edge.encode(a_crop())
    assert np.abs(near.maps - exact.maps).max() < 0.05 * np.abs(exact.maps).max()


def test_int8_is_refused_until_it_exists_and_then_stays_close(bundles, edge, tmp_path):
    shutil.copytree(bundles["edge"], tmp_path / "edge")
    with pytest.raises(UserError, match="no int8 encoder"):
        OpenVinoEncoder(load_bundle(tmp_path / "edge"), "int8")
    with pytest.raises(UserError, match="no crops"):
        quantise(tmp_path / "edge", [])
    quantise(tmp_path / "edge", (a_crop(seed) for seed in range(8)))
    near = OpenVinoEncoder(load_bundle(tmp_path / "edge"), "int8", 1)(a_crop(0))
    exact = edge.encode(a_crop(0))
    assert np.abs(near.maps - exact.maps).mean() < 0.05 * np.abs(exact.maps).mean()


@pytest.mark.parametrize(
    ("flags", "maps", "landmarks_px", "expected"),
    [
        ("flags\t: fpu avx2 avx512_vnni", 0.05, 0.7, "int8"),
        ("Features\t: fp asimd asimddp", 0.05, 0.7, "int8"),
        ("flags\t: fpu avx2 avx512f", 0.05, 0.7, "f32"),
        ("flags\t: fpu avx2 avx_vnni", 0.07, 0.7, "f32"),
        ("flags\t: fpu avx2 avx_vnni", 0.05, 0.9, "f32"),
        ("flags\t: fpu avx2 avx_vnni", None, None, "f32"),
        ("", 0.05, 0.7, "f32"),
    ],
)
def test_auto_is_int8_where_it_is_faster_and_the_card_says_that_it_costs_nothing(
    tmp_path, monkeypatch, flags, maps, landmarks_px, expected
):
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{flags}\n")
    monkeypatch.setattr(precision, "CPUINFO", tmp_path / ("cpuinfo" if flags else "missing"))
    strays = {} if maps is None else {"int8_maps_stray": maps, "int8_landmarks_stray_px": landmarks_px}
    shipped = load_bundle(find_bundle("edge"))
    bundle = replace(shipped, card=msgspec.structs.replace(shipped.card, accuracy=strays))
    core: Any = SimpleNamespace(get_property=lambda *_: ["FP32", "INT8"])
    assert precision.precision_for("auto", bundle, core) == expected
    assert precision.precision_for("bf16", bundle, core) == "bf16"
    alone = replace(bundle, card=msgspec.structs.replace(bundle.card, files={"encoder.onnx": ""}))
    assert precision.precision_for("auto", alone, core) == "f32"  # the bundle has no int8 encoder


def test_the_shipped_bundle_may_run_in_int8_unasked():
    assert precision.costs_nothing(load_bundle(find_bundle("edge")))


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_crops_side_by_side_are_encoded_as_each_by_itself(edge, bundles, count):
    beside = CpuRunner(load_bundle(bundles["edge"]), "f32", 2)
    crops = np.stack([a_crop(seed) for seed in range(count)])
    answers = list(beside.encode_all(crops))
    assert len(answers) == count
    for crop, answer in zip(crops, answers, strict=True):
        alone = edge.encode(crop)
        np.testing.assert_allclose(answer.maps, alone.maps, atol=1e-4)
        np.testing.assert_allclose(answer.hidden, alone.hidden, atol=1e-4)
        assert answer.keypoints is not None
        assert alone.keypoints is not None
        np.testing.assert_allclose(answer.keypoints, alone.keypoints, atol=1e-2)


def test_answers_that_nobody_takes_do_not_disturb_the_next(edge, bundles):
    beside = CpuRunner(load_bundle(bundles["edge"]), "f32", 2)
    crops = np.stack([a_crop(seed) for seed in range(4)])
    next(iter(beside.encode_all(crops)))
    np.testing.assert_allclose(list(beside.encode_all(crops[:2]))[1].maps, edge.encode(crops[1]).maps, atol=1e-4)


def test_as_many_crops_run_side_by_side_as_there_are_threads():
    assert [widths(threads) for threads in (1, 2, 3, 4, 6, 16)] == [
        [1], [1, 2], [1, 2, 3], [1, 2, 4], [1, 2, 4, 6], [1, 2, 4, 8],
    ]  # fmt: skip


def test_the_compiled_encoder_is_kept_in_the_cache_folder(bundles, tmp_path, monkeypatch):
    monkeypatch.setenv("REFIT_RT_CACHE", str(tmp_path))
    OpenVinoEncoder(load_bundle(bundles["edge"]), "f32", 1)
    assert list((tmp_path / "openvino").iterdir())


def test_running_a_bundle_loads_no_torch(bundles):
    code = (
        "import sys; from refit_rt.bundle.read import load_bundle; from refit_rt.runners.cpu.runner import CpuRunner; "
        f"CpuRunner(load_bundle({str(bundles['edge'])!r}), 'f32', 1); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT).returncode == 0


def test_the_torch_backend_without_torch_names_what_to_install(bundles, monkeypatch):
    monkeypatch.delitem(sys.modules, "refit_rt.runners.torch.runner")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match=r"torch needs torch. Install it: pip install 'refit-rt\[train\]'"):
        make_runner(config.Fit(backend="torch"), load_bundle(bundles["edge"]))


def test_an_encoder_with_other_ports_is_refused_by_name(bundles):
    bundle = load_bundle(bundles["edge"])
    other = replace(bundle, card=msgspec.structs.replace(bundle.card, markers=66))
    with pytest.raises(UserError, match=r"'maps' is \[-1, 67, 64, 64\], \[-1, 66, 64, 64\] is needed"):
        OpenVinoEncoder(other, "f32")


def test_weights_of_another_size_are_refused_by_name(bundles):
    bundle = load_bundle(bundles["edge"])
    short = {**bundle.weights, "regressor.cam.weight": np.zeros((3, 31), np.float32)}
    with pytest.raises(UserError, match=r"cam_weight is \(3, 31\), \(3, 32\) is needed"):
        CpuRunner(replace(bundle, weights=short), "f32")
    lost = {name: array for name, array in bundle.weights.items() if name != "mean_cam"}
    with pytest.raises(UserError, match="lacks 'mean_cam'"):
        CpuRunner(replace(bundle, weights=lost), "f32")


def test_a_missing_gpu_is_a_clear_error(bundles):
    bundle = load_bundle(bundles["edge"])
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match=r"fit\.device: torch finds no NVIDIA GPU"):
            make_runner(config.Fit(backend="torch", device="cuda"), bundle)
    with pytest.raises(UserError, match=r"fit\.precision: int8 does not work with fit\.backend torch"):
        make_runner(config.Fit(backend="torch", precision="int8"), bundle)
