"""Renders a studio to measure with: `python -m training.evaluation.make_studio FOLDER --motion MOTION --kind hug`.

The folder gets cam1.mp4 and so on, rig.json and truth.npz (see training.synthetic.studio.film). The same settings give
the same files. To measure fewer cameras, take some of a rig of eight; they keep their pictures.
"""

import logging
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import tyro

from refit_rt.body.smpl import Body, load_body
from refit_rt.cameras import write_rig
from refit_rt.errors import UserError
from training.reporting import run
from training.synthetic import people, wardrobe
from training.synthetic.figure import make_figure
from training.synthetic.garments import load_wardrobe
from training.synthetic.motion import load_motion
from training.synthetic.studio import Actor, Studio, film, perturbed, ring
from training.synthetic.studio_plays import acted, make_play
from training.synthetic.studio_room import studio_room

log = logging.getLogger(__name__)
MOST_CAMERAS, MOST_PEOPLE = 8, 6
SHAPE_SPREAD, SHAPE_LIMIT = 0.8, 1.6  # of the bodies' shape coefficients


@dataclass(frozen=True)
class Settings:
    """Renders one studio scene with its rig and truth."""

    folder: tyro.conf.Positional[Path]
    """The folder to write."""
    motion: Path
    """Recorded motion with CMU's walks: a folder or an .npz file, as for training.produce."""
    garments: Path | None = None
    """Folder of MakeHuman's clothes and hair (.obj with .mhclo). Without it, all clothes are painted."""
    kind: Literal["walk", "cross", "hug", "bystander", "leave"] = "walk"
    """What people do. bystander: as few cameras as possible see the last person, who stands beside the others. leave:
    the last person goes behind a folding screen and comes back."""
    cameras: int = 4
    """On a ring of 3.5 m, 1 to 8."""
    people: int = 3
    """1 to 6."""
    seconds: float = 6.0
    fps: float = 25.0
    width: int = 640
    """Of the videos, in pixels; they are 16:9."""
    seed: int = 0
    noise: float = 2.0
    """Standard deviation of the sensors' noise, in grey levels."""
    distortion: float = -0.06
    """k1 of the lenses."""
    rotation_deg: float = 0.0
    """Turns each camera of rig.json by this angle about a random axis; rig_true.json keeps the exact rig."""
    centre_mm: float = 0.0
    """Moves each camera of rig.json by this distance in a random direction."""
    focal_percent: float = 0.0
    """Changes each focal length of rig.json by this share, up or down at random."""
    offset_ms: tuple[float, ...] = ()
    """By how much each camera films late, one number per camera. Without it, all cameras film at the same time."""


def checked(settings: Settings) -> None:
    """Raises UserError for settings that make no scene."""
    for name, most in (("cameras", MOST_CAMERAS), ("people", MOST_PEOPLE)):
        value = getattr(settings, name)
        if not 1 <= value <= most:
            raise UserError(f"--{name} {value}: must be 1 to {most}")
    if settings.width < 64 or settings.width % 32:
        raise UserError(f"--width {settings.width}: must be a multiple of 32, at least 64. Give 640")
    if settings.seconds * settings.fps < 2 or settings.fps <= 0:
        raise UserError(f"--seconds {settings.seconds:g}: too short for two frames. Give more seconds")
    if settings.offset_ms and len(settings.offset_ms) != settings.cameras:
        count = len(settings.offset_ms)
        raise UserError(f"--offset-ms: has {count} numbers for {settings.cameras} cameras. Give one per camera")


def studio_of(settings: Settings, body: Body) -> Studio:
    """The studio of these settings. Raises UserError."""
    checked(settings)
    rng = np.random.default_rng([settings.seed, 3])
    rig = ring(settings.cameras, (settings.width, settings.width * 9 // 16), settings.distortion)
    recorded, figure = load_motion(settings.motion), make_figure(body)
    clothes = load_wardrobe(settings.garments, figure) if settings.garments else None
    play = make_play(settings.kind, rng, settings.people, settings.seconds, rig)
    betas = np.clip(rng.normal(0, SHAPE_SPREAD, (settings.people, 10)), -SHAPE_LIMIT, SHAPE_LIMIT).astype(np.float32)
    if settings.kind == "hug":
        betas[1, 0] = np.clip(betas[1, 0], betas[0, 0] - 1, betas[0, 0] + 1)  # about equally tall
    actors = []
    for movement in acted(body, betas, play, settings.seconds, recorded, rng):
        outfit = wardrobe.random_dressed(rng, figure, clothes) if clothes else people.random_outfit(rng, figure)
        actors.append(Actor(outfit, movement))
    scene, textures = studio_room(settings.seed, play.screen)
    gains = tuple(float(gain) for gain in np.exp(rng.normal(0, 0.06, settings.cameras)))
    offsets = tuple(offset / 1000 for offset in settings.offset_ms)
    return Studio(body, rig, scene, textures, actors, offsets, noise=settings.noise, gains=gains)


def main(settings: Settings) -> None:
    """Writes the scene. Raises UserError."""
    cv2.setNumThreads(1)
    studio = studio_of(settings, load_body())
    began = time.monotonic()
    film(studio, settings.folder, settings.fps, settings.seconds)
    errors = settings.rotation_deg, settings.centre_mm, settings.focal_percent
    if any(errors):
        write_rig(studio.rig, settings.folder / "rig_true.json")
        write_rig(perturbed(studio.rig, settings.seed, *errors), settings.folder / "rig.json")
    count = round(settings.seconds * settings.fps) * settings.cameras
    log.info("%s: %d pictures, %.1f per second", settings.folder, count, count / (time.monotonic() - began))


if __name__ == "__main__":
    sys.exit(run(lambda: main(tyro.cli(Settings))))
