"""motion.npz: what is recorded is read back, after a kill too, and bad files are refused in one line."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from refit_rt.__main__ import command
from refit_rt.errors import UserError
from refit_rt.motion import npz
from tests.support.fakes import people
from tests.support.paths import ROOT

RECORDER = """
import sys
from dataclasses import replace
from pathlib import Path
from refit_rt.motion.npz import MotionWriter
from tests.support.fakes import people

writer = MotionWriter(Path(sys.argv[1]), 0.0, "free", "edge")
for index in range(10**9):
    writer.add(replace(people([1, 4], index / 50), frame_index=index))
    print(index, flush=True)
"""


def recorded(path: Path, crowds: list[list[int]], fps: float = 30.0) -> npz.Motion:
    writer = npz.MotionWriter(path, fps, "free", "edge")
    for k, ids in enumerate(crowds):
        writer.add(people(ids, k / 10))
    writer.close()
    return npz.read_motion(path)


def test_one_row_per_person_and_frame_and_the_facts_once(tmp_path):
    read = recorded(tmp_path / "motion.npz", [[1], [], [1, 5]])
    assert read.person.tolist() == [1, 1, 5]
    np.testing.assert_allclose(read.time_s, [0, 0.2, 0.2])
    both = people([1, 5], 0.2)
    np.testing.assert_array_equal(read.poses[1:].reshape(2, 24, 3), both.poses)
    for name in ("betas", "trans", "joints_camera", "joints_px", "joints_world", "box", "confidence", "iterations"):
        np.testing.assert_array_equal(getattr(read, name)[1:], getattr(both, name))
    assert (read.focal_px, read.fps, read.size, read.body, read.bundle) == (800, 30, (640, 480), "free", "edge")


def test_the_file_has_exactly_the_entries_of_the_format(tmp_path):
    recorded(tmp_path / "motion.npz", [[1]])
    with np.load(tmp_path / "motion.npz", allow_pickle=False) as archive:
        assert set(archive.files) == {
            *("frame", "time_s", "person", "poses", "betas", "trans", "joints_camera", "joints_px", "joints_world"),
            *("box", "confidence", "iterations", "focal_px", "fps", "size", "body", "bundle", "schema"),
            *("views", "contacts", "gender", "mocap_framerate", "axes"),
        }
        assert (archive["gender"], archive["mocap_framerate"], archive["fps"]) == ("neutral", 30, 30)
        assert str(archive["axes"]).startswith("opencv-camera: x right, y down, z forward, metres")
        assert archive["poses"].shape == (1, 72)
        assert archive["joints_world"].shape == (1, 24, 3)


def test_cameras_views_floor_and_contacts_are_kept_and_may_be_absent(tmp_path):
    path, place = tmp_path / "motion.npz", tuple(range(12))
    known = replace(people([1, 5]), camera="a", cameras=("a", "b"), world_from_cameras=(place, place[::-1]))
    known = replace(known, views=np.array([3, 2], np.int32), contacts=np.eye(2, 4, dtype=np.float32))
    writer = npz.MotionWriter(path, 30.0, "free", "edge")
    writer.add(known)
    writer.add(replace(known, frame_index=8, time_s=0.1, floor=(0.0, 1.0, 0.0, -1.5)))  # found while it is recorded
    writer.close()
    read = npz.read_motion(path)
    assert (read.cameras, read.world_from_cameras, read.floor) == (
        known.cameras,
        known.world_from_cameras,
        (0, 1, 0, -1.5),
    )
    shown = read.people(8)
    np.testing.assert_array_equal(shown.views, known.views)
    np.testing.assert_array_equal(shown.contacts, known.contacts)
    assert (shown.camera, shown.cameras, shown.floor) == ("a", ("a", "b"), (0, 1, 0, -1.5))
    with np.load(path) as archive:
        earlier = {name: archive[name] for name in archive.files if name not in (*npz.PLACES, *npz.ADDED_FIELDS)}
    np.savez(path, allow_pickle=False, **earlier)
    first = npz.read_motion(path).people(8, "one")
    assert (first.camera, first.cameras, first.floor) == ("one", (), None)
    assert not first.views.any()
    assert not first.contacts.any()


@pytest.mark.parametrize(
    "wrong",
    [
        {"cameras": np.array(["a"]), "world_from_cameras": np.zeros(11)},
        {"cameras": np.array(["a", "b"]), "world_from_cameras": np.zeros((1, 12))},
        {"cameras": np.array(["a"]), "world_from_cameras": np.full((1, 12), np.nan)},
        {"floor": np.zeros(3)},
        {"floor": np.full(4, np.nan)},
        {"floor": np.array(["a"] * 4)},
        {"frame": np.array(3)},
    ],
)
def test_facts_of_a_wrong_shape_are_refused_in_one_line(tmp_path, wrong):
    recorded(tmp_path / "motion.npz", [[1]])
    with np.load(tmp_path / "motion.npz") as archive:
        entries = dict(archive)
    np.savez(tmp_path / "wrong.npz", allow_pickle=False, **(entries | wrong))
    with pytest.raises(UserError, match=r"wrong\.npz: \w+ (is not|has shape) .*Record it again"):
        npz.read_motion(tmp_path / "wrong.npz")


def test_an_unfinished_recording_and_one_person_become_a_motion_npz(tmp_path, capsys):
    writer = npz.MotionWriter(tmp_path / "run.npz", 30.0, "free", "edge")
    for k, ids in enumerate([[1, 5], [], [5]]):
        writer.add(replace(people(ids, k / 10), frame_index=k))
    left = shutil.copy(tmp_path / "run.unfinished", tmp_path / "motion.unfinished")
    writer.close()
    whole = npz.read_motion(tmp_path / "run.npz")
    assert command(["export", str(left), "--to", "npz"]) == 0
    assert "motion.npz: 3 rows" in capsys.readouterr().out
    read = npz.read_motion(tmp_path / "motion.npz")
    for name in (*npz.COLUMNS, *npz.FACTS):
        np.testing.assert_array_equal(getattr(read, name), getattr(whole, name), err_msg=name)
    assert command(["export", str(left), "--to", "npz", "--person", "5", "--out", str(tmp_path / "five.npz")]) == 0
    assert set(npz.read_motion(tmp_path / "five.npz").person.tolist()) == {5}
    assert command(["export", str(tmp_path / "five.npz"), "--to", "npz"]) == 2


def test_a_recording_of_stills_has_name_lens_and_size_of_each_picture(tmp_path):
    writer = npz.MotionWriter(tmp_path / "motion.npz", 30, "free", "edge", stills=True)
    first, nobody = people([0, 1]), replace(people([]), frame_index=8)
    other = replace(people([0]), frame_index=9, size=(300, 400), focal_px=512.5)
    for one, name in ((first, "bench, été.jpg"), (nobody, "wall.jpg"), (other, "a.png")):
        writer.add(one, name)
    writer.close()
    read = npz.read_motion(tmp_path / "motion.npz")
    assert read.name is not None
    assert read.picture_size is not None
    assert read.picture_focal_px is not None
    assert read.name.tolist() == ["bench, été.jpg", "bench, été.jpg", "a.png"]
    assert read.picture_size.tolist() == [[640, 480], [640, 480], [300, 400]]
    assert read.picture_focal_px.tolist() == [800, 800, 512.5]
    assert (read.person.tolist(), read.frame.tolist()) == ([0, 1, 0], [7, 7, 9])
    seen = read.people(9)
    assert (seen.size, seen.focal_px, seen.centre_px) == ((300, 400), 512.5, (149.5, 199.5))


def test_stills_without_people_make_an_empty_recording(tmp_path):
    writer = npz.MotionWriter(tmp_path / "motion.npz", 30, "free", "edge", stills=True)
    writer.add(people([]), "wall.jpg")
    writer.close()
    read = npz.read_motion(tmp_path / "motion.npz")
    assert read.name is not None
    assert (len(read.name), read.poses.shape) == (0, (0, 72))


def test_a_recording_of_stills_that_lacks_a_column_is_refused(tmp_path):
    recorded(tmp_path / "motion.npz", [[1]])
    whole = dict(np.load(tmp_path / "motion.npz"))
    np.savez(tmp_path / "motion.npz", **whole, name=np.array(["a.jpg"]), picture_focal_px=np.zeros(1))
    with pytest.raises(UserError, match="lacks picture_size"):
        npz.read_motion(tmp_path / "motion.npz")


def test_many_rows_survive_the_chunks_they_are_written_in(tmp_path, monkeypatch):
    monkeypatch.setattr(npz, "CHUNK_ROWS", 7)
    assert recorded(tmp_path / "motion.npz", [[k, k + 1] for k in range(50)]).person.tolist()[-2:] == [49, 50]


def test_frames_without_people_make_an_empty_recording(tmp_path):
    assert recorded(tmp_path / "motion.npz", [[], []]).poses.shape == (0, 72)


def test_a_recording_without_gender_and_axes_is_read(tmp_path):
    path = tmp_path / "motion.npz"
    recorded(path, [[1]])
    whole = dict(np.load(path))
    np.savez(path, **{name: whole[name] for name in whole if name not in ("gender", "mocap_framerate", "axes")})
    assert npz.read_motion(path).gender == "neutral"


def test_the_unfinished_file_goes_when_the_recording_is_whole_and_nothing_stays_without_a_frame(tmp_path):
    path = tmp_path / "motion.npz"
    writer = npz.MotionWriter(path, 30, "free", "edge")
    writer.close()
    assert names_in(tmp_path) == []
    writer = npz.MotionWriter(path, 30, "free", "edge")
    writer.add(people([1]))
    assert names_in(tmp_path) == ["motion.unfinished"]
    writer.close()
    writer.close()
    assert names_in(tmp_path) == ["motion.npz"]


def names_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@pytest.fixture(scope="module")
def left_by_a_kill(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a recording whose process was killed after ten frames of two people, 50 a second."""
    folder = tmp_path_factory.mktemp("killed")
    process = subprocess.Popen(
        [sys.executable, "-c", RECORDER, str(folder / "motion.npz")],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) == 9:
                process.kill()
                break
    return folder


