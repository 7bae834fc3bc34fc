// The first half of feedback.cu: state → joints and markers in the crop, by one block for one person.
#pragma once

#include "feedback_room.h"
#include "warp.cuh"

namespace refit
{
namespace feedback_kernel
{

constexpr int EIGHTH = 8; // lanes a marker

// Gram-Schmidt on one joint's two columns, as rotation.py; the norms' floor is torch's.
__device__ inline void turn_from_6d(float const* six, float* turn)
{
    float a[3] = {six[0], six[2], six[4]}, b[3] = {six[1], six[3], six[5]};
    float const long_a = fmaxf(sqrtf(a[0] * a[0] + a[1] * a[1] + a[2] * a[2]), 1e-12f);
    for (float& number : a)
        number /= long_a;
    float const along = a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
    for (int i = 0; i < 3; ++i)
        b[i] -= along * a[i];
    float const long_b = fmaxf(sqrtf(b[0] * b[0] + b[1] * b[1] + b[2] * b[2]), 1e-12f);
    for (float& number : b)
        number /= long_b;
    for (int i = 0; i < 3; ++i)
    {
        turn[3 * i] = a[i];
        turn[3 * i + 1] = b[i];
        turn[3 * i + 2] = a[(i + 1) % 3] * b[(i + 2) % 3] - a[(i + 2) % 3] * b[(i + 1) % 3];
    }
}

// State into shared memory: turns, rest joints, betas, camera. Each warp has its own part, for all wait for memory here.
template <class T>
__device__ void read_state(FeedbackArrays<T> const& a, Room const& at, int person, float* room)
{
    float const* const betas = a.betas + person * BETAS;
    int const thread = threadIdx.x, rest = thread - 2 * WARP, early = thread - 6 * WARP;
    if (thread < JOINTS)
        turn_from_6d(a.pose6d + (person * JOINTS + thread) * 6, room + at.turns + thread * TURN);
    if (rest >= 0 && rest < 3 * JOINTS)
    {
        float sum = a.joint_blend[rest];
#pragma unroll
        for (int i = 0; i < BETAS; ++i)
            sum = fmaf(betas[i], a.joint_blend[(1 + i) * 3 * JOINTS + rest], sum);
        room[at.rest + rest] = sum;
    }
    if (early >= 0 && early < VIEW + CAM)
        room[at.camera + early] = early < VIEW ? a.view[person * VIEW + early] : a.cam[person * CAM + early - VIEW];
    if (thread >= 7 * WARP && thread <= 7 * WARP + BETAS)
        room[at.coefficients + thread - 7 * WARP] = thread == 7 * WARP ? 1.f : betas[thread - 7 * WARP - 1];
}

// One joint's place from its parent's and its own turn.
__device__ inline void place_joint(int joint, int parent, Room const& at, float* room)
{
    float const *turn = room + at.turns + joint * TURN, *rest = room + at.rest;
    float* const placed = room + at.placed + joint * PLACE;
    for (int row = 0; row < 3; ++row)
    {
        if (parent < 0)
        {
            for (int i = 0; i < 3; ++i)
                placed[4 * row + i] = turn[3 * row + i];
            placed[4 * row + 3] = rest[3 * joint + row];
            continue;
        }
        float const* const from = room + at.placed + parent * PLACE + 4 * row;
        float place = from[3];
        for (int i = 0; i < 3; ++i)
        {
            placed[4 * row + i] = from[0] * turn[i] + from[1] * turn[3 + i] + from[2] * turn[6 + i];
            place = fmaf(from[i], rest[3 * joint + i] - rest[3 * parent + i], place);
        }
        placed[4 * row + 3] = place;
    }
}

// Forward kinematics by the first warp, a joint a lane; a joint's turn comes when its parent is placed.
__device__ inline void pose_joints(int const* parents, Room const& at, float* room)
{
    int const joint = threadIdx.x;
    bool const real = joint < JOINTS;
    int const parent = real ? parents[joint] : -1;
    bool done = !real;
    unsigned placed = 0;
    for (int level = 0; level < JOINTS && placed != EVERY_LANE; ++level)
    {
        if (!done && (parent < 0 || placed >> parent & 1u))
        {
            place_joint(joint, parent, at, room);
            done = true;
        }
        __syncwarp();
        placed = __ballot_sync(EVERY_LANE, done);
    }
    if (!real)
        return;
    float* const own = room + at.placed + joint * PLACE;
    float const* const rest = room + at.rest + 3 * joint;
    for (int row = 0; row < 3; ++row)
    {
        room[at.joints + 3 * joint + row] = own[4 * row + 3];
        own[4 * row + 3] -= own[4 * row] * rest[0] + own[4 * row + 1] * rest[1] + own[4 * row + 2] * rest[2];
    }
}

// The body's blend shapes at the markers by all other warps: a thread takes four columns and every so many-th row.
__device__ inline void blend_markers(float const* blend, FeedbackSizes const& sizes, Room const& at, float* room)
{
    int const quads = quads_of(sizes), groups = BLEND_THREADS / quads, rows = 1 + BETAS + sizes.pose_rows;
    int const quad = (threadIdx.x - WARP) % quads, group = (threadIdx.x - WARP) / quads;
    if (group >= groups)
        return;
    float4 sum = make_float4(0, 0, 0, 0);
#pragma unroll 8
    for (int row = group; row < rows; row += groups)
    {
        uint4 const chunk = chunk_at(blend + (row * quads + quad) * 4);
        float const factor = room[at.coefficients + row];
        sum.x = fmaf(factor, __uint_as_float(chunk.x), sum.x);
        sum.y = fmaf(factor, __uint_as_float(chunk.y), sum.y);
        sum.z = fmaf(factor, __uint_as_float(chunk.z), sum.z);
        sum.w = fmaf(factor, __uint_as_float(chunk.w), sum.w);
    }
    *reinterpret_cast<float4*>(room + at.partial + (group * quads + quad) * 4) = sum;
}

__device__ inline void sum_blends(FeedbackSizes const& sizes, Room const& at, float* room)
{
    int const columns = 4 * quads_of(sizes), groups = BLEND_THREADS / quads_of(sizes);
    for (int column = threadIdx.x; column < columns; column += THREADS)
    {
        float sum = 0;
        for (int group = 0; group < groups; ++group)
            sum += room[at.partial + group * columns + column];
        room[at.points + column] = sum;
    }
}

// ReFit's full-frame camera, as camera.py: body metres → pixels of the crop.
__device__ inline void project(float x, float y, float z, float const* camera, float crop_px, float* pixel)
{
    float const *box = camera, focal_px = camera[3], *centre = camera + 4, *cam = camera + VIEW;
    float const px_per_metre = box[2] * cam[0] / 2;
    float const depth = z + focal_px / px_per_metre, scale = crop_px / box[2];
    float const across = (x + (cam[1] + (box[0] - centre[0]) / px_per_metre)) / depth * focal_px + centre[0];
    float const down = (y + (cam[2] + (box[1] - centre[1]) / px_per_metre)) / depth * focal_px + centre[1];
    pixel[0] = (across - (box[0] - box[2] / 2)) * scale;
    pixel[1] = (down - (box[1] - box[2] / 2)) * scale;
}

// Linear blend skinning of the markers, eight lanes each, and where they and the joints fall in the crop.
__device__ inline void place_markers(float const* skinning, FeedbackSizes const& sizes, Room const& at, float* room)
{
    int const lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, part = lane % EIGHTH;
    constexpr int AT_ONCE = WARP / EIGHTH;
    for (int first = warp * AT_ONCE; first < sizes.markers; first += THREADS / WARP * AT_ONCE)
    {
        int const marker = first + lane / EIGHTH;
        bool const real = marker < sizes.markers;
        float const* const point = room + at.points + 3 * (real ? marker : 0);
        float moved[3] = {0, 0, 0};
#pragma unroll
        for (int bone = part; bone < JOINTS; bone += EIGHTH)
        {
            float const weight = real ? __ldg(skinning + marker * JOINTS + bone) : 0.f;
            float const* const placed = room + at.placed + bone * PLACE;
            for (int i = 0; i < 3; ++i)
            {
                float const* const row = placed + 4 * i;
                moved[i] += weight * (row[0] * point[0] + row[1] * point[1] + row[2] * point[2] + row[3]);
            }
        }
        for (float& number : moved)
            number = sum_over<EIGHTH>(number);
        if (part == 0 && real)
            project(moved[0], moved[1], moved[2], room + at.camera, sizes.crop_px,
                room + at.pixels + 2 * (JOINTS + marker));
    }
    int const joint = threadIdx.x - (THREADS - WARP); // by the last warp, which rarely has a marker
    if (joint >= 0 && joint < JOINTS)
    {
        float const* const place = room + at.joints + 3 * joint;
        project(place[0], place[1], place[2], room + at.camera, sizes.crop_px, room + at.pixels + 2 * joint);
    }
}

// All of it. The barrier after the last step is the caller's.
template <class T>
__device__ void place_body(FeedbackArrays<T> const& a, FeedbackSizes const& sizes, Room const& at, int person, float* room)
{
    int const row = threadIdx.x;
    int const column = row < sizes.pose_rows ? a.pose_columns[row] : 0; // read early
    read_state(a, at, person, room);
    __syncthreads();
    if (row < sizes.pose_rows)
    {
        bool const diagonal = column % TURN % 4 == 0;
        room[at.coefficients + 1 + BETAS + row] = room[at.turns + TURN + column] - (diagonal ? 1.f : 0.f);
    }
    __syncthreads();
    if (threadIdx.x < WARP)
        pose_joints(a.parents, at, room);
    else
        blend_markers(a.blend, sizes, at, room);
    __syncthreads();
    sum_blends(sizes, at, room);
    __syncthreads();
    place_markers(a.skinning, sizes, at, room);
}

} // namespace feedback_kernel
} // namespace refit
