"""Training ReFit as published: HRNet and SMPL's body, on public data sets, with the official losses.

Wang & Daniilidis, ICCV 2023, section 3.6, and the official configs/config.yaml: squared errors of keypoints in the
picture and in space, of rotation matrices and of the shape. Each iteration weighs 0.85 times the one after it.
"""

from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from refit_rt.body.smpl import load_body
from refit_rt.model.camera import View, project_to_crop
from refit_rt.model.config import ReFitConfig
from refit_rt.model.refit import Estimate, build
from refit_rt.model.weights import load_coco_backbone
from training.checkpoint import load_into, read_start
from training.datasets.joints import Keypoints, keypoint_losses
from training.datasets.mix import Batch, batches, open_mix
from training.losses import GAMMA, Truth
from training.parallel import Place
from training.recipe import PublishedRecipe
from training.store.batches import truth_of
from training.store.shards import LABELS


class Weights(NamedTuple):
    """The weight of each term."""

    keypoints_2d: float = 5.0  # in units of half the crop's side
    keypoints_3d: float = 5.0  # metres
    rotations: float = 1.0  # entries of the matrices
    betas: float = 0.001
    markers: float = 0.0  # absolute error, metres


class Published:
    """The task of training.train for ReFit as published, which learns from labelled pictures."""

    def __init__(self, recipe: PublishedRecipe, place: Place, resumes: bool) -> None:
        self.recipe, self.place = recipe, place
        body = load_body(Path(recipe.body) if recipe.body else None)
        config = ReFitConfig(backbone=recipe.model, marker_dropout=recipe.marker_dropout)
        self.net = build(config, body)
        self.mix = open_mix(recipe.sets, body, recipe.batch, recipe.augment, recipe.seed, place.rank)
        if not resumes:
            if recipe.start_from:
                load_into(self.net, read_start(recipe.start_from), "average", Path(recipe.start_from))
            else:
                load_coco_backbone(self.net.backbone, recipe.backbone)
        self.net.to(place.device)
        self.keypoints = Keypoints(body, Path(recipe.extra_joints) if recipe.extra_joints else None).to(place.device)
        self.weights = Weights(**recipe.weights)

    def groups(self) -> list[dict]:
        return [{"params": list(self.net.parameters()), "share": 1.0}]

    def batches(self, first_step: int) -> Generator[Batch, None, None]:
        """Yields batches without end. A batch depends on its step alone, not on the first one."""
        yield from batches(self.mix, first_step, self.recipe.workers)

    def terms(self, batch: Batch, rng: np.random.Generator | None) -> dict[str, Tensor]:
        """The weighted terms of one batch. rng is not used."""
        batch = Batch(*(part.to(self.place.device) for part in batch))
        label = dict(zip(LABELS, batch.labels.split(list(LABELS.values()), dim=1), strict=True))
        view = View(label["box"], label["focal_px"][:, 0], label["centre_px"])
        rotations = label["rotations"].view(-1, 24, 3, 3)
        with torch.no_grad():
            truth = truth_of(self.net.body, rotations, label["betas"], label["trans"], view)
        self.net.train()
        images = batch.images.permute(0, 3, 1, 2).float() / 255
        with torch.autocast(self.place.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            encoded = self.net.encode(images)
        encoded = encoded._replace(maps=encoded.maps.float(), hidden=encoded.hidden.float())
        estimates = self.net(encoded, view, self.recipe.iterations)[1:]
        last = len(estimates) - 1
        sums: dict[str, Tensor] = {}
        for i, estimate in enumerate(estimates):
            for name, term in self._terms(estimate, truth, view, batch).items():
                sums[name] = sums.get(name, term.new_zeros(())) + GAMMA ** (last - i) * term
        return {name: self.recipe.loss_scale * term for name, term in sums.items()}

    def _terms(self, estimate: Estimate, truth: Truth, view: View, batch: Batch) -> dict[str, Tensor]:
        """The terms of one iteration. Rows without SMPL labels count by their keypoints alone."""
        points = self.keypoints(estimate.rotations, estimate.betas)
        points_px = project_to_crop(points, estimate.cam, view)
        off = keypoint_losses(points, points_px, batch.keypoints_2d, batch.keypoints_3d, self.keypoints.known)
        known = batch.has_smpl / batch.has_smpl.sum().clamp(min=1)
        markers = (estimate.markers - estimate.joints[:, :1]) - (truth.markers - truth.joints[:, :1])
        weights = self.weights
        return {
            "keypoints_2d": weights.keypoints_2d * off.pixels,
            "keypoints_3d": weights.keypoints_3d * off.metres,
            "rotations": weights.rotations * (known @ (estimate.rotations - truth.rotations).square().mean((1, 2, 3))),
            "betas": weights.betas * (known @ (estimate.betas - truth.betas).square().mean(1)),
            "markers": weights.markers * (known @ markers.abs().mean((1, 2))),
        }

    def grow(self) -> int:
        """The number of rows, which is fixed."""
        return sum(len(table) for table in self.mix.tables)

    def memory(self) -> list:
        """Returns nothing: no tensors are kept between steps."""
        return []

    def remember(self, memory: list) -> None:
        """Does nothing; see `memory`."""

    def evaluate(self) -> np.ndarray | None:
        """Returns None. python -m training.evaluation.sets evaluates a checkpoint on 3DPW and EMDB."""
        return None
