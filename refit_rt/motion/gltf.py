"""Writes people's motion as binary glTF 2.0 (.glb): for each person the skinned body, and one animation of them all.

The file is what the specification asks for and nothing else: nodes for the joints at rest, a skin, a mesh with four
influences per vertex, and the rotation of each joint and the place of the pelvis as linear key frames.
"""

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from refit_rt.body.smpl import Body
from refit_rt.files import write_whole
from refit_rt.motion import skeleton
from refit_rt.motion.performance import Performance
from refit_rt.types import JOINTS

FLOAT, USHORT, UINT = 5126, 5123, 5125
ARRAY, ELEMENTS = 34962, 34963  # what a buffer view is for
KINDS = {(): "SCALAR", (3,): "VEC3", (4,): "VEC4", (4, 4): "MAT4"}
COLOURS = ((0.80, 0.62, 0.48), (0.45, 0.62, 0.82), (0.60, 0.76, 0.50), (0.82, 0.58, 0.72), (0.85, 0.78, 0.45))


def write_glb(path: Path, people: Sequence[Performance], body: Body, names: Sequence[str]) -> None:
    """Writes the file. names: of the 24 joints. Raises UserError when it cannot be written."""
    scene = Scene()
    for one in people:
        scene.add(one, body, names)
    with write_whole(path) as part:
        part.write_bytes(scene.bytes())


class Scene:
    """The parts of a glTF file as they are collected."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._views: list[dict[str, Any]] = []
        self._accessors: list[dict[str, Any]] = []
        self._nodes: list[dict[str, Any]] = []
        self._roots: list[int] = []
        self._meshes: list[dict[str, Any]] = []
        self._skins: list[dict[str, Any]] = []
        self._materials: list[dict[str, Any]] = []
        self._channels: list[dict[str, Any]] = []
        self._samplers: list[dict[str, Any]] = []

    def add(self, one: Performance, body: Body, names: Sequence[str]) -> None:
        """Adds a person: a node of the joints, and beside it one of the skinned body."""
        first, person = len(self._nodes), f"person_{one.person}"
        for joint, offset in enumerate(skeleton.offsets(body, one.betas)):
            node: dict[str, Any] = {"name": names[joint], "translation": offset.tolist()}
            if children := np.flatnonzero(body.parents == joint).tolist():
                node["children"] = [first + child for child in children]
            self._nodes.append(node)
        self._nodes[first]["translation"] = one.pelvis[0].tolist()
        self._roots.append(len(self._nodes))
        self._nodes.append({"name": person, "children": [first]})
        self._mesh(one, body, person)
        self._skin(first, one, body, person)
        self._roots.append(len(self._nodes))
        self._nodes.append({"name": f"{person}_body", "mesh": len(self._meshes) - 1, "skin": len(self._skins) - 1})
        self._animate(first, one)

    def bytes(self) -> bytes:
        """The whole file."""
        document = {
            "asset": {"version": "2.0", "generator": "refit_rt"},
            "scene": 0,
            "scenes": [{"nodes": self._roots}],
            "nodes": self._nodes,
            "meshes": self._meshes,
            "skins": self._skins,
            "materials": self._materials,
            "animations": [{"name": "motion", "channels": self._channels, "samplers": self._samplers}],
            "accessors": self._accessors,
            "bufferViews": self._views,
            "buffers": [{"byteLength": len(self._data)}],
        }
        text = json.dumps(document, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(self._data), b"BIN\0")
        return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks) + len(self._data)) + chunks + self._data

    def _mesh(self, one: Performance, body: Body, person: str) -> None:
        surface = body.template + body.shape_dirs @ one.betas - body.rest_pelvis(one.betas)
        bones, weights = skeleton.influences(body)
        attributes = {
            "POSITION": self._accessor(surface.astype("<f4"), FLOAT, ARRAY, bounds=True),
            "NORMAL": self._accessor(normals(surface, body.faces).astype("<f4"), FLOAT, ARRAY),
            "JOINTS_0": self._accessor(np.where(weights > 0, bones, 0).astype("<u2"), USHORT, ARRAY),
            "WEIGHTS_0": self._accessor(weights.astype("<f4"), FLOAT, ARRAY),
        }
        faces = self._accessor(body.faces.reshape(-1).astype("<u4"), UINT, ELEMENTS)
        colour = [*COLOURS[len(self._materials) % len(COLOURS)], 1.0]
        self._materials.append(
            {
                "name": person,
                "pbrMetallicRoughness": {"baseColorFactor": colour, "metallicFactor": 0.0, "roughnessFactor": 0.8},
            }
        )
        primitive = {"attributes": attributes, "indices": faces, "material": len(self._materials) - 1}
        self._meshes.append({"name": person, "primitives": [primitive]})

    def _skin(self, first: int, one: Performance, body: Body, person: str) -> None:
        inverse = np.tile(np.eye(4), (JOINTS, 1, 1))
        inverse[:, :3, 3] = -skeleton.rest_joints(body, one.betas)
        matrices = self._accessor(inverse.transpose(0, 2, 1).astype("<f4"), FLOAT)  # column-major
        joints = list(range(first, first + JOINTS))
        self._skins.append({"name": person, "inverseBindMatrices": matrices, "joints": joints, "skeleton": first})

    def _animate(self, first: int, one: Performance) -> None:
        times = self._accessor((np.arange(len(one.pelvis)) / one.fps).astype("<f4"), FLOAT, bounds=True)
        self._channel(first, "translation", times, one.pelvis)
        for joint in range(JOINTS):
            quaternions = Rotation.from_matrix(one.rotations[:, joint]).as_quat()
            turned = np.cumsum(np.r_[False, (quaternions[1:] * quaternions[:-1]).sum(1) < 0]) % 2 == 1
            quaternions[turned] *= -1  # the short way round between two key frames
            self._channel(first + joint, "rotation", times, quaternions)

    def _channel(self, node: int, path: str, times: int, values: np.ndarray) -> None:
        sampler = {"input": times, "output": self._accessor(values.astype("<f4"), FLOAT), "interpolation": "LINEAR"}
        self._channels.append({"sampler": len(self._samplers), "target": {"node": node, "path": path}})
        self._samplers.append(sampler)

    def _accessor(self, array: np.ndarray, code: int, target: int = 0, bounds: bool = False) -> int:
        """Adds an array (count, …) and returns its index."""
        view = {"buffer": 0, "byteOffset": len(self._data), "byteLength": array.nbytes}
        if target:
            view["target"] = target
        self._data += array.tobytes() + b"\0" * (-array.nbytes % 4)
        accessor = {
            "bufferView": len(self._views),
            "componentType": code,
            "count": len(array),
            "type": KINDS[array.shape[1:]],
        }
        if bounds:
            flat = array.reshape(len(array), -1)
            accessor |= {"min": flat.min(0).tolist(), "max": flat.max(0).tolist()}
        self._views.append(view)
        self._accessors.append(accessor)
        return len(self._accessors) - 1


def normals(surface: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals (n, 3) of the vertices, weighted by the areas of the faces around them."""
    corners = surface[faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = np.zeros_like(surface)
    for corner in range(3):
        np.add.at(total, faces[:, corner], across)
    lengths = np.linalg.norm(total, axis=1, keepdims=True)
    return np.where(lengths > 0, total / np.maximum(lengths, 1e-12), [0.0, 1.0, 0.0])
