"""A bundle's body and weights in the memory layout that kernels.py reads."""

from collections import namedtuple

import numpy as np

from refit_rt.body.smpl import JOINTS, Body
from refit_rt.bundle.read import AGAIN, Bundle, Sizes
from refit_rt.errors import UserError
from refit_rt.model.config import KEYPOINTS, LANDMARK_JOINTS, LANDMARKS

# The arrays of a body's markers, of a network's loop, and of the workspace for one person. M markers, F flow, K window
# cells, L local, H hidden, X = L + 3 + 144 + 10 + 3.
BodyArrays = namedtuple(
    "BodyArrays",
    [
        "template",  # (M, 3)
        "shape_dirs",  # (M, 3, 10)
        "pose_dirs",  # (pose features that matter, 3M); the first axis is empty for a body without them
        "pose_columns",  # (pose features that matter,), indices into the 207
        # sparse skinning, as in refit_rt.body.smpl.Skin
        "starts",
        "bones",
        "weights",
        "joint_template",  # (24, 3)
        "joint_shape_dirs",  # (24, 3, 10)
        "parents",  # (24,)
    ],
)
LoopArrays = namedtuple(
    "LoopArrays",
    [
        "flow_weight",  # (M, F, K)
        "flow_bias",  # (M, F)
        "local_weight",  # (L, M * F)
        "local_bias",  # (L,)
        # keypoint feedback, empty for a network without it
        "first_weight",
        "first_bias",
        "last_weight",
        "last_bias",
        "input_weight",  # (26 * 3H, X): head, then gate z r q, then unit; see `halved`
        "input_bias",  # (26 * 3H,)
        "gates_weight",  # (26, H, 2H): z and r from the hidden state, transposed
        "candidate_weight",  # (26, H, H): q, transposed
        "layer_weight",  # (26, H + 3, H), transposed
        "layer_bias",  # (26, H)
        "pose_weight",
        "pose_bias",
        "betas_weight",
        "betas_bias",
        "cam_weight",
        "cam_bias",
        # each landmark is compared with the joint at the same index
        "landmarks",
        "landmark_joints",
        "scale_floor",
        "crop_px",
        "radius",
    ],
)
Work = namedtuple(
    "Work",
    [
        "pose6d",  # (144,)
        "betas",  # (10,)
        "cam",  # (3,)
        "hidden",  # (26, H)
        "rotations",  # (24, 3, 3)
        "joints",  # (24, 3)
        "markers",  # (M, 3)
        "joints_px",  # (24, 2)
        "markers_px",  # (M, 2)
        "before",  # (24, 3, 3), the rotations of the previous iteration
        "rest",  # (24, 3), joints in the rest pose
        "place",  # (24, 3, 4), each joint's transform from the rest pose
        "window",
        "flow",
        "x",
        "products",
        "gates",
        "candidate",
        "bits",
        "layer",
        "keypoint_x",
        "keypoint_y",
    ],
)


def body_arrays(body: Body) -> BodyArrays:
    """Packs a body's joints and markers."""
    skin = body.marker_skin
    assert skin is not None  # load_bundle checks the markers
    markers = len(skin.template)
    pose_dirs = np.zeros((0, 3 * markers), np.float32)
    if skin.pose_dirs is not None:
        pose_dirs = np.ascontiguousarray(skin.pose_dirs.T.reshape(-1, 3 * markers), np.float32)
    return BodyArrays(
        template=skin.template,
        shape_dirs=skin.shape_dirs,
        pose_dirs=pose_dirs,
        pose_columns=skin.pose_columns,
        starts=skin.starts,
        bones=skin.bones,
        weights=skin.weights,
        joint_template=body.joint_template,
        joint_shape_dirs=body.joint_shape_dirs,
        parents=body.parents,
    )


