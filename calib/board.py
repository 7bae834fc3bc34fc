"""The calibration target: a ChArUco board, a chessboard or a single ArUco marker, its file, and its pages to print."""

import struct
import tomllib
import zlib
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import numpy as np
from tyro.conf import arg

from refit_rt.errors import UserError

if TYPE_CHECKING:
    import cv2

Kind = Literal["charuco", "chessboard", "marker"]
PAGES = {"A4": (297.0, 210.0), "A3": (420.0, 297.0), "A2": (594.0, 420.0), "A1": (841.0, 594.0), "A0": (1189.0, 841.0)}
EDGE_MM = 10.0  # printers leave it white
FOOT_MM = 16.0  # below the board, for the check line
CHECK_MM = 100.0
MARKER_SHARE = 0.75  # of a square
DPI = 300
POINTS_PER_MM = 72 / 25.4
CURE = "Make one: refit-rt calibrate board --out board"


@dataclass(frozen=True, slots=True)
class Board:
    """A flat target. Its frame: origin at its top left corner, x right along the columns, y down, z into the board."""

    kind: Kind = "charuco"
    columns: int = 8  # squares, not inner corners
    rows: int = 6
    square_m: float = 0.06  # side of a square; of the marker for a single one
    marker_m: float = 0.045  # side of a marker's black edge
    dictionary: str = "DICT_4X4_50"
    inverted: bool = False  # white where others are black
    legacy: bool = False  # ChArUco as OpenCV printed it up to 4.6: with an even number of rows, another first square
    marker_id: int = 0  # of a single marker

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise UserError(f"board: kind '{self.kind}' is not one of {', '.join(get_args(Kind))}")
        if not 0 < self.square_m < 10:
            raise UserError(f"board: a square of {self.square_m} m is no size. Give metres")
        if self.kind != "marker" and (min(self.columns, self.rows) < 3 or max(self.columns, self.rows) > 60):
            raise UserError(f"board: {self.columns} x {self.rows} squares; 3 to 60 are possible")
        if self.kind == "charuco" and not 0.3 <= self.marker_m / self.square_m < 1:
            raise UserError(f"board: markers of {self.marker_m} m do not fit squares of {self.square_m} m")
        if self.kind != "chessboard":
            dictionary_of(self)

    @property
    def points(self) -> np.ndarray:
        """The corners that are looked for (corner, 3), metres: the inner ones, or a marker's four from the top left."""
        if self.kind == "marker":
            return np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]) * self.square_m
        inner = [[x, y, 0] for y in range(1, self.rows) for x in range(1, self.columns)]
        return np.array(inner) * self.square_m

    @property
    def size_m(self) -> tuple[float, float]:
        """Width and height."""
        if self.kind == "marker":
            return self.square_m, self.square_m
        return self.columns * self.square_m, self.rows * self.square_m

    @property
    def has_one_way_up(self) -> bool:
        """False: half a turn looks the same. Such a board cannot tie two cameras together."""
        return self.kind != "chessboard" or (self.columns + self.rows) % 2 == 1

    @property
    def words(self) -> str:
        """What is printed on it."""
        side = f"{1000 * self.square_m:g} mm"
        name = {"charuco": "ChArUco board", "chessboard": "Chessboard", "marker": "ArUco marker"}[self.kind]
        if self.kind == "marker":
            return f"{name} {self.marker_id} of {self.dictionary}, {side}"
        marks = f", markers {1000 * self.marker_m:g} mm of {self.dictionary}" if self.kind == "charuco" else ""
        return f"{name} of {self.columns} x {self.rows} squares, {side}{marks}" + (
            ", inverted" if self.inverted else ""
        )

    def charuco(self) -> "cv2.aruco.CharucoBoard":
        """OpenCV's board."""
        import cv2

        made = cv2.aruco.CharucoBoard((self.columns, self.rows), self.square_m, self.marker_m, dictionary_of(self))
        made.setLegacyPattern(self.legacy)
        return made


def dictionary_of(board: Board) -> "cv2.aruco.Dictionary":
    """OpenCV's dictionary. Raises UserError when it does not exist or has too few markers."""
    import cv2

    number = getattr(cv2.aruco, board.dictionary, None) if board.dictionary.startswith("DICT_") else None
    if not isinstance(number, int):
        raise UserError(f"board: there is no dictionary '{board.dictionary}'. DICT_4X4_50 is one (OpenCV's aruco)")
    found = cv2.aruco.getPredefinedDictionary(number)
    last = board.marker_id if board.kind == "marker" else board.columns * board.rows // 2 - 1
    if not 0 <= last < len(found.bytesList):
        raise UserError(f"board: {board.dictionary} has {len(found.bytesList)} markers, but number {last} is needed")
    return found


