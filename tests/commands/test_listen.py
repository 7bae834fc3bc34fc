"""The verb `listen`."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from refit_rt.__main__ import command
from refit_rt.commands.listen import Meter
from refit_rt.motion.npz import read_motion
from refit_rt.stream import wire
from refit_rt.stream.publish import Publisher
from refit_rt.stream.subscribe import Listener
from tests.support.fakes import people
from tests.support.paths import ROOT

RUN = wire.Run(0.0, "free", "edge")


def message(index: int = 7, status: str = "live", ids: tuple[int, ...] = (1,)) -> bytes:
    return wire.encode(replace(people(list(ids), index), frame_index=index), RUN, 100.02, status)


def test_it_prints_one_line_per_message_records_and_ends_with_the_stream(capsys, tmp_path: Path) -> None:
    address, lines = f"ipc://{tmp_path}/stream", []
    publisher = Publisher(address)
    file = tmp_path / "recorded" / "motion.npz"
    arguments = ["listen", address, "--record", str(file), "--once"]
    listening = threading.Thread(target=lambda: lines.append(command(arguments)))
    listening.start()
    printed = ""
    for index in range(1000):  # until some have arrived: a subscriber that comes late misses the first ones
        publisher.send(message(index))
        listening.join(0.01)
        printed += capsys.readouterr().out
        if printed.count("\n") > 3:
            break
    while listening.is_alive():
        publisher.send(message(index, "ended", ()))
        listening.join(0.01)
    publisher.close()
    first, second, *_, over, last = (printed + capsys.readouterr().out).splitlines()
    assert lines == [0]
    assert first == f"listening to {address}, Ctrl-C ends"
    assert second.startswith("test frame ")
    assert ": 1 person (1); age " in second
    assert second.endswith(", 2 dropped, live")
    assert over == f"{file} is written: its run has ended"
    assert last.endswith(", ended")
    motion = read_motion(file)
    assert len(motion.frame) >= 3
    assert (motion.body, motion.bundle) == ("free", "edge")


@pytest.fixture
def listen_to(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """The lines that `listen` prints for these messages, after which Ctrl-C comes."""

    def lines_for(messages: list[bytes], *arguments: str) -> list[str]:
        waiting, stops = list(messages), []

        class Canned(Listener):
            def get(self, wait_ms: int = 0) -> wire.Message | None:
                if not waiting:
                    stops[0].set()
                return wire.decode(waiting.pop(0)) if waiting else None

        @contextmanager
        def ended_by_ctrl_c(stop: threading.Event) -> Iterator[None]:
            stops.append(stop)
            yield

        monkeypatch.setattr("refit_rt.stream.subscribe.Listener", Canned)
        monkeypatch.setattr("refit_rt.live.interrupt.ended_by_signals", ended_by_ctrl_c)
        assert command(["listen", "ipc://none", *arguments]) == 0
        return capsys.readouterr().out.splitlines()

    return lines_for


@pytest.mark.parametrize(("arguments", "newest"), [([], True), (["--every"], False), (["--record", "a.npz"], False)])
def test_a_slow_terminal_skips_messages_and_a_recording_does_not(monkeypatch, tmp_path, arguments, newest) -> None:
    asked = []

    class Ended(Listener):
        def __init__(self, address: str, newest: bool = True, key: str = "") -> None:
            super().__init__(address, newest, key)
            asked.append(newest)

        def get(self, wait_ms: int = 0) -> wire.Message | None:
            return wire.decode(message(7, "ended", ()))

    monkeypatch.setattr("refit_rt.stream.subscribe.Listener", Ended)
    assert command(["listen", f"ipc://{tmp_path}/none", "--once", *arguments]) == 0
    assert asked == [newest]


@pytest.mark.parametrize("between", [[], [message(5, "waiting"), message(5, "ended")]])
def test_a_recording_ends_with_the_run_that_it_began_with(listen_to, tmp_path: Path, between: list[bytes]) -> None:
    messages = [message(4), message(5), *between, message(0), message(1)]
    lines = listen_to(messages, "--record", "motion.npz")
    assert read_motion(tmp_path / "motion.npz").frame.tolist() == [4, 5]
    assert len(lines) == 1 + len(messages) + 1
    assert lines.count("motion.npz is written: its run has ended") == 1


def test_a_recording_without_an_end_is_written_at_ctrl_c(listen_to, tmp_path: Path) -> None:
    listen_to([message(4), message(5, "waiting"), message(6)], "--record", "motion.npz")
    assert read_motion(tmp_path / "motion.npz").frame.tolist() == [4, 6]


def test_a_stream_that_begins_with_its_end_is_one_line_without_figures(listen_to) -> None:
    assert listen_to([message(7, "ended", ())])[1:] == ["test frame 7: no people, ended"]


def test_a_meter_shows_rate_and_age(monkeypatch: pytest.MonkeyPatch) -> None:
    meter, newest = Meter(), wire.decode(message(7, "live", (1, 2)))
    now_s = iter([100.02 + k / 50 for k in range(5)])
    monkeypatch.setattr(time, "time", lambda: next(now_s))
    for k in range(5):
        meter.add(replace(newest, captured_unix_s=100 + k / 50))
    assert "2 people (1, 2); 50.0 messages/s, age 20.0 ms (p95 20.0)" in meter.line(newest)


def test_what_cannot_be_used_is_one_line(refusal, tmp_path: Path) -> None:
    assert "nonsense: is not an address" in refusal("listen", "nonsense")
    assert f"is a folder. Give a file: --record {tmp_path}" in refusal("listen", "--record", str(tmp_path))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(tmp_path: Path, number: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "refit_rt", "listen", f"ipc://{tmp_path}/none"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("listening to")
    time.sleep(0.1)
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")
