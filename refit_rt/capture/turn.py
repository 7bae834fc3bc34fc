"""Turns a decoded picture as its file says that it is to be shown."""

import struct
from typing import Any

import av
import cv2
import numpy as np
from av.sidedata.sidedata import Type

MATRIX = struct.Struct("=9i")  # (3, 3) by rows, 16.16 fixed point: x' = a x + c y, y' = b x + d y, with a b 0, c d 0


class Turn:
    """Turns the pictures of one film upright.

    PyAV never frees a frame whose display matrix was looked at (18.1: frame and matrix hold each other; 1 MB of 720p
    each), and a film has one matrix for all of its frames. So it is looked at again only where the size changes, or
    the rotation, which PyAV states without that.
    """

    def __init__(self) -> None:
        self._of: tuple[int, int, int] | None = None  # width, height and rotation of the frame that was looked at
        self._matrix: tuple[int, ...] | None = None  # its first five numbers; None: it has none

    def upright(self, image: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
        """The image (height, width, 3) turned by quarters and mirrored as the film's display matrix states."""
        of = (frame.width, frame.height, frame.rotation)
        if of != self._of:
            self._of, self._matrix = of, matrix_of(frame)
        return image if self._matrix is None else turned(image, self._matrix)


def matrix_of(frame: av.VideoFrame) -> tuple[int, ...] | None:
    """The first five numbers of a frame's display matrix; None: it has none."""
    found: Any = frame.side_data  # typed as if it yielded text
    data = next((one for one in found if one.type == Type.DISPLAYMATRIX), None)
    return None if data is None else MATRIX.unpack(bytes(data))[:5]


def turned(image: np.ndarray, matrix: tuple[int, ...]) -> np.ndarray:
    """The image (height, width, 3) turned by quarters and mirrored by the first five numbers of a display matrix."""
    a, b, _, c, d = matrix
    if abs(b) > abs(a):  # the picture's columns become rows
        image, right, down = cv2.transpose(image), c, b
    else:
        right, down = a, d
    if right < 0 and down < 0:
        return cv2.flip(image, -1)
    if right < 0:
        return cv2.flip(image, 1)
    return cv2.flip(image, 0) if down < 0 else image
