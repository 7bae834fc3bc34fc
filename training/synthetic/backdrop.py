"""What lies behind people and things: rooms, streets, panoramas, photos (numba)."""

import math

import numba
import numpy as np

from training.synthetic.light import covered
from training.synthetic.shade import ambient_of


@numba.njit(cache=True, fastmath=True)
def draw_room(ids, world_from_camera, place, focal_px, centre_px, low, high, turn, pictures, stretch, tints, textures,
              to_linear, open_sky, ambient, directions, colours, key, sky, occlusion, out):  # fmt: skip
    """The inside of a box, low..high (3,) in a frame turned by `turn` (cos, sin) about y, wherever ids are negative.

    pictures (6,) index into textures for the sides -x, +x, -y (floor), +y, -z, +z; stretch (6, 2) pictures a metre, or
    0 for one picture over the whole side; tints (6, 3); open_sky (2, 3) zenith and horizon colours instead of a ceiling,
    or negative; key, sky: (cover, axes, centre, texels per metre) of the softened shadows.
    """
    height, width = ids.shape
    side = textures.shape[1]
    light = np.empty(3, np.float32)
    cos, sin = turn
    ox, oz = cos * place[0] - sin * place[2], sin * place[0] + cos * place[2]
    origin = (ox, place[1], oz)
    for py in range(height):
        for px in range(width):
            if ids[py, px] >= 0:
                continue
            rx, ry = (px - centre_px[0]) / focal_px, (py - centre_px[1]) / focal_px
            wx = world_from_camera[0, 0] * rx + world_from_camera[0, 1] * ry + world_from_camera[0, 2]
            wy = world_from_camera[1, 0] * rx + world_from_camera[1, 1] * ry + world_from_camera[1, 2]
            wz = world_from_camera[2, 0] * rx + world_from_camera[2, 1] * ry + world_from_camera[2, 2]
            ray = (cos * wx - sin * wz, wy, sin * wx + cos * wz)
            best, axis = 1e9, 0
            for k in range(3):
                if ray[k] > 1e-9:
                    reach = (high[k] - origin[k]) / ray[k]
                elif ray[k] < -1e-9:
                    reach = (low[k] - origin[k]) / ray[k]
                else:
                    continue
                if reach < best:
                    best, axis = reach, k
            up = ray[axis] > 0
            face = axis * 2 + (1 if up else 0)
            if face == 3 and open_sky[0, 0] >= 0:
                share = min(max(wy / math.sqrt(wx * wx + wy * wy + wz * wz), 0.0), 1.0)
                for k in range(3):
                    out[py, px, k] = open_sky[0, k] * share + open_sky[1, k] * (1 - share)
                continue
            hx, hy, hz = origin[0] + best * ray[0], origin[1] + best * ray[1], origin[2] + best * ray[2]
            ex, ey, ez = hx - low[0], hy - low[1], hz - low[2]
            fx, fy, fz = high[0] - hx, high[1] - hy, high[2] - hz
            if axis == 0:
                u, v, us, vs = ez, fy, ez + fz, ey + fy
                edge = min(min(ez, fz), ey)
            elif axis == 1:
                u, v, us, vs = ex, ez, ex + fx, ez + fz
                edge = min(min(ex, fx), min(ez, fz))
            else:
                u, v, us, vs = ex, fy, ex + fx, ey + fy
                edge = min(min(ex, fx), ey)
            u = u * stretch[face, 0] if stretch[face, 0] > 0 else u / us * 0.998
            v = v * stretch[face, 1] if stretch[face, 1] > 0 else v / vs * 0.998
            u, v = u * side - 0.5, v * side - 0.5
            j, i = int(math.floor(u)), int(math.floor(v))
            s, t = np.float32(u - j), np.float32(v - i)
            j0, i0, j1, i1 = j & (side - 1), i & (side - 1), (j + 1) & (side - 1), (i + 1) & (side - 1)
            # world normal and place
            sign = -1.0 if up else 1.0
            nx, ny, nz = 0.0, 0.0, 0.0
            if axis == 0:
                nx, nz = cos * sign, -sin * sign
            elif axis == 1:
                ny = sign
            else:
                nx, nz = sin * sign, cos * sign
            gx, gy, gz = place[0] + best * wx, place[1] + best * wy, place[2] + best * wz
            ambient_of(ambient, nx, ny, nz, light)
            dark = (1 - 0.4 * math.exp(-edge * 4)) * (
                1 - occlusion * covered(sky[0], sky[1], sky[2], sky[3], gx, gy, gz) * (1.0 if axis == 1 else 0.4)
            )
            for k in range(3):
                light[k] *= dark
            for lamp in range(directions.shape[0]):
                facing = nx * directions[lamp, 0] + ny * directions[lamp, 1] + nz * directions[lamp, 2]
                if facing > 0:
                    if lamp == 0:
                        facing *= 1 - covered(key[0], key[1], key[2], key[3], gx, gy, gz)
                    for k in range(3):
                        light[k] += facing * colours[lamp, k]
            picture = pictures[face]
            for k in range(3):
                top = to_linear[textures[picture, i0, j0, k]] * (1 - s) + to_linear[textures[picture, i0, j1, k]] * s
                low_ = to_linear[textures[picture, i1, j0, k]] * (1 - s) + to_linear[textures[picture, i1, j1, k]] * s
                out[py, px, k] = (top * (1 - t) + low_ * t) * light[k] * tints[face, k]


