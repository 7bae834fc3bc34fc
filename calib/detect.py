"""Finds the target in pictures, and says why it is not found."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from av.error import FFmpegError

from calib.board import Board, dictionary_of
from refit_rt.capture.film import Film, reason
from refit_rt.capture.folder import pictures_of
from refit_rt.errors import UserError

FEWEST_CORNERS = 6  # of a board; fewer fix no pose and no lens
SMALLEST_MARKER_PX = 30.0  # 5 px per bit of a 4 x 4 marker; at 20 px most boards were missed
TRIED = 12  # pictures, when the board is found nowhere and the reason is looked for
MOST_FRAMES = 400  # of one video that are looked at, evenly, where the user does not say


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A target in one picture."""

    ids: np.ndarray  # (corner,) int: rows of Board.points
    pixels: np.ndarray  # (corner, 2)


@dataclass(frozen=True, slots=True, eq=False)
class Sightings:
    """What one camera saw of a target."""

    name: str
    size: tuple[int, int]  # width, height in pixels
    frames: int  # that were looked at
    views: dict[int, View]  # moment → what was seen; the same moments in all cameras
    marker_px: float = float("nan")  # median side of a marker


class Detector:
    """Finds one target in one picture after another."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.marker_sides: list[float] = []
        if board.kind == "charuco":
            self._charuco = cv2.aruco.CharucoDetector(board.charuco())
        if board.kind != "chessboard":
            fine = cv2.aruco.DetectorParameters()
            fine.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
            self._markers = cv2.aruco.ArucoDetector(dictionary_of(board), fine)

    def __call__(self, picture: np.ndarray) -> View | None:
        """The target in a picture (height, width[, 3]) uint8, or None."""
        grey = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
        grey = cv2.bitwise_not(grey) if self.board.inverted else grey
        match self.board.kind:
            case "charuco":
                return self._board(grey)
            case "chessboard":
                return self._chessboard(grey)
            case "marker":
                return self._marker(grey)

    def _board(self, grey: np.ndarray) -> View | None:
        corners, ids, markers, _ = self._charuco.detectBoard(grey)
        if markers is not None and len(markers):
            self.marker_sides.append(float(np.median([_side(one) for one in markers])))
        if ids is None or len(ids) < FEWEST_CORNERS or _in_a_row(self.board, ids.ravel()):
            return None
        return View(ids.ravel().astype(int), corners.reshape(-1, 2).astype(float))

    def _marker(self, grey: np.ndarray) -> View | None:
        markers, ids, _ = self._markers.detectMarkers(grey)
        for corners, number in zip(markers, [] if ids is None else ids.ravel(), strict=True):
            if number == self.board.marker_id:
                self.marker_sides.append(_side(corners))
                return View(np.arange(4), corners.reshape(4, 2).astype(float))
        return None

    def _chessboard(self, grey: np.ndarray) -> View | None:
        inner = (self.board.columns - 1, self.board.rows - 1)
        found, corners = cv2.findChessboardCorners(
            grey, inner, flags=cv2.CALIB_CB_ADAPTIVE_THRESH | cv2.CALIB_CB_NORMALIZE_IMAGE | cv2.CALIB_CB_FAST_CHECK
        )
        if not found:
            return None
        pixels = corners.reshape(-1, 2)
        apart = np.linalg.norm(np.diff(pixels.reshape(inner[1], inner[0], 2), axis=1), axis=2).min()
        half = int(np.clip(apart / 3, 2, 11))  # a window of two corners would settle between them
        criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 0.01)
        pixels = cv2.cornerSubPix(grey, corners.reshape(-1, 1, 2).copy(), (half, half), (-1, -1), criteria).reshape(
            -1, 2
        )
        if self.board.has_one_way_up and _upside_down(grey, pixels.reshape(inner[1], inner[0], 2)):
            pixels = pixels[::-1]
        return View(np.arange(len(pixels)), pixels.astype(float))


def look(board: Board, name: str, pictures: Iterator[tuple[int, np.ndarray]]) -> Sightings:
    """What a camera saw, in (moment, picture) pairs. Raises UserError, with the reason, when it saw none."""
    detector, views, size, frames = Detector(board), {}, None, 0
    kept: list[np.ndarray] = []
    for moment, picture in pictures:
        if size not in (None, picture.shape[1::-1]):
            raise UserError(f"{name}: a picture of {picture.shape[1::-1]} pixels among those of {size}. Sort them")
        size, frames = picture.shape[1::-1], frames + 1
        view = detector(picture)
        if view is not None:
            views[moment] = view
        elif not views and (len(kept) < TRIED or frames % 16 == 0):
            kept = [*kept[-TRIED + 1 :], picture]
    if size is None:
        raise UserError(f"{name}: contains no picture that can be read")
    if not views:
        raise UserError(f"{name}: {why_not(board, kept)}")
    sides = detector.marker_sides
    return Sightings(name, size, frames, views, float(np.median(sides)) if sides else float("nan"))


def why_not(board: Board, pictures: list[np.ndarray]) -> str:
    """The most likely reason for which a target is in none of the pictures, and the cure."""
    turned = replace(board, columns=board.rows, rows=board.columns)
    others = [
        (turned, f"the board has {board.rows} columns and {board.columns} rows: exchange them in the board's file"),
        (replace(board, inverted=not board.inverted), "black and white are exchanged: change 'inverted' in the file"),
    ]
    if board.kind == "charuco":
        others.append((replace(board, legacy=not board.legacy), "it is of OpenCV's other pattern: change 'legacy'"))
    if board.kind == "chessboard":
        fewer = min(board.columns, board.rows) > 3
        more = replace(board, columns=board.columns + 1, rows=board.rows + 1)
        less = replace(board, columns=board.columns - 1, rows=board.rows - 1) if fewer else turned
        cure = "columns and rows count squares, not inner corners"
        others += [(one, f"the board has {one.columns} x {one.rows} squares: {cure}") for one in (more, less)]
    else:
        mirrored = [np.ascontiguousarray(picture[:, ::-1]) for picture in pictures]
        if _found(board, mirrored):
            return "the pictures are mirrored. Turn mirroring off in the camera's settings, and record again"
    for other, why in others:
        if _found(other, pictures):
            return f"{why} (--board)"
    sides = [side for picture in pictures for side in _sides(board, picture)] if board.kind != "chessboard" else []
    if sides and np.median(sides) < SMALLEST_MARKER_PX:
        return (
            f"shows markers {np.median(sides):.0f} px wide, and {SMALLEST_MARKER_PX:.0f} are needed. Film the board "
            "nearer and less at a slant, or use a larger one"
        )
    if sides:
        return (
            f"shows markers of {board.dictionary}, but no {board.words}. Give the board that was filmed: columns, rows "
            "and dictionary as they are on the print"
        )
    return f"shows no {board.words}. Film it closer, sharper and in more light, or give the board that was filmed"


def _found(board: Board, pictures: list[np.ndarray]) -> bool:
    detector = Detector(board)
    return any(detector(picture) is not None for picture in pictures)


def _sides(board: Board, picture: np.ndarray) -> list[float]:
    """Sides in pixels of the dictionary's markers in a picture; none where there are no more than two, which may be
    something else."""
    grey = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    grey = cv2.bitwise_not(grey) if board.inverted else grey
    markers = cv2.aruco.ArucoDetector(dictionary_of(board)).detectMarkers(grey)[0]
    return [_side(one) for one in markers] if len(markers) > 2 else []


def _side(marker: np.ndarray) -> float:
    """Mean side of a marker in pixels."""
    corners = marker.reshape(4, 2)
    return float(np.linalg.norm(corners - np.roll(corners, 1, 0), axis=1).mean())


def _in_a_row(board: Board, ids: np.ndarray) -> bool:
    """Whether corners lie on one line of the board: they fix no pose."""
    return len(np.unique(ids // (board.columns - 1))) < 2 or len(np.unique(ids % (board.columns - 1))) < 2


def _upside_down(grey: np.ndarray, grid: np.ndarray) -> bool:
    """Whether the corners (row, column, 2) begin at the board's bottom right: then the square there is white.

    The square within the first four inner corners is black on the board, as the top left one is.
    """
    middle = (grid[:-1, :-1] + grid[1:, :-1] + grid[:-1, 1:] + grid[1:, 1:]) / 4
    x, y = np.clip(middle.astype(int), 0, np.array(grey.shape[::-1]) - 1).transpose(2, 0, 1)
    value = cv2.GaussianBlur(grey, (0, 0), 1.0)[y, x].astype(float)
    black = (np.add.outer(np.arange(len(value)), np.arange(value.shape[1])) % 2) == 0
    return bool(value[black].mean() > value[~black].mean())


def is_video(path: Path) -> bool:
    """Whether a source is one file of many frames."""
    return path.is_file()


def pictures_at(path: Path, frames: list[int]) -> Iterator[tuple[int, np.ndarray]]:
    """The frames of a video or of a folder of pictures, by number, in order; unreadable ones are left out."""
    if not is_video(path):
        files = pictures_of(path)
        for frame in frames:
            picture = cv2.imread(str(files[frame]))
            if picture is not None:
                yield frame, picture
        return
    film, wanted = opened(path), set(frames)
    try:
        for index, shown in enumerate(film.frames()):
            if index > frames[-1]:
                return
            if index in wanted and shown.frame is not None:
                yield index, film.picture(shown.frame)
    finally:
        film.close()


def opened(path: Path) -> Film:
    """A video, decoded as a run decodes it: square pixels, whole pictures, upright. Raises UserError."""
    try:
        return Film(str(path.absolute()))
    except (FFmpegError, OSError, LookupError, ValueError) as error:
        raise UserError(f"{path}: contains no picture that can be read ({reason(error)}). Give a video") from error


def frames_in(path: Path) -> int:
    """How many frames a source has. Raises UserError when it cannot be read."""
    if not path.exists():
        raise UserError(f"{path}: does not exist. Give videos, or folders of pictures")
    if not is_video(path):
        count = len(pictures_of(path))
    else:
        film = opened(path)
        count = film.counted()
        film.close()
    if count < 1:
        raise UserError(f"{path}: contains no picture that can be read. Give a video, or a folder of pictures")
    return count
