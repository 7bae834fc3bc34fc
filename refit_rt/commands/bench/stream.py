"""The stream and its outlets: what each adds to the age of a frame, and how many subscribers one publisher feeds."""

import json
import re
import socket as sockets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import numpy as np
import zmq
from websockets.sync.client import connect as connect_websocket

from refit_rt.body.smpl import load_body
from refit_rt.commands.bench.table import Table
from refit_rt.commands.demo_clip import TRUTH
from refit_rt.errors import UserError
from refit_rt.motion.npz import read_motion
from refit_rt.stream.bridges.outlets import KINDS, Outlets
from refit_rt.stream.publish import Publisher
from refit_rt.stream.subscribe import Listener
from refit_rt.stream.wire import Run, encode
from refit_rt.types import People

FPS, FRAMES, PEOPLE = 60.0, 240, 3
SUBSCRIBERS = (1, 10, 50)
RATES = (60, 120, 240, 480, 960, 1920)  # messages per second that are tried
TRIED_S = 1.0  # each of them for so long
WHOLE = 0.99  # share of the messages that must reach every subscriber
WORK_S, WORKED = 0.1, 30  # of a slow subscriber: time per message, and messages
TIMES = 5  # that a subscriber joins late, and that a publisher starts again
SUBSCRIBED_S = 0.3  # after which a subscriber has connected
ANSWER_S = 30.0


def measure() -> Table:
    """Publishes the bundled clip's person, three times over, on free ports of this machine. Raises UserError."""
    people, run = crowd(), Run(time.time() - time.monotonic(), "free", "edge")
    rows = [["the stream, ZeroMQ", *figures(through_stream(people, run))]]
    for kind in KINDS:
        rows.append([f"outlet {kind}", *figures(through_outlet(kind, people, run))])
    for count in SUBSCRIBERS:
        rate, ages_ms = fed(count, people, run)
        noun = "subscriber" if count == 1 else "subscribers"
        most = f"at least {rate}" if rate == RATES[-1] else f"{rate}"
        rows.append([f"{count} {noun}, in a second process", *figures(ages_ms), most])
    rows.append([f"a subscriber that works for {WORK_S:g} s per message", *figures(slow(people, run))])
    rows.append(["a late subscriber's first message", *figures(joined(people, run))])
    rows.append(["the next message of a publisher that starts again", *figures(restarted(people, run))])
    title = f"{PEOPLE} people at {FPS:.0f} frames per second"
    heads = [title, "median", "p95", "messages per second"]
    return Table(heads, [row + [""] * (len(heads) - len(row)) for row in rows])


def figures(milliseconds: list[float]) -> list[str]:
    """Median and 95th percentile, as cells. Raises UserError for no figures."""
    if not milliseconds:
        raise UserError("bench stream: no message arrived. Does a firewall close the ports of this machine to itself?")
    return [f"{value:.2f} ms" for value in np.percentile(milliseconds, [50, 95])]


def crowd() -> list[People]:
    """The frames of the bundled clip, with PEOPLE copies of its person."""
    motion = read_motion(TRUTH)
    frames = [motion.people(index, "bench") for index in np.unique(motion.frame).tolist()]
    rows = np.zeros(PEOPLE, int)
    return [replace(one.take(rows), ids=np.arange(PEOPLE)) for one in frames if len(one.ids)]


def played(people: list[People], frames: int, rate: float, send: Callable[[People], object]) -> None:
    """Hands over `frames` of them at an even rate, each captured at that moment."""
    began_s = time.monotonic()
    for k in range(frames):
        time.sleep(max(0.0, began_s + k / rate - time.monotonic()))
        now_s = time.monotonic()
        send(replace(people[k % len(people)], frame_index=k, time_s=k / rate, captured_s=now_s))


def message_of(people: People, run: Run, status: str = "live") -> bytes:
    return encode(people, run, time.monotonic(), status)


# --- one receiver


def through_stream(people: list[People], run: Run) -> list[float]:
    """Milliseconds from handing a frame over to having its message, decoded."""
    ages_ms: list[float] = []
    with closing(Publisher(free_address())) as publisher:

        def receive(stop: threading.Event) -> None:
            with closing(Listener(publisher.address)) as listener:
                while not stop.is_set():
                    if (message := listener.get()) is not None:
                        ages_ms.append(1e3 * (time.time() - message.captured_unix_s))

        with beside(receive):
            time.sleep(SUBSCRIBED_S)
            played(people, FRAMES, FPS, lambda one: publisher.send(message_of(one, run)))
    return ages_ms


def through_outlet(kind: str, people: list[People], run: Run) -> list[float]:
    """Milliseconds from handing a frame to an outlet to having all of it, not decoded."""
    port, arrived_s, sent_s = free_port(udp=kind in ("vmc", "json")), [], []
    receivers = {"vmc": datagrams(rb"/VMC/Ext/T\x00"), "json": datagrams(rb'"id":%d,' % (PEOPLE - 1))}
    receive = {**receivers, "sonic": messages, "websocket": frames}[kind]

    row = f"{kind}://127.0.0.1:{port}{'?people=' + str(PEOPLE) if kind == 'vmc' else ''}"

    def receiving(stop: threading.Event) -> None:
        receive(port, stop, arrived_s)

    def send(one: People) -> None:
        sent_s.append(one.captured_s)
        outlets.send(one)

    if kind in receivers:  # the receiver binds
        with beside(receiving), closing(Outlets([row], run, load_body())) as outlets:
            played(people, FRAMES, FPS, send)
    else:
        with closing(Outlets([row], run, load_body())) as outlets, beside(receiving):
            time.sleep(SUBSCRIBED_S)
            played(people, FRAMES, FPS, send)
    sent, arrived = np.array(sent_s), np.array(arrived_s)
    last = np.searchsorted(sent, arrived) - 1  # each arrival belongs to the frame that was handed over last
    return (1e3 * (arrived - sent[last]))[last >= 0].tolist()


