"""The TensorRT runner on a GPU and a TensorRT of numpy: the network's numbers, the engines' cache, every refusal."""

import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from time import monotonic

import msgspec
import numpy as np
import pytest

pytest.importorskip("torch", reason="the bundles of this test are made with torch: pip install refit-rt[train]")
onnx = pytest.importorskip("onnx", reason="engines are built from files made with onnx: pip install refit-rt[tensorrt]")
pytest.importorskip("onnxruntime", reason="stands in for TensorRT")

from fake_tensorrt import FakeCuda, Library  # noqa: E402
from tiny import lively  # noqa: E402

from refit_rt import config  # noqa: E402
from refit_rt.__main__ import command  # noqa: E402
from refit_rt.body import load_body  # noqa: E402
from refit_rt.bundle import Bundle, find_bundle, load_bundle  # noqa: E402
from refit_rt.errors import UserError  # noqa: E402
from refit_rt.export import Facts, export_bundle  # noqa: E402
from refit_rt.model.config import EDGE, ReFitConfig  # noqa: E402
from refit_rt.runners import Seen, State, View, engine_cache, engine_check, make_runner  # noqa: E402
from refit_rt.runners.cpu import CpuRunner  # noqa: E402
from refit_rt.runners.cuda_rt import Device, open_cuda  # noqa: E402
from refit_rt.runners.engine_build import TensorRt  # noqa: E402
from refit_rt.runners.engine_load import Engines, load_engines, options_of  # noqa: E402
from refit_rt.runners.tensorrt_ import TensorRtRunner  # noqa: E402

VIEW = View((700.0, 400.0, 420.0), 1100.0, (640.0, 360.0))
F32 = config.Fit(backend="tensorrt", precision="f32")
F16 = config.Fit(backend="tensorrt")
SETTINGS = {"f32": F32, "f16": F16}
CONFIGS = {"edge": EDGE, "official": ReFitConfig()}


def a_crop(seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((16, 16, 1), np.uint8))


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory):
    """One for all: the CPU's encoder is compiled once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory) -> dict[str, Bundle]:
    folder = tmp_path_factory.mktemp("bundles")
    for name, network in CONFIGS.items():
        export_bundle(lively(network, load_body()), folder / name, Facts(name, "none"))
    return {name: load_bundle(folder / name) for name in CONFIGS}


@pytest.fixture(scope="module")
def truths(bundles, shared_cache):
    """The CPU's answers, which every runner of these tests is checked against at its load."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REFIT_RT_CACHE", str(shared_cache))
        return {name: engine_check.truth_of(bundle) for name, bundle in bundles.items()}


