"""A run of several cameras: from sources to stream, recording and mosaic, and settings that cannot be used."""

import socket
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from refit_rt import config
from refit_rt.__main__ import command
from refit_rt.body.smpl import load_body
from refit_rt.cameras import Camera, Rig, read_rig, write_rig
from refit_rt.errors import UserError
from refit_rt.motion.npz import read_motion
from refit_rt.opening import is_lossless, opened
from refit_rt.pipeline import Pipeline
from refit_rt.stream import wire
from refit_rt.stream.subscribe import Listener
from refit_rt.types import FrameSet, People
from tests.support.fakes import FakeFitter, people
from tests.support.filmed import write_clip

SIZE = (64, 48)


class FakeRigFollower:
    """Finds one person in every tick; whoever has no picture is named."""

    def __init__(self, settings, timings, live) -> None:
        rig = read_rig(Path(settings.camera.calibration))
        self.cameras = {name: rig[name] for name in settings.capture.sources}
        self.fitter = FakeFitter(load_body())
        self.ticks: list[FrameSet] = []

    def step(self, tick: FrameSet) -> tuple[FrameSet, People]:
        self.ticks.append(tick)
        first = next(iter(self.cameras.values()))
        header = {"camera": first.name, "frame_index": tick.index, "captured_s": tick.captured_s}
        lens = {"size": first.size, "focal_px": first.focal_px, "centre_px": first.centre_px}
        one = people([1], trans=np.array([[0, 0, 3]], np.float32))
        return tick, replace(one, time_s=tick.time_s, missing=tick.missing, **header, **lens)

    def straight(self, tick: FrameSet) -> FrameSet:
        return tick

    def close(self) -> None:
        """Nothing is open."""


LOAD: Any = FakeRigFollower


