"""step.onnx is one iteration of the torch network in every available runtime; its plugin nodes fit trt_plugins."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the reference is in torch: pip install refit-rt[train]")
onnx = pytest.importorskip("onnx", reason="the file is made with onnx: pip install refit-rt[tensorrt]")
ort = pytest.importorskip("onnxruntime", reason="runs the file")

import openvino as ov  # noqa: E402
from onnx import ModelProto  # noqa: E402

from refit_rt.body.smpl import POSE_FEATURES, Body, load_body  # noqa: E402
from refit_rt.bundle.read import Bundle, Card  # noqa: E402
from refit_rt.model import camera  # noqa: E402
from refit_rt.model.config import EDGE, ReFitConfig  # noqa: E402
from refit_rt.model.refit import ReFit  # noqa: E402
from refit_rt.model.update import State  # noqa: E402
from refit_rt.runners.tensorrt.graph.step import Nodes, step_model  # noqa: E402
from refit_rt.runners.tensorrt.graph.writer import file_bytes  # noqa: E402
from tests.support.paths import ROOT  # noqa: E402
from tests.support.tiny import lively  # noqa: E402

torch.set_num_threads(1)
PLUGINS = ROOT / "trt_plugins" / "README.md"
BATCH = 2
STATE = ("pose6d", "betas", "cam")
CONFIGS = {"edge": EDGE, "official": ReFitConfig()}


def bending_body() -> Body:
    """The free body with random pose blend shapes, because it has none of its own."""
    body = load_body()
    size = (*body.template.shape, POSE_FEATURES)
    return replace(body, pose_dirs=np.random.default_rng(3).normal(0, 2e-3, size).astype(np.float32))


BODIES = {"edge": load_body(), "official": bending_body()}


@pytest.fixture(scope="module", params=CONFIGS)
def network(request) -> tuple[ReFit, Bundle]:
    """A network with random weights, and the bundle that it would be exported to."""
    model = lively(CONFIGS[request.param], BODIES[request.param])
    return model, bundle_of(model, BODIES[request.param])


def bundle_of(model: ReFit, body: Body) -> Bundle:
    weights = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    card = Card(name="random", licence="none", scale_floor=model.config.scale_floor, body_sha256="", files={})
    return Bundle(Path("random"), card, weights, body)


def given(model: ReFit, seed: int = 0) -> dict[str, np.ndarray]:
    """Inputs of a step: random maps, and a random state in front of the lens."""
    draw = np.random.default_rng(seed)
    mean = {name: getattr(model, f"mean_{name}").numpy() for name in STATE}
    inputs = {
        "maps": draw.normal(0, 1, (BATCH, 67, 64, 64)),
        "hidden": np.tanh(draw.normal(0, 1, (BATCH, 26, 32))),
        "pose6d": mean["pose6d"] + draw.normal(0, 0.2, (BATCH, 144)),
        "betas": draw.normal(0, 1, (BATCH, 10)),
        "cam": mean["cam"] + draw.normal(0, 0.1, (BATCH, 3)),
        "view": np.array([[700, 400, 420, 1100, 640, 360], [100, 300, 250, 900, 640, 360]]) + np.zeros((BATCH, 6)),
    }
    if model.config.keypoint_feedback:
        inputs["keypoints"] = draw.uniform(0, 1, (BATCH, 33, 4)) * [256, 256, 128, 1]
    inputs = {name: array.astype(np.float32) for name, array in inputs.items()}
    return inputs | {"box": camera.box_features(view_of(inputs)).numpy()}


def view_of(inputs: dict[str, np.ndarray]) -> camera.View:
    view = torch.as_tensor(inputs["view"])
    return camera.View(view[:, :3], view[:, 3], view[:, 4:])


@torch.no_grad()
def truth_of(model: ReFit, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """One iteration of the torch network, from hidden states that need not be zero."""
    tensors = {name: torch.as_tensor(array) for name, array in inputs.items()}
    view = view_of(inputs)
    now = model.place(State(*(tensors[name] for name in STATE)), view)
    local = model.feedback(tensors["maps"], tensors.get("keypoints"), now.markers_px, now.joints_px, None)
    hidden = model.update(tensors["hidden"], local, tensors["box"], now.state)
    state = now.state.plus(model.regressor(hidden, tensors["box"]), model.config.scale_floor)
    return {"hidden_next": hidden.numpy()} | {f"{n}_next": part.numpy() for n, part in state._asdict().items()}


def run_onnxruntime(model: ModelProto, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = ort.InferenceSession(file_bytes(model))
    return dict(zip([port.name for port in session.get_outputs()], session.run(None, inputs), strict=True))


def run_openvino(model: ModelProto, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    core = ov.Core()
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    answers = core.compile_model(core.read_model(file_bytes(model)), "CPU", options)(inputs)
    return {port.get_any_name(): array for port, array in answers.items()}


RUNTIMES = {"onnxruntime": run_onnxruntime, "openvino": run_openvino}


def assert_near(answers: dict[str, np.ndarray], truth: dict[str, np.ndarray], relative: float) -> None:
    assert set(answers) == set(truth)
    for name, array in truth.items():
        np.testing.assert_allclose(answers[name], array, atol=relative * np.abs(array).max(), err_msg=name)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("seed", range(3))
def test_a_step_is_the_torch_networks_iteration_within_1e_4(network, runtime, seed):
    model, bundle = network
    inputs = given(model, seed)
    truth = truth_of(model, inputs)
    assert_near(RUNTIMES[runtime](step_model(bundle, batch=BATCH), inputs), truth, 1e-4)
    assert np.abs(truth["pose6d_next"] - inputs["pose6d"]).max() > 0.05  # otherwise a step without effect would pass


@torch.no_grad()
def test_five_steps_end_where_the_torch_loop_ends_within_a_fifth_of_a_pixel(network):
    model, bundle = network
    inputs = given(model)
    inputs["hidden"][:] = 0
    step = step_model(bundle, batch=BATCH)
    ours = five_times(lambda now: run_onnxruntime(step, now), inputs)
    theirs = five_times(lambda now: truth_of(model, now), inputs)
    places = [
        model.place(State(*(torch.as_tensor(end[name]) for name in STATE)), view_of(inputs)) for end in (ours, theirs)
    ]
    np.testing.assert_allclose(places[0].markers_px, places[1].markers_px, atol=0.2)
    np.testing.assert_allclose(places[0].joints, places[1].joints, atol=1e-4)  # a tenth of a millimetre


def five_times(run: Callable[[dict], dict], inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Five runs, each with the outputs of the previous one."""
    now = dict(inputs)
    for _ in range(5):
        now |= {name.removesuffix("_next"): array for name, array in run(now).items()}
    return now


