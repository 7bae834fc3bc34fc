"""The Blender add-on in Blender, on live streams and recordings; its decoder under mutated messages without Blender."""

import json
import os
import random
import shutil
import socket
import subprocess
import threading
import time
from functools import cache
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refit_rt import geometry
from refit_rt.axes import AXES
from refit_rt.body.bone_names import MAPS, SMPL
from refit_rt.body.smpl import JOINT_NAMES, PARENTS, Body, load_body
from refit_rt.commands.client import CLIENTS
from refit_rt.motion.npz import MotionWriter
from refit_rt.motion.skeleton import rest_joints
from refit_rt.stream import wire
from refit_rt.stream.bridges.outlets import Outlets
from refit_rt.stream.publish import Publisher
from refit_rt.types import PUBLISHED_FIELDS, People
from tests.clients.conftest import RUN, WRONG, crowd, message_of
from tests.clients.test_python import mutated
from tests.support.dancer import BETAS, FPS, danced, dancing
from tests.support.fakes import people
from tests.support.paths import DATA

ADDON = CLIENTS / "blender" / "refit_rt_blender.py"
SCRIPT = Path(__file__).with_name("in_blender.py")
BLENDER = shutil.which("blender") or ""
BPY = os.environ.get("REFIT_RT_BPY", "")  # a Python with the wheel bpy, in place of Blender
MM, FRAMES = 1e-3, 30
MUTATED = 20_000  # 100,000 with the same seed pass as well, and take 14 s


def load_addon() -> Any:
    spec = util.spec_from_file_location("refit_rt_blender", ADDON)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


addon, the_body = load_addon(), cache(load_body)


# --- without Blender ------------------------------------------------------------------------------------------------


def test_its_tables_are_those_of_refit_rt() -> None:
    assert (addon.NAMES, addon.PARENTS, addon.SCHEMA) == (JOINT_NAMES, PARENTS, wire.SCHEMA)
    plain = {key: tuple(name.rpartition(":")[2] for name in names) for key, names in MAPS.items()}
    assert plain == addon.BONES
    assert all(PUBLISHED_FIELDS[name][1] == shape for name, (_, shape) in addon.ARRAYS.items())


@pytest.mark.parametrize("count", [0, 1, 3])
def test_it_reads_what_python_writes(count: int) -> None:
    read, sent = addon.decode(message_of(count)), crowd(count)
    for name, array in read.people.items():
        np.testing.assert_array_equal(array, getattr(sent, name))
    assert [read.about[key] for key in ("status", "camera", "body")] == ["live", sent.camera, "free"]
    assert (read.about["frame"], read.about["time_s"], read.about["width_px"]) == (7, 0.125, 640)


@pytest.mark.parametrize("path", sorted((DATA / "stream").glob("*.bin")), ids=lambda path: path.stem)
def test_it_finds_the_golden_values(path: Path) -> None:
    read, expected = addon.decode(path.read_bytes()), json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert read.people.keys() == expected["arrays"].keys()
    for name, array in read.people.items():
        values = np.array(expected["arrays"][name]["values"], array.dtype)
        np.testing.assert_array_equal(array, values.reshape(array.shape))
    assert read.about["missing"] == expected["metadata"]["missing"]
    if "floor" in expected["metadata"]:
        assert read.about["floor"].tolist() == [float(one) for one in expected["metadata"]["floor"].split()]
        assert read.about["world_from_cameras"].shape == (len(expected["metadata"]["cameras"].split(",")), 3, 4)


@pytest.mark.parametrize(("message", "text"), WRONG)
def test_it_says_what_is_wrong(message: bytes, text: str) -> None:
    with pytest.raises(addon.RefitError) as fault:
        addon.decode(message)
    assert text in str(fault.value)


def test_numbers_that_are_not_finite_are_refused() -> None:
    sent = people([1])
    sent.joints_world[0, 5] = np.nan
    with pytest.raises(addon.RefitError, match="'joints_world' has numbers that are not finite"):
        addon.decode(wire.encode(sent, RUN, 101.0))


