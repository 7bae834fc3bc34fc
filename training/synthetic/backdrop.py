"""Draws the backdrop behind people and furniture: rooms, streets, panoramas, photos (numba)."""

import math

import numpy as np

from refit_rt.compiler import njit
from refit_rt.draw.raster import FAST
from training.synthetic.light import covered
from training.synthetic.shade import ambient_of


@njit(**FAST)
def draw_room(
    world_from_camera,
    place,
    focal_px,
    centre_px,
    low,
    high,
    turn,
    pictures,
    stretch,
    tints,
    textures,
    to_linear,
    open_sky,
    ambient,
    directions,
    colours,
    key,
    sky,
    occlusion,
    out,
):
    """Draws the inside of a box, low..high (3,) in a frame turned by `turn` (cos, sin) about y, into `out` (h, w, 3).

    pictures (6,) index into textures for the sides -x, +x, -y (floor), +y, -z, +z; stretch (6, 2) pictures per metre,
    or 0 for one picture over the whole side; tints (6, 3); open_sky (2, 3) zenith and horizon instead of a ceiling, or
    negative; key, sky: (cover, axes, centre, texels per metre) of the softened shadows.
    """
    height, width = out.shape[:2]
    side = textures.shape[1]
    cos, sin = turn
    steady, keyed = _light_of_sides(cos, sin, ambient, directions, colours, tints)
    turned = np.empty((3, 3), np.float32)  # room from camera
    for k in range(3):
        turned[0, k] = cos * world_from_camera[0, k] - sin * world_from_camera[2, k]
        turned[1, k] = world_from_camera[1, k]
        turned[2, k] = sin * world_from_camera[0, k] + cos * world_from_camera[2, k]
    ox, oy, oz = cos * place[0] - sin * place[2], place[1], sin * place[0] + cos * place[2]
    inverse_focal = 1.0 / focal_px
    key_map, key_axes, key_centre, key_scale = key
    sky_map, sky_axes, sky_centre, sky_scale = sky
    for py in range(height):
        for px in range(width):
            rx, ry = (px - centre_px[0]) * inverse_focal, (py - centre_px[1]) * inverse_focal
            x = turned[0, 0] * rx + turned[0, 1] * ry + turned[0, 2]
            y = turned[1, 0] * rx + turned[1, 1] * ry + turned[1, 2]
            z = turned[2, 0] * rx + turned[2, 1] * ry + turned[2, 2]
            reach_x = ((high[0] if x > 0 else low[0]) - ox) / x if x != 0 else 1e9
            reach_y = ((high[1] if y > 0 else low[1]) - oy) / y if y != 0 else 1e9
            reach_z = ((high[2] if z > 0 else low[2]) - oz) / z if z != 0 else 1e9
            reach = min(reach_x, reach_y, reach_z)
            hx, hy, hz = ox + reach * x, oy + reach * y, oz + reach * z
            ex, ey, ez = hx - low[0], hy - low[1], hz - low[2]
            fx, fy, fz = high[0] - hx, high[1] - hy, high[2] - hz
            if reach == reach_y:
                face = 3 if y > 0 else 2
                u, v, us, vs = ex, ez, ex + fx, ez + fz
                edge = min(ex, fx, ez, fz)
            elif reach == reach_x:
                face = 1 if x > 0 else 0
                u, v, us, vs = ez, fy, ez + fz, ey + fy
                edge = min(ez, fz, ey)
            else:
                face = 5 if z > 0 else 4
                u, v, us, vs = ex, fy, ex + fx, ey + fy
                edge = min(ex, fx, ey)
            if face == 3 and open_sky[0, 0] >= 0:
                share = y / math.sqrt(x * x + y * y + z * z)
                for k in range(3):
                    out[py, px, k] = open_sky[0, k] * share + open_sky[1, k] * (1 - share)
                continue
            u = u * stretch[face, 0] if stretch[face, 0] > 0 else u / us * 0.998
            v = v * stretch[face, 1] if stretch[face, 1] > 0 else v / vs * 0.998
            u, v = u * side - 0.5, v * side - 0.5
            j, i = math.floor(u), math.floor(v)
            s, t = np.float32(u - j), np.float32(v - i)
            j0, i0, j1, i1 = j & (side - 1), i & (side - 1), (j + 1) & (side - 1), (i + 1) & (side - 1)
            gx, gz = cos * hx + sin * hz, -sin * hx + cos * hz  # back in the world
            dark = 1 - occlusion * (1.0 if face == 2 else 0.4) * covered(
                sky_map, sky_axes, sky_centre, sky_scale, gx, hy, gz
            )
            dark *= 1 - 0.4 / (1 + 5 * edge) ** 2
            lit = 1 - covered(key_map, key_axes, key_centre, key_scale, gx, hy, gz)
            picture = pictures[face]
            for k in range(3):
                top = textures[picture, i0, j0, k] * (1 - s) + textures[picture, i0, j1, k] * s
                bottom = textures[picture, i1, j0, k] * (1 - s) + textures[picture, i1, j1, k] * s
                value = to_linear[int(top * (1 - t) + bottom * t + np.float32(0.5))]
                out[py, px, k] = value * (steady[face, k] * dark + keyed[face, k] * lit)


