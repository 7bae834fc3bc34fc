"""Boards: their files and their pages."""

import re
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from calib.board import Board, page_of, pdf_of, picture_of, read_board, with_square, write_board
from calib.detect import Detector
from refit_rt.__main__ import command
from refit_rt.errors import UserError

BOARDS = [
    Board("charuco", 8, 6, 0.029, 0.02175),
    Board("charuco", 7, 5, 0.03, 0.018, "DICT_5X5_100", inverted=True),
    Board("charuco", 5, 6, 0.025, 0.018, legacy=True),
    Board("chessboard", 7, 6, 0.025),
    Board("marker", 1, 1, 0.12, marker_id=7),
]


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.words)
def test_a_printed_board_is_found_where_its_points_are(board: Board) -> None:
    page = page_of(board, "A4")
    view = Detector(board)(picture_of(page, dpi=150))
    assert view is not None
    assert len(view.ids) == len(board.points)
    found_mm = (view.pixels + 0.5) * 25.4 / 150
    left_top = page.rectangles[:, :2].min(0) + (500 * board.square_m if board.inverted else 0)
    np.testing.assert_allclose(found_mm, left_top + 1000 * board.points[view.ids, :2], atol=0.25)


def test_the_pdf_has_the_size_of_the_paper_and_of_the_squares() -> None:
    board = BOARDS[0]
    data = pdf_of(page_of(board, "A4")).decode("latin-1")
    width, height = (float(side) for side in re.search(r"MediaBox \[0 0 (\S+) (\S+)\]", data).groups())  # type: ignore[union-attr]
    assert (width, height) == pytest.approx((297 * 72 / 25.4, 210 * 72 / 25.4), abs=0.01)
    sides_mm = np.array(re.findall(r"(\S+) (\S+) re", data), float) * 25.4 / 72
    assert sides_mm.max(0) == pytest.approx([29, 29], abs=0.001)
    begin, end = re.search(r"w (\S+) \S+ m (\S+) \S+ l", data).groups()  # type: ignore[union-attr]
    assert (float(end) - float(begin)) * 25.4 / 72 == pytest.approx(100, abs=0.001)
    assert "8 x 6 squares, 29 mm" in data
    start = int(re.search(r"startxref\n(\d+)", data).group(1))  # type: ignore[union-attr]
    assert data[start:].startswith("xref")


def test_the_verb_writes_a_pdf_a_png_with_its_size_and_the_boards_file(tmp_path: Path, capsys) -> None:
    assert command(["calibrate", "board", "--out", str(tmp_path / "wall"), "--paper", "A3", "--square-mm", "40"]) == 0
    assert "8 x 6 squares, 40 mm" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"wall.pdf", "wall.png", "wall.toml"}
    assert read_board(tmp_path / "wall.toml") == Board("charuco", 8, 6, 0.04, 0.03)
    data = (tmp_path / "wall.png").read_bytes()
    per_metre, _, unit = struct.unpack(">IIB", data[data.index(b"pHYs") + 4 :][:9])
    picture = cv2.imread(str(tmp_path / "wall.png"), cv2.IMREAD_GRAYSCALE)
    assert picture is not None
    assert unit == 1
    assert picture.shape[1] / per_metre == pytest.approx(0.420, abs=2e-4)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.words)
def test_a_board_comes_back_from_its_file(board: Board, tmp_path: Path) -> None:
    write_board(board, tmp_path / "board.toml")
    assert read_board(tmp_path / "board.toml") == board
    larger = with_square(board, 2 * board.square_m)
    np.testing.assert_allclose(larger.points, 2 * board.points)
    assert larger.marker_m == pytest.approx(2 * board.marker_m)


def test_a_board_of_caliscope_is_read(tmp_path: Path) -> None:
    file = tmp_path / "board.toml"
    text = 'columns = 4\nrows = 5\nboard_height = 11.0\ndictionary = "DICT_4X4_1000"\naruco_scale = 0.75\n'
    text += "inverted = true\n"
    file.write_text(text + "square_size_override_cm = 5.4\n")
    assert read_board(file) == Board("charuco", 4, 5, 0.054, 0.0405, "DICT_4X4_1000", inverted=True)
    file.write_text(text)
    with pytest.raises(UserError, match="Measure a square"):
        read_board(file)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("square_m = 0.03\ncolums = 8", "unknown setting 'colums'"),
        ("columns = 8", "lacks square_m"),
        ("square_m = 60", "Give metres"),
        ("square_m = '3 cm'", "wrong kind|could not convert"),
        ("square_m = 0.03\nkind = 'circles'", "kind 'circles'"),
        ("square_m = 0.03\ndictionary = 'DICT_9X9'", "no dictionary 'DICT_9X9'"),
        ("square_m = 0.03\ncolumns = 20\nrows = 10", "has 50 markers, but number 99 is needed"),
        ("square_m = 0.03\nmarker_m = 0.04", "do not fit squares"),
        ("square_m = [", "is no toml or yaml file"),
    ],
)
def test_a_board_of_no_use_is_refused(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "board.toml"
    file.write_text(text)
    with pytest.raises(UserError, match=says) as error:
        read_board(file)
    assert str(file) in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--square-mm", "60"], "480 x 360 mm do not fit on A4"),
        (["--kind", "chessboard"], "8 x 6 squares look the same after half a turn"),
        (["--columns", "2"], "3 to 60 are possible"),
    ],
)
def test_a_board_that_cannot_be_printed_is_one_line(arguments: list[str], says: str, tmp_path: Path, capsys) -> None:
    assert command(["calibrate", "board", "--out", str(tmp_path / "board"), *arguments]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())
