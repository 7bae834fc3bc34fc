"""Measures a body for dressing: its smooth surface, its head, its sections."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from refit_rt.body.smpl import Body
from refit_rt.draw.raster import vertex_normals

HEAD, NECK, PELVIS = 15, 12, 0
SKULL_ABOVE_HEAD_JOINT_M = 0.065  # centre of the skull over the joint, on the free body's template


@dataclass(frozen=True, slots=True, eq=False)
class Figure:
    """The measures of a body that dressing needs, in the rest pose of the template."""

    body: Body
    joints: np.ndarray  # (24, 3)
    smooth: np.ndarray  # (V, 3) float32: the surface without navel, nipples and creases
    normals: np.ndarray  # (V, 3) float32 outward normals of `smooth`
    averaging: sp.csr_matrix  # (V, V): the mean of each vertex's neighbours
    head: np.ndarray  # (V,) float32: how much a vertex belongs to the head
    limb: np.ndarray  # (V,) float32: how much a vertex belongs to hands and forearms
    eye: np.ndarray  # (V,) bool
    eye_centre: np.ndarray  # (3,) of the left eye's front
    skull: np.ndarray  # (3,) the skull's centre
    skull_radius: float


def make_figure(body: Body) -> Figure:
    """Measures a body (SMPL's format)."""
    template = body.template.astype(np.float64)
    count = len(template)
    edges = np.concatenate([body.faces[:, [0, 1]], body.faces[:, [1, 2]], body.faces[:, [2, 0]]])
    graph = sp.coo_matrix((np.ones(len(edges)), edges.T), (count, count)).tocsr()
    graph = ((graph + graph.T) > 0).astype(float)
    averaging = sp.diags(1 / np.maximum(np.asarray(graph.sum(1)).ravel(), 1)) @ graph
    smooth = smoothed(averaging, template, 12)
    normals = vertex_normals(smoothed(averaging, smooth, 6).astype(np.float32), body.faces)
    joints = body.joint_template.astype(np.float64)
    head = body.skinning[:, HEAD] + 0.0
    eye, eye_centre = _eyes(graph, template, joints)
    skull = joints[HEAD] + [0, SKULL_ABOVE_HEAD_JOINT_M, 0.008]
    near = np.linalg.norm(template - skull, axis=1) < 0.2
    top = template[near & (template[:, 1] > skull[1] + 0.02)]
    return Figure(
        body=body,
        joints=joints,
        smooth=smooth.astype(np.float32),
        normals=normals,
        averaging=averaging.tocsr(),
        head=head.astype(np.float32),
        limb=body.skinning[:, 20:24].sum(1).astype(np.float32),
        eye=eye,
        eye_centre=eye_centre,
        skull=skull,
        skull_radius=float(np.linalg.norm(top - skull, axis=1).mean()),
    )


def smoothed(averaging: sp.spmatrix, values: np.ndarray, rounds: int) -> np.ndarray:
    """Values (V, ...) averaged with their neighbours, `rounds` times."""
    for _ in range(rounds):
        values = averaging @ values
    return values


def _eyes(graph: sp.csr_matrix, template: np.ndarray, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finds the eyeballs, which are small separate parts of the free body; on other bodies their place is guessed."""
    _, label = connected_components(graph)
    sizes = np.bincount(label)
    apart = (sizes[label] < 400) & (template[:, 1] > joints[HEAD, 1]) & (np.abs(template[:, 0]) < 0.06)
    left = apart & (template[:, 0] > 0)
    if left.sum() < 8:
        return np.zeros(len(template), bool), joints[HEAD] + [0.031, 0.042, 0.085]
    low, high = template[left].min(0), template[left].max(0)
    return apart, np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, high[2]])


def hull_radius(points: np.ndarray, centre: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """The reach (m,) in metres of the convex hull of points (n, 3) along unit directions (m, 3) from a centre."""
    return np.maximum(((points - centre) @ directions.T).max(0), 0.01)


@dataclass(frozen=True, slots=True, eq=False)
class Shell:
    """A loose surface worn over the body: hair that hangs, a skirt."""

    rest: np.ndarray  # (n, 3) float32 in the rest pose
    faces: np.ndarray  # (f, 3) int32 into rest
    weights: np.ndarray  # (n, 24) float32 skinning
    kind: float | np.ndarray  # the kind of surface in `cloth`, for all of it or per vertex (n,)
    coordinates: np.ndarray  # (n, 3) float32 pattern coordinates
    shape_dirs: np.ndarray | None = None  # (n, 3, 10) float32; None: those of the nearest skin


def grid_faces(rows: int, columns: int) -> np.ndarray:
    """The triangles of a tube of rows x columns points, closed around -> (f, 3) int32."""
    row, column = np.meshgrid(np.arange(rows - 1), np.arange(columns), indexing="ij")
    a = row * columns + column
    b = row * columns + (column + 1) % columns
    quads = np.stack([a, a + columns, b + columns, b], -1).reshape(-1, 4)
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)


def shell_shape_dirs(figure: Figure, shell: Shell) -> np.ndarray:
    """Shape directions (n, 3, 10) float32 of a shell: those of the nearest body vertices, smoothed over the shell."""
    distance = np.linalg.norm(shell.rest[:, None] - figure.body.template[None, ::7], axis=-1)
    nearest = np.argpartition(distance, 8, axis=1)[:, :8]
    return np.ascontiguousarray(figure.body.shape_dirs[::7][nearest].mean(1))
