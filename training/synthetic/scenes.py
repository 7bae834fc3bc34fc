"""Draws places: rooms, streets, panoramas or photos, with furniture and light."""

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from refit_rt.errors import UserError
from training.synthetic import furniture, gestures
from training.synthetic.furniture import Things
from training.synthetic.light import Light, random_light
from training.synthetic.textures import Textures, one_of

ROOM, PANORAMA, PHOTO = range(3)
PANORAMA_PEAK = 36.0  # brighter parts of a panorama are clipped to this; 16 bits hold the root of light
PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


@dataclass(frozen=True, slots=True, eq=False)
class Panorama:
    """A real place: light from all directions."""

    root: np.ndarray  # (h, w, 3) uint16: sqrt(light / PANORAMA_PEAK) * 65535, mean light about 0.35
    ambient: np.ndarray  # (6, 3) float32
    sun: np.ndarray  # (3,) unit vector towards its brightest part
    sun_colour: np.ndarray  # (3,) float32


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """One place with its light, around a person at the origin of the world (floor y = 0)."""

    kind: int
    light: Light
    things: Things
    low: np.ndarray  # (3,) of the room, in its own frame
    high: np.ndarray
    turn: tuple[float, float]  # cos, sin of the room's heading
    pictures: np.ndarray  # (6,) int64
    stretch: np.ndarray  # (6, 2) float32
    tints: np.ndarray  # (6, 3) float32
    open_sky: np.ndarray  # (2, 3) float32, negative: a ceiling
    panorama: int
    panorama_yaw: float
    photo: np.ndarray | None  # (h, w, 3) uint8, the part that fills the crop
    gain: float


def load_panoramas(folder: Path) -> list[Panorama]:
    """Reads every .hdr or .exr file of a folder. Raises UserError for a folder without any, or a broken file."""
    files = sorted(p for p in Path(folder).glob("*") if p.suffix.lower() in (".hdr", ".exr"))
    if not files:
        raise UserError(f"{folder}: no panoramas (.hdr or .exr). Give a folder of equirectangular pictures")
    out = []
    for file in files:
        picture = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        if picture is None or picture.ndim != 3:
            raise UserError(f"{file}: not a readable panorama. Remove it from the folder")
        if picture.shape[1] > 2048:
            picture = cv2.resize(picture, (2048, 1024), interpolation=cv2.INTER_AREA)
        out.append(measure_panorama(np.ascontiguousarray(picture[..., 2::-1], np.float32)))
    return out


def measure_panorama(picture: np.ndarray) -> Panorama:
    """Measures equirectangular light (h, w, 3) float32 RGB; the middle column is +z, the first row the zenith."""
    rows, columns = picture.shape[:2]
    polar = (np.arange(rows) + 0.5) / rows * np.pi
    azimuth = (np.arange(columns) + 0.5) / columns * 2 * np.pi
    x, z = np.sin(polar)[:, None] * np.sin(azimuth), np.sin(polar)[:, None] * np.cos(azimuth)
    direction = np.stack(np.broadcast_arrays(x, np.cos(polar)[:, None], z), -1)
    area = np.broadcast_to(np.sin(polar)[:, None], (rows, columns))
    area = area / area.sum() * 4 * np.pi
    picture = (
        picture
        / max(
            float((np.minimum(picture.mean(-1), np.quantile(picture.mean(-1), 0.97)) * area).sum()) / (4 * np.pi), 1e-6
        )
        * 0.35
    )
    brightness = cv2.GaussianBlur(picture.mean(-1), (0, 0), columns / 100, borderType=cv2.BORDER_REPLICATE)
    brightness[rows * 6 // 10 :] = 0
    peak = np.unravel_index(np.argmax(brightness), brightness.shape)
    sun = direction[peak]
    near = (direction @ sun > math.cos(math.radians(14)))[..., None]
    level = np.median(picture[near[..., 0]], 0)
    extra = np.where(near, np.maximum(picture - level, 0), 0)
    sun_colour = (extra * area[..., None]).sum((0, 1)) / np.pi
    rest = picture - extra
    ambient = np.zeros((6, 3))
    for side, axis in enumerate(np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])):
        weight = np.clip(direction @ axis, 0, None) * area
        ambient[side] = (rest * weight[..., None]).sum((0, 1)) / np.pi
    strength = max(float(sun_colour.mean()), 1e-6)
    sun_colour = sun_colour * min(1.0, 2.5 / strength)
    root = np.sqrt(np.clip(picture / PANORAMA_PEAK, 0, 1)) * 65535
    return Panorama(root.astype(np.uint16), ambient.astype(np.float32), sun, sun_colour.astype(np.float32))


