"""The choice of plugin nodes in a step, and the type of the maps that follows from it. It needs no onnx."""

from typing import Literal

import numpy as np

Nodes = Literal["none", "gru", "both"]  # a step's nodes of trt_plugins: none, BatchedGRU, or BatchedGRU and Feedback


def maps_dtype(half: bool, nodes: Nodes) -> type:
    """float16 only with the Feedback node: TensorRT's GridSample needs maps and positions of one type, and positions
    need float32."""
    return np.float16 if half and nodes == "both" else np.float32
