"""The verb `calibrate solve`: recordings of a board → the rig, and a table of how well it is known."""

import csv
import datetime
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from tyro.conf import Positional, arg

from refit_rt.commands.shared import File, say
from refit_rt.errors import UserError

if TYPE_CHECKING:
    from calib.board import Board
    from calib.detect import Sightings
    from calib.extrinsics import Solution
    from calib.intrinsics import Lens
    from calib.quality import Quality
    from refit_rt.cameras import Rig

WORST_PX = 2.0  # of the root mean square: cameras that fit worse are refused
LATE_FRAMES = 0.05  # of a delay: smaller ones are not told
OUT_OF_STEP = 2.0  # times the lens's own error: the board moved between the cameras' pictures
VIDEOS = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"})
COLUMNS = {
    "camera": ("cam_id", "camera", "cam", "port", "name"),
    "frame": ("frame_index", "frame", "index"),
    "time": ("frame_time", "time_s", "time", "timestamp"),
}


def solve(
    recordings: Positional[Annotated[tuple[str, ...], arg(metavar="RECORDING")]],
    /,
    *,
    board: File,
    out: File,
    square_mm: float = 0.0,
    intrinsics: File = "",
    timestamps: File = "",
    every: int = 0,
    lenses_only: bool = False,
) -> int:
    """Find the lenses and places of cameras from recordings of a board.

    Give the folder that calibrate record made; or one video or folder of pictures per camera, or a folder that contains
    them. Each camera is named like its file. In takes of calibrate record, pictures of one number belong together. Of
    videos, the n-th frames were taken at the same moment, unless a timestamps file gives each frame's own time. Where
    the board is carried slowly, a constant delay of each camera is found and corrected too. Written are the rig and,
    beside it, NAME.quality.npz for calibrate report. The world is the first camera's, until calibrate floor finds the
    floor.

    Args:
        recordings: Videos or folders of pictures, one per camera.
        board: The board's file, which calibrate board writes. Caliscope's is read too.
        out: The rig file to write (.json).
        square_mm: Side of a square as measured on the print; 0: as the board's file states it.
        intrinsics: A rig file to take the lenses from; only the places are found then.
        timestamps: A csv file with the columns camera, frame and time_s (seconds); Caliscope's is read too.
        every: Look at every n-th frame; 0: at 400 frames, evenly.
        lenses_only: Find only the lenses; the cameras need not see the board together.
    """
    from calib.board import read_board, with_square
    from refit_rt.cameras import read_rig, write_rig

    target = Path(out).expanduser()
    if target.suffix != ".json":
        raise UserError(f"--out {out}: a rig file is called NAME.json")
    if square_mm < 0 or every < 0:
        raise UserError("calibrate solve: --square-mm and --every are not negative")
    shape = read_board(Path(board).expanduser())
    shape = with_square(shape, square_mm / 1000) if square_mm else shape
    known = read_rig(Path(intrinsics).expanduser()) if intrinsics else None
    sources = cameras_in([Path(name).expanduser() for name in recordings])
    lenses_only = lenses_only or len(sources) == 1
    moments = moments_of(sources, Path(timestamps).expanduser() if timestamps else None, every)
    seen = look_at(shape, sources, moments)
    still = takes_of(sources) is not None
    step_s = 0.0 if still else moment_s(sources, Path(timestamps).expanduser() if timestamps else None)
    result = solved(shape, seen, known, lenses_only, still, step_s)
    for line in result.table():
        say(line)
    if not lenses_only and result.quality.rms_px > WORST_PX:
        raise UserError(
            f"calibrate solve: the cameras fit the board to {result.quality.rms_px:.1f} px only, and {WORST_PX:g} are "
            "allowed. Check that the recordings are of the same moments (--timestamps), and that the board is flat"
        )
    from calib.quality import beside, write_quality

    write_quality(result.quality, beside(target))
    write_rig(result.rig, target)
    say(f"{target}: {len(result.rig)} cameras. See it: refit-rt calibrate report {target}")
    return 0


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What `solve` writes and prints."""

    rig: "Rig"
    quality: "Quality"
    weaknesses: tuple[str, ...]

    def table(self) -> list[str]:
        """Lines to print: one per camera, then what is weak."""
        lines = [f"{'camera':<12}{'boards':>7}{'rms px':>8}{'held out':>9}{'focal px':>16}{'centre px':>17}"]
        for camera, one in zip(self.rig, self.quality.cameras, strict=True):
            spread = one.deviation.get("focal_px")
            focal = f"{camera.focal_px:.1f} " + ("fixed" if spread is None else f"± {spread:.1f}")
            rms_px = one.rms_px if np.isfinite(one.rms_px) else one.lens_rms_px
            held = f"{one.held_out_px:.2f}" if np.isfinite(one.held_out_px) else "-"
            x, y = camera.centre_px
            lines.append(
                f"{one.name:<12}{len(one.distance_m):>7}{rms_px:>8.2f}{held:>9}{focal:>16}{f'{x:.1f}, {y:.1f}':>17}"
            )
        return [*lines, *self.weaknesses]


def cameras_in(paths: list[Path]) -> dict[str, Path]:
    """Camera name → its video or folder of pictures. Raises UserError."""
    if len(paths) == 1 and paths[0].is_dir():
        inside = sorted(paths[0].iterdir())
        videos = [path for path in inside if path.suffix.lower() in VIDEOS]
        paths = videos or [path for path in inside if path.is_dir()] or paths
    if not paths:
        raise UserError("calibrate solve: needs a recording per camera (refit-rt calibrate solve --help)")
    found: dict[str, Path] = {}
    for path in paths:
        name = path.stem if path.is_file() else path.name
        if path.resolve() in {other.resolve() for other in found.values()}:
            raise UserError(f"{path}: is given twice. Give one recording per camera")
        if name in found:
            raise UserError(f"{path}: is named like {found[name]}. Rename one: a camera is called like its file")
        found[name] = path
    return found


def moments_of(sources: dict[str, Path], timestamps: Path | None, every: int) -> dict[str, dict[int, int]]:
    """Camera name → frame → moment, of the frames to look at. Raises UserError."""
    from calib.detect import MOST_FRAMES, frames_in

    counts = {name: frames_in(path) for name, path in sources.items()}
    takes = takes_of(sources)
    if takes is not None and timestamps is not None:
        raise UserError("--timestamps: is for films, but these are takes of calibrate record. Leave it out")
    if takes is not None:
        whole = takes
    elif timestamps is None:
        whole = {name: {frame: frame for frame in range(count)} for name, count in counts.items()}
    else:
        whole = groups(times_of(timestamps, counts))
    last = max((max(frames.values()) for frames in whole.values() if frames), default=0)
    step = every or -(-(last + 1) // MOST_FRAMES)
    return {name: {f: m for f, m in frames.items() if m % step == 0} for name, frames in whole.items()}


def takes_of(sources: dict[str, Path]) -> dict[str, dict[int, int]] | None:
    """Camera name → place of a picture in its folder → number of the take, where the recordings are those of
    `calibrate record`; None: they are others. Raises UserError for a mixture."""
    from calib.takes import takes_in

    found = {name: takes_in(path) if path.is_dir() else None for name, path in sources.items()}
    others = [name for name, numbers in found.items() if numbers is None]
    if others and len(others) < len(found):
        taken = next(name for name in found if name not in others)
        raise UserError(
            f"'{taken}' has takes of calibrate record, '{others[0]}' has none. Give the recordings of one kind"
        )
    return {name: numbers for name, numbers in found.items() if numbers is not None} or None


def times_of(path: Path, counts: dict[str, int]) -> dict[str, np.ndarray]:
    """Camera name → seconds (frame,); NaN: the file does not state that frame's. Raises UserError."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({error}). Give a csv file, or leave out --timestamps") from error
    names = {key: next((name for name in known if rows and name in rows[0]), "") for key, known in COLUMNS.items()}
    missing = [key for key, name in names.items() if not name]
    if missing:
        raise UserError(f"{path}: has no column '{missing[0]}'; needed are camera, frame and time_s")
    found = {}
    for camera, count in counts.items():
        mine = [row for row in rows if row[names["camera"]] in (camera, camera.removeprefix("cam_"))]
        if not mine:
            raise UserError(f"{path}: has no times of '{camera}'. Name the recordings like the file's cameras")
        try:
            frames = np.array([int(row[names["frame"]]) for row in mine])
            times_s = np.array([float(row[names["time"]]) for row in mine])
        except (TypeError, ValueError) as error:
            raise UserError(f"{path}: the times of '{camera}' are no numbers ({error})") from error
        order = np.argsort(frames, kind="stable")
        frames, times_s = frames[order], times_s[order]
        if len(frames) == count:  # a recording that was cut: its first frame is the first row
            frames = np.arange(count)
        if frames[0] < 0 or frames[-1] >= count:
            raise UserError(f"{path}: has a frame {frames[-1]} of '{camera}', but its recording has {count} frames")
        back = np.flatnonzero(~(np.diff(times_s) > 0))
        if len(back):
            raise UserError(
                f"{path}: the times of '{camera}' jump back at frame {frames[back[0] + 1]}. Repair the file, or leave "
                "out --timestamps where the n-th frames belong together"
            )
        found[camera] = np.full(count, np.nan)
        found[camera][frames] = times_s
    return found


