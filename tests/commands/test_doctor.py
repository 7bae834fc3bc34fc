"""The verb `doctor`: one line per finding, with a cure for what is missing."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from refit_rt.__main__ import command
from refit_rt.body.smpl import load_body
from refit_rt.bundle.read import Card
from refit_rt.commands import doctor, machine
from refit_rt.config import Capture


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable:
    """The exit code of refit-rt doctor with these arguments, and its lines by the name of the finding."""
    monkeypatch.setenv("REFIT_RT_CACHE", str(tmp_path / "cache"))

    def report_of(*arguments: str) -> tuple[int, dict[str, str]]:
        code = command(["doctor", *arguments])
        return code, {line[6:].split()[0]: line for line in capsys.readouterr().out.splitlines()}

    return report_of


def test_it_reports_on_everything_in_one_line_each(report) -> None:
    code, lines = report()
    assert code == 0
    assert set(lines) == {"python", "cpu", "gpu", "tensorrt", "camera", "bundle", "body", "detector", "settings"}
    assert all(line.startswith(("ok  ", "--  ")) for line in lines.values())


def test_a_missing_bundle_is_a_failure_with_its_cure(report) -> None:
    code, lines = report("--fit.bundle", "none")
    assert code == 1
    assert lines["bundle"].startswith("FAIL  bundle    none: no bundle")
    assert "edge" in lines["bundle"]


def test_the_settings_and_their_file_are_shown(report, tmp_path: Path) -> None:
    assert "defaults: source 0, stream at tcp://127.0.0.1:5560" in report()[1]["settings"]
    (tmp_path / "config.yaml").write_text("capture: {source: clip.mp4}\n")
    assert "config.yaml: source clip.mp4" in report()[1]["settings"]
    (tmp_path / "mine.yaml").write_text("publish: {address: 'tcp://127.0.0.1:7'}\n")
    assert "mine.yaml: source 0, stream at tcp://127.0.0.1:7" in report("--config", "mine.yaml")[1]["settings"]


class Loaded:
    """A bundle that needs no network."""

    def __init__(self, body: str) -> None:
        self.card = Card(name="mine", licence="none", body=body, body_sha256="", files={})
        self.body = load_body()


@pytest.mark.parametrize(
    ("own", "given", "where"),
    [("packaged", "", "(shipped)"), ("body.npz", "", "(mine/body.npz)"), ("body.npz", "my.npz", "(my.npz)")],
)
def test_the_body_shown_is_the_one_that_will_be_fitted(
    report, monkeypatch: pytest.MonkeyPatch, own: str, given: str, where: str
) -> None:
    monkeypatch.setattr("refit_rt.bundle.read.find_bundle", Path)
    monkeypatch.setattr("refit_rt.bundle.read.load_bundle", lambda path, body: Loaded(own))
    _, lines = report("--fit.bundle", "mine", "--fit.body", given)
    assert f"{load_body().name} {where}" in lines["body"]
    assert "67 markers" in lines["body"]


def test_a_detector_that_does_not_exist_is_a_failure(report) -> None:
    code, lines = report("--detect.model", "gone.onnx")
    assert code == 1
    assert lines["detector"].startswith("FAIL")


@pytest.mark.parametrize("name", ["movenet", "far"])
def test_the_detectors_that_ship_are_ready(report, name: str) -> None:
    assert report("--detect.model", name)[1]["detector"].startswith("ok")


def test_a_driver_that_hangs_costs_one_line(report, monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(command: list[str], timeout: float, **_: object) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr("shutil.which", lambda name: name)
    monkeypatch.setattr(subprocess, "run", hangs)
    assert "nvidia-smi gives no answer. Not needed" in report()[1]["gpu"]


@pytest.fixture
def dev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A /dev of our own, with names for its cameras."""
    monkeypatch.setattr(doctor, "DEV", tmp_path / "dev")
    monkeypatch.setattr(doctor, "NAMES", tmp_path)
    (tmp_path / "video10").mkdir()
    (tmp_path / "video10" / "name").write_text("Good Camera\n")
    monkeypatch.setattr(sys, "platform", "linux")
    return tmp_path / "dev"


def test_without_a_camera_the_cure_is_to_plug_one_in(report, dev: Path) -> None:
    assert "none. Plug one in, or give a file" in report()[1]["camera"]


@pytest.mark.parametrize(("allowed", "mark"), [(True, "ok  "), (False, "--  ")])
def test_cameras_are_listed_by_number_with_the_cure_for_one_that_may_not_be_opened(
    capsys, dev: Path, monkeypatch: pytest.MonkeyPatch, allowed: bool, mark: str
) -> None:
    dev.mkdir()
    for device in ("video10", "video2", "video-x", "video"):
        (dev / device).touch()
    monkeypatch.setattr(os, "access", lambda *_: allowed)
    command(["doctor"])
    lines = [line for line in capsys.readouterr().out.splitlines() if "  camera" in line]
    assert [line.split(".")[0] for line in lines] == [
        f"{mark}  camera    2: unnamed",
        f"{mark}  camera    10: Good Camera",
    ]
    assert all(("usermod -aG video" in line) != allowed for line in lines)


@pytest.mark.parametrize(
    ("flags", "mark", "shown"),
    [
        ("flags\t: sse avx2 avx512_vnni", "ok  ", "Fast 9000, "),
        ("flags\t: sse", "--  ", "no vector instructions known. Without avx2 expect a few frames per second"),
        ("Features\t: fp asimd", "ok  ", " neon"),
    ],
)
def test_the_processor_and_its_instructions_are_shown(
    report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, mark: str, shown: str
) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nmodel name\t: Fast 9000\n{flags}\n")
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    line = report()[1]["cpu"]
    assert line.startswith(mark)
    assert shown in line


@pytest.mark.parametrize(("backend", "mark", "code"), [("cpu", "--  ", 0), ("tensorrt", "FAIL", 1)])
def test_tensorrt_is_needed_only_if_the_settings_choose_it(
    report, monkeypatch: pytest.MonkeyPatch, backend: str, mark: str, code: int
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    exit_code, lines = report("--fit.backend", backend)
    assert (exit_code, lines["tensorrt"][:4]) == (code, mark)
    assert "pip install 'refit-rt[tensorrt]', then refit-rt build" in lines["tensorrt"]


def test_the_cameras_of_a_rig_are_named() -> None:
    assert doctor.sources_of(Capture(sources={"left": "0", "right": "2"})) == "sources left 0, right 2"
    assert doctor.sources_of(Capture(source="clip.mp4")) == "source clip.mp4"
