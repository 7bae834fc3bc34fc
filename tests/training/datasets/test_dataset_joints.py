"""The points that data sets label, and the losses that compare only what is known of them."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install refit-rt[train]")

from refit_rt.errors import UserError  # noqa: E402
from refit_rt.model.camera import View, cam_from_translation, project_to_crop  # noqa: E402
from tests.support.labelled import BODY, person, picture, record_of  # noqa: E402
from training.datasets import joints  # noqa: E402
from training.datasets.crop import Change, cut_out  # noqa: E402
from training.datasets.joints import MIRROR, NAMES, SMPL_PART, Keypoints, keypoint_losses  # noqa: E402
from training.datasets.mix import COLUMN, batch_of  # noqa: E402

torch.set_num_threads(1)


def test_points_are_exchanged_left_for_right_in_a_mirror():
    np.testing.assert_array_equal(MIRROR[MIRROR], np.arange(73))
    for name, twin in (
        ("smpl_l_hand", "smpl_r_hand"),
        ("op_r_big_toe", "op_l_big_toe"),
        ("spin_l_ear", "spin_r_ear"),
        ("spin_head_top", "spin_head_top"),
        ("op_mid_hip", "op_mid_hip"),
    ):
        assert MIRROR[NAMES.index(name)] == NAMES.index(twin)


def test_the_free_body_has_the_points_that_are_joints_and_no_others():
    one, points = person(2), Keypoints(BODY)
    placed = points(torch.tensor(one.rotations[None]).float(), torch.tensor(one.betas[None]).float())[0].numpy()
    np.testing.assert_allclose(placed[SMPL_PART], BODY.joints(one.rotations, one.betas), atol=1e-4)
    known = {name for name, there in zip(NAMES, points.known.bool().tolist(), strict=True) if there}
    assert {"spin_l_ankle", "op_neck", "op_mid_hip", "smpl_head"} <= known
    assert not {"spin_l_hip", "spin_neck", "op_nose", "spin_head_top", "op_l_heel"} & known
    np.testing.assert_allclose(placed[NAMES.index("spin_l_ankle")], placed[NAMES.index("smpl_l_ankle")])


def test_a_regressor_adds_the_points_that_it_names(tmp_path):
    matrix = np.zeros((9, len(BODY.template)))
    matrix[3, 100] = 1  # head_top
    np.save(tmp_path / "extra.npy", matrix)
    one, points = person(2), Keypoints(BODY, tmp_path / "extra.npy")
    placed = points(torch.tensor(one.rotations[None]).float(), torch.tensor(one.betas[None]).float())[0].numpy()
    top = NAMES.index("spin_head_top")
    assert points.known[top] == 1
    np.testing.assert_allclose(placed[top], BODY.vertices(one.rotations, one.betas)[100], atol=1e-4)
    np.save(tmp_path / "other.npy", np.zeros((9, 6890)))
    with pytest.raises(UserError, match=r"other\.npy: its shape is \(9, 6890\)"):
        Keypoints(BODY, tmp_path / "other.npy")


def test_keypoint_losses_are_zero_at_the_truth_and_ignore_unknown_points():
    one, points = person(2), Keypoints(BODY)
    sample = cut_out(record_of(one), picture(one), Change(roll=0.3))
    batch = batch_of([sample, replace(sample, keypoints_2d=None, keypoints_3d=None)], np.zeros(2), BODY)
    rotations = batch.labels[:, COLUMN["rotations"]].view(-1, 24, 3, 3)
    placed = points(rotations, batch.labels[:, COLUMN["betas"]])
    view = View(*(batch.labels[:, COLUMN[name]] for name in ("box", "focal_px", "centre_px")))
    view = view._replace(focal_px=view.focal_px[:, 0])
    cam = cam_from_translation(batch.labels[:, COLUMN["trans"]], view)
    placed_px = project_to_crop(placed, cam, view)
    labels = batch.keypoints_2d, batch.keypoints_3d, points.known
    losses = keypoint_losses(placed, placed_px, *labels)
    assert max(losses) < 1e-5
    moved = placed + torch.tensor([0.5, 0, 0])  # the place does not count in space
    assert keypoint_losses(moved, placed_px, *labels).metres < 1e-5
    wrong = placed.clone()
    wrong[1] += torch.rand(73, 3)  # the row without labels
    assert keypoint_losses(wrong, placed_px, *labels).metres < 1e-5
    wrong = placed_px.clone()
    wrong[0, 20] += 12.8  # a tenth of the half side, each way: 2 * 0.01 of 2 * 49 * 2 terms
    assert abs(float(keypoint_losses(placed, wrong, *labels).pixels) - 2 * 0.01 / (2 * 49 * 2)) < 1e-5


def test_joint_sets_have_their_sizes():
    assert (len(joints.OPENPOSE), len(joints.SPIN), len(NAMES)) == (25, 24, 73)
