"""A small graph model in TensorFlow.js's format → ONNX, against the same layers in torch."""

import base64
import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the twin is in torch: pip install refit-rt[train]")
pytest.importorskip("onnx", reason="converting writes ONNX: pip install refit-rt[train]")

import openvino  # noqa: E402
from torch.nn import functional  # noqa: E402

from refit_rt.errors import UserError  # noqa: E402
from training.detector.graph_model import graph_of  # noqa: E402
from training.detector.onnx_graph import PICTURE, Taken, written  # noqa: E402

OUTPUTS = {"centre": "root/Sigmoid", "size": "root/head_1"}


class Written:
    """A network as .json and .bin."""

    def __init__(self) -> None:
        self.nodes: list[dict] = []
        self.manifest: list[dict] = []
        self.data = b""
        self.values: dict[str, np.ndarray] = {}

    def weight(self, name: str, value: np.ndarray) -> None:
        half = value.dtype != np.int32
        stored = value.astype(np.float16) if half else value
        entry = {"name": f"root/{name}", "shape": list(value.shape), "dtype": "float32" if half else "int32"}
        self.manifest.append(entry | ({"quantization": {"dtype": "float16"}} if half else {}))
        self.nodes.append({"name": f"root/{name}", "op": "Const"})
        self.data += stored.tobytes()
        self.values[name] = stored.astype(np.float32)

    def node(self, name: str, op: str, *inputs: str, **attributes: dict) -> None:
        self.nodes.append(
            {"name": f"root/{name}", "op": op, "input": [f"root/{i}" for i in inputs], "attr": attributes}
        )

    def conv(self, name: str, source: str, op: str, stride=1, padding="SAME", fused: tuple[str, ...] = ()) -> None:
        inputs = [source, f"{name}.w"] + ([f"{name}.b"] if fused else [])
        self.node(
            name,
            op,
            *inputs,
            strides={"list": {"i": ["1", str(stride), str(stride), "1"]}},
            padding={"s": text(padding)},
            fused_ops={"list": {"s": [text(one) for one in fused]} if fused else {}},
        )

    def files(self) -> tuple[bytes, bytes]:
        groups = [{"paths": ["small.bin"], "weights": self.manifest}]
        return json.dumps({"modelTopology": {"node": self.nodes}, "weightsManifest": groups}).encode(), self.data


