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


def crowd(count: int) -> People:
    """Some people of a camera that is turned in the world, under a name that is no ASCII."""
    some = people([7 * i + 2**40 for i in range(count)], time_s=0.125)
    world = some.joints_camera @ matrix_from_axis_angle(TURN).T + np.array([1.0, 2.0, 3.0])
    return replace(some, camera='Küche "links" 🎥', joints_world=world.astype(np.float32))


def message_of(count: int) -> bytes:
    return wire.encode(crowd(count), RUN, sent_s=100.145)


@pytest.fixture(scope="session")
def messages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Messages of 0, 1 and 3 people, as files."""
    folder = tmp_path_factory.mktemp("messages")
    paths = [folder / f"{count}.bin" for count in (0, 1, 3)]
    for path in paths:
        path.write_bytes(message_of(int(path.stem)))
    return paths
