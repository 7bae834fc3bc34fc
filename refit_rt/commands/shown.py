"""How a verb shows its progress: one line that is rewritten, plain lines, JSON for programs, or nothing."""

import json
import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from refit_rt.errors import UserError
from refit_rt.terminal import LINE, bar, clock, is_terminal
from refit_rt.watch import STATUS_S, LogLines, Progress, Show

LINE_S = 0.2  # between two changes of the line
JSON_S = 1.0


class TerminalLine:
    """The line at the bottom of the terminal, with a bar and the time left where the end is known."""

    every_s = LINE_S

    def __call__(self, progress: Progress) -> None:
        """Rewrites the line."""
        LINE.show(line_of(progress))

    def close(self) -> None:
        """Removes the line."""
        LINE.show("")


class JsonLines:
    """One JSON object per line, on stdout."""

    every_s = JSON_S

    def __call__(self, progress: Progress) -> None:
        """Prints the numbers as an object whose "event" is "progress"."""
        say_json("progress", progress.fields())

    def close(self) -> None:
        """Nothing to end."""


class Nothing:
    """Shows nothing."""

    every_s = STATUS_S

    def __call__(self, progress: Progress) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""


@dataclass(frozen=True, slots=True)
class Played:
    """What a demo came to: a text for people, and numbers for programs."""

    text: str
    numbers: Mapping[str, Any]


def shown(quiet: bool, json: bool) -> Show:
    """What the options ask for. With either, the log has warnings alone. Raises UserError if both are given."""
    if quiet and json:
        raise UserError("--quiet and --json: give one of them")
    if quiet or json:
        logging.getLogger("refit_rt").setLevel(logging.WARNING)
        return JsonLines() if json else Nothing()
    return TerminalLine() if is_terminal() else LogLines()


def line_of(progress: Progress) -> str:
    """The text of the line."""
    if progress.done is None:
        return progress.line()
    left = "" if progress.left_s is None else f" {clock(progress.left_s)} left,"
    return f"{bar(progress.done)} {100 * progress.done:.0f} %,{left} {progress.line()}"


def say_json(event: str, fields: Mapping[str, Any]) -> None:
    """Prints one object. Numbers have four decimals at most, and what is not a number is null."""
    sys.stdout.write(json.dumps({"event": event, **_plain(fields)}) + "\n")
    sys.stdout.flush()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return round(float(value), 4) if abs(value) < float("inf") else None
    return value
