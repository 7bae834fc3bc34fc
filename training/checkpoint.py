"""Files of training.train: checked, written whole or not at all."""

import logging
import sys
from pathlib import Path

import torch
from torch import nn

from refit_rt.errors import UserError
from refit_rt.model import weights
from refit_rt.model.weights import read_checkpoint

log = logging.getLogger(__name__)


def load_into(net: nn.Module, checkpoint: dict, which: str, path: Path) -> None:
    """which: net or average. Raises UserError for one of another network."""
    if which not in checkpoint:
        raise UserError(f"{path}: has no weights '{which}'. Give a last.pt of training.train")
    weights.load_into(net, checkpoint[which], str(path))


def write_checkpoint(checkpoint: dict, path: Path) -> bool:
    """The one before stays until this one is whole, and when the disk is full: then False, and a line in the log."""
    part = path.with_suffix(".part")
    try:
        torch.save(checkpoint, part)
        part.replace(path)
    except (OSError, RuntimeError) as error:  # torch's writer raises the latter on a full disk
        part.unlink(missing_ok=True)
        log.error("%s: not saved (%s); the one before stays. Make room", path, str(error).splitlines()[0])
        return False
    return True


def slim(checkpoint: dict) -> dict:
    """What is needed to go on from or to export: the averaged weights, matrices in half precision; a seventh as long.

    Whitening and means keep their precision: they divide by small numbers.
    """
    average = {
        name: value.half() if value.dim() > 1 and not name.startswith(("backbone.feature", "mean_")) else value
        for name, value in checkpoint["average"].items()
    }
    facts = {name: checkpoint[name] for name in ("steps", "views", "seconds") if name in checkpoint}
    return {"average": average, **facts}


def main() -> int:
    """`python -m training.checkpoint last.pt edge.pt`: the short form of a checkpoint."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if len(sys.argv) != 3:
        log.error("give two files: python -m training.checkpoint last.pt edge.pt")
        return 2
    try:
        return 0 if write_checkpoint(slim(read_checkpoint(Path(sys.argv[1]))), Path(sys.argv[2])) else 2
    except (UserError, KeyError) as error:
        log.error("%s: %s", sys.argv[1], error)
        return 2


if __name__ == "__main__":
    sys.exit(main())
