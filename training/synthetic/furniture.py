"""Builds furniture from cuboids: chairs, tables, shelves, plants, poles, to sit on, stand behind or hide people."""

from dataclasses import dataclass, replace

import numpy as np

from training.synthetic.people import linear, random_colour
from training.synthetic.textures import Textures
from training.synthetic.textures import one_of as _one_of

# The sides of a cuboid as corners of (-1, 1)^3, counter-clockwise seen from outside
SIDES = np.array(
    [[[-1, -1, -1], [-1, -1, 1], [-1, 1, 1], [-1, 1, -1]], [[1, -1, 1], [1, -1, -1], [1, 1, -1], [1, 1, 1]],
     [[-1, -1, -1], [1, -1, -1], [1, -1, 1], [-1, -1, 1]], [[-1, 1, 1], [1, 1, 1], [1, 1, -1], [-1, 1, -1]],
     [[1, -1, -1], [-1, -1, -1], [-1, 1, -1], [1, 1, -1]], [[-1, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]]], float
)  # fmt: skip
OUTWARD = np.array([[-1, 0, 0], [1, 0, 0], [0, -1, 0], [0, 1, 0], [0, 0, -1], [0, 0, 1]], float)


@dataclass(frozen=True, slots=True, eq=False)
class Cuboid:
    """One cuboid: centre and half sizes in the frame of its piece, metres, y up."""

    centre: tuple[float, float, float]
    half: tuple[float, float, float]
    colour: np.ndarray  # (3,) linear
    texture: int  # -1: plain


@dataclass(frozen=True, slots=True, eq=False)
class Things:
    """All furniture of a scene as one mesh."""

    points: np.ndarray  # (V, 3) float32 world
    faces: np.ndarray  # (F, 3) int32
    normals: np.ndarray  # (F, 3) float32
    colours: np.ndarray  # (F, 3) float32
    textures: np.ndarray  # (F,) int32
    uv: np.ndarray  # (V, 2) float32


def assembled(pieces: list[tuple[list[Cuboid], np.ndarray, float]]) -> Things:
    """Joins pieces with their places (3,) and headings (radians about y) into one mesh."""
    parts = [(cuboid, place, yaw) for cuboids, place, yaw in pieces for cuboid in cuboids]
    if not parts:
        empty = np.zeros((0, 3), np.float32)
        none = np.zeros((0, 3), np.int32)
        return Things(empty, none, empty, empty, none[:, 0], empty[:, :2])
    centre = np.array([cuboid.centre for cuboid, _, _ in parts])
    half = np.array([cuboid.half for cuboid, _, _ in parts])
    place = np.array([place for _, place, _ in parts])
    yaw = np.array([yaw for _, _, yaw in parts])
    cos, sin, zero = np.cos(yaw), np.sin(yaw), np.zeros(len(parts))
    turn = np.stack([cos, zero, sin, zero, zero + 1, zero, -sin, zero, cos], -1).reshape(-1, 3, 3)
    local = (SIDES.reshape(24, 3) * half[:, None] + centre[:, None]) @ turn.transpose(0, 2, 1) + place[:, None]
    corner = local.reshape(-1, 4, 3)
    normals = (OUTWARD @ turn.transpose(0, 2, 1)).reshape(-1, 3)
    size = np.stack([half[:, [2, 2, 0, 0, 0, 0]], half[:, [1, 1, 2, 2, 1, 1]]], -1).reshape(-1, 2)
    count = len(corner)
    index = np.arange(count)[:, None] * 4
    faces = (index[..., None] + np.array([[0, 1, 2], [0, 2, 3]])).reshape(-1, 3)
    unit = np.array([[0, 1], [1, 1], [1, 0], [0, 0]])
    uv = unit[None] * size[:, None] * 1.2 + (np.arange(count) * 0.37)[:, None, None]
    return Things(
        points=np.ascontiguousarray(corner.reshape(-1, 3), np.float32),
        faces=np.ascontiguousarray(faces, np.int32),
        normals=np.repeat(normals, 2, 0).astype(np.float32),
        colours=np.repeat(np.array([cuboid.colour for cuboid, _, _ in parts]), 12, 0).astype(np.float32),
        textures=np.repeat(np.array([cuboid.texture for cuboid, _, _ in parts]), 12).astype(np.int32),
        uv=uv.reshape(-1, 2).astype(np.float32),
    )


