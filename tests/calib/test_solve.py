"""The verb `calibrate solve`: which frames belong together, a real session, and what it refuses."""

import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from calib.board import read_board
from calib.solve import cameras_in, groups, look_at, solved, times_of
from refit_rt.__main__ import command
from refit_rt.cameras import read_rig
from refit_rt.errors import UserError
from tests.support.paths import ROOT

SESSION = ROOT.parent / "shared" / "media" / "charuco_4cam"


def test_frames_of_one_moment_are_within_half_a_frame() -> None:
    found = groups({"a": np.array([0.0, 0.1, 0.2, 0.3]), "b": np.array([0.11, np.nan, 0.19, 0.36])})
    assert found == {"a": {0: 0, 1: 1, 2: 2, 3: 3}, "b": {0: 1, 2: 2}}
    with pytest.raises(UserError, match="b: no frame was taken within half a frame"):
        groups({"a": np.array([0.0, 0.1]), "b": np.array([7.0, 7.1])})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("camera,frame\na,0\n", "has no column 'time'"),
        ("camera,frame,time_s\nb,0,0.1\n", "has no times of 'a'"),
        ("camera,frame,time_s\na,0,0.1\na,1,0.05\n", "the times of 'a' jump back at frame 1"),
        ("camera,frame,time_s\na,0,now\n", "are no numbers"),
        ("camera,frame,time_s\na,5,0.1\n", "has a frame 5 of 'a', but its recording has 2 frames"),
    ],
)
def test_timestamps_of_no_use_are_refused(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "times.csv"
    file.write_text(text)
    with pytest.raises(UserError, match=says):
        times_of(file, {"a": 2})


def test_one_source_twice_and_two_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cam.mp4").touch()
    one, two = tmp_path / "one" / "cam.mp4", tmp_path / "two" / "cam.mp4"
    assert cameras_in([tmp_path / "one"]) == {"cam": one}
    with pytest.raises(UserError, match="is given twice"):
        cameras_in([one, one])
    with pytest.raises(UserError, match=r"is named like .* Rename one"):
        cameras_in([one, two])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"--out": "rig.yaml"}, "a rig file is called NAME.json"),
        ({"--board": "none.toml"}, "none.toml: cannot be read"),
        ({"--square-mm": "-3"}, "--square-mm and --every are not negative"),
        ({}, "shows no ChArUco board of 8 x 6 squares"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(change: dict, says: str, tmp_path: Path, capsys) -> None:
    pictures = tmp_path / "cam"
    pictures.mkdir()
    cv2.imwrite(str(pictures / "0.png"), np.full((240, 320), 90, np.uint8))
    board = tmp_path / "board.toml"
    board.write_text("square_m = 0.03\n")
    options = {"--board": str(board), "--out": "rig.json"} | change
    options["--out"] = str(tmp_path / options["--out"])
    assert command(["calibrate", "solve", str(pictures), *(text for pair in options.items() for text in pair)]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"cam", "board.toml"}


@pytest.mark.skipif(not SESSION.is_dir(), reason="needs the recordings in shared/media")
def test_two_webcams_whose_pictures_have_other_delays_are_where_caliscope_found_them() -> None:
    """Caliscope's lenses come from recordings of their own; its distance takes the pictures for simultaneous."""
    sources = {name: SESSION / f"{name}.mp4" for name in ("cam_1", "cam_2")}
    moments = {name: {frame: frame for frame in range(78, 104)} for name in sources}  # it is not held up sooner
    board, theirs = read_board(SESSION / "board.toml"), read_rig(SESSION / "caliscope_result.toml")
    found = solved(board, look_at(board, sources, moments), known=theirs)
    told = re.findall(r"cam_([12]): its pictures are ([\d.]+) frames (older|newer)", "\n".join(found.weaknesses))
    ((camera, frames, what),) = told
    assert (camera, what) in (("1", "older"), ("2", "newer"))
    assert 0.75 < float(frames) < 1.0
    assert found.quality.held_out_px < 0.7
    one, other = (
        np.linalg.norm(rig["cam_1"].world_from_camera[:3, 3] - rig["cam_2"].world_from_camera[:3, 3])
        for rig in (found.rig, theirs)
    )
    assert abs(one - other) < 0.02


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from refit_rt.__main__ import command\n"
        "for what in ([], ['board', '--help'], ['solve', '--help']): assert command(['calibrate', *what]) == 0\n"
        "found = [m for m in ('cv2', 'scipy', 'numba', 'torch') if m in sys.modules]\nassert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
