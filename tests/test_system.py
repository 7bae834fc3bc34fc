"""The shipped bundle on the shipped clip: the whole chain from file to message, against the clip's truth."""

import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from refit_rt import config
from refit_rt.body.smpl import load_body
from refit_rt.commands import demo_clip
from refit_rt.commands.demo_clip import CLIP, TRUTH, draw_clip, errors_of, play
from refit_rt.errors import UserError
from refit_rt.motion.npz import Motion, MotionWriter, read_motion
from refit_rt.pipeline import Report, run
from refit_rt.stream.latency import Latency, LatencyProbe
from refit_rt.stream.publish import Publisher
from refit_rt.stream.wire import Run, encode
from tests.support.fakes import people


def settings(folder: Path, **groups) -> config.Config:
    focal_px = float(np.load(TRUTH)["focal_px"])
    given = {
        "capture": config.Capture(source=str(CLIP), pace="lossless"),
        "camera": config.Camera(focal_px=focal_px),
        "fit": config.Fit(precision="f32"),
        "publish": config.Publish(enabled=False),
        "out": config.Out(dir=str(folder), overlay=False),
    }
    return config.Config(**(given | groups))


@pytest.fixture(scope="module")
def motion(tmp_path_factory: pytest.TempPathFactory, person_detector: Path) -> Motion:
    """The clip, every frame of it."""
    folder = tmp_path_factory.mktemp("whole")
    run(settings(folder), threading.Event())
    return read_motion(folder / "motion.npz")


def test_the_demo_person_is_found_in_every_frame_under_one_id(motion: Motion) -> None:
    truth = read_motion(TRUTH)
    assert set(motion.frame.tolist()) >= set(truth.frame[5:].tolist())
    assert len(set(motion.person.tolist())) == 1


def test_the_demo_person_is_fitted_within_a_hand(motion: Motion) -> None:
    errors = errors_of(motion, read_motion(TRUTH))
    assert errors.pa_mpjpe_mm < 110
    assert errors.of_height < 0.06
    depth = motion.trans[:, 2] / read_motion(TRUTH).trans[motion.frame, 2]
    assert 0.85 < np.median(depth) < 1.15


def test_left_is_left(motion: Motion) -> None:
    truth = read_motion(TRUTH)
    rows = {int(frame): row for row, frame in enumerate(truth.frame)}
    true = truth.joints_camera[[rows[int(frame)] for frame in motion.frame]]
    across, true_across = (joints[:, 1] - joints[:, 2] for joints in (motion.joints_camera, true))  # right to left hip
    assert (np.sum(across * true_across, 1) > 0).mean() > 0.9


def test_a_file_gives_the_same_motion_every_time(tmp_path: Path, person_detector: Path, motion: Motion) -> None:
    run(settings(tmp_path), threading.Event())
    again = read_motion(tmp_path / "motion.npz")
    assert np.array_equal(again.poses, motion.poses)
    assert np.array_equal(again.trans, motion.trans)


def test_the_overlay_and_the_sheet_are_drawn(tmp_path: Path, motion: Motion) -> None:
    draw_clip(motion, tmp_path, load_body())
    assert (tmp_path / "overlay.mp4").stat().st_size > 100_000
    assert (tmp_path / "overlay.png").stat().st_size > 100_000


def test_errors_against_itself_are_nothing() -> None:
    truth = read_motion(TRUTH)
    errors = errors_of(truth, truth)
    assert errors.mpjpe_mm == pytest.approx(0, abs=1e-3)
    assert errors.pa_mpjpe_mm == pytest.approx(0, abs=1e-2)


def publish(address: str, count: int) -> None:
    """Some messages to whoever listens, and the end."""
    publisher = Publisher(address)
    time.sleep(0.5)  # until the other process has joined
    told = Run(time.time() - time.monotonic(), "body", "bundle")
    for _ in range(count):
        now = time.monotonic()
        publisher.send(encode(replace(people([1, 2]), captured_s=now - 0.05), told, now))
        time.sleep(0.01)
    publisher.send(encode(people([]), told, time.monotonic(), "ended"))
    time.sleep(0.2)
    publisher.close()


@pytest.mark.parametrize("bound", ["tcp://127.0.0.1:5597", "tcp://*:5597", "tcp://0.0.0.0:5597"])
def test_a_latency_probe_gets_every_message_and_its_age(bound: str) -> None:
    with LatencyProbe(bound) as probe:
        publish(bound, 20)
    assert (probe.latency.messages, probe.latency.people) == (20, 40)
    assert 50 <= probe.latency.age_ms[0] < 500


def test_a_latency_probe_reads_the_stream_to_its_end_after_an_interrupt() -> None:
    with LatencyProbe("tcp://127.0.0.1:5597") as probe:
        probe._process.send_signal(signal.SIGINT)
        publish("tcp://127.0.0.1:5597", 5)
    assert probe.latency.messages == 5
    assert probe._process.returncode == 0


def test_a_latency_probe_without_a_message_is_an_error_and_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("refit_rt.stream.latency.ANSWER_S", 0.2)
    probe = LatencyProbe("tcp://127.0.0.1:5597")
    with pytest.raises(UserError, match="the second process got no message"), probe:
        pass
    assert probe._process.returncode is not None


class Silent:
    """A latency probe without a process."""

    latency = Latency(3, 3, 1.0, (1.0, 2.0, 3.0))

    def __init__(self, address: str) -> None:
        pass

    def __enter__(self) -> "Silent":
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(("frames", "says"), [(0, "ended before its first frame"), (3, "found no person")])
def test_a_demo_without_a_result_says_so_and_shows_no_older_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frames: int, says: str
) -> None:
    def run_without_people(settings: config.Config) -> Report:
        assert settings.camera.calibration == ""
        if frames:
            writer = MotionWriter(Path(settings.out.dir) / "motion.npz", 30, "free", "edge")
            writer.add(people([]))
            writer.close()
        return Report(frames, 0, 0, 0, 0.0, {})

    (tmp_path / "overlay.png").write_text("of an earlier run")
    (tmp_path / "motion.npz").write_bytes(TRUTH.read_bytes())
    monkeypatch.setattr(demo_clip, "LatencyProbe", Silent)
    monkeypatch.setattr(demo_clip, "run", run_without_people)
    with pytest.raises(UserError, match=says):
        play(tmp_path, "nowhere", config.Detect(), config.Track(), config.Fit(), config.Smooth())
    assert not (tmp_path / "overlay.png").exists()


def test_the_demo_draws_the_body_that_was_fitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_as_the_truth(settings: config.Config) -> Report:
        (tmp_path / "motion.npz").write_bytes(TRUTH.read_bytes())
        return Report(3, 0, 0, 1, 1.0, {})

    own, asked, drawn = replace(load_body(), name="mine"), [], []
    monkeypatch.setattr(demo_clip, "LatencyProbe", Silent)
    monkeypatch.setattr(demo_clip, "run", run_as_the_truth)
    monkeypatch.setattr(demo_clip, "load_bundle", lambda *given: asked.append(given) or SimpleNamespace(body=own))
    monkeypatch.setattr(demo_clip, "draw_clip", lambda motion, folder, body: drawn.append(body))
    play(tmp_path, "nowhere", config.Detect(), config.Track(), config.Fit(body="mine.npz"), config.Smooth())
    assert drawn == [own]
    assert asked[0][1] == "mine.npz"
