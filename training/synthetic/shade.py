"""Colour of every visible pixel of people and things, in linear light (numba)."""

import math

import numba
import numpy as np

from refit_rt.raster import barycentric
from training.synthetic import cloth
from training.synthetic.light import shaded_by


@numba.njit(cache=True, fastmath=True)
def ambient_of(ambient, x, y, z, out):
    """Light of the ambient cube (6, 3) on a surface with unit normal (x, y, z); out (3,) is written to."""
    a, b, c = 0 if x > 0 else 1, 2 if y > 0 else 3, 4 if z > 0 else 5
    for k in range(3):
        out[k] = x * x * ambient[a, k] + y * y * ambient[b, k] + z * z * ambient[c, k]


@numba.njit(cache=True, fastmath=True)
def shade_person(ids, first, last, seen, world, normals, faces, coordinates, cuts, fabric, tile, noise,
                 camera_place, focal_px, centre_px, ambient, directions, colours, key, sky, occlusion,
                 out):  # fmt: skip
    """Fills `out` (height, width, 3) float32 where ids lie in first..last - 1.

    seen, world (V, 3): the vertices in the camera's and the world's frame; normals (V, 3) in the world's; faces (F, 3);
    coordinates (V, 6), cuts, fabric, tile: an Outfit; key, sky: (nearest, axes, centre, texels per metre) of the two
    shadow maps, of the first lamp and of the sky.
    """
    a_noise, b_noise, light = np.empty(4, np.float32), np.empty(4, np.float32), np.empty(3, np.float32)
    at, rest, normal = np.empty(3, np.float32), np.empty(5, np.float32), np.empty(3, np.float32)
    colour = np.empty(3, np.float32)
    for py in range(ids.shape[0]):
        for px in range(ids.shape[1]):
            identity = ids[py, px]
            if identity < first or identity >= last:
                continue
            face = identity - first
            a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
            wa, wb, wc = barycentric(
                seen, a, b, c, (px - centre_px[0]) / focal_px, (py - centre_px[1]) / focal_px
            )  # fmt: skip
            for k in range(3):
                at[k] = wa * world[a, k] + wb * world[b, k] + wc * world[c, k]
                normal[k] = wa * normals[a, k] + wb * normals[b, k] + wc * normals[c, k]
            for k in range(5):
                rest[k] = wa * coordinates[a, k] + wb * coordinates[b, k] + wc * coordinates[c, k]
            kind = coordinates[a, 5]
            x, y, z = rest[0], rest[1], rest[2]
            cloth.sample_noise(noise, x * 45 + 7, y * 45 + 3, z * 45 + 11, a_noise)
            layer = cloth.layer_at(kind, x, y, z, rest[3], rest[4], cuts, a_noise[0])
            row = fabric[layer]
            bump = row[cloth.BUMP]
            fine = row[cloth.BUMP_FREQUENCY]
            if layer == cloth.TROUSERS or layer == cloth.SKIRT:
                cloth.sample_noise(noise, x * fine, y * fine * 0.45, z * fine, b_noise)
            elif layer == cloth.HAIR:
                cloth.sample_noise(noise, x * fine, y * fine * 0.25, z * fine, b_noise)
            else:
                cloth.sample_noise(noise, x * fine * 0.6, y * fine * 0.8, z * fine * 0.8, b_noise)
            share = cloth.pattern_at(row, x, y, z, a_noise[1] * 0.4 + b_noise[0], tile)
            if int(row[cloth.PATTERN]) == cloth.LOGO and z > 0.02:
                u, v = (
                    (x - cuts[cloth.LOGO_X]) / cuts[cloth.LOGO_SIZE],
                    (y - cuts[cloth.LOGO_Y]) / cuts[cloth.LOGO_SIZE],
                )
                if abs(u) < 1 and abs(v) < 0.7:
                    share = tile[int((u + 1) * 7.9), int((v + 1) * 7.9)]
            frequency = row[cloth.GRAIN_FREQUENCY]
            grain = cloth.nearest_noise(noise, x * frequency, y * frequency, z * frequency)
            gain = 1 + row[cloth.GRAIN] * (0.6 * grain + 0.5 * b_noise[0])
            for k in range(3):
                colour[k] = (row[k] * (1 - share) + row[cloth.RED2 + k] * share) * max(gain, 0.1)
            if kind == cloth.EYE:
                _eye(x, y, cuts, colour)
            # light
            vx, vy, vz = camera_place[0] - at[0], camera_place[1] - at[1], camera_place[2] - at[2]
            inverse = 1 / math.sqrt(vx * vx + vy * vy + vz * vz + 1e-9)
            vx, vy, vz = vx * inverse, vy * inverse, vz * inverse
            if kind >= cloth.HAIR_SHELL and normal[0] * vx + normal[1] * vy + normal[2] * vz < 0:
                normal[0], normal[1], normal[2] = -normal[0], -normal[1], -normal[2]  # the inside of a shell
                gain = 0.55
            else:
                gain = 1.0
            nx = normal[0] + bump * b_noise[1]
            ny = normal[1] + bump * b_noise[2]
            nz = normal[2] + bump * b_noise[3]
            inverse = 1 / math.sqrt(nx * nx + ny * ny + nz * nz + 1e-9)
            nx, ny, nz = nx * inverse, ny * inverse, nz * inverse
            ambient_of(ambient, nx, ny, nz, light)
            dark = gain * (1 - occlusion * shaded_by(sky[0], sky[1], sky[2], sky[3], at[0], at[1], at[2], 0.06))
            gloss = row[cloth.GLOSS]
            grazing = 1 - max(nx * vx + ny * vy + nz * vz, 0.0)
            shine = gloss * 0.8 * grazing * grazing * grazing
            for k in range(3):
                light[k] *= dark
            sr, sg, sb = light[0] * shine, light[1] * shine, light[2] * shine
            for lamp in range(directions.shape[0]):
                lx, ly, lz = directions[lamp, 0], directions[lamp, 1], directions[lamp, 2]
                facing = nx * lx + ny * ly + nz * lz
                if facing <= -0.1:
                    continue
                facing = (facing + 0.1) / 1.1 * gain
                if lamp == 0:
                    facing *= 1 - shaded_by(key[0], key[1], key[2], key[3], at[0], at[1], at[2], 0.05)
                hx, hy, hz = lx + vx, ly + vy, lz + vz
                inverse = 1 / math.sqrt(hx * hx + hy * hy + hz * hz + 1e-9)
                spot = max((nx * hx + ny * hy + nz * hz) * inverse, 0.0)
                spot *= spot
                spot *= spot
                spot *= spot
                spot = gloss * spot * spot * facing * 0.9
                light[0] += facing * colours[lamp, 0]
                light[1] += facing * colours[lamp, 1]
                light[2] += facing * colours[lamp, 2]
                sr += spot * colours[lamp, 0]
                sg += spot * colours[lamp, 1]
                sb += spot * colours[lamp, 2]
            out[py, px, 0] = colour[0] * light[0] + sr
            out[py, px, 1] = colour[1] * light[1] + sg
            out[py, px, 2] = colour[2] * light[2] + sb


