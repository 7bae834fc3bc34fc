"""The arithmetic of `feet`, compiled: which points stand, where they stand, and the leg that reaches there.

tests/support/planted.py has each one in plain numpy.
"""

import numpy as np

from refit_rt.compiler import njit

SWINGING = -3.0  # odds of a foot of which nothing is known: about 1 to 20
MOST_ODDS = 6.0
STEADY_S = 0.015  # speeds are means over this time
EVIDENCE_S = 0.04  # speeds in this time are one observation
STANDING_S, SWINGING_S = 0.7, 0.4  # mean durations while walking (Perry and Burnfield 2010)
SWING_HEIGHT_M = 0.12  # mean, and deviation, of a foot in the air
HELD, LET_GO = 1.4, -0.4  # odds at which a foot is held, and let go: probabilities of 0.8 and 0.4
FADES_S = 0.25  # errors of a body's place are so long alike
FOOT_NOISE_M, FOOT_S = 0.02, 0.1  # of a foot's place in the body, and how long such errors are alike
MOVES_M = 0.002  # by which a foot that stands may creep, as a deviation after one second
MOST_SIGMAS = 3.0  # a foot that is farther from where it stood has moved
MOST_M = 0.06  # by which a leg is bent
SPRING_PER_S = 30.0  # of a released foot: 6 % of its offset is left after 0.15 s
BEND = 0.1  # a leg may be shortened or stretched by this share of how far the knee is off the straight leg


@njit(nogil=True)
def matrices(poses, out):
    """Axis-angle vectors (n, 24, 3) float32 → rotations (n, 24, 3, 3)."""
    axis = np.empty(3)
    for i in range(poses.shape[0]):
        for k in range(poses.shape[1]):
            for a in range(3):
                axis[a] = poses[i, k, a]
            angle = _length(axis)
            for a in range(3):
                axis[a] /= max(angle, 1e-12)
            _about(axis, np.sin(angle), np.cos(angle), out[i, k])


@njit(nogil=True)
def axes_of(sight):
    """A line of sight (3,) → (3, 3) orthonormal rows, the last of them along it, and its length."""
    axes = np.empty((3, 3))
    length = np.sqrt(sight[0] ** 2 + sight[1] ** 2 + sight[2] ** 2)
    least = 0
    for a in range(3):
        axes[2, a] = sight[a] / max(length, 1e-9)
        if abs(sight[a]) < abs(sight[least]):
            least = a
    if length < 1e-9:
        axes[2, 0], axes[2, 1], axes[2, 2] = 0.0, 0.0, 1.0
    z = axes[2]
    square = 1 - z[least] ** 2
    for a in range(3):
        axes[0, a] = ((1.0 if a == least else 0.0) - z[least] * z[a]) / np.sqrt(square)
    x = axes[0]
    for a in range(3):
        b, c = (a + 1) % 3, (a + 2) % 3
        axes[1, a] = z[b] * x[c] - z[c] * x[b]
    return axes, length


@njit(nogil=True)
def weigh(points, dt_s, axes, noise, speed_away, heights, height_noise, last, speed, odds):
    """The forward step of the hidden Markov model of each point, in place.

    points (4, 3) world; axes (3, 3) rows; noise (3,): deviation of a standing point's speed along each, speed_away that
    of a swinging one; heights (4,) over the floor and their deviations (4,), infinite: not known. State: last (4, 3),
    speed (4, 3), odds (4,).
    """
    share = 1 - np.exp(-dt_s / STEADY_S)
    weight = min(1.0, dt_s / EVIDENCE_S)
    for k in range(4):
        for a in range(3):
            speed[k, a] += share * ((points[k, a] - last[k, a]) / dt_s - speed[k, a])
            last[k, a] = points[k, a]
        evidence = 0.0
        for i in range(3):
            u = axes[i, 0] * speed[k, 0] + axes[i, 1] * speed[k, 1] + axes[i, 2] * speed[k, 2]
            still = noise[i] ** 2
            away = still + speed_away**2
            evidence += (np.log(away / still) - u * u / still + u * u / away) / 2
        if height_noise[k] < 1.0:
            low = height_noise[k] ** 2
            high = low + SWING_HEIGHT_M**2
            up = heights[k] - SWING_HEIGHT_M
            evidence += (np.log(high / low) - heights[k] ** 2 / low + up * up / high) / 2
        before = 1 / (1 + np.exp(-odds[k]))
        lands, lifts = 1 - np.exp(-dt_s / SWINGING_S), 1 - np.exp(-dt_s / STANDING_S)
        before += (1 - before) * lands - before * lifts
        after = np.log(before / (1 - before)) + weight * evidence
        odds[k] = min(max(after, -MOST_ODDS), MOST_ODDS)