def loop_arrays(bundle: Bundle) -> LoopArrays:
    """The network's weights, transposed and split as the kernels read them. Raises KeyError for a missing array."""
    weights, sizes, scale_floor = bundle.weights, bundle.sizes, bundle.card.scale_floor

    def both(name: str) -> tuple[np.ndarray, np.ndarray]:
        return weights[f"{name}.weight"], weights[f"{name}.bias"]

    nothing = np.zeros((0, 0), np.float32), np.zeros(0, np.float32)
    first = both("feedback.keypoints.first") if sizes.keypoints else nothing
    last = both("feedback.keypoints.last") if sizes.keypoints else nothing
    flow_weight, flow_bias = both("feedback.flow")
    layer_weight, layer_bias = both("regressor.layer")
    input_weight, input_bias = both("update.gru.from_input")
    from_hidden = weights["update.gru.from_hidden"].transpose(0, 2, 1)  # (26, H, 3H)
    size = from_hidden.shape[1]
    return LoopArrays(
        flow_weight,
        flow_bias,
        *both("feedback.local"),
        *first,
        *last,
        halved(input_weight),
        input_bias,
        np.ascontiguousarray(from_hidden[..., : 2 * size]),
        np.ascontiguousarray(from_hidden[..., 2 * size :]),
        np.ascontiguousarray(layer_weight.transpose(0, 2, 1)),
        layer_bias,
        *both("regressor.pose"),
        *both("regressor.betas"),
        *both("regressor.cam"),
        np.array(LANDMARKS),
        np.array(LANDMARK_JOINTS),
        np.float32(-np.inf if scale_floor is None else scale_floor),
        np.float32(sizes.crop_px),
        sizes.radius,
    )


def halved(weight: np.ndarray) -> np.ndarray:
    """The weights as the bits of half-precision numbers if those hold them exactly, as in the shipped bundle; otherwise
    the weights themselves.

    The loop's largest matrix is 4 MB and is read from memory in every iteration: at half the size that takes 48 us
    rather than 75 us.
    """
    with np.errstate(over="ignore"):
        half = weight.astype(np.float16)
    return half.view(np.uint16) if np.array_equal(half.astype(np.float32), weight) else weight


def check_shapes(loop: LoopArrays, bundle: Bundle) -> None:
    """Raises UserError unless the arrays fit one another, because the kernels read them unchecked."""
    sizes = bundle.sizes
    markers, local, heads, hidden, flow = sizes.markers, sizes.local, sizes.heads, sizes.hidden, sizes.flow
    wide = local + 3 + 6 * JOINTS + 10 + 3
    wanted = {
        "flow_weight": (markers, flow, (2 * sizes.radius + 1) ** 2),
        "flow_bias": (markers, flow),
        "local_weight": (local, markers * flow),
        "input_weight": (heads * 3 * hidden, wide),
        "input_bias": (heads * 3 * hidden,),
        "gates_weight": (heads, hidden, 2 * hidden),
        "candidate_weight": (heads, hidden, hidden),
        "layer_weight": (heads, hidden + 3, hidden),
        "layer_bias": (heads, hidden),
        "pose_weight": (JOINTS, 6, hidden),
        "pose_bias": (JOINTS, 6),
        "betas_weight": (10, hidden),
        "betas_bias": (10,),
        "cam_weight": (3, hidden),
        "cam_bias": (3,),
    }
    if len(loop.first_bias):
        inputs = 4 * KEYPOINTS + 2 * JOINTS + 2 * markers + 2 * len(LANDMARKS)
        wanted |= {
            "first_weight": (len(loop.first_bias), inputs),
            "last_weight": (local, len(loop.first_bias)),
            "last_bias": (local,),
        }
    for name, shape in wanted.items():
        found = getattr(loop, name).shape
        if found != shape:
            raise UserError(f"{bundle.path}: loop.safetensors: {name} is {found}, {shape} is needed. {AGAIN}")


def workspace(loop: LoopArrays, sizes: Sizes) -> Work:
    """Scratch memory for one person."""

    def zeros(*shape: int) -> np.ndarray:
        return np.zeros(shape, np.float32)

    heads, markers, hidden = sizes.heads, sizes.markers, sizes.hidden
    return Work(
        pose6d=zeros(6 * JOINTS),
        betas=zeros(10),
        cam=zeros(3),
        hidden=zeros(heads, hidden),
        rotations=zeros(JOINTS, 3, 3),
        joints=zeros(JOINTS, 3),
        markers=zeros(markers, 3),
        joints_px=zeros(JOINTS, 2),
        markers_px=zeros(markers, 2),
        before=zeros(JOINTS, 3, 3),
        rest=zeros(JOINTS, 3),
        place=zeros(JOINTS, 3, 4),
        window=zeros(loop.flow_weight.shape[2]),
        flow=zeros(loop.local_weight.shape[1]),
        x=zeros(loop.input_weight.shape[1]),
        products=zeros(len(loop.input_bias)),
        gates=zeros(2 * hidden),
        candidate=zeros(hidden),
        bits=np.zeros(2 * hidden, np.int32),
        layer=zeros(hidden),
        keypoint_x=zeros(loop.first_weight.shape[1]),
        keypoint_y=zeros(len(loop.first_bias)),
    )
