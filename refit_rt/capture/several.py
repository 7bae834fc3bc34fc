"""How many pictures an image file contains: pages, frames of an animation, views of a stereo camera."""

import struct
from pathlib import Path
from typing import BinaryIO

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
JPEG_WITH_EXIF = b"\xff\xd8\xff\xe1"  # how each picture of an MPO begins (CIPA DC-007)
MOST_PAGES = 100_000  # of a TIFF, whose list of pages may run in a circle


def pictures_in(path: Path) -> int:
    """How many there are; 1 for a kind that is not known, 0 for a file that cannot be read. An AVIF sequence counts 2.

    OpenCV's `imcount` is not used: it crashes for names that are no valid text.
    """
    try:
        with path.open("rb") as file:
            head = file.read(32)
            if head.startswith(PNG):
                return _png(file)
            if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
                return max(1, _webp(file))
            if head[:4] in (b"II*\0", b"MM\0*"):
                return _tiff(file, "<" if head[:1] == b"I" else ">")
            if head[4:12] == b"ftypavis":
                return 2
            if head.startswith(JPEG) and path.suffix.lower() == ".mpo":
                return max(1, path.read_bytes().count(JPEG_WITH_EXIF))
    except (OSError, struct.error):
        return 0
    return 1


def _png(file: BinaryIO) -> int:
    """By the chunk acTL, which stands before the first picture (APNG)."""
    file.seek(len(PNG))
    while len(head := file.read(8)) == 8:
        size, kind = struct.unpack(">I4s", head)
        if kind == b"acTL":
            return struct.unpack(">I", file.read(4))[0]
        if kind == b"IDAT":
            break
        file.seek(size + 4, 1)  # and the chunk's check sum
    return 1


def _webp(file: BinaryIO) -> int:
    """By the chunks ANMF, one per frame (RFC 9649)."""
    file.seek(12)
    count = 0
    while len(head := file.read(8)) == 8:
        kind, size = struct.unpack("<4sI", head)
        count += kind == b"ANMF"
        file.seek(size + size % 2, 1)
    return count


def _tiff(file: BinaryIO, order: str) -> int:
    """By the list of pages (TIFF 6.0, section 2)."""
    file.seek(4)
    (place,) = struct.unpack(order + "I", file.read(4))
    count = 0
    while place and count < MOST_PAGES:
        file.seek(place)
        (entries,) = struct.unpack(order + "H", file.read(2))
        file.seek(12 * entries, 1)
        (place,) = struct.unpack(order + "I", file.read(4))
        count += 1
    return count
