"""The square crop of a person, which way up it stands, and ReFit's full-frame camera of it."""

import numpy as np

from refit_rt.runners import View

# How much of a body beyond the picture an edge model's crop takes in, over the longer side of the part that is seen.
# BlazePose knows people whole: of a man at a desk, cut off at the hips, it misplaces shoulders, elbows and wrists by
# 0.5 upper arms in a crop that ends shortly below the picture, by 0.14 at 0.8, and by 0.12 with all of him.
BEYOND = 0.8


def square(xyxy: np.ndarray, margin: float) -> tuple[np.ndarray, float]:
    """The square round a box (4,): centre (2,) and side, grown by `margin`."""
    centre = (xyxy[:2] + xyxy[2:]) / 2
    return centre.astype(float), float((xyxy[2:] - xyxy[:2]).max() * margin)


def within_reach(points: np.ndarray, low: np.ndarray, high: np.ndarray, beyond: float) -> np.ndarray:
    """Points (n, 2) px of a body, those far outside of the picture, low (2,) to high (2,), brought nearer.

    Along each axis all of them then span at most 1 + `beyond` times the longer side of the part in the picture.
    """
    inside = points[((points >= low) & (points <= high)).all(1)]
    seen = inside if len(inside) else np.clip(points, low, high)
    first, last = seen.min(0), seen.max(0)
    under, over = first - points.min(0), points.max(0) - last
    room = (1 + beyond) * (last - first).max() - (last - first)
    share = np.minimum(1, room / np.maximum(under + over, 1e-6))
    return np.clip(points, first - share * under, last + share * over)


def lean(pelvis_px: np.ndarray, neck_px: np.ndarray, shortest_px: float, otherwise: float) -> float:
    """Roll in radians of the line from pelvis to neck; `otherwise` when it is too short to tell."""
    dx, dy = neck_px - pelvis_px
    return float(np.arctan2(dx, -dy)) if np.hypot(dx, dy) > shortest_px else otherwise


def translation_from_cam(cam: np.ndarray, view: View) -> np.ndarray:
    """ReFit's full-frame camera (after CLIFF): cam (3,) of a crop -> metres (3,) before the whole picture's camera."""
    x, y, side = view.box
    px_per_metre = side * cam[0] / 2
    return np.array([
        cam[1] + (x - view.centre_px[0]) / px_per_metre,
        cam[2] + (y - view.centre_px[1]) / px_per_metre,
        view.focal_px / px_per_metre,
    ])  # fmt: skip


def cam_from_translation(trans: np.ndarray, view: View) -> np.ndarray:
    """The exact inverse of `translation_from_cam`."""
    x, y, side = view.box
    px_per_metre = view.focal_px / trans[2]
    return np.array([
        2 * px_per_metre / side,
        trans[0] - (x - view.centre_px[0]) / px_per_metre,
        trans[1] - (y - view.centre_px[1]) / px_per_metre,
    ])  # fmt: skip
