"""Crop → body on one of several runtimes: the messages, the verbs, and the choice."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from refit_rt import config
from refit_rt.errors import UserError

if TYPE_CHECKING:
    from refit_rt.bundle.read import Bundle


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """Where a crop was cut and through which lens, in pixels of the whole picture."""

    box: tuple[float, float, float] | np.ndarray  # (3,) centre x, centre y, side
    focal_px: float
    centre_px: tuple[float, float] | np.ndarray  # (2,) principal point


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What the encoder makes of one crop."""

    maps: np.ndarray  # (marker, 64, 64) float32, one feature map a marker
    hidden: np.ndarray  # (26, 32) float32, first hidden states: joints, shape, camera
    keypoints: np.ndarray | None = None  # (33, 4) float32: x px, y px of the crop, depth px, visibility 0..1
    mirrored: "Seen | None" = (
        None  # of the crop's mirror image, where a runner looks at that, too (refit_rt.fit.mirror)
    )


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """The numbers that the loop changes."""

    pose6d: np.ndarray  # (144,) float32, 24 joints in 6-D, not yet orthonormal
    betas: np.ndarray  # (10,) float32
    cam: np.ndarray  # (3,) float32: scale, x, y of ReFit's full-frame camera


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """A body after some iterations. Metres in the body's frame, before the translation of the camera."""

    state: State
    iterations: int  # updates made
    update_rad: float  # the most that the last update turned a joint; 0 when none was made
    error_px: float | None  # foretold mean error in crop pixels; None when the network has no such head
    rotations: np.ndarray  # (24, 3, 3) relative to the parent joint
    joints: np.ndarray  # (24, 3)
    markers: np.ndarray  # (marker, 3)
    joints_px: np.ndarray  # (24, 2) crop pixels
    markers_px: np.ndarray  # (marker, 2) crop pixels


class Runner(Protocol):
    """The network on one runtime: look once, then correct as often as time allows."""

    crop_px: int

    def encode(self, crop: np.ndarray) -> Seen:
        """crop (crop_px, crop_px, 3) uint8 RGB."""
        ...

    def initial(self, seen: Seen, view: View) -> State:
        """The network's own first estimate, from the whole crop."""
        ...

    def iterate(
        self,
        seen: Seen,
        view: View,
        state: State,
        iterations: int,
        update_rad: float = 0.0,
        deadline_s: float | None = None,
    ) -> Result:
        """Corrects `state` at most `iterations` times, hidden states starting at zero.

        Stops sooner when an update turns no joint by `update_rad`, or, after the first, when `time.monotonic()` has
        passed `deadline_s`.
        """
        ...


def make_runner(settings: config.Fit, bundle: "Bundle") -> Runner:
    """The network on the runtime that the settings name. Raises UserError when it cannot run here."""
    match settings.backend:
        case "cpu":
            if settings.precision == "f16":
                raise UserError("fit.precision: f16 is for fit.backend tensorrt. Set auto, f32, bf16 or int8")
            from refit_rt.runners.cpu.runner import CpuRunner

            return CpuRunner(bundle, settings.precision, settings.threads)
        case "tensorrt":
            from refit_rt.runners.tensorrt.runner import TensorRtRunner

            return TensorRtRunner(bundle, settings)
        case "torch":
            return _torch_runner(settings, bundle)


def _torch_runner(settings: config.Fit, bundle: "Bundle") -> Runner:
    """The loop in plain torch on a CPU; on a GPU by the CUDA kernels, in half precision if f16 is asked for."""
    try:
        import torch

        from refit_rt.runners.torch.kernels import kernels_for
        from refit_rt.runners.torch.runner import TorchRunner
    except ImportError as error:
        cure = "Install it: pip install 'refit-rt[train]', or set fit.backend to cpu"
        raise UserError(f"fit.backend: torch needs {error.name}. {cure}") from error
    device = settings.device if settings.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("fit.device: torch sees no NVIDIA GPU here. Set it to auto, or install torch for CUDA")
    if settings.precision not in ("auto", "f32", "f16") or (device == "cpu" and settings.precision == "f16"):
        raise UserError(f"fit.precision: {settings.precision} is not for fit.backend torch on {device}. Set auto")
    half = settings.precision == "f16"
    return TorchRunner(bundle, settings.threads, device, kernels_for(device), half)
