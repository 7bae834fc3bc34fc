"""Converts the user's own SMPL file (.pkl, .npz, or the .zip that was downloaded) to a body file, without chumpy and
without running any code in it."""

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from refit_rt.body.chumpy_values import UnknownExpressionError, value_of
from refit_rt.body.smpl import BETAS, JOINTS, check_arrays
from refit_rt.errors import UserError
from refit_rt.files import ASSETS, write_whole
from refit_rt.kinds import TRANSFERS, kind_of
from refit_rt.pickles import Inert, PlainUnpickler, RefusedError, shown

WANTED = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "f", "kintree_table")
# SMPL_NEUTRAL.pkl, basicModel_neutral_lbs_10_207_0_v1.0.0.pkl, basicmodel_m_lbs_10_207_0_v1.1.0.pkl, ...
KNOWN_NAME = re.compile(r"(smpl|basicmodel)_(neutral|male|female|m|f)(_lbs_.*)?\.(pkl|npz)", re.IGNORECASE)
SEXES = {"neutral": "neutral", "male": "male", "m": "male", "female": "female", "f": "female"}
SEARCH_DEPTH = 4  # SMPL_python_v.1.1.0/smpl/models/<file>
SMPL_VERTICES = 6890
SMPL_MARKERS = ASSETS / "body" / "smpl_markers.json"
MOST_ENTRIES = 50_000_000  # a sparse matrix with more entries than this is not part of a body
MOST_BYTES = 2**31  # a file in a zip archive that is larger than this is no body
RELATIVES = {  # vertices and joints → the model
    (10475, 55): "SMPL-X",
    (6890, 52): "SMPL-H",
    (778, 16): "MANO, a hand",
    (5023, 5): "FLAME, a head",
    (3889, 33): "SMAL, an animal",
    (3889, 35): "SMAL, an animal",
}
STAR_FEATURES = 93  # the poses of STAR are quaternions of 23 joints, and one shape coefficient
ADULT_M = 1.0  # SMIL, the model of infants, has SMPL's vertices and joints, and is smaller than this
OTHER_NAME = re.compile(r"(smplx|smplh|smil|mano|flame|star)[_.]", re.IGNORECASE)
NEEDED = "Only SMPL fits: SMPL_NEUTRAL.pkl from smpl.is.tue.mpg.de"
CURE = "Download it again from smpl.is.tue.mpg.de (SMPL_NEUTRAL.pkl)"
LICENCE = "SMPL model licence of the Max Planck Society: the user's own copy, not to be passed on"


def import_smpl(path: Path, out: Path, markers: np.ndarray | None = None) -> Path:
    """Converts a SMPL file, or the one in a folder or .zip, to a body file for `load_body`, and returns its path.

    markers: vertex ids (67,); None takes ReFit's surface markers when the body has SMPL's 6890 vertices, and no
    markers otherwise. `out` (.npz) is written whole or not at all. Raises UserError.
    """
    out = Path(out)
    if out.suffix != ".npz":
        raise UserError(f"{out}: the name of a body file ends in .npz. Give such a name")
    source, blob = open_smpl(Path(path))
    arrays: dict[str, Any] = arrays_of(source, blob)
    if markers is None and len(arrays["v_template"]) == SMPL_VERTICES:
        markers = smpl_markers()
    if markers is not None:
        arrays["markers"] = np.asarray(markers)
        check_arrays(arrays, source)
    name = base_name(source)
    sex = re.search(r"_(neutral|male|female|m|f)(?=[_.])", name.lower())
    arrays["name"] = np.array(f"smpl_{SEXES[sex[1]]}" if sex else Path(name).stem)
    arrays["licence"] = np.array(LICENCE)
    with write_whole(out, "Give another path") as part:
        np.savez_compressed(part, **arrays)
    return out


def read_smpl(path: Path) -> dict[str, np.ndarray]:
    """Reads the arrays of a SMPL .pkl or .npz file, or of the one found in a folder or .zip, under SMPL's names.

    float32 v_template (V, 3), shapedirs (V, 3, 10), posedirs (V, 3, 207) if any, J_regressor (24, V), weights (V, 24);
    int32 f (F, 3), kintree_table (2, 24) with -1 above the root. Raises UserError, also for a pickle that asks to run
    code, and for SMPL's relatives (SMPL-H, SMPL-X, STAR, SMIL, ...).
    """
    place, blob = open_smpl(Path(path))
    return arrays_of(place, blob)


