"""Cameras and recordings at addresses: RTSP, HTTP, HLS, MPEG-TS."""

import functools
import http.server
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from refit_rt import config
from refit_rt.capture import is_camera, network
from refit_rt.capture.film import shown_address
from refit_rt.errors import UserError
from refit_rt.pipeline import Pipeline
from tests.support.filmed import source_of
from tests.support.films import ball, greys, h264, place, write_film
from tests.support.rtsp import RtspCamera, units

COUNT = 150
Handler = Callable[..., http.server.BaseHTTPRequestHandler]


@pytest.fixture(scope="module")
def pictures() -> list[list[bytes]]:
    """The film of a camera with a single keyframe, its first picture: the ball moves on with every picture."""
    return [units(coded) for coded in h264([ball(k, step_px=0.25) for k in range(COUNT)])]


@contextmanager
def serving(handler: Handler) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def files_of(folder: Path) -> Handler:
    return functools.partial(Quiet, directory=str(folder))


class Mjpeg(http.server.BaseHTTPRequestHandler):
    """A camera that sends `count` pictures, one every `step_s`, and then nothing more."""

    count, step_s = 1000, 1 / 15
    ended = threading.Event()

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        try:
            for k in range(self.count):
                jpeg = cv2.imencode(".jpg", ball(k))[1].tobytes()
                self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\n")
                self.wfile.write(b"Content-Length: %d\r\n\r\n%b\r\n" % (len(jpeg), jpeg))
                time.sleep(self.step_s)
            self.ended.wait(20)
        except OSError:
            pass

    def log_message(self, *_):
        pass


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_camera_is_seen_from_its_first_keyframe_on(pictures, transport):
    with RtspCamera(pictures, 50, transport) as camera:
        source = source_of(camera.address, transport=transport)
        frames = list(itertools.islice(iter(source), 20))
        source.close()
    indices = np.array([f.index for f in frames])
    assert (np.diff(indices) > 0).all()
    assert indices[0] < COUNT / 2  # the only keyframe was not waited for again
    for frame in frames:
        assert place(frame.image)[0] == pytest.approx(place(ball(frame.index, step_px=0.25))[0], abs=0.3)
    assert source.bad == 0


def test_a_camera_that_is_joined_between_two_keyframes_is_waited_for():
    coded = [units(one) for one in h264([ball(k) for k in range(COUNT)], keyframe_every=75)]
    with RtspCamera(coded[10:], 60) as camera:
        source = source_of(camera.address)
        frame = next(iter(source))
        source.close()
    assert place(frame.image)[2] == pytest.approx(1, abs=0.05)


def test_a_camera_that_sends_by_udp_alone_is_refused_with_the_cure(pictures):
    with RtspCamera(pictures, 25, "udp") as camera, pytest.raises(UserError) as refused:
        source_of(camera.address)
    assert "no video arrives (Protocol not supported)" in str(refused.value)
    assert "set capture.transport to udp" in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_camera_that_stalls_is_silent_and_ends_at_once(pictures, monkeypatch):
    monkeypatch.setattr(network, "SILENT_S", 0.3)
    with RtspCamera(pictures, 50, stall_after=40) as camera:
        source = source_of(camera.address)
        frames: list[int] = []
        reader = threading.Thread(target=lambda: frames.extend(f.index for f in source))
        reader.start()
        until_s = time.monotonic() + 8
        while not source.waiting and time.monotonic() < until_s:
            time.sleep(0.02)
        assert source.waiting == f"{shown_address(camera.address)} is silent"
        source.close()
        reader.join(0.5)
        assert not reader.is_alive()
    assert max(frames) >= 38  # FFmpeg gives a picture on when the next one begins


def test_the_end_of_a_run_does_not_wait_for_a_camera_that_stalls(monkeypatch, caplog):
    class Slow(Mjpeg):
        count = 3

    from tests.test_pipeline import load

    with serving(Slow) as address:
        stop = threading.Event()
        settings = config.Settings(
            capture=config.Capture(source=f"{address}/video"), publish=config.Publish(enabled=False)
        )
        pipeline = Pipeline(settings, load())
        threading.Timer(1.0, stop.set).start()
        began_s = time.monotonic()
        report = pipeline.run(stop)
    assert not report.hung
    assert time.monotonic() - began_s < 5
    assert report.frames >= 1
    assert "Unplug it" not in caplog.text


def test_the_frames_of_a_camera_come_when_they_arrive(pictures):
    with serving(Mjpeg) as address:
        assert is_camera(f"{address}/video")
        source = source_of(f"{address}/video")
        frames = list(itertools.islice(iter(source), 12))
        source.close()
    assert source.fps == 0  # FFmpeg says 25 of every such camera
    assert np.median(np.diff([f.time_s for f in frames])) == pytest.approx(1 / 15, rel=0.3)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.ts", "clip.gif", "list.m3u8"])
