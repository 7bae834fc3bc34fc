"""TensorRT itself: its log, its plugins, ONNX → plan, plan → engine. It uses no GPU code of this package.

All networks are strongly typed, with the types that the file holds. TensorRT supports this from 10.0, and from 11 it
supports nothing else.
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
    "Install it: pip install 'refit-rt[tensorrt]' (on a Jetson JetPack contains it: create the environment with "
    f"--system-site-packages), {CPU_INSTEAD}"
)
OLDEST = 10  # strongly typed networks, IPluginV3
PROGRESS_S = 5.0  # between two lines of progress
BUILD_PLUGINS = "Build the plugins for this machine (trt_plugins/README.md), or leave fit.plugins empty"
NAMESPACE, PLUGIN_VERSION = "refit", "1"


def tensorrt() -> ModuleType:
    """The module. Raises UserError when it is missing or too old."""
    try:
        module = import_module("tensorrt")
    except (ImportError, OSError) as error:  # OSError: one of its libraries is missing
        raise UserError(f"fit.backend: tensorrt is not installed ({one_line([str(error)])}). {INSTALL}") from error
    if int(module.__version__.split(".")[0]) < OLDEST:
        raise UserError(f"fit.backend: TensorRT {module.__version__} is too old, {OLDEST}.0 is needed. {INSTALL}")
    return module


class TensorRt:
    """The library, its log, and the plugins that are loaded into it."""

    def __init__(self, plugins: Path | None = None) -> None:
        """plugins: the library of trt_plugins, which is loaded before anything is parsed or read. Raises UserError."""
        self._trt = tensorrt()
        self.version: str = self._trt.__version__
        self._complaints: list[str] = []
        self._logger = make_logger(self._trt, self._complaints)
        if plugins is not None:
            self._load(plugins)
        try:
            self._runtime = self._trt.Runtime(self._logger)
        except TypeError as error:  # the binding raises this when the library returns no runtime
            reason = self.why or error
            raise UserError(
                f"fit.backend: TensorRT {self.version} does not start ({reason}). See refit-rt doctor, {CPU_INSTEAD}"
            ) from error

    def has(self, plugin: str) -> bool:
        """Whether a plugin of trt_plugins is registered."""
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
            about_plugins = any("lugin" in error for error in errors)
            cure = BUILD_PLUGINS if about_plugins else f"Install another TensorRT, {CPU_INSTEAD}"
            raise UserError(f"{name}: TensorRT {self.version} cannot read it ({one_line(errors)}). {cure}")
        config = builder.create_builder_config()
        if exact:
            config.clear_flag(trt.BuilderFlag.TF32)
        cache = config.create_timing_cache(timings)
        config.set_timing_cache(cache, ignore_mismatch=False)
        monitor = make_monitor(trt, name)
        config.progress_monitor = monitor
        began_s = monotonic()
        log.info("%s: building with TensorRT %s, which takes minutes, once for this GPU", name, self.version)
        plan = builder.build_serialized_network(network, config)
        if monitor.interrupted:
            raise KeyboardInterrupt
        if plan is None:
            cure = f"See refit-rt doctor, {CPU_INSTEAD}"
            raise UserError(f"{name}: TensorRT {self.version} cannot build it ({self.why}). {cure}")
        log.info("%s: built in %.0f s", name, monotonic() - began_s)
        return bytes(plan), bytes(cache.serialize())

    def engine(self, plan: bytes) -> Any | None:
        """The engine of a plan, or None when this TensorRT cannot use the plan; `why` then holds the reason."""
        self._complaints.clear()
        return self._runtime.deserialize_cuda_engine(plan)

    @property
    def why(self) -> str:
        """The errors of the last `build` or `engine`, in one line."""
        return one_line(self._complaints)

    def ports(self, engine: Any) -> dict[str, tuple[tuple[int, ...], str, bool]]:
        """An engine's tensors: shape, numpy's name of the type, and whether it is an input."""
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
            raise UserError(f"fit.plugins: {plugins} does not exist. {BUILD_PLUGINS}")
        if self.has("BatchedGRU"):  # this process has loaded it already, and TensorRT refuses a second load
            return
        self._trt.get_plugin_registry().load_library(str(plugins.resolve()))
        if not self.has("BatchedGRU"):
            why = self.why or "it contains no plugin of refit_rt"
            raise UserError(f"fit.plugins: {plugins} cannot be used ({why}). {BUILD_PLUGINS}")


def make_logger(trt: ModuleType, complaints: list[str]) -> Any:
    """A logger that forwards TensorRT's messages to ours and collects its errors in `complaints`."""

    class Log(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                complaints.append(msg)
            log.debug("TensorRT: %s", msg)

    return Log()


def make_monitor(trt: ModuleType, name: str) -> Any:
    """A monitor that logs the build's progress every few seconds, and lets Ctrl-C end the build."""

    class Progress(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.interrupted = False
            self._steps: dict[str, int] = {}
            self._logged_s = monotonic()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = max(num_steps, 1)

        def step_complete(self, phase_name: str, step: int) -> bool:
            try:
                if monotonic() - self._logged_s > PROGRESS_S:
                    self._logged_s = monotonic()
                    share = (step + 1) / self._steps.get(phase_name, 1)
                    log.info("%s: %s, %.0f %%", name, phase_name, 100 * min(share, 1))
            except KeyboardInterrupt:  # it must not propagate through TensorRT's own code
                self.interrupted = True
            return not self.interrupted

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

    return Progress()


def one_line(texts: Iterable[str]) -> str:
    """All messages in one line, without repetitions."""
    return "; ".join(dict.fromkeys(" ".join(text.split()) for text in texts))