@pytest.fixture
def library(tmp_path, monkeypatch, bundles, truths) -> Library:
    """An empty cache, in which only the CPU's answers are kept, and a fresh TensorRT."""
    monkeypatch.setenv("REFIT_RT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(engine_check, "made_truth", lambda bundle: truths[bundle.card.name])
    library = Library(FakeCuda())
    monkeypatch.setitem(sys.modules, "tensorrt", library.module)
    return library


def runner_of(library: Library, bundle: Bundle, settings: config.Fit = F32) -> TensorRtRunner:
    return TensorRtRunner(bundle, settings, library.cuda)


def load(library: Library, bundle: Bundle, plugins: Path) -> Engines:
    """The engines alone: plugins run on a GPU only."""
    settings = msgspec.structs.replace(F16, plugins=str(plugins))
    return load_engines(bundle, options_of(settings), library.cuda)


# The network's numbers


@pytest.mark.parametrize("name", CONFIGS)
def test_the_runner_gives_the_cpus_bodies(library, bundles, name):
    runner, cpu = runner_of(library, bundles[name]), CpuRunner(bundles[name], "f32", 1)
    for seed in range(2):
        ours, theirs = runner.encode(a_crop(seed)), cpu.encode(a_crop(seed))
        np.testing.assert_allclose(np.asarray(ours.maps), theirs.maps, atol=1e-4)
        np.testing.assert_allclose(ours.hidden, theirs.hidden, atol=1e-4)
        if name == "edge":
            np.testing.assert_allclose(np.asarray(ours.keypoints), np.asarray(theirs.keypoints), atol=2e-3)
        start = runner.initial(ours, VIEW)
        for iterations in range(6):
            mine, truth = (one.iterate(seen, VIEW, start, iterations) for one, seen in ((runner, ours), (cpu, theirs)))
            assert mine.iterations == truth.iterations == iterations
            for part, tolerance in (("joints", 1e-4), ("markers", 1e-4), ("markers_px", 0.05), ("rotations", 1e-3)):
                np.testing.assert_allclose(getattr(mine, part), getattr(truth, part), atol=tolerance)
            np.testing.assert_allclose(mine.state.cam, truth.state.cam, atol=1e-4)
            assert mine.update_rad == pytest.approx(truth.update_rad, abs=1e-3)
            assert mine.error_px == (truth.error_px and pytest.approx(truth.error_px, rel=1e-3))


@pytest.mark.parametrize("name", CONFIGS)
def test_in_halves_bodies_stay_within_two_millimetres_and_half_a_pixel(library, bundles, name):
    runner, cpu = runner_of(library, bundles[name], F16), CpuRunner(bundles[name], "f32", 1)
    mine, truth = (one.iterate(seen := one.encode(a_crop()), VIEW, one.initial(seen, VIEW), 3) for one in (runner, cpu))
    assert library.exact == [False, False]
    np.testing.assert_allclose(mine.joints, truth.joints, atol=2e-3)
    np.testing.assert_allclose(mine.markers_px, truth.markers_px, atol=0.5)


def test_one_iteration_after_the_other_is_the_same_as_all_at_once(library, bundles):
    runner = runner_of(library, bundles["edge"])
    seen = runner.encode(a_crop())
    start = runner.initial(seen, VIEW)
    at_once = runner.iterate(seen, VIEW, start, 4)
    by_the_clock = runner.iterate(seen, VIEW, start, 4, deadline_s=monotonic() + 60)
    np.testing.assert_array_equal(at_once.state.pose6d, by_the_clock.state.pose6d)
    assert runner.iterate(seen, VIEW, start, 4, deadline_s=monotonic() - 1).iterations == 1
    assert runner.iterate(seen, VIEW, start, 5, update_rad=3.0).iterations == 1
    assert runner.iterate(seen, VIEW, start, 5, update_rad=1e-9).iterations == 5


def test_a_loop_of_k_iterations_is_one_launch_with_a_context_of_its_own(library, bundles):
    runner = runner_of(library, bundles["edge"])
    seen = runner.encode(a_crop())
    start = runner.initial(seen, VIEW)
    for count in (3, 5, 2):
        contexts = library.contexts
        first = runner.iterate(seen, VIEW, start, count)
        made = library.contexts - contexts
        assert made == (count == 3)  # the settings' 2 and 5 were recorded at the load
        launches = library.cuda.replays
        again = runner.iterate(seen, VIEW, start, count)
        assert library.cuda.replays == launches + 1
        np.testing.assert_array_equal(first.state.pose6d, again.state.pose6d)


def test_nothing_is_recorded_while_a_frame_waits(library, bundles):
    for settings in (F32, msgspec.structs.replace(F32, update_deg=1e-6), msgspec.structs.replace(F32, iterations=3)):
        runner = runner_of(library, bundles["edge"], settings)
        contexts = library.contexts
        seen = runner.encode(a_crop())
        for most in (settings.cold_iterations, settings.iterations):
            runner.iterate(seen, VIEW, runner.initial(seen, VIEW), most, np.deg2rad(settings.update_deg))
        assert library.contexts == contexts


def test_maps_stay_on_the_gpu_and_older_ones_are_saved_before_they_are_written_over(library, bundles):
    runner = runner_of(library, bundles["edge"])
    first = runner.encode(a_crop(0))
    start = runner.initial(first, VIEW)
    truth = runner.iterate(first, VIEW, start, 2)
    second = runner.encode(a_crop(1))
    other = runner.iterate(second, VIEW, start, 2)
    again = runner.iterate(first, VIEW, start, 2)
    np.testing.assert_array_equal(again.state.pose6d, truth.state.pose6d)
    assert np.abs(other.state.pose6d - truth.state.pose6d).max() > 1e-3
    np.testing.assert_array_equal(runner.iterate(second, VIEW, start, 2).state.pose6d, other.state.pose6d)
    by_hand = Seen(np.asarray(first.maps), first.hidden, first.keypoints)
    np.testing.assert_array_equal(runner.iterate(by_hand, VIEW, start, 2).state.pose6d, truth.state.pose6d)


def test_what_was_given_and_what_was_answered_stay_as_they_are(library, bundles):
    runner = runner_of(library, bundles["edge"])
    seen = runner.encode(a_crop())
    start = runner.initial(seen, VIEW)
    before, hidden = start.pose6d.copy(), seen.hidden.copy()
    first = runner.iterate(seen, VIEW, start, 2)
    kept = first.state.pose6d.copy()
    runner.iterate(runner.encode(a_crop(5)), VIEW, first.state, 3)
    np.testing.assert_array_equal(start.pose6d, before)
    np.testing.assert_array_equal(seen.hidden, hidden)
    np.testing.assert_array_equal(first.state.pose6d, kept)


def test_a_body_behind_the_lens_gives_numbers_and_no_crash(library, bundles):
    runner = runner_of(library, bundles["edge"])
    seen = runner.encode(a_crop())
    start = runner.initial(seen, VIEW)
    for cam in ([0.0, 0, 0], [np.nan, 0, 0], [-1.0, 5, 5]):
        runner.iterate(seen, VIEW, State(start.pose6d, start.betas, np.array(cam, np.float32)), 2)


# The cache


def plans() -> list[Path]:
    return sorted(engine_cache.folder().glob("*.plan"))


def test_engines_are_built_once(library, bundles):
    first = runner_of(library, bundles["edge"])
    assert len(library.built) == 2
    assert sorted(first.paths) == plans()
    runner_of(library, bundles["edge"])
    assert len(library.built) == 2


def test_beside_an_engine_stands_what_it_was_made_of_and_for(library, bundles):
    runner = runner_of(library, bundles["edge"], F16)
    facts = msgspec.json.decode(engine_cache.facts_path(runner.paths[1]).read_bytes())
    assert facts["bundle"] == "edge"
    assert (facts["precision"], facts["plugins"]) == ("f16", "none")
    assert (facts["tensorrt"], facts["gpu"], facts["driver"]) == ("11.4.0.106", "Fake GPU", "13.0")


def test_whatever_an_engine_depends_on_changes_its_key(library, bundles, tmp_path, monkeypatch):
    runner_of(library, bundles["edge"])
    seen = {*plans()}

    def new_plans(bundle: Bundle, settings: config.Fit = F32, cuda: FakeCuda | None = None, version: str = "") -> int:
        other = Library(cuda or FakeCuda(), version or "11.4.0.106")
        monkeypatch.setitem(sys.modules, "tensorrt", other.module)
        load_engines(bundle, options_of(settings), other.cuda)
        new = len({*plans()} - seen)
        seen.update(plans())
        return new

    edge = bundles["edge"]
    assert new_plans(edge) == 0
    assert new_plans(bundles["official"]) == 2
    assert new_plans(replace(edge, body=replace(edge.body, digest="another"))) == 1  # the step's
    assert new_plans(replace(edge, card=msgspec.structs.replace(edge.card, scale_floor=0.2))) == 1
    assert new_plans(bundles["edge"], F16) == 2
    assert new_plans(bundles["edge"], version="11.4.0.107") == 2
    for device in (
        Device("Fake GPU 2", "8.7", 16, "13.0"),
        Device("Fake GPU", "9.0", 16, "13.0"),
        Device("Fake GPU", "8.7", 8, "13.0"),
        Device("Fake GPU", "8.7", 16, "13.1"),
    ):
        assert new_plans(bundles["edge"], cuda=FakeCuda(device)) == 2


def test_only_the_steps_key_changes_with_the_plugins_library(library, bundles, tmp_path):
    files = []
    for content in ("BatchedGRU", "BatchedGRU\n\n"):
        (tmp_path / "plugins.so").write_text(content)
        library.creators.clear()
        files.append(load(library, bundles["edge"], tmp_path / "plugins.so").paths)
    assert files[0][0] == files[1][0]
    assert files[0][1] != files[1][1]


@pytest.mark.parametrize("damage", ["cut off", "emptied", "facts lost", "facts garbled", "of another TensorRT"])
def test_a_damaged_engine_is_deleted_and_built_again(library, bundles, caplog, damage):
    path = runner_of(library, bundles["edge"]).paths[1]
    content, facts = path.read_bytes(), engine_cache.facts_path(path)
    if damage == "cut off":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "emptied":
        path.write_bytes(b"")
    elif damage == "facts lost":
        facts.unlink()
    elif damage == "facts garbled":
        facts.write_text("{")
    else:
        engine_cache.write_engine(path, b"PLAN 10.3.0.0\n" + content.partition(b"\n")[2], {})
    with caplog.at_level(logging.WARNING, "refit_rt"):
        runner_of(library, bundles["edge"])
    assert len(library.built) == 3
    assert path.read_bytes() == content
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(told) == 1
    assert "deleted and built again" in told[0]


def test_an_engine_is_written_whole_or_not_at_all(library, bundles, monkeypatch):
    folder = engine_cache.folder()
    engine_cache.write(folder / "one.plan", b"old")

    def breaks(self: Path, target: Path) -> Path:
        assert Path(self).parent == target.parent  # a rename within a folder is atomic
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", breaks)
    with pytest.raises(
        UserError, match=r"one\.plan: cannot be written \(No space left on device\). Set REFIT_RT_CACHE"
    ):
        engine_cache.write(folder / "one.plan", b"new")
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [("one.plan", b"old")]


def test_timings_of_one_build_are_given_to_the_next(library, bundles):
    runner_of(library, bundles["edge"])
    assert library.timings == [b"", b"timed "]
    assert engine_cache.timing_path(library.version, library.cuda.device).read_bytes() == b"timed timed "


def test_the_cpus_answers_are_made_once_and_again_when_damaged(bundles, tmp_path, monkeypatch):
    monkeypatch.setenv("REFIT_RT_CACHE", str(tmp_path))
    made = []

    def truth(bundle: Bundle) -> dict[str, np.ndarray]:
        made.append(bundle)
        return {"maps": np.ones(3)}

    monkeypatch.setattr(engine_check, "made_truth", truth)
    for damage in (None, None, b"PK\x03\x04 half a file", b"nothing of that kind"):
        if damage:
            next((tmp_path / "tensorrt").glob("truth-*")).write_bytes(damage)
        np.testing.assert_array_equal(engine_check.truth_of(bundles["edge"])["maps"], 1)
    assert len(made) == 3


# The plugins


def nodes_built(library: Library) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(library.built[-1]).graph.node if node.domain == "refit"]