def test_in_float16_a_step_stays_within_two_thousandths_and_geometry_is_float32(network):
    model, bundle = network
    inputs = given(model)
    half = step_model(bundle, half=True, batch=BATCH)
    assert_near(
        run_onnxruntime(half, inputs | {"hidden": inputs["hidden"].astype(np.float16)}), truth_of(model, inputs), 2e-3
    )
    types = types_of(half)
    for node in half.graph.node:
        if node.op_type in ("GridSample", "Sqrt", "Div"):  # sampling the maps, Gram-Schmidt, the camera
            assert {types[name] for name in [*node.input, *node.output]} == {onnx.TensorProto.FLOAT}, node.name
    sigmoid = next(node for node in half.graph.node if node.op_type == "Sigmoid")
    assert types[sigmoid.output[0]] == onnx.TensorProto.FLOAT16


def types_of(model: ModelProto) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    known = {one.name: one.type.tensor_type.elem_type for one in [*graph.input, *graph.output, *graph.value_info]}
    return known | {one.name: one.data_type for one in graph.initializer}


@pytest.mark.parametrize("shift", [0.5, 1.0, 30.0])
def test_markers_at_the_edge_and_outside_of_the_crop_are_sampled_as_in_torch(network, shift):
    model, bundle = network
    inputs = given(model)
    inputs["cam"] += np.array([0, shift, -shift], np.float32)
    assert_near(run_onnxruntime(step_model(bundle, batch=BATCH), inputs), truth_of(model, inputs), 1e-4)


def test_the_same_bundle_gives_the_same_bytes(network):
    _, bundle = network
    kinds: tuple[Nodes, ...] = ("none", "gru", "both")
    for nodes in kinds:
        assert file_bytes(step_model(bundle, True, nodes)) == file_bytes(step_model(bundle, True, nodes))


def plugin_inputs(node: str) -> list[tuple[str, str]]:
    """Names and types of a node's inputs, from the tables in trt_plugins/README.md."""
    text = PLUGINS.read_text().split(f"## Node `{node}`")[1].split("## ")[0]
    rows = re.findall(r"^\| (\d+) \| (\w+) \| [^|]+ \| (\w+) \|", text, re.MULTILINE)
    assert [int(number) for number, _, _ in rows] == list(range(len(rows)))
    return [(name, kind) for _, name, kind in rows]


@pytest.mark.parametrize("half", [False, True])
def test_plugin_nodes_have_the_inputs_of_their_readme(network, half):
    model, bundle = network
    real = onnx.TensorProto.FLOAT16 if half else onnx.TensorProto.FLOAT
    kinds = {"T": real, "f32": onnx.TensorProto.FLOAT, "int32": onnx.TensorProto.INT32}
    file = step_model(bundle, half, "both")
    assert [node.op_type for node in file.graph.node] == ["Feedback", "BatchedGRU"]  # an iteration is two launches
    types = types_of(file)
    for node in file.graph.node:
        wanted = plugin_inputs(node.op_type)
        if node.op_type == "Feedback" and not model.config.keypoint_feedback:
            wanted = wanted[:14]
        made_by_feedback = file.graph.node[0].output[0]
        types[made_by_feedback] = real
        names = ["local" if name == made_by_feedback else name for name in node.input]
        assert names == [name for name, _ in wanted]
        assert [types[name] for name in node.input] == [kinds[kind] for _, kind in wanted]
        attributes = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
        assert (node.domain, attributes["plugin_version"], attributes["plugin_namespace"]) == ("refit", b"1", b"refit")


def test_the_plugin_receives_minus_one_for_a_network_without_a_scale_floor(network):
    model, bundle = network
    node = step_model(bundle, nodes="gru").graph.node[-1]
    floor = next(one.f for one in node.attribute if one.name == "scale_floor")
    assert floor == pytest.approx(-1 if model.config.scale_floor is None else model.config.scale_floor)


def test_the_maps_are_float16_only_with_the_feedback_node(network):
    _, bundle = network
    cases: tuple[tuple[bool, Nodes, int], ...] = (
        (True, "both", onnx.TensorProto.FLOAT16),
        (True, "gru", onnx.TensorProto.FLOAT),
        (False, "both", onnx.TensorProto.FLOAT),
    )
    for half, nodes, kind in cases:
        assert types_of(step_model(bundle, half, nodes))["maps"] == kind
