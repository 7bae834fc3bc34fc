"""The user's own .onnx detectors: every layout, and the errors for files that cannot be used."""

from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="writing tiny .onnx files needs the test extra")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from refit_rt import config  # noqa: E402
from refit_rt.detect import make_detector  # noqa: E402
from refit_rt.detect.layouts import from_grid  # noqa: E402
from refit_rt.errors import UserError  # noqa: E402
from refit_rt.types import Frame, Known  # noqa: E402

SIDE = 64  # of the tiny networks: grids of 64, 16 and 4 cells
WIDE = np.zeros((100, 200, 3), np.uint8)  # a picture of 200 x 100: letterboxed by 0.32, or stretched by 0.32 and 0.64


def write(path: Path, outputs: dict[str, np.ndarray], inputs: dict[str, list] | None = None, nodes=()) -> str:
    """Writes an .onnx file whose outputs are constants or are computed by `nodes`."""
    inputs = inputs or {"images": [1, 3, SIDE, SIDE]}
    kinds = {name: TensorProto.INT64 if "size" in name else TensorProto.FLOAT for name in inputs}
    made = {name for node in nodes for name in node.output}
    constants = [numpy_helper.from_array(array, name + "_value") for name, array in outputs.items() if name not in made]
    graph = helper.make_graph(
        [helper.make_node("Identity", [name + "_value"], [name]) for name in outputs if name not in made] + list(nodes),
        "tiny",
        [helper.make_tensor_value_info(name, kinds[name], shape) for name, shape in inputs.items()],
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for name, a in outputs.items()
        ],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return str(path)


def boxes_of(model: str, image: np.ndarray = WIDE, **settings) -> tuple[np.ndarray, np.ndarray]:
    """The detector's boxes, counted from the picture's edge as the files count, and their scores."""
    detector = make_detector(config.Detect(model=model, **settings), threads=1)
    boxes = detector.find(Frame("camera", 0, 0.0, 0.0, image), Known.nobody())
    assert boxes.xyxy.dtype == boxes.score.dtype == boxes.roll.dtype == np.float32
    assert not boxes.roll.any()
    return boxes.xyxy + 0.5, boxes.score


def logits(probabilities: np.ndarray) -> np.ndarray:
    p = np.clip(probabilities, 1e-4, 1 - 1e-4)
    return np.log(p / (1 - p)).astype(np.float32)


def yolox(decoded: bool) -> np.ndarray:
    """One person of centre (20, 12), size (8, 16) in the input, found twice; a dog with a better score."""
    rows = np.zeros((84, 85), np.float32)
    if decoded:
        rows[:, :4] = from_grid(rows[:, :4], (SIDE, SIDE))
    first, again, dog = 1 * 8 + 2, 1 * 8 + 3, 40
    for row, x in ((first, 2), (again, 3)):
        raw = [20 / 8 - x, 12 / 8 - 1, np.log(8 / 8), np.log(16 / 8)]
        rows[row, :4] = [20, 12, 8, 16] if decoded else raw
    rows[first, [4, 5]] = 0.9, 1.0
    rows[again, [4, 5]] = 0.8, 1.0
    rows[dog, [4, 6]] = 0.99, 1.0
    return rows[None]


PERSON_IN_WIDE = np.array([[16, 4, 24, 20]]) / 0.32  # the person of `yolox` in WIDE, without the letterbox


@pytest.mark.parametrize("decoded", [False, True], ids=["grid", "decoded"])
def test_outputs_of_yolox_become_boxes_in_the_picture(tmp_path: Path, decoded: bool) -> None:
    xyxy, score = boxes_of(write(tmp_path / "yolox.onnx", {"output": yolox(decoded)}))
    np.testing.assert_allclose(xyxy, PERSON_IN_WIDE, atol=0.01)
    np.testing.assert_allclose(score, [0.9], atol=1e-5)


@pytest.mark.parametrize("labelled", [False, True])
def test_boxes_that_the_file_itself_selects_are_kept(tmp_path: Path, labelled: bool) -> None:
    dets = np.array([[[16, 4, 24, 20, 0.7], [30, 4, 40, 20, 0.6], [0, 0, 0, 0, 0]]], np.float32)
    labels = {"labels": np.array([[0, 2, 0]])} if labelled else {}
    xyxy, score = boxes_of(write(tmp_path / "picked.onnx", {"dets": dets, **labels}))
    assert len(xyxy) == (1 if labelled else 2)
    np.testing.assert_allclose(xyxy[:1], PERSON_IN_WIDE, atol=0.01)
    np.testing.assert_allclose(score[0], 0.7, atol=1e-5)


