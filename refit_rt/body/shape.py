"""Known shapes: files with a person's betas, and bodies that are given them."""

import math
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np

from refit_rt.body.smpl import Body
from refit_rt.body.stature import MOST_BETAS, Stature
from refit_rt.errors import UserError
from refit_rt.files import write_whole
from refit_rt.types import BETAS

EVERYBODY = "all"  # the key of `fit.shapes` for those who have no shape of their own
SCHEMA = "refit_rt.shape/1"
MEASURE = "Make one with refit-rt measure, or give an .npz with betas"


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """A person's shape, as `refit-rt measure` writes it."""

    schema: str = SCHEMA
    betas: list[float]  # BETAS numbers
    stature_m: float  # height of the T-pose from sole to crown
    body: str  # name of the body whose betas these are
    body_sha256: str
    frames: int  # that were measured
    seconds: float  # between the first and the last of them


def write_shape(path: Path, shape: Shape) -> None:
    """Writes a shape file. Raises UserError when it cannot be written."""
    with write_whole(path) as part:
        part.write_bytes(msgspec.json.format(msgspec.json.encode(shape), indent=1) + b"\n")


def read_betas(path: Path, body: Body) -> np.ndarray:
    """The betas (10,) of a shape file, or the mean of the `betas` (10,) or (n, 10) of an .npz, such as motion.npz.

    Raises UserError for any other file, for betas that nobody has, and for a shape file of another body.
    """
    betas = _from_npz(path) if path.suffix == ".npz" else _from_json(path, body)
    if betas.shape != (BETAS,) or not np.isfinite(betas).all():
        raise UserError(f"{path}: does not hold {BETAS} betas. {MEASURE}")
    if np.linalg.norm(betas) > math.sqrt(BETAS) * MOST_BETAS:
        raise UserError(f"{path}: no person has betas as large as {np.abs(betas).max():.1f}. {MEASURE}")
    return betas


def _from_json(path: Path, body: Body) -> np.ndarray:
    try:
        shape = msgspec.json.decode(path.read_bytes(), type=Shape)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}). {MEASURE}") from error
    except msgspec.MsgspecError as error:
        raise UserError(f"{path}: is no shape file ({error}). {MEASURE}") from error
    if shape.body_sha256 != body.digest:
        raise UserError(
            f"{path}: was measured with body {shape.body}, and this is another one, {body.name}. Measure again with it"
        )
    return np.array(shape.betas)


def _from_npz(path: Path) -> np.ndarray:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            betas = np.asarray(archive["betas"], np.float64)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}). {MEASURE}") from error
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: holds no betas ({error}). {MEASURE}") from error
    return betas[:BETAS] if betas.ndim == 1 else betas.reshape(-1, betas.shape[-1])[:, :BETAS].mean(0)


class Shapes:
    """The shapes that are known of people, by id."""

    def __init__(self, body: Body, files: Mapping[str, str], stature_m: float = 0.0) -> None:
        """files: `fit.shapes`, shape files by a person's id or EVERYBODY. stature_m: the height of all others; 0: not
        known. Raises UserError for a key that is neither, and for files and heights that cannot be used."""
        self._body = body
        self._betas: dict[str, np.ndarray] = {}
        for who, file in files.items():
            if who != EVERYBODY and not re.fullmatch("[0-9]+", who):
                raise UserError(f"fit.shapes: {who!r} is nobody. Name {EVERYBODY}, or a person's id such as 0")
            self._betas[who] = read_betas(Path(file).expanduser(), body)
        self._stature = Stature(body, stature_m) if stature_m else None
        self._height = Stature(body, 0.0)

    def made(self, person: int, betas: np.ndarray, trans: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """The known betas (10,) of a person who is fitted with betas (10,) and translation (3,), and the translation
        that keeps the pelvis on its pixel and the body as large in the picture; None: nothing is known."""
        known = self._betas.get(str(person), self._betas.get(EVERYBODY))
        if known is not None:
            larger = self._height.of(known) / max(self._height.of(betas), 0.1)
            pelvis = trans + self._body.rest_pelvis(betas)
            return known.astype(np.float32), (larger * pelvis - self._body.rest_pelvis(known)).astype(np.float32)
        return self._stature.made(betas, trans) if self._stature is not None else None
