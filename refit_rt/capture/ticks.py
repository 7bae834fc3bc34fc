"""Which frames of several cameras belong to one moment, and the message of such a moment."""

import statistics
from collections.abc import Mapping
from dataclasses import replace

from refit_rt.types import Frame, FrameSet

SLACK = 1.1  # of a period: cameras do not keep time exactly
SAME_RATE = 0.9  # a camera whose period is this share of the longest one is as slow


def reach_s(cameras: int, period_s: float) -> float:
    """How far the frames of one moment may lie apart, in seconds.

    Cameras of one rate that start at any time always have frames so close together: n points on a circle leave a gap of
    at least one n-th. Two cameras come within half a period.
    """
    return (1 - 1 / cameras) * period_s * SLACK


def moment_s(times_s: Mapping[str, float], periods_s: Mapping[str, float]) -> float:
    """The next moment of cameras, from the times of their next frames: the median of the slowest cameras' times, among
    those that are close enough to the earliest one. A camera that is far ahead has no frame of this moment."""
    period_s = max(periods_s[name] for name in times_s)
    latest_s = min(times_s.values()) + reach_s(len(times_s), period_s)
    near = {name: time_s for name, time_s in times_s.items() if time_s <= latest_s}
    slowest_s = SAME_RATE * max(periods_s[name] for name in near)
    return statistics.median(time_s for name, time_s in near.items() if periods_s[name] >= slowest_s)


def tolerance_s(periods_s: Mapping[str, float]) -> float:
    """How far a frame may be from its moment: half of the cameras' median period, in seconds."""
    return statistics.median(periods_s.values()) * SLACK / 2


def tick(
    names: tuple[str, ...], frames: Mapping[str, tuple[float, Frame]], index: int, first_s: float, live: bool
) -> FrameSet:
    """The message of a moment.

    frames: time in seconds on the rig's clock and frame, of the cameras that have one; at least one has. first_s: the
    time of the first tick. live: that clock is the one of `captured_s`.
    """
    made = {
        name: replace(frame, time_s=time_s - first_s, captured_s=time_s if live else frame.captured_s)
        for name, (time_s, frame) in frames.items()
    }
    captured_s = statistics.median(frame.captured_s for frame in made.values())
    time_s = statistics.median(frame.time_s for frame in made.values())
    return FrameSet(names, tuple(made.get(name) for name in names), index, captured_s, time_s)


def moved(one: FrameSet, index: int, time_s: float, captured_s: float) -> FrameSet:
    """The same pictures as another tick, at another time, captured together."""
    shift_s = time_s - one.time_s
    frames = tuple(
        None if frame is None else replace(frame, time_s=frame.time_s + shift_s, captured_s=captured_s)
        for frame in one.frames
    )
    return replace(one, frames=frames, index=index, time_s=time_s, captured_s=captured_s)
