"""World and scale of a rig from its floor: a board that lies on it, known points, or people's feet.

A floor is refused where its tilt is uncertain, where a camera would stand under it, and where people would stand on
their heads: a board alone, seen by one camera, has two poses that look alike (Schweighofer and Pinz 2006), and a floor
from the wrong one fits the pictures well. Corners that are triangulated from two cameras or more leave one pose.
"""

import json
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from tyro.conf import Positional, arg

from refit_rt.commands.shared import say
from refit_rt.errors import UserError
from refit_rt.types import JOINTS

if TYPE_CHECKING:
    from refit_rt.cameras import Rig

MOST_TILT_DEG = 1.0  # standard deviation; at 3 m from the middle, the floor is then 5 cm off
NARROW_M = 0.02  # root of the mean squared distance from a line; a plane through a line turns to the noise beside it
LEAST_NOISE_M = 0.001  # points fit no better than this, whatever their residuals
SAME_SCALE = 0.02  # by which the rig's own lengths may be off before they are no longer believed
MIRRORED_M = 0.02  # points that are farther off than this and fit three times as well in a mirror are left-handed
ON_FLOOR_M = 0.02  # a foot this far from the floor stands on it
UNDER_M = 0.04  # a foot farther under the floor than this cannot be
FEW_UNDER = 0.02  # share of feet that may be there: wrong joints
MOST_LEAN_DEG = 30.0  # of the mean direction from feet to heads, against the floor's normal
TURNED_DEG = 10.0  # a plane of three feet and one of all that stand on it differ less, unless all stand in a line
LIKELY_SHARE = 0.1  # of the feet that stand on the floor at the least, while people walk
FEET, HEAD = (10, 11), 15  # SMPL's joints
SOLE_M = 0.028  # height of SMPL's foot joints over the soles; measured on the free body, as it stands
DRAWS = 500  # planes tried through three feet each


@dataclass(frozen=True, slots=True, eq=False)
class Floor:
    """A rig whose world stands on its floor: y up, y = 0 on the floor, metres."""

    rig: "Rig"
    scale: float  # metres now per metre of the given rig
    rms_m: float  # distance of the points from where they should be
    tilt_deg: float  # standard deviation of the floor's tilt
    measured: float = 1.0  # the scale that the points themselves show, taken or not


def from_board(rig: "Rig", corners_m: np.ndarray, board_m: np.ndarray, rescale: bool = False) -> Floor:
    """corners_m (n, 3): the board's corners, triangulated; board_m (n, 2): the same on the board, x right, y down.

    The world's x is the board's x, its z the board's y, its origin the board's. Raises UserError as `from_points`.
    """
    known = np.stack([board_m[:, 0], np.zeros(len(board_m)), board_m[:, 1]], -1)
    return from_points(rig, corners_m, known, rescale, "the board's corners")


def from_points(
    rig: "Rig", found_m: np.ndarray, known_m: np.ndarray, rescale: bool = False, what: str = "the points"
) -> Floor:
    """found_m (n, 3) in the rig's world, known_m (n, 3) as measured, y up, y = 0 on the floor; n is 3 or more.

    rescale: take the scale from the points; otherwise the rig keeps its own. Raises UserError for an ambiguous or
    flipped floor, for left-handed coordinates, and for a scale that differs by more than 2 % and is not to be taken.
    """
    seen = np.isfinite(found_m).all(-1)
    if seen.sum() < 3:
        raise UserError(f"{what}: {seen.sum()} of them are seen by two cameras or more, and 3 are needed")
    found_m, known_m = found_m[seen], known_m[seen]
    measured, _, _, rms_m = similarity(found_m, known_m, scaled=True)
    if rms_m > MIRRORED_M and similarity(found_m, known_m * (1, 1, -1), scaled=True)[3] < rms_m / 3:
        raise UserError(f"{what}: their coordinates are left-handed. Turn the sign of one axis around")
    if not rescale and abs(measured - 1) > SAME_SCALE:
        raise UserError(
            f"{what}: are {1 / measured:.3f} times as far apart in the rig as measured. Check the measured lengths "
            "(the square's side, the unit), or add --rescale to believe them"
        )
    scale = measured if rescale else 1.0
    _, turn, shift, rms_m = similarity(scale * found_m, known_m, scaled=False)
    tilt_deg = tilt(known_m, rms_m, what)
    return _standing(rig, turn, shift, Floor(rig, scale, rms_m, tilt_deg, measured), what)


