"""A recording's progress in the terminal: lines that update in place, or plain lines where there is no terminal."""

import logging
import shutil
import textwrap
from typing import TextIO

import numpy as np

from calib.recorder import Progress
from calib.weaknesses import COVERED, EDGES_COVERED, FEW_FRAMES, FEW_SHARED, GRID

UP, CLEAR, BELL = "\x1b[{}A", "\x1b[J", "\a"
FULL, EMPTY = "■", "·"
MAP_WIDTH = 2 * GRID + 4


class Screen(logging.Handler):
    """Shows each `Progress`. Inside a `with` block, the warnings of cameras appear above the lines that update."""

    def __init__(self, stream: TextIO, pairs: bool) -> None:
        """pairs: whether pairs of cameras matter."""
        super().__init__()
        self._stream, self._pairs, self._live = stream, pairs, stream.isatty()
        self._lines: list[str] = []  # those that update
        self._shown = ("", 0)  # the next thing to do, and the number of the newest take
        self._logger = logging.getLogger("refit_rt")
        self._propagate = self._logger.propagate

    def __enter__(self) -> "Screen":
        if self._live:
            self._logger.addHandler(self)
            self._propagate, self._logger.propagate = self._logger.propagate, False
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._logger.removeHandler(self)
            self._logger.propagate = self._propagate

    def emit(self, record: logging.LogRecord) -> None:
        """A line of the log, above the lines that update."""
        self._write([record.getMessage()], keep=True)

    def show(self, progress: Progress, waiting: str) -> None:
        """waiting: what is waited for while no camera delivers pictures; empty: nothing."""
        last = progress.last[0] if progress.last else 0
        changed, taken = (progress.next, last) != self._shown, last > self._shown[1]
        self._shown = progress.next, last
        if self._live:
            self.acquire()  # the log's threads write too
            try:
                size = shutil.get_terminal_size()
                lines = lines_of(progress, waiting, self._pairs, size.columns)[: size.lines - 1]
                if lines != self._lines or taken:
                    self._write(lines, bell=taken)
            finally:
                self.release()
        elif changed:
            told = f"take {progress.last[0]}: {', '.join(progress.last[1])}. " if taken and progress.last else ""
            self._stream.write(f"{told}{progress.next}\n")
            self._stream.flush()

    def _write(self, lines: list[str], bell: bool = False, keep: bool = False) -> None:
        """Replaces the lines that update. keep: by lines that stay; the next ones are drawn below them."""
        up = UP.format(len(self._lines)) if self._lines else ""
        self._stream.write(f"{up}\r{CLEAR}{BELL * bell}" + "".join(f"{line}\n" for line in lines))
        self._stream.flush()
        self._lines = [] if keep else lines


def lines_of(progress: Progress, waiting: str, pairs: bool, width: int) -> list[str]:
    """The lines that update, none longer than `width` characters."""
    sets = f"{progress.takes} take{'s' * (progress.takes != 1)}"
    lines = [f"{sets}. {waiting or progress.now}", f"NEXT: {progress.next}", ""]
    lines += table(progress)
    lines += [f"{one.state.name} {one.note}" for one in progress.cameras if one.note]
    if pairs:
        shared = f"takes that two cameras share ({FEW_SHARED} are enough): {_pairs(progress)}"
        lines += ["", *textwrap.wrap(shared, width - 1, break_on_hyphens=False)]
    if progress.lenses:
        lines += ["", *_maps(progress, width)]
    return [line[: width - 1] for line in lines]


def table(progress: Progress) -> list[str]:
    """One line per camera."""
    heads = (f"takes/{FEW_FRAMES}", f"picture/{COVERED:.0%}", f"edges/{EDGES_COVERED:.0%}", "tilt", "distance")
    heads = heads if progress.lenses else ("takes",)
    wide = max(8, *(len(one.state.name) for one in progress.cameras))
    lines = [f"{'camera':<{wide}}" + "".join(f"{head:>13}" for head in heads)]
    for one in progress.cameras:
        state = one.state
        away = f"{state.distance_m[0]:.1f}-{state.distance_m[1]:.1f} m" if state.distance_m else "-"
        cells = (str(state.takes), f"{state.covered:.0%}", f"{state.edges:.0%}", f"{state.tilt_deg:.0f}°", away)
        seen = "  board, still" if one.view and one.still else "  board" if one.view else ""
        lines.append(f"{state.name:<{wide}}" + "".join(f"{cell:>13}" for cell in cells[: len(heads)]) + seen)
    return lines


def _maps(progress: Progress, width: int) -> list[str]:
    """The fields of each camera's picture, side by side as far as the terminal is wide."""
    lines: list[str] = []
    wide = max(MAP_WIDTH, *(len(one.state.name) + 2 for one in progress.cameras))
    per_row = max(1, width // wide)
    for start in range(0, len(progress.cameras), per_row):
        row = progress.cameras[start : start + per_row]
        lines.append("".join(f"{one.state.name:<{wide}}" for one in row).rstrip())
        for line in range(GRID):
            drawn = (" ".join(FULL if full else EMPTY for full in one.state.fields[line]) for one in row)
            lines.append("".join(f"{text:<{wide}}" for text in drawn).rstrip())
    return lines


def _pairs(progress: Progress) -> str:
    names = [one.state.name for one in progress.cameras]
    rows, columns = np.triu_indices(len(names), 1)
    shared = progress.pairs[rows, columns]
    return ", ".join(
        f"{names[row]}-{names[column]} {count}" for row, column, count in zip(rows, columns, shared, strict=True)
    )
