"""SMPL files of every kind are read without chumpy, and a pickle with code is refused without running it."""

import collections
import io
import os
import pickle
import struct
import sys
import types
import zipfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from scipy import sparse

from refit_rt.body.smpl import PARENTS, load_body, vertices_reference
from refit_rt.body.smpl_file import WANTED, import_smpl, read_smpl, smpl_markers
from refit_rt.errors import UserError
from refit_rt.geometry import matrix_from_axis_angle


@pytest.fixture(scope="module")
def smpl() -> dict[str, Any]:
    """Arrays in the shapes, types and containers of SMPL_NEUTRAL.pkl, with random numbers."""
    rng = np.random.default_rng(3)
    vertices = 6890
    regressor = rng.random((24, vertices)) * (rng.random((24, vertices)) < 0.002)
    regressor[range(24), range(24)] = 1
    posedirs = np.zeros((vertices, 3, 207))
    posedirs[:, :, 5] = rng.normal(0, 0.01, (vertices, 3))
    weights = np.zeros((vertices, 24))
    weights[np.arange(vertices), rng.integers(0, 24, vertices)] = 1
    return {
        "v_template": rng.normal(size=(vertices, 3)),
        "shapedirs": rng.normal(0, 0.01, (vertices, 3, 10)),
        "posedirs": posedirs,
        "J_regressor": sparse.csc_matrix(regressor / regressor.sum(1, keepdims=True)),
        "weights": weights,
        "f": rng.integers(0, vertices, (100, 3)).astype(np.uint32),
        "kintree_table": np.array([[2**32 - 1, *PARENTS[1:]], range(24)], np.int64),
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }


@pytest.fixture
def chumpy(monkeypatch: pytest.MonkeyPatch) -> type:
    """A class that pickles as chumpy's arrays do, for the time in which a test writes its file."""

    class Ch:
        def __init__(self, x: np.ndarray) -> None:
            self.x = x
            self._dirty_vars = {"x"}
            self._itr = None

    Ch.__module__, Ch.__qualname__ = "chumpy.ch", "Ch"
    package, module = types.ModuleType("chumpy"), types.ModuleType("chumpy.ch")
    module.Ch = Ch  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "chumpy", package)
    monkeypatch.setitem(sys.modules, "chumpy.ch", module)
    return Ch


def plain(smpl: dict[str, Any]) -> dict[str, np.ndarray]:
    return {k: smpl[k].toarray() if sparse.issparse(smpl[k]) else np.asarray(smpl[k]) for k in WANTED}


def check_read(path: Path, smpl: dict[str, Any]) -> None:
    read = read_smpl(path)
    assert set(read) == set(WANTED)
    for key, wanted in plain(smpl).items():
        if key != "kintree_table":
            np.testing.assert_allclose(read[key], wanted, rtol=1e-6, atol=1e-9, err_msg=key)
    assert read["kintree_table"][0].tolist() == list(PARENTS)


def as_python_2(data: Any) -> bytes:
    """Protocol 2 as Python 2 wrote it: byte strings, old module names, numbers for booleans in dtypes."""

    base: Any = pickle._Pickler  # type: ignore[attr-defined]

    class Old(base):
        dispatch: ClassVar = dict(base.dispatch)

        def save_bytes(self, value: bytes) -> None:
            self.write(b"T" + struct.pack("<i", len(value)) + value)

        dispatch[bytes] = save_bytes
        dispatch[str] = lambda self, value: self.save_bytes(value.encode("latin1"))
        dispatch[bool] = lambda self, value: self.save_long(int(value))

    file = io.BytesIO()
    Old(file, 2).dump(data)
    renamed = file.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    return renamed.replace(b"cscipy.sparse._csc\n", b"cscipy.sparse.csc\n")


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("keep", ["csc", "csr", "coo", "dense"])
def test_a_pickle_is_read_with_a_regressor_of_any_kind(tmp_path, smpl, protocol, keep):
    few = 500  # vertices: this is about containers
    lean = smpl | {key: smpl[key][:few] for key in ("v_template", "shapedirs", "posedirs", "weights")}
    regressor = smpl["J_regressor"][:, :few]
    lean["J_regressor"] = regressor.toarray() if keep == "dense" else regressor.asformat(keep)
    lean["f"] = smpl["f"] % few
    path = tmp_path / "SMPL_NEUTRAL.pkl"
    path.write_bytes(pickle.dumps(lean, protocol))
    check_read(path, lean)


