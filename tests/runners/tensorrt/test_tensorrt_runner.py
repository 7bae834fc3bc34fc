"""The TensorRT runner gives the CPU's bodies in the expected launches, on a GPU and a TensorRT made of numpy."""

from time import monotonic

import msgspec
import numpy as np
import pytest

pytest.importorskip("torch", reason="the bundles of this test are made with torch: pip install refit-rt[train]")
onnx = pytest.importorskip("onnx", reason="engines are built from files made with onnx: pip install refit-rt[tensorrt]")
pytest.importorskip("onnxruntime", reason="takes the place of TensorRT")

from refit_rt.runners import Runner  # noqa: E402
from refit_rt.runners.cpu.runner import CpuRunner  # noqa: E402
from refit_rt.runners.tensorrt import check  # noqa: E402
from refit_rt.types import Encoded, Result, State  # noqa: E402
from tests.support.engine_calls import CONFIGS, F16, F32, VIEW, a_crop, runner_of  # noqa: E402
from tests.trt_plugins.test_kernels import on_cpu  # noqa: E402, F401


def first_steps(runner: Runner, iterations: int) -> Result:
    encoded = runner.encode(a_crop())
    return runner.iterate(encoded, VIEW, runner.initial(encoded, VIEW), iterations)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_runner_gives_the_cpus_bodies(library, random_bundles, name):
    runner, cpu = runner_of(library, random_bundles[name]), CpuRunner(random_bundles[name], "f32", 1)
    for seed in range(2):
        ours, theirs = runner.encode(a_crop(seed)), cpu.encode(a_crop(seed))
        np.testing.assert_allclose(np.asarray(ours.maps), theirs.maps, atol=1e-4)
        np.testing.assert_allclose(ours.hidden, theirs.hidden, atol=1e-4)
        if name == "edge":
            np.testing.assert_allclose(np.asarray(ours.keypoints), np.asarray(theirs.keypoints), atol=2e-3)
        start = runner.initial(ours, VIEW)
        for iterations in range(6):
            pairs = ((runner, ours), (cpu, theirs))
            mine, truth = (one.iterate(encoded, VIEW, start, iterations) for one, encoded in pairs)
            assert mine.iterations == truth.iterations == iterations
            for part, tolerance in (("joints", 1e-4), ("markers", 1e-4), ("markers_px", 0.05), ("rotations", 1e-3)):
                np.testing.assert_allclose(getattr(mine, part), getattr(truth, part), atol=tolerance)
            np.testing.assert_allclose(mine.state.cam, truth.state.cam, atol=1e-4)
            assert mine.update_rad == pytest.approx(truth.update_rad, abs=1e-3)
            assert mine.error_px == (truth.error_px and pytest.approx(truth.error_px, rel=1e-3))
            assert mine.presence == (truth.presence and pytest.approx(truth.presence, abs=1e-3))


@pytest.mark.parametrize("name", CONFIGS)
def test_in_float16_bodies_stay_within_two_millimetres_and_half_a_pixel(library, random_bundles, name):
    runner, cpu = runner_of(library, random_bundles[name], F16), CpuRunner(random_bundles[name], "f32", 1)
    mine, truth = (first_steps(one, 3) for one in (runner, cpu))
    assert library.exact == [False, False]
    np.testing.assert_allclose(mine.joints, truth.joints, atol=2e-3)
    np.testing.assert_allclose(mine.markers_px, truth.markers_px, atol=0.5)


def test_single_iterations_give_the_same_as_all_at_once(library, random_bundles):
    runner = runner_of(library, random_bundles["edge"])
    encoded = runner.encode(a_crop())
    start = runner.initial(encoded, VIEW)
    at_once = runner.iterate(encoded, VIEW, start, 4)
    one_by_one = runner.iterate(encoded, VIEW, start, 4, deadline_s=monotonic() + 60)
    np.testing.assert_array_equal(at_once.state.pose6d, one_by_one.state.pose6d)
    assert runner.iterate(encoded, VIEW, start, 4, deadline_s=monotonic() - 1).iterations == 1
    assert runner.iterate(encoded, VIEW, start, 5, update_rad=3.0).iterations == 1
    assert runner.iterate(encoded, VIEW, start, 5, update_rad=1e-9).iterations == 5


