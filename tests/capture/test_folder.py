"""A folder of images: their order, their lens, their pixels."""

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from refit_rt.capture.exif import focal_35mm
from refit_rt.capture.folder import natural
from refit_rt.capture.picture import as_bgr
from tests.support.filmed import grey, source_of


def test_images_come_in_natural_order_whatever_their_kind(tmp_path):
    grey8 = np.full((48, 64), 20, np.uint8)
    cv2.imwrite(str(tmp_path / "shot10.png"), np.full((48, 64, 4), 100, np.uint8))
    cv2.imwrite(str(tmp_path / "shot9.png"), np.full((48, 64, 3), 60 * 257, np.uint16))
    cv2.imwrite(str(tmp_path / "shot2.PNG"), grey8)
    (tmp_path / "notes.txt").write_text("no image")
    frames = list(source_of(tmp_path, lossless=True))
    assert [grey(f) for f in frames] == [20, 60, 100]
    assert all(f.image.shape == (48, 64, 3) for f in frames)


def test_an_image_that_cannot_be_read_is_skipped_counted_and_leaves_a_gap(tmp_path, caplog):
    for k in (0, 2):
        cv2.imwrite(str(tmp_path / f"{k}.png"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "1.png").write_bytes(b"no image")
    source = source_of(tmp_path, lossless=True)
    assert [f.index for f in source] == [0, 2]
    assert source.bad == 1
    assert "frame 1 is skipped" in caplog.text


def test_one_image_is_a_source_too(tmp_path):
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((8, 8, 3), np.uint8))
    assert len(list(source_of(tmp_path / "1.png", lossless=True))) == 1


def test_natural_order_sorts_numbers_by_value():
    names = ["b.jpg", "a10.jpg", "a2.jpg", "2.jpg", "10.jpg"]
    assert [p.name for p in sorted(map(Path, names), key=natural)] == ["2.jpg", "10.jpg", "a2.jpg", "a10.jpg", "b.jpg"]


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_focal_length_is_read_from_exif(tmp_path, order):
    path = tmp_path / "photo.jpg"
    cv2.imwrite(str(path), np.zeros((300, 400, 3), np.uint8))
    path.write_bytes(with_exif(path.read_bytes(), order, 27))
    assert focal_35mm(path) == 27
    (frame,) = source_of(tmp_path, lossless=True)
    assert frame.focal_px == pytest.approx(27 / 43.267 * 500, rel=1e-4)  # the diagonal is 500 px


def test_an_image_without_exif_has_no_focal_length(tmp_path):
    cv2.imwrite(str(tmp_path / "1.jpg"), np.zeros((8, 8, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((8, 8, 3), np.uint8))
    assert focal_35mm(tmp_path / "1.jpg") is None
    assert focal_35mm(tmp_path / "1.png") is None
    assert {frame.focal_px for frame in source_of(tmp_path, lossless=True)} == {None}


def with_exif(jpeg: bytes, order: str, focal_mm: int) -> bytes:
    """A JPEG with FocalLengthIn35mmFilm."""
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    first = struct.pack(order + "HHHII", 1, 0x8769, 4, 1, 26) + bytes(4)
    exif = struct.pack(order + "HHHIHH", 1, 0xA405, 3, 1, focal_mm, 0) + bytes(4)
    block = b"Exif\0\0" + head + first + exif
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + jpeg[2:]


@pytest.mark.parametrize(
    ("image", "value"),
    [
        (np.full((4, 6), 7, np.uint8), 7),
        (np.full((4, 6, 1), 7, np.uint8), 7),
        (np.full((4, 6, 4), 7, np.uint8), 7),
        (np.full((4, 6, 3), 0x0701, np.uint16), 7),
        (np.full((4, 6, 3), 1.0, np.float32), 255),
    ],
)
def test_every_kind_of_image_becomes_eight_bit_bgr(image, value):
    out = as_bgr(image)
    assert (out.shape, out.dtype) == ((4, 6, 3), np.uint8)
    assert (out == value).all()


@pytest.mark.parametrize("image", [np.zeros((0, 6, 3), np.uint8), np.zeros((4, 6, 2), np.uint8), np.zeros(5, np.uint8)])
def test_arrays_that_are_not_images_are_refused(image):
    with pytest.raises(ValueError, match="the image has"):
        as_bgr(image)