def test_mutated_messages_raise_only_its_own_error() -> None:
    rng, blobs, accepted = random.Random(2), [message_of(count) for count in (0, 1, 3)], 0
    for _ in range(MUTATED):
        blob = mutated(rng.choice(blobs), rng)
        try:
            read = addon.decode(blob)
        except addon.RefitError:
            continue
        accepted += 1
        assert read.people["joints_world"].shape == (len(read.people["ids"]), 24, 3)
    assert MUTATED / 100 < accepted < MUTATED / 2


def test_bodies_are_those_of_the_body_model() -> None:
    body = the_body()
    rows = [dancing(body, person, 9) for person in (1, 4)]
    bodies = addon.bodies_of(
        *(np.array([row[key] for row in rows]) for key in ("poses", "joints_world", "joints_camera"))
    )
    rest = rest_joints(body, BETAS)
    offsets = AXES["blender"].points(rest - rest[np.maximum(PARENTS, 0)])
    np.testing.assert_allclose(bodies.offsets, [offsets, offsets], atol=0.01 * MM)
    local = geometry.matrix_from_axis_angle(rows[1]["poses"])
    local[0] = geometry.WORLD_FROM_CAMERA @ local[0]
    for joint in range(1, 24):
        local[joint] = local[PARENTS[joint]] @ local[joint]
    np.testing.assert_allclose(bodies.turns[1], AXES["blender"].rotations(local), atol=1e-6)


def test_quaternions_are_those_of_scipy() -> None:
    from scipy.spatial.transform import Rotation

    turns = Rotation.from_quat(np.random.default_rng(1).normal(size=(200, 4)))
    ours = addon.quaternions(turns.as_matrix())
    theirs = turns.as_quat()[:, [3, 0, 1, 2]]
    np.testing.assert_allclose(np.abs((ours * theirs).sum(1)), 1, atol=1e-12)


