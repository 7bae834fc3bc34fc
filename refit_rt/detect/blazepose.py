"""BlazePose's person detector: finds people in a picture as squares with a roll.

The network is MediaPipe's `pose_detection.tflite` (Apache-2.0), which OpenVINO reads directly. Decoding follows the
options of MediaPipe's pose_detection_cpu graph (mediapipe 0.10.21): pixels to [-1, 1], 2254 SSD anchors of fixed size,
12 values each (face box, then four points), sigmoid scores, non-maximum suppression by weighted mean.
"""

from pathlib import Path

import cv2
import numpy as np
from scipy.special import expit

from refit_rt.errors import UserError
from refit_rt.geometry import iou

INPUT_PX = 224
STRIDES = (8, 16, 32, 32, 32)  # each entry puts two anchors on every cell of its grid
HIP, HEAD_END = 2, 3  # rows of a detection: the mid-hip; the point above the head on the circle around the body
SAME_FACE = 0.3  # face boxes with a higher IoU are one person (MediaPipe's own figure)

Part = tuple[float, float, float]  # square in the picture: left, top, side; pixels from the picture's top-left corner
People = tuple[np.ndarray, np.ndarray, np.ndarray]  # xyxy (n, 4) image pixels, score (n,), roll (n,) radians; float32


class BlazePoseDetector:
    """Finds people in any square part of a picture: one reliably, often two."""

    def __init__(self, path: Path, threads: int = 0):
        """Reads and compiles the network.

        threads: CPU threads; 0 leaves the choice to OpenVINO. Raises UserError for any other file.
        """
        self._network = _compiled(path, threads)
        self._values, self._logits = (0, 1) if self._network.outputs[0].shape[-1] == 12 else (1, 0)
        self._anchors = anchors()
        self._input = np.empty((1, INPUT_PX, INPUT_PX, 3), np.uint8)

    def find(self, image: np.ndarray, threshold: float) -> People:
        """Finds the people in a whole picture (height, width, 3) BGR uint8, best score first.

        Each square encloses the circle that holds the whole body and is centred on the mid-hip: it may extend beyond
        the picture, and it is as large for a sitting person as for a standing one. The roll points to the head.
        """
        height, width = image.shape[:2]
        side = max(height, width)
        return self.look(image, ((width - side) / 2, (height - side) / 2, side), threshold)

    def look(self, image: np.ndarray, part: Part, threshold: float) -> People:
        """Finds the people in a square part of the picture; the part may extend beyond the picture."""
        letterbox(image, part, self._input[0])
        answers = self._network(self._input)
        score = expit(answers[self._logits].reshape(-1))
        sure = score >= threshold
        values = answers[self._values].reshape(-1, 6, 2)[sure] / INPUT_PX
        values[:, [0, 2, 3, 4, 5]] += self._anchors[sure, None]  # row 1 is the face's size, the others are points
        values, score = suppress(values, score[sure])
        left, top, side = part
        up = values[:, HEAD_END] - values[:, HIP]
        reach = np.linalg.norm(up, axis=-1, keepdims=True)
        # The network's origin is the picture's corner; `geometry` has it at the centre of the top-left pixel.
        hip = values[:, HIP] * side + (left - 0.5, top - 0.5)
        xyxy = np.concatenate([hip - reach * side, hip + reach * side], 1)
        roll = np.arctan2(up[:, 0], -up[:, 1])
        return xyxy.astype(np.float32), score.astype(np.float32), roll.astype(np.float32)


def _compiled(path: Path, threads: int):
    """Compiles the network with uint8 BGR input (1, 224, 224, 3)."""
    import openvino
    from openvino.preprocess import ColorFormat, PrePostProcessor

    core = openvino.Core()
    try:
        graph = core.read_model(path)
    except RuntimeError as error:
        raise UserError(f"{path}: OpenVINO cannot read it. Delete it; the next run fetches it again") from error
    shapes = sorted(str(output.partial_shape) for output in graph.outputs)
    if shapes != ["[1,2254,12]", "[1,2254,1]"]:
        cure = "Delete it; the next run fetches it again"
        raise UserError(f"{path}: its outputs are {' '.join(shapes)}, not 2254 anchors. {cure}")
    steps = PrePostProcessor(graph)
    picture = steps.input()
    picture.tensor().set_element_type(openvino.Type.u8).set_color_format(ColorFormat.BGR)
    picture.preprocess().convert_element_type(openvino.Type.f32).convert_color(ColorFormat.RGB).mean(127.5).scale(127.5)
    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    return core.compile_model(steps.build(), "CPU", options | ({"INFERENCE_NUM_THREADS": threads} if threads else {}))


def letterbox(image: np.ndarray, part: Part, out: np.ndarray) -> None:
    """Fills `out` (side, side, 3) with a square part of the picture; pixels outside the picture are black."""
    left, top, side = part
    height, width = image.shape[:2]
    x0, y0 = max(0, round(left)), max(0, round(top))
    x1, y1 = min(width, round(left + side)), min(height, round(top + side))
    out.fill(0)
    edges = np.array([x0 - left, y0 - top, x1 - left, y1 - top]) * (len(out) / side)
    u0, v0, u1, v1 = (int(edge) for edge in np.clip(np.round(edges), 0, len(out)))
    if x1 <= x0 or y1 <= y0 or u1 <= u0 or v1 <= v0:
        return
    inside = image[y0:y1, x0:x1]
    # OpenCV halves an image on a fast path: reducing 4K to 224 takes 5 ms in halves, 30 ms in one step.
    while min(inside.shape[1] / (u1 - u0), inside.shape[0] / (v1 - v0)) >= 3:
        inside = cv2.resize(inside, (inside.shape[1] // 2, inside.shape[0] // 2), interpolation=cv2.INTER_AREA)
    cv2.resize(inside, (u1 - u0, v1 - v0), dst=out[v0:v1, u0:u1], interpolation=cv2.INTER_AREA)


def anchors() -> np.ndarray:
    """Returns the anchors' centres (2254, 2), 0..1 across the input, in the network's order."""
    grids = []
    for stride in dict.fromkeys(STRIDES):
        cells = INPUT_PX // stride
        middle = (np.arange(cells) + 0.5) / cells
        grid = np.stack(np.meshgrid(middle, middle), -1).reshape(-1, 2)
        grids.append(np.repeat(grid, 2 * STRIDES.count(stride), axis=0))
    return np.concatenate(grids).astype(np.float32)


def suppress(values: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Merges detections of the same person into their score-weighted mean, best score first.

    values (n, 6, 2): centre and size of the face, then the four points; score (n,).
    Returns the merged values (people, 6, 2) and each person's best score (people,).
    """
    faces = np.concatenate([values[:, 0] - values[:, 1] / 2, values[:, 0] + values[:, 1] / 2], 1)
    left = np.argsort(-score, kind="stable")
    people, best = np.zeros((0, 6, 2)), np.zeros(0)
    while len(left):
        same = iou(faces[left[:1]], faces[left])[0] > SAME_FACE
        same[0] = True
        group = left[same]
        people = np.concatenate([people, np.average(values[group], axis=0, weights=score[group])[None]])
        best = np.append(best, score[group[0]])
        left = left[~same]
    return people, best