def moment_s(sources: dict[str, Path], timestamps: Path | None) -> float:
    """Seconds between two moments: the step of the first camera's times, else of its video; 0: unknown."""
    from calib.detect import frames_in, is_video, opened

    name, path = next(iter(sources.items()))
    if timestamps is not None:
        steps_s = np.diff(times_of(timestamps, {name: frames_in(path)})[name])
        steps_s = steps_s[np.isfinite(steps_s)]
        return float(np.median(steps_s)) if len(steps_s) else 0.0
    if not is_video(path):
        return 0.0
    film = opened(path)
    fps = film.rate() or film.stated_fps
    film.close()
    return 1 / fps if fps > 0 else 0.0


def groups(times_s: dict[str, np.ndarray]) -> dict[str, dict[int, int]]:
    """Camera name → frame → moment: frames nearest to the first camera's, within half a frame. Raises UserError."""
    first = next(iter(times_s.values()))
    ticks = np.flatnonzero(np.isfinite(first))
    half = np.median(np.diff(first[ticks])) / 2 if len(ticks) > 1 else 0.0
    found: dict[str, dict[int, int]] = {}
    for name, own in times_s.items():
        frames = np.flatnonzero(np.isfinite(own))
        nearest = frames[np.abs(own[frames][None] - first[ticks][:, None]).argmin(1)]
        close = np.abs(own[nearest] - first[ticks]) <= half
        found[name] = {int(frame): int(tick) for frame, tick in zip(nearest[close], ticks[close], strict=True)}
        if not found[name]:
            raise UserError(f"{name}: no frame was taken within half a frame of another camera's. Check the timestamps")
    return found


