"""Recipes: the settings of a training run, read from a yaml file."""

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from refit_rt.errors import UserError
from training.datasets.crop import Augment
from training.datasets.mix import SetRecipe

EXAMPLE = "training/configs/edge.yaml"


class Run(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of every recipe. Folders are relative to the working directory."""

    out: str
    """Folder for checkpoints and logs. A second call resumes the run in it."""
    start_from: str = ""
    """What a new run starts from: a checkpoint (its averaged weights) or, for the edge network, a bundle (the name of a
    shipped one, or a folder)."""
    steps: int = 0
    """Length of the run in steps, over all resumptions. 0: `minutes` limit it instead."""
    minutes: float = 60.0
    """Length of the run in minutes of training steps, over all resumptions."""
    batch: int = 32
    """Rows per step and process."""
    rate: float = 1e-3
    """Peak learning rate."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """The learning rate after a short rise: down to a hundredth over the run's length, or constant."""
    weight_decay: float = 1e-4
    clip_norm: float = 1.0
    """Largest norm of the gradient. Heads and backbone are clipped separately if the backbone has a rate of its own."""
    average: float = 0.999
    """Decay of the averaged weights (EMA) that are evaluated and shipped."""
    device: str = "auto"
    """cpu, cuda or auto. Under torchrun each process takes its own GPU."""
    precision: Literal["f32", "bf16"] = "f32"
    """Precision of the backbone in training. The loop and the geometry stay in f32."""
    threads: int = 1
    """Processor threads for torch."""
    workers: Annotated[int, msgspec.Meta(ge=1)] = 2
    """Threads or processes that read and decode pictures ahead."""
    save_every_s: float = 120.0
    evaluate_every_s: float = 600.0
    seed: int = 0


class EdgeRecipe(Run, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A recipe of the edge network on rendered people (training.rendered)."""

    model: Literal["edge"] = "edge"
    store: str
    """Folder of training.produce."""
    held_out: str = ""
    """Folder of training.produce --held-out, for the curve of errors. Empty: no curve."""
    evaluate_rows: int = 512
    """Held-out rows per point of the curve."""
    layout: Literal["channels_last", "contiguous"] = "channels_last"
    """Memory layout of the backbone's pictures and maps. `training.trial` finds the faster one on a machine."""
    unpacked: bool = False
    """Keep decoded pictures in memory, 0.2 MB each: for a GPU that sees each picture many times."""
    backbone: Literal["full", "heavy"] = "full"
    """BlazePose's landmark network: full, or heavy, which takes five times as long. With another backbone than that of
    `start_from`, the heads are moved behind it (training.transplant)."""
    remember: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Number of crops whose backbone outputs are kept in memory, 0.4 MB each, if the whole backbone keeps its weights.
    Mirror images count apart."""
    backbone_tflite: str = ""
    """BlazePose's weights. Empty: they are downloaded. A machine without OpenVINO, which reads them, takes a checkpoint
    of `training.checkpoint --own 1`."""
    compare: Literal["", "random", "resnet"] = ""
    """Another backbone with random weights: BlazePose's architecture, or a ResNet of the same cost (training.resnet).
    All of it learns, at the heads' rate."""
    frozen: int = 5
    """Number of the backbone's first parts (stem, then trunk blocks) that keep their weights. -1: all of them."""
    backbone_rate: float = 0.3
    """A step changes a weight of the backbone by `rate` times this share of its own size (training.optimise)."""
    hold: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """How strongly the backbone is held to BlazePose's own weights, which know real people: each step moves it back to
    them by the learning rate times this share of the way."""
    flip: float = 0.5
    """Share of rows that are mirrored."""
    own_previous: float = 0.8
    """Of the rows that have a previous moment, the share that start from the network's own estimate of that moment."""
    around: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    """Share of a step's rows, in whole groups, in which several cameras see one person and agree after every iteration.
    The store needs such groups, from training.produce --around."""
    cameras: Annotated[int, msgspec.Meta(ge=1)] = 3
    """Cameras per group of `around`."""
    perturbed: float = 0.15
    """Share of the other rows that start from a perturbed truth."""
    summary_dropout: float = 0.3
    """Share of rows whose 2x2 summary is hidden, so that the first estimate learns to rely on the landmarks alone."""
    marker_dropout: float = 0.25
    """Share of markers hidden from the loop."""
    landmarks: float = 4.0
    """Weight of the loss on the backbone's own landmarks. It counts only if the backbone learns."""
    teacher: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """Weight of the loss against the landmarks of BlazePose's heavy network (training.teacher). It counts only if the
    backbone learns."""
    photos: str = ""
    """Folder of photographs with people, without labels, for the teacher. Empty: it teaches on renders alone."""
    photo_rows: Annotated[int, msgspec.Meta(ge=1)] = 4
    """Crops of photographs per step."""
    heat: float = 0.0
    """Weight of the map's second task (training.heat). It counts only if the backbone learns."""
    lifted: int = 24
    """People without pictures per step (training.lifting). 0: none."""
    motion: str = ""
    """Recorded motion for people without pictures. Empty: parametric poses only."""
    weights: dict[str, float] = {}
    """Loss weights that differ from training.losses.Weights."""


class PublishedRecipe(Run, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A recipe of ReFit as published, on public data sets (training.published)."""

    model: Literal["hrnet_w48", "hrnet_w32"]
    backbone: str
    """HRNet's COCO pose network, from which the backbone starts."""
    body: str
    """SMPL, from refit-rt import-smpl. Empty: the free body."""
    extra_joints: str = ""
    """SPIN's J_regressor_extra.npy."""
    sets: dict[str, SetRecipe]
    """The data sets by name."""
    augment: Augment = Augment()
    """Random changes of every crop."""
    loss_scale: float = 60.0
    """Factor of the loss. It is applied before clipping, so it determines which gradients are clipped."""
    iterations: int = 5
    """Updates per step."""
    marker_dropout: float = 0.25
    """Share of markers hidden from the loop."""
    weights: dict[str, float] = {}
    """Loss weights that differ from training.published.Weights."""


Recipe = EdgeRecipe | PublishedRecipe


def read_recipe(path: Path) -> Recipe:
    """Reads a recipe file. Raises UserError that names the file and the wrong key."""
    try:
        raw = msgspec.yaml.decode(Path(path).read_bytes(), type=dict[str, Any])
        kind = EdgeRecipe if raw.get("model", "edge") == "edge" else PublishedRecipe
        return msgspec.convert(raw, kind)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}). Give a recipe, such as {EXAMPLE}") from error
    except msgspec.MsgspecError as error:
        raise UserError(f"{path}: {' '.join(str(error).split())}. Compare it with {EXAMPLE}") from error
