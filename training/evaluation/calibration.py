"""Calibrates a rendered rig whose truth is known: `python -m training.evaluation.calibration`.

Four cameras stand in a ring of 3.5 m. A ChArUco board of 8 x 6 squares of 100 mm is held close to each of them, for its
lens, and then in many places between them. The pictures are rendered with the lenses' distortion, blur, uneven light
and noise; calib finds the board in them and solves the rig. Printed are the largest errors and what is aimed at.
"""

import logging
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import tyro
from scipy.interpolate import RectBivariateSpline
from scipy.spatial.transform import Rotation

from calib.adjust import Scene, lens_of, matrix_of
from calib.board import Board
from calib.detect import Sightings, look
from calib.solve import Result, solved
from refit_rt.errors import UserError
from training.reporting import run

log = logging.getLogger(__name__)
COLUMNS, ROWS, SQUARE_M = 8, 6, 0.1
SIZE = (1920, 1080)
CENTRE = np.array([COLUMNS, ROWS, 0.0]) * SQUARE_M / 2
BOARD = Board("charuco", COLUMNS, ROWS, SQUARE_M, 0.75 * SQUARE_M)
STEEPEST_DEG = 68.0  # a board seen flatter than this is not found
PRINT_PX = 120  # of a square in the picture of the board
BLACK, WHITE, WALL = 40.0, 200.0, 70.0
FINER = 2  # rays per pixel and axis
FEWEST = 20  # boards, for each camera to share some with another
AIMS = {"focal %": 0.1, "centre px": 1.5, "rotation deg": 0.08, "place mm": 6.0, "rms px": 0.30, "held out px": 0.35,
        "volume mm": 0.5}  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """Calibrates a rendered rig of four cameras and prints its errors beside the aims."""

    boards: int = 40
    """Places of the board between the cameras."""
    near: int = 25
    """Places of the board close to each camera."""
    noise: float = 4.0
    """Standard deviation of a pixel, in grey values of 255."""
    blur_px: float = 0.8
    """Standard deviation of the lenses' blur."""
    seed: int = 0
    """Of the rig, the boards and the noise."""
    pictures: Path | None = None
    """Folder for one picture per camera, to look at."""


def looking(place: np.ndarray, at: np.ndarray) -> np.ndarray:
    """camera_from_world (4, 4) of a camera at `place` that looks `at` a point; world z up."""
    forward = (at - place) / np.linalg.norm(at - place)
    right = np.cross(forward, [0, 0, 1.0])
    right /= np.linalg.norm(right)
    matrix = np.eye(4)
    matrix[:3, :3] = [right, np.cross(forward, right), forward]
    matrix[:3, 3] = -matrix[:3, :3] @ place
    return matrix


def ring(rng: np.random.Generator, cameras: int = 4, radius_m: float = 3.5) -> tuple[np.ndarray, np.ndarray]:
    """Lenses (camera, 9) and camera_from_world (camera, 4, 4) of cameras around the origin, 1.6 to 2.4 m high."""
    width, height = SIZE
    lenses, places = [], []
    for index in range(cameras):
        focal = width * rng.uniform(0.70, 0.80)
        centre = np.array([width, height]) / 2 + rng.uniform(-15, 15, 2)
        bent = [rng.uniform(-0.12, -0.06), rng.uniform(0, 0.06), *rng.uniform(-8e-4, 8e-4, 2), 0.0]
        lenses.append([focal, focal * rng.uniform(0.999, 1.001), *centre, *bent])
        angle = np.deg2rad(360 / cameras * index + rng.uniform(-10, 10))
        place = np.array([radius_m * np.cos(angle), radius_m * np.sin(angle), rng.uniform(1.6, 2.4)])
        places.append(looking(place, np.array([0, 0, 1.0])))
    return np.array(lenses), np.array(places)


