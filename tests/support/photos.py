"""Picture files: made scenes, and what a camera notes in them."""

import struct
from pathlib import Path

import cv2
import numpy as np

EXIF_POINTER, FOCAL_35MM, TAKEN = 0x8769, 0xA405, 0x9003


def scene(seed: int, size: tuple[int, int] = (160, 120)) -> np.ndarray:
    """(height, width, 3) uint8: large blots of colour, others for each seed. size: width, height."""
    blots = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
    return cv2.resize(blots, size, interpolation=cv2.INTER_CUBIC)


def photo(
    path: Path, image: np.ndarray, *, order: str = "<", focal_mm: int | None = None, taken: str | None = None
) -> Path:
    """Writes a JPEG with EXIF. order: "<" or ">", of its bytes. focal_mm: FocalLengthIn35mmFilm. taken:
    DateTimeOriginal, as "2024:05:31 12:00:00"."""
    jpeg = cv2.imencode(".jpg", image)[1].tobytes()
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    first = struct.pack(order + "HHHII", 1, EXIF_POINTER, 4, 1, 26) + bytes(4)
    entries = []
    if taken is not None:
        text_at = 26 + 2 + 12 * (1 + (focal_mm is not None)) + 4
        entries.append(struct.pack(order + "HHII", TAKEN, 2, 20, text_at))
    if focal_mm is not None:
        entries.append(struct.pack(order + "HHIHH", FOCAL_35MM, 3, 1, focal_mm, 0))
    exif = struct.pack(order + "H", len(entries)) + b"".join(entries) + bytes(4)
    block = b"Exif\0\0" + head + first + exif + (taken or "").encode() + b"\0"
    path.write_bytes(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + jpeg[2:])
    return path
