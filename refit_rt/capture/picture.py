"""Whatever was decoded → BGR, 8 bits."""

import cv2
import numpy as np


def as_bgr(image: np.ndarray) -> np.ndarray:
    """(height, width[, 1, 3 or 4]) of uint8, uint16 or float 0..1 -> (height, width, 3) uint8; alpha is left out.

    Raises ValueError for anything else, and for an image without pixels.
    """
    if image.size == 0 or image.ndim not in (2, 3):
        raise ValueError(f"an image of shape {image.shape}")
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    elif image.dtype in (np.float32, np.float64):
        image = (np.clip(np.nan_to_num(image), 0, 1) * 255).round().astype(np.uint8)
    elif image.dtype != np.uint8:
        raise ValueError(f"an image of {image.dtype}")
    channels = 1 if image.ndim == 2 else image.shape[2]
    if channels == 1:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    if channels not in (3, 4):
        raise ValueError(f"an image of {channels} channels")
    return np.ascontiguousarray(image[..., :3])
