"""The SMPL body model: joints, markers and vertices from a body file, in numpy and numba.

In SMPL (Loper et al. 2015), betas shape the template, pose blend shapes correct it, and linear blend skinning poses it
along a tree of 24 joints. Everything here is in the body frame (y up, facing +z in the T-pose, left is +x), in metres,
without translation: the root joint rotates about itself and stays at its rest position.
"""

import hashlib
import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from refit_rt.compiler import njit
from refit_rt.errors import UserError
from refit_rt.files import ASSETS

JOINT_NAMES: tuple[str, ...] = (
    *("pelvis", "l_hip", "r_hip", "spine1", "l_knee", "r_knee", "spine2", "l_ankle", "r_ankle", "spine3", "l_foot"),
    *("r_foot", "neck", "l_collar", "r_collar", "head", "l_shoulder", "r_shoulder", "l_elbow", "r_elbow", "l_wrist"),
    *("r_wrist", "l_hand", "r_hand"),
)
PARENTS: tuple[int, ...] = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
JOINTS, BETAS, POSE_FEATURES = 24, 10, 207  # 207: nine entries for each of 23 rotations, without the root's
PACKAGED = ASSETS / "body" / "body.npz"


@dataclass(frozen=True, slots=True, eq=False)
class Skin:
    """The data that skin a set of surface points, with the influences packed point after point."""

    template: np.ndarray  # (n, 3) float32 metres
    shape_dirs: np.ndarray  # (n, 3, 10) float32 metres per unit of beta
    pose_dirs: np.ndarray | None  # (n * 3, used pose features) float32 metres; None: the body has none
    pose_columns: np.ndarray  # (used pose features,) int64 index into the 207
    starts: np.ndarray  # (n + 1,) int32: point i has influences starts[i]:starts[i + 1]
    bones: np.ndarray  # (influences,) int32 joint index
    weights: np.ndarray  # (influences,) float32


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """A body file in memory. Rotations are (24, 3, 3), each joint's relative to its parent, as in SMPL."""

    name: str
    template: np.ndarray  # (vertex, 3) float32 metres
    shape_dirs: np.ndarray  # (vertex, 3, 10) float32
    pose_dirs: np.ndarray | None  # (vertex, 3, 207) float32; None: the body has no pose blend shapes
    joint_template: np.ndarray  # (24, 3) float32 metres: the regressor applied to the template
    joint_shape_dirs: np.ndarray  # (24, 3, 10) float32: the regressor applied to the shape blend shapes
    skinning: np.ndarray  # (vertex, 24) float32, each row sums to 1
    faces: np.ndarray  # (face, 3) int32, counter-clockwise seen from outside
    parents: np.ndarray  # (24,) int32, -1 for the root
    markers: np.ndarray | None  # (67,) int32 vertex ids; None: the file holds none
    digest: str  # sha256 of the file
    surface_skin: Skin = field(init=False, repr=False)
    marker_skin: Skin | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        every = np.arange(len(self.template))
        object.__setattr__(self, "surface_skin", _skin(self, every))
        object.__setattr__(self, "marker_skin", None if self.markers is None else _skin(self, self.markers))

    def joints(self, rotations: np.ndarray, betas: np.ndarray) -> np.ndarray:
        """Returns the posed joints (24, 3) float32 metres, body frame. rotations (24, 3, 3), betas (10,)."""
        return joint_transforms(self, rotations, betas)[1].astype(np.float32)

    def rest_pelvis(self, betas: np.ndarray) -> np.ndarray:
        """Returns the point (..., 3) metres that the root rotates about, without translation. betas (..., 10)."""
        return self.joint_template[0] + betas @ self.joint_shape_dirs[0].T

    def vertices(self, rotations: np.ndarray, betas: np.ndarray) -> np.ndarray:
        """Returns the posed surface (vertex, 3) float32 metres, body frame. rotations (24, 3, 3), betas (10,)."""
        return _posed(self, self.surface_skin, rotations, betas, joint_transforms(self, rotations, betas)[0])

    def joints_and_markers(self, rotations: np.ndarray, betas: np.ndarray) -> np.ndarray:
        """Returns the posed joints, then the posed markers, (24 + 67, 3) float64 metres, body frame.

        rotations (24, 3, 3), betas (10,). Raises UserError when the body file holds no markers.
        """
        place_from_rest, joints = joint_transforms(self, rotations, betas)
        return np.concatenate([joints, _posed(self, self._markers_skin(), rotations, betas, place_from_rest)])

    def markers_at(self, rotations: np.ndarray, betas: np.ndarray) -> np.ndarray:
        """Returns the posed markers (67, 3) float32 metres, body frame; it does not pose the other vertices.

        rotations (24, 3, 3), betas (10,). Raises UserError when the body file holds no markers.
        """
        return self.joints_and_markers(rotations, betas)[JOINTS:].astype(np.float32)

    def _markers_skin(self) -> "Skin":
        if self.marker_skin is None:
            raise UserError(f"body '{self.name}' holds no markers. Import it again with refit-rt import-smpl")
        return self.marker_skin


