"""A z-buffer rasteriser in numba: draws triangle meshes into id and depth buffers.

A mesh is drawn into two buffers, which hold the nearest triangle of each pixel and its inverse depth. Colours are
computed afterwards, once per visible pixel (`barycentric` gives the point on the triangle that a pixel shows). Cameras
follow OpenCV, pixel centres are at integer coordinates, and only triangles whose corners run counter-clockwise as seen
from the camera are drawn.
"""

import math
from typing import Any

import numpy as np

from refit_rt.compiler import njit

# A division by zero raises no exception (it is checked where it can happen), and other threads run meanwhile.
FAST: dict[str, Any] = {"fastmath": True, "nogil": True, "error_model": "numpy"}
NEAR_M = 0.05  # geometry closer than this to the camera's plane is clipped
SLACK = 1e-7  # pixels on a shared edge belong to both triangles, so that no gaps appear


def buffers(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Empty (height, width) buffers: inverse depth float32, 0 = infinitely far; triangle ids int32, -1 = none."""
    return np.zeros((height, width), np.float32), np.full((height, width), -1, np.int32)


@njit(nogil=True, fastmath=True)
def rasterise(points, faces, first_id, focal_px, centre_px, inverse_depth, ids, two_sided):
    """Draws a mesh into the buffers of a camera.

    points (V, 3) float32, camera frame, metres; faces (F, 3) int32; focal_px and centre_px (2,) describe the camera of
    the buffers; inverse_depth and ids (height, width), as `buffers` makes them, are written to: triangle f gets the id
    first_id + f. two_sided: back faces are drawn as well.
    """
    count = points.shape[0]
    screen = np.empty((count, 3), np.float32)  # x, y, 1/z
    for i in range(count):
        z = points[i, 2]
        inverse = 1.0 / z if z > NEAR_M else 0.0
        screen[i, 0] = points[i, 0] * inverse * focal_px + centre_px[0]
        screen[i, 1] = points[i, 1] * inverse * focal_px + centre_px[1]
        screen[i, 2] = inverse
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        za, zb, zc = screen[a, 2], screen[b, 2], screen[c, 2]
        if za > 0 and zb > 0 and zc > 0:
            xa, ya, xb, yb, xc, yc = (
                screen[a, 0],
                screen[a, 1],
                screen[b, 0],
                screen[b, 1],
                screen[c, 0],
                screen[c, 1],
            )
            _fill(xa, ya, za, xb, yb, zb, xc, yc, zc, first_id + f, inverse_depth, ids, two_sided)
        elif za > 0 or zb > 0 or zc > 0:
            _fill_clipped(points, a, b, c, first_id + f, focal_px, centre_px, inverse_depth, ids, two_sided)


@njit(nogil=True, fastmath=True)
def _fill(xa, ya, za, xb, yb, zb, xc, yc, zc, identity, inverse_depth, ids, two_sided):
    """Draws one triangle in screen coordinates; za, zb, zc are inverse depths."""
    height, width = ids.shape
    left, right = max(0.0, math.ceil(min(xa, xb, xc))), min(width - 1.0, math.floor(max(xa, xb, xc)))
    top, bottom = max(0.0, math.ceil(min(ya, yb, yc))), min(height - 1.0, math.floor(max(ya, yb, yc)))
    if left > right or top > bottom:
        return
    # A negative area is the front, because the y axis points down.
    area = (xb - xa) * (yc - ya) - (xc - xa) * (yb - ya)
    if area == 0 or (area > 0 and not two_sided):
        return
    inverse_area = 1.0 / area
    step_a, step_b = (yb - yc) * inverse_area, (yc - ya) * inverse_area
    for y in range(int(top), int(bottom) + 1):
        wa = ((xb - left) * (yc - y) - (xc - left) * (yb - y)) * inverse_area
        wb = ((xc - left) * (ya - y) - (xa - left) * (yc - y)) * inverse_area
        for x in range(int(left), int(right) + 1):
            wc = 1.0 - wa - wb
            if wa >= -SLACK and wb >= -SLACK and wc >= -SLACK:
                depth = wa * za + wb * zb + wc * zc
                if depth > inverse_depth[y, x]:
                    inverse_depth[y, x] = depth
                    ids[y, x] = identity
            wa += step_a
            wb += step_b


@njit(nogil=True, fastmath=True)
def _fill_clipped(points, a, b, c, identity, focal_px, centre_px, inverse_depth, ids, two_sided):
    """Draws the part of a triangle beyond the near plane, which it crosses, as one or two triangles."""
    corners = (a, b, c)
    polygon = np.empty((4, 3))
    kept = 0
    for i in range(3):
        here, there = corners[i], corners[(i + 1) % 3]
        depth, next_depth = points[here, 2], points[there, 2]
        if depth > NEAR_M:
            for k in range(3):
                polygon[kept, k] = points[here, k]
            kept += 1
        if (depth > NEAR_M) != (next_depth > NEAR_M):
            share = (NEAR_M - depth) / (next_depth - depth)
            for k in range(3):
                polygon[kept, k] = points[here, k] + share * (points[there, k] - points[here, k])
            kept += 1
    for i in range(kept):
        polygon[i, 2] = 1.0 / polygon[i, 2]
        polygon[i, 0] = polygon[i, 0] * polygon[i, 2] * focal_px + centre_px[0]
        polygon[i, 1] = polygon[i, 1] * polygon[i, 2] * focal_px + centre_px[1]
    p = polygon
    for i in range(2, kept):
        _fill(
            p[0, 0],
            p[0, 1],
            p[0, 2],
            p[i - 1, 0],
            p[i - 1, 1],
            p[i - 1, 2],
            p[i, 0],
            p[i, 1],
            p[i, 2],
            identity,
            inverse_depth,
            ids,
            two_sided,
        )


@njit(nogil=True, fastmath=True)
def barycentric(points, a, b, c, ray_x, ray_y):
    """The weights of corners a, b, c where the ray (ray_x, ray_y, 1) meets the triangle's plane (Cramer's rule)."""
    ax, ay, az = points[a, 0], points[a, 1], points[a, 2]
    bx, by, bz = points[b, 0], points[b, 1], points[b, 2]
    cx, cy, cz = points[c, 0], points[c, 1], points[c, 2]
    wa = ray_x * (by * cz - bz * cy) + ray_y * (bz * cx - bx * cz) + (bx * cy - by * cx)
    wb = ray_x * (cy * az - cz * ay) + ray_y * (cz * ax - cx * az) + (cx * ay - cy * ax)
    wc = ray_x * (ay * bz - az * by) + ray_y * (az * bx - ax * bz) + (ax * by - ay * bx)
    total = wa + wb + wc
    if total == 0:
        return 1.0 / 3, 1.0 / 3, 1.0 / 3
    inverse = 1.0 / total
    return wa * inverse, wb * inverse, wc * inverse


@njit(nogil=True, fastmath=True)
def vertex_normals(points, faces):
    """points (V, 3), faces (F, 3) counter-clockwise from outside -> unit normals (V, 3) float32, weighted by area."""
    normals = np.zeros((points.shape[0], 3), np.float32)
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ux, uy, uz = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
        vx, vy, vz = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1], points[c, 2] - points[a, 2]
        x, y, z = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for i in (a, b, c):
            normals[i, 0] += x
            normals[i, 1] += y
            normals[i, 2] += z
    for i in range(normals.shape[0]):
        x, y, z = normals[i, 0], normals[i, 1], normals[i, 2]
        inverse = 1.0 / math.sqrt(x * x + y * y + z * z + 1e-20)
        normals[i, 0], normals[i, 1], normals[i, 2] = x * inverse, y * inverse, z * inverse
    return normals
