"""Folders of pictures and clips → pictures."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from refit_rt.bundle.quantise import photos
from refit_rt.errors import UserError

FRAMES = 12  # that are taken of a clip, evenly spaced


def pictures_of(sources: Iterable[Path]) -> list[np.ndarray]:
    """The pictures of folders and FRAMES frames of clips, (height, width, 3) uint8 BGR each. Raises UserError."""
    return [picture for source in sources for picture in (frames(source) if source.is_file() else photos(source))]


def frames(clip: Path) -> Iterator[np.ndarray]:
    """Evenly spaced frames of a clip. Raises UserError."""
    video = cv2.VideoCapture(str(clip))
    count = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    wanted = set(np.linspace(0, count - 1, FRAMES).round().astype(int)) if count > 0 else set()
    if not wanted:
        raise UserError(f"{clip}: not a readable clip. Give clips and folders with pictures of people")
    for index in range(count):
        if index not in wanted:
            video.grab()
            continue
        readable, picture = video.read()
        if readable:
            yield picture
