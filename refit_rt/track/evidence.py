"""What tells people apart: whether a body explains a detection's key points, and the colours of their clothes.

Distances are shares of a person's size, the longer side of the box.
"""

import cv2
import numpy as np

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
LIMBS = ((16, 17, 1, 2), (1, 2, 4, 5))  # SMPL joints around the torso and around the thighs
COCO_LIMBS = ((5, 6, 11, 12), (11, 12, 13, 14))
PATCH = (8, 16)  # width, height of a person's thumbnail
# Two thumbnails that correlate less and differ by more grey levels show different things.
CHANGED, LEAST_CHANGE = 0.5, 12.0

GRID = np.stack(np.meshgrid(np.linspace(0.2, 0.8, 5), np.linspace(0.15, 0.85, 7)), -1).reshape(-1, 2)
COLOURS_SHARE = 0.1  # weight of a new measurement of the colours
# Clothes, as CIELAB distances: one person's measurements differ by less than ALIKE, another's by UNLIKE and more
ALIKE, UNLIKE = 10.0, 40.0
LIGHTNESS = 0.5  # weight of lightness beside hue: shadows move across people


def apart(joints_px: np.ndarray, keypoints: np.ndarray, size_px: float) -> float:
    """The mean distance between a body's joints (24, 2) and a detection's key points (17, 3), in sizes, weighted by the
    points' scores; nan where too few are seen."""
    there, points = joints_px[JOINTS_THERE], keypoints[POINTS]
    weight = np.where(points[:, 2] >= SEEN, points[:, 2], 0.0)
    if np.count_nonzero(weight) < LEAST_POINTS or not np.isfinite(there).all():
        return float("nan")
    away = [np.linalg.norm(there[order] - points[:, :2], axis=-1) for order in (slice(None), OTHER_SIDE)]
    shares = [np.minimum(one / max(size_px, 1e-6), FARTHEST) for one in away]
    return float(min((share * weight).sum() / weight.sum() for share in shares))


def together(one: np.ndarray, other: np.ndarray, size_px: float) -> float:
    """How far two bodies' joints (24, 2) are apart at pelvis and neck, the farther of the two, in sizes."""
    return float(np.linalg.norm(one[[PELVIS, NECK]] - other[[PELVIS, NECK]], axis=-1).max() / max(size_px, 1e-6))


def patch(image: np.ndarray, xyxy: np.ndarray) -> np.ndarray:
    """(16, 8) float32 grey levels of what a picture (height, width, 3) uint8 BGR shows in a box (4,); empty where the
    box is out of the picture."""
    x0, y0, x1, y1 = np.round(xyxy).astype(int)
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


def colours(image: np.ndarray, points_px: np.ndarray) -> np.ndarray:
    """(2, 3) CIELAB means of a person's torso and thighs; nan where they are out of the picture or unseen.

    image (height, width, 3) uint8 BGR; points_px: a body's joints (24, 2), or key points (17, 3) with scores.
    """
    limbs = COCO_LIMBS if len(points_px) == COCO_KEYPOINTS else LIMBS
    found = np.full((2, 3), np.nan)
    for row, corners in enumerate(limbs):
        quad = points_px[list(corners)]
        if not np.isfinite(quad).all() or (quad.shape[1] > 2 and quad[:, 2].min() < SEEN):
            continue
        top, bottom = (quad[a, :2] + GRID[:, :1] * (quad[b, :2] - quad[a, :2]) for a, b in ((0, 1), (2, 3)))
        x, y = np.round(top + GRID[:, 1:] * (bottom - top)).astype(int).T
        inside = (x >= 0) & (y >= 0) & (x < image.shape[1]) & (y < image.shape[0])
        if inside.mean() < 0.5:
            continue
        pixels = image[y[inside], x[inside]][None].astype(np.float32) / 255
        found[row] = np.median(cv2.cvtColor(pixels, cv2.COLOR_BGR2Lab)[0], axis=0)
    return found


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """How differently two people are dressed, as a CIELAB distance of `colours` (2, 3); nan where neither part is known
    of both."""
    away = np.linalg.norm((one - other) * (LIGHTNESS, 1, 1), axis=-1)
    return float(np.nanmean(away)) if np.isfinite(away).any() else float("nan")


def worn(known: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """A person's `colours` (2, 3) with one more measurement; nan where neither is known."""
    mixed = known + COLOURS_SHARE * (measured - known)
    return np.where(np.isnan(known), measured, np.where(np.isnan(mixed), known, mixed))


def unlike(one: np.ndarray, other: np.ndarray) -> float:
    """From 0 (two people dressed alike, or one of them unknown) to 1 (differently)."""
    return float(np.clip((np.nan_to_num(difference(one, other)) - ALIKE) / (UNLIKE - ALIKE), 0, 1))
