"""What several test files share."""

from pathlib import Path

import pytest

from refit_rt.errors import UserError
from training.pull import pull


@pytest.fixture(scope="session")
def landmark_network() -> Path:
    """BlazePose's landmark network, pulled as for training."""
    name = "pose_landmark_full.tflite"
    try:
        return pull(name)
    except UserError as error:
        pytest.skip(f"needs {name}, and it cannot be pulled: {error}")