def look_at(board: "Board", sources: dict[str, Path], moments: dict[str, dict[int, int]]) -> list["Sightings"]:
    """What each camera saw."""
    from calib.detect import look, pictures_at

    found = []
    for name, path in sources.items():
        frames = moments[name]
        pictures = ((frames[frame], picture) for frame, picture in pictures_at(path, sorted(frames)))
        found.append(look(board, name, pictures))
    return found


def solved(
    board: "Board",
    seen: list["Sightings"],
    known: "Rig | None" = None,
    lenses_only: bool = False,
    still: bool = False,
    step_s: float = 0.0,
) -> Result:
    """The rig of cameras that saw a board. known: a rig whose lenses are taken. still: the board was held still at each
    moment, and carried on between two. step_s: seconds between two moments, with which the rig keeps each camera's
    delay; 0: unknown. Raises UserError."""
    from calib.adjust import lens_of
    from calib.detect import SMALLEST_MARKER_PX
    from calib.extrinsics import solve_places
    from calib.intrinsics import solve_lens
    from calib.quality import in_space

    found: list[Lens | None] = [None if known else solve_lens(board, one) for one in seen]
    weak = [text for lens in found if lens for text in lens.weaknesses]
    weak += [
        f"{one.name}: markers are {one.marker_px:.0f} px wide, and {SMALLEST_MARKER_PX:.0f} are needed. "
        "Use a larger board, or film it nearer"
        for one in seen
        if one.marker_px < SMALLEST_MARKER_PX
    ]
    if known:
        lenses = np.array([lens_of(*_known_lens(known, one)) for one in seen])
    else:
        lenses = np.array([lens.lens for lens in found if lens])
    deviation = np.array([lens.deviation for lens in found if lens]) if known is None else None
    if lenses_only:
        places, solution = np.tile(np.eye(4), (len(seen), 1, 1)), None
    else:
        alone = [set(lens.views) if lens else set() for lens in found]
        solution = solve_places(board, seen, lenses, deviation, alone, still)
        lenses, places = solution.adjusted.scene.lenses, solution.adjusted.scene.camera_from_world
        deviation = solution.adjusted.deviation if deviation is not None else None
        weak += _out_of_step(seen, found, solution) + _late(seen, solution, step_s)
    quality = _quality(board, seen, found, deviation, solution)
    delays_s = solution.adjusted.scene.delays * step_s if solution is not None else np.zeros(len(seen))
    rig = _rig(seen, lenses, places, delays_s, quality)
    if solution is not None:
        across = 0 if board.kind == "marker" else board.columns - 1
        corners_m, squares_m = in_space(rig, quality.cameras, across)
        quality = replace(quality, corners_m=corners_m, squares_m=squares_m)
    return Result(rig, quality, tuple(weak))


