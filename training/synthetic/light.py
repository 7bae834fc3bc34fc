"""Draws light: an ambient cube, one to three lamps, and the soft shadows of people and furniture."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from refit_rt.compiler import njit
from refit_rt.draw.raster import FAST, buffers, rasterise

FAR_BELOW = -1e6
LAMP_M = 400.0  # far enough for rays that are parallel within 0.5 % over the map


@dataclass(frozen=True, slots=True, eq=False)
class Light:
    """The light on a scene; world frame (y up), linear colours."""

    ambient: np.ndarray  # (6, 3) float32 from +x, -x, +y, -y, +z, -z
    directions: np.ndarray  # (lamps, 3) float32 unit vectors towards the lamps; the first one casts the shadow
    colours: np.ndarray  # (lamps, 3) float32
    softness: float  # metres over which the shadow's edge fades on the floor
    occlusion: float  # 0..1: the darkness where the sky is covered


@dataclass(frozen=True, slots=True, eq=False)
class ShadowMap:
    """The scene seen along a light: the distance of its surface towards the light."""

    axes: np.ndarray  # (3, 3) float32 rows: right, up, towards the light
    centre: np.ndarray  # (3,) float32 world point in the middle of the map
    texels_per_m: float
    nearest: np.ndarray  # (side, side) float32: largest distance towards the light, from the centre; FAR_BELOW if none
    cover: np.ndarray  # (side, side) float32 0..1: share of the light that is held back, softened

    @property
    def place(self) -> tuple[np.ndarray, np.ndarray, float]:
        """The arguments with which shaders look up a point."""
        return self.axes, self.centre, self.texels_per_m


def random_light(rng: np.random.Generator) -> Light:
    """Draws an indoor or overcast light: mostly from above, tinted, with one to three lamps."""
    level = rng.uniform(0.25, 0.9)
    tint = 1 + rng.normal(0, 0.06, 3)
    sky, ground, side = level * rng.uniform(0.9, 1.5), level * rng.uniform(0.25, 0.7), level * rng.uniform(0.6, 1.1)
    ambient = np.array([side, side, sky, ground, side, side])[:, None] * tint
    ambient = ambient * rng.uniform(0.6, 1.35, (6, 1)) * (1 + rng.normal(0, 0.04, (6, 3)))
    count = rng.choice([1, 2, 3], p=[0.45, 0.35, 0.2])
    directions = rng.normal(0, 1, (count, 3))
    directions[:, 1] = np.abs(directions[:, 1]) + rng.uniform(0.2, 1.5, count)
    if rng.random() < 0.15:
        directions[0, 1] = rng.uniform(0.05, 0.3)  # a window, a low sun
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    strength = np.exp(rng.uniform(np.log(0.08), np.log(2.6), count)) * np.array([1.0, 0.5, 0.35])[:count]
    warmth = rng.normal(0, 0.12, count)
    colours = strength[:, None] * np.stack([1 + warmth, np.ones(count), 1 - warmth], 1)
    return Light(
        ambient=np.maximum(ambient, 0.02).astype(np.float32),
        directions=directions.astype(np.float32),
        colours=np.maximum(colours, 0).astype(np.float32),
        softness=float(np.exp(rng.uniform(np.log(0.02), np.log(0.3)))),
        occlusion=float(rng.uniform(0.3, 0.75)),
    )


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The cross product of two vectors (3,); numpy's takes 50 microseconds."""
    return np.array([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def shadow_map(
    direction: np.ndarray,
    softness_m: float,
    centre: np.ndarray,
    side_m: float,
    clouds: list[np.ndarray],
    things: np.ndarray,
    faces: np.ndarray,
    texels: int = 96,
) -> ShadowMap:
    """Splats the vertices of people, `clouds` of (n, 3), and draws furniture, points (m, 3), faces (f, 3), in world."""
    toward = direction / np.linalg.norm(direction)
    helper = np.array([1.0, 0.0, 0.0]) if abs(toward[0]) < 0.7 else np.array([0.0, 0.0, 1.0])
    up = cross(toward, helper)
    up /= np.linalg.norm(up)
    axes = np.array([cross(up, toward), up, toward], np.float32)
    scale = texels / side_m
    nearest = np.full((texels, texels), FAR_BELOW, np.float32)
    if len(faces):  # a distant lamp sees furniture as a camera does
        seen = (things - centre) @ axes.T
        seen[:, 2] = LAMP_M - seen[:, 2]
        inverse, ids = buffers(texels, texels)
        middle_px = np.full(2, texels / 2 - 0.5)
        rasterise(seen.astype(np.float32), faces, 0, scale * LAMP_M, middle_px, inverse, ids, True)
        nearest[ids >= 0] = LAMP_M - 1 / inverse[ids >= 0]
    middle = np.ascontiguousarray(centre, np.float32)
    for cloud in clouds:
        _splat(cloud, axes, middle, scale, nearest)
    cover = (nearest > FAR_BELOW / 2).astype(np.float32)
    sigma = max(0.6, softness_m * scale)
    cover = cv2.GaussianBlur(cover, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
    return ShadowMap(axes, middle, float(scale), nearest, cover)


@njit(**FAST)
def _splat(points, axes, centre, scale, nearest):
    side = nearest.shape[0]
    half = side * 0.5
    for i in range(points.shape[0]):
        x, y, z = points[i, 0] - centre[0], points[i, 1] - centre[1], points[i, 2] - centre[2]
        u = math.floor((axes[0, 0] * x + axes[0, 1] * y + axes[0, 2] * z) * scale + half)
        v = math.floor((axes[1, 0] * x + axes[1, 1] * y + axes[1, 2] * z) * scale + half)
        near = axes[2, 0] * x + axes[2, 1] * y + axes[2, 2] * z
        if 0 <= u < side - 1 and 0 <= v < side - 1:
            for j in range(2):
                for k in range(2):
                    nearest[v + j, u + k] = max(nearest[v + j, u + k], near)


@njit(**FAST)
def shaded_by(nearest, axes, centre, scale, x, y, z, bias):
    """The share 0..1 (float32) of light that nearer surfaces block at the point (x, y, z), over 2 x 2 texels."""
    side = nearest.shape[0]
    x, y, z = x - centre[0], y - centre[1], z - centre[2]
    scale, middle = np.float32(scale), np.float32(side * 0.5 - 0.5)
    u = (axes[0, 0] * x + axes[0, 1] * y + axes[0, 2] * z) * scale + middle
    v = (axes[1, 0] * x + axes[1, 1] * y + axes[1, 2] * z) * scale + middle
    near = axes[2, 0] * x + axes[2, 1] * y + axes[2, 2] * z + np.float32(bias)
    i, j = math.floor(v), math.floor(u)
    share, one = np.float32(0), np.float32(1)
    if i < 0 or j < 0 or i >= side - 1 or j >= side - 1:
        return share
    s, t = v - np.float32(i), u - np.float32(j)
    if nearest[i, j] > near:
        share += (one - s) * (one - t)
    if nearest[i, j + 1] > near:
        share += (one - s) * t
    if nearest[i + 1, j] > near:
        share += s * (one - t)
    if nearest[i + 1, j + 1] > near:
        share += s * t
    return share


@njit(**FAST)
def covered(cover, axes, centre, scale, x, y, z):
    """The softened shadow 0..1 at a point of floor or wall."""
    side = cover.shape[0]
    x, y, z = x - centre[0], y - centre[1], z - centre[2]
    u = (axes[0, 0] * x + axes[0, 1] * y + axes[0, 2] * z) * scale + side * 0.5 - 0.5
    v = (axes[1, 0] * x + axes[1, 1] * y + axes[1, 2] * z) * scale + side * 0.5 - 0.5
    i, j = math.floor(v), math.floor(u)
    if i < 0 or j < 0 or i >= side - 1 or j >= side - 1:
        return 0.0
    s, t = v - i, u - j
    low = cover[i, j] * (1 - t) + cover[i, j + 1] * t
    high = cover[i + 1, j] * (1 - t) + cover[i + 1, j + 1] * t
    return low * (1 - s) + high * s
