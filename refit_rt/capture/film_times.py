"""The times of a film's frames as they are used: they begin at 0 and grow."""

import logging

log = logging.getLogger(__name__)

BACK_S = 1.0  # a time that lies further back is another recording's, joined to the first one
FORWARD_S = (
    10.0  # so is one that lies further ahead, in a container whose times may jump (FFmpeg's dts_delta_threshold)
)


class FilmTimes:
    """Seconds since the first frame, from the times that the film states."""

    def __init__(self, where: str, fps: float, may_jump: bool) -> None:
        """fps: the rate at which frames without a time come. may_jump: as in `Film`."""
        self._where, self._period_s, self._may_jump = where, 1 / fps, may_jump
        self._begin_s: float | None = None  # what counts as 0 on the film's clock
        self._last_s: float | None = None
        self._told = False

    def next(self, stated_s: float | None, lost: int = 0) -> float:
        """The time of the next frame. stated_s: None: the film states none. lost: frames before it that could not be
        read."""
        after_s = 0.0 if self._last_s is None else self._last_s + (1 + lost) * self._period_s
        if stated_s is None:
            self._last_s = after_s
            return after_s
        if self._begin_s is None:
            self._begin_s = stated_s - after_s
        time_s, last_s = stated_s - self._begin_s, self._last_s
        if last_s is not None and (last_s - time_s > BACK_S or (self._may_jump and time_s - last_s > FORWARD_S)):
            self._tell(time_s - last_s, last_s)
            self._begin_s, time_s = stated_s - after_s, after_s
        self._last_s = time_s if last_s is None or time_s > last_s else after_s
        return self._last_s

    def _tell(self, jump_s: float, at_s: float) -> None:
        if not self._told:
            self._told = True
            log.warning(
                "%s: its times jump by %.1f s at %.1f s; the frames follow each other", self._where, jump_s, at_s
            )
