"""A camera on another machine, whose clock is another one."""

import threading
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from refit_rt import config
from refit_rt.capture import node as nodes
from refit_rt.capture import open_source
from refit_rt.capture.node import NodeSource, Offset
from refit_rt.capture.node_server import Node
from refit_rt.commands.camera import camera
from refit_rt.errors import UserError
from refit_rt.types import Frame

AHEAD_S = 1234.5  # the other machine's clock
SIZE = (64, 48)


class Filming:
    """A camera of the other machine, with 100 pictures per second, each as bright as its number."""

    fps, runs_by_itself, waiting, bad = 100.0, True, "", 0

    def __init__(self, error: Exception | None = None, count: int = 10_000) -> None:
        self.taken: dict[int, float] = {}  # index → when, on this machine's clock
        self._stopped, self._error, self._count = threading.Event(), error, count

    def __iter__(self):
        for index in range(self._count):
            if self._stopped.wait(0.01):
                return
            if self._error:
                raise self._error
            self.taken[index] = time.monotonic()
            picture = np.full((SIZE[1], SIZE[0], 3), index % 250, np.uint8)
            yield Frame("far", index, self.taken[index] + AHEAD_S, 0.0, picture)

    def close(self) -> None:
        self._stopped.set()


class Serving:
    """A node in a thread."""

    def __init__(self, address: str, source: Filming) -> None:
        self.node, self.error = Node(address, clock=lambda: time.monotonic() + AHEAD_S), None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(source,))
        self._thread.start()

    def _serve(self, source: Filming) -> None:
        try:
            self.node.serve(source, self._stop)
        except UserError as error:
            self.error = error

    def end(self) -> None:
        self._stop.set()
        self._thread.join(5)
        assert not self._thread.is_alive()


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"ipc://{tmp_path}/far"


def read(source: NodeSource, count: int) -> list[Frame]:
    frames = []
    for frame in source:
        frames.append(frame)
        if len(frames) == count:
            source.close()
    return frames


def test_pictures_arrive_with_their_time_on_this_machines_clock(address):
    filming = Filming()
    serving = Serving(address, filming)
    try:
        source = NodeSource(config.Capture(source=address, name="left"))
        frames = read(source, 10)
    finally:
        serving.end()
    assert (source.fps, source.bad, source.waiting, frames[0].camera, frames[0].size) == (100, 0, "", "left", SIZE)
    errors_s = [frame.captured_s - filming.taken[frame.index] for frame in frames]
    assert np.abs(errors_s).max() <= 0.005
    assert abs(source.offset.best[0] - AHEAD_S) <= source.offset.best[1] + 1e-6
    assert [round(float(frame.image.mean())) for frame in frames] == [frame.index % 250 for frame in frames]
    assert frames[0].time_s == 0
    assert all(b.index > a.index for a, b in pairwise(frames))


def test_two_readers_get_the_same_pictures(address):
    serving = Serving(address, Filming())
    try:
        sources = [NodeSource(config.Capture(source=address)) for _ in range(2)]
        got: list[list[Frame]] = [[], []]
        threads = [
            threading.Thread(target=lambda k=k: got[k].extend(read(sources[k], 5)), daemon=True) for k in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5)
    finally:
        serving.end()
    assert [len(frames) for frames in got] == [5, 5]


def test_a_node_that_goes_is_waited_for_and_heard_again(address, monkeypatch, caplog):
    monkeypatch.setattr(nodes, "GONE_S", 0.1)
    serving = Serving(address, Filming())
    source = NodeSource(config.Capture(source=address))
    seen: list[Frame] = []
    reader = threading.Thread(target=lambda: seen.extend(source))
    reader.start()
    serving.end()
    until(lambda: source.waiting == f"{address} is silent")
    again = Serving(address, Filming())
    until(lambda: not source.waiting)
    source.close()
    reader.join(5)
    again.end()
    assert f"{address} is heard again" in caplog.text


def until(true) -> None:
    end_s = time.monotonic() + 5
    while not true() and time.monotonic() < end_s:
        time.sleep(0.005)
    assert true()


def test_an_error_of_the_camera_ends_the_node(address):
    serving = Serving(address, Filming(UserError("the camera is broken")))
    serving._thread.join(5)
    assert str(serving.error) == "the camera is broken"


def test_the_quickest_answer_counts():
    offset = Offset()
    offset.add(0.0, 100.030, 0.050)  # the way there took 30 ms, the way back 20
    offset.add(1.0, 101.001, 1.002)
    offset.add(2.0, 102.001, 2.040)
    assert offset.best == pytest.approx((100.0, 0.001))


def test_an_address_where_no_camera_answers_is_an_error_with_the_cure(monkeypatch):
    monkeypatch.setattr(nodes, "FIRST_S", 0.1)
    with pytest.raises(UserError, match=r"tcp://127.0.0.1:9: no camera answers. Start it there: refit-rt camera 0 --"):
        open_source(config.Capture(source="tcp://127.0.0.1:9"), lossless=False)
    with pytest.raises(
        UserError, match=r"tcp://nothing: is not an address \(it needs a host and a port\). Give one like tcp://HOST"
    ):
        open_source(config.Capture(source="tcp://nothing"), lossless=False)


def test_the_verb_refuses_what_it_cannot_use(address, tmp_path):
    with pytest.raises(UserError, match="--quality: 0 is not allowed"):
        camera("0", quality=0, capture=config.Capture())
    with pytest.raises(UserError, match=r"gone\.mp4: no such file"):
        camera(str(tmp_path / "gone.mp4"), capture=config.Capture())
