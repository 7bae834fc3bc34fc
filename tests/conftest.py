"""What several test files share."""

from pathlib import Path

import pytest

from refit_rt.errors import UserError
from training.pull import pull


@pytest.fixture(scope="session")
def landmark_network() -> Path:
    """BlazePose's full landmark network, pulled as for training."""
    return pulled("pose_landmark_full.tflite")


@pytest.fixture(scope="session")
def heavy_network() -> Path:
    """BlazePose's heavy landmark network, pulled as for training."""
    return pulled("pose_landmark_heavy.tflite")


def pulled(name: str) -> Path:
    """The path of a network's file; skips the test where it cannot be had."""
    try:
        return pull(name)
    except UserError as error:
        pytest.skip(f"needs {name}, and it cannot be pulled: {error}")
