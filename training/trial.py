"""Which precision and layout train a recipe fastest on this machine: `python -m training.trial RECIPE [--into FILE]`.

They differ a hundredfold (an H200: 24 s a step against 0.23 s), probably in how depthwise convolutions run backwards.
"""

import logging
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

import msgspec
import tyro

from refit_rt.errors import UserError
from training.recipe import EdgeRecipe, read_recipe
from training.reporting import printed
from training.train import Trainer

WARM_UP, STEPS = 3, 8
LONGEST_S = 6.0  # of one kind's steps


@dataclass(frozen=True)
class Settings:
    """Times steps of one model's training."""

    recipe: tyro.conf.Positional[Path]
    into: Path | None = None
    """Write the recipe with what was fastest here."""
    more: Annotated[int, tyro.conf.arg(metavar="TIMES")] = 1
    """Then time the fastest with so many times the rows, too: where a step waits for launches, they cost nothing."""


def step_s(recipe: EdgeRecipe) -> float:
    """Median seconds of a step, its pictures already read."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(msgspec.structs.replace(recipe, out=folder, held_out=""))
        batches = trainer.task.batches(0)
        drawn = [next(batches) for _ in range(3)]
        batches.close()
        times, began = [], time.monotonic()
        for number in range(WARM_UP + STEPS):
            start = time.monotonic()
            trainer.step(drawn[number % len(drawn)])  # reads the loss, and so waits for the GPU
            times.append(time.monotonic() - start)
            if time.monotonic() - began > LONGEST_S:
                break
    return median(times[WARM_UP:] or times[-1:])


def trials(settings: Settings) -> Iterator[str]:
    """Yields a line for each kind, and at last the fastest's. Raises UserError: a recipe of another model."""
    recipe = read_recipe(settings.recipe)
    if not isinstance(recipe, EdgeRecipe):
        raise UserError(f"{settings.recipe}: is not of the edge model. Only its precision and layout are compared")
    found = {}
    for precision in ("bf16", "f32"):
        for layout in ("channels_last", "contiguous"):
            kind = msgspec.structs.replace(recipe, precision=precision, layout=layout)
            found[precision, layout] = (seconds := step_s(kind))
            yield f"{precision} {layout}: {1000 * seconds:.1f} ms a step of {recipe.batch}"
    precision, layout = min(found, key=lambda kind: found[kind])
    yield f"fastest: {precision} {layout}"
    best = msgspec.structs.replace(recipe, precision=precision, layout=layout)
    if settings.more > 1:
        large = msgspec.structs.replace(best, batch=settings.more * recipe.batch)
        yield f"{precision} {layout}: {1000 * step_s(large):.1f} ms a step of {large.batch}"
    if settings.into is not None:
        settings.into.write_bytes(msgspec.yaml.encode(best))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    sys.exit(printed(trials(tyro.cli(Settings))))
