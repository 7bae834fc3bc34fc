"""The network on an NVIDIA GPU, as two TensorRT engines."""
