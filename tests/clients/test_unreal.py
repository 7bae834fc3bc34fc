"""The Unreal plug-in, compiled with stand-ins for Unreal: a Live Link subject per person, and characters that take
their poses. It is compiled as `refit-rt client unreal` copies it out."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from refit_rt import geometry
from refit_rt.__main__ import command
from refit_rt.axes import AXES
from refit_rt.body.bone_names import UNREAL as NAMES
from refit_rt.body.smpl import PARENTS, Body, load_body
from refit_rt.stream import wire
from refit_rt.types import People
from tests.clients.conftest import RUN, crowd
from tests.support.dancer import BETAS, danced
from tests.support.fakes import people
from tests.support.paths import DATA

HERE = Path(__file__).parent
GXX = shutil.which("g++") or ""
CM, MM = 1.0, 0.1  # Unreal's unit is the centimetre
AXIS = AXES["unreal"]

pytestmark = pytest.mark.skipif(not GXX, reason="needs g++")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unreal")
    assert command(["client", "unreal", str(folder / "plugin")]) == 0
    source, stubs = folder / "plugin" / "Source" / "RefitRtLiveLink", folder / "stubs"
    parts = sorted((source / "Private").glob("*.cpp"))
    own = {path.name for path in source.rglob("*.h*")}
    texts = [path.read_text() for path in source.rglob("*") if path.suffix in {".h", ".hpp", ".cpp"}]
    for name in {name for text in texts for name in re.findall(r'#include "(.+)"', text)} - own:
        (stubs / name).parent.mkdir(parents=True, exist_ok=True)
        (stubs / name).write_text('#include "Unreal.h"\n')
    # One unit, as Unreal compiles a module's files.
    everything = folder / "everything.cpp"
    everything.write_text("".join(f'#include "{path}"\n' for path in [*parts, HERE / "unreal.cpp"]))
    places = [stubs, HERE / "unreal_stubs", source / "Public", source / "Private"]
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-fno-exceptions", *(f"-I{place}" for place in places)]
    subprocess.run([GXX, *flags, everything, "-o", folder / "unreal"], check=True, timeout=200)
    return folder / "unreal"


def said(program: Path, *words: object) -> list[dict[str, Any]]:
    """The calls of the client, in their order."""
    done = subprocess.run([program, *map(str, words)], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def of(calls: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [one for one in calls if one["call"] == kind]


def written(folder: Path, *shown: People) -> list[Path]:
    paths = [folder / f"message_{i}.bin" for i in range(len(shown))]
    for path, one in zip(paths, shown, strict=True):
        path.write_bytes(wire.encode(one, RUN, 101.0))
    return paths


def placed(bones: list[list[float]], parents: tuple[int, ...] = PARENTS) -> np.ndarray:
    """The places of bones (n, 3) from bones relative to their parents, as an engine chains them."""
    turns: list[Rotation] = []
    places: list[np.ndarray] = []
    for bone, parent in zip(bones, parents, strict=True):
        place, turn = np.array(bone[:3]), Rotation.from_quat(bone[3:])
        turns.append(turn if parent < 0 else turns[parent] * turn)
        places.append(place if parent < 0 else places[parent] + turns[parent].apply(place))
    return np.array(places)


@pytest.fixture(scope="module")
def body() -> Body:
    return load_body()


# --- the source


def test_the_golden_people_become_subjects_with_the_mannequins_bones(program: Path) -> None:
    golden = DATA / "stream" / "people_1.bin"
    calls = said(program, "source", "connected", golden, golden)
    statics = of(calls, "static")
    assert [one["subject"] for one in statics] == ["Person1", "Person2"], "once per subject"
    assert all((tuple(one["names"]), tuple(one["parents"])) == (NAMES, PARENTS) for one in statics)
    assert [one["subject"] for one in of(calls, "frame")] == ["Person1", "Person2"] * 2
    assert of(calls, "status")[-1]["text"] == "2 people, 0 unreadable messages"
    joints = wire.decode(golden.read_bytes()).people.joints_world.astype(float)
    for row, one in enumerate(of(calls, "frame")[:2]):
        found, expected = placed(one["bones"]), AXIS.points(joints[row])
        np.testing.assert_allclose(found - found[0], expected - expected[0], atol=MM)


def test_its_turns_are_those_of_python(program: Path, tmp_path: Path) -> None:
    sent = replace(crowd(2), floor=None)
    for row, one in enumerate(of(said(program, "source", *written(tmp_path, sent)), "frame")):
        # Without the first joint, whose orientation in the world test_cpp.py compares.
        local = geometry.matrix_from_axis_angle(sent.poses[row, 1:].astype(float))
        mine, theirs = np.array(one["bones"])[1:, 3:], AXIS.quaternions(local)
        assert np.degrees(2 * np.arccos(np.clip(np.abs((mine * theirs).sum(-1)), 0, 1))).max() < 0.01


def test_a_raised_left_arm_is_up_and_on_the_left(program: Path, body: Body, tmp_path: Path) -> None:
    pose = np.zeros((24, 3))
    pose[16] = pose[17] = (0, 0, 1.2)  # the left arm is raised, the right one hangs
    joints = body.joints(geometry.matrix_from_axis_angle(pose), np.zeros(10))
    camera = np.diag([1.0, -1.0, -1.0])  # it sees the face of a person who looks along the world's z
    pose[0] = geometry.axis_angle_from_matrix(camera)
    seen = joints @ camera + [0, 0, 3]
    sent = replace(
        people([1], poses=pose[None].astype(np.float32)),
        joints_camera=seen[None].astype(np.float32),
        joints_world=(seen @ camera)[None].astype(np.float32),
    )
    (one,) = of(said(program, "source", *written(tmp_path, sent)), "frame")
    places = placed(one["bones"])
    up, facing = np.array([0, 0, 1]), np.array([1, 0, 0])
    right = np.cross(up, -facing)  # in the picture of a camera that looks at the face, in a left-handed frame
    arm, other = places[20] - places[15], places[21] - places[15]
    assert arm @ up > 20 * CM
    assert arm @ right > 10 * CM, "the person's left is to the right in the picture"
    assert other @ right < -10 * CM


def test_a_person_begins_at_the_origin_and_stands_on_the_floor(program: Path, body: Body, tmp_path: Path) -> None:
    shown = [danced(body, [4], k) for k in (0, 30)]
    first, last = (placed(one["bones"]) for one in of(said(program, "source", *written(tmp_path, *shown)), "frame"))
    np.testing.assert_allclose(first[0, :2], 0, atol=MM)
    assert min(first[7, 2], first[8, 2]) == pytest.approx(7, abs=MM)  # an ankle is 7 cm above the floor
    moved = AXIS.points((shown[1].joints_world - shown[0].joints_world)[0, 0].astype(float))
    np.testing.assert_allclose((last - first)[0, :2], moved[:2], atol=MM)


def test_a_person_on_a_known_floor_is_level(program: Path, body: Body, tmp_path: Path) -> None:
    one = danced(body, [4], 10)
    tilt = Rotation.from_rotvec([0.2, 0, -0.1])
    floor = one.joints_world[0, [10, 11], 1].min() - 0.02
    tilted = replace(
        one,
        joints_world=tilt.apply(one.joints_world[0]).astype(np.float32)[None],
        floor=(*tilt.apply([0, 1, 0]).tolist(), float(floor)),
    )
    (upright, lain) = (of(said(program, "source", *written(tmp_path, p)), "frame")[0]["bones"] for p in (one, tilted))
    heights = placed(lain)[:, 2]
    np.testing.assert_allclose(heights, 100 * (one.joints_world[0, :, 1] - floor), atol=MM)
    np.testing.assert_allclose(heights - heights[0], (placed(upright) - placed(upright)[0])[:, 2], atol=MM)


def test_who_leaves_is_removed_and_who_stays_keeps_the_place(program: Path, body: Body, tmp_path: Path) -> None:
    both, second, third = written(tmp_path, danced(body, [4, 9], 1), danced(body, [9], 2), danced(body, [9, 12], 3))
    calls = said(program, "source", both, second, "wait:1", second, "wait:1.5", second, third, "wait:3")
    shown = [(one["call"], one["subject"]) for one in calls if one["call"] in {"static", "frame", "remove"}]
    assert shown == [
        *(("static", "Person1"), ("frame", "Person1"), ("static", "Person2"), ("frame", "Person2")),
        *(("frame", "Person2"), ("frame", "Person2"), ("remove", "Person1"), ("frame", "Person2")),
        *(("frame", "Person2"), ("static", "Person1"), ("frame", "Person1")),
        *(("remove", "Person1"), ("remove", "Person2")),
    ]


def test_damaged_messages_are_counted_and_a_lost_connection_is_opened_again(program: Path) -> None:
    golden = DATA / "stream" / "people_1.bin"
    steps = ["lost", "lost", "wait:1.5", "connected", "garbage", "garbage", golden, "closed", "wait:1.5"]
    calls = said(program, "source", *steps)
    status = [(one["text"], one["sockets"]) for one in of(calls, "status")]
    assert status[0] == ("refused", 1)
    assert status[3] == ("0 people, 0 unreadable messages", 2)
    assert status[6] == ("2 people, 2 unreadable messages", 2)
    assert status[8] == ("the connection was closed", 3)
    cure = "Start the outlet (refit-rt run --publish.outlets websocket), and give its token if it has one"
    assert [one["text"] for one in of(calls, "log")] == [
        f"Warning: ws://127.0.0.1:8765: refused. {cure}",
        "Warning: ws://127.0.0.1:8765: not a refit_rt message. Check the address",
        f"Warning: ws://127.0.0.1:8765: the connection was closed. {cure}",
    ]
    assert (of(calls, "end")[0]["valid"], of(calls, "end")[0]["open"]) == (0, 0)


# --- characters

ELBOWS = {16: (18, 20, 22), 17: (19, 21, 23)}
TWIST = "upperarm_twist_01_l"
CHARACTER = ("root", *NAMES, TWIST)
ABOVE = (-1, *(parent + 1 for parent in PARENTS), 17)  # the pelvis stands on the root, the twist on upperarm_l
FACING = Rotation.from_euler("z", 90, degrees=True)  # the mannequin faces +y


def rig(body: Body, path: Path, *options: str, size: float = 1.0, without: tuple[str, ...] = ()) -> None:
    """A character with the person's proportions in an A-pose, `size` times as large, the axes of whose bones lie
    anyhow."""
    rest = AXIS.points(body.joint_template + body.joint_shape_dirs @ BETAS)
    rest = rest - [rest[0, 0], rest[0, 1], rest[[7, 8], 2].min() - 7]
    for (shoulder, arm), sign in zip(ELBOWS.items(), (1, -1), strict=True):
        down = Rotation.from_euler("x", sign * 45, degrees=True)
        rest[list(arm)] = rest[shoulder] + down.apply(rest[list(arm)] - rest[shoulder])
        assert rest[arm[1], 2] < rest[shoulder, 2] - 20 * CM, "the arms of an A-pose hang"
    places = FACING.apply(size * np.array([np.zeros(3), *rest, (rest[16] + rest[18]) / 2]))
    turns = Rotation.from_quat(np.random.default_rng(2).normal(size=(len(CHARACTER), 4)))
    lines = []
    for bone, (name, parent) in enumerate(zip(CHARACTER, ABOVE, strict=True)):
        place, turn = places[bone], turns[bone]
        if parent >= 0:
            place, turn = turns[parent].inv().apply(place - places[parent]), turns[parent].inv() * turn
        shown = f"other_{name}" if name in without else name
        lines.append(" ".join([shown, str(parent), *(f"{value:.9g}" for value in (*place, *turn.as_quat()))]))
    path.write_text("\n".join([*lines, *options]))


def posed(program: Path, folder: Path, *shown: People) -> tuple[list[np.ndarray], list[str]]:
    """The places of the character's bones after each message, turned to face +x, and the lines of the log."""
    calls = said(program, "retarget", folder / "rig", *written(folder, *shown))
    places = [FACING.inv().apply(placed(one["bones"], ABOVE)) for one in of(calls, "pose")]
    return places, [one["text"] for one in of(calls, "log")]


