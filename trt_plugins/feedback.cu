// The kernel of feedback.h: a block makes 32 local features of one person.
//
// Every block of a person places the whole body and looks at every window by itself, for all features need all windows.
// That is some thousand products a thread more than needed, and less than blocks that wait for one another would cost: no
// counters, no room between launches, the same answer every time.
#include "feedback.h"
#include "feedback_body.cuh"
#include "feedback_room.h"
#include "warp.cuh"

namespace refit
{
namespace feedback_kernel
{

constexpr int WARPS = THREADS / WARP;
constexpr int ROWS = WARPS;           // local features a block, one a warp
constexpr float MAP_STRIDE = 4;       // crop pixels a cell
constexpr float RESIDUAL_PX = 16;     // a landmark this far from its joint counts as one,
constexpr float MOST_RESIDUAL = 4;    // and four as the most that is told
constexpr float MOST_OUTSIDE = 3;     // half crops that a point may be told to be off the middle
constexpr float FAR = 1e6f;           // cells: beyond any map, where a point that projects to no number goes

// BlazePose's landmarks and the joints that sit in nearly the same place, as in feedback.py.
__constant__ int LANDMARK_OF[PAIRS] = {11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28, 19, 20, 31, 32, 0};
__constant__ int JOINT_OF[PAIRS] = {16, 17, 18, 19, 20, 21, 1, 2, 4, 5, 7, 8, 22, 23, 10, 11, 15};

template <class T>
struct Task
{
    FeedbackArrays<T> arrays;
    FeedbackSizes sizes;
    Room room; // made by the host: what comes as an argument takes no registers
};

// A pixel of the crop in cells, whole and rest.
struct Cell
{
    int whole;
    float rest;
};

__device__ inline Cell cell_of(float pixel)
{
    float at = pixel / MAP_STRIDE;
    if (!(fabsf(at) < FAR))
        at = FAR;
    float const low = floorf(at);
    return {static_cast<int>(low), at - low};
}

// The corners of every marker's window, zero outside of the map; neighbouring threads read neighbouring cells.
template <class T>
__device__ void read_taps(T const* maps, FeedbackSizes const& sizes, Room const& at, float* room)
{
    int const side = 2 * sizes.radius + 2, taps = side * side, height = sizes.height, width = sizes.width;
#pragma unroll 5
    for (int i = threadIdx.x; i < sizes.markers * taps; i += THREADS)
    {
        int const marker = i / taps, tap = i - marker * taps;
        float const* const pixel = room + at.pixels + 2 * (JOINTS + marker);
        int const x = cell_of(pixel[0]).whole - sizes.radius + tap % side;
        int const y = cell_of(pixel[1]).whole - sizes.radius + tap / side;
        bool const inside = x >= 0 && x < width && y >= 0 && y < height;
        room[at.partial + i] = inside ? wide(__ldg(maps + (marker * height + y) * width + x)) : 0.f;
    }
}

// Bilinear samples; x is the slow index of a window, as the official weights have learned it. Zeros fill each row.
__device__ inline void make_windows(FeedbackSizes const& sizes, Room const& at, float* room)
{
    int const side = 2 * sizes.radius + 1, cells = side * side, stride = up(cells, 8), corners = side + 1;
    for (int i = threadIdx.x; i < sizes.markers * stride; i += THREADS)
    {
        int const marker = i / stride, cell = i - marker * stride;
        float const* const pixel = room + at.pixels + 2 * (JOINTS + marker);
        float const fx = cell_of(pixel[0]).rest, fy = cell_of(pixel[1]).rest;
        float seen = 0;
        if (cell < cells)
        {
            float const* const tap = room + at.partial + (marker * corners + cell % side) * corners + cell / side;
            float const above = (1 - fx) * tap[0] + fx * tap[1];
            float const below = (1 - fx) * tap[corners] + fx * tap[corners + 1];
            seen = (1 - fy) * above + fy * below;
        }
        room[at.windows + i] = seen;
    }
}

__device__ inline float within(float number, float most)
{
    return fminf(fmaxf(number, -most), most);
}

// Number i of what the keypoint feedback sees, as keypoint_state and keypoint_residual in feedback.py lay it out.
__device__ inline float keypoint_input(int i, float const* keypoints, FeedbackSizes const& sizes, float const* pixels)
{
    float const half = sizes.crop_px / 2;
    int const points = 2 * (JOINTS + sizes.markers);
    if (i < 2 * LANDMARKS)
        return keypoints[i / 2 * 4 + i % 2] / half - 1;
    if (i < 3 * LANDMARKS)
        return keypoints[(i - 2 * LANDMARKS) * 4 + 2] / half;
    if (i < 4 * LANDMARKS)
        return keypoints[(i - 3 * LANDMARKS) * 4 + 3];
    i -= 4 * LANDMARKS;
    if (i < points)
        return within(pixels[i] / half - 1, MOST_OUTSIDE);
    i -= points;
    if (i >= 2 * PAIRS)
        return 0; // fills the row
    float const* const landmark = keypoints + LANDMARK_OF[i / 2] * 4;
    float const apart = (landmark[i % 2] - pixels[2 * JOINT_OF[i / 2] + i % 2]) / RESIDUAL_PX;
    return within(apart, MOST_RESIDUAL) * landmark[3];
}

// weights (rows, length) times x_of(row) plus bias → done(row, sum). LANES neighbours share a row, each has AT_ONCE rows'
// chunks on their way. The whole block must come here.
template <int LANES, int AT_ONCE, class T, class Input, class Done>
__device__ void layer(T const* weights, T const* bias, int rows, int length, Input x_of, Done done)
{
    constexpr int TEAMS = THREADS / LANES;
    int const part = threadIdx.x % LANES, team = threadIdx.x / LANES;
    for (int first = team; first - team < rows; first += TEAMS * AT_ONCE)
    {
        float sums[AT_ONCE];
#pragma unroll
        for (int r = 0; r < AT_ONCE; ++r)
            sums[r] = part == 0 && first + r * TEAMS < rows ? wide(bias[first + r * TEAMS]) : 0.f;
#pragma unroll 2
        for (int i = part * PER_CHUNK<T>; i < length; i += LANES * PER_CHUNK<T>)
        {
            uint4 chunks[AT_ONCE];
#pragma unroll
            for (int r = 0; r < AT_ONCE; ++r)
                if (first + r * TEAMS < rows)
                    chunks[r] = chunk_at(weights + (first + r * TEAMS) * length + i);
#pragma unroll
            for (int r = 0; r < AT_ONCE; ++r)
                if (first + r * TEAMS < rows)
                    sums[r] = plus_chunk<T>(sums[r], chunks[r], x_of(first + r * TEAMS) + i);
        }
#pragma unroll
        for (int r = 0; r < AT_ONCE; ++r)
        {
            float const sum = sum_over<LANES>(sums[r]);
            if (part == 0 && first + r * TEAMS < rows)
                done(first + r * TEAMS, sum);
        }
    }
}

// This lane's part of weights · x, both of this length.
template <class T>
__device__ float row_product(T const* weights, float const* x, int length)
{
    float sum = 0;
#pragma unroll 4
    for (int i = threadIdx.x % WARP * PER_CHUNK<T>; i < length; i += WARP * PER_CHUNK<T>)
        sum = plus_chunk<T>(sum, chunk_at(weights + i), x + i);
    return sum;
}

// Windows → the numbers kept of each; keypoints → hidden units of their feedback.
template <class T>
__device__ void inner_layers(FeedbackArrays<T> const& a, FeedbackSizes const& sizes, Room const& at, float* room)
{
    int const stride = up(cells_of(sizes), 8), rows = sizes.markers * sizes.flow;
    layer<EIGHTH, 3>(
        a.flow_weight, a.flow_bias, rows, stride,
        [&](int row) { return room + at.windows + row / sizes.flow * stride; },
        [&](int row, float sum) { room[at.flow + row] = sum; });
    if (static_cast<int>(threadIdx.x) < up(rows, 8) - rows)
        room[at.flow + rows + threadIdx.x] = 0;
    if (sizes.hidden > 0)
        layer<WARP, 4>(
            a.first_weight, a.first_bias, sizes.hidden, up(keypoint_inputs(sizes), 8),
            [&](int) { return room + at.keypoint_x; },
            [&](int row, float sum) { room[at.keypoint_y + row] = fmaxf(sum, 0.f); });
}

// A local feature a warp.
template <class T>
__device__ void last_layers(FeedbackArrays<T> const& a, FeedbackSizes const& sizes, Room const& at, int person, float const* room)
{
    int const row = blockIdx.x * ROWS + threadIdx.x / WARP, length = up(sizes.markers * sizes.flow, 8);
    if (row >= sizes.local)
        return;
    float const bias = wide(a.local_bias[row]) + (sizes.hidden > 0 ? wide(a.last_bias[row]) : 0.f);
    float sum = row_product(a.local_weight + row * length, room + at.flow, length);
    if (sizes.hidden > 0)
        sum += row_product(a.last_weight + row * sizes.hidden, room + at.keypoint_y, sizes.hidden);
    sum = sum_over<WARP>(sum) + bias;
    if (threadIdx.x % WARP == 0)
        a.features[person * sizes.local + row] = narrow<T>(sum);
}

template <class T>
__global__ void __launch_bounds__(THREADS) kernel(Task<T> task)
{
    float* const room = reinterpret_cast<float*>(shared_bytes);
    FeedbackArrays<T> const& a = task.arrays;
    FeedbackSizes const& sizes = task.sizes;
    Room const& at = task.room;
    int const person = blockIdx.y;
    place_body(a, sizes, at, person, room);
    __syncthreads();
    read_taps(a.maps + static_cast<size_t>(person) * sizes.markers * sizes.height * sizes.width, sizes, at, room);
    if (sizes.hidden > 0)
        for (int i = threadIdx.x; i < up(keypoint_inputs(sizes), 8); i += THREADS)
            room[at.keypoint_x + i]
                = keypoint_input(i, a.keypoints + person * LANDMARKS * 4, sizes, room + at.pixels);
    __syncthreads();
    make_windows(sizes, at, room);
    __syncthreads();
    inner_layers(a, sizes, at, room);
    __syncthreads();
    last_layers(a, sizes, at, person, room);
}

template <class T>
cudaError_t launch(FeedbackArrays<T> const& arrays, FeedbackSizes const& sizes, cudaStream_t stream)
{
    bool const some = sizes.persons > 0 && sizes.markers > 0 && sizes.height > 0 && sizes.width > 0 && sizes.local > 0
        && sizes.flow > 0 && sizes.radius >= 0 && sizes.hidden >= 0;
    if (!some || sizes.pose_rows < 1 || sizes.pose_rows > TURN * (JOINTS - 1) || sizes.hidden % PER_CHUNK<T> != 0
        || quads_of(sizes) > BLEND_THREADS)
        return cudaErrorInvalidValue;
    Task<T> task{arrays, sizes, room_of(sizes)};
    size_t const bytes = task.room.floats * sizeof(float);
    if (bytes > 48 * 1024)
        return cudaErrorInvalidValue;
    void* arguments[] = {&task};
    dim3 const grid((sizes.local + ROWS - 1) / ROWS, sizes.persons);
    return cudaLaunchKernel(kernel<T>, grid, dim3(THREADS), arguments, bytes, stream);
}

template <class T>
FeedbackArrays<T> in_order(void const* const* in, void* features, bool with_keypoints)
{
    auto t = [&](int i) { return static_cast<T const*>(in[i]); };
    auto f = [&](int i) { return static_cast<float const*>(in[i]); };
    auto n = [&](int i) { return static_cast<int const*>(in[i]); };
    FeedbackArrays<T> a{t(0), f(1), f(2), f(3), f(4), f(5), n(6), f(7), n(8), f(9), t(10), t(11), t(12), t(13)};
    if (with_keypoints)
        a.keypoints = f(14), a.first_weight = t(15), a.first_bias = t(16), a.last_weight = t(17), a.last_bias = t(18);
    a.features = static_cast<T*>(features);
    return a;
}

} // namespace feedback_kernel

cudaError_t feedback(FeedbackArrays<float> const& arrays, FeedbackSizes const& sizes, cudaStream_t stream)
{
    return feedback_kernel::launch(arrays, sizes, stream);
}

cudaError_t feedback(FeedbackArrays<__half> const& arrays, FeedbackSizes const& sizes, cudaStream_t stream)
{
    return feedback_kernel::launch(arrays, sizes, stream);
}

} // namespace refit

extern "C" int refit_feedback(int half, void const* const* inputs, void* features, int const* numbers, float crop_px,
    void* stream)
{
    int const* const n = numbers;
    refit::FeedbackSizes const sizes{n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], crop_px};
    auto const queue = static_cast<cudaStream_t>(stream);
    if (half)
        return refit::feedback(refit::feedback_kernel::in_order<__half>(inputs, features, sizes.hidden > 0), sizes, queue);
    return refit::feedback(refit::feedback_kernel::in_order<float>(inputs, features, sizes.hidden > 0), sizes, queue);
}
