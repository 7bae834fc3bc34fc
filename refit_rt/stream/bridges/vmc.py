"""People → VMC, the OSC messages that VTuber programs and engines receive (protocol.vmc.info).

Bones have the names of Unity's HumanBodyBones and their rotations relative to their parents, in Unity's axes; the
T-pose is VRM 0's, in which every bone is turned by nothing, legs hang straight down and arms point to the sides. Each
thigh of SMPL's T-pose stands out by 7 degrees, and what is sent allows for that. The place of a person is that of the
bone Hips, and Root stays where it is, because receivers disagree about Root. `/VMC/Ext/OK` and `/VMC/Ext/T` end each
frame: VRM4U shows a frame when they come. One avatar listens to one port, so that each further person goes to the next
port.
"""

import struct

import numpy as np

from refit_rt.axes import AXES
from refit_rt.body.bone_names import VRM
from refit_rt.body.smpl import PARENTS
from refit_rt.stream.bridges.bodies import Bodies, Origin, Places

PORT = 39539  # where a receiver ("Marionette") listens
MOST_BYTES = 1400  # of a packet, below the 1,500 that a network carries in one piece
BONES = {joint: name[0].upper() + name[1:] for joint, name in enumerate(VRM[:22])}  # without SMPL's hand joints
NOWHERE = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)  # no place and no turn
# Limb bones, the joints at their ends, and where each bone points in VRM's T-pose: x left, y up, z forward.
LIMBS, ENDS = (1, 2, 4, 5, 16, 17, 18, 19), (4, 5, 7, 8, 18, 19, 20, 21)
STRAIGHT = np.array([(0.0, -1.0, 0.0)] * 4 + [(1.0, 0.0, 0.0), (-1.0, 0.0, 0.0)] * 2)
LOADED = (1, 3, 0)  # the model is loaded, calibrated, in normal mode


class Vmc:
    """Encodes frames for one receiver, or for `people` receivers at ports that follow each other."""

    def __init__(self, people: int = 1, origin: str = "person") -> None:
        """origin: `person`: everybody starts in the middle of the floor; `world`: at the place in the rig's world."""
        self._places, self._world = Places(people), origin == "world"
        self._origins: dict[int, Origin] = {}

    def __call__(self, bodies: Bodies) -> list[tuple[int, bytes]]:
        """Packets, each with how far its port lies above the first one. Nothing is sent of a place without a person."""
        ids = bodies.people.ids.tolist()
        held = self._places.of(ids, bodies.time_s)
        self._origins = {person: self._origins.get(person) or Origin() for person in held}
        unity, packets = AXES["unity"], []
        for person, place in held.items():
            row = ids.index(person)
            joints = bodies.joints[row]
            floor = bodies.people.floor
            middle = np.zeros(3) if self._world else self._origins[person].place(joints, bodies.time_s, floor)
            hips = unity.points(joints[0] - middle)
            turns = unity.quaternions(from_vrm_pose(bodies.rotations[row], joints))
            messages = [osc("/VMC/Ext/Root/Pos", "root", *NOWHERE)]
            for joint, name in BONES.items():
                at = hips.tolist() if joint == 0 else NOWHERE[:3]
                messages.append(osc("/VMC/Ext/Bone/Pos", name, *at, *turns[joint].tolist()))
            messages += [osc("/VMC/Ext/OK", *LOADED), osc("/VMC/Ext/T", float(bodies.time_s))]
            packets += [(place, packet) for packet in bundles(messages)]
        return packets


def from_vrm_pose(rotations: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """The rotations (24, 3, 3), each relative to its parent, that bring an avatar in VRM's T-pose into the person's
    pose. rotations (24, 3, 3) and joints (24, 3), world: the person's, from SMPL's T-pose.

    Each limb is first laid along the person's own in SMPL's T-pose, and the bone at its end takes that back.
    """
    world = rotations.copy()
    for joint, parent in enumerate(PARENTS[1:], 1):
        np.matmul(world[parent], rotations[joint], out=world[joint])
    bones = joints[list(ENDS)] - joints[list(LIMBS)]
    bones = np.einsum("nji,nj->ni", world[list(LIMBS)], bones) / np.linalg.norm(bones, axis=1, keepdims=True)
    laid = np.tile(np.eye(3), (len(rotations), 1, 1))
    laid[list(LIMBS)] = _shortest(STRAIGHT, bones)
    before = laid[np.maximum(PARENTS, 0)].transpose(0, 2, 1)  # the pelvis is no limb, so that of joint 0 turns nothing
    return before @ rotations @ laid


def _shortest(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The rotations (n, 3, 3) that turn unit vectors (n, 3) into others by the shortest way. No two are opposite."""
    cross = b[:, :, None] * a[:, None] - a[:, :, None] * b[:, None]  # of each, the matrix of the cross product a x b
    return np.eye(3) + cross + cross @ cross / (1 + np.einsum("ni,ni->n", a, b))[:, None, None]


def osc(address: str, *values: float | int | str) -> bytes:
    """One OSC 1.0 message: text, whole numbers and floats.

    By hand, because a frame of a person has 25 of them: 0.07 ms, and 1.3 ms with python-osc, which the tests read with.
    """
    kinds, data = ",", b""
    for value in values:
        if isinstance(value, str):
            kinds, data = kinds + "s", data + _padded(value)
        elif isinstance(value, int):
            kinds, data = kinds + "i", data + struct.pack(">i", value)
        else:
            kinds, data = kinds + "f", data + struct.pack(">f", value)
    return _padded(address) + _padded(kinds) + data


def bundles(messages: list[bytes]) -> list[bytes]:
    """OSC bundles of the messages in their order, each of MOST_BYTES at most; to be acted on at once."""
    made: list[bytes] = []
    for message in messages:
        element = struct.pack(">i", len(message)) + message
        if not made or len(made[-1]) + len(element) > MOST_BYTES:
            made.append(b"#bundle\0" + struct.pack(">q", 1))
        made[-1] += element
    return made


def _padded(text: str) -> bytes:
    """Text with one to four zeros, a multiple of four bytes."""
    data = text.encode()
    return data + b"\0" * (4 - len(data) % 4)
