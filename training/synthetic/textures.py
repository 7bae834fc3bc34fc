"""Draws the textures of walls, floors, furniture and horizons, once for many pictures."""

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from training.synthetic.people import random_colour

SIDE = 256


@dataclass(frozen=True, slots=True, eq=False)
class Textures:
    """All textures in one stack; the fields are ranges of it."""

    pictures: np.ndarray  # (n, SIDE, SIDE, 3) uint8 sRGB
    walls: range
    floors: range
    fabrics: range
    horizons: range


def make_textures(rng: np.random.Generator, photos: list[np.ndarray], walls: int = 36) -> Textures:
    """Draws a stack of textures; photos (h, w, 3) uint8 sRGB hang on the walls as pictures."""
    counts = (walls, walls * 2 // 3, walls // 2, walls // 3)
    makers = (lambda: wall(rng, photos), lambda: floor(rng), lambda: fabric(rng), lambda: horizon(rng))
    stack = [maker() for maker, count in zip(makers, counts, strict=True) for _ in range(count)]
    ends = np.cumsum((0, *counts))
    ranges = [range(int(a), int(b)) for a, b in pairwise(ends)]
    return Textures(np.stack(stack), *ranges)


def one_of(rng: np.random.Generator, numbers: range) -> int:
    """A random number of a range."""
    return int(rng.integers(numbers.start, numbers.stop))


def planks(rng: np.random.Generator, side: int, colour: np.ndarray) -> np.ndarray:
    """(side, side, 3) uint8 sRGB of a floor of planks in a colour (3,) 0..1; the picture wraps around. side: a multiple
    of 512."""
    canvas = np.empty((side, side, 3), np.float32)
    grain = cv2.resize(rng.normal(0, 0.05, (side, 16)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    canvas[:] = colour * (1 + grain[..., None])
    high, long = 64, 512
    for row in range(side // high):
        shift = int(rng.integers(0, long))
        for column in range(side // long):
            columns = (np.arange(long) + shift + column * long) % side
            canvas[row * high : (row + 1) * high, columns] *= rng.uniform(0.84, 1.08)
            canvas[row * high : (row + 1) * high, columns[:2]] *= 0.7
        canvas[row * high : row * high + 2] *= 0.72
    return (np.clip(canvas, 0, 1) * 255).astype(np.uint8)


def tiling_noise(rng: np.random.Generator, cells: int) -> np.ndarray:
    """Noise (SIDE, SIDE) float32 that wraps at its edges, sd about 1."""
    small = rng.normal(0, 1, (cells, cells)).astype(np.float32)
    padded = np.pad(small, 2, mode="wrap")
    scale = SIDE // cells if SIDE % cells == 0 else SIDE / cells
    big = cv2.resize(padded, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    start = int(2 * scale)
    return big[start : start + SIDE, start : start + SIDE]


def _surface(rng: np.random.Generator, colour: np.ndarray) -> np.ndarray:
    """A coloured surface with uneven brightness, (SIDE, SIDE, 3) float32 sRGB 0..1."""
    uneven = np.zeros((SIDE, SIDE), np.float32)
    for cells in (4, 16, 64, 128):
        uneven += rng.uniform(0, 0.05) * tiling_noise(rng, cells)
    return (colour * (1 + uneven[..., None])).astype(np.float32)


def _wall_colour(rng: np.random.Generator) -> np.ndarray:
    if rng.random() < 0.6:
        return np.clip(rng.uniform(0.5, 0.95) * rng.uniform(0.92, 1.06, 3), 0, 1)
    return _muted(rng)


def _muted(rng: np.random.Generator) -> np.ndarray:
    """Draws a colour for rooms: rarely bright."""
    colour = random_colour(rng)
    share = rng.uniform(0.1, 0.6) if rng.random() < 0.85 else 1.0
    return colour * share + colour.mean() * (1 - share)


def _tuple(colour: np.ndarray) -> tuple[float, float, float]:
    return float(colour[0]), float(colour[1]), float(colour[2])


def wall(rng: np.random.Generator, photos: list[np.ndarray]) -> np.ndarray:
    """Draws a wall: plaster, bricks, panels or wallpaper, with doors, windows, pictures, shelves and curtains."""
    canvas = _surface(rng, _wall_colour(rng))
    kind = rng.random()
    if kind < 0.12:
        _bricks(rng, canvas)
    elif kind < 0.25:
        step = int(rng.integers(6, 40))
        shade = 1 + rng.uniform(-0.15, 0.15) * (np.arange(SIDE) // step % 2)
        canvas *= shade[None, :, None] if rng.random() < 0.7 else shade[:, None, None]
    elif kind < 0.32:
        canvas[int(SIDE * rng.uniform(0.5, 0.7)) :] *= rng.uniform(0.5, 0.9, 3)
    things = [_door, _window, _pictures, _shelf, _curtain, _clutter, _screen]
    for thing in rng.choice(len(things), rng.integers(0, 5), p=[0.14, 0.2, 0.22, 0.16, 0.08, 0.14, 0.06]):
        things[thing](rng, canvas, photos)
    if rng.random() < 0.5:
        canvas[-int(rng.integers(4, 10)) :] = rng.choice([0.9, 0.2, 0.5]) * rng.uniform(0.9, 1.1, 3)
    gradient = 1 + rng.uniform(-0.3, 0.3) * np.linspace(-1, 1, SIDE)
    canvas *= gradient[None, :, None]
    canvas *= (1 + rng.uniform(-0.05, 0.3) * np.linspace(1, -1, SIDE))[:, None, None]
    return _picture(canvas)


def _picture(canvas: np.ndarray) -> np.ndarray:
    return (np.clip(canvas, 0, 1) * 255).astype(np.uint8)


def _bricks(rng, canvas) -> None:
    high, wide = int(rng.integers(5, 14)), int(rng.integers(12, 36))
    joint = _tuple(np.full(3, rng.uniform(0.3, 0.8)))
    for row, y in enumerate(range(0, SIDE, high)):
        for x in range(-wide if row % 2 else -wide // 2, SIDE, wide):
            canvas[y : y + high, max(x, 0) : max(x + wide, 0)] *= rng.uniform(0.8, 1.15)
            cv2.line(canvas, (x, y), (x, y + high), joint, 1)
        cv2.line(canvas, (0, y), (SIDE, y), joint, 1)


def _door(rng, canvas, photos) -> None:
    x, width, top = int(rng.integers(0, 220)), int(rng.integers(36, 50)), int(rng.integers(40, 70))
    colour = _muted(rng) if rng.random() < 0.5 else np.full(3, rng.uniform(0.6, 0.95))
    cv2.rectangle(canvas, (x - 3, top - 3), (x + width + 3, SIDE), _tuple(colour * 0.75), -1)
    cv2.rectangle(canvas, (x, top), (x + width, SIDE), _tuple(colour), -1)
    for y in range(top + 10, 230, 60):
        cv2.rectangle(canvas, (x + 7, y), (x + width - 7, y + 45), _tuple(colour * 0.88), 2)
    cv2.circle(canvas, (x + width - 6, 160), 2, (0.3, 0.3, 0.3), -1)


def _window(rng, canvas, photos) -> None:
    x, y = int(rng.integers(0, 200)), int(rng.integers(30, 80))
    width, height = int(rng.integers(40, 120)), int(rng.integers(50, 120))
    if photos and rng.random() < 0.5:
        view = _cut(rng, photos, width, height) * rng.uniform(1, 1.6)
    else:
        sky, land = np.array([0.8, 0.9, 1.0]) * rng.uniform(0.6, 1.3), random_colour(rng) * rng.uniform(0.5, 1)
        share = np.clip(np.linspace(-1.5, 2, height) + rng.normal(0, 0.3), 0, 1)[:, None, None]
        view = np.broadcast_to(sky * (1 - share) + land * share, (height, width, 3)).astype(np.float32)
    right, low = min(x + width, SIDE), min(y + height, SIDE)
    canvas[y:low, x:right] = view[: low - y, : right - x]
    frame = _tuple(np.full(3, rng.choice([0.92, 0.3, 0.55])))
    for i in range(int(rng.integers(1, 4)) + 1):
        cv2.line(canvas, (x + i * width // 2, y), (x + i * width // 2, low), frame, 3)
    cv2.rectangle(canvas, (x, y), (right, low), frame, 4)
    if rng.random() < 0.3:  # blinds
        for line in range(y, low, 5):
            cv2.line(canvas, (x, line), (right, line), frame, 2)


def _cut(rng, photos, width, height) -> np.ndarray:
    photo = photos[rng.integers(len(photos))]
    side = int(rng.uniform(0.4, 1) * min(photo.shape[:2]))
    y, x = rng.integers(photo.shape[0] - side + 1), rng.integers(photo.shape[1] - side + 1)
    part = cv2.resize(photo[y : y + side, x : x + side], (width, height), interpolation=cv2.INTER_AREA)
    return part.astype(np.float32) / 255


def _pictures(rng, canvas, photos) -> None:
    for _ in range(rng.integers(1, 5)):
        x, y = int(rng.integers(0, 230)), int(rng.integers(50, 130))
        width, height = int(rng.integers(12, 55)), int(rng.integers(14, 50))
        cv2.rectangle(canvas, (x - 2, y - 2), (x + width + 2, y + height + 2), _tuple(random_colour(rng)), -1)
        if photos and rng.random() < 0.6:
            art = _cut(rng, photos, width, height)
        else:
            cells = int(rng.integers(2, 6))
            art = cv2.resize(rng.random((cells, cells, 3)).astype(np.float32), (width, height))
        part = canvas[y : y + height, x : x + width]
        part[:] = art[: part.shape[0], : part.shape[1]]


def _shelf(rng, canvas, photos) -> None:
    x, width = int(rng.integers(0, 200)), int(rng.integers(35, 100))
    top, colour = int(rng.integers(30, 150)), _muted(rng)
    cv2.rectangle(canvas, (x, top), (x + width, SIDE - 6), _tuple(colour * rng.uniform(0.3, 0.9)), -1)
    step = int(rng.integers(22, 34))
    for y in range(top, SIDE - 10, step):
        at = x + 3
        while at < x + width - 4:
            book, high = int(rng.integers(2, 9)), int(rng.integers(8, step - 5))
            if rng.random() < 0.8:
                cv2.rectangle(
                    canvas, (at, y + step - 3 - high), (at + book - 1, y + step - 3), _tuple(random_colour(rng)), -1
                )
            at += book
        cv2.line(canvas, (x, y), (x + width, y), _tuple(colour), 3)
    cv2.rectangle(canvas, (x, top), (x + width, SIDE - 6), _tuple(colour), 3)


def _curtain(rng, canvas, photos) -> None:
    x, width = int(rng.integers(0, 220)), int(rng.integers(25, 90))
    folds = 1 + 0.25 * np.sin(np.arange(width) * rng.uniform(0.3, 1.2) + rng.uniform(0, 6))
    part = canvas[25:250, x : x + width]
    part[:] = (_muted(rng) * folds[None, : part.shape[1], None]).astype(np.float32)


def _clutter(rng, canvas, photos) -> None:
    for _ in range(rng.integers(3, 16)):
        x, y = int(rng.integers(0, SIDE)), int(rng.integers(60, SIDE))
        a, b = int(rng.integers(3, 40)), int(rng.integers(3, 40))
        colour, shape = _tuple(random_colour(rng)), rng.random()
        if shape < 0.45:
            cv2.rectangle(canvas, (x, y), (x + a, y + b), colour, -1)
        elif shape < 0.7:
            cv2.ellipse(canvas, (x, y), (a, b), float(rng.uniform(0, 180)), 0, 360, colour, -1, cv2.LINE_AA)
        else:
            cv2.line(canvas, (x, y), (x + a * 2 - 40, y + b * 2 - 40), colour, int(rng.integers(1, 7)), cv2.LINE_AA)


def _screen(rng, canvas, photos) -> None:
    x, y, width = int(rng.integers(0, 190)), int(rng.integers(80, 140)), int(rng.integers(30, 66))
    height = width * 9 // 16
    cv2.rectangle(canvas, (x - 2, y - 2), (x + width + 2, y + height + 2), (0.05, 0.05, 0.05), -1)
    if rng.random() < 0.5:
        part = canvas[y : y + height, x : x + width]
        glow = cv2.resize(rng.random((4, 6, 3)).astype(np.float32), (width, height))
        part[:] = glow[: part.shape[0], : part.shape[1]]


def floor(rng: np.random.Generator) -> np.ndarray:
    """Draws a floor of planks, tiles, carpet, concrete or grass; it wraps around and is about 2 m wide."""
    kind = rng.random()
    if kind < 0.35:
        wood = np.array([0.62, 0.43, 0.27]) * rng.uniform(0.4, 1.4) * rng.uniform(0.85, 1.15, 3)
        canvas = _surface(rng, np.clip(wood, 0, 1))
        high = int(2 ** rng.integers(3, 6))
        grain = cv2.resize(rng.normal(0, 0.08, (SIDE, 8)).astype(np.float32), (SIDE, SIDE))
        canvas *= (1 + grain)[..., None]
        for y in range(0, SIDE, high):
            canvas[y : y + high] *= rng.uniform(0.85, 1.1)
            at = int(rng.integers(0, SIDE))
            canvas[y : y + high, at : at + 2] *= 0.6
            canvas[y : y + 1] *= 0.65
    elif kind < 0.6:
        canvas = _surface(rng, _wall_colour(rng))
        side = int(2 ** rng.integers(4, 8))
        other = rng.uniform(0.4, 1.2, 3) if rng.random() < 0.35 else np.ones(3)
        for i, y in enumerate(range(0, SIDE, side)):
            for j, x in enumerate(range(0, SIDE, side)):
                canvas[y : y + side, x : x + side] *= rng.uniform(0.94, 1.05) * (other if (i + j) % 2 else 1)
        canvas[::side] *= 0.7
        canvas[:, ::side] *= 0.7
    elif kind < 0.8:
        canvas = _surface(rng, _muted(rng))
        canvas *= 1 + rng.uniform(0.05, 0.25) * rng.normal(0, 1, (SIDE, SIDE, 1)).astype(np.float32)
        if rng.random() < 0.4:
            canvas *= 1 + rng.uniform(0.2, 0.6) * (tiling_noise(rng, int(rng.integers(4, 20))) > 0.5)[..., None]
    else:
        ground = np.array([[0.35, 0.45, 0.2], [0.5, 0.5, 0.5], [0.6, 0.52, 0.4]])[rng.integers(3)]
        canvas = _surface(rng, ground * rng.uniform(0.6, 1.3))
        canvas *= 1 + (0.15 * tiling_noise(rng, 64) + 0.15 * tiling_noise(rng, 128))[..., None]
    return _picture(canvas)


def fabric(rng: np.random.Generator) -> np.ndarray:
    """Draws a white-based pattern for furniture; its colour is multiplied on later."""
    canvas = _surface(rng, np.full(3, 0.9))
    kind = rng.random()
    if kind < 0.3:
        canvas *= (1 - rng.uniform(0.1, 0.5) * (np.sin(np.arange(SIDE) * rng.uniform(0.1, 1.0)) > 0))[:, None, None]
    elif kind < 0.5:
        canvas *= (1 + 0.3 * cv2.resize(rng.normal(0, 1, (SIDE, 6)).astype(np.float32), (SIDE, SIDE)))[..., None]
    elif kind < 0.7:
        canvas *= 1 - rng.uniform(0.1, 0.5) * (tiling_noise(rng, 16) > 0.3)[..., None]
    return _picture(canvas)


def horizon(rng: np.random.Generator) -> np.ndarray:
    """Draws distant houses, trees and hedges under a sky; the lower edge is the ground."""
    sky = np.array([0.65, 0.8, 0.98]) * rng.uniform(0.6, 1.05) + rng.uniform(-0.1, 0.1)
    canvas = _surface(rng, np.clip(sky, 0, 1))
    canvas *= np.linspace(0.9, 1.15, SIDE)[:, None, None]
    clouds = tiling_noise(rng, 8) + 0.5 * tiling_noise(rng, 32)
    canvas += 0.3 * rng.random() * np.clip(clouds, 0, 1)[..., None]
    at = 0
    while at < SIDE:
        width, top = int(rng.integers(15, 70)), int(rng.integers(60, 215))
        colour = random_colour(rng) * rng.uniform(0.6, 1.1)
        if rng.random() < 0.55:
            cv2.rectangle(canvas, (at, top), (at + width, SIDE), _tuple(colour), -1)
            step = int(rng.integers(8, 20))
            for y in range(top + 5, SIDE - 8, step):
                for x in range(at + 4, at + width - 5, step):
                    cv2.rectangle(
                        canvas, (x, y), (x + step // 2, y + step // 2), _tuple(colour * rng.uniform(0.3, 1.4)), -1
                    )
        else:
            green = np.array([0.25, 0.4, 0.15]) * rng.uniform(0.4, 1.5)
            for _ in range(60):
                x, y = at + rng.normal(0.5, 0.25) * width, top + abs(rng.normal(0, 0.4)) * (SIDE - top)
                cv2.circle(
                    canvas, (int(x), int(y)), int(rng.integers(3, 13)), _tuple(green * rng.uniform(0.5, 1.4)), -1
                )
        at += int(width * rng.uniform(0.5, 1.1))
    return _picture(canvas)
