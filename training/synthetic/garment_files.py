"""Reads MakeHuman's garments, shoes, hats and hair as meshes on its base mesh, cut into separate pieces."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from refit_rt.errors import UserError
from training.synthetic import cloth

BASE_MESH = Path(__file__).parent / "base_mesh.npz"  # made by training/body/base_mesh.py
DM = 0.1  # MakeHuman's unit in metres
TOP, BOTTOM, SUIT, SHOES, HAIR, HAT = range(6)  # what a piece is
SMALL = 200  # vertices: buttons, buckles, belts
STRAND = 24  # vertices: smaller parts of hair are cards for a texture with holes, and blades without it
# Heights in the base mesh, metres over its middle: soles at -0.84, knees -0.4, crotch -0.02, belt 0.12, chin 0.63.
ANKLE_Y, KNEE_Y, THIGH_Y, BELT_Y, BREAST_Y, BROW_Y, CROWN_Y, SOLE_Y = -0.5, -0.4, -0.1, 0.2, 0.35, 0.72, 0.8, -0.815


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """One garment as it lies on the base mesh."""

    name: str
    kind: int
    vertices: np.ndarray  # (n, 3) metres
    faces: np.ndarray  # (f, 3) int32
    layer: np.ndarray  # (n,) row of `cloth`'s fabric
    hides: np.ndarray  # ids of the base mesh's vertices that it hides
    skirt: bool  # a tube around both legs


def base_vertices() -> np.ndarray:
    """MakeHuman's base mesh with its helper geometry (19158, 3) metres, y up, facing +z."""
    with np.load(BASE_MESH) as archive:
        return archive["vertices_tenth_mm"] * 1e-4


def read_pieces(folder: Path) -> list[Piece]:
    """Reads all garments under a folder, in alphabetical order: its .mhclo files and the .obj files they name.

    Raises UserError for a folder without garments, and for a broken file, which it names.
    """
    files = sorted(folder.rglob("*.mhclo"))
    if not files:
        raise UserError(f"{folder}: no garments (.mhclo with .obj) in this folder. See training/README.md")
    base = base_vertices()
    return [piece for path in files for piece in _pieces_of(path, base)]