def moved(things: Things, turn: np.ndarray, place: np.ndarray) -> Things:
    """The furniture turned by (3, 3) about the origin, then shifted by (3,) metres."""
    turn = turn.astype(np.float32)
    points = things.points @ turn.T + place.astype(np.float32)
    return replace(things, points=np.ascontiguousarray(points), normals=np.ascontiguousarray(things.normals @ turn.T))


def joined(a: Things, b: Things) -> Things:
    """Joins two meshes into one."""
    both = {name: np.concatenate([getattr(a, name), getattr(b, name)]) for name in Things.__dataclass_fields__}
    return Things(**both | {"faces": np.concatenate([a.faces, b.faces + len(a.points)]).astype(np.int32)})


def paint(rng: np.random.Generator, textures: Textures) -> tuple[np.ndarray, int]:
    """Draws a colour (3,) linear and a texture (-1: plain) for a piece."""
    kind = rng.random()
    if kind < 0.35:
        colour = np.array([0.6, 0.42, 0.26]) * rng.uniform(0.4, 1.4)
    elif kind < 0.6:
        colour = np.full(3, rng.choice([rng.uniform(0.05, 0.2), rng.uniform(0.75, 0.95)]))
    else:
        colour = random_colour(rng)
    return linear(np.clip(colour, 0.02, 1)), _one_of(rng, textures.fabrics) if rng.random() < 0.6 else -1


def seat(rng, textures: Textures, height: float, width: float = 0.44) -> list[Cuboid]:
    """A stool, chair, armchair or bench whose seat is `height` above the floor; its front is +z."""
    colour, texture = paint(rng, textures)
    legs, _ = paint(rng, textures)
    depth, thick = rng.uniform(0.36, 0.5), rng.uniform(0.02, 0.07)
    thick = min(thick, height * 0.45)
    half = width / 2 * rng.uniform(0.9, 1.3)
    parts = [Cuboid((0, height - thick, -0.02), (half, thick, depth / 2), colour, texture)]
    kind = rng.random()
    if kind < 0.35:  # solid down to the floor: a box, a sofa
        low = max((height - 2 * thick) / 2, 0.01)
        parts.append(Cuboid((0, low, -0.02), (half * 0.98, low, depth / 2 * 0.98), colour * 0.85, texture))
    elif kind < 0.55:  # an office chair's column
        parts.append(Cuboid((0, height / 2, 0), (0.03, height / 2, 0.03), legs, -1))
        parts.append(Cuboid((0, 0.04, 0), (0.28, 0.02, 0.04), legs, -1))
        parts.append(Cuboid((0, 0.04, 0), (0.04, 0.02, 0.28), legs, -1))
    else:
        for x in (-1, 1):
            for z in (-1, 1):
                at = (x * (half - 0.03), height / 2, z * (depth / 2 - 0.03))
                parts.append(Cuboid(at, (0.018, height / 2, 0.018), legs, -1))
    if rng.random() < 0.7:  # a back
        back = rng.uniform(0.15, 0.38)
        at = (0, height + back + rng.choice([0.0, 0.1]), -depth / 2 - 0.05)
        parts.append(Cuboid(at, (half, back, rng.uniform(0.015, 0.05)), colour, texture))
    if rng.random() < 0.25:  # arm rests
        for x in (-1, 1):
            parts.append(Cuboid((x * (half + 0.03), height + 0.1, 0), (0.03, 0.1, depth / 2), colour * 0.9, texture))
    return parts