def load_photos(folder: Path) -> list[np.ndarray]:
    """Reads the pictures in a folder and its subfolders, (h, w, 3) uint8 RGB, up to 1600 px wide. Raises UserError."""
    out = []
    for file in sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in PHOTO_SUFFIXES):
        picture = cv2.imread(str(file))
        if picture is None:
            continue
        shrink = 1600 / max(picture.shape[:2])
        if shrink < 1:
            picture = cv2.resize(picture, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        if min(picture.shape[:2]) >= 64:
            out.append(np.ascontiguousarray(picture[..., ::-1]))
    if not out:
        raise UserError(f"{folder}: no readable photos in this folder. Give a folder of .jpg or .png files")
    return out


def random_scene(
    rng: np.random.Generator,
    textures: Textures,
    panoramas: list[Panorama],
    photos: list[np.ndarray],
    joints: np.ndarray,
    heading: float,
    kind: int,
    camera: np.ndarray,
) -> Scene:
    """Draws a place for a person with joints (24, 3) in the world, with a pose `kind`, seen from `camera` (3,)."""
    shares = np.array([1.0, 0.55 if panoramas else 0.0, 0.45 if photos else 0.0])
    where = int(rng.choice(3, p=shares / shares.sum()))
    light, panorama, yaw = random_light(rng), 0, 0.0
    if where == PANORAMA:
        panorama, yaw = int(rng.integers(len(panoramas))), float(rng.uniform(0, 2 * np.pi))
        light = _light_of(rng, panoramas[panorama], yaw)
    indoors = where != ROOM or rng.random() < 0.75
    pieces = furnish(rng, textures, joints, heading, kind, camera, crowded=indoors and where == ROOM)
    low, high, angle = _walls(rng, joints, camera, indoors)
    pictures, stretch, tints, open_sky = _papers(rng, textures, indoors, light)
    photo = photo_part(rng, photos[rng.integers(len(photos))]) if where == PHOTO else None
    return Scene(
        kind=where,
        light=light,
        things=furniture.assembled(pieces),
        low=low,
        high=high,
        turn=(math.cos(angle), math.sin(angle)),
        pictures=pictures,
        stretch=stretch,
        tints=tints,
        open_sky=open_sky,
        panorama=panorama,
        panorama_yaw=yaw,
        photo=photo,
        gain=float(rng.uniform(0.6, 1.4)),
    )


def photo_part(rng: np.random.Generator, photo: np.ndarray) -> np.ndarray:
    """Cuts a square (320, 320, 3) out of a photo (h, w, 3) uint8, sometimes mirrored or out of focus."""
    side = int(rng.uniform(0.3, 1.0) * min(photo.shape[:2]))
    y, x = rng.integers(photo.shape[0] - side + 1), rng.integers(photo.shape[1] - side + 1)
    part = photo[y : y + side, x : x + side]
    part = cv2.resize(part[:, ::-1] if rng.random() < 0.5 else part, (320, 320), interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(part, (0, 0), float(rng.uniform(0.6, 5))) if rng.random() < 0.4 else part


def _light_of(rng: np.random.Generator, panorama: Panorama, yaw: float) -> Light:
    """The light of the panorama, turned by its yaw."""
    cos, sin = math.cos(-yaw), math.sin(-yaw)
    x, y, z = panorama.sun
    sun = np.array([[cos * x + sin * z, y, -sin * x + cos * z]], np.float32)
    around = np.array(
        [panorama.ambient[4], panorama.ambient[0], panorama.ambient[5], panorama.ambient[1]]
    )  # +z +x -z -x
    shift = yaw / (np.pi / 2)
    low, share = math.floor(shift), shift - math.floor(shift)
    turned = np.stack([around[(i + low) % 4] * (1 - share) + around[(i + low + 1) % 4] * share for i in range(4)])
    ambient = np.stack([turned[1], turned[3], panorama.ambient[2], panorama.ambient[3], turned[0], turned[2]])
    return Light(
        ambient=ambient.astype(np.float32),
        directions=sun,
        colours=panorama.sun_colour[None] * rng.uniform(0.6, 1.2),
        softness=float(np.exp(rng.uniform(np.log(0.02), np.log(0.15)))),
        occlusion=float(rng.uniform(0.3, 0.7)),
    )


def _walls(rng, joints, camera, indoors: bool) -> tuple[np.ndarray, np.ndarray, float]:
    """Draws a box, turned about y, that contains person and camera."""
    angle = rng.uniform(0, 2 * np.pi)
    cos, sin = math.cos(angle), math.sin(angle)
    inside = np.concatenate([joints, camera[None]])
    own = np.stack([cos * inside[:, 0] - sin * inside[:, 2], inside[:, 1], sin * inside[:, 0] + cos * inside[:, 2]], 1)
    spare = rng.uniform(0.35, 3.0, (2, 3)) if indoors else rng.uniform(4, 25, (2, 3))
    low, high = own.min(0) - spare[0], own.max(0) + spare[1]
    low[1] = 0.0
    high[1] = max(rng.uniform(2.3, 3.2), camera[1] + 0.1, joints[:, 1].max() + 0.25)
    if not indoors:
        high[1] = max(high[1], 0.45 * float((high - low)[[0, 2]].min()))
    return low, high, angle


def _papers(rng, textures: Textures, indoors: bool, light: Light):
    walls = textures.walls if indoors else textures.horizons
    pictures = rng.integers(walls.start, walls.stop, 6)
    pictures[2], pictures[3] = one_of(rng, textures.floors), one_of(rng, textures.fabrics)
    stretch = np.zeros((6, 2), np.float32)
    stretch[2] = rng.uniform(0.25, 0.9) if indoors else rng.uniform(0.1, 0.4)
    stretch[3] = rng.uniform(0.3, 1.5)
    tints = np.ones((6, 3)) * rng.uniform(0.8, 1.1, (6, 1))
    if indoors and rng.random() < 0.7:
        pictures[[1, 4]] = pictures[0] if rng.random() < 0.2 else pictures[[1, 4]]
        tints[[0, 1, 4, 5]] *= rng.uniform(0.6, 1.15, 3)
    tints[3] = rng.uniform(0.6, 1.0)
    sky = np.full((2, 3), -1.0)
    if not indoors:
        level = float(light.ambient[2].mean()) * rng.uniform(0.9, 1.6)
        blue = rng.random()
        sky = np.stack(
            [level * (np.array([0.35, 0.6, 1.0]) * blue + (1 - blue)), level * np.full(3, rng.uniform(0.9, 1.3))]
        )
    return pictures.astype(np.int64), stretch, tints.astype(np.float32), sky.astype(np.float32)


def furnish(rng, textures, joints, heading, kind, camera, crowded: bool) -> list:
    """Places furniture: a seat for a sitting person, a desk for a working one, more around, obstacles in a fifth."""
    pieces = []
    pelvis = joints[0]
    ahead = np.array([math.sin(heading), 0, math.cos(heading)])
    if kind in (gestures.SIT, gestures.DESK) and rng.random() < 0.85:
        height = max(pelvis[1] - rng.uniform(0.1, 0.14), 0.08)
        place = np.array([pelvis[0], 0, pelvis[2]]) - ahead * 0.02
        pieces.append((furniture.seat(rng, textures, height), place, heading))
    if kind == gestures.DESK and rng.random() < 0.6:
        place = np.array([pelvis[0], 0, pelvis[2]]) + ahead * rng.uniform(0.55, 0.75)
        height = pelvis[1] + rng.uniform(0.1, 0.2)
        pieces.append((furniture.table(rng, textures, height), place, heading))
    toward = camera - pelvis
    distance = math.hypot(toward[0], toward[2])
    toward = np.array([toward[0], 0, toward[2]]) / max(distance, 1e-6)
    for _ in range(int(rng.integers(0, 6 if crowded else 3))):
        angle, away = rng.uniform(0, 2 * np.pi), rng.uniform(0.75, 3.5)
        place = np.array([pelvis[0] + away * math.sin(angle), 0, pelvis[2] + away * math.cos(angle)])
        along = float((place - pelvis) @ toward)
        side = math.hypot(*(place - pelvis - along * toward)[[0, 2]])
        if 0 < along < distance + 1.0 and side < 0.5 + 0.3 * max(along, 0):
            continue  # it would hide the person by accident
        thing = rng.random()
        if thing < 0.55:
            piece = furniture.clutter(rng, textures)
        elif thing < 0.75:
            piece = furniture.table(rng, textures)
        else:
            piece = furniture.seat(rng, textures, rng.uniform(0.4, 0.5))
        pieces.append((piece, place, rng.uniform(0, 2 * np.pi)))
    if rng.random() < 0.2 and distance > 1.0:
        between = rng.uniform(0.35, 0.6) * distance
        aside = np.array([toward[2], 0, -toward[0]]) * rng.normal(0, 0.3)
        place = np.array([pelvis[0], 0, pelvis[2]]) + toward * between + aside
        thing = rng.random()
        if thing < 0.35:
            piece = furniture.table(rng, textures)
        elif thing < 0.7:
            piece = furniture.clutter(rng, textures)
        else:
            piece = furniture.seat(rng, textures, rng.uniform(0.4, 0.5))
        pieces.append((piece, place, rng.uniform(0, 2 * np.pi)))
    return pieces
