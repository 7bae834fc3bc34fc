"""The shipped bundle on the shipped clip: the whole chain from file to message, against the clip's truth."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from refit_rt import config
from refit_rt.body.smpl import load_body
from refit_rt.commands.demo_clip import CLIP, TRUTH, draw_clip, errors_of
from refit_rt.motion.npz import COLUMNS, Motion, MotionWriter, read_motion
from refit_rt.pipeline import run
from refit_rt.types import People


def settings(folder: Path, **groups) -> config.Settings:
    focal_px = float(np.load(TRUTH)["focal_px"])
    given = {
        "capture": config.Capture(source=str(CLIP), pace="lossless"),
        "camera": config.Camera(focal_px=focal_px),
        "fit": config.Fit(precision="f32"),
        "publish": config.Publish(enabled=False),
        "out": config.Out(dir=str(folder), overlay=False),
    }
    return config.Settings(**(given | groups))


@pytest.fixture(scope="module")
def motion(tmp_path_factory: pytest.TempPathFactory) -> Motion:
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


def test_a_file_gives_the_same_motion_every_time(
    tmp_path: Path, motion: Motion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second run, which ends after a third of the clip."""
    stop, add = threading.Event(), MotionWriter.add

    def adding(writer: MotionWriter, people: People, name: str = "") -> None:
        add(writer, people, name)
        if people.frame_index == 100:
            stop.set()

    monkeypatch.setattr(MotionWriter, "add", adding)
    run(settings(tmp_path), stop)
    again = read_motion(tmp_path / "motion.npz")
    rows = len(again.frame)
    assert again.frame[-1] >= 100
    assert np.array_equal(again.frame, motion.frame[:rows])
    assert np.array_equal(again.poses, motion.poses[:rows])
    assert np.array_equal(again.trans, motion.trans[:rows])


def test_the_overlay_and_the_sheet_are_drawn(tmp_path: Path, motion: Motion) -> None:
    part = {name: getattr(motion, name)[:90] for name in COLUMNS}
    draw_clip(replace(motion, **part), tmp_path, load_body())
    assert (tmp_path / "overlay.mp4").stat().st_size > 100_000
    assert (tmp_path / "overlay.png").stat().st_size > 100_000
