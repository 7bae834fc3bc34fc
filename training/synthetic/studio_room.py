"""Draws the studio: a large room with painted walls, windows, shelves, seats and lamps along the walls."""

import cv2
import numpy as np

from training.synthetic import furniture, scenes
from training.synthetic.furniture import Cuboid
from training.synthetic.light import Light
from training.synthetic.people import linear
from training.synthetic.textures import Textures, planks

SIDE = 1024  # pixels of a wall picture's side
HALF_M, HIGH_M = 5.2, 3.1  # half of the floor's sides, and the ceiling's height
WALLS = ((0.82, 0.80, 0.75), (0.63, 0.68, 0.70), (0.78, 0.72, 0.66), (0.70, 0.74, 0.68))  # sRGB
POSTERS = ((0.75, 0.3, 0.2), (0.2, 0.35, 0.5), (0.85, 0.7, 0.3), (0.3, 0.45, 0.3), (0.85, 0.82, 0.78), (0.2, 0.2, 0.25))


def studio_room(seed: int, screen: np.ndarray | None = None) -> tuple[scenes.Scene, Textures]:
    """A room around the origin; its colours and furniture follow from the seed.

    screen: where (3,) a folding screen stands on the floor, towards the middle; None: there is none.
    """
    rng = np.random.default_rng([seed, 1])
    wall = np.array(WALLS[rng.integers(len(WALLS))])
    walls = [_wall(rng, wall, kind) for kind in ("windows", "door", "shelves", "posters")]
    pictures = np.stack(
        [
            *walls,
            planks(rng, SIDE, np.array([0.62, 0.47, 0.33]) * rng.uniform(0.75, 1.1)),
            _plaster(rng, np.array([0.93, 0.92, 0.9])),
        ]
    )
    lamps = np.array([[-0.42, 0.86, 0.3], [0.7, 0.6, -0.4]])
    steady = np.array([[0.95], [1.0], [1.35], [0.6], [1.05], [0.9]]) * np.array([0.40, 0.395, 0.385])
    light = Light(
        ambient=steady.astype(np.float32),
        directions=(lamps / np.linalg.norm(lamps, axis=1, keepdims=True)).astype(np.float32),
        colours=np.array([[0.62, 0.58, 0.52], [0.17, 0.18, 0.2]], np.float32),
        softness=0.07,
        occlusion=0.62,
    )
    stretch = np.zeros((6, 2), np.float32)
    stretch[2], stretch[3] = 0.4, 0.4
    scene = scenes.Scene(
        kind=scenes.ROOM,
        light=light,
        things=furniture.assembled(_furniture(rng, screen)),
        low=np.array([-HALF_M, 0.0, -HALF_M]),
        high=np.array([HALF_M, HIGH_M, HALF_M]),
        turn=(1.0, 0.0),
        pictures=np.array([0, 1, 4, 5, 2, 3]),
        stretch=stretch,
        tints=np.ones((6, 3), np.float32),
        open_sky=np.full((2, 3), -1, np.float32),
        panorama=0,
        panorama_yaw=0.0,
        photo=None,
        gain=1.0,
    )
    return scene, Textures(pictures, range(4), range(4, 5), range(5, 6), range(4))


def _furniture(rng: np.random.Generator, screen: np.ndarray | None) -> list[tuple[list[Cuboid], np.ndarray, float]]:
    """Sofas, tables, cupboards and plants along the walls, each with its place and heading."""
    plain = Textures(np.zeros((0, 2, 2, 3), np.uint8), range(0), range(0), range(5, 6), range(0))
    pieces = []
    for side in range(4):
        heading = side * np.pi / 2
        ahead, along = np.array([np.sin(heading), 0, np.cos(heading)]), np.array([np.cos(heading), 0, -np.sin(heading)])
        for at in (-3.4, -1.2, 1.2, 3.4):
            place = -ahead * (HALF_M - 0.5) + along * (at + rng.uniform(-0.3, 0.3))
            kind = rng.random()
            if kind < 0.3:
                piece = furniture.table(rng, plain)
            elif kind < 0.5:
                piece = furniture.seat(rng, plain, rng.uniform(0.42, 0.5), 0.9)
            elif kind < 0.85:
                piece = furniture.clutter(rng, plain)
            else:
                continue
            pieces.append((piece, place, heading))
    if screen is not None:
        panel = [Cuboid((0, 1.05, 0), (0.95, 1.03, 0.02), linear(np.array([0.55, 0.5, 0.42])), -1)]
        pieces.append((panel, screen, float(np.arctan2(-screen[0], -screen[2]))))
    return pieces