@pytest.fixture
def killed(left_by_a_kill: Path, tmp_path: Path) -> Path:
    """The same folder, for one test alone."""
    return Path(shutil.copytree(left_by_a_kill, tmp_path, dirs_exist_ok=True))


def test_what_a_killed_process_has_recorded_can_be_read(killed, caplog):
    assert names_in(killed) == ["motion.unfinished"]
    read = npz.read_motion(killed / "motion.unfinished")
    rows = len(read.frame)
    assert rows >= 20
    assert read.frame[:20].tolist() == [k // 2 for k in range(20)]
    assert read.person[:20].tolist() == [1, 4] * 10
    np.testing.assert_array_equal(read.poses[:2].reshape(2, 24, 3), people([1, 4]).poses)
    assert (read.focal_px, read.size, read.body, read.bundle) == (800, (640, 480), "free", "edge")
    assert read.fps == pytest.approx(50)
    seconds = (read.frame[-1] - read.frame[0]) / 50
    assert f"killed or still goes on; it has {rows} rows over {seconds:.1f} s" in caplog.text


def test_a_missing_recording_names_the_unfinished_one(killed):
    with pytest.raises(UserError) as refusal:
        npz.read_motion(killed / "motion.npz")
    part = killed / "motion.unfinished"
    assert f"motion.npz: no such file. Its run was killed or still goes on. What has been recorded is in {part}" in str(
        refusal.value
    )
    assert f"refit-rt export {part} --to glb, or refit-rt replay {part}" in str(refusal.value)
    with pytest.raises(UserError, match="Record it again"):
        npz.read_motion(killed / "other.npz")


def test_another_run_keeps_the_unfinished_file_of_a_killed_one(killed, caplog):
    left = (killed / "motion.unfinished").read_bytes()
    writer = npz.MotionWriter(killed / "motion.npz", 30, "free", "edge")
    assert f"{killed / 'motion.unfinished'}: kept, left by other runs" in caplog.text
    writer.add(people([8]))
    assert names_in(killed) == ["motion-2.unfinished", "motion.unfinished"]
    writer.close()
    assert names_in(killed) == ["motion.npz", "motion.unfinished"]
    assert (killed / "motion.unfinished").read_bytes() == left
    assert npz.read_motion(killed / "motion.npz").person.tolist() == [8]


def test_a_recording_is_not_written_over_an_unfinished_one(killed):
    with pytest.raises(UserError, match=r"Give another, such as motion\.npz"):
        npz.MotionWriter(killed / "motion.unfinished", 30, "free", "edge")


@pytest.mark.parametrize("stills", [False, True])
def test_an_unfinished_file_cut_anywhere_is_read_to_its_last_whole_row_or_refused(tmp_path, stills):
    writer = npz.MotionWriter(tmp_path / "motion.npz", 30, "free", "edge", stills)
    for name in ("été.jpg", "b.jpg", "c.jpg"):
        writer.add(people([1, 2]), name)
    whole = (tmp_path / "motion.unfinished").read_bytes()
    writer.close()
    finished = npz.read_motion(tmp_path / "motion.npz")
    size = (npz.STILL_ROW if stills else npz.ROW).itemsize
    begin = len(whole) - 6 * size
    cut = tmp_path / "cut.unfinished"
    for length in (0, 1, len(npz.MAGIC) - 1, len(npz.MAGIC), len(npz.MAGIC) + 1, begin - 20, begin - 1):
        cut.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"cut.unfinished: is not a motion.npz \(it has not even a whole header"):
            npz.read_motion(cut)
    for rows in range(7):
        for more in (0, 1, 7, size - 1) if rows < 6 else (0,):
            cut.write_bytes(whole[: begin + rows * size + more])
            read = npz.read_motion(cut)
            for name in (*npz.COLUMNS, *(npz.STILL_COLUMNS if stills else ())):
                np.testing.assert_array_equal(getattr(read, name), getattr(finished, name)[:rows])


