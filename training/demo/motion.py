"""Makes the demo's ten seconds of movement: a recorded walk, then synthetic steps, a turn, a chair and a wave.

Standing feet do not move: from the end of the walk on, the legs are solved from footprints.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from refit_rt.body.smpl import PARENTS, Body
from refit_rt.errors import UserError
from training.synthetic.motion import Motion, about_y

FPS = 30
WALK, WALK_FRAMES = "007_03", 74  # the clip, and how many of its frames to use up to the last double support
ENTRY_HEADING = np.radians(72.0)  # direction of the walk: 0 is towards the camera, 90 to the picture's right
STAND = np.array([0.42, 0.52])  # where the person stops, x and z, metres
SEAT_TOP_M, SEAT_BACK_M = 0.47, 0.44  # height of the chair's seat; how far the pelvis goes back to it
PELVIS_OVER_SEAT_M = 0.095
STEP_S, STEP_HEIGHT_M, STANCE_M = 0.46, 0.075, 0.115
DURATION_S = 10.0
SIT_BEGIN_S, SIT_S = 4.75, 1.6
LEGS = {1: (1, 4, 7, 10), -1: (2, 5, 8, 11)}  # side: hip, knee, ankle, toes
HANG, HALFWAY = (0, 0.05, 1.27, 0.25, 0.25, 0.0), (0, 0.5, 1.25, 0.5, 0.55, 0.4)
ON_THIGH, RAISED = (0, 0.49, 1.45, 0.81, 0.67, 0.82), (0.35, 0.0, 0.3, -1.35, 1.75, 0.1)
ARM_KEYS = {  # side: rows of time, forward, ahead, lower, twist, elbow (as in training.synthetic.gestures), pronation
    1: [(0.0, *HANG), (4.6, *HANG), (5.5, *HALFWAY), (6.4, *ON_THIGH), (10.0, *ON_THIGH)],
    -1: [
        (0.0, *HANG),
        (4.6, *HANG),
        (5.5, *HALFWAY),
        (6.4, *ON_THIGH),
        (6.7, *ON_THIGH),
        (7.4, *RAISED),
        (9.1, *RAISED),
        (9.9, *ON_THIGH),
    ],
}
WAVE_S, WAVE_HZ, WAVE_RAD = (7.3, 9.2), 1.7, 0.42


@dataclass(frozen=True, slots=True, eq=False)
class Movement:
    """A body moving in the world (y up, floor y = 0)."""

    rotations: np.ndarray  # (frames, 24, 3, 3) float64
    pelvis: np.ndarray  # (frames, 3) metres: place of the pelvis joint


def smooth(share: np.ndarray) -> np.ndarray:
    """Eases 0..1 with rest at both ends; clipped outside."""
    share = np.clip(share, 0, 1)
    return share**3 * (10 - 15 * share + 6 * share**2)


def demo_movement(body: Body, betas: np.ndarray, recorded: Motion) -> Movement:
    """The whole ten seconds for a body of this shape."""
    rest = body.joint_template + body.joint_shape_dirs @ betas
    walk = _walk(recorded, rest)
    frames = int(DURATION_S * FPS)
    start = len(walk.rotations) - 1
    rotations, pelvis = np.tile(np.eye(3), (frames, 24, 1, 1)), np.zeros((frames, 3))
    rotations[: start + 1], pelvis[: start + 1] = walk.rotations, walk.pelvis
    at, turn = _chain(rest, walk.rotations[-1], walk.pelvis[-1])
    sole = rest[7, 1] - float((body.template + body.shape_dirs @ betas)[:, 1].min())
    shift = sole - min(at[7, 1], at[8, 1])
    pelvis[: start + 1, 1] += shift
    at[:, 1] += shift
    velocity = (pelvis[start] - pelvis[start - 5]) / (5 / FPS)
    steps, standing_at = _plan(at, start / FPS)
    times = np.arange(start + 1, frames) / FPS
    root, place = _trunk(rotations[start], pelvis[start], velocity, times, start / FPS, standing_at, rest, sole)
    rotations[start + 1 :, 0], pelvis[start + 1 :] = root, place
    _upper(rotations, start, times)
    for side, joints in LEGS.items():
        knee_then = at[joints[1]] - (at[joints[0]] + at[joints[2]]) / 2
        for row, time in enumerate(times, start + 1):
            foot, ankle = _foot(steps[side], time, turn[joints[2]], at[joints[2]], start / FPS, sole)
            share = smooth(np.array((time - start / FPS) / 0.3))
            pole = share * (foot[:, 2] + 0.5 * rotations[row, 0][:, 2]) + (1 - share) * 6 * knee_then
            _leg(rotations[row], rest, pelvis[row], joints, ankle, foot, pole)
            rotations[row, joints[3]] = (
                rotations[start, joints[3]] if share < 1e-6 else _part(rotations[start, joints[3]], float(1 - share))
            )
    return Movement(rotations, pelvis)


def _walk(recorded: Motion, rest: np.ndarray) -> Movement:
    """The recorded walk, turned to the demo's heading and placed so that two steps from its end lead to STAND.

    Raises UserError if the motion lacks it.
    """
    names = list(recorded.name)
    if WALK not in names:
        raise UserError(f"the recorded motion has no clip {WALK}. Give CMU's with --motion; see training/README.md")
    index = names.index(WALK)
    rows = slice(int(recorded.start[index]), int(recorded.start[index] + recorded.length[index]))
    rotations, places = recorded.rotations[rows].astype(float), recorded.trans[rows].astype(float)
    ankles = np.stack([_heights(rest, rotations, places, joint) for joint in (7, 8)], 1)
    last = len(places) - 18 + int(np.argmin(ankles[-18:-2].max(1)))
    rotations, places = rotations[max(0, last - WALK_FRAMES) : last + 1], places[max(0, last - WALK_FRAMES) : last + 1]
    way = places[-1] - places[0]
    turn = about_y(np.array(ENTRY_HEADING - np.arctan2(way[0], way[2])))
    rotations[:, 0], places = turn @ rotations[:, 0], places @ turn.T
    forward = np.array([np.sin(ENTRY_HEADING), 0, np.cos(ENTRY_HEADING)])
    end = np.array([STAND[0], places[-1, 1], STAND[1]]) - 0.62 * forward
    return Movement(rotations, places - places[-1] + end)


def _heights(rest: np.ndarray, rotations: np.ndarray, places: np.ndarray, joint: int) -> np.ndarray:
    """The height of a joint above the floor in every frame."""
    return np.array([_chain(rest, r, p)[0][joint, 1] for r, p in zip(rotations, places, strict=True)])


def _chain(rest: np.ndarray, rotations: np.ndarray, pelvis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places (24, 3) and orientations (24, 3, 3) of the joints in the world."""
    at, turn = np.zeros((24, 3)), np.zeros((24, 3, 3))
    at[0], turn[0] = pelvis, rotations[0]
    for joint in range(1, 24):
        parent = PARENTS[joint]
        at[joint] = at[parent] + turn[parent] @ (rest[joint] - rest[parent])
        turn[joint] = turn[parent] @ rotations[joint]
    return at, turn


