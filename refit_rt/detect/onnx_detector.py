"""Runs the user's own .onnx detector in OpenVINO: YOLOX, RT-DETR, D-FINE, DEIM, RF-DETR.

Loading a file runs it once on a grey picture, so that an unsuitable file or a wrong setting is reported at the start.
"""

from pathlib import Path

import cv2
import numpy as np

from refit_rt import config
from refit_rt.detect.layouts import Answers, decode, recognise
from refit_rt.errors import UserError
from refit_rt.files import openvino_cache

GREY = 114  # value of the test picture and of YOLOX's border
IMAGENET_RGB = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # mean and standard deviation, pixel values 0..255
STATISTICS = {"none": ((0.0,) * 3, (1.0,) * 3), "unit": ((0.0,) * 3, (255.0,) * 3), "imagenet": IMAGENET_RGB}
NORMALISE = {"yolox": "none", "detr": "unit", "rfdetr": "imagenet"}  # what the export code of each layout expects


class OnnxDetector:
    """Finds people by looking at the whole picture once; it does not measure their roll, which is always 0."""

    def __init__(self, settings: config.Detect, threads: int = 0):
        """Reads, compiles and tries the file.

        threads: CPU threads; 0 leaves the choice to OpenVINO. Raises UserError if the file or a setting does not fit.
        """
        self._path = Path(settings.model).expanduser()
        graph = _read(self._path)
        self._picture, self._size_input, self._size = _inputs(graph, settings.size_px, self._path)
        self._network = _compiled(graph, threads, self._path)
        self._names = [_name(output, index) for index, output in enumerate(self._network.outputs)]
        blank = np.full((1, 3, self._size[1], self._size[0]), GREY, np.float32)
        self._layout = recognise(self._run(blank, self._size), self._size, settings.layout, self._path)
        normalise = NORMALISE[self._layout.name] if settings.normalise == "auto" else settings.normalise
        self._mean, self._deviation = np.array(STATISTICS[normalise], np.float32)
        self._self_test()

    def find(self, image: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Finds the people in a picture (height, width, 3) BGR uint8.

        Returns xyxy (n, 4) image pixels, score (n,) and roll (n,), all zeros; float32.
        """
        size = (image.shape[1], image.shape[0])
        boxes, score = decode(self._layout, self._run(self._prepared(image), size), self._size, size, threshold)
        # A detector's origin is the picture's corner; `geometry` has it at the centre of the top-left pixel.
        return (boxes - 0.5).astype(np.float32), score.astype(np.float32), np.zeros(len(score), np.float32)

    def _prepared(self, image: np.ndarray) -> np.ndarray:
        """Resizes and normalises a picture to (1, 3, height, width) float32, the network's input."""
        if self._layout.name == "yolox":  # aspect kept, top left on grey, BGR
            scale = min(self._size[0] / image.shape[1], self._size[1] / image.shape[0])
            width, height = (max(1, round(side * scale)) for side in (image.shape[1], image.shape[0]))
            canvas = np.full((self._size[1], self._size[0], 3), GREY, np.uint8)
            canvas[:height, :width] = cv2.resize(image, (width, height))
            pixels = (canvas - self._mean[::-1]) / self._deviation[::-1]
        else:  # stretched, RGB
            pixels = (cv2.resize(image, self._size)[..., ::-1] - self._mean) / self._deviation
        return pixels.transpose(2, 0, 1)[None].astype(np.float32)

    def _run(self, pixels: np.ndarray, size: tuple[int, int]) -> Answers:
        """Runs the network. pixels (1, 3, height, width); size: the picture's width and height, an input of RT-DETR."""
        inputs = {self._picture: pixels}
        if self._size_input is not None:
            inputs[self._size_input] = np.array([size])
        kinds = [entry.get_element_type().to_dtype() for entry in self._network.inputs]
        try:
            answers = self._network({index: array.astype(kinds[index]) for index, array in inputs.items()})
        except RuntimeError as error:
            raise UserError(f"{self._path}: OpenVINO cannot run it ({_reason(error)}). Export it again") from error
        return {name: answers[index] for index, name in enumerate(self._names)}

    def _self_test(self) -> None:
        """Raises UserError unless a grey picture gives finite numbers, scores 0..1 and boxes in pixels."""
        grey = np.full((self._size[1], self._size[0], 3), GREY, np.uint8)
        answers = self._run(self._prepared(grey), self._size)
        for name, array in answers.items():
            if not np.isfinite(array).all():
                raise UserError(f"{self._path}: output {name} holds NaN or infinity. Export it again")
        boxes, score = decode(self._layout, answers, self._size, self._size, 0.0)
        where = f"{self._path}: read as {self._layout.name} ({self._layout.form})"
        if len(score) and score.max() > 1.001:
            raise UserError(f"{where}, but its scores reach {score.max():.3g}, not 0..1. Try another detect.layout")
        if self._layout.form == "scored" and len(boxes) and np.abs(boxes).max() < 2:
            raise UserError(f"{where}, but its boxes are 0..1, not pixels. Export it with its post-processor")


def _read(path: Path):
    from refit_rt.inference import openvino

    if not path.is_file():
        raise UserError(f"{path}: no such file. Set detect.model to an .onnx file, movenet or far")
    try:
        return openvino.Core().read_model(path)
    except RuntimeError as error:
        raise UserError(f"{path}: OpenVINO cannot read it ({_reason(error)}). Export it again as ONNX") from error


def _inputs(graph, size_px: int, path: Path) -> tuple[int, int | None, tuple[int, int]]:
    """Fixes the batch and the size of a graph.

    Returns the index of the picture's input, that of the picture size's input (or None), and the width and height.
    """
    shapes = [entry.partial_shape for entry in graph.inputs]
    listed = ", ".join(f"{_name(entry, index)} {entry.partial_shape}" for index, entry in enumerate(graph.inputs))
    pictures = [index for index, shape in enumerate(shapes) if shape.rank.is_static and len(shape) == 4]
    others = [index for index in range(len(shapes)) if index not in pictures]
    if len(pictures) != 1 or len(others) > 1:
        wanted = "one picture (1, 3, height, width) and at most its size"
        raise UserError(f"{path}: its inputs are {listed}, not {wanted}. Export a detector that takes these")
    shape = shapes[pictures[0]]
    if shape[1].is_static and shape[1].get_length() != 3:
        raise UserError(
            f"{path}: its inputs are {listed}, not (1, 3, height, width). Export it with the channels first"
        )
    sides = [shape[axis].get_length() if shape[axis].is_static else 0 for axis in (3, 2)]
    if 0 in sides and not size_px:
        raise UserError(f"{path}: does not name its input size ({listed}). Set detect.size_px; most exports take 640")
    if size_px and any(side not in (0, size_px) for side in sides):
        raise UserError(
            f"{path}: takes {sides[0]}x{sides[1]} pixels, but detect.size_px is {size_px}. Set detect.size_px to 0"
        )
    width, height = (side or size_px for side in sides)
    fixed = {pictures[0]: [1, 3, height, width], **{index: [1, 2] for index in others}}
    try:
        graph.reshape(fixed)
    except RuntimeError as error:
        raise UserError(f"{path}: cannot take {width}x{height} ({_reason(error)}). Check detect.size_px") from error
    return pictures[0], others[0] if others else None, (width, height)


def _compiled(graph, threads: int, path: Path):
    from refit_rt.inference import openvino

    # OpenVINO would choose bf16 on processors that have it, which moves the boxes of transformers.
    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    options |= openvino_cache() | ({"INFERENCE_NUM_THREADS": threads} if threads else {})
    try:
        return openvino.Core().compile_model(graph, "CPU", options)
    except RuntimeError as error:
        raise UserError(f"{path}: OpenVINO cannot compile it ({_reason(error)}). Export it again") from error


def _name(port, index: int) -> str:
    return min(port.get_names(), default=str(index))


def _reason(error: RuntimeError) -> str:
    """Returns the last line of OpenVINO's message, which holds the reason."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith("Exception from")]
    return (lines or ["no reason given"])[-1][:160]
