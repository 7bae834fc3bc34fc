"""CUDA through cuda-python, and the choice between it and pycuda. `open_cuda` imports the binding, not this module."""

import ctypes
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import numpy as np

from refit_rt.errors import UserError
from refit_rt.runners.tensorrt.cuda import CPU_INSTEAD, Cuda, Device, Memory, no_gpu

Binding = Literal["cuda-python", "pycuda"]


def open_cuda(binding: Binding = "cuda-python") -> Cuda:
    """Opens the first visible GPU. Raises UserError when the binding or a GPU is missing."""
    if binding == "pycuda":
        from refit_rt.runners.tensorrt.cuda_pycuda import PyCuda

        return PyCuda()
    return CudaPython()


class CudaPython:
    """See Cuda. This is NVIDIA's own binding; the runtime's calls make the primary context current in every thread."""

    def __init__(self) -> None:
        try:
            from cuda.bindings import runtime
        except ImportError as error:
            cure = f"Install it: pip install 'refit-rt[tensorrt]', {CPU_INSTEAD}"
            raise UserError(f"fit.backend: cuda-python is not installed ({error}). {cure}") from error
        self._rt = runtime
        try:
            status, count = runtime.cudaGetDeviceCount()
        except RuntimeError as error:  # the driver's library is missing
            raise no_gpu(str(error)) from error
        if int(status) or not count:
            raise no_gpu(self._text(status) if int(status) else "none is visible")
        self._ok(runtime.cudaSetDevice(0))
        self.device = self._device()
        self.stream = int(self._ok(runtime.cudaStreamCreateWithFlags(runtime.cudaStreamNonBlocking)))

    def current(self) -> AbstractContextManager[None]:
        return nullcontext()

    def memory(self, size: int) -> Memory:
        return Allocated(int(self._ok(self._rt.cudaMalloc(size))), self._rt.cudaFree)

    def pinned(self, size: int) -> np.ndarray:
        address = int(self._ok(self._rt.cudaMallocHost(size)))
        owner = (ctypes.c_uint8 * size).from_address(address)  # every view of the array keeps it alive
        weakref.finalize(owner, self._rt.cudaFreeHost, address).atexit = False
        array = np.ctypeslib.as_array(owner)
        array[:] = 0
        return array

    def upload(self, address: int, array: np.ndarray) -> None:
        self._copy(address, array.ctypes.data, array.nbytes, self._rt.cudaMemcpyKind.cudaMemcpyHostToDevice)

    def download(self, array: np.ndarray, address: int) -> None:
        self._copy(array.ctypes.data, address, array.nbytes, self._rt.cudaMemcpyKind.cudaMemcpyDeviceToHost)

    def wait(self) -> None:
        self._ok(self._rt.cudaStreamSynchronize(self.stream))

    def recorded(self, work: Callable[[], None]) -> Callable[[], None]:
        rt = self._rt
        work()  # TensorRT finishes its setup in a context's first run, which cannot be recorded
        self.wait()
        self._ok(rt.cudaStreamBeginCapture(self.stream, rt.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal))
        try:
            work()
        except BaseException:
            rt.cudaStreamEndCapture(self.stream)  # its error is ignored, because it would hide the real one
            raise
        graph = self._ok(rt.cudaStreamEndCapture(self.stream))
        launchable = self._ok(rt.cudaGraphInstantiate(graph, 0))
        self._ok(rt.cudaGraphDestroy(graph))

        def replay() -> None:
            self._ok(rt.cudaGraphLaunch(launchable, self.stream))

        weakref.finalize(replay, rt.cudaGraphExecDestroy, launchable).atexit = False
        return replay

    def _copy(self, to: int, source: int, size: int, kind: Any) -> None:
        self._ok(self._rt.cudaMemcpyAsync(to, source, size, kind, self.stream))

    def _device(self) -> Device:
        properties = self._ok(self._rt.cudaGetDeviceProperties(0))
        driver = self._ok(self._rt.cudaDriverGetVersion())
        return Device(
            name=properties.name.decode().rstrip("\0"),
            capability=f"{properties.major}.{properties.minor}",
            processors=properties.multiProcessorCount,
            driver=f"{driver // 1000}.{driver % 1000 // 10}",
        )

    def _ok(self, answer: tuple) -> Any:
        """The value that a call returns. Raises UserError for CUDA's own errors."""
        status, *values = answer
        if int(status):
            raise UserError(f"CUDA: {self._text(status)}. See refit-rt doctor, {CPU_INSTEAD}")
        return values[0] if values else None

    def _text(self, status: Any) -> str:
        return f"{self._rt.cudaGetErrorString(status)[1].decode()}, {status.name}"


class Allocated:
    """See Memory."""

    def __init__(self, address: int, free: Callable[[int], Any]) -> None:
        self.address = address
        weakref.finalize(self, free, address).atexit = False  # the driver frees it when the process ends
