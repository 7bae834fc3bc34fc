"""Python's decoder under mutated messages: nothing but UserError, and neither memory nor time as claimed."""

import random
import re
import struct
import time
import tracemalloc

import pytest

from refit_rt.errors import UserError
from refit_rt.stream import wire
from tests.clients.conftest import message_of

MUTATED = 20_000  # 100,000 with the same seed pass as well, and take 16 s
HOSTILE = (
    *(b"0", b"1", b"-1", b"18446744073709551615", b"1e400", b"NaN", b"Infinity", b"1.5", b"9" * 5000, b"[", b"]", b"{"),
    *(b"}", b'"', b"\\u", b"\\ud800", b"null", b"true", b'"I64"', b'"F64"', b'"x"', b"[]", b"{}", b"[0]", b"[-1]"),
    *(b"[" * 20_000, b"\xff", b"[4294967296,4294967296]"),
)
PLACE = re.compile(rb'\d+|"[^"]*"|\[[^\[\]]*\]|\{[^{}]*\}|[\[{]')


def mutated(blob: bytes, rng: random.Random) -> bytes:
    """A message with wrong bytes, cut off, with a wrong length, or with something hostile in its header."""
    length = struct.unpack_from("<Q", blob)[0] if len(blob) >= 8 else 0
    changed, kind = bytearray(blob), rng.randrange(8)
    if kind == 0 and blob:
        for _ in range(rng.randint(1, 8)):
            changed[rng.randrange(rng.choice((len(blob), min(len(blob), 1500))))] = rng.randrange(256)
    elif kind == 1:
        del changed[rng.randrange(len(blob) + 1) :]
    elif kind == 2:
        changed[:8] = struct.pack("<Q", rng.choice((0, 1, 2, len(blob), 2**32, 2**62, 2**64 - 1)))
    elif kind == 3:
        changed += rng.randbytes(rng.randrange(64))
    elif 2 <= length <= len(blob) - 8:
        header = blob[8 : 8 + length]
        places = [match.span() for match in PLACE.finditer(header)]
        start, end = rng.choice(places) if places else (0, 0)
        header = header[:start] + rng.choice(HOSTILE) + header[end:]
        return struct.pack("<Q", len(header)) + header + blob[8 + length :]
    return bytes(changed)


def test_mutated_messages_raise_only_its_own_error() -> None:
    rng, blobs = random.Random(1), [message_of(count) for count in (0, 1, 3)]
    accepted = 0
    for _ in range(MUTATED):
        blob = rng.choice(blobs)
        for _ in range(rng.randint(1, 2)):
            blob = mutated(blob, rng)
        try:
            people = wire.decode(blob).people
        except UserError:
            continue
        accepted += 1
        assert people.joints_world.shape == (len(people.ids), 24, 3)
    assert MUTATED / 100 < accepted < MUTATED / 2


@pytest.mark.parametrize(
    "claim",
    [
        (b'"shape":[1]', b'"shape":[99999999999]'),
        (b'"shape":[1,24,3]', b'"shape":[4294967296,4294967296,3]'),
        (b'"shape":[1,10]', b'"shape":[0,99999999999]'),
        (b'"data_offsets":[0,8]', b'"data_offsets":[0,99999999999]'),
        (b'"data_offsets":[0,8]', b'"data_offsets":[-99999999999,8]'),
        (b'"frame":"7"', b'"frame":"' + b"9" * 1_000_000 + b'"'),
        (b'"frame":"7"', b'"frame":' + b"[" * 1_000_000),
    ],
    ids=lambda claim: claim[1][:30].decode(),
)
def test_a_claimed_size_costs_neither_memory_nor_time(claim: tuple[bytes, bytes]) -> None:
    blob = message_of(1)
    (length,) = struct.unpack_from("<Q", blob)
    header = blob[8 : 8 + length].replace(*claim)
    assert header != blob[8 : 8 + length]
    blob = struct.pack("<Q", len(header)) + header + blob[8 + length :]
    tracemalloc.start()
    begin_s = time.thread_time()
    try:
        with pytest.raises(UserError):
            wire.decode(blob)
        assert tracemalloc.get_traced_memory()[1] < 8 * len(blob) + 1_000_000  # bytes; the claims are gigabytes
    finally:
        tracemalloc.stop()
    assert time.thread_time() - begin_s < 5  # a hang, not a speed
