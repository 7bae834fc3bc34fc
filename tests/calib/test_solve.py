"""The verb `calibrate solve`: which frames belong together, a real session, and what it refuses."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from calib.solve import cameras_in, groups, times_of
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
def test_four_webcams_are_where_caliscope_found_them_with_its_lenses(tmp_path: Path) -> None:
    """Its lenses come from recordings of their own; in this session, boards fill a fifth of each picture."""
    rig = tmp_path / "rig.json"
    options = ["--board", str(SESSION / "board.toml"), "--timestamps", str(SESSION / "timestamps.csv")]
    known = ["--intrinsics", str(SESSION / "caliscope_result.toml"), "--every", "4", "--out", str(rig)]
    assert command(["calibrate", "solve", str(SESSION), *options, *known]) == 0
    theirs, ours = read_rig(SESSION / "caliscope_result.toml"), read_rig(rig)
    for one in range(4):
        for other in range(one):
            apart = [
                np.linalg.inv(both.cameras[one].world_from_camera) @ both.cameras[other].world_from_camera
                for both in (ours, theirs)
            ]
            turn = cv2.Rodrigues(apart[0][:3, :3] @ apart[1][:3, :3].T)[0]
            assert np.rad2deg(np.linalg.norm(turn)) < 1.0
            assert abs(np.linalg.norm(apart[0][:3, 3]) - np.linalg.norm(apart[1][:3, 3])) < 0.02


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from refit_rt.__main__ import command\n"
        "for what in ([], ['board', '--help'], ['solve', '--help']): assert command(['calibrate', *what]) == 0\n"
        "found = [m for m in ('cv2', 'scipy', 'numba', 'torch') if m in sys.modules]\nassert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
