"""A lens that bends straight lines, undone where that is needed: for points, for crops, for a whole picture.

The straight picture has the size, focal length and principal point of the picture as it was taken, and square pixels.
Tracks, bodies and what is published are in it, but hardly anybody needs it whole: a person's crop takes its pixels from
the picture as taken, and what a detector finds there is moved. For 720p the whole picture takes 5 ms, a crop 0.4 ms
more than one of a straight picture, and points 0.02 ms.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np

from refit_rt import geometry
from refit_rt.cameras.rig import Camera
from refit_rt.types import Boxes, Known, Square

STRAIGHT_PX = 0.05  # a lens that moves no pixel by more bends nothing
ROUNDS = 3  # bending has no inverse in closed form; OpenCV's first answer is 1 px off at the edge of a wide lens
SIDE = np.linspace(-0.5, 0.5, 9)
# (36, 2) points around a square of side 1
OUTLINE = np.concatenate([np.column_stack(pair) for end in (-0.5, 0.5) for pair in
                          ((SIDE, np.full(9, end)), (np.full(9, end), SIDE))])  # fmt: skip
BELOW = 4  # px: an edge is bent a little between two points of OUTLINE


@lru_cache(maxsize=256)
def bends(camera: Camera) -> bool:
    """Whether a camera's picture differs from the straight one."""
    edge = (OUTLINE + 0.5) * (np.array(camera.size) - 1)
    taken, _ = _taken((edge - camera.centre_px) / camera.focal_px, camera)
    return bool(np.abs(taken - edge).max() > STRAIGHT_PX)


def bent(points: np.ndarray, camera: Camera) -> np.ndarray:
    """Pixels (..., 2) of the straight picture → of the picture as taken. NaN stays NaN."""
    flat = points.reshape(-1, 2)
    if not len(flat) or not bends(camera):
        return points
    return _taken((flat - camera.centre_px) / camera.focal_px, camera)[0].reshape(points.shape)


def straightened(points: np.ndarray, camera: Camera) -> np.ndarray:
    """Pixels (..., 2) of the picture as taken → of the straight picture. NaN stays NaN.

    Beyond the picture, where a lens is not known, a point moves as the nearest one in the picture does.
    """
    flat = np.asarray(points, np.float64).reshape(-1, 2)
    if not len(flat) or not bends(camera):
        return points
    inside = np.clip(flat, 0, np.array(camera.size) - 1)
    rays = cv2.undistortPoints(inside[:, None], camera.matrix, camera.distortion)[:, 0]
    for _ in range(ROUNDS):  # Newton's
        pixels, slopes = _taken(rays, camera)
        rays = rays + np.linalg.solve(slopes, (inside - pixels)[..., None])[..., 0]
    straight = rays * camera.focal_px + camera.centre_px
    return (flat + straight - inside).reshape(points.shape)