@pytest.mark.parametrize(
    ("holds", "nodes"), [("BatchedGRU Look", ["Look", "BatchedGRU"]), ("BatchedGRU", ["BatchedGRU"])]
)
def test_a_step_uses_the_plugins_that_the_library_holds(library, bundles, tmp_path, holds, nodes):
    (tmp_path / "plugins.so").write_text(holds)
    for _ in range(2):  # the second time in one process, too
        engines = load(library, bundles["edge"], tmp_path / "plugins.so")
        assert nodes_built(library) == nodes
        assert engines.uses_plugins
    assert library.loaded == [str(tmp_path / "plugins.so")]
    assert engines.plan.maps.dtype == (np.float16 if "Look" in holds else np.float32)


def test_a_plugins_library_of_no_use_is_refused_with_its_cure(library, bundles, tmp_path):
    with pytest.raises(UserError, match=r"fit.plugins: .*gone\.so is not there. Build it for this machine"):
        load(library, bundles["edge"], tmp_path / "gone.so")
    (tmp_path / "other.so").write_text("SomebodyElses")
    with pytest.raises(UserError, match=r"other\.so cannot be used: it holds no plugin of refit_rt. Build it"):
        load(library, bundles["edge"], tmp_path / "other.so")


# Refusals


def test_answers_that_are_not_the_networks_are_refused(library, bundles):
    def wrong_maps(made: dict[str, np.ndarray]) -> None:
        if "maps" in made:
            made["maps"] += 1

    def wrong_step(made: dict[str, np.ndarray]) -> None:
        if "cam_next" in made:
            made["cam_next"][:, 1] += 0.02  # metres

    def no_number(made: dict[str, np.ndarray]) -> None:
        if "pose6d_next" in made:
            made["pose6d_next"][:] = np.nan

    for spoil, what in ((wrong_maps, "maps"), (wrong_step, "markers after 1"), (no_number, "joints after 1")):
        library.spoil = spoil
        with pytest.raises(UserError, match=rf"^TensorRT: {what} .* off the network's .* and build again") as caught:
            runner_of(library, bundles["edge"])
        assert "\n" not in str(caught.value)


