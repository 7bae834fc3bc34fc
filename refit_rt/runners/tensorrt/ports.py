"""The inputs and outputs of the two engines: names, shapes, types and positions in memory."""

from dataclasses import dataclass

import numpy as np

from refit_rt.body.smpl import BETAS, JOINTS
from refit_rt.bundle.read import Sizes
from refit_rt.errors import UserError
from refit_rt.model.config import KEYPOINTS
from refit_rt.runners.tensorrt.cuda import Cuda
from refit_rt.runners.tensorrt.graph.nodes import Nodes, maps_dtype

ALIGNED = 256  # bytes; the alignment of cudaMalloc, which is enough for any vector load
STATE = ("hidden", "pose6d", "betas", "cam")  # the tensors that an iteration changes


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output tensor of an engine."""

    name: str
    shape: tuple[int, ...]
    dtype: type

    @property
    def bytes(self) -> int:
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, slots=True)
class Plan:
    """The ports of both engines for one crop at a time."""

    crop: Port
    maps: Port
    fresh: tuple[Port, ...]  # the encoder's other outputs: hidden and, if the network has them, keypoints
    place: tuple[Port, ...]  # the step's inputs besides maps and state: view, box, keypoints
    state: tuple[Port, ...]  # STATE, both as inputs and, with the suffix _next, as outputs

    def encoder(self) -> dict[str, tuple[Port, bool]]:
        """Every port by name, and whether it is an input."""
        return {self.crop.name: (self.crop, True)} | {p.name: (p, False) for p in (self.maps, *self.fresh)}

    def step(self) -> dict[str, tuple[Port, bool]]:
        """Every port by name, and whether it is an input."""
        given = {port.name: (port, True) for port in (self.maps, *self.place, *self.state)}
        return given | {f"{port.name}_next": (port, False) for port in self.state}


def plan_of(sizes: Sizes, half: bool, nodes: Nodes) -> Plan:
    """The ports of the files that graph/encoder.py and graph/step.py write, for one crop at a time."""
    wide = np.float32
    real = np.float16 if half else wide
    keypoints = (Port("keypoints", (1, KEYPOINTS, 4), wide),) if sizes.keypoints else ()
    return Plan(
        crop=Port("crop", (1, sizes.crop_px, sizes.crop_px, 3), np.uint8),
        maps=Port("maps", (1, sizes.markers, sizes.map_cells, sizes.map_cells), maps_dtype(half, nodes)),
        fresh=(Port("hidden", (1, sizes.heads, sizes.hidden), wide), *keypoints),
        place=(Port("view", (1, 6), wide), Port("box", (1, 3), wide), *keypoints),
        state=(
            Port("hidden", (1, sizes.heads, sizes.hidden), real),
            Port("pose6d", (1, 6 * JOINTS), wide),
            Port("betas", (1, BETAS), wide),
            Port("cam", (1, 3), wide),
        ),
    )


def check_ports(
    name: str, wanted: dict[str, tuple[Port, bool]], found: dict[str, tuple[tuple[int, ...], str, bool]]
) -> None:
    """Raises UserError unless the engine's tensors are the planned ones."""
    expected = {key: (port.shape, port.dtype.__name__, given) for key, (port, given) in wanted.items()}
    if expected == found:
        return
    odd = sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
    faults = "; ".join(f"{key} is {found.get(key, 'missing')}, {expected.get(key, 'none')} is needed" for key in odd)
    raise UserError(f"{name}: the engine has other tensors than expected ({faults}). Delete it and build again")


def layout(ports: list[Port]) -> tuple[list[int], int]:
    """The offset of each port when they are placed one after another, and the total size, in bytes."""
    offsets, end = [], 0
    for port in ports:
        offsets.append(end)
        end += -(-port.bytes // ALIGNED) * ALIGNED
    return offsets, end


class Block:
    """Ports side by side in one piece of GPU memory, with copies in pinned memory, so that one transfer moves them all.

    A port is addressed by its index, because the state is held twice under the same names: as input and as output.
    """

    def __init__(self, cuda: Cuda, ports: list[Port]) -> None:
        self.ports = ports
        self._offsets, size = layout(ports)
        self._cuda, self._memory = cuda, cuda.memory(size)
        self._ends = [*self._offsets[1:], size]
        # Two copies, so that a download does not change the inputs of the next upload.
        self._given, self._answer = cuda.pinned(size), cuda.pinned(size)

    def address(self, place: int) -> int:
        return self._memory.address + self._offsets[place]

    def given(self, place: int) -> np.ndarray:
        """The input array of a port, to be written before `upload`."""
        return self._view(self._given, place)

    def answer(self, place: int) -> np.ndarray:
        """The output array of a port, to be read after `download`."""
        return self._view(self._answer, place)

    def upload(self, first: int, last: int) -> None:
        begin, end = self._offsets[first], self._ends[last]
        self._cuda.upload(self._memory.address + begin, self._given[begin:end])

    def download(self, first: int, last: int) -> None:
        begin, end = self._offsets[first], self._ends[last]
        self._cuda.download(self._answer[begin:end], self._memory.address + begin)

    def _view(self, memory: np.ndarray, place: int) -> np.ndarray:
        port, begin = self.ports[place], self._offsets[place]
        return memory[begin : begin + port.bytes].view(port.dtype).reshape(port.shape)
