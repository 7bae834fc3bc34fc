"""The small arithmetic of the fit stage, compiled with numba: the same as numpy and scipy calls takes 3 ms per person.

`reference.py`, `start.py` and `mirror.py` are the readable reference in numpy, and tests/fit compares the two.
Everything is float64 and contiguous unless a comment says otherwise, so that each kernel is compiled once. All kernels
are in one file, because numba's cache on disk does not notice a change in another file; for the same reason the
policy's constants come as arguments.
"""

import numpy as np

from refit_rt.compiler import njit

compiled = njit(nogil=True, error_model="numpy")

COLD, WARM, OPPOSED = 0, 1, 2  # what `blend_start` decides


@compiled
def bounds(points, roll, width, height, beyond, margin, least_share, least_side):
    """`reference.square_of_body`: points (n, 2) px → centre x, y and side of the crop's square."""
    size = np.array([width - 1.0, height - 1.0])
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    first, last = np.full(2, np.inf), np.full(2, -np.inf)
    clipped_first, clipped_last = np.full(2, np.inf), np.full(2, -np.inf)
    found = False
    for i in range(len(points)):
        inside = True
        for a in range(2):
            inside = inside and points[i, a] >= 0 and points[i, a] <= size[a]
        found = found or inside
        for a in range(2):
            x = points[i, a]
            low[a], high[a] = min(low[a], x), max(high[a], x)
            clipped = min(max(x, 0.0), size[a])
            clipped_first[a], clipped_last[a] = min(clipped_first[a], clipped), max(clipped_last[a], clipped)
            if inside:
                first[a], last[a] = min(first[a], x), max(last[a], x)
    if not found:
        first, last = clipped_first, clipped_last
    longer = max(last[0] - first[0], last[1] - first[1])
    for a in range(2):
        under, over = first[a] - low[a], high[a] - last[a]
        room = (1 + beyond) * longer - (last[a] - first[a])
        share = min(1.0, room / max(under + over, 1e-6))
        first[a], last[a] = first[a] - share * under, last[a] + share * over
    cos, sin = np.cos(roll), np.sin(roll)
    left, right, top, bottom = np.inf, -np.inf, np.inf, -np.inf
    for i in range(len(points)):
        x = min(max(points[i, 0], first[0]), last[0])
        y = min(max(points[i, 1], first[1]), last[1])
        u, v = cos * x + sin * y, cos * y - sin * x
        left, right, top, bottom = min(left, u), max(right, u), min(top, v), max(bottom, v)
    u, v = (left + right) / 2, (top + bottom) / 2
    least = max(least_share * min(max(high[0] - low[0], high[1] - low[1]), max(width, height)), least_side)
    return cos * u - sin * v, sin * u + cos * v, max(max(right - left, bottom - top) * margin, least)


@compiled
def orthonormal(six, rotation):
    """Gram-Schmidt on six numbers, the columns (3, 2), → rotation (3, 3)."""
    a0, b0, a1, b1, a2, b2 = six[0], six[1], six[2], six[3], six[4], six[5]
    n = np.sqrt(a0 * a0 + a1 * a1 + a2 * a2)
    a0, a1, a2 = a0 / n, a1 / n, a2 / n
    d = a0 * b0 + a1 * b1 + a2 * b2
    b0, b1, b2 = b0 - d * a0, b1 - d * a1, b2 - d * a2
    n = np.sqrt(b0 * b0 + b1 * b1 + b2 * b2)
    b0, b1, b2 = b0 / n, b1 / n, b2 / n
    rotation[0, 0], rotation[1, 0], rotation[2, 0] = a0, a1, a2
    rotation[0, 1], rotation[1, 1], rotation[2, 1] = b0, b1, b2
    rotation[0, 2], rotation[1, 2], rotation[2, 2] = a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0


