"""Recognises stills: pictures by themselves, as opposed to the frames of one clip."""

import logging
import re
from collections import Counter
from pathlib import Path

import cv2
import numpy as np

from refit_rt import config
from refit_rt.capture import is_camera
from refit_rt.capture.cuts import is_blank, thumbnail
from refit_rt.capture.exif import taken_at
from refit_rt.capture.folder import is_of_pictures, pictures_of
from refit_rt.capture.picture import read_picture
from refit_rt.errors import UserError

log = logging.getLogger(__name__)

MOST_PAIRS = 12  # pairs of neighbours that are looked at: a folder of any size is recognised in two seconds
MOST_GAP_S = 2.0  # frames of a clip are not taken further apart
# Thumbnails that correlate less than this show different scenes. Of unrelated photographs 99 % correlate less than 0.5;
# frames of a clip that lie a second apart correlate more than 0.8, and 0.6 when a figure walks past close by.
ALIKE = 0.6
SINGLE = "a single picture"
NAMES, TIMES, SIZES, CONTENT = (
    "the names are not numbered",
    "the pictures were taken at different times",
    "the sizes differ",
    "the pictures show different scenes",
)


def are_stills(settings: config.Capture) -> bool:
    """Whether the source is a picture by itself or a folder of such pictures, as capture.pictures states or, by `auto`,
    as recognised: then one line is logged. What is looped or played live is a clip.

    Raises UserError where stills are asked for and cannot be.
    """
    path = Path(settings.source).expanduser()
    camera = is_camera(settings.source)
    if settings.pictures == "stills":
        if camera or "://" in settings.source or (path.exists() and not is_of_pictures(path)):
            given = f"not '{settings.source}'. Leave out --stills (capture.pictures)"
            raise UserError(f"capture.pictures: stills needs a picture or a folder of pictures, {given}")
        if settings.pace == "live":
            raise UserError("capture.pace: live plays a clip, but stills have no pace. Leave out one of the two")
        return True
    by_itself = settings.pictures == "auto" and settings.pace != "live" and not settings.loop
    if camera or not by_itself or not path.exists() or not is_of_pictures(path):
        return False
    files = pictures_of(path)
    if not files:
        return False
    return _announced(path, len(files), why_stills(files))


def _announced(path: Path, count: int, why: str) -> bool:
    if why == SINGLE:
        log.info("%s: %s", path, why)
    elif why:
        cure = "if they are the frames of a clip, add --capture.pictures clip"
        log.info("%s: %d pictures, each by itself, because %s; %s", path, count, why, cure)
    else:
        log.info("%s: %d frames of a clip; if each is a picture by itself, add --stills", path, count)
    return bool(why)


def why_stills(files: list[Path]) -> str:
    """The commonest reason why these image files, in order, are stills; empty: they are the frames of a clip.

    They are stills when most neighbours have a sign of it. A clip has cuts too, and a stray picture in its folder.
    """
    if len(files) == 1:
        return SINGLE
    firsts = np.unique(np.linspace(0, len(files) - 2, min(MOST_PAIRS, len(files) - 1)).round().astype(int))
    signs = [_sign(files[k], files[k + 1]) for k in firsts]
    found = [sign for sign in signs if sign]
    return Counter(found).most_common(1)[0][0] if 2 * len(found) > len(signs) else ""


def _sign(one: Path, other: Path) -> str:
    """Why two neighbours are not the frames of one clip; empty: no sign of it."""
    patterns = [re.sub(r"\d+", "#", file.stem.lower()) for file in (one, other)]
    if patterns[0] != patterns[1] or "#" not in patterns[0]:
        return NAMES
    times = [taken_at(file) for file in (one, other)]
    if times[0] and times[1] and abs((times[1] - times[0]).total_seconds()) > MOST_GAP_S:
        return TIMES
    # An eighth of the size, which a JPEG is decoded to at once, is enough to compare sizes and scenes.
    images = [read_picture(file, cv2.IMREAD_REDUCED_COLOR_8) for file in (one, other)]
    if images[0] is None or images[1] is None:
        return ""
    if images[0].shape != images[1].shape:
        return SIZES
    thumbs = [thumbnail(image) for image in images if image is not None]
    if any(map(is_blank, thumbs)):
        return ""
    return CONTENT if np.corrcoef(thumbs[0].ravel(), thumbs[1].ravel())[0, 1] < ALIKE else ""