def read_board(path: Path) -> Board:
    """A board from a toml or yaml file: the fields of `Board`, or Caliscope's. Raises UserError.

    Caliscope's: columns, rows, dictionary, aruco_scale, inverted, and square_size_override_cm.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".toml":
            content: Any = tomllib.loads(text)
        else:
            import yaml

            content = yaml.safe_load(text)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}). {CURE}") from error
    except Exception as error:  # yaml and toml have their own
        if not isinstance(error, ValueError) and type(error).__module__.split(".")[0] != "yaml":
            raise
        raise UserError(f"{path}: is no toml or yaml file ({' '.join(str(error).split())}). {CURE}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: is no description of a board. {CURE}")
    content = _from_caliscope(path, content) if "aruco_scale" in content else content
    unknown = content.keys() - Board.__dataclass_fields__.keys()
    if unknown or "square_m" not in content:
        what = f"has an unknown setting '{min(unknown)}'" if unknown else "lacks square_m"
        raise UserError(f"{path}: {what}; known: {', '.join(Board.__dataclass_fields__)}. {CURE}")
    try:
        return Board(**{"marker_m": MARKER_SHARE * content["square_m"]} | content)
    except TypeError as error:
        raise UserError(f"{path}: has a value of a wrong kind ({error}). {CURE}") from error
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _from_caliscope(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    if "square_size_override_cm" not in content:
        raise UserError(f"{path}: has no square_size_override_cm. Measure a square and add it, in centimetres")
    square_m = round(content["square_size_override_cm"] / 100, 9)
    found = {key: content[key] for key in ("columns", "rows", "dictionary", "inverted") if key in content}
    return found | {"square_m": square_m, "marker_m": round(content["aruco_scale"] * square_m, 9)}


def write_board(board: Board, path: Path) -> None:
    """Writes what `read_board` reads."""
    from refit_rt.files import write_whole

    lines = ["# The target of refit-rt calibrate. square_m: measure the print and correct it here, in metres."]
    for name in Board.__dataclass_fields__:
        value = getattr(board, name)
        text = f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
        lines.append(f"{name} = {text}")
    with write_whole(path) as part:
        part.write_text("\n".join(lines) + "\n", encoding="utf-8")


def with_square(board: Board, square_m: float) -> Board:
    """The same board printed at another scale: with squares as they were measured."""
    return replace(board, square_m=square_m, marker_m=board.marker_m * square_m / board.square_m)


# ---------------------------------------------------------------------------------------------------------- printing


@dataclass(frozen=True, slots=True)
class Page:
    """Black rectangles and text on a page, millimetres from its top left."""

    size_mm: tuple[float, float]
    rectangles: np.ndarray  # (rectangle, 4) x, y, width, height
    text: str
    foot_mm: tuple[float, float]  # left end of the check line


def page_of(board: Board, paper: str) -> Page:
    """The board in the middle of a page. Raises UserError when it does not fit."""
    wide, high = (1000 * side for side in board.size_m)
    paper_size = PAGES[paper]
    for width, height in (paper_size, paper_size[::-1]):
        if wide < width - 2 * EDGE_MM + 0.01 and high < height - 2 * EDGE_MM - FOOT_MM + 0.01:
            left, top = (width - wide) / 2, (height - FOOT_MM - high) / 2
            squares = _black(board) * 1000 + [left, top, 0, 0]
            foot = ((width - CHECK_MM) / 2, height - EDGE_MM - 5)
            text = f"{board.words}. Print at 100 %. The line is {CHECK_MM:g} mm long"
            return Page((width, height), squares, text, foot)
    room = max(paper_size) - 2 * EDGE_MM
    raise UserError(
        f"calibrate board: {wide:g} x {high:g} mm do not fit on {paper} ({room:g} mm are free along it). "
        "Give larger paper with --paper, or smaller squares with --square-mm"
    )


def _black(board: Board) -> np.ndarray:
    """Black rectangles (n, 4) x, y, width, height in metres from the board's top left."""
    cells = []
    if board.kind == "marker":
        cells = _marker(board, board.marker_id, 0.0, 0.0, board.square_m)
    else:
        side, first = board.square_m, _first_black(board)
        for row in range(board.rows):
            for column in range(board.columns):
                if (row + column) % 2 == first:
                    cells.append((column * side, row * side, side, side))
    if board.kind == "charuco":
        made = board.charuco()
        for number, corners in zip(np.ravel(made.getIds()), made.getObjPoints(), strict=True):
            x, y = np.asarray(corners)[0, :2]
            cells += _marker(board, int(number), float(x), float(y), board.marker_m)
    black = np.array(cells, float)
    return _complement(board, black) if board.inverted else black


