// State → body → markers in the crop → what their maps show there → local features, in one launch. No TensorRT here.
//
// refit_rt/model/ is the same in torch: rotation.py, body.py, camera.py and feedback.py, in this order. README.md has the
// shapes in full. Geometry is float whatever T is.
#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime.h>

namespace refit
{

struct FeedbackSizes
{
    int persons, markers;
    int height, width; // of a map, cells
    int local;         // features made
    int flow;          // numbers kept of a window
    int radius;        // of a window, cells
    int pose_rows;     // pose features that move a marker, at least one
    int hidden;        // units of the keypoint feedback, 0 for none
    float crop_px;
};

// What the node Feedback reads and writes, in its order. All on the device, each at a multiple of 16 bytes.
// up8, up4: the next multiple of eight, four; zeros fill the gap. cells = (2 radius + 1)².
template <class T>
struct FeedbackArrays
{
    T const* maps;              // (person, marker, height, width)
    float const* pose6d;        // (person, 144)
    float const* betas;         // (person, 10)
    float const* cam;           // (person, 3)
    float const* view;          // (person, 6) box x, y, side, focal_px, centre x, y
    float const* joint_blend;   // (11, 72) rest joints: template, then a row a beta
    int const* parents;         // (24), each before its children, the root's is -1
    float const* blend;         // (11 + pose_rows, up4(3 markers)) template, a row a beta, a row a pose feature
    int const* pose_columns;    // (pose_rows) which of the 207
    float const* skinning;      // (marker, 24)
    T const* flow_weight;       // (marker, flow, up8(cells))
    T const* flow_bias;         // (marker, flow)
    T const* local_weight;      // (local, up8(markers * flow))
    T const* local_bias;        // (local)
    float const* keypoints;     // (person, 33, 4); these five only with keypoint feedback
    T const* first_weight;      // (hidden, up8(4 * 33 + 2 * 24 + 2 markers + 34))
    T const* first_bias;        // (hidden)
    T const* last_weight;       // (local, hidden)
    T const* last_bias;         // (local)
    T* features;                // (person, local)
};

constexpr int FEEDBACK_INPUTS = 14, FEEDBACK_INPUTS_WITH_KEYPOINTS = 19;

// cudaErrorInvalidValue for sizes that do not fit into a block's 48 KiB of shared memory (README.md: limits). Returns what
// the launch returned; nothing is waited for.
cudaError_t feedback(FeedbackArrays<float> const&, FeedbackSizes const&, cudaStream_t);
cudaError_t feedback(FeedbackArrays<__half> const&, FeedbackSizes const&, cudaStream_t);

} // namespace refit

// The same for callers who hold a list of pointers in the node's order. half: T is __half. numbers: the nine whole numbers
// of FeedbackSizes in its order. Returns a cudaError_t.
extern "C" __attribute__((visibility("default"))) int refit_feedback(
    int half, void const* const* inputs, void* features, int const* numbers, float crop_px, void* stream);