def _known_lens(known: "Rig", seen: "Sightings") -> tuple[np.ndarray, np.ndarray]:
    """Camera matrix (3, 3) and distortion (5,) for the size of the pictures. Raises UserError."""
    if seen.name not in known.names:
        raise UserError(f"--intrinsics: has no camera '{seen.name}', only {', '.join(known.names)}")
    try:
        camera = known[seen.name].scaled(seen.size)
    except ValueError as error:
        raise UserError(
            f"--intrinsics: camera '{seen.name}' {error}. Record in that shape, or solve the lens"
        ) from error
    return camera.matrix, camera.distortion


def _out_of_step(seen: list["Sightings"], found: list["Lens | None"], solution: "Solution") -> list[str]:
    """Cameras whose corners fit the rig much worse than their own lens."""
    corners, adjusted, weak = solution.corners, solution.adjusted, []
    for index, (one, lens) in enumerate(zip(seen, found, strict=True)):
        mine = adjusted.residual_px[(corners.camera == index) & adjusted.used]
        rms_px = float(np.sqrt((mine**2).sum(1).mean())) if len(mine) else 0.0
        if lens and rms_px > OUT_OF_STEP * max(lens.rms_px, 0.1):
            weak.append(
                f"{one.name}: fits the other cameras to {rms_px:.2f} px, its own lens to {lens.rms_px:.2f} px. The "
                "board moved while the pictures were not taken at once: hold it still, or give --timestamps"
            )
    return weak


def _late(seen: list["Sightings"], solution: "Solution", step_s: float) -> list[str]:
    """Cameras whose pictures are older than those of the camera that the others are compared with."""
    root, delays = solution.root, solution.adjusted.scene.delays
    where = "here, and in a run with the rig" if step_s else "here"
    return [
        f"{one.name}: its pictures are {abs(delay):.2f} frames {'older' if delay > 0 else 'newer'} than they claim, "
        f"beside those of {seen[root].name}. That is corrected {where}"
        for one, delay in zip(seen, delays, strict=True)
        if abs(delay) > LATE_FRAMES
    ]


