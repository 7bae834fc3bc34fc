"""Where BlazePose's landmarks sit on our body: each a fixed mixture of joints and markers, measured on renders.

`python -m training.landmark_map STORE` makes training/landmarks.npz. It tells a backbone that learns what its landmarks
should be, and makes landmarks for people whom nobody rendered (training.lifting).
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import tyro
from torch import Tensor

from refit_rt.model.camera import View
from training.losses import Truth

log = logging.getLogger(__name__)
FILE = Path(__file__).parent / "landmarks.npz"
POINTS = 39  # 33 landmarks and six points that BlazePose keeps for itself
RIDGE = 3e-2
RIGHT_PX = 12.0  # rows with a larger mean error teach nothing about where landmarks sit
WHOLE = 0.95  # share of the body's points in the crop of those that do
ROUNDS = 3


class Landmarks(NamedTuple):
    """BlazePose's answer about a crop."""

    pixels: Tensor  # (B, 39, 2) crop px
    depth: Tensor  # (B, 39) crop px behind the hips
    metres: Tensor  # (B, 39, 3) from the middle of the hips


class Observed(NamedTuple):
    """Joints and markers (B, 24 + M) as BlazePose speaks of points."""

    pixels: Tensor  # (B, P, 2) crop px
    depth: Tensor  # (B, P) crop px behind the hips
    metres: Tensor  # (B, P, 3) from the middle of the hips


@dataclass(frozen=True, slots=True, eq=False)
class LandmarkMap:
    """Weights (39, P + 1) of each mixture; the last column is a constant."""

    to_pixels: Tensor
    to_depth: Tensor
    to_metres: Tensor

    def __call__(self, seen: Observed) -> Landmarks:
        return Landmarks(
            mixed(self.to_pixels, seen.pixels),
            mixed(self.to_depth, seen.depth[..., None])[..., 0],
            mixed(self.to_metres, seen.metres),
        )


def load_map(device: torch.device | str = "cpu", path: Path = FILE) -> LandmarkMap:
    """The one that ships with training/."""
    with np.load(path) as archive:
        return LandmarkMap(*(torch.from_numpy(archive[name]).to(device) for name in LandmarkMap.__dataclass_fields__))


def observed(truth: Truth, trans: Tensor, view: View) -> Observed:
    """trans (B, 3) metres."""
    points = torch.cat([truth.joints, truth.markers], 1)
    pixels = torch.cat([truth.joints_px, truth.markers_px], 1).clamp(-400, 656)
    hips = truth.joints[:, 1:3].mean(1, keepdim=True)
    depth_m = hips[:, 0, 2] + trans[:, 2]
    px_per_metre = view.focal_px / depth_m.clamp(min=0.2) * 256 / view.square[:, 2]
    return Observed(pixels, (points[..., 2] - hips[..., 2]) * px_per_metre[:, None], points - hips)


def answer_of(landmarks: Tensor, world: Tensor) -> Landmarks:
    """The network's raw (B, 195) and (B, 117)."""
    points = landmarks.view(-1, POINTS, 5)
    return Landmarks(points[..., :2], points[..., 2], world.view(-1, POINTS, 3))


def mixed(weights: Tensor, points: Tensor) -> Tensor:
    """(L, P + 1), (B, P, d) -> (B, L, d)."""
    return weights[:, :-1] @ points + weights[:, -1:]


def inside(pixels: Tensor) -> Tensor:
    """Share of points (B, P, 2) in the crop, (B,)."""
    return ((pixels > 0) & (pixels < 256)).all(-1).float().mean(1)


def fit_mixture(points: Tensor, landmarks: Tensor) -> Tensor:
    """Weights (L, P + 1) that make landmarks (rows, L, d) of points (rows, P, d) and a constant; ridge regression."""
    rows = torch.cat([points, torch.ones_like(points[:, :1])], 1).transpose(1, 2).flatten(0, 1).double()
    wanted = landmarks.transpose(1, 2).flatten(0, 1).double()
    gram = rows.T @ rows
    ridge = RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.double)
    return torch.linalg.solve(gram + ridge, rows.T @ wanted).T.float()


def fit_map(seen: Observed, answer: Landmarks) -> LandmarkMap:
    """From many rows. Rows where BlazePose took the person for something else are found out and left aside."""
    good = inside(seen.pixels) > WHOLE
    for _ in range(ROUNDS):
        found = LandmarkMap(
            fit_mixture(seen.pixels[good], answer.pixels[good]),
            fit_mixture(seen.depth[good][..., None], answer.depth[good][..., None]),
            fit_mixture(seen.metres[good], answer.metres[good]),
        )
        off = (found(seen).pixels - answer.pixels)[:, :33].norm(dim=-1).mean(1)
        good = (inside(seen.pixels) > WHOLE) & (off < RIGHT_PX)
    return found


@dataclass(frozen=True)
class Settings:
    """Measures where BlazePose puts its landmarks."""

    store: tyro.conf.Positional[Path]
    backbone: str = ""
    """BlazePose's own weights: its .tflite (downloaded if left out), or a file of `training.checkpoint --own 1`."""
    rows: int = 4096
    out: Path = FILE


@torch.no_grad()
def main(settings: Settings) -> None:
    """Looks at rows of a store."""
    from refit_rt.body.smpl import load_body
    from refit_rt.model.blazepose import BlazePose
    from refit_rt.model.body import BodyTorch
    from training.checkpoint import load_own
    from training.store.batches import make_batch
    from training.store.shards import Store

    backbone, body = BlazePose().eval(), BodyTorch(load_body())
    load_own(backbone, settings.backbone)
    store = Store(settings.store)
    chosen = store.index[np.random.default_rng(0).permutation(len(store))[: settings.rows]]
    points, answers = [], []
    for first in range(0, len(chosen), 64):
        now = make_batch(store.take(chosen[first : first + 64]), body)
        _, _, landmarks, world = backbone.raw(now.images)
        points.append(observed(now.truth, now.trans, now.view))
        answers.append(answer_of(landmarks, world))
    seen = Observed(*(torch.cat(parts) for parts in zip(*points, strict=True)))
    answer = Landmarks(*(torch.cat(parts) for parts in zip(*answers, strict=True)))
    found = fit_map(seen, answer)
    off = (found(seen).pixels - answer.pixels)[:, :33].norm(dim=-1).mean(1)
    whole = inside(seen.pixels) > WHOLE
    log.info("%d rows, %.0f %% right; there %.1f px off in the mean, %.0f mm", len(off),
             100 * (off < RIGHT_PX).float().mean(), off[whole & (off < RIGHT_PX)].mean(),
             1000 * (found(seen).metres - answer.metres)[whole & (off < RIGHT_PX)].norm(dim=-1).mean())  # fmt: skip
    np.savez_compressed(settings.out, **{name: getattr(found, name).numpy() for name in found.__dataclass_fields__})


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main(tyro.cli(Settings))
