"""Files of training.train: checked, written whole or not at all."""

import logging
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from torch import nn

from refit_rt.detect.pull import pull
from refit_rt.errors import UserError
from refit_rt.model import weights
from refit_rt.model.blazepose import BlazePose
from refit_rt.model.weights import read_checkpoint
from training.reporting import BAD_INPUT

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


def mean_of(checkpoints: list[dict], shares: list[float]) -> dict:
    """Averaged weights of several runs that began from the same ones, each with its share of the whole ("model soups",
    Wortsman et al., ICML 2022). Raises UserError for those of different networks."""
    first, whole = checkpoints[0]["average"], sum(shares)
    for one in checkpoints[1:]:
        shapes = [{name: value.shape for name, value in part.items()} for part in (first, one["average"])]
        if shapes[0] != shapes[1]:
            names = sorted({name for name in shapes[0] | shapes[1] if shapes[0].get(name) != shapes[1].get(name)})
            raise UserError(f"are of different networks ({names[0]} and {len(names) - 1} more). Give runs of one")
    average = {}
    for name, value in first.items():
        parts = [one["average"][name] for one in checkpoints]
        if value.is_floating_point():
            value = torch.stack([share / whole * part.float() for share, part in zip(shares, parts, strict=True)]).sum(
                0
            )
        average[name] = value
    return {"average": average} | {name: sum(one.get(name, 0) for one in checkpoints) for name in ("steps", "views")}


def load_own(backbone: BlazePose, file: str = "") -> None:
    """BlazePose's own weights: of its .tflite, which is pulled if none is given, or, where OpenVINO cannot be had to
    read that, of a checkpoint that went all the way back to them (`--own 1`). Raises UserError."""
    if Path(file).suffix != ".pt":
        backbone.load_tflite(Path(file) if file else pull("pose_landmark_full.tflite"))
        return
    average = read_checkpoint(Path(file)).get("average", {})
    own = dict(backbone.named_parameters())
    if any(f"backbone.{name}" not in average for name in own):
        raise UserError(f"{file}: has no BlazePose for a backbone. Make it: python -m training.checkpoint ... --own 1")
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(average[f"backbone.{name}"])


def nearer_to_own(checkpoint: dict, share: float) -> dict:
    """The averaged weights with the backbone's `share` of the way back to BlazePose's own ("robust fine-tuning",
    Wortsman et al., CVPR 2022): what renders taught is kept in part, what real people taught comes back. Raises
    UserError for a network with another backbone."""
    own, average = BlazePose(), dict(checkpoint["average"])
    load_own(own)
    for name, value in own.named_parameters():
        mine = average.get(f"backbone.{name}")
        if mine is None or mine.shape != value.shape:
            raise UserError(f"has no BlazePose for a backbone ({name}). Leave out --own")
        average[f"backbone.{name}"] = torch.lerp(mine.float(), value.detach(), share)
    return checkpoint | {"average": average}


@dataclass(frozen=True)
class Arguments:
    """The short form of a checkpoint, or the mean of several."""

    files: tyro.conf.Positional[tuple[Path, ...]]
    """One or more checkpoints of training.train, then the file to write."""
    shares: tuple[float, ...] = ()
    """Of each checkpoint in the mean; left out: equal ones."""
    own: float = 0.0
    """Part of the way that the backbone goes back to BlazePose's own weights, which know real people."""


def shortened(settings: Arguments) -> dict:
    """What main writes. Raises UserError."""
    *sources, _ = settings.files
    shares = list(settings.shares) or [1.0] * len(sources)
    if len(shares) != len(sources) or min(shares) < 0 or not sum(shares):
        raise UserError(
            f"--shares: one number for each of {len(sources)} checkpoints is needed, none below 0, some above"
        )
    checkpoints = [read_checkpoint(path) for path in sources]
    for path, checkpoint in zip(sources, checkpoints, strict=True):
        if "average" not in checkpoint:
            raise UserError(f"{path}: has no weights 'average'. Give a last.pt of training.train")
    if not 0 <= settings.own <= 1:
        raise UserError(f"--own {settings.own:g}: must lie between 0 and 1")
    try:
        whole = mean_of(checkpoints, shares) if len(sources) > 1 else checkpoints[0]
        return slim(nearer_to_own(whole, settings.own) if settings.own else whole)
    except UserError as error:
        raise UserError(f"{', '.join(map(str, sources))}: {error}") from error


def main() -> int:
    """`python -m training.checkpoint last.pt edge.pt`; 2 for bad input."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = tyro.cli(Arguments)
    if len(settings.files) < 2:
        log.error("give two files or more: python -m training.checkpoint last.pt edge.pt")
        return BAD_INPUT
    try:
        return 0 if write_checkpoint(shortened(settings), settings.files[-1]) else BAD_INPUT
    except UserError as error:
        log.error("%s", error)
        return BAD_INPUT


if __name__ == "__main__":
    sys.exit(main())