def test_a_pickle_of_python_2_with_chumpy_inside_is_read_without_chumpy(tmp_path, smpl, chumpy):
    inside = smpl | {key: chumpy(smpl[key]) for key in ("shapedirs", "v_template", "weights")}
    path = tmp_path / "basicModel_neutral_lbs_10_207_0_v1.0.0.pkl"
    blob = as_python_2(inside)
    assert b"chumpy.ch" in blob
    path.write_bytes(blob)
    del sys.modules["chumpy.ch"], sys.modules["chumpy"]
    check_read(path, smpl)


def test_an_npz_is_read_also_with_a_pickled_regressor_inside(tmp_path, smpl):
    path = tmp_path / "SMPL_NEUTRAL.npz"
    np.savez(path, **plain(smpl))  # type: ignore[arg-type]
    check_read(path, smpl)
    boxed = {"J_regressor": np.array(smpl["J_regressor"], dtype=object)}
    np.savez(path, **(plain(smpl) | boxed))  # type: ignore[arg-type]
    check_read(path, smpl)


def test_three_hundred_betas_are_cut_to_ten(tmp_path, smpl):
    wide = np.concatenate([smpl["shapedirs"], np.ones((6890, 3, 290))], 2, dtype=np.float32)
    path = tmp_path / "basicmodel_neutral_lbs_10_207_0_v1.1.0.pkl"
    path.write_bytes(pickle.dumps(smpl | {"shapedirs": wide}, 2))
    check_read(path, smpl)


def test_a_folder_is_searched_for_the_neutral_body_under_its_known_names(tmp_path, smpl):
    folder = tmp_path / "SMPL_python_v.1.1.0" / "smpl" / "models"
    folder.mkdir(parents=True)
    (folder / "basicmodel_f_lbs_10_207_0_v1.1.0.pkl").write_bytes(b"the other one")
    (folder / "basicmodel_m_lbs_10_207_0_v1.1.0.pkl").write_bytes(b"another one")
    (tmp_path / "SMPLX_NEUTRAL.npz").write_bytes(b"not this")
    with pytest.raises(UserError, match=r"no neutral body but .*basicmodel_f.*Give the path of the one"):
        read_smpl(tmp_path)
    (folder / "basicmodel_neutral_lbs_10_207_0_v1.1.0.pkl").write_bytes(pickle.dumps(smpl, 4))
    check_read(tmp_path, smpl)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no SMPL file"):
        read_smpl(tmp_path / "empty")
    with pytest.raises(UserError, match="does not exist"):
        read_smpl(tmp_path / "nowhere")


def test_an_imported_body_is_posed_as_its_arrays_define(tmp_path, smpl):
    source = tmp_path / "SMPL_NEUTRAL.pkl"
    source.write_bytes(pickle.dumps(smpl, 2))
    body = load_body(import_smpl(source, tmp_path / "bodies" / "smpl.npz"))
    assert body.name == "smpl_neutral"
    assert body.markers is not None
    np.testing.assert_array_equal(body.markers, smpl_markers())
    assert body.pose_dirs is not None
    rng = np.random.default_rng(0)
    rotations, betas = matrix_from_axis_angle(rng.normal(0, 0.5, (24, 3))), rng.normal(size=10)
    np.testing.assert_allclose(body.vertices(rotations, betas), vertices_reference(body, rotations, betas), atol=1e-5)
    places = plain(smpl)["J_regressor"] @ (smpl["v_template"] + smpl["shapedirs"] @ betas)
    np.testing.assert_allclose(body.joints(np.tile(np.eye(3), (24, 1, 1)), betas), places, atol=1e-5)
    assert [file.name for file in (tmp_path / "bodies").iterdir()] == ["smpl.npz"]


