"""The part of CUDA that a runner uses: memory, copies, a stream and its recordings.

Everything runs on the first visible GPU (CUDA_VISIBLE_DEVICES selects it) in its primary context, which TensorRT and
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
    capability: str  # for example 8.7
    processors: int
    driver: str  # the CUDA version of the driver, for example 13.0


class Memory(Protocol):
    """Bytes on the GPU, freed with this object."""

    @property
    def address(self) -> int: ...


class Cuda(Protocol):
    """One GPU with its own stream, on which copies and work are queued."""

    device: Device
    stream: int  # its handle

    def current(self) -> AbstractContextManager[None]:
        """A context that every thread must enter around its use of the GPU."""
        ...

    def memory(self, size: int) -> Memory: ...

    def pinned(self, size: int) -> np.ndarray:
        """(size,) uint8 in host memory that the GPU reads and writes directly."""
        ...

    def upload(self, address: int, array: np.ndarray) -> None: ...

    def download(self, array: np.ndarray, address: int) -> None: ...

    def wait(self) -> None:
        """Blocks until all queued work is done."""
        ...

    def recorded(self, work: Callable[[], None]) -> Callable[[], None]:
        """A function that queues the same work again, with the same addresses, as one CUDA graph where those exist.

        Recording runs `work`, so repeating it must be harmless. The caller keeps its buffers alive.
        """
        ...


def no_gpu(why: str) -> UserError:
    return UserError(f"fit.backend: no NVIDIA GPU can be used ({why}). Install NVIDIA's driver, {CPU_INSTEAD}")
