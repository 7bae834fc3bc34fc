"""Output layouts of .onnx detectors: recognises the layout and decodes the people.

| form | outputs | exported by |
|---|---|---|
| grid | (1, cells, 5 + classes): offsets, log sizes, objectness, classes | YOLOX's own export |
| decoded | as grid, in input pixels | YOLOX with decode_in_inference |
| picked | (1, n, 5) x0 y0 x1 y1 score, with or without labels (1, n) | YOLOX and RTMDet of mmdeploy |
| scored | boxes (1, n, 4) xyxy picture pixels, labels (1, n), scores (1, n) | RT-DETR, D-FINE, DEIM |
| logits | boxes (1, n, 4) centre and size 0..1, logits (1, n, classes) | Hugging Face's RT-DETR and D-FINE; RF-DETR |
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import expit

from refit_rt.errors import UserError
from refit_rt.geometry import iou

STRIDES = (8, 16, 32)  # strides of YOLOX's three grids
SAME = 0.6  # YOLOX boxes with a higher IoU are one person; YOLOX's demo uses 0.45, which loses embracing people
COCO_WITH_GAPS = 90  # with at least this many classes (COCO's own ids) a person is class 1, otherwise class 0
EXPECTED = {
    "yolox": "(1, cells, 5 + classes) of strides 8, 16, 32 or (1, n, 5)",
    "detr": "labels (1, n), boxes (1, n, 4), scores (1, n) or logits (1, n, classes), pred_boxes (1, n, 4)",
    "rfdetr": "dets (1, n, 4), labels (1, n, classes)",
}

Answers = dict[str, np.ndarray]  # output name -> array; an unnamed output goes by its index


@dataclass(frozen=True, slots=True)
class Layout:
    """Which layout a file has, and which output holds what."""

    name: str  # yolox, detr or rfdetr: a value of detect.layout
    form: str  # a row of the table above
    boxes: str  # name of the output that holds the boxes
    scores: str = ""  # name of the output that holds the scores or logits, if they are separate
    labels: str = ""  # name of the output that holds the classes, if there is one


def recognise(answers: Answers, size: tuple[int, int], wanted: str, path: Path) -> Layout:
    """Recognises the layout of a file from its outputs.

    answers: the outputs for one picture; size: the network's width and height; wanted: the setting detect.layout
    (auto accepts any); path: the file, for the error. Raises UserError for an unknown layout or one not wanted.
    """
    found = _recognise(answers, size, wanted)
    shapes = ", ".join(f"{name} {array.shape}" for name, array in answers.items())
    if found is None:
        only = next(iter(answers.values()))
        if len(answers) == 1 and only.ndim == 3 and only.shape[2] == _cells(size):
            cure = "This is the layout of YOLOv5 to v11, which is not supported: use a YOLOX, DETR or RF-DETR export"
        else:
            cure = "Export the detector in one of these layouts, with a fixed size and a batch of one"
        expected = EXPECTED if wanted == "auto" else {wanted: EXPECTED[wanted]}
        kinds = "; ".join(f"{name}: {text}" for name, text in expected.items())
        raise UserError(f"{path}: its outputs are {shapes}, which is no known layout ({kinds}). {cure}")
    if wanted != "auto" and found.name != wanted:
        raise UserError(
            f"{path}: its outputs are {shapes}, which is {found.name}, not detect.layout {wanted} ({EXPECTED[wanted]})."
            f" Set detect.layout to {found.name} or auto"
        )
    return found


def _recognise(answers: Answers, size: tuple[int, int], wanted: str) -> Layout | None:
    shapes = {name: array.shape for name, array in answers.items() if array.ndim >= 2 and array.shape[0] == 1}
    fours = [name for name, shape in shapes.items() if len(shape) == 3 and shape[2] == 4]
    fives = [name for name, shape in shapes.items() if len(shape) == 3 and shape[2] == 5]
    lists = [name for name, shape in shapes.items() if len(shape) == 2]
    wide = [name for name, shape in shapes.items() if len(shape) == 3 and name not in fours]
    if len(fours) > 1:  # the scores of four classes have the shape of boxes
        wide = [name for name in fours if "logits" in name or "labels" in name]
        fours = [name for name in fours if "box" in name or "dets" in name]
    if len(fours) == 1 and len(lists) == 2:
        labels = _labels(lists, answers)
        return Layout("detr", "scored", fours[0], next(name for name in lists if name != labels), labels)
    if len(fours) == 1 and wide:
        logits = next((name for name in wide if "logits" in name or "labels" in name), wide[0])
        if shapes[logits][1] == shapes[fours[0]][1]:
            gaps = shapes[logits][2] >= COCO_WITH_GAPS or "dets" in fours[0]
            name = wanted if wanted in ("detr", "rfdetr") else "rfdetr" if gaps else "detr"
            return Layout(name, "logits", fours[0], logits)
    if len(fives) == 1 and len(lists) <= 1:
        return Layout("yolox", "picked", fives[0], labels=lists[0] if lists else "")
    if len(wide) == 1 and not fours and shapes[wide[0]][1] == _cells(size) and shapes[wide[0]][2] > 5:
        # Decoded centres spread over the whole input; offsets stay within a few cells of their own cell.
        decoded = np.abs(answers[wide[0]][..., :2]).max() > max(size) / 2
        return Layout("yolox", "decoded" if decoded else "grid", wide[0])
    return None


def _labels(lists: list[str], answers: Answers) -> str:
    """Returns which of two (1, n) outputs holds the classes: the one named so, otherwise the one of integers."""
    named = [name for name in lists if "label" in name or "class" in name]
    whole = [name for name in lists if np.issubdtype(answers[name].dtype, np.integer)]
    return (named or whole or lists)[0]


def _cells(size: tuple[int, int]) -> int:
    return sum((size[0] // stride) * (size[1] // stride) for stride in STRIDES)


def decode(
    layout: Layout, answers: Answers, size: tuple[int, int], picture: tuple[int, int], threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Decodes the people from a detector's outputs.

    size, picture: width and height of the network's input and of the picture; threshold: the lowest score returned.
    Returns xyxy (n, 4) in pixels from the picture's top-left corner and score (n,), best score first.
    """
    boxes = answers[layout.boxes][0].astype(np.float64)
    letterbox = max(picture[0] / size[0], picture[1] / size[1])
    match layout.form:
        case "scored":
            score = answers[layout.scores][0] * (answers[layout.labels][0] == 0)
        case "logits":
            logits = answers[layout.scores][0]
            person = 1 if layout.name == "rfdetr" and logits.shape[1] >= COCO_WITH_GAPS else 0
            score = expit(logits[:, person])
            boxes = _corners(boxes) * np.array(picture * 2)
        case "picked":
            score = boxes[:, 4] * (answers[layout.labels][0] == 0 if layout.labels else 1)
            boxes = boxes[:, :4] * letterbox
        case _:
            score = boxes[:, 4] * boxes[:, 5]
            boxes = _corners(from_grid(boxes[:, :4], size) if layout.form == "grid" else boxes[:, :4]) * letterbox
    sure = np.flatnonzero(score >= max(threshold, 1e-6))
    sure = sure[np.argsort(-score[sure], kind="stable")]
    if layout.form in ("grid", "decoded"):
        sure = sure[distinct(boxes[sure])]
    return boxes[sure], score[sure]


def _corners(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)


def from_grid(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Turns YOLOX's offsets and log sizes (cells, 4) into centre and size in input pixels (cells, 4)."""
    cells, strides = [], []
    for stride in STRIDES:
        columns, rows = np.meshgrid(np.arange(size[0] // stride), np.arange(size[1] // stride))
        cells.append(np.stack([columns, rows], -1).reshape(-1, 2))
        strides.append(np.full((columns.size, 1), stride))
    stride = np.concatenate(strides)
    return np.concatenate([(values[:, :2] + np.concatenate(cells)) * stride, np.exp(values[:, 2:]) * stride], 1)


def distinct(boxes: np.ndarray, same: float = SAME) -> list[int]:
    """Non-maximum suppression: returns the rows of boxes (n, 4), best first, that do not repeat a better one.

    same: boxes with this IoU are one person.
    """
    kept: list[int] = []
    left = np.arange(len(boxes))
    while len(left):
        kept.append(int(left[0]))
        left = left[1:][iou(boxes[left[:1]], boxes[left[1:]])[0] < same]
    return kept
