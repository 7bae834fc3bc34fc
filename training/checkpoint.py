"""Reads, writes, averages and shortens checkpoints of training.train, and makes them from bundles."""

import logging
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from torch import nn

from refit_rt.errors import UserError
from refit_rt.model import weights
from refit_rt.model.blazepose import BlazePose, blazepose_of
from refit_rt.model.refit import ReFit, make_backbone
from refit_rt.model.weights import read_checkpoint
from training.pull import pull
from training.reporting import BAD_INPUT, run

log = logging.getLogger(__name__)
EDGE_BUNDLE = "edge"  # the shipped one
# The whitening of the map that the edge network trains with (BlazePose.set_statistics): mean (48,) and white (48, 48).
# A bundle holds it only multiplied into the next layer. Every run that starts from a bundle gets the same whitening,
# because the mean of several runs is a network only if they share it.
WHITENING = Path(__file__).with_name("whitening.npz")


def load_into(net: nn.Module, checkpoint: dict, which: str, path: Path) -> None:
    """Loads the weights `which`, "net" or "average". Raises UserError for a checkpoint of another network."""
    if which not in checkpoint:
        raise UserError(f"{path}: holds no weights '{which}'. Give a last.pt of training.train")
    weights.load_into(net, checkpoint[which], str(path))


def read_start(source: str | Path) -> dict:
    """Reads what a run starts from: a checkpoint's file, a shipped bundle's name or a bundle's folder. The result is a
    checkpoint with `average`. Raises UserError."""
    file = Path(source)
    return read_checkpoint(file) if file.is_file() or file.suffix == ".pt" else from_bundle(str(source))


def from_bundle(name: str) -> dict:
    """Makes a checkpoint with the same outputs as a bundle of the edge network, given by its name or its folder. It
    holds `average` (float32) and, where the card names them, `steps` and `views`. Raises UserError."""
    try:  # a machine that starts from a checkpoint does not need these
        from refit_rt.bundle.read import find_bundle, load_bundle
        from refit_rt.bundle.torch_state import read_network
    except ImportError as error:
        raise UserError(
            f"{name}: reading a bundle needs {error.name}. Install it: pip install 'refit-rt[train]', or start from a "
            "checkpoint that was made elsewhere: python -m training.checkpoint --from-bundle start.pt"
        ) from error

    bundle = load_bundle(find_bundle(name))
    network = read_network(bundle)
    take_whitening_out(network)
    facts = {fact: bundle.card.training[fact] for fact in ("steps", "views") if fact in bundle.card.training}
    return {"average": network.state_dict(), **facts}


@torch.no_grad()
def take_whitening_out(network: ReFit) -> None:
    """Reverses BlazePose.fold_whitening: WHITENING whitens the map, and the layer after it takes the whitened map.

    The outputs stay the same, but the layer's inputs become uncorrelated and equally large, which its training needs.
    The weights are solved for in float64, because the whitening's condition number is 100.
    """
    backbone, following = blazepose_of(network), next(network.map_head.children())
    assert isinstance(following, nn.Conv2d)
    assert following.bias is not None
    with np.load(WHITENING) as statistics:
        backbone.feature_mean.copy_(torch.from_numpy(statistics["mean"]))
        backbone.feature_white.copy_(torch.from_numpy(statistics["white"]))
    folded = following.weight[:, :, 0, 0].double()
    weight = torch.linalg.solve(backbone.feature_white.double(), folded, left=False).float()
    following.weight.copy_(weight[:, :, None, None])
    following.bias.add_(weight @ backbone.feature_white @ backbone.feature_mean)  # what fold_whitening subtracts


def write_checkpoint(checkpoint: dict, path: Path) -> bool:
    """Replaces the file only when the new one is complete. On a full disk the file stays as it is, the log reports it,
    and the result is False."""
    part = path.with_suffix(".part")
    try:
        torch.save(checkpoint, part)
        part.replace(path)
    except (OSError, RuntimeError) as error:  # torch's writer raises the latter on a full disk
        part.unlink(missing_ok=True)
        log.error("%s: not saved (%s); an earlier file stays as it is. Make room", path, str(error).splitlines()[0])
        return False
    return True


def slim(checkpoint: dict) -> dict:
    """Keeps what a new run or an export needs: the averaged weights, with matrices in half precision.

    The file is a seventh as large. Whitening and means keep their precision, because the network divides by small
    numbers there.
    """
    average = {
        name: value.half() if value.dim() > 1 and not name.startswith(("backbone.feature", "mean_")) else value
        for name, value in checkpoint["average"].items()
    }
    facts = {name: checkpoint[name] for name in ("steps", "views", "seconds") if name in checkpoint}
    return {"average": average, **facts}


