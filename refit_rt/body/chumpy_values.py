"""The values of chumpy's expressions, from stand-ins and without chumpy.

A SMPL file that has been changed in chumpy and pickled again holds expressions, such as the sum of an array and an
offset. Those that only compute, select and reorder are evaluated as chumpy does (chumpy/ch.py, ch_ops.py and
reordering.py name the operands used here); every other one is refused by name.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from refit_rt.pickles import Inert, shown

DEEPEST = 50  # expressions inside expressions
MOST_NUMBERS = 50_000_000  # in one array: the largest of a body, SMPL's pose blend shapes, has 4 million


class UnknownExpressionError(ValueError):
    """Raised for an expression that is not evaluated."""


def _select(state: dict[str, Any], a: np.ndarray) -> np.ndarray:
    picked = a.ravel()[np.asarray(state["idxs"])]
    return picked.reshape(state["preferred_shape"]) if "preferred_shape" in state else picked


def _at_least(state: dict[str, Any], x: np.ndarray) -> np.ndarray:
    return {1: np.atleast_1d, 2: np.atleast_2d, 3: np.atleast_3d}[state["ndims"]](x)


def _matrix_times_vector(state: dict[str, Any], vector: np.ndarray) -> np.ndarray:
    product = np.asarray(state["mtx"]) @ vector.ravel()
    wide = vector.ndim > 1 and vector.shape[1] > 1
    return product.reshape(-1, vector.shape[1]) if wide else product


# Name of the class → its operands, and what it makes of its attributes and of them.
EXPRESSIONS: dict[str, tuple[tuple[str, ...], Callable[..., Any]]] = {
    "Ch": (("x",), lambda _, x: x),
    "ChHandle": (("x",), lambda _, x: x),
    "add": (("a", "b"), lambda _, a, b: a + b),
    "subtract": (("a", "b"), lambda _, a, b: a - b),
    "multiply": (("a", "b"), lambda _, a, b: a * b),
    "divide": (("x1", "x2"), lambda _, a, b: a / b),
    "negative": (("x",), lambda _, x: -x),
    "dot": (("a", "b"), lambda _, a, b: a @ b if a.ndim and b.ndim else a * b),
    "MatVecMult": (("vec",), _matrix_times_vector),
    "Select": (("a",), _select),
    "Reshape": (("a",), lambda state, a: a.reshape(state["newshape"])),
    "AtleastNd": (("x",), _at_least),
    "transpose": (("a",), lambda state, a: np.transpose(a, state.get("axes"))),
    "swapaxes": (("a",), lambda state, a: np.swapaxes(a, state["axis1"], state["axis2"])),
}


def value_of(expression: Any, depth: int = 0, known: dict[int, np.ndarray] | None = None) -> Any:
    """The array of a stand-in for a chumpy expression; every other value as it is.

    known: by id, what has been evaluated, because operands may occur many times. Raises UnknownExpressionError for an
    expression that is not in EXPRESSIONS.
    """
    if not (isinstance(expression, Inert) and expression.origin.startswith("chumpy.")):
        return expression
    known = {} if known is None else known
    if id(expression) in known:
        return known[id(expression)]
    name, state = expression.origin.rpartition(".")[2], expression.state
    if name == "Concatenate":
        names = tuple(state["dterms"])
    elif name in EXPRESSIONS:
        names = EXPRESSIONS[name][0]
    else:
        raise UnknownExpressionError(f"a chumpy expression that is not evaluated ({shown(expression.origin)})")
    if depth > DEEPEST:
        raise UnknownExpressionError("a chumpy expression of too many parts")
    parts = [value_of(state[name], depth + 1, known) for name in names]
    if name == "Ch":  # the array, which may be an object of another kind
        return parts[0]
    arrays = [np.asarray(part) for part in parts]
    if any(array.dtype.hasobject for array in arrays):
        raise UnknownExpressionError(f"a chumpy expression of other things than arrays ({shown(expression.origin)})")
    _check_size(name, arrays)
    made = np.concatenate(arrays, state["axis"]) if name == "Concatenate" else EXPRESSIONS[name][1](state, *arrays)
    known[id(expression)] = np.asarray(made)
    return known[id(expression)]


def _check_size(name: str, arrays: list[np.ndarray]) -> None:
    """Raises UnknownExpressionError for a result that no body needs."""
    if name == "Concatenate":
        numbers = sum(array.size for array in arrays)
    elif name == "dot" and all(array.ndim for array in arrays):
        numbers = math.prod(arrays[0].shape[:-1]) * math.prod(arrays[1].shape[:-2] + arrays[1].shape[1:][-1:])
    elif len(arrays) == 2:
        numbers = math.prod(np.broadcast_shapes(*(array.shape for array in arrays)))
    else:
        numbers = arrays[0].size
    if numbers > MOST_NUMBERS:
        raise UnknownExpressionError(f"a chumpy expression of {numbers} numbers")
