"""The encoder of a bundle in every precision, beside the official HRNet-W48."""

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from refit_rt.bundle.read import Bundle, find_bundle, load_bundle
from refit_rt.commands.bench.table import Table
from refit_rt.commands.bench.timing import medians_ms
from refit_rt.config import Fit
from refit_rt.errors import UserError
from refit_rt.inference import openvino
from refit_rt.runners.cpu.encoder import OpenVinoEncoder
from refit_rt.runners.cpu.precision import has_bf16

log = logging.getLogger(__name__)

ROUNDS = 10


def measure(fit: Fit) -> Table:
    """Milliseconds per crop, in every precision that the bundle and this processor have. Raises UserError."""
    bundle = load_bundle(find_bundle(fit.bundle))
    floats = ["f32", "bf16"] if has_bf16(openvino.Core()) else ["f32"]
    encoders = {name: _encoder(bundle, name, fit.threads) for name in (*floats, "int8")}
    with tempfile.TemporaryDirectory() as folder:
        official = official_bundle(Path(folder) / "w48")
        if official is not None:
            encoders |= {f"official HRNet-W48, {name}": _encoder(official, name, fit.threads) for name in floats}
        crop = np.random.default_rng(0).integers(0, 255, (bundle.crop.size_px,) * 2 + (3,), np.uint8)
        calls = {name: lambda e=encoder: e(crop) for name, encoder in encoders.items() if encoder is not None}
        medians = medians_ms(calls, ROUNDS)
    rows = [[name, f"{ms:.2f}", f"{medians['f32'] / ms:.2f}"] for name, ms in medians.items()]
    return Table([f"encoder of {bundle.card.name}", "ms", "ratio"], rows)


def official_bundle(folder: Path) -> Bundle | None:
    """The official network with random weights, on which its time does not depend; None without torch."""
    try:
        from refit_rt.body.smpl import load_body
        from refit_rt.bundle.make import Facts, export_bundle
        from refit_rt.model.config import ReFitConfig
        from refit_rt.model.refit import build
    except ImportError:
        log.info("the official encoder is measured only where torch is: pip install 'refit-rt[train]'")
        return None
    export_bundle(build(ReFitConfig(), load_body()), folder, Facts("official", "none"))
    return load_bundle(folder)


def _encoder(bundle: Bundle, precision: str, threads: int) -> Callable | None:
    """None, with a line in the log, for a precision that the bundle does not have."""
    try:
        return OpenVinoEncoder(bundle, precision, threads)
    except UserError as error:
        log.info("%s", error)
        return None
