import subprocess
from pathlib import Path

import pytest

from refit_rt import config
from refit_rt.body.smpl import load_body
from refit_rt.bundle.read import Card
from refit_rt.commands import doctor


@pytest.fixture
def findings(tmp_path, monkeypatch):
    monkeypatch.setenv("REFIT_RT_CACHE", str(tmp_path))
    return {finding.name: finding for finding in doctor.examine(config.Config(fit=config.Fit(bundle="none")))}


def test_everything_is_looked_at(findings):
    assert set(findings) == {"python", "cpu", "gpu", "tensorrt", "camera", "bundle", "detector", "settings"}


def test_what_is_missing_comes_with_its_cure_in_one_line(findings):
    for finding in findings.values():
        assert "\n" not in finding.line()
        if not finding.good:
            assert finding.line().startswith(("--", "FAIL"))
    assert "pulled at the first run" in findings["detector"].line()


def test_a_missing_bundle_is_a_failure(findings):
    assert findings["bundle"].line().startswith("FAIL  bundle")


class Loaded:
    """A bundle that needs no network."""

    def __init__(self, body: str):
        self.card = Card(name="mine", licence="none", body=body, body_sha256="", files={})
        self.body = load_body()


@pytest.mark.parametrize(
    ("own", "given", "told"),
    [("packaged", "", "(shipped)"), ("body.npz", "", "(mine/body.npz)"), ("body.npz", "my.npz", "(my.npz)")],
)
def test_the_body_told_is_the_one_that_will_be_fitted(monkeypatch, own, given, told):
    monkeypatch.setattr("refit_rt.bundle.read.find_bundle", Path)
    monkeypatch.setattr("refit_rt.bundle.read.load_bundle", lambda path, body: Loaded(own))
    bundle, body = doctor.network(config.Fit(bundle="mine", body=given))
    assert bundle.good
    assert f"{load_body().name} {told}" in body.line()
    assert "67 markers" in body.line()


def test_a_detector_that_is_not_there_is_a_failure():
    assert doctor.detector(config.Detect(model="gone.onnx")).line().startswith("FAIL")


def test_only_the_network_that_finds_people_makes_the_detector_ready(monkeypatch):
    monkeypatch.setattr("refit_rt.detect.pull.cached", lambda name: name == "pose_landmark_full.tflite" or None)
    assert "nothing yet" in doctor.detector(config.Detect()).line()
    monkeypatch.setattr("refit_rt.detect.pull.cached", lambda name: name == "pose_detection.tflite" or None)
    assert doctor.detector(config.Detect()).good


def test_a_driver_that_hangs_costs_one_line(monkeypatch):
    def hangs(command, timeout, **_):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(doctor.shutil, "which", lambda name: name)
    monkeypatch.setattr(doctor.subprocess, "run", hangs)
    assert "nvidia-smi gives no answer. Not needed" in doctor.graphics()[0].line()


def test_the_settings_file_in_use_is_named():
    assert doctor.settings_in_use(config.Config(), "mine.yaml").text.startswith("mine.yaml: source 0")


def test_cameras_that_may_not_be_opened_are_told_from_none(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "Path", lambda path: tmp_path / str(path).lstrip("/"))
    monkeypatch.setattr(doctor.sys, "platform", "linux")
    assert "none. Plug one in" in doctor.cameras()[0].line()
    (tmp_path / "dev").mkdir()
    for device in ("video10", "video2", "video-x", "video"):
        (tmp_path / "dev" / device).touch()
    assert [finding.text for finding in doctor.cameras()] == ["2: unnamed", "10: unnamed"]


def test_the_processor_is_named(findings):
    if Path("/proc/cpuinfo").exists():
        assert "cores" in findings["cpu"].text
