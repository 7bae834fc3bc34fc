"""One model's training as its config file says it."""

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from refit_rt.errors import UserError
from training.datasets.crop import Augment
from training.datasets.mix import SetRecipe


class Run(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every recipe says. Folders are relative to where training is started."""

    out: str
    """Folder for checkpoints and logs; a second call goes on from there."""
    start_from: str = ""
    """What a new run starts from: a checkpoint (its averaged weights) or, for the edge network, a bundle (the name of a
    shipped one, or a folder)."""
    steps: int = 0
    """Length of the run, over all resumptions; 0: `minutes` count instead."""
    minutes: float = 60.0
    batch: int = 32
    """Rows a step and process."""
    rate: float = 1e-3
    """Peak learning rate."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """After a short rise: down to a hundredth over the run's length, or as it is."""
    weight_decay: float = 1e-4
    clip_norm: float = 1.0
    """Most of the gradient's norm; heads and backbone each for themselves where the backbone has a rate of its own."""
    average: float = 0.999
    """Decay of the averaged weights (EMA) that are evaluated and shipped."""
    device: str = "auto"
    """cpu, cuda or auto; under torchrun each process takes its own GPU."""
    precision: Literal["f32", "bf16"] = "f32"
    """Of the backbone while it learns; the loop and the geometry stay in f32."""
    threads: int = 1
    """Of the processor, for torch."""
    workers: Annotated[int, msgspec.Meta(ge=1)] = 2
    """Threads or processes that read and unpack pictures beforehand."""
    save_every_s: float = 120.0
    evaluate_every_s: float = 600.0
    seed: int = 0


class EdgeRecipe(Run, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The edge network on rendered people (training.rendered)."""

    model: Literal["edge"] = "edge"
    store: str
    """Folder of training.produce."""
    held_out: str = ""
    """Folder of training.produce --held-out, for the curve; empty: no curve."""
    evaluate_rows: int = 512
    layout: Literal["channels_last", "contiguous"] = "channels_last"
    """Of the backbone's pictures and maps in memory; `training.trial` tells which is faster on a machine."""
    unpacked: bool = False
    """Keep the store's pictures in memory once they were unpacked, 0.2 MB each: for a GPU that sees each many times."""
    backbone_tflite: str = ""
    """BlazePose's weights; empty: pulled. Where there is no OpenVINO to read them, a checkpoint of
    `training.checkpoint --own 1`."""
    compare: Literal["", "random", "resnet"] = ""
    """Another backbone, from random weights: BlazePose's architecture, or a ResNet as dear (training.resnet). All of
    it learns, at the heads' rate."""
    frozen: int = 5
    """Parts of the backbone, from the picture on (stem, then trunk blocks), that keep their weights; -1: all."""
    backbone_rate: float = 0.3
    """A step changes a weight of the backbone by `rate` times this of its own size (training.optimise)."""
    hold: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """How hard the backbone is held to BlazePose's own weights, which know real people: each step goes the learning
    rate times this of the way back to them."""
    flip: float = 0.5
    """Share of rows shown in the mirror."""
    own_previous: float = 0.8
    """Share of rows with a moment before that start from the network's own answer there."""
    around: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    """Share of a step's rows, in whole groups, in which several cameras see one person and agree after every iteration;
    the store needs some of training.produce --around."""
    cameras: Annotated[int, msgspec.Meta(ge=1)] = 3
    """Of such a group."""
    perturbed: float = 0.15
    """Share of the other rows that start from a disturbed truth."""
    summary_dropout: float = 0.3
    """Share of rows whose 2x2 summary is hidden, so that the landmarks alone must do."""
    marker_dropout: float = 0.25
    """Share of markers hidden from the loop."""
    landmarks: float = 4.0
    """Weight of the backbone's own landmarks against the truth; only where the backbone learns."""
    heat: float = 0.0
    """Weight of the map's second task (training.heat); only where the backbone learns."""
    lifted: int = 24
    """People a step that nobody rendered (training.lifting); 0: none."""
    motion: str = ""
    """Recorded motion for those; empty: the parametric library only."""
    weights: dict[str, float] = {}
    """Loss weights that differ from training.losses.Weights."""


class PublishedRecipe(Run, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """ReFit as published, on the data sets of the field (training.published)."""

    model: Literal["hrnet_w48", "hrnet_w32"]
    backbone: str
    """HRNet's COCO pose network, from which the backbone starts."""
    body: str
    """SMPL, from refit-rt import-smpl; empty: the free body."""
    extra_joints: str = ""
    """SPIN's J_regressor_extra.npy."""
    sets: dict[str, SetRecipe]
    augment: Augment = Augment()
    loss_scale: float = 60.0
    """Before clipping; it decides what is clipped."""
    iterations: int = 5
    marker_dropout: float = 0.25
    weights: dict[str, float] = {}
    """Loss weights that differ from training.published.Weights."""


Recipe = EdgeRecipe | PublishedRecipe


def read_recipe(path: Path) -> Recipe:
    """Raises UserError naming the place of a wrong key."""
    try:
        raw = msgspec.yaml.decode(Path(path).read_bytes(), type=dict[str, Any])
        kind = EdgeRecipe if raw.get("model", "edge") == "edge" else PublishedRecipe
        return msgspec.convert(raw, kind)
    except (OSError, msgspec.MsgspecError) as error:
        raise UserError(f"{path}: {error}") from error