def test_rt_detr_with_its_post_processor_gets_the_size_of_the_picture(tmp_path: Path) -> None:
    shares = np.array([[[0.1, 0.2, 0.3, 0.9], [0.5, 0.1, 0.9, 0.8]]], np.float32)
    nodes = [
        helper.make_node("Constant", [], ["shares"], value=numpy_helper.from_array(shares)),
        helper.make_node("Cast", ["orig_target_sizes"], ["size"], to=TensorProto.FLOAT),
        helper.make_node("Concat", ["size", "size"], ["sides"], axis=1),
        helper.make_node("Mul", ["shares", "sides"], ["boxes"]),
    ]
    outputs = {"labels": np.array([[0, 16]]), "boxes": shares, "scores": np.array([[0.8, 0.9]], np.float32)}
    inputs = {"images": [1, 3, SIDE, SIDE], "orig_target_sizes": [1, 2]}
    xyxy, score = boxes_of(write(tmp_path / "dfine.onnx", outputs, inputs, nodes))
    np.testing.assert_allclose(xyxy, [[20, 20, 60, 90]], atol=0.01)
    np.testing.assert_allclose(score, [0.8], atol=1e-5)


@pytest.mark.parametrize(
    ("names", "classes", "person"),
    [
        (("pred_boxes", "logits"), 80, 0),
        (("dets", "labels"), 91, 1),
        (("dets", "labels"), 2, 0),
        (("pred_boxes", "logits"), 4, 0),
    ],
    ids=["hugging-face", "rf-detr", "rf-detr-own-classes", "four-classes"],
)
def test_logits_and_centred_boxes_become_boxes_in_the_picture(tmp_path, names, classes: int, person: int) -> None:
    probabilities = np.zeros((1, 300, classes))
    probabilities[0, 7, person] = 0.75
    probabilities[0, 8, classes - 1 if person != classes - 1 else 0] = 0.9
    boxes = np.full((1, 300, 4), 0.5, np.float32)
    boxes[0, 7] = 0.25, 0.5, 0.1, 0.6
    xyxy, score = boxes_of(write(tmp_path / "detr.onnx", {names[0]: boxes, names[1]: logits(probabilities)}))
    np.testing.assert_allclose(xyxy, [[40, 20, 60, 80]], atol=0.01)
    np.testing.assert_allclose(score, [0.75], atol=1e-3)


def reduced(kind: str, source: str, target: str, axes: list[int], keepdims: int):
    return helper.make_node(kind, [source], [target], axes=axes, keepdims=keepdims)


def constant(name: str, values: list[float], shape: tuple[int, ...]):
    return helper.make_node(
        "Constant", [], [name], value=numpy_helper.from_array(np.array(values, np.float32).reshape(shape))
    )


@pytest.mark.parametrize(
    ("layout", "normalise", "expected"),
    [
        ("yolox", "auto", [30, 60, 200]),
        ("detr", "auto", [200 / 255, 60 / 255, 30 / 255]),
        ("rfdetr", "auto", [(200 - 123.675) / 58.395, (60 - 116.28) / 57.12, (30 - 103.53) / 57.375]),
        ("detr", "none", [200, 60, 30]),
    ],
)
def test_pixels_reach_the_network_in_the_order_and_range_of_its_layout(tmp_path, layout, normalise, expected) -> None:
    """The network's box holds the mean of each channel of its input: as corners for YOLOX, as centre and width else."""
    boxes, scores, rest = {
        "yolox": ("dets", {}, [0.0, 0.5]),
        "detr": ("pred_boxes", {"logits": np.zeros((1, 1, 80), np.float32)}, [0.0]),
        "rfdetr": ("dets", {"labels": np.zeros((1, 1, 91), np.float32)}, [0.0]),
    }[layout]
    nodes = [
        reduced("ReduceMean", "images", "rows", [3], keepdims=0),
        reduced("ReduceMean", "rows", "column", [2], keepdims=1),
        helper.make_node("Transpose", ["column"], ["channels"], perm=[0, 2, 1]),
        constant("rest", rest, (1, 1, len(rest))),
        helper.make_node("Concat", ["channels", "rest"], [boxes], axis=2),
    ]
    outputs = {boxes: np.zeros((1, 1, 3 + len(rest)), np.float32), **scores}
    image = np.full((SIDE, SIDE, 3), (30, 60, 200), np.uint8)
    ((x0, y0, x1, y1),), _ = boxes_of(write(tmp_path / "any.onnx", outputs, None, nodes), image, normalise=normalise)
    found = [x0, y0, x1] if layout == "yolox" else np.array([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0]) / SIDE
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize(("image", "axis"), [(WIDE, 2), (WIDE.transpose(1, 0, 2), 3)], ids=["below", "right"])
def test_the_border_of_yolox_lies_right_and_below_in_grey(tmp_path: Path, image: np.ndarray, axis: int) -> None:
    """The network's box holds the least and the greatest pixel of the input's first half, then of its second half."""
    halves = [(kind, half) for half in ("first", "second") for kind in ("ReduceMin", "ReduceMax")]
    nodes = [
        helper.make_node("Split", ["images"], ["first", "second"], axis=axis),
        *(reduced(kind, half, f"{kind}_{half}", [1, 2, 3], keepdims=1) for kind, half in halves),
        constant("score", [0.5], (1, 1, 1, 1)),
        helper.make_node("Concat", [*(f"{kind}_{half}" for kind, half in halves), "score"], ["row"], axis=3),
        reduced("ReduceMax", "row", "dets", [1], keepdims=0),
    ]
    xyxy, _ = boxes_of(write(tmp_path / "any.onnx", {"dets": np.zeros((1, 1, 5), np.float32)}, None, nodes), image)
    np.testing.assert_allclose(xyxy * 0.32, [[0, 0, 114, 114]], atol=1e-4)


