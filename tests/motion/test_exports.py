"""Exported files, read back with libraries that are not ours: joints lie within a millimetre of the recording's."""

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from refit_rt import geometry
from refit_rt.__main__ import command
from refit_rt.axes import AXES
from refit_rt.body.bone_names import MAPS, SMPL
from refit_rt.body.smpl import JOINT_NAMES, Body, load_body
from refit_rt.motion.amass import write_amass
from refit_rt.motion.npz import MotionWriter, read_motion
from refit_rt.motion.performance import Performance, performances, world_from_camera
from tests.support.dancer import BETAS, FPS, danced, dancing

FRAMES, MM = 40, 1e-3
AWAY = range(10, 32)  # frames without person 4


@pytest.fixture(scope="module")
def body() -> Body:
    return load_body()


@pytest.fixture(scope="module")
def recording(tmp_path_factory, body) -> Path:
    """Two people; person 4 is away in the middle."""
    path = tmp_path_factory.mktemp("recording") / "motion.npz"
    writer = MotionWriter(path, FPS, body.name, "edge")
    for k in range(FRAMES):
        ids = [1] if k in AWAY else [1, 4]
        writer.add(danced(body, ids, k))
    writer.close()
    return path


@pytest.fixture(scope="module")
def truth(body) -> dict[int, np.ndarray]:
    """The joints (40, 24, 3) of each person, world."""
    return {p: np.array([dancing(body, p, k)["joints_world"] for k in range(FRAMES)]) for p in (1, 4)}


@pytest.fixture(scope="module")
def people(recording, body) -> list[Performance]:
    return performances(read_motion(recording), body)


def exported(recording: Path, out: Path, *options: str) -> None:
    assert command(["export", str(recording), "--out", str(out), *options]) == 0


def test_performances_are_the_recording_at_even_steps(people, truth, body, recording):
    np.testing.assert_allclose(world_from_camera(read_motion(recording)), geometry.WORLD_FROM_CAMERA, atol=1e-6)
    for one in people:
        there = np.array([one.person == 1 or k not in AWAY for k in range(FRAMES)])
        np.testing.assert_allclose(one.joints(body)[there], truth[one.person][there], atol=0.1 * MM)
    assert people[0].there.all()
    assert not people[1].there[18:24].any()


def test_half_the_rate_keeps_every_second_frame(recording, body, truth):
    one = performances(read_motion(recording), body, person=1, fps=15)[0]
    np.testing.assert_allclose(one.joints(body), truth[1][::2], atol=0.1 * MM)


def test_bvh_read_by_bvhio_has_the_joints(tmp_path, recording, truth):
    bvhio = pytest.importorskip("bvhio")
    exported(recording, tmp_path / "take.bvh", "--to", "bvh")
    for person in (1, 4):
        root = bvhio.readAsHierarchy(str(tmp_path / f"take_person{person}.bvh"))
        for k in (0, 7, 39):
            root.loadPose(k)
            found = {joint.Name: np.array(joint.PositionWorld) / 100 for joint, _, _ in root.layout()}
            np.testing.assert_allclose([found[name] for name in SMPL], truth[person][k], atol=MM)


def test_a_bvh_has_no_jumps_of_a_whole_turn(tmp_path, recording):
    exported(recording, tmp_path / "take.bvh", "--to", "bvh", "--person", "1")
    rows = (tmp_path / "take.bvh").read_text().split("Frame Time:")[1].splitlines()[1:]
    angles = np.array([row.split() for row in rows], float)[:, 3:]
    assert angles.shape == (FRAMES, 72)
    assert np.abs(np.diff(angles, axis=0)).max() < 90


