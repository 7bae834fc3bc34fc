"""The verb `calibrate record`: boards that are held still before rendered cameras become takes, which `solve` reads."""

import io
import json
import logging
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from calib.adjust import Scene
from calib.board import write_board
from calib.guidance import Guidance
from calib.record_page import Page, state_of
from calib.recorder import Progress, Recorder
from calib.screen import Screen, lines_of
from calib.solve import takes_of
from calib.still import FLOOR_HOLD_S
from calib.takes import FloorPictures, Takes, takes_in
from refit_rt.__main__ import command
from refit_rt.cameras import read_rig
from refit_rt.errors import UserError
from refit_rt.types import Frame, FrameSet
from tests.support.paths import ROOT
from training.evaluation.calibration import BOARD, CENTRE, Painter

SIZE = (960, 540)
PLACES = 12  # of the board
NAMES = ("left", "right")


def studio() -> tuple[Scene, list[Painter]]:
    """Two cameras 1.2 m apart that look at the same room, and a board at PLACES before both; one more before `left`."""
    rng = np.random.default_rng(0)
    lenses = np.zeros((2, 9))
    lenses[:, :2], lenses[:, 2:4], lenses[:, 4] = 760.0, (np.array(SIZE) - 1) / 2 + (3, -4), -0.05
    places = np.tile(np.eye(4), (2, 1, 1))
    places[1, :3, :3] = Rotation.from_euler("y", 25, degrees=True).as_matrix()
    places[1, :3, 3] = -places[1, :3, :3] @ (1.2, 0.1, 0.2)
    boards = np.tile(np.eye(4), (PLACES, 1, 1))
    for board in boards:
        turn = Rotation.from_euler("xyz", [*rng.uniform(-35, 35, 2), rng.uniform(-20, 20)], degrees=True)
        board[:3, :3] = turn.as_matrix()
        board[:3, 3] = rng.uniform((0.1, -0.35, 1.9), (0.7, 0.35, 3.0)) - board[:3, :3] @ CENTRE
    only_left = np.eye(4)
    only_left[:3, 3] = (-0.9, 0.0, 2.0) - CENTRE
    scene = Scene(lenses, places, np.concatenate([boards, only_left[None]]))
    return scene, [Painter(lens, noise=2.0, blur_px=0.7, size=SIZE) for lens in lenses]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Scene]:
    """A folder of pictures per camera, 3 a second, in which the board stays at each place for two; and the truth."""
    folder, (scene, painters) = tmp_path_factory.mktemp("films"), studio()
    write_board(BOARD, folder / "board.toml")
    for name, paint, camera in zip(NAMES, painters, scene.camera_from_world, strict=True):
        (folder / name).mkdir()
        for number, board in enumerate(scene.world_from_board):
            picture = paint(np.random.default_rng(number), camera @ board)
            if picture is None or (name == "right" and number == PLACES):
                picture = np.full(SIZE[::-1], 80, np.uint8)
            for again in (0, 1):
                cv2.imwrite(str(folder / name / f"{2 * number + again}.jpg"), picture)
    return folder, scene


def record(films: Path, out: Path, *more: str, names: tuple[str, ...] = NAMES) -> int:
    sources = [word for name in names for word in (name, str(films / name))]
    given = ["--capture.pace", "lossless", "--capture.fps", "3", "--capture.sources", *sources]
    given += [] if "--board" in more else ["--board", str(films / "board.toml")]
    given += [] if "--port" in more else ["--no-page"]
    return command(["calibrate", "record", str(out), *given, *more])


