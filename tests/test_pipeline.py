import socket
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from refit_rt import config
from refit_rt.__main__ import command
from refit_rt.body.smpl import load_body
from refit_rt.errors import UserError
from refit_rt.follow import Follower
from refit_rt.motion.npz import MotionWriter, read_motion
from refit_rt.opening import is_lossless
from refit_rt.pipeline import Pipeline
from refit_rt.sender import Report
from refit_rt.stream import wire
from refit_rt.stream.subscribe import Listener
from tests.support.fakes import FakeDetector, FakeFitter, FakeTracker, frame


def load(wrong_at=None):
    def load_follower(settings, timings, live):
        fitter: Any = FakeFitter(load_body(), wrong_at)
        tracker: Any = FakeTracker()
        return Follower(settings, FakeDetector(), tracker, fitter, timings, live)

    return load_follower


@pytest.fixture
def address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 50, (64, 48))
    for k in range(20):
        writer.write(np.full((48, 64, 3), 10 * k, np.uint8))
    writer.release()
    return path


def settings_of(clip: Path | str, address: str, out: str = "", **capture) -> config.Settings:
    return config.Settings(
        capture=config.Capture(source=str(clip), **capture),
        publish=config.Publish(address=address),
        out=config.Out(dir=out, overlay=False),
    )


def test_a_recording_gives_every_frame_and_the_same_motion_every_time(clip, address, tmp_path):
    motions = []
    for name in ("first", "second"):
        report = Pipeline(settings_of(clip, address, str(tmp_path / name)), load()).run(threading.Event())
        assert (report.frames, report.dropped, report.people) == (20, 0, 1)
        motions.append(read_motion(tmp_path / name / "motion.npz"))
    assert motions[0].frame.tolist() == list(range(20))
    np.testing.assert_array_equal(motions[0].poses, motions[1].poses)
    assert (motions[0].fps, motions[0].size, motions[0].bundle) == (50, (64, 48), "fake")


def test_a_subscriber_gets_every_message_and_is_told_of_the_end(clip, address):
    listener = Listener(address, newest=False)
    messages: list[wire.Message] = []

    def listen():
        while not messages or messages[-1].status != "ended":
            if (message := listener.get()) is not None:
                messages.append(message)

    reader = threading.Thread(target=listen)
    reader.start()
    report = Pipeline(settings_of(clip, address, pace="live", loop=True), load())
    stop = threading.Event()
    threading.Timer(1.0, stop.set).start()
    report = report.run(stop)
    reader.join(5)
    listener.close()
    live = [m.people for m in messages if m.status == "live"]
    assert len(live) <= report.frames
    assert all(p.frame_index == live[0].frame_index + k + p.dropped - live[0].dropped for k, p in enumerate(live))
    assert messages[-1].status == "ended"
    assert len(messages[-1].people.ids) == 0


@pytest.mark.parametrize("pace", ["live", "lossless"])
def test_stopping_ends_every_thread_and_leaves_whole_files(clip, address, tmp_path, pace):
    settings = settings_of(clip, address, str(tmp_path / "out"), pace=pace, loop=True)
    stop = threading.Event()
    pipeline = Pipeline(settings, load())
    threading.Timer(0.2, stop.set).start()
    report = pipeline.run(stop)
    assert not report.hung
    motion = read_motion(tmp_path / "out" / "motion.npz")
    # Live, the first frames are published before the detector has answered.
    assert report.frames - (3 if pace == "live" else 0) <= len(motion.frame) <= report.frames
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["motion.npz"]


def test_files_are_written_to_their_end_however_long_it_takes(clip, address, tmp_path, monkeypatch):
    close = MotionWriter.close

    def slowly(writer):
        time.sleep(0.3)
        close(writer)

    monkeypatch.setattr(MotionWriter, "close", slowly)
    monkeypatch.setattr("refit_rt.watch.PATIENCE_S", 0.1)
    stop = threading.Event()
    pipeline = Pipeline(settings_of(clip, address, str(tmp_path / "out"), pace="live", loop=True), load())
    threading.Timer(0.2, stop.set).start()
    report = pipeline.run(stop)
    assert not report.hung
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["motion.npz"]


def test_a_new_motion_does_not_lie_beside_an_old_overlay(clip, address, tmp_path):
    (tmp_path / "overlay.mp4").write_text("of an earlier run")
    Pipeline(settings_of(clip, address, str(tmp_path)), load()).run(threading.Event())
    assert not (tmp_path / "overlay.mp4").exists()


