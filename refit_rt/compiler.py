"""numba's compiler, whose cache on disk finds a place, or is done without: import njit from here."""

from collections.abc import Callable
from typing import Any

import numba
from numba.core import config as _config

from refit_rt.files import cache_folder

CONFIG: Any = _config  # its names are made at import


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """numba.njit(cache=True, **options), as a decorator.

    numba keeps what it compiles in $NUMBA_CACHE_DIR, beside the source file, or in the home, and refuses to compile
    where none of them can be written, as in a container with a read-only installation. There it is kept in
    `cache_folder`, or compiled at every start.
    """

    def compiled(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:  # numba has no better name for it, and decorating raises no other
            return _cached_elsewhere(function, options)

    return compiled


def _cached_elsewhere(function: Callable[..., Any], options: dict[str, Any]) -> Any:
    folder = cache_folder("numba")
    if folder is None:
        return numba.njit(**options)(function)
    before, CONFIG.CACHE_DIR = CONFIG.CACHE_DIR, str(folder)
    try:
        return numba.njit(cache=True, **options)(function)
    finally:
        CONFIG.CACHE_DIR = before