def load_body(path: Path | None = None) -> Body:
    """Reads a body file (.npz); None reads the free body of this package.

    Raises UserError for a file that is missing, unreadable, incomplete or inconsistent.
    """
    path = PACKAGED if path is None else Path(path)
    try:
        blob = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: the body file cannot be read ({error.strerror}). Check its path") from error
    if path.suffix != ".npz":
        raise UserError(f"{path}: is not a body file (.npz). Make one with refit-rt import-smpl {path.name}")
    try:
        with np.load(io.BytesIO(blob), allow_pickle=False) as archive:
            entries = {key: archive[key] for key in archive.files}
    except Exception as error:  # numpy, zipfile and zlib each raise their own error when bytes are missing
        raise UserError(f"{path}: damaged body file ({error}). Import it again with refit-rt import-smpl") from error
    return body_from_arrays(entries, str(path), hashlib.sha256(blob).hexdigest())


def body_from_arrays(entries: dict[str, np.ndarray], place: str, digest: str = "") -> Body:
    """Checks SMPL's arrays under SMPL's names and makes a Body from them.

    Required: v_template (V, 3), shapedirs (V, 3, >=10), J_regressor (24, V), weights (V, 24), f (F, 3), kintree_table
    (2, 24). Optional: posedirs (V, 3, 207), markers (67,) and name. Errors begin with `place`. Raises UserError.
    """
    check_arrays(entries, place)
    template = entries["v_template"].astype(np.float64)
    shape_dirs = entries["shapedirs"][:, :, :BETAS].astype(np.float64)
    regressor = entries["J_regressor"].astype(np.float64)
    pose_dirs = entries.get("posedirs")
    markers = entries.get("markers")
    return Body(
        name=str(entries.get("name", Path(place).stem)),
        template=_frozen(template, np.float32),
        shape_dirs=_frozen(shape_dirs, np.float32),
        pose_dirs=_frozen(pose_dirs, np.float32) if pose_dirs is not None and pose_dirs.any() else None,
        joint_template=_frozen(regressor @ template, np.float32),
        joint_shape_dirs=_frozen(np.einsum("jv,vck->jck", regressor, shape_dirs, optimize=True), np.float32),
        skinning=_frozen(entries["weights"], np.float32),
        faces=_frozen(entries["f"], np.int32),
        parents=_frozen(np.array(PARENTS), np.int32),
        markers=None if markers is None else _frozen(markers, np.int32),
        digest=digest,
    )


