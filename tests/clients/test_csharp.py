"""The C# client for Unity, run by Mono: it reads what Python writes, refuses everything else, hears an outlet, and
turns the bones of avatars. UnityEngine and NetMQ are stand-ins: see unity_stubs/."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from refit_rt import geometry
from refit_rt.axes import AXES
from refit_rt.body.bone_names import VRM
from refit_rt.body.smpl import JOINT_NAMES, PARENTS, Body, load_body
from refit_rt.commands.client import CLIENTS
from refit_rt.stream import wire
from refit_rt.stream.bridges.bodies import bodies_of
from refit_rt.stream.publish import Publisher
from refit_rt.types import PUBLISHED_FIELDS, People
from tests.clients.conftest import RUN, WRONG, crowd, message_of
from tests.support.dancer import BETAS, danced
from tests.support.fakes import people
from tests.support.paths import DATA, ROOT

HERE = Path(__file__).parent
MCS, MONO = shutil.which("mcs") or "", shutil.which("mono") or ""
MUTATED = 100_000
MM = 1e-3
UNITY = AXES["unity"]
BONES = [name[0].upper() + name[1:] for name in VRM[:22]]

pytestmark = pytest.mark.skipif(not (MCS and MONO), reason="needs mcs and mono: apt install mono-mcs mono-runtime")


def compiled(target: Path, *words: object) -> Path:
    """C# as old as Unity 2018 reads it. Every warning is an error."""
    sources = [*(CLIENTS / "unity").glob("*.cs"), *(HERE / "unity_stubs").glob("*.cs")]
    flags = ("-langversion:7.2", "-warn:4", "-warnaserror", f"-out:{target}")
    subprocess.run([MCS, *flags, *map(str, words), *sources], check=True, timeout=100)
    return target


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("csharp") / "client.exe", HERE / "Client.cs")


def run(program: Path, *words: object) -> subprocess.CompletedProcess[str]:
    command = [MONO, program, *map(str, words)]
    # A length that is claimed and not there is gigabytes, and must not be allocated.
    limits = os.environ | {"MONO_GC_PARAMS": "max-heap-size=64m"}
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, env=limits)


