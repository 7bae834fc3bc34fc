"""What a runner needs of CUDA: memory, copies, a stream and its recordings.

Everything happens on the first visible GPU (CUDA_VISIBLE_DEVICES chooses), in its primary context, which TensorRT and
torch share. cuda_python.py and cuda_pycuda.py are the two implementations.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from refit_rt.errors import UserError

CPU_INSTEAD = "or set fit.backend to cpu"


@dataclass(frozen=True, slots=True)
class Device:
    """The GPU that an engine is built for."""

    name: str
    capability: str  # as 8.7
    processors: int
    driver: str  # the CUDA version that the driver brings, as 13.0


class Memory(Protocol):
    """Bytes on the GPU, freed with this object."""

    @property
    def address(self) -> int: ...


class Cuda(Protocol):
    """One GPU and one stream of its own. Copies and work are queued on the stream."""

    device: Device
    stream: int  # its handle

    def current(self) -> AbstractContextManager[None]:
        """To be entered by every thread round whatever it does with the GPU."""
        ...

    def memory(self, size: int) -> Memory: ...

    def pinned(self, size: int) -> np.ndarray:
        """(size,) uint8 of the host, which the GPU reads and writes itself."""
        ...

    def upload(self, address: int, array: np.ndarray) -> None: ...

    def download(self, array: np.ndarray, address: int) -> None: ...

    def wait(self) -> None:
        """Until all that was queued is done."""
        ...

    def recorded(self, work: Callable[[], None]) -> Callable[[], None]:
        """A call that queues again what `work` queues, with the same addresses: at once, where CUDA graphs are there.

        `work` is run while this is made, so it must be harmless to repeat. The caller keeps alive what it works on.
        """
        ...


def no_gpu(why: str) -> UserError:
    return UserError(f"fit.backend: no NVIDIA GPU can be used ({why}). Install NVIDIA's driver, {CPU_INSTEAD}")
