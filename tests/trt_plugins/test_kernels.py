"""The CUDA kernels, compiled for the CPU, give the torch network's numbers; test_gpu.py asks the same of a GPU."""

import ctypes
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the twin of the kernels is in torch: pip install refit-rt[train]")
onnx = pytest.importorskip("onnx", reason="exporting needs onnx: pip install refit-rt[train]")

from refit_rt.bundle.read import SHIPPED, Bundle, load_bundle  # noqa: E402
from refit_rt.errors import UserError  # noqa: E402
from refit_rt.model.camera import box_features  # noqa: E402
from refit_rt.runners.tensorrt.graph.step import step_model  # noqa: E402
from refit_rt.runners.torch import cuda_ops  # noqa: E402
from refit_rt.runners.torch.cuda_ops import KERNELS, SOURCES, CudaError, FeedbackSizes, Kernels, compiled_kernels  # noqa: E402
from refit_rt.runners.torch.kernels import kernels_for  # noqa: E402
from tests.support.paths import ROOT  # noqa: E402
from tests.support.trt_calls import (  # noqa: E402
    FEEDBACK,
    FEEDBACK_TOLERANCE,
    TOLERANCE,
    check_loop,
    cloud_body,
    feedback_case,
    gru_case,
    seen_by,
    some_bodies,
)

SHIM = ROOT / "tests" / "support" / "trt_shim"
FLAGS = ["-std=c++17", "-O1", "-U_FORTIFY_SOURCE", "-fno-strict-aliasing", "-Wno-unknown-pragmas", "-shared", "-fPIC"]


@pytest.fixture(scope="session")
def on_cpu(tmp_path_factory) -> Kernels:
    """The same .cu files, each CUDA thread a fibre."""
    compiler = shutil.which("g++")
    folder = tmp_path_factory.mktemp("kernels")
    probe = folder / "probe.cpp"
    probe.write_text("#include <ucontext.h>\nint main() { _Float16 half = 1; return half != 1; }")
    if compiler is None or subprocess.run([compiler, probe, "-o", folder / "probe"], capture_output=True).returncode:
        pytest.skip("needs g++ with _Float16 (12 or newer on x86) on a system with ucontext")
    sources = [*(SOURCES / name for name in KERNELS), SHIM / "simt.cpp"]
    library = folder / "kernels.so"
    done = subprocess.run(
        [compiler, *FLAGS, "-I", SHIM, "-I", SOURCES, "-x", "c++", *sources, "-o", library],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return Kernels(library)


@pytest.fixture
def order(on_cpu):
    """Sets the order in which threads take turns; forwards again afterwards."""
    shim = ctypes.CDLL(str(on_cpu.path))
    yield shim.simt_order
    shim.simt_order(0)


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
@pytest.mark.parametrize("persons", [1, 2, 3, 4, 5])
def test_the_gru_kernel_is_the_network_within_a_millionth_or_half_precision(on_cpu, persons, half):
    case = gru_case(persons, half, seed=persons)
    for ours, theirs in zip(case.run(on_cpu), case.truth, strict=True):
        torch.testing.assert_close(ours, theirs, atol=TOLERANCE[half], rtol=TOLERANCE[half])


@pytest.mark.parametrize(("local", "half"), [(0, False), (4, False), (200, True), (512, True), (1024, False)])
def test_the_gru_kernel_takes_other_widths(on_cpu, local, half):
    case = gru_case(2, half, local)
    for ours, theirs in zip(case.run(on_cpu), case.truth, strict=True):
        torch.testing.assert_close(ours, theirs, atol=TOLERANCE[half], rtol=TOLERANCE[half])


def test_the_scale_floor_holds_the_scale_alone_and_can_be_left_out(on_cpu):
    free, held = (gru_case(4, scale_floor=floor).run(on_cpu)[3] for floor in (None, 0.5))
    assert free[:, 0].min() < 0.5
    torch.testing.assert_close(held[:, 0], free[:, 0].clamp_min(0.5))
    assert torch.equal(held[:, 1:], free[:, 1:])


@pytest.mark.parametrize("turn", [1, 2, 3], ids=["backwards", "shuffled", "shuffled otherwise"])
def test_the_gru_kernel_lacks_no_barrier(on_cpu, order, turn):
    case = gru_case(3)
    forwards = case.run(on_cpu)
    order(turn)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(case.run(on_cpu), forwards, strict=True))


