"""Several cameras and files: the frames of one moment are found, and a camera that is late or gone stops nobody."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from refit_rt import config
from refit_rt.capture import live_cameras, sync, ticks
from refit_rt.capture.recordings import Reel
from refit_rt.capture.sync import open_sources
from refit_rt.capture.times import read_times
from refit_rt.errors import UserError
from refit_rt.types import Frame, FrameSet
from tests.support.filmed import write_clip
from tests.support.paths import ROOT

PERIOD_S = 0.1  # of the fake cameras: a slow machine delivers their pictures within it
CHARUCO = ROOT.parent / "shared" / "media" / "charuco_4cam"
PICTURE = np.zeros((4, 6, 3), np.uint8)


def indices(one: FrameSet) -> tuple[int | None, ...]:
    return tuple(None if frame is None else frame.index for frame in one.frames)


def recorded(files: dict[str, Path], lossless: bool = True, **settings) -> sync.SyncedSource:
    sources = {name: str(path) for name, path in files.items()}
    return open_sources(config.Capture(sources=sources, **settings), lossless)


def timestamps(path: Path, times_s: dict[str, list[float]]) -> str:
    rows = [f"{name},{k},{time_s}" for name, times in times_s.items() for k, time_s in enumerate(times)]
    path.write_text("\n".join(["camera,frame,time", *rows]) + "\n")
    return str(path)


@pytest.fixture
def two(tmp_path: Path) -> dict[str, Path]:
    """Two files of 20 frames at 50 frames per second."""
    return {name: write_clip(tmp_path / f"{name}.mp4") for name in ("left", "right")}


def test_files_of_one_rate_go_in_step(two):
    source = recorded(two)
    all_ticks = list(source)
    assert [indices(one) for one in all_ticks] == [(k, k) for k in range(20)]
    assert all_ticks[0].names == ("left", "right")
    assert [frame.camera for frame in all_ticks[3].frames if frame] == ["left", "right"]
    np.testing.assert_allclose([one.time_s for one in all_ticks], np.arange(20) / 50, atol=1e-3)
    assert [one.index for one in all_ticks] == list(range(20))
    assert (source.fps, source.bad, source.runs_by_itself, dict(source.missed)) == (50, 0, False, {})


def test_the_slower_file_sets_the_pace(tmp_path):
    files = {"slow": write_clip(tmp_path / "slow.mp4", 10, 25.0), "fast": write_clip(tmp_path / "fast.mp4", 20, 50.0)}
    source = recorded(files)
    assert [indices(one) for one in source][:10] == [(k, 2 * k) for k in range(10)]
    assert source.fps == 25


def test_a_file_that_ends_early_is_missing_from_then_on(tmp_path, caplog):
    files = {"long": write_clip(tmp_path / "long.mp4", 10), "short": write_clip(tmp_path / "short.mp4", 6)}
    source = recorded(files)
    all_ticks = list(source)
    assert [one.missing for one in all_ticks] == [()] * 6 + [("short",)] * 4
    assert indices(all_ticks[-1]) == (9, None)
    assert caplog.text.count("camera 'short': its recording has ended") == 1
    assert source.missed == {"short": 4}


def test_times_from_a_file_pair_the_frames_that_were_taken_together(two, tmp_path):
    """The right camera begins three frames later and loses a frame, and its clock runs 2 ms late."""
    left = [7 + k * 0.02 for k in range(20)]
    right = [7 + (k + 3 + (k >= 5)) * 0.02 + 0.002 for k in range(20)]
    source = recorded(two, timestamps=timestamps(tmp_path / "times.csv", {"left": left, "right": right}))
    all_ticks = list(source)
    pairs = [indices(one) for one in all_ticks]
    assert pairs[:4] == [(0, None), (1, None), (2, None), (3, 0)]
    assert pairs[7:10] == [(7, 4), (8, None), (9, 5)]
    assert pairs[-1] == (None, 19)
    assert all_ticks[5].time_s == pytest.approx(0.101, abs=1e-4)


def test_a_constant_delay_is_subtracted(two):
    pairs = [indices(one) for one in recorded(two, delays_s={"right": 0.04})]
    assert (None, 0) in pairs
    assert pairs[5] == (3, 5)


def test_times_that_jump_back_are_reported_once_and_the_run_goes_on(two, tmp_path, caplog):
    left = [k * 0.02 for k in range(20)]
    right = [time_s - 3 * (k in (6, 12)) for k, time_s in enumerate(left)]
    source = recorded(two, timestamps=timestamps(tmp_path / "times.csv", {"left": left, "right": right}))
    assert [indices(one) for one in source] == [(k, k) for k in range(20)]
    assert caplog.text.count("camera 'right': its times jump back by 2.980 s") == 1


def test_free_running_cameras_of_one_rate_lose_no_frame():
    periods_s, rng, whole = dict.fromkeys("abcd", 1.0), np.random.default_rng(0), []
    for _ in range(50):
        phases = dict(zip("abcd", rng.uniform(0, 1, 4).tolist(), strict=True))
        frames = {n: [(phase + k, Frame(n, k, 0.0, 0.0, PICTURE)) for k in range(30)] for n, phase in phases.items()}
        reels = {name: Reel(iter(of_one)) for name, of_one in frames.items()}
        complete = 0
        while all(reel.head for reel in reels.values()):
            now_s = ticks.moment_s({name: reel.head[0] for name, reel in reels.items() if reel.head}, periods_s)
            taken = [reel.take(now_s, ticks.tolerance_s(periods_s)) for reel in reels.values()]
            complete += all(taken)
        whole.append(complete)
    assert min(whole) >= 28


def test_recordings_played_live_keep_their_pace_and_catch_up(two):
    began_s, seen = time.monotonic(), []
    for one in recorded(two, lossless=False):
        seen.append(one)
        if one.index == 2:
            time.sleep(0.15)  # seven frames
    assert time.monotonic() - began_s > 19 / 50 - 0.02
    assert [one.index for one in seen] == list(range(20))
    assert min(one.captured_s - one.time_s for one in seen) > seen[0].captured_s - 0.001  # never early


def test_recordings_played_live_repeat_until_they_are_closed(two):
    source = recorded(two, lossless=False, fps=1000.0, loop=True)
    seen = []
    for one in source:
        seen.append(one)
        if one.index >= 45:
            source.close()
    assert seen[-1].index >= 45
    assert (np.diff([one.time_s for one in seen]) > 0).all()
    assert all(frame.time_s == pytest.approx(one.time_s) for one in seen for frame in one.frames if frame)


def test_a_recording_with_its_timestamps_is_read_as_it_was_recorded():
    if not CHARUCO.exists():
        pytest.skip("shared/media/charuco_4cam is missing")
    path = CHARUCO / "timestamps.csv"
    names = [f"cam_{k}" for k in range(4)]
    times_s = read_times(path, names)
    assert [len(times_s[name]) for name in names] == [111] * 4
    assert times_s["cam_3"][0] == pytest.approx(123.3359266)


class Fake:
    """A camera under a test's control: `give` makes it deliver a picture taken at a time."""

    runs_by_itself, bad = True, 0

    def __init__(self, name: str, fps: float) -> None:
        self.name, self.fps, self.waiting, self._count = name, fps, "", 0
        self._frames: list[Frame | Exception | None] = []
        self._changed = threading.Condition()

    def give(self, captured_s: float) -> None:
        self._put(Frame(self.name, self._count, captured_s, 0.0, PICTURE))
        self._count += 1

    def fail(self, error: Exception) -> None:
        self._put(error)

    def close(self) -> None:
        self._put(None)

    def _put(self, item: Frame | Exception | None) -> None:
        with self._changed:
            self._frames.append(item)
            self._changed.notify_all()

    def __iter__(self):
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._frames)
                item = self._frames.pop(0)
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            yield item