def test_zeros_that_a_power_failure_leaves_at_the_end_are_no_rows(tmp_path):
    writer = npz.MotionWriter(tmp_path / "motion.npz", 30, "free", "edge")
    writer.add(people([1, 2]))
    with (tmp_path / "motion.unfinished").open("ab") as file:
        file.write(bytes(3 * npz.ROW.itemsize + 5))
    assert npz.read_motion(tmp_path / "motion.unfinished").person.tolist() == [1, 2]
    writer.close()


def test_a_damaged_header_is_an_error_in_one_line(tmp_path, caplog):
    writer = npz.MotionWriter(tmp_path / "motion.npz", 30, "free", "edge")
    writer.add(people([1]))
    path = tmp_path / "motion.unfinished"
    whole = path.read_bytes()
    writer.close()
    for old, new in (
        (b'{"fps"', b'["fps"'),
        (b'"<f8"', b'"<z8"'),
        (b'"frame"', b'"drame"'),
        (b"motion/1", b"motion/9"),
    ):
        assert old in whole
        path.write_bytes(whole.replace(old, new, 1))
        with pytest.raises(UserError, match=r"motion.unfinished: .*\. Record it again"):
            npz.read_motion(path)
    assert caplog.text == ""


def test_an_unknown_rate_is_computed_from_the_frames(tmp_path):
    writer = npz.MotionWriter(tmp_path / "motion.npz", 0.0, "free", "edge")
    for index, time_s in ((10, 1.0), (25, 1.5)):
        writer.add(replace(people([1], time_s), frame_index=index))
    writer.close()
    assert npz.read_motion(tmp_path / "motion.npz").fps == pytest.approx(30)


