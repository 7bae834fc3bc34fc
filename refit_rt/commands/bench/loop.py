"""The same loop in three ways: in torch with the whole mesh, in torch with the markers only, compiled by numba."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from refit_rt.body.smpl import BETAS, JOINTS, PARENTS, Body, body_from_arrays
from refit_rt.body.smpl_file import SMPL_VERTICES
from refit_rt.bundle.read import Bundle, Card
from refit_rt.commands.bench.table import Table
from refit_rt.commands.bench.timing import medians_ms
from refit_rt.model.camera import View as TorchView
from refit_rt.model.config import ReFitConfig
from refit_rt.model.refit import Encoded as TorchEncoded
from refit_rt.model.refit import Estimate, ReFit, build
from refit_rt.model.update import BatchedGRU
from refit_rt.runners.cpu.loop import NumbaLoop
from refit_rt.runners.torch.runner import NoBackbone
from refit_rt.types import Encoded, View

ITERATIONS = 5
SMPL_FACES, POSE_BLENDS = 13776, 207
EXTRA_JOINTS = 9  # regressed from the posed mesh in every query of the official code
Gate = tuple[Tensor, Tensor]  # weight and bias


class WholeMesh(nn.Module):
    """The body as the official code evaluates it (smplx's linear blend skinning): every vertex, every iteration, joints
    regressed from the shaped mesh, 4x4 transforms blended densely; then the markers are picked out."""

    template: Tensor  # (V, 3)
    shape_dirs: Tensor  # (V, 3, 10)
    pose_dirs: Tensor  # (207, 3 V)
    skinning: Tensor  # (V, 24)
    regressor: Tensor  # (24, V)
    markers: Tensor  # (M,)

    def __init__(self, body: Body, regressor: np.ndarray) -> None:
        super().__init__()
        assert body.pose_dirs is not None
        assert body.markers is not None
        self.parents = np.array(body.parents)
        self.point_count = len(body.markers)
        arrays = {
            "template": body.template, "shape_dirs": body.shape_dirs, "skinning": body.skinning, "regressor": regressor,
            "pose_dirs": body.pose_dirs.reshape(-1, POSE_BLENDS).T, "markers": np.array(body.markers),
        }  # fmt: skip
        for name, array in arrays.items():
            self.register_buffer(name, torch.tensor(np.ascontiguousarray(array)), persistent=False)

    def forward(self, rotations: Tensor, betas: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 24, 3, 3), (B, 10) -> joints (B, 24, 3), markers (B, M, 3), metres."""
        count = len(betas)
        shaped = self.template + torch.einsum("bl,vkl->bvk", betas, self.shape_dirs)
        rest = torch.einsum("bvk,jv->bjk", shaped, self.regressor)
        bend = (rotations[:, 1:] - torch.eye(3)).reshape(count, -1)
        posed = shaped + (bend @ self.pose_dirs).view(count, -1, 3)
        bones = rest.clone()
        bones[:, 1:] -= rest[:, self.parents[1:]]
        local = functional.pad(torch.cat([rotations, bones[..., None]], -1), (0, 0, 0, 1))
        local[..., 3, 3] = 1
        chain = [local[:, 0]]
        for joint in range(1, JOINTS):
            chain.append(chain[self.parents[joint]] @ local[:, joint])
        placed = torch.stack(chain, 1)
        at_rest = functional.pad(rest[..., None], (0, 0, 0, 1))
        from_rest = placed - functional.pad(placed @ at_rest, (3, 0))
        blend = (self.skinning.expand(count, -1, -1) @ from_rest.view(count, JOINTS, 16)).view(count, -1, 4, 4)
        vertices = (blend @ functional.pad(posed, (0, 1), value=1.0)[..., None])[..., :3, 0]
        extra = torch.einsum("bvk,jv->bjk", vertices, self.regressor[:EXTRA_JOINTS])
        return torch.cat([placed[..., :3, 3], extra], 1)[:, :JOINTS], vertices[:, self.markers]


class SeparateGRUs(nn.Module):
    """Update as the official code writes it: every head gets its own copy of the input, joined with its hidden state,
    and each gate is a product of its own; 24 joints together, then shape, then camera."""

    def __init__(self, gru: BatchedGRU) -> None:
        super().__init__()
        size = gru.hidden
        from_input = gru.from_input.weight.view(JOINTS + 2, 3 * size, -1)
        weight = torch.cat([gru.from_hidden, from_input], -1)  # (26, 3H, H + inputs)
        bias = gru.from_input.bias.view(JOINTS + 2, 3 * size)
        self.gates = [
            [
                (w.contiguous(), b.contiguous())
                for w, b in zip(weight[part].split(size, 1), bias[part].split(size, 1), strict=True)
            ]
            for part in (slice(0, JOINTS), slice(JOINTS, JOINTS + 1), slice(JOINTS + 1, JOINTS + 2))
        ]

    def forward(self, hidden: Tensor, x: Tensor) -> Tensor:
        parts = zip(hidden.split([JOINTS, 1, 1], 1), self.gates, strict=True)
        return torch.cat([self._one(h, x, *gates) for h, gates in parts], 1)

    def _one(self, hidden: Tensor, x: Tensor, z_gate: Gate, r_gate: Gate, q_gate: Gate) -> Tensor:
        wide = x[:, None].expand(-1, hidden.shape[1], -1)
        both = torch.cat([hidden, wide], -1)
        z, r = torch.sigmoid(multi_linear(both, *z_gate)), torch.sigmoid(multi_linear(both, *r_gate))
        q = torch.tanh(multi_linear(torch.cat([r * hidden, wide], -1), *q_gate))
        return (1 - z) * hidden + z * q


def multi_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(B, heads, inputs), (heads, outputs, inputs), (heads, outputs) -> (B, heads, outputs)."""
    return (weight @ x[..., None]).squeeze(-1) + bias


def measure() -> Table:
    """Microseconds per iteration, for one person on one thread."""
    torch.set_num_threads(1)
    medians = medians_ms(contestants(ITERATIONS))
    slowest = max(medians.values())
    rows = [[name, f"{1e3 * ms / ITERATIONS:.1f}", f"{slowest / ms:.1f}"] for name, ms in medians.items()]
    return Table(["one iteration, batch 1, one thread", "µs", "ratio"], rows)


def contestants(iterations: int) -> dict[str, Callable[[], Any]]:
    """Each runs `iterations` updates of one person from the same maps. Random weights, a body of SMPL's size."""
    torch.manual_seed(0)
    body = smpl_sized_body()
    model = build(ReFitConfig(), body, NoBackbone()).eval()
    exact = model.update.gru.from_input.weight.detach().clone()
    model.update.gru.from_input.weight.data = exact.half().float()  # as in the shipped bundle
    official = build(ReFitConfig(), body, NoBackbone()).eval()
    official.load_state_dict(model.state_dict())
    official.body = WholeMesh(body, uniform_regressor())  # type: ignore[assignment]
    official.update.gru = SeparateGRUs(official.update.gru)  # type: ignore[assignment]
    maps, hidden = torch.randn(1, model.config.marker_count, 64, 64), torch.randn(1, JOINTS + 2, model.config.hidden)
    view = TorchView(torch.tensor([[640.0, 360.0, 500.0]]), torch.tensor([1400.0]), torch.tensor([[640.0, 360.0]]))
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    full = weights | {"update.gru.from_input.weight": exact.numpy()}
    card = Card(name="bench", licence="none", body_sha256="", files={})
    numba_loop, numba_full = (NumbaLoop(Bundle(Path("bench"), card, given, body)) for given in (weights, full))
    encoded, numpy_view = (
        Encoded(maps[0].numpy(), hidden[0].numpy()),
        View((640.0, 360.0, 500.0), 1400.0, (640.0, 360.0)),
    )
    start = numba_loop.initial(encoded, numpy_view)
    return {
        "torch, whole mesh (as the official code)": torch_loop(official, maps, hidden, view, iterations),
        "torch, 67 markers": torch_loop(model, maps, hidden, view, iterations),
        "numba, 67 markers, all weights float32": lambda: numba_full.iterate(encoded, numpy_view, start, iterations),
        "numba, 67 markers": lambda: numba_loop.iterate(encoded, numpy_view, start, iterations),
    }


def torch_loop(
    model: ReFit, maps: Tensor, hidden: Tensor, view: TorchView, iterations: int
) -> Callable[[], list[Estimate]]:
    """The torch network's iterations from its own first estimate."""
    encoded = TorchEncoded(maps, hidden, None)
    with torch.no_grad():
        first = model.first(encoded, view)

    def call() -> list[Estimate]:
        with torch.no_grad():
            return list(model.steps(encoded, view, first, iterations))

    return call


def smpl_sized_body() -> Body:
    """SMPL's shapes with random contents: pose blend shapes, and at most four bones a vertex, as the real one."""
    rng = np.random.default_rng(0)
    bones = np.argsort(rng.random((SMPL_VERTICES, JOINTS)), axis=1)[:, :4]
    skinning = np.zeros((SMPL_VERTICES, JOINTS), np.float32)
    np.put_along_axis(skinning, bones, rng.dirichlet(np.ones(4), SMPL_VERTICES).astype(np.float32), axis=1)
    arrays = {
        "v_template": rng.normal(0, 0.4, (SMPL_VERTICES, 3)).astype(np.float32),
        "shapedirs": rng.normal(0, 0.01, (SMPL_VERTICES, 3, BETAS)).astype(np.float32),
        "posedirs": rng.normal(0, 0.002, (SMPL_VERTICES, 3, POSE_BLENDS)).astype(np.float32),
        "weights": skinning,
        "J_regressor": uniform_regressor(),
        "f": rng.integers(0, SMPL_VERTICES, (SMPL_FACES, 3)).astype(np.int32),
        "kintree_table": np.stack([np.array(PARENTS), np.arange(JOINTS)]).astype(np.int32),
        "markers": rng.choice(SMPL_VERTICES, 67, replace=False).astype(np.int32),
        "name": np.array("smpl-sized"),
    }
    return body_from_arrays(arrays, "bench")


def uniform_regressor() -> np.ndarray:
    """(24, 6890)"""
    return np.full((JOINTS, SMPL_VERTICES), 1 / SMPL_VERTICES, np.float32)
