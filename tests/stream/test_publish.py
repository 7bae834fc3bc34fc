"""Messages travel whole, and a slow subscriber gets the newest."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from refit_rt.errors import UserError
from refit_rt.stream import wire
from refit_rt.stream.publish import Publisher
from refit_rt.stream.subscribe import Listener, listen
from tests.support.fakes import people

RUN = wire.Run(0.0, "free", "edge")


def repeat(publisher, stop):
    """Publishes until stopped: a subscriber that comes late still gets something."""
    while not stop.wait(0.01):
        publisher.send(wire.encode(people([1]), RUN, 100.02))


@pytest.fixture
def stream(tmp_path):
    """An address with a publisher behind it, and the publisher."""
    address = f"ipc://{tmp_path}/stream"
    publisher = Publisher(address)
    yield address, publisher
    publisher.close()


@pytest.mark.parametrize("newest", [False, True])
def test_a_message_is_one_part_and_arrives_whole(stream, newest):
    address, publisher = stream
    listener, stop = Listener(address, newest), threading.Event()
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
    listener = Listener(address, newest=False)
    message = wire.encode(people([1, 2, 3]), RUN, 100.0)
    for _ in range(5000):
        publisher.send(message)
    listener.close()


def read_slowly(messages, ages_s, stop):
    """A subscriber that works for 0.1 s on each message, and notes how old each is when it begins."""
    for message in messages:
        ages_s.append(time.monotonic() - message.people.captured_s)
        if stop.wait(0.1):
            break


def test_a_slow_subscriber_is_not_late_unless_it_wants_every_message(tmp_path):
    publishers = [Publisher("tcp://127.0.0.1:*"), Publisher(f"ipc://{tmp_path}/stream")]
    stop, readers = threading.Event(), []
    ages_s: dict[bool, list[list[float]]] = {True: [], False: []}  # newest → one list per publisher
    for publisher in publishers:
        for newest, lists in ages_s.items():
            lists.append([])
            messages = listen(publisher.address, newest=newest)
            readers.append(threading.Thread(target=read_slowly, args=(messages, lists[-1], stop)))
            readers[-1].start()
    for index in range(180):  # 3 s at 60 frames per second
        time.sleep(1 / 60)
        now_s = time.monotonic()
        message = wire.encode(replace(people([1], index), captured_s=now_s), RUN, now_s)
        for publisher in publishers:
            publisher.send(message)
    stop.set()
    for publisher in publishers:
        publisher.send(message)  # wakes the readers
    for reader in readers:
        reader.join()
    for publisher in publishers:
        publisher.close()
    for newest, every in zip(ages_s[True], ages_s[False], strict=True):
        assert len(newest) > 5
        assert np.max(newest) < 0.5
        assert every[-1] > 1  # this stream is fast enough to be late for


def test_an_address_in_use_is_named_with_the_cure():
    first = Publisher("tcp://127.0.0.1:*")
    address = first.address
    with pytest.raises(UserError, match=rf"publish.address: {address} cannot be bound .*in use.* another port"):
        Publisher(address)
    first.close()


@pytest.mark.parametrize("address", ["5560", "tcp://", "tcp://127.0.0.1:x", "carrier-pigeon://x", "inproc://x"])
def test_what_is_no_address_is_refused_at_both_ends(address):
    with pytest.raises(UserError, match=r"publish.address: .* cannot be bound"):
        Publisher(address)
    with pytest.raises(UserError, match="is not an address"):
        Listener(address)
