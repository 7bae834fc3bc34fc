"""A GPU and a TensorRT made of numpy and ONNX Runtime: addresses, queues and plans behave as the real ones, and engines
give real numbers.

GPU memory has addresses of its own and begins full of NaN, nothing queued happens before somebody waits, and recordings
replay copies and runs with the addresses they were made with.
"""

import types
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto

from refit_rt.runners.tensorrt.cuda import Device
from refit_rt.runners.tensorrt.graph.writer import DOMAIN
from refit_rt.runners.torch.cuda_ops import FeedbackSizes, Kernels

FIRST_ADDRESS = 0x7F00_0000_0000
KINDS = {"FLOAT": np.float32, "HALF": np.float16, "UINT8": np.uint8}
OF_ONNX: dict[int, str] = {TensorProto.FLOAT: "FLOAT", TensorProto.FLOAT16: "HALF", TensorProto.UINT8: "UINT8"}


@dataclass
class FakeMemory:
    address: int


class FakeCuda:
    """See refit_rt.runners.tensorrt.cuda.Cuda."""

    stream = 77

    def __init__(self, device: Device | None = None) -> None:
        self.device = device or Device("Fake GPU", "8.7", 16, "13.0")
        self._blocks: list[tuple[int, np.ndarray]] = []
        self._queue: list[Callable[[], None]] = []
        self._recording: list[Callable[[], None]] | None = None
        self.replays = 0

    def current(self):
        return nullcontext()

    def memory(self, size: int) -> FakeMemory:
        address = FIRST_ADDRESS + sum(len(block) + 4096 for _, block in self._blocks)
        address += -address % 256
        self._blocks.append((address, np.full(size, 0xFF, np.uint8)))  # NaN in every float
        return FakeMemory(address)

    def at(self, address: int, size: int) -> np.ndarray:
        """The bytes that a kernel would see there."""
        for begin, block in self._blocks:
            if begin <= address and address + size <= begin + len(block):
                return block[address - begin : address - begin + size]
        raise AssertionError(f"{size} bytes at {address:#x}: no memory of this GPU")

    def pinned(self, size: int) -> np.ndarray:
        return np.zeros(size, np.uint8)

    def upload(self, address: int, array: np.ndarray) -> None:
        self.enqueue(lambda: np.copyto(self.at(address, array.nbytes), array.reshape(-1).view(np.uint8)))

    def download(self, array: np.ndarray, address: int) -> None:
        self.enqueue(lambda: np.copyto(array.reshape(-1).view(np.uint8), self.at(address, array.nbytes)))

    def enqueue(self, work: Callable[[], None]) -> None:
        (self._queue if self._recording is None else self._recording).append(work)

    def wait(self) -> None:
        assert self._recording is None, "nothing may be waited for while a graph is recorded"
        queue, self._queue = self._queue, []
        for work in queue:
            work()

    def recorded(self, work: Callable[[], None]) -> Callable[[], None]:
        work()
        self.wait()
        self._recording = recording = []
        work()
        self._recording = None

        def replay() -> None:
            self.replays += 1
            self._queue.extend(recording)

        return replay


class Library:
    """Stands for `tensorrt`: `module` goes where `import tensorrt` looks."""

    def __init__(self, cuda: FakeCuda, version: str = "11.4.0.106") -> None:
        self.cuda, self.version = cuda, version
        self.built: list[bytes] = []  # ONNX files
        self.exact: list[bool] = []
        self.timings: list[bytes] = []  # given to the builder
        self.creators: set[tuple[str, str, str]] = set()
        self.loaded: list[str] = []
        self.contexts = 0
        self.parse_errors: list[str] = []
        self.build_fails = False
        self.runs = True
        self.kernels: Kernels | None = None  # of trt_plugins, compiled for the CPU: what plugin nodes are run by
        self.spoil: Callable[[dict[str, np.ndarray]], None] | None = None  # changes an engine's answers
        self.module = module_of(self)


