"""Training people: the same number gives the same picture, and the truth is where the picture shows it."""

from itertools import pairwise

import cv2
import numpy as np
import pytest

from refit_rt.body.smpl import load_body
from refit_rt.errors import UserError
from refit_rt.geometry import apply_2d, crop_from_image, matrix_from_axis_angle
from refit_rt.types import Square
from tests.support.recordings import recording
from training.synthetic import Assets, Generator, cameras, cloth, gestures, motion, scenes
from training.synthetic.people import random_betas, random_outfit

UPRIGHT = np.tile(np.eye(3), (24, 1, 1))


@pytest.fixture(scope="module")
def generator() -> Generator:
    return Generator(seed=3, outfits=6)


@pytest.fixture(scope="module")
def samples(generator):
    return [generator.sample(i) for i in range(24)]


def test_a_number_gives_the_same_bytes_whatever_was_drawn_before(samples):
    again = Generator(seed=3, outfits=6)
    for number in (17, 2, 23):
        sample = again.sample(number)
        np.testing.assert_array_equal(sample.image, samples[number].image)
        np.testing.assert_array_equal(sample.joints, samples[number].joints)


def test_other_seeds_and_the_held_out_half_show_other_people(samples):
    for other in (Generator(seed=4, outfits=6), Generator(seed=3, held_out=True, outfits=6)):
        assert (other.sample(2).image != samples[2].image).mean() > 0.5


def test_webcams_see_people_from_nearer_by():
    far, near = (
        np.median([one.sample(number).trans[2] for number in range(16)])
        for one in (Generator(seed=5, outfits=4, close=share) for share in (0.0, 1.0))
    )
    assert near < 0.7 * far
    assert near < 2.0


def test_the_truth_is_whole_and_the_picture_is_a_picture(samples):
    for s in samples:
        assert s.image.shape == (256, 256, 3)
        assert s.image.dtype == np.uint8
        assert s.image.std() > 4
        np.testing.assert_allclose(s.rotations @ s.rotations.transpose(0, 2, 1), UPRIGHT, atol=1e-4)
        np.testing.assert_allclose(np.linalg.det(s.rotations), 1, atol=1e-4)
        assert s.joints[0, 2] > 0.3  # metres before the camera
        assert 0 <= s.visible <= 1
        assert s.box[2] > 20


def test_joints_of_people_seen_whole_lie_in_the_crop(samples):
    whole = [s for s in samples if s.visible > 0.9]
    assert len(whole) >= 6
    for s in whole:
        pixels = s.joints[:, :2] / s.joints[:, 2:] * s.focal_px + s.centre_px
        crop = (pixels - (s.box[:2] - s.box[2] / 2)) * 256 / s.box[2]
        assert ((crop > -8) & (crop < 264)).all(1).mean() > 0.9


def test_the_truth_puts_the_body_within_a_tenth_of_a_millimetre_of_where_it_was_drawn(generator):
    rng = np.random.default_rng(5)
    body, betas = generator.body, random_betas(rng)
    pose = motion.random_poses(rng, 1, body, None, 0).rotations[0].astype(float)
    _, shift = generator.dressed(generator.outfits[0], pose, betas)
    joints = body.joints(pose, betas) + shift
    view = cameras.stood_upright(cameras.random_view(rng, joints, False), joints, 0.1)
    truth = generator._truth(view, pose, betas, shift, np.zeros(3), np.zeros((256, 256, 3), np.uint8), 1.0, 0)
    drawn = view.to_camera(body.vertices(pose, betas) + shift)
    np.testing.assert_allclose(body.vertices(truth.rotations, betas) + truth.trans, drawn, atol=1e-4)
    np.testing.assert_allclose(truth.joints, view.to_camera(joints), atol=1e-4)


