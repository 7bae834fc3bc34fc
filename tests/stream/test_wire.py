"""Messages are decoded as they were encoded, and other bytes are refused in one line."""

import hashlib
import json
import struct
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load

from refit_rt.errors import UserError
from refit_rt.stream import wire
from refit_rt.types import PUBLISHED_FIELDS, People
from tests.support.fakes import people

RUN = wire.Run(epoch_s=1.7e9, body="free", bundle="edge")

GOLDEN = "1cd8116defce68a93f692ea9d6e1cb90d352bf9363f558fae71409dac8aba2d9"  # sha256
TWO = struct.pack("<Q", 2)


@pytest.mark.parametrize("ids", [[], [4], [1, 2, 9]])
def test_people_are_decoded_as_they_were_encoded(ids):
    sent = people(ids, time_s=0.125)
    message = wire.decode(wire.encode(sent, RUN, sent_s=100.145))
    for name in ("camera", "frame_index", "captured_s", "time_s", "dropped", "size", "focal_px", "centre_px"):
        assert getattr(message.people, name) == getattr(sent, name)
    for name in wire.TENSORS:
        np.testing.assert_array_equal(getattr(message.people, name), getattr(sent, name))
    assert message.age_s == pytest.approx(0.020)
    assert message.captured_unix_s == pytest.approx(1.7e9 + 100.125)
    assert (message.status, message.body, message.bundle) == ("live", "free", "edge")


@pytest.mark.parametrize("ids", [[], [4], [1, 2, 9]])
def test_the_safetensors_library_reads_the_same_arrays(ids):
    blob = wire.encode(people(ids), RUN, 101.0)
    about, plain = wire.unpack(blob)
    library = load(blob)
    assert plain.keys() == library.keys() == wire.TENSORS.keys()
    for name, array in library.items():
        np.testing.assert_array_equal(plain[name], array)
        assert plain[name].dtype == array.dtype
    assert about["frame_of_reference"].startswith("opencv-camera")


def test_every_array_is_aligned_and_the_metadata_is_text():
    blob = wire.encode(people([1, 2, 3]), RUN, 101.0)
    (length,) = struct.unpack_from("<Q", blob)
    header = json.loads(blob[8 : 8 + length])
    assert length % 8 == 0
    assert all(isinstance(value, str) for value in header.pop("__metadata__").values())
    for entry in header.values():
        assert entry["data_offsets"][0] % wire.DTYPES[entry["dtype"]].itemsize == 0


def test_one_person_is_a_small_message():
    assert len(wire.encode(people([1]), RUN, 101.0)) < 2500  # bytes; 60 messages per second are 150 kB/s


def test_the_cameras_of_a_rig_without_a_picture_are_named():
    message = wire.encode(replace(people([1]), missing=("cam2", "left door")), RUN, 101.0)
    assert wire.unpack(message)[0]["missing"] == "cam2,left door"
    assert wire.decode(message).people.missing == ("cam2", "left door")
    complete = wire.encode(people([1]), RUN, 101.0)
    assert "missing" not in wire.unpack(complete)[0]
    assert wire.decode(complete).people.missing == ()


def test_a_vanished_source_sends_its_last_frame_without_people():
    message = wire.decode(wire.encode(people([1, 2]).take(slice(0)), RUN, 103.0, "waiting"))
    assert (message.status, message.people.frame_index, len(message.people.ids)) == ("waiting", 7, 0)


@pytest.mark.parametrize(
    "blob", [b"", b"hello", b"\xff" * 64, struct.pack("<Q", 2) + b"{]", struct.pack("<Q", 2) + b"[]"]
)
def test_bytes_that_are_not_a_message_are_refused(blob):
    with pytest.raises(UserError, match="not a refit_rt message"):
        wire.decode(blob)


def test_another_schema_is_refused_by_name():
    with pytest.raises(UserError, match=r"schema 'refit_rt.people/9'.*same version"):
        wire.decode(wire.pack({"schema": "refit_rt.people/9"}, {}))


def test_an_incomplete_message_is_refused():
    with pytest.raises(UserError, match="incomplete"):
        wire.decode(wire.pack({"schema": wire.SCHEMA}, {}))


def test_cut_off_bytes_are_refused():
    with pytest.raises(UserError):
        wire.decode(wire.encode(people([1]), RUN, 101.0)[:-10])


def test_a_message_of_version_1_is_the_same_byte_for_byte():
    """Readers in other languages rely on it: only added fields may change these bytes."""
    count = {name: 2 * np.prod(shape, dtype=int) for name, (_, shape) in PUBLISHED_FIELDS.items()}
    rows = {name: np.arange(count[name]).reshape(2, *shape) / 8 for name, (_, shape) in PUBLISHED_FIELDS.items()}
    header = {"camera": "left", "frame_index": 7, "captured_s": 12.25, "time_s": 0.5, "dropped": 3}
    lens = {"size": (1280, 720), "focal_px": 1080.5, "centre_px": (639.5, 359.5)}
    message = wire.encode(People.of(rows | {"ids": [4, 9]}, **header, **lens), wire.Run(1.7e9, "free", "edge"), 12.5)
    assert hashlib.sha256(message).hexdigest() == GOLDEN