def _taken(rays: np.ndarray, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Directions x/z, y/z (n, 2) → pixels of the picture as taken (n, 2), and how these change with those (n, 2, 2)."""
    directions, still = np.column_stack([rays, np.ones(len(rays))]), np.zeros(3)
    pixels, slopes = cv2.projectPoints(directions, still, still, camera.matrix, camera.distortion)
    return pixels[:, 0], slopes[:, 3:5].reshape(-1, 2, 2)  # after the rotation's three columns, x and y of the shift


def straight_matrix(camera: Camera) -> np.ndarray:
    """The lens (3, 3) of a camera's straight picture."""
    x, y = camera.centre_px
    return np.array([[camera.focal_px, 0, x], [0, camera.focal_px, y], [0, 0, 1]])


def straight_picture(image: np.ndarray, camera: Camera) -> np.ndarray:
    """The whole straight picture of a picture as taken, (height, width, channels)."""
    return cv2.remap(image, *_maps(camera), cv2.INTER_LINEAR) if bends(camera) else image


@lru_cache(maxsize=16)
def _maps(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    straight = straight_matrix(camera)
    return cv2.initUndistortRectifyMap(camera.matrix, camera.distortion, np.eye(3), straight, camera.size, cv2.CV_16SC2)


def crop(image: np.ndarray, square: Square, crop_px: int, camera: Camera) -> np.ndarray:
    """As geometry.crop of a square of the straight picture, out of the picture as taken: (crop_px, crop_px, channels).

    The similarity to the crop and the lens are one map, whose pixels are interpolated once.
    """
    if not bends(camera):
        return geometry.crop(image, square, crop_px)
    size, crop_from_straight = np.array(camera.size), np.eye(3)
    crop_from_straight[:2] = geometry.crop_from_image(square, crop_px)
    outline = square.centre_px + square.side_px * OUTLINE @ geometry.roll_matrix(square.roll)[:2, :2]
    taken = camera.matrix
    if times := geometry.halvings(square, crop_px):
        edge = bent(np.clip(outline, 0, size - 1), camera)
        reach = 2**times + BELOW
        image, image_from_small = geometry.halved(image, edge.min(0) - reach, edge.max(0) + reach, times)
        if image.size == 0:
            return np.zeros((crop_px, crop_px, *image.shape[2:]), image.dtype)
        taken = np.linalg.inv(image_from_small) @ taken
    crop_from_rays = crop_from_straight @ straight_matrix(camera)
    maps = cv2.initUndistortRectifyMap(
        taken, camera.distortion, np.eye(3), crop_from_rays, (crop_px, crop_px), cv2.CV_32FC1
    )
    cut = cv2.remap(image, *maps, cv2.INTER_LINEAR)
    if outline.min() < 0 or (outline > size - 1).any():
        cut[~_within(size, crop_from_straight, crop_px)] = 0
    return cut


def _within(size: np.ndarray, crop_from_straight: np.ndarray, crop_px: int) -> np.ndarray:
    """(crop_px, crop_px) bool: which of a crop's pixels show a part of the straight picture."""
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * size - 0.5
    there = geometry.apply_2d(crop_from_straight[:2], corners)
    inside = np.zeros((crop_px, crop_px), np.uint8)
    cv2.fillConvexPoly(inside, np.round(there * 16).astype(np.int32), 1, cv2.LINE_8, 4)
    return inside.astype(bool)


# What a detector finds


def bent_known(known: Known, camera: Camera) -> Known:
    """Where people who are followed are in the picture as taken."""
    return known._replace(xyxy=bent_boxes(known.xyxy, camera))


def bent_boxes(xyxy: np.ndarray, camera: Camera) -> np.ndarray:
    """Boxes (n, 4) of the straight picture, in the picture as taken."""
    return _moved_boxes(xyxy, camera, bent) if bends(camera) else xyxy


def straightened_boxes(boxes: Boxes, camera: Camera) -> Boxes:
    """What was found in the picture as taken, in the straight picture."""
    if not bends(camera):
        return boxes
    keypoints = boxes.keypoints
    if keypoints is not None:
        moved = straightened(keypoints[..., :2], camera)
        keypoints = np.concatenate([moved, keypoints[..., 2:]], -1).astype(np.float32)
    return replace(boxes, xyxy=_moved_boxes(boxes.xyxy, camera, straightened), keypoints=keypoints)


def _moved_boxes(xyxy: np.ndarray, camera: Camera, move: Callable[[np.ndarray, Camera], np.ndarray]) -> np.ndarray:
    """Boxes (n, 4): a side moves as its middle does, because a person touches it about there, and in no corner."""
    x0, y0, x1, y1 = np.asarray(xyxy, np.float64).T
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    sides = move(np.stack([np.stack(pair, -1) for pair in ((x0, y), (x, y0), (x1, y), (x, y1))], 1), camera)
    return np.stack([sides[:, 0, 0], sides[:, 1, 1], sides[:, 2, 0], sides[:, 3, 1]], 1).astype(np.float32)
