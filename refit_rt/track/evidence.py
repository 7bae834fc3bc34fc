"""What tells people apart: whether a body explains a detection's key points, and the colours of their clothes.

Distances are shares of a person's size, the longer side of the box.
"""

import cv2
import numpy as np

from refit_rt.cameras import Camera, lens
from refit_rt.types import COCO_KEYPOINTS

# COCO's key points and the SMPL joints at the same place; the nose lies a little in front of SMPL's head.
POINTS = np.array([0, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16])
JOINTS_THERE = np.array([15, 16, 17, 18, 19, 20, 21, 1, 2, 4, 5, 7, 8])
# The same points with left and right exchanged: which side is which says nothing about who it is.
OTHER_SIDE = np.array([0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11])
SEEN = 0.2  # lowest score of a key point that counts
LEAST_POINTS = 3  # key points that must be seen for a comparison
FARTHEST = 0.5  # a limb that is farther off than this counts as this far: one wrong arm is no other person

PELVIS, NECK = 0, 12  # SMPL joints
LIMBS = np.array([(16, 17, 1, 2), (1, 2, 4, 5)])  # SMPL joints around the torso and around the thighs
COCO_LIMBS = np.array([(5, 6, 11, 12), (11, 12, 13, 14)])
PATCH = (8, 16)  # width, height of a person's thumbnail
# Two thumbnails that correlate less and differ by more grey levels show different things.
CHANGED, LEAST_CHANGE = 0.5, 12.0

GRID = np.stack(np.meshgrid(np.linspace(0.2, 0.8, 5), np.linspace(0.15, 0.85, 7)), -1).reshape(-1, 2)
COLOURS_SHARE = 0.1  # weight of a new measurement of the colours
# Clothes, as CIELAB distances: one person's measurements differ by less than ALIKE, another's by UNLIKE and more
ALIKE, UNLIKE = 10.0, 40.0
LIGHTNESS = 0.5  # weight of lightness beside hue: shadows move across people


def apart(joints_px: np.ndarray, keypoints: np.ndarray, size_px: float | np.ndarray) -> np.ndarray:
    """(...) the mean distance between bodies' joints (..., 24, 2) and detections' key points (..., 17, 3), in sizes
    (...), weighted by the points' scores; nan where too few are seen. Leading axes are broadcast."""
    there, points = joints_px[..., JOINTS_THERE, :], keypoints[..., POINTS, :]
    weight = np.where(points[..., 2] >= SEEN, points[..., 2], 0.0)
    enough = (np.count_nonzero(weight, axis=-1) >= LEAST_POINTS) & np.all(np.isfinite(there), axis=(-1, -2))
    total = np.where(enough, weight.sum(-1), np.nan)
    size = np.maximum(size_px, 1e-6)[..., None]
    shares = []
    for order in (slice(None), OTHER_SIDE):
        away = there[..., order, :] - points[..., :2]
        share = np.minimum(np.sqrt(away[..., 0] ** 2 + away[..., 1] ** 2) / size, FARTHEST)
        shares.append((share * weight).sum(-1) / total)
    return np.minimum(*shares)


def together(one: np.ndarray, other: np.ndarray, size_px: float) -> float:
    """How far two bodies' joints (24, 2) are apart at pelvis and neck, the farther of the two, in sizes."""
    return float(np.linalg.norm(one[[PELVIS, NECK]] - other[[PELVIS, NECK]], axis=-1).max() / max(size_px, 1e-6))