def _rig(
    seen: list["Sightings"], lenses: np.ndarray, places: np.ndarray, delays_s: np.ndarray, quality: "Quality"
) -> "Rig":
    """The cameras in the world of the first one, which stands upright at the origin."""
    from refit_rt.cameras import Camera, Figures, Rig

    upright = Camera("", seen[0].size, 1.0, (0.0, 0.0)).world_from_camera
    cameras = []
    for one, lens, place, delay_s in zip(seen, lenses, places, delays_s.tolist(), strict=True):
        world = upright @ places[0] @ np.linalg.inv(place)
        focal_px, aspect = (lens[0] + lens[1]) / 2, float(lens[1] / lens[0])
        lens_of_it = (float(focal_px), (lens[2], lens[3]), lens[4:].copy())
        cameras.append(Camera(one.name, one.size, *lens_of_it, world, aspect, round(delay_s, 4)))
    figures = Figures(_number(quality.rms_px), _number(quality.held_out_px), quality.made)
    return Rig(tuple(cameras), figures=figures)


def _number(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None


def _quality(
    board: "Board",
    seen: list["Sightings"],
    found: list["Lens | None"],
    deviation: np.ndarray | None,
    solution: "Solution | None",
) -> "Quality":
    """The record for `calibrate report`: every corner of every frame, with its residual where it took part."""
    from calib.adjust import LENS
    from calib.quality import CameraQuality, Quality

    cameras = []
    for index, (one, lens) in enumerate(zip(seen, found, strict=True)):
        moments = sorted(one.views)
        frame = np.concatenate([np.full(len(one.views[moment].ids), moment) for moment in moments])
        corner = np.concatenate([one.views[moment].ids for moment in moments])
        pixel = np.concatenate([one.views[moment].pixels for moment in moments])
        residual_px, used, held = np.full(pixel.shape, np.nan), np.zeros(len(pixel), bool), np.zeros(len(pixel), bool)
        away, tilts = (lens.distance_m, lens.tilt_deg) if lens else ((), ())
        if solution is not None:
            rows = np.flatnonzero(solution.corners.camera == index)
            moment = np.array(solution.moments)[solution.corners.board[rows]]
            wide = int(corner.max()) + 1
            place = np.searchsorted(frame * wide + corner, moment * wide + solution.ids[rows])
            out = solution.held_out[rows]
            pixel[place] = solution.corners.at_once(solution.adjusted.scene.delays)[rows]
            residual_px[place] = -solution.adjusted.residual_px[rows]
            residual_px[place[out]] = -solution.held_out_residual_px[rows[out]]
            used[place], held[place] = solution.adjusted.used[rows] & ~out, out
            away, tilts = _distances(solution, index)
        spread = {}
        if deviation is not None:
            spread = {name: float(value) for name, value in zip(LENS[4:8], deviation[index, 4:8], strict=True)}
            spread |= {"focal_px": float(deviation[index, :2].mean()), "centre_px": float(deviation[index, 2:4].max())}
        rms_px = lens.rms_px if lens else float("nan")
        arrays = (frame, corner, pixel, residual_px, used, held, np.array(away), np.array(tilts))
        cameras.append(CameraQuality(one.name, one.size, *arrays, rms_px, spread))
    shared = np.array([[len(a.views.keys() & b.views.keys()) for b in seen] for a in seen])
    made = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    return Quality(tuple(cameras), shared, square_m=board.square_m, board=board.words, made=made)


def _distances(solution: "Solution", camera: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Distances (metres) and tilts (degrees) of the boards that a camera saw."""
    from calib.intrinsics import tilt_of

    scene = solution.adjusted.scene
    boards = np.unique(solution.corners.board[solution.corners.camera == camera])
    here = scene.camera_from_world[camera] @ scene.world_from_board[boards]
    away = tuple(float(np.linalg.norm(one[:3, 3])) for one in here)
    return away, tuple(tilt_of(one[:3, :3], one[:3, 3]) for one in here)