def module_of(library: Library) -> types.ModuleType:
    trt = types.ModuleType("tensorrt")
    trt.__version__ = library.version  # type: ignore[attr-defined]
    severity = types.SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2, INFO=3, VERBOSE=4)
    parts = {
        "ILogger": type("ILogger", (), {"Severity": severity, "__init__": lambda self: None}),
        "IProgressMonitor": type("IProgressMonitor", (), {"__init__": lambda self: None}),
        "NetworkDefinitionCreationFlag": types.SimpleNamespace(STRONGLY_TYPED=1),
        "BuilderFlag": types.SimpleNamespace(TF32="TF32"),
        "TensorIOMode": types.SimpleNamespace(INPUT="in", OUTPUT="out"),
        "nptype": lambda kind: KINDS[kind],
        "get_plugin_registry": lambda: Registry(library),
        "Builder": lambda logger: Builder(library, logger),
        "OnnxParser": lambda network, logger: Parser(library, network),
        "Runtime": lambda logger: Runtime(library, logger),
    }
    for name, part in parts.items():
        setattr(trt, name, part)
    return trt


@dataclass
class Registry:
    library: Library

    def load_library(self, path: str) -> object:
        """A file of lines, each the name of a plugin."""
        with open(path) as file:  # noqa: PTH123
            names = file.read().split()
        self.library.loaded.append(path)
        self.library.creators |= {(name, "1", "refit") for name in names}
        return object()

    def get_creator(self, kind: str, version: str, namespace: str) -> object | None:
        return object() if (kind, version, namespace) in self.library.creators else None


@dataclass
class Network:
    flags: int
    file: bytes = b""


@dataclass
class ParserError:
    text: str

    def desc(self) -> str:
        return self.text


@dataclass
class Parser:
    library: Library
    network: Network
    errors: list[str] = field(default_factory=list)

    def parse(self, file: bytes) -> bool:
        """Refuses what the real one refuses and this project has met."""
        self.errors = [*self.library.parse_errors]
        graph = onnx.load_from_string(file).graph
        for node in graph.node:
            if node.domain == DOMAIN and (node.op_type, "1", "refit") not in self.library.creators:
                self.errors.append(f"In node 0 ({node.op_type}):\n UNSUPPORTED_NODE: Plugin not found")
            if "crop" in node.input and node.op_type != "Cast":
                self.errors.append(f"In node 0 ({node.op_type}): uint8 feeds something else than a Cast")
        self.network.file = file
        return not self.errors

    @property
    def num_errors(self) -> int:
        return len(self.errors)

    def get_error(self, place: int) -> ParserError:
        return ParserError(self.errors[place])


@dataclass
class TimingCache:
    content: bytes

    def serialize(self) -> bytes:
        return self.content + b"timed "


@dataclass
class BuilderConfig:
    cleared: list = field(default_factory=list)
    cache: TimingCache | None = None
    progress_monitor: object = None

    def clear_flag(self, flag: str) -> None:
        self.cleared.append(flag)

    def create_timing_cache(self, content: bytes) -> TimingCache:
        return TimingCache(content)

    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
        self.cache = cache
        return True


@dataclass
class Builder:
    library: Library
    logger: object

    def create_network(self, flags: int) -> Network:
        return Network(flags)

    def create_builder_config(self) -> BuilderConfig:
        return BuilderConfig()

    def build_serialized_network(self, network: Network, config: BuilderConfig) -> bytes | None:
        assert network.flags == 2, "strongly typed"
        monitor = config.progress_monitor
        monitor.phase_start("Building", None, 2)  # type: ignore[attr-defined]
        goes_on = [monitor.step_complete("Building", step) for step in range(2)]  # type: ignore[attr-defined]
        monitor.phase_finish("Building")  # type: ignore[attr-defined]
        if self.library.build_fails or not all(goes_on):
            self.logger.log(1, "no tactic\nfits")  # type: ignore[attr-defined]
            return None
        self.library.built.append(network.file)
        self.library.exact.append("TF32" in config.cleared)
        assert config.cache is not None
        self.library.timings.append(config.cache.content)
        return f"PLAN {self.library.version}\n".encode() + network.file


@dataclass
class Runtime:
    library: Library
    logger: object

    def deserialize_cuda_engine(self, plan: bytes) -> "Engine | None":
        head, _, file = plan.partition(b"\n")
        if head != f"PLAN {self.library.version}".encode():
            self.logger.log(1, "version tag does not match")  # type: ignore[attr-defined]
            return None
        return Engine(self.library, file)


