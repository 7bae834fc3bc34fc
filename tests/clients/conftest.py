"""Messages for the clients, as files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from refit_rt.geometry import matrix_from_axis_angle
from refit_rt.stream import wire
from refit_rt.types import People
from tests.support.fakes import people

RUN = wire.Run(epoch_s=1.7e9, body="free", bundle="edge")
TURN = np.array([2.8, 0.3, -0.4])  # of the world against the camera, axis-angle
SHIFT_M = np.array([1.0, 2.0, 3.0])  # where the camera stands


def crowd(count: int) -> People:
    """Some people of a camera that is turned in the world, under a name that is no ASCII."""
    some = people([7 * i + 2**40 for i in range(count)], time_s=0.125)
    turn = matrix_from_axis_angle(TURN)
    world = some.joints_camera @ turn.T + SHIFT_M
    place = (*np.column_stack([turn, SHIFT_M]).ravel().tolist(),)
    return replace(
        some,
        camera='Küche "links" 🎥',
        joints_world=world.astype(np.float32),
        views=np.arange(1, count + 1, dtype=np.int32),
        contacts=np.linspace(0, 1, 4 * count, dtype=np.float32).reshape(count, 4),
        cameras=('Küche "links" 🎥', "Tür"),
        world_from_cameras=(place, tuple(range(12))),
        floor=(0.0, 1.0, 0.0, -0.25),
    )


def message_of(count: int) -> bytes:
    return wire.encode(crowd(count), RUN, sent_s=100.145)


# Messages that every client refuses, and what it says of them.
WRONG = [
    (b"", "not a refit_rt message"),
    (b"\xff" * 64, "not a refit_rt message"),
    (wire.pack({"schema": "refit_rt.people/9"}, {}), "schema 'refit_rt.people/9'"),
    (wire.pack({"schema": wire.SCHEMA}, {}), "incomplete message: no 'status'"),
    (message_of(1)[:-1], "'contacts' does not lie within the message"),
    (message_of(1).replace(b'"frame":"7"', b'"frame":"x"'), "'frame' is not a number"),
    (message_of(1).replace(b"[1,24,3]", b"[1,25,3]"), "another type or shape"),
    (message_of(1).replace(b'"floor":"0 1', b'"floor":"0 x'), "'floor' is not 4 numbers"),
    (message_of(1).replace(b"8 9 10 11", b"8 9 10.11"), "'world_from_cameras'"),
]


@pytest.fixture(scope="session")
def messages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Messages of 0, 1 and 3 people, as files."""
    folder = tmp_path_factory.mktemp("messages")
    paths = [folder / f"{count}.bin" for count in (0, 1, 3)]
    for path in paths:
        path.write_bytes(message_of(int(path.stem)))
    return paths