@compiled
def orthonormal_pose(six, out):
    """Makes each of the rotations (144,) in 6-D orthonormal; written to out (144,)."""
    rotation = np.empty((3, 3))
    for k in range(len(six) // 6):
        orthonormal(six[6 * k : 6 * k + 6], rotation)
        for a in range(3):
            for b in range(2):
                out[6 * k + 2 * a + b] = rotation[a, b]


@compiled
def agree_turns(six, turns, share, rotations):
    """`agree.agreed`'s rotations (24, 3, 3) of views' poses six (views, 144): the root's mean in the world, turned
    there by turns (views, 3, 3) crop from world; every other joint's mean in 6-D. share (views,) sums to one."""
    mean, one = np.zeros((24, 3, 3)), np.empty((3, 3))
    for v in range(len(six)):
        for k in range(24):
            orthonormal(six[v, 6 * k : 6 * k + 6], one)
            mean[k] += share[v] * (turns[v].T @ one if k == 0 else one)
    left, _, right = np.linalg.svd(mean[0])
    if np.linalg.det(left @ right) < 0:
        left[:, 2] *= -1
    rotations[0] = left @ right
    column = np.empty(6)
    for k in range(1, 24):
        for a in range(3):
            for b in range(2):
                column[2 * a + b] = mean[k, a, b]
        orthonormal(column, rotations[k])


@compiled
def turn_root(cos, sin, rotation, out):
    """out = roll_matrix(roll) @ rotation, both (3, 3)."""
    for b in range(3):
        x, y = rotation[0, b], rotation[1, b]
        out[0, b], out[1, b], out[2, b] = cos * x + sin * y, cos * y - sin * x, rotation[2, b]


@compiled
def blend_start(rotations, betas, trans, pelvis, six, fresh_betas, fresh_cam, view, roll, times, policy, state):
    """`reference.start_from`: writes the start to state (157,): pose in six numbers a joint, betas, camera. Returns
    COLD (nothing is written), WARM or OPPOSED.

    rotations (24, 3, 3), betas (10,), trans (3,): the last body, in the camera's frame; pelvis (3,): its rest pelvis.
    six (144,), fresh_betas (10,), fresh_cam (3,) float32: the fresh estimate. view (6,): square x, y, side; focal
    length; principal point. times (3,) s: now, opposed since, born. policy (5,): cos OPPOSED_RAD, OPPOSED_S,
    MOST_SCALE, LEAST_DEPTH_M, share.
    """
    cos, sin = np.cos(roll), np.sin(roll)
    x, y = trans[0] + pelvis[0], trans[1] + pelvis[1]
    last_x, last_y, depth = cos * x + sin * y - pelvis[0], cos * y - sin * x - pelvis[1], trans[2]
    if depth < policy[3]:
        return COLD
    px_per_metre = view[3] / depth
    scale = 2 * px_per_metre / view[2]
    ratio = scale / max(np.float64(fresh_cam[0]), 1e-3)
    if not (ratio > 1 / policy[2] and ratio < policy[2]):
        return COLD
    last, fresh = np.empty((3, 3)), np.empty((3, 3))
    turn_root(cos, sin, rotations[0], last)
    orthonormal(six[:6], fresh)
    trace = 0.0
    for a in range(3):
        for b in range(3):
            trace += last[a, b] * fresh[a, b]
    away = (trace - 1) / 2 < policy[0]
    since = min(times[1], times[0])
    if away and times[0] - since >= min(since - times[2], policy[1]):
        return COLD
    share = 1.0 if away else policy[4]
    for k in range(24):
        if k > 0:
            orthonormal(six[6 * k : 6 * k + 6], fresh)
        for a in range(3):
            for b in range(2):
                old = last[a, b] if k == 0 else rotations[k, a, b]
                state[6 * k + 2 * a + b] = share * old + (1 - share) * fresh[a, b]
    for i in range(10):
        state[144 + i] = share * betas[i] + (1 - share) * fresh_betas[i]
    state[154] = share * scale + (1 - share) * fresh_cam[0]
    state[155] = share * (last_x - (view[0] - view[4]) / px_per_metre) + (1 - share) * fresh_cam[1]
    state[156] = share * (last_y - (view[1] - view[5]) / px_per_metre) + (1 - share) * fresh_cam[2]
    return OPPOSED if away else WARM


@compiled
def place(rotations, joints, markers, cam, pelvis, view, roll, shortest_px, turned, points, points_px, trans):
    """`reference.out_of_crop`: a result of the crop in the camera's frame. Returns the roll of the pelvis-neck line, or
    `roll` where that is shorter than shortest_px.

    rotations (24, 3, 3), joints (24, 3), markers (m, 3), cam (3,): float32, of the loop. pelvis (3,): the rest pelvis.
    Written: turned (24, 3, 3), points (24 + m, 3) metres, points_px (24 + m, 2), trans (3,).
    """
    cos, sin = np.cos(roll), np.sin(roll)
    px_per_metre = view[2] * cam[0] / 2
    tx, ty = cam[1] + (view[0] - view[4]) / px_per_metre, cam[2] + (view[1] - view[5]) / px_per_metre
    tz = view[3] / px_per_metre
    count = len(joints)
    for i in range(len(points)):
        x, y, z = tx, ty, tz
        if i < count:
            x, y, z = x + joints[i, 0], y + joints[i, 1], z + joints[i, 2]
        else:
            x, y, z = x + markers[i - count, 0], y + markers[i - count, 1], z + markers[i - count, 2]
        points[i, 0], points[i, 1], points[i, 2] = cos * x - sin * y, sin * x + cos * y, z
    project(points, view, points_px)
    for k in range(24):
        for a in range(3):
            for b in range(3):
                turned[k, a, b] = rotations[k, a, b]
    for b in range(3):
        x, y = turned[0, 0, b], turned[0, 1, b]
        turned[0, 0, b], turned[0, 1, b] = cos * x - sin * y, sin * x + cos * y
    for a in range(3):
        trans[a] = points[0, a] - pelvis[a]
    dx, dy = points_px[12, 0] - points_px[0, 0], points_px[12, 1] - points_px[0, 1]
    return np.arctan2(dx, -dy) if np.sqrt(dx * dx + dy * dy) > shortest_px else roll


@compiled
def project(points, view, points_px):
    """`geometry.project`: points (n, 3) metres → points_px (n, 2)."""
    for i in range(len(points)):
        depth = max(points[i, 2], 0.1)
        points_px[i, 0] = points[i, 0] / depth * view[3] + view[4]
        points_px[i, 1] = points[i, 1] / depth * view[3] + view[5]


@compiled
def trust(error_px, scale, presence, half_crop_px, confident_m):
    """`start.confidence` for one person. error_px: below 0 for none. presence: 1 for none."""
    sure = presence
    if not error_px < 0:
        share = error_px / (half_crop_px * max(scale, 1e-3)) / confident_m
        sure /= 1 + share * share
    return sure


@compiled
def average(now, last, earlier, on, rotations):
    """`mirror.averaged` of rotations (24, 3, 3) → rotations (24, 3, 3)."""
    six = np.empty(6)
    for k in range(24):
        for a in range(3):
            for b in range(2):
                here = now[k, a, b]
                six[2 * a + b] = (here + last[k, a, b] + on * (here - earlier[k, a, b])) / 2
        orthonormal(six, rotations[k])


@compiled
def mirror(pose6d, cam, crop_px, swap, signs, out_pose6d, out_cam):
    """`mirror.mirrored_state`: pose6d (144,), cam (3,), signs (6,), out_pose6d and out_cam are float32; swap (24,)."""
    for k in range(24):
        for i in range(6):
            out_pose6d[6 * k + i] = pose6d[6 * swap[k] + i] * signs[i]
    out_cam[0], out_cam[1], out_cam[2] = cam[0], -cam[1] - 2 / (crop_px * cam[0]), cam[2]


@compiled
def quaternion(matrix, q):
    """A rotation (3, 3) → q (4,): x, y, z, w of length 1, w not negative (Shepperd 1978: from the largest of the
    four)."""
    m00, m11, m22 = matrix[0, 0], matrix[1, 1], matrix[2, 2]
    trace = m00 + m11 + m22
    if trace >= m00 and trace >= m11 and trace >= m22:
        q[0], q[1], q[2] = matrix[2, 1] - matrix[1, 2], matrix[0, 2] - matrix[2, 0], matrix[1, 0] - matrix[0, 1]
        q[3] = 1 + trace
    else:
        i = 0
        if m11 > m00:
            i = 1
        if m22 > matrix[i, i]:
            i = 2
        j, k = (i + 1) % 3, (i + 2) % 3
        q[i] = 1 - trace + 2 * matrix[i, i]
        q[j] = matrix[j, i] + matrix[i, j]
        q[k] = matrix[k, i] + matrix[i, k]
        q[3] = matrix[k, j] - matrix[j, k]
    n = np.sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3])
    if q[3] < 0:
        n = -n
    for a in range(4):
        q[a] /= n