def held_up(rng: np.random.Generator, count: int) -> np.ndarray:
    """world_from_board (count, 4, 4): a board carried through the middle of the ring, facing outwards and up."""
    boards = np.tile(np.eye(4), (count, 1, 1))
    for board in boards:
        around, up = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(5, 80))
        normal = np.array([np.cos(around) * np.cos(up), np.sin(around) * np.cos(up), np.sin(up)])
        right = np.cross([0, 0, 1.0], -normal)
        right /= np.linalg.norm(right)
        turn = np.stack([right, np.cross(-normal, right), -normal], 1)
        board[:3, :3] = turn @ Rotation.from_rotvec([0, 0, rng.uniform(-0.4, 0.4)]).as_matrix()
        centre = np.array([rng.uniform(-1, 1), rng.uniform(-1, 1), rng.uniform(0.3, 1.9)])
        board[:3, 3] = centre - board[:3, :3] @ CENTRE
    return boards


def close_up(rng: np.random.Generator, scene: Scene, camera: int, count: int) -> np.ndarray:
    """world_from_board (count, 4, 4): the board 0.9 to 2.2 m in front of one camera, all over its picture, tilted."""
    boards = np.tile(np.eye(4), (count, 1, 1))
    fx, fy, cx, cy = scene.lenses[camera, :4]
    world_from_camera = np.linalg.inv(scene.camera_from_world[camera])
    for board in boards:
        axis, tilt = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(0, 45))
        turn = Rotation.from_rotvec(tilt * np.array([np.cos(axis), np.sin(axis), 0]))
        board[:3, :3] = (turn * Rotation.from_rotvec([0, 0, rng.uniform(-0.6, 0.6)])).as_matrix()
        pixel = rng.uniform(0.2, 0.8, 2) * SIZE
        ray = np.array([(pixel[0] - cx) / fx, (pixel[1] - cy) / fy, 1.0])
        board[:3, 3] = ray * rng.uniform(0.9, 2.2) - board[:3, :3] @ CENTRE
    return world_from_camera @ boards


