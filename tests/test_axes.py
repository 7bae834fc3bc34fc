"""The axes of engines: a raised left arm is up, and on the left, in front of a camera that looks at the face."""

from typing import get_args

import numpy as np
import pytest

from refit_rt import config, geometry
from refit_rt.axes import AXES
from refit_rt.body.smpl import load_body

HEAD, L_WRIST, R_WRIST, PELVIS = 15, 20, 21, 0
# Of each target, as its own documentation says: up, where a person who looks along the world's z faces, right-handed.
TARGETS = {
    "gltf": ((0, 1, 0), (0, 0, 1), True),
    "opencv": ((0, -1, 0), (0, 0, -1), True),
    "unity": ((0, 1, 0), (0, 0, 1), False),
    "unreal": ((0, 0, 1), (1, 0, 0), False),
    "blender": ((0, 0, 1), (0, -1, 0), True),
}


def raised() -> tuple[np.ndarray, np.ndarray]:
    """Rotations (24, 3, 3) of a standing person with the left arm up, and the joints (24, 3), metres."""
    pose = np.zeros((24, 3))
    pose[16] = (0, 0, 1.2)  # the left upper arm, about the axis that points to the front
    pose[17] = (0, 0, 1.2)  # the right arm hangs
    rotations = geometry.matrix_from_axis_angle(pose)
    return rotations, load_body().joints(rotations, np.zeros(10)).astype(np.float64)


def test_every_target_is_tested():
    assert tuple(AXES) == tuple(TARGETS) == get_args(config.AxesName)


@pytest.mark.parametrize("name", TARGETS)
def test_a_raised_left_arm_is_up_and_on_the_left(name):
    up, facing, right_handed = (np.array(TARGETS[name][0]), np.array(TARGETS[name][1]), TARGETS[name][2])
    joints = AXES[name].points(raised()[1])
    looks = -facing  # of a camera that stands before the person
    # What lies to the right in the picture: forward x up is right in a right-handed frame, and left in the other.
    right = np.cross(looks, up) if right_handed else np.cross(up, looks)
    arm = joints[L_WRIST] - joints[HEAD]
    metre = AXES[name].units_per_m
    assert arm @ up > 0.2 * metre, "the left wrist is above the head"
    assert arm @ right > 0.1 * metre, "the person's left is to the right in the picture"
    assert (joints[R_WRIST] - joints[HEAD]) @ right < -0.1 * metre
    assert np.linalg.norm(joints[HEAD] - joints[PELVIS]) == pytest.approx(0.57 * metre, abs=0.08 * metre)


@pytest.mark.parametrize("name", TARGETS)
def test_joints_from_turned_rotations_are_the_turned_joints(name):
    axes, body = AXES[name], load_body()
    rotations, joints = raised()
    rotations[0] = geometry.matrix_from_axis_angle(np.array([0.3, -1.0, 0.2]))
    joints = body.joints(rotations, np.zeros(10))
    local = axes.rotations(rotations)
    np.testing.assert_allclose(np.linalg.det(local), 1, atol=1e-9)
    rest = axes.points(body.joint_template)
    turned, found = [], []
    for joint, parent in enumerate(body.parents):
        turned.append(local[joint] if parent < 0 else turned[parent] @ local[joint])
        found.append(rest[joint] if parent < 0 else found[parent] + turned[parent] @ (rest[joint] - rest[parent]))
    np.testing.assert_allclose(found, axes.points(joints), atol=1e-3 * axes.units_per_m)


@pytest.mark.parametrize("name", TARGETS)
def test_quaternions_are_the_same_rotations(name):
    from scipy.spatial.transform import Rotation

    rotations, _ = raised()
    quaternions = AXES[name].quaternions(rotations)
    assert (quaternions[:, 3] >= 0).all()
    np.testing.assert_allclose(Rotation.from_quat(quaternions).as_matrix(), AXES[name].rotations(rotations), atol=1e-9)


def test_a_place_in_unreal_is_in_centimetres():
    np.testing.assert_allclose(AXES["unreal"].points(np.array([1.0, 2.0, 3.0])), [300, -100, 200])
