"""Checkpoints of every trainer are read, what is none is called by its name, and nothing in a file is ever run."""

import argparse
import builtins
import io
import os
import pathlib
import pickle
import sys
import tarfile
import types
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="checkpoints need torch: pip install refit-rt[train]")

import safetensors.torch  # noqa: E402

from refit_rt.errors import UserError  # noqa: E402
from refit_rt.model import weights  # noqa: E402
from refit_rt.model.torch_file import read_checkpoint  # noqa: E402

ANCHOR = "update.weight"
STATE = OrderedDict({ANCHOR: torch.arange(6.0).reshape(2, 3), "norm.running_mean": torch.ones(2)})


def other(monkeypatch: pytest.MonkeyPatch, module: str, name: str, base: type = object) -> type:
    """A class of a library that is not installed; it exists while a file is written."""
    made = types.ModuleType(module)
    kind = type(name, (base,), {"__module__": module})
    setattr(made, name, kind)
    monkeypatch.setitem(sys.modules, module, made)
    monkeypatch.setitem(sys.modules, module.partition(".")[0], types.ModuleType("package"))
    return kind


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What trainers put beside the weights."""
    config: Any = other(monkeypatch, "yacs.config", "CfgNode", dict)(LR=1e-4)
    config.__dict__["__immutable__"] = True
    omega: Any = other(monkeypatch, "omegaconf.dictconfig", "DictConfig")()
    omega.__dict__.update(_content={"lr": 1e-4}, _parent=None)
    layer = torch.nn.Linear(2, 2)
    optimiser = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    return {
        "epoch": 3,
        "performance": np.float64(58.5),
        "best": np.float32(1),
        "steps": np.int64(7),
        "optimizer": optimiser.state_dict(),
        "lr_scheduler": torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, 10).state_dict(),
        "dataperm": np.random.default_rng(0).permutation(9),
        "names": np.array(["a", "b"]),
        "records": np.zeros(2, [("x", "<f4"), ("y", "<i8")]),
        "random": np.random.default_rng(1),
        "args": argparse.Namespace(lr=1e-4, out=pathlib.Path("runs")),
        "cfg": config,
        "omega": omega,
        "scores": defaultdict(list, {"mpjpe": [1.0]}),
        "device": torch.device("cpu"),
        "kind": torch.float16,
    }


def saved(path: Path, content: Any, how: str = "zip") -> Path:
    if how == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == "zip")
    return path


@pytest.mark.parametrize("how", ["zip", "legacy", "pickle"])
def test_weights_are_read_whatever_stands_beside_them(tmp_path, beside, how):
    path = saved(tmp_path / "checkpoint.pth.tar", {"model": STATE} | beside, how)
    for module in ("yacs", "yacs.config", "omegaconf", "omegaconf.dictconfig"):
        del sys.modules[module]
    found = read_checkpoint(path)
    assert found.keys() == {"model"} | beside.keys()
    for name, tensor in STATE.items():
        assert torch.equal(found["model"][name], tensor)
    assert (found["performance"], found["steps"]) == (58.5, 7)
    np.testing.assert_array_equal(found["dataperm"], beside["dataperm"])
    np.testing.assert_array_equal(found["records"], beside["records"])
    assert torch.equal(found["optimizer"]["state"][0]["exp_avg"], beside["optimizer"]["state"][0]["exp_avg"])


@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
def test_numbers_of_numpy_1_and_2_are_read(tmp_path, core):
    numbers = {kind: np.dtype(kind).type(3) for kind in ("f2", "f4", "f8", "i1", "u2", "i8", "?", ">f8")}
    text = pickle.dumps(numbers | {"array": np.arange(3, dtype=">i4")}, 2).replace(b"numpy._core", core.encode())
    (tmp_path / "a.pt").write_bytes(text)
    found = read_checkpoint(tmp_path / "a.pt")
    assert all(found[kind] == value for kind, value in numbers.items())
    assert found["array"].tolist() == [0, 1, 2]


def test_parameters_half_precision_and_shared_tensors_are_read(tmp_path):
    shared = torch.arange(12.0)
    state = {
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "view": shared[2:8].reshape(2, 3).T,
        "whole": shared,
        "none": torch.zeros(0, 3),
        "one": torch.tensor(5),
    }
    state["marked"] = torch.nn.Parameter(torch.ones(3))
    state["marked"].note = "attribute"
    found = read_checkpoint(saved(tmp_path / "a.pt", state))
    for name, tensor in state.items():
        assert torch.equal(found[name], tensor), name


WRAPPERS = {
    "bare": lambda state: state,
    "official": lambda state: {"model": state, "epoch": 1},
    "Lightning": lambda state: {
        "state_dict": before(state, "model.") | {"loss.weight": torch.ones(1)},
        "callbacks": {},
    },
    "DataParallel": lambda state: {"model": before(state, "module.")},
    "torch.compile": lambda state: {"model": before(state, "_orig_mod.")},
    "all of them": lambda state: {"state_dict": before(state, "model._orig_mod.module.")},
    "AveragedModel": lambda state: {"model": before(state, "module.") | {"n_averaged": torch.tensor(5)}},
    "numpy": lambda state: {name: tensor.numpy() for name, tensor in state.items()},
    "deep": lambda state: {"trainer": {"nets": {"refit": state}}},
}


def before(state: dict, prefix: str) -> dict:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_the_network_is_found_under_every_wrapper(tmp_path, wrapper):
    path = saved(tmp_path / "a.pt", WRAPPERS[wrapper](STATE))
    found = weights.find_network(read_checkpoint(path), ANCHOR, "a.pt")
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in STATE.items())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda last, mean: {"model": last, "ema": mean},
        lambda last, mean: {"state_dict": before(last, "net.") | before(mean, "ema_model.module.")},
        lambda last, mean: {"model": before(last, "module."), "ema": {"shadow": {ANCHOR: mean[ANCHOR]}, "decay": 0.9}},
        lambda last, mean: {"current_model_state": before(last, "model."), "state_dict": before(mean, "model.")},
        lambda last, mean: {"model": last, "callbacks": {"SWA": {"average_model_state": before(mean, "module.")}}},
    ],
)
def test_averaged_weights_are_preferred_and_what_they_lack_comes_from_the_last(tmp_path, wrap, caplog):
    caplog.set_level("INFO")
    mean = {name: tensor + 1 if name == ANCHOR else tensor for name, tensor in STATE.items()}
    found = weights.find_network(read_checkpoint(saved(tmp_path / "a.pt", wrap(STATE, mean))), ANCHOR, "a.pt")
    assert found.keys() == STATE.keys()
    assert torch.equal(found[ANCHOR], mean[ANCHOR])
    assert "averaged" in caplog.text


def test_a_pickled_module_and_safetensors_are_read_as_their_state_dicts(tmp_path):
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    saved(tmp_path / "whole.pt", module)
    saved(tmp_path / "old.pt", {"model": module}, "legacy")
    safetensors.torch.save_file(module.state_dict(), tmp_path / "a.safetensors")
    (tmp_path / "renamed.pt").write_bytes((tmp_path / "a.safetensors").read_bytes())
    for name in ("whole.pt", "old.pt", "a.safetensors", "renamed.pt"):
        found = weights.find_network(read_checkpoint(tmp_path / name), "0.weight", name)
        assert found.keys() == module.state_dict().keys(), name
        assert all(torch.equal(found[key], tensor) for key, tensor in module.state_dict().items())


def test_several_networks_and_none_are_refused(tmp_path):
    several = saved(tmp_path / "a.pt", {"student": STATE, "teacher": STATE | {ANCHOR: torch.zeros(2, 3)}})
    with pytest.raises(UserError, match="holds several networks, in student and teacher"):
        weights.find_network(read_checkpoint(several), ANCHOR, "a.pt")
    with pytest.raises(UserError, match="holds no weights but epoch, args"):
        weights.find_network({"epoch": 3, "args": {}}, ANCHOR, "a.pt")
    with pytest.raises(UserError, match=r"missing: .*; surplus: .*conv\.weight"):
        weights.from_official(weights.find_network({"model": {"conv.weight": torch.ones(1)}}, ANCHOR, "a.pt"))


def a_zip(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"content")
    return file.getvalue()


def a_tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("checkpoint.pth"), io.BytesIO())
    return file.getvalue()


def a_program() -> bytes:
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), file)
    return file.getvalue()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 300000000\n"
STRANGERS = {
    "empty": (b"", "is empty.*Download it again"),
    "zeros": (b"\0" * 5000, "zeros only"),
    "lfs": (LFS, "is a pointer of Git LFS.*git lfs pull"),
    "page": (
        b"\n<!DOCTYPE html>\n<html><title>Google Drive - Virus scan warning",
        "is a web page.*download the file itself",
    ),
    "xml": (b"<?xml version='1.0'?><Error><Code>AccessDenied", "is a web page"),
    "text": (b"Quota exceeded.\n", "is a text, not a checkpoint"),
    "gzip": (b"\x1f\x8b\x08\0\0\0\0\0", "is a gzip archive.*Unpack it"),
    "tar": (a_tar(), "is a tar archive.*Unpack it"),
    "zip": (a_zip("readme.txt"), "is a zip archive without a checkpoint.*Unpack it"),
    "npz": (a_zip("a.npy"), "archive of numpy arrays"),
    "npy": (b"\x93NUMPY\1\0", "single numpy array"),
    "picture": (b"\x89PNG\r\n\x1a\n", "is a picture"),
    "list": (pickle.dumps([1, 2]), "holds a list, not a checkpoint"),
    "noise": (bytes(range(256)) * 8, "not a checkpoint of tensors"),
}


@pytest.mark.parametrize("name", STRANGERS)
def test_a_file_that_is_no_checkpoint_is_called_by_its_name(tmp_path, name):
    content, message = STRANGERS[name]
    path = tmp_path / "refit_all.pt"
    path.write_bytes(content)
    check_refused(path, message)


def check_refused(path: Path, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        weights.load_official(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert text.isprintable(), "one line without escape codes"
    assert "weights_only" not in text


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_torchscript_program_and_a_folder_are_called_by_their_names(tmp_path):
    path = tmp_path / "script.pt"
    path.write_bytes(a_program())
    check_refused(path, "is a TorchScript program")
    check_refused(tmp_path, "is a folder, not a checkpoint")
    (tmp_path / "model.yaml").touch()
    check_refused(tmp_path, "is a bundle.*--fit.bundle")
    check_refused(tmp_path / "nothing.pt", "no such file")


@pytest.mark.parametrize("how", ["zip", "legacy", "pickle", "safetensors"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_a_download_that_broke_off_is_refused(tmp_path, how, share):
    path = tmp_path / "a.pt"
    if how == "safetensors":
        safetensors.torch.save_file({"a": torch.ones(5000)}, path)
    else:
        saved(path, {"model": {"a": torch.ones(5000)}}, how)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    check_refused(path, "broke off")


class Evil:
    """Plain pickle would call the function when it loads this."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("how", ["zip", "legacy", "pickle"])