def _plaster(rng: np.random.Generator, colour: np.ndarray) -> np.ndarray:
    """(SIDE, SIDE, 3) uint8 of an even surface."""
    uneven = np.zeros((SIDE, SIDE), np.float32)
    for cells in (6, 40, 300):
        patches = rng.normal(0, 0.007, (cells, cells)).astype(np.float32)
        uneven += cv2.resize(patches, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    return (np.clip(colour * (1 + uneven[..., None]), 0, 1) * 255).astype(np.uint8)


def _box(canvas: np.ndarray, left: float, bottom: float, right: float, top: float, colour) -> None:
    """A filled rectangle in metres from the wall's lower left corner."""
    x, y = SIDE / (2 * HALF_M), SIDE / HIGH_M
    start, end = (round(left * x), round((HIGH_M - top) * y)), (round(right * x), round((HIGH_M - bottom) * y))
    cv2.rectangle(canvas, start, end, tuple(float(np.clip(c, 0, 1)) * 255 for c in colour), -1)


def _wall(rng: np.random.Generator, colour: np.ndarray, kind: str) -> np.ndarray:
    """A wall, (SIDE, SIDE, 3) uint8, with things of one kind on it."""
    canvas = _plaster(rng, colour * rng.uniform(0.9, 1.08))
    white = np.array([0.92, 0.92, 0.9])
    for left in (1.3, 4.3, 7.3) if kind == "windows" else ():
        _box(canvas, left, 0.9, left + 1.7, 2.4, white)
        for i in range(40):  # the view: sky down to trees
            share = i / 40
            sky = np.array([0.72, 0.84, 0.97]) * (1 - share) + np.array([0.93, 0.95, 0.97]) * share
            view = sky if share < 0.7 else np.array([0.35, 0.47, 0.28]) * (1.25 - 0.4 * share)
            for pane in (0.08, 0.89):
                _box(canvas, left + pane, 2.32 - (i + 1) * 0.0335, left + pane + 0.73, 2.32 - i * 0.0335, view)
    if kind == "door":
        _box(canvas, 4.4, 0, 5.5, 2.15, white * 0.9)
        _box(canvas, 4.46, 0, 5.44, 2.09, np.array([0.5, 0.38, 0.28]))
        for bottom in (0.2, 1.15):
            _box(canvas, 4.6, bottom, 5.3, bottom + 0.75, np.array([0.45, 0.34, 0.25]))
    for left in (1.0, 6.6) if kind == "shelves" else ():
        _box(canvas, left, 0.1, left + 2.4, 2.2, np.array([0.42, 0.3, 0.2]))
        for bottom in (0.2, 0.7, 1.2, 1.7):
            _box(canvas, left + 0.06, bottom, left + 2.34, bottom + 0.44, np.array([0.24, 0.17, 0.12]))
            at = left + 0.1
            while at < left + 2.22:
                thick, tall = rng.uniform(0.03, 0.09), rng.uniform(0.22, 0.38)
                if rng.random() < 0.85:
                    book = np.array(POSTERS[rng.integers(len(POSTERS))]) * rng.uniform(0.7, 1.1)
                    _box(canvas, at, bottom, at + thick, bottom + tall, book)
                at += thick + 0.006
    for left in (0.9, 3.1, 5.6, 7.9) if kind in ("posters", "door") else ():
        if kind == "door" and 3 < left < 6:
            continue
        wide, low = rng.uniform(0.7, 1.4), rng.uniform(1.2, 1.5)
        _box(canvas, left, low, left + wide, low + 0.95, np.array([0.2, 0.18, 0.16]))
        _box(canvas, left + 0.04, low + 0.04, left + wide - 0.04, low + 0.91, np.array(POSTERS[rng.integers(6)]))
        for _ in range(6):
            x, y = left + rng.uniform(0.1, wide - 0.4), low + rng.uniform(0.1, 0.6)
            _box(canvas, x, y, x + rng.uniform(0.1, 0.3), y + rng.uniform(0.05, 0.25), POSTERS[rng.integers(6)])
    _box(canvas, 0, 0, 4.4 if kind == "door" else 2 * HALF_M, 0.1, white * 0.95)
    if kind == "door":
        _box(canvas, 5.5, 0, 2 * HALF_M, 0.1, white * 0.95)
    return canvas
