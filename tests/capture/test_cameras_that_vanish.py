"""Webcams and network cameras that vanish and come back."""

import http.server
import itertools
import logging
import threading
import time
from typing import Any, cast

import cv2
import numpy as np

from refit_rt import config
from refit_rt.capture import retry
from refit_rt.capture.retry import Lasting
from refit_rt.capture.webcam import WebcamSource
from tests.support.filmed import source_of


class FakeCapture:
    """Delivers `good` images, then fails."""

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
    first, captures = FakeCapture(3), [None, None, FakeCapture(2)]
    attempts, attempted_s = [], []

    def connect() -> Any:
        attempts.append(lasting.waiting)
        attempted_s.append(time.monotonic())
        return captures.pop(0)

    monkeypatch.setattr(retry, "FIRST_PAUSE_S", 0.02)
    lasting = Lasting("cam", "camera 0", connect, longest_s=0.05)
    indices, waiting = [], []
    with caplog.at_level(logging.WARNING):
        for frame in lasting.frames(cast("cv2.VideoCapture", first)):
            indices.append(frame.index)
            waiting.append(lasting.waiting)
            if len(indices) == 5:
                lasting.stop()
    pauses_s = [record.args[1] for record in caplog.records if "attempt" in record.message and record.args]
    assert pauses_s == [0.02, 0.04, 0.05]  # doubled, up to longest_s
    assert (np.diff(attempted_s) > np.array(pauses_s[1:]) - 0.005).all()
    assert attempts == [f"camera 0 is disconnected, attempt {number}" for number in (1, 2, 3)]
    assert indices == [0, 1, 2, 3, 4]
    assert first.released
    assert waiting == [""] * 5
    assert "camera 0 is connected again" in caplog.text


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
    """Records the properties that are set."""

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
    """A network camera that delivers a few images per connection and hangs up."""

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


def test_a_network_camera_that_hangs_up_is_opened_again():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mjpeg)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    source = source_of(f"http://127.0.0.1:{server.server_port}/video.mjpg", retry_s=0.05)
    frames = list(itertools.islice(iter(source), 12))  # more than one connection delivers
    source.close()
    server.shutdown()
    server.server_close()
    indices = [f.index for f in frames]
    assert indices == sorted(set(indices)), "the newest wins: a frame that is not taken in time is passed over"
    assert frames[0].size == (64, 48)
    assert source.runs_by_itself
