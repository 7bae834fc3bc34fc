"""Trains for two minutes to show that the error falls: `make train-smoke`, or `python -m training.smoke FOLDER`.

It renders 600 people with parametric poses, trains random heads on BlazePose's frozen network, and reports the error on
held-out people every half minute. The weights are of no use; training/README.md describes a real run.
"""

import logging
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import tyro

from training.produce import label_row
from training.recipe import EdgeRecipe
from training.reporting import run
from training.store.shards import Store, Writer
from training.synthetic.generator import Generator
from training.train import Trainer

log = logging.getLogger(__name__)
EVERY_S = 30.0


@dataclass(frozen=True)
class Settings:
    """Renders people, trains on them for a short time, and shows that the error falls."""

    folder: tyro.conf.Positional[Path] = Path("runs/smoke")
    """Folder for the renders and the run."""
    rows: int = 512
    """People to train on."""
    held_out: int = 96
    """People to evaluate on."""
    minutes: float = 2.0
    """Length of training."""


def main(settings: Settings) -> None:
    """Renders, trains and reports. Raises UserError."""
    cv2.setNumThreads(1)
    fill(settings.folder / "store", settings.rows, held_out=False)
    fill(settings.folder / "held", settings.held_out, held_out=True)
    (settings.folder / "run/last.pt").unlink(missing_ok=True)  # every call trains from scratch
    recipe = EdgeRecipe(
        store=str(settings.folder / "store"),
        held_out=str(settings.folder / "held"),
        out=str(settings.folder / "run"),
        minutes=settings.minutes,
        frozen=-1,
        lifted=0,
        batch=16,
        evaluate_rows=settings.held_out,
        average=0.98,
    )
    trainer = Trainer(recipe)
    first = last = _evaluate(trainer)
    batches, evaluated = trainer.task.batches(0), time.monotonic()
    while trainer.done < 1:
        began = time.monotonic()
        trainer.step(next(batches))
        trainer.seconds += time.monotonic() - began
        if time.monotonic() - evaluated > EVERY_S or trainer.done >= 1:
            last = _evaluate(trainer)
            evaluated = time.monotonic()
    batches.close()
    trainer.save()
    log.info("MPJPE %.0f → %.0f mm in %d steps, checkpoint %s", first[0], last[0], trainer.steps, trainer.last)


def fill(folder: Path, rows: int, held_out: bool) -> None:
    """Renders at least `rows` people into a store, unless it holds them already."""
    if folder.is_dir() and list(folder.glob("[!.]*-0000")) and len(Store(folder)) >= rows:
        return
    writer, generator, made = Writer(folder, "smoke"), Generator(5, held_out=held_out, outfits=24), 0
    log.info("rendering %d people into %s", rows, folder)
    while made < rows:
        samples = generator.clip(2, 30.0) if made % 4 == 0 else [generator.sample()]
        writer.add([(sample.image, label_row(sample, 30.0 if len(samples) > 1 else 0.0)) for sample in samples])
        made += len(samples)
    writer.flush()


def _evaluate(trainer: Trainer) -> np.ndarray:
    """Reports and returns the mean errors (3,) on held-out people: MPJPE mm, PA-MPJPE mm, px."""
    errors = trainer.evaluate()
    assert errors is not None
    mean = errors[-1].mean(0)
    log.info("%4.0f s: MPJPE %.0f mm, PA-MPJPE %.0f mm, %.0f px of 256", trainer.seconds, *mean)
    return mean


if __name__ == "__main__":
    sys.exit(run(lambda: main(tyro.cli(Settings))))