def said(program: Path, *words: object) -> Any:
    """What the program prints, from JSON."""
    done = run(program, *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def written(folder: Path, *messages: bytes) -> list[Path]:
    paths = [folder / f"message_{i}.bin" for i in range(len(messages))]
    for path, message in zip(paths, messages, strict=True):
        path.write_bytes(message)
    return paths


# --- the decoder


def test_it_compiles_with_netmq_too(tmp_path: Path) -> None:
    compiled(tmp_path / "library.dll", "-target:library", "-define:REFIT_RT_NETMQ")


def test_it_reads_what_python_writes(program: Path, messages: list[Path]) -> None:
    said_all = said(program, "dump", *messages)
    assert (tuple(said_all["names"]), tuple(said_all["parents"])) == (JOINT_NAMES, PARENTS)
    assert said_all["bones"] == BONES
    for count, read in zip((0, 1, 3), said_all["messages"], strict=True):
        sent = crowd(count)
        for name in PUBLISHED_FIELDS:
            values = np.array(read[name], getattr(sent, name).dtype)
            np.testing.assert_array_equal(values, getattr(sent, name).ravel())
        assert read["texts"] == ["live", sent.camera, "free", "edge"]
        facts = [7, 2, 1.7e9 + 100.125, 100.125, 0.125, 0.02, 640, 480, 800, *sent.centre_px]
        np.testing.assert_allclose(read["numbers"], facts, rtol=1e-15)
        assert read["cameras"] == list(sent.cameras)
        np.testing.assert_allclose(read["world_from_cameras"], np.ravel(sent.world_from_cameras), atol=1e-6)
        assert tuple(read["floor"]) == sent.floor


def test_it_finds_the_golden_values(program: Path) -> None:
    folder = DATA / "stream"
    for name in ("people_1", "people_1_first"):
        (read,) = said(program, "dump", folder / f"{name}.bin")["messages"]
        expected = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        for key, array in expected["arrays"].items():
            np.testing.assert_array_equal(np.float32(read[key]), np.float32(np.ravel(array["values"])))
        assert read["about"] == expected["metadata"]
    assert (read["views"], read["contacts"], read["floor"], read["cameras"]) == (None, None, None, [])


@pytest.mark.parametrize(("message", "text"), WRONG)
def test_it_says_what_is_wrong(program: Path, message: bytes, text: str, tmp_path: Path) -> None:
    done = run(program, "dump", *written(tmp_path, message))
    assert done.returncode == 1
    assert text in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_fields_that_it_does_not_know_are_skipped(program: Path, tmp_path: Path) -> None:
    about, arrays = wire.unpack(message_of(1))
    rows = {name: (wire.TENSORS[name], array) for name, array in arrays.items()}
    newer = wire.pack(about | {"later": "ü"}, {"touches": ("U8", np.ones((1, 3), np.uint8)), **rows})
    (read,) = said(program, "dump", *written(tmp_path, newer))["messages"]
    assert read["about"]["later"] == "ü"


def test_mutated_messages_neither_crash_it_nor_take_memory(program: Path, messages: list[Path]) -> None:
    counts = said(program, "fuzz", MUTATED, 1, *messages)
    assert counts["accepted"] + counts["refused"] == MUTATED
    assert counts["accepted"] > MUTATED / 100
    assert counts["refused"] > MUTATED / 2


# --- axes


def test_its_axes_are_those_of_python(program: Path, tmp_path: Path) -> None:
    sent = replace(crowd(3), floor=None)
    (read,) = said(program, "dump", *written(tmp_path, wire.encode(sent, RUN, 101.0)))["messages"]
    bodies = bodies_of(sent)
    np.testing.assert_allclose(np.reshape(read["unity_points"], (3, 24, 3)), UNITY.points(bodies.joints), rtol=1e-6)
    mine, theirs = np.reshape(read["unity_quaternions"], (3, 24, 4)), UNITY.quaternions(bodies.rotations)
    apart = np.degrees(2 * np.arccos(np.clip(np.abs((mine * theirs).sum(-1)), 0, 1)))
    assert apart.max() < 0.01  # degrees
    assert mine[..., 3].min() >= 0


def test_a_raised_left_arm_is_up_and_on_the_left(program: Path, tmp_path: Path) -> None:
    body = load_body()
    pose = np.zeros((24, 3))
    pose[16] = pose[17] = (0, 0, 1.2)  # the left arm is raised, the right one hangs
    # The camera sees the face: its rows turn the world, in which the person looks along z, into the camera's frame.
    camera = np.diag([1.0, -1.0, -1.0])
    joints = body.joints(geometry.matrix_from_axis_angle(pose), np.zeros(10))
    pose[0] = geometry.axis_angle_from_matrix(camera)
    place = np.array([0, 0, 3])
    sent = replace(
        people([1], poses=pose[None].astype(np.float32)),
        joints_camera=(joints @ camera + place)[None].astype(np.float32),
        joints_world=((joints @ camera + place) @ camera)[None].astype(np.float32),
    )
    (read,) = said(program, "dump", *written(tmp_path, wire.encode(sent, RUN, 101.0)))["messages"]
    points = np.reshape(read["unity_points"], (24, 3))
    arm, other = points[20] - points[15], points[21] - points[15]
    up, facing = np.array([0, 1, 0]), np.array([0, 0, 1])  # of a person without turns, in Unity
    right = np.cross(up, -facing)  # in the picture of a camera that looks at the face, in a left-handed frame
    assert arm @ up > 0.2
    assert arm @ right > 0.1, "the person's left is to the right in the picture"
    assert other @ right < -0.1
    np.testing.assert_allclose(np.reshape(read["unity_quaternions"], (24, 4))[0], [0, 0, 0, 1], atol=1e-4)


def test_a_known_floor_is_level_at_height_zero(program: Path, tmp_path: Path) -> None:
    tilt = Rotation.from_rotvec([0.3, 0, -0.2])
    normal, offset = tilt.apply([0, 1, 0]), -1.4
    sent = replace(crowd(1), floor=(*normal.tolist(), offset))
    (read,) = said(program, "dump", *written(tmp_path, wire.encode(sent, RUN, 101.0)))["messages"]
    heights = np.reshape(read["unity_points"], (24, 3))[:, 1]
    np.testing.assert_allclose(heights, sent.joints_world[0].astype(float) @ normal - offset, atol=1e-5)


# --- receivers


def test_only_the_newest_message_is_kept(program: Path, messages: list[Path]) -> None:
    read = said(program, "newest", *messages)
    assert (read["nothing"], read["taken"], read["counts"]) == ([1, 1, 1], 3, [4, 2, 1])
    assert "not a refit_rt message" in read["error"]


def test_it_hears_the_websocket_outlet(program: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    publisher = Publisher("tcp://127.0.0.1:*")
    outlet = f"websocket://127.0.0.1:{port}"
    bridge = [sys.executable, "-m", "refit_rt", "bridge", outlet, "--address", publisher.address]
    # The client starts first: it is refused until the outlet is there.
    reading = subprocess.Popen([MONO, program, "live", f"ws://127.0.0.1:{port}"], stdout=subprocess.PIPE, text=True)
    sending = subprocess.Popen(bridge, stdout=subprocess.DEVNULL, cwd=ROOT)
    try:
        end_s = time.monotonic() + 40
        while reading.poll() is None and time.monotonic() < end_s:
            for status in ("live", "ended"):
                publisher.send(wire.encode(people([3, 5]), RUN, 101.0, status))
                time.sleep(0.05)
        read = json.loads(reading.communicate(timeout=5)[0])
        assert (read["status"], read["frame"], read["faults"], read["open"]) == ("ended", 7, 0, 0)
        assert f"127.0.0.1:{port}: " in read["refused"]
        assert "Start the outlet (refit-rt run --publish.outlets websocket)" in read["refused"]
    finally:
        for process in (reading, sending):
            process.kill()
            process.communicate()
        publisher.close()


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("tcp://127.0.0.1:5560", "tcp:// needs the NetMQ package and the scripting define symbol REFIT_RT_NETMQ."),
        (
            "127.0.0.1:8765",
            "'127.0.0.1:8765' is no address (it begins with neither ws:// nor tcp://). Give one such as",
        ),
        ("ws://", "'ws://' is no address ("),
    ],
)
def test_an_address_that_cannot_be_used_is_one_line(program: Path, address: str, text: str) -> None:
    read = said(program, "address", address)
    (line,) = read["lines"]
    assert line.startswith(f"warning: refit_rt: {text}")
    assert read["receives"] == 0


