"""Training the edge network on rendered people: its first weights, batches, loss and evaluation."""

import logging
from collections.abc import Callable, Generator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from refit_rt.body.smpl import load_body
from refit_rt.model.blazepose import LEAST_DEVIATION, BlazePose, blazepose_of
from refit_rt.model.config import EDGE, HEAVY
from refit_rt.model.refit import build
from refit_rt.model.weights import edge_of
from training.checkpoint import load_into, load_own, read_start
from training.lifting import Lifter
from training.losses import errors_of
from training.objective import Objective
from training.optimise import group_of
from training.parallel import Place
from training.recipe import EdgeRecipe
from training.resnet import ResNet
from training.store.batches import Drawn, ahead, draw, make_batch
from training.store.shards import Store
from training.synthetic.generator import HELD_EVERY
from training.synthetic.motion import load_motion, part
from training.transplant import transplant

log = logging.getLogger(__name__)
STATISTICS_ROWS = 400  # rows that give the statistics for whitening a new backbone's output
TRANSPLANT_ROWS = 1200  # rows on which heads are fitted to another backbone
CHUNK = 32
HEAT_RATE = 10.0  # times the recipe's rate: random weights must learn the map before they can teach it


class Rendered:
    """The task of training.train for the edge network, which learns from a store."""

    def __init__(self, recipe: EdgeRecipe, place: Place, resumes: bool) -> None:
        self.recipe, self.place = recipe, place
        self.store = Store(Path(recipe.store), recipe.unpacked)
        self.held = Store(Path(recipe.held_out)) if recipe.held_out else None
        config = HEAVY if recipe.backbone == "heavy" else EDGE
        self.net = build(config, load_body(), ResNet() if recipe.compare == "resnet" else None)
        self.net.feedback.dropout = recipe.marker_dropout
        if not resumes:
            self._begin()
        self.net.to(place.device)
        if recipe.layout == "channels_last":
            self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a stub's fault
        backbone = blazepose_of(self.net)
        backbone.requires_grad_(recipe.frozen >= 0)
        if not recipe.compare:
            for layer in [backbone.stem, *backbone.trunk][: max(recipe.frozen, 0)]:
                layer.requires_grad_(False)
        self.objective = Objective(self.net, recipe, self._lifter() if recipe.lifted else None)

    def _begin(self) -> None:
        """Sets the first weights of a new run."""
        recipe, backbone = self.recipe, blazepose_of(self.net)
        if recipe.start_from:
            start = read_start(recipe.start_from)
            if "average" in start and edge_of(start["average"]).backbone != self.net.config.backbone:
                self._transplant(start)
                return
            load_into(self.net, start, "average", Path(recipe.start_from))
        if recipe.compare:  # without whitening: statistics of random weights mean nothing for trained ones
            randomise(backbone)
            return
        if recipe.start_from:
            backbone.summary_deviation.clamp_(min=LEAST_DEVIATION)  # a checkpoint may divide by smaller numbers
            return
        load_own(backbone, recipe.backbone_tflite)
        with torch.no_grad():
            raw = [backbone.raw(chunk) for chunk in self._pictures(STATISTICS_ROWS).split(CHUNK)]
        backbone.set_statistics(*(torch.cat(parts) for parts in zip(*raw, strict=True)))

    def _transplant(self, start: dict) -> None:
        """Moves the heads of a checkpoint behind this run's backbone, which begins with BlazePose's own weights."""
        old = build(edge_of(start["average"]), load_body()).eval()
        load_into(old, start, "average", Path(self.recipe.start_from))
        load_own(blazepose_of(self.net), self.recipe.backbone_tflite)
        shares = transplant(old, self.net, self._pictures(TRANSPLANT_ROWS))
        log.info(
            "the moved heads predict %.0f %% of the map's layer and %.0f %% of the first estimate's",
            *(100 * share for share in shares),
        )

    def _pictures(self, count: int) -> Tensor:
        """(count, 3, 256, 256) RGB 0..1 of random rows, or fewer if the store has fewer."""
        rng = np.random.default_rng(self.recipe.seed)
        rows = self.store.take(self.store.index[rng.permutation(len(self.store))[:count]])
        return make_batch(rows, self.net.body).images

    def _anchor(self) -> BlazePose | None:
        """The network whose weights the backbone is held to; None if it is free."""
        if not self.recipe.hold or self.recipe.compare:
            return None
        own = BlazePose(blazepose_of(self.net).plan)
        load_own(own, self.recipe.backbone_tflite)
        return own

    def _lifter(self) -> Lifter:
        recorded = load_motion(Path(self.recipe.motion)) if self.recipe.motion else None
        return Lifter(self.net, part(recorded, HELD_EVERY, False) if recorded else None)

    def groups(self) -> list[dict]:
        """The parameter groups. The backbone's weights learn in proportion to their size, the heads' do not."""
        own = set() if self.recipe.compare else {id(p) for p in self.net.backbone.parameters()}
        heads = {"params": [p for p in self.net.parameters() if p.requires_grad and id(p) not in own], "share": 1.0}
        recipe, backbone = self.recipe, []
        if recipe.frozen >= 0 and own:
            backbone = [group_of(self.net.backbone, recipe.backbone_rate, recipe.hold, self._anchor())]
        heat = self.objective.heat
        second_task = [] if heat is None else [{"params": list(heat.parameters()), "share": HEAT_RATE}]
        return [heads, *backbone, *second_task]

    def batches(self, first_step: int) -> Generator[Drawn, None, None]:
        """Yields batches without end. A batch depends on seed, process, step and the number of rows in the store."""
        recipe = self.recipe
        groups = min(round(recipe.around * recipe.batch / recipe.cameras), recipe.batch // recipe.cameras)

        def choose(step: int) -> Callable[[], Drawn]:
            rng = np.random.default_rng([recipe.seed, self.place.rank, step])
            return draw(self.store, rng, recipe.batch, recipe.own_previous, recipe.flip, groups, recipe.cameras)

        return ahead(choose, first_step, recipe.workers)

    def terms(self, batch: Drawn, rng: np.random.Generator) -> dict[str, Tensor]:
        return self.objective.terms(batch, rng)

    def grow(self) -> int:
        """Looks for new rows and returns how many there are."""
        self.store.rescan()
        return len(self.store)

    def memory(self) -> list:
        """The errors that people without pictures borrow, and the weights of the map's second task."""
        donors = [] if self.objective.lifter is None else self.objective.lifter.donors
        return [donors, [] if self.objective.heat is None else [p.detach() for p in self.objective.heat.parameters()]]

    @torch.no_grad()
    def remember(self, memory: list) -> None:
        donors, heat = memory
        if (
            self.objective.lifter is not None and self.place.first
        ):  # a checkpoint holds the first process's memory alone
            self.objective.lifter.donors = [tuple(part.to(self.place.device) for part in one) for one in donors]
        if self.objective.heat is not None:
            for parameter, kept in zip(self.objective.heat.parameters(), heat, strict=True):
                parameter.copy_(kept)

    @torch.no_grad()
    def evaluate(self) -> np.ndarray | None:
        """Errors of cold fits of held-out people (iterations + 1, rows, 3): MPJPE mm, PA-MPJPE mm, px of the crop."""
        held = self.held
        if held is None:
            return None
        index = held.index[: self.recipe.evaluate_rows]
        table: list[Tensor] = []
        for part_of in np.array_split(index, max(len(index) // CHUNK, 1)):
            now = make_batch(held.take(part_of), self.net.body, self.place.device)
            seen, _ = self.objective.see(now.images, learn=False)
            table.append(torch.stack([errors_of(one, now.truth) for one in self.net(seen, now.view, 5)]).cpu())
        return torch.cat(table, 1).numpy()


def randomise(backbone: BlazePose) -> None:
    """Sets random weights that carry a signal through 60 layers, with batch norm or without (He et al., ICCV 2015). The
    landmarks begin in the middle of the crop."""
    for layer in backbone.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    assert backbone.landmarks.bias is not None
    backbone.landmarks.bias.data.view(-1, 5)[:, :2] = EDGE.crop_px / 2
