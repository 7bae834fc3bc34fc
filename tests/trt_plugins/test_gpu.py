"""The CUDA kernels on a GPU: each alone, recorded in graphs, the whole loop, and under compute-sanitizer."""

import os
import shutil
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="the twin of the kernels is in torch: pip install refit-rt[train]")

from torch import Tensor  # noqa: E402

from refit_rt.bundle.read import SHIPPED, load_bundle  # noqa: E402
from refit_rt.errors import UserError  # noqa: E402
from refit_rt.runners.torch.cuda_ops import Kernels, compiled_kernels  # noqa: E402
from tests.support.paths import ROOT  # noqa: E402
from tests.support.trt_calls import FEEDBACK_TOLERANCE, TOLERANCE, Case, check_loop, cloud_body, feedback_case, gru_case  # noqa: E402

pytestmark = pytest.mark.gpu


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


@KINDS
@pytest.mark.parametrize("persons", range(1, 17))
def test_both_kernels_on_a_gpu_are_the_network(on_gpu, persons, half):
    for case, tolerance in both_cases(persons, half):
        assert_true(case.run(on_gpu, torch.cuda.current_stream().cuda_stream), case, tolerance)


@KINDS
def test_a_body_with_pose_blend_shapes_on_a_gpu(on_gpu, half):
    case = feedback_case(3, half, body=cloud_body(), device="cuda")
    assert_true(case.run(on_gpu, torch.cuda.current_stream().cuda_stream), case, FEEDBACK_TOLERANCE[half])


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


@KINDS
def test_the_replayed_loop_on_a_gpu_is_the_shipped_networks_loop(on_gpu, half):
    check_loop(load_bundle(SHIPPED / "edge"), on_gpu, half, "cuda", 1e-2 if half else 1e-4)


@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "synccheck"])
def test_compute_sanitizer_finds_nothing(on_gpu, tool):
    if (sanitizer := shutil.which("compute-sanitizer")) is None:
        pytest.skip("needs compute-sanitizer")
    code = (
        "from tests.support.trt_calls import *\n"
        f"kernels = Kernels({str(on_gpu.path)!r})\n"
        "for half in (False, True):\n"
        "    for persons in (1, 2, 5):\n"
        "        gru_case(persons, half, device='cuda').run(kernels)\n"
        "        feedback_case(persons, half, body=cloud_body(), device='cuda').run(kernels)\n"
    )
    command = [sanitizer, "--tool", tool, "--error-exitcode", "9", sys.executable]
    # Each array in memory of its own: in torch's blocks of 2 MB a read past an array's end is no error.
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    done = subprocess.run([*command, "-c", code], capture_output=True, text=True, env=environment, timeout=90)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def both_cases(persons: int, half: bool) -> list[tuple[Case, float]]:
    gru, feedback = (make(persons, half, seed=persons, device="cuda") for make in (gru_case, feedback_case))
    return [(gru, TOLERANCE[half]), (feedback, FEEDBACK_TOLERANCE[half])]


def assert_true(answers: list[Tensor], case: Case, tolerance: float) -> None:
    for ours, theirs in zip(answers, case.truth, strict=True):
        torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)
