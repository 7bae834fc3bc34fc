"""A folder of images: their order, their lens, their pixels."""

from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from refit_rt.capture.exif import focal_35mm, taken_at
from refit_rt.capture.folder import natural
from refit_rt.capture.picture import as_bgr
from refit_rt.errors import UserError
from tests.support.filmed import grey, source_of
from tests.support.photos import photo


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
    assert "frame 1 (1.png) is skipped" in caplog.text


def test_one_image_is_a_source_too(tmp_path):
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((8, 8, 3), np.uint8))
    assert len(list(source_of(tmp_path / "1.png", lossless=True))) == 1


def test_what_holds_no_image_is_refused_in_one_line(tmp_path):
    (tmp_path / "1.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"1\.png: is not a readable image\. Convert it to jpg"):
        source_of(tmp_path / "1.png", lossless=True)
    with pytest.raises(UserError, match=r": contains no readable image\. Give a folder with images of these types: "):
        source_of(tmp_path, lossless=True)


def test_hidden_companions_are_no_frames(tmp_path, caplog):
    """macOS puts a ._a.jpg beside a.jpg on disks of other systems."""
    for name in ("a.png", "._a.png", ".b.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((8, 8, 3), np.uint8))
    source = source_of(tmp_path, lossless=True)
    assert [f.name for f in source] == ["a.png"]
    assert (source.bad, caplog.text) == (0, "")
    assert len(list(source_of(tmp_path / ".b.png", lossless=True))) == 1


@pytest.mark.parametrize("suffix", [".heic", ".HEIF", ".dng"])
def test_a_kind_of_picture_that_cannot_be_read_is_refused_or_named_with_the_cure(tmp_path, caplog, suffix):
    (tmp_path / f"IMG_1{suffix}").write_bytes(b"....")
    with pytest.raises(UserError, match=rf"IMG_1{suffix}: pictures of this kind cannot be read. Convert it to jpg"):
        source_of(tmp_path / f"IMG_1{suffix}", lossless=True)
    cv2.imwrite(str(tmp_path / "b.png"), np.zeros((8, 8, 3), np.uint8))
    assert len(list(source_of(tmp_path, lossless=True))) == 1
    assert f"1 pictures of a kind that cannot be read are left out (IMG_1{suffix}). Convert them to jpg" in caplog.text


@pytest.mark.parametrize("name", ["stack.tif", "moving.webp", "stereo.mpo"])
def test_a_file_of_several_pictures_of_which_one_is_read_is_reported(tmp_path, caplog, name):
    pictures = [np.full((48, 64, 3), level, np.uint8) for level in (40, 80, 120)]
    path = tmp_path / name
    if name.endswith("webp"):
        moving: Any = cv2.Animation()
        moving.frames, moving.durations = pictures, np.full(3, 100)
        cv2.imwriteanimation(str(path), moving)
    elif name.endswith("mpo"):
        parts = [photo(tmp_path / f"{k}.bin.jpg", picture, focal_mm=27) for k, picture in enumerate(pictures)]
        path.write_bytes(b"".join(part.read_bytes() for part in parts))
        for part in parts:
            part.unlink()
    else:
        cv2.imwritemulti(str(path), pictures)
    (frame,) = source_of(path, lossless=True)
    assert grey(frame) == pytest.approx(40, abs=2)
    assert f"{name}: contains 3 pictures, of which the first is read. Save each as its own file" in caplog.text
    caplog.clear()
    cv2.imwrite(str(tmp_path / "single.tif"), pictures[0])
    assert len(list(source_of(tmp_path / "single.tif", lossless=True))) == 1
    assert caplog.text == ""


def test_natural_order_sorts_numbers_by_value():
    names = ["b.jpg", "a10.jpg", "a2.jpg", "2.jpg", "10.jpg"]
    assert [p.name for p in sorted(map(Path, names), key=natural)] == ["2.jpg", "10.jpg", "a2.jpg", "a10.jpg", "b.jpg"]


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_focal_length_is_read_from_exif(tmp_path, order):
    path = photo(tmp_path / "photo.jpg", np.zeros((300, 400, 3), np.uint8), order=order, focal_mm=27)
    assert focal_35mm(path) == 27
    (frame,) = source_of(tmp_path, lossless=True)
    assert frame.focal_px == pytest.approx(27 / 43.267 * 500, rel=1e-4)  # the diagonal is 500 px


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("focal_mm", [27, None])
def test_the_time_is_read_from_exif(tmp_path, order, focal_mm):
    image = np.zeros((8, 8, 3), np.uint8)
    path = photo(tmp_path / "1.jpg", image, order=order, focal_mm=focal_mm, taken="2024:05:31 12:00:09")
    assert taken_at(path) == datetime(2024, 5, 31, 12, 0, 9)
    assert focal_35mm(path) == focal_mm
    assert taken_at(photo(tmp_path / "2.jpg", image, order=order, taken="0000:00:00 00:00:00")) is None
    assert taken_at(photo(tmp_path / "3.jpg", image, order=order, focal_mm=50)) is None


def test_each_still_has_its_own_lens_and_name(tmp_path):
    image = np.zeros((300, 400, 3), np.uint8)  # the diagonal is 500 px
    for name, focal_mm in (("a.jpg", 27), ("b.jpg", None), ("c.jpg", 54)):
        photo(tmp_path / name, image, focal_mm=focal_mm)
    clip = list(source_of(tmp_path, lossless=True))
    stills = list(source_of(tmp_path, lossless=True, pictures="stills"))
    wide, tele = (pytest.approx(mm / 43.267 * 500, rel=1e-4) for mm in (27, 54))
    assert [frame.focal_px for frame in clip] == [wide, wide, wide]  # a clip is taken with one lens
    assert [frame.focal_px for frame in stills] == [wide, None, tele]
    assert [(f.name, f.still) for f in clip] == [("a.jpg", False), ("b.jpg", False), ("c.jpg", False)]
    assert [(f.name, f.still) for f in stills] == [("a.jpg", True), ("b.jpg", True), ("c.jpg", True)]


def test_a_still_that_cannot_be_read_is_named(tmp_path, caplog):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "b.png").write_bytes(b"no image")
    assert [frame.name for frame in source_of(tmp_path, lossless=True, pictures="stills")] == ["a.png"]
    assert "b.png is skipped: the image cannot be decoded" in caplog.text


def test_an_image_without_exif_has_no_focal_length(tmp_path):
    cv2.imwrite(str(tmp_path / "1.jpg"), np.zeros((8, 8, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((8, 8, 3), np.uint8))
    assert focal_35mm(tmp_path / "1.jpg") is None
    assert focal_35mm(tmp_path / "1.png") is None
    assert {frame.focal_px for frame in source_of(tmp_path, lossless=True)} == {None}


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
