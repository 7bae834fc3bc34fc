"""A page on a free port, with a viewer that a test steps by itself, and streams to show."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from refit_rt.body.smpl import Body, load_body
from refit_rt.commands.listen import Recording
from refit_rt.stream.publish import Publisher
from refit_rt.stream.wire import Run, encode
from refit_rt.types import People
from refit_rt.view.page import open_page
from refit_rt.view.viewer import Viewer

PATIENCE_S = 15.0


@pytest.fixture(scope="session")
def body() -> Body:
    return load_body()


class Source:
    """A stream that a test publishes."""

    def __init__(self, address: str, key: str = "") -> None:
        self.address, self._publisher = address, Publisher(address, key)

    def send(self, people: People, status: str = "live", name: str = "free") -> None:
        now_s = time.monotonic()
        self.raw(encode(replace(people, captured_s=now_s), Run(time.time() - now_s, name, "edge"), now_s, status))

    def raw(self, message: bytes) -> None:
        self._publisher.send(message)

    def close(self) -> None:
        self._publisher.close()


@pytest.fixture
def source_of(tmp_path: Path) -> Iterator[Callable[[str], Source]]:
    """A new stream by its name."""
    sources: list[Source] = []

    def made(name: str) -> Source:
        sources.append(Source(f"ipc://{tmp_path}/{name}"))
        return sources[-1]

    yield made
    for source in sources:
        source.close()


@pytest.fixture
def viewer_of(body: Body, tmp_path: Path) -> Iterator[Callable[..., Viewer]]:
    """A viewer of streams, by names and addresses, on a page of its own."""
    viewers: list[Viewer] = []

    def made(*streams: tuple[str, str], pictures: str = "", key: str = "") -> Viewer:
        server = open_page("127.0.0.1", 0, "test")
        viewers.append(Viewer(server, streams, body, pictures, tmp_path / "recorded", Recording, key))
        return viewers[-1]

    yield made
    for viewer in viewers:
        viewer.close()


def until(done: Callable[[], object], *steps: Callable[[], object]) -> None:
    """Does the steps again and again until it is done."""
    end_s = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < end_s, "it did not come to pass"
        for step in steps:
            step()
        time.sleep(0.005)
