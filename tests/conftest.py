"""What several test files share."""

from pathlib import Path

import pytest

from refit_rt.detect.pull import pull
from refit_rt.errors import UserError


def _pulled(name: str) -> Path:
    try:
        return pull(name)
    except UserError as error:
        pytest.skip(f"needs {name}, and it cannot be pulled: {error}")


@pytest.fixture(scope="session")
def person_detector() -> Path:
    """BlazePose's detector, pulled as on first use."""
    return _pulled("pose_detection.tflite")


@pytest.fixture(scope="session")
def landmark_network() -> Path:
    """BlazePose's landmark network, pulled as for training."""
    return _pulled("pose_landmark_full.tflite")
