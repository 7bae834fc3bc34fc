"""The verbs `bench live`, `people`, `stream`, `encoder`, `loop` and `kernels`: each measures a part of refit_rt."""

from refit_rt.commands.bench.table import Table, command_of
from refit_rt.commands.shared import say, torch_needed
from refit_rt.config import Detect, Fit, Publish, Smooth, Track


def bench_live(
    *, markdown: bool = False, detect: Detect, track: Track, fit: Fit, smooth: Smooth, publish: Publish
) -> int:
    """Measure the whole pipeline on a 720p clip at 60 frames per second.

    The bundled clip is played as a camera for half a minute, and a second process measures the stream. bench people,
    bench encoder, bench loop and bench kernels measure parts.

    Args:
        markdown: Print a Markdown table that names this command and the processor.
    """
    from refit_rt.commands.bench.live import measure

    groups = {"detect": detect, "track": track, "fit": fit, "smooth": smooth, "publish": publish}
    return _print(
        measure(publish.address, detect, track, fit, smooth), command_of("bench live", **groups) if markdown else ""
    )


def bench_people(*, markdown: bool = False, fit: Fit, smooth: Smooth) -> int:
    """Measure what each further person costs.

    One to eight copies of the bundled clip's person stand side by side. Each frame is fitted and smoothed; nobody is
    searched for. core-ms is the time of all cores together, for the frame and for each person.

    Args:
        markdown: Print a Markdown table that names this command and the processor.
    """
    from refit_rt.commands.bench.people import measure

    return _print(measure(fit, smooth), command_of("bench people", fit=fit, smooth=smooth) if markdown else "")


def bench_stream(*, markdown: bool = False) -> int:
    """Measure what the stream and its outlets add, and how many subscribers it feeds.

    Three people at 60 frames per second go through the stream and through each outlet. Then one publisher feeds 1, 10
    and 50 subscribers at rates that rise until one of them loses more than a hundredth of the messages.

    Args:
        markdown: Print a Markdown table that names this command and the processor.
    """
    from refit_rt.commands.bench.stream import measure

    return _print(measure(), command_of("bench stream") if markdown else "")


def bench_encoder(*, markdown: bool = False, fit: Fit) -> int:
    """Measure the encoder in every precision.

    It is the encoder of --fit.bundle on --fit.threads threads, in each precision that the bundle and the processor
    have. Where torch is installed, the official HRNet-W48 is measured beside it.

    Args:
        markdown: Print a Markdown table that names this command and the processor.
    """
    from refit_rt.commands.bench.encoder import measure

    return _print(measure(fit), command_of("bench encoder", fit=fit) if markdown else "")


def bench_loop(*, markdown: bool = False) -> int:
    """Measure the compiled loop against torch.

    It is one iteration for one person on one thread: in torch with the whole mesh, as the official code does it, in
    torch with the markers only, and compiled by numba. It needs torch.

    Args:
        markdown: Print a Markdown table that names this command and the processor.
    """
    with torch_needed():
        from refit_rt.commands.bench.loop import measure
    return _print(measure(), command_of("bench loop") if markdown else "")


def bench_kernels(*, markdown: bool = False, fit: Fit) -> int:
    """Measure the CUDA kernels of the loop against torch.

    It is one iteration of the loop of --fit.bundle, in both precisions and for several people at once. It needs an
    NVIDIA GPU, torch for CUDA and nvcc.

    Args:
        markdown: Print a Markdown table that names this command and the GPU.
    """
    with torch_needed():
        from refit_rt.commands.bench.cuda import gpu, measure
    return _print(measure(fit), command_of("bench kernels", fit=fit) if markdown else "", gpu())


def _print(table: Table, command: str, machine: str = "") -> int:
    """Prints the table: as Markdown if there is a command to name."""
    say(table.markdown(command, machine) if command else table.text())
    return 0
