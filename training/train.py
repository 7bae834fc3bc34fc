"""Trains a network: `python -m training.train training/configs/edge.yaml`.

A run resumes from its last checkpoint and continues the same curve. `torchrun --nproc-per-node 4 -m training.train …`
uses several GPUs.
"""

import math
import sys
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import tyro
from torch import Tensor

from refit_rt.errors import UserError
from refit_rt.live.interrupt import ended_by_signals
from refit_rt.model.refit import ReFit
from refit_rt.model.weights import read_checkpoint
from training.allocator import keep_freed_memory
from training.checkpoint import load_into, write_checkpoint
from training.optimise import ScaledAdamW, nearer
from training.parallel import Place, agreed, average_gradients, join, leave, same_everywhere
from training.recipe import EdgeRecipe, Recipe, read_recipe
from training.reporting import STOPPED, Progress, run

WARM_UP = 200  # steps over which the learning rate rises
RESCAN_S = 60.0  # between two searches for new rows, and between two lines in the log


class Task(Protocol):
    """A network and the data that it learns from."""

    net: ReFit

    def groups(self) -> list[dict]:
        """The optimiser's parameter groups, each with its `share` of the recipe's learning rate."""
        ...

    def batches(self, first_step: int) -> Generator[Any, None, None]:
        """Yields batches without end. A batch depends on its step alone, not on the first one."""
        ...

    def terms(self, batch: Any, rng: np.random.Generator) -> dict[str, Tensor]:
        """The terms of a batch's loss, weighted."""
        ...

    def grow(self) -> int:
        """Looks for new rows and returns how many there are."""
        ...

    def memory(self) -> list:
        """Tensors, in tuples, that the next steps need besides the weights."""
        ...

    def remember(self, memory: list) -> None:
        """Restores what `memory` returned."""
        ...

    def evaluate(self) -> np.ndarray | None:
        """Errors (iterations + 1, rows, 3): MPJPE mm, PA-MPJPE mm, px. None if there are no held-out rows."""
        ...


def make_task(recipe: Recipe, place: Place, resumes: bool) -> Task:
    """Makes the task of a recipe. Raises UserError."""
    if isinstance(recipe, EdgeRecipe):
        from training.rendered import Rendered

        return Rendered(recipe, place, resumes)
    from training.published import Published

    return Published(recipe, place, resumes)


