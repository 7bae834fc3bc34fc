"""Draws camera places and the upright square crops of their pictures."""

import math
from dataclasses import dataclass

import numpy as np

from refit_rt.bundle.read import EDGE_CROP
from refit_rt.fit.crops import within_reach
from refit_rt.geometry import roll_matrix
from training.synthetic.light import cross

SIZES = ((1280, 720), (1920, 1080), (640, 480), (1080, 1920), (720, 1280), (1000, 1000), (1280, 960))
SIZE_SHARES = (0.33, 0.25, 0.17, 0.08, 0.05, 0.05, 0.07)
NEAREST_M = 0.45
SHORT_TRUNK = 0.12  # of the body's extent: a shorter distance from pelvis to neck does not determine the roll


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A camera whose picture is turned so that the person stands about upright."""

    camera_from_world: np.ndarray  # (3, 3) rotation
    place: np.ndarray  # (3,) metres, world
    focal_px: float
    centre_px: np.ndarray  # (2,)
    size: tuple[int, int]  # width and height of the sensor's picture
    turned: float  # radians: `geometry.roll_matrix` of it takes sensor pixels to this view's pixels

    def to_camera(self, world: np.ndarray) -> np.ndarray:
        """Points (..., 3) from world to camera, float32."""
        return (world.astype(np.float32, copy=False) - self.place.astype(np.float32)) @ self.camera_from_world.T.astype(
            np.float32
        )


def look_at(place: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The camera_from_world (3, 3) of an upright camera at `place` that looks at `target`."""
    forward = (target - place) / np.linalg.norm(target - place)
    right = np.array([-forward[2], 0.0, forward[0]])  # forward x up
    right = right / max(np.linalg.norm(right), 1e-6)
    return np.array([right, cross(forward, right), forward])


def aim(direction: np.ndarray) -> np.ndarray:
    """The smallest rotation (3, 3) that takes (0, 0, 1) to `direction` (3,)."""
    x, y, z = direction / np.linalg.norm(direction)
    return np.array(
        [[1 - x * x / (1 + z), -x * y / (1 + z), x], [-x * y / (1 + z), 1 - y * y / (1 + z), y], [-x, -y, z]]
    )


def random_view(rng: np.random.Generator, joints: np.ndarray, close: bool) -> View:
    """Draws a camera for a person with joints (24, 3) in the world (floor y = 0); close: a webcam on a desk."""
    size = SIZES[rng.choice(len(SIZES), p=SIZE_SHARES)]
    width, height = size
    low, high = joints.min(0) - np.array([0.08, 0.06, 0.08]), joints.max(0) + np.array([0.08, 0.2, 0.08])
    field = math.radians(rng.uniform(50, 85) if close else rng.uniform(35, 90))
    focal = 0.5 * max(width, height) / math.tan(field / 2)
    tall = max(high[1] - low[1], 0.7 * max(high[0] - low[0], high[2] - low[2]))
    cut = rng.random() < (0.75 if close else 0.17)
    bottom = low[1]
    if cut:  # the picture's lower edge lies at hips, knees or chest
        joint = rng.choice([0, 4, 9, 3], p=[0.45, 0.2, 0.2, 0.15] if not close else [0.4, 0.05, 0.3, 0.25])
        bottom = min(joints[joint, 1] + rng.uniform(-0.1, 0.1), high[1] - 0.3)
    span = high[1] - bottom if cut else tall
    share = rng.uniform(0.55, 0.95) if cut else math.exp(rng.uniform(math.log(0.3), math.log(1.02)))
    distance = float(np.clip(focal * span / (share * height), NEAREST_M + 0.25, 11.0))
    target = np.array([joints[:, 0].mean(), (bottom + high[1]) / 2, joints[:, 2].mean()])
    if cut:
        target[[0, 2]] = joints[[0, 12, 15]][:, [0, 2]].mean(0)
    camera_height = _height(rng, close, target[1])
    steepest = distance * (0.62 if rng.random() < 0.78 else 0.9)  # 38 degrees, sometimes 64: a ceiling's corner
    rise = np.clip(camera_height - target[1], -steepest, steepest)
    flat = math.sqrt(max(distance**2 - rise**2, 0.05))
    place = np.array([target[0], target[1] + rise, target[2] + flat])
    spare = max(0.0, 1 - share * (0.55 if cut else 0.8) * height / width) * 0.5
    aside = np.array([rng.uniform(-spare, spare) * 0.8 * width, 0.0])
    if cut:
        aside[1] = height * (0.5 - share / 2) * rng.uniform(0.9, 1.05)
    else:
        aside[1] = rng.uniform(-1, 1) * max(0.0, 1 - share) * 0.45 * height
    upright = aim(np.array([aside[0] / focal, aside[1] / focal, 1.0])) @ look_at(place, target)
    tilt = rng.normal(0, 0.035) if rng.random() < 0.9 else rng.normal(0, 0.4)
    return View(upright, place, focal, np.array([(width - 1) / 2, (height - 1) / 2]), size, float(tilt))


