"""A bundle's encoder in int8, beside the exact one."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import msgspec
import numpy as np

from refit_rt import bundle as files
from refit_rt import config, geometry
from refit_rt.capture.folder import SUFFIXES, natural
from refit_rt.detect import Detector, make_detector
from refit_rt.errors import UserError
from refit_rt.export import write_card
from refit_rt.fit import square
from refit_rt.types import Frame

CALIBRATION_CROPS = 128  # of those given, at most
PEOPLE_A_PHOTO = 4  # at most
MOST_STRAY = 0.15  # mean difference of the maps over their mean size; above it the loop is led astray


def quantise_with(name: str, images: Path) -> float:
    """As `quantise`, for a bundle's name or folder, with the people in a folder of photos. Raises UserError."""
    path = files.find_bundle(name)
    detector = make_detector(config.Detect(), PEOPLE_A_PHOTO)
    return quantise(path, crops_of(photos(images), detector, files.read_card(path).crop))


def photos(folder: Path) -> Iterator[np.ndarray]:
    """The images of a folder that can be read, (height, width, 3) uint8 BGR. Raises UserError when there are none."""
    folder = folder.expanduser()
    listed = folder.iterdir() if folder.is_dir() else ()
    paths = sorted((path for path in listed if path.suffix.lower() in SUFFIXES), key=natural)
    if not paths:
        raise UserError(f"{folder}: no folder of images ({' '.join(sorted(SUFFIXES))}). Give one with photos of people")
    pictures = (cv2.imread(str(path), cv2.IMREAD_COLOR) for path in paths)
    return (picture for picture in pictures if picture is not None)


def crops_of(pictures: Iterable[np.ndarray], detector: Detector, cut: files.Crop) -> Iterator[np.ndarray]:
    """The people of each picture as the network is shown them, (S, S, 3) uint8 RGB; the whole picture, made square,
    where nobody is found."""
    for index, picture in enumerate(pictures):
        height, width = picture.shape[:2]
        boxes = detector.find(Frame("photos", index, 0.0, float(index), picture), np.zeros((0, 4), np.float32))
        places = [
            (*square(xyxy, cut.margin), float(roll) if cut.normalise_roll else 0.0)
            for xyxy, roll in zip(boxes.xyxy, boxes.roll, strict=True)
        ]
        whole = np.array([(width - 1) / 2, (height - 1) / 2]), float(max(width, height)), 0.0
        for centre, side, roll in places or [whole]:
            yield np.ascontiguousarray(geometry.crop(picture, centre, side, roll, cut.size_px)[..., ::-1])


def quantise(path: Path, crops: Iterable[np.ndarray]) -> float:
    """Adds encoder_int8.onnx to a bundle: ranges measured on real crops (S, S, 3) uint8 RGB, 100 or more of them.

    Returns how far its maps stray from the exact ones, as a share of their size. Raises UserError without onnxruntime
    or crops, in a folder that cannot be written, and when the maps stray too far: the bundle is then left as it was.
    """
    try:
        from onnxruntime import quantization as ort
    except ImportError as error:
        raise UserError("int8 needs onnxruntime to measure ranges: pip install 'refit-rt[train]'") from error
    card = files.read_card(path)
    feed = [{"crop": crop[None]} for crop, _ in zip(crops, range(CALIBRATION_CROPS), strict=False)]
    if not feed:
        raise UserError(f"{path}: no crops to measure the int8 ranges on. Give a folder of images of people")

    class Reader(ort.CalibrationDataReader):
        def __init__(self) -> None:
            self._rest = iter(feed)

        def get_next(self) -> dict | None:  # type: ignore[override]
            return next(self._rest, None)

    if not os.access(path, os.W_OK):
        raise UserError(f"{path}: cannot be written. Copy the bundle to a folder of your own and give that")
    with tempfile.TemporaryDirectory(dir=path) as folder:
        ready, small = Path(folder) / "ready.onnx", Path(folder) / files.ENCODER_INT8
        ort.quant_pre_process(str(path / files.ENCODER), str(ready), skip_symbolic_shape=True)
        # Seven bits a weight: with eight, processors without VNNI overflow (measured: three times the error).
        ort.quantize_static(
            str(ready),
            str(small),
            Reader(),
            quant_format=ort.QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=ort.QuantType.QUInt8,
            weight_type=ort.QuantType.QInt8,
            op_types_to_quantize=["Conv"],
        )
        strayed = apart(path / files.ENCODER, small, feed[::4])
        if strayed > MOST_STRAY:
            raise UserError(
                f"{path}: in int8 its maps stray by {strayed:.0%} (at most {MOST_STRAY:.0%} is let pass). "
                "Keep fit.precision at auto"
            )
        small.replace(path / files.ENCODER_INT8)
    write_card(path, msgspec.structs.replace(card, accuracy=card.accuracy | {"int8_maps_stray": round(strayed, 4)}))
    return strayed


def apart(exact: Path, near: Path, feed: list[dict]) -> float:
    """Mean difference of two encoders' maps over the mean size of the exact ones."""
    from onnxruntime import InferenceSession

    one, other = (InferenceSession(path, providers=["CPUExecutionProvider"]) for path in (exact, near))
    maps = [(np.asarray(one.run(["maps"], crop)[0]), np.asarray(other.run(["maps"], crop)[0])) for crop in feed]
    return float(np.mean([np.abs(b - a).mean() / np.abs(a).mean() for a, b in maps]))