def test_a_file_that_tensorrt_cannot_read_is_refused_with_all_its_errors_in_one_line(library, bundles):
    library.parse_errors = ["In node 3 (GridSample):\n  UNSUPPORTED", "In node 9: Plugin not found"]
    with pytest.raises(UserError) as caught:
        runner_of(library, bundles["edge"])
    assert "\n" not in str(caught.value)
    assert "TensorRT 11.4.0.106 cannot read it: In node 3 (GridSample): UNSUPPORTED; In node 9" in str(caught.value)
    assert str(caught.value).endswith("leave fit.plugins empty")


def test_a_build_that_fails_says_tensorrts_own_reason(library, bundles):
    library.build_fails = True
    with pytest.raises(UserError, match=r"cannot build it: no tactic fits$"):
        runner_of(library, bundles["edge"])
    assert plans() == []


def test_ctrl_c_ends_a_build(library, bundles, monkeypatch):
    monkeypatch.setattr("refit_rt.runners.engine_build.monotonic", clock_that_is_interrupted())
    with pytest.raises(KeyboardInterrupt):
        runner_of(library, bundles["edge"])
    assert plans() == []


def clock_that_is_interrupted():
    """Twice the time is told; then, in the builder's callback, comes Ctrl-C."""
    times = iter([0.0, 0.0])

    def clock() -> float:
        for time_s in times:
            return time_s
        raise KeyboardInterrupt

    return clock