@pytest.fixture
def settings(tmp_path: Path) -> config.Settings:
    """Two cameras, of which the right one's file ends after 6 of 10 frames."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    files = {"left": write_clip(tmp_path / "left.mp4", 10), "right": write_clip(tmp_path / "right.mp4", 6)}
    place = np.eye(4)
    place[0, 3] = 0.5
    lens = (SIZE, 60.0, (31.5, 23.5))
    cameras = Camera("left", *lens), Camera("right", *lens, world_from_camera=place), Camera("spare", *lens)
    write_rig(Rig(cameras), tmp_path / "rig.json")
    return config.Settings(
        capture=config.Capture(sources={name: str(path) for name, path in files.items()}),
        camera=config.Camera(calibration=str(tmp_path / "rig.json")),
        publish=config.Publish(address=address),
        out=config.Out(dir=str(tmp_path / "out")),
    )


def test_a_rig_is_followed_recorded_and_drawn(settings, tmp_path):
    pipeline = Pipeline(settings, LOAD)
    report = pipeline.run(threading.Event())
    assert (report.frames, report.dropped, report.missing) == (10, 0, {"right": 4})
    assert "cameras without a picture: right in 4 of the frames" in report.table()
    motion = read_motion(tmp_path / "out" / "motion.npz")
    assert motion.frame.tolist() == list(range(10))
    assert motion.fps == 50
    video, pictures = cv2.VideoCapture(str(tmp_path / "out" / "overlay.mp4")), []
    while (read := video.read())[0]:
        pictures.append(read[1])
    assert [picture.shape for picture in pictures] == [(48, 128, 3)] * 10
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["motion.npz", "overlay.mp4"]


def test_a_subscriber_learns_which_camera_is_missing(settings):
    listener, messages, stop = Listener(settings.publish.address, newest=False), [], threading.Event()

    def listen() -> None:
        while not messages or messages[-1].status != "ended":
            if (message := listener.get()) is not None:
                messages.append(message)
                if len({one.people.missing for one in messages}) == 2:
                    stop.set()

    reader = threading.Thread(target=listen)
    reader.start()
    looped = config.Capture(sources=settings.capture.sources, pace="live", loop=True)
    timer = threading.Timer(10, stop.set)
    timer.start()
    Pipeline(replace_settings(settings, capture=looped, out=config.Out()), LOAD).run(stop)
    timer.cancel()
    reader.join(5)
    listener.close()
    live: list[wire.Message] = [message for message in messages if message.status == "live"]
    assert {message.people.missing for message in live} == {(), ("right",)}
    assert {message.people.camera for message in live} == {"left"}


def test_the_follower_is_loaded_for_the_pictures_of_the_sources(settings, monkeypatch):
    asked = []

    def load(settings, timings, live, sizes):
        asked.append((live, sizes))
        return FakeRigFollower(settings, timings, live)

    monkeypatch.setattr("refit_rt.follow_rig.load_rig_follower", load)
    Pipeline(settings).run(threading.Event())
    assert asked == [(False, {"left": SIZE, "right": SIZE})]


def replace_settings(settings: config.Settings, **groups) -> config.Settings:
    known = {name: getattr(settings, name) for name in settings.__struct_fields__}
    return config.Settings(**(known | groups))


def test_sources_need_a_calibration_with_their_names(settings, tmp_path):
    with pytest.raises(UserError, match=r"camera\.calibration: is empty, but capture\.sources needs .* left, right"):
        Pipeline(replace_settings(settings, camera=config.Camera()), LOAD)
    sources = {"left": settings.capture.sources["left"], "door": settings.capture.sources["right"]}
    named = replace_settings(settings, capture=config.Capture(sources=sources))
    with pytest.raises(UserError, match=r"rig\.json: has no camera 'door', only left, right, spare\. Name each of"):
        Pipeline(named, LOAD)
    assert not (tmp_path / "out").exists()


def test_pictures_of_another_shape_than_the_calibration_are_refused(settings, tmp_path):
    rig = read_rig(tmp_path / "rig.json")
    write_rig(replace(rig, cameras=tuple(replace(one, size=(64, 64)) for one in rig)), tmp_path / "rig.json")
    with pytest.raises(UserError, match=r"rig\.json: camera 'left' was calibrated at \(64, 64\), the video is"):
        Pipeline(settings)
    assert not (tmp_path / "out").exists()


def test_delays_of_the_calibration_hold_where_the_settings_give_none(settings, tmp_path):
    """The right camera's pictures are two frames older than they claim: its third frame belongs to the left's first."""
    rig = read_rig(tmp_path / "rig.json")
    late = tuple(replace(one, delay_s={"left": 0.5, "right": 0.04}.get(one.name, 9.0)) for one in rig)
    write_rig(replace(rig, cameras=late), tmp_path / "rig.json")
    given = config.Capture(sources=settings.capture.sources, delays_s={"left": 0.0})
    quiet = config.Publish(enabled=False)
    with opened(replace_settings(settings, capture=given, publish=quiet)) as ends:
        assert ends.settings.capture.delays_s == {"left": 0.0, "right": 0.04}
        ticks = list(ends.source)
    pairs = [tuple(one and one.index for one in tick.frames) for tick in ticks if isinstance(tick, FrameSet)]
    assert pairs[2:5] == [(0, 2), (1, 3), (2, 4)]


def test_times_and_delays_without_sources_are_refused(settings):
    with pytest.raises(UserError, match=r"capture\.timestamps and capture\.delays_s are for capture\.sources"):
        Pipeline(config.Settings(capture=config.Capture(source="clip.mp4", delays_s={"a": 0.1})), LOAD)


def test_a_source_on_the_command_line_is_used_alone(settings, monkeypatch):
    asked: list[config.Settings] = []

    def run(settings, show):
        asked.append(settings)
        raise UserError("enough")

    monkeypatch.setattr("refit_rt.pipeline.run", run)
    sources = ["--capture.sources", "left", "l.mp4", "right", "r.mp4"]
    assert command(["run", *sources]) == 2
    assert command(["run", "clip.mp4", *sources]) == 2
    assert asked[0].capture.sources == {"left": "l.mp4", "right": "r.mp4"}
    assert (asked[1].capture.source, asked[1].capture.sources) == ("clip.mp4", {})


def test_files_alone_are_lossless_when_kept():
    def kind(*sources: str) -> bool:
        capture = config.Capture(sources={str(k): source for k, source in enumerate(sources)})
        return is_lossless(config.Settings(capture=capture, out=config.Out(dir="out")))

    assert kind("a.mp4", "b.mp4")
    assert not kind("a.mp4", "0")


def test_sources_may_be_numbers_in_a_settings_file(tmp_path):
    (tmp_path / "studio.yaml").write_text("capture: {sources: {0: 1, door: rtsp://host/x}, delays_s: {door: 0.1}}")
    capture = config.load(tmp_path / "studio.yaml").capture
    assert capture.sources == {"0": "1", "door": "rtsp://host/x"}
    assert capture.delays_s == {"door": 0.1}


def test_one_camera_of_a_rig_is_followed_as_any(settings):
    capture = config.Capture(sources={"left": settings.capture.sources["left"]})
    one = replace_settings(settings, capture=capture, publish=config.Publish(enabled=False))
    with opened(one) as ends:
        capture = ends.settings.capture
        assert (capture.source, capture.name, capture.sources) == (one.capture.sources["left"], "left", {})
        ends.source.close()
