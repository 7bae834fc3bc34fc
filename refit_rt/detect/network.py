"""A detector's network that ships with the package: one OpenVINO graph, compiled for each size of its input."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from refit_rt.errors import UserError
from refit_rt.files import openvino_cache

MULTIPLE = 32  # sides of the networks' input are multiples of this


class Network:
    """A picture → the network's named outputs."""

    def __init__(self, path: Path, outputs: tuple[str, ...], threads: int = 1) -> None:
        """threads: CPU threads. Raises UserError when the file cannot be used."""
        from refit_rt.inference import openvino

        self._path, self._outputs, self._threads = path, outputs, threads
        self._compiled: dict[tuple[int, int], Any] = {}  # by (height, width); one camera has one or two sizes
        try:
            self._graph = openvino.Core().read_model(path)
        except RuntimeError as error:
            raise UserError(f"{path}: OpenVINO cannot read it. Install refit_rt again") from error
        names = {name for port in self._graph.outputs for name in port.get_names()}
        if lacking := [name for name in outputs if name not in names]:
            raise UserError(f"{path}: has no output {', '.join(lacking)}. Install refit_rt again")

    def __call__(self, canvas: np.ndarray) -> dict[str, np.ndarray]:
        """canvas (height, width, 3) uint8, sides multiples of MULTIPLE → each output (rows, columns, channels)."""
        size = (canvas.shape[0], canvas.shape[1])
        self.prepare(size)
        answers = self._compiled[size](canvas[None])
        return {name: np.asarray(answers[name])[0] for name in self._outputs}

    def prepare(self, size: tuple[int, int]) -> None:
        """Compiles the network for a size (height, width), which takes 0.2 to 1 s, unless it is compiled."""
        from refit_rt.inference import openvino

        if size in self._compiled:
            return
        graph = self._graph.clone()
        graph.reshape([1, *size, 3])
        options = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1", "INFERENCE_PRECISION_HINT": "f32"}
        options |= {"INFERENCE_NUM_THREADS": self._threads, **openvino_cache()}
        try:
            self._compiled[size] = openvino.Core().compile_model(graph, "CPU", options)
        except RuntimeError as error:
            raise UserError(
                f"{self._path}: OpenVINO cannot run it at {size[1]}x{size[0]} pixels. Install refit_rt again"
            ) from error


def fitted(image: np.ndarray, longer_px: int) -> tuple[np.ndarray, np.ndarray]:
    """The picture with `longer_px` on its longer side, at the top left of a black canvas whose sides are multiples of
    MULTIPLE; and canvas pixels per picture pixel in x and y. A smaller picture is enlarged: its people are small too.

    The picture is halved, for which OpenCV has a fast path, and then reduced by less than half: 0.8 ms for 720p, where
    an average of areas in one step takes 10 ms and finds as many people.
    """
    height, width = image.shape[:2]
    factor = longer_px / max(height, width)
    small = max(1, round(width * factor)), max(1, round(height * factor))
    canvas = np.zeros((*(-(-side // MULTIPLE) * MULTIPLE for side in small[::-1]), 3), np.uint8)
    while min(image.shape[1] / small[0], image.shape[0] / small[1]) >= 2:
        image = cv2.resize(image, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_AREA)
    cv2.resize(image, small, dst=canvas[: small[1], : small[0]], interpolation=cv2.INTER_LINEAR)
    return canvas, np.array([small[0] / width, small[1] / height])
