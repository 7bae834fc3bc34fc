"""Shades every visible pixel of people and furniture in linear light (numba)."""

import math

import numpy as np

from refit_rt.compiler import njit
from refit_rt.draw.raster import FAST, barycentric
from training.synthetic import cloth
from training.synthetic.light import shaded_by

# Single precision throughout: a double in the middle of an expression doubles the time of its roots and divisions.
ZERO, ONE, TINY = np.float32(0), np.float32(1), np.float32(1e-9)
SHEEN = np.float32(0.85)  # of a gloss of 1, at grazing angles and in highlights
WRAP = np.float32(0.1)  # light wraps slightly around edges: cloth and skin are soft


@njit(**FAST)
def ambient_of(ambient, x, y, z, out):
    """Writes the light of the ambient cube (6, 3) on a surface with unit normal (x, y, z) to out (3,)."""
    a, b, c = 0 if x > 0 else 1, 2 if y > 0 else 3, 4 if z > 0 else 5
    for k in range(3):
        out[k] = x * x * ambient[a, k] + y * y * ambient[b, k] + z * z * ambient[c, k]


@njit(**FAST)
def shade_person(
    ids,
    first,
    last,
    seen,
    world,
    normals,
    faces,
    coordinates,
    cuts,
    fabric,
    tile,
    noise,
    camera_place,
    focal_px,
    centre_px,
    ambient,
    directions,
    colours,
    key,
    sky,
    occlusion,
    out,
):
    """Shades a person: fills `out` (height, width, 3) float32 where ids lie in first..last - 1.

    seen, world (V, 3): the vertices in the camera's and the world's frame; normals (V, 3) in the world's; faces (F, 3);
    coordinates (V, 6), cuts, fabric, tile: an Outfit; key, sky: (nearest, axes, centre, texels per metre) of the two
    shadow maps, of the first lamp and of the sky.
    """
    folds, light = np.empty(4, np.float32), np.empty(3, np.float32)
    at, rest, normal = np.empty(3, np.float32), np.empty(6, np.float32), np.empty(3, np.float32)
    eye, colour = np.empty(3, np.float32), np.empty(3, np.float32)
    key_map, key_axes, key_centre, key_scale = (
        key  # outside the loop: each access to a tuple of arrays counts references
    )
    sky_map, sky_axes, sky_centre, sky_scale = sky
    for py in range(ids.shape[0]):
        for px in range(ids.shape[1]):
            identity = ids[py, px]
            if identity < first or identity >= last:
                continue
            face = identity - first
            a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
            ray_x, ray_y = (px - centre_px[0]) / focal_px, (py - centre_px[1]) / focal_px
            wa, wb, wc = barycentric(seen, a, b, c, ray_x, ray_y)
            for k in range(3):
                at[k] = wa * world[a, k] + wb * world[b, k] + wc * world[c, k]
                normal[k] = wa * normals[a, k] + wb * normals[b, k] + wc * normals[c, k]
                eye[k] = camera_place[k] - at[k]
            for k in range(5):
                rest[k] = wa * coordinates[a, k] + wb * coordinates[b, k] + wc * coordinates[c, k]
            rest[5] = coordinates[a, 5]
            layer = cloth.paint(rest, cuts, fabric, tile, noise, folds, colour)
            inside = ONE
            if rest[5] >= cloth.HAIR_SHELL and normal[0] * eye[0] + normal[1] * eye[1] + normal[2] * eye[2] < 0:
                normal[0], normal[1], normal[2] = -normal[0], -normal[1], -normal[2]  # the inside of a shell or garment
                inside = np.float32(0.55)
            for k in range(3):
                normal[k] += fabric[layer, cloth.BUMP] * folds[k + 1]
            dark = inside * np.float32(
                1 - occlusion * shaded_by(sky_map, sky_axes, sky_centre, sky_scale, at[0], at[1], at[2], 0.06)
            )
            lamp = inside
            if normal[0] * directions[0, 0] + normal[1] * directions[0, 1] + normal[2] * directions[0, 2] > -0.3:
                lamp *= np.float32(1) - shaded_by(key_map, key_axes, key_centre, key_scale, at[0], at[1], at[2], 0.05)
            _light_up(
                normal, eye, colour, fabric[layer, cloth.GLOSS], ambient, dark, directions, colours, lamp, inside, light
            )
            for k in range(3):
                out[py, px, k] = light[k]


@njit(**FAST)
def _unit(x, y, z):
    inverse = ONE / math.sqrt(x * x + y * y + z * z + TINY)
    return x * inverse, y * inverse, z * inverse


