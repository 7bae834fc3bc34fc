"""Stills from end to end: a folder of unrelated pictures → motion.npz and overlay/NAME.jpg."""

import os
import sys
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from refit_rt import config
from refit_rt.body.smpl import load_body
from refit_rt.capture.picture import read_picture
from refit_rt.errors import UserError
from refit_rt.follow import Follower
from refit_rt.motion.npz import MotionWriter, read_motion
from refit_rt.opening import opened
from refit_rt.pipeline import Pipeline
from refit_rt.sender import Report, Sender
from refit_rt.types import Boxes, Frame, Known, People, Tracks
from tests.support.fakes import FakeDetector, FakeFitter, FakeTracker
from tests.support.photos import photo, scene


class Crowd(FakeDetector):
    """Finds one person per 64 px of a picture's width, beyond the first 64 px; each taller than the one to the left."""

    def find(self, frame: Frame, known: Known) -> Boxes:
        count = frame.size[0] // 64 - 1
        left = 64.0 * np.arange(count)
        top = 40.0 - 4 * np.arange(count)
        boxes = np.stack([left, top, left + 20, np.full(count, 90.0)], 1).astype(np.float32)
        return Boxes(frame, boxes, np.ones(count, np.float32), np.zeros(count, np.float32))


class NewIds(FakeTracker):
    """Gives everybody in every picture a new id."""

    given = 0

    def update(self, frame: Frame, boxes: Boxes | None) -> Tracks:
        boxes = boxes or Crowd().find(frame, Known.nobody())
        count = len(boxes.score)
        ids = np.arange(self.given, self.given + count)
        self.given += count
        return Tracks(frame, ids, boxes.xyxy, boxes.roll, boxes.score, np.ones(count, bool))

    def forget(self) -> None:
        self.boxes = None


class Forgetful(FakeFitter):
    def forget(self) -> None:
        self._turn = 0.0


def load(settings: config.Settings, timings, live: bool) -> Follower:
    fitter: Any = Forgetful(load_body())
    tracker: Any = NewIds()
    return Follower(settings, Crowd(), tracker, fitter, timings, live)


def settings_of(source: Path, out: Path, overlay: bool = True, **capture: Any) -> config.Settings:
    return config.Settings(
        capture=config.Capture(source=str(source), **capture),
        publish=config.Publish(enabled=False),
        out=config.Out(dir=str(out), overlay=overlay),
    )


def run(source: Path, out: Path, **options: Any) -> Report:
    return Pipeline(settings_of(source, out, **options), load).run(threading.Event())


