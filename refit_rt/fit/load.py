"""Settings → a fitter that is ready: its bundle, its body and its runner are loaded and warm."""

import logging
from time import monotonic

import numpy as np

from refit_rt import config
from refit_rt.body.smpl import Body
from refit_rt.bundle.read import find_bundle, load_bundle
from refit_rt.fit.fitter import Fitter
from refit_rt.runners import Runner
from refit_rt.runners.make import make_runner
from refit_rt.types import View

log = logging.getLogger(__name__)


def make_fitter(settings: config.Fit) -> Fitter:
    """Loads the bundle and its runner. Raises UserError when either cannot be used."""
    bundle = load_bundle(find_bundle(settings.bundle), settings.body)
    if bundle.body.digest != bundle.card.body_sha256:
        log.warning(
            "body %s is not the one that %s was trained on: poses hold, but its shapes (betas) are another body's",
            bundle.body.name,
            bundle.card.name,
        )
    runner = make_runner(settings, bundle)
    warm_up(runner, bundle.body)
    return Fitter(settings, runner, bundle.body, bundle.crop, bundle.card.name)


def warm_up(runner: Runner, body: Body) -> None:
    """One pass over an empty crop: numba compiles here, half a minute once and from its cache afterwards."""
    log.info("warming up (the first time ever, the loop is compiled: half a minute)")
    began_s = monotonic()
    view = View((0.0, 0.0, 200.0), 1000.0, (0.0, 0.0))
    encoded = runner.encode(np.zeros((runner.crop_px, runner.crop_px, 3), np.uint8))
    runner.iterate(encoded, view, runner.initial(encoded, view), 1)
    body.joints(np.tile(np.eye(3, dtype=np.float32), (24, 1, 1)), np.zeros(10, np.float32))  # the smoother's
    log.info("ready to fit after %.1f s", monotonic() - began_s)