# --- avatars


@pytest.fixture(scope="module")
def body() -> Body:
    return load_body()


ROOT_PLACE, ROOT_TURN = np.array([3.0, 1.0, -2.0]), Rotation.from_euler("y", 40, degrees=True)
LEGS, ARMS = ((1, 4, 7, 10), (2, 5, 8, 11)), ((16, 18, 20), (17, 19, 21))
ARMATURE_SCALE = 0.01  # as of a model in centimetres


def rig(body: Body, path: Path, *options: str, size: float = 1.0, missing: tuple[str, ...] = ()) -> np.ndarray:
    """A humanoid with the person's proportions, `size` times as large, the axes of whose bones lie anyhow.

    Its legs hang straight, and its arms 10 degrees lower than SMPL's. Returns its bones (22, 3) in the T-pose, in the
    avatar's axes, whose floor is at 0.
    """
    smpl = UNITY.points(body.joint_template + body.joint_shape_dirs @ BETAS)[:22]
    rest = smpl.copy()
    for hip, knee, ankle, toes in LEGS:
        rest[knee] = rest[hip] - [0, np.linalg.norm(smpl[knee] - smpl[hip]), 0]
        rest[ankle] = rest[knee] - [0, np.linalg.norm(smpl[ankle] - smpl[knee]), 0]
        rest[toes] = rest[ankle] + smpl[toes] - smpl[ankle]
    for (shoulder, *arm), sign in zip(ARMS, (1, -1), strict=True):
        lower = Rotation.from_euler("z", sign * 10, degrees=True)
        rest[arm] = rest[shoulder] + lower.apply(smpl[arm] - smpl[shoulder])
        assert rest[arm[1], 1] < smpl[arm[1], 1] - 0.05
    rest = size * (rest - [rest[0, 0], rest[[10, 11], 1].min() - 0.02, rest[0, 2]])
    turns = Rotation.from_quat(np.random.default_rng(1).normal(size=(22, 4)))
    armature = Rotation.from_euler("x", -90, degrees=True)
    lines = [
        "root root - " + _spot(ROOT_PLACE, ROOT_TURN, 1),
        "armature root - " + _spot(0 * ROOT_PLACE, armature, ARMATURE_SCALE),
    ]
    for joint, name in enumerate(BONES):
        parent = PARENTS[joint]
        above, start = (armature, 0 * ROOT_PLACE) if joint == 0 else (turns[parent], rest[parent])
        place, turn = above.inv().apply(rest[joint] - start) / ARMATURE_SCALE, above.inv() * turns[joint]
        holder = "armature" if joint == 0 else f"bone{parent}"
        lines.append(f"bone{joint} {holder} {'-' if name in missing else name} " + _spot(place, turn, 1))
    path.write_text("\n".join([*lines, "", *options]))
    return rest


def _spot(place: np.ndarray, turn: Rotation, scale: float) -> str:
    return " ".join(f"{value:.7g}" for value in (*place, *turn.as_quat(), scale))


def frames(body: Body, *ks: int, ids: tuple[int, ...] = (4,)) -> list[People]:
    return [danced(body, list(ids), k) for k in ks]