class Rig:
    """Three fake cameras and what is read from them, in a thread."""

    def __init__(self, period_s: float = PERIOD_S, **settings) -> None:
        self.cameras = {name: Fake(name, 1 / period_s) for name in ("a", "b", "c")}
        self.source = live_cameras.SyncedCameras(config.Capture(sources=dict.fromkeys(self.cameras, ""), **settings))
        for name, camera in self.cameras.items():
            self.source.add(name, camera)
        self.seen: list[FrameSet] = []
        self.error: Exception | None = None
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        try:
            for one in self.source:
                self.seen.append(one)
        except UserError as error:
            self.error = error

    def give(self, names: str) -> None:
        """One picture from each of these cameras, taken now, and waits for their tick."""
        count, now_s = len(self.seen), time.monotonic()
        for name in names:
            self.cameras[name].give(now_s)
        self.until(lambda: len(self.seen) > count)

    def until(self, true) -> None:
        end_s = time.monotonic() + 5
        while not true() and time.monotonic() < end_s:
            time.sleep(0.001)
        assert true()

    def end(self) -> None:
        self.source.close()
        self._reader.join(5)
        assert not self._reader.is_alive()


@pytest.fixture
def rig():
    made = Rig()
    yield made
    made.end()


def test_a_tick_comes_as_soon_as_every_camera_has_a_picture(rig):
    rig.give("abc")
    rig.give("abc")
    assert [indices(one) for one in rig.seen] == [(0, 0, 0), (1, 1, 1)]
    assert [one.index for one in rig.seen] == [0, 1]
    assert rig.seen[0].time_s == 0
    assert rig.seen[1].time_s == pytest.approx(rig.seen[1].captured_s - rig.seen[0].captured_s)


def test_a_camera_that_is_late_is_left_out_named_and_taken_again(rig, caplog):
    rig.give("abc")
    for _ in range(live_cameras.LATE_TICKS + 1):
        rig.give("ab")
    rig.give("abc")
    rig.give("abc")
    missing = [one.missing for one in rig.seen]
    assert missing == [()] + [("c",)] * (live_cameras.LATE_TICKS + 1) + [missing[-2]] + [()]
    assert caplog.text.count("camera 'c' is late") == 1
    assert caplog.text.count("camera 'c' is back") == 1
    assert rig.source.missed["c"] >= live_cameras.LATE_TICKS + 1


