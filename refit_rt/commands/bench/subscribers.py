"""Many subscribers of one stream, in a process of their own: how many messages reach each, and how old they are.

`python -m refit_rt.commands.bench.subscribers ADDRESS COUNT` prints "ready" when every one has had a message, and one
JSON object when the stream has ended for all: `fewest`, the live messages of the subscriber that got the fewest, and
`ages_ms`, the ages of at most SAMPLES of them.
"""

import json
import signal
import sys
import time

import zmq

from refit_rt.addresses import connect
from refit_rt.stream.subscribe import EXAMPLE
from refit_rt.stream.wire import decode

SAMPLES = 5000  # fewer bytes than a pipe holds: they are read when this process has ended
KEPT = 10_000  # messages per subscriber: what the publisher has sent, this side must not lose
SILENCE_MS = 10_000  # without a message for so long, the publisher must have died


def count(address: str, subscribers: int) -> dict:
    """Reads until every subscriber has the last message of the stream."""
    context, poller, live, ages_ms = zmq.Context(), zmq.Poller(), {}, []
    for _ in range(subscribers):
        socket = context.socket(zmq.SUB)
        socket.setsockopt(zmq.RCVHWM, KEPT)
        socket.setsockopt(zmq.SUBSCRIBE, b"")
        connect(socket, address, EXAMPLE)
        poller.register(socket, zmq.POLLIN)
        live[socket] = 0
    heard, going = set(), set(live)
    every = max(1, subscribers // 10)  # of them, one has the ages of its messages noted
    noted = set(list(live)[::every])
    while going and (ready := poller.poll(SILENCE_MS)):
        for socket, _ in ready:
            blob = socket.recv()
            if len(heard) < subscribers:
                heard.add(socket)
                if len(heard) == subscribers:
                    sys.stdout.write("ready\n")
                    sys.stdout.flush()
            if b'"status":"live"' in blob[:200]:
                live[socket] += 1
                if socket in noted and len(ages_ms) < SAMPLES:
                    ages_ms.append(round(1e3 * (time.time() - decode(blob).captured_unix_s), 3))
            elif b'"status":"ended"' in blob[:200]:
                poller.unregister(socket)
                going.discard(socket)
    context.destroy(linger=0)
    return {"fewest": min(live.values()), "ages_ms": ages_ms}


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    json.dump(count(sys.argv[1], int(sys.argv[2])), sys.stdout)
