"""Label files of the field become one kind of record, and crops keep their truth whatever is done to them."""

import pickle
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install refit-rt[train]")

from refit_rt.errors import UserError  # noqa: E402
from refit_rt.geometry import project  # noqa: E402
from refit_rt.model.body import BodyTorch  # noqa: E402
from refit_rt.model.camera import View, cam_from_translation, project_to_crop  # noqa: E402
from tests.labelled import (  # noqa: E402
    BODY,
    CENTRE_PX,
    FOCAL_PX,
    SHOWN,
    Person,
    person,
    picture,
    seen_px,
    spin_points,
    write_3dpw,
    write_bedlam,
    write_eft,
    write_emdb,
    write_picture,
    write_spin,
)  # fmt: skip
from training.datasets import joints  # noqa: E402
from training.datasets.crop import (  # noqa: E402
    NOTHING,
    Augment,
    Change,
    Sample,
    cut_out,
    random_change,
    read_picture,
    trunk_lean,
)  # fmt: skip
from training.datasets.emdb import read_emdb  # noqa: E402
from training.datasets.joints import MIRROR, NAMES, SMPL_PART, SPIN_PART, Keypoints, keypoint_losses  # noqa: E402
from training.datasets.mix import COLUMN, Mix, SetRecipe, batch_of, batches, open_mix, open_set  # noqa: E402
from training.datasets.occlude import occlude  # noqa: E402
from training.datasets.record import Bodies, Record, Table, rest_pelvis  # noqa: E402
from training.datasets.spin import read_bedlam, read_eft, read_spin  # noqa: E402
from training.datasets.threedpw import read_3dpw  # noqa: E402

torch.set_num_threads(1)
BODIES = Bodies(BODY)
SURFACE = BodyTorch(BODY)
SWAPPED = {15: 15, 20: 21, 21: 20, 7: 8, 8: 7}


def record_of(one: Person, image: Path = Path("none.png")) -> Record:
    keypoints = np.zeros((73, 3), np.float32)
    keypoints[SMPL_PART] = np.column_stack([one.joints_px, np.ones(24)])
    space = np.zeros((73, 4), np.float32)
    space[SMPL_PART] = np.column_stack([one.joints, np.ones(24)])
    return Record("made", image, one.box.astype(np.float32), "neutral", FOCAL_PX, CENTRE_PX, one.rotations, one.betas,
                  one.pelvis, keypoints, space)  # fmt: skip


def joints_in_crop(sample: Sample) -> np.ndarray:
    """Where the truth of a sample projects: SMPL's joints (24, 2) in crop pixels, by the trained model's own camera."""
    assert sample.rotations is not None
    assert sample.betas is not None
    assert sample.pelvis_m is not None

    def tensor(values):
        return torch.tensor(np.asarray(values, np.float32)[None])

    view = View(tensor(sample.box), tensor(sample.focal_px), tensor(sample.centre_px))
    place = tensor(sample.pelvis_m - rest_pelvis(BODY, sample.betas))
    points, _ = SURFACE(tensor(sample.rotations), tensor(sample.betas))
    return project_to_crop(points, cam_from_translation(place, view), view)[0].numpy()


def check_person(record: Record, one: Person, pelvis: bool = True) -> None:
    """The record says what the person is, to half a millimetre and a tenth of a pixel."""
    assert record.rotations is not None
    assert record.betas is not None
    np.testing.assert_allclose(record.rotations, one.rotations, atol=1e-5)
    np.testing.assert_allclose(record.betas, one.betas, atol=1e-5)
    if pelvis:
        assert record.pelvis_m is not None
        np.testing.assert_allclose(record.pelvis_m, one.pelvis, atol=5e-4)
        trans = record.pelvis_m - rest_pelvis(BODY, record.betas)
        assert record.focal_px is not None
        assert record.centre_px is not None
        px = project(BODY.joints(record.rotations, record.betas) + trans, record.focal_px, record.centre_px)
        np.testing.assert_allclose(px, one.joints_px, atol=0.1)


# crops


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
    record = replace(record, box=np.append(factor * record.box[:2] + 1.5, factor * record.box[2]),
                     focal_px=factor * FOCAL_PX, centre_px=factor * CENTRE_PX + 1.5)  # fmt: skip
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


# points


def test_points_are_exchanged_left_for_right_in_a_mirror():
    np.testing.assert_array_equal(MIRROR[MIRROR], np.arange(73))
    for name, twin in (("smpl_l_hand", "smpl_r_hand"), ("op_r_big_toe", "op_l_big_toe"), ("spin_l_ear", "spin_r_ear"),
                       ("spin_head_top", "spin_head_top"), ("op_mid_hip", "op_mid_hip")):  # fmt: skip
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


def test_keypoint_losses_are_zero_at_the_truth_and_blind_to_what_nobody_knows():
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


# label files


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


# mixing


