"""The errors of bodies and key points, as training.errors measures them."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from refit_rt import geometry
from refit_rt.body.smpl import joint_transforms
from refit_rt.fit.refine import POINT_JOINTS, POINTS, SCORES, corrected, place_axes
from refit_rt.types import Pose
from tests.support.all_knowing import BODY
from training.errors import Row, deviations_of, is_right, lacks, offsets_of, slopes_of


def row_of(rng: np.random.Generator, off_px: float = 0.0) -> Row:
    turns = Rotation.from_rotvec(rng.normal(0, 0.1, (48, 3))).as_matrix().reshape(2, 24, 3, 3)
    places = rng.normal([0.1, 0.2, 3.5], 0.1, (2, 3))
    body, truth = (Pose(turn, rng.normal(size=10), place) for turn, place in zip(turns, places, strict=True))
    joints_px = rng.uniform(40, 210, (24, 2))
    keypoints = np.full((17, 3), 0.9)
    keypoints[POINTS, :2] = joints_px[POINT_JOINTS] + rng.normal(0, off_px, (12, 2))
    return Row(body, truth, joints_px, 600.0, joints_px + 1, keypoints)


def test_what_a_body_lacks_makes_it_the_true_one() -> None:
    row = row_of(np.random.default_rng(0))
    made = corrected(row.body, lacks(row, BODY), place_axes(BODY.rest_pelvis(row.body.betas) + row.body.trans, 0.0))
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
    found = deviations_of(rows, np.zeros((12, 3)), BODY)
    np.testing.assert_allclose(found, np.tile((12.0, 6.0, 3.0, 2.0), (12, 1)), rtol=0.12)


def test_key_points_beside_their_joints_are_found_there() -> None:
    rng = np.random.default_rng(3)
    left = rng.normal(0, 0.03, (6, 3))
    offsets = np.stack([left, left * (-1, 1, 1)], 1).reshape(12, 3)
    rows = [row_of(rng, 3.0) for _ in range(600)]
    for row in rows:
        row.keypoints[POINTS, :2] += (slopes_of(row, BODY) @ offsets[..., None])[..., 0]
        row.keypoints[9, :2] += 60 * (rng.random() < 0.1)  # one wrist in ten is elsewhere
    found = offsets_of(rows, BODY)
    np.testing.assert_allclose(found, offsets, atol=0.008)
    for row, score in zip(rows, np.resize(SCORES, len(rows)), strict=True):
        row.keypoints[:, 2] = score
    np.testing.assert_allclose(deviations_of(rows, found, BODY)[:4], 3.0, rtol=0.2)


def test_how_a_key_point_moves_is_the_slope_of_its_projection() -> None:
    row, step = row_of(np.random.default_rng(4)), 1e-3
    world, joints = joint_transforms(BODY, row.truth.rotations, row.truth.betas)
    for axis in range(3):
        beside = world[BODY.parents[POINT_JOINTS], :, axis] * step
        here = joints[POINT_JOINTS] + row.truth.trans
        moved = [geometry.project(here + sign * beside, 600.0, (0.0, 0.0)) for sign in (1, -1)]
        np.testing.assert_allclose(slopes_of(row, BODY)[..., axis], (moved[0] - moved[1]) / (2 * step), atol=0.05)


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
