"""The free body keeps SMPL's conventions, and every fast evaluation equals a slow one."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import KDTree

from refit_rt.body.smpl import JOINT_NAMES, PACKAGED, PARENTS, Body, body_from_arrays, load_body, vertices_reference
from refit_rt.errors import UserError
from refit_rt.geometry import matrix_from_axis_angle
from tests.support.paths import DATA

HELD_OUT = DATA / "body_heldout.npz"
MIRROR = np.array([-1.0, 1.0, 1.0])
AVERAGE = np.zeros(10)
LEFT_RIGHT = [JOINT_NAMES.index({"l_": "r_", "r_": "l_"}.get(n[:2], n[:2]) + n[2:]) for n in JOINT_NAMES]


@pytest.fixture(scope="module")
def body() -> Body:
    return load_body()


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    with np.load(PACKAGED) as archive:
        return dict(archive)


@pytest.fixture(scope="module")
def corrected(arrays: dict[str, np.ndarray]) -> Body:
    """A small body with pose blend shapes, as in SMPL: every 40th vertex of the free body."""
    rng = np.random.default_rng(5)
    some = np.arange(0, len(arrays["v_template"]), 40)
    small = {key: arrays[key][some] for key in ("v_template", "shapedirs", "weights")}
    regressor = rng.random((24, len(some)))
    small["J_regressor"] = regressor / regressor.sum(1, keepdims=True)
    small["posedirs"] = rng.normal(0, 0.01, (len(some), 3, 207))
    small["f"] = rng.integers(0, len(some), (100, 3))
    small["kintree_table"] = arrays["kintree_table"]
    small["markers"] = rng.permutation(len(some))[:67]
    return body_from_arrays(small, "corrected.npz")


def some_pose(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rotations (24, 3, 3) and betas (10,)."""
    rng = np.random.default_rng(seed)
    return matrix_from_axis_angle(rng.normal(0, 0.5, (24, 3))), rng.normal(size=10)


def moved(body: Body, joint: str, axis_angle: tuple[float, float, float], watched: str) -> np.ndarray:
    """The displacement (3,) in metres of the joint `watched` when only `joint` turns."""
    pose = np.zeros((24, 3))
    pose[JOINT_NAMES.index(joint)] = axis_angle
    rest = body.joints(matrix_from_axis_angle(np.zeros((24, 3))), AVERAGE)
    return (body.joints(matrix_from_axis_angle(pose), AVERAGE) - rest)[JOINT_NAMES.index(watched)]


def test_the_body_stands_in_a_t_pose_of_human_size(body: Body):
    place = dict(zip(JOINT_NAMES, body.joint_template, strict=True))
    height = np.ptp(body.template[:, 1])
    assert 1.65 < height < 1.8
    assert np.ptp(body.template[:, 0]) == pytest.approx(height, rel=0.12)
    assert place["l_wrist"][0] > place["l_elbow"][0] > place["l_shoulder"][0] > 0, "left is +x"
    assert place["head"][1] > place["pelvis"][1] > place["l_knee"][1] > place["l_ankle"][1], "up is +y"
    assert place["l_foot"][2] > place["l_ankle"][2] + 0.1, "forward is +z"
    arms = [abs(place["l_shoulder"] - place[name])[1:] for name in ("l_elbow", "l_wrist")]
    np.testing.assert_allclose(arms, 0, atol=0.01, err_msg="arms point straight out")


def test_shoulders_stand_over_the_hips(body: Body):
    place = dict(zip(JOINT_NAMES, body.joint_template, strict=True))
    behind = place["l_hip"][2] - place["l_shoulder"][2]
    assert 0.01 < behind < 0.06  # metres; a few centimetres behind, as in SMPL


@pytest.mark.parametrize(
    ("joint", "axis_angle", "watched", "axis", "sign"),
    [
        ("hip", (-1.0, 0, 0), "knee", 2, +1),  # the thigh swings forward
        ("knee", (+1.0, 0, 0), "ankle", 2, -1),  # the shin folds back
        ("ankle", (-0.5, 0, 0), "foot", 1, +1),  # the toes lift
        ("collar", (0, 0, +0.5), "shoulder", 1, +1),  # the shoulder shrugs
        ("shoulder", (0, 0, -1.0), "elbow", 1, -1),  # the arm drops
        ("shoulder", (0, -1.0, 0), "elbow", 2, +1),  # the arm swings forward
        ("elbow", (0, -1.0, 0), "wrist", 2, +1),  # the forearm folds forward
        ("wrist", (0, 0, -1.0), "hand", 1, -1),  # the hand drops
    ],
)
def test_limbs_turn_as_in_smpl_on_both_sides(body: Body, joint, axis_angle, watched, axis, sign):
    left = moved(body, f"l_{joint}", axis_angle, f"l_{watched}")
    assert left[axis] * sign > 0.01
    right = moved(body, f"r_{joint}", tuple(np.array(axis_angle) * [1, -1, -1]), f"r_{watched}")
    np.testing.assert_allclose(right, left * MIRROR, atol=1e-4)