def test_a_tcp_address_is_heard_where_pyzmq_is_installed() -> None:
    publisher = Publisher("tcp://127.0.0.1:*")
    stream = addon.Newest(publisher.address)

    def sent_until(count: int) -> list:
        end_s = time.monotonic() + 20
        while stream.received < count and time.monotonic() < end_s:
            publisher.send(message_of(3))
            time.sleep(0.02)
        return stream.take()

    try:
        assert [len(message.people["ids"]) for message in sent_until(5)] == [3], "the newest alone"
        stream.every = True
        assert len(sent_until(stream.received + 5)) >= 5, "all of them, for a recording"
        stream.every = False
        assert len(sent_until(stream.received + 5)) == 1
    finally:
        stream.close()
        publisher.close()


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"HTTP/1.1 401 Unauthorized\r\n\r\n", "refused (401). Give the outlet's token"),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", "not that of a WebSocket outlet"),
        (b"SSH-2.0-OpenSSH_9\r\n" + b"x" * 30_000, "not that of a WebSocket outlet"),
        (b"", "closed the connection"),
    ],
)
def test_a_server_of_another_kind_is_reported(answer: bytes, text: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            one, _ = server.accept()
            with one:
                one.recv(4096)
                one.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises((addon.RefitError, OSError)) as error:
            addon.WebSocket(f"ws://127.0.0.1:{server.getsockname()[1]}", threading.Event())
        thread.join()
    assert text in str(error.value)


# --- in Blender -----------------------------------------------------------------------------------------------------


def raising() -> dict[str, np.ndarray]:
    """A person before the camera, facing it, the left arm raised."""
    pose = np.zeros((24, 3))
    pose[16] = (0, 0, 1.3)
    rotations = geometry.matrix_from_axis_angle(pose)
    rotations[0] = geometry.WORLD_FROM_CAMERA
    body = the_body()
    joints = body.joints(rotations, BETAS) + np.array([0.5, 0.3, 4.0])
    return {
        "poses": geometry.axis_angle_from_matrix(rotations),
        "betas": BETAS,
        "joints_camera": joints,
        "joints_world": joints @ geometry.WORLD_FROM_CAMERA.T,
    }


def character(body: Body) -> dict[str, tuple]:
    """Bones of Mixamo's names: head, tail, parent, roll; y up, facing +z, centimetres, 20 % larger than the body, with
    arms 40 degrees down, and without a right toe."""
    down = geometry.matrix_from_axis_angle(np.array([[0, 0, np.radians(-40)], [0, 0, np.radians(40)]]))
    rest = rest_joints(body, BETAS) * 120 + (0, 110, 0)
    for side, shoulder in zip(down, (16, 17), strict=True):
        arm = range(shoulder, 24, 2)
        rest[arm] = (rest[arm] - rest[shoulder]) @ side.T + rest[shoulder]
    bones = {}
    for joint, (name, parent) in enumerate(zip(MAPS["mixamo"], PARENTS, strict=True)):
        if name != "mixamorig:RightToeBase":
            tail = rest[addon.TOWARDS[joint]] if joint in addon.TOWARDS else rest[joint] + (0, 5, 1)
            above = MAPS["mixamo"][parent] if joint else ""
            bones[name] = (rest[joint].tolist(), tail.tolist(), above, 0.3 * joint)
    return bones


def recorded(path: Path, body: Body) -> Path:
    """Two people; person 4 comes later."""
    writer = MotionWriter(path, FPS, body.name, "edge")
    for k in range(FRAMES):
        writer.add(danced(body, [1, 4] if k >= 10 else [1], k))
    writer.close()
    return path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What Blender found: one process for all tests of this file."""
    if not (BLENDER or BPY):
        pytest.skip("needs Blender")
    folder, body = tmp_path_factory.mktemp("blender"), the_body()
    recording = recorded(folder / "motion.npz", body)
    cut, text = folder / "cut.npz", folder / "text.npz"
    cut.write_bytes(recording.read_bytes()[:-3000])
    text.write_text("nothing")
    np.savez(folder / "other.npz", poses=np.zeros((3, 156)))
    ports = [free_port() for _ in range(4)]
    outlets = [Outlets([f"websocket://127.0.0.1:{port}"], RUN, body) for port in ports[:3]]
    job = {
        "addon": str(ADDON),
        "install": not BPY,
        "found": str(folder / "found.json"),
        "recording": str(recording),
        "moment": 17,
        "broken": [str(cut), str(text), str(folder / "other.npz"), str(folder / "none.npz")],
        "character": character(body),
        **{
            name: f"ws://127.0.0.1:{port}"
            for name, port in zip(("dancing", "raised", "ended", "nobody"), ports, strict=True)
        },
    }
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    still, row = danced(body, [1], 0), raising()
    rows = {"ids": [3], **{name: value[None] for name, value in row.items()}}
    stop = threading.Event()

    def send() -> None:
        k = 0
        while not stop.wait(1 / FPS):
            outlets[0].send(danced(body, [1, 4], k))
            outlets[1].send(People.of(rows, **still.header() | {"frame_index": k}))
            outlets[2].send(still, "ended")
            k += 1

    thread = threading.Thread(target=send)
    thread.start()
    words = [BPY] if BPY else [BLENDER, "--background", "--factory-startup", "--python-exit-code", "1", "--python"]
    own = os.environ | {"BLENDER_USER_SCRIPTS": str(folder / "scripts"), "BLENDER_USER_CONFIG": str(folder / "config")}
    try:
        done = subprocess.run(
            [*words, str(SCRIPT), *(() if BPY else ("--",)), str(folder / "job.json")],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env=own,
        )
    finally:
        stop.set()
        thread.join()
        for one in outlets:
            one.close()
    if done.returncode == 77:
        pytest.skip("Blender's Python has no numpy")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((folder / "found.json").read_text(encoding="utf-8"))


@cache
def truth(person: int, k: int) -> np.ndarray:
    """The joints (24, 3) in Blender's axes."""
    return AXES["blender"].points(dancing(the_body(), person, k)["joints_world"])


def of(bones: dict[str, list[float]], names: tuple[str, ...] = SMPL) -> np.ndarray:
    return np.array([bones[name] for name in names])


def test_live_bones_are_where_the_joints_are(found: dict) -> None:
    shown = found["live"]["shown"]
    assert len(shown) == 20
    for frame, armatures in shown:
        assert armatures.keys() == {"refit_rt 1", "refit_rt 2"}
        for person, name in ((1, "refit_rt 1"), (4, "refit_rt 2")):
            np.testing.assert_allclose(of(armatures[name]), truth(person, int(frame)), atol=MM)
    lines = found["live"]["lines"]
    assert any(line.startswith("live, frame ") for line in lines)
    assert any(line.startswith("people: 2, age ") for line in lines)
    assert any(line.startswith("recording: ") for line in lines)


def test_recorded_keyframes_play_what_was_shown(found: dict) -> None:
    taken, played = found["live"]["taken"], found["live"]["played"]
    first = taken[0][0]
    assert len(taken) == 20
    for frame, armatures in taken:
        again = played[int(frame - first)]
        for name, bones in armatures.items():
            np.testing.assert_allclose(of(again[name]), of(bones), atol=MM)
    assert found["live"]["still"] is None, "the end of a take ends the listening as well"


def test_the_raised_left_arm_is_up_on_the_left_before_the_camera(found: dict) -> None:
    ((_, bones),) = found["raised"]["world"].items()
    expected = AXES["blender"].points(raising()["joints_world"])
    np.testing.assert_allclose(of(bones), expected, atol=MM)
    wrist, shoulder, foot, ankle = (np.array(bones[name]) for name in ("L_Wrist", "L_Shoulder", "L_Foot", "L_Ankle"))
    assert wrist[2] > shoulder[2] + 0.3, "up"
    assert wrist[0] > shoulder[0] > bones["R_Shoulder"][0], "on the person's left"
    assert foot[1] < ankle[1] - 0.05, "the person faces -y, where the camera is"
    assert shoulder[1] > 3.5


def test_the_floor_can_be_the_origin(found: dict) -> None:
    ((_, bones),) = found["raised"]["origin"].items()
    np.testing.assert_allclose(bones["Pelvis"][:2], 0, atol=MM)
    assert min(bones["L_Foot"][2], bones["R_Foot"][2]) == pytest.approx(0.02, abs=MM)
    assert found["raised"]["objects"] == 1, "the armature of an earlier time is used again"


def test_a_character_in_another_rest_pose_and_size_follows(found: dict) -> None:
    chosen = found["chosen"]
    assert len(chosen["shown"]) == 5
    for frame, armatures in chosen["shown"]:
        joints, names = truth(1, int(frame)), MAPS["mixamo"]
        bones = armatures["character"]
        for joint in (4, 5, 7, 8, 12, 15, 18, 19, 20, 21):
            ours = np.array(bones[names[joint]]) - bones[names[PARENTS[joint]]]
            theirs = joints[joint] - joints[PARENTS[joint]]
            cosine = ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs)
            assert np.degrees(np.arccos(min(cosine, 1))) < 0.5, names[joint]
        np.testing.assert_allclose(np.array(bones[names[0]]) - (1, 2, 3), 1.2 * joints[0], atol=2 * MM)
    assert "'character' lacks RightToeBase: skipped" in chosen["lines"]
    assert "'character' does not have the bones of 'unreal'" in chosen["refused"]
    assert chosen["objects"] == 1


