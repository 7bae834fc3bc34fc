"""A bundle's encoder in int8, beside the exact one."""

import tempfile
from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np

from refit_rt import bundle as files
from refit_rt.errors import UserError
from refit_rt.export import write_card

CALIBRATION_CROPS = 128  # of those given, at most
MOST_STRAY = 0.15  # mean difference of the maps over their mean size; above it the loop is led astray


def quantise(path: Path, crops: Iterable[np.ndarray]) -> None:
    """Adds encoder_int8.onnx to a bundle: ranges measured on real crops (S, S, 3) uint8 RGB, 100 or more of them.

    Raises UserError without onnxruntime or crops, and when the maps it makes stray too far from the exact ones: it then
    leaves the bundle as it was.
    """
    try:
        from onnxruntime import quantization as ort
    except ImportError as error:
        raise UserError("int8 needs onnxruntime to measure ranges: pip install onnxruntime onnx") from error
    card = files.read_card(path)
    feed = [{"crop": crop[None]} for crop, _ in zip(crops, range(CALIBRATION_CROPS), strict=False)]
    if not feed:
        raise UserError(f"{path}: no crops to measure the int8 ranges on. Give a folder of images of people")

    class Reader(ort.CalibrationDataReader):
        def __init__(self) -> None:
            self._rest = iter(feed)

        def get_next(self) -> dict | None:  # type: ignore[override]
            return next(self._rest, None)

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


def apart(exact: Path, near: Path, feed: list[dict]) -> float:
    """Mean difference of two encoders' maps over the mean size of the exact ones."""
    from onnxruntime import InferenceSession

    one, other = (InferenceSession(path, providers=["CPUExecutionProvider"]) for path in (exact, near))
    maps = [(np.asarray(one.run(["maps"], crop)[0]), np.asarray(other.run(["maps"], crop)[0])) for crop in feed]
    return float(np.mean([np.abs(b - a).mean() / np.abs(a).mean() for a, b in maps]))
