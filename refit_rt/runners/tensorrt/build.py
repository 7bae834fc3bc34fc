"""TensorRT itself: its log, its plugins, ONNX → plan, plan → engine. Needs no GPU code of ours.

Everything is built strongly typed, the only way from TensorRT 11 on, which works from 10.0: types stand in the file.
"""

import logging
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from time import monotonic
from types import ModuleType
from typing import Any

from refit_rt.errors import UserError
from refit_rt.runners.tensorrt.cuda import CPU_INSTEAD

log = logging.getLogger(__name__)

INSTALL = (
    "Install it: pip install 'refit-rt[tensorrt]' (on a Jetson it comes with JetPack: make the environment with "
    f"--system-site-packages), {CPU_INSTEAD}"
)
OLDEST = 10  # strongly typed networks, IPluginV3
TELL_S = 5.0  # between two lines of progress
BUILD_PLUGINS = "Build it for this machine, see trt_plugins/README.md, or leave fit.plugins empty"
NAMESPACE, PLUGIN_VERSION = "refit", "1"


def tensorrt() -> ModuleType:
    """The module. Raises UserError when it is not there or too old."""
    try:
        module = import_module("tensorrt")
    except (ImportError, OSError) as error:  # OSError: a library of it is missing
        raise UserError(f"fit.backend: tensorrt is not installed ({one_line([str(error)])}). {INSTALL}") from error
    if int(module.__version__.split(".")[0]) < OLDEST:
        raise UserError(f"fit.backend: TensorRT {module.__version__} is too old, {OLDEST}.0 is needed. {INSTALL}")
    return module


class TensorRt:
    """The library, its log, and the plugins that were loaded into it."""

    def __init__(self, plugins: Path | None = None) -> None:
        """plugins: the library of trt_plugins. Loaded before anything is parsed or read. Raises UserError."""
        self._trt = tensorrt()
        self.version: str = self._trt.__version__
        self._complaints: list[str] = []
        self._logger = make_logger(self._trt, self._complaints)
        if plugins is not None:
            self._load(plugins)
        try:
            self._runtime = self._trt.Runtime(self._logger)
        except TypeError as error:  # what the binding says when the library gives it nothing
            raise UserError(f"fit.backend: TensorRT {self.version} does not start: {self.why or error}") from error

    def has(self, plugin: str) -> bool:
        """Whether a plugin of trt_plugins is there."""
        registry = self._trt.get_plugin_registry()
        return registry.get_creator(plugin, PLUGIN_VERSION, NAMESPACE) is not None

    def build(self, name: str, file: bytes, exact: bool, timings: bytes) -> tuple[bytes, bytes]:
        """ONNX file → plan, and the timings for the next build. exact: no TF32. Raises UserError."""
        trt = self._trt
        self._complaints.clear()
        builder = trt.Builder(self._logger)
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, self._logger)
        if not parser.parse(file):
            errors = [parser.get_error(place).desc() for place in range(parser.num_errors)]
            cure = "" if not any("lugin" in error for error in errors) else f". {BUILD_PLUGINS}"
            raise UserError(f"{name}: TensorRT {self.version} cannot read it: {one_line(errors)}{cure}")
        config = builder.create_builder_config()
        if exact:
            config.clear_flag(trt.BuilderFlag.TF32)
        cache = config.create_timing_cache(timings)
        config.set_timing_cache(cache, ignore_mismatch=False)
        monitor = make_monitor(trt, name)
        config.progress_monitor = monitor
        began_s = monotonic()
        log.info("%s: building with TensorRT %s; minutes, once for this GPU", name, self.version)
        plan = builder.build_serialized_network(network, config)
        if monitor.interrupted:
            raise KeyboardInterrupt
        if plan is None:
            raise UserError(f"{name}: TensorRT {self.version} cannot build it: {self.why}")
        log.info("%s: built in %.0f s", name, monotonic() - began_s)
        return bytes(plan), bytes(cache.serialize())

    def engine(self, plan: bytes) -> Any | None:
        """None when this TensorRT cannot use the plan; `why` then says why."""
        self._complaints.clear()
        return self._runtime.deserialize_cuda_engine(plan)

    @property
    def why(self) -> str:
        """The errors of the last build or reading, in one line."""
        return one_line(self._complaints)

    def ports(self, engine: Any) -> dict[str, tuple[tuple[int, ...], str, bool]]:
        """An engine's tensors: shape, numpy's name of the type, whether it is given to the engine."""
        names = [engine.get_tensor_name(place) for place in range(engine.num_io_tensors)]
        return {
            name: (
                tuple(engine.get_tensor_shape(name)),
                str(self._trt.nptype(engine.get_tensor_dtype(name)).__name__),
                engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT,
            )
            for name in names
        }

    def _load(self, plugins: Path) -> None:
        if not plugins.is_file():
            raise UserError(f"fit.plugins: {plugins} is not there. {BUILD_PLUGINS}")
        if self.has("BatchedGRU"):  # in this process already: a second load is refused
            return
        self._trt.get_plugin_registry().load_library(str(plugins.resolve()))
        if not self.has("BatchedGRU"):
            why = self.why or "it holds no plugin of refit_rt"
            raise UserError(f"fit.plugins: {plugins} cannot be used: {why}. {BUILD_PLUGINS}")


def make_logger(trt: ModuleType, complaints: list[str]) -> Any:
    """TensorRT's log → ours, its errors kept for the one line that the user gets."""

    class Log(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                complaints.append(msg)
            log.debug("TensorRT: %s", msg)

    return Log()


def make_monitor(trt: ModuleType, name: str) -> Any:
    """The build's progress, a line every few seconds; Ctrl-C ends the build instead of waiting for it."""

    class Progress(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.interrupted = False
            self._steps: dict[str, int] = {}
            self._told_s = monotonic()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = max(num_steps, 1)

        def step_complete(self, phase_name: str, step: int) -> bool:
            try:
                if monotonic() - self._told_s > TELL_S:
                    self._told_s = monotonic()
                    share = (step + 1) / self._steps.get(phase_name, 1)
                    log.info("%s: %s, %.0f %%", name, phase_name, 100 * min(share, 1))
            except KeyboardInterrupt:  # may not fly through TensorRT's own code
                self.interrupted = True
            return not self.interrupted

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

    return Progress()


def one_line(texts: Iterable[str]) -> str:
    """All messages, in one line; the same one twice is told once."""
    return "; ".join(dict.fromkeys(" ".join(text.split()) for text in texts))
