"""Settings → a fitter that is ready: its bundle, its body and its runner are loaded and warm."""

import logging
from time import monotonic

import msgspec
import numpy as np

from refit_rt import config
from refit_rt.bundle.read import AGAIN, ERRORS, Bundle, find_bundle, load_bundle
from refit_rt.cameras import Camera
from refit_rt.errors import UserError
from refit_rt.fit.feet import Feet
from refit_rt.fit.fitter import Fitter
from refit_rt.fit.mirror import Moment
from refit_rt.fit.place import averaged
from refit_rt.fit.refine import NUMBERS, POINTS, SCORES, Errors
from refit_rt.fit.smooth import Smoother
from refit_rt.fit.views import ViewsFitter
from refit_rt.runners import Runner
from refit_rt.runners.make import make_runner
from refit_rt.types import JOINTS, Frame, Pose, Tracks

log = logging.getLogger(__name__)

NOBODY = Camera("nobody", (640, 480), 800.0, (319.5, 239.5))
CROWD = 3  # on two cores: two crops side by side, then one on both


def make_fitter(settings: config.Fit) -> Fitter:
    """Loads the bundle and its runner. Raises UserError when either cannot be used."""
    runner, bundle = ready(settings)
    return Fitter(settings, runner, bundle.body, bundle.crop, bundle.card.name, errors_of(bundle))


def make_views_fitter(settings: config.Fit) -> ViewsFitter:
    """As `make_fitter`, for all views of a rig."""
    runner, bundle = ready(settings)
    return ViewsFitter(settings, runner, bundle.body, bundle.crop, bundle.card.name, errors_of(bundle))


def ready(settings: config.Fit) -> tuple[Runner, Bundle]:
    """The bundle that the settings name and its runner, warm. Raises UserError when either cannot be used."""
    bundle = load_bundle(find_bundle(settings.bundle), settings.body)
    if bundle.body.digest != bundle.card.body_sha256:
        log.warning(
            "body %s is not the one that %s was trained on: poses hold, but its shapes (betas) are another body's",
            bundle.body.name,
            bundle.card.name,
        )
    runner = make_runner(settings, bundle)
    warm_up(settings, runner, bundle)
    return runner, bundle


def errors_of(bundle: Bundle) -> Errors | None:
    """How the bundle's bodies err; None where that was not measured. Raises UserError."""
    if bundle.errors is None:
        return None
    count = len(POINTS)
    wanted = {"covariance": (NUMBERS, NUMBERS), "deviations": (count, len(SCORES)), "offsets": (count, 3)}
    if {name: array.shape for name, array in bundle.errors.items()} != wanted:
        raise UserError(f"{bundle.path / ERRORS}: does not hold a network's errors. {AGAIN}")
    return Errors(**{name: array.astype(np.float64) for name, array in bundle.errors.items()})


def warm_up(settings: config.Fit, runner: Runner, bundle: Bundle) -> None:
    """Two frames of an empty picture: numba compiles here, a minute or more once, and from its cache afterwards."""
    log.info("warming up (the first time ever, the loop is compiled: a minute or more)")
    began_s = monotonic()
    anybody = msgspec.structs.replace(settings, min_confidence=0.0, warm=True)
    fitter = Fitter(anybody, runner, bundle.body, bundle.crop, errors=errors_of(bundle))
    smoother, feet = Smoother(config.Smooth(), bundle.body), Feet(config.Smooth(), bundle.body)
    ids, box, ones = np.arange(CROWD), np.array([100, 100, 300, 400], np.float32), np.ones(CROWD, np.float32)
    for index in range(2):
        picture = np.zeros((NOBODY.size[1], NOBODY.size[0], 3), np.uint8)
        frame = Frame(NOBODY.name, index, monotonic(), index / 30, picture)
        seen = np.tile(np.linspace(100, 300, 17)[:, None] * (1, 1, 0) + (0, 0, 1), (CROWD, 1, 1))
        first = np.full(CROWD, index == 0)
        tracks = Tracks(frame, ids, np.tile(box, (CROWD, 1)), 0 * ones, ones, first, seen, frame.time_s)
        feet.plant(smoother.smooth(fitter.fit(tracks, NOBODY), NOBODY), NOBODY)
    still = Pose(np.tile(np.eye(3), (JOINTS, 1, 1)), np.zeros(10), np.zeros(3))
    averaged(*(Moment(time_s, still) for time_s in (2.0, 1.0, 0.0)))  # the second frame may have started cold
    log.info("ready to fit after %.1f s", monotonic() - began_s)
