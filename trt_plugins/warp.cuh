// What both kernels are made of: 16 bytes of weights read at once, their products, sums within a warp.
#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime.h>

namespace refit
{

constexpr int WARP = 32;
constexpr unsigned EVERY_LANE = 0xffffffffu;

// The block's shared memory; each kernel lays out its own room in it.
extern __shared__ uint4 shared_bytes[];

// How many weights 16 bytes hold.
template <class T>
constexpr int PER_CHUNK = 16 / sizeof(T);

template <class T>
constexpr __host__ __device__ int chunks_in(int numbers)
{
    return numbers / PER_CHUNK<T>;
}

__device__ inline float wide(float number)
{
    return number;
}

__device__ inline float wide(__half number)
{
    return __half2float(number);
}

template <class T>
__device__ inline T narrow(float number);

template <>
__device__ inline float narrow<float>(float number)
{
    return number;
}

template <>
__device__ inline __half narrow<__half>(float number)
{
    return __float2half(number);
}

// Constant arrays only: what another thread of the same kernel writes must not be read this way.
template <class T>
__device__ inline uint4 chunk_at(T const* numbers)
{
    return __ldg(reinterpret_cast<uint4 const*>(numbers));
}

// Numbers 2·pair and 2·pair + 1 of a chunk.
template <class T>
__device__ inline float2 pair_of(uint4 chunk, int pair);

template <>
__device__ inline float2 pair_of<float>(uint4 chunk, int pair)
{
    return pair == 0 ? make_float2(__uint_as_float(chunk.x), __uint_as_float(chunk.y))
                     : make_float2(__uint_as_float(chunk.z), __uint_as_float(chunk.w));
}

template <>
__device__ inline float2 pair_of<__half>(uint4 chunk, int pair)
{
    unsigned const bits = pair < 2 ? (pair == 0 ? chunk.x : chunk.y) : (pair == 2 ? chunk.z : chunk.w);
    __half_raw low, high;
    low.x = static_cast<unsigned short>(bits & 0xffffu);
    high.x = static_cast<unsigned short>(bits >> 16);
    return make_float2(__half2float(__half(low)), __half2float(__half(high)));
}

__device__ inline float plus_product(float sum, float2 a, float2 b)
{
    return fmaf(a.y, b.y, fmaf(a.x, b.x, sum));
}

// sum + chunk · x; x lies in shared memory at a multiple of 8 bytes.
template <class T>
__device__ inline float plus_chunk(float sum, uint4 chunk, float const* x)
{
#pragma unroll
    for (int pair = 0; pair < PER_CHUNK<T> / 2; ++pair)
        sum = plus_product(sum, pair_of<T>(chunk, pair), *reinterpret_cast<float2 const*>(x + 2 * pair));
    return sum;
}

// The sum over neighbouring lanes, LANES of them (a power of two), told to each. Every lane of the warp must come here.
template <int LANES>
__device__ inline float sum_over(float number)
{
#pragma unroll
    for (int apart = LANES / 2; apart > 0; apart /= 2)
        number += __shfl_xor_sync(EVERY_LANE, number, apart);
    return number;
}

// Four sums over a warp, begun: what is left is the sum over eight neighbouring lanes, and row lane / 8 is theirs.
// Three shuffles, where a sum by itself takes two of each of the four.
__device__ inline float shared_out(float const (&rows)[4], int lane)
{
    bool const lower = lane & 16, odd = lane & 8;
    float const first = (lower ? rows[2] : rows[0]) + __shfl_xor_sync(EVERY_LANE, lower ? rows[0] : rows[2], 16);
    float const second = (lower ? rows[3] : rows[1]) + __shfl_xor_sync(EVERY_LANE, lower ? rows[1] : rows[3], 16);
    return (odd ? second : first) + __shfl_xor_sync(EVERY_LANE, odd ? first : second, 8);
}

} // namespace refit
