"""Engines and runners on the fake GPU, for the tests of TensorRT's backend."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from refit_rt import config
from refit_rt.bundle.read import Bundle
from refit_rt.model.config import EDGE, ReFitConfig
from refit_rt.runners.tensorrt import cache
from refit_rt.runners.tensorrt.engines import Engines, load_engines, options_of
from refit_rt.runners.tensorrt.runner import TensorRtRunner
from refit_rt.types import View
from tests.support.fake_tensorrt import Library

VIEW = View((700.0, 400.0, 420.0), 1100.0, (640.0, 360.0))
F32 = config.Fit(backend="tensorrt", precision="f32")
F16 = config.Fit(backend="tensorrt")
CONFIGS = {"edge": replace(EDGE, presence=True), "official": ReFitConfig()}


def a_crop(seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((16, 16, 1), np.uint8))


def runner_of(library: Library, bundle: Bundle, settings: config.Fit = F32) -> TensorRtRunner:
    return TensorRtRunner(bundle, settings, library.cuda)


def engines_of(library: Library, bundle: Bundle, settings: config.Fit = F32, plugins: Path | None = None) -> Engines:
    """The engines alone, for what needs no answers."""
    if plugins is not None:
        settings = msgspec.structs.replace(settings, plugins=str(plugins))
    return load_engines(bundle, options_of(settings), library.cuda)


def plans() -> list[Path]:
    return sorted(cache.folder().glob("*.plan"))
