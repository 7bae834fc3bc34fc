"""One iteration of the loop on an NVIDIA GPU, in microseconds: plain torch beside the CUDA kernels.

Medians of many runs of five iterations, each from other bodies, maps and landmarks. A run is timed from an idle GPU to
the last state. The last rows are one kernel by itself, a hundred launches in one graph, and the time that the weights
alone take at the memory bandwidth measured here: the least that an iteration could take out of a cold cache.
"""

import logging
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor

from refit_rt.bundle.read import Bundle, find_bundle, load_bundle
from refit_rt.commands.bench.loop import SeparateGRUs, WholeMesh, smpl_sized_body, uniform_regressor
from refit_rt.commands.bench.table import Table
from refit_rt.config import Fit
from refit_rt.errors import UserError
from refit_rt.model.camera import View
from refit_rt.model.config import MAP_STRIDE
from refit_rt.model.refit import Encoded, ReFit
from refit_rt.model.update import State
from refit_rt.runners.torch.cuda_ops import Kernels, compiled_kernels
from refit_rt.runners.torch.kernels import KernelLoop
from refit_rt.runners.torch.runner import loop_of, moved

log = logging.getLogger(__name__)

BATCHES = (1, 4, 16)
ITERATIONS, SETS, WARM_UP, RUNS, ALONE = 5, 8, 20, 200, 100
Inputs = tuple[Encoded, View, State]
Run = Callable[[], Any]


def measure(fit: Fit) -> Table:
    """Microseconds per iteration, one column per precision and number of persons. Raises UserError without a GPU."""
    if not torch.cuda.is_available():
        raise UserError("bench kernels: torch finds no NVIDIA GPU. Run it on a machine with one, with torch for CUDA")
    bundle = load_bundle(find_bundle(fit.bundle), fit.body)
    kernels = Kernels(compiled_kernels(torch.cuda.get_device_capability()))
    rows: dict[str, list[str]] = {}
    with torch.no_grad(), torch.device("cuda"):
        for half in (False, True):
            for persons in BATCHES:
                for name, microseconds in measured(bundle, kernels, persons, half).items():
                    rows.setdefault(name, [name]).append(f"{microseconds:.1f}" if microseconds else "none")
    heads = [f"{kind}, {persons}" for kind in ("fp32", "fp16") for persons in BATCHES]
    return Table(["µs per iteration, by type and persons", *heads], list(rows.values()))


def gpu() -> str:
    """The machine, for the table."""
    return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"


def measured(bundle: Bundle, kernels: Kernels, persons: int, half: bool) -> dict[str, float | None]:
    """Name → microseconds per iteration; None for what torch could not record."""
    plain, official = prepared(loop_of(bundle), half), as_official(loop_of(bundle), half)
    inputs = [made_up(plain, persons, seed) for seed in range(SETS)]
    loop = KernelLoop(bundle, kernels, persons, half)

    def begin(number: int) -> None:
        crop, view, state = inputs[number % SETS]
        loop.begin(crop.maps, crop.keypoints, view, state)

    def launch() -> None:
        loop.launch(ITERATIONS)

    return {
        "torch, whole mesh and a product a gate, as the official code": torch_us(official, inputs, recorded=False),
        "torch": torch_us(plain, inputs, recorded=False),
        "torch in a graph": torch_us(plain, inputs, recorded=True),
        "kernels": timed(begin, launch) / ITERATIONS,
        "kernels in a graph": timed(begin, lambda: loop.advance(ITERATIONS)) / ITERATIONS,
        "kernel Feedback by itself": alone_us(loop.launch_feedback),
        "kernel BatchedGRU by itself": alone_us(loop.launch_update),
        "all weights at memory bandwidth": floor_us(loop.weight_bytes),
    }


def timed(begin: Callable[[int], None], run: Run) -> float:
    """Median microseconds of `run` on an idle GPU, after `begin(number of the run)`."""
    times = []
    for number in range(WARM_UP + RUNS):
        begin(number)
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        times.append(1000 * start.elapsed_time(end))
    return median(times[WARM_UP:])


