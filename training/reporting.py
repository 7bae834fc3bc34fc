"""Output of training and evaluation: exit codes, a progress bar, curves for TensorBoard, and tables."""

import logging
import shlex
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from refit_rt.commands.bench.table import Table
from refit_rt.errors import UserError

log = logging.getLogger(__name__)
BAD_INPUT, STOPPED = 2, 130
CURVE_STEPS = 20  # steps between two points of a curve


def run(work: Callable[[], int | None], log_format: str = "%(message)s") -> int:
    """Does the work of an entry point, logs to stderr, and returns the exit code.

    Input that cannot be used is reported in one line, with BAD_INPUT as the code. Ctrl-C gives STOPPED.
    """
    logging.basicConfig(level=logging.INFO, format=log_format)
    try:
        return work() or 0
    except UserError as error:
        log.error("%s", error)
        return BAD_INPUT
    except OSError as error:
        if error.filename is None:  # not a file that the user named
            raise
        log.error("%s: %s. Give another path", error.filename, error.strerror)
        return BAD_INPUT
    except KeyboardInterrupt:
        return STOPPED


def command_line(module: str) -> str:
    """The command that started this process, with `module` as its entry point."""
    return shlex.join(["python", "-m", module, *sys.argv[1:]])


class Caption(str):
    """A line that is printed with the tables even where they are printed alone."""


def print_parts(parts: Iterable[str | Table], markdown_command: str = "") -> None:
    """Prints each part of a result as soon as it is computed.

    With `markdown_command`, only tables and captions are printed, in Markdown, each table below a line that names that
    command and the processor.
    """
    for part in parts:
        if isinstance(part, Table):
            text = part.markdown(markdown_command) if markdown_command else part.text()
        elif markdown_command and not isinstance(part, Caption):
            continue
        else:
            text = part
        sys.stdout.write(f"{text}\n\n" if isinstance(part, Table | Caption) else f"{text}\n")
        sys.stdout.flush()


def write_picture(path: Path, picture: np.ndarray) -> None:
    """Writes a picture (height, width, 3) BGR, and makes its folder. Raises UserError."""
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        written = cv2.imwrite(str(path), picture)
    except cv2.error as error:  # an unknown format
        raise UserError(f"{path}: not a name of a picture. Give one that ends in .png or .jpg") from error
    if not written:
        raise UserError(f"{path}: cannot be written. Give another path")


class Progress:
    """A context manager that reports the progress of a run; `shown` is false in all processes but the first."""

    def __init__(self, out: Path, shown: bool) -> None:
        self._out, self._shown = out, shown
        self._bar = self._board = None

    def __enter__(self) -> "Progress":
        if not self._shown:
            return self
        try:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self._out / "board"))
        except ImportError:
            log.info("no curves are written. Install what they need: pip install tensorboard")
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=100, unit="%", leave=False)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
        if self._board is not None:
            self._board.close()

    def step(self, done: float, steps: int, terms: dict[str, float]) -> None:
        """Shows a step: the share of the run that is done, and the terms of the loss."""
        if self._bar is not None:
            self._bar.n = min(round(100 * done), 100)
            loss = sum(value for name, value in terms.items() if not name.startswith("norm"))
            self._bar.set_postfix(steps=steps, loss=f"{loss:.2f}")
        if self._board is not None and steps % CURVE_STEPS == 0:
            for name, value in terms.items():
                self._board.add_scalar(f"train/{name}", value, steps)

    def line(self, text: str) -> None:
        """Writes a line to the log."""
        if self._shown:
            log.info("%s", text)

    def curve(self, steps: int, errors: np.ndarray) -> None:
        """Reports errors (iterations + 1, rows, 3) on held-out people: MPJPE mm, PA-MPJPE mm, px, per iteration."""
        means, medians = errors.mean(1), np.median(errors, 1)
        parts = [
            f"{i}: {'/'.join(f'{v:.0f}' for v in mean)} (median {'/'.join(f'{v:.0f}' for v in median)})"
            for i, (mean, median) in enumerate(zip(means, medians, strict=True))
        ]
        log.info("held out: %s", " | ".join(parts))
        if self._board is not None:
            for name, value in zip(("mpjpe_mm", "pa_mpjpe_mm", "px"), means[-1], strict=True):
                self._board.add_scalar(f"held_out/{name}", float(value), steps)