def mean_of(checkpoints: list[dict], shares: list[float]) -> dict:
    """Averages the averaged weights of several runs that started from the same weights, with one share per run ("model
    soups", Wortsman et al., ICML 2022). Raises UserError when the networks differ."""
    first, whole = checkpoints[0]["average"], sum(shares)
    for one in checkpoints[1:]:
        shapes = [{name: value.shape for name, value in part.items()} for part in (first, one["average"])]
        if shapes[0] != shapes[1]:
            names = sorted({name for name in shapes[0] | shapes[1] if shapes[0].get(name) != shapes[1].get(name)})
            raise UserError(
                f"these are different networks ({names[0]} and {len(names) - 1} more weights differ). Give runs of one"
            )
    average = {}
    for name, value in first.items():
        parts = [one["average"][name] for one in checkpoints]
        if value.is_floating_point():
            scaled = [share / whole * part.float() for share, part in zip(shares, parts, strict=True)]
            value = torch.stack(scaled).sum(0)
        average[name] = value
    return {"average": average} | {name: sum(one.get(name, 0) for one in checkpoints) for name in ("steps", "views")}


def load_own(backbone: BlazePose, file: str = "") -> None:
    """Loads BlazePose's own weights from its .tflite, which is downloaded if no file is given. A checkpoint made with
    `--own 1` serves machines that lack OpenVINO, which reads the .tflite. Raises UserError."""
    if Path(file).suffix != ".pt":
        backbone.load_tflite(Path(file) if file else pull(f"pose_landmark_{backbone.plan.name}.tflite"))
        return
    average = read_checkpoint(Path(file)).get("average", {})
    own = dict(backbone.named_parameters())
    if any(f"backbone.{name}" not in average for name in own):
        raise UserError(f"{file}: its backbone is not BlazePose. Make it: python -m training.checkpoint ... --own 1")
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(average[f"backbone.{name}"])


def nearer_to_own(checkpoint: dict, share: float) -> dict:
    """Moves the backbone's averaged weights by `share` of the way back to BlazePose's own ("robust fine-tuning",
    Wortsman et al., CVPR 2022). This keeps part of what the renders taught and restores part of what real people
    taught. Raises UserError for a network with another backbone."""
    average = dict(checkpoint["average"])
    own = make_backbone(weights.edge_of(average))
    assert isinstance(own, BlazePose)
    load_own(own)
    for name, value in own.named_parameters():
        mine = average.get(f"backbone.{name}")
        if mine is None or mine.shape != value.shape:
            raise UserError(f"its backbone is not BlazePose ({name} does not fit). Leave out --own")
        average[f"backbone.{name}"] = torch.lerp(mine.float(), value.detach(), share)
    return checkpoint | {"average": average}


@dataclass(frozen=True)
class Arguments:
    """Writes a short checkpoint: of one run, of the mean of several runs, or of a bundle's network."""

    files: tyro.conf.Positional[tuple[Path, ...]]
    """One or more checkpoints of training.train, then the file to write."""
    from_bundle: tyro.conf.FlagCreatePairsOff[bool] = False
    """Read bundles (a shipped one's name, or a folder) instead of checkpoints. If only the file to write is given, the
    shipped bundle, edge, is read."""
    shares: tuple[float, ...] = ()
    """Share of each checkpoint in the mean. The shares are equal if none are given."""
    own: float = 0.0
    """How far the backbone moves back to BlazePose's own weights, which know real people: from 0, not at all, to 1."""


def sources_of(settings: Arguments) -> list[Path]:
    """All files but the last one, which is written. Raises UserError when there are none."""
    sources = list(settings.files[:-1])
    if settings.from_bundle and not sources and settings.files and settings.files[0].suffix == ".pt":
        return [Path(EDGE_BUNDLE)]
    if not sources:
        example = "--from-bundle edge" if settings.from_bundle else "last.pt"
        raise UserError(f"give a source and the file to write: python -m training.checkpoint {example} start.pt")
    return sources


def shortened(settings: Arguments) -> dict:
    """The checkpoint that main writes. Raises UserError."""
    sources = sources_of(settings)
    shares = list(settings.shares) or [1.0] * len(sources)
    if len(shares) != len(sources) or min(shares) < 0 or not sum(shares):
        raise UserError(
            f"--shares: {len(sources)} checkpoints need one share each, none of them negative and one above 0"
        )
    checkpoints = [from_bundle(str(path)) if settings.from_bundle else read_checkpoint(path) for path in sources]
    for path, checkpoint in zip(sources, checkpoints, strict=True):
        if "average" not in checkpoint:
            raise UserError(f"{path}: holds no weights 'average'. Give a last.pt of training.train")
    if not 0 <= settings.own <= 1:
        raise UserError(f"--own {settings.own:g}: must lie between 0 and 1")
    try:
        whole = mean_of(checkpoints, shares) if len(sources) > 1 else checkpoints[0]
        return slim(nearer_to_own(whole, settings.own) if settings.own else whole)
    except UserError as error:
        raise UserError(f"{', '.join(map(str, sources))}: {error}") from error


def main() -> int:
    """The command line, as in `python -m training.checkpoint last.pt edge.pt`. Returns the exit code."""
    settings = tyro.cli(Arguments)
    return run(lambda: 0 if write_checkpoint(shortened(settings), settings.files[-1]) else BAD_INPUT)


if __name__ == "__main__":
    sys.exit(main())
