"""Draws bodies over images, and lays images out on a contact sheet."""

import math

import cv2
import numpy as np

from refit_rt.body.smpl import Body
from refit_rt.compiler import njit
from refit_rt.draw.raster import FAST, barycentric, buffers, rasterise, vertex_normals
from refit_rt.geometry import matrix_from_axis_angle
from refit_rt.types import People

OPACITY = 0.7
COLOURS_BGR = np.array(  # muted, and distinct for colour-blind viewers too (after Okabe and Ito)
    [
        [214, 170, 110],
        [120, 178, 235],
        [150, 190, 110],
        [200, 150, 205],
        [120, 205, 225],
        [190, 200, 150],
        [150, 140, 225],
        [205, 195, 190],
    ],
    np.float32,
)
# The direction towards the lamp in the camera frame: above the viewer's right shoulder.
LIGHT = np.array([0.25, -0.6, -0.76], np.float32)
LABEL_GAP_PX = 6


class Overlay:
    """Draws people over images of one size. It poses the body's surface itself, from the message alone."""

    def __init__(self, body: Body, size: tuple[int, int]) -> None:
        """size: width and height of the images; the people may be fitted in larger or smaller images."""
        self.body, self.size = body, size

    def draw(self, image_bgr: np.ndarray, people: People) -> np.ndarray:
        """image_bgr (height, width, 3) uint8 -> a copy with each person's mesh, id and confidence drawn over it."""
        out = image_bgr.copy()
        if len(people.ids) == 0:
            return out
        scale = self.size[0] / people.size[0]
        focal, centre = people.focal_px * scale, (np.array(people.centre_px) + 0.5) * scale - 0.5
        surfaces = [self._surface(people, i) for i in range(len(people.ids))]
        windows = [seen_window(points, focal, centre, self.size) for points in surfaces]
        left, top = np.min([w[:2] for w in windows], 0)
        right, bottom = np.max([w[2:] for w in windows], 0)
        if right <= left or bottom <= top:
            return out
        inverse, ids = buffers(bottom - top, right - left)
        shifted = centre - (left, top)
        for i, points in enumerate(surfaces):
            rasterise(points, self.body.faces, i * len(self.body.faces), focal, shifted, inverse, ids, False)
        part = out[top:bottom, left:right]
        for i, points in enumerate(surfaces):
            normals = vertex_normals(points, self.body.faces)
            window = np.array(windows[i]) - (left, top, left, top)
            colour = COLOURS_BGR[int(people.ids[i]) % len(COLOURS_BGR)]
            _paint(
                ids, i * len(self.body.faces), window, points, normals, self.body.faces, focal, shifted, colour, part
            )
        for i, window in enumerate(windows):
            self._label(out, window, int(people.ids[i]), float(people.confidence[i]))
        return out

    def _surface(self, people: People, person: int) -> np.ndarray:
        """The posed surface of one person: (V, 3) float32, camera frame, metres."""
        points = self.body.vertices(matrix_from_axis_angle(people.poses[person]), people.betas[person])
        return points + people.trans[person].astype(np.float32)

    def _label(self, image: np.ndarray, window: tuple[int, int, int, int], number: int, confidence: float) -> None:
        size = max(0.35, self.size[1] / 1400)
        text = f"{number}  {confidence:.2f}"
        (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
        x = int(np.clip((window[0] + window[2] - width) // 2, 4, max(self.size[0] - width - 4, 4)))
        y = int(np.clip(window[1] - LABEL_GAP_PX, height + 4, max(self.size[1] - 4, height + 4)))
        box = image[y - height - 4 : y + 4, x - 4 : x + width + 4]
        box[:] = (box * 0.35).astype(np.uint8)
        colour = tuple(float(c) for c in np.minimum(COLOURS_BGR[number % len(COLOURS_BGR)] * 1.15, 255))
        cv2.putText(image, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)


def seen_window(
    points: np.ndarray, focal_px: float, centre_px: np.ndarray, size: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the pixels that a surface (V, 3) may cover.

    right and bottom are exclusive. The window is the whole image when the surface reaches behind the camera.
    """
    if points[:, 2].min() < 0.1:
        return 0, 0, size[0], size[1]
    x = points[:, 0] / points[:, 2] * focal_px + centre_px[0]
    y = points[:, 1] / points[:, 2] * focal_px + centre_px[1]
    left, right = np.clip([math.floor(x.min()), math.ceil(x.max()) + 1], 0, size[0])
    top, bottom = np.clip([math.floor(y.min()), math.ceil(y.max()) + 1], 0, size[1])
    return int(left), int(top), int(right), int(bottom)


def contact_sheet(images: list[np.ndarray], columns: int) -> np.ndarray:
    """Lays images of one shape (h, w, 3) out row by row; empty places in the last row stay black."""
    height, width = images[0].shape[:2]
    rows = -(-len(images) // columns)
    sheet = np.zeros((rows * height, columns * width, 3), np.uint8)
    for i, image in enumerate(images):
        row, column = divmod(i, columns)
        sheet[row * height : (row + 1) * height, column * width : (column + 1) * width] = image
    return sheet


@njit(**FAST)
def _paint(ids, first, window, points, normals, faces, focal_px, centre_px, colour, image):
    """Blends the pixels of one body, whose ids start at `first`, over `image` (h, w, 3) uint8.

    The shading adds a lamp and light from the sky, and darkens the rims.
    """
    last = first + faces.shape[0]
    for y in range(window[1], window[3]):
        for x in range(window[0], window[2]):
            identity = ids[y, x]
            if identity < first or identity >= last:
                continue
            a, b, c = faces[identity - first, 0], faces[identity - first, 1], faces[identity - first, 2]
            ray_x, ray_y = (x - centre_px[0]) / focal_px, (y - centre_px[1]) / focal_px
            wa, wb, wc = barycentric(points, a, b, c, ray_x, ray_y)
            nx = wa * normals[a, 0] + wb * normals[b, 0] + wc * normals[c, 0]
            ny = wa * normals[a, 1] + wb * normals[b, 1] + wc * normals[c, 1]
            nz = wa * normals[a, 2] + wb * normals[b, 2] + wc * normals[c, 2]
            inverse = 1 / math.sqrt(nx * nx + ny * ny + nz * nz + 1e-12)
            lamp = max((nx * LIGHT[0] + ny * LIGHT[1] + nz * LIGHT[2]) * inverse, 0.0)
            facing = -(nx * ray_x + ny * ray_y + nz) * inverse / math.sqrt(ray_x * ray_x + ray_y * ray_y + 1)
            shade = 0.38 + 0.12 * (1 - ny * inverse) + 0.5 * lamp
            shade *= 0.55 + 0.45 * min(max(facing * 2.2, 0.0), 1.0)
            for k in range(3):
                value = OPACITY * min(colour[k] * shade * 1.1, 255.0) + (1 - OPACITY) * image[y, x, k]
                image[y, x, k] = np.uint8(value + 0.5)
