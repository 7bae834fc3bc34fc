"""Renders the benchmark: `python -m training.evaluation.make_benchmark FOLDER --motion MOTION --hdri HDRI`.

It consists of 2,000 stills, 36 clips of 2 s at 30 fps and 4 clips of 40 s at 60 fps, with people, rooms, motions and
cameras that training never draws. The seed is fixed, each shard has its own number, and finished shards are kept, so an
interrupted run continues where it stopped.
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

from training.produce import label_row
from training.reporting import run
from training.store.shards import Writer
from training.synthetic.generator import Assets, Generator, Sample
from training.synthetic.long_clip import film, long_movement, short_movement

log = logging.getLogger(__name__)
SEED = 730_241
CLIP_FPS, CLIP_S = 30.0, 2.0
LONG_FPS, LONG_S = 60.0, 40.0
FIRST_CLIP, FIRST_LONG = 1_000_000, 2_000_000  # the generator's numbers of clips, far from those of stills
SEATED = 3  # the long clip at a desk; in the others people are on their feet


@dataclass(frozen=True)
class Settings:
    """Renders the benchmark into a store."""

    folder: tyro.conf.Positional[Path]
    """The store to write."""
    motion: Path | None = None
    """Recorded motion, as for training.produce. The benchmark uses the clips that training leaves out."""
    hdri: Path | None = None
    """Folder of equirectangular panoramas. The benchmark uses those that training leaves out."""
    photos: Path | None = None
    """Folder of photographs. The benchmark uses those that training leaves out; the one of the README has none."""
    stills: int = 2000
    clips: int = 36
    """Short clips, of 2 s."""
    long: int = 4
    """Long clips, of 40 s."""


@dataclass(frozen=True, slots=True)
class Part:
    """The people of one shard."""

    name: str  # still, clip or long
    begin: int  # number of the first person
    end: int  # number after the last person


def parts(settings: Settings) -> Iterator[Part]:
    """Yields all shards: stills, clips, long clips."""
    for name, count, each in (
        ("still", settings.stills, 500),
        ("clip", settings.clips, 12),
        ("long", settings.long, 1),
    ):
        for begin in range(0, count, each):
            yield Part(name, begin, min(begin + each, count))


def moments(generator: Generator, name: str, number: int) -> tuple[Iterator[Sample], float]:
    """One person's pictures in order, and their frames per second (0: a still)."""
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
    """Renders the shards that are missing. Raises UserError."""
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
        rate = rows / (time.monotonic() - began)
        log.info("%s %d to %d: %d crops, %.0f per second", part.name, part.begin, part.end - 1, rows, rate)


if __name__ == "__main__":
    sys.exit(run(lambda: main(tyro.cli(Settings)), "%(asctime)s %(message)s"))
