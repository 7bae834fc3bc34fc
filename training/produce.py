"""Renders people: `python -m training.produce FOLDER` fills a store with crops and their truth.

Runs until stopped; start one a core with different seeds. Half of the rows belong to short sequences (three moments at
60 to 8 frames a second), so that the trainer can start from its own answer of the moment before. `--around` adds people
whom several cameras see at the same moment.
"""

import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import tyro

from training.store.shards import Writer
from training.synthetic.generator import CLOSE, Assets, Generator, Sample

log = logging.getLogger(__name__)
MOMENTS = 3
CAMERAS = 4  # round one person; a step of training takes as many of them as its recipe says
RATES = (60.0, 30.0, 15.0, 8.0)  # frames per second of a sequence


def label_row(sample: Sample, fps: float = 0.0) -> np.ndarray:
    """(LABEL_COUNT,) in the order of `store.LABELS`."""
    parts = [sample.rotations.ravel(), sample.betas, sample.trans, sample.box, [sample.focal_px], sample.centre_px,
             [sample.roll], [sample.visible], [fps], [sample.kind]]  # fmt: skip
    return np.concatenate(parts).astype(np.float32)


@dataclass(frozen=True)
class Settings:
    """What to render, and where to put it."""

    folder: tyro.conf.Positional[Path]
    seed: int = 0
    motion: Path | None = None
    """Recorded motion (npz of SMPL poses); none: the parametric library only."""
    hdri: Path | None = None
    """Folder of equirectangular panoramas; none: procedural places only."""
    photos: Path | None = None
    """Folder of photographs to stand people before."""
    garments: Path | None = None
    """Folder of MakeHuman's clothes and hair (.obj with .mhclo); none: painted clothes only."""
    rows: int = 0
    """Stop after so many; 0: never."""
    sequences: Annotated[float, tyro.conf.arg(metavar="SHARE")] = 0.5
    """Share of rows that belong to sequences."""
    around: Annotated[float, tyro.conf.arg(metavar="SHARE")] = 0.0
    """Share of rows in which four cameras see one person at the same moment; `sequences` counts among the others."""
    close: Annotated[float, tyro.conf.arg(metavar="SHARE")] = CLOSE
    """Share of people, beside those at desks, whom a webcam sees from near by, mostly cut off."""
    webcam: Annotated[float, tyro.conf.arg(metavar="SHARE")] = 0.0
    """Share of people who talk to a webcam with their hands, or hold things up to it; not of `around`."""
    held_out: bool = False
    """Draw from the benchmark's people, motions and places, which training never sees."""


def main(settings: Settings) -> None:
    """Fills the store."""
    assets = Assets(motion=settings.motion, hdri=settings.hdri, photos=settings.photos, garments=settings.garments)
    generator = Generator(settings.seed, assets, held_out=settings.held_out, close=settings.close,
                          webcam=settings.webcam)  # fmt: skip
    rng = np.random.default_rng(settings.seed + 1)
    writer = Writer(settings.folder, f"{'held' if settings.held_out else 'seed'}{settings.seed}")
    alone = MOMENTS / (MOMENTS - (MOMENTS - 1) * settings.sequences)  # rows of a still or a sequence, on average
    around = settings.around * alone / (settings.around * alone + (1 - settings.around) * CAMERAS)
    made, began, told = 0, time.monotonic(), time.monotonic()
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
        if time.monotonic() - told > 60:
            told = time.monotonic()
            log.info("%d crops, %.0f a second", made, made / (told - began))
    writer.flush()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    main(tyro.cli(Settings))
