"""The points in label files (SMPL's 24 joints, OpenPose's 25, SPIN's 24), and where they lie on a body."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from refit_rt.body import smpl as smpl
from refit_rt.body.smpl import Body
from refit_rt.errors import UserError
from refit_rt.model.body import BodyTorch

OPENPOSE = (
    *("nose", "neck", "r_shoulder", "r_elbow", "r_wrist", "l_shoulder", "l_elbow", "l_wrist", "mid_hip", "r_hip"),
    *("r_knee", "r_ankle", "l_hip", "l_knee", "l_ankle", "r_eye", "l_eye", "r_ear", "l_ear"),
    *("l_big_toe", "l_small_toe", "l_heel", "r_big_toe", "r_small_toe", "r_heel"),
)
SPIN = (  # the union of LSP, MPII, Human3.6M and COCO in SPIN's order (`part`, `S`)
    *("r_ankle", "r_knee", "r_hip", "l_hip", "l_knee", "l_ankle", "r_wrist", "r_elbow", "r_shoulder", "l_shoulder"),
    *("l_elbow", "l_wrist", "neck", "head_top", "pelvis", "thorax", "spine", "jaw", "head", "nose"),
    *("l_eye", "r_eye", "l_ear", "r_ear"),
)
GROUPS = {"smpl": smpl.JOINT_NAMES, "op": OPENPOSE, "spin": SPIN}
NAMES = tuple(f"{group}_{name}" for group, names in GROUPS.items() for name in names)
COUNT = len(NAMES)  # 73
SMPL_PART, OPENPOSE_PART, SPIN_PART = slice(0, 24), slice(24, 49), slice(49, 73)
# OpenPose's model of 18 points, as in 3DPW's poses2d, among its 25: the larger one adds the middle of the hips.
OPENPOSE_18 = np.array([0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18])
SPIN_HIPS = (49 + 2, 49 + 3)

# Which of those are joints of SMPL (SPIN, `JOINT_MAP`): LSP's hips, neck and head lie elsewhere.
SAME = {"neck": "neck", "mid_hip": "pelvis", "r_hip": "r_hip", "l_hip": "l_hip"}
SAME |= {f"{s}_{limb}": f"{s}_{limb}" for s in "lr" for limb in ("shoulder", "elbow", "wrist", "knee", "ankle")}
# Vertices of SMPL's own mesh for face and feet, as the smplx package picks them.
VERTICES = {
    "nose": 332,
    "r_eye": 6260,
    "l_eye": 2800,
    "r_ear": 4071,
    "l_ear": 583,
    "l_big_toe": 3216,
    "l_small_toe": 3226,
    "l_heel": 3387,
    "r_big_toe": 6617,
    "r_small_toe": 6624,
    "r_heel": 6787,
}
# Rows of SPIN's data/J_regressor_extra.npy (9, 6890).
EXTRA = ("r_hip", "l_hip", "neck", "head_top", "pelvis", "thorax", "spine", "jaw", "head")
SMPL_VERTICES = 6890


def _mirror() -> np.ndarray:
    other = {"l": "r", "r": "l"}

    def twin(name: str) -> str:
        group, rest = name.split("_", 1)
        side, _, limb = rest.partition("_")
        return f"{group}_{other[side]}_{limb}" if side in other and limb else name

    return np.array([NAMES.index(twin(name)) for name in NAMES])


MIRROR = _mirror()  # (73,) the point that each becomes when mirrored


def points_73(count: int, width: int, **parts: np.ndarray | None) -> np.ndarray:
    """Joins parts into (count, 73, width), zeros elsewhere. Parts: smpl (count, 24, width), openpose (count, 25, width)
    and spin (count, 24, width). `width` is 3 in pictures (x, y, confidence) and 4 in space.
    """
    points = np.zeros((count, COUNT, width), np.float32)
    for name, where in (("smpl", SMPL_PART), ("openpose", OPENPOSE_PART), ("spin", SPIN_PART)):
        if parts.get(name) is not None:
            points[:, where] = parts[name]
    return points


class Keypoints(nn.Module):
    """Computes the points of a posed body, as many of the 73 as it has. Holds no weights.

    SMPL's own mesh (6890 vertices) has face and feet; with SPIN's J_regressor_extra.npy also LSP's hips, neck and head.
    Other bodies have only the points that are joints.
    """

    known: Tensor

    def __init__(self, body: Body, extra: Path | None = None) -> None:
        """extra is SPIN's J_regressor_extra.npy. Raises UserError when it does not fit the body."""
        super().__init__()
        from_joints = np.zeros((COUNT, 24), np.float32)
        from_vertices = np.zeros((COUNT, len(body.template)), np.float32)
        rows = {} if extra is None else dict(zip(EXTRA, read_regressor(extra, len(EXTRA), body), strict=True))
        for point, name in enumerate(NAMES):
            group, place = name.split("_", 1)
            if group == "smpl":
                from_joints[point, smpl.JOINT_NAMES.index(place)] = 1
            elif group == "spin" and place in rows:
                from_vertices[point] = rows[place]
            elif place in SAME and (group == "op" or place not in EXTRA):
                from_joints[point, smpl.JOINT_NAMES.index(SAME[place])] = 1
            elif place in VERTICES and len(body.template) == SMPL_VERTICES:
                from_vertices[point, VERTICES[place]] = 1
        used = np.flatnonzero(from_vertices.any(0))
        used = used if len(used) else np.zeros(1, np.int64)
        self._body = BodyTorch(body, used)
        self._keep("from_joints", from_joints)
        self._keep("from_vertices", from_vertices[:, used])
        self._keep("known", np.asarray(from_joints.any(1) | from_vertices.any(1), np.float32))

    def _keep(self, name: str, array: np.ndarray) -> None:
        self.register_buffer(name, torch.from_numpy(array), persistent=False)

    def forward(self, rotations: Tensor, betas: Tensor) -> Tensor:
        """(B, 24, 3, 3), (B, 10) → (B, 73, 3) metres before the translation; `known` (73,) marks the points it has."""
        joints, vertices = self._body(rotations, betas)
        return self.get_buffer("from_joints") @ joints + self.get_buffer("from_vertices") @ vertices