def _first_black(board: Board) -> int:
    """0: the top left square is black."""
    return int(board.kind == "charuco" and board.legacy and board.rows % 2 == 0)


def _marker(board: Board, number: int, x: float, y: float, side: float) -> list[tuple[float, float, float, float]]:
    """The black runs of a marker's rows."""
    import cv2

    words = dictionary_of(board)
    bits = cv2.aruco.generateImageMarker(words, number, words.markerSize + 2)
    return [(x + a, y + b, w, h) for a, b, w, h in _runs(bits == 0, side / len(bits))]


def _runs(black: np.ndarray, side: float) -> list[tuple[float, float, float, float]]:
    """The black runs of the rows of a picture, as rectangles."""
    found = []
    for row, line in enumerate(black):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(int), [0]])))
        found += [(a * side, row * side, (b - a) * side, side) for a, b in edges.reshape(-1, 2)]
    return found


def _complement(board: Board, black: np.ndarray) -> np.ndarray:
    """Black where it was white, inside the board, with an edge of half a square around it."""
    xs, ys = (np.unique(np.round(np.concatenate([black[:, i], black[:, i] + black[:, i + 2]]), 9)) for i in (0, 1))
    edge = board.square_m / 2
    xs = np.unique([*xs, 0.0, board.size_m[0]])
    ys = np.unique([*ys, 0.0, board.size_m[1]])
    xs, ys = np.concatenate([[-edge], xs, [xs[-1] + edge]]), np.concatenate([[-edge], ys, [ys[-1] + edge]])
    cells = []
    for y, below in pairwise(ys):
        for x, right in pairwise(xs):
            middle = ((x + right) / 2, (y + below) / 2)
            inside = (black[:, :2] < middle).all(1) & (middle < black[:, :2] + black[:, 2:]).all(1)
            if not inside.any():
                cells.append((x, y, right - x, below - y))
    return np.array(cells)


def pdf_of(page: Page) -> bytes:
    """The page as a PDF of one page: one filled path, one line, one text in Helvetica."""
    width, height = (side * POINTS_PER_MM for side in page.size_mm)
    drawn = []
    for x, y, w, h in page.rectangles * POINTS_PER_MM:
        drawn.append(f"{x:.4f} {height - y - h:.4f} {w:.4f} {h:.4f} re")
    x, y = page.foot_mm[0] * POINTS_PER_MM, height - page.foot_mm[1] * POINTS_PER_MM
    end, tick = x + CHECK_MM * POINTS_PER_MM, 2 * POINTS_PER_MM
    line = f"0.7 w {x:.4f} {y:.4f} m {end:.4f} {y:.4f} l {x:.4f} {y - tick:.4f} m {x:.4f} {y + tick:.4f} l "
    line += f"{end:.4f} {y - tick:.4f} m {end:.4f} {y + tick:.4f} l S"
    words = f"BT /F1 8 Tf {EDGE_MM * POINTS_PER_MM:.2f} {y - 5.6 * POINTS_PER_MM:.2f} Td ({page.text}) Tj ET"
    content = "\n".join(["0 g", *drawn, "f", line, words]).encode("latin-1")
    box = f"[0 0 {width:.4f} {height:.4f}]"
    parts = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        f"<< /Type /Page /Parent 2 0 R /MediaBox {box} /Contents 4 0 R "
        "/Resources << /Font << /F1 5 0 R >> >> >>".encode(),
        b"<< /Length %d >>\nstream\n%b\nendstream" % (len(content), content),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    file, starts = b"%PDF-1.4\n", []
    for number, part in enumerate(parts, 1):
        starts.append(len(file))
        file += b"%d 0 obj\n%b\nendobj\n" % (number, part)
    table = b"".join(b"%010d 00000 n \n" % start for start in starts)
    count = len(parts) + 1
    end_of_file = b"xref\n0 %d\n0000000000 65535 f \n%b" % (count, table)
    end_of_file += b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (count, len(file))
    return file + end_of_file