@pytest.mark.parametrize(("local", "half"), [(6, False), (252, True), (1032, True), (-4, False)])
def test_widths_that_the_gru_kernel_cannot_read_are_refused(on_cpu, local, half):
    with pytest.raises(CudaError, match="batched_gru: CUDA error 1"):
        on_cpu.batched_gru([0] * 17, [0] * 4, 1, local, None, half)


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
@pytest.mark.parametrize("persons", [1, 2, 3, 4, 5])
def test_the_feedback_kernel_is_the_networks_feedback(on_cpu, persons, half):
    case = feedback_case(persons, half, seed=persons)
    torch.testing.assert_close(case.run(on_cpu)[0], case.truth[0], atol=FEEDBACK_TOLERANCE[half], rtol=0)


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
def test_the_feedback_kernel_bends_a_body_with_pose_blend_shapes(on_cpu, half):
    case = feedback_case(2, half, body=cloud_body())
    torch.testing.assert_close(case.run(on_cpu)[0], case.truth[0], atol=FEEDBACK_TOLERANCE[half], rtol=0)


@pytest.mark.parametrize(
    ("change", "cells"),
    [
        ({"keypoint_feedback": False}, 64),
        ({"window_radius": 2, "flow": 4, "local": 40}, 32),
        ({"window_radius": 0, "flow": 8, "local": 8, "keypoint_feedback": False}, 64),
        ({"crop_px": 192, "local": 260}, 48),
    ],
    ids=["no landmarks", "5x5 windows", "one cell", "a smaller crop"],
)
def test_the_feedback_kernel_takes_other_sizes(on_cpu, change, cells):
    case = feedback_case(2, config=replace(FEEDBACK, **change), cells=cells)
    torch.testing.assert_close(case.run(on_cpu)[0], case.truth[0], atol=FEEDBACK_TOLERANCE[False], rtol=0)


@pytest.mark.parametrize("turn", [1, 2, 3], ids=["backwards", "shuffled", "shuffled otherwise"])
def test_the_feedback_kernel_lacks_no_barrier(on_cpu, order, turn):
    case = feedback_case(1, body=cloud_body())
    forwards = case.run(on_cpu)[0]
    order(turn)
    assert torch.equal(case.run(on_cpu)[0], forwards)


@pytest.mark.parametrize("cam", [(0.0, 0.0, 0.0), (float("nan"), 0.0, 0.0), (-1.0, 5.0, 5.0), (0.9, 1e30, 0.0)])
def test_a_body_that_projects_to_nonsense_sees_nothing(on_cpu, cam):
    case = feedback_case(1, config=replace(FEEDBACK, keypoint_feedback=False))
    case.inputs[3].inner.copy_(torch.tensor([cam]))
    seen = case.run(on_cpu)[0]
    assert seen.isfinite().all()
    dark = feedback_case(1, config=replace(FEEDBACK, keypoint_feedback=False))
    dark.inputs[0].inner.zero_()
    torch.testing.assert_close(seen, dark.run(on_cpu)[0], atol=1e-6, rtol=0)


GOOD = FeedbackSizes(1, 67, 64, 64, 256, 5, 3, 1, 256, 256.0)


@pytest.mark.parametrize(
    "sizes",
    [
        replace(GOOD, persons=0),
        replace(GOOD, markers=120),
        replace(GOOD, radius=6),
        replace(GOOD, pose_rows=0),
        replace(GOOD, pose_rows=208),
        replace(GOOD, hidden=250),
        replace(GOOD, markers=100_000),
    ],
)
def test_sizes_that_do_not_fit_the_feedback_kernel_are_refused(on_cpu, sizes):
    with pytest.raises(CudaError, match="feedback: CUDA error 1"):
        on_cpu.feedback([0] * 19, 0, sizes, half=False)


@pytest.fixture(scope="session")
def edge() -> Bundle:
    return load_bundle(SHIPPED / "edge")


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
def test_two_launches_an_iteration_are_the_shipped_networks_loop(edge, on_cpu, half):
    check_loop(edge, on_cpu, half, "cpu", 1e-2 if half else 1e-4)


