"""Label files of public data sets become one kind of record."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install refit-rt[train]")

from tests.support.labelled import (  # noqa: E402
    BODY,
    check_person,
    person,
    picture,
    spin_points,
    write_3dpw,
    write_bedlam,
    write_eft,
    write_emdb,
    write_picture,
    write_spin,
)
from training.datasets.crop import read_picture  # noqa: E402
from training.datasets.emdb import read_emdb  # noqa: E402
from training.datasets.joints import NAMES, SMPL_PART, SPIN_PART  # noqa: E402
from training.datasets.record import Bodies  # noqa: E402
from training.datasets.spin import read_bedlam, read_eft, read_spin  # noqa: E402
from training.datasets.threedpw import read_3dpw  # noqa: E402

torch.set_num_threads(1)
BODIES = Bodies(BODY)


def test_spin_labels_are_read_whole(tmp_path):
    people = [person(seed) for seed in range(3)]
    labels = write_spin(tmp_path, people, has_smpl=np.array([1, 0, 1]))
    table = read_spin("h36m", labels, tmp_path)
    assert len(table) == 3
    check_person(table[0], people[0], pelvis=False)
    check_person(table[2], people[2], pelvis=False)
    assert table[1].rotations is None
    assert table[1].betas is None
    for row, one in enumerate(people):
        record = table[row]
        assert record.source == "h36m"
        assert record.gender == "f"
        assert record.pelvis_m is None
        np.testing.assert_allclose(record.box, one.box, atol=1e-3)
        assert record.keypoints_2d is not None
        assert record.keypoints_3d is not None
        np.testing.assert_allclose(record.keypoints_2d[SPIN_PART], spin_points(one), atol=1e-3)
        np.testing.assert_array_equal(read_picture(record), picture(one))
        wrist = NAMES.index("spin_l_wrist")
        np.testing.assert_allclose(record.keypoints_3d[wrist, :3], one.joints[20] - one.joints[0], atol=1e-5)


def test_spin_labels_without_bodies_or_a_camera_leave_those_out(tmp_path):
    left_out = dict.fromkeys(["pose", "shape", "has_smpl", "S", "gender", "img_focal", "img_center"])
    labels = write_spin(tmp_path, [person(0)], imgname=np.array([b"images/0.png"]), **left_out)
    record = read_spin("mpii", labels, tmp_path)[0]
    assert record.image == tmp_path / "images/0.png"
    for name in ("rotations", "betas", "pelvis_m", "focal_px", "centre_px", "keypoints_3d"):
        assert getattr(record, name) is None


def test_eft_is_read_from_its_own_json(tmp_path):
    people = [person(0), person(1)]
    table = read_eft("coco", write_eft(tmp_path, people), tmp_path)
    for row, one in enumerate(people):
        check_person(table[row], one, pelvis=False)
        np.testing.assert_allclose(table[row].keypoints_2d[SPIN_PART], spin_points(one), atol=1e-3)  # type: ignore[index]


def test_bedlam_scenes_are_read_with_camera_and_place_and_small_people_left_out(tmp_path):
    people = [person(0), person(1)]
    tiny = replace(person(2), pelvis=np.array([0, 0, 40.0]))
    write_bedlam(tmp_path, [*people, tiny])
    write_bedlam(tmp_path, people[:1], scene="20221011_other_6fps")
    table = read_bedlam("bedlam", tmp_path / "labels", tmp_path, BODIES)
    assert len(table) == 3
    for row, one in enumerate([*people, people[0]]):
        check_person(table[row], one)
        np.testing.assert_allclose(table[row].box, one.box, rtol=1e-5)
        np.testing.assert_array_equal(read_picture(table[row]), picture(one))


def test_a_picture_that_lies_is_stood_up_when_its_labels_mean_it_standing(tmp_path):
    one = person(0)
    labels = write_bedlam(tmp_path, [one], lying=True)
    with np.load(labels, allow_pickle=True) as archive:
        columns: dict[str, Any] = {name: archive[name] for name in archive.files}
    columns["cam_int"][:, :2, 2] = [240, 320]
    np.savez(labels, **columns)
    standing = np.rot90(picture(one))  # 480 wide, 640 high
    write_picture(tmp_path / "20221010_scene_6fps/png/seq_0/0.png", np.rot90(standing))
    record = read_bedlam("bedlam", labels, tmp_path, BODIES)[0]
    np.testing.assert_array_equal(read_picture(record), standing)


@pytest.mark.parametrize("joint_positions", [True, False])
def test_3dpw_people_stand_where_their_camera_saw_them(tmp_path, joint_positions: bool):
    tracks = [[person(0)] * 3, [person(1)] * 3]
    valid = np.array([[1, 1, 1], [0, 1, 1]])
    write_3dpw(tmp_path, tracks, valid=valid, joint_positions=joint_positions)
    table = read_3dpw("3dpw", tmp_path, "test", BODIES)
    assert len(table) == 5
    np.testing.assert_array_equal(table.chains, [0, 0, 0, 1, 1])
    np.testing.assert_array_equal(table.frames, [0, 1, 2, 1, 2])
    for row, one in enumerate([*tracks[0], *tracks[1][1:]]):
        record = table[row]
        check_person(record, one)
        assert record.gender == ("m" if row < 3 else "f")
        assert record.keypoints_2d is not None
        ankle = record.keypoints_2d[NAMES.index("op_l_ankle")]
        np.testing.assert_allclose(ankle, [*one.joints_px[7], 0.8], atol=0.01)
        assert record.keypoints_2d[NAMES.index("op_mid_hip"), 2] == 0
        low, high = one.joints_px[[0, 7, 8, 12, 20, 21]].min(0), one.joints_px[[0, 7, 8, 12, 20, 21]].max(0)
        np.testing.assert_allclose(record.box[2], 1.2 * (high - low).max(), rtol=0.02)
    assert table[1].image.name == "image_00001.jpg"


def test_emdb_is_read_where_its_frames_are_good_and_its_part_is_asked_for(tmp_path):
    track = [person(4)] * 3
    write_emdb(tmp_path, track, good=np.array([True, False, True]))
    write_emdb(tmp_path, track, name="P2/20_walk", emdb1=False)
    table = read_emdb("emdb", tmp_path, "emdb1", BODIES)
    assert len(table) == 2
    np.testing.assert_array_equal(table.frames, [0, 2])
    assert table[1].image == tmp_path / "P1/14_outdoor_climb/images/00002.jpg"
    for row in range(2):
        check_person(table[row], track[0])
        np.testing.assert_allclose(table[row].keypoints_2d[SMPL_PART, :2], track[0].joints_px, atol=0.01)  # type: ignore[index]
    assert len(read_emdb("emdb", tmp_path, "all", BODIES)) == 5
