"""The square crop of a person, which way up it stands, and ReFit's full-frame camera of it."""

import math

import cv2
import numpy as np

from refit_rt.bundle.read import Crop
from refit_rt.cameras import Camera, lens
from refit_rt.fit import kernels
from refit_rt.types import Square, View

PELVIS, NECK = 0, 12
SHORT_TORSO = 0.12  # of the crop: below this the torso points at the camera and says nothing about roll
LEAST_SIDE_PX = 16.0
LEAST_SHARE = 0.2  # of a body's extent, or of the picture's if that is less: the crop when hardly a hand is left


def cut_rgb(image: np.ndarray, square: Square, camera: Camera, *, mirrored: bool, out: np.ndarray) -> None:
    """Cuts a square of the straight picture out of a camera's picture (height, width, 3) uint8 BGR as it was taken.

    out (crop_px, crop_px, 3) is filled with RGB. mirrored: left and right are exchanged.
    """
    cut = lens.crop(image, square, len(out), camera)
    if mirrored:
        cv2.flip(cut, 1, dst=cut)
    cv2.cvtColor(cut, cv2.COLOR_BGR2RGB, dst=out)


def square_of_body(points_px: np.ndarray, roll: float, size: tuple[int, int], crop: Crop) -> Square:
    """The crop's square around a projected body (n, 2) image pixels. size: the picture's width and height.

    When the picture's edge cuts the body off, the square holds what is visible and a little more: so training crops.
    """
    roll = float(roll) if crop.normalise_roll else 0.0
    points = np.ascontiguousarray(points_px, np.float64)
    width, height = float(size[0]), float(size[1])
    x, y, side_px = kernels.bounds(points, roll, width, height, crop.beyond, crop.margin, LEAST_SHARE, LEAST_SIDE_PX)
    return Square(np.array([x, y]), side_px, roll)


def within_reach(points: np.ndarray, low: np.ndarray, high: np.ndarray, beyond: float) -> np.ndarray:
    """Points (n, 2) px of a body, those far outside of the picture, low (2,) to high (2,), brought nearer.

    Along each axis all of them then span at most 1 + `beyond` times the longer side of the part in the picture.
    """
    inside = points[((points >= low) & (points <= high)).all(1)]
    visible = inside if len(inside) else np.clip(points, low, high)
    first, last = visible.min(0), visible.max(0)
    under, over = first - points.min(0), points.max(0) - last
    room = (1 + beyond) * (last - first).max() - (last - first)
    share = np.minimum(1, room / np.maximum(under + over, 1e-6))
    return np.clip(points, first - share * under, last + share * over)


def lean(pelvis_px: np.ndarray, neck_px: np.ndarray, shortest_px: float, otherwise: float) -> float:
    """Roll in radians of the line from pelvis to neck; `otherwise` when it is too short to tell."""
    dx, dy = neck_px - pelvis_px
    return float(np.arctan2(dx, -dy)) if np.hypot(dx, dy) > shortest_px else otherwise


def view_of(square: Square, camera: Camera) -> View:
    """Where the crop is for the network: in the picture turned about its principal point by the crop's roll."""
    (x, y), (middle_x, middle_y) = square.centre_px.tolist(), camera.centre_px
    cos, sin, x, y = math.cos(square.roll), math.sin(square.roll), x - middle_x, y - middle_y
    place = (cos * x + sin * y + middle_x, cos * y - sin * x + middle_y, square.side_px)
    return View(place, camera.focal_px, camera.centre_px)


def translation_from_cam(cam: np.ndarray, view: View) -> np.ndarray:
    """ReFit's full-frame camera (after CLIFF): cam (3,) of a crop -> metres (3,) before the whole picture's camera."""
    x, y, side = view.square
    px_per_metre = side * cam[0] / 2
    return np.array([
        cam[1] + (x - view.centre_px[0]) / px_per_metre,
        cam[2] + (y - view.centre_px[1]) / px_per_metre,
        view.focal_px / px_per_metre,
    ])  # fmt: skip


def cam_from_translation(trans: np.ndarray, view: View) -> np.ndarray:
    """The exact inverse of `translation_from_cam`."""
    x, y, side = view.square
    px_per_metre = view.focal_px / trans[2]
    return np.array([
        2 * px_per_metre / side,
        trans[0] - (x - view.centre_px[0]) / px_per_metre,
        trans[1] - (y - view.centre_px[1]) / px_per_metre,
    ])  # fmt: skip