def test_without_nvcc_it_is_told_and_the_loop_stays_in_torch(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(cuda_ops.shutil, "which", lambda *_, **__: None)
    with pytest.raises(UserError, match=r"nvcc: not found\. Install the CUDA toolkit, or set CUDA_HOME"):
        compiled_kernels((9, 0), tmp_path)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    assert kernels_for("cuda") is None
    assert "the loop runs in plain torch: nvcc: not found" in caplog.text
    assert kernels_for("cpu") is None


def test_sources_that_are_not_there_are_told(monkeypatch, tmp_path):
    monkeypatch.setattr(cuda_ops, "SOURCES", tmp_path)
    with pytest.raises(UserError, match="Run from a checkout"):
        compiled_kernels((9, 0), tmp_path)


def test_a_compiler_that_fails_is_quoted_and_leaves_nothing(monkeypatch, tmp_path):
    nvcc = tmp_path / "nvcc"
    nvcc.write_text("#!/bin/sh\ntest $1 = --version || { echo 'nvcc fatal : Unsupported gpu' >&2; exit 1; }\n")
    nvcc.chmod(0o755)
    monkeypatch.setattr(cuda_ops, "find_nvcc", lambda: str(nvcc))
    with pytest.raises(UserError, match=r"for sm_35 \(nvcc fatal : Unsupported gpu"):
        compiled_kernels((3, 5), tmp_path)
    assert not list((tmp_path / "kernels").iterdir())


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
def test_the_exported_step_of_both_nodes_is_the_exported_step_without(edge, on_cpu, half):
    runtime = pytest.importorskip("onnxruntime", reason="runs the step without our nodes: pip install refit-rt[train]")
    torch.manual_seed(0)
    maps, keypoints = seen_by(FEEDBACK, 1)
    state, view = some_bodies(1)
    places = torch.cat([view.square, view.focal_px[:, None], view.centre_px], dim=1)
    given = {"maps": maps, "keypoints": keypoints, "hidden": torch.randn(1, 26, 32).tanh(), **state._asdict()}
    feed = {name: part.numpy() for name, part in given.items()} | {"view": places.numpy()}
    feed["box"] = box_features(view).numpy()
    plain = runtime.InferenceSession(step_model(edge, False, "none").SerializeToString())
    truth = dict(zip((port.name for port in plain.get_outputs()), plain.run(None, feed), strict=True))
    answers = played(step_model(edge, half, "both"), on_cpu, feed, half)
    for name, array in truth.items():
        np.testing.assert_allclose(answers[name], array, atol=1e-2 if half else 1e-4, err_msg=name)


def played(model, kernels: Kernels, feed: dict[str, np.ndarray], half: bool) -> dict[str, np.ndarray]:
    """What a graph of the two nodes alone makes of `feed`; arrays lie where torch puts them, at multiples of 64."""
    arrays = feed | {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for port in model.graph.input:
        arrays[port.name] = arrays[port.name].astype(
            onnx.helper.tensor_dtype_to_np_dtype(port.type.tensor_type.elem_type)
        )
    tensors = {name: torch.tensor(array) for name, array in arrays.items()}
    kind = torch.float16 if half else torch.float32
    for node in model.graph.node:
        fields = {field.name: onnx.helper.get_attribute_value(field) for field in node.attribute}
        inputs = [tensors[name].data_ptr() for name in node.input]
        assert (node.domain, fields["plugin_version"], fields["plugin_namespace"]) == ("refit", b"1", b"refit")
        if node.op_type == "Feedback":
            (persons, markers, side, _), blend, local = (tensors[node.input[i]].shape for i in (0, 7, 12))
            flow, units = tensors[node.input[10]].shape[1], len(tensors[node.input[16]])
            window = (local[0], flow, fields["radius"], blend[0] - 11, units, fields["crop_px"])
            sizes = FeedbackSizes(persons, markers, side, side, *window)
            tensors[node.output[0]] = torch.full((1, local[0]), torch.nan, dtype=kind)
            kernels.feedback(inputs, tensors[node.output[0]].data_ptr(), sizes, half)
        else:
            shapes = ((1, 26, 32), (1, 144), (1, 10), (1, 3))
            made = [torch.full(shape, torch.nan, dtype=kind if not i else None) for i, shape in enumerate(shapes)]
            tensors |= dict(zip(node.output, made, strict=True))
            outputs, local = [part.data_ptr() for part in made], tensors[node.input[1]].shape[1]
            kernels.batched_gru(inputs, outputs, 1, local, fields["scale_floor"], half)
    return {port.name: tensors[port.name].float().numpy() for port in model.graph.output}
