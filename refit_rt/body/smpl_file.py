"""Converts the user's own SMPL file (.pkl, .npz) to a body file, without chumpy and without running any code in it."""

import io
import json
import pickle
import re
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from refit_rt.body.smpl import BETAS, check_arrays
from refit_rt.errors import UserError
from refit_rt.files import ASSETS, write_whole

WANTED = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "f", "kintree_table")
# SMPL_NEUTRAL.pkl, basicModel_neutral_lbs_10_207_0_v1.0.0.pkl, basicmodel_m_lbs_10_207_0_v1.1.0.pkl, ...
KNOWN_NAME = re.compile(r"(smpl|basicmodel)_(neutral|male|female|m|f)(_lbs_.*)?\.(pkl|npz)", re.IGNORECASE)
SEXES = {"neutral": "neutral", "male": "male", "m": "male", "female": "female", "f": "female"}
SEARCH_DEPTH = 4  # SMPL_python_v.1.1.0/smpl/models/<file>
SMPL_VERTICES = 6890
SMPL_MARKERS = ASSETS / "body" / "smpl_markers.json"
MOST_ENTRIES = 50_000_000  # a sparse matrix with more entries than this is not part of a body
CURE = "Download it again from smpl.is.tue.mpg.de (SMPL_NEUTRAL.pkl)"
LICENCE = "SMPL model licence of the Max Planck Society: the user's own copy, not to be passed on"


def import_smpl(path: Path, out: Path, markers: np.ndarray | None = None) -> Path:
    """Converts a SMPL file, or the one in a folder, to a body file that `load_body` reads, and returns its path.

    markers: vertex ids (67,); None takes ReFit's surface markers when the body has SMPL's 6890 vertices, and no
    markers otherwise. `out` (.npz) is written whole or not at all. Raises UserError.
    """
    out = Path(out)
    if out.suffix != ".npz":
        raise UserError(f"{out}: the name of a body file ends in .npz. Give such a name")
    source = find_smpl(Path(path))
    arrays: dict[str, Any] = read_smpl(source)
    if markers is None and len(arrays["v_template"]) == SMPL_VERTICES:
        markers = smpl_markers()
    if markers is not None:
        arrays["markers"] = np.asarray(markers)
        check_arrays(arrays, str(source))
    sex = re.search(r"_(neutral|male|female|m|f)(?=[_.])", source.name.lower())
    arrays["name"] = np.array(f"smpl_{SEXES[sex[1]]}" if sex else source.stem)
    arrays["licence"] = np.array(LICENCE)
    with write_whole(out, "Give another path") as part:
        np.savez_compressed(part, **arrays)
    return out


def read_smpl(path: Path) -> dict[str, np.ndarray]:
    """Reads the arrays of a SMPL .pkl or .npz file, or of the one found in a folder, under SMPL's names.

    float32 v_template (V, 3), shapedirs (V, 3, 10), posedirs (V, 3, 207) if any, J_regressor (24, V), weights (V, 24);
    int32 f (F, 3), kintree_table (2, 24) with -1 above the root. Raises UserError, also for a pickle that holds
    anything but plain data.
    """
    path = find_smpl(Path(path))
    try:
        blob = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}). Check the path") from error
    try:
        found = _read_npz(blob) if zipfile.is_zipfile(io.BytesIO(blob)) else _read_pickle(io.BytesIO(blob))
        arrays = {key: _array(found[key]) for key in WANTED if found.get(key) is not None}
    except _RefusedError as error:
        raise UserError(f"{path}: {error}, which no SMPL file needs, so it is not opened. {CURE}") from error
    except MemoryError as error:
        raise UserError(f"{path}: asks for more memory than this machine has. {CURE}") from error
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise UserError(f"{path}: is not a SMPL file or is damaged ({type(error).__name__}). {CURE}") from error
    check_arrays(arrays, str(path))
    tree = arrays["kintree_table"].astype(np.int64)
    tree[:, 0] = (-1, 0)  # SMPL stores the root's parent as 2**32 - 1
    arrays["shapedirs"] = arrays["shapedirs"][:, :, :BETAS]
    floats = {key: value.astype(np.float32) for key, value in arrays.items()}
    return floats | {"f": arrays["f"].astype(np.int32), "kintree_table": tree.astype(np.int32)}


def find_smpl(path: Path) -> Path:
    """Returns the SMPL file at `path`; in or below a folder, the neutral one or the only one. Raises UserError."""
    if not path.exists():
        raise UserError(f"{path}: does not exist. Give a SMPL file (SMPL_NEUTRAL.pkl) or a folder that holds one")
    if not path.is_dir():
        return path
    levels = ["*/" * depth + "*" for depth in range(SEARCH_DEPTH)]
    named = [file for level in levels for file in sorted(path.glob(level)) if KNOWN_NAME.fullmatch(file.name)]
    files = [file for file in named if file.is_file()]
    neutral = [file for file in files if "neutral" in file.name.lower()]
    if neutral:
        return neutral[0]
    if len(files) == 1:
        return files[0]
    if files:
        listed = ", ".join(str(file.relative_to(path)) for file in files)
        raise UserError(f"{path}: holds no neutral body but {listed}. Give the path of the one to import")
    raise UserError(
        f"{path}: holds no SMPL file. Give a folder that holds one, such as SMPL_NEUTRAL.pkl or"
        " basicmodel_neutral_lbs_10_207_0_v1.1.0.pkl"
    )


