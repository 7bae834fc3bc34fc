"""A stage runs its work on every item, and its end or failure ends the whole chain."""

import time

import pytest

from refit_rt.live.latest import Closed, Latest
from refit_rt.live.stage import HISTORY, Stage, Timings


def fail(_):
    raise RuntimeError("no")


def put_forever(slot):
    while True:
        slot.put(2)
        time.sleep(0.001)


def test_a_stage_passes_on_every_result_except_none():
    source, sink = Latest(lossless=True), Latest(lossless=True)
    stage = Stage("even", lambda x: x if x % 2 == 0 else None, source, sink)
    stage.start()
    feeder = Stage("feed", lambda x: x, Numbers(6), source)
    feeder.start()
    assert list(sink) == [0, 2, 4]
    stage.join(5)
    assert (stage.error, feeder.error) == (None, None)


def test_an_error_ends_the_whole_chain_both_ways():
    a, b, c = Latest(), Latest(), Latest()
    stages = [Stage("first", lambda x: x, a, b), Stage("second", fail, b, c)]
    for stage in stages:
        stage.start()
    a.put(1)
    with pytest.raises(Closed):
        c.get()
    with pytest.raises(Closed):
        put_forever(a)
    for stage in stages:
        stage.join(5)
        assert not stage.is_alive()
    assert isinstance(stages[1].error, RuntimeError)


def test_close_runs_once_also_after_an_error():
    closed = []
    source = Latest()
    stage = Stage("writes", fail, source, close=lambda: closed.append(True))
    stage.start()
    source.put(1)
    stage.join(5)
    assert closed == [True]
    assert isinstance(stage.error, RuntimeError)


def test_a_failing_close_is_the_error_and_the_chain_still_ends():
    source, sink = Latest(), Latest()
    stage = Stage("writes", lambda x: x, source, sink, close=lambda: fail(0))
    stage.start()
    source.close()
    with pytest.raises(Closed):
        sink.get()
    stage.join(5)
    assert isinstance(stage.error, RuntimeError)


def test_timings_keep_the_newest_and_never_grow():
    timings = Timings()
    for number in range(3 * HISTORY):
        timings.add("fit", number / 1e3)
    p50, p95, kept = timings.milliseconds()["fit"]
    assert kept == HISTORY
    assert 2 * HISTORY < p50 < p95 < 3 * HISTORY


class Numbers:
    def __init__(self, count):
        self._count = count

    def __iter__(self):
        return iter(range(self._count))

    def close(self):
        pass
