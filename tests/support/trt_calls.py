"""The kernels of trt_plugins/ called on torch tensors of the CPU (through the shim) or a GPU, and their twin's answers.

Inputs lie between fences of NaN: what is read beside an array spoils the answer, what is written beside one is seen.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from refit_rt.body.smpl import Body, load_body
from refit_rt.bundle.read import Bundle, Card
from refit_rt.model.body import BodyTorch
from refit_rt.model.camera import View
from refit_rt.model.config import EDGE, ReFitConfig
from refit_rt.model.refit import Encoded, ReFit
from refit_rt.model.update import Regressor, State, Update
from refit_rt.runners.plugin_constants import feedback_constants
from refit_rt.runners.torch.cuda_ops import FeedbackSizes, Kernels
from refit_rt.runners.torch.kernels import KernelLoop
from refit_rt.runners.torch.runner import NoBackbone, loop_of, moved
from tests.support.reference import seeded_body

FENCE = 64  # numbers
TOLERANCE = {False: 1e-6, True: 1e-3}  # of numbers of size 1, by whether T is float16
# In single precision a marker's pixel is known to a 20 000th of a cell, and a map's slope makes 2e-6 of that.
FEEDBACK_TOLERANCE = {False: 4e-6, True: 1e-3}


@dataclass(frozen=True)
class Fenced:
    """A tensor in the middle of a larger one."""

    whole: Tensor
    inner: Tensor

    def is_whole(self) -> bool:
        """Nothing was written beside."""
        rims = torch.cat([self.whole[:FENCE], self.whole[-FENCE:]])
        return bool((rims.isnan() if rims.is_floating_point() else rims == POISON).all())


POISON = 2**30 + 7


def seen_by(config: ReFitConfig, persons: int, cells: int = 64) -> tuple[Tensor, Tensor]:
    """Maps (persons, M, cells, cells), smooth as real ones are, and landmarks (persons, 33, 4)."""
    coarse = torch.randn(persons, config.marker_count, cells // 8, cells // 8)
    keypoints = [256 * torch.rand(persons, 33, 2), 60 * torch.randn(persons, 33, 1), torch.rand(persons, 33, 1)]
    return interpolate(coarse, (cells, cells), mode="bicubic"), torch.cat(keypoints, -1)


def some_bodies(persons: int) -> tuple[State, View]:
    """Bodies upright in their crops, some half out of them."""
    upright = torch.tensor([1.0, 0, 0, 1, 0, 0]).repeat(24)
    upright[3] = -1  # the root: y down in the picture
    state = State(
        upright + 0.3 * torch.randn(persons, 144),
        torch.randn(persons, 10),
        torch.tensor([0.9, 0, 0]) + torch.tensor([0.1, 0.3, 0.3]) * torch.randn(persons, 3),
    )
    box = torch.tensor([700.0, 400, 420]) + 100 * torch.rand(persons, 3)
    return state, View(box, 1100 + 200 * torch.rand(persons), torch.tensor([[640.0, 360]]).repeat(persons, 1))


def fenced(tensor: Tensor, poisoned: bool = False) -> Fenced:
    """A copy between fences; poisoned: of the size alone, full of NaN."""
    poison = float("nan") if tensor.is_floating_point() else POISON
    room = -tensor.numel() % FENCE  # what follows starts aligned, too
    whole = torch.full((tensor.numel() + room + 2 * FENCE,), poison, dtype=tensor.dtype, device=tensor.device)
    inner = whole[FENCE : FENCE + tensor.numel()].view(tensor.shape)
    if not poisoned:
        inner.copy_(tensor)
    return Fenced(whole, inner)


@dataclass(frozen=True)
class Case:
    """One call of a kernel, its arrays on the way in and what the twin makes of them."""

    launch: Callable[[Kernels, list[int], list[int], int], None]  # inputs, outputs, stream
    inputs: list[Fenced]
    outputs: list[Fenced]
    truth: list[Tensor]

    def run(self, kernels: Kernels, stream: int = 0) -> list[Tensor]:
        """Poisons the outputs, calls, checks the fences."""
        self.poison()
        self.call(kernels, stream)
        return self.answers()

    def call(self, kernels: Kernels, stream: int = 0) -> None:
        inputs, outputs = ([array.inner.data_ptr() for array in arrays] for arrays in (self.inputs, self.outputs))
        self.launch(kernels, inputs, outputs, stream)

    def poison(self) -> None:
        for output in self.outputs:
            output.whole.fill_(float("nan"))

    def answers(self) -> list[Tensor]:
        if self.outputs[0].whole.is_cuda:
            torch.cuda.synchronize()
        assert all(array.is_whole() for array in [*self.inputs, *self.outputs]), "written beside an array"
        return [output.inner.double().cpu() for output in self.outputs]


def case_of(
    launch: Callable[[Kernels, list[int], list[int], int], None],
    inputs: list[Tensor],
    outputs: list[Tensor],
    truth: list[Tensor],
    device: str,
) -> Case:
    return Case(
        launch,
        [fenced(array.to(device)) for array in inputs],
        [fenced(array.to(device), poisoned=True) for array in outputs],
        truth,
    )


def gru_case(
    persons: int,
    half: bool = False,
    local: int = 256,
    scale_floor: float | None = 0.15,
    seed: int = 0,
    device: str = "cpu",
) -> Case:
    """Random weights, features and state; the truth in double precision."""
    torch.manual_seed(seed)
    update, regressor = Update(ReFitConfig(local=local)), Regressor(32)
    with torch.no_grad():
        for weight in [*update.parameters(), *regressor.parameters()]:
            weight.mul_(2).add_(0.02 * torch.randn_like(weight))  # gates that open and close
            weight.copy_(rounded(weight, half))
    hidden, seen = (rounded(0.7 * torch.randn(persons, *shape), half) for shape in ((26, 32), (local,)))
    state = State(torch.randn(persons, 144), torch.randn(persons, 10), 0.3 + 0.3 * torch.randn(persons, 3))
    box = torch.randn(persons, 3)
    truth = twin(update.double(), regressor.double(), hidden, seen, box, state, scale_floor)
    weights = [
        *(update.gru.from_input.weight, update.gru.from_input.bias, update.gru.from_hidden),
        *(part for layer in regressor.children() for part in (layer.weight, layer.bias)),
    ]
    kind = torch.float16 if half else torch.float32
    arrays = [hidden.to(kind), seen.to(kind), box, *state, *(weight.detach().to(kind) for weight in weights)]

    def launch(kernels: Kernels, given: list[int], made: list[int], stream: int) -> None:
        kernels.batched_gru(given, made, persons, local, scale_floor, half, stream)

    return case_of(launch, arrays, [hidden.to(kind), *state], truth, device)


def rounded(numbers: Tensor, half: bool) -> Tensor:
    return numbers.half().float() if half else numbers


@torch.no_grad()
def twin(
    update: Update, regressor: Regressor, hidden: Tensor, local: Tensor, box: Tensor, state: State, floor: float | None
) -> list[Tensor]:
    """What `refit_rt/model/update.py` makes of the same numbers."""
    wide = State(*(part.double() for part in state))
    new = update(hidden.double(), local.double(), box.double(), wide)
    return [new, *wide.plus(regressor(new, box.double()), floor)]


FEEDBACK = replace(EDGE, backbone="hrnet_w48")  # a network with keypoint feedback; its backbone is not built


def cloud_body() -> Body:
    """Three hundred points with pose blend shapes, each hung on every joint."""
    seeded, some = seeded_body(), slice(0, 300)
    float32 = {
        name: np.asarray(getattr(seeded, name)[some], np.float32)
        for name in ("template", "shape_dirs", "pose_dirs", "skinning")
    }
    joints = {name: np.asarray(getattr(seeded, name), np.float32) for name in ("joint_template", "joint_shape_dirs")}
    markers = 4 * np.arange(67, dtype=np.int32)
    faces = np.zeros((1, 3), np.int32)
    return Body("cloud", **float32, **joints, faces=faces, parents=seeded.parents, markers=markers, digest="")


def feedback_case(
    persons: int,
    half: bool = False,
    config: ReFitConfig = FEEDBACK,
    body: Body | None = None,
    cells: int = 64,
    seed: int = 0,
    device: str = "cpu",
) -> Case:
    """Random weights, maps, landmarks and bodies; the truth in double precision."""
    torch.manual_seed(seed)
    body = body or load_body()
    model = ReFit(config, BodyTorch(body), NoBackbone()).eval()
    with torch.no_grad():
        for weight in model.feedback.parameters():
            weight.copy_(rounded(weight + 0.02 * torch.randn_like(weight), half))
    maps, keypoints = seen_by(config, persons, cells)
    maps = rounded(maps, half)
    state, view = some_bodies(persons)
    kind = torch.float16 if half else torch.float32
    arrays = feedback_constants(stand_in(body, model), np.float16 if half else np.float32)
    constants = [torch.tensor(array) for array in arrays.values()]
    truth = feedback_twin(model.double(), maps, keypoints if config.keypoint_feedback else None, state, view)
    places = torch.cat([view.square, view.focal_px[:, None], view.centre_px], dim=1)
    inputs = [maps.to(kind), *state, places, *constants[:9]]
    inputs += [keypoints, *constants[9:]] if config.keypoint_feedback else []
    sizes = FeedbackSizes(
        persons,
        config.marker_count,
        cells,
        cells,
        config.local,
        config.flow,
        config.window_radius,
        len(arrays["pose_columns"]),
        len(arrays["first_bias"]) if config.keypoint_feedback else 0,
        config.crop_px,
    )

    def launch(kernels: Kernels, given: list[int], made: list[int], stream: int) -> None:
        kernels.feedback(given, made[0], sizes, half, stream)

    return case_of(launch, inputs, [truth.to(kind)], [truth], device)


@torch.no_grad()
def feedback_twin(model: ReFit, maps: Tensor, keypoints: Tensor | None, state: State, view: View) -> Tensor:
    """What `refit_rt/model/` makes of the same numbers. Its look-up is in single precision even for half maps; here,
    for once, in double."""
    wide_view = View(*(part.double() for part in view))
    seen = None if keypoints is None else keypoints.double()
    with patch.object(Tensor, "float", Tensor.double):
        placed = model.place(State(*(part.double() for part in state)), wide_view)
        return model.feedback(maps.double(), seen, placed.markers_px, placed.joints_px, None)


def stand_in(body: Body, model: ReFit) -> Bundle:
    """What the packing of constants reads of a bundle."""
    weights = {name: weight.detach().numpy() for name, weight in model.named_parameters()}
    return Bundle(Path("test"), Card(name="test", licence="none", body_sha256="", files={}), weights, body)


@torch.no_grad()
def check_loop(bundle: Bundle, kernels: Kernels, half: bool, device: str, tolerance: float) -> None:
    """Some iterations of both kernels, in one go and in two, against the network's own steps."""
    torch.manual_seed(0)
    model = loop_of(bundle)
    maps, keypoints = seen_by(model.config, 2)
    state, view = some_bodies(2)
    crop = Encoded(maps, torch.zeros(2, 26, 32), keypoints)
    truth = [estimate.state for estimate in model.steps(crop, view, model.place(state, view), 2)]
    loop = KernelLoop(bundle, kernels, 2, half, device)
    for parts in ((2,), (1, 1)):
        loop.begin(maps, keypoints, moved(view, device), moved(state, device))
        for part in parts:
            loop.advance(part)
        for now, true in ((loop.state, truth[1]), (loop.before, truth[0])):
            for ours, theirs in zip(now, true, strict=True):
                torch.testing.assert_close(ours.cpu(), theirs, atol=tolerance, rtol=tolerance)
