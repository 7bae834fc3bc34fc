"""Renders pictures of several people who stand at different distances, with a box for each of them."""

import numpy as np

from training.synthetic import gestures, scenes
from training.synthetic.cameras import View, aim, look_at
from training.synthetic.draw import Person, draw
from training.synthetic.generator import Generator
from training.synthetic.motion import about_y
from training.synthetic.photo import expose

SIZE = (1280, 720)
MOST = 7  # people in a picture, at least two
TALL_M = 1.7
SHARES = (0.1, 0.6)  # of the picture's height that a standing person takes up
FIELDS_DEG = (45.0, 75.0)  # horizontal field of view
TRIES, APART_M = 20, 0.5  # a place this near to another person's is drawn again


def crowd(generator: Generator, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One picture (720, 1280, 3) uint8 BGR, the people's boxes (n, 4) px, and what share of each is seen (n,).

    The same number gives the same picture of the same generator, whose `strangers` must be drawn.
    """
    rng = np.random.default_rng([*generator.key, 11, number])
    view = _view(rng)
    people = [_placed(rng, generator, place) for place in _places(rng, view, int(rng.integers(2, MOST + 1)))]
    around = np.concatenate([person.points[::50] for person in people])
    assets = (generator.stock.textures, generator.panoramas, generator.photos)
    scene = scenes.random_scene(rng, *assets, around, 0.0, gestures.STAND, view.place)
    inside = np.ones(SIZE[::-1], bool)
    linear, owner = draw(scene, view, people, view.focal_px, view.centre_px, inside, generator.stock)
    picture, _ = expose(rng, linear, inside)
    boxes = np.array([_box(view, person) for person in people])
    seen = np.array([_seen(view, person, owner == row) for row, person in enumerate(people)])
    return np.ascontiguousarray(picture[..., ::-1]), boxes, seen


def _view(rng: np.random.Generator) -> View:
    """A camera at the height of a hand or a ceiling that looks along -z, a little down."""
    focal_px = SIZE[0] / 2 / np.tan(np.deg2rad(rng.uniform(*FIELDS_DEG)) / 2)
    place = np.array([0.0, rng.uniform(1.0, 2.6), 0.0])
    level = look_at(place, place - (0, 0, 1.0))
    tilted = aim(np.array([0.0, -rng.uniform(0, 0.12) * (place[1] > 1.4), 1.0])) @ level
    centre = np.array([(SIZE[0] - 1) / 2, (SIZE[1] - 1) / 2])
    return View(tilted, place, float(focal_px), centre, SIZE, 0.0)


def _places(rng: np.random.Generator, view: View, count: int) -> list[np.ndarray]:
    """Where people stand on the floor, (x, z) metres each."""
    places: list[np.ndarray] = []
    for _ in range(count * TRIES):
        share = np.exp(rng.uniform(*np.log(SHARES)))
        away = view.focal_px * TALL_M / (share * SIZE[1])
        place = np.array([rng.uniform(-0.45, 0.45) * SIZE[0] / view.focal_px * away, -away])
        if all(np.linalg.norm(place - other) > APART_M for other in places):
            places.append(place)
        if len(places) == count:
            break
    return places


def _placed(rng: np.random.Generator, generator: Generator, place: np.ndarray) -> Person:
    """One of the generator's strangers, turned and moved to a place (2,) on the floor."""
    stranger = generator.strangers[rng.integers(len(generator.strangers))]
    turn = about_y(np.array(rng.uniform(0, 2 * np.pi))).astype(np.float32)
    points = stranger.points @ turn.T + np.array([place[0], 0, place[1]], np.float32)
    return Person(stranger.outfit, points, stranger.normals @ turn.T)


def _pixels(view: View, points: np.ndarray) -> np.ndarray:
    seen = view.to_camera(points)
    return seen[:, :2] / np.maximum(seen[:, 2:], 0.05) * view.focal_px + view.centre_px


def _box(view: View, person: Person) -> np.ndarray:
    """(4,) px round the part of a person that lies in the picture."""
    pixels = _pixels(view, person.points)
    high = np.array(SIZE) - 1.0
    return np.concatenate([np.clip(pixels.min(0), 0, high), np.clip(pixels.max(0), 0, high)])


def _seen(view: View, person: Person, own: np.ndarray) -> float:
    """The share of the surface towards the camera that the picture shows; own (h, w): the person's pixels."""
    facing = (person.normals * (view.place - person.points)).sum(1) > 0
    x, y = np.round(_pixels(view, person.points[facing])).astype(int).T
    within = (x >= 0) & (y >= 0) & (x < SIZE[0]) & (y < SIZE[1])
    return float((within & own[y.clip(0, SIZE[1] - 1), x.clip(0, SIZE[0] - 1)]).mean())
