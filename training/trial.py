"""Finds the precision and layout that train a recipe fastest here: `python -m training.trial RECIPE [--into FILE]`.

They differ a hundredfold (24 s against 0.23 s per step on an H200), probably because of the backward pass of depthwise
convolutions.
"""

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
from training.reporting import print_parts, run
from training.train import Trainer

WARM_UP, STEPS = 3, 8
LONGEST_S = 6.0  # time after which no more steps of a combination are made


@dataclass(frozen=True)
class Settings:
    """Times training steps of the edge model in each precision and layout."""

    recipe: tyro.conf.Positional[Path]
    """The model's recipe, a yaml file."""
    into: Path | None = None
    """Write the recipe with the fastest precision and layout to this file."""
    more: Annotated[int, tyro.conf.arg(metavar="TIMES")] = 1
    """Also time the fastest combination with this many times the rows. They cost nothing where a step waits for
    kernel launches."""


def step_s(recipe: EdgeRecipe) -> float:
    """Measures the median time of a step in seconds, without reading pictures."""
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
    """Yields one line per combination, then the fastest one. Raises UserError for a recipe of another model."""
    recipe = read_recipe(settings.recipe)
    if not isinstance(recipe, EdgeRecipe):
        raise UserError(f"{settings.recipe}: is not a recipe of the edge model. Give one, such as edge.yaml")
    found = {}
    for precision in ("bf16", "f32"):
        for layout in ("channels_last", "contiguous"):
            combination = msgspec.structs.replace(recipe, precision=precision, layout=layout)
            found[precision, layout] = (seconds := step_s(combination))
            yield f"{precision} {layout}: {1000 * seconds:.1f} ms per step of {recipe.batch} rows"
    precision, layout = min(found, key=lambda combination: found[combination])
    yield f"fastest: {precision} {layout}"
    best = msgspec.structs.replace(recipe, precision=precision, layout=layout)
    if settings.more > 1:
        large = msgspec.structs.replace(best, batch=settings.more * recipe.batch)
        yield f"{precision} {layout}: {1000 * step_s(large):.1f} ms per step of {large.batch} rows"
    if settings.into is not None:
        settings.into.write_bytes(msgspec.yaml.encode(best))


if __name__ == "__main__":
    sys.exit(run(lambda: print_parts(trials(tyro.cli(Settings)))))
