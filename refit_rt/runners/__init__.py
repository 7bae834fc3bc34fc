"""The interface of a runner: the network on one of several runtimes, crop → body."""

from collections.abc import Iterable
from typing import Protocol

import numpy as np

from refit_rt.types import Encoded, Result, State, View


class Runner(Protocol):
    """The network on one runtime: encode a crop once, then correct the body as often as time allows."""

    crop_px: int

    def encode(self, crop: np.ndarray) -> Encoded:
        """crop (crop_px, crop_px, 3) uint8 RGB."""
        ...

    def encode_all(self, crops: np.ndarray) -> Iterable[Encoded]:
        """crops (n, crop_px, crop_px, 3) uint8 RGB → each one's Encoded, in order.

        A runner encodes several at once where that is faster; it may encode each one only when it is asked for it.
        """
        ...

    def initial(self, encoded: Encoded, view: View) -> State:
        """The network's own first estimate, made from the whole crop."""
        ...

    def iterate(
        self,
        encoded: Encoded,
        view: View,
        state: State,
        iterations: int,
        update_rad: float = 0.0,
        deadline_s: float | None = None,
    ) -> Result:
        """Corrects `state` at most `iterations` times; the hidden states start at zero.

        The loop stops early when an update rotates every joint by less than `update_rad`, or when `time.monotonic()`
        has passed `deadline_s` after an iteration.
        """
        ...
