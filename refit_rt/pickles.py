"""Pickles are read as data: objects of other libraries become inert stand-ins, and what asks to run code is refused.

No name of a pickle is ever imported. It stands for an entry of ALLOWED, for an inert class, or for nothing:

| the pickle names | it gets |
|---|---|
| plain Python and numpy data | the data; arrays and their dtypes are built from checked codes and bytes |
| a class of another library, or one of HARMLESS | a class derived from `Inert`, which runs nothing |
| anything else of Python, numpy, scipy or torch | a RefusedError with its name |

numpy's own dtype must not be unpickled: its state may say that an array of Python objects holds none, and the bytes of
the pickle are then taken for pointers.
"""

import pickle
import re
import sys
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

PYTHON_2 = {"__builtin__", "commands", "copy_reg", "cPickle", "exceptions", "popen2", "urllib2"}
KEPT_OUT = sys.stdlib_module_names | PYTHON_2 | {"numpy", "scipy", "torch"}
HARMLESS = re.compile(
    r"argparse\.Namespace|types\.SimpleNamespace|functools\.partial|re\._compile|logging\.(Logger|getLogger)"
    r"|pathlib\.(_local\.)?(Pure)?(Posix|Windows)?Path|collections\.(defaultdict|Counter|deque|UserDict)"
    r"|datetime\.(date|time|datetime|timedelta|timezone)|decimal\.Decimal|fractions\.Fraction|uuid\.UUID"
    r"|typing\.\w+|(builtins|__builtin__)\.(slice|range|xrange|unicode|long)|time\.struct_time"
    r"|numpy\.(random|ma|dtypes)\.[\w.]+|numpy\.(matrixlib\.defmatrix\.matrix|memmap)|numpy\.(bool_?|str_|bytes_|object_|u?int\d+|float\d+|complex\d+)"
    r"|scipy\.sparse\.[\w.]+|torch\.(optim|nn|amp|cuda\.amp|utils\.data|distributed)\.[\w.]+|torch\.(Size|device|Tensor|u?int\d+|b?float\d+|bool)"
)
NUMBERS = re.compile(r"[<>|=]?([?b]|[biufc]\d+)")  # codes of dtypes whose bytes are numbers
CODES = re.compile(rf"{NUMBERS.pattern}|[<>|=]?[SUV]\d*|[|]?O\d?")
LONGEST = 200  # characters of a foreign text that a message shows


class RefusedError(pickle.UnpicklingError):
    """Raised when a pickle asks to run code."""


def shown(text: str) -> str:
    """A text of a foreign file as a message may show it: on one line, without escape codes, not too long."""
    clean = "".join(sign if sign.isprintable() else "?" for sign in text)
    return clean if len(clean) <= LONGEST else f"{clean[:LONGEST]}…"


class Inert:
    """Stands in for an object of another library: keeps what the pickle gives it and runs nothing."""

    origin: ClassVar[str] = ""  # the name in the pickle
    given: tuple[Any, ...]  # to the constructor
    state: dict[str, Any]  # the object's attributes
    entries: dict[Any, Any]  # what a dict holds

    def __new__(cls, *given: Any, **_: Any) -> "Inert":
        made = super().__new__(cls)
        made.given, made.state, made.entries = given, {}, {}
        return made

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) == 2:  # attributes, and those that have slots
            state = {name: value for part in state if isinstance(part, dict) for name, value in part.items()}
        self.state = state if isinstance(state, dict) else {}

    def __setitem__(self, key: Any, value: Any) -> None:
        self.entries[key] = value

    def append(self, _: Any) -> None:
        """What a list or a set holds is left out."""

    extend = add = append


