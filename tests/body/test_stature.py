"""A known height: bodies get that height, and their projection stays where it is."""

import numpy as np
import pytest

from refit_rt import config, geometry
from refit_rt.body.smpl import load_body
from refit_rt.body.stature import Stature
from refit_rt.errors import UserError
from refit_rt.fit.fitter import Fitter
from refit_rt.fit.smooth import Smoother
from tests.support.all_knowing import CAMERA, FOCAL_PX, UPRIGHT, AllKnowing, Truth, follow, truth

BODY = load_body()
T_POSE = np.tile(np.eye(3), (24, 1, 1))


def height_of(betas: np.ndarray) -> float:
    return float(np.ptp(BODY.vertices(T_POSE, betas)[:, 1]))


def test_statures_equal_the_surface_height_within_four_millimetres():
    stature = Stature(BODY, 1.7)
    for betas in np.random.default_rng(0).normal(0, 1, (12, 10)):
        assert abs(stature.of(betas) - height_of(betas)) < 0.004


@pytest.mark.parametrize("tall_m", [1.5, 1.72, 1.95])
def test_a_scaled_body_has_the_height_and_projects_to_the_same_pixels(tall_m):
    person = truth(3)
    betas, trans = Stature(BODY, tall_m).made(person.betas, person.trans)
    assert abs(height_of(betas) - tall_m) < 0.004
    joints = BODY.joints(person.rotations, betas) + trans
    pixels = [geometry.project(points, FOCAL_PX, CAMERA.centre_px) for points in (joints, person.joints)]
    assert np.abs(pixels[0][0] - pixels[1][0]).max() < 0.01  # the pelvis
    # Tall people have longer legs and arms relative to the trunk, so that the limbs move a little.
    share = np.linalg.norm(pixels[0] - pixels[1], axis=1).mean() / np.ptp(pixels[1], axis=0).max()
    assert share < 0.25 * abs(tall_m / height_of(person.betas) - 1) + 1e-4


def test_a_person_of_known_height_is_found_at_the_true_distance():
    """The network takes a tall person for one of average height, and so for nearer than the truth."""
    tall, mean = truth(3), Stature(BODY, height_of(np.zeros(10)))
    tall.betas, _ = Stature(BODY, 1.95).made(np.zeros(10), np.zeros(3))
    mean_betas, mean_trans = mean.made(tall.betas, tall.trans)
    taken = Truth(tall.rotations, mean_betas, mean_trans)
    assert tall.trans[2] - mean_trans[2] > 0.3
    people = follow(Fitter(config.Fit(stature_m=1.95), AllKnowing(taken), BODY, UPRIGHT), taken, 0)
    assert np.abs(people.joints_camera[0] - tall.joints).max() < 0.01
    pixels = geometry.project(people.joints_camera[0], FOCAL_PX, CAMERA.centre_px)
    assert np.abs(people.joints_px[0] - pixels).max() < 0.01
    markers = BODY.markers_at(tall.rotations, tall.betas) + tall.trans
    seen = geometry.project(np.concatenate([tall.joints, markers]), FOCAL_PX, CAMERA.centre_px)
    np.testing.assert_allclose(people.box[0], [*seen.min(0), *seen.max(0)], atol=2)


def test_published_bodies_are_tall_but_the_next_start_is_the_networks_own_result():
    person = truth(4)
    runners = AllKnowing(person), AllKnowing(person)
    plain, tall = (
        Fitter(config.Fit(stature_m=m), runner, BODY, UPRIGHT) for m, runner in zip((0.0, 1.9), runners, strict=True)
    )
    for index in range(3):
        for fitter in (plain, tall):
            people = follow(fitter, person, index)
    assert abs(height_of(people.betas[0]) - 1.9) < 0.004
    smoother = Smoother(config.Smooth(), BODY)
    for index in range(3, 6):
        people = smoother.smooth(follow(tall, person, index), CAMERA)
        follow(plain, person, index)
        assert abs(height_of(people.betas[0]) - 1.9) < 0.004
    for (one, _), (other, _) in zip(*(runner.asked for runner in runners), strict=True):
        np.testing.assert_array_equal(one.betas, other.betas)
        np.testing.assert_array_equal(one.cam, other.cam)


@pytest.mark.parametrize("metres", [-1.0, 180.0])
def test_a_height_in_centimetres_is_refused_in_one_line(metres, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(f"fit: {{stature_m: {metres}}}\n")
    with pytest.raises(UserError, match="stature_m"):
        config.load(file)


@pytest.mark.parametrize("metres", [0.9, 2.5])
def test_an_impossible_height_is_refused_with_the_possible_range(metres):
    with pytest.raises(UserError, match=r"1\.2\d to 2\.1\d m"):
        Fitter(config.Fit(stature_m=metres), AllKnowing(truth(0)), BODY, UPRIGHT)