def test_the_free_body_survives_an_import_with_its_markers(tmp_path: Path):
    from refit_rt.body.smpl import PACKAGED

    free = load_body()
    again = load_body(import_smpl(PACKAGED, tmp_path / "again.npz", free.markers))
    np.testing.assert_array_equal(again.template, free.template)
    np.testing.assert_array_equal(again.markers, free.markers)
    assert load_body(import_smpl(PACKAGED, tmp_path / "bare.npz")).markers is None


def test_the_markers_of_smpl_are_67_of_its_vertices():
    ids = smpl_markers()
    assert ids.shape == (67,)
    assert len(set(ids.tolist())) == 67
    assert ids.min() >= 0
    assert ids.max() < 6890


class Evil:
    """Plain pickle would call the function when it loads this."""

    def __init__(self, function, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("function", [os.system, eval, exec, os.putenv], ids=lambda f: f.__name__)
def test_a_pickle_that_holds_code_is_refused_and_not_run(tmp_path, smpl, function, protocol):
    sign = tmp_path / "run"
    code = {"system": f"touch {sign}", "putenv": "A"}.get(function.__name__, f"open({str(sign)!r}, 'w')")
    arguments = (code, "B") if function is os.putenv else (code,)
    path = tmp_path / "SMPL_NEUTRAL.pkl"
    path.write_bytes(pickle.dumps({"bs_style": Evil(function, *arguments), "f": smpl["f"]}, protocol))
    with pytest.raises(UserError, match=f"asks to run .*{function.__name__}.*not opened") as caught:
        read_smpl(path)
    assert "\n" not in str(caught.value)
    assert not sign.exists()


def test_code_hidden_in_an_npz_or_behind_known_names_is_refused(tmp_path, smpl):
    sign = tmp_path / "run"
    path = tmp_path / "SMPL_NEUTRAL.npz"
    evil = np.array(Evil(os.system, f"touch {sign}"), dtype=object)
    np.savez(path, **(plain(smpl) | {"J_regressor": evil}))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="asks to run"):
        read_smpl(path)
    for module, name in (("numpy", "ndarray.__class__"), ("collections", "namedtuple"), ("codecs", "encode")):
        text = [b"\x80\x04", b"\x8c", bytes([len(module)]), module.encode(), b"\x8c", bytes([len(name)]), name.encode()]
        (tmp_path / "SMPL_NEUTRAL.pkl").write_bytes(b"".join(text) + b"\x93.")
        with pytest.raises(UserError, match="asks to run"):
            read_smpl(tmp_path / "SMPL_NEUTRAL.pkl")
    assert not sign.exists()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
@pytest.mark.parametrize("kind", ["pkl", "npz"])
def test_a_truncated_file_is_refused_in_one_line(tmp_path, smpl, share, kind):
    whole = tmp_path / f"SMPL_NEUTRAL.{kind}"
    if kind == "pkl":
        whole.write_bytes(pickle.dumps(smpl, 2))
    else:
        np.savez(whole, **plain(smpl))  # type: ignore[arg-type]
    blob = whole.read_bytes()
    whole.write_bytes(blob[: int(len(blob) * share)])
    with pytest.raises(UserError, match=r"damaged|is empty|broke off") as caught:
        import_smpl(whole, tmp_path / "out" / "body.npz")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists(), "nothing half-written"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"weights": np.zeros((6890, 52))}, "is SMPL-H, not SMPL"),
        ({"v_template": np.zeros((10475, 3)), "weights": np.zeros((10475, 55))}, "is SMPL-X, not SMPL"),
        ({"posedirs": np.zeros((6890, 3, 93))}, "is STAR, not SMPL"),
        ({"v_template": np.linspace(0, [0.2, 0.6, 0.1], 6890)}, "0.60 m tall, as the infants of SMIL"),
        ({"posedirs": np.zeros((6890, 3, 459))}, "posedirs is"),
        ({"J_regressor": None}, "lacks J_regressor"),
        ({"v_template": "text"}, "v_template is"),
        ({"f": np.full((5, 3), 7000)}, "faces do not fit"),
        ({"J_regressor": collections.OrderedDict()}, "not a SMPL file|J_regressor is"),
    ],
)
def test_a_body_of_another_kind_is_refused(tmp_path, smpl, changed, message):
    path = tmp_path / "SMPL_NEUTRAL.pkl"
    path.write_bytes(pickle.dumps(smpl | changed, 2))
    with pytest.raises(UserError, match=message):
        read_smpl(path)


