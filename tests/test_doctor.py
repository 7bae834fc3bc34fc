from pathlib import Path

import pytest

from refit_rt import config, doctor


@pytest.fixture
def findings(tmp_path, monkeypatch):
    monkeypatch.setenv("REFIT_RT_CACHE", str(tmp_path))
    return {finding.name: finding for finding in doctor.examine(config.Config(fit=config.Fit(bundle="none")))}


def test_everything_is_looked_at(findings):
    assert set(findings) == {"python", "cpu", "gpu", "tensorrt", "camera", "body", "bundle", "detector", "settings"}


def test_what_is_missing_comes_with_its_cure_in_one_line(findings):
    for finding in findings.values():
        assert "\n" not in finding.line()
        if not finding.good:
            assert finding.line().startswith(("--", "FAIL"))
    assert "pulled at the first run" in findings["detector"].line()


def test_a_missing_bundle_is_a_failure(findings):
    assert findings["bundle"].line().startswith("FAIL  bundle")


def test_the_shipped_body_is_well(findings):
    assert findings["body"].good
    assert "67 markers" in findings["body"].text


def test_a_body_and_a_detector_that_are_not_there_are_failures():
    assert not doctor.body(config.Fit(body="gone.npz")).good
    assert "no such file" in doctor.detector(config.Detect(model="gone.onnx")).line()


def test_cameras_that_may_not_be_opened_are_told_from_none(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "Path", lambda path: tmp_path / str(path).lstrip("/"))
    monkeypatch.setattr(doctor.sys, "platform", "linux")
    assert "none. Plug one in" in doctor.cameras()[0].line()
    (tmp_path / "dev").mkdir()
    for device in ("video10", "video2"):
        (tmp_path / "dev" / device).touch()
    assert [finding.text for finding in doctor.cameras()] == ["2: unnamed", "10: unnamed"]


def test_the_processor_is_named(findings):
    if Path("/proc/cpuinfo").exists():
        assert "cores" in findings["cpu"].text
