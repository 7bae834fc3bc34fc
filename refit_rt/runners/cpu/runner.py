"""The network on a CPU, without torch: the encoder in OpenVINO, the loop in numba."""

from collections.abc import Iterable

import numpy as np

from refit_rt.bundle.read import Bundle
from refit_rt.runners.cpu.encoder import OpenVinoEncoder
from refit_rt.runners.cpu.loop import NumbaLoop
from refit_rt.types import Encoded


class CpuRunner:
    """See refit_rt.runners.Runner."""

    def __init__(self, bundle: Bundle, precision: str = "auto", threads: int = 0) -> None:
        """precision (auto, f32, bf16 or int8) and threads (0: all cores) are the encoder's. Raises UserError."""
        self.crop_px = bundle.card.crop.size_px
        self._encoder = OpenVinoEncoder(bundle, precision, threads)
        self.precision = self._encoder.precision
        loop = NumbaLoop(bundle)
        self.initial, self.iterate = loop.initial, loop.iterate

    def encode(self, crop: np.ndarray) -> Encoded:
        return self._encoder(crop)

    def encode_all(self, crops: np.ndarray) -> Iterable[Encoded]:
        return self._encoder.encode_all(crops)
