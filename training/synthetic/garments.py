"""Binds garment meshes to the free body, so that they follow its shape and pose."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from scipy.spatial import KDTree

from refit_rt.body.smpl import PACKAGED
from refit_rt.errors import UserError
from training.synthetic import cloth, garment_files
from training.synthetic.figure import HEAD, NECK, Figure, smoothed
from training.synthetic.garment_files import BOTTOM, HAIR, HAT, SHOES, SUIT, TOP, Piece

NEIGHBOURS = 40  # vertices of the skin that carry a garment's vertex
REACH_M = 0.012  # how far around the nearest one they lie on tight garments; half of the distance on loose ones
CLEARANCE_M = {TOP: 0.007, BOTTOM: 0.004, SUIT: 0.005, SHOES: 0.004, HAIR: 0.003, HAT: 0.005}  # from the skin
SOCK_M, HAIR_OVER_CLOTH_M = 0.001, 0.04  # socks lie closer than shoes, and hair over garments on the back
COVER_M, SKIRT_COVER_M, HEM_M = 0.03, 0.08, 0.025  # skin this near below a garment, this far from edges, is hidden
COLLISION_M = 0.07  # collisions deeper under the skin are ignored
SPINE3, ARMS = 9, list(range(13, 15)) + list(range(16, 24))


@dataclass(frozen=True, slots=True, eq=False)
class Garment:
    """One garment in the rest pose of the free body's template."""

    name: str
    kind: int  # of `garment_files`
    rest: np.ndarray  # (n, 3) float32
    faces: np.ndarray  # (f, 3) int32
    layer: np.ndarray  # (n,) row of `cloth`'s fabric
    weights: np.ndarray  # (n, 24) float32 skinning
    shape_dirs: np.ndarray  # (n, 3, 10) float32
    outward: np.ndarray  # (n, 3) float32 away from the skin below
    height: np.ndarray  # (n,) float32 metres above the skin
    hides: np.ndarray  # (V,) bool: the skin that it hides


@dataclass(frozen=True, slots=True, eq=False)
class Wardrobe:
    """All garments by kind."""

    tops: list[Garment]
    bottoms: list[Garment]
    suits: list[Garment]
    shoes: list[Garment]
    hair: list[Garment]
    hats: list[Garment]


def load_wardrobe(folder: Path, figure: Figure) -> Wardrobe:
    """Loads all garments under a folder in alphabetical order, bound to the figure's body (takes seconds).

    Raises UserError for a folder without garments, a broken file, or a body other than the free one.
    """
    with np.load(PACKAGED) as archive:
        index = archive["base_mesh_index"]
    if len(index) != len(figure.body.template):
        raise UserError(f"garments fit only the free body, not '{figure.body.name}'. Train without --garments")
    skin = garment_files.base_vertices()[index]
    bound = [bind(piece, skin, index, figure) for piece in garment_files.read_pieces(Path(folder))]
    by_kind = [[garment for garment in bound if garment.kind == kind] for kind in (TOP, BOTTOM, SUIT, SHOES, HAIR, HAT)]
    return Wardrobe(*by_kind)


def bind(piece: Piece, skin: np.ndarray, index: np.ndarray, figure: Figure) -> Garment:
    """Transfers a piece from MakeHuman's base mesh to the body's template.

    Every vertex moves as rigidly as possible with the skin around its nearest point, and takes the mean of that skin's
    weights and shape directions. skin (V, 3): the body's vertices on the base mesh; index (V,): their ids there.
    """
    template = figure.body.template.astype(np.float64)
    near, share = _neighbours(piece, skin, figure)
    rest = _carried(piece.vertices, skin[near], template[near], share)
    if piece.kind in (HAIR, HAT):
        rest = _with_the_head(piece.vertices, rest, skin, figure)
    averaging = mesh_averaging(piece.faces, len(rest))
    row_ends = np.arange(0, near.size + 1, NEIGHBOURS)
    carried = sp.csr_matrix((share.ravel(), near.ravel(), row_ends), (len(rest), len(template)))
    rest, outward, height = cleared(rest, averaging, figure, _clearance(piece, rest, figure))
    socks = piece.layer == cloth.SOCKS
    rest[socks] -= outward[socks] * (height[socks, None] - SOCK_M)
    shape_dirs = carried @ figure.body.shape_dirs.reshape(len(template), -1)
    rounds = 8 if piece.kind in (HAIR, HAT) else 2
    return Garment(
        name=piece.name,
        kind=piece.kind,
        rest=rest.astype(np.float32),
        faces=piece.faces,
        layer=piece.layer,
        weights=_weights(piece, rest, carried @ figure.body.skinning, averaging, figure),
        shape_dirs=smoothed(averaging, shape_dirs, rounds).reshape(-1, 3, 10).astype(np.float32),
        outward=outward.astype(np.float32),
        height=height.astype(np.float32),
        hides=np.isin(index, piece.hides) | _covered(piece, rest, figure),
    )


def _clearance(piece: Piece, rest: np.ndarray, figure: Figure) -> np.ndarray:
    """The least distance (n,) in metres that each vertex (n, 3) must have from the skin."""
    clearance = np.full(len(rest), CLEARANCE_M[piece.kind])
    clearance[piece.layer == cloth.SOCKS] = SOCK_M
    if piece.kind == HAIR:
        clearance += HAIR_OVER_CLOTH_M * np.clip((figure.joints[NECK, 1] + 0.03 - rest[:, 1]) / 0.06, 0, 1)
    return clearance


