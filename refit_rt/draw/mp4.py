"""Writes videos that browsers, editors, phones and chats play: H.264, its index in front, each picture at its time."""

import logging
from contextlib import ExitStack, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import cv2
import numpy as np
from av.codec import Codec, codecs_available
from av.container import OutputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from refit_rt.errors import UserError
from refit_rt.files import ROOM, write_whole

log = logging.getLogger(__name__)

ENCODER = "libx264"  # in the wheels of PyAV, which other builds of it may lack
SPARE_ENCODER = "mpeg4"  # in every build of FFmpeg; browsers do not play it
TICKS = 60_000  # per second of the video's clock; MPEG-4 part 2 takes no finer one
KEYFRAME_S = 2.0  # between two points from which a player can start; a killed process loses at most what follows one
MOST_PX = 4096  # on a side: more than many decoders take
BT601, BT709, LIMITED = 6, 1, 1  # matrix of OpenCV's YUV; primaries and curve of cameras; 16 to 235
# Each fragment reaches the disk at once; the file plays up to wherever it is cut off.
AS_WRITTEN = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "flush_packets": "1"}
AS_KEPT = {"movflags": "faststart"}


class VideoFile:
    """A video of pictures of one size. It has a temporary name until `close`, and is then complete.

    The file with the temporary name can be played at any time: a killed process leaves the video up to its last
    seconds there, as .NAME-part.mp4, and the next one overwrites it.
    """

    def __init__(
        self, path: Path, size: tuple[int, int], fps: float, preset: str = "veryfast", crf: int = 23, cure: str = ROOM
    ) -> None:
        """size: even width and height. fps: about the frames per second that will come, for the choice of key frames.
        preset, crf: x264's, for its effort and its quality. Raises UserError, with `cure`, as all methods do.

        Milliseconds of processor time per 720p frame of the demo clip: ultrafast 6.5 (1.2 MB for 3 s), superfast 10
        (0.9 MB), veryfast 11 (0.4 MB); OpenCV's mp4v, which no browser plays, 6.3 (1.6 MB).
        """
        self._path, self._cure, self._period = path, cure, max(1, round(TICKS / fps))
        self._first_s, self._newest = 0.0, -1  # time of the first picture, and ticks of the newest one from there
        self._whole = ExitStack()
        self._part = self._whole.enter_context(write_whole(path, cure, reuse=True))
        self._opened: list[Any] = []  # to be closed, the newest first
        try:
            self._file = self._part.open("wb")
            self._opened.append(self._file)
            self._container = av.open(self._file, "w", format="mp4", options=AS_WRITTEN)
            self._opened.append(self._container)
            self._stream = _add_stream(self._container, size, fps, preset, crf)
        except (OSError, FFmpegError) as error:
            raise self._failed(error) from error

    def write(self, picture: np.ndarray, time_s: float) -> None:
        """Adds a picture (height, width, 3) uint8 BGR at its time. Pictures that do not come later than the one before
        follow it at the usual distance, and the others keep their distance from them."""
        if self._newest < 0:
            self._first_s = time_s
        ticks = round((time_s - self._first_s) * TICKS)
        if self._newest >= 0 and ticks <= self._newest:
            self._first_s -= (self._newest + self._period - ticks) / TICKS
            ticks = self._newest + self._period
        self._newest = ticks
        planes = cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420).astype(np.uint8, copy=False)
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts, frame.time_base, frame.duration = ticks, Fraction(1, TICKS), self._period
        try:
            self._container.mux(self._stream.encode(frame))
            self._file.flush()
        except (OSError, FFmpegError) as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Completes the video and moves it to its place. After an error there is nothing left to do."""
        if not self._opened:
            return
        try:
            self._container.mux(self._stream.encode())
            while self._opened:
                self._opened.pop().close()
        except (OSError, FFmpegError) as error:
            raise self._failed(error) from error
        with suppress(UserError, FFmpegError):  # without room for a second copy, the file stays as it was written
            _move_index_to_front(self._part)
        self._whole.close()

    def __enter__(self) -> "VideoFile":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Closes the video, or removes it after an error in the block."""
        if error is None:
            self.close()
        elif self._opened:
            self._failed(error)

    def _failed(self, error: BaseException) -> UserError:
        """What the user reads; the file is removed, so that no other file lacks its room."""
        reason = getattr(error, "strerror", None) or error
        failure = UserError(f"{self._path}: the video cannot be written ({reason}). {self._cure}")
        while self._opened:
            with suppress(OSError, FFmpegError):  # it fails as before
                self._opened.pop().close()
        self._whole.__exit__(UserError, failure, None)
        return failure


def even(size: tuple[int, int]) -> tuple[int, int]:
    """The size (width, height) of the video for pictures of a size: with even sides, of MOST_PX at most."""
    factor = min(1.0, MOST_PX / max(size))
    width, height = (max(2, int(side * factor) // 2 * 2) for side in size)
    return width, height


def _add_stream(container: OutputContainer, size: tuple[int, int], fps: float, preset: str, crf: int) -> VideoStream:
    found = ENCODER in codecs_available and Codec(ENCODER, "w").is_encoder
    if not found:
        log.warning("the installed PyAV has no H.264: browsers will not play the video. Install it with pip: av")
    rate = Fraction(fps).limit_denominator(1001)
    stream = cast(VideoStream, container.add_stream(ENCODER if found else SPARE_ENCODER, rate=rate))
    stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
    stream.options = {"preset": preset, "crf": str(crf)} if found else {"qscale": "4"}
    context = stream.codec_context
    context.time_base, context.gop_size = Fraction(1, TICKS), max(1, round(KEYFRAME_S * fps))
    context.max_b_frames = 0  # with them, the first picture's time is a correction that some players leave out
    context.thread_count = 1  # in live runs, the other cores belong to the fit
    context.colorspace, context.color_primaries, context.color_trc, context.color_range = BT601, BT709, BT709, LIMITED
    return stream


def _move_index_to_front(path: Path) -> None:
    """Rewrites a video of fragments as one with a single index in front, which players start at once, without encoding
    it again. The file is replaced when that is done."""
    with (
        write_whole(path, reuse=True) as made,
        av.open(f"file:{path}") as given,  # without the prefix, a colon in a name would end a protocol's
        av.open(f"file:{made}", "w", options=AS_KEPT) as kept,
    ):
        (stream,) = given.streams.video
        copy = kept.add_stream_from_template(stream)
        for packet in given.demux(stream):
            if packet.dts is not None:  # the last one only marks the end
                packet.stream = copy
                kept.mux(packet)