@compiled
def axis_angle(q, out):
    """q (4,) of length 1 → out (3,) radians, the angle at most pi."""
    sine = np.sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2])
    angle = 2 * np.arctan2(sine, abs(q[3]))
    factor = angle / sine if sine > 1e-9 else 2.0
    if q[3] < 0:
        factor = -factor
    for a in range(3):
        out[a] = factor * q[a]


@compiled
def half_turn(vector, q):
    """An axis-angle vector (3,) → q (4,)."""
    angle = np.sqrt(vector[0] * vector[0] + vector[1] * vector[1] + vector[2] * vector[2])
    factor = np.sin(angle / 2) / angle if angle > 1e-9 else 0.5
    for a in range(3):
        q[a] = factor * vector[a]
    q[3] = np.cos(angle / 2)


@compiled
def product(p, q, out):
    """out = p q: the turn q, then p."""
    out[0] = p[3] * q[0] + p[0] * q[3] + p[1] * q[2] - p[2] * q[1]
    out[1] = p[3] * q[1] - p[0] * q[2] + p[1] * q[3] + p[2] * q[0]
    out[2] = p[3] * q[2] + p[0] * q[1] - p[1] * q[0] + p[2] * q[3]
    out[3] = p[3] * q[3] - p[0] * q[0] - p[1] * q[1] - p[2] * q[2]


