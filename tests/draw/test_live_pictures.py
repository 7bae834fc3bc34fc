"""Pictures for viewers: small, a few per second, and made for nobody unless a viewer subscribes."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
import zmq

from refit_rt import config
from refit_rt.body.smpl import load_body
from refit_rt.draw.live_pictures import LONGEST_PX, LivePictures
from refit_rt.errors import UserError
from refit_rt.follow import Follower
from refit_rt.pipeline import Pipeline
from refit_rt.stream.pictures import PicturePublisher
from refit_rt.types import Frame
from tests.support.dancer import danced
from tests.support.fakes import FakeDetector, FakeFitter, FakeTracker, frame


@pytest.fixture
def address(tmp_path) -> str:
    return f"ipc://{tmp_path}/pictures"


@pytest.fixture
def viewer(address) -> Iterator[zmq.Socket]:
    context = zmq.Context()
    socket = context.socket(zmq.SUB)
    socket.setsockopt(zmq.RCVTIMEO, 10_000)
    socket.setsockopt(zmq.SUBSCRIBE, b"")
    socket.connect(address)
    yield socket
    context.destroy(linger=0)


def picture(message: bytes) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(message, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image


def shown(pictures: LivePictures, *arguments: Any) -> bool:
    """What `show` returns, in a thread of its own: it lowers its priority."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(pictures.show, *arguments).result()


def same(seen: Frame) -> Frame:
    return seen


def test_nothing_is_drawn_unless_a_viewer_subscribes(address) -> None:
    pictures = LivePictures(PicturePublisher(address), load_body())

    def never(seen: Frame) -> Frame:
        raise AssertionError("nothing is to be drawn")

    assert not shown(pictures, frame(), danced(load_body(), [1], 0), never)
    pictures.close()


def test_a_viewer_gets_small_pictures_with_bodies(address, viewer, monkeypatch) -> None:
    monkeypatch.setattr("refit_rt.draw.live_pictures.PER_S", 0.01)
    body = load_body()
    publisher = PicturePublisher(address)
    pictures, people = LivePictures(publisher, body), danced(body, [1], 20)
    grey = Frame("camera", 0, 0.0, 0.0, np.full((960, 1280, 3), 128, np.uint8))
    while not publisher.watched:
        pass
    assert shown(pictures, grey, people, same)
    assert not shown(pictures, grey, people, same)  # not due yet
    seen = picture(viewer.recv())
    assert seen.shape == (LONGEST_PX * 3 // 4, LONGEST_PX, 3)
    x, y, z = people.joints_camera[0, 0]
    across, down = np.array([x, y]) / z * people.focal_px + people.centre_px
    scale = LONGEST_PX / people.size[0]
    assert np.abs(seen[round(down * scale), round(across * scale)].astype(int) - 128).max() > 20  # a body is there
    assert np.abs(seen[4, 4].astype(int) - 128).max() < 4
    pictures.close()


def test_a_run_shows_its_pictures(address, viewer, tmp_path) -> None:
    clip = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"mp4v"), 50, (64, 48))
    for k in range(20):
        writer.write(np.full((48, 64, 3), 10 * k, np.uint8))
    writer.release()

    def load(settings, timings, live):
        return Follower(settings, FakeDetector(), FakeTracker(), FakeFitter(load_body()), timings, live)  # type: ignore

    settings = config.Settings(
        capture=config.Capture(source=str(clip), pace="live", loop=True),
        publish=config.Publish(address=f"ipc://{tmp_path}/stream", pictures=address),
    )
    pipeline, stop, reports = Pipeline(settings, load), threading.Event(), []
    running = threading.Thread(target=lambda: reports.append(pipeline.run(stop)))
    running.start()
    assert picture(viewer.recv()).shape == (48, 64, 3)
    stop.set()
    running.join(20)
    assert reports[0].frames > 0


@pytest.mark.parametrize(("host", "warned"), [("0.0.0.0", True), ("127.0.0.1", False)])
def test_an_address_for_the_network_is_warned_about(caplog, host: str, warned: bool) -> None:
    with caplog.at_level("WARNING"):
        publisher = PicturePublisher(f"tcp://{host}:*")
    assert ("shows the pictures of people to everybody in the network" in caplog.text) is warned
    with pytest.raises(UserError, match=r"publish\.pictures: .* cannot be bound"):
        PicturePublisher(publisher.address)
    publisher.close()


def test_a_camera_of_a_rig_that_is_missing_leaves_its_view_black(address, viewer) -> None:
    from refit_rt.cameras import Camera
    from refit_rt.draw.mosaic import Mosaic
    from refit_rt.types import FrameSet

    body, size = load_body(), (640, 480)
    camera = Camera("camera", size, 600.0, (319.5, 239.5))
    other = replace(camera, name="other")
    publisher = PicturePublisher(address)
    pictures = LivePictures(publisher, body, Mosaic(body, {"camera": camera, "other": other}))
    seen = Frame("camera", 0, 0.0, 0.0, np.full((480, 640, 3), 128, np.uint8))
    while not publisher.watched:
        pass
    assert shown(pictures, FrameSet(("camera", "other"), (seen, None), 0, 0.0, 0.0), danced(body, [1], 20), lambda t: t)
    mosaic = picture(viewer.recv())
    assert mosaic.shape == (300, 800, 3)
    assert mosaic[250, 700].max() < 8
    pictures.close()


def test_a_subscriber_of_something_else_takes_nobodys_pictures_away(address, viewer) -> None:
    publisher = PicturePublisher(address)
    try:
        until_watched(publisher)
        viewer.setsockopt(zmq.SUBSCRIBE, b"x")
        viewer.setsockopt(zmq.UNSUBSCRIBE, b"x")
        time.sleep(0.2)  # for the news to arrive
        assert publisher.watched
        viewer.setsockopt(zmq.UNSUBSCRIBE, b"")
        end_s = time.monotonic() + 10
        while publisher.watched:
            assert time.monotonic() < end_s
            time.sleep(0.01)
    finally:
        publisher.close()


def until_watched(publisher: PicturePublisher) -> None:
    end_s = time.monotonic() + 10
    while not publisher.watched:
        assert time.monotonic() < end_s
        time.sleep(0.01)