def torch_us(model: ReFit, inputs: list[Inputs], recorded: bool) -> float | None:
    """Microseconds per iteration of the network itself; None where it cannot be recorded as a graph."""
    crop, view, state = copies(inputs[0])

    def begin(number: int) -> None:
        for room, part in zip((crop, view, state), inputs[number % SETS], strict=True):
            for old, new in zip(room, part, strict=True):
                old.copy_(new)  # type: ignore[union-attr]

    def run() -> None:
        for _ in model.steps(crop, view, model.place(state, view), ITERATIONS):
            pass

    if not recorded:
        return timed(begin, run) / ITERATIONS
    return recorded_us(begin, run)


def recorded_us(begin: Callable[[int], None], run: Run) -> float | None:
    run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            run()
    except RuntimeError as error:
        log.warning("torch's loop cannot be recorded: %s", error)
        return None
    return timed(begin, graph.replay) / ITERATIONS


def copies(inputs: Inputs) -> Inputs:
    crop, view, state = inputs
    keypoints = None if crop.keypoints is None else crop.keypoints.clone()
    return (
        Encoded(crop.maps.clone(), crop.hidden.clone(), keypoints),
        View(*map(torch.clone, view)),
        State(*map(torch.clone, state)),
    )


def alone_us(launch: Run) -> float:
    """Microseconds of one launch among many of the same in a graph."""
    launch()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(ALONE):
            launch()
    return timed(lambda _: None, graph.replay) / ALONE


def floor_us(weight_bytes: int) -> float:
    """Microseconds that reading so many bytes takes at the bandwidth of a large copy."""
    size = 1 << 28
    source, target = (torch.empty(size, dtype=torch.uint8) for _ in range(2))
    copy_us = timed(lambda _: None, lambda: target.copy_(source))
    return weight_bytes * copy_us / (2 * size)


def prepared(model: ReFit, half: bool) -> ReFit:
    """On the GPU; half: what the kernels hold in float16 is in float16, the body and the state are not."""
    model = model.cuda()
    model.body = model.body.cuda()
    parts = [model.update, model.regressor, model.feedback.flow, model.feedback.local, model.feedback.keypoints]
    for part in parts if half else []:
        if part is not None:
            part.half()
            part.register_forward_pre_hook(lambda _, given: as_type(given, torch.float16))
            part.register_forward_hook(lambda _module, _given, made: as_type(made, torch.float32))
    return model


def as_type(parts: Any, kind: torch.dtype) -> Any:
    """Tensors, and tensors in tuples, in another type."""
    if isinstance(parts, State):
        return State._make(part.to(kind) for part in parts)
    return tuple(as_type(part, kind) for part in parts) if isinstance(parts, tuple) else parts.to(kind)


def as_official(model: ReFit, half: bool) -> ReFit:
    """The same network written as the official code writes it, on a body of SMPL's size."""
    gru = SeparateGRUs(model.update.gru.cuda())
    if half:
        gru.gates = [[(weight.half(), bias.half()) for weight, bias in gates] for gates in gru.gates]
    model = prepared(model, half)
    model.update.gru = gru  # type: ignore[assignment]
    model.body = WholeMesh(smpl_sized_body(), uniform_regressor()).cuda()  # type: ignore[assignment]
    return model


def made_up(model: ReFit, persons: int, seed: int) -> Inputs:
    """Random maps, landmarks and bodies of as many persons, upright in their crops."""
    torch.manual_seed(seed)
    config = model.config
    cells = config.crop_px // MAP_STRIDE
    upright = torch.tensor([1.0, 0, 0, 1, 0, 0]).repeat(24)
    upright[3] = -1
    cam = torch.tensor([0.9, 0, 0]) + 0.1 * torch.randn(persons, 3)
    state = State(upright + 0.2 * torch.randn(persons, 144), torch.randn(persons, 10), cam)
    landmarks: Tensor = config.crop_px * torch.rand(persons, 33, 4)
    crop = Encoded(torch.randn(persons, config.marker_count, cells, cells), torch.zeros(persons, 26, 32), landmarks)
    box, centre = torch.tensor([[700.0, 400, 420]]), torch.tensor([[640.0, 360]])
    view = View(box.repeat(persons, 1), torch.full((persons,), 1100.0), centre.repeat(persons, 1))
    return moved(crop, "cuda"), moved(view, "cuda"), moved(state, "cuda")
