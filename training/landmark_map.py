"""Maps the free body to BlazePose's landmarks: each is a fixed mixture of joints and markers, measured on renders.

`python -m training.landmark_map STORE` makes training/landmarks.npz. The map gives the target landmarks for training
the backbone, and landmarks for people without pictures (training.lifting).
"""

import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import tyro
from torch import Tensor

from refit_rt.files import write_whole
from refit_rt.model.camera import View
from training.losses import Truth
from training.reporting import run

log = logging.getLogger(__name__)
FILE = Path(__file__).parent / "landmarks.npz"
POINTS = 39  # 33 landmarks, and six auxiliary points of BlazePose
RIDGE = 3e-2
RIGHT_PX = 12.0  # rows with a larger mean error are outliers, and do not count in the fit
WHOLE = 0.95  # rows with a smaller share of the body's points in the crop do not count either
ROUNDS = 3  # of fitting and leaving out outliers


class Landmarks(NamedTuple):
    """BlazePose's output for crops."""

    pixels: Tensor  # (B, 39, 2) crop px
    depth: Tensor  # (B, 39) crop px behind the hips
    metres: Tensor  # (B, 39, 3) from the middle of the hips


class Observed(NamedTuple):
    """Joints and markers (B, P = 24 + M) in BlazePose's coordinates."""

    pixels: Tensor  # (B, P, 2) crop px
    depth: Tensor  # (B, P) crop px behind the hips
    metres: Tensor  # (B, P, 3) from the middle of the hips


@dataclass(frozen=True, slots=True, eq=False)
class LandmarkMap:
    """Weights (39, P + 1) of the mixtures; the last column is a constant."""

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
    """Loads a map, by default the one that ships with training/."""
    with np.load(path) as archive:
        return LandmarkMap(*(torch.from_numpy(archive[name]).to(device) for name in LandmarkMap.__dataclass_fields__))


def observed(truth: Truth, trans: Tensor, view: View) -> Observed:
    """Expresses the true body, at trans (B, 3) metres, in BlazePose's coordinates."""
    points = torch.cat([truth.joints, truth.markers], 1)
    pixels = torch.cat([truth.joints_px, truth.markers_px], 1).clamp(-400, 656)
    hips = truth.joints[:, 1:3].mean(1, keepdim=True)
    depth_m = hips[:, 0, 2] + trans[:, 2]
    px_per_metre = view.focal_px / depth_m.clamp(min=0.2) * 256 / view.square[:, 2]
    return Observed(pixels, (points[..., 2] - hips[..., 2]) * px_per_metre[:, None], points - hips)


def answer_of(landmarks: Tensor, world: Tensor) -> Landmarks:
    """Unpacks the network's raw landmarks (B, 195) and world landmarks (B, 117)."""
    points = landmarks.view(-1, POINTS, 5)
    return Landmarks(points[..., :2], points[..., 2], world.view(-1, POINTS, 3))


def mixed(weights: Tensor, points: Tensor) -> Tensor:
    """Applies mixtures (L, P + 1) to points (B, P, d) -> (B, L, d)."""
    return weights[:, :-1] @ points + weights[:, -1:]


def inside(pixels: Tensor) -> Tensor:
    """The share (B,) of points (B, P, 2) px that lie in the crop."""
    return ((pixels > 0) & (pixels < 256)).all(-1).float().mean(1)


def fit_mixture(points: Tensor, landmarks: Tensor) -> Tensor:
    """Finds weights (L, P + 1) that give landmarks (rows, L, d) from points (rows, P, d), by ridge regression."""
    rows = torch.cat([points, torch.ones_like(points[:, :1])], 1).transpose(1, 2).flatten(0, 1).double()
    wanted = landmarks.transpose(1, 2).flatten(0, 1).double()
    gram = rows.T @ rows
    ridge = RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.double)
    return torch.linalg.solve(gram + ridge, rows.T @ wanted).T.float()


def fit_map(seen: Observed, answer: Landmarks) -> LandmarkMap:
    """Fits a map to many rows, without the outliers on which BlazePose errs."""
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
    """Measures where BlazePose places its landmarks on the free body."""

    store: tyro.conf.Positional[Path]
    """Folder of training.produce."""
    backbone: str = ""
    """BlazePose's own weights: its .tflite, which is downloaded if no file is given, or a checkpoint of
    `training.checkpoint --own 1`."""
    rows: int = 4096
    """Rows of the store to measure on."""
    out: Path = FILE
    """The file to write."""


@torch.no_grad()
def main(settings: Settings) -> None:
    """Measures on rows of a store and writes the map. Raises UserError."""
    from refit_rt.body.smpl import load_body
    from refit_rt.model.blazepose import BlazePose
    from refit_rt.model.body import BodyTorch
    from training.checkpoint import load_own
    from training.store.batches import make_batch
    from training.store.shards import Store

    store, backbone, body = Store(settings.store), BlazePose().eval(), BodyTorch(load_body())
    load_own(backbone, settings.backbone)
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
    right = off < RIGHT_PX
    off_mm = 1000 * (found(seen).metres - answer.metres)[whole & right].norm(dim=-1).mean()
    share, off_px = 100 * right.float().mean(), off[whole & right].mean()
    log.info(
        "%d rows, %.0f %% without gross errors; their mean error is %.1f px, %.0f mm", len(off), share, off_px, off_mm
    )
    with write_whole(settings.out) as part, part.open("wb") as file:
        np.savez_compressed(file, **{name: getattr(found, name).numpy() for name in found.__dataclass_fields__})


if __name__ == "__main__":
    sys.exit(run(lambda: main(tyro.cli(Settings))))
