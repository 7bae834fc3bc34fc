"""State → joints and markers in the crop, as a few float32 ONNX nodes, for TensorRT without plugins.

refit_rt/model/body.py and camera.py compute the same in torch. Only the order of sums differs: everything that is
linear in the shape is one product, and the tree of joints is resolved by pointer doubling. Every product doubles the
number of ancestors in each joint's transform, so nine levels take four products of all joints at once.
"""

import numpy as np

from refit_rt.body.smpl import BETAS, JOINTS, Body
from refit_rt.runners.tensorrt.graph.writer import Writer

SMALLEST = np.array([1e-12], np.float32)  # lower limit of a column's length, as in torch's normalize
POSE6D = 6 * JOINTS


def points_px(w: Writer, body: Body, state: list[str], view: str, batch: int, crop_px: int) -> tuple[str, str]:
    """state: pose6d (B, 144), betas (B, 10), cam (B, 3); view (B, 6) → joints (B, 24, 2), markers (B, M, 2) crop px."""
    pose6d, betas, cam = state
    columns = rotation_columns(w, pose6d, batch)
    bones, pivots, surface = shaped(w, body, betas, columns, batch)
    posed = climb(w, columns, bones, body.parents, batch)
    joints = w.reshape(w.cut(posed, 3, 4, 3), batch, JOINTS, 3)
    markers = skinned(w, body, posed, pivots, surface, batch)
    markers_count = len(marker_ids(body))
    pixels = projected(w, w.concat(joints, markers, axis=1), cam, view, batch, crop_px)
    joints_px, markers_px = w.split(pixels, JOINTS, markers_count, axis=1)
    return joints_px, markers_px


def rotation_columns(w: Writer, pose6d: str, batch: int) -> list[str]:
    """The three columns (B, 24, 3, 1) of every joint's rotation, by Gram-Schmidt."""
    first, second = w.split(w.reshape(pose6d, batch, JOINTS, 3, 2), 1, 1, axis=3)
    first = unit(w, first)
    along = total(w, w.op("Mul", first, second))
    second = unit(w, w.op("Sub", second, w.op("Mul", along, first)))
    turned = {
        (name, step): w.op("Gather", column, np.array([(i + step) % 3 for i in range(3)]), axis=2)
        for name, column in (("first", first), ("second", second))
        for step in (1, 2)
    }
    third = w.op(
        "Sub",
        w.op("Mul", turned["first", 1], turned["second", 2]),
        w.op("Mul", turned["first", 2], turned["second", 1]),
    )
    return [first, second, third]


def unit(w: Writer, x: str) -> str:
    length = w.op("Sqrt", total(w, w.op("Mul", x, x)))
    return w.op("Div", x, w.op("Max", length, SMALLEST))


def total(w: Writer, x: str) -> str:
    return w.op("ReduceSum", x, np.array([2], np.int64), keepdims=1)


def shaped(w: Writer, body: Body, betas: str, columns: list[str], batch: int) -> tuple[str, str, str]:
    """Bones (B, 24, 3, 1) from joint to joint, [-rest joint; 1] (B, 24, 4, 1), markers [x; 1] at rest (B, M, 4, 1)."""
    ids = marker_ids(body)
    rest, rest_dirs = body.joint_template, body.joint_shape_dirs.reshape(JOINTS, 3, BETAS)
    above = np.where(body.parents < 0, 0, body.parents)
    has_parent = (body.parents >= 0)[:, None]
    bones = rest - has_parent * rest[above]
    bone_dirs = rest_dirs - has_parent[..., None] * rest_dirs[above]
    markers, marker_dirs = homogeneous(body.template[ids], 1), homogeneous(body.shape_dirs[ids], 0)
    pose_rows = None
    if body.pose_dirs is not None:
        # The root does not bend the surface. Blend shapes apply to rotation minus identity; the identity's part is
        # subtracted from the template here.
        dirs = homogeneous(body.pose_dirs[ids], 0).reshape(-1, JOINTS - 1, 9)
        pose_rows = np.concatenate([np.zeros_like(dirs[:, :1]), dirs], axis=1).reshape(len(dirs), -1)
        at_rest = np.tile(np.eye(3, dtype=np.float32).reshape(9), JOINTS)
        markers = markers - (pose_rows @ at_rest).reshape(markers.shape)
    template = np.concatenate([bones.ravel(), homogeneous(-rest, 1).ravel(), markers.ravel()])
    dirs = np.concatenate([bone_dirs, homogeneous(-rest_dirs, 0), marker_dirs], axis=None).reshape(-1, BETAS)
    sizes = 3 * JOINTS, 4 * JOINTS, 4 * len(ids)
    of_shape = w.linear(betas, dirs.T.astype(np.float32), template.astype(np.float32))
    bone, pivot, surface = w.split(of_shape, *sizes, axis=1)
    if pose_rows is not None:
        turns = w.reshape(w.concat(*columns, axis=3), batch, 9 * JOINTS)
        surface = w.op("Add", surface, w.op("MatMul", turns, pose_rows.T.astype(np.float32)))
    return (
        w.reshape(bone, batch, JOINTS, 3, 1),
        w.reshape(pivot, batch, JOINTS, 4, 1),
        w.reshape(surface, batch, len(ids), 4, 1),
    )


