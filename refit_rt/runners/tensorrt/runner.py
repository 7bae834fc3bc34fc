"""The network on an NVIDIA GPU, without torch: encoder and step as TensorRT engines, k steps as one CUDA graph.

Small work stays on the CPU: the first estimate from the hidden states, and the body of the loop's final state. The
engines never need that body, because a step begins by posing the body of its input state.
"""

import weakref
from collections.abc import Callable, Iterable
from dataclasses import replace
from time import monotonic
from typing import Any, cast

import numpy as np

from refit_rt import config
from refit_rt.body.smpl import JOINTS
from refit_rt.bundle.read import Bundle
from refit_rt.runners.cpu import kernels
from refit_rt.runners.cpu.loop import NumbaLoop, box_features, view_array
from refit_rt.runners.tensorrt import check
from refit_rt.runners.tensorrt.cuda import Cuda
from refit_rt.runners.tensorrt.cuda_python import open_cuda
from refit_rt.runners.tensorrt.engines import load_engines, options_of
from refit_rt.runners.tensorrt.run import EncoderOnGpu, StepOnGpu
from refit_rt.types import Encoded, Result, State, View

NO_MAPS = np.zeros((1, 1, 1), np.float32)  # a placeholder for zero iterations, which read no maps


class GpuMaps:
    """Maps that stay on the GPU, where the step reads them. np.asarray(maps) fetches the numbers."""

    def __init__(self, fetch: Callable[[], np.ndarray]) -> None:
        self._fetch, self._kept = fetch, None

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.kept(), dtype, copy=copy)

    def kept(self) -> np.ndarray:
        """(marker, S, S) float32. They are fetched once, at the latest before other maps overwrite them on the GPU."""
        if self._kept is None:
            self._kept = self._fetch()
        return self._kept


class TensorRtRunner:
    """See refit_rt.runners.Runner. Only one thread at a time may use it."""

    def __init__(self, bundle: Bundle, settings: config.Fit, cuda: Cuda | None = None) -> None:
        """Loads the engines from the cache or builds them, which takes minutes, and compares them with the network.
        cuda: replaces the binding that settings.cuda names. Raises UserError when something is missing or the engines'
        outputs differ."""
        self.crop_px = bundle.card.crop.size_px
        options = options_of(settings)
        self._loop = NumbaLoop(bundle)
        self._cuda = cuda or open_cuda(settings.cuda)
        with self._cuda.current():
            engines = load_engines(bundle, options, self._cuda)
            self.paths = engines.paths
            self._maps_port = engines.plan.maps
            self._encoder = EncoderOnGpu(self._cuda, engines)
            self._step = StepOnGpu(self._cuda, engines, self._encoder.maps_address)
            for way in ways(settings):
                self._step.prepare(*way)
            self._staging = self._cuda.pinned(self._maps_port.bytes)
        self._on_gpu: weakref.ref[GpuMaps] | None = None  # the owner of the maps on the GPU
        check.check(self, check.truth_of(bundle), check.HALF if options.half else check.EXACT)

    def encode(self, crop: np.ndarray) -> Encoded:
        with self._cuda.current():
            self._save_maps()
            made = self._encoder(crop)
        maps = GpuMaps(self._fetch_maps)
        self._on_gpu = weakref.ref(maps)
        return Encoded(cast(np.ndarray, maps), made["hidden"], made.get("keypoints"))

    def encode_all(self, crops: np.ndarray) -> Iterable[Encoded]:
        """One after the other, each when it is asked for, because the maps of one crop lie on the GPU at a time."""
        return map(self.encode, crops)

    def initial(self, encoded: Encoded, view: View) -> State:
        return self._loop.initial(encoded, view)

    def iterate(
        self,
        encoded: Encoded,
        view: View,
        state: State,
        iterations: int,
        update_rad: float = 0.0,
        deadline_s: float | None = None,
    ) -> Result:
        """See refit_rt.runners.Runner. All iterations are one launch; if the loop may stop early, each one is."""
        if iterations < 1:
            return self._loop.iterate(replace(encoded, maps=NO_MAPS), view, state, 0)
        stride = iterations if update_rad <= 0 and deadline_s is None else 1
        place = {"view": view_array(view), "box": box_features(view)}
        if encoded.keypoints is not None:
            place["keypoints"] = encoded.keypoints
        done = 0
        with self._cuda.current():
            self._bring(encoded.maps)
            self._step.begin(state, place)
            while True:
                self._step.advance(stride)
                done += stride
                now = self._step.now()
                turned = most_turned(self._step.before()["pose6d"], now["pose6d"])
                if done >= iterations or turned < update_rad or (deadline_s is not None and monotonic() >= deadline_s):
                    break
        end = State(now["pose6d"], now["betas"], now["cam"])
        body = self._loop.iterate(Encoded(NO_MAPS, now["hidden"], encoded.keypoints), view, end, 0)
        return replace(body, iterations=done, update_rad=turned, presence=self._loop.presence(encoded.hidden))

    def _bring(self, maps: np.ndarray | GpuMaps) -> None:
        """Copies maps to the memory that the step reads, unless they are already there."""
        if isinstance(maps, GpuMaps) and self._on_gpu is not None and self._on_gpu() is maps:
            return
        self._save_maps()
        port = self._maps_port
        self._staging.view(port.dtype)[:] = np.asarray(maps, np.float32).reshape(-1)
        self._cuda.upload(self._encoder.maps_address, self._staging)
        self._cuda.wait()
        self._on_gpu = weakref.ref(maps) if isinstance(maps, GpuMaps) else None

    def _save_maps(self) -> None:
        """Fetches the maps on the GPU before others overwrite them, if a caller still holds them."""
        if self._on_gpu is not None and (held := self._on_gpu()) is not None:
            held.kept()
        self._on_gpu = None

    def _fetch_maps(self) -> np.ndarray:
        with self._cuda.current():
            self._cuda.download(self._staging, self._encoder.maps_address)
            self._cuda.wait()
        port = self._maps_port
        return self._staging.view(port.dtype).astype(np.float32).reshape(port.shape[1:])


def ways(settings: config.Fit) -> list[tuple[int, int, bool]]:
    """The launches (count, side, send) that these settings need; they are recorded before any frame waits for them."""
    one_by_one = [(1, 0, True), (1, 1, False), (1, 0, False)]
    at_once = [(count, 0, True) for count in (settings.cold_iterations, settings.iterations)]
    return one_by_one if settings.update_deg or settings.deadline_ms else at_once


def most_turned(before: np.ndarray, after: np.ndarray) -> float:
    """The largest angle in radians between two poses (144,) in 6-D."""
    turns = np.empty((2, JOINTS, 3, 3), np.float32)
    for pose6d, rotations in zip((before, after), turns, strict=True):
        kernels.rotations_of(pose6d, rotations)
    return float(kernels.most_turned(*turns))