def read_regressor(path: Path, rows: int, body: Body) -> np.ndarray:
    """Reads a .npy matrix (rows, vertices of the body) float32. Raises UserError."""
    try:
        matrix = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a joint regressor ({error}). Give a .npy file from SPIN's data folder") from error
    wanted = (rows, len(body.template))
    if not isinstance(matrix, np.ndarray) or matrix.shape != wanted:
        raise UserError(
            f"{path}: its shape is {getattr(matrix, 'shape', None)}, but the body '{body.name}' needs {wanted}. "
            "Use it with SMPL's own mesh: refit-rt import-smpl"
        )
    return matrix.astype(np.float32)


class Losses(NamedTuple):
    """The keypoint losses of a batch, scalars; zero where no row has labels."""

    pixels: Tensor  # mean square, the crop's half side as unit
    metres: Tensor  # mean square


def keypoint_losses(
    points: Tensor, points_px: Tensor, labels_2d: Tensor, labels_3d: Tensor, known: Tensor, crop_px: int = 256
) -> Losses:
    """ReFit's keypoint losses (after SPIN): squared errors weighted by confidence, without OpenPose's detections.

    points (B, 73, 3) metres and points_px (B, 73, 2) of the estimate; labels_2d (B, 73, 3) crop px and confidence,
    labels_3d (B, 73, 4) metres and confidence; known (73,) of `Keypoints`. In space, the origin is the
    middle of SPIN's hips where a row and the body have them, else the mean of the points both have. The scale is
    SPIN's: the picture's loss is divided by all 49 points, the spatial one by 24 and by the rows that have any.
    """
    used = known.clone()
    used[OPENPOSE_PART] = 0
    sure = labels_2d[..., 2:] * used[:, None]
    # A point beside the lens projects anywhere: its gradient is meaningless.
    off = ((points_px - labels_2d[..., :2]) * (2 / crop_px)).clamp(-4, 4)
    pixels = (sure * off.square()).sum() / (len(points) * 49 * 2)
    sure = labels_3d[..., 3:] * used[:, None]
    off = rooted(points, sure) - rooted(labels_3d[..., :3], sure)
    rows = (sure > 0).any(1).sum().clamp(min=1)
    return Losses(pixels, (sure * off.square()).sum() / (rows * 24 * 3))


def rooted(points: Tensor, sure: Tensor) -> Tensor:
    """Points (B, 73, 3) about the middle of SPIN's hips where `sure` (B, 73, 1) marks both, else about the mean of the
    marked points."""
    hips = sure[:, SPIN_HIPS, :]
    both = (hips > 0).all(1, keepdim=True)
    mean = (points * sure).sum(1, keepdim=True) / sure.sum(1, keepdim=True).clamp(min=1e-6)
    return points - torch.where(both, points[:, SPIN_HIPS].mean(1, keepdim=True), mean)
