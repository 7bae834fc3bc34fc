"""The mailbox between threads: live it keeps the newest item, lossless it keeps every item."""

import threading

import pytest

from refit_rt.live.latest import Closed, Latest


def test_live_keeps_the_newest_and_counts_the_rest():
    slot = Latest()
    for number in range(5):
        slot.put(number)
    assert (slot.get(), slot.dropped) == (4, 4)


def test_close_delivers_the_last_item_first():
    slot = Latest()
    slot.put(1)
    slot.close()
    assert slot.get() == 1
    with pytest.raises(Closed):
        slot.get()


def test_a_closed_slot_takes_nothing_more():
    slot = Latest(lossless=True)
    slot.close()
    with pytest.raises(Closed):
        slot.put(1)


@pytest.mark.parametrize("lossless", [False, True])
def test_every_item_is_read_or_counted(lossless):
    slot, got = Latest(lossless), []
    reader = threading.Thread(target=lambda: got.extend(slot))
    reader.start()
    for number in range(20_000):
        slot.put(number)
    slot.close()
    reader.join()
    assert len(got) + slot.dropped == 20_000
    assert got == sorted(got)
    assert got[-1] == 19_999
    assert not (lossless and slot.dropped)


def test_closing_wakes_a_writer_that_waits():
    slot = Latest(lossless=True)
    slot.put(1)
    ended = []

    def write():
        with pytest.raises(Closed):
            slot.put(2)
        ended.append(True)

    writer = threading.Thread(target=write)
    writer.start()
    slot.close()
    writer.join(5)
    assert ended
