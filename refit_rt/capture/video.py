"""Reads frames from a recorded video: a file, or an address of one."""

import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from av.error import FFmpegError

from refit_rt import config
from refit_rt.capture.apart import Apart
from refit_rt.capture.film import GUESSED_FPS, Film, reason, shown_address
from refit_rt.capture.film_times import FilmTimes
from refit_rt.capture.playback import Playback, Shot
from refit_rt.errors import UserError
from refit_rt.types import Frame

log = logging.getLogger(__name__)

SHORT_S = 0.2  # a film that ends earlier than stated by more than this, and two frames, is cut off


class VideoSource:
    """A recorded video. Frames are decoded one after the other; one that is skipped in live playback is not converted.

    An address is read in a thread of its own, because a read from the network may hang.
    """

    runs_by_itself = False
    waiting = ""

    def __init__(self, source: Path | str, settings: config.Capture, lossless: bool) -> None:
        """source: a file, or an address (text with ://) of a recording."""
        self._remote = isinstance(source, str)
        self._where = source if isinstance(source, str) else str(source.absolute())
        self._shown = shown_address(str(source))
        self._loop, self._fps = settings.loop, settings.fps
        film = self._open()
        self._has_times = film.has_times
        try:
            if not any(shown.frame is not None for shown in film.frames()):
                raise self._unreadable(film.error or "no frame can be decoded")
            stated_fps = film.stated_fps
            self.length_s = 0.0 if self._loop else film.duration_s  # 0: it has no end, or none that is known
        finally:
            film.close()
        own_fps = self._own_fps(stated_fps)
        self._own_times = self._has_times and (lossless or not settings.fps)
        self.fps = own_fps if self._own_times or not settings.fps else settings.fps
        if self._own_times and settings.fps and not settings.sources:
            log.warning("capture.fps is not used: every frame of %s is processed at its own time", self._shown)
        self._playback = Playback(settings.name, self.fps, lossless)
        self._apart = Apart(self._playback.frames(self._once, self._loop)) if self._remote else None

    @property
    def bad(self) -> int:
        """The number of frames so far that could not be read."""
        return self._playback.bad

    def __iter__(self) -> Iterator[Frame]:
        """Yields every frame when lossless; live, frames whose time has passed are skipped."""
        return iter(self._apart) if self._apart else self._playback.frames(self._once, self._loop)

    def close(self) -> None:
        """Ends the iteration after the current frame."""
        self._playback.stop()
        if self._apart:
            self._apart.close()

    def _once(self) -> Iterator[Shot]:
        """The shots of the film from start to end."""
        film = self._open()
        times = FilmTimes(self._shown, self.fps, film.may_jump)
        index, lost, end_s = -1, 0, 0.0
        try:
            for index, shown in enumerate(film.frames()):
                if shown.frame is None:
                    lost += 1
                    yield Shot(index, end_s, lambda: None)
                    continue
                time_s = times.next(shown.time_s if self._own_times else None, lost)
                lost, end_s = 0, time_s + (shown.duration_s or 1 / self.fps)
                yield Shot(index, time_s, partial(film.picture, shown.frame))
            if short := self._what_lacks(film, index + 1, end_s):
                log.warning("%s: %s", self._shown, short)
        finally:
            film.close()

    def _what_lacks(self, film: Film, count: int, end_s: float) -> str:
        """Why a film that has been read to `end_s` is shorter than its header states; empty: it is not."""
        if film.error:
            return f"cannot be read after {end_s:.1f} s ({film.error})"
        if film.count > count:
            return f"the film ends after {count} frames, but its header states {film.count}"
        if self._own_times and film.duration_s - end_s > max(SHORT_S, 2 / self.fps):
            return f"the film ends after {end_s:.1f} s, but its header states {film.duration_s:.1f} s"
        return ""

    def _open(self) -> Film:
        """Raises UserError if it is not a readable video."""
        try:
            return Film(self._where)
        except (FFmpegError, OSError, LookupError, ValueError) as error:
            raise self._unreadable(reason(error)) from error

    def _unreadable(self, why: str) -> UserError:
        return UserError(f"{self._shown}: is not a readable video ({why}). Convert it to mp4, or download it again")

    def _own_fps(self, stated_fps: float) -> float:
        """Frames per second by the frames' own times, or what is taken for that."""
        if not self._has_times:
            fps = self._fps or stated_fps or GUESSED_FPS
            if not self._fps:
                text = "contains no times: its frames are taken to come %g per second. Set capture.fps if they do not"
                log.warning(f"%s: {text}", self._shown, fps)
            return fps
        film = self._open()
        try:
            return film.rate() or stated_fps or GUESSED_FPS
        finally:
            film.close()
