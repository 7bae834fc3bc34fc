"""Draws accuracy over the side of people's squares, and in other squares, as a picture."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

WIDTH, HEIGHT = 1280, 640
LEFT, MIDDLE, RIGHT, TOP, BOTTOM = 80, 730, 800, 120, 560  # px: the two panels' edges
COLOURS = ((50, 50, 50), (200, 110, 30), (40, 90, 220))  # BGR: one per curve
GREY, FAINT, BAND = (90, 90, 90), (225, 225, 225), (240, 246, 238)
STEPS_MM = (1, 2, 5, 10, 20, 50, 100)
MOST_TICKS = 8
FONT = cv2.FONT_HERSHEY_SIMPLEX
Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One way to fit."""

    name: str
    by_scale: np.ndarray  # (scale,) PA-MPJPE mm
    in_others: np.ndarray  # (other,) the same


def draw(
    title: str, scales: np.ndarray, others: Sequence[str], curves: Sequence[Curve], band: np.ndarray | None
) -> np.ndarray:
    """The plot (HEIGHT, WIDTH, 3) BGR. scales (scale,): sides over the person's own, which must include 1.

    others (other,): names of other squares. band (2,): the scales between which most of the detector's squares lie;
    None: not known.
    """
    image = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    every = np.concatenate([part for curve in curves for part in (curve.by_scale, curve.in_others)])
    ticks = ticks_of(float(every.min()), float(every.max()))

    def y_of(mm: float) -> int:
        return round(BOTTOM - (mm - ticks[0]) / (ticks[-1] - ticks[0]) * (BOTTOM - TOP))

    def x_of(scale: float) -> int:
        low, high = np.log(scales.min() / 1.05), np.log(scales.max() * 1.05)
        return round(LEFT + (np.log(scale) - low) / (high - low) * (MIDDLE - LEFT))

    if band is not None:
        first, last = (x_of(float(np.clip(edge, scales.min(), scales.max()))) for edge in band)
        cv2.rectangle(image, (first, TOP), (last, BOTTOM), BAND, -1)
        _text(image, "detector's squares (5-95 %)", ((first + last) // 2, TOP + 18), 0.45, (80, 130, 70))
    for mm in ticks:
        for begin, end in ((LEFT, MIDDLE), (RIGHT, WIDTH - 30)):
            cv2.line(image, (begin, y_of(mm)), (end, y_of(mm)), FAINT, 1)
        _text(image, f"{mm:g}", (LEFT - 24, y_of(mm) + 5), 0.5, GREY)
    for scale in scales:
        cv2.line(image, (x_of(scale), BOTTOM), (x_of(scale), BOTTOM + 5), GREY, 1)
        _text(image, f"{scale:g}", (x_of(scale), BOTTOM + 24), 0.5, GREY)
    cv2.line(image, (x_of(1.0), TOP + 28), (x_of(1.0), BOTTOM), GREY, 1)
    places = np.linspace(RIGHT + 35, WIDTH - 65, len(others) + 1).round().astype(int).tolist()
    for place, name in zip(places, ["own", *others], strict=True):
        _text(image, name, (place, BOTTOM + 24), 0.5, GREY)
    own = int(np.flatnonzero(np.isclose(scales, 1))[0])
    for curve, colour in zip(curves, COLOURS, strict=False):
        points = [(x_of(scale), y_of(mm)) for scale, mm in zip(scales, curve.by_scale, strict=True)]
        dots = [(place, y_of(mm)) for place, mm in zip(places, [curve.by_scale[own], *curve.in_others], strict=True)]
        cv2.polylines(image, [np.array(points)], False, colour, 2, cv2.LINE_AA)
        for x, y in (*points, *dots):
            cv2.circle(image, (x, y), 5, colour, -1, cv2.LINE_AA)
    _text(image, title, (LEFT, 36), 0.7, (0, 0, 0), centred=False)
    _legend(image, curves)
    _text(image, "PA-MPJPE, mm", (LEFT - 60, TOP - 18), 0.5, GREY, centred=False)
    _text(image, "side of the square, over the person's own", ((LEFT + MIDDLE) // 2, HEIGHT - 22), 0.5, GREY)
    _text(
        image,
        "the person's own square, shifted, and the detector's",
        ((RIGHT + WIDTH - 30) // 2, HEIGHT - 22),
        0.5,
        GREY,
    )
    return image


def _legend(image: np.ndarray, curves: Sequence[Curve]) -> None:
    x = LEFT
    for curve, colour in zip(curves, COLOURS, strict=False):
        cv2.line(image, (x, 66), (x + 30, 66), colour, 2, cv2.LINE_AA)
        cv2.circle(image, (x + 15, 66), 5, colour, -1, cv2.LINE_AA)
        _text(image, curve.name, (x + 40, 71), 0.5, (0, 0, 0), centred=False)
        x += 70 + cv2.getTextSize(curve.name, FONT, 0.5, 1)[0][0]


def _text(
    image: np.ndarray, words: str, place: tuple[int, int], size: float, colour: Colour, centred: bool = True
) -> None:
    """Writes a line of text above `place`, px, with its middle or its left end there."""
    shift = cv2.getTextSize(words, FONT, size, 1)[0][0] // 2 if centred else 0
    cv2.putText(image, words, (place[0] - shift, place[1]), FONT, size, colour, 1, cv2.LINE_AA)


def ticks_of(low: float, high: float) -> np.ndarray:
    """Round values from below `low` to above `high`, at most MOST_TICKS."""
    for step in STEPS_MM:
        ticks = np.arange(np.floor(low / step), np.ceil(high / step) + 1) * step
        if 1 < len(ticks) <= MOST_TICKS:
            return ticks
    return np.array([low, high + 1])