def _height(rng: np.random.Generator, close: bool, target: float) -> float:
    if close:
        return target + rng.normal(-0.05, 0.2)
    kind = rng.random()
    if kind < 0.57:
        return rng.uniform(0.6, 2.0)
    return rng.uniform(2.0, 3.2) if kind < 0.87 else rng.uniform(0.15, 0.7)


def random_roll_error(rng: np.random.Generator) -> float | None:
    """Draws the error of a crop's roll in radians: a few degrees, rarely more; None: the crop is not turned at all."""
    kind = rng.random()
    if kind < 0.87:
        return float(rng.normal(0, 0.1))
    return float(rng.normal(0, 0.5)) if kind < 0.95 else None


def stood_upright(view: View, joints: np.ndarray, error: float | None, unrest: float = 0.0) -> View:
    """The view turned so that the trunk (pelvis to neck, joints (24, 3) world) points up, plus an error (rad)."""
    seen = view.to_camera(joints)
    points = seen[:, :2] / np.maximum(seen[:, 2:], 0.1)
    across, up = points[12] - points[0]
    short = math.hypot(across, up) < SHORT_TRUNK * float((points.max(0) - points.min(0)).max())
    lean = 0.0 if short else math.atan2(across, -up)
    roll = (lean + error if error is not None else 0.0) + unrest
    return View(
        roll_matrix(roll) @ view.camera_from_world,
        view.place,
        view.focal_px,
        view.centre_px,
        view.size,
        view.turned + roll,
    )


def as_sensor(view: View) -> View:
    """The view as the sensor sees it, not turned."""
    turned_back = roll_matrix(-view.turned) @ view.camera_from_world
    return View(turned_back, view.place, view.focal_px, view.centre_px, view.size, 0.0)


def box_around(points_px: np.ndarray) -> np.ndarray:
    """Centre x, y and side (3,) of 1.2 times the extent of points (n, 2)."""
    low, high = points_px.min(0), points_px.max(0)
    return np.array([*(low + high) / 2, 1.2 * max(high - low)])


def random_box(rng: np.random.Generator, view: View, points: np.ndarray) -> np.ndarray:
    """Draws a detector's box (3,), centre x, y and side in pixels, for a surface, points (n, 3) in the camera frame.

    Much of a person may lie far outside the frame: the box then holds the visible part and some more, like the
    fitter's own boxes.
    """
    front = points[points[:, 2] > 0.15]
    pixels = front[:, :2] / front[:, 2:] * view.focal_px
    turn = roll_matrix(view.turned)[:2, :2]
    beyond = EDGE_CROP.beyond if rng.random() < 0.7 else rng.uniform(0.0, 2 * EDGE_CROP.beyond)
    half = np.array(view.size) / 2  # cut off by the sensor's frame
    box = box_around(within_reach(pixels @ turn, -half, half, beyond) @ turn.T + view.centre_px)
    box[2] = max(box[2], 24.0)
    box[:2] += rng.normal(0, 0.025, 2).clip(-0.08, 0.08) * box[2]
    box[2] *= rng.uniform(0.8, 1.25)
    return box


def crop_camera(view: View, box: np.ndarray, crop_px: int, drawn_px: int) -> tuple[float, np.ndarray]:
    """Focal length and centre of the camera that sees only the box, drawn_px wide before it is shrunk to crop_px."""
    scale, shrink = crop_px / box[2], drawn_px / crop_px
    centre = (view.centre_px - (box[:2] - box[2] / 2)) * scale
    return view.focal_px * scale * shrink, (centre + 0.5) * shrink - 0.5


def border(view: View, focal_px: float, centre_px: np.ndarray) -> np.ndarray:
    """The corners (4, 2) of the sensor's frame in pixels of a crop."""
    width, height = view.size
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], float) - 0.5 - view.centre_px
    return (corners @ roll_matrix(view.turned)[:2, :2].T) * (focal_px / view.focal_px) + centre_px