def test_a_camera_that_is_disconnected_does_not_stop_the_others(rig, caplog):
    rig.give("abc")
    rig.cameras["b"].waiting = "rtsp://host/b is disconnected, attempt 1"
    for _ in range(3):
        rig.give("ac")
    rig.until(lambda: "camera 'b' is gone (rtsp://host/b is disconnected, attempt 1)" in caplog.text)
    assert {one.missing for one in rig.seen[1:]} == {("b",)}
    assert rig.source.waiting == ""
    for camera in rig.cameras.values():
        camera.waiting = "gone"
    assert rig.source.waiting == "gone; gone; gone"


def test_a_camera_that_ends_is_missing_and_the_last_one_ends_the_rig(rig, caplog):
    rig.give("abc")
    rig.cameras["a"].close()
    rig.until(lambda: "camera 'a' has ended" in caplog.text)
    rig.give("bc")
    assert rig.seen[-1].missing == ("a",)
    rig.cameras["b"].close()
    rig.cameras["c"].close()
    rig._reader.join(5)
    assert not rig._reader.is_alive()
    assert caplog.text.count("has ended") >= 1


def test_an_error_of_one_camera_is_raised_where_the_ticks_are_read(rig):
    rig.give("abc")
    rig.cameras["b"].fail(UserError("the disk is full"))
    rig._reader.join(5)
    assert str(rig.error) == "the disk is full"


def test_the_newest_picture_of_a_fast_camera_is_taken(rig):
    now_s = time.monotonic()
    for k in range(3):
        rig.cameras["a"].give(now_s - 0.012 + 0.006 * k)
    rig.until(lambda: rig.source._cameras["a"].last_s == now_s)
    rig.give("bc")
    assert indices(rig.seen[0]) == (2, 0, 0)


def test_the_pictures_of_fast_cameras_wait_for_a_camera_with_a_known_delay():
    rig = Rig(period_s=0.02, delays_s={"c": 0.06})
    base_s = time.monotonic() + 0.01
    try:
        for k in range(8):
            time.sleep(max(0.0, base_s + k * 0.02 - time.monotonic()))
            for name, delay in (("a", 0), ("b", 0), ("c", 3)):
                if k >= delay:
                    rig.cameras[name].give(base_s + k * 0.02)
        rig.until(lambda: len(rig.seen) >= 3)
        together = [indices(one) for one in rig.seen if not one.missing]
        assert len(together) >= 2
        assert all(a == b == c for a, b, c in together)
    finally:
        rig.end()


def test_a_clock_that_jumps_back_is_reported_once(rig, caplog):
    rig.give("abc")
    rig.cameras["b"].give(time.monotonic() - 5)
    rig.cameras["b"].give(time.monotonic() - 4)
    rig.give("ac")
    rig.until(lambda: "camera 'b': its times jump back by" in caplog.text)
    assert caplog.text.count("jump back") == 1


@pytest.mark.parametrize(
    ("capture", "says"),
    [
        ({"sources": {"a": "x.mp4", "b": "./x.mp4"}}, "capture.sources: 'a' and 'b' are both ./x.mp4"),
        ({"sources": {"a": "0", "b": "/dev/video0"}}, "'a' and 'b' are both /dev/video0"),
        ({"sources": {"a,b": "0"}}, "capture.sources: 'a,b' is no name of a camera"),
        ({"sources": {"a": "gone.mp4"}}, "capture.sources: camera 'a': gone.mp4: no such file"),
        ({"sources": {"a": "x.mp4"}, "delays_s": {"b": 0.1}}, "capture.delays_s: has a camera 'b'"),
        ({"sources": {"a": "x.mp4"}, "pictures": "stills"}, "capture.pictures: stills are single pictures"),
        ({"sources": {"a": "http://127.0.0.1:9/x"}, "timestamps": "t.csv"}, "capture.timestamps: is for recordings"),
    ],
)
def test_sources_that_contradict_each_other_are_refused(capture, says):
    with pytest.raises(UserError) as error:
        open_sources(config.Capture(**capture), True)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cam,frame,time\n", "times.csv: has no column 'camera'"),
        ("camera,frame,time\nleft,0,0\n", "has no times of camera 'right', only of left"),
        ("camera,frame,time\nleft,0,x\n", "line 2 is no frame of a camera"),
        ("camera,frame,time\nleft,0\n", "line 2 is no frame of a camera"),
        ("camera,frame,time\nleft,0,0\nright,0,0\n", "has 1 times of camera 'left', but its file has more frames"),
        ("\x00\xff", "times.csv: "),
        (None, "times.csv: cannot be read"),
    ],
)
def test_a_file_of_times_that_is_of_no_use_is_refused(two, tmp_path, text, says):
    path = tmp_path / "times.csv"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError) as error:
        list(recorded(two, timestamps=str(path)))
    assert says in str(error.value)