def mixed(tmp_path: Path, seed: int = 0, **augment: float) -> Mix:
    """Half with keypoints alone, half with all."""
    people = [replace(person(seed), betas=person(0).betas) for seed in range(4)]  # 3DPW: one shape a sequence
    write_spin(tmp_path / "coco", people, pose=None, shape=None, has_smpl=None, img_focal=None, img_center=None)
    write_3dpw(tmp_path / "3dpw", [people], split="train")
    sets = {
        "coco": SetRecipe(kind="spin", labels=str(tmp_path / "coco/labels.npz"), ratio=0.1, keypoints_3d=False),
        "3dpw": SetRecipe(kind="3dpw", labels=str(tmp_path / "3dpw"), ratio=0.3),
        "unused": SetRecipe(kind="emdb", labels="nowhere", ratio=0),
    }
    return open_mix(sets, BODY, batch=8, augment=msgspec.structs.replace(Augment(), **augment), seed=seed)


def test_rows_come_in_their_ratio(tmp_path):
    mix = mixed(tmp_path)
    assert mix.names == ["coco", "3dpw"]
    which, rows, _ = (np.concatenate(parts) for parts in zip(*map(mix.draw, range(400)), strict=True))
    assert abs(which.mean() - 0.75) < 0.03
    assert np.bincount(rows).min() > 600  # each of the four rows of either set


def test_a_step_is_the_same_however_many_threads_cut_it(tmp_path):
    mix, other = mixed(tmp_path), mixed(tmp_path, seed=1)
    alone = [mix.batch(step) for step in (3, 4, 5)]
    together = list(islice(batches(mix, first_step=3, threads=3), 3))
    for one, same in zip(alone, together, strict=True):
        for part, twin in zip(one, same, strict=True):
            torch.testing.assert_close(part, twin, rtol=0, atol=0)
    resumed = next(batches(mix, first_step=5, threads=1))
    torch.testing.assert_close(resumed.images, alone[2].images, rtol=0, atol=0)
    assert not torch.equal(other.batch(3).images, alone[0].images)


def test_a_batch_says_what_is_known_of_each_row_and_projects_it_right(tmp_path):
    batch = mixed(tmp_path, occlude=0, colour=0).batch(0)
    known = batch.source == 1
    assert batch.images.shape == (8, 256, 256, 3)
    assert batch.images.dtype == torch.uint8
    torch.testing.assert_close(batch.has_smpl, known.float())
    torch.testing.assert_close(batch.has_place, known.float())
    assert torch.isfinite(batch.labels).all()
    assert (batch.keypoints_3d == 0).all()
    view = View(*(batch.labels[:, COLUMN[name]] for name in ("box", "focal_px", "centre_px")))
    view = view._replace(focal_px=view.focal_px[:, 0])
    points, _ = SURFACE(batch.labels[:, COLUMN["rotations"]].view(-1, 24, 3, 3), batch.labels[:, COLUMN["betas"]])
    cam = cam_from_translation(batch.labels[:, COLUMN["trans"]], view)
    points_px = project_to_crop(points, cam, view)
    wrist = NAMES.index("op_l_wrist")
    torch.testing.assert_close(points_px[known, 20], batch.keypoints_2d[known, wrist, :2], atol=0.1, rtol=0)
    # A row without a body holds one that stands within its crop.
    assert ((points_px[~known] > -20) & (points_px[~known] < 276)).all()
    assert (batch.keypoints_2d[~known, NAMES.index("spin_l_wrist"), 2] == 1).all()


def test_without_changes_a_crop_is_the_labels_box(tmp_path):
    one = person(0)
    labels = write_spin(tmp_path, [one])
    table = read_spin("one", labels, tmp_path)
    sample = Mix({"one": table}, {"one": 1.0}, BODY, 1, NOTHING).sample(table[0], np.random.default_rng(0))
    np.testing.assert_allclose(sample.box, one.box, atol=1e-3)
    np.testing.assert_array_equal(sample.image, cut_out(table[0], picture(one), Change()).image)


def test_the_papers_recipe_names_its_sets():
    text = (Path(__file__).parents[1] / "training/configs/refit_w48.yaml").read_text()
    recipe = msgspec.yaml.decode(text)
    sets = msgspec.convert(recipe["sets"], dict[str, SetRecipe])
    assert abs(sum(one.ratio for one in sets.values()) - 1) < 1e-9
    assert msgspec.convert(recipe["augment"], Augment) == Augment()
    assert set(sets) == {"coco", "mpii", "mpi-inf-3dhp", "h36m", "3dpw"}


# bad input


def spin(tmp_path: Path, **columns) -> Table:
    return read_spin("made", write_spin(tmp_path, [person(0)], **columns), tmp_path)


