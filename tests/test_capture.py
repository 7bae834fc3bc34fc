import http.server
import itertools
import logging
import struct
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from refit_rt import config
from refit_rt.capture import is_camera, open_source
from refit_rt.capture.exif import focal_35mm
from refit_rt.capture.folder import natural
from refit_rt.capture.picture import as_bgr
from refit_rt.capture.retry import Lasting
from refit_rt.capture.webcam import WebcamSource
from refit_rt.errors import UserError


def write_clip(path: Path, count: int = 20, fps: float = 50.0, size: tuple[int, int] = (64, 48)) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, size)
    for k in range(count):
        writer.write(np.full((size[1], size[0], 3), 10 * k, np.uint8))
    writer.release()
    return path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mp4")


def source_of(source, lossless=False, **settings):
    return open_source(config.Capture(source=str(source), **settings), lossless)


def grey(frame) -> float:
    return round(float(frame.image.mean()))


# Files


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
    assert waits.min() > waits[0] - 0.001  # never early; late only as far as the machine is


def test_a_late_reader_of_a_live_file_skips_frames_and_the_index_shows_it(clip):
    indices = []
    for frame in source_of(clip):
        indices.append(frame.index)
        time.sleep(0.09)  # four and a half frames
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
def test_any_shape_of_picture_is_taken(tmp_path, size):
    frame = next(iter(source_of(write_clip(tmp_path / "any.mp4", 2, size=size), lossless=True)))
    assert (frame.size, frame.image.dtype, frame.image.shape[2]) == (size, np.uint8, 3)


def test_a_file_that_is_cut_off_gives_what_there_is_and_says_so(tmp_path, caplog):
    whole = tmp_path / "whole.avi"
    writer = cv2.VideoWriter(str(whole), cv2.VideoWriter.fourcc(*"MJPG"), 30, (64, 48))
    for _ in range(20):
        writer.write(np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8))
    writer.release()
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    frames = list(source_of(cut, lossless=True))
    assert 5 <= len(frames) < 15
    assert "its header says 20" in caplog.text


class HoledFile:
    """A video file of twelve frames, two of which cannot be read."""

    def __init__(self, *_) -> None:
        self.at = -1

    def grab(self) -> bool:
        self.at += 1
        return self.at < 12 and self.at not in (3, 4)

    def retrieve(self):
        return True, np.full((8, 8, 3), self.at, np.uint8)

    def get(self, prop) -> float:
        return {cv2.CAP_PROP_FPS: 30.0, cv2.CAP_PROP_FRAME_COUNT: 12.0}.get(prop, self.at / 30 * 1e3)

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return True

    def release(self) -> None:
        pass


