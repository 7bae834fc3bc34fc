"""Recorded motion: AMASS and BVH files are read as they were written, and broken ones are named."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from refit_rt.body.smpl import JOINT_NAMES, PARENTS, load_body
from refit_rt.errors import UserError
from refit_rt.geometry import axis_angle_from_matrix
from tests.support.paths import SHARED
from training.synthetic import Assets, Generator, motion_files
from training.synthetic.bvh import read_bvh, world_poses
from training.synthetic.motion import load_motion
from training.synthetic.retarget import LIMBS, find_joints

MAKEHUMAN = SHARED / "assets" / "makehuman_cc0" / "poses"
LIMB_NAMES = {
    "hip": "UpLeg",
    "knee": "Leg",
    "ankle": "Foot",
    "foot": "ToeBase",
    "collar": "Shoulder",
    "shoulder": "Arm",
    "elbow": "ForeArm",
    "wrist": "Hand",
    "hand": "HandIndex1",
}
MIXAMO = {
    side + joint: word + name for joint, name in LIMB_NAMES.items() for side, word in (("l_", "Left"), ("r_", "Right"))
}
MIXAMO |= {"pelvis": "Hips", "spine1": "Spine", "spine2": "Spine1", "spine3": "Spine2", "neck": "Neck", "head": "Head"}
SMPL = {name: {"l": "L_", "r": "R_"}[name[0]] + name[2:].title() if name[1] == "_" else name for name in JOINT_NAMES}

LEG_OF = [{"l": 1, "r": -1}[n[0]] if n[2:] in ("hip", "knee", "ankle", "foot") else 0 for n in JOINT_NAMES]


def movement(frames: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A person who walks on and turns every joint smoothly, hands straight: rotations (n, 24, 3, 3), pelvis (n, 3)."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames)[:, None, None] / 30
    vectors = rng.normal(0, 0.25, (24, 3)) + rng.normal(0, 0.25, (24, 3)) * np.sin(time * rng.uniform(1, 4, (24, 3)))
    vectors[:, 22:] = 0
    rotations = Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix().reshape(-1, 24, 3, 3)
    return rotations, np.stack([0.3 * time[:, 0, 0], 1 + 0.02 * np.sin(time[:, 0, 0]), 0.8 * time[:, 0, 0]], 1)


def write_bvh(
    path: Path,
    rotations: np.ndarray,
    trans: np.ndarray,
    names: Mapping[str, str],
    unit: float | np.ndarray = 100.0,
    fps: float = 30.0,
    order: str = "ZXY",
    axes: np.ndarray | None = None,
    splay_deg: float = 0.0,
) -> None:
    """A .bvh of poses on the free body's own skeleton. unit: of the file's to a metre; axes (3, 3): file from body;
    splay_deg: how far the legs rest apart."""
    axes = np.eye(3) if axes is None else axes
    rest, rotations = splayed(rotations, splay_deg)
    rest = rest @ axes.T * unit
    lines: list[str] = ["HIERARCHY"]
    walked: list[int] = []

    def joint(j: int) -> None:
        walked.append(j)
        offset = rest[j] - rest[PARENTS[j]] if j else rest[0]
        place = "Xposition Yposition Zposition " if j == 0 else ""
        turns = " ".join(f"{axis}rotation" for axis in order)
        below = [child for child in range(24) if PARENTS[child] == j]
        lines.append(f"{'JOINT' if j else 'ROOT'} {names[JOINT_NAMES[j]]}\n{{\nOFFSET {' '.join(map(str, offset))}")
        lines.append(f"CHANNELS {6 if j == 0 else 3} {place}{turns}")
        for child in below:
            joint(child)
        lines.append("}" if below else "End Site\n{\nOFFSET 0 0 1\n}\n}")

    joint(0)
    angles = [Rotation.from_matrix(axes @ rotations[:, j] @ axes.T).as_euler(order, degrees=True) for j in walked]
    rows = np.concatenate([trans @ axes.T * unit, *angles], 1)
    lines += ["MOTION", f"Frames: {len(rows)}", f"Frame Time: {1 / fps:.8f}"]
    lines += [" ".join(f"{value:.6f}" for value in row) for row in rows]
    path.write_text("\n".join(lines))


def splayed(rotations: np.ndarray, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """The free body's joints (24, 3) with the legs apart, and the same poses (n, 24, 3, 3) relative to that rest."""
    own = load_body().joint_template.astype(float)
    apart = Rotation.from_euler("z", [[degrees * leg] for leg in LEG_OF], degrees=True).as_matrix()
    rest, world, out = own.copy(), rotations.copy(), rotations.copy()
    for j in range(1, 24):
        world[:, j] = world[:, PARENTS[j]] @ rotations[:, j]
        rest[j] = rest[PARENTS[j]] + apart[PARENTS[j]] @ (own[j] - own[PARENTS[j]])
    world = world @ apart.swapaxes(-1, -2)
    for j in range(1, 24):
        out[:, j] = world[:, PARENTS[j]].swapaxes(-1, -2) @ world[:, j]
    return rest, out