def test_an_imported_recording_is_where_the_joints_are(found: dict) -> None:
    played = found["imports"]["played"]
    assert found["imports"]["rate"] == 30
    assert len(played) == FRAMES
    for k, armatures in enumerate(played):
        np.testing.assert_allclose(of(armatures["motion person 1"]), truth(1, k), atol=MM)
        np.testing.assert_allclose(of(armatures["motion person 4"]), truth(4, max(k, 10)), atol=MM)
    np.testing.assert_allclose(of(found["imports"]["at_24"]["motion person 4"]), truth(4, 17), atol=MM)


def test_what_cannot_be_done_is_one_line_and_leaves_nothing(found: dict) -> None:
    faults = found["faults"]
    expected = {
        "cut.npz": "is damaged or is no motion.npz",
        "text.npz": "is damaged or is no motion.npz",
        "other.npz": "is no motion.npz, it lacks schema",
        "none.npz": "no such file",
        "address": "'nonsense' is no address. Give one like ws://127.0.0.1:8765",
        "nobody": "no connection (Connection refused). Trying again",
        "ended": "the run has ended",
    }
    for end, text in expected.items():
        (line,) = (line for name, line in faults.items() if name.endswith(end))
        assert text in line
        assert len(line.splitlines()) == 1
    assert faults["objects"] == 0


def test_switched_off_it_leaves_nothing(found: dict) -> None:
    assert found["left"] is False
