"""The verb `demo`. The clip itself is followed in tests/test_system.py."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from refit_rt import config
from refit_rt.__main__ import command
from refit_rt.body.smpl import load_body
from refit_rt.commands import demo_clip
from refit_rt.commands.demo_clip import TRUTH, errors_of
from refit_rt.motion.npz import MotionWriter, read_motion
from refit_rt.sender import Report
from refit_rt.stream.latency import Latency
from tests.support.fakes import people


class Probe:
    """A latency probe without a process."""

    latency = Latency(299, 299, 10.0, (26.0, 38.0, 63.0))

    def __init__(self, address: str) -> None:
        pass

    def __enter__(self) -> "Probe":
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def _no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_clip, "LatencyProbe", Probe)


@pytest.fixture
def truthful(monkeypatch: pytest.MonkeyPatch) -> list[config.Settings]:
    """The pipeline writes the clip's truth, and nothing is drawn. The settings it was started with."""
    given: list[config.Settings] = []

    def run_as_the_truth(settings: config.Settings, show: object) -> Report:
        given.append(settings)
        folder = Path(settings.out.dir)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "motion.npz").write_bytes(TRUTH.read_bytes())
        return Report(299, 1, 0, 1, 10.0, {"fit": (22.35, 26.57, 299)})

    monkeypatch.setattr(demo_clip, "run", run_as_the_truth)
    monkeypatch.setattr(demo_clip, "draw_clip", lambda *_: None)
    return given


def test_it_prints_speed_delay_accuracy_and_where_to_look(capsys, truthful: list[config.Settings]) -> None:
    assert command(["demo"]) == 0
    shown = capsys.readouterr().out
    assert "fit           22.35    26.57     299" in shown
    assert "received by a second process: 299 messages, 29.8 per second" in shown
    assert "capture to subscriber: 26.0 ms median, 38.0 ms p95, 63.0 ms p99" in shown
    assert "MPJPE 0 mm aligned at the pelvis, PA-MPJPE 0 mm, joints 0.0 px off" in shown
    assert "look at out/demo/overlay.png and out/demo/overlay.mp4; the motion is in out/demo/motion.npz" in shown


def test_the_settings_change_how_people_are_followed_and_not_what_is_played(
    tmp_path: Path, truthful: list[config.Settings]
) -> None:
    (tmp_path / "config.yaml").write_text(
        "capture: {source: '1', loop: true}\ncamera: {calibration: lens.json}\n"
        "fit: {iterations: 3}\npublish: {enabled: false, address: 'tcp://127.0.0.1:7'}\n"
    )
    assert command(["demo", "--out", "here", "--track.max-people", "2"]) == 0
    settings = truthful[0]
    assert (settings.fit.iterations, settings.track.max_people) == (3, 2)
    assert settings.capture == config.Capture(source=str(demo_clip.CLIP), pace="live")
    assert settings.camera.calibration == ""
    assert settings.publish == config.Publish(address="tcp://127.0.0.1:7")
    assert settings.out == config.Out(dir="here", overlay=False)


def test_it_draws_the_body_that_was_fitted(monkeypatch: pytest.MonkeyPatch, truthful: list[config.Settings]) -> None:
    own, asked, drawn = replace(load_body(), name="mine"), [], []
    monkeypatch.setattr(demo_clip, "load_bundle", lambda *given: asked.append(given) or SimpleNamespace(body=own))
    monkeypatch.setattr(demo_clip, "draw_clip", lambda motion, folder, body: drawn.append(body))
    assert command(["demo", "--fit.body", "mine.npz"]) == 0
    assert drawn == [own]
    assert asked[0][1] == "mine.npz"


@pytest.mark.parametrize(("frames", "says"), [(0, "ended before its first frame"), (3, "found no person")])
def test_without_a_result_it_is_refused_and_shows_no_older_one(
    refusal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frames: int, says: str
) -> None:
    def run_without_people(settings: config.Settings, show: object) -> Report:
        if frames:
            writer = MotionWriter(Path(settings.out.dir) / "motion.npz", 30, "free", "edge")
            writer.add(people([]))
            writer.close()
        return Report(frames, 0, 0, 0, 0.0, {})

    (tmp_path / "overlay.png").write_text("of an earlier run")
    (tmp_path / "motion.npz").write_bytes(TRUTH.read_bytes())
    monkeypatch.setattr(demo_clip, "run", run_without_people)
    assert says in refusal("demo", "--out", str(tmp_path))
    assert not (tmp_path / "overlay.png").exists()


def test_errors_against_itself_are_nothing() -> None:
    truth = read_motion(TRUTH)
    errors = errors_of(truth, truth)
    assert errors.mpjpe_mm == pytest.approx(0, abs=1e-3)
    assert errors.pa_mpjpe_mm == pytest.approx(0, abs=1e-2)
