"""The errors of bodies and key points, as training.errors measures them."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from refit_rt.fit.refine import POINT_JOINTS, POINTS, SCORES, corrected
from refit_rt.types import Pose
from tests.support.all_knowing import BODY
from training.errors import Row, deviations_of, is_right, lacks


def row_of(rng: np.random.Generator, off_px: float = 0.0) -> Row:
    turns = Rotation.from_rotvec(rng.normal(0, 0.1, (48, 3))).as_matrix().reshape(2, 24, 3, 3)
    places = rng.normal([0.1, 0.2, 3.5], 0.1, (2, 3))
    body, truth = (Pose(turn, rng.normal(size=10), place) for turn, place in zip(turns, places, strict=True))
    joints_px = rng.uniform(40, 210, (24, 2))
    keypoints = np.full((17, 3), 0.9)
    keypoints[POINTS, :2] = joints_px[POINT_JOINTS] + rng.normal(0, off_px, (12, 2))
    return Row(body, truth, joints_px, joints_px + 1, keypoints)


def test_what_a_body_lacks_makes_it_the_true_one() -> None:
    row = row_of(np.random.default_rng(0))
    made = corrected(row.body, lacks(row, BODY), 0.0, BODY)
    np.testing.assert_allclose(made.rotations, row.truth.rotations, atol=1e-9)
    here, there = (BODY.rest_pelvis(one.betas) + one.trans for one in (made, row.truth))
    np.testing.assert_allclose(here, there, atol=1e-6)


def test_the_deviations_of_key_points_are_found_at_each_score() -> None:
    rng = np.random.default_rng(1)
    rows = []
    for score, off_px in zip(SCORES, (12.0, 6.0, 3.0, 2.0), strict=True):
        for _ in range(800):
            row = row_of(rng, off_px)
            row.keypoints[:, 2] = score
            rows.append(row)
    found = deviations_of(rows)
    np.testing.assert_allclose(found, np.tile((12.0, 6.0, 3.0, 2.0), (12, 1)), rtol=0.12)


@pytest.mark.parametrize("fault", ["outside", "off", "turned"])
def test_fits_that_the_live_fitter_would_not_go_on_from_do_not_count(fault: str) -> None:
    row = row_of(np.random.default_rng(2))
    lack = lacks(row, BODY)
    assert is_right(row, lack)
    if fault == "outside":
        row = replace(row, joints_px=row.joints_px - (150, 0), fitted_px=row.fitted_px - (150, 0))
    elif fault == "off":
        row = replace(row, fitted_px=row.fitted_px + 20)
    else:
        lack[:3] = 2.0, 0, 0
    assert not is_right(row, lack)