def read_obj(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads vertices (n, 3) in the file's unit and triangles (f, 3) int32 of a Wavefront file. Raises UserError."""
    vertices, faces = [], []
    try:
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("v "):
                vertices.append([float(word) for word in line.split()[1:4]])
            elif line.startswith("f "):
                corners = [int(word.partition("/")[0]) - 1 for word in line.split()[1:]]
                faces += [[corners[0], corners[k], corners[k + 1]] for k in range(1, len(corners) - 1)]
        points, triangles = np.array(vertices, float).reshape(-1, 3), np.array(faces, np.int32).reshape(-1, 3)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable .obj mesh ({error}). Fetch it again") from error
    if not len(triangles) or triangles.min() < 0 or triangles.max() >= len(points):
        raise UserError(f"{path}: its faces do not fit its {len(points)} vertices. Fetch it again")
    return points, triangles


def read_binding(path: Path, base: np.ndarray) -> tuple[str, np.ndarray, np.ndarray]:
    """Reads a .mhclo file: the name of its .obj, vertices on the base mesh (n, 3) metres, ids of hidden base vertices.

    Each vertex is a weighted mean of three base vertices plus an offset scaled by the base mesh's width there. Raises
    UserError.
    """
    object_file, scale, rows, hidden, part = "", np.full(3, DM), [], [], ""
    try:
        for words in map(str.split, path.read_text(encoding="utf-8", errors="replace").splitlines()):
            if not words or words[0].startswith("#"):
                continue
            if words[0] in ("x_scale", "y_scale", "z_scale"):
                axis = "xyz".index(words[0][0])
                scale[axis] = abs(base[int(words[1]), axis] - base[int(words[2]), axis]) / float(words[3])
            elif words[0] == "obj_file":
                object_file = words[1]
            elif words[0] in ("verts", "delete_verts"):
                part = words[0]
            elif words[0][0].isalpha():
                continue
            elif part == "verts":
                rows.append([float(word) for word in words])
            elif part == "delete_verts":
                hidden += _ranges(words)
        exact = [row if len(row) == 9 else [row[0]] * 3 + [1.0, 0, 0, 0, 0, 0] for row in rows]
        table = np.array(exact, float).reshape(-1, 9)
        corners = base[table[:, :3].astype(int)]  # (n, 3, 3)
        hides = np.array(hidden, int)
        if not object_file or not len(table) or (len(hides) and hides.max() >= len(base)):
            raise ValueError("it binds no vertices of an .obj file")
    except (OSError, ValueError, IndexError) as error:
        raise UserError(f"{path}: not a readable MakeHuman garment ({error}). Fetch it again") from error
    return object_file, np.einsum("nk,nkc->nc", table[:, 3:6], corners) + table[:, 6:] * scale, hides


def _ranges(words: list[str]) -> list[int]:
    """Expands ranges of numbers: ["3", "-", "6", "9"] -> [3, 4, 5, 6, 9]."""
    ids: list[int] = []
    spans = " ".join(words).replace(" - ", "-").split()
    for span in spans:
        first, _, last = span.partition("-")
        ids += range(int(first), int(last or first) + 1)
    return ids


def _pieces_of(path: Path, base: np.ndarray) -> list[Piece]:
    object_file, vertices, hides = read_binding(path, base)
    points, faces = read_obj(path.parent / object_file)
    if len(points) != len(vertices):
        raise UserError(f"{path}: binds {len(vertices)} vertices, {object_file} has {len(points)}. Fetch both again")
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    graph = sp.coo_matrix((np.ones(len(edges)), edges.T), (len(points),) * 2)
    part = connected_components(graph, directed=False)[1]
    kind, layer = _kinds(vertices, part)
    if (kind == HAIR).all():
        kind = np.where(np.bincount(part)[part] < STRAND, -1, kind)
    hidden_by = kind[KDTree(vertices).query(base[hides])[1]] if len(hides) else np.zeros(0, int)
    pieces = []
    for one in np.unique(kind[kind >= 0]):
        chosen = np.flatnonzero(kind == one)
        number = np.full(len(points), -1, np.int32)
        number[chosen] = np.arange(len(chosen))
        own = faces[(kind[faces] == one).all(1)]
        at = vertices[chosen]
        between = (np.abs(at[:, 0]) < 0.02) & (at[:, 1] < THIGH_Y)
        tube = bool(one == BOTTOM and between.any())
        laid = layer[chosen] if not tube else np.full(len(chosen), cloth.SKIRT)
        pieces.append(Piece(path.stem, int(one), at, number[own], laid, hides[hidden_by == one], tube))
    return pieces


def _kinds(vertices: np.ndarray, part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The kind of piece and the layer of each vertex (n, 3) of a file, from the heights of its connected parts (n,)."""
    y, count = vertices[:, 1], part.max() + 1
    size = np.bincount(part)
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(low, part, y)
    np.maximum.at(high, part, y)
    if y.max() > CROWN_Y:
        hat = y.min() > BROW_Y
        return np.full(len(y), HAT if hat else HAIR), np.full(len(y), cloth.CAP if hat else cloth.HAIR)
    if y.max() < ANKLE_Y:
        leather = np.where(y < SOLE_Y, cloth.SOLE, cloth.SHOES)
        return np.full(len(y), SHOES), np.where((low < -0.8)[part] | (high < -0.7)[part], leather, cloth.SOCKS)
    below = high < BELT_Y
    kind = np.where(below, BOTTOM, TOP)
    if ((low < KNEE_Y) & (high > BREAST_Y)).any():
        kind[:] = SUIT
    layers = np.where(below | (low < KNEE_Y), cloth.TROUSERS, cloth.SHIRT)[part]
    above = np.flatnonzero((kind == TOP) & (size >= SMALL))
    if len(above) > 1:  # large parts are worn over the others
        layers[part == above[np.argmax(size[above])]] = cloth.JACKET
    if count == 1 and kind[0] == SUIT:
        layers = np.where(y > 0.13, cloth.SHIRT, cloth.TROUSERS)
    return kind[part], layers
