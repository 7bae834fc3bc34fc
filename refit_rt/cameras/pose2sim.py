"""Pose2Sim's Calib_*.toml: anipose's tables, each named after its camera, with four distortion coefficients.

Metres; the world has z up there, and it stays as it is here. Pose2Sim itself drops k3, so that a lens that needs it is
refused. When Pose2Sim converts a .qca.txt, it divides the distortion by 64, which leaves almost none: convert the
.qca.txt itself instead.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from refit_rt.cameras import anipose
from refit_rt.cameras.entries import Content
from refit_rt.cameras.rig import Camera, Rig
from refit_rt.errors import UserError
from refit_rt.files import write_whole

SAME_PX = 0.01  # what leaving k3 out may move a pixel


def read(path: Path) -> Content:
    """The same tables as anipose's."""
    return anipose.read(path)


def write(rig: Rig, path: Path) -> list[str]:
    """Raises UserError for a lens that cannot do without k3."""
    for camera in rig:
        shift = k3_px(camera)
        if shift > SAME_PX:
            raise UserError(
                f"{path}: Pose2Sim has no k3, and without it camera '{camera.name}' is off by up to {shift:.2f} px. "
                "Calibrate without k3 (refit-rt calibrate solve does), or write another format"
            )
    tables = []
    for camera in rig:
        rows = anipose.table(camera, coefficients=4)
        tables.append(f"{anipose.heading(camera.name)}\n{rows}\nfisheye = false")
    error = rig.figures.rms_px or 0.0
    tables.append(f"[metadata]\nadjusted = false\nerror = {float(error)!r}")
    with write_whole(path) as part:
        part.write_text("\n\n".join(tables) + "\n", encoding="utf-8")
    return ["Pose2Sim takes z as up: add --up-out z where that is not so"]


def k3_px(camera: Camera) -> float:
    """How far k3 moves a pixel of the image, at most."""
    if not camera.distortion[4]:
        return 0.0
    width, height = camera.size
    x, y = np.meshgrid(np.linspace(0, width - 1, 9), np.linspace(0, height - 1, 9))
    rays = np.concatenate([camera.rays(np.stack([x, y], -1)), np.ones((9, 9, 1))], -1)
    points = camera.world(rays)
    without = replace(camera, distortion=np.append(camera.distortion[:4], 0.0))
    return float(np.linalg.norm(camera.project(points) - without.project(points), axis=-1).max())