def from_plane(rig: "Rig", found_m: np.ndarray, scale: float = 1.0, what: str = "the points on the floor") -> Floor:
    """found_m (n, 3): points of the floor in the rig's world. The cameras' side is up, the origin is the points'
    middle, and z points towards the first camera. Raises UserError as `from_points`."""
    found_m = scale * found_m[np.isfinite(found_m).all(-1)]
    if len(found_m) < 3:
        raise UserError(f"{what}: {len(found_m)} of them are seen by two cameras or more, and 3 are needed")
    middle, normal, rms_m = plane(found_m)
    towards = scale * np.array([camera.position for camera in rig]) - middle
    up = normal * np.sign((towards @ normal).sum())
    tilt_deg = tilt(found_m, rms_m, what)
    z = towards[0] - up * (towards[0] @ up)
    if np.linalg.norm(z) < 0.01:  # the first camera hangs right above: its picture's upward direction lies on the floor
        z = rig.cameras[0].world_from_camera[:3, 1] - up * (rig.cameras[0].world_from_camera[:3, 1] @ up)
    z /= np.linalg.norm(z)
    turn = np.stack([np.cross(up, z), up, z])
    return _standing(rig, turn, -turn @ middle, Floor(rig, scale, rms_m, tilt_deg), what)


def from_feet(rig: "Rig", feet_m: np.ndarray, heads_m: np.ndarray | None = None, sole_m: float = 0.0) -> Floor:
    """feet_m (n, 3): places of people's feet while they stand and walk about, in the rig's world; heads_m (m, 3).
    sole_m: their height over the floor when they stand.

    The floor is the plane that most feet stand on and few are under. Heads say where up is; without them, the cameras
    do. Raises UserError where people and cameras disagree, and as `from_points`.
    """
    what = "people's feet"
    feet_m = feet_m[np.isfinite(feet_m).all(-1)]
    if len(feet_m) < 3:
        raise UserError(f"{what}: there are {len(feet_m)}, and 3 are needed. Let a person walk through the room")
    above = np.array([camera.position for camera in rig]) if heads_m is None else heads_m[np.isfinite(heads_m).all(-1)]
    on = _standing_feet(feet_m, above, MOST_LEAN_DEG if heads_m is not None else 90.0)
    floor = from_plane(rig, feet_m[on], what=what)
    if heads_m is not None:
        camera = rig.cameras[0]
        heads = floor.rig.cameras[0].world(camera.camera(above))
        if np.median(heads[:, 1]) < 0:
            raise UserError(
                "people's feet: with the cameras above the floor, people stand on their heads. The rig is mirrored or "
                "its floor ambiguous: calibrate again, and check that no picture is mirrored"
            )
    lifted = np.eye(4)
    lifted[1, 3] = sole_m
    return replace(floor, rig=replace(floor.rig.moved(lifted), floor=True))


def _standing_feet(feet_m: np.ndarray, above: np.ndarray, lean_deg: float) -> np.ndarray:
    """(n,) bool: which feet stand on the floor. above (m, 3): points over it, whose middle is over the feet's: its
    direction leans by lean_deg at most."""
    draws = np.random.default_rng(0).integers(len(feet_m), size=(DRAWS, 3))
    first, second, third = (feet_m[draws[:, corner]] for corner in range(3))
    normals = np.cross(second - first, third - first)
    sizes = np.linalg.norm(normals, axis=-1)
    normals, first = normals[sizes > 1e-9] / sizes[sizes > 1e-9, None], first[sizes > 1e-9]
    if not len(normals):
        raise UserError("people's feet: are all in one line. Let a person walk all over the room")
    towards = above.mean(0) - feet_m.mean(0)
    normals *= np.sign(normals @ towards)[:, None]
    heights = feet_m @ normals.T - (first * normals).sum(-1)  # (foot, plane)
    upright = normals @ towards > np.cos(np.radians(lean_deg)) * np.linalg.norm(towards)
    allowed = ((heights < -UNDER_M).mean(0) <= FEW_UNDER) & upright
    counts = np.where(allowed, (np.abs(heights) < ON_FLOOR_M).sum(0), 0)
    best = int(counts.argmax())
    if counts[best] < max(3, LIKELY_SHARE * len(feet_m)):
        raise UserError(
            "people's feet: stand on no common floor. Let a person walk all over the room, with both feet in view of "
            "two cameras"
        )
    on = np.abs(heights[:, best]) < ON_FLOOR_M
    for _ in range(3):
        middle, normal, _ = plane(feet_m[on])
        if np.abs(normal @ normals[best]) < np.cos(np.radians(TURNED_DEG)):
            raise UserError("people's feet: leave the floor's tilt uncertain. Let a person walk all over the room")
        on = np.abs((feet_m - middle) @ normal) < ON_FLOOR_M
    return on