@pytest.mark.parametrize("function", [os.system, eval, exec, builtins.__import__, torch.load, np.load])
def test_code_is_refused_and_not_run(tmp_path, function, how):
    sign = tmp_path / "run"
    code = {os.system: f"touch {sign}", builtins.__import__: "antigravity"}.get(function, f"open({str(sign)!r}, 'w')")
    evil = Evil(function, code)
    nested = {"model": STATE, "deep": [{"a": ({"b": evil},)}]}
    check_refused(saved(tmp_path / "a.pt", nested, how), r"asks to run .*not opened")
    assert not sign.exists()
    assert "antigravity" not in sys.modules


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_code_behind_other_doors_is_refused_and_not_run(tmp_path):
    sign = tmp_path / "run"
    inside = io.BytesIO()
    torch.save(Evil(os.system, f"touch {sign}"), inside, _use_new_zipfile_serialization=False)
    load = torch.storage._load_from_bytes
    for content, message in (
        ({"a": Evil(load, inside.getvalue())}, "asks to run .*system"),
        ({"a": Evil(load, a_program())}, "a file inside the file"),
        (
            {"a": Evil(torch._tensor._rebuild_from_type_v2, os.system, torch.Tensor, (f"touch {sign}",), {})},
            "asks to run",
        ),
    ):
        check_refused(saved(tmp_path / "a.pt", content), message)
    assert not sign.exists()
    for name in (b"system\x1b[31m", b"system\xc2\x85two"):
        (tmp_path / "a.pt").write_bytes(b"\x80\x04\x8c\x02os\x8c" + bytes([len(name)]) + name + b"\x93.")
        check_refused(tmp_path / "a.pt", "asks to run os.system")


def test_an_array_of_objects_cannot_pass_for_numbers(tmp_path):
    """numpy believes the flags in a pickled dtype, and would take the bytes for addresses of objects."""
    pretends = b"(I3\nS'|'\nNNNI-1\nI-1\nI0\nt"  # of a dtype that holds no objects
    dtype = b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR" + pretends + b"b"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
    (tmp_path / "a.pt").write_bytes(b"(dS'a'\n" + array + b"(I1\n(I1\nt" + dtype + b"I0\nS'AAAAAAAA'\ntbs.")
    check_refused(tmp_path / "a.pt", "not a checkpoint of tensors")


def test_functions_that_a_pickle_may_call_cannot_be_changed_by_it(tmp_path):
    (tmp_path / "a.pt").write_bytes(b"c_codecs\nencode\n(N(dS'__defaults__'\n(I1\ntstb.")
    check_refused(tmp_path / "a.pt", "asks to change a function")
