"""Reads label files that are pickles, without running code they may hold."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from refit_rt.errors import UserError
from refit_rt.pickles import ALLOWED


class _PlainUnpickler(pickle.Unpickler):
    """Loads numbers, text and arrays; only the names in ALLOWED can be imported by a pickle."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks to run {module}.{name}, which no label file needs")
        return ALLOWED[module, name]


def read_labels(path: Path, what: str) -> dict[str, Any]:
    """Reads a pickled dict, also of Python 2, with str keys. what names the data set in errors. Raises UserError."""
    cure = f"Fetch {what} again"
    try:
        with path.open("rb") as file:
            found = _PlainUnpickler(file, encoding="latin1").load()
        return {key.decode() if isinstance(key, bytes) else str(key): value for key, value in found.items()}
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}). {cure}") from error
    except MemoryError as error:
        raise UserError(f"{path}: needs more memory than this machine has. {cure}") from error
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise UserError(f"{path}: not a label file of {what} ({error}). {cure}") from error


def array(found: dict[str, Any], path: Path, key: str, shape: tuple[int | None, ...]) -> np.ndarray:
    """found[key] as float64 of this shape; None stands for any length. key may be nested (`smpl.trans`). UserError."""
    value: Any = found
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            raise UserError(f"{path}: lacks {key}. Fetch the data set again")
        value = value[part]
    return checked(value, path, key, shape)


def checked(value: Any, path: Path, what: str, shape: tuple[int | None, ...]) -> np.ndarray:
    """value as float64 of this shape; None stands for any length. Raises UserError."""
    try:
        numbers = np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: {what} is not an array of numbers. Fetch the data set again") from error
    lengths = numbers.shape if numbers.ndim == len(shape) else [-1] * len(shape)
    if not all(wanted in (None, there) for wanted, there in zip(shape, lengths, strict=True)):
        wanted = "(" + ", ".join("any" if want is None else str(want) for want in shape) + ")"
        raise UserError(f"{path}: {what} has shape {numbers.shape}, but {wanted} is needed. Fetch the data set again")
    return numbers