def test_an_engine_that_does_not_run_is_an_error_in_one_line(library, bundles):
    runner = runner_of(library, bundles["edge"])
    library.runs = False
    with pytest.raises(UserError, match="TensorRT: an engine does not run"):
        runner._step.prepare(7, 0, True)


def test_a_precision_that_engines_do_not_have_is_refused(bundles):
    for precision in ("bf16", "int8"):
        with pytest.raises(UserError, match=f"fit.precision: {precision} is not for fit.backend tensorrt"):
            make_runner(config.Fit(backend="tensorrt", precision=precision), bundles["edge"])
    with pytest.raises(UserError, match=r"fit.precision: f16 is for fit.backend tensorrt"):
        make_runner(config.Fit(precision="f16"), bundles["edge"])


def test_without_tensorrt_one_line_says_how_to_get_it(bundles, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(
        UserError, match=r"tensorrt is not installed .*pip install 'refit-rt\[tensorrt\]'.*JetPack"
    ) as it:
        TensorRtRunner(bundles["edge"], F32, FakeCuda())
    assert "\n" not in str(it.value)


def test_a_tensorrt_of_old_is_refused(bundles, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", Library(FakeCuda(), "8.6.2").module)
    with pytest.raises(UserError, match=r"TensorRT 8.6.2 is too old, 10.0 is needed"):
        TensorRtRunner(bundles["edge"], F32, FakeCuda())


@pytest.mark.parametrize(
    ("binding", "module", "says"),
    [("cuda-python", "cuda.bindings", "cuda-python is not installed"), ("pycuda", "pycuda", "pycuda cannot be loaded")],
)
def test_a_missing_cuda_binding_is_named_with_its_cure(monkeypatch, binding, module, says):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    with pytest.raises(UserError, match=rf"{says}.*Install it: pip install.*or set fit.backend to cpu"):
        open_cuda(binding)


def test_importing_the_runner_needs_neither_cuda_nor_tensorrt_nor_onnx():
    code = (
        "import sys\n"
        "for name in ('tensorrt', 'cuda', 'pycuda', 'onnx', 'torch'): sys.modules[name] = None\n"
        "import refit_rt.runners.tensorrt_, refit_rt.runners.cuda_pycuda"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


# The real binding


def test_what_is_called_of_tensorrt_is_there_in_the_real_one():
    trt = pytest.importorskip("tensorrt", reason="needs TensorRT's Python binding", exc_type=ImportError)
    for name in (
        "Builder.create_network", "Builder.build_serialized_network", "Builder.create_builder_config",
        "OnnxParser.parse", "OnnxParser.num_errors", "OnnxParser.get_error", "ParserError.desc",
        "IBuilderConfig.clear_flag", "IBuilderConfig.create_timing_cache", "IBuilderConfig.set_timing_cache",
        "IBuilderConfig.progress_monitor", "ITimingCache.serialize", "Runtime.deserialize_cuda_engine",
        "ICudaEngine.num_io_tensors", "ICudaEngine.get_tensor_name", "ICudaEngine.get_tensor_shape",
        "ICudaEngine.get_tensor_dtype", "ICudaEngine.get_tensor_mode", "ICudaEngine.create_execution_context",
        "IExecutionContext.set_tensor_address", "IExecutionContext.execute_async_v3", "IPluginRegistry.load_library",
        "IPluginRegistry.get_creator", "IProgressMonitor.phase_start", "IProgressMonitor.step_complete",
        "IProgressMonitor.phase_finish", "ILogger.Severity.INTERNAL_ERROR", "ILogger.Severity.ERROR",
        "NetworkDefinitionCreationFlag.STRONGLY_TYPED", "BuilderFlag.TF32", "TensorIOMode.INPUT",
        "get_plugin_registry", "nptype",
    ):  # fmt: skip
        part = trt
        for step in name.split("."):
            assert hasattr(part, step), name
            part = getattr(part, step)
    assert trt.nptype(trt.DataType.HALF) is np.float16


@pytest.mark.trt
def test_engines_of_the_shipped_bundle_answer_as_the_network(monkeypatch, tmp_path):
    pytest.importorskip("tensorrt", reason="needs TensorRT and an NVIDIA GPU", exc_type=ImportError)
    try:
        open_cuda()
        TensorRt()
    except UserError as error:
        pytest.skip(str(error))
    monkeypatch.setenv("REFIT_RT_CACHE", str(tmp_path))
    for settings in SETTINGS.values():
        make_runner(settings, load_bundle(find_bundle("edge")))  # refuses engines that answer otherwise


# The verb


def test_build_says_where_the_engines_are(library, bundles, monkeypatch, capsys):
    monkeypatch.setattr("refit_rt.runners.tensorrt_.open_cuda", lambda binding: library.cuda)
    assert command(["build", str(bundles["edge"].path), "--fit.precision", "f32"]) == 0
    *files, last = capsys.readouterr().out.splitlines()
    assert [line.partition(".plan")[0] + ".plan" for line in files] == [str(path) for path in plans()]
    assert last == "use them with --fit.backend tensorrt"


def test_build_without_tensorrt_ends_with_one_line_and_exit_code_2(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert command(["build"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("refit-rt: fit.backend: tensorrt is not installed")
    assert error.count("\n") == 1


def test_build_writes_the_onnx_files_without_tensorrt(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert command(["build", "--onnx", str(tmp_path / "files")]) == 0
    for name in ("encoder", "step"):
        onnx.checker.check_model(str(tmp_path / "files" / f"{name}.onnx"))
    (tmp_path / "taken").write_text("a file")
    assert command(["build", "--onnx", str(tmp_path / "taken")]) == 2
    assert "cannot be written" in capsys.readouterr().err
