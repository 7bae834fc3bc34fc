"""A bundle's body and weights, laid out in memory as kernels.py wants them."""

from collections import namedtuple

import numpy as np

from refit_rt.body.smpl import JOINTS, Body
from refit_rt.bundle.read import Bundle, Sizes
from refit_rt.errors import UserError
from refit_rt.model.config import KEYPOINTS, LANDMARK_JOINTS, LANDMARKS

# Arrays of a body's markers, of a network's loop, of one person at work. M markers, F flow, K window cells,
# L local, H hidden, X = L + 3 + 144 + 10 + 3.
BodyArrays = namedtuple(
    "BodyArrays",
    [
        "template",  # (M, 3)
        "shape_dirs",  # (M, 3, 10)
        "pose_dirs",  # (pose features that matter, 3M), the first axis empty for a body without
        "pose_columns",  # (pose features that matter,) into the 207
        "starts",
        "bones",
        "weights",  # sparse skinning, as in refit_rt.body.smpl.Skin
        "joint_template",  # (24, 3)
        "joint_shape_dirs",  # (24, 3, 10)
        "parents",  # (24,)
    ],
)
LoopArrays = namedtuple(
    "LoopArrays",
    [
        "flow_weight",
        "flow_bias",  # (M, F, K), (M, F)
        "local_weight",
        "local_bias",  # (L, M * F), (L,)
        "first_weight",
        "first_bias",
        "last_weight",
        "last_bias",  # keypoint feedback, empty without
        "input_weight",
        "input_bias",  # (26 * 3H, X): head, then gate z r q, then unit; see `halved`
        "gates_weight",  # (26, H, 2H): z and r from the hidden state, transposed
        "candidate_weight",  # (26, H, H): q, transposed
        "layer_weight",
        "layer_bias",  # (26, H + 3, H) transposed, (26, H)
        "pose_weight",
        "pose_bias",
        "betas_weight",
        "betas_bias",
        "cam_weight",
        "cam_bias",
        "landmarks",
        "landmark_joints",  # which landmark is held against which joint
        "scale_floor",
        "crop_px",
        "radius",
    ],
)
Work = namedtuple(
    "Work",
    [
        "pose6d",
        "betas",
        "cam",
        "hidden",  # (144,), (10,), (3,), (26, H)
        "rotations",
        "joints",
        "markers",
        "joints_px",
        "markers_px",
        "before",
        "rest",
        "place",  # (24, 3, 3), (24, 3), (24, 3, 4)
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
    """A body's markers, packed."""
    skin = body.marker_skin
    assert skin is not None  # load_bundle has checked the markers
    markers = len(skin.template)
    wide = np.zeros((0, 3 * markers), np.float32)
    if skin.pose_dirs is not None:
        wide = np.ascontiguousarray(skin.pose_dirs.T.reshape(-1, 3 * markers), np.float32)
    return BodyArrays(
        skin.template,
        skin.shape_dirs,
        wide,
        skin.pose_columns,
        skin.starts,
        skin.bones,
        skin.weights,
        body.joint_template,
        body.joint_shape_dirs,
        body.parents,
    )


def loop_arrays(bundle: Bundle) -> LoopArrays:
    """The torch network's arrays, transposed and split as the kernels want them. Raises KeyError for one missing."""
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
    """The bits of half-precision numbers where those hold the weights exactly, as the shipped bundle's; else as given.

    The loop's largest matrix is 4 MB and is read from memory in every iteration: half of it takes 48 us instead of 75.
    """
    with np.errstate(over="ignore"):
        half = weight.astype(np.float16)
    return half.view(np.uint16) if np.array_equal(half.astype(np.float32), weight) else weight


def check_shapes(loop: LoopArrays, bundle: Bundle) -> None:
    """Raises UserError unless the arrays fit one another: the kernels read them unchecked."""
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
            raise UserError(f"{bundle.path}: loop.safetensors: {name} is {found}, {shape} is needed. Export it again")


def workspace(loop: LoopArrays, sizes: Sizes) -> Work:
    """Room for one person."""

    def room(*shape: int) -> np.ndarray:
        return np.zeros(shape, np.float32)

    heads, markers, hidden = sizes.heads, sizes.markers, sizes.hidden
    return Work(
        room(6 * JOINTS),
        room(10),
        room(3),
        room(heads, hidden),
        room(JOINTS, 3, 3),
        room(JOINTS, 3),
        room(markers, 3),
        room(JOINTS, 2),
        room(markers, 2),
        room(JOINTS, 3, 3),
        room(JOINTS, 3),
        room(JOINTS, 3, 4),
        room(loop.flow_weight.shape[2]),
        room(loop.local_weight.shape[1]),
        room(loop.input_weight.shape[1]),
        room(len(loop.input_bias)),
        room(2 * hidden),
        room(hidden),
        np.zeros(2 * hidden, np.int32),
        room(hidden),
        room(loop.first_weight.shape[1]),
        room(len(loop.first_bias)),
    )
