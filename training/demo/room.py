"""Builds the demo's room and clothes."""

import cv2
import numpy as np

from refit_rt.body.smpl import Body
from training.demo.motion import SEAT_BACK_M, SEAT_TOP_M, STAND
from training.synthetic import cloth, furniture, people, scenes
from training.synthetic.figure import make_figure
from training.synthetic.furniture import Cuboid
from training.synthetic.hair import Hair
from training.synthetic.light import Light
from training.synthetic.textures import Textures, planks

LEAVES = np.array([-0.5, 1.05, 0.0])  # the plant's middle on the sideboard
SIDE = 1024  # pixels of a wall picture's side
LOW, HIGH = np.array([-3.3, 0.0, -2.2]), np.array([3.3, 2.65, 5.2])  # the room, metres
BOOKS = np.array([[0.55, 0.2, 0.18], [0.2, 0.33, 0.45], [0.75, 0.68, 0.5], [0.25, 0.4, 0.3], [0.85, 0.82, 0.78],
                  [0.16, 0.17, 0.22], [0.7, 0.45, 0.2]])  # fmt: skip


def demo_outfit(body: Body) -> people.Outfit:
    """A checked shirt with long sleeves, jeans, trainers, short brown hair."""
    rng, figure = np.random.default_rng(4), make_figure(body)
    hair = Hair(
        colour=np.array([0.2, 0.13, 0.09]),
        line=-0.35,
        front=0.92,
        side=0.12,
        thickness=0.006,
        shell=True,
        length=(0.085, 0.125, 0.18),
        volume=0.016,
        beard=0.0,
        cap=False,
    )
    cuts = people.random_cuts(rng, figure)
    fabric = np.stack([people.random_fabric(rng) for _ in range(cloth.LAYERS)])
    people.paint_skin_and_hair(rng, fabric, cuts, figure, hair)
    joints = figure.joints
    cuts[[cloth.HEM, cloth.SLEEVE, cloth.COLLAR]] = joints[0, 1] - 0.06, joints[20, 0] - 0.03, joints[12, 1] - 0.005
    cuts[[cloth.V_DEPTH, cloth.V_WIDTH, cloth.STRAP]] = 0.06, 0.05, -9.0
    cuts[[cloth.JACKET_HEM, cloth.JACKET_SLEEVE, cloth.JACKET_COLLAR]] = 9.0
    cuts[[cloth.WAIST, cloth.LEG]] = joints[0, 1] + 0.02, joints[7, 1] + 0.0
    cuts[[cloth.SHOE, cloth.SOCK, cloth.CAP_LINE]] = joints[7, 1] + 0.005, -9.0, 9.0
    skin = people.linear(np.array([0.84, 0.65, 0.53]))
    fabric[cloth.SKIN, :3], fabric[cloth.LIPS, :3] = skin, people.linear(np.array([0.72, 0.45, 0.4]))
    _weave(fabric, cloth.SHIRT, [0.20, 0.34, 0.42], [0.84, 0.84, 0.78], cloth.CHECKS, 15.0, 0.34)
    _weave(fabric, cloth.TROUSERS, [0.13, 0.18, 0.30], [0.2, 0.25, 0.36], cloth.PLAIN, 20.0, 0.5)
    _weave(fabric, cloth.SHOES, [0.62, 0.24, 0.16], [0.9, 0.9, 0.9], cloth.PLAIN, 20.0, 0.5)
    _weave(fabric, cloth.SOLE, [0.88, 0.87, 0.84], [0.9, 0.9, 0.9], cloth.PLAIN, 20.0, 0.5)
    fabric[cloth.TROUSERS, cloth.BUMP], fabric[cloth.SHIRT, cloth.BUMP] = 0.45, 0.4
    return people.make_outfit(rng, figure, cuts, fabric, hair)


def _weave(fabric, layer: int, first, second, pattern: int, frequency: float, duty: float) -> None:
    row = fabric[layer]
    row[:3], row[3:6] = people.linear(np.array(first)), people.linear(np.array(second))
    row[cloth.PATTERN], row[cloth.FREQUENCY], row[cloth.DUTY], row[cloth.AXIS] = pattern, frequency, duty, 0
    row[cloth.GRAIN], row[cloth.GRAIN_FREQUENCY] = 0.1, 300
    row[cloth.BUMP], row[cloth.BUMP_FREQUENCY], row[cloth.GLOSS] = 0.2, 26, 0.02


