"""Places in a picture: boxes, and their centres and sizes."""

import numpy as np

SIZE_WEIGHT = 0.25  # weight of the logarithm of two sizes' ratio, added to the distance


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Distance of two places (4,), in sizes: between centres, plus a little for unequal sizes."""
    sizes = one[2:].max(), other[2:].max()
    apart = np.hypot(*(one[:2] - other[:2])) / (sum(sizes) / 2)
    return float(apart + SIZE_WEIGHT * abs(np.log(sizes[0] / sizes[1])))


def clipped(xyxy: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The parts of boxes (n, 4) inside a picture; at least one pixel of each."""
    high = np.tile(np.array(size, np.float32), 2)
    inside = np.clip(xyxy, 0, high)
    inside[:, 2:] = np.maximum(inside[:, 2:], inside[:, :2] + 1)
    return inside


def places_of(xyxy: np.ndarray) -> np.ndarray:
    """Boxes (n, 4) as centres and sizes (n, 4)."""
    xyxy = xyxy.astype(np.float64)
    return np.concatenate([(xyxy[:, :2] + xyxy[:, 2:]) / 2, xyxy[:, 2:] - xyxy[:, :2]], 1)


def xyxy_of(places: list[np.ndarray]) -> np.ndarray:
    """Centres and sizes as boxes (n, 4) float32."""
    stacked = np.stack(places) if places else np.zeros((0, 4))
    half = stacked[:, 2:] / 2
    return np.concatenate([stacked[:, :2] - half, stacked[:, :2] + half], 1).astype(np.float32)
