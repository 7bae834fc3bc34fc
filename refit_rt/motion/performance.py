"""One person's motion at even steps, in the world: what every exported file is written from."""

import logging
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from refit_rt import geometry
from refit_rt.body.smpl import Body
from refit_rt.errors import UserError
from refit_rt.motion.npz import Motion
from refit_rt.types import JOINTS

log = logging.getLogger(__name__)

LONG_GAP_S = 0.5  # a person who is away for longer is said to be


@dataclass(frozen=True, slots=True, eq=False)
class Performance:
    """One person from the first to the last moment of a recording. World: y up, metres (geometry.py)."""

    person: int
    fps: float
    rotations: np.ndarray  # (N, 24, 3, 3) each joint relative to its parent; joint 0 in the world
    pelvis: np.ndarray  # (N, 3) metres, world
    betas: np.ndarray  # (10,) one shape for the whole recording
    there: np.ndarray  # (N,) bool: the recording has the person near this moment; elsewhere the pose is held or bridged

    def joints(self, body: Body) -> np.ndarray:
        """The joints (N, 24, 3) of the body, metres, world."""
        rest = body.rest_pelvis(self.betas)
        return np.array(
            [
                body.joints(turns, self.betas) - rest + place
                for turns, place in zip(self.rotations, self.pelvis, strict=True)
            ]
        )


def performances(motion: Motion, body: Body, person: int | None = None, fps: float = 0.0) -> list[Performance]:
    """Every person of a recording, or one, at the same even steps, so that several people stay in step.

    fps: of the result; 0 keeps the recording's. A frame without the person is bridged between those around it. Raises
    UserError for a recording that is empty, is of pictures by themselves or of another body, and for an unknown person.
    """
    if motion.name is not None:
        raise UserError("the recording is of pictures by themselves, which make no motion. Export it with --to csv")
    if not len(motion.frame):
        raise UserError("the recording has nobody in it. Record it again with a person in view")
    if motion.body != body.name:
        raise UserError(
            f"the recording is of the body '{motion.body}', not of '{body.name}'. Give its file with --body"
        )
    people = sorted(set(motion.person.tolist()))
    if person is not None and person not in people:
        raise UserError(f"the recording has no person {person}; it has {', '.join(map(str, people))}")
    fps = fps or motion.fps
    if not fps > 0:
        raise UserError("the recording states no frame rate. Give one with --fps")
    start_s, end_s = float(motion.time_s.min()), float(motion.time_s.max())
    times_s = start_s + np.arange(int((end_s - start_s) * fps + 1e-6) + 1) / fps
    turn = world_from_camera(motion)
    return [_performed(motion, one, times_s, fps, turn) for one in (people if person is None else [person])]


def _performed(motion: Motion, person: int, times_s: np.ndarray, fps: float, turn: np.ndarray) -> Performance:
    rows = np.flatnonzero(motion.person == person)
    rows = rows[np.unique(motion.time_s[rows], return_index=True)[1]]
    own_s = motion.time_s[rows]
    local = geometry.matrix_from_axis_angle(motion.poses[rows].reshape(-1, JOINTS, 3).astype(np.float64))
    local[:, 0] = turn @ local[:, 0]
    pelvis = motion.joints_world[rows, 0].astype(np.float64)
    wanted_s = np.clip(times_s, own_s[0], own_s[-1])
    if len(rows) > 1:
        local = np.stack(
            [Slerp(own_s, Rotation.from_matrix(local[:, joint]))(wanted_s).as_matrix() for joint in range(JOINTS)], 1
        )
        pelvis = np.stack([np.interp(wanted_s, own_s, pelvis[:, axis]) for axis in range(3)], 1)
    else:
        local, pelvis = np.repeat(local, len(times_s), 0), np.repeat(pelvis, len(times_s), 0)
    after = np.clip(np.searchsorted(own_s, times_s), 1, max(len(own_s) - 1, 1))
    nearest = np.minimum(abs(times_s - own_s[after - 1]), abs(times_s - own_s[np.minimum(after, len(own_s) - 1)]))
    step_s = 1 / (motion.fps or fps)
    there = nearest <= max(LONG_GAP_S / 2, step_s)
    if away := int((~there).sum()):
        log.info("person %d: away for %.1f s, in which the pose is held or bridged", person, away / fps)
    betas = np.median(motion.betas[rows], axis=0).astype(np.float64)
    return Performance(person, fps, local, pelvis, betas, there)


def world_from_camera(motion: Motion) -> np.ndarray:
    """The rotation (3, 3) from the camera's frame to the world's, from the joints, which a recording has in both.

    Without a rig it is geometry.WORLD_FROM_CAMERA up to rounding.
    """
    rows = np.linspace(0, len(motion.frame) - 1, min(len(motion.frame), 200)).astype(int)
    camera, world = (
        (joints[rows] - joints[rows].mean(1, keepdims=True)).reshape(-1, 3)
        for joints in (motion.joints_camera.astype(np.float64), motion.joints_world.astype(np.float64))
    )
    return geometry.rotation_between(camera, world)
