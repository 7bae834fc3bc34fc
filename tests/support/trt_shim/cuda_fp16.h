// Half precision on a CPU, for cuda_runtime.h.
#pragma once

#include <cstring>

struct __half_raw { unsigned short x; };

struct __half
{
    _Float16 number;
    __half() = default;
    __half(__half_raw raw) { std::memcpy(&number, &raw, 2); }
};

inline float __half2float(__half half) { return half.number; }
inline __half __float2half(float number) { __half half; half.number = static_cast<_Float16>(number); return half; }
