"""The ONNX graphs that TensorRT engines are built from."""
