"""Geometry: rotations, boxes, crops, and the conventions that every file follows.

| what | convention |
|---|---|
| camera frame | OpenCV: x right, y down, z forward, metres |
| world frame | y up, right-handed, metres; without a rig, the camera is at the origin, y up, facing along -z |
| transforms | `a_from_b` takes coordinates in b to coordinates in a |
| body frame | SMPL: T-pose, y up, facing +z, left is +x |
| pose | axis-angle (24, 3) radians in files and messages; in the network 6-D, the first two columns of each matrix |
| pixels | the centre of the top-left pixel is (0, 0) |
| roll | angle in radians by which a person leans clockwise in the image; 0 is upright |
| times | `captured_s`: seconds of the monotonic clock of this run |
"""

import sys
from typing import Any

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from refit_rt.types import Square

# Half a turn about x: a camera without a rig is upright at the origin.
WORLD_FROM_CAMERA = np.diag([1.0, -1.0, -1.0])


def namespace_of(array: Any) -> Any:
    """Returns torch for a torch tensor, otherwise numpy: one function serves live arrays and training batches.

    torch is only taken from the modules already imported: the light install runs without it.
    """
    return sys.modules["torch"] if type(array).__module__ == "torch" else np


def constant_like(constant: np.ndarray, array: Any) -> Any:
    """Returns a numpy constant as the type of `array` (numpy or torch), on its device."""
    return constant if namespace_of(array) is np else namespace_of(array).from_numpy(constant).to(array.device)


def matrix_from_axis_angle(axis_angle: np.ndarray) -> np.ndarray:
    """Converts axis-angle vectors (..., 3), radians, to rotation matrices (..., 3, 3)."""
    return Rotation.from_rotvec(axis_angle.reshape(-1, 3)).as_matrix().reshape(*axis_angle.shape[:-1], 3, 3)


def axis_angle_from_matrix(matrix: np.ndarray) -> np.ndarray:
    """Converts rotation matrices (..., 3, 3) to axis-angle vectors (..., 3), radians, angle at most pi."""
    return Rotation.from_matrix(matrix.reshape(-1, 3, 3)).as_rotvec().reshape(*matrix.shape[:-2], 3)


def matrix_from_6d(six: np.ndarray) -> np.ndarray:
    """Converts ReFit's 6-D rotations (..., 6), read as (..., 3, 2) columns, to rotation matrices (..., 3, 3).

    The columns are made orthonormal by Gram-Schmidt (Zhou et al. 2019).
    """
    columns = six.reshape(*six.shape[:-1], 3, 2)
    first = columns[..., 0] / np.linalg.norm(columns[..., 0], axis=-1, keepdims=True)
    second = columns[..., 1] - (first * columns[..., 1]).sum(-1, keepdims=True) * first
    second = second / np.linalg.norm(second, axis=-1, keepdims=True)
    return np.stack([first, second, np.cross(first, second)], -1)


def rotation_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns the rotation (3, 3) that turns points (n, 3) a, about their mean, onto b (Kabsch 1976)."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    left, _, right = np.linalg.svd((b - b.mean(0)).T @ (a - a.mean(0)))
    return left @ np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right))]) @ right


def six_d_from_matrix(matrix: np.ndarray) -> np.ndarray:
    """Converts rotation matrices (..., 3, 3) to 6-D rotations (..., 6), the inverse of `matrix_from_6d`."""
    return matrix[..., :2].reshape(*matrix.shape[:-2], 6)


def roll_matrix(roll: float) -> np.ndarray:
    """Returns the camera-frame rotation (3, 3) that turns a person with this `roll` (radians) upright."""
    cos, sin = np.cos(roll), np.sin(roll)
    return np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])


def square_around(xyxy: np.ndarray, margin: float, roll: float = 0.0) -> Square:
    """Returns the square around a box (4,) xyxy; its side is the box's longer side times `margin`."""
    centre = (xyxy[:2] + xyxy[2:]) / 2
    return Square(centre.astype(float), float((xyxy[2:] - xyxy[:2]).max() * margin), roll)


def crop_from_image(square: Square, crop_px: int) -> np.ndarray:
    """Returns the similarity (2, 3) from image pixels to the pixels of a square crop with the person upright.

    The square's centre maps to the crop's middle, crop_px / 2; its side fills the crop. ReFit's crops (SPIN) map the
    box [centre - side/2, centre + side/2] onto [0, crop_px].
    """
    scale = crop_px / square.side_px
    linear = scale * roll_matrix(square.roll)[:2, :2]
    return np.column_stack([linear, crop_px / 2 - linear @ square.centre_px])


def crop(image: np.ndarray, square: Square, crop_px: int) -> np.ndarray:
    """Cuts the square crop (crop_px, crop_px, channels) out of an image; pixels outside the image are black.

    A square at least twice as large as the crop is first halved until it is less than that, which prevents aliasing.
    """
    matrix = crop_from_image(square, crop_px)
    if times := halvings(square, crop_px):
        reach = square.side_px * (0.5 if square.roll == 0 else 0.7072) + 2**times
        image, image_from_small = halved(image, square.centre_px - reach, square.centre_px + reach, times)
        if image.size == 0:
            return np.zeros((crop_px, crop_px, *image.shape[2:]), image.dtype)
        matrix = matrix @ image_from_small
    return cv2.warpAffine(image, matrix, (crop_px, crop_px), flags=cv2.INTER_LINEAR)


def halvings(square: Square, crop_px: int) -> int:
    """How often a picture is halved before a square is cut out of it: until the square is less than twice the crop."""
    return max(0, int(np.floor(np.log2(max(square.side_px / crop_px, 1.0)))))


def halved(image: np.ndarray, low: np.ndarray, high: np.ndarray, times: int) -> tuple[np.ndarray, np.ndarray]:
    """The part of an image between two corners (2,) px, halved some times, and (3, 3) from its pixels to the image's.

    The part is empty where the image has no such pixels."""
    left, top = np.maximum(np.floor(low), 0).astype(int)
    right, bottom = np.maximum(np.ceil(high), 0).astype(int)
    part = image[top:bottom, left:right]
    if part.size == 0:
        return part, np.eye(3)
    block = 2**times
    small = cv2.resize(part, None, fx=1 / block, fy=1 / block, interpolation=cv2.INTER_AREA)
    # A pixel of the small image averages a block, whose centre in the part is at (x + 0.5) * block - 0.5. This holds
    # for parts of an odd size too: OpenCV steps by whole blocks.
    middle = block / 2 - 0.5
    return small, np.array([[block, 0, middle + left], [0, block, middle + top], [0, 0, 1]])


def apply_2d(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Applies an affine transform (2, 3) to points (..., 2)."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def project(points: np.ndarray, focal_px: float, centre_px: tuple[float, float] | np.ndarray) -> np.ndarray:
    """Projects camera-frame points (..., 3), metres, to pixels (..., 2); depths below 10 cm count as 10 cm."""
    depth = np.maximum(points[..., 2:], 0.1)
    return points[..., :2] / depth * focal_px + np.asarray(centre_px)


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns the intersection over union (n, m) of boxes (n, 4) and (m, 4) xyxy."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.prod(np.clip(high - low, 0, None), -1)
    area_a = np.prod(np.clip(a[:, 2:] - a[:, :2], 0, None), -1)
    area_b = np.prod(np.clip(b[:, 2:] - b[:, :2], 0, None), -1)
    return both / np.maximum(area_a[:, None] + area_b[None] - both, 1e-9)