def test_labels_that_are_not_there_or_not_whole_are_named(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.npz: no such label file\. Set `labels`"):
        read_spin("made", tmp_path / "nothing.npz", tmp_path)
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(UserError, match=r"text\.npz: is no label file"):
        read_spin("made", tmp_path / "text.npz", tmp_path)
    whole = write_spin(tmp_path, [person(0)]).read_bytes()
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"half\.npz: is no label file"):
        read_spin("made", tmp_path / "half.npz", tmp_path)
    with pytest.raises(UserError, match=r"labels\.npz: lacks scale; it has .*imgname"):
        spin(tmp_path, scale=None)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("pose", np.zeros((1, 165)), r"pose is \(1, 165\) where \(1, 72\) is needed"),
        ("part", np.zeros((1, 17, 3)), r"part is \(1, 17, 3\) where \(1, 24, 3\)"),
        ("center", np.zeros((2, 2)), r"center is \(2, 2\) where \(1, 2\)"),
        ("shape", np.full((1, 10), np.nan), r"shape holds values that are no finite numbers"),
        ("shape", None, r"pose and shape, img_focal and img_center belong together"),
        ("imgname", np.array(["images/else.png"]), r"else\.png: no such picture, though .*labels\.npz names it"),
        ("imgname", np.array(["a", "b"], object), r"is no label file, a \.npz of plain arrays"),
    ],
)
def test_labels_of_the_wrong_shape_are_named(tmp_path, column: str, value, said: str):
    with pytest.raises(UserError, match=said):
        spin(tmp_path, **{column: value})


def test_folders_without_their_files_are_named(tmp_path):
    for kind, said in (("3dpw", r"train: holds no \.pkl files\. Name 3DPW's own folder"),
                       ("emdb", r"holds no P\*/\*/\*_data\.pkl\. Name EMDB's own folder"),
                       ("bedlam", r"holds no \.npz file\. Set `labels` to BEDLAM's folder")):  # fmt: skip
        with pytest.raises(UserError, match=said):
            open_set("made", SetRecipe(kind=kind, labels=str(tmp_path), ratio=1), BODIES)  # type: ignore[arg-type]
    labels = write_spin(tmp_path, [person(0)])
    with pytest.raises(UserError, match=r"gone: no such folder; .*labels\.npz says its pictures lie there"):
        read_spin("made", labels, tmp_path / "gone")
    write_emdb(tmp_path / "emdb", [person(0)], emdb1=False)
    with pytest.raises(UserError, match="no sequence is marked 'emdb1'"):
        read_emdb("emdb", tmp_path / "emdb", "emdb1", BODIES)


def test_smplx_labels_of_bedlam_are_told_from_smpls(tmp_path):
    labels = write_bedlam(tmp_path, [person(0)])
    with np.load(labels, allow_pickle=True) as archive:
        columns: dict[str, Any] = {name: archive[name] for name in archive.files}
    columns["pose_cam"] = np.zeros((1, 165))
    np.savez(labels, **columns)
    with pytest.raises(UserError, match=r"has SMPL-X poses\. Fetch BEDLAM's SMPL labels"):
        read_bedlam("bedlam", labels, tmp_path, BODIES)


class Evil:
    def __reduce__(self):
        return print, ("run",)


def test_pickles_that_ask_for_code_or_lack_parts_are_refused(tmp_path, capsys):
    path = write_3dpw(tmp_path, [[person(0)]])
    found = pickle.loads(path.read_bytes())
    path.write_bytes(pickle.dumps(found | {"trans": Evil()}, protocol=2))
    with pytest.raises(UserError, match=r"downtown_x_00\.pkl: is no label file of 3DPW \(it asks to run .*print"):
        read_3dpw("3dpw", tmp_path, "test", BODIES)
    assert capsys.readouterr().out == ""
    for key, value, said in (("cam_poses", np.zeros((1, 3, 4)), r"cam_poses is \(1, 3, 4\) where \(any, 4, 4\)"),
                             ("poses", [np.zeros((1, 66))], r"poses\[0\] is \(1, 66\) where \(1, 72\)"),
                             ("poses2d", [], "poses2d is not there for each person")):  # fmt: skip
        path.write_bytes(pickle.dumps(found | {key: value}))
        with pytest.raises(UserError, match=said):
            read_3dpw("3dpw", tmp_path, "test", BODIES)
    path = write_emdb(tmp_path, [person(0)])
    found = pickle.loads(path.read_bytes())
    path.write_bytes(pickle.dumps(found | {"smpl": {}}))
    with pytest.raises(UserError, match=r"_data\.pkl: lacks smpl\.poses_root"):
        read_emdb("emdb", tmp_path, "emdb1", BODIES)


def test_a_picture_that_cannot_be_read_stops_with_one_line(tmp_path):
    mix = mixed(tmp_path)
    for path in tmp_path.rglob("*.jpg"):
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"image_0000\d\.jpg: is no picture, or damaged\. Fetch") as caught:
        list(islice(batches(mix), 3))
    assert "\n" not in str(caught.value)


def test_a_mix_needs_a_ratio(tmp_path):
    labels = write_spin(tmp_path, [person(0)])
    with pytest.raises(UserError, match="ratio"):
        open_mix({"one": SetRecipe(kind="spin", labels=str(labels), ratio=-1)}, BODY, 4, NOTHING)
    with pytest.raises(UserError, match="ratio"):
        open_mix({}, BODY, 4, NOTHING)
    with pytest.raises(UserError, match=r"holds no \.png cut-outs"):
        open_mix(
            {"one": SetRecipe(kind="spin", labels=str(labels), ratio=1)}, BODY, 4, Augment(occluders=str(tmp_path))
        )


def test_joint_sets_have_their_sizes():
    assert (len(joints.OPENPOSE), len(joints.SPIN), len(NAMES)) == (25, 24, 73)
