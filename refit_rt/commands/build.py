"""The verb `build`: a bundle → TensorRT engines for this GPU, or the ONNX files they are built from."""

import sys
from pathlib import Path
from typing import Annotated

import msgspec
from tyro.conf import Positional, arg

from refit_rt import config
from refit_rt.errors import UserError


def build(
    bundle: Positional[Annotated[str, arg(metavar="[BUNDLE]")]] = "",
    /,
    *,
    onnx: Annotated[str, arg(metavar="DIR")] = "",
    config: Annotated[str, arg(metavar="FILE")] = "",
    settings: Annotated[config.Config, arg(name="")],
) -> int:
    """Build the TensorRT engines of a bundle for this GPU, and compare their answers with the network's.

    `run --fit.backend tensorrt` does the same when it finds none; here nobody waits. Needs TensorRT and an NVIDIA GPU.

    Args:
        bundle: A shipped bundle's name or a bundle's folder; short for --fit.bundle.
        onnx: Only write the ONNX files that the engines would be built from into this folder. Needs onnx alone.
        config: Settings file; config.yaml of this folder when there is one and none is given.
    """
    fit = msgspec.structs.replace(settings.fit, **({"bundle": bundle} if bundle else {}))
    lines = write_onnx(fit, Path(onnx)) if onnx else build_engines(fit)
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


def build_engines(settings: config.Fit) -> list[str]:
    """Builds what is not in the cache and checks it: a line for each engine. Raises UserError."""
    from refit_rt.bundle.read import find_bundle, load_bundle
    from refit_rt.runners.tensorrt.build import tensorrt
    from refit_rt.runners.tensorrt.runner import TensorRtRunner

    tensorrt()  # the most likely thing to be missing, before anything is loaded
    runner = TensorRtRunner(load_bundle(find_bundle(settings.bundle), settings.body), settings)
    return [f"{path} ({path.stat().st_size / 1e6:.1f} MB)" for path in runner.paths] + [
        "use them with --fit.backend tensorrt"
    ]


def write_onnx(settings: config.Fit, out: Path) -> list[str]:
    """encoder.onnx and step.onnx as TensorRT takes them; with the plugins' nodes when fit.plugins is set."""
    from refit_rt.bundle.read import find_bundle, load_bundle
    from refit_rt.runners.tensorrt.engines import ONNX, options_of

    half = options_of(settings).half
    nodes = "both" if settings.plugins else "none"
    bundle = load_bundle(find_bundle(settings.bundle), settings.body)
    files = {out / f"{name}.onnx": make(bundle, half, nodes) for name, make in ONNX.items()}
    try:
        out.mkdir(parents=True, exist_ok=True)
        for path, content in files.items():
            path.write_bytes(content)
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror}). Give a folder of your own") from error
    return [f"{path} ({len(content) / 1e6:.1f} MB)" for path, content in files.items()]
