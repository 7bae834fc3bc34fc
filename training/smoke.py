"""Two minutes of training that show the error falling: `make train-smoke`, or `python -m training.smoke FOLDER`.

Renders a few hundred people of the parametric library, trains random heads on BlazePose's frozen network, and says
every half minute how far held-out people are off. Nothing here is meant to be used; a real run: training/README.md.
"""

import logging
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import tyro

from refit_rt.errors import UserError
from training.produce import label_row
from training.recipe import EdgeRecipe
from training.reporting import BAD_INPUT
from training.store.shards import Store, Writer
from training.synthetic.generator import Generator
from training.train import Trainer

log = logging.getLogger(__name__)
EVERY_S = 30.0


@dataclass(frozen=True)
class Settings:
    """How much of everything."""

    folder: tyro.conf.Positional[Path] = Path("runs/smoke")
    rows: int = 512
    held_out: int = 96
    minutes: float = 2.0


def main(settings: Settings) -> list[np.ndarray]:
    """Renders, trains, tells; the errors (rows, 3) at each look, the first before any training."""
    cv2.setNumThreads(1)
    fill(settings.folder / "store", settings.rows, held_out=False)
    fill(settings.folder / "held", settings.held_out, held_out=True)
    (settings.folder / "run/last.pt").unlink(missing_ok=True)  # each time anew
    trainer = Trainer(EdgeRecipe(
        store=str(settings.folder / "store"), held_out=str(settings.folder / "held"), out=str(settings.folder / "run"),
        minutes=settings.minutes, frozen=-1, lifted=0, batch=16, evaluate_rows=settings.held_out, average=0.98,
    ))  # fmt: skip
    looks = [_look(trainer)]
    batches, told = trainer.task.batches(0), time.monotonic()
    while trainer.done < 1:
        began = time.monotonic()
        trainer.step(next(batches))
        trainer.seconds += time.monotonic() - began
        if time.monotonic() - told > EVERY_S or trainer.done >= 1:
            looks.append(_look(trainer))
            told = time.monotonic()
    batches.close()
    trainer.save()
    first, last = looks[0].mean(0), looks[-1].mean(0)
    log.info("MPJPE %.0f → %.0f mm in %d steps; the checkpoint: %s", first[0], last[0], trainer.steps, trainer.last)
    return looks


def fill(folder: Path, rows: int, held_out: bool) -> None:
    """Renders so many people unless they are there."""
    if folder.is_dir() and list(folder.glob("[!.]*-0000")) and len(Store(folder)) >= rows:
        return
    generator, writer, made = Generator(5, held_out=held_out, outfits=24), Writer(folder, "smoke"), 0
    log.info("rendering %d people into %s", rows, folder)
    while made < rows:
        samples = generator.clip(2, 30.0) if made % 4 == 0 else [generator.sample()]
        writer.add([(sample.image, label_row(sample, 30.0 if len(samples) > 1 else 0.0)) for sample in samples])
        made += len(samples)
    writer.flush()


def _look(trainer: Trainer) -> np.ndarray:
    errors = trainer.evaluate()
    assert errors is not None
    mean = errors[-1].mean(0)
    log.info("%4.0f s: MPJPE %.0f mm, PA-MPJPE %.0f mm, %.0f px of 256", trainer.seconds, *mean)
    return errors[-1]


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        main(tyro.cli(Settings))
    except UserError as error:
        log.error("%s", error)
        sys.exit(BAD_INPUT)
