"""Which folders of pictures are stills, and which are the frames of a clip."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from refit_rt import config
from refit_rt.capture import stills
from refit_rt.errors import UserError
from tests.support.filmed import write_clip
from tests.support.films import greys, write_film
from tests.support.photos import photo, scene


def save(folder: Path, images: list[np.ndarray], name: str = "{}.png") -> list[Path]:
    files = [folder / name.format(k) for k in range(len(images))]
    for file, image in zip(files, images, strict=True):
        cv2.imwrite(str(file), image)
    return files


def walk(count: int, seed: int = 0) -> list[np.ndarray]:
    """A clip: a dark figure walks in front of a scene."""
    images = [scene(seed) for _ in range(count)]
    for k, image in enumerate(images):
        x = 10 + 110 * k // count
        image[30:110, x : x + 25] = 20
    return images


def test_pictures_of_mixed_size_are_stills(tmp_path):
    sizes = [(160, 120), (120, 160), (320, 200), (64, 64), (400, 300)]
    files = save(tmp_path, [scene(k, sizes[k % 5]) for k in range(10)])
    assert stills.why_stills(files) == stills.SIZES


def test_unrelated_pictures_of_one_size_are_stills(tmp_path):
    assert stills.why_stills(save(tmp_path, [scene(k) for k in range(10)])) == stills.CONTENT


def test_pictures_whose_names_are_not_numbered_are_stills(tmp_path):
    files = [tmp_path / f"{name}.png" for name in ("anna", "bench", "wall")]
    for file in files:
        cv2.imwrite(str(file), scene(1))
    assert stills.why_stills(files) == stills.NAMES


@pytest.mark.parametrize(("gap_s", "why"), [(7, stills.TIMES), (1, "")])
def test_pictures_taken_at_different_times_are_stills_and_a_burst_is_a_clip(tmp_path, gap_s, why):
    files = [
        photo(tmp_path / f"{k}.jpg", scene(1), taken=f"2024:05:31 12:{k * gap_s // 60:02}:{k * gap_s % 60:02}")
        for k in range(12)
    ]
    assert stills.why_stills(files) == why


@pytest.mark.parametrize("step", [1, 8])
def test_the_frames_of_a_clip_are_a_clip(tmp_path, step):
    assert stills.why_stills(save(tmp_path, walk(48)[::step], "frame_{:05}.png")) == ""


def test_a_clip_with_cuts_black_frames_and_a_stray_picture_is_a_clip(tmp_path):
    black = [np.zeros((120, 160, 3), np.uint8)] * 6
    files = save(tmp_path, [*walk(8), *black, *walk(8, seed=5), *walk(6, seed=6)])
    files[3].write_bytes(b"no image")
    cover = tmp_path / "cover.jpg"
    cv2.imwrite(str(cover), scene(9, (300, 300)))
    assert stills.why_stills([*files, cover]) == ""


def test_a_single_picture_is_a_still(tmp_path):
    assert stills.why_stills(save(tmp_path, [scene(1)])) == stills.SINGLE
    assert stills.are_stills(config.Capture(source=str(tmp_path / "0.png")))
    assert stills.are_stills(config.Capture(source=str(tmp_path)))


@pytest.mark.parametrize(
    ("unrelated", "says"),
    [
        (True, "10 pictures, each by itself, because .*--capture.pictures clip"),
        (False, "10 frames of a clip.*--stills"),
    ],
)
def test_one_line_says_what_was_recognised_and_how_to_override_it(tmp_path, caplog, unrelated, says):
    save(tmp_path, [scene(k) for k in range(10)] if unrelated else walk(10))
    with caplog.at_level("INFO"):
        assert stills.are_stills(config.Capture(source=str(tmp_path))) == unrelated
    (record,) = caplog.records
    assert re.search(says, record.getMessage())


def test_what_is_stated_is_not_guessed(tmp_path, caplog):
    save(tmp_path, walk(10))
    with caplog.at_level("INFO"):
        assert stills.are_stills(config.Capture(source=str(tmp_path), pictures="stills"))
    other = tmp_path / "other"
    other.mkdir()
    save(other, [scene(k) for k in range(10)])
    with caplog.at_level("INFO"):
        assert not stills.are_stills(config.Capture(source=str(other), pictures="clip"))
        assert not stills.are_stills(config.Capture(source=str(other), loop=True))
        assert not stills.are_stills(config.Capture(source=str(other), pace="live"))
    assert caplog.text == ""


def test_videos_cameras_and_missing_files_are_no_stills(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4")
    for source in (str(clip), "0", "rtsp://camera/1", str(tmp_path / "gone.jpg")):
        assert not stills.are_stills(config.Capture(source=source))


def test_stills_that_cannot_be_are_refused(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4")
    for source in (str(clip), "0"):
        with pytest.raises(UserError, match=r"stills needs a picture or a folder of .*, not .* Leave out --stills"):
            stills.are_stills(config.Capture(source=source, pictures="stills"))
    save(tmp_path, [scene(1)])
    with pytest.raises(UserError, match=r"capture.pace: live plays a clip"):
        stills.are_stills(config.Capture(source=str(tmp_path), pictures="stills", pace="live"))


def test_an_animated_picture_is_no_still(tmp_path):
    film = write_film(tmp_path / "moving.png", greys(4), codec="apng", container="apng")
    assert not stills.are_stills(config.Capture(source=str(film)))
    with pytest.raises(UserError, match="stills needs a picture or a folder of pictures"):
        stills.are_stills(config.Capture(source=str(film), pictures="stills"))
