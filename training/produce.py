"""Renders people: `python -m training.produce FOLDER` fills a store with crops and their truth.

It runs until it is stopped. Start one process per core, each with its own seed. Half of the rows belong to short
sequences (three moments at 60 to 8 frames per second), so that the trainer can start from its own estimate of the
previous moment. `--around` adds people seen by several cameras at the same moment.
"""

import logging
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import tyro

from training.reporting import run
from training.store.shards import Writer
from training.synthetic.generator import CLOSE, Assets, Generator, Sample

log = logging.getLogger(__name__)
MOMENTS = 3
CAMERAS = 4  # around one person; a training step uses as many of them as its recipe says
RATES = (60.0, 30.0, 15.0, 8.0)  # frames per second of a sequence
LOG_S = 60.0


def label_row(sample: Sample, fps: float = 0.0) -> np.ndarray:
    """The labels (LABEL_COUNT,) of a sample, in the order of `store.LABELS`."""
    parts = [
        sample.rotations.ravel(),
        sample.betas,
        sample.trans,
        sample.box,
        [sample.focal_px],
        sample.centre_px,
        [sample.roll],
        [sample.visible],
        [fps],
        [sample.kind],
    ]
    return np.concatenate(parts).astype(np.float32)


@dataclass(frozen=True)
class Settings:
    """Renders people into a store."""

    folder: tyro.conf.Positional[Path]
    """The store. Several processes may fill it, each with its own seed."""
    seed: int = 0
    motion: Path | None = None
    """Recorded motion, a file or a folder (see training/README.md). Without it, all poses are parametric."""
    hdri: Path | None = None
    """Folder of equirectangular panoramas. Without it, all places are procedural."""
    photos: Path | None = None
    """Folder of photographs to use as backgrounds."""
    garments: Path | None = None
    """Folder of MakeHuman's clothes and hair (.obj with .mhclo). Without it, all clothes are painted."""
    rows: int = 0
    """Stop after this many rows. 0: never."""
    sequences: Annotated[float, tyro.conf.arg(metavar="SHARE")] = 0.5
    """Share of rows that belong to sequences."""
    around: Annotated[float, tyro.conf.arg(metavar="SHARE")] = 0.0
    """Share of rows in which four cameras see one person at the same moment. `sequences` is a share of the others."""
    close: Annotated[float, tyro.conf.arg(metavar="SHARE")] = CLOSE
    """Share of people seen by a webcam from nearby, mostly cut off, in addition to those at desks."""
    webcam: Annotated[float, tyro.conf.arg(metavar="SHARE")] = 0.0
    """Share of people who gesture or hold things up while they talk to a webcam. `around` has no such people."""
    held_out: bool = False
    """Draw from the benchmark's people, motions and places, which training never sees."""


def main(settings: Settings) -> None:
    """Fills the store. Raises UserError."""
    assets = Assets(motion=settings.motion, hdri=settings.hdri, photos=settings.photos, garments=settings.garments)
    generator = Generator(
        settings.seed,
        assets,
        held_out=settings.held_out,
        close=settings.close,
        webcam=settings.webcam,
    )
    rng = np.random.default_rng(settings.seed + 1)
    writer = Writer(settings.folder, f"{'held' if settings.held_out else 'seed'}{settings.seed}")
    alone = MOMENTS / (MOMENTS - (MOMENTS - 1) * settings.sequences)  # rows of a still or a sequence, on average
    around = settings.around * alone / (settings.around * alone + (1 - settings.around) * CAMERAS)
    made, began, logged = 0, time.monotonic(), time.monotonic()
    while not settings.rows or made < settings.rows:
        if around and rng.random() < around:
            samples = generator.around(CAMERAS)
            writer.add_around([(sample.image, label_row(sample), sample.camera_from_world) for sample in samples])
        else:
            in_sequence = rng.random() < settings.sequences / (MOMENTS - (MOMENTS - 1) * settings.sequences)
            fps = float(rng.choice(RATES)) if in_sequence else 0.0
            samples = generator.clip(MOMENTS, fps) if in_sequence else [generator.sample()]
            writer.add([(sample.image, label_row(sample, fps)) for sample in samples])
        made += len(samples)
        if time.monotonic() - logged > LOG_S:
            logged = time.monotonic()
            log.info("%d crops, %.0f per second", made, made / (logged - began))
    writer.flush()


if __name__ == "__main__":
    sys.exit(run(lambda: main(tyro.cli(Settings)), "%(asctime)s %(message)s"))
