"""A network read back from a bundle gives the bundle's outputs, and exporting it again gives the same bundle."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the network is in torch: pip install refit-rt[train]")
onnx = pytest.importorskip("onnx", reason="the encoder is ONNX: pip install refit-rt[train]")

from refit_rt.body.smpl import load_body  # noqa: E402
from refit_rt.bundle.checkpoint import export_checkpoint  # noqa: E402
from refit_rt.bundle.make import Facts, export_bundle  # noqa: E402
from refit_rt.bundle.read import SHIPPED, Bundle, load_bundle  # noqa: E402
from refit_rt.bundle.torch_state import encoder_state, read_network  # noqa: E402
from refit_rt.errors import UserError  # noqa: E402
from refit_rt.files import ASSETS  # noqa: E402
from refit_rt.model.config import EDGE, ReFitConfig  # noqa: E402
from refit_rt.model.refit import ReFit, build  # noqa: E402
from refit_rt.model.weights import load_into  # noqa: E402
from refit_rt.runners.cpu.runner import CpuRunner  # noqa: E402
from refit_rt.runners.torch.runner import torch_view  # noqa: E402
from refit_rt.types import View  # noqa: E402
from tests.support.tiny import lively  # noqa: E402
from training import checkpoint  # noqa: E402

FOLDED = ("map_head.0.weight", "map_head.0.bias")  # the layer into which a bundle folds the whitening


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(SHIPPED / "edge")


def trained_from(bundle: Bundle, path: Path) -> ReFit:
    """The network of a checkpoint that `training.checkpoint --from-bundle` writes."""
    assert checkpoint.write_checkpoint(checkpoint.slim(checkpoint.from_bundle(str(bundle.path))), path)
    network = build(EDGE, bundle.body).eval()
    checkpoint.load_into(network, checkpoint.read_start(path), "average", path)
    return network


@pytest.fixture(scope="module", params=["as it is stored", "as training takes it", "as a checkpoint file"])
def network(request, bundle, tmp_path_factory) -> ReFit:
    if request.param == "as a checkpoint file":
        return trained_from(bundle, tmp_path_factory.mktemp("start") / "start.pt")
    network = read_network(bundle)
    if request.param == "as training takes it":
        checkpoint.take_whitening_out(network)
    return network


@pytest.fixture(scope="module")
def crops() -> list[tuple[np.ndarray, View]]:
    """Crops of the person in three frames of the demo clip."""
    clip, found = cv2.VideoCapture(str(ASSETS / "demo/demo.mp4")), []
    with np.load(ASSETS / "demo/demo_truth.npz") as truth:
        boxes, focal_px, size = truth["box"], float(truth["focal_px"]), truth["size"]
    for number in (0, 110, 220):
        clip.set(cv2.CAP_PROP_POS_FRAMES, number)
        x0, y0, x1, y1 = boxes[number]
        (x, y), side = ((x0 + x1) / 2, (y0 + y1) / 2), 1.2 * max(x1 - x0, y1 - y0)
        scale = EDGE.crop_px / side
        move = np.array([[scale, 0, 127.5 - scale * x], [0, scale, 127.5 - scale * y]])
        crop = cv2.warpAffine(clip.read()[1], move, (EDGE.crop_px, EDGE.crop_px))
        found.append((np.ascontiguousarray(crop[..., ::-1]), View((x, y, side), focal_px, tuple((size - 1) / 2))))
    return found


@pytest.fixture(scope="module")
def runner(bundle) -> CpuRunner:
    return CpuRunner(bundle, "f32", 1)


@torch.no_grad()
def test_a_network_read_from_the_shipped_bundle_gives_what_the_runtime_gives(network, runner, crops):
    for crop, view in crops:
        encoded = network.encode(torch.as_tensor(crop).permute(2, 0, 1)[None].float() / 255)
        ours = runner.encode(crop)
        assert np.abs(ours.maps - encoded.maps[0].numpy()).max() < 1e-4 * float(encoded.maps.abs().max())
        np.testing.assert_allclose(ours.hidden, encoded.hidden[0], atol=1e-4)
        np.testing.assert_allclose(ours.keypoints[:, :2], encoded.keypoints[0, :, :2], atol=1e-3)  # px
        np.testing.assert_allclose(ours.keypoints[:, 3], encoded.keypoints[0, :, 3], atol=1e-4)  # visibility 0..1
        truth = network(encoded, torch_view(view), 5)
        result = runner.iterate(ours, view, runner.initial(ours, view), 5)
        assert float(truth[5].joints_px.std()) > 20  # px; the joints are spread over the crop
        for name in ("joints", "markers"):
            np.testing.assert_allclose(getattr(result, name), getattr(truth[5], name)[0], atol=1e-5)  # metres
            px = f"{name}_px"
            np.testing.assert_allclose(getattr(result, px), getattr(truth[5], px)[0], atol=2e-3)
        assert result.error_px == pytest.approx(float(truth[5].log_error[0].exp()), rel=1e-3)


def assert_same_arrays(ours: dict, theirs: dict, but: tuple[str, ...] = ()) -> None:
    assert ours.keys() == theirs.keys()
    different = [name for name in ours if name not in but and not np.array_equal(ours[name], theirs[name])]
    assert different == []


def test_a_network_exported_again_is_the_same_bundle_bit_for_bit(bundle, tmp_path):
    export_bundle(read_network(bundle), tmp_path / "again", Facts("edge", bundle.card.licence, bundle.card.crop))
    again = load_bundle(tmp_path / "again")
    assert_same_arrays(encoder_state(again), encoder_state(bundle))
    assert_same_arrays(again.weights, bundle.weights)
    assert again.card.files["loop.safetensors"] == bundle.card.files["loop.safetensors"]
    assert (again.encoder.stat().st_size, again.card.scale_floor) == (bundle.encoder.stat().st_size, 0.15)


def test_a_checkpoint_of_a_bundle_becomes_that_bundle_except_for_the_last_bits_of_one_layer(bundle, tmp_path):
    """Half precision and the whitening's inverse round that layer, so it differs by up to a millionth of its size."""
    trained_from(bundle, tmp_path / "start.pt")
    export_checkpoint(tmp_path / "start.pt", tmp_path / "again", bundle.card.licence)
    again = load_bundle(tmp_path / "again")
    ours, theirs = encoder_state(again), encoder_state(bundle)
    assert_same_arrays(ours, theirs, but=FOLDED)
    for name in FOLDED:
        assert float((ours[name] - theirs[name]).abs().max()) < 1e-6 * float(theirs[name].abs().max())
    assert_same_arrays(again.weights, bundle.weights)
    assert {fact: again.card.training[fact] for fact in ("steps", "views")} == {
        fact: bundle.card.training[fact] for fact in ("steps", "views")
    }