@pytest.mark.parametrize("joint", ["pelvis", "spine1", "spine2", "spine3", "neck"])
def test_the_trunk_bends_forward_about_plus_x(body: Body, joint: str):
    assert moved(body, joint, (0.5, 0, 0), "head")[2] > 0.02


def test_the_root_turns_in_place(body: Body):
    assert np.abs(moved(body, "pelvis", (0.3, 2.0, -0.5), "pelvis")).max() == 0


def test_left_and_right_mirror_within_a_tenth_of_a_millimetre(body: Body):
    rotations, betas = some_pose(1)
    flipped = np.diag(MIRROR) @ rotations[LEFT_RIGHT] @ np.diag(MIRROR)
    distance, mirror = KDTree(body.template).query(body.template * MIRROR)
    assert np.max(distance) < 1e-4
    one, other = body.vertices(rotations, betas), body.vertices(flipped, betas)
    assert np.abs(other[mirror] * MIRROR - one).max() < 5e-4, "posed and shaped: betas are symmetric as well"
    joints = body.joints(rotations, betas)[LEFT_RIGHT] * MIRROR
    np.testing.assert_allclose(body.joints(flipped, betas), joints, atol=1e-4)


def test_regressor_and_skinning_rows_sum_to_one(arrays: dict[str, np.ndarray]):
    np.testing.assert_allclose(arrays["J_regressor"].sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(arrays["weights"].sum(1), 1, atol=1e-5)
    assert arrays["weights"].min() >= 0


def test_the_surface_is_closed_except_at_the_eyes(body: Body):
    edges = np.concatenate([body.faces[:, [0, 1]], body.faces[:, [1, 2]], body.faces[:, [2, 0]]])
    assert len(np.unique(edges, axis=0)) == len(edges), "neighbouring faces turn the same way"
    count = np.unique(np.sort(edges, 1), axis=0, return_counts=True)
    border = body.template[np.unique(count[0][count[1] == 1])]
    assert np.abs(np.abs(border[:, 0]) - 0.03).max() < 0.02, "no gap on the midline: the lips are closed"
    corners = body.template[body.faces].astype(float)
    volume = np.einsum("fa,fa->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6
    assert 0.05 < volume < 0.08, "cubic metres, positive: the faces point outwards"


def test_held_out_people_are_approximated_within_three_millimetres(body: Body):
    with np.load(HELD_OUT) as held_out:
        ids, people = held_out["vertex_ids"], held_out["vertices_tenth_mm"] * 1e-4
    basis = body.shape_dirs[ids].reshape(-1, 10).astype(float)
    offsets = (people - body.template[ids]).reshape(len(people), -1)
    betas = np.linalg.lstsq(basis, offsets.T, rcond=None)[0]
    off_mm = np.linalg.norm((offsets - (basis @ betas).T).reshape(len(people), -1, 3), axis=2) * 1e3
    assert off_mm.mean() < 2.0
    assert np.percentile(off_mm, 95) < 5.0
    assert off_mm.mean(1).max() < 3.0, "the worst person"
    assert np.abs(betas).max() < 6, "and within sensible betas"


def test_one_unit_of_each_beta_is_a_plausible_person(body: Body):
    still = np.tile(np.eye(3), (24, 1, 1))
    heights = [np.ptp(body.vertices(still, sign * beta)[:, 1]) for beta in np.eye(10) for sign in (-2, 2)]
    assert min(heights) > 1.4
    assert max(heights) < 2.05


@pytest.mark.parametrize("seed", range(3))
def test_fast_skinning_equals_its_slow_twin(body: Body, corrected: Body, seed: int):
    rotations, betas = some_pose(seed)
    for each in (body, corrected):
        np.testing.assert_allclose(
            each.vertices(rotations, betas), vertices_reference(each, rotations, betas), atol=2e-6
        )


@pytest.mark.parametrize("seed", range(3))
def test_markers_alone_equal_the_markers_of_the_full_mesh(body: Body, corrected: Body, seed: int):
    rotations, betas = some_pose(seed)
    for each in (body, corrected):
        full = each.vertices(rotations, betas)[each.markers]
        np.testing.assert_allclose(each.markers_at(rotations, betas), full, atol=1e-6)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("pose_dirs", [False, True], ids=["without pose blend shapes", "with them"])
def test_the_body_equals_smplx_within_a_hundredth_of_a_millimetre(
    arrays: dict[str, np.ndarray], corrected: Body, body: Body, pose_dirs: bool
):
    torch = pytest.importorskip("torch", reason="the oracle needs torch")
    lbs = pytest.importorskip("smplx.lbs", reason="the oracle, smplx, is not installed")
    chosen = corrected if pose_dirs else body
    rotations, betas = some_pose(7)
    wide = np.zeros((len(chosen.template), 3, 207)) if chosen.pose_dirs is None else chosen.pose_dirs
    regressor = arrays["J_regressor"]
    if pose_dirs:  # this body keeps no regressor, so its rest joints are appended to the vertices
        regressor = np.concatenate([np.zeros((24, len(chosen.template))), np.eye(24)], 1)
    extra = 24 if pose_dirs else 0
    template = np.concatenate([chosen.template, chosen.joint_template[:extra]])
    shape_dirs = np.concatenate([chosen.shape_dirs, chosen.joint_shape_dirs[:extra]])
    weights = np.concatenate([chosen.skinning, np.eye(24)[:extra]])
    wide = np.concatenate([wide, np.zeros((extra, 3, 207))])
    tensors = [
        torch.tensor(np.array(a), dtype=torch.float64) for a in (betas[None], rotations[None], template, shape_dirs)
    ]
    tail = [torch.tensor(np.array(a), dtype=torch.float64) for a in (wide.reshape(-1, 207).T, regressor)]
    skin = torch.tensor(weights, dtype=torch.float64)
    vertices, joints = lbs.lbs(*tensors, *tail, torch.tensor(PARENTS), skin, pose2rot=False)
    np.testing.assert_allclose(chosen.vertices(rotations, betas), vertices[0, : len(chosen.template)], atol=1e-5)
    np.testing.assert_allclose(chosen.joints(rotations, betas), joints[0], atol=1e-5)


def test_markers_are_67_apart_from_each_other_and_mirrored(body: Body):
    assert body.markers is not None
    places = body.template[body.markers]
    assert len(set(body.markers.tolist())) == 67
    between, _ = KDTree(places).query(places, 2)
    assert np.min(between[:, 1]) > 0.02
    off, _ = KDTree(places).query(places * MIRROR)
    assert np.max(off) < 5e-3  # those on the midline lie within 4 mm of it


def test_a_body_cannot_be_changed(body: Body):
    with pytest.raises(ValueError, match="read-only"):
        body.template[0] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        body.name = "other"  # type: ignore[misc]


def test_the_digest_is_that_of_the_file(body: Body):
    import hashlib

    assert body.digest == hashlib.sha256(PACKAGED.read_bytes()).hexdigest()


def written(path: Path, arrays: dict[str, np.ndarray], **changed: np.ndarray | None) -> Path:
    kept = {key: value for key, value in (arrays | changed).items() if value is not None}
    np.savez(path, **kept)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"markers": np.array([0, 13048])}, "marker ids do not fit its 13048 vertices"),
        ({"markers": np.array([-1, 5])}, "marker ids do not fit"),
        ({"markers": np.array([0.5, 1.5])}, "marker ids do not fit"),
        ({"f": np.array([[0, 1, 99999]])}, "faces do not fit"),
        ({"weights": None, "f": None}, "lacks weights, f"),
        ({"weights": np.zeros((13048, 55))}, r"weights is \(13048, 55\) where \(13048, 24\) is needed"),
        ({"shapedirs": np.zeros((13048, 3, 4))}, "shapedirs is"),
        ({"posedirs": np.zeros((13048, 3, 486))}, "posedirs is"),
        ({"v_template": np.full((13048, 3), np.nan)}, "v_template holds values that are not finite numbers"),
        ({"v_template": np.array("text")}, "v_template is"),
        ({"kintree_table": np.zeros((2, 24), int)}, "not SMPL's tree"),
    ],
)
def test_an_inconsistent_body_file_is_refused_in_one_line(tmp_path, arrays, changed, message):
    path = written(tmp_path / "wrong.npz", arrays, **changed)
    with pytest.raises(UserError, match=message) as caught:
        load_body(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_or_damaged_body_file_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="cannot be read"):
        load_body(tmp_path / "none.npz")
    (tmp_path / "cut.npz").write_bytes(PACKAGED.read_bytes()[:5000])
    with pytest.raises(UserError, match="damaged body file"):
        load_body(tmp_path / "cut.npz")
    (tmp_path / "SMPL_NEUTRAL.pkl").write_bytes(b"")
    with pytest.raises(UserError, match=r"import-smpl SMPL_NEUTRAL\.pkl"):
        load_body(tmp_path / "SMPL_NEUTRAL.pkl")


def test_a_body_without_markers_is_an_error_when_they_are_needed(tmp_path, arrays):
    bare = load_body(written(tmp_path / "bare.npz", arrays, markers=None))
    assert bare.markers is None
    with pytest.raises(UserError, match="holds no markers"):
        bare.markers_at(*some_pose(0))
