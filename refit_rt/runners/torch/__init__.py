"""The network in torch, and its loop by the CUDA kernels of trt_plugins/."""
