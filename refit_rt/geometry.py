"""Rotations, boxes and the conventions that every file keeps.

| what | convention |
|---|---|
| camera frame | OpenCV: x right, y down, z forward, metres |
| world frame | y up, right-handed, metres; without a rig: the camera's own place, y up, looking along -z |
| transforms | `a_from_b` takes coordinates in b to coordinates in a |
| body frame | SMPL: T-pose, y up, facing +z, left is +x |
| pose | axis-angle (24, 3) radians at the rim; inside the network 6-D, the first two columns of each matrix |
| pixels | the centre of the top-left pixel is (0, 0) |
| roll | radians by which a person leans clockwise in the image; 0 is upright |
| times | `captured_s`: monotonic seconds of this run |
"""

import sys
from typing import Any

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from refit_rt.types import Square

# Half a turn about x: a camera without a rig stands upright at the origin.
WORLD_FROM_CAMERA = np.diag([1.0, -1.0, -1.0])


def namespace_of(array: Any) -> Any:
    """numpy, or torch for a torch tensor, so that one function serves live arrays and training's batches.

    torch is looked up among the imported modules only: running never imports it.
    """
    return sys.modules["torch"] if type(array).__module__ == "torch" else np


def constant_like(constant: np.ndarray, array: Any) -> Any:
    """A numpy constant as whatever `array` is, on its device."""
    return constant if namespace_of(array) is np else namespace_of(array).from_numpy(constant).to(array.device)


def matrix_from_axis_angle(axis_angle: np.ndarray) -> np.ndarray:
    """(..., 3) radians -> (..., 3, 3)."""
    return Rotation.from_rotvec(axis_angle.reshape(-1, 3)).as_matrix().reshape(*axis_angle.shape[:-1], 3, 3)


def axis_angle_from_matrix(matrix: np.ndarray) -> np.ndarray:
    """(..., 3, 3) -> (..., 3) radians, angle at most pi."""
    return Rotation.from_matrix(matrix.reshape(-1, 3, 3)).as_rotvec().reshape(*matrix.shape[:-2], 3)


def matrix_from_6d(six: np.ndarray) -> np.ndarray:
    """ReFit's 6-D rotation (..., 6), read as (..., 3, 2) columns -> (..., 3, 3), by Gram-Schmidt (Zhou et al. 2019)."""
    columns = six.reshape(*six.shape[:-1], 3, 2)
    first = columns[..., 0] / np.linalg.norm(columns[..., 0], axis=-1, keepdims=True)
    second = columns[..., 1] - (first * columns[..., 1]).sum(-1, keepdims=True) * first
    second = second / np.linalg.norm(second, axis=-1, keepdims=True)
    return np.stack([first, second, np.cross(first, second)], -1)


def six_d_from_matrix(matrix: np.ndarray) -> np.ndarray:
    """(..., 3, 3) -> (..., 6), the inverse of `matrix_from_6d`."""
    return matrix[..., :2].reshape(*matrix.shape[:-2], 6)


def roll_matrix(roll: float) -> np.ndarray:
    """Camera-frame rotation (3, 3) that stands a person upright who leans clockwise by `roll` radians."""
    cos, sin = np.cos(roll), np.sin(roll)
    return np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])


def square_around(xyxy: np.ndarray, margin: float, roll: float = 0.0) -> Square:
    """The square around a box (4,): as large as its longer side, times `margin`."""
    centre = (xyxy[:2] + xyxy[2:]) / 2
    return Square(centre.astype(float), float((xyxy[2:] - xyxy[:2]).max() * margin), roll)


def crop_from_image(square: Square, crop_px: int) -> np.ndarray:
    """Similarity (2, 3) from image pixels to the pixels of a square crop in which the person stands upright.

    The square's centre lands on the crop's middle, crop_px / 2; its side fills the crop. ReFit's crops (SPIN) map the
    box [centre - side/2, centre + side/2] onto [0, crop_px].
    """
    scale = crop_px / square.side_px
    linear = scale * roll_matrix(square.roll)[:2, :2]
    return np.column_stack([linear, crop_px / 2 - linear @ square.centre_px])


def crop(image: np.ndarray, square: Square, crop_px: int) -> np.ndarray:
    """Cuts the square crop (crop_px, crop_px, channels) out of an image; outside of the image it is black.

    A square much larger than the crop is first halved as often as it goes, so that nothing aliases.
    """
    centre, side_px = square.centre_px, square.side_px
    matrix = crop_from_image(square, crop_px)
    halvings = max(0, int(np.floor(np.log2(max(side_px / crop_px, 1.0)))))
    if halvings:
        reach = side_px * (0.5 if square.roll == 0 else 0.7072) + 2**halvings
        left, top = np.maximum(np.floor(centre - reach), 0).astype(int)
        right, bottom = np.ceil(centre + reach).astype(int)
        part = image[top:bottom, left:right]
        if part.size == 0:
            return np.zeros((crop_px, crop_px, *image.shape[2:]), image.dtype)
        factor = 0.5**halvings
        small = cv2.resize(part, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        fx, fy = small.shape[1] / part.shape[1], small.shape[0] / part.shape[0]
        # A pixel of the small image averages a block: its centre lies at (x + 0.5) / f - 0.5 of the part.
        small_to_image = np.array([[1 / fx, 0, 0.5 / fx - 0.5 + left], [0, 1 / fy, 0.5 / fy - 0.5 + top], [0, 0, 1]])
        matrix, image = matrix @ small_to_image, small
    return cv2.warpAffine(image, matrix, (crop_px, crop_px), flags=cv2.INTER_LINEAR)


def apply_2d(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Affine (2, 3) on points (..., 2)."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def project(points: np.ndarray, focal_px: float, centre_px: tuple[float, float] | np.ndarray) -> np.ndarray:
    """Camera-frame points (..., 3) metres -> pixels (..., 2). Points behind the camera are held 10 cm before it."""
    depth = np.maximum(points[..., 2:], 0.1)
    return points[..., :2] / depth * focal_px + np.asarray(centre_px)


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (n, 4) and (m, 4) xyxy -> (n, m)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.prod(np.clip(high - low, 0, None), -1)
    area_a = np.prod(np.clip(a[:, 2:] - a[:, :2], 0, None), -1)
    area_b = np.prod(np.clip(b[:, 2:] - b[:, :2], 0, None), -1)
    return both / np.maximum(area_a[:, None] + area_b[None] - both, 1e-9)