def driven(program: Path, folder: Path, shown: list[People]) -> tuple[list[dict[str, np.ndarray]], list[str]]:
    """The places of the bones after each frame, in the avatar's axes, and the lines of the console."""
    read = said(program, "avatar", folder / "rig", *written(folder, *(wire.encode(one, RUN, 101.0) for one in shown)))
    turned = [{n: ROOT_TURN.inv().apply(np.array(v) - ROOT_PLACE) for n, v in one.items()} for one in read["shown"]]
    return turned, read["lines"]


def test_an_avatar_of_any_bone_axes_takes_the_persons_pose(program: Path, body: Body, tmp_path: Path) -> None:
    rest = rig(body, tmp_path / "rig")
    shown = frames(body, 10, 25)
    found, lines = driven(program, tmp_path, shown)
    assert lines == []
    persons = [UNITY.points(one.joints_world[0, :22].astype(float)) for one in shown]
    for k, places in enumerate(found):
        floor = min(person[[7, 8], 1].min() for person in persons[: k + 1])  # where the lower ankle has been
        start = np.array([persons[0][0, 0], floor - rest[7, 1], persons[0][0, 2]])
        np.testing.assert_allclose([places[name] for name in BONES], persons[k] - start, atol=MM)


def test_a_small_avatar_makes_small_steps(program: Path, body: Body, tmp_path: Path) -> None:
    rig(body, tmp_path / "rig", size=0.5)
    shown = frames(body, 0, 30)
    found, _ = driven(program, tmp_path, shown)
    moved = found[1]["Hips"] - found[0]["Hips"]
    persons = UNITY.points((shown[1].joints_world - shown[0].joints_world)[0, 0].astype(float))
    np.testing.assert_allclose(moved[[0, 2]], 0.5 * persons[[0, 2]], atol=MM)


def test_a_second_avatar_takes_the_second_person_and_keeps_them(program: Path, body: Body, tmp_path: Path) -> None:
    rig(body, tmp_path / "rig", "second")
    shown = [*frames(body, 10, ids=(4, 9)), *frames(body, 12, ids=(9, 4)), *frames(body, 14, ids=(9,))]
    found, _ = driven(program, tmp_path, shown)
    ninth = [one.joints_world[one.ids.tolist().index(9)].astype(float) for one in shown]
    for places, joints in zip(found, ninth, strict=True):
        expected = UNITY.points(joints) - UNITY.points(ninth[0])[0]
        np.testing.assert_allclose(places["LeftHand"] - places["Hips"], expected[20] - expected[0], atol=MM)
        np.testing.assert_allclose(places["Hips"][[0, 2]], expected[0, [0, 2]], atol=MM)


def test_in_the_world_an_avatar_stands_where_the_person_stands(program: Path, body: Body, tmp_path: Path) -> None:
    rig(body, tmp_path / "rig", "world")
    (one,) = frames(body, 10)
    (places,), _ = driven(program, tmp_path, [one])
    hips = ROOT_TURN.apply(places["Hips"]) + ROOT_PLACE - [5, 6, 7]  # the object of the stream stands there
    np.testing.assert_allclose(hips[[0, 2]], UNITY.points(one.joints_world[0, 0].astype(float))[[0, 2]], atol=MM)


def test_missing_bones_are_one_line_and_the_others_are_turned(program: Path, body: Body, tmp_path: Path) -> None:
    rig(body, tmp_path / "rig", missing=("UpperChest", "LeftToes", "LeftShoulder"))
    (one,) = frames(body, 10)
    (places,), lines = driven(program, tmp_path, [one])
    (line,) = lines
    assert line.startswith("warning: refit_rt: avatar 'Anna' has no bone UpperChest, LeftToes, LeftShoulder. ")
    expected = UNITY.points(one.joints_world[0].astype(float))
    arm = places["LeftHand"] - places["LeftUpperArm"]
    np.testing.assert_allclose(arm, expected[20] - expected[16], atol=MM)


@pytest.mark.parametrize(
    ("options", "missing", "text"),
    [
        (["generic"], (), "it is not humanoid. Set Rig > Animation Type to Humanoid"),
        ([], ("LeftFoot",), "it has no bone LeftFoot. Give it one in the avatar's configuration"),
    ],
)
def test_an_avatar_that_cannot_be_driven_is_one_line(
    options: list[str], missing: tuple[str, ...], text: str, program: Path, body: Body, tmp_path: Path
) -> None:
    rig(body, tmp_path / "rig", *options, missing=missing)
    _, (line,) = driven(program, tmp_path, frames(body, 10))
    assert line == f"error: refit_rt: avatar 'Anna': {line.split(': ', 3)[3]}"
    assert text in line
