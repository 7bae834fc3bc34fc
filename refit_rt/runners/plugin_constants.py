"""A bundle's body and weights in the layout that the CUDA kernels read; `trt_plugins/README.md` has the tables."""

import numpy as np

from refit_rt.body.smpl import JOINTS, Body
from refit_rt.bundle.read import AGAIN, Bundle
from refit_rt.errors import UserError

GRU_NAMES = {
    "w_input": "update.gru.from_input.weight",
    "b_input": "update.gru.from_input.bias",
    "w_hidden": "update.gru.from_hidden",
    "w_layer": "regressor.layer.weight",
    "b_layer": "regressor.layer.bias",
    "w_pose": "regressor.pose.weight",
    "b_pose": "regressor.pose.bias",
    "w_betas": "regressor.betas.weight",
    "b_betas": "regressor.betas.bias",
    "w_cam": "regressor.cam.weight",
    "b_cam": "regressor.cam.bias",
}
FEEDBACK_NAMES = {
    "flow_weight": "feedback.flow.weight",
    "flow_bias": "feedback.flow.bias",
    "local_weight": "feedback.local.weight",
    "local_bias": "feedback.local.bias",
}
KEYPOINT_NAMES = {
    "first_weight": "feedback.keypoints.first.weight",
    "first_bias": "feedback.keypoints.first.bias",
    "last_weight": "feedback.keypoints.last.weight",
    "last_bias": "feedback.keypoints.last.bias",
}


def gru_constants(bundle: Bundle, dtype: type = np.float16) -> dict[str, np.ndarray]:
    """Inputs 6..16 of the node BatchedGRU, in order. dtype: float16 or float32. Raises UserError."""
    return {name: np.ascontiguousarray(_weight(bundle, theirs), dtype) for name, theirs in GRU_NAMES.items()}


def feedback_constants(bundle: Bundle, dtype: type = np.float16) -> dict[str, np.ndarray]:
    """Inputs 5..13 of the node Feedback, then 15..18 with keypoint feedback, in order. Raises UserError."""
    names = FEEDBACK_NAMES | (KEYPOINT_NAMES if bundle.sizes.keypoints else {})
    arrays = {name: _weight(bundle, theirs) for name, theirs in names.items()}
    rows = {name: padded(array) if name.endswith("weight") else array for name, array in arrays.items()}
    return body_constants(bundle.body) | {name: array.astype(dtype) for name, array in rows.items()}


def body_constants(body: Body) -> dict[str, np.ndarray]:
    """Inputs 5..9 of the node Feedback: the body at joints and markers. Raises UserError for a body without markers."""
    skin = body.marker_skin
    if skin is None or body.markers is None:
        raise UserError(f"body '{body.name}' has no markers. Import it again: refit-rt import-smpl")
    pose_dirs, columns = np.zeros((1, skin.template.size), np.float32), np.zeros(1, np.int32)
    if skin.pose_dirs is not None and len(skin.pose_columns):
        pose_dirs, columns = skin.pose_dirs.T, skin.pose_columns.astype(np.int32)
    rows = [skin.template.reshape(1, -1), skin.shape_dirs.reshape(skin.template.size, -1).T, pose_dirs]
    joint_rows = [body.joint_template.reshape(1, -1), body.joint_shape_dirs.reshape(3 * JOINTS, -1).T]
    return {
        "joint_blend": np.ascontiguousarray(np.concatenate(joint_rows), np.float32),
        "parents": np.ascontiguousarray(body.parents, np.int32),
        "blend": padded(np.concatenate(rows), 4).astype(np.float32),
        "pose_columns": columns,
        "skinning": np.ascontiguousarray(body.skinning[body.markers], np.float32),
    }


def padded(array: np.ndarray, multiple: int = 8) -> np.ndarray:
    """Pads the last axis with zeros to a multiple, so that 16 aligned bytes can be read at the start of every row."""
    short = -array.shape[-1] % multiple
    return np.ascontiguousarray(np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, short)]))


def _weight(bundle: Bundle, name: str) -> np.ndarray:
    if name not in bundle.weights:
        raise UserError(f"{bundle.path}: loop.safetensors lacks '{name}'. {AGAIN}")
    return bundle.weights[name]
