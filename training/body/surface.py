"""Edits the skin's triangles: keeps the visible ones, closes the lips, finds mirror pairs."""

import numpy as np
from scipy.spatial import KDTree


def visible(faces: np.ndarray, face_uv: np.ndarray, hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Drops hidden faces (F,) bool -> kept vertex ids (V',), faces (F', 3) into them, their uv ids (F', 3)."""
    kept, packed = np.unique(faces[~hidden], return_inverse=True)
    return kept, packed.reshape(-1, 3), face_uv[~hidden]


def mirror_pairs(template: np.ndarray) -> np.ndarray:
    """The vertex (V,) on the other side of the body for each vertex (V, 3). Raises ValueError for unpaired ones."""
    distance, mirror = map(np.asarray, KDTree(template).query(template * [-1, 1, 1]))
    if distance.max() > 1e-3 or (mirror[mirror] != np.arange(len(mirror))).any():
        raise ValueError(f"the mesh is not symmetric: {distance.max() * 1e3:.2f} mm, or two vertices share a mirror")
    return mirror


def symmetric(vertices: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """The mean of shapes (..., V, 3) and their mirror images."""
    return (vertices + vertices[..., mirror, :] * np.array([-1, 1, 1], vertices.dtype)) / 2


def edge_list(faces: np.ndarray) -> np.ndarray:
    """All edges, each once (edge, 2)."""
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), 1)
    return np.unique(edges, axis=0)


def border_loops(faces: np.ndarray) -> list[np.ndarray]:
    """Closed loops of vertex ids along the open borders, each against the direction of its faces."""
    directed = {(int(a), int(b)) for face in faces for a, b in zip(face, np.roll(face, -1), strict=True)}
    following = {b: a for a, b in directed if (b, a) not in directed}
    loops = []
    while following:
        start, vertex = next(iter(following.items()))
        loop = [start]
        while vertex != start:
            loop.append(vertex)
            vertex = following.pop(vertex)
        following.pop(start)
        loops.append(np.array(loop))
    return loops


def close_lips(template: np.ndarray, faces: np.ndarray, face_uv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fills the hole that the removed mouth cavity leaves -> faces, face_uv with a strip between the lips added."""
    mouth = max((loop for loop in border_loops(faces) if abs(template[loop, 0].mean()) < 5e-3), key=len)
    corner = np.argmin(template[mouth, 0])
    mouth = np.roll(mouth, -corner)
    other = np.argmax(template[mouth, 0])
    one, two = list(mouth[: other + 1]), [mouth[0], *mouth[: other - 1 : -1]]
    strip, i, j = [], 0, 0
    while i < len(one) - 1 or j < len(two) - 1:  # zip both lips together, from corner to corner
        ahead = j == len(two) - 1 or (i < len(one) - 1 and template[one[i + 1], 0] <= template[two[j + 1], 0])
        triangle = (one[i], one[i + 1], two[j]) if ahead else (one[i], two[j + 1], two[j])
        i, j = (i + 1, j) if ahead else (i, j + 1)
        if len(set(triangle)) == 3:
            strip.append(triangle)
    uv_of = dict(zip(faces.ravel().tolist(), face_uv.ravel().tolist(), strict=True))
    strip_uv = [[uv_of[int(vertex)] for vertex in triangle] for triangle in strip]
    return np.concatenate([faces, strip]), np.concatenate([face_uv, strip_uv])
