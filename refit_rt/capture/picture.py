"""Reads image files, and converts decoded images to 8-bit BGR."""

from pathlib import Path

import cv2
import numpy as np


def read_picture(path: Path, flag: int = cv2.IMREAD_COLOR) -> np.ndarray | None:
    """The image (height, width, 3) as BGR uint8, turned upright as its EXIF orientation states; None if it cannot be
    decoded.

    flag: how cv2.imdecode reads it. The bytes are read in Python, so that any file name works.
    """
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
        return cv2.imdecode(data, flag) if data.size else None
    except (OSError, cv2.error):
        return None


def as_bgr(image: np.ndarray) -> np.ndarray:
    """(height, width[, 1, 3 or 4]) of uint8, uint16 or float 0..1 -> (height, width, 3) uint8; alpha is dropped.

    Raises ValueError for any other shape or dtype, and for an image without pixels.
    """
    if image.size == 0 or image.ndim not in (2, 3):
        raise ValueError(f"the image has shape {image.shape}, but a non-empty (height, width[, channels]) is needed")
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    elif image.dtype in (np.float32, np.float64):
        image = (np.clip(np.nan_to_num(image), 0, 1) * 255).round().astype(np.uint8)
    elif image.dtype != np.uint8:
        raise ValueError(f"the image has dtype {image.dtype}, but uint8, uint16 or float in 0..1 is needed")
    channels = 1 if image.ndim == 2 else image.shape[2]
    if channels == 1:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    if channels not in (3, 4):
        raise ValueError(f"the image has {channels} channels, but 1, 3 or 4 are needed")
    return np.ascontiguousarray(image[..., :3])
