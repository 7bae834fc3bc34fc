"""A file of torch, safetensors or pickle → its dict, without running any code that the file may hold."""

import io
import tarfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from refit_rt.errors import UserError
from refit_rt.kinds import TORCH_LEGACY, TRANSFERS, file_kind
from refit_rt.pickles import ALLOWED, Inert, PlainUnpickler, RefusedError, Stand, shown

CURE = "Give a checkpoint that torch.save has written, such as {'model': state_dict}"
REFUSED = TRANSFERS | {
    "torchscript": f"is a TorchScript program, not a checkpoint. {CURE}",
    "npz": f"is an archive of numpy arrays (.npz), not a checkpoint. {CURE}",
    "zip": "is a zip archive without a checkpoint of torch. Unpack it and give the checkpoint inside",
}
READ = ("torch", "safetensors", "pickle", "")
UNPACK = "Unpack it and give the checkpoint inside"


def read_checkpoint(path: Path) -> dict[Any, Any]:
    """The dict in a checkpoint: tensors on the CPU, plain Python and numpy data, and `Inert` for everything else.

    Reads what torch.save writes now and wrote before 2020 (no zip archive), .safetensors, and plain pickles. Raises
    UserError, in one line, for every other file and for a pickle that asks to run code.
    """
    if path.is_dir():
        bundle = (
            "It is a bundle: use it with --fit.bundle" if (path / "model.yaml").exists() else "Give the file inside"
        )
        raise UserError(f"{path}: is a folder, not a checkpoint. {bundle}")
    if not path.exists():
        raise UserError(f"{path}: no such file. Give the path of a checkpoint")
    try:
        kind = file_kind(path)
        if kind in ("torch", "pickle", "") and tarfile.is_tarfile(path):  # torch.load would unpack it
            kind = "a tar archive"
        if kind not in READ:
            raise UserError(f"{path}: {REFUSED.get(kind, f'is {kind}, not a checkpoint. {_cure_of(kind)}')}")
        found = safetensors.torch.load_file(path) if kind == "safetensors" else _unpickled(path, kind)
    except UserError:
        raise
    except RefusedError as error:
        raise UserError(f"{path}: {error}, which no checkpoint needs, so it is not opened. {CURE}") from error
    except MemoryError as error:
        raise UserError(f"{path}: asks for more memory than this machine has. {CURE}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or 'damaged'}). Check the path") from error
    except Exception as error:  # a damaged file can raise nearly anything, and torch's advice does not help
        what = "not a checkpoint of tensors, or a download that broke off"
        raise UserError(f"{path}: is {what} ({type(error).__name__}). Download it again. {CURE}") from error
    entries = entries_of(found)
    if entries is None:
        what = found.origin if isinstance(found, Inert) else type(found).__name__
        raise UserError(f"{path}: holds a {shown(what)}, not a checkpoint. {CURE}")
    return dict(entries)


def _cure_of(kind: str) -> str:
    return UNPACK if kind.endswith("archive") else CURE


def entries_of(value: Any) -> Mapping[Any, Any] | None:
    """The entries of a dict, of another library's dict, or of a pickled module (its state dict); else None."""
    if isinstance(value, Mapping):
        return value
    if not isinstance(value, Inert):
        return None
    return state_of_module(value) if "_modules" in value.state else value.entries or None


def state_of_module(module: Inert) -> dict[str, Any]:
    """The state dict of a torch.nn.Module that has been pickled whole. Its own code is not needed."""
    own: dict[str, Any] = {}
    for kind in ("_parameters", "_buffers"):
        own |= entries_of(module.state.get(kind)) or {}
    for name, part in (entries_of(module.state["_modules"]) or {}).items():
        own |= {f"{name}.{inner}": value for inner, value in (entries_of(part) or {}).items()}
    return own


def _unpickled(path: Path, kind: str) -> Any:
    with path.open("rb") as file:
        legacy = file.read(len(TORCH_LEGACY)) == TORCH_LEGACY
        file.seek(0)
        if kind == "torch" or legacy:
            return _torch_load(file)
        return _Unpickler(file, encoding="latin1").load()


def _torch_load(file: Any) -> Any:
    # weights_only=True has a restricted unpickler too, but it refuses what trainers put beside the weights. Here every
    # name of the pickle goes through PlainUnpickler, which imports none of them.
    with warnings.catch_warnings(action="ignore"):  # of torch, about sources that it cannot compare
        return torch.load(file, map_location="cpu", weights_only=False, pickle_module=_PICKLE, encoding="latin1")


def _tensor(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    """Replaces torch's _rebuild_tensor and _rebuild_tensor_v2. Hooks and metadata are left out."""
    return torch.empty(0, dtype=storage.dtype).set_(storage.untyped(), offset, size, stride)


def _first(tensor: Any, *_: Any) -> Any:
    """Replaces torch's _rebuild_parameter: the tensor alone."""
    return tensor


def _with_attributes(make: Any, _: Any, given: tuple[Any, ...], __: Any) -> Any:
    """Replaces _rebuild_from_type_v2, which torch uses for tensors with attributes: the tensor alone."""
    if not isinstance(make, Stand):
        raise RefusedError("asks to build a tensor of another library")
    return make(*given)


def _storage(blob: bytes) -> Any:
    """Replaces _load_from_bytes, which plain pickles use for the numbers of a tensor."""
    if not blob.startswith(TORCH_LEGACY):
        raise RefusedError("asks to read a file inside the file")
    return _torch_load(io.BytesIO(blob))


class _Bytes:
    """Stands in for torch.UntypedStorage. It has no attributes that a pickle could set."""

    __slots__ = ()
    dtype = torch.uint8


class _Unpickler(PlainUnpickler):
    """Also builds tensors."""

    allowed: ClassVar[dict[tuple[str, str], Any]] = {
        **ALLOWED,
        **{("torch._utils", name): Stand(_tensor) for name in ("_rebuild_tensor", "_rebuild_tensor_v2")},
        **{("torch._utils", f"_rebuild_parameter{more}"): Stand(_first) for more in ("", "_with_state")},
        ("torch._tensor", "_rebuild_from_type_v2"): Stand(_with_attributes),
        ("torch.storage", "_load_from_bytes"): Stand(_storage),
        ("torch.storage", "UntypedStorage"): _Bytes(),
    }


def _load(file: Any, **options: Any) -> Any:
    return _Unpickler(file, **options).load()


_PICKLE = SimpleNamespace(__name__="refit_rt.pickles", Unpickler=_Unpickler, load=_load)


def tensor_of(value: Any) -> Tensor | None:
    """A tensor, or an array of numbers as a tensor; None for everything else."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "fiub":
        return torch.from_numpy(np.array(value, value.dtype.newbyteorder("=")))
    return None