@numba.njit(cache=True, fastmath=True, inline="always")
def _arctan2(y, x):
    """Within 0.0003 radians."""
    ax, ay = abs(x), abs(y)
    ratio = min(ax, ay) / (max(ax, ay) + 1e-12)
    square = ratio * ratio
    angle = ((-0.0464964749 * square + 0.15931422) * square - 0.327622764) * square * ratio + ratio
    if ay > ax:
        angle = 1.5707963 - angle
    if x < 0:
        angle = 3.14159265 - angle
    return -angle if y < 0 else angle


@numba.njit(cache=True, fastmath=True)
def draw_panorama(ids, world_from_camera, place, focal_px, centre_px, panorama, yaw, scale, key, sky, strength, out):
    """An equirectangular picture (h, w, 3) uint16 of the root of light, at infinity, with shadows on a floor y = 0."""
    height, width = ids.shape
    rows, columns = panorama.shape[0], panorama.shape[1]
    for py in range(height):
        for px in range(width):
            if ids[py, px] >= 0:
                continue
            rx, ry = (px - centre_px[0]) / focal_px, (py - centre_px[1]) / focal_px
            x = world_from_camera[0, 0] * rx + world_from_camera[0, 1] * ry + world_from_camera[0, 2]
            y = world_from_camera[1, 0] * rx + world_from_camera[1, 1] * ry + world_from_camera[1, 2]
            z = world_from_camera[2, 0] * rx + world_from_camera[2, 1] * ry + world_from_camera[2, 2]
            u = (_arctan2(x, z) + yaw) * (columns / 6.2831853)
            v = (1.5707963 - _arctan2(y, math.sqrt(x * x + z * z))) * (rows / 3.14159265) - 0.5
            j, i = int(math.floor(u)), int(math.floor(v))
            s, t = np.float32(u - j), np.float32(v - i)
            j0, j1 = j % columns, (j + 1) % columns
            i0, i1 = min(max(i, 0), rows - 1), min(max(i + 1, 0), rows - 1)
            dark = 1.0
            if y < -0.02:
                reach = -place[1] / y
                gx, gz = place[0] + reach * x, place[2] + reach * z
                dark -= strength * covered(key[0], key[1], key[2], key[3], gx, 0.0, gz)
                dark *= 1 - 0.5 * covered(sky[0], sky[1], sky[2], sky[3], gx, 0.0, gz)
            for k in range(3):
                top = panorama[i0, j0, k] * (1 - s) + panorama[i0, j1, k] * s
                low = panorama[i1, j0, k] * (1 - s) + panorama[i1, j1, k] * s
                root = (top * (1 - t) + low * t) * scale
                out[py, px, k] = root * root * dark


@numba.njit(cache=True, fastmath=True)
def draw_photo(ids, photo, to_linear, gain, out):
    """A photo (height, width, 3) uint8 of the crop's own size."""
    for py in range(ids.shape[0]):
        for px in range(ids.shape[1]):
            if ids[py, px] < 0:
                for k in range(3):
                    out[py, px, k] = to_linear[photo[py, px, k]] * gain