@dataclass(frozen=True, slots=True)
class Step:
    """One step: a foot moves from where it stands to another place."""

    begin_s: float
    end_s: float
    place: np.ndarray  # (2,) x and z of the ankle
    heading: float


def _plan(at: np.ndarray, now: float) -> tuple[dict[int, list[Step]], float]:
    """Plans three steps of a turn towards the camera: side -> steps, and the time when both feet stand."""
    forward = np.array([np.sin(ENTRY_HEADING), np.cos(ENTRY_HEADING)])
    ahead = {side: float(at[LEGS[side][2], [0, 2]] @ forward) for side in LEGS}
    rear = min(ahead, key=lambda side: ahead[side])
    final = {side: (STAND + np.array([side * STANCE_M, 0.0]), side * 0.12) for side in LEGS}
    half = ENTRY_HEADING * 0.5
    across = np.array([np.cos(half), -np.sin(half)])
    mid = STAND - 0.16 * forward + rear * STANCE_M * across
    begin = now + 0.02
    plan: dict[int, list[Step]] = {1: [], -1: []}
    plan[rear].append(Step(begin, begin + STEP_S, mid, half))
    plan[-rear].append(Step(begin + STEP_S + 0.04, begin + 2 * STEP_S, final[-rear][0], final[-rear][1]))
    plan[rear].append(Step(begin + 2 * STEP_S + 0.04, begin + 3 * STEP_S - 0.04, final[rear][0], final[rear][1]))
    return plan, begin + 3 * STEP_S


