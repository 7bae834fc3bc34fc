"""A ring of cameras and a ChArUco board in many places, as points: the truth of the calibration's tests."""

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from calib.adjust import Corners, Scene, project

COLUMNS, ROWS, SQUARE_M = 8, 6, 0.1
SIZE = (1920, 1080)
POINTS = np.array([[x, y, 0.0] for y in range(1, ROWS) for x in range(1, COLUMNS)]) * SQUARE_M  # (35, 3) inner corners
CENTRE = np.array([COLUMNS, ROWS, 0.0]) * SQUARE_M / 2
STEEPEST_DEG = 68.0  # a board seen flatter than this is not found


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


def seen(rng: np.random.Generator, scene: Scene, noise_px: float = 0.15) -> Corners:
    """The corners that fall into the pictures, of boards that face the camera, with normal noise."""
    cameras, boards, points = np.meshgrid(
        np.arange(len(scene.lenses)), np.arange(len(scene.world_from_board)), np.arange(len(POINTS)), indexing="ij"
    )
    corners = Corners(cameras.ravel(), boards.ravel(), POINTS[points.ravel()], np.zeros((points.size, 2)))
    camera_from_board = scene.camera_from_world[corners.camera] @ scene.world_from_board[corners.board]
    here = np.einsum("nij,nj->ni", camera_from_board[:, :3, :3], corners.point) + camera_from_board[:, :3, 3]
    towards = here / np.linalg.norm(here, axis=1, keepdims=True)
    faces = (towards * camera_from_board[:, :3, 2]).sum(1) > np.cos(np.deg2rad(STEEPEST_DEG))
    corners = corners.where(np.flatnonzero(faces & (here[:, 2] > 0.15)))
    pixel = project(scene, corners)
    inside = np.flatnonzero(((pixel > 10) & (pixel < np.array(SIZE) - 10)).all(1))
    pixel = pixel + rng.normal(0, noise_px, pixel.shape)
    return Corners(corners.camera, corners.board, corners.point, pixel).where(inside)


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
