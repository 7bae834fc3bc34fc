"""A bundle → its two engines, from the cache or built from ONNX files."""

import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from refit_rt import config
from refit_rt.bundle.read import ENCODER, LOOP, Bundle
from refit_rt.errors import UserError
from refit_rt.runners.tensorrt import cache
from refit_rt.runners.tensorrt.build import BUILD_PLUGINS, TensorRt
from refit_rt.runners.tensorrt.cuda import CPU_INSTEAD, Cuda
from refit_rt.runners.tensorrt.graph.nodes import Nodes, maps_dtype
from refit_rt.runners.tensorrt.ports import Plan, check_ports, plan_of

log = logging.getLogger(__name__)

HERE = Path(__file__).parent
# The code that writes the ONNX files is part of an engine's cache key.
WRITERS = (*sorted((HERE / "graph").glob("*.py")), HERE.parent / "plugin_constants.py")


@dataclass(frozen=True, slots=True)
class Options:
    """The settings that engines depend on."""

    half: bool
    plugins: Path | None  # the library of trt_plugins


@dataclass(frozen=True, slots=True, eq=False)
class Engines:
    """Both engines, ready to run, and their files."""

    rt: TensorRt
    plan: Plan
    encoder: Any
    step: Any
    paths: tuple[Path, Path]
    uses_plugins: bool


def options_of(settings: config.Fit) -> Options:
    """The options in the settings. Raises UserError for a precision that engines do not support."""
    if settings.precision not in ("auto", "f16", "f32"):
        where = "fit.backend tensorrt"
        raise UserError(f"fit.precision: {settings.precision} does not work with {where}. Set auto, f16 or f32")
    plugins = Path(settings.plugins).expanduser() if settings.plugins else None
    return Options(settings.precision != "f32", plugins)


def load_engines(bundle: Bundle, options: Options, cuda: Cuda) -> Engines:
    """Loads the engines from the cache, or builds them, which takes minutes. Raises UserError."""
    rt = TensorRt(options.plugins)
    nodes = nodes_of(rt, options)
    plan = plan_of(bundle.sizes, options.half, nodes)
    library = options.plugins.read_bytes() if options.plugins else b""
    facts = {
        "bundle": bundle.card.name,
        "precision": "f16" if options.half else "f32",
        "plugins": nodes,
        "tensorrt": rt.version,
        "gpu": cuda.device.name,
        "driver": cuda.device.driver,
    }
    made = []
    for name, ports, plugins in (("encoder", plan.encoder(), b""), ("step", plan.step(), library)):
        path = cache.engine_path(name, made_of(name, bundle, options.half, nodes), plugins, rt.version, cuda.device)
        make = partial(ONNX[name], bundle, options.half, nodes)
        engine = engine_of(rt, cuda, path, make, exact=not options.half, facts=facts)
        check_ports(str(path), ports, rt.ports(engine))
        made.append((engine, path))
    (encoder, encoder_path), (step, step_path) = made
    return Engines(rt, plan, encoder, step, (encoder_path, step_path), nodes != "none")


def made_of(name: str, bundle: Bundle, half: bool, nodes: Nodes) -> dict[str, Any]:
    """All that an ONNX file depends on. Hashing the file itself would take seconds per start for W48's encoder."""
    card = bundle.card
    if name == "encoder":
        source: list[Any] = [card.files[ENCODER], half_maps(half, nodes)]
    else:
        source = [card.files[LOOP], bundle.body.digest, card.scale_floor, card.crop.size_px, nodes]
    writers = [path.read_bytes() for path in WRITERS]
    return {"source": source, "half": half, "writers": hashlib.sha256(b"".join(writers)).hexdigest()}


def half_maps(half: bool, nodes: Nodes) -> bool:
    return maps_dtype(half, nodes) is np.float16


def nodes_of(rt: TensorRt, options: Options) -> Nodes:
    """The plugin nodes that the library offers. Raises UserError when it offers none."""
    if options.plugins is None:
        return "none"
    if not rt.has("BatchedGRU"):
        raise UserError(f"fit.plugins: {options.plugins} contains no plugin of refit_rt. {BUILD_PLUGINS}")
    return "both" if rt.has("Feedback") else "gru"


def encoder_file(bundle: Bundle, half: bool, nodes: Nodes) -> bytes:
    """encoder.onnx in the form that TensorRT accepts. Raises UserError, also when onnx is not installed."""
    with onnx_needed():
        from refit_rt.runners.tensorrt.graph.encoder import encoder_model
        from refit_rt.runners.tensorrt.graph.writer import file_bytes
    return file_bytes(encoder_model(bundle.encoder, half, half_maps(half, nodes)))


def step_file(bundle: Bundle, half: bool, nodes: Nodes) -> bytes:
    """step.onnx. Raises UserError, also when onnx is not installed."""
    with onnx_needed():
        from refit_rt.runners.tensorrt.graph.step import step_model
        from refit_rt.runners.tensorrt.graph.writer import file_bytes
    return file_bytes(step_model(bundle, half, nodes))


@contextmanager
def onnx_needed() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        cure = "Install it: pip install 'refit-rt[tensorrt]'"
        raise UserError(f"fit.backend: tensorrt needs {error.name} to build engines. {cure}") from error


ONNX: dict[str, Callable[[Bundle, bool, Nodes], bytes]] = {"encoder": encoder_file, "step": step_file}


def engine_of(
    rt: TensorRt, cuda: Cuda, path: Path, make: Callable[[], bytes], exact: bool, facts: dict[str, Any]
) -> Any:
    """The engine cached at `path`, or a new one, which is then cached there. Raises UserError."""
    kept = cache.read_engine(path)
    if kept is not None:
        engine = rt.engine(kept)
        if engine is not None:
            return engine
        cache.forget(path, f"cannot be read by TensorRT {rt.version} ({rt.why})")
    timing_path = cache.timing_path(rt.version, cuda.device)
    began_s = monotonic()
    plan, timings = rt.build(path.stem, make(), exact, cache.read(timing_path) or b"")
    engine = rt.engine(plan)
    if engine is None:
        raise UserError(
            f"{path.stem}: TensorRT {rt.version} cannot read the engine that it has built ({rt.why}). "
            f"Install another TensorRT, {CPU_INSTEAD}"
        )
    cache.write(timing_path, timings)
    cache.write_engine(path, plan, facts | {"built_s": round(monotonic() - began_s, 1)})
    return engine