@njit(**FAST)
def _light_of_sides(cos, sin, ambient, directions, colours, tints):
    """Light (6, 3) on the sides of a room without the first lamp, and from the first lamp alone; both times tints."""
    steady, keyed = np.zeros((6, 3), np.float32), np.zeros((6, 3), np.float32)
    light = np.empty(3, np.float32)
    for face in range(6):
        axis, sign = face // 2, -1.0 if face % 2 else 1.0
        nx, ny, nz = 0.0, 0.0, 0.0
        if axis == 0:
            nx, nz = cos * sign, -sin * sign
        elif axis == 1:
            ny = sign
        else:
            nx, nz = sin * sign, cos * sign
        ambient_of(ambient, nx, ny, nz, light)
        for k in range(3):
            steady[face, k] = light[k] * tints[face, k]
        for lamp in range(directions.shape[0]):
            facing = nx * directions[lamp, 0] + ny * directions[lamp, 1] + nz * directions[lamp, 2]
            if facing > 0:
                for k in range(3):
                    gain = facing * colours[lamp, k] * tints[face, k]
                    if lamp == 0:
                        keyed[face, k] += gain
                    else:
                        steady[face, k] += gain
    return steady, keyed


@njit(**FAST)
def _arctan2(y, x):
    """atan2 with an error below 0.0003 radians."""
    ax, ay = abs(x), abs(y)
    ratio = min(ax, ay) / (max(ax, ay) + 1e-12)
    square = ratio * ratio
    angle = ((-0.0464964749 * square + 0.15931422) * square - 0.327622764) * square * ratio + ratio
    if ay > ax:
        angle = 1.5707963 - angle
    if x < 0:
        angle = 3.14159265 - angle
    return -angle if y < 0 else angle


@njit(**FAST)
def draw_panorama(world_from_camera, place, focal_px, centre_px, panorama, yaw, scale, key, sky, strength, out):
    """Draws an equirectangular picture (h, w, 3) uint16 of the root of light, at infinity, with shadows on y = 0."""
    height, width = out.shape[:2]
    rows, columns = panorama.shape[0], panorama.shape[1]
    inverse_focal = 1.0 / focal_px
    key_map, key_axes, key_centre, key_scale = key
    sky_map, sky_axes, sky_centre, sky_scale = sky
    for py in range(height):
        for px in range(width):
            rx, ry = (px - centre_px[0]) * inverse_focal, (py - centre_px[1]) * inverse_focal
            x = world_from_camera[0, 0] * rx + world_from_camera[0, 1] * ry + world_from_camera[0, 2]
            y = world_from_camera[1, 0] * rx + world_from_camera[1, 1] * ry + world_from_camera[1, 2]
            z = world_from_camera[2, 0] * rx + world_from_camera[2, 1] * ry + world_from_camera[2, 2]
            u = (_arctan2(x, z) + yaw) * (columns / 6.2831853)
            v = (1.5707963 - _arctan2(y, math.sqrt(x * x + z * z))) * (rows / 3.14159265) - 0.5
            j, i = math.floor(u), math.floor(v)
            s, t = np.float32(u - j), np.float32(v - i)
            j0, j1 = j % columns, (j + 1) % columns
            i0, i1 = min(max(i, 0), rows - 1), min(max(i + 1, 0), rows - 1)
            dark = 1.0
            if y < -0.02:
                reach = -place[1] / y
                gx, gz = place[0] + reach * x, place[2] + reach * z
                dark -= strength * covered(key_map, key_axes, key_centre, key_scale, gx, 0.0, gz)
                dark *= 1 - 0.5 * covered(sky_map, sky_axes, sky_centre, sky_scale, gx, 0.0, gz)
            for k in range(3):
                top = panorama[i0, j0, k] * (1 - s) + panorama[i0, j1, k] * s
                low = panorama[i1, j0, k] * (1 - s) + panorama[i1, j1, k] * s
                root = (top * (1 - t) + low * t) * scale
                out[py, px, k] = root * root * dark
