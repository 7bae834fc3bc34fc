"""The loop, compiled with numba: one iteration from maps and body to body, for one person.

`refit_rt/model/refit.py` is the slow, readable reference, and tests/runners/cpu compares the two. The kernels are fast
because the body is posed at its joints and markers only, the input product of all 26 GRUs is one pass over one matrix,
and nothing is allocated. All kernels are in one file, because numba's cache on disk does not notice a change in another
file (nor a change of the two constants from model/config.py, but such a change invalidates all weights anyway).
packing.py lists what `body`, `loop` and `work` hold.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from refit_rt.compiler import njit
from refit_rt.model import config

ZERO, ONE, TWO = np.float32(0), np.float32(1), np.float32(2)
TINY = np.float32(1e-12)
MAP_STRIDE, RESIDUAL_PX = np.float32(config.MAP_STRIDE), np.float32(config.RESIDUAL_PX)
FAR = np.float32(1e6)  # cells; outside any map, and the position of a marker whose projection is not finite
compiled = njit(nogil=True, fastmath={"nsz", "arcp", "contract", "afn", "reassoc"}, error_model="numpy")


@intrinsic
def wide(_context, number):
    """A float32 unchanged, or a uint16 read as the bits of a half-precision number."""

    def bits_to_float(_context, builder, _signature, arguments):
        (bits,) = arguments
        return builder.fpext(builder.bitcast(bits, ir.HalfType()), ir.FloatType()) if number == types.uint16 else bits

    return types.float32(number), bits_to_float


@compiled
def dense(weight, bias, x, out):
    """out = weight x + bias. weight: float32, or half precision stored as uint16."""
    for i in range(weight.shape[0]):
        total = bias[i]
        for j in range(weight.shape[1]):
            total += wide(weight[i, j]) * x[j]  # type: ignore[call-arg]  # numba passes the context
        out[i] = total


@compiled
def add(weight, bias, x, out):
    """out += weight x + bias."""
    for i in range(weight.shape[0]):
        total = bias[i]
        for j in range(weight.shape[1]):
            total += weight[i, j] * x[j]
        out[i] += total


@compiled
def rotations_of(pose6d, rotations):
    """Gram-Schmidt on each joint's two columns: pose6d (144,) → rotations (24, 3, 3)."""
    for k in range(24):
        a0, b0, a1, b1, a2, b2 = pose6d[6 * k : 6 * k + 6]
        n = ONE / max(np.sqrt(a0 * a0 + a1 * a1 + a2 * a2), TINY)
        a0, a1, a2 = a0 * n, a1 * n, a2 * n
        d = a0 * b0 + a1 * b1 + a2 * b2
        b0, b1, b2 = b0 - d * a0, b1 - d * a1, b2 - d * a2
        n = ONE / max(np.sqrt(b0 * b0 + b1 * b1 + b2 * b2), TINY)
        b0, b1, b2 = b0 * n, b1 * n, b2 * n
        r = rotations[k]
        r[0, 0], r[1, 0], r[2, 0] = a0, a1, a2
        r[0, 1], r[1, 1], r[2, 1] = b0, b1, b2
        r[0, 2], r[1, 2], r[2, 2] = a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0


@compiled
def pose_joints(body, rotations, betas, rest, place, joints):
    """Forward kinematics. place: each joint's transform from the rest pose to the pose."""
    for k in range(24):
        p = body.parents[k]
        for a in range(3):
            total = body.joint_template[k, a]
            for j in range(10):
                total += body.joint_shape_dirs[k, a, j] * betas[j]
            rest[k, a] = total
        for a in range(3):
            if p < 0:
                joints[k, a] = rest[k, a]
                for b in range(3):
                    place[k, a, b] = rotations[k, a, b]
            else:
                total = joints[p, a]
                for b in range(3):
                    total += place[p, a, b] * (rest[k, b] - rest[p, b])
                    place[k, a, b] = (
                        place[p, a, 0] * rotations[k, 0, b]
                        + place[p, a, 1] * rotations[k, 1, b]
                        + place[p, a, 2] * rotations[k, 2, b]
                    )
                joints[k, a] = total
    for k in range(24):
        for a in range(3):
            place[k, a, 3] = joints[k, a] - (
                place[k, a, 0] * rest[k, 0] + place[k, a, 1] * rest[k, 1] + place[k, a, 2] * rest[k, 2]
            )


