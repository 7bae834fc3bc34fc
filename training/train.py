"""Trains a network on a store of rendered people: `python -m training.train training/configs/edge.yaml`.

Resumes from its last checkpoint. Every batch starts partly cold, partly from the network's own answer of the moment
before, as in live use.
"""

import logging
import math
import pickle
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch
import tyro
from torch import Tensor

from refit_rt.body import load_body
from refit_rt.errors import UserError
from refit_rt.model.blazepose import blazepose_of
from refit_rt.model.camera import View, cam_from_translation, project_to_crop, translation
from refit_rt.model.config import EDGE
from refit_rt.model.hrnet import Seen
from refit_rt.model.refit import Encoded, Estimate, build
from refit_rt.model.rotation import sixd_from_matrix
from refit_rt.model.update import State
from training.lifting import DONORS, Lifted, Lifter
from training.losses import Truth, Weights, errors_of, estimate_loss, total_loss
from training.store import LABELS, Rows, Store
from training.synthetic.generator import HELD_EVERY
from training.synthetic.motion import load_motion, part
from training.warm import apart, disturb, exchanged, opposed, turn_camera

log = logging.getLogger(__name__)
LIFTED_WEIGHT = 0.5  # of a person without a picture, beside one with


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model's training, as its config file says it."""

    store: str
    """Folder of training.produce."""
    held_out: str
    """Folder of training.produce --held-out."""
    out: str
    """Folder for checkpoints and logs."""
    start_from: str = ""
    """A checkpoint whose averaged weights a new run starts from; empty: from random heads."""
    backbone_tflite: str = ""
    """BlazePose's weights; empty: pulled."""
    minutes: float = 60.0
    """Length of the run, over all resumptions."""
    batch: int = 48
    rate: float = 1.5e-3
    """Peak learning rate; cosine to zero over `minutes`."""
    weight_decay: float = 1e-4
    clip_norm: float = 1.0
    average: float = 0.999
    """Decay of the averaged weights (EMA) that are evaluated and shipped."""
    own_previous: float = 0.8
    """Share of rows with a moment before that start from the network's own answer there."""
    perturbed: float = 0.15
    """Share of the other rows that start from a disturbed truth."""
    summary_dropout: float = 0.3
    """Share of rows whose 2x2 summary is hidden, so that the landmarks alone must do."""
    lifted: int = 32
    """People a step that nobody rendered (training.lifting); 0: none."""
    motion: str = ""
    """Recorded motion for those; empty: the parametric library only."""
    threads: int = 1
    save_every_s: float = 120.0
    evaluate_every_s: float = 600.0
    seed: int = 0
    weights: dict[str, float] = {}
    """Loss weights that differ from training.losses.Weights."""


@dataclass(slots=True)
class Batch:
    """Rows as tensors."""

    seen: Seen
    truth: Truth
    view: View
    trans: Tensor  # (B, 3)
    roll: Tensor  # (B,)


