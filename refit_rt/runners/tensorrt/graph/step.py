"""step.onnx, one iteration of the loop: the body of a state, the maps sampled at its markers, the next state.

Inputs: maps (B, M, S, S), hidden (B, 26, H), the state pose6d (B, 144), betas (B, 10), cam (B, 3), view (B, 6: the
square's centre x, y and side, focal_px, principal point x, y), box (B, 3: `box_features` of runners/cpu/loop.py) and,
if the network has them, keypoints (B, 33, 4). Outputs: hidden_next, pose6d_next, betas_next, cam_next. A loop of k
iterations is k runs, each of which takes the outputs of the previous one.

There are three kinds of step: without nodes of trt_plugins, with BatchedGRU, or with Feedback and BatchedGRU. Types are
part of the file, for strongly typed engines: in f16, hidden states, weights and products are float16 (and, with the
Feedback node, the maps too); state, body, projection and sampling positions are always float32, because in float16 a
position in a 256 px crop is up to an eighth of a pixel off.
"""

import numpy as np
import onnx

from refit_rt.body.smpl import BETAS, JOINTS
from refit_rt.bundle.read import Bundle, Sizes
from refit_rt.model.config import HEADS, KEYPOINTS, LANDMARK_JOINTS, LANDMARKS, MAP_STRIDE, RESIDUAL_PX
from refit_rt.runners.plugin_constants import feedback_constants, gru_constants
from refit_rt.runners.tensorrt.graph.body import POSE6D, points_px
from refit_rt.runners.tensorrt.graph.nodes import Nodes, maps_dtype
from refit_rt.runners.tensorrt.graph.writer import Writer

BOX, CAM = 3, 3
DECODED = 10  # numbers per head: ten for the shape; six for a joint and three for the camera, followed by zeros
NO_FLOOR = -1.0  # the plugin's code for a network without a floor of the camera's scale


def step_model(bundle: Bundle, half: bool = False, nodes: Nodes = "none", batch: int = 1) -> onnx.ModelProto:
    """The ONNX model. half: f16 as described above; nodes: which nodes of trt_plugins it holds. Raises UserError."""
    sizes, real = bundle.sizes, np.float16 if half else np.float32
    w, b = Writer(batch), batch
    maps = w.input("maps", (b, sizes.markers, sizes.map_cells, sizes.map_cells), maps_dtype(half, nodes))
    keypoints = w.input("keypoints", (b, KEYPOINTS, 4), np.float32) if sizes.keypoints else None
    hidden = w.input("hidden", (b, HEADS, sizes.hidden), real)
    state = [w.input(n, (b, size), np.float32) for n, size in (("pose6d", POSE6D), ("betas", BETAS), ("cam", CAM))]
    view, box = w.input("view", (b, 6), np.float32), w.input("box", (b, BOX), np.float32)

    if nodes == "both":
        local = feedback_node(w, bundle, sizes, real, maps, keypoints, state, view)
    else:
        joints_px, markers_px = points_px(w, bundle.body, state, view, b, sizes.crop_px)
        local = feedback(w, bundle.weights, sizes, real, maps, keypoints, joints_px, markers_px)
    if nodes == "none":
        hidden = gru(w, bundle.weights, sizes, real, hidden, local, box, state)
        state = moved(w, bundle, sizes, real, hidden, box, state)
    else:
        hidden, *state = gru_node(w, bundle, real, hidden, local, box, state)

    w.output("hidden_next", hidden, (b, HEADS, sizes.hidden), real)
    for name, made, size in zip(("pose6d", "betas", "cam"), state, (POSE6D, BETAS, CAM), strict=True):
        w.output(f"{name}_next", made, (b, size), np.float32)
    return w.model("refit_step")


def feedback_node(
    w: Writer, bundle: Bundle, sizes: Sizes, real: type, maps: str, keypoints: str | None, state: list[str], view: str
) -> str:
    constants = {name: w.weight(name, array) for name, array in feedback_constants(bundle, real).items()}
    names = list(constants.values())
    if keypoints is not None:
        first = list(constants).index("first_weight")
        names.insert(first, keypoints)
    return w.plugin("Feedback", maps, *state, view, *names, crop_px=float(sizes.crop_px), radius=sizes.radius)


