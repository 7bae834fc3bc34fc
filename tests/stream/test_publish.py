import threading

import pytest
import zmq

from refit_rt.errors import UserError
from refit_rt.stream import wire
from refit_rt.stream.publish import Publisher
from refit_rt.stream.subscribe import Listener
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
    with pytest.raises(UserError, match="is not an address"):
        Listener(address)
