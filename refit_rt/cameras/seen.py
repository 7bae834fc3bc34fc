"""The bodies of one camera's frame as another camera of the rig sees them."""

from dataclasses import replace

import numpy as np

from refit_rt.cameras.rig import Camera
from refit_rt.geometry import axis_angle_from_matrix, matrix_from_axis_angle, project
from refit_rt.types import People

PELVIS, NECK = 0, 12  # joints of SMPL


def seen_from(people: People, here: Camera, there: Camera) -> People:
    """People in the frame of camera `here` → the same bodies in the frame of camera `there`, in its pixels without
    distortion. `joints_world` and the shapes stay as they are; `box` is that of the joints; `roll` is how the line
    from pelvis to neck leans.

    A body turns about its pelvis at rest, which lies at joints_camera[:, 0] - trans.
    """
    there_from_here = there.camera_from_world @ here.world_from_camera
    turn, shift = there_from_here[:3, :3], there_from_here[:3, 3]
    joints = people.joints_camera @ turn.T + shift
    rest_pelvis = people.joints_camera[:, PELVIS] - people.trans
    poses = people.poses.copy()
    poses[:, 0] = axis_angle_from_matrix(turn @ matrix_from_axis_angle(people.poses[:, 0]))
    joints_px = project(joints, there.focal_px, there.centre_px)
    spine = joints_px[:, NECK] - joints_px[:, PELVIS]
    rows = {
        "poses": poses,
        "trans": joints[:, PELVIS] - rest_pelvis,
        "joints_camera": joints,
        "joints_px": joints_px,
        "box": np.concatenate([joints_px.min(1), joints_px.max(1)], 1),
        "roll": np.arctan2(spine[:, 0], -spine[:, 1]),
    }
    lens = {"size": there.size, "focal_px": there.focal_px, "centre_px": there.centre_px}
    return replace(people, camera=there.name, **{k: v.astype(np.float32) for k, v in rows.items()}, **lens)
