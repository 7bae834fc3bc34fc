"""Adds an int8 encoder to a bundle, beside the exact one."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import msgspec
import numpy as np
import onnx

from refit_rt import config, geometry
from refit_rt.bundle import read as bundles
from refit_rt.bundle.equalise import plain
from refit_rt.bundle.int8 import compiled, in_int8, observe
from refit_rt.bundle.make import store_halves, write_card
from refit_rt.capture.folder import SUFFIXES, natural
from refit_rt.detect import Detector, make_detector
from refit_rt.errors import UserError
from refit_rt.files import write_whole
from refit_rt.types import Frame, Known, Square

MOST_CROPS = 160  # the number of crops that are used at most
HELD_OUT = 5  # every fifth crop is kept out of the ranges, and the error is measured on these
PEOPLE_PER_PHOTO = 4  # the number of people per photo that are used at most
MOST_STRAY = 0.15  # largest permitted difference of the maps over their size; above it the loop goes wrong
MOST_STRAY_PX = 3.0  # largest permitted mean difference of the landmarks, in crop pixels


def quantise_with(name: str, images: Path) -> float:
    """As `quantise`, for a bundle's name or folder and the people in a folder of photos. Raises UserError."""
    path = bundles.find_bundle(name)
    detector = make_detector(config.Detect())
    return quantise(path, crops_of(photos(images), detector, bundles.read_card(path).crop))


def photos(folder: Path) -> Iterator[np.ndarray]:
    """The readable images of a folder, (height, width, 3) uint8 BGR. Raises UserError when the folder has no images."""
    folder = folder.expanduser()
    listed = folder.iterdir() if folder.is_dir() else ()
    paths = sorted((path for path in listed if path.suffix.lower() in SUFFIXES), key=natural)
    if not paths:
        suffixes = " ".join(sorted(SUFFIXES))
        raise UserError(f"{folder}: not a folder with images ({suffixes}). Give a folder with photos of people")
    pictures = (cv2.imread(str(path), cv2.IMREAD_COLOR) for path in paths)
    return (picture for picture in pictures if picture is not None)


def crops_of(pictures: Iterable[np.ndarray], detector: Detector, cut: bundles.Crop) -> Iterator[np.ndarray]:
    """The crops of the people in each picture, as the network receives them, (S, S, 3) uint8 RGB. A picture without a
    detection gives one square crop of the whole picture."""
    for index, picture in enumerate(pictures):
        height, width = picture.shape[:2]
        boxes = detector.find(Frame("photos", index, 0.0, float(index), picture), Known.nobody())
        squares = [
            geometry.square_around(xyxy, cut.margin, float(roll) if cut.normalise_roll else 0.0)
            for xyxy, roll in zip(boxes.xyxy[:PEOPLE_PER_PHOTO], boxes.roll[:PEOPLE_PER_PHOTO], strict=True)
        ]
        whole = Square(np.array([(width - 1) / 2, (height - 1) / 2]), float(max(width, height)))
        for square in squares or [whole]:
            yield np.ascontiguousarray(geometry.crop(picture, square, cut.size_px)[..., ::-1])


def quantise(path: Path, crops: Iterable[np.ndarray]) -> float:
    """Adds encoder_int8.onnx to a bundle. crops: (S, S, 3) uint8 RGB each, 100 or more, on which ranges are measured.

    Returns the difference between its maps and the exact ones, as a share of their size. It is measured on every fifth
    crop, which is not used for the ranges. Raises UserError when there are no crops, when the folder cannot be written,
    and when maps or landmarks differ too much; the bundle is then unchanged.
    """
    card = bundles.read_card(path)
    given = [crop for crop, _ in zip(crops, range(MOST_CROPS), strict=False)]
    if not given:
        raise UserError(f"{path}: no crops for measuring the int8 ranges. Give a folder with photos of people")
    if not os.access(path, os.W_OK):
        raise UserError(f"{path}: cannot be written. Copy the bundle to a folder of your own, and give that folder")
    held = given[::HELD_OUT]
    shown = [crop for index, crop in enumerate(given) if index % HELD_OUT] or given
    exact = plain(onnx.load(str(path / bundles.ENCODER)))
    small = in_int8(exact, observe(exact, shown))
    maps, landmarks_px = apart(exact, small, held)
    if maps > MOST_STRAY or landmarks_px > MOST_STRAY_PX:
        raise UserError(
            f"{path}: in int8 the maps differ by {maps:.0%} (at most {MOST_STRAY:.0%} is allowed), the landmarks by "
            f"{landmarks_px:.1f} px (at most {MOST_STRAY_PX:g}). Keep fit.precision at auto"
        )
    with write_whole(path / bundles.ENCODER_INT8) as part:
        onnx.save(small, str(part))
        store_halves(part)
    strays = {"int8_maps_stray": round(maps, 4), "int8_landmarks_stray_px": round(landmarks_px, 2)}
    write_card(path, msgspec.structs.replace(card, accuracy=card.accuracy | strays))
    return maps


def apart(exact: onnx.ModelProto, near: onnx.ModelProto, crops: list[np.ndarray]) -> tuple[float, float]:
    """How far two encoders' maps and landmarks are apart. Maps: mean over crops of |difference| / |exact|, both
    Euclidean; landmarks: mean distance in crop pixels, 0 without landmarks. OpenVINO runs them as at run time, so that
    its overflows are measured too."""
    one, other = compiled(exact), compiled(near)
    maps, landmarks_px = [], [0.0]
    for crop in crops:
        a, b = ({port.get_any_name(): value for port, value in run([crop[None]]).items()} for run in (one, other))
        maps.append(np.linalg.norm(b["maps"] - a["maps"]) / np.linalg.norm(a["maps"]))
        if "keypoints" in a:
            landmarks_px.append(np.linalg.norm((b["keypoints"] - a["keypoints"])[0, :, :2], axis=-1).mean())
    return float(np.mean(maps)), float(np.mean(landmarks_px[1:] or landmarks_px))
