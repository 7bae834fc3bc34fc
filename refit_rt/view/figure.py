"""One person in the scene: a skinned mesh, or sticks where the body is not known."""

import time
from typing import TYPE_CHECKING

import numpy as np

from refit_rt.body.smpl import PARENTS, Body
from refit_rt.draw.overlay import COLOURS_BGR
from refit_rt.motion.skeleton import influences
from refit_rt.types import JOINTS
from refit_rt.view.bones import Rest, rest_of, shape_change_m
from refit_rt.view.inside import Bones

if TYPE_CHECKING:
    from viser import MeshSkinnedHandle, SceneApi

SHAPE_M = 0.01  # a surface that is off by more is made anew
SHAPE_EVERY_S = 1.0  # at most: a mesh has 0.7 MB
STILL_M, STILL_TURN = 0.0004, 0.001  # bones that move less are not sent (metres; quaternions: 0.001 is 0.11 degrees)
JOINT_M, STICK_M = 0.035, 0.02
CHILDREN = np.arange(1, JOINTS)


def colour_of(person: int) -> np.ndarray:
    """The colour (3,) uint8 RGB of a person's id, as in overlays."""
    return COLOURS_BGR[person % len(COLOURS_BGR)][::-1].astype(np.uint8)


class Mesh:
    """A skinned mesh, of which only the bones travel while its shape stays.

    It is never taken out of the scene: in viser 1.1, a page becomes blank when a skinned mesh leaves it.
    """

    def __init__(self, scene: "SceneApi", name: str, person: int, body: Body) -> None:
        self._scene, self._name, self._body, self._person = scene, name, body, person
        self.handle: MeshSkinnedHandle | None = None
        self._bones: Bones | None = None
        self._rest: Rest | None = None
        self._made_s = -float("inf")
        self._sent = np.zeros((JOINTS, 3)), np.zeros((JOINTS, 4))

    def show(self, joints: np.ndarray, wxyz: np.ndarray, betas: np.ndarray) -> None:
        """joints (24, 3), metres, and wxyz (24, 4) of the world; betas (10,)."""
        if self._wants_shape(betas):
            self._make(betas)
        handle, bones, (places, turns) = self.handle, self._bones, self._sent
        assert handle is not None
        assert bones is not None
        wxyz = wxyz * np.where((wxyz * turns).sum(1, keepdims=True) < 0, -1.0, 1.0)  # q and -q are one rotation
        moved = np.flatnonzero(np.abs(joints - places).max(1) > STILL_M)
        turned = np.flatnonzero(np.abs(wxyz - turns).max(1) > STILL_TURN)
        places[moved], turns[turned] = joints[moved], wxyz[turned]
        bones.move(moved, places)
        bones.turn(turned, turns)
        handle.visible = True

    def become(self, person: int) -> None:
        """Shows another person from now on."""
        self._person = person
        if self.handle is not None:
            red, green, blue = colour_of(person).tolist()
            self.handle.color = (red, green, blue)

    def hide(self) -> None:
        """Keeps it for later."""
        if self.handle is not None:
            self.handle.visible = False

    def _wants_shape(self, betas: np.ndarray) -> bool:
        if self._rest is None:
            return True
        if time.monotonic() - self._made_s < SHAPE_EVERY_S:
            return False
        return shape_change_m(self._body, self._rest.betas, betas) > SHAPE_M

    def _make(self, betas: np.ndarray) -> None:
        rest = rest_of(self._body, betas)
        joints, weights = influences(self._body)
        skin = np.zeros((len(rest.vertices), JOINTS), np.float32)
        np.put_along_axis(skin, joints, weights.astype(np.float32), 1)
        self._sent = rest.joints.astype(np.float64), np.tile([1.0, 0.0, 0.0, 0.0], (JOINTS, 1))
        self.handle = self._scene.add_mesh_skinned(
            self._name,
            rest.vertices,
            self._body.faces,
            bone_wxyzs=self._sent[1],
            bone_positions=self._sent[0],
            skin_weights=skin,
            color=colour_of(self._person),
        )
        self._bones = Bones(self.handle)
        self._rest, self._made_s = rest, time.monotonic()


class Sticks:
    """Joints, and sticks between them."""

    def __init__(self, scene: "SceneApi", name: str, person: int) -> None:
        colour, points = colour_of(person), np.zeros((JOINTS, 3), np.float32)
        self._root = scene.add_frame(name, show_axes=False)
        self.joints = scene.add_point_cloud(f"{name}/joints", points, colour, point_size=JOINT_M, point_shape="circle")
        self._sticks = scene.add_line_segments(f"{name}/sticks", _pairs(points), colour, thickness=STICK_M)

    def show(self, joints: np.ndarray, wxyz: np.ndarray, betas: np.ndarray) -> None:
        """joints (24, 3), metres, world. The rest is not used."""
        points = joints.astype(np.float32)
        self.joints.points, self._sticks.points = points, _pairs(points)
        self._root.visible = True

    def become(self, person: int) -> None:
        """Shows another person from now on."""
        self.joints.colors = self._sticks.colors = colour_of(person)

    def hide(self) -> None:
        """Keeps them for later."""
        self._root.visible = False


def _pairs(joints: np.ndarray) -> np.ndarray:
    """The ends (23, 2, 3) of the bones between joints (24, 3)."""
    return np.stack([joints[list(PARENTS[1:])], joints[CHILDREN]], axis=1)
