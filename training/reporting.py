"""What training and evaluation say: a bar on a terminal, lines in a log, curves for TensorBoard, tables."""

import logging
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from refit_rt.errors import UserError

log = logging.getLogger(__name__)
BAD_INPUT = 2
CURVE_STEPS = 20  # steps between two points of a curve


class Told:
    """A context manager; `speaks` is false in all processes but the first."""

    def __init__(self, out: Path, speaks: bool) -> None:
        self._out, self._speaks = out, speaks
        self._bar = self._board = None

    def __enter__(self) -> "Told":
        if not self._speaks:
            return self
        try:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self._out / "board"))
        except ImportError:
            log.info("no curves: pip install tensorboard")
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
        """After a step: the share of the run that is done, the terms of the loss."""
        if self._bar is not None:
            self._bar.n = min(round(100 * done), 100)
            loss = sum(value for name, value in terms.items() if not name.startswith("norm"))
            self._bar.set_postfix(steps=steps, loss=f"{loss:.2f}")
        if self._board is not None and steps % CURVE_STEPS == 0:
            for name, value in terms.items():
                self._board.add_scalar(f"train/{name}", value, steps)

    def line(self, text: str) -> None:
        if self._speaks:
            log.info("%s", text)

    def curve(self, steps: int, errors: np.ndarray) -> None:
        """errors (iterations + 1, rows, 3): MPJPE mm, PA-MPJPE mm, px, an iteration each."""
        means, medians = errors.mean(1), np.median(errors, 1)
        told = [
            f"{i}: {'/'.join(f'{v:.0f}' for v in mean)} (median {'/'.join(f'{v:.0f}' for v in median)})"
            for i, (mean, median) in enumerate(zip(means, medians, strict=True))
        ]
        log.info("held out: %s", " | ".join(told))
        if self._board is not None:
            for name, value in zip(("mpjpe_mm", "pa_mpjpe_mm", "px"), means[-1], strict=True):
                self._board.add_scalar(f"held_out/{name}", float(value), steps)


def printed(parts: Iterable[str]) -> int:
    """Prints each part as soon as it is there; the exit code, 2 for bad input."""
    try:
        for part in parts:
            sys.stdout.write(part + "\n")
            sys.stdout.flush()
    except UserError as error:
        log.error("%s", error)
        return BAD_INPUT
    return 0