@njit(nogil=True)
def hold(points, dt_s, axes, deviation, odds, stands, share, place, spread, offset):
    """One step of the filter of where the body and its standing feet are, in place.

    points (4, 3) world: left and right ankle, left and right ball; deviation (3,) of the body's place, along axes
    (3, 3) rows. State: see `feet.Stance`.
    """
    fade = np.exp(-dt_s / FADES_S)
    seen, steady = np.empty(3), FOOT_NOISE_M**2
    noise = steady * (1 + 2 * FOOT_S / dt_s)
    for i in range(3):
        for s in range(3):
            spread[i, 0, s] *= fade
            spread[i, s, 0] *= fade
        spread[i, 0, 0] += deviation[i] ** 2 * (1 - fade * fade)
    for a in range(3):
        place[0, a] *= fade
    for foot in range(2):
        heel, ball = odds[foot], odds[foot + 2]
        was, best = share[foot], max(heel, ball)
        share[foot] = 1 / (1 + np.exp(heel - ball))
        if not stands[foot] and best > HELD:
            stands[foot] = True
            for a in range(3):
                seen[a] = (1 - share[foot]) * points[foot, a] + share[foot] * points[foot + 2, a]
                place[1 + foot, a] = seen[a] - place[0, a] + offset[foot, 0, a]
            for i in range(3):
                for s in range(3):
                    spread[i, 1 + foot, s] = spread[i, s, 1 + foot] = -spread[i, 0, s]
                spread[i, 1 + foot, 1 + foot] = spread[i, 0, 0] + steady
        elif stands[foot] and best < LET_GO:
            _release(foot, stands, spread)
        elif stands[foot]:
            for a in range(3):
                place[1 + foot, a] += (share[foot] - was) * (points[foot + 2, a] - points[foot, a])
            for i in range(3):
                spread[i, 1 + foot, 1 + foot] += MOVES_M**2 * dt_s
    for foot in range(2):
        if stands[foot]:
            for a in range(3):
                seen[a] = (1 - share[foot]) * points[foot, a] + share[foot] * points[foot + 2, a]
            if not _agree(foot, seen, axes, noise, place, spread):
                odds[foot], odds[foot + 2] = SWINGING, SWINGING
                _release(foot, stands, spread)
    for foot in range(2):
        if stands[foot]:
            square = 0.0
            for a in range(3):
                at = (1 - share[foot]) * points[foot, a] + share[foot] * points[foot + 2, a] - place[0, a]
                offset[foot, 1, a] = (place[1 + foot, a] - at - offset[foot, 0, a]) / dt_s
                offset[foot, 0, a] = place[1 + foot, a] - at
                square += offset[foot, 0, a] ** 2
            if square > MOST_M**2:
                odds[foot], odds[foot + 2] = SWINGING, SWINGING
                _release(foot, stands, spread)
                for a in range(3):
                    offset[foot, 0, a] *= MOST_M / np.sqrt(square)
        else:
            _spring(dt_s, offset[foot])


@njit(nogil=True)
def _release(foot, stands, spread):
    """Lets a foot go: the filter no longer knows where it stands."""
    stands[foot] = False
    for i in range(3):
        for s in range(3):
            spread[i, 1 + foot, s] = spread[i, s, 1 + foot] = 0.0


@njit(nogil=True)
def _agree(foot, seen, axes, noise, place, spread):
    """Takes in where a standing foot (3,) is seen. False, and nothing is changed, where it has moved."""
    off, unlikely = np.empty(3), 0.0
    one = 1 + foot
    for i in range(3):
        off[i] = 0.0
        for a in range(3):
            off[i] += axes[i, a] * (seen[a] - place[0, a] - place[one, a])
        variance = spread[i, 0, 0] + 2 * spread[i, 0, one] + spread[i, one, one]
        unlikely += off[i] ** 2 / (max(variance, 0.0) + FOOT_NOISE_M**2) / 3
    if unlikely > MOST_SIGMAS**2:
        return False
    gain = np.empty(3)
    for i in range(3):
        total = spread[i, 0, 0] + 2 * spread[i, 0, one] + spread[i, one, one] + noise
        for s in range(3):
            gain[s] = (spread[i, s, 0] + spread[i, s, one]) / total
            for a in range(3):
                place[s, a] += gain[s] * off[i] * axes[i, a]
        for s in range(3):
            for t in range(3):
                spread[i, s, t] -= gain[s] * gain[t] * total
    return True


@njit(nogil=True)
def _spring(dt_s, offset):
    """A critically damped spring back to nothing: offset (2, 3), metres and metres per second, in place."""
    fade = np.exp(-SPRING_PER_S * dt_s)
    for a in range(3):
        x, v = offset[0, a], offset[1, a]
        pull = v + SPRING_PER_S * x
        offset[0, a] = (x + pull * dt_s) * fade
        offset[1, a] = (v - SPRING_PER_S * pull * dt_s) * fade


