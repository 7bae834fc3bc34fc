// Local features and state → new hidden states and new state of ReFit's 26 heads, in one launch. No TensorRT here.
//
//   z, r = sigmoid(W x + U h + b),  q = tanh(W x + U (r * h) + b),  h' = (1 - z) * h + z * q,  x = [local, box, state]
//   state' = state + decoder(relu(layer [h', box]))
//
// refit_rt/model/update.py is the same in torch; README.md has the shapes in full.
#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime.h>

namespace refit
{

// What the node BatchedGRU reads and writes, in its order. All on the device, each at a multiple of 16 bytes. What is
// written must not be what is read: every block reads the whole state.
template <class T>
struct GruArrays
{
    T const* hidden;     // (person, 26, 32)
    T const* local;      // (person, local)
    float const* box;    // (person, 3) whitened place and size of the crop
    float const* pose6d; // (person, 144)
    float const* betas;  // (person, 10)
    float const* cam;    // (person, 3)
    T const* w_input;    // (26 * 96, local + 160): rows head, gate z r q, unit; columns local, box, pose6d, betas, cam
    T const* b_input;    // (26 * 96)
    T const* w_hidden;   // (26, 96, 32)
    T const* w_layer;    // (26, 32, 35): columns hidden, box
    T const* b_layer;    // (26, 32)
    T const* w_pose;     // (24, 6, 32)
    T const* b_pose;     // (24, 6)
    T const* w_betas;    // (10, 32)
    T const* b_betas;    // (10)
    T const* w_cam;      // (3, 32)
    T const* b_cam;      // (3)
    T* next_hidden;      // (person, 26, 32)
    float* next_pose6d;  // (person, 144)
    float* next_betas;   // (person, 10)
    float* next_cam;     // (person, 3)
};

constexpr int GRU_INPUTS = 17, GRU_OUTPUTS = 4;
constexpr int MAX_LOCAL = 1024;

// local: a multiple of 4 (float) or 8 (half), at most MAX_LOCAL, else cudaErrorInvalidValue. scale_floor: the least that
// cam's scale may become; below zero for none. Returns what the launch returned; nothing is waited for.
cudaError_t batched_gru(GruArrays<float> const&, int persons, int local, float scale_floor, cudaStream_t);
cudaError_t batched_gru(GruArrays<__half> const&, int persons, int local, float scale_floor, cudaStream_t);

} // namespace refit

// The same for callers who hold lists of pointers in the node's order. half: T is __half. Returns a cudaError_t.
extern "C" __attribute__((visibility("default"))) int refit_batched_gru(
    int half, void const* const* inputs, void* const* outputs, int persons, int local, float scale_floor, void*
    stream);