def demo_scene() -> tuple[scenes.Scene, Textures]:
    """A living room with afternoon light from the left."""
    rng = np.random.default_rng(3)
    pictures = np.stack(
        [
            _back_wall(rng),
            _side_wall(rng),
            planks(rng, SIDE, np.array([0.66, 0.49, 0.33])),
            _plaster(rng, [0.93, 0.92, 0.9]),
            _rug(rng),
        ]
    )
    lamps = np.array([[-0.62, 0.72, 0.55], [0.8, 0.45, 0.35]])
    steady = np.array([[0.95], [1.2], [1.25], [0.6], [1.1], [0.75]]) * np.array([0.36, 0.35, 0.335])
    light = Light(
        ambient=steady.astype(np.float32),
        directions=(lamps / np.linalg.norm(lamps, axis=1, keepdims=True)).astype(np.float32),
        colours=np.array([[0.80, 0.73, 0.62], [0.13, 0.15, 0.19]], np.float32),
        softness=0.04,
        occlusion=0.62,
    )
    textures = Textures(pictures, range(2), range(2, 3), range(3, 4), range(1))
    stretch = np.zeros((6, 2), np.float32)
    stretch[2], stretch[3] = 0.42, 0.5
    tints = np.ones((6, 3), np.float32)
    scene = scenes.Scene(
        kind=scenes.ROOM,
        light=light,
        things=furniture.assembled(_furniture()),
        low=LOW,
        high=HIGH,
        turn=(1.0, 0.0),
        pictures=np.array([1, 1, 2, 3, 0, 1]),
        stretch=stretch,
        tints=tints,
        open_sky=np.full((2, 3), -1, np.float32),
        panorama=0,
        panorama_yaw=0.0,
        photo=None,
        gain=1.0,
    )
    return scene, textures


def _furniture() -> list[tuple[list[Cuboid], np.ndarray, float]]:
    """The furniture: the chair, a sideboard with a plant and a lamp, a rug."""
    wood, dark = people.linear(np.array([0.62, 0.44, 0.28])), people.linear(np.array([0.3, 0.2, 0.14]))
    cover, white = people.linear(np.array([0.75, 0.52, 0.2])), people.linear(np.array([0.9, 0.89, 0.86]))
    lamp = people.linear(np.array([0.98, 0.93, 0.8])) * 1.3
    board = [
        Cuboid((0, 0.4, 0), (0.75, 0.32, 0.21), wood, -1),
        Cuboid((-0.36, 0.4, 0.215), (0.34, 0.28, 0.006), wood * 0.85, -1),
        Cuboid((0.36, 0.4, 0.215), (0.34, 0.28, 0.006), wood * 0.85, -1),
        Cuboid((0, 0.04, 0), (0.7, 0.04, 0.17), dark, -1),
        Cuboid((-0.5, 0.79, 0), (0.08, 0.07, 0.08), white * 0.8, -1),
        Cuboid((0.45, 0.86, 0), (0.012, 0.14, 0.012), dark, -1),
        Cuboid((0.45, 1.06, 0), (0.13, 0.1, 0.13), lamp, -1),
    ]
    rng = np.random.default_rng(9)
    for _ in range(70):  # leaves
        at, size = rng.normal(LEAVES, [0.13, 0.13, 0.11]), rng.uniform(0.008, 0.04, 3)
        green = people.linear(np.array([0.22, 0.4, 0.16])) * rng.uniform(0.5, 1.6)
        board.append(Cuboid((at[0], at[1], at[2]), (size[0], size[1], size[2]), green, -1))
    place = np.array([STAND[0], 0, STAND[1] - SEAT_BACK_M - 0.03])
    rug = [Cuboid((0, 0.003, 0), (1.25, 0.003, 0.8), people.linear(np.array([0.95, 0.95, 0.95])), 4)]
    return [
        (_chair(dark, cover), place, 0.0),
        (board, np.array([2.2, 0, -1.85]), 0.0),
        (rug, np.array([0.3, 0, 0.45]), 0.0),
    ]


def _chair(frame: np.ndarray, cover: np.ndarray) -> list[Cuboid]:
    """A wooden chair with a cushion; colours (3,) linear."""
    top, half, deep = SEAT_TOP_M, 0.23, 0.22
    parts = [
        Cuboid((0, top - 0.025, 0), (half, 0.025, deep), cover, -1),
        Cuboid((0, top - 0.07, 0), (half, 0.02, deep), frame, -1),
        Cuboid((0, top + 0.36, -deep - 0.01), (half, 0.1, 0.015), frame, -1),
        Cuboid((0, top + 0.14, -deep - 0.01), (half, 0.03, 0.012), frame, -1),
    ]
    tall = (top + 0.46) / 2
    for x in (-1, 1):
        parts.append(
            Cuboid((x * (half - 0.025), (top - 0.06) / 2, deep - 0.03), (0.02, (top - 0.06) / 2, 0.02), frame, -1)
        )
        parts.append(Cuboid((x * (half - 0.02), tall, -deep - 0.01), (0.02, tall, 0.018), frame, -1))
    return parts