def gru_node(w: Writer, bundle: Bundle, real: type, hidden: str, local: str, box: str, state: list[str]) -> list[str]:
    names = [w.weight(name, array) for name, array in gru_constants(bundle, real).items()]
    floor = bundle.card.scale_floor
    return w.plugin(
        "BatchedGRU",
        hidden,
        local,
        box,
        *state,
        *names,
        outputs=4,
        scale_floor=NO_FLOOR if floor is None else float(floor),
    )


def feedback(
    w: Writer,
    weights: dict[str, np.ndarray],
    sizes: Sizes,
    real: type,
    maps: str,
    keypoints: str | None,
    joints_px: str,
    markers_px: str,
) -> str:
    """The local features (B, L), as in refit_rt/model/feedback.py."""
    b, m, side = w.batch, sizes.markers, sizes.map_cells
    steps = np.arange(-sizes.radius, sizes.radius + 1, dtype=np.float32)
    offsets = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(1, 1, -1, 2)  # x is the slow index
    cells = offsets.shape[2]
    per_cell = 2 / (side - 1)  # -1 and 1 are the centres of the first and the last cell
    grid = w.op("Mul", w.reshape(markers_px, b, m, 1, 2), np.array([per_cell / MAP_STRIDE], np.float32))
    grid = w.op("Add", grid, (offsets * per_cell - 1).astype(np.float32))
    seen = w.op(
        "GridSample",
        w.reshape(maps, b * m, 1, side, side),
        w.reshape(grid, b * m, 1, cells, 2),
        mode="bilinear",
        padding_mode="zeros",
        align_corners=1,
    )
    windows = w.cast(w.reshape(seen, b, m, 1, cells), real)
    weight, bias = weights["feedback.flow.weight"], weights["feedback.flow.bias"]
    flow = w.linear(windows, weight.transpose(0, 2, 1).astype(real), bias[:, None].astype(real))
    flow = w.reshape(flow, b, bias.size)
    local = dense(w, weights, "feedback.local", real, flow)
    if keypoints is None:
        return local
    return w.op("Add", local, keypoint_feedback(w, weights, sizes, real, keypoints, joints_px, markers_px))


def keypoint_feedback(
    w: Writer,
    weights: dict[str, np.ndarray],
    sizes: Sizes,
    real: type,
    keypoints: str,
    joints_px: str,
    markers_px: str,
) -> str:
    """The backbone's landmarks against the projected body: a term (B, L) of the local features."""
    b, to_unit = w.batch, np.array([2 / sizes.crop_px], np.float32)
    one = np.array([1], np.float32)
    xy, depth, visible = w.split(keypoints, 2, 1, 1, axis=2)
    parts = [
        w.reshape(w.op("Sub", w.op("Mul", xy, to_unit), one), b, 2 * KEYPOINTS),
        w.reshape(w.op("Mul", depth, to_unit), b, KEYPOINTS),
        w.reshape(visible, b, KEYPOINTS),
    ]
    for points, count in ((joints_px, JOINTS), (markers_px, sizes.markers)):
        place = w.op("Sub", w.op("Mul", points, to_unit), one)
        parts.append(w.reshape(clipped(w, place, 3), b, 2 * count))
    landmarks = w.op("Gather", xy, np.array(LANDMARKS), axis=1)
    apart = w.op("Sub", landmarks, w.op("Gather", joints_px, np.array(LANDMARK_JOINTS), axis=1))
    residual = clipped(w, w.op("Mul", apart, np.array([1 / RESIDUAL_PX], np.float32)), 4)
    weighted = w.op("Mul", residual, w.op("Gather", visible, np.array(LANDMARKS), axis=1))
    parts.append(w.reshape(weighted, b, 2 * len(LANDMARKS)))
    x = w.cast(w.concat(*parts, axis=1), real)
    x = w.op("Relu", dense(w, weights, "feedback.keypoints.first", real, x))
    return dense(w, weights, "feedback.keypoints.last", real, x)


