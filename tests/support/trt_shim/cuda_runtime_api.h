// The part of CUDA's runtime that TensorRT's headers and trt_plugins/harness name: here a graph is done when it is made.
#pragma once

#include "cuda_runtime.h"

#include <cstdlib>

using cudaEvent_t = void*;
using cudaGraph_t = void*;
using cudaGraphExec_t = void*;
constexpr unsigned cudaStreamNonBlocking = 1;
constexpr int cudaStreamCaptureModeThreadLocal = 1;

inline cudaError_t cudaGetDeviceCount(int* count) { *count = 1; return cudaSuccess; }
inline cudaError_t cudaMallocManaged(void** place, std::size_t bytes)
{
    *place = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
    return *place != nullptr ? cudaSuccess : cudaErrorInvalidValue;
}
inline cudaError_t cudaFree(void* place) { std::free(place); return cudaSuccess; }
inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) { *stream = nullptr; return cudaSuccess; }
inline cudaError_t cudaStreamBeginCapture(cudaStream_t, int) { return cudaSuccess; }
inline cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t*) { return cudaSuccess; }
inline cudaError_t cudaGraphInstantiate(cudaGraphExec_t*, cudaGraph_t, unsigned) { return cudaSuccess; }
inline cudaError_t cudaGraphLaunch(cudaGraphExec_t, cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
