"""The Godot client: decoder and poses in Godot 3, whose GDScript they share; the node for Godot 4 is parsed alone."""

import itertools
import json
import random
import shutil
import socket
import struct
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from refit_rt import geometry
from refit_rt.body.bone_names import VRM
from refit_rt.body.smpl import PARENTS, load_body
from refit_rt.commands.client import CLIENTS
from refit_rt.motion.skeleton import offsets, rest_joints
from refit_rt.stream import wire
from refit_rt.stream.bridges.outlets import Outlets
from refit_rt.types import PUBLISHED_FIELDS
from tests.clients.conftest import RUN, WRONG, crowd, message_of
from tests.clients.test_python import mutated
from tests.support.dancer import BETAS, danced, dancing
from tests.support.paths import DATA

CLIENT = CLIENTS / "godot"
SCRIPT = Path(__file__).with_name("in_godot.gd")
GODOT = shutil.which("godot3-server") or shutil.which("godot3") or ""
MUTATED = 1_500  # GDScript takes about 1 ms for each; 100,000 with the same seed pass as well
GOLDEN = sorted((DATA / "stream").glob("*.bin"))
NUMBERS = (
    *("frame", "captured_unix_s", "captured_s", "time_s", "age_s", "dropped", "width_px", "height_px", "focal_px"),
    *("centre_x_px", "centre_y_px"),
)
MM = 1e-3
FRAME = 9  # of the dancer
CHEST = 6