def _foot(
    steps: list[Step], time: float, first_turn, first_at, now: float, sole: float
) -> tuple[np.ndarray, np.ndarray]:
    """Orientation (3, 3) and ankle (3,) of a foot that follows its steps from the end of the walk."""
    heading = float(np.arctan2(first_turn[0, 2], first_turn[2, 2]))
    flat = smooth(np.array((time - now) / 0.16))
    tilt = about_y(np.array(-heading)) @ first_turn
    place, height, pitch = first_at[[0, 2]].copy(), first_at[1] * (1 - flat) + sole * flat, 0.0
    for step in steps:
        share = (time - step.begin_s) / (step.end_s - step.begin_s)
        if share <= 0:
            break
        eased = float(smooth(np.array(share)))
        place = place + eased * (step.place - place)
        heading = heading + eased * (step.heading - heading)
        if share < 1:
            lift = np.sin(np.pi * share) ** 2
            height, pitch = height + STEP_HEIGHT_M * lift, 0.5 * np.sin(np.pi * min(share * 1.3, 1)) ** 2
    foot = about_y(np.array(heading)) @ _part(tilt, float(1 - flat)) @ Rotation.from_euler("x", pitch).as_matrix()
    return foot, np.array([place[0], height, place[1]])


def _part(rotation: np.ndarray, share: float) -> np.ndarray:
    """A share of a rotation (3, 3)."""
    return Rotation.from_rotvec(Rotation.from_matrix(rotation).as_rotvec() * share).as_matrix()


def _trunk(pose, place, velocity, times, now, standing_at, rest, sole) -> tuple[np.ndarray, np.ndarray]:
    """Root orientations (n, 3, 3) and pelvis places (n, 3) from the end of the walk on."""
    heading = float(np.arctan2(pose[0][0, 2], pose[0][2, 2]))
    tilt = Rotation.from_matrix(about_y(np.array(-heading)) @ pose[0]).as_rotvec()
    share = np.clip((times - now) / (standing_at - now), 0, 1)
    still = smooth(share)
    turned = smooth((times - now - 0.12) / (standing_at - now - 0.1))
    leg = rest[1, 1] - rest[7, 1]
    stand = np.array([STAND[0], (rest[0, 1] - rest[1, 1]) + 0.985 * leg + sole, STAND[1]])
    span = standing_at - now
    hermite = (share**3 - 2 * share**2 + share)[:, None] * velocity * span
    blend = (3 * share**2 - 2 * share**3)[:, None]
    path = place * (1 - blend) + stand * blend + hermite
    path[:, 1] -= 0.022 * np.sin(np.pi * share) ** 2  # legs that are apart reach less high
    sit = smooth((times - SIT_BEGIN_S) / SIT_S)
    seat_y = SEAT_TOP_M + PELVIS_OVER_SEAT_M
    path[:, 2] -= SEAT_BACK_M * smooth((times - SIT_BEGIN_S) / (SIT_S * 0.9))
    path[:, 1] += (seat_y - stand[1]) * sit
    lean = 0.62 * np.sin(np.pi * np.clip((times - SIT_BEGIN_S) / (SIT_S * 1.05), 0, 1)) ** 2 - 0.1 * sit
    sway = 0.012 * np.sin(times * 2.1) * (1 - 0.5 * sit)
    root = (
        Rotation.from_euler("y", (heading * (1 - turned))[:, None])
        * Rotation.from_euler("x", lean[:, None])
        * Rotation.from_euler("z", sway[:, None])
        * Rotation.from_rotvec(tilt * (1 - still)[:, None])
    )
    return root.as_matrix(), path


