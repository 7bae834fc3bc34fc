"""BlazePose's networks in torch, compared with the original .tflite files."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the network in torch needs the train extra")

from refit_rt.errors import UserError  # noqa: E402
from refit_rt.model.blazepose import FULL, HEAVY, BlazePose, Plan  # noqa: E402


def original(path: Path, images: np.ndarray) -> list[np.ndarray]:
    """Map, summary, landmarks and world landmarks from the file itself, run by OpenVINO in f32."""
    import openvino

    graph = openvino.Core().read_model(path)
    convolutions = [node for node in graph.get_ordered_ops() if node.get_type_name() == "Convolution"]

    def into(outputs: int, inputs: int):
        return next(
            c for c in convolutions if list(c.input_value(1).get_partial_shape().to_shape())[:2] == [outputs, inputs]
        )

    results = {output.get_any_name(): output.get_node().input_value(0) for output in graph.outputs}
    wanted = [into(39, 48).input_value(0), into(195, 288).input_value(0), results["Identity"], results["Identity_4"]]
    part = openvino.Model(wanted, graph.get_parameters(), "part")  # type: ignore[call-overload]  # a stub's fault
    compiled = openvino.Core().compile_model(part, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    answers = [compiled(image[None]) for image in images]
    return [np.concatenate([answer[index] for answer in answers]) for index in range(4)]


@pytest.mark.parametrize(("plan", "fixture"), [(FULL, "landmark_network"), (HEAVY, "heavy_network")])
def test_the_torch_backbone_gives_the_original_outputs(plan: Plan, fixture: str, request) -> None:
    path = request.getfixturevalue(fixture)
    rng = np.random.default_rng(0)
    images = np.kron(rng.random((2, 16, 16, 3)), np.ones((1, 16, 16, 1))).astype(np.float32)
    network = BlazePose(plan).eval()
    network.load_tflite(path)
    with torch.no_grad():
        answers = network.raw(torch.from_numpy(images).permute(0, 3, 1, 2))
    for mine, theirs in zip(answers, original(path, images), strict=True):
        assert np.abs(mine.numpy() - theirs).max() < 1e-3 * max(1, np.abs(theirs).max())


def test_whitening_leaves_channels_without_correlation() -> None:
    torch.manual_seed(0)
    network = BlazePose()
    mixing = torch.eye(48) + 0.1 * torch.randn(48, 48)
    features = torch.einsum("dc,bchw->bdhw", mixing, torch.randn(64, 48, 64, 64)[:, :, :8, :8]) + 10
    summary, landmarks, world = torch.randn(64, 288, 2, 2), 50 * torch.randn(64, 195), torch.randn(64, 117)
    network.set_statistics(features, summary, landmarks, world)
    white = network.see(features, summary, landmarks, world)
    correlation = torch.cov(white.features.transpose(0, 1).flatten(1))
    assert (correlation - torch.diag(torch.diag(correlation))).abs().max() < 0.05
    assert (white.summary.std(0) < 1.01).all()


def test_the_file_of_the_other_network_is_refused(landmark_network: Path) -> None:
    with pytest.raises(UserError, match=r"not BlazePose's heavy landmark network .* @mediapipe/pose 0\.5"):
        BlazePose(HEAVY).load_tflite(landmark_network)


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.tflite"
    path.write_bytes(b"not a network")
    with pytest.raises(UserError, match=r"cannot be read as a \.tflite"):
        BlazePose().load_tflite(path)