def arrays_of(place: str, blob: bytes) -> dict[str, np.ndarray]:
    """As `read_smpl`, of the bytes of a SMPL file. place: begins errors."""
    kind = kind_of(blob)
    if kind in TRANSFERS:
        raise UserError(f"{place}: {TRANSFERS[kind]}")
    if kind not in ("pickle", "npz", ""):
        what = {"torch": "a checkpoint of torch", "torchscript": "a TorchScript program"}.get(kind, kind)
        raise UserError(f"{place}: is {what}, not a SMPL file. {CURE}")
    key = ""
    try:
        found = _read_npz(blob) if kind == "npz" else _read_pickle(io.BytesIO(blob))
        arrays = {}
        for key in WANTED:
            if found.get(key) is not None:
                arrays[key] = _array(found[key])
    except RefusedError as error:
        raise UserError(f"{place}: {error}, which no SMPL file needs, so it is not opened. {CURE}") from error
    except UnknownExpressionError as error:
        raise UserError(f"{place}: {key} is {error}. Save it as a plain array: model['{key}'].r") from error
    except MemoryError as error:
        raise UserError(f"{place}: asks for more memory than this machine has. {CURE}") from error
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise UserError(f"{place}: is not a SMPL file or is damaged ({type(error).__name__}). {CURE}") from error
    if relative := relative_of(arrays):
        raise UserError(f"{place}: is {relative}, not SMPL. {NEEDED}")
    check_arrays(arrays, place)
    tree = arrays["kintree_table"].astype(np.int64)
    tree[:, 0] = (-1, 0)  # SMPL stores the root's parent as 2**32 - 1
    arrays["shapedirs"] = arrays["shapedirs"][:, :, :BETAS]
    floats = {key: value.astype(np.float32) for key, value in arrays.items()}
    return floats | {"f": arrays["f"].astype(np.int32), "kintree_table": tree.astype(np.int32)}


def relative_of(arrays: dict[str, np.ndarray]) -> str:
    """The model that the arrays are of, where it is not SMPL but one of its relatives; else ""."""
    template, weights, poses = (arrays.get(key, np.zeros(0)) for key in ("v_template", "weights", "posedirs"))
    if template.ndim != 2 or weights.ndim != 2:
        return ""
    size = (len(template), weights.shape[1])
    if size != (SMPL_VERTICES, JOINTS):
        return RELATIVES.get(size, "")
    if poses.ndim == 3 and poses.shape[2] == STAR_FEATURES:
        return "STAR"
    height_m = np.ptp(template, axis=0).max() if np.issubdtype(template.dtype, np.number) else ADULT_M
    return f"a body {height_m:.2f} m tall, as the infants of SMIL" if height_m < ADULT_M else ""


def open_smpl(path: Path) -> tuple[str, bytes]:
    """The place and the bytes of the SMPL file at `path`; in a folder or a .zip, of the neutral one or the only one.

    Raises UserError.
    """
    path = find_smpl(path)
    try:
        blob = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}). Check the path") from error
    return _unzipped(path, blob) if kind_of(blob) == "zip" else (str(path), blob)


def _unzipped(path: Path, blob: bytes) -> tuple[str, bytes]:
    """The place and the bytes of the SMPL file in the bytes of a .zip."""
    with zipfile.ZipFile(io.BytesIO(blob)) as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
        name = _chosen(path, [name for name in sizes if "__MACOSX" not in name])
        if sizes[name] > MOST_BYTES:
            raise UserError(f"{path}: {shown(name)} is larger than any SMPL file. {CURE}")
        try:
            return f"{path}/{shown(name)}", archive.read(name)
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OSError) as error:
            cure = "Unpack it yourself and give the file"
            raise UserError(f"{path}: {shown(name)} cannot be unpacked. {cure}") from error


def find_smpl(path: Path) -> Path:
    """Returns the SMPL file at `path`; in or below a folder, the neutral one or the only one. Raises UserError."""
    if not path.exists():
        raise UserError(f"{path}: does not exist. Give a SMPL file (SMPL_NEUTRAL.pkl) or a folder that holds one")
    if not path.is_dir():
        return path
    levels = ["*/" * depth + "*" for depth in range(SEARCH_DEPTH)]
    files = [file for level in levels for file in sorted(path.glob(level)) if file.is_file()]
    return path / _chosen(path, [str(file.relative_to(path)) for file in files])