def write_amass(path: Path, rotations: np.ndarray, trans: np.ndarray, fps: float = 30.0, width: int = 156) -> None:
    """As AMASS writes: z up, the translation that of the body and not of its pelvis."""
    poses = np.zeros((len(rotations), width))
    turned = rotations.copy()
    turned[:, 0] = motion_files.UP_FROM_Z.T @ turned[:, 0]
    poses[:, :66] = axis_angle_from_matrix(turned[:, :22]).reshape(len(poses), -1)
    place = trans @ motion_files.UP_FROM_Z - load_body().joint_template[0]
    np.savez(path, poses=poses, trans=place, betas=np.zeros(16), gender="neutral", mocap_framerate=fps)


def degrees_apart(a: np.ndarray, b: np.ndarray) -> float:
    """The largest angle between rotations (..., 3, 3)."""
    return float(np.degrees(Rotation.from_matrix((a.swapaxes(-1, -2) @ b).reshape(-1, 3, 3)).magnitude().max()))


@pytest.mark.parametrize("order", ["ZXY", "XYZ", "ZYX"])
@pytest.mark.parametrize("names", [MIXAMO, SMPL], ids=["mixamo", "smpl"])
def test_a_bvh_of_known_poses_is_read_back_within_half_a_degree(tmp_path, names, order):
    rotations, trans = movement(40)
    write_bvh(tmp_path / "walk.bvh", rotations, trans, names, order=order)
    found = load_motion(tmp_path)
    assert degrees_apart(found.rotations, rotations) < 0.5
    way = found.trans - found.trans[:1]
    np.testing.assert_allclose(way, trans - trans[:1], atol=1e-3)
    assert list(found.name) == ["walk"]


def test_legs_that_rest_apart_as_cmus_do_stand_on_flat_feet_within_two_degrees(tmp_path):
    rotations, trans = movement(20)
    write_bvh(tmp_path / "cmu.bvh", rotations, trans, MIXAMO, splay_deg=20)
    assert degrees_apart(load_motion(tmp_path).rotations, rotations) < 2


def test_unit_and_axes_of_a_bvh_follow_from_its_rig(tmp_path):
    rotations, trans = movement(20)
    z_up = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # left +x, up +z, facing -y
    write_bvh(
        tmp_path / "inches.bvh", rotations, trans, {k: "mixamorig:" + v for k, v in MIXAMO.items()}, 39.37, axes=z_up
    )
    found = load_motion(tmp_path)
    assert degrees_apart(found.rotations, rotations) < 0.5
    np.testing.assert_allclose(found.trans - found.trans[:1], trans - trans[:1], atol=1e-3)


@pytest.mark.parametrize("width", motion_files.WIDTHS)
def test_amass_is_read_back_exactly(tmp_path, width):
    rotations, trans = movement(40)
    write_amass(tmp_path / "walk_poses.npz", rotations, trans, width=width)
    (tmp_path / "shape.npz").write_bytes(b"no motion, and never opened")
    found = load_motion(tmp_path)
    np.testing.assert_allclose(found.rotations, rotations, atol=1e-6)
    np.testing.assert_allclose(found.trans - found.trans[:1], trans - trans[:1], atol=1e-5)


def test_feet_stand_on_the_floor_within_two_centimetres(tmp_path):
    rotations = np.tile(np.eye(3), (40, 24, 1, 1))
    write_amass(tmp_path / "stand.npz", rotations, np.tile([0.0, 3.0, 0.0], (40, 1)))
    found = load_motion(tmp_path)
    body = load_body()
    lowest = body.vertices(rotations[0], np.zeros(10))[:, 1].min() + found.trans[0, 1] - body.joint_template[0, 1]
    assert abs(lowest) < 0.02


def test_other_rates_are_resampled_within_a_tenth_of_a_degree(tmp_path):
    rotations, trans = movement(61)
    keys = np.arange(0, 61, 2)
    write_amass(tmp_path / "half.npz", rotations[keys], trans[keys], fps=15)
    found = load_motion(tmp_path)
    assert found.fps == 30
    assert degrees_apart(found.rotations[keys], rotations[keys]) < 1e-3
    assert degrees_apart(found.rotations[1::2], rotations[1::2]) < 0.5
    fast = motion_files.clean_clips("fast", rotations, trans, 120, load_body())[0]
    assert degrees_apart(fast.rotations, rotations[::4]) < 1e-3


