"""The encoder in OpenVINO: crop → maps, first hidden states, landmarks."""

import logging
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import numpy as np

from refit_rt.bundle.read import AGAIN, Bundle
from refit_rt.errors import UserError
from refit_rt.files import openvino_cache
from refit_rt.inference import openvino as ov
from refit_rt.model.config import KEYPOINTS
from refit_rt.runners.cpu.precision import precision_for
from refit_rt.types import Encoded

log = logging.getLogger(__name__)

TRIALS = 12  # timed runs for each number of threads; the fastest counts
MOST_BESIDE = 8  # crops; each needs memory of its own
WORTH_A_THREAD = 1.1  # all threads are used only if they are faster than one thread by this factor


class OpenVinoEncoder:
    """One bundle's encoder, compiled for one crop, and for several crops side by side where there are several threads.
    `precision` is the one that it runs in.

    Crops side by side, each on threads of its own, are faster than one after the other on all threads: threads that
    share one crop wait for one another. Measured with f32 on two cores, in ms of wall time and of processor time for
    2 / 4 crops: side by side 49 / 91 and 29 / 57, as one batch 57 / 108 and 38 / 75, one after the other 58 / 133 and
    37 / 79. On one core the three are equal.
    """

    def __init__(self, bundle: Bundle, precision: str = "auto", threads: int = 0) -> None:
        """precision: auto, f32, bf16 or int8. threads: 0 uses all cores, or one where more are no faster. Raises
        UserError when the encoder cannot run here."""
        core = ov.Core()
        self.precision = precision_for(precision, bundle, core)
        path = encoder_file(bundle, self.precision)
        try:
            model = core.read_model(path)
        except RuntimeError as error:
            raise UserError(f"{path}: OpenVINO cannot read it ({last_line(error)}). {AGAIN}") from error
        check_ports(model, bundle, path)
        crop_px = bundle.card.crop.size_px
        model.reshape([1, crop_px, crop_px, 3])
        if threads:
            compiled = compile_model(core, model, self.precision, threads, path)
        else:
            compiled = fewest_threads(core, model, self.precision, path, crop_px)
        log.info("encoder: %s", self.precision)
        threads = compiled.get_property("INFERENCE_NUM_THREADS")
        self._requests = {1: [compiled.create_infer_request()]}  # number of crops side by side → their requests
        for beside in widths(threads)[1:]:
            compiled = compile_model(core, model, self.precision, threads, path, beside)
            self._requests[beside] = [compiled.create_infer_request() for _ in range(beside)]
        self._has_keypoints = any("keypoints" in port.get_names() for port in model.outputs)

    def __call__(self, crop: np.ndarray) -> Encoded:
        """crop (S, S, 3) uint8 RGB → Encoded, with new arrays for each call."""
        (encoded,) = self.encode_all(crop[None])
        return encoded

    def encode_all(self, crops: np.ndarray) -> Iterator[Encoded]:
        """crops (n, S, S, 3) uint8 RGB → Encoded in order. The next crops are encoded while the caller works on the
        last ones."""
        done, begin = [], 0
        while begin < len(crops):
            width = next((w for w in self._requests if w >= len(crops) - begin), max(self._requests))
            running = list(zip(self._requests[width], crops[begin : begin + width], strict=False))
            for request, crop in running:
                request.wait()  # for an answer that was never taken
                request.start_async([crop[None]], share_inputs=True)
            yield from done
            done = [self._answer(request) for request, _ in running]
            begin += width
        yield from done

    def _answer(self, request: ov.InferRequest) -> Encoded:
        request.wait()

        def take(name: str) -> np.ndarray:
            return request.get_tensor(name).data[0].astype(np.float32, copy=True)

        return Encoded(take("maps"), take("hidden"), take("keypoints") if self._has_keypoints else None)


def widths(threads: int) -> list[int]:
    """How many crops run side by side: for one and two, for as many as there are threads, and for powers of two
    between; at most MOST_BESIDE."""
    most = max(1, min(threads, MOST_BESIDE))
    return sorted({width for width in (1, 2, 4, 8, most) if width <= most})