def test_glb_read_by_pygltflib_has_the_joints_and_the_surface(tmp_path, recording, truth, body):
    pygltflib = pytest.importorskip("pygltflib")
    exported(recording, tmp_path / "take.glb", "--to", "glb", "--names", "mixamo")
    file = pygltflib.GLTF2().load(str(tmp_path / "take.glb"))
    blob = file.binary_blob()

    def array(index: int) -> np.ndarray:
        accessor = file.accessors[index]
        view = file.bufferViews[accessor.bufferView]
        dtype = {5126: "<f4", 5123: "<u2", 5125: "<u4"}[accessor.componentType]
        width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}[accessor.type]
        return np.frombuffer(blob, dtype, accessor.count * width, view.byteOffset).reshape(accessor.count, width)

    frame = 5
    local = {k: np.eye(4) for k in range(len(file.nodes))}
    for k, node in enumerate(file.nodes):
        local[k][:3, 3] = node.translation or (0, 0, 0)
    for channel in file.animations[0].channels:
        sampler = file.animations[0].samplers[channel.sampler]
        assert array(sampler.input)[frame, 0] == pytest.approx(frame / FPS)
        value = array(sampler.output)[frame].astype(np.float64)
        if channel.target.path == "rotation":
            local[channel.target.node][:3, :3] = Rotation.from_quat(value).as_matrix()
        else:
            local[channel.target.node][:3, 3] = value
    world: dict[int, np.ndarray] = {}

    def walk(node: int, above: np.ndarray) -> None:
        world[node] = above @ local[node]
        for child in file.nodes[node].children or ():
            walk(child, world[node])

    for root in file.scenes[0].nodes:
        walk(root, np.eye(4))
    assert [skin.name for skin in file.skins] == ["person_1", "person_4"]
    for person, skin, mesh in zip((1, 4), file.skins, file.meshes, strict=True):
        assert [file.nodes[joint].name for joint in skin.joints] == list(MAPS["mixamo"])
        joints = np.array([world[joint][:3, 3] for joint in skin.joints])
        np.testing.assert_allclose(joints, truth[person][frame], atol=MM)
        inverse = array(skin.inverseBindMatrices).reshape(-1, 4, 4).transpose(0, 2, 1)
        pose = np.array([world[joint] for joint in skin.joints]) @ inverse
        place = mesh.primitives[0].attributes
        weights, bones = array(place.WEIGHTS_0), array(place.JOINTS_0)
        points = np.column_stack([array(place.POSITION), np.ones(len(weights))])
        skinned = np.einsum("vk,vkab,vb->va", weights, pose[bones], points)[:, :3]
        row = dancing(body, person, frame)
        rotations = geometry.matrix_from_axis_angle(row["poses"])
        surface = (body.vertices(rotations, BETAS) + row["trans"]) @ geometry.WORLD_FROM_CAMERA.T
        assert np.linalg.norm(skinned - surface, axis=1).mean() < MM
        assert np.linalg.norm(skinned - surface, axis=1).max() < 25 * MM  # four of up to seven influences


def test_usd_read_by_usd_core_has_the_joints_and_hides_who_is_away(tmp_path, recording, truth):
    usd, geom, skel = (pytest.importorskip(f"pxr.{name}") for name in ("Usd", "UsdGeom", "UsdSkel"))
    exported(recording, tmp_path / "take.usdc", "--to", "usd", "--names", "unreal")
    stage = usd.Stage.Open(str(tmp_path / "take.usdc"))
    assert (stage.GetEndTimeCode(), stage.GetTimeCodesPerSecond()) == (FRAMES - 1, FPS)
    for person in (1, 4):
        place = stage.GetPrimAtPath(f"/World/person_{person}")
        cache = skel.Cache()
        cache.Populate(skel.Root(place), usd.PrimDefaultPredicate)
        query = cache.GetSkelQuery(skel.Skeleton(stage.GetPrimAtPath(f"/World/person_{person}/skeleton")))
        for k in (0, 7, 39):
            found = np.array(query.ComputeJointSkelTransforms(k))[:, 3, :3]
            np.testing.assert_allclose(found, truth[person][k], atol=MM)
        seen = geom.Imageable(place).ComputeVisibility(20)
        assert seen == ("inherited" if person == 1 else "invisible")


