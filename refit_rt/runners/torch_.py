"""The loop in torch, the readable network itself, behind OpenVINO's encoder: to compare, not to hurry."""

from time import monotonic

import numpy as np
import torch
from torch import Tensor, nn

from refit_rt.bundle import Bundle
from refit_rt.model import camera
from refit_rt.model.body import BodyTorch
from refit_rt.model.config import ReFitConfig
from refit_rt.model.refit import Encoded, ReFit
from refit_rt.model.update import State as TorchState
from refit_rt.model.weights import load_into
from refit_rt.runners import Result, Seen, State, View
from refit_rt.runners.openvino_ import OpenVinoEncoder


class NoBackbone(nn.Module):
    """Stands where the maps are given: from the bundle's encoder.onnx, or made up."""

    feature_channels = summary_size = 1


class TorchRunner:
    """See refit_rt.runners.Runner."""

    def __init__(self, bundle: Bundle, threads: int = 0) -> None:
        """Raises UserError for weights that do not fit."""
        self.crop_px = bundle.card.crop.size_px
        self._encoder = OpenVinoEncoder(bundle, "f32", threads)
        self._model = loop_of(bundle)

    def encode(self, crop: np.ndarray) -> Seen:
        return self._encoder(crop)

    @torch.no_grad()
    def initial(self, seen: Seen, view: View) -> State:
        return numpy_state(self._model.first(encoded(seen), torch_view(view)).state)

    @torch.no_grad()
    def iterate(
        self,
        seen: Seen,
        view: View,
        state: State,
        iterations: int,
        update_rad: float = 0.0,
        deadline_s: float | None = None,
    ) -> Result:
        model, place, crop = self._model, torch_view(view), encoded(seen)
        begin = TorchState(tensor(state.pose6d), tensor(state.betas), tensor(state.cam))
        now = model.place(begin, place, model.judge(crop.hidden, camera.box_features(place)))
        done, turned = 0, 0.0
        for estimate in model.steps(crop, place, now, iterations):
            apart = (estimate.rotations - now.rotations).flatten(-2).norm(dim=-1).max()
            now, done, turned = estimate, done + 1, 2 * float(torch.asin((apart / 8**0.5).clamp(max=1)))
            if turned < update_rad or (deadline_s is not None and monotonic() >= deadline_s):
                break
        error_px = None if now.log_error is None else float(now.log_error.exp())
        arrays = (part[0].numpy() for part in (now.rotations, now.joints, now.markers, now.joints_px, now.markers_px))
        return Result(numpy_state(now.state), done, turned, error_px, *arrays)


def loop_of(bundle: Bundle) -> ReFit:
    """The network without what the encoder holds, with the bundle's weights."""
    weights = {name: torch.from_numpy(array.copy()) for name, array in bundle.weights.items()}
    _, flow, cells = bundle.weights["feedback.flow.weight"].shape
    config = ReFitConfig(
        crop_px=bundle.card.crop.size_px,
        marker_count=bundle.card.markers,
        iterations=bundle.card.iterations,
        window_radius=int(cells**0.5) // 2,
        flow=flow,
        local=len(weights["feedback.local.bias"]),
        hidden=weights["update.gru.from_hidden"].shape[2],
        scale_floor=bundle.card.scale_floor,
        keypoint_feedback="feedback.keypoints.first.weight" in weights,
        confidence="confidence.first.weight" in weights,
    )
    model = ReFit(config, BodyTorch(bundle.body), NoBackbone())
    model.init_head, model.map_head = nn.Identity(), nn.Identity()
    load_into(model, weights, str(bundle.path))
    return model.eval()


def tensor(array: np.ndarray) -> Tensor:
    return torch.as_tensor(np.asarray(array, np.float32))[None]


def encoded(seen: Seen) -> Encoded:
    return Encoded(tensor(seen.maps), tensor(seen.hidden), None if seen.keypoints is None else tensor(seen.keypoints))


def torch_view(view: View) -> camera.View:
    return camera.View(tensor(np.asarray(view.box)), torch.tensor([view.focal_px]), tensor(np.asarray(view.centre_px)))


def numpy_state(state: TorchState) -> State:
    return State(*(part[0].numpy() for part in state))