STRANGERS = {
    "lfs": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 39001280\n",
        "pointer of Git LFS.*git lfs pull",
    ),
    "page": (b"<html><body>Please sign in", "is a web page.*sign in"),
    "gzip": (b"\x1f\x8b\x08\0\0\0\0\0", "is a gzip archive, not a SMPL file"),
    "npy": (b"\x93NUMPY\1\0", "is a single numpy array"),
    "text": (b"hello", "is a text, not a SMPL file"),
}


@pytest.mark.parametrize("name", STRANGERS)
def test_a_file_that_is_no_body_is_called_by_its_name(tmp_path, name):
    content, message = STRANGERS[name]
    (tmp_path / "SMPL_NEUTRAL.pkl").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_smpl(tmp_path / "SMPL_NEUTRAL.pkl")


def test_a_downloaded_zip_is_read_and_its_neutral_body_is_taken(tmp_path, smpl):
    path = tmp_path / "SMPL_python_v.1.1.0.zip"
    models = "SMPL_python_v.1.1.0/smpl/models"
    neutral = f"{models}/basicmodel_neutral_lbs_10_207_0_v1.1.0.pkl"
    content = {
        "SMPL_python_v.1.1.0/readme.txt": b"text",
        f"{models}/basicmodel_f_lbs_10_207_0_v1.1.0.pkl": b"another one",
        "__MACOSX/smpl/models/basicmodel_neutral_lbs_10_207_0_v1.1.0.pkl": b"no body",
        neutral: as_python_2(smpl),
    }
    pack(path, content)
    check_read(path, smpl)
    assert load_body(import_smpl(path, tmp_path / "body.npz")).name == "smpl_neutral"
    del content[neutral]
    pack(path, content)
    with pytest.raises(UserError, match=r"basicmodel_f_lbs_10_207_0_v1.1.0.pkl: is a text"):
        read_smpl(path)
    pack(path, content | {f"{models}/basicmodel_m_lbs_10_207_0_v1.1.0.pkl": b"another one"})
    with pytest.raises(UserError, match=r"no neutral body but .*basicmodel_f.*Unpack it\. Give the path"):
        read_smpl(path)
    pack(path, {"models/smplx/SMPLX_NEUTRAL.npz": b"not this"})
    with pytest.raises(UserError, match=r"no SMPL file but models/smplx/SMPLX_NEUTRAL.npz. Only SMPL fits"):
        read_smpl(path)
    pack(path, {"readme.txt": b"text"})
    with pytest.raises(UserError, match="holds no SMPL file"):
        read_smpl(path)


def pack(path: Path, content: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)


def test_an_npz_of_three_hundred_betas_is_cut_to_ten(tmp_path, smpl):
    lean = {key: smpl[key][:50] for key in ("v_template", "posedirs", "weights")} | {"f": smpl["f"] % 50}
    wide = np.concatenate([smpl["shapedirs"][:50], np.ones((50, 3, 290))], 2)
    np.savez(
        tmp_path / "SMPL_NEUTRAL.npz",
        **(plain(smpl) | lean | {"shapedirs": wide, "J_regressor": np.ones((24, 50))}),  # type: ignore[arg-type]
    )
    np.testing.assert_allclose(read_smpl(tmp_path / "SMPL_NEUTRAL.npz")["shapedirs"], smpl["shapedirs"][:50], atol=1e-7)


@pytest.fixture
def expression(monkeypatch: pytest.MonkeyPatch):
    """Makes objects that pickle as chumpy's expressions do: module, class, and the operands as attributes."""
    monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))

    def make(name: str, **state: Any) -> Any:
        module, _, kind = f"chumpy.{name}".rpartition(".")
        holder = sys.modules.get(module) or types.ModuleType(module)
        monkeypatch.setitem(sys.modules, module, holder)
        if not hasattr(holder, kind):
            setattr(holder, kind, type(kind, (), {"__module__": module}))
        made = getattr(holder, kind)()
        made.__dict__.update(state, _dirty_vars=set(), _itr=None)
        return made

    return make