def check_arrays(entries: dict[str, np.ndarray], place: str) -> None:
    """Raises UserError unless the arrays make a SMPL body (see `body_from_arrays`)."""
    needed = ("v_template", "shapedirs", "J_regressor", "weights", "f", "kintree_table")
    missing = [key for key in needed if key not in entries]
    if missing:
        raise UserError(f"{place}: not a SMPL body: it lacks {', '.join(missing)}. Use SMPL_NEUTRAL or the free body")
    vertices = entries["v_template"].shape[0] if entries["v_template"].ndim else 0
    shapes = {"v_template": (vertices, 3), "J_regressor": (JOINTS, vertices), "weights": (vertices, JOINTS)}
    betas = entries["shapedirs"].shape[-1] if entries["shapedirs"].ndim else 0
    shapes["shapedirs"] = (vertices, 3, max(BETAS, betas))  # some SMPL files hold 300
    shapes |= {"f": (len(entries["f"]) if entries["f"].ndim else 0, 3), "kintree_table": (2, JOINTS)}
    if "posedirs" in entries:
        shapes["posedirs"] = (vertices, 3, POSE_FEATURES)
    for key, shape in shapes.items():
        if entries[key].shape != shape:
            wrong = f"{key} is {entries[key].shape} where {shape} is needed"
            raise UserError(f"{place}: {wrong}. Use a SMPL body of 24 joints (not SMPL-H, SMPL-X, STAR)")
        if not np.issubdtype(entries[key].dtype, np.number) or not np.isfinite(entries[key]).all():
            raise UserError(f"{place}: {key} holds values that are not finite numbers. Fetch or import the file again")
    if tuple(entries["kintree_table"][0, 1:].astype(np.int64)) != PARENTS[1:]:
        raise UserError(f"{place}: its joints are not SMPL's tree. Use a SMPL body of 24 joints")
    _check_ids(entries["f"], vertices, f"{place}: faces")
    if "markers" in entries:
        if entries["markers"].ndim != 1:
            wrong = f"markers is {entries['markers'].shape} where a list of vertex ids is needed"
            raise UserError(f"{place}: {wrong}. Import it again with refit-rt import-smpl")
        _check_ids(entries["markers"], vertices, f"{place}: marker ids")


def _check_ids(ids: np.ndarray, vertices: int, what: str) -> None:
    if ids.size == 0 or not np.issubdtype(ids.dtype, np.integer) or ids.min() < 0 or ids.max() >= vertices:
        raise UserError(f"{what} do not fit its {vertices} vertices. Import the body again, with its own ids")


def vertices_reference(body: Body, rotations: np.ndarray, betas: np.ndarray) -> np.ndarray:
    """Reference for `Body.vertices`: dense linear blend skinning in float64, as in the SMPL paper. Returns (V, 3)."""
    shaped = body.template + body.shape_dirs.astype(np.float64) @ betas
    rest = body.joint_template + body.joint_shape_dirs.astype(np.float64) @ betas
    if body.pose_dirs is not None:
        shaped = shaped + body.pose_dirs @ (rotations[1:] - np.eye(3)).reshape(POSE_FEATURES)
    world_from_joint = np.zeros((JOINTS, 4, 4))
    for joint, parent in enumerate(body.parents):
        local = np.eye(4)
        local[:3, :3] = rotations[joint]
        local[:3, 3] = rest[joint] - (rest[parent] if parent >= 0 else 0)
        world_from_joint[joint] = world_from_joint[parent] @ local if parent >= 0 else local
    joint_from_rest = np.tile(np.eye(4), (JOINTS, 1, 1))
    joint_from_rest[:, :3, 3] = -rest
    blended = np.einsum("vj,jab->vab", body.skinning, world_from_joint @ joint_from_rest)  # (vertex, 4, 4)
    return np.einsum("vab,vb->va", blended, np.column_stack([shaped, np.ones(len(shaped))]))[:, :3]


def _skin(body: Body, points: np.ndarray) -> Skin:
    """Extracts the data of a body that skin the vertices `points` (n,)."""
    skinning = body.skinning[points]
    rows, bones = np.nonzero(skinning)
    starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(points)))])
    pose_dirs, columns = None, np.zeros(0, np.int64)
    if body.pose_dirs is not None:
        wide = body.pose_dirs[points].reshape(-1, POSE_FEATURES)
        columns = np.flatnonzero(wide.any(0))
        pose_dirs = np.ascontiguousarray(wide[:, columns])
    return Skin(
        template=np.ascontiguousarray(body.template[points]),
        shape_dirs=np.ascontiguousarray(body.shape_dirs[points]),
        pose_dirs=pose_dirs,
        pose_columns=columns,
        starts=starts.astype(np.int32),
        bones=bones.astype(np.int32),
        weights=np.ascontiguousarray(skinning[rows, bones]),
    )


