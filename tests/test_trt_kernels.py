"""The CUDA kernels give the torch network's numbers: compiled for the CPU everywhere, and on a GPU where one is."""

import ctypes
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the twin of the kernels is in torch: pip install refit-rt[train]")

from torch import Tensor  # noqa: E402
from trt_calls import LOOK, Case, cloud_body, gru_case, look_case, seen_by, some_bodies  # noqa: E402

from refit_rt.bundle import SHIPPED, Bundle, load_bundle  # noqa: E402
from refit_rt.errors import UserError  # noqa: E402
from refit_rt.model import feedback  # noqa: E402
from refit_rt.model.refit import Encoded  # noqa: E402
from refit_rt.runners import cuda_ops  # noqa: E402
from refit_rt.runners.cuda_ops import KERNELS, SOURCES, CudaError, Kernels, LookSizes, compiled_kernels  # noqa: E402
from refit_rt.runners.torch_ import loop_of, moved  # noqa: E402
from refit_rt.runners.torch_kernels import KernelLoop, kernels_for  # noqa: E402
from tools import bench_cuda  # noqa: E402

SHIM = Path(__file__).parent / "trt_shim"
TOLERANCE = {False: 1e-6, True: 1e-3}  # of numbers of size 1, by whether T is float16
# In single precision a marker's pixel is known to a 20 000th of a cell, and a map's slope makes 2e-6 of that.
LOOK_TOLERANCE = {False: 4e-6, True: 1e-3}
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
def test_the_look_kernel_is_the_networks_feedback(on_cpu, persons, half):
    case = look_case(persons, half, seed=persons)
    torch.testing.assert_close(case.run(on_cpu)[0], case.truth[0], atol=LOOK_TOLERANCE[half], rtol=0)


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
def test_the_look_kernel_bends_a_body_with_pose_blend_shapes(on_cpu, half):
    case = look_case(2, half, body=cloud_body())
    torch.testing.assert_close(case.run(on_cpu)[0], case.truth[0], atol=LOOK_TOLERANCE[half], rtol=0)


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
def test_the_look_kernel_takes_other_sizes(on_cpu, change, cells):
    case = look_case(2, config=replace(LOOK, **change), cells=cells)
    torch.testing.assert_close(case.run(on_cpu)[0], case.truth[0], atol=LOOK_TOLERANCE[False], rtol=0)


@pytest.mark.parametrize("turn", [1, 2, 3], ids=["backwards", "shuffled", "shuffled otherwise"])
def test_the_look_kernel_lacks_no_barrier(on_cpu, order, turn):
    case = look_case(1, body=cloud_body())
    forwards = case.run(on_cpu)[0]
    order(turn)
    assert torch.equal(case.run(on_cpu)[0], forwards)


@pytest.mark.parametrize("cam", [(0.0, 0.0, 0.0), (float("nan"), 0.0, 0.0), (-1.0, 5.0, 5.0), (0.9, 1e30, 0.0)])
def test_a_body_that_projects_to_nonsense_sees_nothing(on_cpu, cam):
    case = look_case(1, config=replace(LOOK, keypoint_feedback=False))
    case.inputs[3].inner.copy_(torch.tensor([cam]))
    seen = case.run(on_cpu)[0]
    assert seen.isfinite().all()
    dark = look_case(1, config=replace(LOOK, keypoint_feedback=False))
    dark.inputs[0].inner.zero_()
    torch.testing.assert_close(seen, dark.run(on_cpu)[0], atol=1e-6, rtol=0)


GOOD = LookSizes(1, 67, 64, 64, 256, 5, 3, 1, 256, 256.0)


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
def test_sizes_that_do_not_fit_the_look_kernel_are_refused(on_cpu, sizes):
    with pytest.raises(CudaError, match="look: CUDA error 1"):
        on_cpu.look([0] * 19, 0, sizes, half=False)


@pytest.fixture(scope="session")
def edge() -> Bundle:
    return load_bundle(SHIPPED / "edge")