def test_expressions_of_chumpy_are_evaluated_without_chumpy(tmp_path, smpl, expression):
    ch = lambda array: expression("ch.Ch", x=array)  # noqa: E731
    template, dirs, weights = smpl["v_template"], smpl["shapedirs"], smpl["weights"]
    order = np.arange(dirs.size).reshape(dirs.shape)
    moved = expression("ch_ops.add", a=ch(template - 1.5), b=ch(np.array([1.5, 1.5, 1.5])))
    scaled = expression(
        "ch_ops.multiply", a=expression("ch_ops.subtract", a=moved, b=ch(np.zeros(1))), b=ch(np.ones(1))
    )
    flat = expression("reordering.Reshape", a=ch(dirs[..., ::-1]), newshape=(-1,))
    picked = expression("reordering.Select", a=flat, idxs=order[..., ::-1].ravel(), preferred_shape=dirs.shape)
    halves = expression("reordering.Concatenate", m0=ch(weights[:9]), m1=ch(weights[9:]), dterms=["m0", "m1"], axis=0)
    turned = expression("reordering.transpose", a=expression("reordering.transpose", a=halves, axes=None), axes=(1, 0))
    posed = expression("ch_ops.dot", a=ch(smpl["posedirs"]), b=ch(np.eye(207)))
    made = {"v_template": scaled, "shapedirs": picked, "weights": turned, "posedirs": posed}
    made["J"] = expression("ch_random.whatever", x=1)  # what is not needed is not looked at
    path = tmp_path / "SMPL_NEUTRAL.pkl"
    path.write_bytes(pickle.dumps(smpl | made, 2))
    check_read(path, smpl)


def test_an_expression_that_is_not_evaluated_is_refused_by_name(tmp_path, smpl, expression):
    long = expression("ch.Ch", x=np.ones((10**6, 1)))
    deep = expression("ch.Ch", x=smpl["v_template"])
    for _ in range(100):
        deep = expression("ch_ops.add", a=deep, b=deep)
    path = tmp_path / "SMPL_NEUTRAL.pkl"
    for made, message in (
        (
            expression("ch_ops.exp", x=smpl["v_template"]),
            r"v_template is .* \(chumpy.ch_ops.exp\). Save it as a plain array",
        ),
        (expression("ch.ChLambda", lmb=None), "ChLambda"),
        (expression("ch_ops.add", a=long, b=np.ones((1, 10**6))), "of 1000000000000 numbers"),
        (deep, "of too many parts"),
    ):
        path.write_bytes(pickle.dumps(smpl | {"v_template": made}, 2))
        with pytest.raises(UserError, match=message):
            read_smpl(path)


def test_objects_of_other_libraries_beside_the_arrays_are_left_alone(tmp_path, smpl, expression):
    path = tmp_path / "SMPL_NEUTRAL.pkl"
    path.write_bytes(pickle.dumps(smpl | {"vert_sym_idxs": Path("a"), "extra": expression("utils.Struct", a=1)}, 2))
    check_read(path, smpl)


def test_a_sparse_regressor_that_points_outside_itself_is_refused(tmp_path, smpl):
    broken = smpl["J_regressor"].copy()
    broken.indices[0] = 10**6
    path = tmp_path / "SMPL_NEUTRAL.pkl"
    path.write_bytes(pickle.dumps(smpl | {"J_regressor": broken}, 2))
    with pytest.raises(UserError, match="damaged"):
        read_smpl(path)


def test_a_path_that_cannot_be_written_is_named(tmp_path, smpl):
    source = tmp_path / "SMPL_NEUTRAL.pkl"
    source.write_bytes(pickle.dumps(smpl, 4))
    with pytest.raises(UserError, match=r"ends in \.npz"):
        import_smpl(source, tmp_path / "body.pkl")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="cannot be written"):
        import_smpl(source, tmp_path / "file" / "body.npz")
    with pytest.raises(UserError, match="marker ids do not fit"):
        import_smpl(source, tmp_path / "body.npz", np.array([0, 6890]))
    assert not (tmp_path / "body.npz").exists()
