"""Reads .bvh files: joints, their parents and rest offsets, and the rotation and place of each in every frame."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from refit_rt.errors import UserError

POSITIONS, ROTATIONS = ("xposition", "yposition", "zposition"), ("xrotation", "yrotation", "zrotation")


@dataclass(frozen=True, slots=True, eq=False)
class Skeleton:
    """A rig and its movement in the axes and unit of the file. Parents come before their children."""

    names: list[str]
    parents: list[int]  # -1: a root
    offsets: np.ndarray  # (joint, 3) from the parent, all rotations zero
    channels: list[list[str]]  # per joint, lower case, in the order of the file
    motion: np.ndarray  # (frame, channels of all joints) degrees and the file's unit
    frame_s: float

    @property
    def rest(self) -> np.ndarray:
        """Joint places (joint, 3) with all rotations zero, the first at the origin."""
        places = np.zeros((len(self.names), 3))
        for joint, parent in enumerate(self.parents):
            if parent >= 0:
                places[joint] = places[parent] + self.offsets[joint]
        return places


def read_bvh(path: Path) -> Skeleton:
    """Reads a Biovision hierarchy with its motion. Raises UserError that names the file and the defect."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}). Export or fetch it again") from error
    head, found, tail = text.partition("MOTION")
    try:
        if not found:
            raise ValueError("it has no MOTION section")
        names, parents, offsets, channels = _hierarchy(head.split())
        motion, frame_s = _motion(tail, sum(map(len, channels)))
    except (ValueError, IndexError) as error:
        reason = "it ends too early" if isinstance(error, IndexError) else error
        raise UserError(f"{path}: not a valid .bvh file ({reason}). Export or fetch it again") from error
    return Skeleton(names, parents, np.array(offsets), channels, motion, frame_s)


def _hierarchy(words: list[str]) -> tuple[list[str], list[int], list[list[float]], list[list[str]]]:
    """Parses the words before MOTION: names, parents, offsets and channels of the joints, without end sites."""
    names: list[str] = []
    parents: list[int] = []
    offsets: list[list[float]] = []
    channels: list[list[str]] = []
    above: list[int] = []  # joints whose braces are open; -1 stands for an end site
    at, opened = 1, -1
    if not words or words[0].upper() != "HIERARCHY":
        raise ValueError("it does not begin with HIERARCHY")
    while at < len(words):
        word = words[at].upper()
        if word in ("ROOT", "JOINT"):
            start = at
            at += 1
            while words[at] != "{":  # names with spaces exist
                at += 1
            names.append(" ".join(words[start + 1 : at]))
            parents.append(above[-1] if above else -1)
            offsets.append([0.0, 0.0, 0.0])
            channels.append([])
            opened = len(names) - 1
        elif word == "END":
            opened, at = -1, at + 2
        elif word == "{":
            above.append(opened)
            at += 1
        elif word == "}":
            above.pop()
            at += 1
        elif word == "OFFSET":
            if above[-1] >= 0:
                offsets[above[-1]] = [float(value) for value in words[at + 1 : at + 4]]
            at += 4
        elif word == "CHANNELS":
            count = int(words[at + 1])
            channels[above[-1]] = [name.lower() for name in words[at + 2 : at + 2 + count]]
            at += 2 + count
        else:
            raise ValueError(f"unexpected '{words[at]}' in its hierarchy")
    unknown = {name for own in channels for name in own} - {*POSITIONS, *ROTATIONS}
    if unknown or above or not names:
        raise ValueError(f"unknown channel {min(unknown)}" if unknown else "its braces do not close")
    return names, parents, offsets, channels


def _motion(text: str, count: int) -> tuple[np.ndarray, float]:
    """Parses the text after MOTION: values (frame, count) and seconds per frame."""
    lines = text.strip().splitlines()
    frames, frame_s = int(lines[0].split(":")[1]), float(lines[1].split(":")[1])
    values = np.array(" ".join(lines[2:]).split(), np.float64)
    if frames < 1 or not 0 < frame_s < 10:
        raise ValueError(f"{frames} frames of {frame_s} s")
    if len(values) != frames * count:
        raise ValueError(f"{len(values)} values, but {frames} frames of {count} channels need {frames * count}")
    return values.reshape(frames, count), frame_s


def world_poses(rig: Skeleton, carrier: int) -> tuple[np.ndarray, np.ndarray]:
    """Rotations (frame, joint, 3, 3) relative to the rest pose, and places (frame, joint, 3), all in the file's axes.

    carrier: the joint that carries the body. Position channels of this joint and of those above it replace their
    offsets. Those of other joints are ignored, because rigs disagree on their meaning and bones do not stretch.
    """
    frames, joints = len(rig.motion), len(rig.names)
    turn, place = np.empty((frames, joints, 3, 3)), np.empty((frames, joints, 3))
    movable, column = {carrier}, 0
    while rig.parents[carrier] >= 0:
        movable.add(carrier := rig.parents[carrier])
    for joint, (parent, channels) in enumerate(zip(rig.parents, rig.channels, strict=True)):
        values = rig.motion[:, column : column + len(channels)]
        column += len(channels)
        local, offset = np.tile(np.eye(3), (frames, 1, 1)), np.tile(rig.offsets[joint], (frames, 1))
        for name, value in zip(channels, values.T, strict=True):
            if name in ROTATIONS:
                local = local @ Rotation.from_euler(name[0], value[:, None], degrees=True).as_matrix()
            elif joint in movable:
                offset[:, POSITIONS.index(name)] = value
        if parent < 0:
            turn[:, joint], place[:, joint] = local, offset
        else:
            turn[:, joint] = turn[:, parent] @ local
            place[:, joint] = place[:, parent] + (turn[:, parent] @ offset[..., None])[..., 0]
    return turn, place
