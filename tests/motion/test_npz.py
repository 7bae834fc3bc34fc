"""motion.npz: what is recorded is read back, and bad files are refused in one line."""

import errno
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from refit_rt.errors import UserError
from refit_rt.motion import npz
from tests.support.fakes import people


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
        }
        assert archive["poses"].shape == (1, 72)
        assert archive["joints_world"].shape == (1, 24, 3)


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


def test_no_file_exists_before_the_end_and_none_without_a_frame(tmp_path):
    writer = npz.MotionWriter(tmp_path / "motion.npz", 30, "free", "edge")
    assert list(tmp_path.iterdir()) == []
    writer.close()
    writer.close()
    assert list(tmp_path.iterdir()) == []


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


def test_a_full_disk_and_a_missing_folder_are_errors_in_one_line(tmp_path, monkeypatch):
    class Full:
        closed = False

        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

        seek = write

        def close(self):
            self.closed = True

    path = tmp_path / "motion.npz"
    with pytest.raises(UserError, match=r"motion.npz: cannot be written \(No such file or directory\)"):
        npz.MotionWriter(tmp_path / "gone" / "motion.npz", 30, "free", "edge")
    monkeypatch.setattr(npz.tempfile, "TemporaryFile", lambda **_: Full())
    writer = npz.MotionWriter(path, 30, "free", "edge")
    for write in (lambda: writer.add(people([1])), writer.close):
        with pytest.raises(UserError, match=r"motion.npz: cannot be written \(No space left on device\)"):
            write()
    assert list(tmp_path.iterdir()) == []