def rescaled(rig: "Rig", found_m: float, measured_m: float, what: str = "the measured length") -> tuple["Rig", float]:
    """The rig in which a length of found_m is measured_m, and the ratio. A known floor stays. Raises UserError."""
    if not (0 < measured_m < np.inf and 0 < found_m < np.inf):
        raise UserError(f"{what}: {measured_m:g} m measured and {found_m:g} m in the rig: both must be above zero")
    ratio = measured_m / found_m
    return replace(rig.moved(np.eye(4), ratio), floor=rig.floor), ratio


def similarity(source: np.ndarray, target: np.ndarray, scaled: bool) -> tuple[float, np.ndarray, np.ndarray, float]:
    """scale, turn (3, 3), shift (3,) with target = scale * turn @ source + shift, and the rms distance that is left.

    The least squares of (n, 3) points; turn is a rotation, never a reflection (Umeyama 1991).
    """
    source_middle, target_middle = source.mean(0), target.mean(0)
    a, b = source - source_middle, target - target_middle
    left, strength, right = np.linalg.svd(b.T @ a)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    turn = (left * signs) @ right
    scale = float((strength * signs).sum() / (a**2).sum()) if scaled else 1.0
    rms = np.sqrt(((b - scale * a @ turn.T) ** 2).sum(-1).mean())
    return scale, turn, target_middle - scale * turn @ source_middle, float(rms)