def _posed(body: Body, skin: Skin, rotations: np.ndarray, betas: np.ndarray, place_from_rest: np.ndarray) -> np.ndarray:
    """Shapes and poses the points of `skin`; returns (n, 3) float32 metres. place_from_rest: of `joint_transforms`."""
    rest = skin.template
    if skin.pose_dirs is not None:
        feature = (rotations[1:] - np.eye(3)).reshape(POSE_FEATURES)[skin.pose_columns].astype(np.float32)
        rest = rest + (skin.pose_dirs @ feature).reshape(-1, 3)
    betas = np.ascontiguousarray(betas, np.float32)
    return skin_points(rest, skin.shape_dirs, skin.starts, skin.bones, skin.weights, place_from_rest, betas)


def joint_transforms(body: Body, rotations: np.ndarray, betas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns each joint's transform of rest points (24, 3, 4) float32 and the joints (24, 3) float64."""
    rest = body.joint_template + body.joint_shape_dirs @ np.asarray(betas, np.float64)
    return _chain(np.ascontiguousarray(rotations, np.float64), rest, body.parents)


@njit(nogil=True)
def _chain(rotations, rest, parents):
    """Forward kinematics: rotations (24, 3, 3), rest joints (24, 3) -> (24, 3, 4) float32, joints (24, 3)."""
    count = len(parents)
    turn = np.empty((count, 3, 3))
    joints = np.empty((count, 3))
    place_from_rest = np.empty((count, 3, 4), np.float32)
    for j in range(count):
        p = parents[j]
        for a in range(3):
            if p < 0:
                joints[j, a] = rest[j, a]
                for b in range(3):
                    turn[j, a, b] = rotations[j, a, b]
                continue
            joints[j, a] = joints[p, a]
            for b in range(3):
                joints[j, a] += turn[p, a, b] * (rest[j, b] - rest[p, b])
                total = 0.0
                for c in range(3):
                    total += turn[p, a, c] * rotations[j, c, b]
                turn[j, a, b] = total
        for a in range(3):
            shift = joints[j, a]
            for b in range(3):
                place_from_rest[j, a, b] = turn[j, a, b]
                shift -= turn[j, a, b] * rest[j, b]
            place_from_rest[j, a, 3] = shift
    return place_from_rest, joints


@njit(nogil=True)
def skin_points(rest, shape_dirs, starts, bones, weights, place_from_rest, betas):
    """Shape and linear blend skinning of points (n, 3) with only the influences they have -> (n, 3) float32."""
    out = np.empty_like(rest)
    shaped = np.empty(3, np.float32)
    for v in range(len(rest)):
        for a in range(3):
            shaped[a] = rest[v, a]
            for k in range(len(betas)):
                shaped[a] += shape_dirs[v, a, k] * betas[k]
        x, y, z = np.float32(0), np.float32(0), np.float32(0)
        for i in range(starts[v], starts[v + 1]):
            m, w = place_from_rest[bones[i]], weights[i]
            x += w * (m[0, 0] * shaped[0] + m[0, 1] * shaped[1] + m[0, 2] * shaped[2] + m[0, 3])
            y += w * (m[1, 0] * shaped[0] + m[1, 1] * shaped[1] + m[1, 2] * shaped[2] + m[1, 3])
            z += w * (m[2, 0] * shaped[0] + m[2, 1] * shaped[1] + m[2, 2] * shaped[2] + m[2, 3])
        out[v, 0], out[v, 1], out[v, 2] = x, y, z
    return out


def _frozen(array: np.ndarray, dtype: type) -> np.ndarray:
    """Returns a read-only contiguous copy."""
    copy = np.array(array, dtype, order="C")
    copy.flags.writeable = False
    return copy