def _plaster(rng: np.random.Generator, colour) -> np.ndarray:
    """(SIDE, SIDE, 3) uint8 of an even wall."""
    uneven = np.zeros((SIDE, SIDE), np.float32)
    for cells in (6, 40, 300):
        patches = rng.normal(0, 0.006, (cells, cells)).astype(np.float32)
        uneven += cv2.resize(patches, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    return (np.clip(np.array(colour) * (1 + uneven[..., None]), 0, 1) * 255).astype(np.uint8)


def _box(canvas, left: float, bottom: float, right: float, top: float, colour, wide: float) -> None:
    """A filled rectangle in metres, on a wall `wide` metres wide and as high as the room."""
    x, y = SIDE / wide, SIDE / HIGH[1]
    start, end = (round(left * x), round((HIGH[1] - top) * y)), (round(right * x), round((HIGH[1] - bottom) * y))
    cv2.rectangle(canvas, start, end, tuple(float(c) * 255 for c in colour), -1)


def _back_wall(rng: np.random.Generator) -> np.ndarray:
    """A window with curtains, a shelf of books, two pictures; seen from inside it runs from left to right."""
    wide = HIGH[0] - LOW[0]
    canvas = np.ascontiguousarray(_plaster(rng, [0.80, 0.79, 0.74]))
    white = (0.93, 0.93, 0.92)
    _box(canvas, 0.75, 0.85, 2.25, 2.25, white, wide)
    for left in (0.82, 1.53):
        for i in range(40):  # the view: sky down to trees
            share = i / 40
            colour = np.array([0.72, 0.84, 0.97]) * (1 - share) + np.array([0.93, 0.95, 0.97]) * share
            colour = colour if share < 0.72 else np.array([0.35, 0.47, 0.28]) * (1.25 - 0.4 * share)
            _box(canvas, left, 2.18 - (i + 1) * 0.0315, left + 0.65, 2.18 - i * 0.0315, colour, wide)
    for left in (0.5, 2.2):
        for i in range(24):
            fold = 0.86 + 0.12 * np.sin(i * 1.25)
            _box(
                canvas,
                left + i * 0.0135,
                0.25,
                left + (i + 1) * 0.0135,
                2.35,
                np.array([0.66, 0.70, 0.66]) * fold,
                wide,
            )
    _box(canvas, 2.75, 0.1, 3.75, 2.05, (0.50, 0.36, 0.24), wide)
    for bottom in (0.16, 0.62, 1.08, 1.54):
        _box(canvas, 2.79, bottom, 3.71, bottom + 0.42, (0.30, 0.21, 0.14), wide)
        at = 2.81
        while at < 3.62:
            thick, tall = rng.uniform(0.02, 0.055), rng.uniform(0.2, 0.35)
            if rng.random() < 0.86:
                _box(
                    canvas, at, bottom, at + thick, bottom + tall, BOOKS[rng.integers(7)] * rng.uniform(0.8, 1.1), wide
                )
            at += thick + 0.004
    for left, bottom, size in ((4.35, 1.45, 0.55), (5.15, 1.5, 0.75)):
        _box(canvas, left, bottom, left + size, bottom + 0.62, (0.22, 0.19, 0.16), wide)
        _box(canvas, left + 0.03, bottom + 0.03, left + size - 0.03, bottom + 0.59, (0.92, 0.9, 0.86), wide)
        for _ in range(7):
            x, y = left + rng.uniform(0.08, size - 0.28), bottom + rng.uniform(0.1, 0.34)
            _box(canvas, x, y, x + rng.uniform(0.05, 0.2), y + rng.uniform(0.04, 0.18), BOOKS[rng.integers(7)], wide)
    _box(canvas, 0, 0, wide, 0.09, white, wide)
    return canvas


def _side_wall(rng: np.random.Generator) -> np.ndarray:
    """A plain side wall with a door."""
    wide = HIGH[2] - LOW[2]
    canvas = np.ascontiguousarray(_plaster(rng, [0.78, 0.77, 0.72]))
    _box(canvas, 1.2, 0.0, 2.15, 2.1, (0.86, 0.85, 0.82), wide)
    _box(canvas, 1.26, 0.0, 2.09, 2.04, (0.92, 0.91, 0.89), wide)
    for bottom in (0.2, 1.12):
        _box(canvas, 1.38, bottom, 1.97, bottom + 0.78, (0.85, 0.84, 0.82), wide)
    _box(canvas, 0, 0, 1.2, 0.09, (0.93, 0.93, 0.92), wide)
    _box(canvas, 2.15, 0, wide, 0.09, (0.93, 0.93, 0.92), wide)
    return canvas


def _rug(rng: np.random.Generator) -> np.ndarray:
    """A grey rug with stripes."""
    canvas = np.full((SIDE, SIDE, 3), [0.62, 0.6, 0.56], np.float32)
    for at in range(0, SIDE, 128):
        canvas[at : at + 22] = [0.36, 0.42, 0.46]
        canvas[at + 34 : at + 40] = [0.75, 0.55, 0.32]
    canvas *= 1 + 0.07 * rng.normal(0, 1, (SIDE, SIDE, 1)).astype(np.float32)
    return (np.clip(canvas, 0, 1) * 255).astype(np.uint8)
