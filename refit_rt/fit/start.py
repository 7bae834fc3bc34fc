"""The policy of following: which body a fit starts from, when to give one up, how far to trust a result.

These are pure functions with any leading batch axes (...). They use only what numpy arrays and torch tensors share, so
the live fitter (one person, numpy), the benchmark and training (many, torch) call the same code.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from refit_rt.geometry import namespace_of
from refit_rt.types import Square

Array = Any  # numpy array or torch tensor

OPPOSED_RAD = np.deg2rad(80)  # fresh and last body turned apart by more than this exchange front and back
OPPOSED_S = 0.7  # an opposed last body is believed for at most this long, or as long as the two agreed before
MEMORY_S = 0.5  # a body older than this is no start
MOST_SCALE = 1.6  # a body that grows or shrinks by more than this factor in one frame is a mistake
LEAST_DEPTH_M = 0.1  # a body nearer to the lens than this is no start
HALF_CROP_PX = 128  # the network predicts its error in pixels of a 256 px crop, which shows 1 / scale metres
CONFIDENT_M = 0.115  # predicted error, in metres at the body, at which confidence has fallen to one half
# A person of whom the lowest seen joints are the knees, the hips or none of these is cut off halfway to the next joints
# below. This is what is missing, as a share of what is seen: ankle, knee, hip and shoulder are at 0.039, 0.285, 0.53
# and 0.818 of the stature (Drillis and Contini 1966).
ANKLES, KNEES, HIPS = [15, 16], [13, 14], [11, 12]  # COCO's key points
MISSING_KNEES, MISSING_HIPS, MISSING_NONE = 0.19, 0.69, 2.1
SEEN_POINT = 0.3  # the least score of a key point that is seen
AT_EDGE = 0.02  # of a box's longer side: a box that ends so near to the picture's edge is cut off there
# Training draws sides within these ratios, and these are two deviations of its shifts, in sides, and of its rolls.
DRAWN_SIDES, DRAWN_SHIFT, DRAWN_RAD = (0.8, 1.25), 0.05, np.deg2rad(12)
# The landmarks' rows with left and right exchanged: eyes, ears, mouth, then every limb.
EXCHANGED = np.array([0, 4, 5, 6, 1, 2, 3, 8, 7, 10, 9, *(i + 1 - 2 * (i % 2 == 0) for i in range(11, 33))])


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """Where a loop starts."""

    cold: Array  # (...) bool: from the fresh estimate alone
    exchange: Array  # (...) bool: with the landmarks' left and right exchanged
    weight: Array  # (...) of the last body in the start; the rest is the fresh estimate's; 0 where cold


def choose_start(
    *,
    last_root: Array,
    fresh_root: Array,
    last_scale: Array,
    fresh_scale: Array,
    depth_m: Array,
    time_s: Array,
    opposed_since_s: Array,
    born_s: Array,
    share: float,
) -> Start:
    """Between last frame's body, by its `share`, and the fresh estimate; cold when the two cannot both be right.

    last_root, fresh_root (..., 3, 3): both in the crop's camera. last_scale, fresh_scale (...): of ReFit's camera in
    this crop. depth_m (...): of the last body. opposed_since_s (...): see `opposed_since`. born_s (...): when the
    person last started cold.

    From the last body alone tracking drifts, from the fresh one alone it jitters. Measured on real video with a frozen
    backbone: PA is 74 mm from half of each, 78 mm from 0.7 of the last, and 80 mm, at four times the jitter, from the
    fresh one.
    When the two oppose each other the last body is believed wholly: on real video that took PA from 78 to 72 mm and
    jitter from 59 to 27 mm, but only with the landmarks exchanged as well.
    """
    where = namespace_of(last_scale).where
    away = faces_away(last_root, fresh_root)
    usable = (depth_m >= LEAST_DEPTH_M) & sizes_agree(last_scale, fresh_scale)
    usable = usable & ~(away & disbelieved(time_s, opposed_since_s, born_s))
    away = away & usable
    return Start(~usable, away, where(away, 1.0, where(usable, share, 0.0)))


def faces_away(last_root: Array, fresh_root: Array) -> Array:
    """Whether two bodies' roots (..., 3, 3) face ways so different that one exchanges front and back: (...) bool.

    In a hard view BlazePose exchanges them for many frames at a time.
    """
    trace = (last_root * fresh_root).sum((-2, -1))
    return (trace - 1) / 2 < np.cos(OPPOSED_RAD)


def opposed_since(away: Array, since_s: Array, time_s: Array) -> Array:
    """Since when (...) the fresh estimates oppose the last body: `since_s` or now; inf where they do not (`away`)."""
    xp = namespace_of(away)
    return xp.where(away, xp.minimum(since_s, time_s), np.inf)


def disbelieved(time_s: Array, since_s: Array, born_s: Array) -> Array:
    """Whether a body that the fresh estimates oppose since `since_s` (...) has been believed long enough: (...) bool.

    A person whose first estimate exchanged front and back would otherwise stay turned for OPPOSED_S: measured on real
    video, where every tenth frame was, and PA was 86 mm.
    """
    xp = namespace_of(since_s)
    since_s = xp.minimum(since_s, time_s)
    return time_s - since_s >= (since_s - born_s).clip(None, OPPOSED_S)


def sizes_agree(last_scale: Array, fresh_scale: Array) -> Array:
    """Whether two bodies' scales (...) differ by no more than a body can change in one frame: (...) bool."""
    ratio = last_scale / fresh_scale.clip(1e-3, None)
    return (ratio > 1 / MOST_SCALE) & (ratio < MOST_SCALE)


