"""CUDA through pycuda, for machines without cuda-python. It has no CUDA graphs: work is queued again each time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from refit_rt.errors import UserError
from refit_rt.runners.tensorrt.cuda import CPU_INSTEAD, Device, Memory, no_gpu

NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING, for which pycuda has no name


@dataclass(frozen=True, slots=True)
class PyCudaMemory:
    """See cuda.Memory. pycuda's own object frees it."""

    address: int
    owner: Any


class PyCuda:
    """See cuda.Cuda. Each thread pushes the primary context around its calls, because pycuda's autoinit creates a
    context of its own, in which TensorRT's handles are invalid."""

    def __init__(self) -> None:
        try:
            import pycuda.driver as driver
        except ImportError as error:  # it is also raised when the driver's library is missing
            cure = f"Install it: pip install pycuda, set fit.cuda to cuda-python, {CPU_INSTEAD}"
            raise UserError(f"fit.cuda: pycuda cannot be loaded ({error}). {cure}") from error
        self._driver = driver
        try:
            driver.init()
            gpu = driver.Device(0)
        except driver.Error as error:
            raise no_gpu(str(error)) from error
        self._context = gpu.retain_primary_context()
        version = driver.get_driver_version()
        self.device = Device(
            name=gpu.name(),
            capability=".".join(map(str, gpu.compute_capability())),
            processors=gpu.get_attribute(driver.device_attribute.MULTIPROCESSOR_COUNT),
            driver=f"{version // 1000}.{version % 1000 // 10}",
        )
        with self.current():
            self._stream = driver.Stream(NON_BLOCKING)
        self.stream = int(self._stream.handle)

    @contextmanager
    def current(self) -> Iterator[None]:
        self._context.push()
        try:
            yield
        finally:
            self._context.pop()

    def memory(self, size: int) -> Memory:
        owner = self._driver.mem_alloc(size)
        return PyCudaMemory(int(owner), owner)

    def pinned(self, size: int) -> np.ndarray:
        return self._driver.pagelocked_zeros(size, np.uint8)

    def upload(self, address: int, array: np.ndarray) -> None:
        self._driver.memcpy_htod_async(address, array, self._stream)

    def download(self, array: np.ndarray, address: int) -> None:
        self._driver.memcpy_dtoh_async(array, address, self._stream)

    def wait(self) -> None:
        self._stream.synchronize()

    def recorded(self, work: Callable[[], None]) -> Callable[[], None]:
        return work
