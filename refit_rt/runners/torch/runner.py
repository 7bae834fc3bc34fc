"""A runner for comparisons: the encoder in OpenVINO, and the loop in torch or in its CUDA kernels."""

from collections.abc import Iterable
from time import monotonic
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from refit_rt.bundle.read import Bundle
from refit_rt.model import camera
from refit_rt.model.body import BodyTorch
from refit_rt.model.config import ReFitConfig
from refit_rt.model.refit import Encoded as TorchEncoded
from refit_rt.model.refit import Estimate, ReFit
from refit_rt.model.rotation import matrix_from_6d
from refit_rt.model.update import State as TorchState
from refit_rt.model.weights import load_into
from refit_rt.runners.torch.cuda_ops import Kernels
from refit_rt.runners.torch.kernels import KernelLoop
from refit_rt.types import Encoded, Result, State, View

Parts = TypeVar("Parts", TorchEncoded, camera.View, TorchState)


class NoBackbone(nn.Module):
    """A placeholder for the backbone, because the maps come from the bundle's encoder.onnx or are made up."""

    feature_channels = summary_size = 1


class TorchRunner:
    """See refit_rt.runners.Runner."""

    def __init__(
        self,
        bundle: Bundle,
        threads: int = 0,
        device: str = "cpu",
        kernels: Kernels | None = None,
        half: bool = False,
    ) -> None:
        """device: torch's name of the device of the loop. kernels: the result of `kernels_for(device)`; None runs plain
        torch. half: the kernels' features and weights are float16. Raises UserError for weights that do not fit."""
        # It is imported here, because the benchmark of the loop alone also runs on machines without OpenVINO.
        from refit_rt.runners.cpu.encoder import OpenVinoEncoder

        self.crop_px = bundle.card.crop.size_px
        self._encoder = OpenVinoEncoder(bundle, "f32", threads)
        self._device = device
        self._model = loop_of(bundle).to(device)
        self._loop = None if kernels is None else KernelLoop(bundle, kernels, 1, half, device)

    def encode(self, crop: np.ndarray) -> Encoded:
        return self._encoder(crop)

    def encode_all(self, crops: np.ndarray) -> Iterable[Encoded]:
        return self._encoder.encode_all(crops)

    @torch.no_grad()
    def initial(self, encoded: Encoded, view: View) -> State:
        crop, place = moved(torch_encoded(encoded), self._device), moved(torch_view(view), self._device)
        return numpy_state(self._model.first(crop, place).state)

    @torch.no_grad()
    def iterate(
        self,
        encoded: Encoded,
        view: View,
        state: State,
        iterations: int,
        update_rad: float = 0.0,
        deadline_s: float | None = None,
    ) -> Result:
        crop, place = moved(torch_encoded(encoded), self._device), moved(torch_view(view), self._device)
        begin = moved(TorchState(tensor(state.pose6d), tensor(state.betas), tensor(state.cam)), self._device)
        if self._loop is not None:
            return self._replayed(self._loop, crop, place, begin, iterations, update_rad, deadline_s)
        model = self._model
        now = model.place(begin, place, model.judge(crop.hidden, camera.box_features(place)))
        done, turned = 0, 0.0
        for estimate in model.steps(crop, place, now, iterations):
            turned = most_turned(now.rotations, estimate.rotations)
            now, done = estimate, done + 1
            if turned < update_rad or (deadline_s is not None and monotonic() >= deadline_s):
                break
        return result_of(now, done, turned, model.present(crop))

    def _replayed(
        self,
        loop: KernelLoop,
        crop: TorchEncoded,
        place: camera.View,
        begin: TorchState,
        iterations: int,
        update_rad: float,
        deadline_s: float | None,
    ) -> Result:
        loop.begin(crop.maps, crop.keypoints, place, begin)
        stride = iterations if update_rad == 0 and deadline_s is None else 1
        done, turned = 0, 0.0
        while done < iterations:
            loop.advance(stride)
            turned = most_turned(*(matrix_from_6d(state.pose6d) for state in (loop.before, loop.state)))
            done += stride
            if turned < update_rad or (deadline_s is not None and monotonic() >= deadline_s):
                break
        state = TorchState(*(part.clone() for part in loop.state))
        hidden = loop.hidden.float() if done else crop.hidden
        error = self._model.judge(hidden, camera.box_features(place))
        return result_of(self._model.place(state, place, error), done, turned, self._model.present(crop))


def most_turned(before: Tensor, after: Tensor) -> float:
    """The largest angle in radians between (1, 24, 3, 3) and (1, 24, 3, 3)."""
    apart = (after - before).flatten(-2).norm(dim=-1).max()
    return 2 * float(torch.asin((apart / 8**0.5).clamp(max=1)))


def result_of(now: Estimate, done: int, turned: float, present: Tensor | None) -> Result:
    """One person's estimate in numpy. present (1,): the network's `present`."""
    error_px = None if now.log_error is None else float(now.log_error.exp())
    parts = (now.rotations, now.joints, now.markers, now.joints_px, now.markers_px)
    arrays = (part[0].cpu().numpy() for part in parts)
    presence = None if present is None else float(present)
    return Result(numpy_state(now.state), done, turned, error_px, *arrays, presence=presence)


def loop_of(bundle: Bundle) -> ReFit:
    """The network without its encoder, with the bundle's weights."""
    weights = {name: torch.from_numpy(array.copy()) for name, array in bundle.weights.items()}
    sizes = bundle.sizes
    config = ReFitConfig(
        crop_px=sizes.crop_px,
        marker_count=sizes.markers,
        iterations=bundle.card.iterations,
        window_radius=sizes.radius,
        flow=sizes.flow,
        local=sizes.local,
        hidden=sizes.hidden,
        scale_floor=bundle.card.scale_floor,
        keypoint_feedback=sizes.keypoints,
        confidence=sizes.confidence,
        presence=sizes.presence,
    )
    model = ReFit(config, BodyTorch(bundle.body), NoBackbone())
    model.init_head, model.map_head = nn.Identity(), nn.Identity()
    load_into(model, weights, str(bundle.path))
    return model.eval()


def tensor(array: np.ndarray) -> Tensor:
    return torch.as_tensor(np.asarray(array, np.float32))[None]


def torch_encoded(encoded: Encoded) -> TorchEncoded:
    return TorchEncoded(
        tensor(encoded.maps), tensor(encoded.hidden), None if encoded.keypoints is None else tensor(encoded.keypoints)
    )


def moved(parts: Parts, device: str) -> Parts:
    """The same tensors on another device."""
    return type(parts)._make(None if part is None else part.to(device) for part in parts)


def torch_view(view: View) -> camera.View:
    return camera.View(
        tensor(np.asarray(view.square)), torch.tensor([view.focal_px]), tensor(np.asarray(view.centre_px))
    )


def numpy_state(state: TorchState) -> State:
    return State(*(part[0].cpu().numpy() for part in state))