def table(rng, textures: Textures, height: float | None = None, width: float | None = None) -> list[Cuboid]:
    """A table or desk, sometimes with objects on it."""
    colour, texture = paint(rng, textures)
    height = rng.uniform(0.68, 0.78) if height is None else height
    half, deep = (width or rng.uniform(0.8, 1.8)) / 2, rng.uniform(0.25, 0.45)
    parts = [Cuboid((0, height - 0.02, 0), (half, rng.uniform(0.012, 0.03), deep), colour, texture)]
    if rng.random() < 0.35:
        parts.append(Cuboid((0, height * 0.6, deep - 0.05), (half * 0.95, height * 0.38, 0.012), colour * 0.9, texture))
    for x in (-1, 1):
        for z in (-1, 1):
            at = (x * (half - 0.05), height / 2, z * (deep - 0.05))
            parts.append(Cuboid(at, (0.025, height / 2, 0.025), colour * 0.8, -1))
    for _ in range(rng.integers(0, 5)):
        tint, pattern = paint(rng, textures)
        size = rng.uniform(0.02, 0.14, 3)
        at = (rng.uniform(-0.8, 0.8) * half, height + size[1], rng.uniform(-0.7, 0.7) * deep)
        parts.append(Cuboid(at, (size[0], size[1], size[2]), tint, pattern))
    return parts


def clutter(rng, textures: Textures) -> list[Cuboid]:
    """Any other piece: a cupboard, box, pole, plant, lamp, sofa or screen."""
    colour, texture = paint(rng, textures)
    kind = rng.random()
    if kind < 0.25:
        half = np.array([rng.uniform(0.2, 0.8), rng.uniform(0.2, 1.05), rng.uniform(0.15, 0.3)])
        parts = [Cuboid((0, half[1], 0), (half[0], half[1], half[2]), colour, texture)]
        for i in range(int(rng.integers(0, 4))):
            at = (0, half[1] * 2 * (i + 0.5) / 4, half[2] + 0.01)
            parts.append(Cuboid(at, (half[0] * 0.92, half[1] / 5, 0.008), colour * 0.8, texture))
        return parts
    if kind < 0.4:
        half = rng.uniform(0.1, 0.35, 3)
        return [Cuboid((0, half[1], 0), (half[0], half[1], half[2]), colour, texture)]
    if kind < 0.5:
        radius = rng.uniform(0.01, 0.12)
        return [Cuboid((0, 1.3, 0), (radius, 1.3, radius), colour, texture)]
    if kind < 0.65:  # a plant
        green = np.array([0.1, 0.25, 0.06]) * rng.uniform(0.5, 1.8)
        parts = [Cuboid((0, 0.15, 0), (0.14, 0.15, 0.14), colour, -1)]
        for _ in range(int(rng.integers(12, 30))):
            at = rng.normal([0, rng.uniform(0.4, 1.1), 0], 0.14)
            size = rng.uniform(0.015, 0.09, 3)
            parts.append(Cuboid((at[0], at[1], at[2]), (size[0], size[1], size[2]), green * rng.uniform(0.6, 1.5), -1))
        return parts
    if kind < 0.75:  # a floor lamp
        shade = linear(np.array([0.95, 0.9, 0.75]))
        return [
            Cuboid((0, 0.75, 0), (0.015, 0.75, 0.015), colour, -1),
            Cuboid((0, 1.6, 0), (0.16, 0.13, 0.16), shade * 2, -1),
            Cuboid((0, 0.02, 0), (0.14, 0.02, 0.14), colour, -1),
        ]
    if kind < 0.9:  # a sofa
        half = rng.uniform(0.6, 1.1)
        return [
            Cuboid((0, 0.22, 0), (half, 0.22, 0.42), colour, texture),
            Cuboid((0, 0.45, -0.35), (half, 0.42, 0.1), colour * 0.95, texture),
            Cuboid((half, 0.32, 0), (0.09, 0.32, 0.42), colour * 0.9, texture),
            Cuboid((-half, 0.32, 0), (0.09, 0.32, 0.42), colour * 0.9, texture),
        ]
    return [
        Cuboid((0, 1.1, 0), (0.5, 0.3, 0.02), linear(np.array([0.08, 0.08, 0.1])), -1),
        Cuboid((0, 0.4, 0), (0.03, 0.4, 0.03), colour, -1),
    ]
