"""The kernels of `trt_plugins/` as a shared library, compiled on first use and called with device addresses."""

import ctypes
import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from refit_rt.errors import UserError
from refit_rt.files import cache_dir, write_whole

SOURCES = Path(__file__).parents[3] / "trt_plugins"
KERNELS = ("batched_gru.cu", "feedback.cu")


@dataclass(frozen=True)
class FeedbackSizes:
    """The sizes of the Feedback kernel's arrays, in the order of feedback.h."""

    persons: int
    markers: int
    height: int  # of a feature map, cells
    width: int
    local: int
    flow: int
    radius: int  # of a window, cells
    pose_rows: int  # pose features that move a marker
    hidden: int  # units of the keypoint feedback, 0 for none
    crop_px: float


class CudaError(RuntimeError):
    """CUDA refuses a launch; the message holds the cudaError_t."""


class Kernels:
    """The two launches. Addresses point to arrays on the device, in the order of the tables in `trt_plugins/README.md`.

    half: the arrays of type T are float16, otherwise float32. stream: a cudaStream_t; the call does not wait for it.
    Both raise CudaError when CUDA refuses the launch, for example for sizes beyond the limits in that README.
    """

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        self.path = library

    def batched_gru(
        self,
        inputs: Sequence[int],
        outputs: Sequence[int],
        persons: int,
        local: int,
        scale_floor: float | None,
        half: bool,
        stream: int = 0,
    ) -> None:
        """17 inputs → 4 outputs, none of which may be an input."""
        floor = ctypes.c_float(-1 if scale_floor is None else scale_floor)
        _check(
            self._library.refit_batched_gru(
                int(half), _pointers(inputs), _pointers(outputs), persons, local, floor, ctypes.c_void_p(stream)
            ),
            "batched_gru",
        )

    def feedback(self, inputs: Sequence[int], output: int, sizes: FeedbackSizes, half: bool, stream: int = 0) -> None:
        """14 inputs, or 19 with keypoint feedback → local features."""
        numbers = (ctypes.c_int * 9)(*astuple(sizes)[:-1])
        crop_px = ctypes.c_float(sizes.crop_px)
        into, queue = ctypes.c_void_p(output), ctypes.c_void_p(stream)
        _check(self._library.refit_feedback(int(half), _pointers(inputs), into, numbers, crop_px, queue), "feedback")


def _pointers(addresses: Sequence[int]) -> ctypes.Array:
    return (ctypes.c_void_p * len(addresses))(*addresses)


def _check(code: int, kernel: str) -> None:
    if code != 0:
        raise CudaError(f"{kernel}: CUDA error {code}")


def compiled_kernels(capability: tuple[int, int], cache: Path | None = None) -> Path:
    """The library for one compute capability, from the cache or compiled with nvcc, which takes about 20 s.

    Raises UserError when the sources or nvcc are missing, or when nvcc fails.
    """
    sources = [SOURCES / name for name in KERNELS]
    if not all(source.is_file() for source in sources):
        raise UserError(f"{SOURCES}: the kernels' sources are missing. Run from a checkout of the repository")
    nvcc = find_nvcc()
    arch = f"{capability[0]}{capability[1]}"
    folder = (cache or cache_dir()) / "kernels"
    library = folder / f"refit_sm{arch}_{source_digest(nvcc)}.so"
    if library.is_file():
        return library
    flags = ["-std=c++17", "-O3", "--shared", "-Xcompiler", "-fPIC", f"-gencode=arch=compute_{arch},code=sm_{arch}"]
    with write_whole(library, "Set REFIT_RT_CACHE to another folder") as part:
        done = subprocess.run([nvcc, *flags, *map(str, sources), "-o", str(part)], capture_output=True, text=True)
        if done.returncode:
            errors = (line.strip() for line in done.stderr.splitlines() if "error" in line or "fatal" in line)
            reason = next(errors, "no reason given")
            raise UserError(f"nvcc cannot compile {SOURCES} for sm_{arch} ({reason}). Check the CUDA toolkit: {nvcc}")
    return library


def find_nvcc() -> str:
    """The compiler in CUDA_HOME, in PATH, or in the usual place of installation. Raises UserError."""
    homes = [os.environ.get(name) for name in ("CUDA_HOME", "CUDA_PATH")]
    places = [str(Path(home) / "bin") for home in homes if home] + [None, "/usr/local/cuda/bin"]
    for place in places:
        if (found := shutil.which("nvcc", path=place)) is not None:
            return found
    raise UserError("nvcc: not found. Install the CUDA toolkit, or set CUDA_HOME to its folder")


def source_digest(nvcc: str) -> str:
    """A hash of every source and of the compiler's version, on which the library depends."""
    digest = hashlib.sha256(subprocess.run([nvcc, "--version"], capture_output=True, check=True).stdout)
    for path in sorted([*SOURCES.glob("*.cu"), *SOURCES.glob("*.cuh"), *SOURCES.glob("*.h")]):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]
