// The kernel of batched_gru.h: a block is one head of some persons, four weight rows a warp are read at once.
//
// At small batches this is waiting for memory and nothing else: each weight is used once a person. So all that a block
// reads is asked for before the first number is needed, and the heads never talk to one another.
#include "batched_gru.h"
#include "warp.cuh"

namespace refit
{
namespace gru
{

constexpr int JOINTS = 24, HEADS = JOINTS + 2, HIDDEN = 32;
constexpr int BOX = 3, SIXD = 6, POSE = SIXD * JOINTS, BETAS = 10, CAM = 3, REST = BOX + POSE + BETAS + CAM;
constexpr int LAYER_INPUTS = HIDDEN + BOX, LAYER = HIDDEN * LAYER_INPUTS, DECODER = BETAS * HIDDEN; // at most
constexpr int GATE_ROWS = 3 * HIDDEN;                                                               // z, r, q
constexpr int ROWS = 4;                                                                             // a warp
constexpr int WARPS = GATE_ROWS / ROWS, THREADS = WARPS * WARP;
constexpr int STRIDES = 2; // chunks of each row that a lane asks for at once
constexpr int EIGHTH = 8;  // lanes a row once sums are shared out
constexpr int MAX_WIDTH = MAX_LOCAL + REST;

template <class T>
struct Task
{
    GruArrays<T> arrays;
    int persons, local;
    float scale_floor;
};

// A block's shared memory, all float.
template <int PERSONS>
struct Room
{
    float x[PERSONS][MAX_WIDTH];
    float hidden[PERSONS][HIDDEN];
    float reset[PERSONS][HIDDEN]; // r * h
    float z[PERSONS][HIDDEN];
    float next[PERSONS][LAYER_INPUTS + 1]; // h', box
    float y[PERSONS][HIDDEN];
    float gate_bias[GATE_ROWS];
    float layer[LAYER], layer_bias[HIDDEN];
    float decoder[DECODER], decoder_bias[BETAS + 2];
};

// What this head's last layer changes of the state.
template <class T>
struct Decoder
{
    T const *weight, *bias; // (count, 32), (count)
    float* out;             // of person 0
    int count, stride, at;  // numbers, numbers a person, place of the old ones behind x's local features and box
};

template <class T>
__device__ Decoder<T> decoder_of(GruArrays<T> const& a, int head)
{
    if (head < JOINTS)
        return {a.w_pose + head * SIXD * HIDDEN, a.b_pose + head * SIXD, a.next_pose6d + head * SIXD, SIXD, POSE,
            head * SIXD};
    if (head == JOINTS)
        return {a.w_betas, a.b_betas, a.next_betas, BETAS, BETAS, POSE};
    return {a.w_cam, a.b_cam, a.next_cam, CAM, CAM, POSE + BETAS};
}

// Chunks of four rows, on their way.
struct Batch
{
    uint4 chunks[ROWS][STRIDES];
};

template <class T>
__device__ Batch read_rows(T const* rows, int width, int first)
{
    Batch batch;
#pragma unroll
    for (int s = 0; s < STRIDES; ++s)
#pragma unroll
        for (int r = 0; r < ROWS; ++r)
        {
            int const chunk = first + s * WARP;
            bool const there = chunk < chunks_in<T>(width);
            batch.chunks[r][s] = there ? chunk_at(rows + r * width + chunk * PER_CHUNK<T>) : make_uint4(0, 0, 0, 0);
        }
    return batch;
}

// sums += rows · x, two columns at a time: with four, four persons do not fit into the registers.
template <class T, int PERSONS>
__device__ void add_products(
    Batch const& batch, Room<PERSONS> const& room, int width, int first, float (&sums)[PERSONS][ROWS])
{
#pragma unroll
    for (int s = 0; s < STRIDES; ++s)
    {
        int const chunk = first + s * WARP;
        if (chunk >= chunks_in<T>(width))
            return;
#pragma unroll
        for (int pair = 0; pair < PER_CHUNK<T> / 2; ++pair)
        {
            float2 x[PERSONS];
#pragma unroll
            for (int p = 0; p < PERSONS; ++p)
                x[p] = *reinterpret_cast<float2 const*>(room.x[p] + chunk * PER_CHUNK<T> + 2 * pair);
#pragma unroll
            for (int r = 0; r < ROWS; ++r)
            {
                float2 const weights = pair_of<T>(batch.chunks[r][s], pair);
#pragma unroll
                for (int p = 0; p < PERSONS; ++p)
                    sums[p][r] = plus_product(sums[p][r], weights, x[p]);
            }
        }
    }
}

// Where person 0's number is, in one of the two types, and how far on the next person's is.
template <class T>
struct Source
{
    T const* weights_type;
    float const* full;
    int stride;

