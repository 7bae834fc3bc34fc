"""What can be used as an address is used, IPv6 included, and the rest is refused with its cure."""

import socket as sockets
from pathlib import Path

import pytest
import zmq

from refit_rt import addresses
from refit_rt.addresses import bind, connect, fault, local, needs_ipv6
from refit_rt.capture.node import NodeSource
from refit_rt.capture.node_server import Node
from refit_rt.config import Capture
from refit_rt.errors import UserError
from refit_rt.stream import wire
from refit_rt.stream.latency import LatencyProbe
from refit_rt.stream.publish import Publisher
from refit_rt.stream.subscribe import Listener
from tests.capture.test_node import Filming, Serving
from tests.support.fakes import people


def has_ipv6() -> bool:
    try:
        with sockets.socket(sockets.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
MESSAGE = wire.encode(people([1]), wire.Run(0.0, "free", "edge"), 100.0)


def arrives(publisher: Publisher, address: str) -> bool:
    """Whether a subscriber at `address` gets what is published."""
    listener = Listener(address)
    try:
        for _ in range(200):
            publisher.send(MESSAGE)
            if listener.get(20) is not None:
                return True
    finally:
        listener.close()
        publisher.close()
    return False


@ipv6
@pytest.mark.parametrize("bound", ["tcp://[::1]:*", "tcp://[::]:0"])
def test_messages_arrive_over_ipv6(bound):
    publisher = Publisher(bound)
    assert publisher.address.rpartition(":")[2].isdigit()
    assert arrives(publisher, local(publisher.address))


@ipv6
def test_a_camera_of_another_machine_is_read_over_ipv6():
    source = Filming()
    serving = Serving("tcp://[::1]:*", source)
    reader = NodeSource(Capture(source=serving.node.address))
    assert next(iter(reader)).image.shape == (48, 64, 3)
    reader.close()
    serving.end()


def test_a_name_with_both_kinds_of_addresses_is_reached_over_ipv4():
    publisher = Publisher("tcp://127.0.0.1:*")
    assert arrives(publisher, publisher.address.replace("127.0.0.1", "localhost"))


def test_a_name_that_has_only_ipv6_asks_for_it(monkeypatch):
    monkeypatch.setattr(addresses, "families", lambda host: {sockets.AF_INET6} if host == "six" else {sockets.AF_INET})
    assert needs_ipv6("tcp://six:5560")
    assert not needs_ipv6("tcp://four:5560")
    assert needs_ipv6("tcp://[fe80::1%eth0]:5560")
    assert not needs_ipv6("ipc://stream")


def test_a_free_port_is_reported_in_the_log(caplog):
    caplog.set_level("INFO")
    publisher = Publisher("tcp://127.0.0.1:*")
    publisher.close()
    assert f"tcp://127.0.0.1:* is bound at {publisher.address}" in caplog.text
    assert publisher.address != "tcp://127.0.0.1:*"


WRONG = {
    "tcp://127.0.0.1:80000": "its port is not a number from . to 65535",
    "tcp://127.0.0.1:-1": "its port is not a number",
    "tcp://127.0.0.1:": "its port is not a number",
    "tcp://127.0.0.1:٣": "its port is not a number",
    "tcp://127.0.0.1": "needs a host and a port",
    "tcp://:5560": "needs a host and a port",
    "tcp://::1:5560": r"brackets, as in tcp://\[::1\]:5560",
    "tcp://[::1:5560": "brackets",
    "inproc://frames": "reaches only its own process",
    "ipc://": "has no path",
    "udp://127.0.0.1:5560": "does not begin with tcp:// or ipc://",
    "127.0.0.1:5560": "does not begin with tcp:// or ipc://",
}


@pytest.mark.parametrize("address", WRONG)
def test_a_wrong_address_is_refused_at_every_end(address):
    message = WRONG[address]
    with pytest.raises(
        UserError, match=rf"publish\.address: .* cannot be bound \(.*{message}.*Set publish.address to tcp"
    ):
        Publisher(address)
    with pytest.raises(UserError, match=rf"--address: .* cannot be bound \(.*{message}"):
        Node(address)
    with pytest.raises(UserError, match=rf"is not an address \(.*{message}.*Give one like tcp://127"):
        Listener(address)
    with pytest.raises(UserError, match=rf"is not an address \(.*{message}.*Give one like tcp://HOST"):
        NodeSource(Capture(source=address))


@pytest.mark.parametrize("address", ["tcp://*:5560", "tcp://127.0.0.1:*", "tcp://127.0.0.1:0"])
def test_wildcards_are_for_the_side_that_binds(address):
    assert not fault(address, binds=True)
    with pytest.raises(UserError, match="is not an address"):
        Listener(address)


def test_a_measurement_needs_an_address_that_a_subscriber_can_use():
    assert LatencyProbe("tcp://*:5560")._address == "tcp://127.0.0.1:5560"
    assert LatencyProbe("tcp://[::]:5560")._address == "tcp://[::1]:5560"
    with pytest.raises(UserError, match=r"publish.address: tcp://127.0.0.1:\* cannot be measured"):
        LatencyProbe("tcp://127.0.0.1:*")


def test_a_name_that_this_machine_does_not_know_is_a_warning(caplog, monkeypatch):
    monkeypatch.setattr(addresses, "families", lambda host: set())
    context = zmq.Context()
    with context.socket(zmq.SUB) as socket:
        connect(socket, "tcp://no-such-machine.invalid:5560", "tcp://127.0.0.1:5560")
    context.destroy(linger=0)
    assert "does not know the name no-such-machine.invalid" in caplog.text


def test_a_second_publisher_on_one_path_is_refused_and_the_first_one_goes_on(tmp_path):
    address = f"ipc://{tmp_path}/stream"
    first = Publisher(address)
    with pytest.raises(UserError, match=r"cannot be bound \(address already in use\). End the other program"):
        Publisher(address)
    with pytest.raises(UserError, match=r"--address: .* cannot be bound \(address already in use\)"):
        Node(address)
    assert arrives(first, address)


def test_a_path_that_a_killed_program_left_is_bound_and_a_file_is_not_deleted(tmp_path: Path):
    left = sockets.socket(sockets.AF_UNIX)
    left.bind(str(tmp_path / "stream"))
    left.close()
    assert (tmp_path / "stream").exists()
    assert arrives(Publisher(f"ipc://{tmp_path}/stream"), f"ipc://{tmp_path}/stream")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"cannot be bound \(a file is there\)"):
        Publisher(f"ipc://{tmp_path}/notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_path_that_cannot_be_made_is_refused(tmp_path):
    context = zmq.Context()
    with (
        context.socket(zmq.PUB) as socket,
        pytest.raises(UserError, match=r"--address: .* cannot be bound \(.*Set --address"),
    ):
        bind(socket, f"ipc://{tmp_path}/no/folder", "--address", "tcp://0.0.0.0:PORT")
    context.destroy(linger=0)
