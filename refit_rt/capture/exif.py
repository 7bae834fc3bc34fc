"""Reads the focal length from the EXIF data of a JPEG."""

import struct
from pathlib import Path

EXIF_POINTER, FOCAL_35MM = 0x8769, 0xA405  # tags of EXIF 2.3 (CIPA DC-008); each holds one number
SHORT, LONG = 3, 4  # TIFF codes of the two integer types


def focal_35mm(path: Path) -> float | None:
    """FocalLengthIn35mmFilm in millimetres; None if the file does not state it or is not a JPEG."""
    try:
        with path.open("rb") as file:
            tiff = _tiff(file.read(1 << 18))  # EXIF is near the start, in a segment of at most 64 KiB
        order = {b"II": "<", b"MM": ">"}[tiff[:2]]
        (first,) = struct.unpack_from(order + "I", tiff, 4)
        exif = _entry(tiff, order, first, EXIF_POINTER)
        value = _entry(tiff, order, exif, FOCAL_35MM)
    except (OSError, KeyError, struct.error):
        return None
    return float(value) if value > 0 else None


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
    """The number with the tag `wanted` in the TIFF directory at `place`. Raises KeyError if the tag is missing."""
    (count,) = struct.unpack_from(order + "H", tiff, place)
    for entry in range(place + 2, place + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(order + "HH", tiff, entry)
        if tag == wanted and kind in (SHORT, LONG):
            return struct.unpack_from(order + ("H" if kind == SHORT else "I"), tiff, entry + 8)[0]
    raise KeyError(wanted)