def clipped(w: Writer, x: str, most: float) -> str:
    return w.op("Clip", x, np.array(-most, np.float32), np.array(most, np.float32))


def dense(w: Writer, weights: dict[str, np.ndarray], name: str, real: type, x: str) -> str:
    return w.linear(x, weights[f"{name}.weight"].T.astype(real), weights[f"{name}.bias"].astype(real))


def gru(
    w: Writer,
    weights: dict[str, np.ndarray],
    sizes: Sizes,
    real: type,
    hidden: str,
    local: str,
    box: str,
    state: list[str],
) -> str:
    """The GRUs of refit_rt/model/update.py → hidden states (B, 26, H): one product for the shared input, two for the
    heads' own states."""
    b, h = w.batch, sizes.hidden
    x = w.concat(local, w.cast(w.concat(box, *state, axis=1), real), axis=1)
    shared = w.reshape(dense(w, weights, "update.gru.from_input", real, x), b, HEADS, 1, 3 * h)
    gates, candidate = w.split(shared, 2 * h, h, axis=3)
    own = weights["update.gru.from_hidden"].transpose(0, 2, 1).astype(real)  # (26, H, 3H)
    before = w.reshape(hidden, b, HEADS, 1, h)
    gates = w.op("Sigmoid", w.op("Add", gates, w.op("MatMul", before, own[..., : 2 * h])))
    z, r = w.split(gates, h, h, axis=3)
    reset = w.op("MatMul", w.op("Mul", r, before), own[..., 2 * h :])
    q = w.op("Tanh", w.op("Add", candidate, reset))
    after = w.op("Add", before, w.op("Mul", z, w.op("Sub", q, before)))
    return w.reshape(after, b, HEADS, h)


def moved(w: Writer, bundle: Bundle, sizes: Sizes, real: type, hidden: str, box: str, state: list[str]) -> list[str]:
    """The state plus the regressor's changes. Every head decodes ten numbers, of which it uses the first few."""
    b, h, weights = w.batch, sizes.hidden, bundle.weights
    everywhere = w.op("Expand", w.reshape(w.cast(box, real), b, 1, 1, BOX), np.array([b, HEADS, 1, BOX], np.int64))
    x = w.concat(w.reshape(hidden, b, HEADS, 1, h), everywhere, axis=3)
    weight, bias = weights["regressor.layer.weight"], weights["regressor.layer.bias"]
    x = w.op("Relu", w.linear(x, weight.transpose(0, 2, 1).astype(real), bias[:, None].astype(real)))
    decoder, offset = np.zeros((HEADS, h, DECODED), real), np.zeros((HEADS, 1, DECODED), real)
    for rows, name, count in ((slice(JOINTS), "pose", 6), (JOINTS, "betas", BETAS), (JOINTS + 1, "cam", CAM)):
        decoder[rows, :, :count] = np.swapaxes(weights[f"regressor.{name}.weight"], -1, -2)
        offset[rows, 0, :count] = weights[f"regressor.{name}.bias"]
    change = w.cast(w.reshape(w.linear(x, decoder, offset), b, HEADS, DECODED), np.float32)
    joints, shape, camera = w.split(change, JOINTS, 1, 1, axis=1)
    changes = [
        w.reshape(w.cut(joints, 0, 6, 2), b, POSE6D),
        w.reshape(shape, b, BETAS),
        w.reshape(w.cut(camera, 0, CAM, 2), b, CAM),
    ]
    pose6d, betas, cam = (w.op("Add", old, new) for old, new in zip(state, changes, strict=True))
    if bundle.card.scale_floor is not None:
        lowest = np.array([bundle.card.scale_floor, np.finfo(np.float32).min, np.finfo(np.float32).min], np.float32)
        cam = w.op("Max", cam, lowest)
    return [pose6d, betas, cam]
