"""Crop → body on one of several runtimes: what a runner is, and the choice of one."""

from typing import Protocol

import numpy as np

from refit_rt.types import Encoded, Result, State, View


class Runner(Protocol):
    """The network on one runtime: look once, then correct as often as time allows."""

    crop_px: int

    def encode(self, crop: np.ndarray) -> Encoded:
        """crop (crop_px, crop_px, 3) uint8 RGB."""
        ...

    def initial(self, encoded: Encoded, view: View) -> State:
        """The network's own first estimate, from the whole crop."""
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
        """Corrects `state` at most `iterations` times, hidden states starting at zero.

        Stops sooner when an update turns no joint by `update_rad`, or, after the first, when `time.monotonic()` has
        passed `deadline_s`.
        """
        ...
