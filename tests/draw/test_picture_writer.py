"""Overlays of stills: their names, their size, and what they may replace."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from refit_rt.draw.pictures import PictureWriter, check_folder, is_of_overlays
from refit_rt.errors import UserError
from refit_rt.types import Frame
from tests.support.fakes import people

NOBODY = people([])


def red(image, _people):
    return np.full_like(image, (0, 0, 200))


def still(name: str, size: tuple[int, int] = (64, 48)) -> Frame:
    return Frame("test", 0, 0.0, 0.0, np.zeros((size[1], size[0], 3), np.uint8), None, name, True)


def drawn(folder: Path, *frames: Frame) -> list[str]:
    """The names of the files that these pictures make."""
    writer = PictureWriter(folder, lambda _size: red)
    for frame in frames:
        writer.draw((frame, NOBODY))
    writer.close()
    return sorted(file.name for file in folder.iterdir())


def test_each_picture_has_its_own_size_and_shows_what_was_drawn(tmp_path):
    names = drawn(tmp_path / "overlay", still("wide.png", (333, 101)), still("tall, été.jpg", (50, 81)))
    assert names == ["tall, été.jpg", "wide.jpg"]
    picture = cv2.imread(str(tmp_path / "overlay" / "wide.jpg"))
    assert picture.shape == (101, 333, 3)
    np.testing.assert_allclose(picture.mean((0, 1)), (0, 0, 200), atol=6)


def test_pictures_whose_names_differ_only_in_suffix_or_case_do_not_overwrite_each_other(tmp_path):
    files = [still(name) for name in ("a.jpg", "a.png", "A.webp", "a.png.bmp", "a.png.tif")]
    names = drawn(tmp_path / "overlay", *files)
    assert names == ["A.webp.jpg", "a.jpg", "a.png.bmp.jpg", "a.png.jpg", "a.png.tif.jpg"]
    assert len(drawn(tmp_path / "overlay", *[still("a.jpg")] * 4)) == 4


def test_the_overlays_of_an_earlier_run_are_replaced(tmp_path):
    drawn(tmp_path / "overlay", still("a.jpg"), still("b.jpg"))
    (tmp_path / "overlay" / ".hidden").touch()
    assert drawn(tmp_path / "overlay", still("c.jpg")) == ["c.jpg"]
    assert [file.name for file in tmp_path.iterdir()] == ["overlay"]


def test_nothing_is_seen_before_the_end_and_what_a_killed_run_left_is_overwritten(tmp_path):
    killed = PictureWriter(tmp_path / "overlay", lambda _size: red)
    killed.draw((still("a.jpg"), NOBODY))
    assert not (tmp_path / "overlay").exists()
    assert drawn(tmp_path / "overlay", still("b.jpg")) == ["b.jpg"]
    assert [file.name for file in tmp_path.iterdir()] == ["overlay"]


def test_without_a_picture_the_earlier_overlays_stay(tmp_path):
    drawn(tmp_path / "overlay", still("a.jpg"))
    assert drawn(tmp_path / "overlay") == ["a.jpg"]


def test_pictures_of_the_user_are_never_replaced(tmp_path):
    folder = tmp_path / "overlay"
    drawn(folder, still("a.jpg"))
    assert is_of_overlays(folder)
    cv2.imwrite(str(folder / "mine.jpg"), np.zeros((8, 8, 3), np.uint8))
    for refused in (lambda: check_folder(folder), lambda: drawn(folder, still("a.jpg"))):
        with pytest.raises(UserError, match=r"overlay: is there and is no folder of overlays"):
            refused()
    assert (folder / "mine.jpg").exists()


def test_a_picture_that_cannot_be_written_is_an_error_in_one_line(tmp_path):
    writer = PictureWriter(tmp_path / "overlay", lambda _size: red)
    with pytest.raises(UserError, match=r"x{300}.jpg: cannot be written .* set out\.overlay to false"):
        writer.draw((still("x" * 300 + ".png"), NOBODY))
    writer.close()
    assert list((tmp_path / "overlay").iterdir()) == []