@compiled
def matrix_of(q, out):
    """q (4,) of length 1 → out (3, 3)."""
    x, y, z, w = q[0], q[1], q[2], q[3]
    out[0, 0], out[0, 1], out[0, 2] = 1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)
    out[1, 0], out[1, 1], out[1, 2] = 2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)
    out[2, 0], out[2, 1], out[2, 2] = 2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)


@compiled
def axis_angles(rotations, out):
    """rotations (n, 24, 3, 3) → out (n, 24, 3) float32, radians."""
    q = np.empty(4)
    for i in range(rotations.shape[0]):
        for k in range(rotations.shape[1]):
            quaternion(rotations[i, k], q)
            axis_angle(q, out[i, k])


@compiled
def predicted(spread, dt_s, density):
    """The spread (3,) after dt_s of constant speed, disturbed by white acceleration of this density, in place.

    A spread is the variance of a number, its covariance with its speed, and the variance of the speed.
    """
    spread[0] += dt_s * (2 * spread[1] + dt_s * spread[2]) + density * dt_s**3 / 3
    spread[1] += dt_s * spread[2] + density * dt_s**2 / 2
    spread[2] += density * dt_s


@compiled
def gains(spread, noise, off, most_sigmas):
    """How much of an innovation goes to the number and to its speed; updates the spread (3,).

    noise: variance of the measurement. off: the innovation's mean square per axis. One beyond most_sigmas says that the
    motion was not predicted: the spread grows until it is no farther than that.
    """
    unlikely = off / ((spread[0] + noise) * most_sigmas**2)
    if unlikely > 1:
        for a in range(3):
            spread[a] *= unlikely
    forward, faster = spread[0] / (spread[0] + noise), spread[1] / (spread[0] + noise)
    spread[2] -= faster * spread[1]
    spread[1] *= 1 - forward
    spread[0] *= 1 - forward
    return forward, faster