@numba.njit(cache=True, fastmath=True)
def _eye(x, y, cuts, colour):
    """White, iris, pupil."""
    dx, dy = abs(x) - cuts[cloth.EYE_X], y - cuts[cloth.EYE_Y]
    radius = math.sqrt(dx * dx + dy * dy)
    for k in range(3):
        colour[k] = 0.62 if radius > 0.0062 else (cuts[cloth.IRIS_R + k] if radius > 0.0028 else 0.01)


@numba.njit(cache=True, fastmath=True)
def shade_things(ids, first, last, seen, world, faces, face_normals, face_colours, face_textures, uv, textures,
                 to_linear, noise, focal_px, centre_px, ambient, directions, colours, key, sky, occlusion,
                 out):  # fmt: skip
    """Furniture: flat faces with a texture each. face_normals (F, 3) world; face_colours (F, 3); face_textures (F,)
    index into textures (n, side, side, 3) uint8 or -1; uv (V, 2) in texture sides. The rest as for `shade_person`."""
    light = np.empty(3, np.float32)
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
            dark = 1 - occlusion * shaded_by(sky[0], sky[1], sky[2], sky[3], x, y, z, 0.04)
            dark *= 1 - 0.35 * math.exp(-max(y, 0.0) * 9)  # near the floor
            for k in range(3):
                light[k] *= dark
            for lamp in range(directions.shape[0]):
                facing = nx * directions[lamp, 0] + ny * directions[lamp, 1] + nz * directions[lamp, 2]
                if facing > 0:
                    if lamp == 0:
                        facing *= 1 - shaded_by(key[0], key[1], key[2], key[3], x, y, z, 0.06)
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


@numba.njit(cache=True, fastmath=True)
def develop(linear, gains, curve, out):
    """Linear light (height, width, 3) float32 -> uint8 through `curve` (4096,) after exposure gains (3,)."""
    for y in range(linear.shape[0]):
        for x in range(linear.shape[1]):
            for k in range(3):
                value = linear[y, x, k] * gains[k]
                value = value / (1 + 0.25 * value) * 1.25  # highlights roll off; 1 stays 1
                index = int(value * 4095)
                out[y, x, k] = curve[min(max(index, 0), 4095)]