def patch(image: np.ndarray, xyxy: np.ndarray, camera: Camera | None = None) -> np.ndarray:
    """(16, 8) float32 grey levels of what a picture (height, width, 3) uint8 BGR shows in a box (4,); empty where the
    box is out of the picture. camera: as in `colours`."""
    x0, y0, x1, y1 = np.round(xyxy if camera is None else lens.bent_boxes(xyxy[None], camera)[0]).astype(int)
    part = image[max(y0, 0) : max(y1 + 1, 0), max(x0, 0) : max(x1 + 1, 0)]
    if part.size == 0:
        return np.zeros((0, 0), np.float32)
    step_x, step_y = max(1, part.shape[1] // 32), max(1, part.shape[0] // 64)
    small = cv2.resize(np.ascontiguousarray(part[::step_y, ::step_x]), PATCH, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.float32)


def changed(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two patches show different things: a person does not change that much from one frame to the next."""
    if one.shape != other.shape or not one.size or np.abs(one - other).mean() < LEAST_CHANGE:
        return False
    if min(one.std(), other.std()) < 1:
        return True
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < CHANGED


def colours(image: np.ndarray, points_px: np.ndarray, camera: Camera | None = None) -> np.ndarray:
    """(..., 2, 3) CIELAB medians of people's torsos and thighs; nan where they are out of the picture or unseen.

    image (height, width, 3) uint8 BGR; points_px: bodies' joints (..., 24, 2), or key points (..., 17, 3) with scores.
    camera: that took the picture, if the points are in its straight picture.
    """
    people = points_px.reshape(-1, *points_px.shape[-2:])
    corners = people[:, COCO_LIMBS if people.shape[1] == COCO_KEYPOINTS else LIMBS]  # (n, 2, 4, 2 or 3)
    known = np.all(np.isfinite(corners), axis=(-1, -2))
    if corners.shape[-1] > 2:
        known &= corners[..., 2].min(-1) >= SEEN
    quad = np.where(known[..., None, None], corners[..., :2], -1.0)
    if camera is not None:
        quad = lens.bent(quad, camera)
    top, bottom = (quad[..., a, None, :] + GRID[:, :1] * (quad[..., b, :] - quad[..., a, :])[..., None, :]
                   for a, b in ((0, 1), (2, 3)))  # fmt: skip
    spots = np.round(top + GRID[:, 1:] * (bottom - top)).astype(int)  # (n, 2, spot, 2)
    inside = np.all((spots >= 0) & (spots < (image.shape[1], image.shape[0])), axis=-1)
    known &= inside.mean(-1) >= 0.5
    found = np.full((*known.shape, 3), np.nan)
    x, y = np.where(inside[known][..., None], spots[known], 0).transpose(2, 0, 1)  # (part, spot)
    if len(x):
        lab = cv2.cvtColor(image[y, x].astype(np.float32) / 255, cv2.COLOR_BGR2Lab)
        found[known] = _median(lab, inside[known])
    return found.reshape(*points_px.shape[:-2], 2, 3)


def _median(values: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """(n, 3) medians of values (n, m, 3) along m, of those that are counted (n, m): at least one in each row."""
    ordered = np.sort(np.where(counted[..., None], values, np.inf), axis=1)
    row, count = np.arange(len(values)), counted.sum(1)
    return (ordered[row, (count - 1) // 2] + ordered[row, count // 2]) / 2


def difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(...) how differently people are dressed, as a CIELAB distance of `colours` (..., 2, 3), broadcast; nan where
    neither part is known of both."""
    away = np.sqrt((((one - other) * (LIGHTNESS, 1, 1)) ** 2).sum(-1))
    known = np.isfinite(away)
    count = known.sum(-1)
    return np.where(count, np.where(known, away, 0.0).sum(-1) / np.maximum(count, 1), np.nan)


def worn(known: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """A person's `colours` (2, 3) with one more measurement; nan where neither is known."""
    mixed = known + COLOURS_SHARE * (measured - known)
    return np.where(np.isnan(known), measured, np.where(np.isnan(mixed), known, mixed))


def unlike(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(...) from 0 (two people dressed alike, or one of them unknown) to 1 (differently); broadcast."""
    return np.clip((np.nan_to_num(difference(one, other)) - ALIKE) / (UNLIKE - ALIKE), 0, 1)
