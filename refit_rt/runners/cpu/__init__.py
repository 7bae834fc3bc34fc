"""The network on a CPU: the encoder in OpenVINO, the loop in numba."""