class Trainer:
    """The network, its average, the optimiser and where the run stands."""

    def __init__(self, recipe: Recipe) -> None:
        torch.set_num_threads(recipe.threads)
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.rng = np.random.default_rng(recipe.seed)
        self.store = Store(Path(recipe.store))
        self.net = build(EDGE, load_body())
        self.weights = Weights(**recipe.weights)
        self.out = Path(recipe.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.seconds, self.steps, self.views = 0.0, 0, 0
        if not (self.out / "last.pt").exists():
            if recipe.start_from:
                self.net.load_state_dict(read_checkpoint(Path(recipe.start_from))["average"])
            else:
                self._prepare_backbone()
        self.net.backbone.requires_grad_(False)
        self.lifter = self._lifter() if recipe.lifted else None
        self.average = {name: value.clone() for name, value in self.net.state_dict().items()}
        parameters = [p for p in self.net.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(parameters, recipe.rate, weight_decay=recipe.weight_decay)
        if (self.out / "last.pt").exists():
            self._resume()

    def _prepare_backbone(self) -> None:
        path = Path(self.recipe.backbone_tflite)
        if not self.recipe.backbone_tflite:
            from refit_rt.detect.pull import pull

            path = pull("pose_landmark_full.tflite")
        blazepose_of(self.net).load_tflite(path)
        rows = self.store.take(self.store.index[self.rng.permutation(len(self.store))[:400]])
        blazepose_of(self.net).set_statistics(*self._raw(rows))

    def _lifter(self) -> Lifter:
        recorded = load_motion(Path(self.recipe.motion)) if self.recipe.motion else None
        lifter = Lifter(self.net, part(recorded, HELD_EVERY, False) if recorded else None, self.recipe.seed + 1)
        chosen = self.store.index[self.rng.permutation(len(self.store))[:DONORS]]
        batches = []
        for first in range(0, len(chosen), 256):
            rows = self.store.take(chosen[first : first + 256])
            now = self.batch(rows, see=False)
            batches.append((now, torch.from_numpy(rows.landmarks), torch.from_numpy(rows.world)))
        nows, landmarks, world = zip(*batches, strict=True)
        truth = Truth(*(torch.cat(parts) for parts in zip(*(now.truth for now in nows), strict=True)))
        view = View(*(torch.cat(parts) for parts in zip(*(now.view for now in nows), strict=True)))
        lifter.measure(truth, torch.cat([now.trans for now in nows]), view, torch.cat(landmarks), torch.cat(world))
        return lifter

    def _raw(self, rows: Rows) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        features = torch.from_numpy(rows.features).float() * torch.from_numpy(self.store.step).view(1, -1, 1, 1)
        summary = torch.from_numpy(rows.summary).float().view(-1, 288, 2, 2)
        return features, summary, torch.from_numpy(rows.landmarks), torch.from_numpy(rows.world)

    def batch(self, rows: Rows, see: bool = True) -> Batch:
        """Rows of the store -> what the network and the losses take. see: with the backbone's answers, whitened."""
        with torch.no_grad():
            parts = torch.from_numpy(rows.labels).split(list(LABELS.values()), dim=1)
            label = dict(zip(LABELS, parts, strict=True))
            view = View(label["box"], label["focal_px"][:, 0], label["centre_px"])
            rotations = label["rotations"].view(-1, 24, 3, 3)
            joints, markers = self.net.body(rotations, label["betas"])
            cam = cam_from_translation(label["trans"], view)
            joints_px, markers_px = (project_to_crop(points, cam, view) for points in (joints, markers))
            truth = Truth(rotations, label["betas"], cam, joints, markers, joints_px, markers_px)
            nothing = Seen(joints[:0], joints[:0])
            seen = blazepose_of(self.net).see(*self._raw(rows)) if see else nothing
            return Batch(seen, truth, view, label["trans"], label["roll"][:, 0])

    def start_of(self, rows: Rows, index: np.ndarray, now: Batch) -> tuple[Estimate, Tensor]:
        """Where each row's loop starts: a body in its crop's camera, and that body's weight (B,), 0: cold."""
        count = len(index)
        truth = now.truth
        pose, betas, cam = sixd_from_matrix(truth.rotations), truth.betas.clone(), truth.cam.clone()
        pose, betas, cam = disturb(pose, betas, cam)
        weight = torch.where(torch.rand(count) < self.recipe.perturbed, 1 - 0.6 * torch.rand(count), torch.zeros(count))
        own = np.flatnonzero((rows.previous >= 0) & (self.rng.random(count) < self.recipe.own_previous))
        if len(own):
            before_index = np.stack([index[own, 0], rows.previous[own]], 1)
            before = self.batch(self.store.take(before_index))
            with torch.no_grad():
                answer = self.net(before.seen, before.view, int(self.rng.integers(1, 5)))[-1]
            chosen = torch.from_numpy(own)
            rotations, place = turn_camera(
                answer, translation(answer.cam, before.view), before.roll - now.roll[chosen], self.net
            )
            here = View(*(part[chosen] for part in now.view))
            pose[chosen], betas[chosen] = sixd_from_matrix(rotations), answer.betas
            cam[chosen] = cam_from_translation(place, here)
            weight[chosen] = 0.4 + 0.55 * torch.rand(len(own))
        return self.net.place(State(pose, betas, cam), now.view), weight

    def step(self) -> float:
        """One batch; the loss."""
        index = self.store.index[self.rng.integers(0, len(self.store), self.recipe.batch)]
        rows = self.store.take(index)
        now = self.batch(rows)
        with torch.no_grad():
            start, weight = self.start_of(rows, index, now)
        hidden = torch.rand(len(index), 1) < self.recipe.summary_dropout
        summary = now.seen.summary.clone()
        summary[:, 312:] = torch.where(hidden, 0.0, summary[:, 312:])
        self.net.train()
        self.net.backbone.eval()
        encoded = self.net.encode_features(now.seen._replace(summary=summary))
        encoded, weight = self._settle(encoded, now, start, weight)
        estimates = self.net(encoded, now.view, int(self.rng.integers(2, 5)), start, weight)
        loss = total_loss(estimates[1:], now.truth, self.weights) + estimate_loss(estimates[0], now.truth, self.weights)
        if self.lifter is not None:
            loss = loss + LIFTED_WEIGHT * self._lifted_loss(self.lifter.batch(self.recipe.lifted))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.recipe.clip_norm)
        if torch.isfinite(norm):
            self.optimiser.step()
        self.steps += 1
        self.views += len(index)
        decay = min(self.recipe.average, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            for name, value in self.net.state_dict().items():
                if not name.startswith("backbone"):
                    self.average[name].lerp_(value, 1 - decay)
        return float(loss)

    @torch.no_grad()
    def _settle(self, encoded: Encoded, now: Batch, start: Estimate, weight: Tensor) -> tuple[Encoded, Tensor]:
        """What refit_rt.fit does with a start that faces away from the fresh estimate: it is believed wholly, and the
        landmarks' left and right are exchanged. Here only where the start is the right one; else it is cold."""
        fresh = self.net.first(encoded, now.view)
        away = opposed(fresh.rotations, start.rotations) & (weight > 0)
        right = apart(start.rotations, now.truth.rotations) < apart(fresh.rotations, now.truth.rotations)
        weight = torch.where(away, right.float(), weight)
        assert encoded.keypoints is not None
        return encoded._replace(keypoints=exchanged(encoded.keypoints, away & right)), weight

    def _lifted_loss(self, now: Lifted) -> Tensor:
        """Half of them start cold, half from a disturbed truth, as a tracker does."""
        truth = now.truth
        with torch.no_grad():
            start = State(*disturb(sixd_from_matrix(truth.rotations), truth.betas.clone(), truth.cam.clone()))
            weight = (torch.rand(len(truth.betas)) < 0.5) * (0.4 + 0.5 * torch.rand(len(truth.betas)))
        estimates = self.net(now.encoded, now.view, 2, start, weight)
        return total_loss(estimates, truth, self.weights)

    def run(self) -> None:
        """Until the recipe's minutes are over."""
        length = self.recipe.minutes * 60
        saved = evaluated = scanned = time.monotonic()
        mean = 0.0
        while self.seconds < length:
            began = time.monotonic()
            done = self.seconds / length
            for group in self.optimiser.param_groups:
                group["lr"] = (
                    self.recipe.rate
                    * min(1, (self.steps + 1) / 200)
                    * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))
                )
            loss = self.step()
            mean = loss if self.steps == 1 else 0.98 * mean + 0.02 * loss
            now = time.monotonic()
            self.seconds += now - began
            if now - scanned > 60:
                self.store.rescan()
                scanned = now
                log.info(
                    "%5.1f min, %d steps, %d views of %d crops, loss %.3f",
                    self.seconds / 60,
                    self.steps,
                    self.views,
                    len(self.store),
                    mean,
                )
            if now - saved > self.recipe.save_every_s:
                self.save()
                saved = now
            if now - evaluated > self.recipe.evaluate_every_s or self.seconds >= length:
                log.info("held out: %s", self.evaluate())
                evaluated = time.monotonic()
        self.save()

    def evaluate(self, limit: int = 512) -> str:
        """Cold, on held-out people, with the averaged weights: mm, mm after Procrustes, px of 256, an iteration."""
        held = Store(Path(self.recipe.held_out))
        step, self.store.step = self.store.step, held.step
        kept = {name: value.clone() for name, value in self.net.state_dict().items()}
        self.net.load_state_dict(self.average)
        self.net.eval()
        table: list[list[Tensor]] = []
        with torch.no_grad():
            for first in range(0, min(limit, len(held)), 64):
                now = self.batch(held.take(held.index[first : min(first + 64, limit)]))
                estimates = self.net(now.seen, now.view, 5)
                table.append([errors_of(one, now.truth) for one in estimates])
        self.net.load_state_dict(kept)
        self.store.step = step
        lines = []
        for iteration, parts in enumerate(zip(*table, strict=True)):
            values = torch.cat(parts)
            mean, median = values.mean(0), values.median(0).values
            told = ["/".join(f"{value:.0f}" for value in part) for part in (mean, median)]
            lines.append(f"{iteration}: {told[0]} (median {told[1]})")
        return " | ".join(lines)

    def save(self) -> None:
        """Leaves a checkpoint; the one before stays until this one is whole."""
        checkpoint = {
            "net": self.net.state_dict(), "average": self.average, "optimiser": self.optimiser.state_dict(),
            "seconds": self.seconds, "steps": self.steps, "views": self.views, "rng": self.rng.bit_generator.state,
            "torch_rng": torch.get_rng_state(),
        }  # fmt: skip
        part = self.out / "last.pt.part"
        torch.save(checkpoint, part)
        part.replace(self.out / "last.pt")

    def _resume(self) -> None:
        path = self.out / "last.pt"
        checkpoint = read_checkpoint(path)
        try:
            self.net.load_state_dict(checkpoint["net"])
            self.optimiser.load_state_dict(checkpoint["optimiser"])
        except (RuntimeError, KeyError, ValueError) as error:
            raise UserError(f"{path}: is a checkpoint of another network. Give another `out` folder") from error
        self.average = checkpoint["average"]
        self.seconds, self.steps, self.views = checkpoint["seconds"], checkpoint["steps"], checkpoint["views"]
        self.rng.bit_generator.state = checkpoint["rng"]
        torch.set_rng_state(checkpoint["torch_rng"])


def read_checkpoint(path: Path) -> dict:
    """A checkpoint of `Trainer.save`. Raises UserError."""
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(f"{path}: is no checkpoint ({error}). Give a last.pt of training.train") from error


@dataclass(frozen=True)
class Arguments:
    """Trains one model."""

    config: tyro.conf.Positional[Path]
    """The model's recipe, a yaml file."""


def read_recipe(path: Path) -> Recipe:
    """Raises UserError naming the place of a wrong key."""
    try:
        return msgspec.yaml.decode(path.read_bytes(), type=Recipe)
    except (OSError, msgspec.MsgspecError) as error:
        raise UserError(f"{path}: {error}") from error


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    Trainer(read_recipe(tyro.cli(Arguments).config)).run()
