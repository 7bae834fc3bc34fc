"""One person → the pose stream of NVIDIA's SONIC (GR00T-WholeBodyControl), version 3: a humanoid robot follows.

A message is the topic, a header of 1,280 bytes of JSON padded with zeros, and packed little-endian arrays of the newest
N frames at 50 frames a second (its docs/source/tutorials/zmq.md; the geometry is that of process_smpl_joints in
pico_manager_thread_server.py):

| field | shape | what |
|---|---|---|
| smpl_pose | (N, 21, 3) f32 | axis-angle of SMPL's joints 1 to 21 |
| smpl_joints | (N, 24, 3) f32 | joints of a fixed mean body, from the pelvis, without the body's orientation; z up |
| body_quat_w | (N, 4) f32 | w x y z: the body's orientation with z up, without the base rotation (BASE) |
| joint_pos, joint_vel | (N, 29) f32 | the robot's joints; only the six of the wrists, 23 to 28, are not zero |
| frame_index | (N,) i64 | counts frames of 1/50 s |

The robot's own joints 22 and 23 of smpl_joints are thumbs, which a body without fingers does not have: SMPL's hand
joints stand in for them. Not run on a robot or in its simulator.
"""

import json
from collections import deque
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from refit_rt.axes import AXES
from refit_rt.body.smpl import Body
from refit_rt.stream.bridges.bodies import Bodies, Places

PORT, TOPIC, HEADER_BYTES, VERSION = 5556, b"pose", 1280, 3
STEP_S = 1 / 50  # the policy's
ROUNDING_S = 1e-6  # of times that are added up
LONGEST_GAP_S = 0.5  # over a longer one nothing is bridged, and the frames begin anew
BASE = (0.5, 0.5, 0.5, 0.5)  # quaternion of SMPL's rest orientation in the robot's axes, which is taken out
L_ELBOW, R_ELBOW, L_WRIST, R_WRIST = 18, 19, 20, 21
ROBOT_JOINTS, WRISTS = 29, (23, 24, 25, 26, 27, 28)  # left and right in turns: roll, pitch, yaw


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """One fitted frame of the person."""

    time_s: float
    rotations: np.ndarray  # (24, 3, 3)


class Sonic:
    """Encodes the person who came first, resampled to 50 frames a second by the frames' times."""

    def __init__(self, body: Body, frames: int = 5) -> None:
        """body: whose mean shape is sent. frames: of a message; the receiver needs 5 or more."""
        self._body, self._places, self._frames = body, Places(1), frames
        self._last: Moment | None = None
        self._next_s = 0.0
        self._index = 0
        self._sent: deque[dict[str, np.ndarray]] = deque(maxlen=frames)

    def __call__(self, bodies: Bodies) -> list[tuple[int, bytes]]:
        """One message per step of 1/50 s that this frame completes; none until `frames` of them are there."""
        ids = bodies.people.ids.tolist()
        held = self._places.of(ids, bodies.time_s)
        if not held:
            return []
        now = Moment(bodies.time_s, bodies.rotations[ids.index(next(iter(held)))])
        last, self._last = self._last, now
        if last is None or not 0 < now.time_s - last.time_s <= LONGEST_GAP_S:
            self._next_s = now.time_s
            self._sent.clear()
            return []
        turns = [
            Slerp([last.time_s, now.time_s], Rotation.from_matrix([last.rotations[joint], now.rotations[joint]]))
            for joint in range(len(now.rotations))
        ]
        messages = []
        while self._next_s <= now.time_s + ROUNDING_S:
            at_s = min(max(self._next_s, last.time_s), now.time_s)
            self._sent.append(self._row(np.array([turn(at_s).as_matrix() for turn in turns])))
            self._next_s += STEP_S
            if len(self._sent) == self._frames:
                messages.append(
                    (0, packed({name: np.stack([row[name] for row in self._sent]) for name in self._sent[0]}))
                )
        return messages

    def _row(self, rotations: np.ndarray) -> dict[str, np.ndarray]:
        """One frame's fields. rotations (24, 3, 3), joint 0 in the world."""
        axes = AXES["blender"]  # z up
        upright = Rotation.from_matrix(axes.target_from_world @ rotations[0])
        orientation = upright * Rotation.from_quat(BASE).inv()
        joints = self._body.joints(rotations, np.zeros(10)).astype(np.float64)
        local = orientation.inv().apply(axes.points(joints - joints[0]))
        self._index += 1
        return {
            "smpl_pose": Rotation.from_matrix(rotations[1:22]).as_rotvec().astype("<f4"),
            "smpl_joints": local.astype("<f4"),
            "body_quat_w": orientation.as_quat(canonical=True)[[3, 0, 1, 2]].astype("<f4"),
            "joint_pos": wrists(rotations).astype("<f4"),
            "joint_vel": np.zeros(ROBOT_JOINTS, "<f4"),
            "frame_index": np.array(self._index - 1, "<i8"),
        }


def wrists(rotations: np.ndarray) -> np.ndarray:
    """The robot's joints (29,), radians, with its wrists as SONIC's own sender makes them: the roll and yaw that the
    elbow's hinge cannot make go to the wrist, beside the wrist's own turn."""
    found = np.zeros(ROBOT_JOINTS)
    for side, (elbow, wrist) in enumerate(((L_ELBOW, L_WRIST), (R_ELBOW, R_WRIST))):
        x, y, z, w = Rotation.from_matrix(rotations[elbow]).as_quat()
        twist = Rotation.from_quat([0.0, y, 0.0, w]) if abs(y) + abs(w) > 1e-9 else Rotation.identity()
        swing = (twist.inv() * Rotation.from_quat([x, y, z, w])).as_euler("XYZ")
        turn = Rotation.from_matrix(rotations[wrist]).as_euler("XYZ")
        roll, pitch, yaw = swing[0] + turn[0], turn[1], swing[2] + turn[2]
        found[[WRISTS[side], WRISTS[2 + side], WRISTS[4 + side]]] = (
            (roll, pitch, yaw) if side == 0 else (-roll, -pitch, yaw)
        )
    return found


def packed(fields: dict[str, np.ndarray]) -> bytes:
    """The message of some arrays."""
    kinds = {np.dtype("<f4"): "f32", np.dtype("<i8"): "i64"}
    about = [{"name": name, "dtype": kinds[one.dtype], "shape": list(one.shape)} for name, one in fields.items()]
    header = json.dumps({"v": VERSION, "endian": "le", "count": 1, "fields": about}, separators=(",", ":")).encode()
    return TOPIC + header.ljust(HEADER_BYTES, b"\0") + b"".join(one.tobytes() for one in fields.values())
