"""A trained network as a folder: model.yaml, encoder.onnx, loop.safetensors and the body it was trained on."""

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
AGAIN = "Fetch or export the bundle again: refit-rt export"
PACKAGED_BODY = "packaged"  # the free body of this package, which the shipped bundle need not carry a second time
SCHEMA = 1


class _Schema(msgspec.Struct):
    """What every card says, whatever its age."""

    schema: int = SCHEMA


class Crop(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a person must be cut out for this network."""

    size_px: Annotated[int, Meta(ge=32)] = 256
    """Side of the square crop."""
    margin: Annotated[float, Meta(ge=1)] = 1.2
    """Side of the crop over the longer side of the person's box."""
    normalise_roll: bool = False
    """Crops are turned so that people stand upright."""
    beyond: Annotated[float, Meta(ge=0)] = 0.1
    """How much of a body beyond the picture a crop takes in, over the longer side of the part that is seen."""


# How edge models are trained. `beyond`: BlazePose knows people whole. When the picture cuts a man at a desk off at the
# hips, it misplaces shoulders, elbows and wrists by 0.5 upper arms in a crop that ends shortly below the picture, by
# 0.14 at 0.8, and by 0.12 with all of him.
EDGE_CROP = Crop(margin=1.2, normalise_roll=True, beyond=0.8)


class Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the encoder is given. It normalises by itself: mean and spread are told for whoever wants to know."""

    layout: str = "NHWC"
    dtype: str = "uint8"
    channels: str = "RGB"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Of RGB 0..1, taken off inside the encoder."""
    spread: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Divided by, inside the encoder."""


class Card(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """model.yaml: all that is known of a trained network."""

    schema: int = SCHEMA
    name: str
    licence: str
    """SPDX name, or what the user may do with the weights."""
    training: dict[str, Any] = {}
    """Data, length, date: facts for people."""
    accuracy: dict[str, Any] = {}
    """Measured errors, each with its unit in its name."""
    crop: Crop = Crop()
    input: Input = Input()
    markers: Annotated[int, Meta(ge=1)] = 67
    iterations: Annotated[int, Meta(ge=1)] = 5
    """Updates the network was trained for."""
    scale_floor: float | None = None
    """Least scale of the camera after an update; none: no floor, as in the official code."""
    body: str = PACKAGED_BODY
    """A file of the bundle, or `packaged`: the free body of this package."""
    body_sha256: str
    files: dict[str, str]
    """File of the bundle → sha256."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large a network's arrays are, as its weights show."""

    crop_px: int
    markers: int
    map_cells: int  # along each side of a feature map
    radius: int  # of the window around a marker, cells
    flow: int  # numbers kept of each window
    local: int  # numbers kept of all windows: the features that every GRU gets
    hidden: int  # width of each GRU
    keypoints: bool  # the loop also gets the backbone's landmarks
    confidence: bool  # the network predicts its error
    heads: int = HEADS
    stride: int = MAP_STRIDE  # crop pixels per cell


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A bundle in memory, checked."""

    path: Path
    card: Card
    weights: dict[str, np.ndarray]  # the loop's, under the names of refit_rt.model.refit.ReFit
    body: Body

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
            )
        except KeyError as error:
            raise UserError(f"{self.path}: loop.safetensors lacks {error}. Export the bundle again") from error

    @property
    def encoder(self) -> Path:
        return self.path / ENCODER

    @property
    def encoder_int8(self) -> Path:
        return self.path / ENCODER_INT8


def find_bundle(name: str) -> Path:
    """A shipped bundle's name or a folder's path → the folder. Raises UserError when there is none."""
    for folder in (SHIPPED / name, Path(name).expanduser()):
        if (folder / CARD).is_file():
            return folder
    shipped = ", ".join(sorted(path.parent.name for path in SHIPPED.glob(f"*/{CARD}"))) or "none in this copy"
    raise UserError(f"{name}: no bundle (no {CARD} there). Give a bundle's folder, or one that is shipped: {shipped}")


def load_bundle(path: Path, body: str | Path = "") -> Bundle:
    """Reads and checks a bundle; every file's hash must be the one in model.yaml.

    body: a body file to use in place of the bundle's own; its marker count must fit. Raises UserError for anything
    missing, damaged, or of another network.
    """
    path = Path(path)
    card = read_card(path)
    for name, digest in card.files.items():
        check_file(path / name, digest)
    for needed in (ENCODER, LOOP):
        if needed not in card.files:
            raise UserError(f"{path / CARD}: lists no {needed}. {AGAIN}")
    weights = read_weights(path / LOOP)
    return Bundle(path, card, weights, body_of(path, card, weights, body))


def read_card(path: Path) -> Card:
    """model.yaml of a bundle's folder. Raises UserError."""
    file = path / CARD
    try:
        text = file.read_bytes()
        schema = msgspec.yaml.decode(text, type=_Schema).schema  # first: a newer card may have fields unknown here
        if schema != SCHEMA:
            raise UserError(f"{file}: schema {schema}, this version reads {SCHEMA}. Update refit-rt, or export again")
        return msgspec.yaml.decode(text, type=Card)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}). Give the folder of a bundle") from error
    except msgspec.MsgspecError as error:
        raise UserError(f"{file}: {' '.join(str(error).split())}. {AGAIN}") from error


def check_file(path: Path, digest: str) -> None:
    """Raises UserError unless the file is there with that sha256."""
    try:
        found = sha256_of(path)
    except OSError as error:
        raise UserError(f"{path}: bundle file cannot be read ({error.strerror}). {AGAIN}") from error
    if found != digest:
        raise UserError(f"{path}: damaged or changed (sha256 {found[:12]}…, {CARD} says {digest[:12]}…). {AGAIN}")


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """The loop's arrays, all float32. Raises UserError."""
    try:
        weights = load(path.read_bytes())
    except SafetensorError as error:
        raise UserError(f"{path}: is no safetensors file ({error}). {AGAIN}") from error
    return {name: np.ascontiguousarray(array, np.float32) for name, array in weights.items()}


def body_of(path: Path, card: Card, weights: dict[str, np.ndarray], other: str | Path) -> Body:
    """The body the bundle names, or another one whose markers fit. Raises UserError."""
    if other:
        body = load_body(Path(other).expanduser())
    else:
        body = load_body(None if card.body == PACKAGED_BODY else path / card.body)
        if body.digest != card.body_sha256:
            raise UserError(
                f"{path / CARD}: was made for another body (sha256 {card.body_sha256[:12]}…, '{body.name}' "
                f"has {body.digest[:12]}…). Update refit-rt, or give that body file"
            )
    where = str(other) if other else f"body '{body.name}'"
    if body.markers is None or len(body.markers) != card.markers:
        has = "none" if body.markers is None else len(body.markers)
        raise UserError(f"{where}: {has} markers, the bundle needs {card.markers}. Import the body again: import-smpl")
    betas = weights["regressor.betas.bias"].shape if "regressor.betas.bias" in weights else None
    if betas != (BETAS,):
        raise UserError(f"{path / LOOP}: not the weights of a ReFit loop. {AGAIN}")
    return body
