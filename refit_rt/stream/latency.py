"""The delay of a stream, measured by a second process that subscribes and notes the age of each message."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from types import TracebackType

import numpy as np

from refit_rt.addresses import fault, local
from refit_rt.errors import UserError
from refit_rt.stream.subscribe import EXAMPLE, Listener

SILENCE_S = 120.0  # without a message for so long, the publisher must have died
ANSWER_S = 10.0  # how long the process may take to report once the block is over


@dataclass(frozen=True, slots=True)
class Latency:
    """The messages that arrived, and how old they were."""

    messages: int
    people: int  # summed over all messages
    seconds: float  # from the first message to the last
    age_ms: tuple[float, float, float]  # from capture to arrival: median, 95th and 99th percentile

    @property
    def fps(self) -> float:
        """Messages per second."""
        return (self.messages - 1) / self.seconds if self.seconds > 0 else 0.0


class LatencyProbe:
    """Subscribes in a second process while the block runs, and reads the process's result when the block ends.

    The publisher must send "ended" before the block ends. The end raises UserError when no message arrived.
    """

    latency: Latency  # set by the end of the block

    def __init__(self, address: str) -> None:
        """address: where the publisher binds. Raises UserError for one that a subscriber cannot use."""
        self._address = local(address)
        if wrong := fault(self._address, binds=False):
            raise UserError(f"publish.address: {address} cannot be measured ({wrong}). Set it to {EXAMPLE}")
        self._command = [sys.executable, "-m", "refit_rt.stream.latency", self._address]

    def __enter__(self) -> "LatencyProbe":
        # In a session of its own, the process does not get the terminal's Ctrl-C and reads the stream to its end.
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert self._process.stdout is not None
        self._process.stdout.readline()  # "ready": it has subscribed
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._process:
            try:
                if kind is None:
                    self.latency = self._result()
            finally:
                self._process.kill()

    def _result(self) -> Latency:
        try:
            answer, _ = self._process.communicate(timeout=ANSWER_S)
            values = json.loads(answer)
        except (subprocess.TimeoutExpired, ValueError):
            values = None
        if not values or not values["messages"]:
            raise UserError(f"{self._address}: the second process got no message. Set publish.address to another port")
        return Latency(values["messages"], values["people"], values["seconds"], tuple(values["age_ms"]))


def measure(address: str) -> Latency:
    """Reads messages until the stream or the parent process ends. The first may take long: networks are downloaded."""
    listener = Listener(address, newest=False)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    ages_ms, people, first_s, last_s, parent = [], 0, 0.0, 0.0, os.getppid()
    while os.getppid() == parent and (not ages_ms or time.monotonic() - last_s < SILENCE_S):
        message = listener.get()
        if message is None:
            continue
        if message.status == "ended":
            break
        last_s = time.monotonic()
        first_s = first_s or last_s
        ages_ms.append((time.time() - message.captured_unix_s) * 1e3)
        people += len(message.people.ids)
    listener.close()
    p50, p95, p99 = np.percentile(ages_ms or [np.nan], [50, 95, 99]).tolist()
    return Latency(len(ages_ms), people, last_s - first_s, (p50, p95, p99))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        json.dump(asdict(measure(sys.argv[1])), sys.stdout)
    except UserError as error:
        sys.exit(f"latency probe: {error}")
