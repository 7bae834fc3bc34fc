"""Spreads 67 markers over the free body in mirrored pairs, like the surface markers of SMPL."""

import numba
import numpy as np

from refit_rt.body.smpl import JOINT_NAMES

# Pairs of markers on each part, left and right at once: 31 pairs; five more lie on the midline.
PAIRS = {"head": 2, "spine3": 4, "spine2": 1, "spine1": 1, "l_collar": 1, "l_shoulder": 3, "l_elbow": 3, "l_wrist": 2}
PAIRS |= {"l_hand": 2, "pelvis": 3, "l_hip": 3, "l_knee": 3, "l_ankle": 2, "l_foot": 1}
CLEAR_M = 0.12  # a marker's view along its normal is free for this far, so none lies in an armpit or between fingers
OFF_MIDLINE_M = 0.03
NORMAL_SCALE_M = 0.08  # a turn of the normal counts as this distance: spreads markers around a limb


def place_markers(
    template: np.ndarray, faces: np.ndarray, weights: np.ndarray, joints: np.ndarray, mirror: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """Vertex ids (67,) and names of markers on template (V, 3), faces, weights (V, 24), joints (24, 3), mirror (V,)."""
    normals, areas = normals_and_areas(template, faces)
    clear = ~blocked(template, normals, faces.astype(np.int64), CLEAR_M)
    rng = np.random.default_rng(0)
    ids: list[int] = []
    names: list[str] = []
    for part, count in PAIRS.items():
        inside = (weights.argmax(1) == JOINT_NAMES.index(part)) & clear & (template[:, 0] > OFF_MIDLINE_M)
        if part == "head":  # above the jaw and the ears
            inside &= template[:, 1] > template[weights.argmax(1) == JOINT_NAMES.index(part), 1].mean()
        if part in ("l_hand", "l_foot"):  # the back of the hand, the top of the foot
            inside &= normals[:, 1] > 0.3
        chosen = np.flatnonzero(inside)
        points = np.concatenate([template[chosen], NORMAL_SCALE_M * normals[chosen]], 1)
        for i, centre in enumerate(_spread(points, areas[chosen], count, rng)):
            vertex = int(chosen[((points - centre) ** 2).sum(1).argmin()])
            ids += [vertex, int(mirror[vertex])]
            names += [f"{part}_{i}", f"{part}_{i}".replace("l_", "r_", 1) if part[1] == "_" else f"{part}_{i}_r"]
    middle = _midline(template, normals, clear, joints)
    return np.array(ids + list(middle.values())), names + list(middle)


def _midline(template: np.ndarray, normals: np.ndarray, clear: np.ndarray, joints: np.ndarray) -> dict[str, int]:
    middle = np.abs(template[:, 0]) < 4e-3

    def nearest(height_m: float, front: bool) -> int:
        chosen = np.flatnonzero(middle & clear & ((normals[:, 2] > 0) == front))
        return int(chosen[np.abs(template[chosen, 1] - height_m).argmin()])

    height = {name: joints[i, 1] for i, name in enumerate(JOINT_NAMES)}
    return {
        "head_top": int(np.flatnonzero(middle)[template[middle, 1].argmax()]),
        "sternum": nearest(height["spine3"] + 0.05, front=True),
        "c7": nearest(height["neck"] - 0.01, front=False),
        "t10": nearest(height["spine2"], front=False),
        "sacrum": nearest(height["pelvis"] - 0.02, front=False),
    }


def _spread(points: np.ndarray, areas: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Centres (count, 6) of the best of eight area-weighted k-means runs over points (n, 6)."""
    best_cost, best = np.inf, points[:count]
    for _ in range(8):
        centres = points[rng.choice(len(points), count, replace=False, p=areas / areas.sum())]
        for _ in range(30):
            label = ((points[:, None] - centres) ** 2).sum(2).argmin(1)
            for i in np.unique(label):
                centres[i] = np.average(points[label == i], axis=0, weights=areas[label == i])
        cost = (((points[:, None] - centres) ** 2).sum(2).min(1) * areas).sum()
        if cost < best_cost:
            best_cost, best = cost, centres
    return best


def normals_and_areas(template: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit normals (V, 3) and the area around each vertex (V,)."""
    a, b, c = (template[faces[:, i]] for i in range(3))
    cross = np.cross(b - a, c - a)
    normals, areas = np.zeros((len(template), 3)), np.zeros(len(template))
    for i in range(3):
        np.add.at(normals, faces[:, i], cross)
        np.add.at(areas, faces[:, i], np.linalg.norm(cross, axis=1) / 6)
    return normals / np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-12), areas


@numba.njit
def blocked(vertices, normals, faces, reach_m):
    """Whether the ray along each vertex's normal meets the surface within reach_m (Moeller and Trumbore 1997)."""
    out = np.zeros(len(vertices), np.bool_)
    for v in range(len(vertices)):
        ray = normals[v]
        start = vertices[v] + ray * 2e-3
        for f in range(len(faces)):
            a = vertices[faces[f, 0]]
            if np.abs(a - start).sum() > 3 * reach_m:
                continue
            one, two = vertices[faces[f, 1]] - a, vertices[faces[f, 2]] - a
            p = np.cross(ray, two)
            det = (one * p).sum()
            if abs(det) < 1e-14:
                continue
            u = ((start - a) * p).sum() / det
            q = np.cross(start - a, one)
            w = (ray * q).sum() / det
            if 0 <= u <= 1 and w >= 0 and u + w <= 1 and 0 < (two * q).sum() / det < reach_m:
                out[v] = True
                break
    return out
