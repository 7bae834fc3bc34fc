"""The delay of a stream, measured by a second process."""

import os
import signal
import socket
import subprocess
import time
from dataclasses import replace

import pytest

from refit_rt.errors import UserError
from refit_rt.stream.latency import LatencyProbe
from refit_rt.stream.publish import Publisher
from refit_rt.stream.wire import Run, encode
from tests.support.fakes import people


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen]:
    """The processes that are started."""
    started: list[subprocess.Popen] = []

    class Noted(subprocess.Popen):
        def __init__(self, *arguments, **options) -> None:
            super().__init__(*arguments, **options)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Noted)
    return started


def publish(address: str, count: int) -> None:
    """Sends some messages of two people each, captured 50 ms ago, and the end."""
    publisher = Publisher(address)
    time.sleep(0.5)  # until the other process has joined
    run = Run(time.time() - time.monotonic(), "body", "bundle")
    for _ in range(count):
        now = time.monotonic()
        publisher.send(encode(replace(people([1, 2]), captured_s=now - 0.05), run, now))
        time.sleep(0.01)
    publisher.send(encode(people([]), run, time.monotonic(), "ended"))
    time.sleep(0.2)
    publisher.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "*", "0.0.0.0"])
def test_every_message_arrives_and_its_age_is_measured(host: str, port: int) -> None:
    bound = f"tcp://{host}:{port}"
    with LatencyProbe(bound) as probe:
        publish(bound, 20)
    latency = probe.latency
    assert (latency.messages, latency.people) == (20, 40)
    assert 50 <= latency.age_ms[0] <= latency.age_ms[1] <= latency.age_ms[2]
    assert latency.age_ms[0] < 500
    assert latency.fps == pytest.approx(19 / latency.seconds)


def test_an_interrupt_does_not_end_the_process_before_the_stream_ends(
    port: int, processes: list[subprocess.Popen]
) -> None:
    with LatencyProbe(f"tcp://127.0.0.1:{port}") as probe:
        os.kill(processes[0].pid, signal.SIGINT)
        publish(f"tcp://127.0.0.1:{port}", 5)
    assert probe.latency.messages == 5
    assert processes[0].returncode == 0


def test_without_a_message_it_is_an_error_and_no_process_is_left(
    port: int, processes: list[subprocess.Popen], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("refit_rt.stream.latency.ANSWER_S", 0.2)
    with pytest.raises(UserError, match="the second process got no message"), LatencyProbe(f"tcp://127.0.0.1:{port}"):
        pass
    assert processes[0].returncode is not None


def test_an_error_in_the_block_leaves_no_process(port: int, processes: list[subprocess.Popen]) -> None:
    with pytest.raises(ZeroDivisionError), LatencyProbe(f"tcp://127.0.0.1:{port}"):
        raise ZeroDivisionError
    assert processes[0].returncode is not None