def test_a_loop_of_k_iterations_is_one_launch_in_its_own_context(library, random_bundles):
    runner = runner_of(library, random_bundles["edge"])
    encoded = runner.encode(a_crop())
    start = runner.initial(encoded, VIEW)
    for count in (3, 5, 2):
        contexts = library.contexts
        first = runner.iterate(encoded, VIEW, start, count)
        made = library.contexts - contexts
        assert made == (count == 3)  # the 2 and 5 of the settings are recorded when the runner is loaded
        launches = library.cuda.replays
        again = runner.iterate(encoded, VIEW, start, count)
        assert library.cuda.replays == launches + 1
        np.testing.assert_array_equal(first.state.pose6d, again.state.pose6d)


def test_nothing_is_recorded_while_a_frame_waits(library, random_bundles):
    for settings in (F32, msgspec.structs.replace(F32, update_deg=1e-6), msgspec.structs.replace(F32, iterations=3)):
        runner = runner_of(library, random_bundles["edge"], settings)
        contexts = library.contexts
        encoded = runner.encode(a_crop())
        for most in (settings.cold_iterations, settings.iterations):
            runner.iterate(encoded, VIEW, runner.initial(encoded, VIEW), most, np.deg2rad(settings.update_deg))
        assert library.contexts == contexts


def test_maps_stay_on_the_gpu_and_earlier_ones_are_fetched_before_they_are_overwritten(library, random_bundles):
    runner = runner_of(library, random_bundles["edge"])
    first = runner.encode(a_crop(0))
    start = runner.initial(first, VIEW)
    truth = runner.iterate(first, VIEW, start, 2)
    second = runner.encode(a_crop(1))
    other = runner.iterate(second, VIEW, start, 2)
    again = runner.iterate(first, VIEW, start, 2)
    np.testing.assert_array_equal(again.state.pose6d, truth.state.pose6d)
    assert np.abs(other.state.pose6d - truth.state.pose6d).max() > 1e-3
    np.testing.assert_array_equal(runner.iterate(second, VIEW, start, 2).state.pose6d, other.state.pose6d)
    in_numpy = Encoded(np.asarray(first.maps), first.hidden, first.keypoints)
    np.testing.assert_array_equal(runner.iterate(in_numpy, VIEW, start, 2).state.pose6d, truth.state.pose6d)


def test_inputs_and_results_are_never_changed(library, random_bundles):
    runner = runner_of(library, random_bundles["edge"])
    encoded = runner.encode(a_crop())
    start = runner.initial(encoded, VIEW)
    before, hidden = start.pose6d.copy(), encoded.hidden.copy()
    first = runner.iterate(encoded, VIEW, start, 2)
    kept = first.state.pose6d.copy()
    runner.iterate(runner.encode(a_crop(5)), VIEW, first.state, 3)
    np.testing.assert_array_equal(start.pose6d, before)
    np.testing.assert_array_equal(encoded.hidden, hidden)
    np.testing.assert_array_equal(first.state.pose6d, kept)


def test_a_body_behind_the_lens_does_not_crash(library, random_bundles):
    runner = runner_of(library, random_bundles["edge"])
    encoded = runner.encode(a_crop())
    start = runner.initial(encoded, VIEW)
    for cam in ([0.0, 0, 0], [np.nan, 0, 0], [-1.0, 5, 5]):
        runner.iterate(encoded, VIEW, State(start.pose6d, start.betas, np.array(cam, np.float32)), 2)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "settings"), [("edge", F16), ("official", F32)])
def test_with_both_plugins_the_kernels_themselves_give_the_cpus_bodies(
    library,
    random_bundles,
    tmp_path,
    monkeypatch,
    on_cpu,  # noqa: F811
    name,
    settings,
):
    library.kernels = on_cpu
    (tmp_path / "plugins.so").write_text("BatchedGRU Feedback")
    # One iteration, because each one takes seconds.
    settings = msgspec.structs.replace(settings, plugins=str(tmp_path / "plugins.so"), cold_iterations=1, iterations=1)
    monkeypatch.setattr(check, "STEPS", (1,))
    runner, cpu = runner_of(library, random_bundles[name], settings), CpuRunner(random_bundles[name], "f32", 1)
    mine, truth = (first_steps(one, 1) for one in (runner, cpu))
    exact = settings.precision == "f32"
    np.testing.assert_allclose(mine.joints, truth.joints, atol=1e-4 if exact else 2e-3)
    np.testing.assert_allclose(mine.markers_px, truth.markers_px, atol=0.05 if exact else 0.5)