def files_of(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Ten unrelated pictures of mixed size, with 0 to 4 people in each, and one that is no picture."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for k in range(9):
        cv2.imwrite(str(folder / f"{k}.png"), scene(k, (64 * (1 + k % 5), 100 + k)))
    photo(folder / "8.jpg", scene(20, (128, 100)), focal_mm=85)
    (folder / "5.jpg").write_bytes(b"no picture")
    return folder


def test_each_picture_has_its_overlay_and_its_people_counted_from_zero_the_largest_first(pictures, tmp_path, caplog):
    report = run(pictures, tmp_path / "out")
    assert files_of(tmp_path / "out") == {"motion.npz", "overlay/8.png.jpg", *(f"overlay/{k}.jpg" for k in range(9))}
    for k in range(8):
        overlay = read_picture(tmp_path / "out" / "overlay" / f"{k}.jpg")
        assert overlay is not None
        assert overlay.shape == (100 + k, 64 * (1 + k % 5), 3)
    motion = read_motion(tmp_path / "out" / "motion.npz")
    assert motion.name is not None
    assert motion.picture_size is not None
    assert motion.picture_focal_px is not None
    expected = [(f"{k}.png", person) for k in range(8) for person in range(k % 5)]
    expected += [("8.jpg", 0), *(("8.png", person) for person in range(3))]
    assert list(zip(motion.name.tolist(), motion.person.tolist(), strict=True)) == expected
    four = motion.box[motion.name == "4.png"]
    assert (np.diff(four[:, 0]) == -64).all()  # the tallest stands at the right
    assert motion.picture_size[motion.name == "4.png"].tolist() == [[320, 104]] * 4
    focal_px = motion.picture_focal_px[motion.name == "8.jpg"].item()
    assert focal_px == pytest.approx(85 / 43.267 * np.hypot(128, 100), rel=1e-4)
    assert (report.frames, report.bad, report.people) == (10, 1, len(expected))
    assert "5.jpg is skipped" in caplog.text


def test_pictures_without_people_are_named_at_the_end(pictures, tmp_path):
    lines = run(pictures, tmp_path / "out").table().splitlines()
    assert lines[-2:] == ["10 pictures, 1 unreadable; 17 people found", "nobody found in: 0.png, 5.png"]


def test_many_pictures_without_people_stay_one_line():
    report = Report(40, 0, 0, 0, 1.0, {}, stills=True, nobody=tuple(f"{k}.jpg" for k in range(40)))
    line = report.table().splitlines()[-1]
    assert line.endswith("28.jpg, 29.jpg, and 10 more")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_no_text_is_no_obstacle(pictures, tmp_path):
    name = os.fsdecode(b"caf\xe9.png")  # Latin-1
    for picture in ("0.png", "2.png"):
        (pictures / picture).rename(pictures / f"{picture[0]} {name}")
    report = run(pictures, tmp_path / "out")
    report.table().encode()
    assert f"overlay/0 {name[:-4]}.jpg" in files_of(tmp_path / "out")
    motion = read_motion(tmp_path / "out" / "motion.npz")
    assert motion.name is not None
    assert f"2 {name}" in motion.name.tolist()


def test_pictures_are_fitted_cold_both_ways_unfiltered_and_all(pictures, tmp_path):
    with opened(settings_of(pictures, tmp_path / "out")) as ends:
        settings = ends.settings
    assert ends.lossless
    assert (settings.fit.warm, settings.fit.mirror, settings.fit.cold_iterations) == (False, "both", 5)
    assert not settings.smooth.enabled
    asked = settings_of(pictures, tmp_path / "out")
    asked = config.Settings(capture=asked.capture, publish=asked.publish, fit=config.Fit(mirror="off"))
    with opened(asked) as ends:
        assert ends.settings.fit.mirror == "off"


def test_ids_in_the_stream_are_unique(pictures, tmp_path, monkeypatch):
    sent, publish = [], Sender._publish
    monkeypatch.setattr(Sender, "_publish", lambda self, status: (sent.append(self.people.ids), publish(self, status)))
    run(pictures, tmp_path / "out")
    ids = np.concatenate(sent[:-1])
    assert len(set(ids.tolist())) == len(ids) == 17


def test_one_picture_is_a_still(pictures, tmp_path):
    report = run(pictures / "2.png", tmp_path / "out")
    assert files_of(tmp_path / "out") == {"motion.npz", "overlay/2.jpg"}
    assert report.table().splitlines()[-1] == "1 picture; 2 people found"


def test_overlays_of_an_earlier_run_do_not_stay(pictures, tmp_path):
    out = tmp_path / "out"
    run(pictures, out)
    (out / "overlay.mp4").touch()
    run(pictures / "3.png", out)
    assert files_of(out) == {"motion.npz", "overlay/3.jpg"}
    run(pictures / "3.png", out, overlay=False)
    assert files_of(out) == {"motion.npz"}
    run(pictures / "3.png", out)
    run(pictures, out, pictures="clip", overlay=False)
    assert files_of(out) == {"motion.npz"}
    assert read_motion(out / "motion.npz").name is None


def test_pictures_of_the_user_are_not_replaced(pictures, tmp_path):
    pictures = pictures.rename(tmp_path / "overlay")
    before = files_of(tmp_path)
    with pytest.raises(UserError, match=r"overlay: is there and is no folder of overlays\. Give another"):
        run(pictures, tmp_path)
    run(pictures, tmp_path, overlay=False)
    assert files_of(tmp_path) == before | {"motion.npz"}


def test_stopping_leaves_whole_files(pictures, tmp_path, monkeypatch):
    pipeline, stop = Pipeline(settings_of(pictures, tmp_path / "out"), load), threading.Event()
    add = MotionWriter.add

    def stopping(writer: MotionWriter, people: People, name: str) -> None:
        add(writer, people, name)
        if name == "3.png":
            stop.set()

    monkeypatch.setattr(MotionWriter, "add", stopping)
    report = pipeline.run(stop)
    names = files_of(tmp_path / "out")
    assert 4 <= report.frames <= 10
    assert {"motion.npz", "overlay/0.jpg", "overlay/1.jpg", "overlay/2.jpg"} <= names
    assert not [name for name in names if name.split("/")[-1].startswith(".")]
    overlays = [tmp_path / "out" / name for name in names if name.endswith(".jpg")]
    assert all(read_picture(overlay) is not None for overlay in overlays)
