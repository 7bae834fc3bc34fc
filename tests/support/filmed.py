"""Clips of grey frames, and the sources that read them."""

from pathlib import Path

import cv2
import numpy as np

from refit_rt import config
from refit_rt.capture import open_source


def write_clip(path: Path, count: int = 20, fps: float = 50.0, size: tuple[int, int] = (64, 48)) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, size)
    for k in range(count):
        writer.write(np.full((size[1], size[0], 3), 10 * k, np.uint8))
    writer.release()
    return path


def source_of(source, lossless=False, **settings):
    return open_source(config.Capture(source=str(source), **settings), lossless)


def grey(frame) -> float:
    return round(float(frame.image.mean()))
