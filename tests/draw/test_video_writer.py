"""Overlay videos keep time, size and content, play everywhere, and failures to write them are errors in one line."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from urllib.parse import unquote

import av
import cv2
import numpy as np
import pytest

from refit_rt.draw import mp4
from refit_rt.draw.mp4 import even
from refit_rt.draw.video import OverlayWriter, fit_into
from refit_rt.errors import UserError
from refit_rt.files import prepare_folder
from refit_rt.types import Frame
from tests.support.fakes import frame, people
from tests.support.paths import ROOT

NO_PEOPLE = people([])


def draw(image, _people):
    return image


def recorded(path: Path, frames, live=False, fps=10.0) -> list[np.ndarray]:
    """Writes a video of these frames and reads its pictures."""
    writer = OverlayWriter(path, fps, lambda _size: draw, live)
    for one in frames:
        writer.add(one, NO_PEOPLE)
    writer.close()
    video, pictures = cv2.VideoCapture(str(path)), []
    while (read := video.read())[0]:
        pictures.append(read[1])
    return pictures


def times_s(path: Path) -> list[float]:
    """The times at which a player shows the pictures."""
    with av.open(str(path)) as video:
        return [float(picture.time) for picture in video.decode(video=0)]


def boxes(path: Path) -> list[str]:
    """The kinds of the outermost parts of an .mp4, in their order (ISO 14496-12)."""
    data, place, kinds = path.read_bytes(), 0, []
    while place < len(data):
        kinds.append(data[place + 4 : place + 8].decode())
        place += int.from_bytes(data[place : place + 4], "big")
    return kinds


def test_each_frame_is_written_once(tmp_path):
    pictures = recorded(tmp_path / "overlay.mp4", [frame(k, k / 30) for k in range(12)])
    assert len(pictures) == 12
    assert [file.name for file in tmp_path.iterdir()] == ["overlay.mp4"]


@pytest.mark.parametrize("live", [False, True])
def test_the_video_is_of_the_kind_that_browsers_and_phones_play(tmp_path, live):
    recorded(tmp_path / "overlay.mp4", [frame(k, k / 10, (65, 49)) for k in range(30)], live)
    with av.open(str(tmp_path / "overlay.mp4")) as video:
        (stream,) = video.streams.video
        assert stream.codec_context.codec.canonical_name == "h264"
        assert (stream.pix_fmt, stream.width, stream.height) == ("yuv420p", 64, 48)
        assert (video.duration or 0) / av.time_base == pytest.approx(3.0, abs=0.02)
    kinds = boxes(tmp_path / "overlay.mp4")
    assert "moof" not in kinds
    assert kinds.index("moov") < kinds.index("mdat")  # so that a player need not have the whole file to start


@pytest.mark.parametrize("live", [False, True])
def test_each_frame_stands_at_its_own_time(tmp_path, live):
    at_s = [5.0, 5.4, 5.5, 5.72, 65.0, 65.1]  # a camera that was away for a minute
    recorded(tmp_path / "overlay.mp4", [frame(k, time_s) for k, time_s in enumerate(at_s)], live)
    np.testing.assert_allclose(times_s(tmp_path / "overlay.mp4"), np.array(at_s) - 5, atol=1e-3)


def test_a_clip_that_begins_again_goes_on_at_its_rate(tmp_path):
    recorded(tmp_path / "overlay.mp4", [frame(k, k % 3 / 10) for k in range(7)], live=True)
    np.testing.assert_allclose(times_s(tmp_path / "overlay.mp4"), np.arange(7) / 10, atol=1e-3)


def test_a_live_recording_leaves_out_frames_that_come_too_soon(tmp_path):
    pictures = recorded(tmp_path / "overlay.mp4", [frame(k, k / 40) for k in range(12)], live=True)
    assert len(pictures) == 4  # 0.275 s at 10 pictures per second, the first at 0 s


def test_a_live_recording_keeps_frames_that_come_unevenly(tmp_path):
    pictures = recorded(tmp_path / "overlay.mp4", [frame(k, k / 10 + 0.02 * (k % 3)) for k in range(12)], live=True)
    assert len(pictures) == 12


def test_a_killed_run_leaves_a_video_up_to_its_last_seconds(tmp_path):
    code = (
        "import os, sys; import numpy as np; from pathlib import Path; from refit_rt.draw.mp4 import VideoFile\n"
        "video = VideoFile(Path(sys.argv[1]), (64, 48), 10, 'ultrafast')\n"
        "for k in range(55): video.write(np.full((48, 64, 3), k, np.uint8), k / 10)\n"
        "os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "overlay.mp4")], cwd=ROOT)
    assert done.returncode == 9
    (part,) = tmp_path.iterdir()
    assert part.name == ".overlay-part.mp4"
    assert times_s(part)[-1] > 3.5  # two seconds are one fragment


@contextmanager
def full_at(size: int) -> Iterator[None]:
    """No file can grow beyond so many bytes: the system refuses to write as on a full disk."""
    resource = pytest.importorskip("resource", reason="this system has no limit of a file's size")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def noise(frames: int) -> Iterator[Frame]:
    """About 20 kB each in a video."""
    random = np.random.default_rng(0)
    for k in range(frames):
        yield replace(frame(k, k / 10, (160, 120)), image=random.integers(0, 255, (120, 160, 3), np.uint8))


def test_a_full_disk_is_an_error_in_one_line_and_leaves_no_file(tmp_path):
    writer = OverlayWriter(tmp_path / "overlay.mp4", 10, lambda _size: draw)
    says = r"overlay\.mp4: the video cannot be written \(.*\)\. Free some disk space, or set out\.overlay to false$"

    def fill():
        for one in noise(200):
            writer.add(one, NO_PEOPLE)

    with full_at(200_000), pytest.raises(UserError, match=says):
        fill()
    writer.close()  # as a stage does
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_at_the_end_is_an_error_too(tmp_path):
    writer = OverlayWriter(tmp_path / "overlay.mp4", 1, lambda _size: draw)
    for one in noise(15):  # not yet a whole fragment
        writer.add(one, NO_PEOPLE)
    with full_at(10_000), pytest.raises(UserError, match="the video cannot be written"):
        writer.close()
    writer.close()
    assert list(tmp_path.iterdir()) == []


def test_without_room_for_a_second_copy_the_video_stays_as_it_was_written(tmp_path, monkeypatch):
    move = mp4._move_index_to_front

    def without_room(path):
        with full_at(path.stat().st_size // 2):
            move(path)

    monkeypatch.setattr(mp4, "_move_index_to_front", without_room)
    recorded(tmp_path / "overlay.mp4", noise(60))
    assert "moof" in boxes(tmp_path / "overlay.mp4")
    assert len(times_s(tmp_path / "overlay.mp4")) == 60
    assert [file.name for file in tmp_path.iterdir()] == ["overlay.mp4"]


def test_without_an_h264_encoder_the_video_is_written_and_the_user_is_warned(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(mp4, "ENCODER", "none_of_this_name")
    assert len(recorded(tmp_path / "overlay.mp4", [frame(k, k / 10) for k in range(3)])) == 3
    assert "browsers will not play the video" in caplog.text


PAGE = b"""<video id=v src=overlay.mp4 muted></video><script>
const say = text => fetch("/" + encodeURIComponent(text), {method: "POST"});
v.onended = () => say(`played ${v.videoWidth}x${v.videoHeight}, ${v.duration.toFixed(1)} s`);
v.onerror = () => say("error " + v.error.message);
v.play();
</script>"""


def test_a_browser_plays_the_video(tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs Chromium")
    recorded(tmp_path / "overlay.mp4", [frame(k, k / 10, (320, 240)) for k in range(10)])
    heard: Queue[str] = Queue()

    class Server(BaseHTTPRequestHandler):
        def do_GET(self):
            video = self.path.endswith(".mp4")
            self.send_response(200)
            self.send_header("Content-Type", "video/mp4" if video else "text/html")
            self.end_headers()
            self.wfile.write((tmp_path / "overlay.mp4").read_bytes() if video else PAGE)

        def do_POST(self):
            heard.put(unquote(self.path))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format, *args):  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
        command += ["--autoplay-policy=no-user-gesture-required", "--remote-debugging-port=0"]
        page = f"http://127.0.0.1:{server.server_port}/"
        with subprocess.Popen([*command, page], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                assert heard.get(timeout=60) == "/played 320x240, 1.0 s"
            finally:
                process.terminate()
                server.shutdown()


def test_the_size_of_the_video_is_one_that_decoders_take():
    assert even((1921, 1081)) == (1920, 1080)
    assert even((8192, 4320)) == (4096, 2160)
    assert even((1, 5)) == (2, 4)


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
