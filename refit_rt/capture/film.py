"""Decodes video with FFmpeg: upright pictures with square pixels, each with its own time."""

import logging
import math
import os
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.codec.context import ThreadType
from av.error import FFmpegError
from av.format import Flags
from av.stream import Disposition
from av.video.reformatter import Interpolation, VideoReformatter

from refit_rt.capture.fields import Fields
from refit_rt.capture.turn import Turn

log = logging.getLogger(__name__)

MOST_FPS = 1000.0  # a higher rate is an error (a time base written as a rate)
GUESSED_FPS = 25.0  # FFmpeg's rate for a stream that states none
RATE_PACKETS = 240  # packets whose times give the rate of a film
SAME_RATE = 0.01  # the rate of the header counts where that of the times differs by a smaller share
SQUARE = 0.003  # pixels whose sides differ by a smaller share are square
# One thread decodes 1920 x 1080 at 80 frames per second on a core of 2.5 GHz (12.5 ms of processor time per frame).
ONE_THREAD_PIXELS, MOST_THREADS = 1920 * 1088, 4
LISTS = ("hls", "dash")  # formats whose own file is a list of other files
TIMEOUT_S = 10.0  # for opening an address, and for each read from it


class Shown(NamedTuple):
    """One decoded frame of a film, not converted yet."""

    time_s: float | None  # as the film states it, on its own clock; None: it states none
    duration_s: float  # for which the film shows it; 0: not stated
    frame: av.VideoFrame | None  # None: it cannot be decoded