def smpl_markers() -> np.ndarray:
    """Returns the vertex ids (67,) int32 of the markers on SMPL's mesh that ReFit's published weights use."""
    return np.array(json.loads(SMPL_MARKERS.read_text())["vertex_ids"], np.int32)


class _RefusedError(pickle.UnpicklingError):
    """Raised when a pickle asks to run code."""


class _Inert:
    """Stands in for another library's object: keeps its state and runs nothing."""

    state: dict[str, Any]

    def __new__(cls, *_: Any, **__: Any) -> "_Inert":
        made = super().__new__(cls)
        made.state = {}
        return made

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, dict) else {}


class _Chumpy(_Inert):
    """Stands in for chumpy.Ch, whose value is the array x."""


class _Columns(_Inert):
    """Stands in for scipy.sparse.csc_matrix: data, indices, indptr."""


class _Rows(_Inert):
    """Stands in for scipy.sparse.csr_matrix: data, indices, indptr."""


class _Triplets(_Inert):
    """Stands in for scipy.sparse.coo_matrix: data, row, col."""


def _rebuilt(kind: type, base: type, _: Any) -> _Inert:
    """Replaces copyreg._reconstructor and builds stand-ins only."""
    if not issubclass(kind, _Inert) or base is not object:
        raise _RefusedError("asks to build an object that is not plain data")
    return kind()


def _dtype(code: str, align: int = 0, copy: int = 0) -> np.dtype:
    """Replaces numpy.dtype: Python 2 passes numbers for its booleans, about which numpy 2.4 warns."""
    return np.dtype(code, bool(align), bool(copy))


def _from_buffer(buffer: bytes, dtype: np.dtype, shape: tuple[int, ...], order: str, _: Any = None) -> np.ndarray:
    """Replaces numpy's _frombuffer, which pickle protocol 5 uses for arrays."""
    return np.frombuffer(buffer, dtype).reshape(shape, order="F" if order == "F" else "C")


def _latin1(text: str, encoding: str) -> bytes:
    """Replaces _codecs.encode, which Python 3 uses to store bytes under protocol 2."""
    if encoding != "latin1":
        raise _RefusedError(f"asks for the codec {encoding}")
    return text.encode("latin1")


_PLAIN = (object, set, frozenset, list, dict, tuple, int, float, complex)
_SPARSE = {"csc": _Columns, "csr": _Rows, "coo": _Triplets}
ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _latin1,
    **{(module, "_reconstructor"): _rebuilt for module in ("copyreg", "copy_reg")},
    ("collections", "OrderedDict"): OrderedDict,
    **{(module, kind.__name__): kind for module in ("builtins", "__builtin__") for kind in _PLAIN},
    **{(f"numpy.{core}.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0] for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): np.float64(0).__reduce__()[0] for core in ("core", "_core")},
    **{
        (f"scipy.sparse{module}", f"{kind}_{what}"): stand_in
        for kind, stand_in in _SPARSE.items()
        for module in ("", f".{kind}", f"._{kind}")
        for what in ("matrix", "array")
    },
}


class _PlainUnpickler(pickle.Unpickler):
    """Loads data and refuses code: only the names in ALLOWED exist, and every chumpy class is a stand-in.

    Names stay as the file has them, including Python 2's.
    """

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "chumpy":
            return _Chumpy
        if (module, name) not in ALLOWED:
            raise _RefusedError(f"asks to run {module}.{name}")
        return ALLOWED[module, name]


def _read_pickle(file: Any) -> dict[str, Any]:
    """Reads a pickled dict, from Python 2 or 3; its keys become str."""
    found = _PlainUnpickler(file, encoding="latin1").load()
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
                found[key] = _PlainUnpickler(entry, encoding="latin1").load()
            else:
                entry.seek(0)
                found[key] = np.lib.format.read_array(entry, allow_pickle=False)
    return found


def _array(value: Any) -> np.ndarray:
    """Makes a plain array from an array, a boxed object, or a stand-in for a chumpy array or a sparse matrix."""
    for _ in range(4):  # no SMPL file nests deeper than chumpy in an object array in chumpy
        if isinstance(value, np.ndarray) and value.dtype.hasobject:
            value = value.item()
        elif isinstance(value, _Chumpy):
            value = value.state["x"]
    if isinstance(value, (_Columns, _Rows, _Triplets)):
        return _dense(value)
    array = np.asarray(value)
    if array.dtype.hasobject:
        raise ValueError("not a plain array")
    return array


def _dense(matrix: _Inert) -> np.ndarray:
    """Makes the dense array (rows, columns) of a sparse stand-in."""
    state = matrix.state
    shape = tuple(int(n) for n in state.get("_shape", state.get("shape", ())))
    if len(shape) != 2 or not 0 < shape[0] * shape[1] <= MOST_ENTRIES:
        raise ValueError(f"sparse matrix of shape {shape}")
    if isinstance(matrix, _Triplets):
        places = (state["row"], state["col"]) if "row" in state else state["coords"]
        return sparse.coo_matrix((state["data"], places), shape=shape).toarray()
    make = sparse.csc_matrix if isinstance(matrix, _Columns) else sparse.csr_matrix
    built = make((state["data"], state["indices"], state["indptr"]), shape=shape)
    built.check_format(full_check=True)  # an index outside the matrix writes outside the array
    return built.toarray()
