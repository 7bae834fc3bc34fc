"""Reads a bundle, a trained network as a folder: model.yaml, encoder.onnx, loop.safetensors and the body."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta
from safetensors import SafetensorError
from safetensors.numpy import load

from refit_rt.body.smpl import BETAS, Body, load_body
from refit_rt.errors import UserError
from refit_rt.files import ASSETS, sha256_of
from refit_rt.model.config import HEADS, MAP_STRIDE

SHIPPED = ASSETS / "bundles"
CARD, LOOP, BODY = "model.yaml", "loop.safetensors", "body.npz"
ENCODER, ENCODER_INT8 = "encoder.onnx", "encoder_int8.onnx"
ERRORS = "errors.safetensors"  # how the bodies err, from `training.errors`; not every bundle has it
AGAIN = "Fetch the bundle again, or make it again: refit-rt bundle"  # the cure for a bundle that cannot be used
PACKAGED_BODY = "packaged"  # the free body of this package, of which a bundle needs no copy
SCHEMA = 1


class _Schema(msgspec.Struct):
    """The field that cards of all versions have."""

    schema: int = SCHEMA


class Crop(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How this network's crops are cut."""

    size_px: Annotated[int, Meta(ge=32)] = 256
    """Side of the square crop."""
    margin: Annotated[float, Meta(ge=1)] = 1.2
    """Side of the crop over the longer side of the person's box."""
    normalise_roll: bool = False
    """Crops are turned so that people stand upright."""
    beyond: Annotated[float, Meta(ge=0)] = 0.1
    """How much of a body outside the image a crop includes, over the longer side of the visible part."""


# The crop with which edge models are trained. `beyond` is large because BlazePose is trained on whole people. For a man
# at a desk whom the image cuts off at the hips, the errors of shoulders, elbows and wrists are 0.5 upper-arm lengths if
# the crop ends shortly below the image, 0.14 with 0.8, and 0.12 if the crop holds the whole body.
EDGE_CROP = Crop(margin=1.2, normalise_roll=True, beyond=0.8)


class Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The encoder's input. The encoder normalises it itself; mean and spread are for information."""

    layout: str = "NHWC"
    dtype: str = "uint8"
    channels: str = "RGB"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Mean of RGB 0..1, which the encoder subtracts."""
    spread: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Standard deviation of RGB 0..1, by which the encoder divides."""


