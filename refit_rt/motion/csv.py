"""Writes a recording as CSV: one row per person and frame, with the joints in the world."""

import csv
from pathlib import Path

import numpy as np

from refit_rt.axes import Axes
from refit_rt.body.smpl import JOINT_NAMES
from refit_rt.files import write_whole
from refit_rt.motion.npz import Motion

FIRST = ("frame", "time_s", "person", "confidence")


def write_csv(path: Path, motion: Motion, axes: Axes, person: int | None = None) -> None:
    """Writes the rows of everybody, or of one person, in the frame and unit of `axes`; of stills, with the picture's
    name. Raises UserError when the file cannot be written."""
    rows = np.arange(len(motion.frame)) if person is None else np.flatnonzero(motion.person == person)
    joints = axes.points(motion.joints_world[rows].astype(np.float64)).reshape(len(rows), -1)
    names = [] if motion.name is None else ["picture"]
    with write_whole(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow([*FIRST, *names, *(f"{joint}_{axis}" for joint in JOINT_NAMES for axis in "xyz")])
        for row, place in zip(rows, joints, strict=True):
            about = [
                motion.frame[row],
                f"{motion.time_s[row]:.6f}",
                motion.person[row],
                f"{motion.confidence[row]:.3f}",
            ]
            picture = [] if motion.name is None else [motion.name[row]]
            table.writerow([*about, *picture, *(f"{number:.5f}" for number in place)])
