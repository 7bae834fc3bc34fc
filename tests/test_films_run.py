"""Whole runs on films whose frames keep no even time."""

import threading

import numpy as np
import pytest

from refit_rt import config
from refit_rt.capture.film import Film
from refit_rt.motion.npz import read_motion
from refit_rt.pipeline import Pipeline
from tests.support.films import greys, write_film
from tests.test_pipeline import load

UNEVEN_S = np.cumsum(np.random.default_rng(0).choice([0.02, 0.033, 0.1, 0.25], 40))


@pytest.mark.parametrize("name", ["phone.mp4", "screen.mkv"])
def test_overlay_and_recording_keep_step_with_a_film_of_a_variable_rate(tmp_path, name):
    film = write_film(tmp_path / name, greys(40, 5), times_s=UNEVEN_S)
    settings = config.Settings(
        capture=config.Capture(source=str(film)),
        publish=config.Publish(enabled=False),
        out=config.Out(dir=str(tmp_path / "out")),
    )
    report = Pipeline(settings, load()).run(threading.Event())
    assert (report.frames, report.dropped) == (40, 0)
    motion = read_motion(tmp_path / "out" / "motion.npz")
    true_s = UNEVEN_S - UNEVEN_S[0]
    np.testing.assert_allclose(motion.time_s, true_s[motion.frame], atol=1e-3)
    overlay = Film(str(tmp_path / "out" / "overlay.mp4"))
    shown_s = np.array([shown.time_s for shown in overlay.frames()])
    overlay.close()
    np.testing.assert_allclose(shown_s - shown_s[0], true_s, atol=2e-3)
