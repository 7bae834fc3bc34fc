"""Renders THE benchmark: `python -m training.evaluation.make_benchmark FOLDER --motion MOTION --hdri HDRI`.

2,000 stills, 36 clips of 2 s at 30 frames a second, 4 clips of 40 s at 60: people, rooms, motions and cameras that
training never draws. The seed is fixed, every shard is drawn from its own number, and shards that are there are kept:
an interrupted run goes on where it was.
"""

import logging
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import tyro

from refit_rt.errors import UserError
from training.produce import label_row
from training.reporting import BAD_INPUT
from training.store.shards import Writer
from training.synthetic.generator import Assets, Generator, Sample
from training.synthetic.long_clip import film, long_movement, short_movement

log = logging.getLogger(__name__)
SEED = 730_241
CLIP_FPS, CLIP_S = 30.0, 2.0
LONG_FPS, LONG_S = 60.0, 40.0
FIRST_CLIP, FIRST_LONG = 1_000_000, 2_000_000  # numbers of the generator, apart from the stills'
SEATED = 3  # the long clip that is at a desk; the others are on their feet


@dataclass(frozen=True)
class Settings:
    """Where the benchmark goes, and what it is made of."""

    folder: tyro.conf.Positional[Path]
    motion: Path | None = None
    """Recorded motion, as of training.produce; the benchmark takes the clips that training leaves out."""
    hdri: Path | None = None
    """Folder of equirectangular panoramas, likewise."""
    photos: Path | None = None
    """Folder of photographs, likewise. The benchmark of the README has none."""
    stills: int = 2000
    clips: int = 36
    long: int = 4


@dataclass(frozen=True, slots=True)
class Part:
    """What one shard holds."""

    name: str
    begin: int
    end: int


def parts(settings: Settings) -> Iterator[Part]:
    """All shards, in order of their names."""
    for name, count, each in (
        ("still", settings.stills, 500),
        ("clip", settings.clips, 12),
        ("long", settings.long, 1),
    ):
        for begin in range(0, count, each):
            yield Part(name, begin, min(begin + each, count))


def moments(generator: Generator, name: str, number: int) -> tuple[Iterator[Sample], float]:
    """One person's pictures in order, and how many there are a second (0: a still)."""
    if name == "still":
        return iter([generator.sample(number)]), 0.0
    rng = np.random.default_rng([*generator.key, 10, number])
    if name == "clip":
        moved = short_movement(rng, round(CLIP_S * CLIP_FPS), CLIP_FPS, generator.body, generator.motion)
        return film(generator, FIRST_CLIP + number, moved), CLIP_FPS
    frames = round(LONG_S * LONG_FPS)
    moved = long_movement(rng, frames, LONG_FPS, generator.body, generator.motion, seated=number % 4 == SEATED)
    return film(generator, FIRST_LONG + number, moved), LONG_FPS


def main(settings: Settings) -> None:
    """Renders what is not there yet. Raises UserError."""
    cv2.setNumThreads(1)
    assets = Assets(motion=settings.motion, hdri=settings.hdri, photos=settings.photos)
    generator = Generator(SEED, assets, held_out=True)
    seen: dict[str, int] = {}
    for part in parts(settings):
        index = seen.get(part.name, 0)
        seen[part.name] = index + 1
        if (settings.folder / f"{part.name}-{index:04d}").is_dir():
            continue
        writer, began, rows = Writer(settings.folder, part.name), time.monotonic(), 0
        for number in range(part.begin, part.end):
            samples, fps = moments(generator, part.name, number)
            shown = [(sample.image, label_row(sample, fps)) for sample in samples]
            writer.add(shown)
            rows += len(shown)
        writer.flush()
        log.info("%s %d to %d: %d crops, %.0f a second", part.name, part.begin, part.end - 1, rows,
                 rows / (time.monotonic() - began))  # fmt: skip


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        main(tyro.cli(Settings))
    except UserError as error:
        log.error("%s", error)
        sys.exit(BAD_INPUT)