def _upper(rotations: np.ndarray, start: int, times: np.ndarray) -> None:
    """Moves spine, head and arms from the walk's last pose into the keys."""
    sit = smooth((times - SIT_BEGIN_S) / SIT_S)
    bell = np.sin(np.pi * np.clip((times - SIT_BEGIN_S) / SIT_S, 0, 1)) ** 2
    wave = smooth((times - 7.0) / 0.5) * (1 - smooth((times - 9.2) / 0.6))
    breath = 0.012 * np.sin(times * 1.9)
    targets = {joint: np.zeros((len(times), 3)) for joint in (3, 6, 9, 12, 15, 13, 14)}
    for joint, share in ((3, 0.35), (6, 0.35), (9, 0.3)):
        targets[joint][:, 0] = share * (0.25 * bell + 0.1 * sit + breath)
        targets[joint][:, 2] = share * 0.1 * wave
    targets[12][:, 0], targets[15][:, 0] = -0.16 * bell + 0.02, -0.16 * bell + 0.03
    targets[15][:, 2] = -0.14 * wave
    shrug = 0.22 * wave
    targets[14][:, 2] = -shrug
    pose = {joint: Rotation.from_rotvec(values) for joint, values in targets.items()}
    for side, joint, fore in ((1, 16, 18), (-1, 17, 19)):
        keys = np.array(ARM_KEYS[side])
        values = np.stack([_between(keys[:, 0], keys[:, k], times) for k in range(1, 7)], 1)
        swing = np.zeros(len(times))
        if side < 0:
            active = smooth((times - WAVE_S[0]) / 0.25) * (1 - smooth((times - WAVE_S[1]) / 0.3))
            swing = WAVE_RAD * active * np.sin(2 * np.pi * WAVE_HZ * (times - WAVE_S[0]))
            values[:, 2] += shrug
        forward, ahead, lower, twist, elbow, pronation = values.T
        pose[joint] = (
            _about("y", -side * forward) * _about("x", -ahead) * _about("z", -side * lower) * _about("x", twist)
        )
        pose[fore] = _about("y", -side * (elbow + swing)) * _about("x", 0.6 * pronation)
        pose[fore + 2] = _about("x", 0.4 * pronation) * _about("y", -side * 0.5 * swing)
    share = smooth((times - start / FPS) / 0.9)
    for joint, target in pose.items():
        first = Rotation.from_matrix(rotations[start, joint])
        for row, (value, part) in enumerate(zip(target, share, strict=True), start + 1):
            pair = Rotation.concatenate([first, value])
            rotations[row, joint] = Slerp([0, 1], pair)(part).as_matrix()


def _about(axis: str, angles: np.ndarray) -> Rotation:
    return Rotation.from_euler(axis, np.asarray(angles)[:, None])


def _between(times: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Interpolates keys, with rest at each, at times (n,)."""
    index = np.clip(np.searchsorted(times, at, side="right") - 1, 0, len(times) - 2)
    share = smooth((at - times[index]) / (times[index + 1] - times[index]))
    return values[index] + share * (values[index + 1] - values[index])


def _leg(pose: np.ndarray, rest: np.ndarray, pelvis: np.ndarray, joints, ankle, foot: np.ndarray, pole) -> None:
    """Turns hip, knee and ankle of `pose` (24, 3, 3): the ankle joint goes to `ankle` (3,), the knee points to `pole`
    (3,), and the foot takes the orientation `foot` (3, 3)."""
    hip, knee, end, _ = joints
    at = pelvis + pose[0] @ (rest[hip] - rest[0])
    upper, lower = rest[knee] - rest[hip], rest[end] - rest[knee]
    long, short = np.linalg.norm(upper), np.linalg.norm(lower)
    line = ankle - at
    reach = min(float(np.linalg.norm(line)), (long + short) * 0.9995)
    line = line / np.linalg.norm(line)
    ahead = pole - (pole @ line) * line
    ahead = ahead / np.linalg.norm(ahead)
    cos = (long**2 + reach**2 - short**2) / (2 * long * reach)
    middle = at + long * (cos * line + np.sqrt(max(1 - cos**2, 0)) * ahead)
    thigh = _turn_to(upper, middle - at, ahead)
    shin = _turn_to(lower, at + reach * line - middle, ahead)
    pose[hip] = pose[0].T @ thigh
    pose[knee] = thigh.T @ shin
    pose[end] = shin.T @ foot


def _turn_to(bone: np.ndarray, direction: np.ndarray, ahead: np.ndarray) -> np.ndarray:
    """The rotation that takes a rest bone with front +z to a direction with front `ahead`."""

    def frame(down: np.ndarray, front: np.ndarray) -> np.ndarray:
        down = down / np.linalg.norm(down)
        side = np.cross(down, front)
        side = side / np.linalg.norm(side)
        return np.stack([side, down, np.cross(side, down)], 1)

    return frame(direction, ahead) @ frame(bone, np.array([0.0, 0.0, 1.0])).T