def test_amass_read_by_smplx_has_the_joints_with_z_up(tmp_path, recording, truth, body):
    smplx, torch = pytest.importorskip("smplx"), pytest.importorskip("torch")
    exported(recording, tmp_path / "take.npz", "--to", "amass", "--person", "1")
    with np.load(tmp_path / "take.npz", allow_pickle=False) as file:
        take = {name: file[name] for name in file.files}
    assert (str(take["gender"]), float(take["mocap_framerate"]), float(take["mocap_frame_rate"])) == ("neutral", 30, 30)
    assert (take["poses"].shape, take["betas"].shape) == ((FRAMES, 156), (16,))
    assert not take["betas"].any(), "the free body's shape means nothing to SMPL"
    turns = torch.tensor(take["poses"][:, :66]).reshape(-1, 3)
    matrices = smplx.lbs.batch_rodrigues(turns).reshape(FRAMES, 22, 3, 3)
    rest = torch.tensor(body.joint_template[None, :22]).double().repeat(FRAMES, 1, 1)
    found, _ = smplx.lbs.batch_rigid_transform(matrices.double(), rest, torch.tensor(body.parents[:22]).long())
    found = found.numpy() + take["trans"][:, None]
    expected = AXES["blender"].points(truth[1])
    np.testing.assert_allclose(found[:, 0], expected[:, 0], atol=MM)  # the pelvis; limbs are the mean body's
    np.testing.assert_allclose(found[:, 15] - found[:, 0], expected[:, 15] - expected[:, 0], atol=60 * MM)
    assert (found[:, 15, 2] > found[:, 0, 2] + 0.3).all(), "z is up"


def test_amass_of_smpl_itself_keeps_the_shape(tmp_path, people, body, truth):
    smpl = replace(body, name="SMPL_NEUTRAL")
    write_amass(tmp_path / "a.npz", people[0], smpl)
    with np.load(tmp_path / "a.npz") as file:
        np.testing.assert_allclose(file["betas"][:10], BETAS, atol=1e-6)
        pelvis = file["trans"] + smpl.rest_pelvis(BETAS)
    np.testing.assert_allclose(pelvis, AXES["blender"].points(truth[1][:, 0]), atol=0.1 * MM)


@pytest.mark.parametrize("frame", ["gltf", "unreal"])
def test_csv_has_every_row_in_the_frame_that_is_asked_for(tmp_path, recording, truth, frame):
    exported(recording, tmp_path / "take.csv", "--to", "csv", "--frame", frame)
    table = np.genfromtxt(tmp_path / "take.csv", delimiter=",", names=True)
    assert len(table) == FRAMES * 2 - len(AWAY)
    row = table[(table["person"] == 4) & (table["frame"] == 35)][0]
    head = [row[f"head_{axis}"] for axis in "xyz"]
    np.testing.assert_allclose(head, AXES[frame].points(truth[4][35, 15]), atol=MM * AXES[frame].units_per_m)


def test_the_khronos_validator_finds_nothing(tmp_path, recording):
    if shutil.which("node") is None:
        pytest.skip("needs node")
    code = (
        "const v=require('gltf-validator'),f=require('fs');v.validateBytes(new Uint8Array(f.readFileSync("
        "process.argv[1]))).then(r=>console.log(JSON.stringify(r.issues)))"
    )
    exported(recording, tmp_path / "take.glb", "--to", "glb")
    done = subprocess.run(["node", "-e", code, str(tmp_path / "take.glb")], capture_output=True, text=True, check=False)
    if "Cannot find module" in done.stderr:
        pytest.skip("needs the npm package gltf-validator on NODE_PATH")
    issues = json.loads(done.stdout)
    assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues["messages"]


