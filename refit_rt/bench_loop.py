"""The same loop three times, for `bench loop`: the official way in torch, torch at the markers, numba."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from refit_rt.body import BETAS, JOINTS, PARENTS, Body, body_from_arrays
from refit_rt.bundle import Bundle, Card
from refit_rt.model.body import BodyTorch
from refit_rt.model.camera import View as TorchView
from refit_rt.model.config import ReFitConfig
from refit_rt.model.refit import Encoded, ReFit, build
from refit_rt.runners import Seen, View
from refit_rt.runners.numba_loop import NumbaLoop

SMPL_VERTICES, SMPL_FACES, POSE_BLENDS = 6890, 13776, 207


class NoBackbone(nn.Module):
    """The loop is measured from given maps."""

    feature_channels = summary_size = 1


class WholeMesh(nn.Module):
    """The official code's body: every vertex, every iteration, and the markers picked out of them."""

    def __init__(self, body: Body) -> None:
        super().__init__()
        self.mesh = BodyTorch(body, np.arange(len(body.template)))
        self.markers = torch.as_tensor(np.array(body.markers))
        self.point_count = len(self.markers)

    def forward(self, rotations: Tensor, betas: Tensor) -> tuple[Tensor, Tensor]:
        joints, vertices = self.mesh(rotations, betas)
        return joints, vertices[:, self.markers]


def contestants(iterations: int) -> dict[str, Callable[[], object]]:
    """Each runs `iterations` updates of one person from the same maps. Random weights, a body of SMPL's size."""
    torch.manual_seed(0)
    body = smpl_sized_body()
    model = build(ReFitConfig(), body, NoBackbone()).eval()
    official = build(ReFitConfig(), body, NoBackbone()).eval()
    official.load_state_dict(model.state_dict())
    official.body = WholeMesh(body)  # type: ignore[assignment]
    maps, hidden = torch.randn(1, model.config.marker_count, 64, 64), torch.randn(1, JOINTS + 2, model.config.hidden)
    view = TorchView(torch.tensor([[640.0, 360.0, 500.0]]), torch.tensor([1400.0]), torch.tensor([[640.0, 360.0]]))
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    card = Card(name="bench", licence="none", body_sha256="", files={})
    numba_loop = NumbaLoop(Bundle(Path("bench"), card, weights, body))
    seen, numpy_view = Seen(maps[0].numpy(), hidden[0].numpy()), View((640.0, 360.0, 500.0), 1400.0, (640.0, 360.0))
    start = numba_loop.initial(seen, numpy_view)
    return {
        "torch, whole mesh (as the official code)": torch_loop(official, maps, hidden, view, iterations),
        "torch, 67 markers": torch_loop(model, maps, hidden, view, iterations),
        "numba, 67 markers": lambda: numba_loop.iterate(seen, numpy_view, start, iterations),
    }


def torch_loop(model: ReFit, maps: Tensor, hidden: Tensor, view: TorchView, iterations: int) -> Callable[[], object]:
    """The torch network's iterations from its own first estimate."""
    encoded = Encoded(maps, hidden, None)
    with torch.no_grad():
        first = model.first(encoded, view)

    def call() -> object:
        with torch.no_grad():
            return list(model.steps(encoded, view, first, iterations))

    return call


def smpl_sized_body() -> Body:
    """Arrays of SMPL's shapes with random contents, pose blend shapes and at most four bones a vertex, as the real one."""
    rng = np.random.default_rng(0)
    bones = np.argsort(rng.random((SMPL_VERTICES, JOINTS)), axis=1)[:, :4]
    skinning = np.zeros((SMPL_VERTICES, JOINTS), np.float32)
    np.put_along_axis(skinning, bones, rng.dirichlet(np.ones(4), SMPL_VERTICES).astype(np.float32), axis=1)
    regressor = np.full((JOINTS, SMPL_VERTICES), 1 / SMPL_VERTICES, np.float32)
    arrays = {
        "v_template": rng.normal(0, 0.4, (SMPL_VERTICES, 3)).astype(np.float32),
        "shapedirs": rng.normal(0, 0.01, (SMPL_VERTICES, 3, BETAS)).astype(np.float32),
        "posedirs": rng.normal(0, 0.002, (SMPL_VERTICES, 3, POSE_BLENDS)).astype(np.float32),
        "weights": skinning,
        "J_regressor": regressor,
        "f": rng.integers(0, SMPL_VERTICES, (SMPL_FACES, 3)).astype(np.int32),
        "kintree_table": np.stack([np.array(PARENTS), np.arange(JOINTS)]).astype(np.int32),
        "markers": rng.choice(SMPL_VERTICES, 67, replace=False).astype(np.int32),
        "name": np.array("smpl-sized"),
    }
    return body_from_arrays(arrays, "bench")