def test_a_recording_at_an_address_is_read_whole_and_ends(tmp_path, name):
    if name.endswith("m3u8"):
        write_film(tmp_path / name, greys(20), container="hls", options={"g": "5"})
    else:
        write_film(tmp_path / name, greys(20), codec="gif" if name.endswith("gif") else "libx264")
    with serving(files_of(tmp_path)) as address:
        assert not is_camera(f"{address}/{name}")
        source = source_of(f"{address}/{name}", lossless=True)
        frames = list(source)
        assert ([f.index for f in frames], source.bad, source.runs_by_itself) == (list(range(20)), 0, False)
        np.testing.assert_allclose([f.time_s for f in frames], np.arange(20) / 25, atol=1e-2)
        live = source_of(f"{address}/{name}")
        indices = [f.index for f in live]
    assert len(indices) >= 15
    assert indices[-1] == 19


def test_a_list_that_goes_on_is_a_camera_whose_frames_come_at_their_own_times(tmp_path):
    with av.open(str(tmp_path / "live.m3u8"), "w", format="hls", options={"hls_time": "0.4"}) as film:
        stream = film.add_stream("libx264", rate=25, options={"g": "10", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for picture in greys(30):
            film.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        film.mux(stream.encode(None))
    text = (tmp_path / "live.m3u8").read_text()
    (tmp_path / "live.m3u8").write_text(text.replace("#EXT-X-ENDLIST", ""))
    with serving(files_of(tmp_path)) as address:
        assert is_camera(f"{address}/live.m3u8")
        source = source_of(f"{address}/live.m3u8")
        frames = list(itertools.islice(iter(source), 20))
        source.close()
    assert frames[-1].index <= 25  # all of them arrive at once
    assert frames[-1].time_s == pytest.approx(frames[-1].index / 25, abs=0.15)


def test_a_camera_that_sends_a_stream_of_a_broadcast_is_read(pictures, tmp_path):
    film = write_film(tmp_path / "a.ts", [ball(k) for k in range(60)], options={"g": "60"}).read_bytes()

    class Broadcast(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "video/mp2t")
            self.end_headers()
            try:
                self.wfile.write(film)
                threading.Event().wait(3)
            except OSError:
                pass

        def log_message(self, *_):
            pass

    with serving(Broadcast) as address:
        assert is_camera(f"{address}/live")
        source = source_of(f"{address}/live")
        frame = next(iter(source))
        source.close()
    assert frame.size == (96, 64)


def test_an_address_without_video_is_refused_with_what_ffmpeg_says(tmp_path):
    (tmp_path / "page.html").write_text("<html>no video</html>")
    with serving(files_of(tmp_path)) as address:
        with pytest.raises(UserError, match=r"no video arrives \(.*404.*\)\. Check the address"):
            source_of(f"{address}/gone.mp4")
        with pytest.raises(UserError, match=r"no video arrives \(Invalid data"):
            source_of(f"{address}/page.html")


def test_a_broken_connection_is_reported_as_the_early_end_of_a_recording(tmp_path, caplog):
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(40)]
    film = write_film(tmp_path / "a.mkv", noise, options={"g": "1"}).read_bytes()
    asked: list[int] = []

    class Breaking(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(1)
            self.send_response(200)
            self.send_header("Content-Length", str(len(film)))
            self.end_headers()
            self.wfile.write(film[: len(film) // 2])

        def log_message(self, *_):
            pass

    with serving(Breaking) as address:
        source = source_of(f"{address}/a.mkv", lossless=True)
        frames = list(source)
    assert 5 < len(frames) < 35
    assert "a.mkv: the film ends after" in caplog.text or "a.mkv: cannot be read after" in caplog.text


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://me:secret@host:554/a@b", "rtsp://host:554/a@b"),
        ("rtsp://me:sec@ret@host/x", "rtsp://host/x"),
        ("http://host/x", "http://host/x"),
        ("/films/a.mp4", "/films/a.mp4"),
    ],
)
def test_no_password_is_shown(address, shown):
    assert shown_address(address) == shown


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_stream_of_packets_is_read_although_its_sender_says_nothing_of_itself(tmp_path):
    film = write_film(tmp_path / "a.ts", [ball(k) for k in range(60)], options={"g": "15", "bf": "0"}).read_bytes()
    address, stop = f"udp://127.0.0.1:{free_port()}", threading.Event()

    def send() -> None:
        port = int(address.rpartition(":")[2])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            for place in itertools.cycle(range(0, len(film), 7 * 188)):
                if stop.wait(0.005):
                    return
                out.sendto(film[place : place + 7 * 188], ("127.0.0.1", port))

    sender = threading.Thread(target=send)
    sender.start()
    try:
        source = source_of(address)
        frames = list(itertools.islice(iter(source), 10))
        source.close()
    finally:
        stop.set()
        sender.join()
    assert {f.size for f in frames} == {(96, 64)}