def datagrams(last: bytes) -> Callable[[int, threading.Event, list[float]], None]:
    """Receives UDP, and notes when a packet comes that holds the last part of a frame."""
    part = re.compile(last)

    def receive(port: int, stop: threading.Event, arrived_s: list[float]) -> None:
        with sockets.socket(sockets.AF_INET, sockets.SOCK_DGRAM) as socket:
            socket.bind(("127.0.0.1", port))
            socket.settimeout(0.1)
            while not stop.is_set():
                try:
                    if part.search(socket.recv(65536)):
                        arrived_s.append(time.monotonic())
                except TimeoutError:
                    continue

    return receive


def messages(port: int, stop: threading.Event, arrived_s: list[float]) -> None:
    """Receives ZeroMQ."""
    context = zmq.Context()
    socket = context.socket(zmq.SUB)
    socket.setsockopt(zmq.SUBSCRIBE, b"")
    socket.connect(f"tcp://127.0.0.1:{port}")
    while not stop.is_set():
        if socket.poll(100):
            socket.recv()
            arrived_s.append(time.monotonic())
    context.destroy(linger=0)


def frames(port: int, stop: threading.Event, arrived_s: list[float]) -> None:
    """Receives WebSocket."""
    with connect_websocket(f"ws://127.0.0.1:{port}/", compression=None) as socket:
        while not stop.is_set():
            try:
                socket.recv(timeout=0.1)
                arrived_s.append(time.monotonic())
            except TimeoutError:
                continue


@contextmanager
def beside(work: Callable[[threading.Event], None]) -> Iterator[None]:
    """Does the work in a thread until the block ends."""
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(stop,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        time.sleep(0.2)  # for what is still on its way
        stop.set()
        thread.join()


def free_port(udp: bool = False) -> int:
    """A port that nobody has."""
    with sockets.socket(sockets.AF_INET, sockets.SOCK_DGRAM if udp else sockets.SOCK_STREAM) as socket:
        socket.bind(("127.0.0.1", 0))
        return socket.getsockname()[1]


def free_address() -> str:
    return f"tcp://127.0.0.1:{free_port()}"


# --- many subscribers, slow ones, late ones


def fed(count: int, people: list[People], run: Run) -> tuple[int, list[float]]:
    """The most messages per second of RATES that reach `count` subscribers, and the ages in ms at the first rate."""
    most, at_first = 0, []
    for rate in RATES:
        fewest, ages_ms = counted(count, rate, people, run)
        at_first = at_first or ages_ms
        if fewest < WHOLE * rate * TRIED_S:
            break
        most = rate
    return most, at_first


def counted(count: int, rate: int, people: list[People], run: Run) -> tuple[int, list[float]]:
    """Publishes at a rate to subscribers in a second process: the fewest messages that one got, and ages in ms."""
    with closing(Publisher(free_address())) as publisher:
        command = [sys.executable, "-m", "refit_rt.commands.bench.subscribers", publisher.address, str(count)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                ready = threading.Thread(target=process.stdout.readline, daemon=True)
                ready.start()
                until_s = time.monotonic() + ANSWER_S
                while ready.is_alive() and time.monotonic() < until_s:
                    publisher.send(message_of(people[0], run, "waiting"))
                    time.sleep(0.02)
                played(people, int(rate * TRIED_S), rate, lambda one: publisher.send(message_of(one, run)))
                while process.poll() is None and time.monotonic() < until_s:
                    publisher.send(message_of(people[0], run, "ended"))
                    time.sleep(0.05)
                answer = json.loads(process.stdout.read() or "{}")
            finally:
                process.kill()
    return answer.get("fewest", 0), answer.get("ages_ms", [])


def slow(people: list[People], run: Run) -> list[float]:
    """The ages in ms of what a subscriber reads that works for WORK_S on each message, as docs/stream.md shows it."""
    ages_ms: list[float] = []
    with running(free_address(), people, run) as address, closing(Listener(address)) as listener:
        while len(ages_ms) < WORKED:
            if (message := listener.get()) is not None:
                ages_ms.append(1e3 * (time.time() - message.captured_unix_s))
                time.sleep(WORK_S)
    return ages_ms


def joined(people: list[People], run: Run) -> list[float]:
    """Milliseconds from making a subscriber of a stream that runs to its first message."""
    waits_ms = []
    with running(free_address(), people, run) as address:
        for _ in range(TIMES):
            began_s = time.monotonic()
            with closing(Listener(address)) as listener:
                while listener.get(1) is None:
                    pass
            waits_ms.append(1e3 * (time.monotonic() - began_s))
    return waits_ms


def restarted(people: list[People], run: Run) -> list[float]:
    """Milliseconds from the moment at which a publisher is there again to a subscriber's next message."""
    waits_ms = []
    with closing(Listener(address := free_address())) as listener:
        for _ in range(TIMES):
            with running(address, people, run):
                began_s = time.monotonic()
                while listener.get(1) is None:
                    pass
                waits_ms.append(1e3 * (time.monotonic() - began_s))
            while listener.get(100) is not None:
                pass
    return waits_ms


@contextmanager
def running(address: str, people: list[People], run: Run) -> Iterator[str]:
    """A publisher that sends at FPS while the block runs. Gives its address."""
    with closing(Publisher(address)) as publisher:

        def publish(stop: threading.Event) -> None:
            while not stop.is_set():
                played(people, 6, FPS, lambda one: publisher.send(message_of(one, run)))

        with beside(publish):
            yield address
