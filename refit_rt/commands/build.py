"""The verb `build`: a bundle → TensorRT engines for this GPU, or the ONNX files they are built from."""

from pathlib import Path
from typing import Annotated

import msgspec
from tyro.conf import Positional, arg

from refit_rt.commands.shared import Folder, say
from refit_rt.config import Fit
from refit_rt.files import write_whole


def build(
    bundle: Positional[Annotated[str, arg(metavar="[BUNDLE]")]] = "",
    /,
    *,
    onnx: Folder = "",
    fit: Fit,
) -> int:
    """Build the TensorRT engines of a bundle for this GPU.

    The answers of the engines are compared with the network's. `run --fit.backend tensorrt` does the same when it
    finds no engines, and the stream waits for it. It needs TensorRT and an NVIDIA GPU.

    Args:
        bundle: The name of a shipped bundle or the folder of a bundle; short for --fit.bundle.
        onnx: Only write the ONNX files from which the engines are built to this folder. It needs neither GPU nor
            TensorRT, only onnx.
    """
    if bundle:
        fit = msgspec.structs.replace(fit, bundle=bundle)
    for line in write_onnx(fit, Path(onnx)) if onnx else build_engines(fit):
        say(line)
    return 0


def build_engines(fit: Fit) -> list[str]:
    """Builds the engines that are not in the cache and checks them: one line per engine. Raises UserError."""
    from refit_rt.bundle.read import find_bundle, load_bundle
    from refit_rt.runners.tensorrt.build import tensorrt
    from refit_rt.runners.tensorrt.runner import TensorRtRunner

    tensorrt()  # it is the most likely thing to be missing: look for it before anything is loaded
    runner = TensorRtRunner(load_bundle(find_bundle(fit.bundle), fit.body), fit)
    engines = [f"{path} ({path.stat().st_size / 1e6:.1f} MB)" for path in runner.paths]
    return [*engines, "use them with --fit.backend tensorrt"]


def write_onnx(fit: Fit, out: Path) -> list[str]:
    """Writes encoder.onnx and step.onnx as TensorRT takes them: one line per file. Raises UserError.

    With fit.plugins, the step holds the nodes of the plugins.
    """
    from refit_rt.bundle.read import find_bundle, load_bundle
    from refit_rt.runners.tensorrt.engines import ONNX, options_of

    half = options_of(fit).half
    nodes = "both" if fit.plugins else "none"
    bundle = load_bundle(find_bundle(fit.bundle), fit.body)
    files = {out / f"{name}.onnx": make(bundle, half, nodes) for name, make in ONNX.items()}
    for path, content in files.items():
        with write_whole(path, "Give another folder with --onnx") as part:
            part.write_bytes(content)
    return [f"{path} ({len(content) / 1e6:.1f} MB)" for path, content in files.items()]