@njit(nogil=True)
def shift_and_bend(turn, error, offset, rotations, joints, trans):
    """Moves a body back by the error (3,) of its place, and its feet by offset (2, 3), all in the world, in place.

    turn (3, 3): camera from world; rotations (24, 3, 3), joints (24, 3), trans (3,): in the camera's frame. The joints
    are only moved with the body.
    """
    move, shift = np.empty(3), np.empty(3)
    for a in range(3):
        shift[a] = -(turn[a, 0] * error[0] + turn[a, 1] * error[1] + turn[a, 2] * error[2])
        trans[a] += shift[a]
        for k in range(24):
            joints[k, a] += shift[a]
    for foot in range(2):
        square = 0.0
        for a in range(3):
            move[a] = turn[a, 0] * offset[foot, 0] + turn[a, 1] * offset[foot, 1] + turn[a, 2] * offset[foot, 2]
            square += move[a] ** 2
        if square > 1e-10:
            bend(rotations, joints, 1 + foot, move)


@njit(nogil=True)
def bend(rotations, joints, hip, move):
    """Turns hip and knee so that the ankle moves by move (3,), and the ankle so that the foot keeps its turn, in place.

    rotations (24, 3, 3), joints (24, 3) of the camera's frame; hip: 1, left, or 2, right. The knee keeps its plane. A
    straight leg is hardly shortened, because its knee would be thrown forwards: see BEND.
    """
    knee, ankle = hip + 3, hip + 6
    thigh, shank, reach, goal = np.empty(3), np.empty(3), np.empty(3), np.empty(3)
    for a in range(3):
        thigh[a] = joints[knee, a] - joints[hip, a]
        shank[a] = joints[ankle, a] - joints[knee, a]
        reach[a] = joints[ankle, a] - joints[hip, a]
        goal[a] = reach[a] + move[a]
    upper, lower, length, wanted = _length(thigh), _length(shank), _length(reach), _length(goal)
    axis = _cross(thigh, shank)
    sine = _length(axis)
    if min(upper, lower, length, wanted) < 1e-6:
        return
    most = BEND * sine / length
    wanted = min(max(wanted, length - most), length + most, 0.9999 * (upper + lower))
    extend, turn = np.empty((3, 3)), np.empty((3, 3))
    for a in range(3):
        axis[a] /= max(sine, 1e-12)
    _about(axis, 0.0, 1.0, extend)
    if sine > 1e-9:
        # The angle between thigh and shank, 0 for a straight leg, by the law of cosines
        now = np.arccos(min(max((length**2 - upper**2 - lower**2) / (2 * upper * lower), -1.0), 1.0))
        then = np.arccos(min(max((wanted**2 - upper**2 - lower**2) / (2 * upper * lower), -1.0), 1.0))
        _about(axis, np.sin(then - now), np.cos(then - now), extend)
        for a in range(3):
            reach[a] = thigh[a] + extend[a, 0] * shank[0] + extend[a, 1] * shank[1] + extend[a, 2] * shank[2]
    axis = _cross(reach, goal)
    sine, cosine = _length(axis), reach[0] * goal[0] + reach[1] * goal[1] + reach[2] * goal[2]
    for a in range(3):
        axis[a] /= max(sine, 1e-12)
    size = np.sqrt(sine**2 + cosine**2)
    _about(axis, sine / size, cosine / size, turn)
    upper_turn, lower_turn, foot_turn = np.empty((3, 3)), np.empty((3, 3)), np.empty((3, 3))
    part = np.empty((3, 3))
    _times(rotations[0], rotations[hip], part)
    _times(turn, part, upper_turn)
    _times(part, rotations[knee], foot_turn)
    _times(extend, foot_turn, part)
    _times(turn, part, lower_turn)
    _times(foot_turn, rotations[ankle], part)
    _from(rotations[0], upper_turn, rotations[hip])
    _from(upper_turn, lower_turn, rotations[knee])
    _from(lower_turn, part, rotations[ankle])


@njit(nogil=True)
def _times(a, b, out):
    """out = a b, (3, 3) each."""
    for i in range(3):
        for j in range(3):
            out[i, j] = a[i, 0] * b[0, j] + a[i, 1] * b[1, j] + a[i, 2] * b[2, j]


@njit(nogil=True)
def _from(a, b, out):
    """out = a transposed, times b, (3, 3) each."""
    for i in range(3):
        for j in range(3):
            out[i, j] = a[0, i] * b[0, j] + a[1, i] * b[1, j] + a[2, i] * b[2, j]


@njit(nogil=True)
def _length(vector):
    return np.sqrt(vector[0] ** 2 + vector[1] ** 2 + vector[2] ** 2)


@njit(nogil=True)
def _cross(a, b):
    out = np.empty(3)
    out[0], out[1], out[2] = a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]
    return out


@njit(nogil=True)
def _about(axis, sine, cosine, out):
    """Rodrigues: the turn (3, 3) about a unit axis (3,)."""
    for a in range(3):
        for b in range(3):
            out[a, b] = (1 - cosine) * axis[a] * axis[b] + (cosine if a == b else 0.0)
    out[0, 1] -= sine * axis[2]
    out[1, 0] += sine * axis[2]
    out[0, 2] += sine * axis[1]
    out[2, 0] -= sine * axis[1]
    out[1, 2] -= sine * axis[0]
    out[2, 1] += sine * axis[0]
