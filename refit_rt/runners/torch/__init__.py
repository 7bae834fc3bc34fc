"""The network in torch, and its loop in the CUDA kernels of trt_plugins/."""
