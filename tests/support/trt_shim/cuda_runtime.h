// The part of CUDA that trt_plugins/*.cu use, on a CPU: each thread of a block is a fibre, and they take turns.
//
// Stands in for the real header when g++ compiles the kernels for the tests. It is stricter than a GPU: threads that wait
// at different places, loads that are not aligned, and writes behind the shared memory asked for are errors.
#pragma once

#include <math.h>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

#define __device__
#define __host__
#define __global__
#define __constant__ static const
#define __shared__
#define __launch_bounds__(...)

using cudaError_t = int;
constexpr cudaError_t cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorLaunchFailure = 719;
using cudaStream_t = void*;

struct dim3
{
    unsigned x, y, z;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
extern dim3 threadIdx, blockIdx, gridDim, blockDim;

struct float2 { float x, y; };
struct float4 { float x, y, z, w; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float __uint_as_float(unsigned bits) { float number; std::memcpy(&number, &bits, 4); return number; }

namespace simt
{
enum class Wait : int { none, block, warp_sync, shuffle, ballot };
void wait(Wait);                                    // until the whole block (warp) waits at the same kind of place
void fail(char const*);                             // ends the launch with an error
unsigned* exchange();                               // (32,) of this warp, for the shuffle in progress
int lane();
cudaError_t launch(dim3 grid, dim3 block, std::size_t shared, std::function<void()> const& kernel);
} // namespace simt

inline void __syncthreads() { simt::wait(simt::Wait::block); }
inline void __syncwarp(unsigned = ~0u) { simt::wait(simt::Wait::warp_sync); }

inline float __shfl_xor_sync(unsigned, float number, int apart)
{
    unsigned* const slots = simt::exchange();
    std::memcpy(slots + simt::lane(), &number, 4);
    simt::wait(simt::Wait::shuffle);
    return __uint_as_float(slots[simt::lane() ^ apart]);
}

inline unsigned __ballot_sync(unsigned, bool yes)
{
    unsigned* const slots = simt::exchange();
    slots[simt::lane()] = yes;
    simt::wait(simt::Wait::ballot);
    unsigned bits = 0;
    for (int i = 0; i < 32; ++i)
        bits |= slots[i] << i;
    return bits;
}

template <class T>
T __ldg(T const* place)
{
    if (reinterpret_cast<std::uintptr_t>(place) % sizeof(T) != 0)
        simt::fail("a load that is not aligned");
    return *place;
}

template <class Task>
cudaError_t cudaLaunchKernel(
    void (*kernel)(Task), dim3 grid, dim3 block, void** arguments, std::size_t shared, cudaStream_t)
{
    Task const task = *static_cast<Task*>(arguments[0]);
    return simt::launch(grid, block, shared, [=] { kernel(task); });
}