def character(rng: np.random.Generator) -> list:
    """Bones of a character 1.3 times as large as the person, with the arms 45 degrees down and axes of all directions,
    without a chest: per joint x, y, z of the head, axis and angle of the bone at rest."""
    rest = rest_joints(load_body(), BETAS) * 1.3 + (0, 1.2, 0)
    for shoulder, angle in ((16, -0.8), (17, 0.8)):
        arm = range(shoulder, 24, 2)
        turn = geometry.matrix_from_axis_angle(np.array([0, 0, angle]))
        rest[arm] = (rest[arm] - rest[shoulder]) @ turn.T + rest[shoulder]
    bones = [[*head, *rng.normal(size=3), rng.uniform(0, 3)] for head in rest.tolist()]
    return [None if joint == CHEST else bone for joint, bone in enumerate(bones)]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, Path]:
    """What Godot found, and the folder where the numbers lie: one process for all tests of this file."""
    if not GODOT:
        pytest.skip("needs Godot 3: apt install godot3-server")
    folder, rng = tmp_path_factory.mktemp("godot"), random.Random(3)
    for path in (*CLIENT.glob("refit_rt_[bd]*.gd"), SCRIPT):
        shutil.copyfile(path, folder / path.name)
    blobs = [path.read_bytes() for path in GOLDEN] + [message_of(count) for count in (0, 1, 3)]
    blobs += [message for message, _ in WRONG]
    for k, blob in enumerate(blobs):
        (folder / f"{k}.bin").write_bytes(blob)
    plain = blobs[len(GOLDEN) :][:3]
    with (folder / "fuzz.bin").open("wb") as file:
        for _ in range(MUTATED):
            blob = mutated(rng.choice(plain), rng)
            file.write(struct.pack("<I", len(blob)) + blob)
    (folder / "dancer.bin").write_bytes(wire.encode(danced(load_body(), [1], FRAME), RUN, 101.0))
    bones = np.random.default_rng(4)
    whole = character(bones)
    away = [[[5, 8], 0.0], [[8], 1.0], [[8, 9], 1.5], [[8, 9], 3.5], [[5, 9, 8], 4.0], [[7], 0.1]]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    job = {
        "messages": [f"{k}.bin" for k in range(len(blobs))],
        "fuzz": "fuzz.bin",
        "poses": "dancer.bin",
        "skeletons": [whole, turned_round(whole)],
        "places": away,
        "live": f"ws://127.0.0.1:{port}",
    }
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    outlet, stop = Outlets([f"websocket://127.0.0.1:{port}"], RUN, load_body()), threading.Event()
    frames = [danced(load_body(), [1, 4], k) for k in range(20)]

    def send() -> None:
        for k in itertools.count():
            outlet.send(replace(frames[k % 20], frame_index=k))
            if stop.wait(1 / 60):
                return

    thread = threading.Thread(target=send)
    thread.start()
    try:
        call = [GODOT, "--no-window", "-s", SCRIPT.name]
        done = subprocess.run(call, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    finally:
        stop.set()
        thread.join()
        outlet.close()
    assert (folder / "found.json").is_file(), done.stdout + done.stderr
    # Godot 3 keeps JSON's surrogate pairs as two characters each. Godot 4 joins them.
    text = (folder / "found.json").read_bytes().decode("utf-8", "surrogatepass")
    return json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16")), folder


def turned_round(bones: list) -> list:
    """The same character facing -z."""
    half = Rotation.from_rotvec([0, np.pi, 0])
    made = []
    for bone in bones:
        if bone is None:
            made.append(None)
            continue
        x, y, z, *axis, angle = bone
        rest = (half * Rotation.from_rotvec(np.array(axis) / np.linalg.norm(axis) * angle)).as_rotvec()
        made.append([-x, y, -z, *(rest / np.linalg.norm(rest)).tolist(), float(np.linalg.norm(rest))])
    return made


def numbers(folder: Path, name: str) -> np.ndarray:
    return np.fromfile(folder / f"{name}.numbers", "<f8")


def test_it_finds_the_golden_values(found: tuple[dict, Path]) -> None:
    for k, path in enumerate(GOLDEN):
        expected = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        about, arrays = expected["metadata"], expected["arrays"]
        read = found[0]["messages"][k]
        assert (read["error"], read["camera"]) == ("", about["camera"])
        assert set(read["names"]) == {"count", *arrays}
        values = [float(about[key]) for key in NUMBERS]
        for name in PUBLISHED_FIELDS:
            values += np.ravel(arrays[name]["values"]).tolist() if name in arrays else []
        for text in (*about.get("world_from_cameras", "").split(","), about.get("floor", "")):
            values += [float(one) for one in text.split()]
        # Godot 3 turns texts into numbers of 24 bits, Godot 4 into ones of 53.
        np.testing.assert_allclose(numbers(found[1], f"{k}.bin"), values, rtol=1e-6, atol=1e-6)


def test_it_reads_what_python_writes(found: tuple[dict, Path]) -> None:
    for k, count in enumerate((0, 1, 3), len(GOLDEN)):
        sent = crowd(count)
        assert found[0]["messages"][k]["camera"] == sent.camera
        values = np.concatenate([np.ravel(getattr(sent, name)).astype(float) for name in PUBLISHED_FIELDS])
        read = numbers(found[1], f"{k}.bin")[len(NUMBERS) :][: len(values)]
        np.testing.assert_array_equal(read, values)


def test_it_says_what_is_wrong(found: tuple[dict, Path]) -> None:
    for read, (_, text) in zip(found[0]["messages"][len(GOLDEN) + 3 :], WRONG, strict=True):
        assert text in read["error"]


def test_mutated_messages_are_read_or_refused(found: tuple[dict, Path]) -> None:
    counts = found[0]["fuzzed"]
    assert counts["accepted"] + counts["refused"] == MUTATED
    assert MUTATED / 100 < counts["accepted"] < MUTATED / 2


def test_godots_websocket_hears_the_outlet(found: tuple[dict, Path]) -> None:
    frames = found[0]["heard"]
    assert len(frames) >= 10
    assert len(set(frames)) == len(frames)


def test_bodies_are_those_of_the_body_model(found: tuple[dict, Path]) -> None:
    read, body = numbers(found[1], "poses"), load_body()
    turns = read[: 24 * 9].reshape(24, 3, 3).transpose(0, 2, 1)  # Godot's axes are columns
    expected = geometry.matrix_from_axis_angle(dancing(body, 1, FRAME)["poses"])
    expected[0] = geometry.WORLD_FROM_CAMERA @ expected[0]
    for joint in range(1, 24):
        expected[joint] = expected[PARENTS[joint]] @ expected[joint]
    np.testing.assert_allclose(turns, expected, atol=1e-4)
    np.testing.assert_allclose(read[24 * 9 : 24 * 12].reshape(24, 3), offsets(body, BETAS), atol=0.1 * MM)


@pytest.mark.parametrize(("which", "front"), [(0, 1), (1, -1)], ids=["faces +z", "faces -z"])
def test_a_skeleton_follows_whatever_its_rest_pose(found: tuple[dict, Path], which: int, front: int) -> None:
    heads = numbers(found[1], "poses")[24 * 12 :].reshape(-1, 24, 3)[which]
    joints = dancing(load_body(), 1, FRAME)["joints_world"] * (front, 1, front)
    assert np.isnan(heads[CHEST]).all()
    for joint in (4, 5, 7, 8, 18, 19, 20, 21, 15):
        ours, theirs = heads[joint] - heads[PARENTS[joint]], joints[joint] - joints[PARENTS[joint]]
        cosine = ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs)
        assert np.degrees(np.arccos(min(cosine, 1))) < 0.5, joint
    np.testing.assert_allclose(heads[[1, 2]].mean(0), 1.3 * joints[[1, 2]].mean(0), atol=MM)


def test_a_person_keeps_a_place_until_two_seconds_away(found: tuple[dict, Path]) -> None:
    assert found[0]["poses"] == [[0, 1], [1], [1, -1], [1, 0], [-1, 0, 1], [0]]


def test_its_bones_are_those_of_the_humanoid_profile() -> None:
    text = (CLIENT / "refit_rt_bodies.gd").read_text(encoding="utf-8").split("const BONES = [")[1].split("]")[0]
    assert json.loads(f"[{text.strip().rstrip(',')}]") == [name[0].upper() + name[1:] for name in VRM]


def test_every_file_is_parsed_as_godot_4() -> None:
    parser = pytest.importorskip("gdtoolkit.parser", reason="needs gdtoolkit: pip install gdtoolkit").parser
    for path in CLIENT.glob("*.gd"):
        parser.parse(path.read_text(encoding="utf-8"))