BLENDER = """
import builtins, json, sys
try:
    import numpy
except ImportError:
    print("NO NUMPY"); sys.exit()
numpy.bool, own = bool, builtins.open  # what Blender's importers expect of an older Python
builtins.open = lambda path, mode="r", *rest, **named: own(path, mode.replace("U", ""), *rest, **named)
import bpy
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.context.scene.render.fps = 30
bpy.ops.import_scene.gltf(filepath=sys.argv[-2])
bpy.ops.import_anim.bvh(filepath=sys.argv[-1], global_scale=0.01)
found = {}
for rig in [one for one in bpy.data.objects if one.type == "ARMATURE"]:
    first = 1 if rig.name == "take" else 0  # a BVH begins with frame 1
    bpy.context.scene.frame_set(7 + first)
    found[rig.name] = {bone.name: list(rig.matrix_world @ bone.head) for bone in rig.pose.bones}
print("FOUND" + json.dumps(found))
"""


def test_blender_reads_the_same_joints_from_glb_and_bvh(tmp_path, recording, truth):
    blender = shutil.which("blender")
    if blender is None:
        pytest.skip("needs Blender")
    exported(recording, tmp_path / "take.glb", "--to", "glb", "--person", "1")
    exported(recording, tmp_path / "take.bvh", "--to", "bvh", "--person", "1")
    (tmp_path / "look.py").write_text(BLENDER)
    call = [blender, "-b", "--python", tmp_path / "look.py", "--", tmp_path / "take.glb", tmp_path / "take.bvh"]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    if "NO NUMPY" in done.stdout:
        pytest.skip("Blender's Python has no numpy")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("FOUND")]
    rigs = json.loads(line.removeprefix("FOUND"))
    assert rigs.keys() == {"person_1", "take"}
    expected = AXES["blender"].points(truth[1][7])
    for joints in rigs.values():
        np.testing.assert_allclose([joints[name] for name in SMPL], expected, atol=MM)


def test_what_cannot_be_exported_is_refused_in_one_line(tmp_path, recording, capsys):
    def refused(*arguments: str) -> str:
        assert command(["export", *arguments]) == 2
        return capsys.readouterr().err

    here = str(recording)
    assert "no person 7; it has 1, 4" in refused(here, "--to", "bvh", "--person", "7")
    assert "is called NAME.bvh" in refused(here, "--to", "bvh", "--out", "take.fbx")
    assert "is not one of" in refused(here, "--to", "fbx")
    assert "is the recording itself" in refused(here, "--to", "amass", "--out", here)
    assert "no such file" in refused(str(tmp_path / "none.npz"), "--to", "bvh")
    cut = tmp_path / "cut.npz"
    cut.write_bytes(recording.read_bytes()[:3000])
    assert "is not a motion.npz" in refused(str(cut), "--to", "glb")
    names = tmp_path / "names.json"
    names.write_text(json.dumps({joint: joint for joint in JOINT_NAMES if joint != "l_knee"}))
    assert "has no name for l_knee" in refused(here, "--to", "glb", "--names", str(names))
    names.write_text(json.dumps(dict.fromkeys(JOINT_NAMES, "Bone")))
    assert "Bone is given to two joints" in refused(here, "--to", "glb", "--names", str(names))
    assert "give smpl, mixamo" in refused(here, "--to", "glb", "--names", "maya")
    assert list(tmp_path.iterdir()) in ([cut, names], [names, cut])


def test_a_recording_of_another_body_asks_for_it(tmp_path, recording, body, capsys):
    with np.load(recording) as file:
        entries = {name: file[name] for name in file.files}
    np.savez(tmp_path / "other.npz", **entries | {"body": np.array("SMPL_NEUTRAL")})  # pyright: ignore[reportArgumentType]
    assert command(["export", str(tmp_path / "other.npz"), "--to", "bvh"]) == 2
    assert "is of the body 'SMPL_NEUTRAL', not of 'free'. Give its file with --body" in capsys.readouterr().err


def test_every_map_names_every_joint_once():
    assert all(len(names) == len(set(names)) == len(JOINT_NAMES) for names in MAPS.values())
