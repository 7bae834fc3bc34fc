"""A bundle loads whole and unchanged, or the error says in one line what is wrong with it."""

import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="bundles for the test are made with torch: pip install refit-rt[train]")
pytest.importorskip("onnx", reason="exporting needs onnx: pip install refit-rt[train]")

from refit_rt.body.smpl import PACKAGED, load_body
from refit_rt.bundle.make import Facts, export_bundle
from refit_rt.bundle.read import Crop, find_bundle, load_bundle
from refit_rt.errors import UserError
from refit_rt.model.config import EDGE
from tests.support.tiny import lively


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("made") / "edge"
    crop = Crop(margin=1.3, normalise_roll=True, beyond=0.8)
    facts = Facts("edge", "Apache-2.0", crop, accuracy={"mpjpe_mm": 61.5})
    export_bundle(lively(EDGE, load_body()), out, facts)
    return out


@pytest.fixture
def bundle(made, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "edge"))


def test_a_bundle_loads_as_it_was_exported(bundle):
    loaded = load_bundle(bundle)
    assert loaded.card.name == "edge"
    assert loaded.card.accuracy == {"mpjpe_mm": 61.5}
    assert loaded.crop == Crop(EDGE.crop_px, 1.3, normalise_roll=True, beyond=0.8)
    assert loaded.body.digest == load_body().digest
    assert loaded.card.scale_floor == EDGE.scale_floor
    assert all(array.dtype == np.float32 for array in loaded.weights.values())


def test_a_bundle_and_a_body_may_be_in_the_users_home(bundle, monkeypatch):
    monkeypatch.setenv("HOME", str(bundle.parent))
    shutil.copyfile(PACKAGED, bundle.parent / "body.npz")
    assert find_bundle("~/edge") == bundle
    assert load_bundle(bundle, "~/body.npz").body.name == load_body().name


def test_a_bundle_is_found_by_its_folder_and_the_error_for_a_wrong_name_lists_the_shipped_ones(bundle):
    assert find_bundle(str(bundle)) == bundle
    with pytest.raises(UserError, match=r"no bundle .*a shipped bundle: \S*edge"):
        find_bundle("no/such/bundle")


@pytest.mark.parametrize("name", ["encoder.onnx", "loop.safetensors"])
def test_a_missing_and_a_damaged_file_are_named(bundle, name):
    whole = (bundle / name).read_bytes()
    (bundle / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=rf"{name}: damaged or changed"):
        load_bundle(bundle)
    (bundle / name).unlink()
    with pytest.raises(UserError, match=rf"{name}: cannot be read"):
        load_bundle(bundle)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("schema: 1", "schema: 9", "schema 9, this version reads 1"),
        ("schema: 1", "schema: 9\nlens: fisheye", "schema 9, this version reads 1. Update refit-rt"),
        ("markers: 67", "markers: 67: 6", "^.*model.yaml: mapping values are not allowed.*$"),
        ("markers: 67", "markers: many", r"Expected `int`, got `str` - at `\$.markers`"),
        ("markers: 67", "markers: 66", "67 markers, the bundle needs 66"),
        ("name: edge", "nmae: edge", "unknown field `nmae`"),
        ("body_sha256: ", "body_sha256: 0", "the bundle was made for another body"),
    ],
)
def test_the_error_for_a_wrong_card_names_its_place(bundle, old, new, message):
    card = bundle / "model.yaml"
    text = card.read_text()
    assert old in text
    card.write_text(text.replace(old, new, 1))
    with pytest.raises(UserError, match=message):
        load_bundle(bundle)


def test_another_body_is_accepted_if_its_markers_fit(bundle, tmp_path):
    assert load_bundle(bundle, PACKAGED).body.name == load_body().name
    with np.load(PACKAGED) as archive:
        entries = {name: archive[name] for name in archive.files}
    np.savez(tmp_path / "few.npz", **(entries | {"markers": entries["markers"][:60]}))
    with pytest.raises(UserError, match=r"few.npz: has 60 markers, the bundle needs 67"):
        load_bundle(bundle, tmp_path / "few.npz")
    del entries["markers"]
    np.savez(tmp_path / "none.npz", **entries)
    with pytest.raises(UserError, match=r"none.npz: has no markers, the bundle needs 67"):
        load_bundle(bundle, tmp_path / "none.npz")