def test_crops_map_the_box_as_the_fitter_does():
    rng = np.random.default_rng(1)
    view = cameras.View(np.eye(3), np.zeros(3), 900.0, np.array([639.5, 359.5]), (1280, 720), 0.0)
    box = np.array([700.0, 300.0, 410.0])
    points = rng.uniform([-1, -1, 2], [1, 1, 4], (50, 3))
    focal, centre = cameras.crop_camera(view, box, 256, 256)
    here = points[:, :2] / points[:, 2:] * focal + centre
    image = points[:, :2] / points[:, 2:] * 900 + view.centre_px
    np.testing.assert_allclose(here, apply_2d(crop_from_image(Square(box[:2], box[2]), 256), image), atol=1e-6)


def test_turned_pictures_stand_people_upright_within_half_a_degree(generator):
    rng = np.random.default_rng(2)
    for _ in range(8):
        pose = motion.random_poses(rng, 1, generator.body, None, 0).rotations[0].astype(float)
        joints = generator.body.joints(pose, np.zeros(10)) + np.array([0, 1.2, 0])
        seen = cameras.stood_upright(cameras.random_view(rng, joints, False), joints, 0.0).to_camera(joints)
        across, up = np.diff(seen[[0, 12], :2] / seen[[0, 12], 2:], axis=0)[0]
        extent = np.ptp(seen[:, :2] / seen[:, 2:], axis=0).max()
        assert np.hypot(across, up) < 0.13 * extent or abs(np.degrees(np.arctan2(across, -up))) < 0.5


def test_a_mirrored_pose_is_the_mirror_image_within_two_millimetres():
    body = load_body()
    pose, _ = gestures.random_gestures(np.random.default_rng(0), 6)
    for rotations, other in zip(pose, motion.mirrored(pose), strict=True):
        joints, mirror = body.joints(rotations, np.zeros(10)), body.joints(other, np.zeros(10))
        np.testing.assert_allclose(mirror[motion.SWAP] * [-1, 1, 1], joints, atol=2e-3)


def test_no_arm_goes_through_the_body_and_feet_stand_on_the_floor(generator):
    rng = np.random.default_rng(4)
    poses = motion.random_poses(rng, 64, generator.body, None, 0.0).rotations
    assert motion.through_itself(generator.body, poses).mean() == 0
    for pose in poses[:8]:
        person, _ = generator.dressed(generator.outfits[1], pose.astype(float), random_betas(rng))
        assert abs(person.points[: len(generator.body.template), 1].min()) < 1e-3


def test_a_clip_shows_one_person_moving_smoothly(generator):
    clip = generator.clip(4, 30.0, 11)
    assert len(clip) == 4
    for before, after in pairwise(clip):
        np.testing.assert_array_equal(before.betas, after.betas)
        # the sensor's own frame: undo each crop's turn
        places = [s.joints @ cameras.roll_matrix(-s.roll).T for s in (before, after)]
        assert np.linalg.norm(places[1] - places[0], axis=1).max() < 0.35
        assert abs(before.box[2] / after.box[2] - 1) < 0.4
    np.testing.assert_array_equal(generator.clip(4, 30.0, 11)[2].image, clip[2].image)


def test_recorded_motion_is_used_and_the_held_out_clips_never_are(tmp_path):
    recording(tmp_path / "motion.npz")
    all_of_it = motion.load_motion(tmp_path)
    seen = motion.part(all_of_it, 4, held_out=False)
    held = motion.part(all_of_it, 4, held_out=True)
    assert set(seen.name) | set(held.name) == set(all_of_it.name)
    assert not set(seen.name) & set(held.name)
    poses = motion.random_poses(np.random.default_rng(0), 32, load_body(), seen, 1.0)
    assert (poses.kind == motion.RECORDED).all()
    sample = Generator(seed=1, assets=Assets(motion=tmp_path), outfits=3).clip(2, 15.0, 0)[0]
    assert sample.image.std() > 4


