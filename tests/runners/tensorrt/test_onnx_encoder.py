"""The encoder for TensorRT gives encoder.onnx's outputs, in float16 nearly so; unsuitable files are refused."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the file is made with onnx: pip install refit-rt[tensorrt]")
ort = pytest.importorskip("onnxruntime", reason="runs the file")

from onnx import ModelProto, TensorProto  # noqa: E402

from refit_rt.bundle.read import SHIPPED  # noqa: E402
from refit_rt.errors import UserError  # noqa: E402
from refit_rt.runners.tensorrt.graph.encoder import encoder_model  # noqa: E402
from refit_rt.runners.tensorrt.graph.writer import file_bytes  # noqa: E402

EDGE = SHIPPED / "edge" / "encoder.onnx"
NAMES = ["maps", "hidden", "keypoints"]


@pytest.fixture(scope="module")
def crop() -> dict[str, np.ndarray]:
    coarse = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    return {"crop": np.kron(coarse, np.ones((16, 16, 1), np.uint8))[None]}


@pytest.fixture(scope="module")
def truth(crop) -> list[np.ndarray]:
    return ort.InferenceSession(str(EDGE)).run(NAMES, crop)


def answers_of(model: ModelProto, crop: dict[str, np.ndarray]) -> list[np.ndarray]:
    return ort.InferenceSession(file_bytes(model)).run(NAMES, crop)


def test_in_float32_the_outputs_are_the_same(crop, truth):
    for ours, theirs in zip(answers_of(encoder_model(EDGE), crop), truth, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("half_maps", [False, True])
def test_in_float16_maps_stay_within_a_hundredth_and_landmarks_within_a_fifth_of_a_pixel(crop, truth, half_maps):
    answers = answers_of(encoder_model(EDGE, half=True, half_maps=half_maps), crop)
    assert [array.dtype for array in answers] == [np.float16 if half_maps else np.float32, np.float32, np.float32]
    for ours, theirs, tolerance in zip(answers, truth, (0.01 * np.abs(truth[0]).max(), 0.02, 0.2), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=tolerance)


def test_in_float16_convolutions_are_float16_and_vectors_are_not():
    model = onnx.shape_inference.infer_shapes(encoder_model(EDGE, half=True))
    types = {one.name: one.type.tensor_type for one in [*model.graph.output, *model.graph.value_info]}
    kinds = {TensorProto.FLOAT: 0, TensorProto.FLOAT16: 0}
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm", "Add", "Clip"):
            tensor = types[node.output[0]]
            wide = [dim.dim_value for dim in tensor.shape.dim]
            placed = len(wide) == 4 and wide[2] * wide[3] > 1
            assert tensor.elem_type == (TensorProto.FLOAT16 if placed else TensorProto.FLOAT), node.name
            kinds[tensor.elem_type] += 1
    assert min(kinds.values()) > 3


def test_bytes_become_floats_first_and_every_shape_is_known():
    model = encoder_model(EDGE)
    assert [node.op_type for node in model.graph.node[:2]] == ["Cast", "Transpose"]
    assert {node.op_type for node in model.graph.node}.isdisjoint({"Shape", "Constant", "Mod", "ConstantOfShape"})
    shapes = {one.name: [dim.dim_value for dim in one.type.tensor_type.shape.dim] for one in model.graph.output}
    assert shapes == {"maps": [1, 67, 64, 64], "hidden": [1, 26, 32], "keypoints": [1, 33, 4]}


def test_a_file_that_is_no_encoder_is_refused(tmp_path):
    (tmp_path / "encoder.onnx").write_bytes(b"no ONNX at all")
    with pytest.raises(UserError, match=r"encoder\.onnx: not an ONNX file .*make it again: refit-rt bundle") as refused:
        encoder_model(tmp_path / "encoder.onnx")
    assert "\n" not in str(refused.value)
    crop = onnx.helper.make_tensor_value_info("crop", TensorProto.UINT8, ["person", 8, 8, 3])
    maps = onnx.helper.make_tensor_value_info("maps", TensorProto.UINT8, ["person", 8, 8, 3])
    node = onnx.helper.make_node("Identity", ["crop"], ["maps"])
    onnx.save(
        onnx.helper.make_model(onnx.helper.make_graph([node], "other", [crop], [maps])), tmp_path / "encoder.onnx"
    )
    with pytest.raises(UserError, match="does not begin with Transpose and Cast"):
        encoder_model(tmp_path / "encoder.onnx")
