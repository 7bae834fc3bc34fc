"""The TensorRT backend's errors, each in one line with its cure; the verb `build`; and the real binding's names."""

import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("torch", reason="the bundles of this test are made with torch: pip install refit-rt[train]")
onnx = pytest.importorskip("onnx", reason="engines are built from files made with onnx: pip install refit-rt[tensorrt]")
pytest.importorskip("onnxruntime", reason="takes the place of TensorRT")

from refit_rt import config  # noqa: E402
from refit_rt.__main__ import command  # noqa: E402
from refit_rt.bundle.read import find_bundle, load_bundle  # noqa: E402
from refit_rt.errors import UserError  # noqa: E402
from refit_rt.runners.make import make_runner  # noqa: E402
from refit_rt.runners.tensorrt.build import TensorRt  # noqa: E402
from refit_rt.runners.tensorrt.cuda_python import open_cuda  # noqa: E402
from refit_rt.runners.tensorrt.runner import TensorRtRunner  # noqa: E402
from tests.support.engine_calls import F16, F32, plans, runner_of  # noqa: E402
from tests.support.fake_tensorrt import FakeCuda, Library  # noqa: E402
from tests.support.paths import ROOT  # noqa: E402


def test_engines_whose_outputs_differ_from_the_network_are_refused(library, random_bundles):
    def wrong_maps(made: dict[str, np.ndarray]) -> None:
        if "maps" in made:
            made["maps"] += 1

    def wrong_step(made: dict[str, np.ndarray]) -> None:
        if "cam_next" in made:
            made["cam_next"][:, 1] += 0.02  # metres

    def no_number(made: dict[str, np.ndarray]) -> None:
        if "pose6d_next" in made:
            made["pose6d_next"][:] = np.nan

    for spoil, what in (
        (wrong_maps, "maps"),
        (wrong_step, "markers after iteration 1"),
        (no_number, "joints after iteration 1"),
    ):
        library.spoil = spoil
        with pytest.raises(UserError, match=rf"^TensorRT: {what} differ from the network's .* build again") as caught:
            runner_of(library, random_bundles["edge"])
        assert "\n" not in str(caught.value)


def test_a_file_that_tensorrt_cannot_read_is_refused_with_all_its_errors_in_one_line(library, random_bundles):
    library.parse_errors = ["In node 3 (GridSample):\n  UNSUPPORTED", "In node 9: Plugin not found"]
    with pytest.raises(UserError) as caught:
        runner_of(library, random_bundles["edge"])
    assert "\n" not in str(caught.value)
    assert "TensorRT 11.4.0.106 cannot read it (In node 3 (GridSample): UNSUPPORTED; In node 9" in str(caught.value)
    assert str(caught.value).endswith("leave fit.plugins empty")


def test_the_error_of_a_failed_build_holds_tensorrts_own_reason(library, random_bundles):
    library.build_fails = True
    with pytest.raises(UserError, match=r"cannot build it \(no tactic fits\)\. .*or set fit\.backend to cpu$"):
        runner_of(library, random_bundles["edge"])
    assert plans() == []


def test_ctrl_c_ends_a_build(library, random_bundles, monkeypatch):
    monkeypatch.setattr("refit_rt.runners.tensorrt.build.monotonic", clock_that_is_interrupted())
    with pytest.raises(KeyboardInterrupt):
        runner_of(library, random_bundles["edge"])
    assert plans() == []


def clock_that_is_interrupted():
    """A clock that gives the time twice; then, in the builder's callback, it raises KeyboardInterrupt."""
    times = iter([0.0, 0.0])

    def clock() -> float:
        for time_s in times:
            return time_s
        raise KeyboardInterrupt

    return clock


def test_an_engine_that_does_not_run_is_an_error_in_one_line(library, random_bundles):
    runner = runner_of(library, random_bundles["edge"])
    library.runs = False
    with pytest.raises(UserError, match="TensorRT: an engine does not run"):
        runner._step.prepare(7, 0, True)