def test_recorded_frames_are_met_exactly_and_halfway_between_is_halfway(tmp_path):
    recording(tmp_path / "motion.npz")
    clips = motion.load_motion(tmp_path)
    poses, places = motion.at_times(clips, 30, 30, np.array([4.0, 4.5]))
    np.testing.assert_allclose(poses[0], clips.rotations[34], atol=1e-6)
    np.testing.assert_allclose(places[1], (clips.trans[34] + clips.trans[35]) / 2, atol=1e-6)


def test_a_panoramas_sun_is_found_within_three_degrees():
    picture = np.full((128, 256, 3), 0.3, np.float32)
    sun = np.array([0.4, 0.5, 0.768])
    sun /= np.linalg.norm(sun)
    row, column = np.arccos(sun[1]) / np.pi * 128, np.arctan2(sun[0], sun[2]) / (2 * np.pi) * 256
    cv2.circle(picture, (round(column), round(row)), 3, (60.0, 50.0, 40.0), -1)
    found = scenes.measure_panorama(picture)
    assert np.degrees(np.arccos(np.clip(found.sun @ sun, -1, 1))) < 3
    assert found.sun_colour[0] > found.sun_colour[2]


def test_panoramas_and_photos_are_drawn_from_folders(tmp_path):
    for name in ("hdri", "photos"):
        (tmp_path / name).mkdir()
    cv2.imwrite(str(tmp_path / "hdri" / "a.hdr"), np.full((64, 128, 3), 0.4, np.float32))
    cv2.imwrite(str(tmp_path / "photos" / "a.jpg"), np.full((200, 300, 3), 90, np.uint8))
    maker = Generator(seed=2, assets=Assets(hdri=tmp_path / "hdri", photos=tmp_path / "photos"), outfits=3)
    rng = np.random.default_rng(0)
    joints = load_body().joints(UPRIGHT, np.zeros(10)) + np.array([0, 1.2, 0])
    maker.sample(0)
    kinds = {
        scenes.random_scene(
            rng, maker.stock.textures, maker.panoramas, maker.photos, joints, 0.0, 0, np.array([0, 1.5, 4.0])
        ).kind
        for _ in range(40)
    }
    assert kinds == {scenes.ROOM, scenes.PANORAMA, scenes.PHOTO}


@pytest.mark.parametrize("kind", ["motion", "hdri", "photos"])
def test_an_empty_folder_is_named_with_the_cure(tmp_path, kind):
    with pytest.raises(UserError, match=str(tmp_path)):
        Generator(assets=Assets(**{kind: tmp_path}), outfits=1)


def test_hems_are_cut_where_they_are_asked_for(generator):
    rng = np.random.default_rng(0)
    outfit = random_outfit(rng, generator.figure)
    cuts = outfit.cuts.copy()
    cuts[[cloth.HEM, cloth.SLEEVE, cloth.ARM_ROOT, cloth.STRAP]] = -0.3, 0.5, 0.2, -9
    cuts[[cloth.JACKET_HEM, cloth.JACKET_SLEEVE, cloth.JACKET_COLLAR]] = 9
    cuts[[cloth.WAIST, cloth.LEG, cloth.SHOE, cloth.SOCK, cloth.SOLE_TOP]] = -0.2, -1.0, -9, -9, -9
    at = {
        (0.45, 0.18): cloth.SHIRT,
        (0.55, 0.18): cloth.SKIN,
        (0.05, -0.25): cloth.SHIRT,
        (0.05, -0.35): cloth.TROUSERS,
        (0.12, -1.05): cloth.SKIN,
    }
    for (x, y), layer in at.items():
        assert cloth.layer_at(cloth.BODY, x, y, 0.0, 0.0, 0.0, cuts, 0.0) == layer


def test_interpolated_poses_pass_through_their_keys():
    keys = matrix_from_axis_angle(np.random.default_rng(0).normal(0, 0.3, (3, 24, 3)))
    poses = motion.between(np.array([0.0, 0.5, 1.2]), keys, np.array([0.0, 0.5, 1.2]))
    np.testing.assert_allclose(poses, keys, atol=1e-6)
