"""Overlay videos keep time, size and content, and failures to write them are errors in one line."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from refit_rt.draw.video import OverlayWriter, fit_into
from refit_rt.errors import UserError
from refit_rt.files import prepare_folder
from tests.support.fakes import frame, people

NO_PEOPLE = people([])


def draw(image, _people):
    return image


def recorded(path: Path, frames, keep_time=False, fps=10.0) -> list[np.ndarray]:
    """Writes a video of these frames and reads its pictures."""
    writer = OverlayWriter(path, fps, lambda _size: draw, keep_time)
    for one in frames:
        writer.add(one, NO_PEOPLE)
    writer.close()
    video, pictures = cv2.VideoCapture(str(path)), []
    while (read := video.read())[0]:
        pictures.append(read[1])
    return pictures


def test_each_frame_is_written_once(tmp_path):
    pictures = recorded(tmp_path / "overlay.mp4", [frame(k, k / 30) for k in range(12)])
    assert len(pictures) == 12
    assert [file.name for file in tmp_path.iterdir()] == ["overlay.mp4"]


def test_a_live_recording_keeps_time_when_frames_were_lost(tmp_path):
    pictures = recorded(tmp_path / "overlay.mp4", [frame(0, 0.0), frame(4, 0.4), frame(5, 0.5)], keep_time=True)
    assert len(pictures) == 6


def test_a_live_recording_leaves_out_frames_that_come_too_soon(tmp_path):
    pictures = recorded(tmp_path / "overlay.mp4", [frame(k, k / 40) for k in range(12)], keep_time=True)
    assert len(pictures) == 4  # 0.275 s at 10 pictures per second, the first at 0 s


def test_an_hour_without_a_camera_does_not_fill_the_disk(tmp_path):
    pictures = recorded(tmp_path / "overlay.mp4", [frame(0, 0.0), frame(1, 3600.0), frame(2, 3600.1)], keep_time=True)
    assert len(pictures) == 3


def test_the_video_shows_what_was_drawn(tmp_path):
    def red(image, _people):
        return np.full_like(image, (0, 0, 200))

    writer = OverlayWriter(tmp_path / "overlay.mp4", 10, lambda _size: red)
    writer.add(frame(), NO_PEOPLE)
    writer.close()
    picture = cv2.VideoCapture(str(tmp_path / "overlay.mp4")).read()[1]
    np.testing.assert_allclose(picture.mean((0, 1)), (0, 0, 200), atol=6)


@pytest.mark.parametrize("size", [(65, 49), (48, 64), (640, 361)])
def test_odd_and_portrait_pictures_are_recorded(tmp_path, size):
    pictures = recorded(tmp_path / "overlay.mp4", [frame(k, k / 10, size) for k in range(3)])
    assert pictures[0].shape == (size[1] // 2 * 2, size[0] // 2 * 2, 3)


def test_a_picture_of_another_size_is_shown_whole_and_undistorted(tmp_path):
    pictures = recorded(tmp_path / "overlay.mp4", [frame(0, 0.0, (64, 48)), frame(1, 0.1, (48, 96))])
    assert pictures[1].shape == (48, 64, 3)
    assert pictures[1][24, 32].mean() == pytest.approx(90, abs=8)
    assert pictures[1][24, 5].mean() < 12  # black at its side
    inner = fit_into(np.ones((96, 48, 3), np.uint8), (64, 48))
    assert inner.max(axis=(0, 2)).sum() == 24  # columns


def test_without_a_frame_there_is_no_file(tmp_path):
    assert recorded(tmp_path / "overlay.mp4", []) == []
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_one_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"out.dir: .* it is a file. Give another folder with --out"):
        prepare_folder(tmp_path / "file")
    with pytest.raises(UserError, match=r"out.dir"):
        prepare_folder(tmp_path / "file" / "below")
    assert prepare_folder(tmp_path / "a" / "b").is_dir()


def test_a_video_that_cannot_be_written_is_an_error_in_one_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    writer = OverlayWriter(tmp_path / "file" / "overlay.mp4", 10, lambda _size: draw)
    with pytest.raises(UserError, match=r"overlay\.mp4: cannot be written .* set out\.overlay to false"):
        writer.add(replace(frame()), NO_PEOPLE)