def test_a_character_in_an_a_pose_takes_the_persons_pose(program: Path, body: Body, tmp_path: Path) -> None:
    rig(body, tmp_path / "rig")
    shown = [danced(body, [4], k) for k in (10, 25)]
    found, lines = posed(program, tmp_path, *shown)
    assert lines == []
    for places, one in zip(found, shown, strict=True):
        expected = AXIS.points(one.joints_world[0].astype(float))
        np.testing.assert_allclose(places[1:25] - places[1], expected - expected[0], atol=MM)
        np.testing.assert_allclose(places[25], (places[17] + places[19]) / 2, atol=MM)  # it follows the arm
        assert min(places[8, 2], places[9, 2]) == pytest.approx(7, abs=MM)  # an ankle is 7 cm above the floor


@pytest.mark.parametrize(("options", "share"), [((), 0.5), (("far",), 1.0)])
def test_a_small_character_makes_small_steps_or_keeps_distances(
    options: tuple[str, ...], share: float, program: Path, body: Body, tmp_path: Path
) -> None:
    rig(body, tmp_path / "rig", *options, size=0.5)
    shown = [danced(body, [4], k) for k in (0, 30)]
    (first, last), _ = posed(program, tmp_path, *shown)
    moved = AXIS.points((shown[1].joints_world - shown[0].joints_world)[0, 0].astype(float))
    np.testing.assert_allclose((last - first)[1, :2], share * moved[:2], atol=MM)


def test_missing_bones_are_one_line_and_the_others_are_turned(program: Path, body: Body, tmp_path: Path) -> None:
    rig(body, tmp_path / "rig", without=("spine_03", "ball_l", "middle_01_l"))
    one = danced(body, [4], 10)
    (places,), lines = posed(program, tmp_path, one)
    gone = "spine_03, ball_l, middle_01_l"
    assert lines == [f"Warning: Manny has no bone {gone}. The bones around them are turned without them"]
    expected = AXIS.points(one.joints_world[0].astype(float))
    np.testing.assert_allclose(places[21] - places[17], expected[20] - expected[16], atol=MM)  # the left arm


def test_a_character_without_legs_is_one_line_and_keeps_its_pose(program: Path, body: Body, tmp_path: Path) -> None:
    rig(body, tmp_path / "rig", without=("thigh_l",))
    found, lines = posed(program, tmp_path, *(danced(body, [4], k) for k in (10, 25)))
    assert lines == ["Error: Manny has no bone thigh_l. It needs pelvis, thigh_l, thigh_r, calf_l and foot_l"]
    np.testing.assert_array_equal(found[0], found[1])
