"""A second process that subscribes to the stream and notes how old each message is when it arrives."""

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from types import TracebackType

import numpy as np

from refit_rt.listen import Listener

SILENCE_S = 120.0  # without a message: the publisher must have died


@dataclass(frozen=True, slots=True)
class Heard:
    """What arrived."""

    messages: int
    people: int  # rows of all messages
    seconds: float  # from the first message to the last
    age_ms: tuple[float, float, float]  # from capture to arrival: median, 95th and 99th percentile

    @property
    def fps(self) -> float:
        """Messages a second."""
        return (self.messages - 1) / self.seconds if self.seconds > 0 else 0.0


class Audience:
    """Listens in a process of its own while the block runs; `heard` afterwards, once the stream said it has ended."""

    heard: Heard | None = None

    def __init__(self, address: str) -> None:
        self._command = [sys.executable, "-m", "refit_rt.audience", address]

    def __enter__(self) -> "Audience":
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._process.stdout.readline()  # it says that it is ready
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None:
            self._process.kill()
            self._process.communicate()
            return
        answer, _ = self._process.communicate(timeout=10)
        values = json.loads(answer)
        self.heard = Heard(values["messages"], values["people"], values["seconds"], tuple(values["age_ms"]))


def listen(address: str) -> Heard:
    """Reads messages until the stream ends."""
    listener = Listener(address)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    ages_ms, people, first_s, last_s = [], 0, 0.0, time.monotonic()
    while time.monotonic() - last_s < SILENCE_S:
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
    return Heard(len(ages_ms), people, last_s - first_s, (p50, p95, p99))


if __name__ == "__main__":
    json.dump(asdict(listen(sys.argv[1])), sys.stdout)
