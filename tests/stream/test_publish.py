import threading
from contextlib import contextmanager
from dataclasses import replace

import pytest
import zmq

from refit_rt.errors import UserError
from refit_rt.motion.npz import read_motion
from refit_rt.stream import wire
from refit_rt.stream.publish import Publisher
from refit_rt.stream.subscribe import Listener, Meter, listen
from tests.support.fakes import people

RUN = wire.Run(0.0, "free", "edge")


def repeat(publisher, stop, status="live", ids=(1,)):
    """Publishes until stopped: a subscriber that comes late still gets something."""
    while not stop.wait(0.01):
        publisher.send(wire.encode(people(list(ids)), RUN, 100.02, status))


@pytest.fixture
def stream(tmp_path):
    """An address with a publisher behind it, and the publisher."""
    address = f"ipc://{tmp_path}/stream"
    publisher = Publisher(address)
    yield address, publisher
    publisher.close()


@pytest.mark.parametrize("newest_only", [False, True])
def test_a_message_is_one_part_and_arrives_whole(stream, newest_only):
    address, publisher = stream
    listener, stop = Listener(address, newest_only), threading.Event()
    sender = threading.Thread(target=repeat, args=(publisher, stop))
    sender.start()
    message = listener.get(5000)
    stop.set()
    sender.join()
    assert message is not None
    assert message.people.ids.tolist() == [1]
    listener.close()


def test_no_message_is_none_and_not_a_wait_without_end(stream):
    listener = Listener(stream[0])
    assert listener.get(10) is None
    listener.close()


def test_a_slow_subscriber_does_not_hold_the_publisher_up(stream):
    address, publisher = stream
    listener = Listener(address)
    message = wire.encode(people([1, 2, 3]), RUN, 100.0)
    for _ in range(5000):
        publisher.send(message)
    listener.close()


def test_an_address_in_use_is_named_with_the_cure():
    first = Publisher("tcp://127.0.0.1:*")
    address = first._socket.getsockopt_string(zmq.LAST_ENDPOINT)
    with pytest.raises(UserError, match=rf"publish.address: {address} cannot be bound .*in use.* another port"):
        Publisher(address)
    first.close()


@pytest.mark.parametrize("address", ["5560", "tcp://", "tcp://127.0.0.1:x", "carrier-pigeon://x"])
def test_what_is_no_address_is_refused_at_both_ends(address):
    with pytest.raises(UserError, match=r"publish.address: .* cannot be bound"):
        Publisher(address)
    with pytest.raises(UserError, match="is no address"):
        Listener(address)


def test_a_listener_says_a_line_a_message_records_and_ends_with_the_stream(stream, tmp_path):
    address, publisher = stream
    said, stop, end = [], threading.Event(), threading.Event()
    path = tmp_path / "heard" / "motion.npz"
    reader = threading.Thread(target=listen, args=(address, said.append, path, True))
    reader.start()
    sender = threading.Thread(target=repeat, args=(publisher, stop))
    sender.start()
    while len(said) < 4:
        stop.wait(0.01)
    stop.set()
    sender.join()
    ender = threading.Thread(target=repeat, args=(publisher, end, "ended", ()))
    ender.start()
    reader.join(5)
    end.set()
    ender.join()
    assert not reader.is_alive()
    assert said[0] == f"listening to {address}, Ctrl-C ends"
    assert "test frame 7: 1; " in said[1]
    assert said[1].endswith(", 2 dropped, live")
    motion = read_motion(path)
    assert len(motion.frame) >= 3
    assert (motion.body, motion.bundle) == ("free", "edge")


def test_a_meter_tells_rate_and_age(monkeypatch):
    meter, message = Meter(), wire.decode(wire.encode(people([1, 2]), RUN, 100.0))
    now = iter([100.02 + k / 50 for k in range(5)])
    monkeypatch.setattr("refit_rt.stream.subscribe.time.time", lambda: next(now))
    for k in range(5):
        meter.add(replace(message, captured_unix_s=100 + k / 50))
    line = meter.line(message)
    assert "1, 2; 50.0 messages/s, age 20.0 ms (p95 20.0)" in line


def test_a_meter_copes_with_a_stream_that_begins_with_its_end():
    message = wire.decode(wire.encode(people([]), RUN, 100.0, "ended"))
    assert Meter().line(message) == "test frame 7: nobody, ended"


def heard(monkeypatch, messages, record):
    """What `listen` says of these messages, each (frame, status)."""
    blobs = [wire.encode(replace(people([1], k), frame_index=k), RUN, 100.0, status) for k, status in messages]

    class Canned(Listener):
        def get(self, wait_ms=0):
            return wire.decode(blobs.pop(0))

    said, stops = [], []

    def say(line):
        said.append(line)
        if not blobs:
            stops[0].set()  # as Ctrl-C does

    @contextmanager
    def told(stop):
        stops.append(stop)
        yield

    monkeypatch.setattr("refit_rt.stream.subscribe.Listener", Canned)
    monkeypatch.setattr("refit_rt.stream.subscribe.ended_by_signals", told)
    listen("inproc://nobody", say, record)
    return said


@pytest.mark.parametrize("between", [[], [(5, "ended")]])
def test_a_recording_ends_with_the_run_it_began_with(monkeypatch, tmp_path, between):
    messages = [(4, "live"), (5, "live"), *between, (0, "live"), (1, "live")]
    said = heard(monkeypatch, messages, tmp_path / "motion.npz")
    assert read_motion(tmp_path / "motion.npz").frame.tolist() == [4, 5]
    assert len(said) == len(messages) + 2
    assert sum("motion.npz is written" in line for line in said) == 1


def test_a_recording_that_cannot_be_written_is_refused_at_the_start(tmp_path):
    with pytest.raises(UserError, match=r"is a folder. Give a file: --record .*motion.npz"):
        listen("inproc://nobody", print, tmp_path)