def encoder_file(bundle: Bundle, precision: str) -> Path:
    """The ONNX file for a precision. Raises UserError when the bundle has none."""
    if precision != "int8":
        return bundle.encoder
    if bundle.encoder_int8.name not in bundle.card.files:
        raise UserError(
            f"{bundle.encoder_int8}: this bundle has no int8 encoder. Set fit.precision to auto, "
            f"or make one: refit-rt quantise {bundle.path} FOLDER-OF-PHOTOS"
        )
    return bundle.encoder_int8


def check_ports(model: ov.Model, bundle: Bundle, path: Path) -> None:
    """Raises UserError unless the inputs and outputs are those that bundle/make.py writes for this crop and these
    markers."""
    sizes = bundle.sizes
    side, cells = sizes.crop_px, sizes.map_cells
    wanted = {
        "crop": [-1, side, side, 3],
        "maps": [-1, sizes.markers, cells, cells],
        "hidden": [-1, sizes.heads, sizes.hidden],
    }
    ports = {name: port for port in [*model.inputs, *model.outputs] for name in port.get_names()}
    if "keypoints" in ports:
        wanted["keypoints"] = [-1, KEYPOINTS, 4]
    for name, shape in wanted.items():
        if name not in ports:
            raise UserError(f"{path}: has no '{name}' among {', '.join(sorted(ports))}. {AGAIN}")
        found = [dim.get_length() if dim.is_static else -1 for dim in ports[name].get_partial_shape()]
        fits = len(found) == len(shape) and all(a == b or -1 in (a, b) for a, b in zip(found, shape, strict=True))
        if not fits:
            raise UserError(f"{path}: '{name}' is {found}, {shape} is needed (-1: any size). {AGAIN}")
    if len(model.inputs) != 1 or model.inputs[0].get_element_type() != ov.Type.u8:
        raise UserError(f"{path}: its input is not one uint8 'crop'. {AGAIN}")


def fewest_threads(core: ov.Core, model: ov.Model, precision: str, path: Path, crop_px: int) -> ov.CompiledModel:
    """Compiles for all threads, or for one if that is as fast: two threads of one core only hinder each other.

    Measured on a virtual machine whose two processors are one core: a crop takes 13.2 ms on one thread and 13.4 ms on
    two, and with two the camera's thread has to wait.
    """
    every = compile_model(core, model, precision, 0, path)
    if every.get_property("INFERENCE_NUM_THREADS") < 2:
        return every
    single = compile_model(core, model, precision, 1, path)
    crop = np.zeros((1, crop_px, crop_px, 3), np.uint8)
    times_s: dict[int, list[float]] = {0: [], 1: []}
    for _ in range(TRIALS):
        for index, compiled in enumerate((every, single)):
            began_s = perf_counter()
            compiled({"crop": crop})
            times_s[index].append(perf_counter() - began_s)
    many_s, one_s = (min(times_s[index]) for index in (0, 1))
    chosen = single if one_s < many_s * WORTH_A_THREAD else every
    log.info("encoder: %.1f ms on one thread, %.1f ms on all", 1e3 * one_s, 1e3 * many_s)
    return chosen


def compile_model(
    core: ov.Core, model: ov.Model, precision: str, threads: int, path: Path, beside: int = 1
) -> ov.CompiledModel:
    """Compiles for the lowest latency of one crop, or of several `beside` each other that share the threads; the
    compiled model is cached on disk for the next start."""
    options: dict = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": str(beside)}
    # In an int8 model the hint applies to the layers that are not quantised.
    options["INFERENCE_PRECISION_HINT"] = "f32" if precision == "int8" else precision
    if threads:
        options["INFERENCE_NUM_THREADS"] = threads
    try:
        return core.compile_model(model, "CPU", options | openvino_cache())
    except RuntimeError as error:
        raise UserError(f"{path}: OpenVINO cannot run it ({last_line(error)}). Set fit.precision to f32") from error


def last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1].strip()