class Stand:
    """A function that a pickle may call. Unlike a plain function, it has no attributes that a pickle could set."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *given: Any) -> Any:
        return self._call(*given)

    def __setstate__(self, _: Any) -> None:
        raise RefusedError("asks to change a function")


class _Dtype:
    """Stands in for numpy.dtype: `real` is made from a code of CODES, the byte order and checked fields."""

    def __init__(self, code: Any, *_: Any) -> None:
        code = code.decode("latin1") if isinstance(code, bytes) else code
        if not isinstance(code, str) or not CODES.fullmatch(code):
            raise RefusedError(f"asks for numbers of the kind {shown(str(code))}")
        self.real = np.dtype("O" if "O" in code else code)

    def __setstate__(self, state: tuple) -> None:
        order, inner, names, fields = state[1:5]
        if inner is not None:
            raise RefusedError("asks for an array inside an array")
        if names:
            parts = [fields[name] for name in names]
            formats = [_real(part[0]) for part in parts]
            if any(kind.hasobject for kind in formats):
                raise RefusedError("asks for objects inside a structured array")
            places: Any = {"names": list(names), "formats": formats, "offsets": [part[1] for part in parts]}
            self.real = np.dtype(places | {"itemsize": state[5]})
        elif order in ("<", ">"):
            self.real = self.real.newbyteorder(order)


class _Array(np.ndarray):
    """A numpy array that accepts only a `_Dtype` as the kind of its numbers."""

    def __setstate__(self, state: tuple) -> None:  # type: ignore[override]
        shape, kind, fortran, data = state[-4:]
        data = data.encode("latin1") if isinstance(data, str) else data  # as Python 2 has written it
        super().__setstate__((1, shape, _real(kind), bool(fortran), data))  # type: ignore[arg-type]


def _real(kind: Any) -> np.dtype:
    if not isinstance(kind, _Dtype):
        raise RefusedError("asks for an array of unknown numbers")
    return kind.real


def _array(*_: Any) -> np.ndarray:
    """Replaces numpy's _reconstruct: an empty array, which gets its content afterwards."""
    return np.ndarray.__new__(_Array, (0,))


def _from_buffer(buffer: bytes, kind: _Dtype, shape: tuple[int, ...], order: str, _: Any = None) -> np.ndarray:
    """Replaces numpy's _frombuffer, which pickle protocol 5 uses for arrays."""
    return np.frombuffer(buffer, _real(kind)).reshape(shape, order="F" if order == "F" else "C")


def _scalar(kind: _Dtype, data: Any = b"") -> Any:
    """Replaces numpy's scalar: one number or text. One of objects is the object."""
    if _real(kind).hasobject:
        return data
    return np.frombuffer(data.encode("latin1") if isinstance(data, str) else data, _real(kind), 1)[0]


def _latin1(text: str, encoding: str) -> bytes:
    """Replaces _codecs.encode, which Python 3 uses to store bytes under protocol 2."""
    if encoding != "latin1":
        raise RefusedError(f"asks for the codec {shown(str(encoding))}")
    return text.encode("latin1")


def _rebuilt(kind: Any, *_: Any) -> Inert:
    """Replaces copyreg._reconstructor and builds stand-ins only."""
    if not (isinstance(kind, type) and issubclass(kind, Inert)):
        raise RefusedError("asks to build an object that is not plain data")
    return kind()


def _attribute(thing: Any, name: str) -> type[Inert]:
    """Replaces getattr, by which pickles name methods: a method of a stand-in is a stand-in."""
    kind = thing if isinstance(thing, type) else type(thing)
    if not issubclass(kind, Inert):
        raise RefusedError("asks to run getattr")
    return _inert(f"{kind.origin}.{name}")


def _inert(origin: str) -> type[Inert]:
    return type("Inert", (Inert,), {"origin": origin, "__module__": "foreign"})


_BUILTINS = ("builtins", "__builtin__")
_PLAIN = (object, set, frozenset, list, dict, tuple, int, float, complex, str, bytes, bytearray, bool)
_NUMPY = {
    "multiarray._reconstruct": _array,
    "multiarray.scalar": _scalar,
    "numeric._frombuffer": _from_buffer,
}
ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): Stand(_array),
    ("numpy", "dtype"): Stand(_Dtype),
    ("_codecs", "encode"): Stand(_latin1),
    ("collections", "OrderedDict"): OrderedDict,
    **{(module, "_reconstructor"): Stand(_rebuilt) for module in ("copyreg", "copy_reg")},
    **{(module, "getattr"): Stand(_attribute) for module in _BUILTINS},
    **{(module, kind.__name__): kind for module in _BUILTINS for kind in _PLAIN},
    **{
        (f"numpy.{core}.{name.partition('.')[0]}", name.partition(".")[2]): Stand(made)
        for core in ("core", "_core")
        for name, made in _NUMPY.items()
    },
}


class PlainUnpickler(pickle.Unpickler):
    """Loads data and runs no code of the pickle. Names stay as the file has them, including Python 2's."""

    allowed: ClassVar[dict[tuple[str, str], Any]] = ALLOWED

    def find_class(self, module: str, name: str) -> Any:
        """An entry of `allowed` or an inert class. Raises RefusedError for everything else."""
        if (module, name) in self.allowed:
            return self.allowed[module, name]
        origin = f"{module}.{name}"
        if module.partition(".")[0] in KEPT_OUT and not HARMLESS.fullmatch(origin):
            raise RefusedError(f"asks to run {shown(origin)}")
        return _inert(origin)
