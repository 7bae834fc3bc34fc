"""Writes a person's motion as BVH: a skeleton in its T-pose and its joint angles.

y up, centimetres, as most programs expect. The channels of the root are its place in the world; its OFFSET is zero, for
some readers add the two and some do not.
"""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from refit_rt.body.smpl import Body
from refit_rt.files import write_whole
from refit_rt.motion import skeleton
from refit_rt.motion.performance import Performance

CM_PER_M = 100.0
ORDER = "ZXY"  # R = Rz Rx Ry, the order that most writers use


def write_bvh(path: Path, one: Performance, body: Body, names: Sequence[str]) -> None:
    """Writes the file. names: of the 24 joints. Raises UserError when it cannot be written."""
    offsets = skeleton.offsets(body, one.betas) * CM_PER_M
    tips = {joint: tip * CM_PER_M for joint, tip in skeleton.tips(body, one.betas).items()}
    order = list(_depth_first(body.parents, 0))
    frames = np.column_stack([one.pelvis * CM_PER_M, _angles(one.rotations[:, order]).reshape(len(one.pelvis), -1)])
    with write_whole(path) as part, part.open("w", encoding="utf-8", newline="\n") as file:
        file.write("HIERARCHY\n" + "\n".join(_joint(0, body.parents, offsets, tips, names, "")))
        file.write(f"\nMOTION\nFrames: {len(frames)}\nFrame Time: {1 / one.fps:.8f}\n")
        np.savetxt(file, frames, fmt="%.5f")


def _angles(rotations: np.ndarray) -> np.ndarray:
    """Angles (N, 24, 3) of ORDER in degrees, without jumps of a whole turn from frame to frame."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Gimbal lock")  # the angles are still those of the rotation
        angles = Rotation.from_matrix(rotations.reshape(-1, 3, 3)).as_euler(ORDER, degrees=True)
    return np.unwrap(angles.reshape(*rotations.shape[:2], 3), period=360, axis=0)


def _depth_first(parents: np.ndarray, joint: int) -> Iterator[int]:
    yield joint
    for child in np.flatnonzero(parents == joint):
        yield from _depth_first(parents, int(child))


def _joint(
    joint: int, parents: np.ndarray, offsets: np.ndarray, tips: dict[int, np.ndarray], names: Sequence[str], indent: str
) -> Iterator[str]:
    """The lines of a joint and of those below it."""
    places = "6 Xposition Yposition Zposition" if joint == 0 else "3"
    yield f"{indent}{'ROOT' if joint == 0 else 'JOINT'} {names[joint]}"
    yield f"{indent}{{"
    yield f"{indent}\tOFFSET {_numbers(offsets[joint])}"
    yield f"{indent}\tCHANNELS {places} {' '.join(f'{axis}rotation' for axis in ORDER)}"
    for child in np.flatnonzero(parents == joint):
        yield from _joint(int(child), parents, offsets, tips, names, indent + "\t")
    if joint in tips:
        yield from (
            f"{indent}\tEnd Site",
            f"{indent}\t{{",
            f"{indent}\t\tOFFSET {_numbers(tips[joint])}",
            f"{indent}\t}}",
        )
    yield f"{indent}}}"


def _numbers(vector: np.ndarray) -> str:
    return " ".join(f"{number:.5f}" for number in vector)