def test_a_frame_keeps_its_number_in_the_file_when_others_cannot_be_read(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(cv2, "VideoCapture", HoledFile)
    (tmp_path / "holed.mp4").touch()
    source = source_of(tmp_path / "holed.mp4", lossless=True)
    frames = list(source)
    assert [f.index for f in frames] == [grey(f) for f in frames] == [0, 1, 2, *range(5, 12)]
    np.testing.assert_allclose([f.time_s for f in frames], [f.index / 30 for f in frames], atol=1e-6)
    assert source.bad == 2
    assert "its header says" not in caplog.text


def test_a_looped_file_with_holes_counts_them_every_time(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", HoledFile)
    (tmp_path / "holed.mp4").touch()
    source = source_of(tmp_path / "holed.mp4", loop=True, fps=100.0)
    frames = list(itertools.islice(source, 15))
    assert all(f.index % 12 == grey(f) for f in frames)
    assert frames[-1].index > 12


# Folders


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
    assert "frame 1 is left out" in caplog.text


def test_one_image_is_a_source_too(tmp_path):
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((8, 8, 3), np.uint8))
    assert len(list(source_of(tmp_path / "1.png", lossless=True))) == 1


def test_natural_order_counts():
    names = ["b.jpg", "a10.jpg", "a2.jpg", "2.jpg", "10.jpg"]
    assert [p.name for p in sorted(map(Path, names), key=natural)] == ["2.jpg", "10.jpg", "a2.jpg", "a10.jpg", "b.jpg"]


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_focal_length_is_read_from_exif(tmp_path, order):
    path = tmp_path / "photo.jpg"
    cv2.imwrite(str(path), np.zeros((300, 400, 3), np.uint8))
    path.write_bytes(with_exif(path.read_bytes(), order, 27))
    assert focal_35mm(path) == 27
    source = source_of(tmp_path, lossless=True)
    assert source.exif_focal_px((400, 300)) == pytest.approx(27 / 43.267 * 500, rel=1e-4)  # the diagonal is 500 px


def test_a_picture_without_exif_says_nothing_of_its_lens(tmp_path):
    cv2.imwrite(str(tmp_path / "1.jpg"), np.zeros((8, 8, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((8, 8, 3), np.uint8))
    assert focal_35mm(tmp_path / "1.jpg") is None
    assert focal_35mm(tmp_path / "1.png") is None
    assert source_of(tmp_path).exif_focal_px((8, 8)) is None


def with_exif(jpeg: bytes, order: str, focal_mm: int) -> bytes:
    """A JPEG with FocalLengthIn35mmFilm."""
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    first = struct.pack(order + "HHHII", 1, 0x8769, 4, 1, 26) + bytes(4)
    exif = struct.pack(order + "HHHIHH", 1, 0xA405, 3, 1, focal_mm, 0) + bytes(4)
    block = b"Exif\0\0" + head + first + exif
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + jpeg[2:]


# Pictures


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
def test_whatever_came_becomes_eight_bits_of_bgr(image, value):
    out = as_bgr(image)
    assert (out.shape, out.dtype) == ((4, 6, 3), np.uint8)
    assert (out == value).all()


@pytest.mark.parametrize("image", [np.zeros((0, 6, 3), np.uint8), np.zeros((4, 6, 2), np.uint8), np.zeros(5, np.uint8)])
def test_what_is_no_picture_is_refused(image):
    with pytest.raises(ValueError, match="an image of"):
        as_bgr(image)


# What cannot be opened


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("gone.mp4", "gone.mp4: no such file, folder or camera. Check capture.source"),
        ("97", "there is no camera 97|gives no picture"),
        ("http://127.0.0.1:9/video", "gives no video. Check the address"),
        ("rtsp://me:secret@127.0.0.1:9/video", "^rtsp://127.0.0.1:9/video: gives no video"),
    ],
)
def test_a_source_that_is_not_there_is_named_with_the_cure(source, says):
    with pytest.raises(UserError, match=says):
        source_of(source)


def test_files_that_hold_no_pictures_are_named(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(UserError, match=r"text.mp4: is no video that can be read"):
        source_of(tmp_path / "text.mp4")
    with pytest.raises(UserError, match="holds no image that can be read"):
        source_of(tmp_path)
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(UserError, match=r"empty.mp4: is no video"):
        source_of(tmp_path / "empty.mp4")


def test_a_live_camera_cannot_be_lossless():
    with pytest.raises(UserError, match=r"capture.pace: lossless needs a file"):
        source_of("0", lossless=True)


def test_cameras_are_told_from_recordings():
    assert all(map(is_camera, ["0", "12", "/dev/video2", "rtsp://host/x", "http://host/x.mjpg"]))
    assert not any(map(is_camera, ["clip.mp4", "0.mp4", "/data/shots"]))


# Cameras that vanish


class FakeCapture:
    """Gives `good` pictures, then fails."""

    def __init__(self, good: int) -> None:
        self.left = good
        self.released = False

    def grab(self) -> bool:
        self.left -= 1
        return self.left >= 0

    def retrieve(self):
        return True, np.zeros((8, 8, 3), np.uint8)

    def release(self) -> None:
        self.released = True


def test_a_camera_that_vanished_is_opened_again_with_growing_pauses(monkeypatch, caplog):
    captures: list[Any] = [FakeCapture(3), None, None, FakeCapture(2), None]
    lasting = Lasting("cam", "camera 0", lambda: captures.pop(0), longest_s=1.5)
    pauses = []
    monkeypatch.setattr(lasting._stopped, "wait", lambda pause_s: pauses.append(pause_s) or not captures)
    seen_waiting = []
    first = captures.pop(0)
    frames = []
    with caplog.at_level(logging.WARNING):
        for frame in lasting.frames(first):
            frames.append(frame)
            seen_waiting.append(lasting.waiting)
            if len(captures) == 0:
                break
            if len(frames) == 5:
                lasting.stop()
    assert pauses[:3] == [0.5, 1.0, 1.5]  # and no longer than retry_s
    assert [f.index for f in frames] == [0, 1, 2, 3, 4]
    assert first.released
    assert seen_waiting == [""] * 5
    assert "camera 0 has vanished, try 1" in caplog.text
    assert "camera 0 is back" in caplog.text


def test_stopping_ends_the_waiting_for_a_camera():
    lasting = Lasting("cam", "camera 0", lambda: None, longest_s=1000)
    camera: Any = FakeCapture(1)
    reader = threading.Thread(target=lambda: list(lasting.frames(camera)))
    reader.start()
    while not lasting.waiting:
        time.sleep(0.01)
    lasting.stop()
    reader.join(5)
    assert not reader.is_alive()


class FakeWebcam(FakeCapture):
    """Notes what it is asked for."""

    def __init__(self, *_) -> None:
        super().__init__(good=3)
        self.asked: list[int] = []

    def set(self, prop, value) -> bool:
        self.asked.append(prop)
        return True

    def get(self, prop) -> float:
        return 30.0

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return True


def test_a_webcam_is_asked_for_mjpg_before_its_size_and_to_queue_nothing(tmp_path, monkeypatch):
    webcam = FakeWebcam()
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: webcam)
    (tmp_path / "video0").touch()
    source = WebcamSource(config.Capture(source=str(tmp_path / "video0"), height=0))
    assert webcam.asked == [cv2.CAP_PROP_FOURCC, cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_BUFFERSIZE]
    assert (source.fps, source.runs_by_itself) == (30, True)
    assert [f.index for f in itertools.islice(source, 2)] == [0, 1]


class Mjpeg(http.server.BaseHTTPRequestHandler):
    """A network camera that gives a few pictures and hangs up, every time."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
        for _ in range(8):
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            self.wfile.write(head.encode() + jpeg + b"\r\n")

    def log_message(self, *_):
        pass


def test_a_network_camera_that_hangs_up_is_taken_up_again():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mjpeg)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    source = source_of(f"http://127.0.0.1:{server.server_port}/video.mjpg", retry_s=0.05)
    frames = list(itertools.islice(iter(source), 12))  # more than one connection gives
    source.close()
    server.shutdown()
    server.server_close()
    assert [f.index for f in frames] == list(range(12))
    assert frames[0].size == (64, 48)
    assert source.runs_by_itself