class Card(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of model.yaml: the facts about a trained network."""

    schema: int = SCHEMA
    name: str
    licence: str
    """SPDX name, or a description of what the user may do with the weights."""
    training: dict[str, Any] = {}
    """Data, length and date of the training, for information."""
    accuracy: dict[str, Any] = {}
    """Measured errors, each with the unit in its name."""
    crop: Crop = Crop()
    input: Input = Input()
    markers: Annotated[int, Meta(ge=1)] = 67
    iterations: Annotated[int, Meta(ge=1)] = 5
    """Number of updates in the network's training."""
    scale_floor: float | None = None
    """Lower limit of the camera's scale after an update; null sets no limit, as in the official code."""
    body: str = PACKAGED_BODY
    """A file of the bundle, or `packaged` for the free body of this package."""
    body_sha256: str
    files: dict[str, str]
    """File of the bundle → sha256."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of a network's arrays, read from its weights."""

    crop_px: int
    markers: int
    map_cells: int  # along each side of a feature map
    radius: int  # of the window around a marker, cells
    flow: int  # numbers kept of each window
    local: int  # numbers kept of all windows: the features that every GRU gets
    hidden: int  # width of each GRU
    keypoints: bool  # the loop also receives the backbone's landmarks
    confidence: bool  # the network predicts its error
    presence: bool  # the network tells whether a crop shows a person
    heads: int = HEADS
    stride: int = MAP_STRIDE  # crop pixels per cell


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A bundle in memory, checked."""

    path: Path
    card: Card
    weights: dict[str, np.ndarray]  # of the loop, under the names of refit_rt.model.refit.ReFit
    body: Body
    errors: dict[str, np.ndarray] | None = None  # the arrays of refit_rt.fit.refine.Errors; None: not measured

    @property
    def crop(self) -> Crop:
        return self.card.crop

    @property
    def sizes(self) -> Sizes:
        """Raises UserError when the weights lack an array."""
        weights, crop_px = self.weights, self.crop.size_px
        try:
            _, flow, window = weights["feedback.flow.weight"].shape
            return Sizes(
                crop_px=crop_px,
                markers=self.card.markers,
                map_cells=crop_px // MAP_STRIDE,
                radius=int(window**0.5) // 2,
                flow=flow,
                local=len(weights["feedback.local.bias"]),
                hidden=weights["update.gru.from_hidden"].shape[2],
                keypoints="feedback.keypoints.first.weight" in weights,
                confidence="confidence.first.weight" in weights,
                presence="presence.weight" in weights,
            )
        except KeyError as error:
            raise UserError(f"{self.path}: loop.safetensors lacks {error}. {AGAIN}") from error

    @property
    def encoder(self) -> Path:
        return self.path / ENCODER

    @property
    def encoder_int8(self) -> Path:
        return self.path / ENCODER_INT8


def find_bundle(name: str) -> Path:
    """A shipped bundle's name or a folder's path → the bundle's folder. Raises UserError when there is no bundle."""
    for folder in (SHIPPED / name, Path(name).expanduser()):
        if (folder / CARD).is_file():
            return folder
    shipped = ", ".join(sorted(path.parent.name for path in SHIPPED.glob(f"*/{CARD}"))) or "none in this installation"
    raise UserError(f"{name}: no bundle (it has no {CARD}). Give a bundle's folder, or a shipped bundle: {shipped}")


def load_bundle(path: Path, body: str | Path = "") -> Bundle:
    """Reads and checks a bundle; every file must have the hash in model.yaml.

    body: a body file that replaces the bundle's own; its number of markers must fit. Raises UserError when a file is
    missing, damaged or belongs to another network.
    """
    path = Path(path)
    card = read_card(path)
    for name, digest in card.files.items():
        check_file(path / name, digest)
    for needed in (ENCODER, LOOP):
        if needed not in card.files:
            raise UserError(f"{path / CARD}: lists no {needed}. {AGAIN}")
    weights = read_weights(path / LOOP)
    errors = read_weights(path / ERRORS) if ERRORS in card.files else None
    return Bundle(path, card, weights, body_of(path, card, weights, body), errors)


def read_card(path: Path) -> Card:
    """Reads the model.yaml of a bundle's folder. Raises UserError."""
    file = path / CARD
    try:
        text = file.read_bytes()
        schema = msgspec.yaml.decode(text, type=_Schema).schema  # it comes first: newer cards may have unknown fields
        if schema != SCHEMA:
            cure = "Update refit-rt, or make the bundle again: refit-rt bundle"
            raise UserError(f"{file}: schema {schema}, this version reads {SCHEMA}. {cure}")
        return msgspec.yaml.decode(text, type=Card)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}). Give the folder of a bundle") from error
    except msgspec.MsgspecError as error:
        raise UserError(f"{file}: {' '.join(str(error).split())}. {AGAIN}") from error


def check_file(path: Path, digest: str) -> None:
    """Raises UserError unless the file exists and has that sha256."""
    try:
        found = sha256_of(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}). {AGAIN}") from error
    if found != digest:
        raise UserError(f"{path}: damaged or changed (sha256 {found[:12]}…, {CARD} lists {digest[:12]}…). {AGAIN}")


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Reads the arrays of a safetensors file as float32. Raises UserError."""
    try:
        weights = load(path.read_bytes())
    except SafetensorError as error:
        raise UserError(f"{path}: not a safetensors file ({error}). {AGAIN}") from error
    return {name: np.ascontiguousarray(array, np.float32) for name, array in weights.items()}


def body_of(path: Path, card: Card, weights: dict[str, np.ndarray], other: str | Path) -> Body:
    """The body that the bundle names, or another one whose markers fit. Raises UserError."""
    if other:
        body = load_body(Path(other).expanduser())
    else:
        body = load_body(None if card.body == PACKAGED_BODY else path / card.body)
        if body.digest != card.body_sha256:
            raise UserError(
                f"{path / CARD}: the bundle was made for another body (sha256 {card.body_sha256[:12]}…, '{body.name}' "
                f"has {body.digest[:12]}…). Update refit-rt, or set fit.body to that body's file"
            )
    where = str(other) if other else f"body '{body.name}'"
    if body.markers is None or len(body.markers) != card.markers:
        has = "no" if body.markers is None else len(body.markers)
        cure = "Import the body again: refit-rt import-smpl"
        raise UserError(f"{where}: has {has} markers, the bundle needs {card.markers}. {cure}")
    betas = weights["regressor.betas.bias"].shape if "regressor.betas.bias" in weights else None
    if betas != (BETAS,):
        raise UserError(f"{path / LOOP}: does not hold the weights of a ReFit loop. {AGAIN}")
    return body
