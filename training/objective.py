"""The loss of one batch of rendered people: where its loops start, and the terms of the loss."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from refit_rt.fit.start import faces_away
from refit_rt.model.blazepose import blazepose_of
from refit_rt.model.camera import View, cam_from_translation, translation
from refit_rt.model.hrnet import BackboneOutput
from refit_rt.model.refit import Agree, Encoded, Estimate, ReFit
from refit_rt.model.rotation import sixd_from_matrix
from refit_rt.model.update import State
from training.heat import Heat
from training.landmark_map import answer_of, inside, load_map, observed
from training.lifting import Lifted, Lifter
from training.losses import Weights, estimate_loss, total_loss
from training.multiview import agree_in_groups
from training.recipe import EdgeRecipe
from training.remembered import Remembered
from training.starts import apart, disturb, exchanged, turn_camera
from training.store.batches import Batch, Drawn, make_batch
from training.teacher import Teacher

LIFTED_WEIGHT = 0.5  # weight of people without pictures, relative to rendered ones
LANDMARK_REACH = 64.0  # landmarks up to this many px outside the crop are taught
LANDMARK_NUMBERS = 312  # the first numbers of the summary; the rest, the 2x2 summary, is hidden for some rows


class Objective:
    """The loss of a network. lifter: the source of people without pictures; None: there are none."""

    def __init__(self, net: ReFit, recipe: EdgeRecipe, lifter: Lifter | None) -> None:
        self.net, self.recipe, self.lifter = net, recipe, lifter
        self.weights = Weights(**recipe.weights)
        self.device = net.mean_betas.device
        self.learns = recipe.frozen >= 0
        self.layout = torch.channels_last if recipe.layout == "channels_last" else torch.contiguous_format
        self.landmark_map = load_map(self.device)
        self.remembered = None
        if recipe.remember and not self.learns:
            self.remembered = Remembered(blazepose_of(net), recipe.remember, recipe.threads)
        self.teacher = None
        if recipe.teacher and self.learns:
            self.teacher = Teacher(self.device, recipe.threads, recipe.photos)
        self.heat = None
        if recipe.heat and self.learns:
            self.heat = Heat(blazepose_of(net).feature_channels, 24 + net.config.marker_count).to(self.device)

    def see(self, images: Tensor, learn: bool) -> tuple[BackboneOutput, tuple[Tensor, Tensor]]:
        """Runs the backbone on crops (B, 3, 256, 256). Returns its whitened output, and the raw landmarks (B, 195) and
        world landmarks (B, 117)."""
        backbone = blazepose_of(self.net)
        if self.remembered is not None:
            raw = self.remembered(images)
            return backbone.see(*raw), raw[2:]
        with (
            torch.set_grad_enabled(learn and self.learns),
            torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"),
        ):
            raw = backbone.raw(images.contiguous(memory_format=self.layout))
        features, summary, landmarks, world = (answer.float() for answer in raw)
        return backbone.see(features, summary, landmarks, world), (landmarks, world)

    def agree_of(self, drawn: Drawn, now: Batch) -> Agree | None:
        """The function that makes the views of each group agree; None if no row is seen by several cameras."""
        if drawn.groups == 0:
            return None
        cameras = torch.from_numpy(drawn.rows.camera_from_world[drawn.alone :]).to(self.device)
        return agree_in_groups(self.net.body, now.view, cameras.unflatten(0, (drawn.groups, drawn.cameras)))

    def start_of(
        self, drawn: Drawn, now: Batch, iterations: int, agree: Agree | None = None
    ) -> tuple[Estimate, Tensor]:
        """Chooses where each row's loop starts: a body in its crop's camera, and that body's weight (B,); 0 is cold.
        Views that agree start from the same body with the same weight.

        iterations: the number of updates of the network's own estimates of previous moments.
        """
        truth, count = now.truth, len(now.roll)
        pose, betas, cam = disturb(sixd_from_matrix(truth.rotations), truth.betas.clone(), truth.cam.clone())
        chance = torch.rand(2, count, device=self.device)
        weight = torch.where(chance[0] < self.recipe.perturbed, 1 - 0.6 * chance[1], torch.zeros_like(chance[0]))
        if len(drawn.own):
            before = make_batch(drawn.before, self.net.body, self.device)
            seen, _ = self.see(before.images, learn=False)
            answer = self.net(seen, before.view, iterations)[-1]
            chosen = torch.from_numpy(drawn.own).to(self.device)
            rotations, place = turn_camera(
                answer, translation(answer.cam, before.view), before.roll - now.roll[chosen], self.net
            )
            here = View(*(part[chosen] for part in now.view))
            pose[chosen], betas[chosen] = sixd_from_matrix(rotations), answer.betas
            cam[chosen] = cam_from_translation(place, here)
            weight[chosen] = 0.4 + 0.55 * torch.rand(len(chosen), device=self.device)
        state = State(pose, betas, cam)
        if agree is not None:
            state = agree(state)
            weight[drawn.alone :] = weight[drawn.alone :: drawn.cameras].repeat_interleave(drawn.cameras)
        return self.net.place(state, now.view), weight

    def terms(self, drawn: Drawn, rng: np.random.Generator) -> dict[str, Tensor]:
        """The weighted terms of one batch."""
        now = make_batch(drawn.rows, self.net.body, self.device)
        self.net.train()
        agree = self.agree_of(drawn, now)
        with torch.no_grad():
            start, weight = self.start_of(drawn, now, int(rng.integers(1, 5)), agree)
        seen, (landmarks, world) = self.see(now.images, learn=True)
        hidden = torch.rand(len(now.roll), 1, device=self.device) < self.recipe.summary_dropout
        summary = torch.cat(
            [seen.summary[:, :LANDMARK_NUMBERS], torch.where(hidden, 0.0, seen.summary[:, LANDMARK_NUMBERS:])], 1
        )
        encoded = self.net.encode_features(seen._replace(summary=summary))
        encoded, weight = self._settle(encoded, now, start, weight, agree)
        estimates = self.net(encoded, now.view, int(rng.integers(2, 5)), start, weight, agree)
        terms = {
            "loop": total_loss(estimates[1:], now.truth, self.weights),
            "first": estimate_loss(estimates[0], now.truth, self.weights),
        }
        if self.learns:
            terms["landmarks"] = self.recipe.landmarks * self._landmark_loss(now, landmarks, world)
        if self.teacher is not None:
            terms["teacher"] = self.recipe.teacher * self._taught(self.teacher, now, landmarks, world, rng)
        if self.heat is not None:
            terms["heat"] = self.recipe.heat * self.heat(seen.features, now.truth)
        if self.lifter is not None:
            self.lifter.note(now.truth, now.trans, now.view, landmarks.detach(), world.detach())
            if self.lifter.ready:
                terms["lifted"] = LIFTED_WEIGHT * self._lifted_loss(self.lifter.batch(self.recipe.lifted, rng))
        return terms

    def _landmark_loss(self, now: Batch, landmarks: Tensor, world: Tensor) -> Tensor:
        """Compares the backbone's landmarks with their places on the true body, in px/128 and in metres."""
        with torch.no_grad():
            target = self.landmark_map(observed(now.truth, now.trans, now.view))
            near = ((target.pixels > -LANDMARK_REACH) & (target.pixels < 256 + LANDMARK_REACH)).all(-1).float()
            here = near * inside(observed(now.truth, now.trans, now.view).pixels).clamp(min=0.2)[:, None]
        predicted = answer_of(landmarks, world)
        pixels = smooth_l1_loss(predicted.pixels / 128, target.pixels / 128, beta=0.05, reduction="none").mean(-1)
        depth = smooth_l1_loss(predicted.depth / 128, target.depth / 128, beta=0.1, reduction="none")
        metres = smooth_l1_loss(predicted.metres, target.metres, beta=0.05, reduction="none").mean(-1)
        return ((pixels + 0.3 * depth + metres) * here).mean()

    def _taught(
        self, teacher: Teacher, now: Batch, landmarks: Tensor, world: Tensor, rng: np.random.Generator
    ) -> Tensor:
        """Compares the backbone's landmarks with the teacher's, on this batch's renders and on photographs."""
        truth = self.landmark_map(observed(now.truth, now.trans, now.view))
        loss = teacher.loss(now.images, landmarks, world, truth)
        if self.recipe.photos:
            images = teacher.photographs(self.recipe.photo_rows, rng)
            _, answers = self.see(images, learn=True)
            loss = loss + self.recipe.photo_rows / len(now.images) * teacher.loss(images, *answers)
        return loss

    @torch.no_grad()
    def _settle(
        self, encoded: Encoded, now: Batch, start: Estimate, weight: Tensor, agree: Agree | None
    ) -> tuple[Encoded, Tensor]:
        """Handles starts that face away from the first estimate as the fitter does: it trusts the start fully and
        exchanges left and right of the landmarks. A start that is further from the truth than the first estimate is
        dropped instead: its row is cold."""
        fresh = self.net.first(encoded, now.view, agree)
        opposed = faces_away(start.rotations[:, 0], fresh.rotations[:, 0]) & (weight > 0)
        right = apart(start.rotations, now.truth.rotations) < apart(fresh.rotations, now.truth.rotations)
        weight = torch.where(opposed, right.float(), weight)
        assert encoded.keypoints is not None
        return encoded._replace(keypoints=exchanged(encoded.keypoints, opposed & right)), weight

    def _lifted_loss(self, now: Lifted) -> Tensor:
        """The loss of people without pictures. Half of them start cold, half from a perturbed truth."""
        truth = now.truth
        with torch.no_grad():
            start = State(*disturb(sixd_from_matrix(truth.rotations), truth.betas.clone(), truth.cam.clone()))
            chance = torch.rand(2, len(truth.betas), device=self.device)
            weight = (chance[0] < 0.5) * (0.4 + 0.5 * chance[1])
        estimates = self.net(now.encoded, now.view, 2, start, weight)
        return total_loss(estimates, truth, self.weights)