class Trainer:
    """One run: the optimiser, the averaged weights, and the progress so far."""

    def __init__(self, recipe: Recipe) -> None:
        keep_freed_memory()
        torch.set_num_threads(recipe.threads)
        self.recipe, self.place, self.out = recipe, join(recipe.device), Path(recipe.out)
        self.last = self.out / "last.pt"
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{self.out}: cannot be made ({error.strerror}). Set another `out`") from error
        self.seconds, self.steps = 0.0, 0
        torch.manual_seed(recipe.seed)
        self.task = make_task(recipe, self.place, self.last.exists())
        self.net = self.task.net
        self.average = {name: value.clone() for name, value in self.net.state_dict().items()}
        betas = (0.9, 0.999)
        self.optimiser = ScaledAdamW(
            self.task.groups(), recipe.rate, betas, weight_decay=recipe.weight_decay, fused=True
        )
        if self.last.exists():
            self._resume()
        same_everywhere(self.net, self.place)

    def run(self) -> bool:
        """Trains until the recipe's steps or minutes are over, and returns True. Ctrl-C and SIGTERM end the run after
        the current step; the result is then False."""
        saved = evaluated = scanned = time.monotonic()
        mean: dict[str, float] = {}
        batches = self.task.batches(self.steps)
        stop = threading.Event()
        with Progress(self.out, self.place.first) as progress, self._saved_at_the_end(), ended_by_signals(stop):
            while self.done < 1 and not agreed(float(stop.is_set()), self.place):
                began = time.monotonic()
                terms = self.step(next(batches))
                whole = {name: value for name, value in terms.items() if math.isfinite(value)}
                mean |= {name: 0.98 * mean.get(name, value) + 0.02 * value for name, value in whole.items()}
                now = time.monotonic()
                self.seconds = agreed(self.seconds + now - began, self.place)
                progress.step(self.done, self.steps, mean)
                if now - scanned > RESCAN_S:
                    rows = self.task.grow()
                    loss = ", ".join(f"{name} {value:.3f}" for name, value in mean.items())
                    minutes = self.seconds / 60
                    progress.line(
                        f"{minutes:5.1f} min, {self.steps} steps, {self.views} views of {rows} rows, loss {loss}"
                    )
                    scanned = now
                if now - saved > self.recipe.save_every_s:
                    self.save()
                    saved = now
                if now - evaluated > self.recipe.evaluate_every_s or self.done >= 1:
                    if self.place.first and (errors := self.evaluate()) is not None:
                        progress.curve(self.steps, errors)
                    evaluated = time.monotonic()
        return not stop.is_set()

    @contextmanager
    def _saved_at_the_end(self) -> Iterator[None]:
        """Saves a checkpoint when the run is over, is stopped, or meets a picture or a folder that it cannot read."""
        try:
            yield
        except UserError:
            self.save()
            raise
        self.save()

    @property
    def done(self) -> float:
        """The share of the run that is done, 0 to 1."""
        if self.recipe.steps:
            return self.steps / self.recipe.steps
        return self.seconds / max(self.recipe.minutes * 60, 1e-9)

    @property
    def views(self) -> int:
        """The number of rows that all processes have drawn."""
        return self.steps * self.recipe.batch * self.place.count

    def step(self, batch: Any) -> dict[str, float]:
        """Learns from one batch and returns the terms of its loss. Its random numbers depend on seed, process and step
        alone."""
        key = [self.recipe.seed, self.place.rank, self.steps]
        torch.manual_seed(int(np.random.default_rng([*key, 1]).integers(2**62)))
        self._set_rate()
        terms = self.task.terms(batch, np.random.default_rng([*key, 2]))
        self.optimiser.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()
        groups = [group["params"] for group in self.optimiser.param_groups]
        average_gradients([p for group in groups for p in group], self.place)
        # Each group is clipped separately: a backbone without batch norm has gradients a hundred times the heads'.
        norms = [torch.nn.utils.clip_grad_norm_(group, self.recipe.clip_norm) for group in groups]
        if torch.isfinite(torch.stack(norms)).all():
            self.optimiser.step()
        self.steps += 1
        self._follow()
        values = {name: float(term.detach()) for name, term in terms.items()}
        return values | {f"norm {i}": float(norm) for i, norm in enumerate(norms)}

    def _set_rate(self) -> None:
        """Sets the learning rate: a short rise, then a cosine down to a hundredth, or no change."""
        fall = 0.01 + 0.495 * (1 + math.cos(math.pi * min(self.done, 1)))
        rate = self.recipe.rate * min(1, (self.steps + 1) / WARM_UP) * (fall if self.recipe.schedule == "cosine" else 1)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["share"]

    @torch.no_grad()
    def _follow(self) -> None:
        """Moves the averaged weights a little towards the current ones."""
        decay = min(self.recipe.average, (1 + self.steps) / (10 + self.steps))
        state = self.net.state_dict()
        floats = [name for name, value in state.items() if value.is_floating_point()]
        nearer([self.average[name] for name in floats], [state[name] for name in floats], 1 - decay)
        for name in state.keys() - set(floats):
            self.average[name].copy_(state[name])

    def evaluate(self) -> np.ndarray | None:
        """Evaluates the task with the averaged weights."""
        kept = {name: value.clone() for name, value in self.net.state_dict().items()}
        self.net.load_state_dict(self.average)
        self.net.eval()
        try:
            return self.task.evaluate()
        finally:
            self.net.load_state_dict(kept)

    def save(self) -> None:
        """Saves a checkpoint. It replaces an earlier one only when it is complete, so a full disk loses nothing."""
        if not self.place.first:
            return
        checkpoint = {
            "net": self.net.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "seconds": self.seconds,
            "steps": self.steps,
            "views": self.views,
            "memory": self.task.memory(),
        }
        write_checkpoint(checkpoint, self.last)

    def _resume(self) -> None:
        checkpoint = read_checkpoint(self.last)
        load_into(self.net, checkpoint, "net", self.last)
        try:
            self.optimiser.load_state_dict(checkpoint["optimiser"])
            self.average = {name: value.to(self.place.device) for name, value in checkpoint["average"].items()}
            self.seconds, self.steps = checkpoint["seconds"], checkpoint["steps"]
            self.task.remember(checkpoint["memory"])
        except (KeyError, ValueError) as error:
            raise UserError(f"{self.last}: belongs to another recipe ({error}). Set another `out`") from error


@dataclass(frozen=True)
class Arguments:
    """Trains one model."""

    config: tyro.conf.Positional[Path]
    """The model's recipe, a yaml file."""


def main() -> int:
    """The command line. Returns the exit code."""
    arguments = tyro.cli(Arguments)
    try:
        return 0 if Trainer(read_recipe(arguments.config)).run() else STOPPED
    finally:
        leave()


if __name__ == "__main__":
    sys.exit(run(main, "%(asctime)s %(message)s"))
