"""Renders a scene and its people to linear light with the rasteriser and the shaders."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from refit_rt.draw.raster import buffers, rasterise
from training.synthetic import backdrop, scenes, shade
from training.synthetic.cameras import View
from training.synthetic.light import ShadowMap, shadow_map
from training.synthetic.people import Outfit
from training.synthetic.scenes import Panorama, Scene
from training.synthetic.textures import Textures

OUTSIDE = -3  # in the buffer of triangle ids: not part of the sensor's picture
SKY = np.array([0.02, 1.0, 0.01])  # the direction from which the whole sky's shadow is taken
SKY_SOFT_M = 0.25
SHADOW_SIDE_M = 3.6


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """A dressed person in the world."""

    outfit: Outfit
    points: np.ndarray  # (V, 3) float32 dressed surface, world
    normals: np.ndarray  # (V, 3) float32


@dataclass(frozen=True, slots=True, eq=False)
class Stock:
    """The textures, panoramas, noise and tables that all pictures share."""

    textures: Textures
    panoramas: list[Panorama]
    noise: np.ndarray  # of `cloth.noise_volume`
    to_linear: np.ndarray  # (256,) float32


def draw(
    scene: Scene,
    view: View,
    people: list[Person],
    focal_px: float,
    centre_px: np.ndarray,
    inside: np.ndarray,
    stock: Stock,
    coarse: int = 2,
    texels: int = 96,
    shadows: tuple[ShadowMap, ShadowMap] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Renders linear light (h, w, 3) float32, and the owner of each pixel (h, w) int32: 0, 1, … a person, -1 no person.

    focal_px and centre_px (2,) belong to the camera at `view`; only pixels where `inside` (h, w) is true are drawn.
    The backdrop is drawn at 1 / coarse of the size, as it is rarely in focus. texels: side of a shadow map.
    shadows: of the first lamp and of the sky; None: they are drawn around the first person.
    """
    inverse, ids = buffers(*inside.shape)
    first, starts, seen = 0, [], []
    for person in people:
        seen.append(view.to_camera(person.points))
        rasterise(seen[-1], person.outfit.faces, first, focal_px, centre_px, inverse, ids, False)
        starts.append(first)
        first += len(person.outfit.faces)
    things = scene.things
    seen_things = view.to_camera(things.points)
    rasterise(seen_things, things.faces, first, focal_px, centre_px, inverse, ids, False)
    ids[~inside] = OUTSIDE
    light = scene.light
    if shadows is None:
        shadows = shadows_of(scene, people, people[0].points[::16].mean(0), SHADOW_SIDE_M, texels)
    key, sky = shadows
    hard_key, hard_sky = (key.nearest, *key.place), (sky.nearest, *sky.place)
    soft_key, soft_sky = (key.cover, *key.place), (sky.cover, *sky.place)
    out = np.empty((*inside.shape, 3), np.float32)
    draw_backdrop(scene, view, focal_px, centre_px, soft_key, soft_sky, stock, coarse, out)
    lit = (light.ambient, light.directions, light.colours, hard_key, hard_sky, light.occlusion, out)
    owner = np.full(ids.shape, -1, np.int32)
    for number, (person, start, points) in enumerate(zip(people, starts, seen, strict=True)):
        outfit = person.outfit
        shade.shade_person(
            ids,
            start,
            start + len(outfit.faces),
            points,
            person.points,
            person.normals,
            outfit.faces,
            outfit.coordinates,
            outfit.cuts,
            outfit.fabric,
            outfit.print_tile,
            stock.noise,
            view.place,
            focal_px,
            centre_px,
            *lit,
        )
        owner[(ids >= start) & (ids < start + len(outfit.faces))] = number
    if len(things.faces):
        shade.shade_things(
            ids,
            first,
            first + len(things.faces),
            seen_things,
            things.points,
            things.faces,
            things.normals,
            things.colours,
            things.textures,
            things.uv,
            stock.textures.pictures,
            stock.to_linear,
            stock.noise,
            focal_px,
            centre_px,
            *lit,
        )
    return out, owner


def shadows_of(
    scene: Scene, people: list[Person], centre: np.ndarray, side_m: float, texels: int
) -> tuple[ShadowMap, ShadowMap]:
    """The shadows of the first lamp and of the sky in a square of side_m around `centre` (3,), texels wide."""
    light, things, clouds = scene.light, scene.things, [person.points for person in people]
    mesh = clouds, things.points, things.faces, texels
    key = shadow_map(light.directions[0], light.softness, centre, side_m, *mesh)
    return key, shadow_map(SKY, SKY_SOFT_M, centre, side_m, *mesh)


def draw_backdrop(
    scene: Scene, view: View, focal_px: float, centre_px, soft_key, soft_sky, stock: Stock, coarse: int, out
) -> None:
    """Draws the backdrop into `out` (h, w, 3); soft_key and soft_sky are the softened shadows."""
    height, width = out.shape[:2]
    light, small = scene.light, np.empty((height // coarse, width // coarse, 3), np.float32)
    camera = (
        np.ascontiguousarray(view.camera_from_world.T),
        view.place,
        focal_px / coarse,
        (centre_px + 0.5) / coarse - 0.5,
    )
    if scene.kind == scenes.ROOM:
        backdrop.draw_room(
            *camera,
            scene.low,
            scene.high,
            scene.turn,
            scene.pictures,
            scene.stretch,
            scene.tints,
            stock.textures.pictures,
            stock.to_linear,
            scene.open_sky,
            light.ambient,
            light.directions,
            light.colours,
            soft_key,
            soft_sky,
            light.occlusion,
            small,
        )
    elif scene.kind == scenes.PANORAMA:
        sun, sky = float(light.colours[0].mean()), float(light.ambient[2].mean())
        backdrop.draw_panorama(
            *camera,
            stock.panoramas[scene.panorama].root,
            scene.panorama_yaw,
            math.sqrt(scenes.PANORAMA_PEAK) / 65535,
            soft_key,
            soft_sky,
            sun / (sun + sky),
            small,
        )
    elif scene.photo is not None:
        photo = np.asarray(cv2.resize(scene.photo, (width // coarse, height // coarse)), np.uint8)
        small = stock.to_linear[photo] * np.float32(scene.gain)
    cv2.resize(small, (width, height), dst=out, interpolation=cv2.INTER_LINEAR)
