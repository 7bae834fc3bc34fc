"""Which nodes of a step are trt_plugins', and what that means for its arrays; without onnx."""

from typing import Literal

import numpy as np

Nodes = Literal["none", "gru", "both"]  # which of the plugins' nodes a step holds


def maps_dtype(half: bool, nodes: Nodes) -> type:
    """Halves for the Feedback node alone: TensorRT samples maps and places of one type, and places need 32 bits."""
    return np.float16 if half and nodes == "both" else np.float32
