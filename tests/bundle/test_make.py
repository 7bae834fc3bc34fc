"""Bundles are written whole or not at all; official checkpoints become bundles."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="exporting needs torch: pip install refit-rt[train]")
pytest.importorskip("onnx", reason="exporting needs onnx: pip install refit-rt[train]")

from refit_rt.body.smpl import PACKAGED, load_body  # noqa: E402
from refit_rt.bundle import make  # noqa: E402
from refit_rt.bundle.read import load_bundle  # noqa: E402
from refit_rt.errors import UserError  # noqa: E402
from refit_rt.model.config import EDGE, ReFitConfig  # noqa: E402
from refit_rt.model.refit import build  # noqa: E402
from refit_rt.runners.cpu.encoder import OpenVinoEncoder  # noqa: E402
from tests.support.tiny import lively  # noqa: E402

FACTS = make.Facts("one", "none")


@pytest.fixture(scope="module")
def model():
    return lively(EDGE, load_body())


def test_a_bundle_is_replaced_and_nothing_is_left_beside_it(model, tmp_path):
    out = tmp_path / "deep" / "bundle"
    make.export_bundle(model, out, FACTS)
    make.export_bundle(model, out, make.Facts("two", "none"), body=PACKAGED)
    loaded = load_bundle(out)
    assert (loaded.card.name, loaded.card.body) == ("two", "body.npz")
    assert [path.name for path in out.parent.iterdir()] == ["bundle"]
    assert {path.stat().st_mode & 0o777 for path in out.iterdir()} == {0o644}  # all users can read it


def test_a_failure_leaves_the_old_bundle_and_no_temporary_files(model, tmp_path, monkeypatch):
    make.export_bundle(model, tmp_path / "bundle", FACTS)

    def breaks(*_: object) -> None:
        raise RuntimeError("the exporter failed")

    monkeypatch.setattr(make, "write_encoder", breaks)
    with pytest.raises(RuntimeError, match="failed"):
        make.export_bundle(model, tmp_path / "bundle", make.Facts("two", "none"))
    assert load_bundle(tmp_path / "bundle").card.name == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_folder_that_is_no_bundle_is_left_alone(model, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="is no bundle"):
        make.export_bundle(model, tmp_path, FACTS)
    assert (tmp_path / "thesis.txt").exists()


def test_the_onnx_encoder_takes_any_number_of_crops(model, tmp_path):
    ort = pytest.importorskip("onnxruntime", reason="checks the ONNX file in a second runtime")
    make.write_encoder(model, tmp_path / "encoder.onnx")
    crops = np.random.default_rng(0).integers(0, 256, (3, 256, 256, 3), dtype=np.uint8)
    maps, hidden, keypoints = ort.InferenceSession(tmp_path / "encoder.onnx").run(None, {"crop": crops})
    with torch.no_grad():
        truth = model.encode(torch.as_tensor(crops).permute(0, 3, 1, 2).float() / 255)
    for ours, theirs in zip((maps, hidden, keypoints), truth, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=1e-4)


def test_weights_that_float16_holds_exactly_are_stored_as_float16_and_give_the_same_maps(tmp_path):
    ort = pytest.importorskip("onnxruntime", reason="runs both files")
    crop = np.random.default_rng(0).integers(0, 256, (1, 256, 256, 3), dtype=np.uint8)
    model = lively(EDGE, load_body())
    sizes, maps = [], []
    for half in (False, True):
        if half:
            model.half().float()
        make.write_encoder(model, tmp_path / "encoder.onnx")
        sizes.append((tmp_path / "encoder.onnx").stat().st_size)
        maps.append(ort.InferenceSession(tmp_path / "encoder.onnx").run(["maps"], {"crop": crop})[0])
    assert sizes[1] < 0.6 * sizes[0]
    with torch.no_grad():
        truth = model.encode(torch.as_tensor(crop).permute(0, 3, 1, 2).float() / 255)
    np.testing.assert_allclose(maps[1], truth.maps, atol=1e-4)


def official_names(model) -> dict:
    """A network's state under the names of an official checkpoint, which is the inverse of the importer."""
    ours = dict(model.state_dict())
    official = {
        f"init_{short}": ours.pop(f"mean_{long}")
        for short, long in (("pose", "pose6d"), ("shape", "betas"), ("cam", "cam"))
    }
    for new, old in (
        ("feedback.flow", "flow_layer"),
        ("feedback.local", "local_layer"),
        ("init_head", "init_layer"),
        ("regressor.pose", "regressor.decpose"),
        ("regressor.betas", "regressor.decshape"),
        ("regressor.cam", "regressor.deccam"),
    ):
        official |= {f"{old}.{kind}": ours.pop(f"{new}.{kind}") for kind in ("weight", "bias")}
    own = ours.pop("update.gru.from_hidden").unflatten(1, (3, -1))
    both = torch.cat([own, ours.pop("update.gru.from_input.weight").unflatten(0, (26, 3, -1))], dim=-1)
    bias = ours.pop("update.gru.from_input.bias").unflatten(0, (26, 3, -1))
    for head, rows in (("pose", slice(24)), ("shape", 24), ("cam", 25)):
        for gate, letter in enumerate("zrq"):
            name = f"update_block.{head}_gru.l{letter}"
            official |= {f"{name}.weight": both[:, gate][rows], f"{name}.bias": bias[:, gate][rows]}
        for kind in ("weight", "bias"):
            official[f"regressor.{head[0]}.0.{kind}"] = ours[f"regressor.layer.{kind}"][rows]
    rest = {
        name.replace("map_head.", "corr_layer."): tensor
        for name, tensor in ours.items()
        if not name.startswith("regressor.layer.")
    }
    return official | rest | {"smpl.v_template": torch.zeros(3), "smpl_male.faces": torch.zeros(3)}


@pytest.mark.slow
@torch.no_grad()
def test_an_official_checkpoint_becomes_a_bundle_of_the_same_weights(tmp_path):
    model = build(ReFitConfig(backbone="hrnet_w32"), load_body()).eval()
    torch.save({"model": official_names(model), "epoch": 1}, tmp_path / "checkpoint_best.pth.tar")
    make.import_weights(tmp_path / "checkpoint_best.pth.tar", PACKAGED, tmp_path / "refit")
    loaded = load_bundle(tmp_path / "refit")
    assert loaded.card.name == "refit-hrnet_w32"
    assert not loaded.crop.normalise_roll
    for name, array in loaded.weights.items():
        np.testing.assert_array_equal(array, model.state_dict()[name].numpy(), err_msg=name)
    crop = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    seen = OpenVinoEncoder(loaded, "f32", 1)(crop)
    truth = model.encode(torch.as_tensor(crop).permute(2, 0, 1)[None].float() / 255)
    np.testing.assert_allclose(seen.maps, truth.maps[0], atol=1e-4)
    np.testing.assert_allclose(seen.hidden, truth.hidden[0], atol=1e-4)