class Painter:
    """Renders a board as one camera sees it."""

    def __init__(self, lens: np.ndarray, noise: float, blur_px: float, size: tuple[int, int] = SIZE) -> None:
        self.lens, self.noise, self.blur_px, self.size = lens, noise, blur_px, size
        pixels = (COLUMNS * PRINT_PX, ROWS * PRINT_PX)
        edge = PRINT_PX // 2
        printed = cv2.copyMakeBorder(
            BOARD.charuco().generateImage(pixels), edge, edge, edge, edge, cv2.BORDER_CONSTANT, value=[255]
        )
        self.print = (BLACK + (WHITE - BLACK) / 255 * printed).astype(np.float32)
        xs, ys = (np.arange(-16, side + 32, 16.0) for side in size)
        grid = np.stack(np.meshgrid(xs, ys), -1).reshape(-1, 1, 2)
        flat = cv2.undistortPoints(grid, matrix_of(lens), lens[4:]).reshape(len(ys), len(xs), 2)
        self.flat = [RectBivariateSpline(ys, xs, flat[..., axis]) for axis in (0, 1)]

    def __call__(self, rng: np.random.Generator, camera_from_board: np.ndarray) -> np.ndarray | None:
        """The picture (height, width) uint8, or None where the board is not in it."""
        width, height = self.size
        half = SQUARE_M / 2
        end, below = COLUMNS * SQUARE_M + half, ROWS * SQUARE_M + half
        rim = np.array([[-half, -half, 0], [end, -half, 0], [end, below, 0], [-half, below, 0]])
        here = rim @ camera_from_board[:3, :3].T + camera_from_board[:3, 3]
        if here[:, 2].min() < 0.15:
            return None
        seen = cv2.projectPoints(here, np.zeros(3), np.zeros(3), matrix_of(self.lens), self.lens[4:])[0].reshape(-1, 2)
        x, y = np.maximum(np.floor(seen.min(0)).astype(int) - 12, 0)
        x_end, y_end = np.minimum(np.ceil(seen.max(0)).astype(int) + 12, (width, height))
        if min(x_end - x, y_end - y) < 20:
            return None
        clutter = rng.normal(WALL, 25, (height // 40, width // 40)).astype(np.float32)
        picture = cv2.resize(clutter, self.size, interpolation=cv2.INTER_CUBIC)
        picture[y:y_end, x:x_end] = self._board(picture[y:y_end, x:x_end], camera_from_board, x, y)
        left, right = rng.uniform(0.75, 1, 2)
        picture *= np.linspace(left, right, width, dtype=np.float32)
        picture = cv2.GaussianBlur(picture, (0, 0), self.blur_px)
        picture += self.noise * rng.standard_normal(picture.shape, np.float32)
        return np.clip(np.round(picture), 0, 255).astype(np.uint8)

    def _board(self, behind: np.ndarray, camera_from_board: np.ndarray, x: int, y: int) -> np.ndarray:
        """The part of a picture that begins at (x, y), with the board before what is `behind`."""
        rows, columns = (
            (np.arange(side * FINER) + 0.5) / FINER - 0.5 + start
            for side, start in zip(behind.shape, (y, x), strict=True)
        )
        flat = np.stack([axis(rows, columns) for axis in self.flat], -1)
        board_from_flat = np.linalg.inv(camera_from_board[:3, [0, 1, 3]])
        place = flat @ board_from_flat[:, :2].T + board_from_flat[:, 2]
        at = (place[..., :2] / place[..., 2:] / SQUARE_M + 0.5) * PRINT_PX - 0.5
        at = at.astype(np.float32)
        step = float(np.median(np.abs(np.diff(at, axis=1)).sum(-1)))  # pixels of the print between two rays
        smooth = cv2.GaussianBlur(self.print, (0, 0), step / 2) if step > 1 else self.print
        colour = cv2.remap(smooth, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        inside = ((at > 0) & (at < np.array(self.print.shape[::-1]) - 1)).all(-1)
        fine = np.where(inside, colour, np.repeat(np.repeat(behind, FINER, 0), FINER, 1))
        return cv2.resize(fine, behind.shape[::-1], interpolation=cv2.INTER_AREA)


def film(rng: np.random.Generator, settings: Settings) -> tuple[Scene, list[Sightings]]:
    """The truth, and what each camera saw."""
    lenses, places = ring(rng)
    truth = Scene(lenses, places, held_up(rng, settings.boards))
    seen = []
    for camera in range(len(lenses)):
        paint = Painter(lenses[camera], settings.noise, settings.blur_px)
        first = settings.boards + camera * settings.near
        boards = dict(enumerate(truth.world_from_board))
        boards |= dict(enumerate(close_up(rng, truth, camera, settings.near), first))
        pictures = []
        for moment, board in boards.items():
            camera_from_board = places[camera] @ board
            middle = camera_from_board[:3, :3] @ CENTRE + camera_from_board[:3, 3]
            if camera_from_board[:3, 2] @ middle < np.cos(np.deg2rad(STEEPEST_DEG)) * np.linalg.norm(middle):
                continue
            picture = paint(rng, camera_from_board)
            if picture is not None:
                pictures.append((moment, picture))
        if settings.pictures:
            cv2.imwrite(str(settings.pictures / f"cam_{camera}.png"), pictures[0][1])
        seen.append(look(BOARD, f"cam_{camera}", iter(pictures)))
        log.info("cam_%d: %d pictures show the board in %d", camera, len(pictures), len(seen[-1].views))
    return truth, seen


def measured(truth: Scene, result: Result, rng: np.random.Generator) -> dict[str, float]:
    """The largest errors over the cameras, by the names of AIMS."""
    lenses = np.array([lens_of(one.matrix, one.distortion) for one in result.rig])
    places = np.linalg.inv(np.array([one.world_from_camera for one in result.rig]))
    turn_deg, centre_mm, volume = errors(replace(truth, lenses=lenses, camera_from_world=places), truth, rng)
    focal = 100 * np.abs(lenses[:, :2] / truth.lenses[:, :2] - 1).max()
    middle_px = np.linalg.norm(lenses[:, 2:4] - truth.lenses[:, 2:4], axis=1).max()
    figures = (focal, middle_px, turn_deg, centre_mm, result.quality.rms_px, result.quality.held_out_px, volume)
    return dict(zip(AIMS, map(float, figures), strict=True))


def errors(found: Scene, truth: Scene, rng: np.random.Generator) -> tuple[float, float, float]:
    """Largest rotation (degrees) and centre (mm) error against camera 0, and the error in the volume (mm, rms): exact
    projections of points in 2 x 2 x 2 m, triangulated with the found cameras, after a rigid alignment without scale."""
    relative = [scene.camera_from_world @ np.linalg.inv(scene.camera_from_world[0]) for scene in (found, truth)]
    turns = Rotation.from_matrix(relative[0][:, :3, :3] @ relative[1][:, :3, :3].transpose(0, 2, 1)).magnitude()
    centres = [-np.einsum("nji,nj->ni", one[:, :3, :3], one[:, :3, 3]) for one in relative]
    away = np.linalg.norm(centres[0] - centres[1], axis=1)
    return float(np.rad2deg(turns.max())), float(1000 * away.max()), volume_mm(found, truth, rng)


def volume_mm(found: Scene, truth: Scene, rng: np.random.Generator) -> float:
    """See `errors`."""
    points = rng.uniform([-1, -1, 0], [1, 1, 2], (200, 3))
    rows = []
    for lens, camera, known, place in zip(
        found.lenses, found.camera_from_world, truth.lenses, truth.camera_from_world, strict=True
    ):
        pixel = _pixels(points, known, place)
        matrix = np.array([[lens[0], 0, lens[2]], [0, lens[1], lens[3]], [0, 0, 1]])
        flat = cv2.undistortPoints(pixel[:, None], matrix, lens[4:])[:, 0]
        rows += [flat[:, :1] * camera[2] - camera[0], flat[:, 1:] * camera[2] - camera[1]]
    homogeneous = np.linalg.svd(np.stack(rows, 1))[2][:, -1]
    away = homogeneous[:, :3] / homogeneous[:, 3:]
    one, other = away - away.mean(0), points - points.mean(0)
    turn = Rotation.align_vectors(other, one)[0]
    return float(1000 * np.sqrt(((turn.apply(one) - other) ** 2).sum(1).mean()))


def _pixels(points: np.ndarray, lens: np.ndarray, place: np.ndarray) -> np.ndarray:
    matrix = np.array([[lens[0], 0, lens[2]], [0, lens[1], lens[3]], [0, 0, 1]])
    here = points @ place[:3, :3].T + place[:3, 3]
    return cv2.projectPoints(here, np.zeros(3), np.zeros(3), matrix, lens[4:])[0].reshape(-1, 2)


def main(settings: Settings) -> None:
    """Raises UserError."""
    if min(settings.boards, settings.near) < FEWEST:
        raise UserError(f"--boards {settings.boards}, --near {settings.near}: give at least {FEWEST} of each")
    if settings.pictures:
        settings.pictures.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(settings.seed)
    truth, seen = film(rng, settings)
    figures = measured(truth, solved(BOARD, seen), rng)
    log.info("%-14s%10s%8s", "largest error", "measured", "aim")
    for name, value in figures.items():
        log.info("%-14s%10.3f%8.2f%s", name, value, AIMS[name], "" if value <= AIMS[name] else "  missed")


if __name__ == "__main__":
    sys.exit(run(lambda: main(tyro.cli(Settings))))