def _chosen(path: Path, names: list[str]) -> str:
    """Of the names in a folder or archive, the neutral SMPL file, or the only one. Raises UserError."""
    files = [name for name in names if KNOWN_NAME.fullmatch(base_name(name))]
    neutral = [name for name in files if "neutral" in base_name(name).lower()]
    if neutral:
        return neutral[0]
    if len(files) == 1:
        return files[0]
    if files:
        listed = shown(", ".join(files))
        unpack = "" if path.is_dir() else "Unpack it. "
        raise UserError(f"{path}: holds no neutral body but {listed}. {unpack}Give the path of the one to import")
    others = [name for name in names if OTHER_NAME.match(base_name(name))]
    if others:
        raise UserError(f"{path}: holds no SMPL file but {shown(', '.join(others))}. {NEEDED}")
    raise UserError(
        f"{path}: holds no SMPL file. Give a file, folder or .zip with one, such as SMPL_NEUTRAL.pkl or"
        " basicmodel_neutral_lbs_10_207_0_v1.1.0.pkl"
    )


def base_name(name: str) -> str:
    """The last part of a name in a folder or archive."""
    return re.split(r"[/\\]", name)[-1]


def smpl_markers() -> np.ndarray:
    """Returns the vertex ids (67,) int32 of the markers on SMPL's mesh that ReFit's published weights use."""
    return np.array(json.loads(SMPL_MARKERS.read_text(encoding="utf-8"))["vertex_ids"], np.int32)


def _read_pickle(file: Any) -> dict[str, Any]:
    """Reads a pickled dict, from Python 2 or 3; its keys become str."""
    found = PlainUnpickler(file, encoding="latin1").load()
    return {key.decode() if isinstance(key, bytes) else key: value for key, value in found.items()}


def _read_npz(blob: bytes) -> dict[str, Any]:
    """Reads the WANTED entries of an .npz; object entries, as in some SMPL_NEUTRAL.npz, use the same unpickler."""
    found: dict[str, Any] = {}
    with zipfile.ZipFile(io.BytesIO(blob)) as archive:
        for key in set(WANTED) & {name.removesuffix(".npy") for name in archive.namelist()}:
            entry = io.BytesIO(archive.read(f"{key}.npy"))
            version = np.lib.format.read_magic(entry)
            old = version == (1, 0)
            header = np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
            if header(entry)[2].hasobject:
                found[key] = PlainUnpickler(entry, encoding="latin1").load()
            else:
                entry.seek(0)
                found[key] = np.lib.format.read_array(entry, allow_pickle=False)
    return found


def _array(value: Any) -> np.ndarray:
    """Makes a plain array from an array, a boxed object, a chumpy expression or a stand-in for a sparse matrix."""
    for _ in range(4):  # no SMPL file nests deeper than chumpy in an object array in chumpy
        if isinstance(value, np.ndarray) and value.dtype.hasobject:
            value = value.item()
        elif isinstance(value, Inert) and value.origin.startswith("chumpy."):
            value = value_of(value)
    if isinstance(value, Inert) and value.origin.startswith("scipy.sparse."):
        return _dense(value)
    array = np.array(value)
    if array.dtype.hasobject:
        raise ValueError("not a plain array")
    return array


def _dense(matrix: Inert) -> np.ndarray:
    """Makes the dense array (rows, columns) of a sparse stand-in: csc and csr have data, indices and indptr; coo has
    data, row and col."""
    state, kind = matrix.state, matrix.origin.rpartition(".")[2]
    shape = tuple(int(n) for n in state.get("_shape", state.get("shape", ())))
    if len(shape) != 2 or not 0 < shape[0] * shape[1] <= MOST_ENTRIES:
        raise ValueError(f"sparse matrix of shape {shape}")
    if kind.startswith("coo"):
        places = (state["row"], state["col"]) if "row" in state else state["coords"]
        return sparse.coo_matrix((state["data"], places), shape=shape).toarray()
    make = {"csc": sparse.csc_matrix, "csr": sparse.csr_matrix}[kind[:3]]
    built = make((state["data"], state["indices"], state["indptr"]), shape=shape)
    built.check_format(full_check=True)  # an index outside the matrix writes outside the array
    return built.toarray()