def picture_of(page: Page, dpi: float = DPI) -> np.ndarray:
    """The page as a picture (height, width) uint8."""
    import cv2

    scale = dpi / 25.4
    picture = np.full([round(side * scale) for side in page.size_mm[::-1]], 255, np.uint8)
    for x, y, w, h in page.rectangles:
        left, top, right, bottom = (round(float(edge) * scale) for edge in (x, y, x + w, y + h))
        picture[top:bottom, left:right] = 0
    x, y = (round(float(place) * scale) for place in page.foot_mm)
    end, tick, thick = x + round(CHECK_MM * scale), round(2 * scale), max(1, round(0.25 * scale))
    for a, b in (((x, y), (end, y)), ((x, y - tick), (x, y + tick)), ((end, y - tick), (end, y + tick))):
        cv2.line(picture, a, b, 0, thick)
    place = (round(EDGE_MM * scale), y + round(5.6 * scale))
    cv2.putText(picture, page.text, place, cv2.FONT_HERSHEY_SIMPLEX, 2.6 * scale / 22, 0, thick, cv2.LINE_AA)
    return picture


def png_of(picture: np.ndarray, dpi: float = DPI) -> bytes:
    """A PNG that says how large it is to be printed (the chunk pHYs)."""
    import cv2

    data = cv2.imencode(".png", picture)[1].tobytes()
    per_metre = round(dpi / 0.0254)
    chunk = b"pHYs" + struct.pack(">IIB", per_metre, per_metre, 1)
    whole = struct.pack(">I", 9) + chunk + struct.pack(">I", zlib.crc32(chunk))
    header = 8 + 25  # the signature and IHDR, which comes first
    return data[:header] + whole + data[header:]


def board(
    *,
    out: Annotated[str, arg(metavar="NAME")] = "board",
    kind: Kind = "charuco",
    columns: int = 8,
    rows: int = 6,
    square_mm: float = 0.0,
    paper: Literal["A4", "A3", "A2", "A1", "A0"] = "A4",
    dictionary: str = "DICT_4X4_50",
    marker_id: int = 0,
    inverted: bool = False,
) -> int:
    """Make a board to print: a PDF, a PNG, and the file that describes it.

    Print it at 100 % and measure the check line and a square. Whatever a square measures is what calibrate solve needs,
    with --square-mm: a board that is 1 % too large makes the whole room 1 % too small, and no picture shows it.

    Args:
        out: Name of the files to write: NAME.pdf, NAME.png and NAME.toml.
        kind: A ChArUco board may be seen in part; a chessboard may not; a marker is one ArUco marker.
        columns: Squares along the board, not inner corners.
        rows: Squares down the board. For a chessboard, one of both numbers must be odd and the other even.
        square_mm: Side of a square, or of the marker; 0: as large as the paper allows, in whole millimetres.
        paper: Size of the page.
        dictionary: OpenCV's name of the set of markers.
        marker_id: Number of the single marker.
        inverted: Whether black and white are exchanged.
    """
    from refit_rt.commands.shared import say
    from refit_rt.files import write_whole

    across = (1, 1) if kind == "marker" else (columns, rows)
    side_mm = square_mm or _largest_mm(across, paper, inverted)
    made = Board(
        kind, *across, side_mm / 1000, MARKER_SHARE * side_mm / 1000, dictionary, inverted, marker_id=marker_id
    )
    if not made.has_one_way_up:
        raise UserError(
            f"calibrate board: {columns} x {rows} squares look the same after half a turn. "
            "Make one of both numbers even and the other odd"
        )
    page = page_of(made, paper)
    name = Path(out).expanduser()
    for suffix, data in ((".pdf", pdf_of(page)), (".png", png_of(picture_of(page)))):
        with write_whole(name.with_name(name.name + suffix)) as part:
            part.write_bytes(data)
    write_board(made, name.with_name(f"{name.name}.toml"))
    say(f"{name}.pdf, .png, .toml: {made.words}, on {paper}")
    say("Print at 100 %, glue it to something flat and stiff, measure a square, and give that to calibrate solve")
    return 0


def _largest_mm(squares: tuple[int, int], paper: str, inverted: bool) -> float:
    """The largest whole side of a square that fits on the page, upright or across."""
    long, short = PAGES[paper]
    edge = 1 if inverted else 0  # half a square of black on every side
    fits = [
        min((wide - 2 * EDGE_MM) / (squares[0] + edge), (high - 2 * EDGE_MM - FOOT_MM) / (squares[1] + edge))
        for wide, high in ((long, short), (short, long))
    ]
    return float(int(max(fits)))
