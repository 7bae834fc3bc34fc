"""A stream → a recording, of every message while the button is on."""

import threading
from collections.abc import Callable
from contextlib import closing
from typing import Protocol

from refit_rt.errors import UserError
from refit_rt.stream.subscribe import Listener
from refit_rt.stream.wire import Message

JOIN_S = 5.0


class Recording(Protocol):
    """A file that is written message by message."""

    def add(self, message: Message) -> bool:
        """Adds a live message. True if the message ends the recording: the file is then written."""
        ...

    def close(self) -> None:
        """Writes what has been added, if anything."""
        ...


class Recorder:
    """Subscribes to a stream in a thread of its own, without leaving out messages, and records it."""

    def __init__(self, address: str, path: str, make: Callable[[str], Recording], key: str = "") -> None:
        """make: the recording of a path. key: as of Listener. Raises UserError for a path, an address or a key that
        cannot be used."""
        self.path, self.error, self.count = path, "", 0  # messages recorded
        self._stop = threading.Event()
        self._listener = Listener(address, newest=False, key=key)
        try:
            self._recording = make(path)
        except UserError:
            self._listener.close()
            raise
        self._thread = threading.Thread(target=self._run, name=f"record {path}", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """False when the run that is recorded has ended, or writing has failed."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Ends it, and writes the file."""
        self._stop.set()
        self._thread.join(JOIN_S)

    def _run(self) -> None:
        try:
            with closing(self._listener), closing(self._recording):
                while not self._stop.is_set():
                    try:
                        message = self._listener.get()
                    except UserError:  # a message that cannot be read; the feed counts it
                        continue
                    if message is not None:
                        self.count += message.status == "live"
                        if self._recording.add(message):
                            return
        except UserError as error:
            self.error = str(error)
