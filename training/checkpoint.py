"""Files of training.train: read, checked, written whole or not at all."""

import logging
import pickle
import sys
from pathlib import Path

import torch
from torch import nn

from refit_rt.errors import UserError

log = logging.getLogger(__name__)


def read_checkpoint(path: Path) -> dict:
    """Raises UserError."""
    try:
        found = torch.load(path, weights_only=True, map_location="cpu")
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        told = str(error).splitlines()[0]
        raise UserError(f"{path}: is no checkpoint ({told}). Give a last.pt of training.train") from error
    if not isinstance(found, dict):
        raise UserError(f"{path}: is no checkpoint. Give a last.pt of training.train")
    return found


def load_into(net: nn.Module, checkpoint: dict, which: str, path: Path) -> None:
    """which: net or average. Raises UserError for one of another network."""
    try:
        net.load_state_dict(checkpoint[which])
    except (KeyError, RuntimeError, TypeError) as error:
        raise UserError(f"{path}: is a checkpoint of another network. Give another `out` or `start_from`") from error


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