def plane(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Middle (3,), normal (3,) and rms distance of the plane of least squares through (n, 3) points."""
    middle = points.mean(0)
    _, strength, right = np.linalg.svd(points - middle, full_matrices=False)
    return middle, right[2], float(strength[2] / np.sqrt(len(points)))


def tilt(points: np.ndarray, rms_m: float, what: str) -> float:
    """Standard deviation in degrees of the tilt of a plane through (n, 3) points. Raises UserError where it is too
    much: the points lie in a line, or close together for their noise."""
    _, strength, _ = np.linalg.svd(points - points.mean(0), full_matrices=False)
    deviation = np.degrees(np.arctan(max(rms_m, LEAST_NOISE_M) / max(strength[1], 1e-9)))
    width_m = strength[1] / np.sqrt(len(points))
    if deviation > MOST_TILT_DEG or width_m < NARROW_M:
        raise UserError(
            f"{what}: leave the floor's tilt uncertain by {deviation:.1f} degrees ({1000 * rms_m:.0f} mm of noise over "
            f"{100 * width_m:.0f} cm). Spread them over the floor, away from one line"
        )
    return float(deviation)


def _standing(rig: "Rig", turn: np.ndarray, shift: np.ndarray, floor: Floor, what: str) -> Floor:
    """The floor with its rig in the new world. Raises UserError for a camera under the floor."""
    new_from_old = np.eye(4)
    new_from_old[:3, :3], new_from_old[:3, 3] = turn, shift
    moved = replace(rig.moved(new_from_old, floor.scale), floor=True)
    under = [camera for camera in moved if camera.position[1] <= 0]
    if under:
        flipped = "is upside down" if len(under) == len(moved) else "is ambiguous"
        names = ", ".join(f"'{camera.name}' by {-camera.position[1]:.2f} m" for camera in under)
        raise UserError(
            f"{what}: put {names} under the floor, so it {flipped}. Check that no picture is mirrored, that the "
            "board's printed side is up and its rows and columns are right, and that y is up in measured coordinates"
        )
    return replace(floor, rig=moved)


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """What a file of points holds."""

    names: tuple[str, ...]
    found_m: np.ndarray  # (point, 3) in the rig's world
    world_m: np.ndarray | None  # (point, 3) as measured; None: all points lie on the floor
    lengths: tuple[tuple[str, str, float], ...]  # from, to, metres


def read_points(path: Path, rig: "Rig") -> Known:
    """Reads {"points": [{"name", "px": {camera: [x, y]}, "world": [x, y, z]}, …], "lengths": [[from, to, metres], …]}.

    `world` in metres, y up, y = 0 on the floor: all points have it, or none, and then all lie on the floor. A length is
    between two points or two cameras, by name. Raises UserError.
    """
    need = 'It holds {"points": [{"name": "a", "px": {"cam01": [x, y]}}, …], "lengths": [["a", "b", 2.0], …]}'
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        points = content["points"]
        names = tuple(str(point["name"]) for point in points)
        pixels = np.full((len(rig), len(points), 2), np.nan)
        for number, point in enumerate(points):
            for camera, at in point["px"].items():
                if camera not in rig.names:
                    known = ", ".join(rig.names)
                    raise UserError(
                        f"{path}: point '{names[number]}' is in camera '{camera}', the rig has only {known}"
                    )
                pixels[rig.names.index(camera), number] = at
        worlds = [point["world"] for point in points if "world" in point]
        if worlds and len(worlds) < len(points):
            raise UserError(f"{path}: {len(worlds)} of {len(points)} points have 'world'. Give it for all, or for none")
        world_m = np.array(worlds, float).reshape(len(worlds), 3) if worlds else None
        lengths = tuple((str(a), str(b), float(metres)) for a, b, metres in content.get("lengths", []))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}). {need}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: is no file of points ({error}). {need}") from error
    if len(set(names)) < len(names):
        raise UserError(f"{path}: two points have the same name")
    return Known(names, rig.triangulate(pixels), world_m, lengths)


def length_of(path: Path, known: Known, rig: "Rig", ends: tuple[str, str]) -> float:
    """Metres in the rig between two points or cameras. Raises UserError for a name that is neither."""
    places = dict(zip(known.names, known.found_m, strict=True)) | {camera.name: camera.position for camera in rig}
    for end in ends:
        if end not in places or not np.isfinite(places[end]).all():
            raise UserError(f"{path}: '{end}' is no camera and no point that two cameras see")
    return float(np.linalg.norm(places[ends[0]] - places[ends[1]]))


Given = Positional[Annotated[str, arg(metavar="RIG")]]
Out = Positional[Annotated[str, arg(metavar="OUT")]]
Input = Annotated[str, arg(metavar="FILE")]


def floor(
    source: Given,
    out: Out,
    /,
    *,
    board: Input = "",
    pictures: Annotated[str, arg(metavar="DIR")] = "",
    points: Input = "",
    feet: Input = "",
    rescale: bool = False,
) -> int:
    """Put a rig's world on its floor: y up, y = 0 on the floor, metres.

    A board lies on the floor, printed side up, where two cameras or more see it; points are marked by hand in two views
    or more; feet come from people who walk through the room.

    Args:
        source: The rig to read, in any format of calibrate convert.
        out: The rig file to write (.json).
        board: The file of the board that lies on the floor. Its x and y become the world's x and z.
        pictures: A folder with one picture of it per camera, named after it: cam_0.png, cam_1.jpg, …
        points: A json file of points with their pixels per camera, and world coordinates if they are known; without,
            all of them lie on the floor. It may hold measured lengths, which set the scale.
        feet: A motion.npz that refit-rt run recorded with this rig, or a npz file with `feet` (n, 3) and perhaps
            `heads` (m, 3), metres in the rig's world.
        rescale: Take the scale from the board, or from the points' measured coordinates.
    """
    from refit_rt.cameras import read_rig, write_rig

    if sum(map(bool, (board, points, feet))) != 1 or bool(board) != bool(pictures):
        raise UserError("calibrate floor: give --board FILE with --pictures DIR, or --points FILE, or --feet FILE")
    if Path(out).suffix != ".json":
        raise UserError(f"{out}: only this program's rig file knows its floor. Name it {Path(out).stem}.json")
    rig = read_rig(Path(source).expanduser())
    if board:
        found = _from_pictures(rig, Path(board).expanduser(), Path(pictures).expanduser(), rescale)
    elif points:
        found = _from_file(rig, Path(points).expanduser(), rescale)
    else:
        found = _from_feet_file(rig, Path(feet).expanduser())
    write_rig(found.rig, Path(out).expanduser(), "refit-rt")
    say(
        f"{out}: the floor is known within {found.tilt_deg:.2f} degrees; its points are {1000 * found.rms_m:.1f} mm off"
    )
    if found.scale != 1:
        say(f"  The rig is {found.scale:.4f} times as large as given")
    if found.measured not in (1.0, found.scale):
        say(f"  The points show a scale of {found.measured:.4f}, which is not taken (--rescale takes it)")
    for camera in found.rig:
        say(f"  {camera.name}: {camera.position[1]:.2f} m above the floor")
    return 0


def _from_pictures(rig: "Rig", path: Path, folder: Path, rescale: bool) -> Floor:
    import cv2

    from calib.board import read_board
    from calib.detect import Detector

    board = read_board(path)
    if not board.has_one_way_up:
        raise UserError(f"{path}: half a turn of this board looks the same. Give one with an odd number of squares")
    detector, pixels = Detector(board), np.full((len(rig), len(board.points), 2), np.nan)
    for number, camera in enumerate(rig):
        files = sorted(folder.glob(f"{camera.name}.*"))
        picture = cv2.imread(str(files[0])) if files else None
        if picture is None:
            continue
        if picture.shape[1::-1] != camera.size:
            raise UserError(
                f"{files[0]}: has {picture.shape[1::-1]} pixels, '{camera.name}' was calibrated at {camera.size}"
            )
        view = detector(picture)
        if view is not None:
            pixels[number, view.ids] = view.pixels
    seen = np.isfinite(pixels).all(-1).sum(1)
    say("  " + ", ".join(f"{camera.name} sees {count} corners" for camera, count in zip(rig, seen, strict=True)))
    if (seen > 0).sum() < 2:
        raise UserError(
            f"{folder}: {(seen > 0).sum()} cameras see the {board.words}, and 2 are needed: one alone cannot part its "
            "two poses that look alike. Lay it where two cameras see it, and give a picture per camera, named after it"
        )
    return from_board(rig, rig.triangulate(pixels), board.points[:, :2], rescale)


def _from_file(rig: "Rig", path: Path, rescale: bool) -> Floor:
    known = read_points(path, rig)
    ratios = []
    for start, end, metres in known.lengths:
        ratio = rescaled(rig, length_of(path, known, rig, (start, end)), metres, f"{path}: {start} to {end}")[1]
        say(f"  {start} to {end}: {metres:.3f} m measured, {metres / ratio:.3f} m in the rig")
        ratios.append(ratio)
    scale = float(np.mean(ratios)) if ratios else 1.0
    if known.world_m is None:
        return from_plane(rig, known.found_m, scale, str(path))
    if not ratios:
        return from_points(rig, known.found_m, known.world_m, rescale, str(path))
    sized = rig.moved(np.eye(4), scale)
    placed = from_points(sized, scale * known.found_m, known.world_m, rescale, str(path))
    return replace(placed, scale=placed.scale * scale)


def _from_feet_file(rig: "Rig", path: Path) -> Floor:
    arrays: dict[str, Any] = {}
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: np.array(file[name], float).reshape(-1, 3) for name in ("feet", "heads") if name in file}
            joints = np.array(file["joints_world"], float).reshape(-1, JOINTS, 3) if "joints_world" in file else None
    except (OSError, ValueError, AttributeError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: is no npz file of feet (n, 3) and heads (m, 3): {error}") from error
    if joints is not None:
        return from_feet(rig, joints[:, FEET].reshape(-1, 3), joints[:, HEAD], SOLE_M)
    if "feet" not in arrays:
        raise UserError(f"{path}: has no array 'feet' (n, 3), and is no recording of refit-rt run")
    return from_feet(rig, arrays["feet"], arrays.get("heads"))