def test_the_map_that_training_sees_is_whitened(bundle, crops):
    network = read_network(bundle)
    images = torch.stack([torch.as_tensor(crop).permute(2, 0, 1).float() / 255 for crop, _ in crops])
    spread = []
    for whitened in (False, True):
        if whitened:
            checkpoint.take_whitening_out(network)
        with torch.no_grad():
            channels = network.backbone(images).features.transpose(0, 1).flatten(1)
        spread.append(float(torch.linalg.cond(torch.cov(channels))))
    assert spread[1] < spread[0] / 100


def test_reading_a_bundle_does_not_advance_the_random_generator(bundle):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    read_network(bundle)
    torch.testing.assert_close(torch.rand(4), expected, rtol=0, atol=0)


@pytest.mark.parametrize("config", [ReFitConfig(), EDGE], ids=["official heads", "edge heads, another backbone"])
def test_a_bundle_of_another_network_is_refused_in_one_line(config, tmp_path):
    export_bundle(lively(config, load_body()), tmp_path / "other", Facts("other", "none"))
    with pytest.raises(
        UserError, match=r"other: holds another network than edge.*Give a bundle of the edge"
    ) as refused:
        checkpoint.read_start(str(tmp_path / "other"))
    assert "\n" not in str(refused.value)


def test_without_onnx_the_error_names_where_to_make_a_checkpoint(monkeypatch):
    monkeypatch.delitem(sys.modules, "refit_rt.bundle.torch_state")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match=r"edge: reading a bundle needs onnx\..*--from-bundle start.pt"):
        checkpoint.read_start("edge")


def test_the_command_writes_the_shipped_bundle_or_the_one_it_is_given(bundle, tmp_path, monkeypatch, caplog):
    written = []
    for number, names in enumerate(([], ["edge"], [str(bundle.path)])):
        out = tmp_path / f"{number}.pt"
        monkeypatch.setattr("sys.argv", ["checkpoint", "--from-bundle", *names, str(out)])
        assert checkpoint.main() == 0
        written.append(checkpoint.read_start(out))
    load_into(build(EDGE, load_body()), written[0]["average"], "written")
    for other in written[1:]:
        assert_same_arrays(other["average"], written[0]["average"])
    assert (written[0]["steps"], written[0]["views"]) == (2207, 52968)
    for given, says in ((["edge"], "give a source and the file"), (["nowhere", "out.pt"], "nowhere: no bundle")):
        monkeypatch.setattr("sys.argv", ["checkpoint", "--from-bundle", *given])
        assert checkpoint.main() == 2
        assert says in caplog.records[-1].message
    with pytest.raises(UserError, match=r"gone\.pt: no such file"):
        checkpoint.read_start("gone.pt")