@compiled
def pose_markers(body, rotations, betas, place, markers):
    """Shape, pose blend shapes if the body has any, and linear blend skinning, for the markers alone."""
    for m in range(markers.shape[0]):
        for a in range(3):
            total = body.template[m, a]
            for j in range(10):
                total += body.shape_dirs[m, a, j] * betas[j]
            markers[m, a] = total
    numbers = markers.reshape(-1)  # one long row takes 9 us; with an inner loop over x, y, z it takes 25 us
    for i in range(body.pose_columns.shape[0]):
        column = body.pose_columns[i]
        a, b = column % 9 // 3, column % 3
        feature = rotations[column // 9 + 1, a, b] - (ONE if a == b else ZERO)
        for j in range(numbers.shape[0]):
            numbers[j] += feature * body.pose_dirs[i, j]
    for m in range(markers.shape[0]):
        v0, v1, v2 = markers[m, 0], markers[m, 1], markers[m, 2]
        x, y, z = ZERO, ZERO, ZERO
        for i in range(body.starts[m], body.starts[m + 1]):
            w, g = body.weights[i], place[body.bones[i]]
            x += w * (g[0, 0] * v0 + g[0, 1] * v1 + g[0, 2] * v2 + g[0, 3])
            y += w * (g[1, 0] * v0 + g[1, 1] * v1 + g[1, 2] * v2 + g[1, 3])
            z += w * (g[2, 0] * v0 + g[2, 1] * v1 + g[2, 2] * v2 + g[2, 3])
        markers[m, 0], markers[m, 1], markers[m, 2] = x, y, z


@compiled
def project(points, cam, view, crop_px, out):
    """ReFit's full-frame camera: points → crop pixels. view: square x, y, side; focal length; principal point x, y."""
    px_per_metre = view[2] * cam[0] / TWO
    tx, ty = cam[1] + (view[0] - view[4]) / px_per_metre, cam[2] + (view[1] - view[5]) / px_per_metre
    tz = view[3] / px_per_metre
    left, top, scale = view[0] - view[2] / TWO, view[1] - view[2] / TWO, crop_px / view[2]
    for i in range(points.shape[0]):
        depth = points[i, 2] + tz
        out[i, 0] = ((points[i, 0] + tx) / depth * view[3] + view[4] - left) * scale
        out[i, 1] = ((points[i, 1] + ty) / depth * view[3] + view[5] - top) * scale


@compiled
def place_body(body, loop, view, work):
    """The body of work's state, and its projection into the crop."""
    rotations_of(work.pose6d, work.rotations)
    pose_joints(body, work.rotations, work.betas, work.rest, work.place, work.joints)
    pose_markers(body, work.rotations, work.betas, work.place, work.markers)
    project(work.markers, work.cam, view, loop.crop_px, work.markers_px)
    project(work.joints, work.cam, view, loop.crop_px, work.joints_px)


@compiled
def sample_window(image, x_px, y_px, radius, window):
    """A bilinear window around a marker in its own map (64, 64), zero outside; x is the slow index, as in training."""
    side = 2 * radius + 1
    x, y = x_px / MAP_STRIDE, y_px / MAP_STRIDE
    if not (abs(x) < FAR and abs(y) < FAR):
        x, y = FAR, FAR
    x_low, y_low = np.floor(x), np.floor(y)
    fx, fy = x - x_low, y - y_low
    left, top = int(x_low) - radius, int(y_low) - radius
    high, wide = image.shape
    inside = left >= 0 and top >= 0 and left + side < wide and top + side < high
    for c in range(side):
        above = ZERO
        for r in range(side + 1):
            row, column = top + r, left + c
            if inside:
                here = (ONE - fx) * image[row, column] + fx * image[row, column + 1]
            else:
                here = ZERO
                if 0 <= row < high:
                    if 0 <= column < wide:
                        here += (ONE - fx) * image[row, column]
                    if 0 <= column + 1 < wide:
                        here += fx * image[row, column + 1]
            if r > 0:
                window[c * side + r - 1] = (ONE - fy) * above + fy * here
            above = here


@compiled
def feedback(loop, maps, keypoints, work):
    """Writes the local feature vector into the first part of work.x."""
    flow_count = loop.flow_bias.shape[1]
    for m in range(maps.shape[0]):
        sample_window(maps[m], work.markers_px[m, 0], work.markers_px[m, 1], loop.radius, work.window)
        dense(loop.flow_weight[m], loop.flow_bias[m], work.window, work.flow[m * flow_count : (m + 1) * flow_count])
    local = work.x[: loop.local_bias.shape[0]]
    dense(loop.local_weight, loop.local_bias, work.flow, local)
    if keypoints.shape[0] > 0 and loop.first_bias.shape[0] > 0:
        keypoint_features(loop, keypoints, work)
        dense(loop.first_weight, loop.first_bias, work.keypoint_x, work.keypoint_y)
        for i in range(work.keypoint_y.shape[0]):
            work.keypoint_y[i] = max(work.keypoint_y[i], ZERO)
        add(loop.last_weight, loop.last_bias, work.keypoint_y, local)


@compiled
def keypoint_features(loop, keypoints, work):
    """Landmarks, projected body and the distances between them, in the order of model/feedback.py."""
    x, half, count = work.keypoint_x, loop.crop_px / TWO, keypoints.shape[0]
    for i in range(count):
        x[2 * i], x[2 * i + 1] = keypoints[i, 0] / half - ONE, keypoints[i, 1] / half - ONE
        x[2 * count + i], x[3 * count + i] = keypoints[i, 2] / half, keypoints[i, 3]
    at = 4 * count
    for points in (work.joints_px, work.markers_px):
        for i in range(points.shape[0]):
            for a in range(2):
                x[at] = min(max(points[i, a] / half - ONE, np.float32(-3)), np.float32(3))
                at += 1
    for i in range(loop.landmarks.shape[0]):
        landmark, joint = loop.landmarks[i], loop.landmark_joints[i]
        for a in range(2):
            apart = (keypoints[landmark, a] - work.joints_px[joint, a]) / RESIDUAL_PX
            x[at] = min(max(apart, np.float32(-4)), np.float32(4)) * keypoints[landmark, 3]
            at += 1


@compiled
def update_hidden(loop, box, work):
    """26 GRUs: h' = (1 - z) h + z q. The box features and the state fill the last part of work.x."""
    at = loop.local_bias.shape[0]
    for part in (box, work.pose6d, work.betas, work.cam):
        work.x[at : at + part.shape[0]] = part
        at += part.shape[0]
    dense(loop.input_weight, loop.input_bias, work.x, work.products)
    heads, size = work.hidden.shape
    gates, candidate = work.gates, work.candidate
    for k in range(heads):
        hidden, products = work.hidden[k], work.products[k * 3 * size : (k + 1) * 3 * size]
        gates[:] = products[: 2 * size]
        for j in range(size):
            for i in range(2 * size):
                gates[i] += hidden[j] * loop.gates_weight[k, j, i]
        sigmoid(gates, work.bits)
        candidate[:] = products[2 * size :]
        for j in range(size):
            reset = gates[size + j] * hidden[j]
            for i in range(size):
                candidate[i] += reset * loop.candidate_weight[k, j, i]
        for i in range(size):
            candidate[i] *= TWO
        sigmoid(candidate, work.bits)  # tanh(x) = 2 sigmoid(2x) - 1
        for i in range(size):
            hidden[i] = (ONE - gates[i]) * hidden[i] + gates[i] * (TWO * candidate[i] - ONE)


@compiled
def sigmoid(x, bits):
    """In place, within 2e-7. It is written out, because calling exp for each number is four times as slow: 2^n is made
    as bits, the rest from the series of e, whose eighth term is below 1e-8 here. bits: (>= n,) int32 scratch."""
    powers = bits.view(np.float32)
    for i in range(x.shape[0]):
        t = min(max(x[i] * np.float32(-1.442695), np.float32(-126)), np.float32(126))
        n = np.floor(t + np.float32(0.5))
        bits[i] = (np.int32(n) + np.int32(127)) << np.int32(23)
        f = (t - n) * np.float32(0.6931472)
        series = ONE + f * np.float32(1 / 7)
        series = ONE + f * np.float32(1 / 6) * series
        series = ONE + f * np.float32(1 / 5) * series
        series = ONE + f * np.float32(1 / 4) * series
        series = ONE + f * np.float32(1 / 3) * series
        series = ONE + f * np.float32(1 / 2) * series
        x[i] = ONE / (ONE + powers[i] * (ONE + f * series))


@compiled
def regress(loop, hidden, box, layer, pose6d, betas, cam):
    """Decodes the hidden states and adds the changes to pose, shape and camera. layer: (H,) scratch."""
    size = hidden.shape[1]
    for k in range(hidden.shape[0]):
        layer[:] = loop.layer_bias[k]
        for j in range(size + 3):
            x = hidden[k, j] if j < size else box[j - size]
            for i in range(size):
                layer[i] += x * loop.layer_weight[k, j, i]
        for i in range(size):
            layer[i] = max(layer[i], ZERO)
        if k < 24:
            add(loop.pose_weight[k], loop.pose_bias[k], layer, pose6d[6 * k : 6 * k + 6])
        elif k == 24:
            add(loop.betas_weight, loop.betas_bias, layer, betas)
        else:
            add(loop.cam_weight, loop.cam_bias, layer, cam)
    cam[0] = max(cam[0], loop.scale_floor)


@compiled
def judge(first_weight, first_bias, last_weight, last_bias, hidden, box):
    """The predicted mean error in crop pixels, from hidden states (26, H) and box features (3,)."""
    states = hidden.reshape(-1)
    log_error = last_bias[0]
    for i in range(first_weight.shape[0]):
        total = first_bias[i]
        for j in range(states.shape[0]):
            total += first_weight[i, j] * states[j]
        for j in range(box.shape[0]):
            total += first_weight[i, states.shape[0] + j] * box[j]
        log_error += last_weight[0, i] * max(total, ZERO)
    return np.exp(log_error)


@compiled
def most_turned(before, rotations):
    """The largest angle in radians between (24, 3, 3) and (24, 3, 3): |A - B| = 2 sqrt(2) sin(angle / 2)."""
    most = ZERO
    for k in range(24):
        total = ZERO
        for a in range(3):
            for b in range(3):
                apart = rotations[k, a, b] - before[k, a, b]
                total += apart * apart
        most = max(most, total)
    return TWO * np.arcsin(min(np.sqrt(most / np.float32(8)), ONE))


@compiled
def run(body, loop, maps, keypoints, box, view, work, iterations, update_rad):
    """At most `iterations` updates of work's state and body → number of updates, the last one's angle in radians."""
    place_body(body, loop, view, work)
    turned, done = ZERO, 0
    while done < iterations and (done == 0 or turned >= update_rad):
        work.before[:] = work.rotations
        feedback(loop, maps, keypoints, work)
        update_hidden(loop, box, work)
        regress(loop, work.hidden, box, work.layer, work.pose6d, work.betas, work.cam)
        place_body(body, loop, view, work)
        turned = most_turned(work.before, work.rotations)
        done += 1
    return done, turned
