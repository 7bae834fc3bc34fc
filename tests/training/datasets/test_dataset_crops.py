"""A crop of a labelled picture keeps its truth whatever is done to it."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install refit-rt[train]")

from refit_rt.model.body import BodyTorch  # noqa: E402
from refit_rt.model.camera import View, cam_from_translation, project_to_crop  # noqa: E402
from tests.support.labelled import BODY, CENTRE_PX, FOCAL_PX, SHOWN, person, picture, record_of, seen_px  # noqa: E402
from training.datasets.crop import Augment, Change, Sample, cut_out, random_change, trunk_lean  # noqa: E402
from training.datasets.joints import SMPL_PART  # noqa: E402
from training.datasets.occlude import occlude  # noqa: E402

torch.set_num_threads(1)
SURFACE = BodyTorch(BODY)
SWAPPED = {15: 15, 20: 21, 21: 20, 7: 8, 8: 7}


def joints_in_crop(sample: Sample) -> np.ndarray:
    """Where the truth of a sample projects: SMPL's joints (24, 2) in crop pixels, by the trained model's own camera."""
    assert sample.rotations is not None
    assert sample.betas is not None
    assert sample.pelvis_m is not None

    def tensor(values):
        return torch.tensor(np.asarray(values, np.float32)[None])

    view = View(tensor(sample.box), tensor(sample.focal_px), tensor(sample.centre_px))
    place = tensor(sample.pelvis_m - BODY.rest_pelvis(sample.betas))
    points, _ = SURFACE(tensor(sample.rotations), tensor(sample.betas))
    return project_to_crop(points, cam_from_translation(place, view), view)[0].numpy()


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("roll_deg", [0, 35, -60])
@pytest.mark.parametrize(("grow", "shift"), [(1.0, (0.0, 0.0)), (1.25, (0.1, -0.05)), (0.85, (0.0, 0.03))])
def test_the_truth_lies_where_the_crop_shows_it(mirror: bool, roll_deg: float, grow: float, shift: tuple[float, float]):
    one = person(3)
    change = Change(mirror=mirror, roll=np.deg2rad(roll_deg), grow=grow, shift=shift)
    sample = cut_out(record_of(one), picture(one), change)
    truth = joints_in_crop(sample)
    assert sample.keypoints_2d is not None
    for joint, colour in SHOWN.items():
        here = SWAPPED[joint] if mirror else joint  # in a mirror a left wrist is a right one
        if abs(truth[here] - 128).max() > 115:
            continue  # its disc is cut off
        at = seen_px(sample.image, colour)
        np.testing.assert_allclose(truth[here], at, atol=0.5)
        np.testing.assert_allclose(sample.keypoints_2d[here, :2], at, atol=0.5)


def test_a_crop_of_a_small_part_of_a_large_picture_keeps_its_truth():
    one = person(4)
    large, factor = picture(one, (640, 480)).repeat(4, 0).repeat(4, 1), 4
    record = record_of(one)
    # The middle of pixel x of the small picture is that of pixels 4x .. 4x + 3 of the large one.
    record = replace(
        record,
        box=np.append(factor * record.box[:2] + 1.5, factor * record.box[2]),
        focal_px=factor * FOCAL_PX,
        centre_px=factor * CENTRE_PX + 1.5,
    )
    sample = cut_out(record, large, Change(mirror=True, roll=0.3))
    truth = joints_in_crop(sample)
    for joint, colour in SHOWN.items():
        np.testing.assert_allclose(truth[SWAPPED[joint]], seen_px(sample.image, colour), atol=0.5)


def test_points_in_space_turn_and_mirror_as_the_body_does():
    one = person(5)
    sample = cut_out(record_of(one), picture(one), Change(mirror=True, roll=0.6))
    assert sample.rotations is not None
    assert sample.betas is not None
    assert sample.keypoints_3d is not None
    posed = BODY.joints(sample.rotations, sample.betas)
    labels = sample.keypoints_3d[SMPL_PART, :3]
    np.testing.assert_allclose(labels - labels[0], posed - posed[0], atol=1e-4)


def test_an_unknown_camera_is_the_one_that_the_runtime_assumes():
    one = person(6)
    record = replace(record_of(one), focal_px=None, centre_px=None)
    sample = cut_out(record, picture(one), Change(mirror=True))
    assert sample.focal_px == 800  # the diagonal of 640 x 480
    np.testing.assert_allclose(sample.centre_px, [319.5, 239.5])


def test_upright_crops_stand_people_upright_from_the_body_or_from_keypoints():
    one = person(7)
    record = record_of(one)
    turned = cut_out(record, picture(one), Change(roll=0.5))
    assert turned.keypoints_2d is not None
    lean = trunk_lean(record)
    for rotations in (turned.rotations, None):
        again = replace(record, rotations=rotations, keypoints_2d=turned.keypoints_2d)
        assert abs(trunk_lean(again) - (lean - 0.5)) < 0.12  # perspective, and a spine that is bent
    for seed in range(8):
        rng = np.random.default_rng(seed)
        change = random_change(rng, record, Augment(rotation_deg=0, upright=True))
        upright = joints_in_crop(cut_out(record, picture(one), change))
        across, up = upright[12] - upright[0]
        assert abs(np.degrees(np.arctan2(across, -up))) < 7


def test_random_changes_stay_within_their_bounds():
    record, settings = record_of(person(0)), Augment(cut=0.3)
    changes = [random_change(np.random.default_rng(seed), record, settings) for seed in range(400)]
    assert max(abs(np.degrees(c.roll)) for c in changes) <= 60
    whole, parts = [c for c in changes if c.shift == (0, 0)], [c for c in changes if c.shift != (0, 0)]
    assert all(0.75 <= c.grow <= 1.25 for c in whole)
    assert 0.2 < len(parts) / 400 < 0.4
    for c in parts:  # a part of the box, never beside it
        assert max(abs(c.shift[0]), abs(c.shift[1])) + c.grow / 2 <= 0.5 + 1e-9
    assert 0.4 < np.mean([c.mirror for c in changes]) < 0.6
    assert 0.6 <= min(min(c.gains) for c in changes) < max(max(c.gains) for c in changes) <= 1.4


def test_occluders_hide_some_and_not_all():
    one, rng = person(1), np.random.default_rng(0)
    image = rng.integers(0, 255, (480, 640, 3)).astype(np.uint8)
    crop = cut_out(record_of(one), image, Change()).image
    shares = [(occlude(rng, crop, image, []) != crop).any(-1).mean() for _ in range(60)]
    assert 0.02 < np.mean(shares) < 0.5
    disc = np.zeros((40, 60, 4), np.uint8)
    disc[10:30, 10:50] = (9, 250, 9, 255)
    assert ((occlude(rng, crop, image, [disc]) == (9, 250, 9)).all(-1)).any()