def test_a_file_that_cannot_be_read_is_an_error_in_one_line(tmp_path):
    path = tmp_path / "motion.npz"
    with pytest.raises(UserError, match="no such file"):
        npz.read_motion(path)
    path.write_bytes(b"PK no")
    with pytest.raises(UserError, match=r"is not a motion.npz"):
        npz.read_motion(path)
    np.savez(path, poses=np.zeros(3))
    with pytest.raises(UserError, match="lacks frame, time_s"):
        npz.read_motion(path)
    recorded(path, [[1]])
    whole = dict(np.load(path))
    np.savez(path, **{**whole, "schema": np.array("other")})
    with pytest.raises(UserError, match="schema 'other'"):
        npz.read_motion(path)
    np.savez(path, **{**whole, "betas": np.zeros((1, 9))})
    with pytest.raises(UserError, match=r"betas has shape \(1, 9\), but \(1, 10\) is needed"):
        npz.read_motion(path)


def test_a_missing_folder_is_an_error_in_one_line(tmp_path):
    with pytest.raises(UserError, match=r"motion.npz: cannot be written \(No such file or directory\)"):
        npz.MotionWriter(tmp_path / "gone" / "motion.npz", 30, "free", "edge")


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """A limit of a file's size stands for the full disk."""
    resource = pytest.importorskip("resource", reason="this system has no limit of a file's size")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_an_error_in_one_line_and_leaves_what_has_been_recorded(tmp_path):
    writer = npz.MotionWriter(tmp_path / "motion.npz", 30, "free", "edge")
    writer.add(people([1]))
    part = tmp_path / "motion.unfinished"
    with room_for(part.stat().st_size + 500):
        for write in (lambda: writer.add(people([2])), writer.close):
            with pytest.raises(UserError, match=r"motion.npz: cannot be written \(File too large\)") as refusal:
                write()
            assert f"What has been recorded is in {part}. Use it" in str(refusal.value)
    assert names_in(tmp_path) == ["motion.unfinished"]
    assert npz.read_motion(part).person.tolist() == [1]


def test_a_disk_that_is_full_from_the_start_is_left_as_it_is(tmp_path):
    writer = npz.MotionWriter(tmp_path / "motion.npz", 30, "free", "edge")
    with room_for(100):
        for write in (lambda: writer.add(people([2])), writer.close):
            with pytest.raises(
                UserError, match=r"cannot be written \(File too large\)\. Make room, or write elsewhere$"
            ):
                write()
    assert names_in(tmp_path) == []


def test_export_and_replay_take_an_unfinished_recording(killed, capsys):
    part = killed / "motion.unfinished"
    assert command(["export", str(part), "--to", "csv"]) == 0
    rows = len(npz.read_motion(part).frame)
    assert capsys.readouterr().out == f"{killed / 'motion.csv'}: {rows} rows\n"
    assert command(["replay", str(part), "--speed", "1000", "--publish.no-enabled"]) == 0
    assert f"{(rows + 1) // 2} frames published" in capsys.readouterr().out