def test_a_size_may_be_set_where_the_file_leaves_it_open(tmp_path: Path) -> None:
    path = write(tmp_path / "open.onnx", {"output": yolox(False)}, {"images": ["batch", 3, "height", "width"]})
    xyxy, _ = boxes_of(path, size_px=SIDE)
    np.testing.assert_allclose(xyxy, PERSON_IN_WIDE, atol=0.01)
    with pytest.raises(UserError, match=r"open.onnx: does not name its input size .* Set detect.size_px"):
        boxes_of(path)


def complaint(model: str, **settings) -> str:
    with pytest.raises(UserError) as caught:
        make_detector(config.Detect(model=model, **settings), 1)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_file_of_unknown_layout_is_refused_with_its_outputs(tmp_path: Path) -> None:
    text = complaint(write(tmp_path / "odd.onnx", {"heatmap": np.zeros((1, 17, 16, 16), np.float32)}))
    assert "odd.onnx: its outputs are heatmap (1, 17, 16, 16), which is no known layout" in text
    assert "yolox" in text


def test_the_transposed_layout_of_other_yolos_is_named(tmp_path: Path) -> None:
    text = complaint(write(tmp_path / "v8.onnx", {"output0": np.zeros((1, 84, 84), np.float32)[:, :60]}))
    assert "layout of YOLOv5 to v11, which is not supported" in text


def test_a_wrong_layout_setting_is_refused_with_the_right_one(tmp_path: Path) -> None:
    text = complaint(write(tmp_path / "yolox.onnx", {"output": yolox(False)}), layout="rfdetr")
    assert "which is yolox, not detect.layout rfdetr" in text
    assert "Set detect.layout to yolox or auto" in text


def test_a_size_that_contradicts_the_file_is_refused(tmp_path: Path) -> None:
    text = complaint(write(tmp_path / "yolox.onnx", {"output": yolox(False)}), size_px=640)
    assert "takes 64x64 pixels, but detect.size_px is 640" in text


def test_impossible_outputs_are_refused(tmp_path: Path) -> None:
    broken = yolox(False)
    broken[0, 3, 2] = np.nan
    assert "NaN" in complaint(write(tmp_path / "nan.onnx", {"output": broken}))
    loud = yolox(False)
    loud[0, 10, 4] = 30
    assert "its scores reach 30, not 0..1" in complaint(write(tmp_path / "loud.onnx", {"output": loud}))
    half = np.full((1, 1, 4), 0.5, np.float32)
    shares = {"labels": np.array([[0]]), "boxes": half, "scores": half[..., 0]}
    assert "0..1, not pixels" in complaint(write(tmp_path / "shares.onnx", shares))


def test_files_that_are_not_detectors_are_refused(tmp_path: Path) -> None:
    (tmp_path / "junk.onnx").write_bytes(b"this is no network")
    assert "junk.onnx: OpenVINO cannot read it" in complaint(str(tmp_path / "junk.onnx"))
    assert "none.onnx: no such file" in complaint(str(tmp_path / "none.onnx"))
    assert "detect.model: there is no detector 'yolo'" in complaint("yolo")
    nhwc = write(tmp_path / "nhwc.onnx", {"output": yolox(False)}, {"images": [1, SIDE, SIDE, 3]})
    assert "channels first" in complaint(nhwc)
