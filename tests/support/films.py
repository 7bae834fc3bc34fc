"""Small films of every kind, written by PyAV."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.codec.context import Flags

CLOCK = Fraction(1, 1000)  # seconds per unit of the times of `write_film`


def ball(k: int, size: tuple[int, int] = (96, 64), step_px: float = 3.0) -> np.ndarray:
    """A white ball on grey that moves to the right by `step_px` per frame: (height, width, 3) uint8."""
    width, height = size
    x = width / 4 + (k * step_px) % (width / 2)
    image = np.full((height, width, 3), 90, np.uint8)
    centre = (round(16 * x), round(16 * height / 2))
    return cv2.circle(image, centre, round(16 * min(size) / 4), (255, 255, 255), -1, cv2.LINE_AA, 4)


def greys(count: int, step: int = 8, size: tuple[int, int] = (64, 48)) -> list[np.ndarray]:
    """Pictures of one grey level each: 0, step, 2 step …"""
    return [np.full((size[1], size[0], 3), step * k, np.uint8) for k in range(count)]


def place(image: np.ndarray) -> tuple[float, float, float]:
    """Centre x, y of a white ball, and its width divided by its height."""
    weight = np.clip(image.mean(2) - 150, 0, None)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    cx, cy = (float((weight * axis).sum() / weight.sum()) for axis in (x, y))
    spread = [float(np.sqrt((weight * (axis - c) ** 2).sum())) for axis, c in ((x, cx), (y, cy))]
    return cx, cy, spread[0] / spread[1]


def woven(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """An interlaced picture, bottom field first: the odd lines of one moment, the even ones of the next."""
    picture = second.copy()
    picture[1::2] = first[1::2]
    return picture


def write_film(
    path: Path,
    pictures: Iterable[np.ndarray],
    fps: int = 25,
    times_s: Sequence[float] | np.ndarray | None = None,
    codec: str = "libx264",
    container: str | None = None,
    pixel: Fraction | None = None,
    interlaced: bool = False,
    options: dict[str, str] | None = None,
) -> Path:
    """times_s: of the pictures; None: at `fps`. pixel: width / height of one. container: FFmpeg's format; None: as the
    name says."""
    with av.open(str(path), "w", format=container) as film:
        stream: Any = film.add_stream(codec, rate=fps, options=options or {})
        for k, image in enumerate(pictures):
            if k == 0:
                stream.width, stream.height = image.shape[1], image.shape[0]
                stream.pix_fmt = {"mjpeg": "yuvj420p", "gif": "rgb8", "apng": "rgb24", "png": "rgb24"}.get(
                    codec, "yuv420p"
                )
                if times_s is not None:
                    stream.codec_context.time_base = CLOCK
                if pixel is not None:
                    stream.codec_context.sample_aspect_ratio = pixel
                if interlaced:
                    stream.codec_context.flags |= Flags.interlaced_dct | Flags.interlaced_me
            frame = av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = (
                (k, Fraction(1, fps)) if times_s is None else (round(times_s[k] / CLOCK), CLOCK)
            )
            film.mux(stream.encode(frame))
        film.mux(stream.encode(None))
    return path


def h264(pictures: Sequence[np.ndarray], fps: int = 25, keyframe_every: int = 1000) -> list[bytes]:
    """One coded picture each, as a camera sends them; parameters stand before each keyframe."""
    encoder: Any = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = pictures[0].shape[1], pictures[0].shape[0], "yuv420p"
    encoder.framerate, encoder.time_base = fps, Fraction(1, fps)
    encoder.options = {"g": str(keyframe_every), "bf": "0", "tune": "zerolatency", "profile": "baseline"}
    coded = []
    for k, image in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format="yuv420p")
        frame.pts = k
        coded += encoder.encode(frame)
    return [bytes(packet) for packet in coded + encoder.encode(None)]