def test_a_precision_that_engines_do_not_support_is_refused(random_bundles):
    for precision in ("bf16", "int8"):
        with pytest.raises(UserError, match=f"fit.precision: {precision} does not work with fit.backend tensorrt"):
            make_runner(config.Fit(backend="tensorrt", precision=precision), random_bundles["edge"])
    with pytest.raises(UserError, match=r"fit.precision: f16 does not work with fit.backend cpu"):
        make_runner(config.Fit(precision="f16"), random_bundles["edge"])


def test_without_tensorrt_one_line_says_how_to_install_it(random_bundles, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(
        UserError, match=r"tensorrt is not installed .*pip install 'refit-rt\[tensorrt\]'.*JetPack"
    ) as it:
        TensorRtRunner(random_bundles["edge"], F32, FakeCuda())
    assert "\n" not in str(it.value)


def test_an_old_tensorrt_is_refused(random_bundles, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", Library(FakeCuda(), "8.6.2").module)
    with pytest.raises(UserError, match=r"TensorRT 8.6.2 is too old, 10.0 is needed"):
        TensorRtRunner(random_bundles["edge"], F32, FakeCuda())


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
        "import refit_rt.runners.tensorrt.runner, refit_rt.runners.tensorrt.cuda_pycuda"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_build_prints_the_paths_of_the_engines(library, random_bundles, monkeypatch, capsys):
    monkeypatch.setattr("refit_rt.runners.tensorrt.runner.open_cuda", lambda binding: library.cuda)
    assert command(["build", str(random_bundles["edge"].path), "--fit.precision", "f32"]) == 0
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


def test_the_real_tensorrt_has_every_name_that_is_used():
    trt = pytest.importorskip("tensorrt", reason="needs TensorRT's Python binding", exc_type=ImportError)
    for name in (
        "Builder.create_network",
        "Builder.build_serialized_network",
        "Builder.create_builder_config",
        "OnnxParser.parse",
        "OnnxParser.num_errors",
        "OnnxParser.get_error",
        "ParserError.desc",
        "IBuilderConfig.clear_flag",
        "IBuilderConfig.create_timing_cache",
        "IBuilderConfig.set_timing_cache",
        "IBuilderConfig.progress_monitor",
        "ITimingCache.serialize",
        "Runtime.deserialize_cuda_engine",
        "ICudaEngine.num_io_tensors",
        "ICudaEngine.get_tensor_name",
        "ICudaEngine.get_tensor_shape",
        "ICudaEngine.get_tensor_dtype",
        "ICudaEngine.get_tensor_mode",
        "ICudaEngine.create_execution_context",
        "IExecutionContext.set_tensor_address",
        "IExecutionContext.execute_async_v3",
        "IPluginRegistry.load_library",
        "IPluginRegistry.get_creator",
        "IProgressMonitor.phase_start",
        "IProgressMonitor.step_complete",
        "IProgressMonitor.phase_finish",
        "ILogger.Severity.INTERNAL_ERROR",
        "ILogger.Severity.ERROR",
        "NetworkDefinitionCreationFlag.STRONGLY_TYPED",
        "BuilderFlag.TF32",
        "TensorIOMode.INPUT",
        "get_plugin_registry",
        "nptype",
    ):
        part = trt
        for step in name.split("."):
            assert hasattr(part, step), name
            part = getattr(part, step)
    assert trt.nptype(trt.DataType.HALF) is np.float16


@pytest.mark.trt
def test_engines_of_the_shipped_bundle_give_the_networks_outputs(monkeypatch, tmp_path):
    pytest.importorskip("tensorrt", reason="needs TensorRT and an NVIDIA GPU", exc_type=ImportError)
    try:
        open_cuda()
        TensorRt()
    except UserError as error:
        pytest.skip(str(error))
    monkeypatch.setenv("REFIT_RT_CACHE", str(tmp_path))
    for settings in (F32, F16):
        make_runner(settings, load_bundle(find_bundle("edge")))  # it refuses engines whose outputs differ
