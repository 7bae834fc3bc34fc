"""A call that runs beside its caller: it is asked for now, and its answer taken when there is one."""

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

Answer = TypeVar("Answer")


class AtOnce(Generic[Answer]):
    """Runs the call when it is asked for; the answer is there at once."""

    def __init__(self, call: Callable[..., Answer]) -> None:
        self._call = call
        self._answer: Answer | None = None

    def ask(self, *arguments: Any) -> None:
        """Runs the call. Raises what it raises."""
        self._answer = self._call(*arguments)

    def take(self) -> Answer | None:
        """The newest answer, once; None: there is none since the last one was taken."""
        answer, self._answer = self._answer, None
        return answer

    def forget(self) -> None:
        """Drops an answer that was not taken."""
        self._answer = None

    def close(self) -> None:
        """Nothing to end."""


class Beside(Generic[Answer]):
    """Runs the call in a thread of its own, one at a time. Who asks while it runs is not served."""

    def __init__(self, call: Callable[..., Answer], name: str) -> None:
        self._call = call
        self._changed = threading.Condition()
        self._arguments: tuple[Any, ...] | None = None  # of the call that runs or is about to
        self._answer: Answer | None = None
        self._error: Exception | None = None
        self._stale = self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def ask(self, *arguments: Any) -> None:
        """Has the call run, unless it is still running. Raises what an earlier call raised."""
        with self._changed:
            self._raise()
            if self._arguments is None:
                self._arguments = arguments
                self._changed.notify_all()

    def take(self) -> Answer | None:
        """The newest answer, once; None: there is none since the last one was taken. Raises what the call raised."""
        with self._changed:
            self._raise()
            answer, self._answer = self._answer, None
            return answer

    def forget(self) -> None:
        """Drops an answer that was not taken, and that of a call that is still running."""
        with self._changed:
            self._answer, self._stale = None, self._arguments is not None

    def close(self) -> None:
        """Ends the thread after the call that is running."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._arguments is not None)
                if self._closed:
                    return
                arguments = self._arguments
            try:
                answer, error = self._call(*(arguments or ())), None
            except Exception as raised:  # noqa: BLE001 - handed to the caller's thread
                answer, error = None, raised
            with self._changed:
                self._answer = self._answer if self._stale else answer
                self._error, self._arguments, self._stale = error, None, False
