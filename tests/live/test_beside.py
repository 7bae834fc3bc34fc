"""Calls that run beside their caller."""

import threading
import time

import pytest

from refit_rt.live.beside import AtOnce, Beside

LONG_S = 10.0  # after which a test gives up


class Gate:
    """A call that waits until it is let through, and counts."""

    def __init__(self) -> None:
        self.begun, self.open = threading.Semaphore(0), threading.Semaphore(0)
        self.arguments: list[int] = []

    def __call__(self, number: int) -> int:
        self.arguments.append(number)
        self.begun.release()
        assert self.open.acquire(timeout=LONG_S)
        if number < 0:
            raise ValueError(f"{number} is negative")
        return 10 * number


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def beside(gate):
    made = Beside(gate, "test")
    yield made
    gate.open.release(100)
    made.close()


def taken(beside: Beside) -> int:
    """The next answer."""
    end_s = time.monotonic() + LONG_S
    while time.monotonic() < end_s:
        if (answer := beside.take()) is not None:
            return answer
        time.sleep(0.001)
    raise TimeoutError("no answer")


def test_an_answer_is_taken_once_when_it_is_there(gate: Gate, beside: Beside) -> None:
    assert beside.take() is None
    beside.ask(3)
    assert gate.begun.acquire(timeout=LONG_S)
    assert beside.take() is None  # the caller does not wait
    gate.open.release()
    assert taken(beside) == 30
    assert beside.take() is None


def test_who_asks_while_the_call_runs_is_not_served(gate: Gate, beside: Beside) -> None:
    beside.ask(1)
    assert gate.begun.acquire(timeout=LONG_S)
    beside.ask(2)
    beside.ask(3)
    gate.open.release()
    assert taken(beside) == 10
    gate.open.release()
    beside.ask(4)
    assert taken(beside) == 40
    assert gate.arguments == [1, 4]


def test_an_answer_to_what_was_asked_before_forgetting_never_comes(gate: Gate, beside: Beside) -> None:
    beside.ask(1)
    assert gate.begun.acquire(timeout=LONG_S)
    beside.forget()
    gate.open.release()
    while len(gate.arguments) < 2:  # the second question is served when the first call has ended
        beside.ask(2)
        time.sleep(0.001)
    assert beside.take() is None
    gate.open.release()
    assert taken(beside) == 20


def test_an_error_of_the_call_is_raised_where_the_answer_is_taken_or_the_next_is_asked_for(
    gate: Gate, beside: Beside
) -> None:
    beside.ask(-1)
    gate.open.release()
    with pytest.raises(ValueError, match="-1 is negative"):
        taken(beside)
    with pytest.raises(ValueError, match="-1 is negative"):
        beside.ask(2)
    assert gate.arguments == [-1]


def test_closing_waits_for_the_call_and_ends_the_thread() -> None:
    gate = Gate()
    beside = Beside(gate, "closing")
    beside.ask(1)
    assert gate.begun.acquire(timeout=LONG_S)
    closer = threading.Thread(target=beside.close)
    closer.start()
    closer.join(0.05)
    assert closer.is_alive()
    gate.open.release()
    closer.join(LONG_S)
    assert not closer.is_alive()
    assert all(thread.name != "closing" for thread in threading.enumerate())


def test_at_once_answers_at_once_and_once() -> None:
    def tenfold(number: int) -> int:
        if number < 0:
            raise ValueError(f"{number} is negative")
        return 10 * number

    now = AtOnce(tenfold)
    assert now.take() is None
    now.ask(3)
    assert now.take() == 30
    assert now.take() is None
    now.ask(4)
    now.forget()
    assert now.take() is None
    with pytest.raises(ValueError, match="-1 is negative"):
        now.ask(-1)
    now.close()


def test_who_takes_an_overdue_answer_waits_a_little_once(
    gate: Gate, beside: Beside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("refit_rt.live.beside.OVERDUE_S", 0.0)
    monkeypatch.setattr("refit_rt.live.beside.WAIT_S", LONG_S)
    beside.ask(3)
    assert gate.begun.acquire(timeout=LONG_S)
    threading.Timer(0.05, gate.open.release).start()
    time.sleep(0.001)
    assert beside.take() == 30  # without a wait, the answer would not be there yet


def test_who_asks_before_the_answer_is_taken_is_not_served(gate: Gate, beside: Beside) -> None:
    beside.ask(1)
    gate.open.release()
    while beside._answer is None:
        time.sleep(0.001)
    beside.ask(2)
    assert beside.take() == 10
    assert gate.arguments == [1]
