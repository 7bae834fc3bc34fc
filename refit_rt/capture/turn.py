"""Turns a decoded picture as its file says that it is to be shown."""

import struct
from typing import Any

import av
import cv2
import numpy as np
from av.sidedata.sidedata import Type

MATRIX = struct.Struct("=9i")  # (3, 3) by rows, 16.16 fixed point: x' = a x + c y, y' = b x + d y, with a b 0, c d 0


def turned(image: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    """The image (height, width, 3) turned by quarters and mirrored as the frame's display matrix states."""
    found: Any = frame.side_data  # typed as if it yielded text
    data = next((one for one in found if one.type == Type.DISPLAYMATRIX), None)
    if data is None:
        return image
    a, b, _, c, d = MATRIX.unpack(bytes(data))[:5]
    if abs(b) > abs(a):  # the picture's columns become rows
        image, right, down = cv2.transpose(image), c, b
    else:
        right, down = a, d
    if right < 0 and down < 0:
        return cv2.flip(image, -1)
    if right < 0:
        return cv2.flip(image, 1)
    return cv2.flip(image, 0) if down < 0 else image
