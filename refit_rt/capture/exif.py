"""Reads focal length and time from the EXIF data of a JPEG."""

import struct
from datetime import datetime
from pathlib import Path

# Tags of EXIF 2.3 (CIPA DC-008). The first two hold one number each, the third a text of 20 bytes.
EXIF_POINTER, FOCAL_35MM, TAKEN = 0x8769, 0xA405, 0x9003
ASCII, SHORT, LONG = 2, 3, 4  # TIFF codes of the types
TAKEN_FORMAT, TAKEN_BYTES = "%Y:%m:%d %H:%M:%S", 19


def focal_35mm(path: Path) -> float | None:
    """FocalLengthIn35mmFilm in millimetres; None if the file does not state it or is not a JPEG."""
    try:
        value = _entry(*_exif(path), FOCAL_35MM)
    except (OSError, KeyError, struct.error):
        return None
    return float(value) if value > 0 else None


def taken_at(path: Path) -> datetime | None:
    """DateTimeOriginal by the camera's clock, in whole seconds; None if the file does not state it or is not a JPEG."""
    try:
        tiff, order, exif = _exif(path)
        place = _entry(tiff, order, exif, TAKEN)
        return datetime.strptime(tiff[place : place + TAKEN_BYTES].decode("ascii"), TAKEN_FORMAT)
    except (OSError, KeyError, struct.error, ValueError):
        return None


def _exif(path: Path) -> tuple[bytes, str, int]:
    """The EXIF block of a JPEG, its byte order, and where its directory of camera settings begins.

    Raises OSError, KeyError and struct.error.
    """
    with path.open("rb") as file:
        tiff = _tiff(file.read(1 << 18))  # EXIF is near the start, in a segment of at most 64 KiB
    order = {b"II": "<", b"MM": ">"}[tiff[:2]]
    (first,) = struct.unpack_from(order + "I", tiff, 4)
    return tiff, order, _entry(tiff, order, first, EXIF_POINTER)


def _tiff(data: bytes) -> bytes:
    """The EXIF block of a JPEG. Raises KeyError if there is none."""
    place = 2
    while data[:2] == b"\xff\xd8" and data[place : place + 1] == b"\xff":
        marker, length = struct.unpack_from(">xBH", data, place)
        if marker == 0xE1 and data[place + 4 : place + 10] == b"Exif\0\0":
            return data[place + 10 : place + 2 + length]
        if marker == 0xDA:  # the compressed image starts here
            break
        place += 2 + length
    raise KeyError("Exif")


def _entry(tiff: bytes, order: str, place: int, wanted: int) -> int:
    """The number with the tag `wanted` in the TIFF directory at `place`; of a text, where it begins.

    Raises KeyError if the tag is missing.
    """
    (count,) = struct.unpack_from(order + "H", tiff, place)
    for entry in range(place + 2, place + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(order + "HH", tiff, entry)
        if tag == wanted and kind in (ASCII, SHORT, LONG):
            return struct.unpack_from(order + ("H" if kind == SHORT else "I"), tiff, entry + 8)[0]
    raise KeyError(wanted)