@njit(**FAST)
def _light_up(normal, eye, colour, gloss, ambient, dark, directions, colours, first_share, share, out):
    """Writes the light from a surface of a colour (3,) to out (3,): diffuse with a soft edge, and a gloss.

    normal, eye (3,) have any length; dark: share of the ambient light that arrives; first_share, share: the same for
    the first lamp and for the others.
    """
    nx, ny, nz = _unit(normal[0], normal[1], normal[2])
    vx, vy, vz = _unit(eye[0], eye[1], eye[2])
    ambient_of(ambient, nx, ny, nz, out)
    grazing = ONE - max(nx * vx + ny * vy + nz * vz, ZERO)
    shine = gloss * SHEEN * grazing * grazing * grazing
    for k in range(3):
        out[k] *= dark * (colour[k] + shine)
    for lamp in range(directions.shape[0]):
        lx, ly, lz = directions[lamp, 0], directions[lamp, 1], directions[lamp, 2]
        facing = (nx * lx + ny * ly + nz * lz + WRAP) / (ONE + WRAP)
        if facing <= ZERO:
            continue
        facing *= first_share if lamp == 0 else share
        hx, hy, hz = _unit(lx + vx, ly + vy, lz + vz)
        spot = max(nx * hx + ny * hy + nz * hz, ZERO)
        spot *= spot
        spot *= spot
        spot *= spot
        spot = gloss * SHEEN * spot * spot  # the 16th power
        for k in range(3):
            out[k] += facing * colours[lamp, k] * (colour[k] + spot)


@njit(**FAST)
def shade_things(
    ids,
    first,
    last,
    seen,
    world,
    faces,
    face_normals,
    face_colours,
    face_textures,
    uv,
    textures,
    to_linear,
    noise,
    focal_px,
    centre_px,
    ambient,
    directions,
    colours,
    key,
    sky,
    occlusion,
    out,
):
    """Shades furniture: flat faces with one texture each. face_normals (F, 3) world; face_colours (F, 3); face_textures
    (F,) index into textures (n, side, side, 3) uint8 or -1; uv (V, 2) in texture sides. The rest: `shade_person`."""
    light = np.empty(3, np.float32)
    key_map, key_axes, key_centre, key_scale = key
    sky_map, sky_axes, sky_centre, sky_scale = sky
    height, width = ids.shape
    side = textures.shape[1]
    for py in range(height):
        for px in range(width):
            identity = ids[py, px]
            if identity < first or identity >= last:
                continue
            face = identity - first
            a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
            wa, wb, wc = barycentric(seen, a, b, c, (px - centre_px[0]) / focal_px, (py - centre_px[1]) / focal_px)
            x = wa * world[a, 0] + wb * world[b, 0] + wc * world[c, 0]
            y = wa * world[a, 1] + wb * world[b, 1] + wc * world[c, 1]
            z = wa * world[a, 2] + wb * world[b, 2] + wc * world[c, 2]
            nx, ny, nz = face_normals[face, 0], face_normals[face, 1], face_normals[face, 2]
            ambient_of(ambient, nx, ny, nz, light)
            dark = 1 - occlusion * shaded_by(sky_map, sky_axes, sky_centre, sky_scale, x, y, z, 0.04)
            dark *= 1 - 0.35 * math.exp(-max(y, 0.0) * 9)  # near the floor
            for k in range(3):
                light[k] *= dark
            for lamp in range(directions.shape[0]):
                facing = nx * directions[lamp, 0] + ny * directions[lamp, 1] + nz * directions[lamp, 2]
                if facing > 0:
                    if lamp == 0:
                        facing *= 1 - shaded_by(key_map, key_axes, key_centre, key_scale, x, y, z, 0.06)
                    for k in range(3):
                        light[k] += facing * colours[lamp, k]
            texture = face_textures[face]
            gain = 1 + 0.12 * cloth.nearest_noise(noise, x * 30, y * 30, z * 30)
            if texture >= 0:
                u = wa * uv[a, 0] + wb * uv[b, 0] + wc * uv[c, 0]
                v = wa * uv[a, 1] + wb * uv[b, 1] + wc * uv[c, 1]
                i, j = math.floor(v * side) & (side - 1), math.floor(u * side) & (side - 1)
                for k in range(3):
                    out[py, px, k] = face_colours[face, k] * to_linear[textures[texture, i, j, k]] * light[k] * gain
            else:
                for k in range(3):
                    out[py, px, k] = face_colours[face, k] * light[k] * gain


@njit(**FAST)
def develop(linear, gains, curve, out):
    """Develops linear light (height, width, 3) float32 to uint8 with exposure gains (3,) and `curve` (4096,)."""
    for y in range(linear.shape[0]):
        for x in range(linear.shape[1]):
            for k in range(3):
                value = linear[y, x, k] * gains[k]
                value = value / (1 + 0.25 * value) * 1.25  # highlights roll off; 1 stays 1
                index = int(value * 4095)
                out[y, x, k] = curve[min(max(index, 0), 4095)]