class Small(Written):
    """A network with one layer of each kind that MoveNet has, and its readable twin."""

    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        for name, shape in {
            "first": (3, 3, 3, 8),
            "deep": (3, 3, 8, 1),
            "project": (1, 1, 8, 8),
            "lateral": (1, 1, 8, 8),
            "separable": (3, 3, 8, 1),
            "point": (1, 1, 8, 6),
            "head": (1, 1, 6, 1),
            "head_1": (1, 1, 6, 2),
        }.items():
            self.weight(f"{name}.w", rng.normal(size=shape) / np.sqrt(np.prod(shape[:3])))
            self.weight(f"{name}.b", rng.normal(size=shape[2] if shape[3] == 1 and shape[0] == 3 else shape[3]))
        self.weight("zero", np.zeros((1, 1, 1, 3)))
        self.weight("unit", np.array([1 / 128, 1 / 100, 1 / 150]).reshape(1, 1, 1, 3))
        self.weight("one", np.array(1.0))
        self.weight("twice", np.array([2, 2], np.int32))
        self.node("input", "Placeholder")
        self.node("cast", "Cast", "input")
        self.node("sub", "Sub", "cast", "zero")
        self.node("mul", "Mul", "sub", "unit")
        self.node("sub_1", "Sub", "mul", "one")
        self.conv("first", "sub_1", "_FusedConv2D", stride=2, fused=("BiasAdd", "Relu6"))
        self.conv("deep", "first", "FusedDepthwiseConv2dNative", stride=2, fused=("BiasAdd", "Relu6"))
        self.conv("project", "deep", "_FusedConv2D", fused=("BiasAdd",))
        self.node("shape", "Shape", "project")
        self.node("slice", "StridedSlice", "shape")
        self.node("twofold", "Mul", "slice", "twice")
        self.node("up", "ResizeBilinear", "project", "twofold", half_pixel_centers={"b": True})
        self.conv("lateral", "first", "_FusedConv2D", fused=("BiasAdd",))
        self.node("add", "AddV2", "up", "lateral")
        self.conv("separable", "add", "DepthwiseConv2dNative")
        self.conv("point", "separable", "_FusedConv2D", padding="VALID", fused=("BiasAdd", "Relu"))
        self.conv("head", "point", "_FusedConv2D", padding="VALID", fused=("BiasAdd",))
        self.node("Sigmoid", "Sigmoid", "head")
        self.conv("head_1", "point", "_FusedConv2D", padding="VALID", fused=("BiasAdd",))

    def twin(self, picture: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs, channels last, for a picture (height, width, 3) uint8 BGR, as TensorFlow defines the layers."""

        def layer(x, name: str, stride: int = 1, clip: float = 0.0, bias: bool = True):
            kernel = torch.tensor(self.values[f"{name}.w"])
            depthwise = kernel.shape[0] == 3 and kernel.shape[3] == 1
            kernel = kernel.permute(2, 3, 0, 1) if depthwise else kernel.permute(3, 2, 0, 1)
            spare = kernel.shape[2] - stride if kernel.shape[2] > 1 else 0
            x = functional.pad(x, [spare // 2, spare - spare // 2] * 2)
            b = torch.tensor(self.values[f"{name}.b"]) if bias else None
            y = functional.conv2d(x, kernel, b, stride, groups=len(kernel) if depthwise else 1)
            return y.clamp(0, clip) if clip else y

        rgb = torch.tensor(picture[None, ..., ::-1].astype(np.float32))
        x = (rgb * torch.tensor(self.values["unit"]) - 1).permute(0, 3, 1, 2)
        first = layer(x, "first", 2, 6)
        x = layer(layer(first, "deep", 2, 6), "project")
        x = functional.interpolate(x, scale_factor=2, mode="bilinear") + layer(first, "lateral")
        x = layer(layer(x, "separable", bias=False), "point", clip=np.inf)
        outputs = {"centre": layer(x, "head").sigmoid(), "size": layer(x, "head_1")}
        return {name: value.permute(0, 2, 3, 1).numpy() for name, value in outputs.items()}


class SmallNanoDet(Written):
    """A network with one layer of each kind that NanoDet has, for pictures of 32 by 32, and its readable twin.

    It takes channels first, turns them for each convolution, and pads and adds in nodes of their own.
    """

    MEAN, DEVIATION = (90.0, 100.0, 110.0), (50.0, 60.0, 70.0)

    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        for name, shape in {"first": (3, 3, 3, 8), "second": (3, 3, 8, 4), "head": (1, 1, 12, 5)}.items():
            self.weight(f"{name}.w", rng.normal(size=shape) / np.sqrt(np.prod(shape[:3])))
            self.weight(f"{name}.b", rng.normal(size=shape[3]))
        self.weight("border", np.array([[0, 0], [0, 0], [1, 1], [1, 1]], np.int32))
        self.weight("lowest", np.array(-np.inf))
        self.weight("last", np.array([0, 2, 3, 1], np.int32))
        self.weight("first_axis", np.array([0, 3, 1, 2], np.int32))
        self.weight("channels", np.array(1, np.int32))
        self.weight("large", np.array([16, 16], np.int32))
        self.weight("small", np.array([8, 8], np.int32))
        sides = [{"size": str(side)} for side in (1, 3, 32, 32)]
        self.node("input", "Placeholder", shape={"shape": {"dim": sides}})
        self.block("first", "input", 2)
        self.node("border_2", "PadV2", "first.leaky", "border", "lowest")
        self.node("turned", "Transpose", "border_2", "last")
        window = {"list": {"i": ["1", "3", "3", "1"]}}, {"list": {"i": ["1", "2", "2", "1"]}}
        self.node("pool", "MaxPool", "turned", ksize=window[0], strides=window[1], padding={"s": text("VALID")})
        self.node("pool.first", "Transpose", "pool", "first_axis")
        self.block("second", "pool.first", 1)
        self.node("both", "ConcatV2", "pool.first", "second.leaky", "channels")
        self.node("both.last", "Transpose", "both", "last")
        self.node("up", "ResizeBilinear", "both.last", "large", half_pixel_centers={"b": True})
        self.node("down", "ResizeBilinear", "up", "small", half_pixel_centers={"b": True})
        self.node("sum", "Add", "down", "both.last")
        self.conv("head", "sum", "Conv2D", padding="VALID")
        self.node("head.sum", "Add", "head", "head.b")

    def block(self, name: str, source: str, stride: int) -> None:
        """A convolution with a border, a bias and a leaky ReLU."""
        self.node(f"{name}.pad", "Pad", source, "border")
        self.node(f"{name}.last", "Transpose", f"{name}.pad", "last")
        self.conv(name, f"{name}.last", "Conv2D", stride, "VALID")
        self.node(f"{name}.sum", "Add", name, f"{name}.b")
        self.node(f"{name}.channels", "Transpose", f"{name}.sum", "first_axis")
        self.node(f"{name}.leaky", "LeakyRelu", f"{name}.channels", alpha={"f": 0.1})

    def twin(self, picture: np.ndarray) -> np.ndarray:
        """The output, channels last, for a picture (height, width, 3) uint8 BGR."""

        def layer(x, name: str, stride: int, border: int):
            kernel = torch.tensor(self.values[f"{name}.w"]).permute(3, 2, 0, 1)
            return functional.conv2d(x, kernel, torch.tensor(self.values[f"{name}.b"]), stride, border)

        normal = (picture.astype(np.float32) - np.array(self.MEAN, np.float32)) / np.array(self.DEVIATION, np.float32)
        x = functional.leaky_relu(layer(torch.tensor(normal[None]).permute(0, 3, 1, 2), "first", 2, 1), 0.1)
        x = functional.max_pool2d(x, 3, 2, 1)
        x = torch.cat([x, functional.leaky_relu(layer(x, "second", 1, 1), 0.1)], 1)
        up = functional.interpolate(x, scale_factor=2, mode="bilinear")
        x = functional.interpolate(up, scale_factor=0.5, mode="bilinear") + x
        return layer(x, "head", 1, 0).permute(0, 2, 3, 1).numpy()


def text(value: str) -> str:
    return base64.b64encode(value.encode()).decode()


@pytest.fixture(scope="module")
def small() -> Small:
    return Small()


@pytest.mark.parametrize("size", [(64, 32), (32, 32), (32, 96)])
def test_the_written_network_agrees_with_its_twin_at_every_size(small: Small, size: tuple[int, int]) -> None:
    model = written(graph_of(*small.files()), OUTPUTS, ("root/",))
    graph = openvino.Core().read_model(model.SerializeToString(), b"")
    graph.reshape({PICTURE: [1, *size, 3]})
    run = openvino.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    coarse = np.random.default_rng(1).integers(0, 256, (size[0] // 16, size[1] // 16, 3), np.uint8)
    picture = np.kron(coarse, np.ones((16, 16, 1), np.uint8))
    answers = run([picture[None]])
    for name, expected in small.twin(picture).items():
        assert answers[name].shape == expected.shape == (1, size[0] // 2, size[1] // 2, expected.shape[3])
        assert np.ptp(expected) > 0.02
        np.testing.assert_allclose(answers[name], expected, atol=1e-5)


@pytest.mark.parametrize("size", [(64, 32), (32, 32), (32, 96)])
def test_a_network_with_pads_and_turns_of_its_own_agrees_with_its_twin_at_every_size(size: tuple[int, int]) -> None:
    network = SmallNanoDet()
    taken = Taken("BGR", network.MEAN, network.DEVIATION)
    model = written(graph_of(*network.files()), {"map": "root/head.sum"}, ("root/",), taken)
    assert "Pad" not in {node.op_type for node in model.graph.node}
    graph = openvino.Core().read_model(model.SerializeToString(), b"")
    graph.reshape({PICTURE: [1, *size, 3]})
    run = openvino.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    picture = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    answer, expected = run([picture[None]])["map"], network.twin(picture)
    assert answer.shape == expected.shape == (1, size[0] // 4, size[1] // 4, 5)
    assert np.ptp(expected) > 1
    np.testing.assert_allclose(answer, expected, atol=1e-5)


def test_only_what_the_outputs_need_is_written(small: Small) -> None:
    model = written(graph_of(*small.files()), {"size": "root/head_1"}, ("root/",))
    assert {node.op_type for node in model.graph.node} >= {"Conv", "Clip", "Relu", "Resize"}
    assert "Sigmoid" not in {node.op_type for node in model.graph.node}
    assert not {"head.w", "zero"} & {tensor.name for tensor in model.graph.initializer}


def test_an_unknown_operation_and_an_unknown_output_are_refused_by_name(small: Small) -> None:
    with pytest.raises(UserError, match="no node root/gone"):
        written(graph_of(*small.files()), {"centre": "root/gone"})
    other = Small()
    other.node("last", "Softmax", "head_1")
    with pytest.raises(UserError, match="root/last is a Softmax"):
        written(graph_of(*other.files()), {"centre": "root/last"})


def test_weights_that_do_not_fit_their_description_are_refused(small: Small) -> None:
    description, data = small.files()
    with pytest.raises(UserError, match=f"have {len(data) + 2} bytes, but {len(data)} are described"):
        graph_of(description, data + b"xx")
