"""Pastes objects over a crop, so that the network learns to fit partly hidden people."""

from pathlib import Path

import cv2
import numpy as np

from refit_rt.errors import UserError

MOST_THINGS = 7
LEAST, MOST = 0.1, 0.55  # sizes of the objects, as shares of the crop's side


def read_cut_outs(folder: Path) -> list[np.ndarray]:
    """Reads every .png of a folder as (h, w, 4) uint8 RGB and alpha. Raises UserError."""
    found = []
    for path in sorted(folder.glob("*.png")):
        picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if picture is None or picture.ndim != 3 or picture.shape[2] != 4:
            raise UserError(f"{path}: not a cut-out (.png with alpha). Remove it from the folder of `occluders`")
        found.append(cv2.cvtColor(picture, cv2.COLOR_BGRA2RGBA))
    if not found:
        raise UserError(f"{folder}: holds no .png cut-outs. Set `occluders` to a folder with some, or leave it empty")
    return found


def occlude(rng: np.random.Generator, crop: np.ndarray, image: np.ndarray, cut_outs: list[np.ndarray]) -> np.ndarray:
    """Pastes one to seven objects onto a crop (side, side, 3) uint8: random cut-outs, or, if there are none, blobs
    filled with other parts of the same picture `image`, which have its light and grain."""
    crop = crop.copy()
    for _ in range(rng.integers(1, MOST_THINGS + 1)):
        size = int(len(crop) * rng.uniform(LEAST, MOST))
        thing = _resized(cut_outs[rng.integers(len(cut_outs))], size) if cut_outs else _piece(rng, image, size)
        paste(crop, thing, rng.uniform(0, len(crop), 2))
    return crop


def paste(crop: np.ndarray, thing: np.ndarray, centre: np.ndarray) -> None:
    """Blends an object (h, w, 4) uint8 RGB and alpha into the crop in place, clipped at its edges."""
    height, width = thing.shape[:2]
    left, top = (np.round(centre) - np.array([width, height]) // 2).astype(int)
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + width, crop.shape[1]), min(top + height, crop.shape[0])
    if x0 >= x1 or y0 >= y1:
        return
    part = thing[y0 - top : y1 - top, x0 - left : x1 - left].astype(np.float32)
    alpha, under = part[..., 3:] / 255, crop[y0:y1, x0:x1]
    crop[y0:y1, x0:x1] = np.round(alpha * part[..., :3] + (1 - alpha) * under).astype(np.uint8)


def _resized(cut_out: np.ndarray, size: int) -> np.ndarray:
    """The cut-out with its longer side scaled to `size` pixels."""
    factor = size / max(cut_out.shape[:2])
    shape = tuple(max(1, round(factor * side)) for side in cut_out.shape[1::-1])
    return cv2.resize(cut_out, shape, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)


def _piece(rng: np.random.Generator, image: np.ndarray, size: int) -> np.ndarray:
    """A blob with a random outline from a random place in the picture, (h, w, 4)."""
    height, width = (max(4, round(size * stretch)) for stretch in rng.uniform(0.4, 1.0, 2))
    reach = min(int(rng.uniform(1, 3) * size), *image.shape[:2])
    y, x = (rng.integers(0, side - reach + 1) for side in image.shape[:2])
    filling = cv2.resize(image[y : y + reach, x : x + reach], (width, height), interpolation=cv2.INTER_AREA)
    if rng.random() < 0.25:  # a plain object
        filling = np.broadcast_to(filling.mean((0, 1)).astype(np.uint8), filling.shape)
    angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(4, 12)))
    radii = rng.uniform(0.55, 1.0, len(angles))
    outline = np.stack([(0.5 + 0.5 * radii * f(angles)) * side for f, side in ((np.cos, width), (np.sin, height))], 1)
    alpha = np.zeros((height, width), np.uint8)
    cv2.fillPoly(alpha, [outline.astype(np.int32)], 255, cv2.LINE_AA)
    return np.dstack([filling, alpha])