    __device__ float operator[](int person) const
    {
        return weights_type ? wide(weights_type[person * stride]) : full[person * stride];
    }
};

// Number i of [local, box, pose6d, betas, cam, hidden of this head].
template <class T>
__device__ Source<T> source_of(Task<T> const& task, int head, int i)
{
    GruArrays<T> const& a = task.arrays;
    if (i < task.local)
        return {a.local + i, nullptr, task.local};
    i -= task.local;
    if (i < BOX)
        return {nullptr, a.box + i, BOX};
    i -= BOX;
    if (i < POSE)
        return {nullptr, a.pose6d + i, POSE};
    i -= POSE;
    if (i < BETAS)
        return {nullptr, a.betas + i, BETAS};
    i -= BETAS;
    if (i < CAM)
        return {nullptr, a.cam + i, CAM};
    return {a.hidden + head * HIDDEN + i - CAM, nullptr, HEADS * HIDDEN};
}

template <class T>
__device__ void store_wide(uint4 chunk, float* place)
{
#pragma unroll
    for (int pair = 0; pair < PER_CHUNK<T> / 2; ++pair)
        reinterpret_cast<float2*>(place)[pair] = pair_of<T>(chunk, pair);
}

// The regressor's weights, one chunk a thread, and all biases.
template <class T, int PERSONS>
__device__ void fill_constants(GruArrays<T> const& a, Decoder<T> const& decoder, int head, Room<PERSONS>& room)
{
    static_assert(chunks_in<T>(LAYER) + chunks_in<T>(DECODER) <= THREADS, "a chunk a thread");
    int const chunk = threadIdx.x, later = chunk - chunks_in<T>(LAYER);
    if (later < 0)
        store_wide<T>(chunk_at(a.w_layer + head * LAYER + chunk * PER_CHUNK<T>), room.layer + chunk * PER_CHUNK<T>);
    else if (later < chunks_in<T>(decoder.count * HIDDEN))
        store_wide<T>(chunk_at(decoder.weight + later * PER_CHUNK<T>), room.decoder + later * PER_CHUNK<T>);
    if (threadIdx.x < GATE_ROWS)
        room.gate_bias[threadIdx.x] = wide(a.b_input[head * GATE_ROWS + threadIdx.x]);
    if (threadIdx.x < HIDDEN)
        room.layer_bias[threadIdx.x] = wide(a.b_layer[head * HIDDEN + threadIdx.x]);
    if (static_cast<int>(threadIdx.x) < decoder.count)
        room.decoder_bias[threadIdx.x] = wide(decoder.bias[threadIdx.x]);
}

// Inputs and hidden states; zeros for persons that are not there. All persons' loads are on their way at once.
template <class T, int PERSONS>
__device__ void fill_inputs(Task<T> const& task, int first_person, int head, Room<PERSONS>& room)
{
    int const width = task.local + REST;
#pragma unroll 1
    for (int i = threadIdx.x; i < width + HIDDEN; i += THREADS)
    {
        Source<T> const source = source_of(task, head, i);
        float seen[PERSONS];
#pragma unroll
        for (int p = 0; p < PERSONS; ++p)
            seen[p] = first_person + p < task.persons ? source[first_person + p] : 0.f;
#pragma unroll
        for (int p = 0; p < PERSONS; ++p)
        {
            if (i < width)
                room.x[p][i] = seen[p];
            else
                room.hidden[p][i - width] = seen[p];
            int const box = i - task.local;
            if (box >= 0 && box < BOX)
                room.next[p][HIDDEN + box] = seen[p];
        }
    }
}

__device__ inline float sigmoid(float x)
{
    return 1.f / (1.f + expf(-x));
}

// weight (count, inputs) times x of each person, both in shared memory, eight lanes a row → done(person, row, sum).
template <int PERSONS, class Done>
__device__ void small_layer(float const* weight, int count, int inputs, float const* x, int x_stride, Done done)
{
    int const lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, part = lane % EIGHTH;
    for (int base = warp * ROWS; base < count * PERSONS; base += WARPS * ROWS)
    {
        int const item = base + lane / EIGHTH, person = item / count, row = item % count;
        float sum = 0;
        if (person < PERSONS)
            for (int i = part; i < inputs; i += EIGHTH)
                sum = fmaf(weight[row * inputs + i], x[person * x_stride + i], sum);
        sum = sum_over<EIGHTH>(sum);
        if (part == 0 && person < PERSONS)
            done(person, row, sum);
    }
}

// The regressor on the new hidden states, and the new state.
template <class T, int PERSONS>
__device__ void regress(Task<T> const& task, Decoder<T> const& decoder, int first_person, bool is_cam, Room<PERSONS>& room)
{
    small_layer<PERSONS>(room.layer, HIDDEN, LAYER_INPUTS, room.next[0], LAYER_INPUTS + 1,
        [&](int p, int unit, float sum) { room.y[p][unit] = fmaxf(sum + room.layer_bias[unit], 0.f); });
    __syncthreads();
    small_layer<PERSONS>(room.decoder, decoder.count, HIDDEN, room.y[0], HIDDEN, [&](int p, int i, float sum) {
        if (first_person + p >= task.persons)
            return;
        float number = room.x[p][task.local + BOX + decoder.at + i] + sum + room.decoder_bias[i];
        if (is_cam && i == 0 && task.scale_floor >= 0.f)
            number = fmaxf(number, task.scale_floor);
        decoder.out[(first_person + p) * decoder.stride + i] = number;
    });
}

template <class T, int PERSONS>
__global__ void __launch_bounds__(THREADS) kernel(Task<T> task)
{
    auto& room = *reinterpret_cast<Room<PERSONS>*>(shared_bytes);
    GruArrays<T> const& a = task.arrays;
    int const head = blockIdx.x, first_person = blockIdx.y * PERSONS, width = task.local + REST;
    int const lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    int const row = warp * ROWS + lane / EIGHTH, part = lane % EIGHTH; // this lane's, once sums are shared out
    int const unit = row % HIDDEN;
    constexpr int PARTS = chunks_in<T>(HIDDEN);

    T const* const rows = a.w_input + static_cast<size_t>(head * GATE_ROWS + warp * ROWS) * width;
    Batch batch = read_rows(rows, width, lane);
    uint4 recurrent = make_uint4(0, 0, 0, 0);
    if (part < PARTS)
        recurrent = chunk_at(a.w_hidden + (head * GATE_ROWS + row) * HIDDEN + part * PER_CHUNK<T>);
    Decoder<T> const decoder = decoder_of(a, head);
    fill_constants(a, decoder, head, room);
    fill_inputs(task, first_person, head, room);
    __syncthreads();

    float sums[PERSONS][ROWS] = {};
    add_products<T>(batch, room, width, lane, sums);
    for (int first = lane + STRIDES * WARP; first - lane < chunks_in<T>(width); first += STRIDES * WARP)
    {
        batch = read_rows(rows, width, first);
        add_products<T>(batch, room, width, first, sums);
    }
    float mine[PERSONS];
    for (int p = 0; p < PERSONS; ++p)
    {
        mine[p] = shared_out(sums[p], lane);
        if (warp * ROWS >= 2 * HIDDEN)
            continue; // q waits for r
        if (part < PARTS)
            mine[p] = plus_chunk<T>(mine[p], recurrent, room.hidden[p] + part * PER_CHUNK<T>);
        float const gate = sigmoid(sum_over<EIGHTH>(mine[p]) + room.gate_bias[row]);
        if (part == 0 && row < HIDDEN)
            room.z[p][unit] = gate;
        else if (part == 0)
            room.reset[p][unit] = gate * room.hidden[p][unit];
    }
    __syncthreads();

    for (int p = 0; p < PERSONS && warp * ROWS >= 2 * HIDDEN; ++p)
    {
        if (part < PARTS)
            mine[p] = plus_chunk<T>(mine[p], recurrent, room.reset[p] + part * PER_CHUNK<T>);
        float const q = tanhf(sum_over<EIGHTH>(mine[p]) + room.gate_bias[row]), z = room.z[p][unit];
        float const next = (1.f - z) * room.hidden[p][unit] + z * q;
        if (part != 0)
            continue;
        room.next[p][unit] = next;
        if (first_person + p < task.persons)
            a.next_hidden[((first_person + p) * HEADS + head) * HIDDEN + unit] = narrow<T>(next);
    }
    __syncthreads();
    regress(task, decoder, first_person, head == HEADS - 1, room);
}

template <class T, int PERSONS>
cudaError_t launch_for(Task<T> task, cudaStream_t stream)
{
    static_assert(sizeof(Room<PERSONS>) <= 48 * 1024, "what a block may use without asking");
    dim3 const grid(HEADS, (task.persons + PERSONS - 1) / PERSONS);
    void* arguments[] = {&task};
    return cudaLaunchKernel(kernel<T, PERSONS>, grid, dim3(THREADS), arguments, sizeof(Room<PERSONS>), stream);
}

template <class T>
cudaError_t launch(GruArrays<T> const& arrays, int persons, int local, float scale_floor, cudaStream_t stream)
{
    if (persons < 1 || local < 0 || local > MAX_LOCAL || local % PER_CHUNK<T> != 0)
        return cudaErrorInvalidValue;
    Task<T> const task{arrays, persons, local, scale_floor};
    switch (persons)
    {
    case 1: return launch_for<T, 1>(task, stream);
    case 2: return launch_for<T, 2>(task, stream);
    default: return launch_for<T, 4>(task, stream);
    }
}

template <class T>
GruArrays<T> in_order(void const* const* in, void* const* out)
{
    auto t = [&](int i) { return static_cast<T const*>(in[i]); };
    auto f = [&](int i) { return static_cast<float const*>(in[i]); };
    auto state = [&](int i) { return static_cast<float*>(out[i]); };
    return {t(0), t(1), f(2), f(3), f(4), f(5), t(6), t(7), t(8), t(9), t(10), t(11), t(12), t(13), t(14), t(15), t(16),
        static_cast<T*>(out[0]), state(1), state(2), state(3)};
}

} // namespace gru

cudaError_t batched_gru(GruArrays<float> const& a, int persons, int local, float scale_floor, cudaStream_t stream)
{
    return gru::launch(a, persons, local, scale_floor, stream);
}

cudaError_t batched_gru(GruArrays<__half> const& a, int persons, int local, float scale_floor, cudaStream_t stream)
{
    return gru::launch(a, persons, local, scale_floor, stream);
}

} // namespace refit

extern "C" int refit_batched_gru(int half, void const* const* inputs, void* const* outputs, int persons, int local,
    float scale_floor, void* stream)
{
    auto const queue = static_cast<cudaStream_t>(stream);
    if (half)
        return refit::batched_gru(refit::gru::in_order<__half>(inputs, outputs), persons, local, scale_floor, queue);
    return refit::batched_gru(refit::gru::in_order<float>(inputs, outputs), persons, local, scale_floor, queue);
}