class Film:
    """An open video file, address or stream, which one thread reads.

    Interlaced pictures are made whole (both lines of fields, `Fields`), pixels that are not square are resized to
    square ones, and pictures are turned upright.
    """

    def __init__(
        self, where: str, options: Mapping[str, str] | None = None, live: bool = False, patience_s: float = math.inf
    ) -> None:
        """where: an absolute path or an address. options: FFmpeg's. live: no decoded frame waits for later ones.
        patience_s: the reading ends after so long without a picture.

        Raises FFmpegError when it cannot be opened, and LookupError when it contains no video.
        """
        with ExitStack() as undo:
            # FFmpeg takes a % in the name of a file for the number of a picture.
            file = undo.enter_context(Path(where).open("rb")) if "%" in where and "://" not in where else where
            limits_s = (TIMEOUT_S, TIMEOUT_S)
            self._container = undo.enter_context(av.open(file, "r", options=dict(options or {}), timeout=limits_s))
            films = [one for one in self._container.streams.video if not one.disposition & Disposition.attached_pic]
            if not films:
                raise LookupError("it contains no video")
            self._whole = undo.pop_all()
        best = self._container.streams.best("video")
        self._stream = next((film for film in films if film is best), films[0])
        context = self._stream.codec_context
        large = context.width * context.height > ONE_THREAD_PIXELS
        context.thread_count = min(MOST_THREADS, os.cpu_count() or 1) if large else 1
        context.thread_type = ThreadType.SLICE if live else ThreadType.AUTO
        self._fields = Fields()
        self._reformatter, self._turn = VideoReformatter(), Turn()
        self._told: set[str] = set()
        self._where, self._patience_s = where, patience_s
        self.error = ""  # what ended the reading before the end; empty: nothing did

    def close(self) -> None:
        """Closes it; frames that were read remain usable."""
        self._whole.close()

    @property
    def has_times(self) -> bool:
        """Whether the film states the times of its frames. A raw stream of a codec or of pictures states none."""
        return not (self._container.format.flags & Flags.no_timestamps.value or self.format.endswith("_pipe"))

    @property
    def format(self) -> str:
        """FFmpeg's name of the container."""
        return self._container.format.name

    @property
    def may_jump(self) -> bool:
        """Whether the times of the container may jump, as those of a broadcast do."""
        return bool(self._container.format.flags & Flags.ts_discont.value)

    @property
    def stated_fps(self) -> float:
        """Frames per second as the header states them; 0: it states none that is possible."""
        rates = (self._stream.average_rate, self._stream.guessed_rate, self._stream.codec_context.framerate)
        return next((float(rate) for rate in rates if rate and 0 < rate <= MOST_FPS), 0.0)

    @property
    def duration_s(self) -> float:
        """Seconds that the film lasts, as stated; 0: it states nothing, as a camera does not."""
        stream, container = self._stream, self._container
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        if tag := stream.metadata.get("DURATION"):
            return seconds_of(tag)
        return (container.duration or 0) / av.time_base if len(container.streams) == 1 else 0.0

    @property
    def count(self) -> int:
        """Frames that the header states; 0: none, or a format (mov, mp4) that may show only a part of its frames."""
        return 0 if "mov" in self.format else self._stream.frames

    @property
    def has_end(self) -> bool:
        """Whether it is a recording, as opposed to a camera: it states how long it lasts, or is a file with a size."""
        return bool(self._container.duration) or (self.format not in LISTS and self._container.size > 0)

    def rate(self) -> float:
        """Frames per second by the times of the first RATE_PACKETS frames; 0: unknown. The film is used up then."""
        stamps = []
        try:
            for packet in self._container.demux(self._stream):
                if packet.pts is not None and packet.time_base and not packet.is_discard:
                    stamps.append(float(packet.pts * packet.time_base))
                if len(stamps) >= RATE_PACKETS:
                    break
        except (FFmpegError, OSError):
            pass  # what can be read gives the rate
        measured = rate_of(stamps)
        near = [rate for rate in (self._stream.average_rate, self._stream.guessed_rate) if rate]
        return next((float(rate) for rate in near if abs(rate - measured) < SAME_RATE * measured), measured)

    def counted(self) -> int:
        """Frames, counted by their packets, which decodes nothing. The film is used up then."""
        count = 0
        try:
            for packet in self._container.demux(self._stream):
                count += packet.size > 0 and not packet.is_discard
        except (FFmpegError, OSError):
            pass  # what can be read counts
        return count

    def frames(self) -> Iterator[Shown]:
        """Every frame, in the order of showing. Reading ends at the end or at an error, which `error` states then."""
        packets, seen_s = self._container.demux(), time.monotonic()
        while True:
            try:
                packet = next(packets, None)
            except (FFmpegError, OSError) as error:
                self.error = reason(error)
                return
            if packet is None:
                break
            if time.monotonic() - seen_s > self._patience_s:
                self.error = f"no picture can be decoded for {self._patience_s:.0f} s"
                return
            if packet.stream is not self._stream:
                continue
            try:
                decoded = self._stream.decode(packet)
            except (FFmpegError, OSError):
                yield Shown(None, 0.0, None)
                continue
            for frame in decoded:
                seen_s = time.monotonic()
                yield from self._shown(self._fields.through(frame))
        yield from self._shown(self._fields.rest())

    def _shown(self, frames: list[av.VideoFrame]) -> Iterator[Shown]:
        for frame in frames:
            base = frame.time_base or self._stream.time_base or Fraction(1)
            stamp = frame.pts if frame.pts is not None else frame.dts
            time_s = None if stamp is None else float(stamp * base)
            yield Shown(time_s, float((frame.duration or 0) * base), None if frame.is_corrupt else frame)

    def picture(self, frame: av.VideoFrame) -> np.ndarray:
        """(height, width, 3) uint8 BGR."""
        shape = self._stream.sample_aspect_ratio or self._stream.codec_context.sample_aspect_ratio or Fraction(1)
        size = square(frame.width, frame.height, shape)
        resized = size != (frame.width, frame.height)
        if resized:
            text = f"pixels are not square ({shape.numerator}:{shape.denominator}): pictures of {frame.width} x "
            self._tell(f"{text}{frame.height} become {size[0]} x {size[1]}, which focal lengths and calibrations mean")
        if self._fields.used:
            self._tell("pictures are interlaced: the missing lines of each are interpolated")
        how = Interpolation.BICUBIC if resized else None
        bgr = self._reformatter.reformat(frame, *size, format="bgr24", interpolation=how, threads=1)
        return self._turn.upright(bgr.to_ndarray(), frame)

    def _tell(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            log.info("%s: its %s", shown_address(self._where), text)


def has_end(address: str) -> bool:
    """Whether a recording lies at the address, as opposed to a camera. It is opened; what cannot be opened has none."""
    try:
        film = Film(address, {"analyzeduration": "1000000"})
    except (FFmpegError, OSError, LookupError, ValueError):
        return False
    try:
        return film.has_end
    finally:
        film.close()


def rate_of(times_s: list[float]) -> float:
    """Frames per second, the mean of those steps that are not far from the median one; 0: unknown."""
    steps = np.diff(np.unique(times_s))
    if not len(steps):
        return 0.0
    middle = statistics.median(steps)
    rate = 1 / float(steps[(steps > middle / 2.5) & (steps < middle * 2.5)].mean())
    return rate if rate <= MOST_FPS else 0.0


def square(width: int, height: int, pixel: Fraction) -> tuple[int, int]:
    """Width and height of the picture with square pixels, of which none is lost. pixel: width / height of one."""
    if pixel <= 0 or abs(pixel - 1) < SQUARE:
        return width, height
    return (round(width * pixel), height) if pixel > 1 else (width, round(height / pixel))


def seconds_of(clock: str) -> float:
    """Seconds of hours:minutes:seconds, as Matroska's tag DURATION; 0 for another text."""
    try:
        parts = [float(part) for part in clock.split(":")]
    except ValueError:
        return 0.0
    total = math.fsum(part * 60**power for power, part in enumerate(reversed(parts)))
    return total if len(parts) == 3 and math.isfinite(total) else 0.0


def reason(error: Exception) -> str:
    """What FFmpeg says, without the address, which may contain a password."""
    return str(getattr(error, "strerror", "") or error)


def shown_address(address: str) -> str:
    """An address without user and password."""
    head, sign, rest = address.partition("://")
    if not sign:
        return address
    host, slash, path = rest.partition("/")
    return f"{head}://{host.rpartition('@')[2]}{slash}{path}"
