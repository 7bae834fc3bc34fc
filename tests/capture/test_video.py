"""Video files played live or read losslessly, and sources that cannot be opened."""

import itertools
import threading
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from refit_rt.capture import is_camera
from refit_rt.errors import UserError
from tests.support.filmed import grey, source_of, write_clip


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mp4")


def test_every_frame_of_a_file_is_read_in_order(clip):
    source = source_of(clip, lossless=True, name="left")
    frames = list(source)
    assert [f.index for f in frames] == list(range(20))
    np.testing.assert_allclose([f.time_s for f in frames], np.arange(20) / 50, atol=1e-3)
    np.testing.assert_allclose([grey(f) for f in frames], np.arange(20) * 10, atol=4)
    assert (source.fps, source.bad, frames[0].camera, frames[0].size) == (50, 0, "left", (64, 48))


def test_a_file_played_live_gives_frames_when_they_are_due(clip):
    frames = list(source_of(clip))
    waits = np.array([f.captured_s - f.time_s for f in frames])
    assert waits.min() > waits[0] - 0.001  # never early; late only if the machine is slow


def test_a_late_reader_of_a_live_file_skips_frames_and_the_index_shows_it(clip):
    indices = []
    for frame in source_of(clip):
        indices.append(frame.index)
        time.sleep(0.09)  # four and a half frame intervals
    assert 2 <= len(indices) <= 10
    assert indices == sorted(indices)
    assert max(np.diff(indices)) > 1


def test_a_machine_too_slow_to_decode_still_gets_frames(clip):
    frames = list(source_of(clip, fps=100_000.0))
    assert len(frames) >= 2


def test_a_file_may_be_played_at_another_rate(clip):
    source = source_of(clip, fps=200.0)
    assert source.fps == 200
    last = list(source)[-1]
    assert last.time_s == pytest.approx(last.index / 200)


def test_a_looped_file_counts_on_until_it_is_closed(clip):
    source = source_of(clip, fps=500.0, loop=True)
    frames = []
    for frame in source:
        frames.append(frame)
        if frame.index >= 45:
            source.close()
    assert frames[-1].index >= 45
    assert all(b.time_s > a.time_s for a, b in itertools.pairwise(frames))


def test_a_waiting_live_file_is_woken_by_close(tmp_path):
    source = source_of(write_clip(tmp_path / "slow.mp4"), fps=0.01)
    reader = threading.Thread(target=lambda: list(source))
    reader.start()
    source.close()
    reader.join(5)
    assert not reader.is_alive()


@pytest.mark.parametrize("size", [(48, 64), (64, 48), (80, 60), (320, 180)])
def test_images_of_any_shape_are_read(tmp_path, size):
    frame = next(iter(source_of(write_clip(tmp_path / "any.mp4", 2, size=size), lossless=True)))
    assert (frame.size, frame.image.dtype, frame.image.shape[2]) == (size, np.uint8, 3)


def test_a_truncated_file_delivers_its_frames_and_logs_the_loss(tmp_path, caplog):
    whole = tmp_path / "whole.avi"
    writer = cv2.VideoWriter(str(whole), cv2.VideoWriter.fourcc(*"MJPG"), 30, (64, 48))
    for _ in range(20):
        writer.write(np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8))
    writer.release()
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    frames = list(source_of(cut, lossless=True))
    assert 5 <= len(frames) < 15
    assert "its header states 20" in caplog.text


def write_holed(path: Path) -> Path:
    """Twelve frames, of 0, 10, 20 … grey levels; the bytes of the fourth and the fifth are damaged."""
    with av.open(str(path), "w", format="avi") as film:
        stream = film.add_stream("mjpeg", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for k in range(12):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 10 * k, np.uint8), format="bgr24")
            for packet in stream.encode(picture):
                if k in (3, 4):
                    packet = av.Packet(bytes(packet.size))
                    packet.stream, packet.pts, packet.dts = stream, k, k
                film.mux(packet)
    return path


def test_a_frame_keeps_its_number_in_the_file_when_others_cannot_be_read(tmp_path, caplog):
    source = source_of(write_holed(tmp_path / "holed.avi"), lossless=True)
    frames = list(source)
    assert [f.index for f in frames] == [round(grey(f) / 10) for f in frames] == [0, 1, 2, *range(5, 12)]
    np.testing.assert_allclose([f.time_s for f in frames], [f.index / 30 for f in frames], atol=1e-6)
    assert source.bad == 2
    assert "its header states" not in caplog.text


def test_a_looped_file_with_holes_counts_them_every_time(tmp_path):
    source = source_of(write_holed(tmp_path / "holed.avi"), loop=True, fps=100.0)
    frames = list(itertools.islice(source, 15))
    assert all(f.index % 12 == round(grey(f) / 10) for f in frames)
    assert frames[-1].index > 12


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("gone.mp4", "gone.mp4: no such file, folder or camera. Check capture.source"),
        ("97", r"camera 97 (\(.*\) does not exist|delivers no image)"),
        ("http://127.0.0.1:9/video", r"no video arrives \(Connection refused\). Check the address"),
        ("rtsp://me:secret@127.0.0.1:9/video", "^rtsp://127.0.0.1:9/video: no video arrives"),
    ],
)
def test_a_missing_source_is_named_with_the_cure(source, message):
    with pytest.raises(UserError, match=message):
        source_of(source)


def test_files_without_images_are_named(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(UserError, match=r"text.mp4: is not a readable video"):
        source_of(tmp_path / "text.mp4")
    with pytest.raises(UserError, match="contains no readable image"):
        source_of(tmp_path)
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(UserError, match=r"empty.mp4: is not a readable video"):
        source_of(tmp_path / "empty.mp4")


def test_a_live_camera_cannot_be_lossless():
    with pytest.raises(UserError, match=r"capture.pace: lossless needs a file"):
        source_of("0", lossless=True)


def test_cameras_and_recordings_are_distinguished():
    assert all(map(is_camera, ["0", "12", "/dev/video2", "rtsp://host/x", "http://host/x.mjpg"]))
    assert not any(map(is_camera, ["clip.mp4", "0.mp4", "/data/shots"]))
