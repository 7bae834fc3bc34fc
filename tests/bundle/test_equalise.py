"""Channels of very different sizes are equalised before they are rounded to eight bits."""

import copy

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="quantising rewrites ONNX: pip install refit-rt[train]")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from refit_rt.bundle import int8  # noqa: E402
from refit_rt.bundle.equalise import Spread, convolutions, equalise, plain, shift_and_scale  # noqa: E402

SIDE, CHANNELS = 16, 12


def uneven(spread: float, seed: int = 0):
    """An inverted residual with ReLU6, followed by a convolution that weighs all channels alike, as whitening does. The
    residual's inner channels and its outputs differ in size by a factor of `spread` and lie far from zero."""
    rng = np.random.default_rng(seed)
    size = [np.exp(rng.uniform(-0.5, 0.5, count) * np.log(spread)) for count in (CHANNELS, CHANNELS, 8)]

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))

    values = {
        "first.w": normal(CHANNELS, 3, 3, 3) * size[0][:, None, None, None],
        "first.b": 0.3 * size[0],
        "depth.w": normal(CHANNELS, 1, 3, 3) * (size[1] / size[0])[:, None, None, None],
        "depth.b": 0.3 * size[1],
        "project.w": normal(8, CHANNELS, 1, 1) * (size[2][:, None] / size[1])[..., None, None],
        "project.b": 10 * rng.normal(size=8) * size[2],
        "last.w": normal(8, 8, 1, 1) / size[2][None, :, None, None],
        "last.b": normal(8),
        "zero": np.array(0),
        "six": np.array(6 * spread**0.5),
    }
    nodes = [
        helper.make_node("Cast", ["crop"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["rgb"], perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["rgb", "unit"], ["image"]),
        conv("first", "image", "a", 1),
        helper.make_node("Clip", ["a", "zero", "six"], ["b"]),
        conv("depth", "b", "c", 1, CHANNELS),
        helper.make_node("Clip", ["c", "zero", "six"], ["d"]),
        conv("project", "d", "e", 0),
        conv("last", "e", "maps", 0),
    ]
    values["unit"] = np.array(1 / 255)
    graph = helper.make_graph(
        nodes,
        "uneven",
        [helper.make_tensor_value_info("crop", TensorProto.UINT8, [1, SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, [1, 8, SIDE, SIDE])],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in values.items()],
    )
    return plain(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def conv(name: str, source: str, out: str, pad: int, group: int = 1):
    return helper.make_node("Conv", [source, f"{name}.w", f"{name}.b"], [out], name=name, pads=[pad] * 4, group=group)


def crops(count: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [np.kron(rng.integers(0, 256, (8, 8, 3), np.uint8), np.ones((2, 2, 1), np.uint8)) for _ in range(count)]


def maps(model, shown: list[np.ndarray]) -> np.ndarray:
    run = int8.compiled(model)
    return np.concatenate([np.array(run([crop[None]])[0]) for crop in shown])


def off(model, near) -> float:
    """The error, relative to the deviation of the exact maps from their channels' means."""
    exact = maps(model, crops(4, 9))
    about = exact - exact.mean((0, 2, 3), keepdims=True)
    return float(np.linalg.norm(maps(near, crops(4, 9)) - exact) / np.linalg.norm(about))


@pytest.mark.parametrize("spread", [1, 100, 10000])
def test_the_outputs_stay_the_same(spread):
    model = uneven(spread)
    even, _ = equalise(model, int8.observe(model, crops(4)), {node.name for node in convolutions(model)})
    exact = maps(model, crops(4, 9))
    assert np.abs(maps(even, crops(4, 9)) - exact).max() < 1e-4 * np.abs(exact).max()


def test_the_predicted_statistics_of_the_new_inputs_equal_the_measured_ones():
    model = uneven(100)
    even, predicted = equalise(model, int8.observe(model, crops(4)), {node.name for node in convolutions(model)})
    seen = int8.observe(even, crops(4))
    assert set(predicted) == set(seen)
    for name, one in predicted.items():
        assert np.allclose(one.most, seen[name].most, atol=1e-4)
        assert np.allclose(one.total, seen[name].total, rtol=1e-3, atol=0.1)
        power = seen[name].power
        assert (one.power is None) == (power is None)
        if one.power is not None and power is not None:
            assert np.allclose(one.power, power, rtol=1e-3, atol=0.1)


def test_the_input_of_a_padded_convolution_is_never_shifted():
    seen = Spread(np.array([1.0, -2.0]), np.array([3.0, 5.0]), np.zeros(2), None, 1)
    weight = np.ones((4, 2, 3, 3), np.float32)
    assert not shift_and_scale(seen, weight, depthwise=False, padded=True)[0].any()
    assert (shift_and_scale(seen, weight, depthwise=False, padded=False)[0] == [1, -2]).all()


def test_the_scale_of_a_constant_channel_is_limited():
    seen = Spread(np.zeros(2), np.array([1.0, 0.0]), np.zeros(2), None, 1)
    _, scale = shift_and_scale(seen, np.ones((2, 1, 3, 3), np.float32), depthwise=True, padded=True)
    assert scale.min() >= 1 / 256


def test_eight_bits_lose_far_less_with_even_channels(monkeypatch):
    model = uneven(100)
    seen = int8.observe(model, crops(8))
    near = off(model, int8.in_int8(model, seen))
    monkeypatch.setattr(int8, "equalise", lambda model, seen, names: (copy.deepcopy(model), seen))
    far = off(model, int8.in_int8(model, seen))
    assert near < 0.05
    assert far > 4 * near
