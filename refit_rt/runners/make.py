"""Makes the runner that the settings name, for a bundle."""

from refit_rt import config
from refit_rt.bundle.read import Bundle
from refit_rt.errors import UserError
from refit_rt.runners import Runner


def make_runner(settings: config.Fit, bundle: Bundle) -> Runner:
    """The bundle's network on the runtime that the settings name. Raises UserError when it cannot run here."""
    match settings.backend:
        case "cpu":
            if settings.precision == "f16":
                raise UserError("fit.precision: f16 does not work with fit.backend cpu. Set auto, f32, bf16 or int8")
            from refit_rt.runners.cpu.runner import CpuRunner

            return CpuRunner(bundle, settings.precision, settings.threads)
        case "tensorrt":
            from refit_rt.runners.tensorrt.runner import TensorRtRunner

            return TensorRtRunner(bundle, settings)
        case "torch":
            return _torch_runner(settings, bundle)


def _torch_runner(settings: config.Fit, bundle: Bundle) -> Runner:
    """The loop in plain torch on a CPU, or in CUDA kernels on a GPU, in half precision if the settings say f16."""
    try:
        import torch

        from refit_rt.runners.torch.kernels import kernels_for
        from refit_rt.runners.torch.runner import TorchRunner
    except ImportError as error:
        cure = "Install it: pip install 'refit-rt[train]', or set fit.backend to cpu"
        raise UserError(f"fit.backend: torch needs {error.name}. {cure}") from error
    device = settings.device if settings.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("fit.device: torch finds no NVIDIA GPU. Set it to auto, or install torch for CUDA")
    if settings.precision not in ("auto", "f32", "f16") or (device == "cpu" and settings.precision == "f16"):
        where = f"fit.backend torch on {device}"
        raise UserError(f"fit.precision: {settings.precision} does not work with {where}. Set auto or f32")
    half = settings.precision == "f16"
    return TorchRunner(bundle, settings.threads, device, kernels_for(device), half)
