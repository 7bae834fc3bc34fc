// How feedback.cu lays out a block's shared memory.
#pragma once

#include "feedback.h"

namespace refit
{
namespace feedback_kernel
{

constexpr int JOINTS = 24, BETAS = 10, TURN = 9, PLACE = 12, VIEW = 6, CAM = 3, LANDMARKS = 33, PAIRS = 17;
constexpr int THREADS = 1024, BLEND_THREADS = THREADS - 32; // the first warp poses the joints meanwhile

__host__ __device__ constexpr int up(int number, int multiple)
{
    return (number + multiple - 1) / multiple * multiple;
}

__host__ __device__ constexpr int cells_of(FeedbackSizes const& s)
{
    return (2 * s.radius + 1) * (2 * s.radius + 1);
}

// The corners that a window's samples lie between: one more each way.
__host__ __device__ constexpr int taps_of(FeedbackSizes const& s)
{
    return (2 * s.radius + 2) * (2 * s.radius + 2);
}

__host__ __device__ constexpr int quads_of(FeedbackSizes const& s)
{
    return up(3 * s.markers, 4) / 4;
}

__host__ __device__ constexpr int keypoint_inputs(FeedbackSizes const& s)
{
    return 4 * LANDMARKS + 2 * JOINTS + 2 * s.markers + 2 * PAIRS;
}

// Places of the parts, in floats from the start; each a multiple of four.
struct Room
{
    int coefficients; // (11 + pose_rows) one, betas, pose features: what the rows of blend are multiplied by
    int turns;        // (24, 3, 3) of each joint relative to its parent
    int rest;         // (24, 3) joints before posing
    int placed;       // (24, 3, 4) what carries each joint's surroundings from rest to pose
    int joints;       // (24, 3) posed
    int camera;       // (6 + 3) view, cam
    int points;       // (3 markers) shaped and bent, not yet skinned
    int pixels;       // (24 + markers, 2) joints and markers in the crop
    int partial;      // (groups, 3 markers), and when that is used up (markers, taps)
    int windows;      // (markers, up8(cells))
    int flow;         // (up8(markers * flow))
    int keypoint_x;   // (up8(keypoint_inputs))
    int keypoint_y;   // (hidden)
    int floats;       // in all
};

inline Room room_of(FeedbackSizes const& s)
{
    int end = 0;
    auto part = [&end](int floats) {
        int const start = end;
        end += up(floats, 4);
        return start;
    };
    Room room{};
    int const columns = 4 * quads_of(s), groups = BLEND_THREADS / quads_of(s);
    int const partial = groups * columns, taps = s.markers * taps_of(s);
    room.coefficients = part(1 + BETAS + s.pose_rows);
    room.turns = part(JOINTS * TURN);
    room.rest = part(JOINTS * 3);
    room.placed = part(JOINTS * PLACE);
    room.joints = part(JOINTS * 3);
    room.camera = part(VIEW + CAM);
    room.points = part(columns);
    room.pixels = part(2 * (JOINTS + s.markers));
    room.partial = part(partial > taps ? partial : taps);
    room.windows = part(s.markers * up(cells_of(s), 8));
    room.flow = part(up(s.markers * s.flow, 8));
    room.keypoint_x = part(s.hidden ? up(keypoint_inputs(s), 8) : 0);
    room.keypoint_y = part(s.hidden);
    room.floats = end;
    return room;
}

} // namespace feedback_kernel
} // namespace refit