@torch.no_grad()
def check_loop(bundle: Bundle, kernels: Kernels, half: bool, device: str, tolerance: float) -> None:
    """Some iterations of both kernels, in one go and in two, against the network's own steps."""
    torch.manual_seed(0)
    model = loop_of(bundle)
    maps, keypoints = seen_by(model.config, 2)
    state, view = some_bodies(2)
    crop = Encoded(maps, torch.zeros(2, 26, 32), keypoints)
    truth = [estimate.state for estimate in model.steps(crop, view, model.place(state, view), 2)]
    loop = KernelLoop(bundle, kernels, 2, half, device)
    for parts in ((2,), (1, 1)):
        loop.begin(maps, keypoints, moved(view, device), moved(state, device))
        for part in parts:
            loop.advance(part)
        for now, true in ((loop.state, truth[1]), (loop.before, truth[0])):
            for ours, theirs in zip(now, true, strict=True):
                torch.testing.assert_close(ours.cpu(), theirs, atol=tolerance, rtol=tolerance)


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


def test_the_look_up_that_can_be_recorded_is_the_networks():
    torch.manual_seed(0)
    maps, markers_px = torch.randn(2, 5, 64, 64), 300 * torch.rand(2, 5, 2) - 20
    offsets = feedback.window_offsets(3)
    assert torch.equal(bench_cuda.look_up(maps, markers_px, offsets), feedback.look_up(maps, markers_px, offsets))


@pytest.fixture(scope="session")
def on_gpu(tmp_path_factory) -> Kernels:
    """The kernels as they are meant."""
    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU")
    try:
        return Kernels(compiled_kernels(torch.cuda.get_device_capability(), tmp_path_factory.mktemp("cache")))
    except UserError as error:
        pytest.skip(str(error))


KINDS = pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])


@pytest.mark.gpu
@KINDS
@pytest.mark.parametrize("persons", range(1, 17))
def test_both_kernels_on_a_gpu_are_the_network(on_gpu, persons, half):
    for case, tolerance in both_cases(persons, half):
        assert_true(case.run(on_gpu, torch.cuda.current_stream().cuda_stream), case, tolerance)


@pytest.mark.gpu
@KINDS
def test_a_body_with_pose_blend_shapes_on_a_gpu(on_gpu, half):
    case = look_case(3, half, body=cloud_body(), device="cuda")
    assert_true(case.run(on_gpu, torch.cuda.current_stream().cuda_stream), case, LOOK_TOLERANCE[half])


@pytest.mark.gpu
@KINDS
@pytest.mark.parametrize("persons", [1, 4, 16])
def test_both_kernels_recorded_in_a_graph_answer_at_each_replay(on_gpu, persons, half):
    for case, tolerance in both_cases(persons, half):
        case.run(on_gpu)  # a first launch loads the kernel, which cannot be recorded
        graph = torch.cuda.CUDAGraph()
        case.poison()
        with torch.cuda.graph(graph):
            case.call(on_gpu, torch.cuda.current_stream().cuda_stream)
        assert all(answer.isnan().all() for answer in case.answers())
        for _ in range(3):
            case.poison()
            graph.replay()
            assert_true(case.answers(), case, tolerance)


@pytest.mark.gpu
@KINDS
def test_the_replayed_loop_on_a_gpu_is_the_shipped_networks_loop(edge, on_gpu, half):
    check_loop(edge, on_gpu, half, "cuda", 1e-2 if half else 1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "synccheck"])
def test_compute_sanitizer_finds_nothing(on_gpu, tool):
    if (sanitizer := shutil.which("compute-sanitizer")) is None:
        pytest.skip("needs compute-sanitizer")
    code = (
        "from trt_calls import *\n"
        f"kernels = Kernels({str(on_gpu.path)!r})\n"
        "for half in (False, True):\n"
        "    for persons in (1, 2, 5):\n"
        "        gru_case(persons, half, device='cuda').run(kernels)\n"
        "        look_case(persons, half, body=cloud_body(), device='cuda').run(kernels)\n"
    )
    tests = Path(__file__).parent
    command = [sanitizer, "--tool", tool, "--error-exitcode", "9", sys.executable]
    environment = os.environ | {"PYTHONPATH": f"{tests}:{tests.parent}"}
    done = subprocess.run([*command, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def both_cases(persons: int, half: bool) -> list[tuple[Case, float]]:
    gru, look = (make(persons, half, seed=persons, device="cuda") for make in (gru_case, look_case))
    return [(gru, TOLERANCE[half]), (look, LOOK_TOLERANCE[half])]


def assert_true(answers: list[Tensor], case: Case, tolerance: float) -> None:
    for ours, theirs in zip(answers, case.truth, strict=True):
        torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)
