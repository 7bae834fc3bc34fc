"""A bundle's encoder in int8, beside the exact one."""

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
from refit_rt.types import Frame, Square

MOST_CROPS = 160  # of those given
HELD_OUT = 5  # every so manieth crop is kept from the ranges, and measured on
PEOPLE_A_PHOTO = 4  # at most
MOST_STRAY = 0.15  # difference of the maps over their size; above it the loop is led astray
MOST_STRAY_PX = 3.0  # mean difference of the landmarks, in crop pixels


def quantise_with(name: str, images: Path) -> float:
    """As `quantise`, for a bundle's name or folder, with the people in a folder of photos. Raises UserError."""
    path = bundles.find_bundle(name)
    detector = make_detector(config.Detect(), PEOPLE_A_PHOTO)
    return quantise(path, crops_of(photos(images), detector, bundles.read_card(path).crop))


def photos(folder: Path) -> Iterator[np.ndarray]:
    """The images of a folder that can be read, (height, width, 3) uint8 BGR. Raises UserError when there are none."""
    folder = folder.expanduser()
    listed = folder.iterdir() if folder.is_dir() else ()
    paths = sorted((path for path in listed if path.suffix.lower() in SUFFIXES), key=natural)
    if not paths:
        raise UserError(f"{folder}: no folder of images ({' '.join(sorted(SUFFIXES))}). Give one with photos of people")
    pictures = (cv2.imread(str(path), cv2.IMREAD_COLOR) for path in paths)
    return (picture for picture in pictures if picture is not None)


def crops_of(pictures: Iterable[np.ndarray], detector: Detector, cut: bundles.Crop) -> Iterator[np.ndarray]:
    """The people of each picture as the network is shown them, (S, S, 3) uint8 RGB; the whole picture, made square,
    where nobody is found."""
    for index, picture in enumerate(pictures):
        height, width = picture.shape[:2]
        boxes = detector.find(Frame("photos", index, 0.0, float(index), picture), np.zeros((0, 4), np.float32))
        squares = [
            geometry.square_around(xyxy, cut.margin, float(roll) if cut.normalise_roll else 0.0)
            for xyxy, roll in zip(boxes.xyxy, boxes.roll, strict=True)
        ]
        whole = Square(np.array([(width - 1) / 2, (height - 1) / 2]), float(max(width, height)))
        for square in squares or [whole]:
            yield np.ascontiguousarray(geometry.crop(picture, square, cut.size_px)[..., ::-1])


def quantise(path: Path, crops: Iterable[np.ndarray]) -> float:
    """Adds encoder_int8.onnx to a bundle: ranges measured on real crops (S, S, 3) uint8 RGB, 100 or more of them.

    Returns how far its maps stray from the exact ones, as a share of their size, measured on every fifth crop, which
    the ranges never saw. Raises UserError without crops, in a folder that cannot be written, and when maps or landmarks
    stray too far: the bundle is then left as it was.
    """
    card = bundles.read_card(path)
    given = [crop for crop, _ in zip(crops, range(MOST_CROPS), strict=False)]
    if not given:
        raise UserError(f"{path}: no crops to measure the int8 ranges on. Give a folder of images of people")
    if not os.access(path, os.W_OK):
        raise UserError(f"{path}: cannot be written. Copy the bundle to a folder of your own and give that")
    held = given[::HELD_OUT]
    shown = [crop for index, crop in enumerate(given) if index % HELD_OUT] or given
    exact = plain(onnx.load(str(path / bundles.ENCODER)))
    small = in_int8(exact, observe(exact, shown))
    maps, landmarks_px = apart(exact, small, held)
    if maps > MOST_STRAY or landmarks_px > MOST_STRAY_PX:
        raise UserError(
            f"{path}: in int8 its maps stray by {maps:.0%} (at most {MOST_STRAY:.0%} is let pass), its landmarks by "
            f"{landmarks_px:.1f} px (at most {MOST_STRAY_PX:g}). Keep fit.precision at auto"
        )
    with write_whole(path / bundles.ENCODER_INT8) as part:
        onnx.save(small, str(part))
        store_halves(part)
    strays = {"int8_maps_stray": round(maps, 4), "int8_landmarks_stray_px": round(landmarks_px, 2)}
    write_card(path, msgspec.structs.replace(card, accuracy=card.accuracy | strays))
    return maps


def apart(exact: onnx.ModelProto, near: onnx.ModelProto, crops: list[np.ndarray]) -> tuple[float, float]:
    """Two encoders' maps: mean over crops of |difference| / |exact| (both Euclidean); and their landmarks: mean
    distance in crop pixels, 0 without landmarks. Run as the runtime will: what overflows there is seen here."""
    one, other = compiled(exact), compiled(near)
    maps, landmarks_px = [], [0.0]
    for crop in crops:
        a, b = ({port.get_any_name(): value for port, value in run([crop[None]]).items()} for run in (one, other))
        maps.append(np.linalg.norm(b["maps"] - a["maps"]) / np.linalg.norm(a["maps"]))
        if "keypoints" in a:
            landmarks_px.append(np.linalg.norm((b["keypoints"] - a["keypoints"])[0, :, :2], axis=-1).mean())
    return float(np.mean(maps)), float(np.mean(landmarks_px[1:] or landmarks_px))