class Engine:
    """Runs the ONNX file it was made of."""

    def __init__(self, library: Library, file: bytes) -> None:
        self.library = library
        graph = onnx.load_from_string(file).graph
        self.ports = {one.name: one.type.tensor_type for one in [*graph.input, *graph.output]}
        self.inputs = [one.name for one in graph.input]
        plain = all(node.domain != DOMAIN for node in graph.node)
        self.session = ort.InferenceSession(file) if plain else None
        self.graph = graph

    @property
    def num_io_tensors(self) -> int:
        return len(self.ports)

    def get_tensor_name(self, place: int) -> str:
        return list(self.ports)[place]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(dim.dim_value for dim in self.ports[name].shape.dim)

    def get_tensor_dtype(self, name: str) -> str:
        return OF_ONNX[self.ports[name].elem_type]

    def get_tensor_mode(self, name: str) -> str:
        return "in" if name in self.inputs else "out"

    def create_execution_context(self) -> "Context":
        self.library.contexts += 1
        return Context(self)


class Context:
    """Reads and writes the fake GPU's memory at the addresses it had when it was queued."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.addresses = engine, {}

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert address % 256 == 0
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        library, addresses = self.engine.library, dict(self.addresses)
        assert stream == library.cuda.stream
        assert set(addresses) == set(self.engine.ports), "an address is missing"
        assert len(set(addresses.values())) == len(addresses), "two tensors share memory"
        library.cuda.enqueue(lambda: self.run(addresses))
        return library.runs

    def run(self, addresses: dict[str, int]) -> None:
        engine = self.engine
        given = {name: self.tensor(name, addresses[name]).copy() for name in engine.inputs}
        names = [name for name in engine.ports if name not in engine.inputs]
        if engine.session is not None:
            answers = engine.session.run(names, given)
        else:
            answers = [run_plugins(engine, given)[name] for name in names]
        made = {name: np.asarray(one) for name, one in zip(names, answers, strict=True)}
        if engine.library.spoil:
            engine.library.spoil(made)
        for name, array in made.items():
            self.tensor(name, addresses[name])[:] = array

    def tensor(self, name: str, address: int) -> np.ndarray:
        shape, kind = self.engine.get_tensor_shape(name), KINDS[self.engine.get_tensor_dtype(name)]
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        return self.engine.library.cuda.at(address, size).view(kind).reshape(shape)


def run_plugins(engine: Engine, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A step of plugin nodes alone, by their kernels, with what stands in the file."""
    kernels = engine.library.kernels
    assert kernels is not None, "plugins run on a GPU, or by kernels compiled for the CPU"
    arrays = {one.name: onnx.numpy_helper.to_array(one).copy() for one in engine.graph.initializer} | given
    for node in engine.graph.node:
        inputs = [arrays[name] for name in node.input]
        told = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
        half = inputs[0].dtype == np.float16
        addresses = [array.ctypes.data for array in inputs]
        if node.op_type == "Feedback":
            sizes, persons = feedback_sizes(inputs, told), len(inputs[0])
            made = [np.full((persons, sizes.local), np.nan, inputs[0].dtype)]
            kernels.feedback(addresses, made[0].ctypes.data, sizes, half)
        else:
            made = [np.full_like(inputs[place], np.nan) for place in (0, 3, 4, 5)]  # hidden and the state
            floor = told["scale_floor"] if told["scale_floor"] >= 0 else None
            kernels.batched_gru(
                addresses, [array.ctypes.data for array in made], len(inputs[0]), inputs[1].shape[1], floor, half
            )
        arrays |= dict(zip(node.output, made, strict=True))
    return arrays


def feedback_sizes(inputs: list[np.ndarray], told: dict) -> FeedbackSizes:
    """From the shapes of the node's inputs, as the plugin takes them."""
    persons, markers, height, width = inputs[0].shape
    return FeedbackSizes(
        persons=persons,
        markers=markers,
        height=height,
        width=width,
        local=len(inputs[13]),
        flow=inputs[11].shape[1],
        radius=told["radius"],
        pose_rows=len(inputs[8]),
        hidden=len(inputs[16]) if len(inputs) > 14 else 0,
        crop_px=told["crop_px"],
    )