def test_clips_are_cut_at_missing_numbers_and_jumps(tmp_path):
    rotations, trans = movement(120)
    trans[60:] += [0, 0, 2.0]
    trans[30], trans[113] = np.nan, np.nan
    write_amass(tmp_path / "cut.npz", rotations, trans)
    found = load_motion(tmp_path)
    assert list(found.length) == [30, 29, 53]  # and six frames at the end, too few
    assert list(found.name) == ["cut.1", "cut.2", "cut.3"]
    assert np.isfinite(found.trans).all()
    for start, length in zip(found.start, found.length, strict=True):
        assert np.linalg.norm(np.diff(found.trans[start : start + length], axis=0), axis=1).max() < 0.1


def test_a_generator_draws_from_such_a_folder(tmp_path):
    (tmp_path / "subject").mkdir()
    for number in range(2):
        write_amass(tmp_path / "subject" / f"{number}.npz", *movement(40, number))
    sample = Generator(seed=1, assets=Assets(motion=tmp_path), outfits=2).clip(2, 30.0, 0)[0]
    assert sample.image.std() > 4


def broken_files() -> dict[str, str]:
    rig = "HIERARCHY ROOT Hips { OFFSET 0 0 0 CHANNELS 3 Xrotation Yrotation Zrotation JOINT Head { OFFSET 0 50 0 } } "
    return {
        "no motion": rig,
        "too few values": rig + "MOTION\nFrames: 2\nFrame Time: 0.03\n1 2 3",
        "no braces": "HIERARCHY ROOT Hips { OFFSET 0 0 0 MOTION\nFrames: 1\nFrame Time: 0.03\n",
        "no hierarchy": "<html>not found</html> MOTION\nFrames: 1\nFrame Time: 0.03\n",
        "no numbers": rig + "MOTION\nFrames: 1\nFrame Time: 0.03\na b c",
        "foreign rig": rig + "MOTION\nFrames: 1\nFrame Time: 0.03\n1 2 3",
    }


@pytest.mark.parametrize("kind", broken_files())
def test_a_broken_bvh_is_named(tmp_path, kind):
    (tmp_path / "bad.bvh").write_text(broken_files()[kind])
    with pytest.raises(UserError, match=r"bad\.bvh"):
        load_motion(tmp_path)


def test_joints_that_a_rig_lacks_are_named(tmp_path):
    names = MIXAMO | {"l_knee": "Tentacle", "head": "Lamp"}
    write_bvh(tmp_path / "octopus.bvh", *movement(3), names)
    with pytest.raises(UserError, match=r"octopus\.bvh.*head, l_knee"):
        load_motion(tmp_path)


def test_a_rest_pose_that_stands_nowhere_is_refused(tmp_path):
    write_bvh(tmp_path / "lying.bvh", *movement(3), MIXAMO, unit=np.array([100.0, 0, 0]))
    with pytest.raises(UserError, match=r"lying\.bvh.*rest pose"):
        load_motion(tmp_path)


@pytest.mark.parametrize("missing", ["poses", "mocap_framerate", "trans"])
def test_an_amass_file_that_lacks_something_is_named(tmp_path, missing):
    arrays = {"poses": np.zeros((3, 156)), "trans": np.zeros((3, 3)), "mocap_framerate": 30.0}
    np.savez(tmp_path / "bad.npz", **{key: value for key, value in arrays.items() if key != missing})
    with pytest.raises(UserError, match=r"bad\.npz"):
        load_motion(tmp_path)


def test_an_amass_file_of_another_width_or_cut_off_is_named(tmp_path):
    np.savez(tmp_path / "bad.npz", poses=np.zeros((3, 99)), trans=np.zeros((3, 3)), mocap_framerate=30.0)
    with pytest.raises(UserError, match=r"bad\.npz.*99"):
        load_motion(tmp_path)
    blob = (tmp_path / "bad.npz").read_bytes()
    (tmp_path / "bad.npz").write_bytes(blob[: len(blob) // 2])
    with pytest.raises(UserError, match=r"bad\.npz"):
        load_motion(tmp_path)


@pytest.mark.skipif(not MAKEHUMAN.is_dir(), reason="MakeHuman's poses are not here")
def test_makehumans_poses_point_their_limbs_as_the_rig_does_within_two_degrees():
    body, found = load_body(), load_motion(MAKEHUMAN)
    assert len(found.start) == 15
    for name, start in zip(found.name, found.start, strict=True):
        rig = read_bvh(MAKEHUMAN / f"{name}.bvh")
        at = find_joints(rig, name)
        _, place = world_poses(rig, at["pelvis"])
        joints = body.joints(found.rotations[start].astype(float), np.zeros(10))
        for joint, end in LIMBS:
            for side in ("l_", "r_"):
                bone = joints[JOINT_NAMES.index(side + end)] - joints[JOINT_NAMES.index(side + joint)]
                seen = place[0, at[side + end]] - place[0, at[side + joint]]
                seen = seen @ np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]).T  # that rig: z up, facing -y
                cosine = bone @ seen / np.linalg.norm(bone) / np.linalg.norm(seen)
                assert np.degrees(np.arccos(np.clip(cosine, -1, 1))) < 2
