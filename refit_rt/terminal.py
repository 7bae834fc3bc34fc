"""One line of a terminal that is rewritten, and the log, whose lines appear above it."""

import logging
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Line:
    """The last line of the terminal at stderr. Carriage returns and spaces rewrite it, which every terminal can."""

    def __init__(self) -> None:
        self._text = ""
        self._lock = threading.RLock()

    def show(self, text: str) -> None:
        """Replaces the line; an empty text removes it. What is too long for the terminal is cut off."""
        columns = shutil.get_terminal_size().columns - 1  # with the last column, some terminals begin a new line
        text = text[:columns]
        with self._lock:
            if text != self._text:
                rest = " " * (len(self._text) - len(text))
                back = f"\r{text}" if rest and text else "\r" if rest else ""
                self._write(f"\r{text}{rest}{back}")
                self._text = text

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Inside the block, which writes whole lines, the line is away."""
        with self._lock:
            text = self._text
            self.show("")
            try:
                yield
            finally:
                self.show(text)

    def _write(self, text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except OSError:  # the terminal was closed, and the run goes on
            pass


LINE = Line()


class LogHandler(logging.Handler):
    """Writes the log to stderr, above the line."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record."""
        with LINE.hidden():
            try:
                sys.stderr.write(self.format(record) + "\n")
                sys.stderr.flush()
            except OSError:  # as above
                pass


def is_terminal() -> bool:
    """Whether stderr is a terminal on which a line can be rewritten."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def bar(done: float, width: int = 20) -> str:
    """How much is done (0 to 1), as in [#####.....]."""
    full = round(min(max(done, 0.0), 1.0) * width)
    return f"[{'#' * full}{'.' * (width - full)}]"


def clock(seconds: float) -> str:
    """m:ss, or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