def test_the_time_a_frame_takes_to_decode_is_in_the_table(clip, address):
    report = Pipeline(settings_of(clip, address, pace="lossless"), load()).run(threading.Event())
    assert next(iter(report.milliseconds)) == "capture"
    assert report.milliseconds["capture"][2] == 20
    assert 0 < report.milliseconds["capture"][0] < 10_000


def test_an_error_in_one_stage_ends_all_and_is_raised(clip, address, tmp_path):
    with pytest.raises(RuntimeError, match="the fit failed"):
        Pipeline(settings_of(clip, address, str(tmp_path / "out")), load(wrong_at=5)).run(threading.Event())
    assert len(read_motion(tmp_path / "out" / "motion.npz").frame) == 5
    assert all(thread.name not in {"capture", "follow", "send"} for thread in threading.enumerate())


def test_a_port_in_use_is_named_with_the_cure(clip, address):
    first = Pipeline(settings_of(clip, address), load())
    with pytest.raises(UserError, match=rf"publish.address: {address} cannot be bound .* another port"):
        Pipeline(settings_of(clip, address), load())
    stop = threading.Event()
    stop.set()
    first.run(stop)


def test_nothing_stays_open_when_loading_fails(clip, address):
    def fail(*_):
        raise UserError("no bundle")

    for _ in range(2):  # the second would not get the port
        with pytest.raises(UserError, match="no bundle"):
            Pipeline(settings_of(clip, address), fail)


class Vanishing:
    """A camera that gives one frame and is gone."""

    fps, runs_by_itself, waiting, bad = 50.0, True, "", 0

    def __init__(self) -> None:
        self._closed = threading.Event()

    def __iter__(self):
        yield frame()
        self._closed.wait(0.3)  # the subscriber has connected by then
        self.waiting = "camera 0 is disconnected, attempt 1"
        self._closed.wait()

    def close(self) -> None:
        self._closed.set()


def test_a_camera_that_hangs_is_named_and_what_was_seen_is_kept(address, tmp_path, monkeypatch, caplog):
    class Hanging(Vanishing):
        def close(self) -> None:
            stop.set()

    stop, camera = threading.Event(), Hanging()
    monkeypatch.setattr("refit_rt.opening.open_source", lambda *_: camera)
    monkeypatch.setattr("refit_rt.watch.PATIENCE_S", 0.1)
    threading.Timer(0.3, stop.set).start()
    report = Pipeline(settings_of("0", address, str(tmp_path)), load()).run(stop)
    camera._closed.set()
    assert report.hung
    assert "the camera does not let go" in caplog.text
    assert read_motion(tmp_path / "motion.npz").size == (64, 48)


def test_a_camera_that_hangs_is_no_success(monkeypatch):
    monkeypatch.setattr("refit_rt.pipeline.run", lambda *_, **__: Report(1, 0, 0, 0, 0.0, {}, hung=True))
    assert command(["run", "0"]) == 1


def test_a_camera_that_vanished_is_reported_as_waiting(address, monkeypatch):
    monkeypatch.setattr("refit_rt.opening.open_source", lambda *_: Vanishing())
    monkeypatch.setattr("refit_rt.watch.HEARTBEAT_S", 0.1)
    listener, stop = Listener(address, newest=False), threading.Event()
    runner = threading.Thread(target=Pipeline(settings_of("0", address), load()).run, args=(stop,))
    runner.start()
    messages = [listener.get(3000) for _ in range(2)]
    stop.set()
    runner.join()
    listener.close()
    assert messages[-1] is not None
    assert (messages[-1].status, messages[-1].people.frame_index, len(messages[-1].people.ids)) == ("waiting", 0, 0)


def test_a_deadline_does_not_touch_recordings(clip, address, tmp_path):
    seen = []

    def spy(settings, timings, live):
        seen.append(settings.fit.deadline_ms)
        return load()(settings, timings, live)

    for out in ("", str(tmp_path / "out")):
        settings = settings_of(clip, address, out)
        settings = config.Settings(
            capture=settings.capture, publish=settings.publish, out=settings.out, fit=config.Fit(deadline_ms=20)
        )
        Pipeline(settings, spy).run(threading.Event())
    assert seen == [20, 0]


def test_only_a_recording_that_is_kept_is_lossless_by_itself():
    def kind(source: str, out: str = "", pace: Any = "auto") -> bool:
        return is_lossless(config.Settings(capture=config.Capture(source=source, pace=pace), out=config.Out(dir=out)))

    assert kind("a.mp4", "out")
    assert not kind("a.mp4")
    assert not kind("0", "out")
    assert not kind("a.mp4", "out", "live")
    assert kind("a.mp4", "", "lossless")