def homogeneous(xyz: np.ndarray, last: float) -> np.ndarray:
    """(n, 3, …) → (n, 4, …), with `last` as the fourth row."""
    return np.concatenate([xyz, np.full_like(xyz[:, :1], last)], axis=1)


def climb(w: Writer, columns: list[str], bones: str, parents: np.ndarray, batch: int) -> str:
    """Rotations relative to the parent, and bones → posed joints (B, 24, 3, 4): rotation, then position."""
    last_row = np.broadcast_to(np.array([0, 0, 0, 1], np.float32), (batch, JOINTS, 1, 4))
    local = w.concat(w.concat(*columns, bones, axis=3), last_row, axis=2)
    still = np.broadcast_to(np.eye(4, dtype=np.float32), (batch, 1, 4, 4))
    posed = w.concat(local, still, axis=1)  # joint 24 is a fixed parent of the root
    above = np.append(np.where(parents < 0, JOINTS, parents), JOINTS)
    while (above != JOINTS).any():
        posed = w.op("MatMul", w.op("Gather", posed, above.astype(np.int64), axis=1), posed)
        above = above[above]
    return w.cut(w.cut(posed, 0, JOINTS, 1), 0, 3, 2)


def skinned(w: Writer, body: Body, posed: str, pivots: str, surface: str, batch: int) -> str:
    """Posed joints and the markers at rest → posed markers (B, M, 3) metres."""
    ids = marker_ids(body)
    shift = w.op("MatMul", posed, pivots)  # the image of the rest pose's origin under each joint's transform
    moves = w.reshape(w.concat(w.cut(posed, 0, 3, 3), shift, axis=3), batch, JOINTS, 12)
    blend = w.op("MatMul", body.skinning[ids][None], moves)
    points = w.op("MatMul", w.reshape(blend, batch, len(ids), 3, 4), surface)
    return w.reshape(points, batch, len(ids), 3)


def projected(w: Writer, points: str, cam: str, view: str, batch: int, crop_px: int) -> str:
    """Body metres (B, P, 3) → crop pixels (B, P, 2), through the full image's camera."""
    middle, side, focal, centre = w.split(view, 2, 1, 1, 2, axis=1)
    scale, shift = w.split(cam, 1, 2, axis=1)
    half_side = w.op("Mul", side, np.array([0.5], np.float32))
    px_per_metre = w.op("Mul", half_side, scale)
    offset = w.op("Sub", middle, centre)
    place = w.concat(w.op("Add", shift, w.op("Div", offset, px_per_metre)), w.op("Div", focal, px_per_metre), axis=1)
    placed = w.op("Add", points, w.reshape(place, batch, 1, 3))
    across, depth = w.split(placed, 2, 1, axis=2)
    image_px = w.op("Mul", w.op("Div", across, depth), w.reshape(focal, batch, 1, 1))
    corner = w.reshape(w.op("Sub", offset, half_side), batch, 1, 2)  # of the crop, relative to the principal point
    per_px = w.reshape(w.op("Div", np.array([crop_px], np.float32), side), batch, 1, 1)
    return w.op("Mul", w.op("Sub", image_px, corner), per_px)


def marker_ids(body: Body) -> np.ndarray:
    assert body.markers is not None  # load_bundle checks it
    return body.markers
