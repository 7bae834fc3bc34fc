"""Cameras: one camera's lens and place, a rig of several, and the files that hold them."""

import math
from pathlib import Path

from refit_rt import config
from refit_rt.cameras.files import FORMATS, Format, format_of, read_camera, read_floor, read_rig, write_rig
from refit_rt.cameras.own import SCHEMA
from refit_rt.cameras.rig import Camera, Figures, Rig
from refit_rt.cameras.seen import seen_from

__all__ = [
    "FORMATS", "SCHEMA", "Camera", "Figures", "Format", "Rig", "camera_for", "check_calibration", "floor_of",
    "format_of", "read_camera", "read_floor", "read_rig", "seen_from", "write_rig",
]  # fmt: skip


def camera_for(settings: config.Camera, name: str, size: tuple[int, int], file_focal_px: float | None = None) -> Camera:
    """The camera of an image of `size` (width, height): first of calibration, focal, field of view, the picture's own
    file (EXIF), diagonal.

    The diagonal as focal length is what ReFit and the SPIN family assume of an unknown camera (about 53 degrees).
    Raises UserError when the calibration file cannot be used.
    """
    width, height = size
    if settings.calibration:
        return read_camera(Path(settings.calibration).expanduser(), name, size)
    if settings.focal_px:
        focal_px = settings.focal_px
    elif settings.fov_deg:
        focal_px = max(size) / 2 / math.tan(math.radians(settings.fov_deg) / 2)
    else:
        focal_px = file_focal_px or math.hypot(width, height)
    return Camera(name, size, focal_px, ((width - 1) / 2, (height - 1) / 2))


def floor_of(settings: config.Camera) -> tuple[float, ...] | None:
    """The floor's plane in the world, as `types.People` has it, where the calibration file knows it. Raises
    UserError."""
    known = settings.calibration and read_floor(Path(settings.calibration).expanduser())
    return (0.0, 1.0, 0.0, 0.0) if known else None


def check_calibration(settings: config.Camera, name: str) -> None:
    """Reads the calibration file, if one is set, before any picture is there. Raises UserError when it is of no use."""
    if settings.calibration:
        read_camera(Path(settings.calibration).expanduser(), name)
