"""Draws fits: the picture with the true limbs, with the fitted body, and the body from its side."""

from pathlib import Path

import cv2
import numpy as np

from refit_rt import geometry
from refit_rt.body.smpl import Body
from refit_rt.draw.raster import buffers, rasterise, vertex_normals
from training.evaluation.real_clip import LIMBS, SMPL_LIMBS
from training.evaluation.real_fit import Clip, Track
from training.reporting import write_picture

TILE_PX = 320
SIDE_M = 8.0  # distance of the camera beside the body
MARGIN = 1.55  # side of a tile over the extent of the joints, which end below the hair
SKIN = np.array([235.0, 190.0, 150.0])  # BGR
BACK = np.array([150.0, 150.0, 250.0])  # BGR of the body's back, so that an exchange of front and back shows
BONES = ((0, 1), (0, 2), (2, 4), (1, 3), (3, 5), (0, 6), (1, 7), (6, 7), (6, 8), (8, 10), (7, 9), (9, 11))
LEFT_BGR, RIGHT_BGR = (60, 220, 60), (40, 40, 255)


def draw_limbs(image: np.ndarray, limbs_px: np.ndarray) -> None:
    """Draws a stick figure of limb joints (12, 2) in place: the left side green, the right side red, NaN not at all."""
    for a, b in BONES:
        if not np.isfinite(limbs_px[[a, b]]).all():
            continue
        left, right = (LIMBS[a][0] == "l") and (LIMBS[b][0] == "l"), (LIMBS[a][0] == "r") and (LIMBS[b][0] == "r")
        colour = LEFT_BGR if left else RIGHT_BGR if right else (0, 230, 255)
        start, end = ([int(v) for v in np.rint(np.clip(limbs_px[i], -1e4, 1e4))] for i in (a, b))
        cv2.line(image, start, end, colour, 2, cv2.LINE_AA)


def shade(
    points: np.ndarray,
    faces: np.ndarray,
    front: np.ndarray,
    focal_px: float,
    centre_px: np.ndarray,
    image: np.ndarray,
    opacity: float,
) -> None:
    """Draws a mesh (V, 3), camera frame, over a picture, in place. front (V,) bool: vertices of the body's front."""
    depth, ids = buffers(*image.shape[:2])
    points, faces = np.ascontiguousarray(points, np.float32), np.ascontiguousarray(faces, np.int32)
    rasterise(points, faces, 0, focal_px, np.asarray(centre_px, np.float64), depth, ids, False)
    normals = vertex_normals(points, faces)
    light = 0.35 + 0.65 * np.clip(normals @ np.array([-0.3, -0.5, -0.81]), 0, 1)
    colours = np.where(front[:, None], SKIN, BACK) * light[:, None]
    seen = ids >= 0
    drawn = colours[faces[ids[seen]]].mean(1)
    image[seen] = np.clip((1 - opacity) * image[seen] + opacity * drawn, 0, 255).astype(np.uint8)


def tiles(clip: Clip, track: Track, row: int, body: Body) -> np.ndarray:
    """Draws (TILE_PX, 3 * TILE_PX, 3): the picture with the reference, with the body, and the body from its side."""
    index = int(track.frames[row])
    rotations = geometry.matrix_from_axis_angle(track.poses[row].astype(float))
    rest = body.vertices(np.broadcast_to(np.eye(3), (24, 3, 3)), track.betas[row])
    front = rest[:, 2] > 0
    points = body.vertices(rotations, track.betas[row]) + track.trans[row]
    known = np.isfinite(clip.limbs_px[index]).all(1)
    around = clip.limbs_px[index][known]  # for a person who is cut off, the joints that are known
    if known.all():
        around = np.concatenate([track.joints_px[row], around])
    square = geometry.square_around(np.concatenate([around.min(0), around.max(0)]), MARGIN)
    matrix = geometry.crop_from_image(square, TILE_PX)
    picture = geometry.crop(clip.frames[index], square, TILE_PX)
    truth, fitted = picture.copy(), picture.copy()
    draw_limbs(truth, geometry.apply_2d(matrix, clip.limbs_px[index]))
    scale = TILE_PX / square.side_px
    lens = clip.camera.focal_px * scale, geometry.apply_2d(matrix, np.array(clip.camera.centre_px))
    shade(points, body.faces, front, *lens, fitted, 0.75)
    middle = track.joints[row][SMPL_LIMBS][known].mean(0)
    return np.concatenate([truth, fitted, from_side(points, middle, clip.limbs[index], body, front)], 1)


def from_side(
    points: np.ndarray, body_middle: np.ndarray, limbs: np.ndarray, body: Body, front: np.ndarray
) -> np.ndarray:
    """Draws body and reference limbs (12, 3) as seen from the body's right, from far away. `body_middle` (3,) and the
    middle of the known limbs coincide."""
    image = np.full((TILE_PX, TILE_PX, 3), 255, np.uint8)
    middle = np.nanmean(limbs, 0)
    turn = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
    away = np.array([0.0, 0.0, SIDE_M])
    focal_px = TILE_PX * SIDE_M / 2.4  # 2.4 m fill the tile
    centre_px = np.full(2, TILE_PX / 2)
    # Both have the same middle, so depth errors do not show; the table has a column for them.
    shade((points - body_middle) @ turn.T + away, body.faces, front, focal_px, centre_px, image, 0.8)
    draw_limbs(image, geometry.project((limbs - middle) @ turn.T + away, focal_px, centre_px))
    return image


def crop_tiles(
    image: np.ndarray,
    points: np.ndarray,
    front: np.ndarray,
    limbs: np.ndarray,
    body: Body,
    lens: tuple[float, np.ndarray],
) -> np.ndarray:
    """Draws (TILE_PX, 3 * TILE_PX, 3): a crop (S, S, 3) BGR with the true limbs (12, 3), with a body (V, 3), and that
    body from its side, all in the camera frame. lens: focal length and centre (2,) in pixels of the crop."""
    shrink = TILE_PX / len(image)
    focal_px, centre_px = lens[0] * shrink, (np.asarray(lens[1]) + 0.5) * shrink - 0.5
    truth = cv2.resize(image, (TILE_PX, TILE_PX), interpolation=cv2.INTER_CUBIC)
    fitted = truth.copy()
    draw_limbs(truth, geometry.project(limbs, focal_px, centre_px))
    shade(points, body.faces, front, focal_px, centre_px, fitted, 0.75)
    return np.concatenate([truth, fitted, from_side(points, points.mean(0), limbs, body, front)], 1)


def sheet(tiles: list[tuple[np.ndarray, str]], path: Path) -> None:
    """Writes a picture of tiles with captions, two tiles per line. Raises UserError."""
    rows = []
    for tile, caption in tiles:
        tile[:22] = 30
        cv2.putText(tile, caption, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
        rows.append(tile)
    if len(rows) % 2:
        rows.append(np.full_like(rows[0], 255))
    image = np.concatenate([np.concatenate(rows[i : i + 2], 1) for i in range(0, len(rows), 2)])
    write_picture(path, image)
