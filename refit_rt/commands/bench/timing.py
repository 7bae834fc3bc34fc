"""Wall time of functions that are called in turns."""

import time
from collections.abc import Callable

import numpy as np

ROUNDS = 15  # alternated, so that a busy moment of the machine meets every function
BLOCK = 5  # calls in a row, so that each function finds its own data in the cache, as in a run


def medians_ms(functions: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """Median wall time of each function, called in turns of BLOCK. Three calls of each come first and do not count."""
    for call in functions.values():
        for _ in range(3):
            call()
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, call in functions.items():
            for _ in range(BLOCK):
                began = time.perf_counter()
                call()
                times[name].append((time.perf_counter() - began) * 1e3)
    return {name: float(np.median(values)) for name, values in times.items()}