@compiled
def filter_place(pelvis, dt_s, noise, density, rest_density, first_spread, most_sigmas, place, velocity, spread):
    """The Kalman filter of a pelvis (3,) in metres of the camera's frame, in place; dt_s 0 begins it.

    noise (2,): deviations across and along the line of sight, the latter as a share of the depth. density: see
    `filter_turns`, for metres. The filter's state: place (3,) and velocity (3,) per second: x / z, y / z, log z;
    spread (3, 3), the spread of each.
    """
    depth = max(pelvis[2], 0.1)
    if dt_s <= 0:
        place[0], place[1], place[2] = pelvis[0] / depth, pelvis[1] / depth, np.log(depth)
        velocity[:] = 0
        for a in range(3):
            spread[a, 0], spread[a, 1] = (noise[1] if a == 2 else noise[0] / depth) ** 2, 0.0
            spread[a, 2] = first_spread / depth**2
        return
    square = 0.0
    for a in range(3):
        square += velocity[a] ** 2 + spread[a, 2]
    density = rest_density + density * (square * depth * depth) ** 0.75
    for a in range(3):
        place[a] += velocity[a] * dt_s
        predicted(spread[a], dt_s, density / depth**2)
        seen = np.log(depth) if a == 2 else pelvis[a] / depth
        step = seen - place[a]
        variance = (noise[1] if a == 2 else noise[0] / depth) ** 2
        forward, faster = gains(spread[a], variance, step * step, most_sigmas)
        place[a] += forward * step
        velocity[a] += faster * step


@compiled
def filter_turns(
    poses, dt_s, noise, density, rest_density, first_spread, most_sigmas, q, spin, spread, rotations, smoothed
):
    """The Kalman filter of one person's rotations, in place; dt_s 0 begins it.

    poses (24, 3) axis-angle: what was fitted. noise (24,) rad: its deviations. A joint turns at a constant speed, which
    white acceleration disturbs, of density rest_density + density * speed**1.5 (rad^2/s^3). The filter's state: q
    (24, 4), spin (24, 3) rad/s about the joint's own axes, spread (24, 3). Written too: rotations (24, 3, 3) and
    smoothed (24, 3) float32 axis-angle.
    """
    now, back, turn, part = np.empty(4), np.empty(4), np.empty(3), np.empty(4)
    for k in range(24):
        half_turn(poses[k], now)
        variance = noise[k] ** 2
        if dt_s > 0:
            square = 3 * spread[k, 2]
            for a in range(3):
                square += spin[k, a] ** 2
                turn[a] = spin[k, a] * dt_s
            predicted(spread[k], dt_s, rest_density + density * square**0.75)
            half_turn(turn, back)
            product(q[k], back, part)
            back[0], back[1], back[2], back[3] = -part[0], -part[1], -part[2], part[3]
            product(back, now, q[k])
            axis_angle(q[k], turn)
            off = (turn[0] ** 2 + turn[1] ** 2 + turn[2] ** 2) / 3
            forward, faster = gains(spread[k], variance, off, most_sigmas)
            for a in range(3):
                spin[k, a] += faster * turn[a]
                turn[a] *= forward
            half_turn(turn, back)
            product(part, back, now)
        else:
            spin[k] = 0
            spread[k, 0], spread[k, 1], spread[k, 2] = variance, 0.0, first_spread
        n = np.sqrt(now[0] * now[0] + now[1] * now[1] + now[2] * now[2] + now[3] * now[3])
        for a in range(4):
            q[k, a] = now[a] / n
        matrix_of(q[k], rotations[k])
        axis_angle(q[k], smoothed[k])
