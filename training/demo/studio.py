"""Renders the demo of the studio: python -m training.demo.studio --motion FILE --out FOLDER.

Four cameras film three people who walk, cross and hug. The folder gets cam1.mp4 to cam4.mp4, rig.json and truth.npz.
"""

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import tyro

from refit_rt.body.smpl import Body, load_body
from refit_rt.errors import UserError
from training.reporting import run, write_picture
from training.synthetic import people, wardrobe
from training.synthetic.figure import make_figure
from training.synthetic.garments import load_wardrobe
from training.synthetic.motion import load_motion
from training.synthetic.studio import Actor, Shots, Studio, film, ring
from training.synthetic.studio_motion import Route
from training.synthetic.studio_plays import Meeting, Play, acted, hug_route
from training.synthetic.studio_room import studio_room

FPS, SECONDS = 25.0, 6.0
BETAS = np.zeros((3, 10), np.float32)
BETAS[0, [0, 3, 4]] = 0.9, 1.0, -0.6  # tall and broad
BETAS[1, [0, 1, 4]] = -0.5, 0.6, 0.6
BETAS[2, [0, 4, 5]] = 0.1, -1.4, 0.5
OUTFITS = (11, 25, 8)  # seeds
ROOM = 3  # its seed
HUG = Meeting((0.05, 0.05), 1.25, 2.3, 3.9)
SHEET_S = (0.2, 1.2, 2.0, 3.2, 4.8, 5.9)


@dataclass(frozen=True)
class Settings:
    """Renders the demo of the studio."""

    motion: Path
    """Recorded motion with CMU's walks: a folder or an .npz file, as for training.produce."""
    out: Path
    """The folder to write."""
    garments: Path | None = None
    """Folder of MakeHuman's clothes and hair (.obj with .mhclo). Without it, all clothes are painted."""
    width: int = 640
    """Of the videos, in pixels; they are 16:9."""
    sheet: Path | None = None
    """Write only some pictures of all cameras, as a contact sheet to this file, and no videos."""


def demo_play() -> Play:
    """Two people hug in the middle; the third one crosses before the first one and goes round both."""
    others = Route(
        np.array([0.0, 1.1, 2.2, 3.4, 4.6, 6.1]),
        np.array([[1.5, -1.3], [0.4, -1.2], [-0.9, -1.3], [-1.7, -0.3], [-1.3, 1.1], [0.3, 1.6]]),
    )
    ends = np.array([[0.3, -0.5], [-0.4, -0.5]])
    return Play([*(hug_route(HUG, row, SECONDS, ends[row]) for row in range(2)), others], HUG)


def demo_studio(settings: Settings, body: Body) -> Studio:
    """The studio with its people. Raises UserError."""
    if settings.width < 64 or settings.width % 32:
        raise UserError(f"--width {settings.width}: must be a multiple of 32, at least 64. Give 640")
    size = (settings.width, settings.width * 9 // 16)
    recorded, figure = load_motion(settings.motion), make_figure(body)
    clothes = load_wardrobe(settings.garments, figure) if settings.garments else None
    movements = acted(body, BETAS, demo_play(), SECONDS, recorded, np.random.default_rng(5))
    actors = []
    for seed, movement in zip(OUTFITS, movements, strict=True):
        rng = np.random.default_rng(seed)
        outfit = wardrobe.random_dressed(rng, figure, clothes) if clothes else people.random_outfit(rng, figure)
        actors.append(Actor(outfit, movement))
    scene, textures = studio_room(ROOM)
    return Studio(body, ring(4, size), scene, textures, actors, coarse=1, gains=(1.0, 0.94, 1.05, 0.98))


def main(settings: Settings) -> None:
    """Writes the videos, or the contact sheet. Raises UserError."""
    cv2.setNumThreads(1)
    studio = demo_studio(settings, load_body())
    if settings.sheet is None:
        film(studio, settings.out, FPS, SECONDS)
        return
    shots = Shots(replace(studio, coarse=2))
    rows = [np.hstack([shots.picture(index, time_s)[0] for index in range(4)]) for time_s in SHEET_S]
    write_picture(settings.sheet, np.vstack(rows))


if __name__ == "__main__":
    sys.exit(run(lambda: main(tyro.cli(Settings))))