def _covered(piece: Piece, rest: np.ndarray, figure: Figure) -> np.ndarray:
    """(V,) bool: the skin close under a garment's interior, in addition to what its file lists."""
    if piece.kind in (HAIR, HAT):
        return np.zeros(len(figure.normals), bool)
    edges = np.sort(np.concatenate([piece.faces[:, [0, 1]], piece.faces[:, [1, 2]], piece.faces[:, [2, 0]]]), 1)
    edges, uses = np.unique(edges, axis=0, return_counts=True)
    rim = np.unique(edges[uses == 1])
    distance, nearest = KDTree(rest).query(figure.body.template)
    above = ((rest[nearest] - figure.body.template) * figure.normals).sum(1) > 0
    inside = KDTree(rest[rim]).query(figure.body.template)[0] > HEM_M if len(rim) else np.True_
    return (distance < (SKIRT_COVER_M if piece.skirt else COVER_M)) & above & inside


def mesh_averaging(faces: np.ndarray, count: int) -> sp.csr_matrix:
    """The matrix (n, n) that moves each vertex's value half of the way to the mean of its neighbours."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    graph = sp.coo_matrix((np.ones(len(edges)), edges.T), (count, count)).tocsr()
    graph = ((graph + graph.T) > 0).astype(float)
    degree = np.asarray(graph.sum(1)).ravel()
    return ((sp.eye(count) + sp.diags(1 / np.maximum(degree, 1)) @ graph) / 2).tocsr()


def _neighbours(piece: Piece, skin: np.ndarray, figure: Figure) -> tuple[np.ndarray, np.ndarray]:
    """The skin that carries each vertex: ids (n, NEIGHBOURS) and shares that sum to 1."""
    fit = np.flatnonzero(~figure.eye)
    distance, found = KDTree(skin[fit]).query(piece.vertices, NEIGHBOURS)
    reach = np.maximum(REACH_M, 0.5 * distance[:, :1])
    share = np.exp(-(distance**2 - distance[:, :1] ** 2) / (2 * reach**2)) + 1e-9
    if piece.kind in (BOTTOM, SUIT):  # otherwise the cloth of one leg would follow the other
        across = skin[fit][found][..., 0] * np.sign(piece.vertices[:, :1]) < -0.002
        share[across & ~across.all(1, keepdims=True)] *= 1e-3
    return fit[found], share / share.sum(1, keepdims=True)


def _carried(points: np.ndarray, before: np.ndarray, after: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Moves points (n, 3) by the best rigid motion of their neighbours before -> after (n, k, 3) (Kabsch 1976)."""
    start, end = (np.einsum("nk,nkc->nc", share, side) for side in (before, after))
    spread = np.einsum("nk,nka,nkb->nab", share, before - start[:, None], after - end[:, None])
    u, _, vt = np.linalg.svd(spread)
    flip = np.ones((len(points), 1, 3))
    flip[:, 0, 2] = np.linalg.det(u) * np.linalg.det(vt)
    turn = np.swapaxes(u * flip @ vt, 1, 2)
    return end + np.einsum("nab,nb->na", turn, points - start)


def _with_the_head(points: np.ndarray, carried: np.ndarray, skin: np.ndarray, figure: Figure) -> np.ndarray:
    """Moves hair and hats (n, 3) with the skull as a whole, and parts below the chin with the skin there."""
    skull = figure.head > 0.9
    before, after = skin[skull], figure.body.template[skull].astype(np.float64)
    start, end = before.mean(0), after.mean(0)
    u, scale, vt = np.linalg.svd((before - start).T @ (after - end))
    turn = (u * [1, 1, np.linalg.det(u) * np.linalg.det(vt)] @ vt).T
    moved = end + scale.sum() / ((before - start) ** 2).sum() * (points - start) @ turn.T
    above = np.clip((moved[:, 1:2] - figure.joints[HEAD, 1] + 0.12) / 0.1, 0, 1)
    return moved * above + carried * (1 - above)


def cleared(rest: np.ndarray, averaging: sp.csr_matrix, figure: Figure, clearance_m: np.ndarray):
    """Pushes vertices (n, 3) out of the body to their clearance (n,). Returns the vertices, the direction out of the
    skin (n, 3), and the height above it (n,)."""
    tree = KDTree(figure.body.template)
    for last in (False, False, True):
        distance, nearest = tree.query(rest, 4)
        share = 1 / (distance + 1e-3)
        share /= share.sum(1, keepdims=True)
        outward = np.einsum("nk,nkc->nc", share, figure.normals[nearest])
        outward /= np.linalg.norm(outward, axis=1, keepdims=True) + 1e-9
        height = ((rest - np.einsum("nk,nkc->nc", share, figure.body.template[nearest])) * outward).sum(1)
        if last:
            break
        push = np.where(distance[:, 0] < COLLISION_M, np.maximum(clearance_m - height, 0), 0)
        rest = rest + outward * np.maximum(push, smoothed(averaging, push, 3))[:, None]
    return rest, outward, height


def _weights(piece: Piece, rest: np.ndarray, carried: np.ndarray, averaging: sp.csr_matrix, figure: Figure):
    """Skinning (n, 24) float32: that of the skin, except for parts that hang free."""
    if piece.kind in (HAIR, HAT):
        weights = smoothed(averaging, carried, 8)
        weights[:, SPINE3] += weights[:, ARMS].sum(1)  # hair on the shoulders stays when they move
        weights[:, ARMS] = 0
        hangs = np.clip((figure.joints[HEAD, 1] - 0.04 - rest[:, 1]) / 0.2, 0, 1)[:, None]
        weights = weights / weights.sum(1, keepdims=True) * hangs
        weights[:, HEAD] += 1 - hangs[:, 0]
        return weights.astype(np.float32)
    weights = smoothed(averaging, carried, 2)
    weights = np.where(weights > 0.02, weights, 0)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)