def blended(last: Array, fresh: Array, share: Array) -> Array:
    """`share` of the last body's numbers, the rest of the fresh estimate's. Rotations are given as orthonormal 6-D,
    which stays near the mean rotation while the two lie well under half a turn apart."""
    return share * last + (1 - share) * fresh


def exchanged(keypoints: Array) -> Array:
    """Landmarks (..., 33, n) with left and right exchanged."""
    return keypoints[..., EXCHANGED, :]


def confidence(error_px: Array | None, scale: Array, presence: Array | None) -> Array:
    """(...) 0..1 from the predicted error (...) and from whether the crop shows a person at all.

    error_px, presence: None when the network predicts none. scale (...): of ReFit's camera. The error counts in metres,
    not in pixels: when the picture cuts a person off, half a body fills the crop, and 14 px are 6 cm there.
    """
    sure = namespace_of(scale).ones_like(scale)
    if error_px is not None:
        error_m = error_px / (HALF_CROP_PX * scale.clip(1e-3, None))
        sure = 1 / (1 + (error_m / CONFIDENT_M) ** 2)
    return sure if presence is None else sure * presence


def given_up(sure: Array, cold_sure: Array, least: float) -> Array:
    """Whether the result of a warm start yields to that of a cold one: it is lost, and the other is better."""
    return (sure < least) & (cold_sure > sure)


def alike(one: Square, other: Square) -> bool:
    """Whether two squares around a person differ no more than training's do: a fit in the other is no better then.

    On 160 frames of the treadmill and 128 of the desk, a second fit there is worse by 1.2 and 3.3 mm after alignment.
    """
    ratio = other.side_px / one.side_px
    shift = np.linalg.norm(other.centre_px - one.centre_px) / one.side_px
    turn = abs((other.roll - one.roll + np.pi) % (2 * np.pi) - np.pi)
    return bool(DRAWN_SIDES[0] < ratio < DRAWN_SIDES[1] and shift < DRAWN_SHIFT and turn < DRAWN_RAD)


def beyond_picture(xyxy: np.ndarray, keypoints: np.ndarray, height_px: int, most: float) -> np.ndarray:
    """A detection's box (4,) px, extended over what the picture's lower edge cuts off.

    keypoints (17, 3): of the same detection; NaN: unknown. most: of the box's height. A detector's boxes end where the
    picture ends, and the network's crops go on. On 182 renders of people who are cut off there, the start is nearer to
    the truth by 10 mm after alignment and by 33 mm before.
    """
    x0, y0, x1, y1 = xyxy
    near_px = AT_EDGE * max(x1 - x0, y1 - y0)
    if np.isnan(keypoints).any() or not height_px - 1 - near_px <= y1 <= height_px + 1:
        return xyxy
    seen = [keypoints[rows, 2].max() >= SEEN_POINT for rows in (ANKLES, KNEES, HIPS)]
    missing = next((share for share, one in zip((0.0, MISSING_KNEES, MISSING_HIPS), seen, strict=True) if one), None)
    share = min(MISSING_NONE if missing is None else missing, most)
    return np.array([x0, y0, x1, y1 + share * (y1 - y0)], xyxy.dtype)