def test_takes_of_still_boards_give_the_rig(films, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, truth = films
    assert record(folder, tmp_path / "takes") == 0
    printed = capsys.readouterr().out
    files = {name: sorted(path.name for path in (tmp_path / "takes" / name).iterdir()) for name in NAMES}
    assert files["left"] == [f"take_{number:04d}.jpg" for number in range(1, PLACES + 2)]
    assert files["right"] == files["left"][:-1]
    assert "missing: Hold the board still at" in printed
    assert "calibrate solve" in printed

    out = tmp_path / "rig.json"
    board = str(folder / "board.toml")
    assert command(["calibrate", "solve", str(tmp_path / "takes"), "--board", board, "--out", str(out)]) == 0
    rig = read_rig(out)
    assert rig.names == NAMES
    right_from_left = rig["right"].camera_from_world @ rig["left"].world_from_camera
    known = truth.camera_from_world[1]
    turn = Rotation.from_matrix(right_from_left[:3, :3] @ known[:3, :3].T).magnitude()
    assert np.rad2deg(turn) < 0.3
    apart = np.linalg.inv(right_from_left)[:3, 3] - np.linalg.inv(known)[:3, 3]
    assert np.linalg.norm(apart) < 0.015


def test_a_folder_with_takes_is_continued_and_the_same_places_are_not_taken_again(
    films, tmp_path: Path, capsys
) -> None:
    folder, _ = films
    out = tmp_path / "takes"
    for name in NAMES:
        (out / name).mkdir(parents=True)
        for number, place in ((3, 0), (7, 4)):  # two of the places, under numbers of an earlier recording
            shutil.copy(folder / name / f"{2 * place}.jpg", out / name / f"take_{number:04d}.jpg")
    assert record(folder, out, "--places-only") == 0
    numbers = sorted((takes_in(out / "left") or {}).values())
    assert numbers == [3, 7, *range(8, 8 + PLACES - 1)]
    assert "has takes already" in capsys.readouterr().out
    assert takes_of({"left": out / "left"}) == {"left": dict(enumerate(numbers))}


@pytest.mark.parametrize(
    ("inside", "says"),
    [
        ("notes.txt", "holds 'notes.txt', which is no take of calibrate record"),
        ("left/0001.jpg", "holds 'left', which is no take of calibrate record"),
        ("back/take_0001.jpg", "holds takes of 'back', but the cameras are left, right"),
    ],
)
def test_a_folder_of_something_else_is_refused_and_left_alone(inside: str, says: str, films, tmp_path, capsys) -> None:
    out = tmp_path / "takes"
    (out / inside).parent.mkdir(parents=True)
    (out / inside).write_bytes(b"mine")
    assert record(films[0], out) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert [path for path in out.rglob("*") if path.is_file()] == [out / inside]


def test_a_board_that_no_camera_sees_ends_with_the_reason_and_no_folder(films, tmp_path, capsys) -> None:
    """The board's file has rows and columns exchanged."""
    wrong = tmp_path / "board.toml"
    write_board(replace(BOARD, columns=BOARD.rows, rows=BOARD.columns), wrong)
    assert record(films[0], tmp_path / "takes", "--board", str(wrong), names=("left",)) == 2
    assert "has 8 columns and 6 rows: exchange them" in capsys.readouterr().err
    assert not (tmp_path / "takes").exists()


def test_what_contradicts_itself_is_refused(films, tmp_path, capsys) -> None:
    assert record(films[0], tmp_path / "takes", "--lenses-only", "--places-only") == 2
    assert record(films[0], tmp_path / "takes", "--floor", names=("left",)) == 2
    assert record(films[0], tmp_path / "takes", "--port", "99999") == 2
    same = tmp_path / "same.toml"
    write_board(replace(BOARD, kind="chessboard"), same)
    assert record(films[0], tmp_path / "takes", "--board", str(same)) == 2
    errors = capsys.readouterr().err.splitlines()
    says = ("exclude each other", "needs several cameras", "--port 99999: cannot be used", "look the same after half a")
    assert len(errors) == len(says)
    assert all(text in error for text, error in zip(says, errors, strict=True))
    assert not (tmp_path / "takes").exists()


def test_mixed_recordings_are_refused_by_solve(films, tmp_path) -> None:
    (tmp_path / "left").mkdir()
    (tmp_path / "left" / "take_0001.jpg").touch()
    with pytest.raises(UserError, match="'left' has takes of calibrate record, 'right' has none"):
        takes_of({"left": tmp_path / "left", "right": films[0] / "right"})


class Studio:
    """A recorder that is fed by hand: `pictures` by camera, at times of one's own."""

    def __init__(self, folder: Path, names: tuple[str, ...], **more) -> None:
        guidance = Guidance(BOARD, names, floor="fewest" in more)
        takes = FloorPictures(folder, names) if "fewest" in more else Takes(folder, names)
        self.recorder = Recorder(BOARD, takes, guidance, at_once=True, **more)
        self.names, self.index = names, 0

    def look(self, time_s: float, **pictures: np.ndarray | None) -> Progress:
        frames = tuple(
            None if image is None else Frame(name, self.index, time_s, time_s, cv2.cvtColor(image, cv2.COLOR_GRAY2BGR))
            for name, image in ((name, pictures.get(name)) for name in self.names)
        )
        self.index += 1
        self.recorder.look(FrameSet(self.names, frames, self.index, time_s, time_s))
        return self.recorder.progress


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """A board close before a camera."""
    painters = studio()[1]
    pose = np.eye(4)
    pose[:3, 3] = (0, 0, 1.6) - CENTRE
    made = painters[0](np.random.default_rng(0), pose)
    assert made is not None
    return made


EMPTY = np.full(SIZE[::-1], 80, np.uint8)


def test_a_take_comes_when_the_board_stays_and_only_once(picture: np.ndarray, tmp_path: Path) -> None:
    made = Studio(tmp_path, ("left", "right"))
    moved = np.roll(picture, 12, 1)
    assert made.look(0.0, left=EMPTY, right=EMPTY).now == "No camera sees the board."
    assert made.look(0.1, left=picture, right=EMPTY).now == "Hold the board still."
    assert made.look(0.3, left=moved, right=EMPTY).now == "The board moves: hold it still."
    assert made.look(0.5, left=moved, right=EMPTY).takes == 0
    taken = made.look(0.65, left=moved, right=EMPTY)
    assert (taken.takes, taken.now, taken.last) == (1, "Take 1: left.", (1, ("left",)))
    assert made.look(2.4, left=moved, right=EMPTY).now.startswith("This place is taken")
    assert [path.name for path in tmp_path.rglob("*.jpg")] == ["take_0001.jpg"]
    both = made.look(2.8, left=moved, right=picture)  # the board has not moved since
    assert both.takes == 1
    made.look(4.0, left=picture[:, ::-1], right=picture[:, ::-1])
    elsewhere = np.roll(picture, 150, 1)
    made.look(4.5, left=elsewhere, right=elsewhere)
    assert made.look(5.0, left=elsewhere, right=elsewhere).last == (2, ("left", "right"))
    assert made.recorder.progress.pairs.tolist() == [[2, 1], [1, 1]]


def test_a_take_that_cannot_be_written_is_an_error_with_a_cure(picture: np.ndarray, tmp_path: Path) -> None:
    made = Studio(tmp_path / "takes", ("left",))
    (tmp_path / "takes").write_text("in the way")
    made.look(0.0, left=picture)
    with pytest.raises(UserError, match=r"cannot be written .* Make room, or write elsewhere"):
        made.look(0.5, left=picture)
    assert [path.name for path in tmp_path.iterdir()] == ["takes"]


def test_a_camera_that_is_gone_is_named_and_the_others_go_on(picture: np.ndarray, tmp_path: Path) -> None:
    made = Studio(tmp_path, ("left", "right"))
    made.look(0.0, left=EMPTY, right=EMPTY)
    assert made.look(1.0, left=picture).cameras[1].note == ""
    gone = made.look(2.5, left=picture)
    assert gone.cameras[1].note == "delivers no picture. The others go on"
    assert gone.takes == 1
    back = made.look(3.0, left=picture, right=cv2.resize(EMPTY, (640, 360)))
    assert "delivers pictures of 640 x 360 pixels, but its takes have 960 x 540" in back.cameras[1].note


def test_a_mirrored_camera_is_found_out(picture: np.ndarray, tmp_path: Path) -> None:
    made, mirrored = Studio(tmp_path, ("left", "right")), np.ascontiguousarray(picture[:, ::-1])
    progress = [made.look(time_s, left=picture, right=mirrored) for time_s in np.arange(0, 12, 1.5)][-1]
    assert progress.cameras[0].note == ""
    assert progress.cameras[1].note.startswith("the pictures are mirrored. Turn mirroring off")


def test_the_floor_is_taken_when_the_board_lies_before_two_cameras(picture: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "right.jpg").write_bytes(b"of an older set")
    made = Studio(tmp_path, ("left", "back", "right"), hold_s=FLOOR_HOLD_S, fewest=2)
    assert "Lay the board on the floor" in made.look(0.0, left=picture, back=EMPTY, right=EMPTY).next
    assert made.look(4.0, left=picture, back=EMPTY, right=EMPTY).now == "Only left sees the board."
    assert made.look(4.5, left=picture, back=picture, right=EMPTY).takes == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back.jpg", "left.jpg"]
    assert state_of(made.recorder.progress, "", True)["cameras"][0]["facts"] == [("takes", "1", None)]
    assert not any("tilt" in line or "■" in line for line in lines_of(made.recorder.progress, "", True, 80))
    assert made.recorder.progress.enough


def got(address: str) -> bytes:
    with urlopen(address) as answer:
        return answer.read()


def test_the_page_shows_pictures_figures_and_what_to_do(picture: np.ndarray, tmp_path: Path) -> None:
    made = Studio(tmp_path, ("left", "right"))
    for time_s in (0.0, 0.5):
        made.look(time_s, left=picture, right=EMPTY)
    with Page(0, lambda: made.recorder.progress, lambda: "", True) as page:
        shown = got(page.address).decode()
        assert "viewport" in shown
        assert "://" not in shown  # nothing comes from elsewhere
        state = json.loads(got(f"{page.address}state.json"))
        assert (state["takes"], state["last"], state["enough"], state["few_shared"]) == (1, 1, False, 10)
        assert state["pairs"] == [[1, 0], [0, 0]]
        assert state["next"] == made.recorder.progress.next
        left, right = state["cameras"]
        assert (left["name"], left["sees"], left["still"], right["sees"]) == ("left", True, True, False)
        assert ["takes", "1 of 20", False] in left["facts"]
        assert right["lacks"] == "Hold the board still in front of 'right'."
        image = cv2.imdecode(np.frombuffer(got(f"{page.address}picture/0.jpg"), np.uint8), cv2.IMREAD_COLOR)
        assert image is not None
        assert image.shape == (360, 640, 3)
        middle, corner = image[150:210, 260:380].mean((0, 1)), image[4:60, 4:100].mean((0, 1))
        assert middle[1] > middle[2] + 20  # green over the field that has corners
        assert abs(corner[1] - corner[2]) < 3
        for path, host, code in (("picture/2.jpg", "", 404), ("../record.py", "", 404), ("", "evil.example", 403)):
            request = Request(page.address + path, headers={"Host": host} if host else {})
            with pytest.raises(HTTPError) as refused:
                urlopen(request)
            refused.value.close()
            assert refused.value.code == code
    with pytest.raises(URLError):
        urlopen(page.address)


class Terminal(io.StringIO):
    """A terminal that keeps what is written."""

    def isatty(self) -> bool:
        return True


def test_lines_update_in_place_on_a_terminal_and_follow_each_other_elsewhere(picture, tmp_path, capsys) -> None:
    made, stream, file = Studio(tmp_path, ("left", "right")), Terminal(), io.StringIO()
    with Screen(stream, True) as live, Screen(file, True) as plain:
        for time_s in (0.0, 0.1, 0.5):
            made.look(time_s, left=picture, right=EMPTY)
            for screen in (live, plain):
                screen.show(made.recorder.progress, "")
        logging.getLogger("refit_rt.capture").warning("camera 'right' is late")
        live.show(made.recorder.progress, "right is disconnected, attempt 2")
    assert file.getvalue().splitlines()[0] == "Hold the board still in front of 'left'."
    assert file.getvalue().splitlines()[-1].startswith("take 1: left. Hold the board ")
    written = stream.getvalue()
    height = len(lines_of(made.recorder.progress, "", True, 80))
    assert written.count(f"\x1b[{height}A") == 2
    assert written.count("\a") == 1
    assert "camera 'right' is late\n1 take. right is disconnected" in written.replace("\r\x1b[J", "")
    assert max(map(len, lines_of(made.recorder.progress, "", True, 40))) < 40
    assert any("■" in line for line in lines_of(made.recorder.progress, "", True, 80))
    assert capsys.readouterr().err == ""


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from refit_rt.__main__ import command\nassert command(['calibrate', 'record', '--help']) == 0\n"
        "found = [m for m in ('cv2', 'scipy', 'numba', 'zmq') if m in sys.modules]\nassert not found, found"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True, text=True)
    assert "--until-enough" in done.stdout
    assert "--capture.sources" in done.stdout
