"""What other programs receive, read as they read it: VMC with python-osc, SONIC by its documentation, WebSocket by a
client, JSON as JSON."""

import json
import socket
import threading
import time
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from refit_rt.axes import AXES
from refit_rt.body.bone_names import VRM
from refit_rt.body.smpl import Body, load_body
from refit_rt.errors import UserError
from refit_rt.stream.bridges import json_lines, outlets, sonic, vmc
from refit_rt.stream.bridges.bodies import Origin, Places, bodies_of
from refit_rt.stream.bridges.links import Lines
from refit_rt.stream.bridges.outlets import Item, Outlet, Outlets, parsed
from refit_rt.stream.wire import Run, decode
from tests.support.dancer import danced

MM = 1e-3


@pytest.fixture(scope="module")
def body() -> Body:
    return load_body()


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


# --- bodies


def test_the_orientation_of_a_body_is_the_worlds(body):
    people = danced(body, [3, 8], 12)
    bodies = bodies_of(people)
    for row in range(2):
        joints = body.joints(bodies.rotations[row], people.betas[row])
        found = joints - joints[0] + bodies.joints[row, 0]
        np.testing.assert_allclose(found, people.joints_world[row], atol=MM)
    assert len(bodies_of(danced(body, [], 12)).rotations) == 0


def test_a_place_is_kept_for_two_seconds():
    places = Places(2)
    assert places.of([5, 7, 9], 0.0) == {5: 0, 7: 1}
    assert places.of([7, 9], 0.5) == {7: 1}, "5 may come back"
    assert places.of([5, 7, 9], 1.0) == {5: 0, 7: 1}
    assert places.of([7, 9], 3.1) == {7: 1, 9: 0}
    assert places.of([9, 7], 0.0) == {7: 1, 9: 0}, "a recording that begins again"


def test_the_floor_is_where_the_lower_foot_was():
    origin, joints = Origin(), np.zeros((24, 3))
    joints[0], joints[[10, 11]] = (1, -0.3, -4), ((1, -1.2, -4), (1, -1.0, -4))
    np.testing.assert_allclose(origin.place(joints, 0.0), [1, -1.22, -4])
    joints[[10, 11], 1] += 0.4  # a jump
    np.testing.assert_allclose(origin.place(joints, 0.3)[1], -1.22, atol=0.01)
    joints[0, 0] = 3
    assert origin.place(joints, 0.4)[0] == 1, "who walks moves away from the middle"
    np.testing.assert_allclose(origin.place(joints, 0.5, (0.0, 1.0, 0.0, -1.5)), [1, -1.5, -4], err_msg="it is known")


# --- VMC


def messages_of(packets: list[tuple[int, bytes]], place: int = 0) -> list[tuple[str, list]]:
    """Address and values of the messages to one port, in their order, read by python-osc."""
    bundle = pytest.importorskip("pythonosc.osc_bundle")
    read = [bundle.OscBundle(packet) for above, packet in packets if above == place]
    return [(message.address, message.params) for one in read for message in one]


def test_vmc_sends_bones_then_ok_and_time(body):
    packets = vmc.Vmc()(bodies_of(danced(body, [4], 10)))
    messages = messages_of(packets)
    assert [address for address, _ in messages[-2:]] == ["/VMC/Ext/OK", "/VMC/Ext/T"]
    assert messages[-1][1] == pytest.approx([10 / 30])
    assert messages[0] == ("/VMC/Ext/Root/Pos", ["root", 0, 0, 0, 0, 0, 0, 1])
    bones = {values[0]: values[1:] for address, values in messages if address == "/VMC/Ext/Bone/Pos"}
    assert len(bones) == 22
    assert {"Hips", "UpperChest", "LeftUpperArm", "RightToes"} <= bones.keys()
    assert all(len(packet) <= 1400 for _, packet in packets)
    assert all(bones[name][:3] == [0, 0, 0] for name in bones if name != "Hips")


def test_a_vrm_avatar_takes_the_persons_pose(body):
    """The chain of an avatar whose T-pose is turned by nothing, with straight legs and arms, in Unity's axes, as EVMC4U
    and others turn it: each bone lies as the person's does."""
    people = danced(body, [4], 10)
    bones = {v[0]: v[1:] for address, v in messages_of(vmc.Vmc(origin="world")(bodies_of(people))) if "Bone" in address}
    unity = AXES["unity"]
    person = body.joint_template + body.joint_shape_dirs @ people.betas[0]
    rest = person.copy()
    for joint, parent in enumerate(body.parents):
        offset = person[joint] - person[parent]
        if joint in vmc.ENDS:
            offset = np.linalg.norm(offset) * vmc.STRAIGHT[vmc.ENDS.index(joint)]
        rest[joint] = person[joint] if parent < 0 else rest[parent] + offset
    assert abs(rest[4] - person[4]).max() > 0.03, "SMPL's legs stand apart in its T-pose"
    rest = unity.points(rest)
    turned: list[Rotation] = []
    found: list[np.ndarray] = []
    for joint, parent in enumerate(body.parents[:22]):
        values = bones[VRM[joint][0].upper() + VRM[joint][1:]]
        local = Rotation.from_quat(values[3:])
        turned.append(local if parent < 0 else turned[parent] * local)
        place = np.array(values[:3]) if parent < 0 else found[parent] + turned[parent].apply(rest[joint] - rest[parent])
        found.append(place)
    np.testing.assert_allclose(found, unity.points(people.joints_world[0, :22].astype(float)), atol=MM)


def test_each_further_person_has_the_next_port(body):
    encode = vmc.Vmc(people=2)
    packets = encode(bodies_of(danced(body, [4, 9, 11], 0)))
    assert {above for above, _ in packets} == {0, 1}
    hips = [{v[0]: v[1:] for a, v in messages_of(packets, place) if "Bone" in a}["Hips"] for place in (0, 1)]
    for one in hips:
        assert one[0] == pytest.approx(0, abs=MM), "everybody starts in the middle"
        assert 0.7 < one[1] < 1.1, "the hips are a leg above the floor"
    later = encode(bodies_of(danced(body, [9], 1)))
    assert {above for above, _ in later} == {1}, "9 keeps the second port"


# --- SONIC, read as its documentation says


def sonic_fields(message: bytes) -> dict[str, np.ndarray]:
    assert message[:4] == b"pose"
    header = json.loads(message[4 : 4 + 1280].rstrip(b"\0"))
    assert (header["v"], header["endian"], header["count"]) == (3, "le", 1)
    fields, start = {}, 4 + 1280
    for one in header["fields"]:
        dtype = np.dtype(
            {"f32": "<f4", "f64": "<f8", "i32": "<i4", "i64": "<i8", "u8": "u1", "bool": "?"}[one["dtype"]]
        )
        count = int(np.prod(one["shape"]))
        fields[one["name"]] = np.frombuffer(message, dtype, count, start).reshape(one["shape"])
        start += count * dtype.itemsize
    assert start == len(message)
    return fields


def test_sonic_gets_fifty_frames_a_second_in_fives(body):
    encode, sent = sonic.Sonic(body), []
    times = [k for k in range(40) if k not in (7, 8, 20)]  # frames are dropped
    for k in times:
        sent += [message for _, message in encode(bodies_of(danced(body, [2], k)))]
    fields = [sonic_fields(message) for message in sent]
    assert len(sent) == int(39 / 30 * 50) + 1 - 4
    for at, one in enumerate(fields):
        assert one["frame_index"].tolist() == list(range(at, at + 5))
        shapes = {name: array.shape for name, array in one.items()}
        assert shapes == {
            "smpl_pose": (5, 21, 3),
            "smpl_joints": (5, 24, 3),
            "body_quat_w": (5, 4),
            "joint_pos": (5, 29),
            "joint_vel": (5, 29),
            "frame_index": (5,),
        }
        assert not one["joint_pos"][:, :23].any()
        assert not one["joint_vel"].any()


def test_sonics_geometry_is_that_of_its_own_sender(body):
    """body_quat = Rx(90°) q (0.5, 0.5, 0.5, 0.5)⁻¹; smpl_joints are the z-up joints turned back by it."""
    encode, still, sent = sonic.Sonic(body), danced(body, [2], 20), []
    for k in range(8):
        sent += encode(bodies_of(replace(still, time_s=k / 30)))
    fields, rotations = sonic_fields(sent[-1][1]), bodies_of(still).rotations[0]
    w, x, y, z = fields["body_quat_w"][-1].astype(float)
    orientation = Rotation.from_quat([x, y, z, w])
    expected = Rotation.from_euler("x", 90, degrees=True) * Rotation.from_matrix(rotations[0])
    base = Rotation.from_quat([0.5, 0.5, 0.5, 0.5])
    assert (orientation * base * expected.inv()).magnitude() < 1e-5
    world = orientation.apply(fields["smpl_joints"][-1])
    mean = body.joints(rotations, np.zeros(10))
    np.testing.assert_allclose(world, AXES["blender"].points(mean - mean[0]), atol=0.1 * MM)
    assert world[15, 2] > 0.4, "the head is up"
    np.testing.assert_allclose(fields["smpl_pose"][-1], still.poses[0, 1:22], atol=1e-5)


def test_a_person_who_stands_upright_faces_along_the_robots_x(body):
    """The robot's frame has x forward, y left, z up: a T-pose that faces forward lies so in smpl_joints."""
    fields = sonic.Sonic(body)._row(np.tile(np.eye(3), (24, 1, 1)))
    left_arm, head, toes = (fields["smpl_joints"][joint] for joint in (20, 15, 10))
    assert left_arm[1] > 0.5
    assert abs(left_arm[0]) < 0.15
    assert head[2] > 0.4
    assert toes[0] > 0.05


def test_a_long_gap_begins_anew_and_counts_on(body):
    encode, sent = sonic.Sonic(body), []
    for k in [*range(10), *range(60, 70)]:
        sent += encode(bodies_of(danced(body, [2], k)))
    indices = [sonic_fields(message)["frame_index"].tolist() for _, message in sent]
    assert all(np.diff(one).tolist() == [1] * 4 for one in indices)
    assert indices[-1][-1] < 40


def test_wrists_take_what_the_elbow_cannot(body):
    rotations = np.tile(np.eye(3), (24, 1, 1))
    rotations[18] = Rotation.from_euler("YXZ", [1.0, 0.2, -0.1]).as_matrix()
    rotations[20] = Rotation.from_euler("XYZ", [0.3, 0.4, 0.5]).as_matrix()
    found = sonic.wrists(rotations)
    assert found[24] == found[26] == found[28] == 0
    swing = Rotation.from_euler("XZ", [0.2, -0.1]).as_euler("XYZ")
    np.testing.assert_allclose(found[[23, 25, 27]], [swing[0] + 0.3, 0.4, swing[2] + 0.5], atol=0.02)


# --- JSON


def test_a_line_of_json_fits_a_packet_and_holds_the_person(body):
    people = replace(danced(body, [2, 1234567], 33), contacts=np.tile(np.array([0, 0.333, 1, 0.5], np.float32), (2, 1)))
    for axes in AXES:
        lines = json_lines.JsonLines(axes)(bodies_of(people))
        for row, (_, line) in enumerate(lines):
            assert len(line) <= 1400
            read = json.loads(line)
            assert (read["id"], read["axes"], read["frame"]) == (people.ids[row], axes, 33)
            assert read["contacts"] == [0, 0.33, 1, 0.5]
            joints = np.reshape(read["joints"], (24, 3))
            metre = AXES[axes].units_per_m
            expected = AXES[axes].points(people.joints_world[row].astype(float))
            np.testing.assert_allclose(joints, expected, atol=MM * metre)
            turns = Rotation.from_quat(np.reshape(read["turns"], (24, 4))).as_matrix()
            np.testing.assert_allclose(turns, AXES[axes].rotations(bodies_of(people).rotations[row]), atol=0.004)


# --- outlets


class Spoilt:
    """A link that stalls or fails."""

    def __init__(self, stall_s: float = 0.0) -> None:
        self.stall_s = stall_s

    def send(self, item: Item) -> int:
        time.sleep(self.stall_s)
        if not self.stall_s:
            raise OSError("no route to host")
        return 1

    def close(self) -> None:
        pass


def test_an_outlet_that_fails_or_stalls_holds_up_nobody(body, caplog):
    caplog.set_level("WARNING")
    lines = BytesIO()
    well = Outlet("well", Lines(lambda item: [(0, b"%d\n" % item.people.frame_index)], lines))
    broken, slow = Outlet("broken", Spoilt()), Outlet("slow", Spoilt(0.2))
    people = danced(body, [1], 0)
    began_s = time.monotonic()
    for _ in range(40):
        for outlet in (broken, slow, well):
            outlet.offer(Item(people, "live", Run(0.0)))
        time.sleep(0.005)
    offering_s = time.monotonic() - began_s
    for outlet in (broken, slow, well):
        outlet.close()
    assert offering_s < 2.0, "40 frames to a stalled outlet would take 8 s"
    assert well.messages + well.dropped == 40
    assert broken.failed + broken.dropped == 40
    assert slow.dropped > 20
    assert lines.getvalue().count(b"\n") == well.messages
    assert "broken: 0 messages" in broken.summary()
    warnings = [record for record in caplog.records if "no route to host" in record.getMessage()]
    assert len(warnings) == 1, "the same failure is said once in ten seconds"


def test_vmc_and_json_reach_their_ports(body):
    ports = [free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_DGRAM)]
    receivers = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in ports]
    for receiver, port in zip(receivers, ports, strict=True):
        receiver.bind(("127.0.0.1", port))
        receiver.settimeout(5)
    rows = [f"vmc://127.0.0.1:{ports[0]}", f"json://127.0.0.1:{ports[1]}?axes=unreal"]
    sending = Outlets(rows, Run(0.0), body)
    try:
        sending.send(danced(body, [1], 0))
        assert receivers[0].recv(2000).startswith(b"#bundle\0")
        assert json.loads(receivers[1].recv(2000))["axes"] == "unreal"
    finally:
        sending.close()
        for receiver in receivers:
            receiver.close()
    assert [line.rsplit(": ", 1)[1] for line in sending.table()] == [
        "2 messages, 0 frames dropped",
        "1 messages, 0 frames dropped",
    ]


def test_websocket_clients_get_the_messages_of_the_stream(body):
    client = pytest.importorskip("websockets.sync.client")
    port = free_port()
    sending = Outlets([f"websocket://127.0.0.1:{port}?token=open%20sesame"], Run(1000.0, "free", "edge"), body)
    refused: list[Exception] = []
    try:
        for path, origin in (("", None), ("?token=wrong", None), ("?token=open%20sesame", "https://evil.example")):
            with pytest.raises(Exception, match=r"HTTP 40[13]") as error:
                client.connect(f"ws://127.0.0.1:{port}/{path}", origin=origin)
            refused.append(error.value)
        address = f"ws://127.0.0.1:{port}/?token=open%20sesame"
        with client.connect(address) as plain, client.connect(address, origin="http://localhost:8000") as page:
            for k in range(3):
                sending.send(danced(body, [1, 2], k))
                for one in (plain, page):
                    message = decode(one.recv(timeout=5))
                    assert (message.people.frame_index, message.people.ids.tolist()) == (k, [1, 2])
            sending.send(danced(body, [1, 2], 3), "ended")
            assert decode(plain.recv(timeout=5)).status == "ended"
    finally:
        sending.close()
    assert len(refused) == 3


def test_a_slow_websocket_client_stays_young(body):
    """It works 0.1 s per message, of which there are 100 a second, with ten people each."""
    client = pytest.importorskip("websockets.sync.client")
    port = free_port()
    sending = Outlets([f"websocket://127.0.0.1:{port}"], Run(0.0), body)
    newest, stop = [0], threading.Event()

    def send() -> None:
        crowd = danced(body, list(range(10)), 0)
        while not stop.wait(0.01):
            newest[0] += 1
            sending.send(replace(crowd, frame_index=newest[0]))

    thread = threading.Thread(target=send)
    behind = []
    try:
        with client.connect(f"ws://127.0.0.1:{port}", max_queue=1, close_timeout=0.5) as one:
            thread.start()
            for _ in range(25):
                frame = decode(one.recv(timeout=5)).people.frame_index
                behind.append(newest[0] - frame)
                time.sleep(0.1)
            stop.set()
    finally:
        stop.set()
        thread.join()
        sending.close()
    assert np.median(behind[10:]) < 100, "frames of 10 ms: less than a second"
    assert sum(behind[-5:]) <= sum(behind[10:15]) + 100, "it does not fall further behind"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("vcm://127.0.0.1", "'vcm' is no kind of outlet. Give one like vmc://127.0.0.1:39539"),
        ("vmc://127.0.0.1:80000", "port out of range"),
        ("vmc://127.0.0.1:0", "is not KIND://HOST:PORT"),
        ("vmc://127.0.0.1/x", "is not KIND://HOST:PORT"),
        ("vmc://127.0.0.1?ports=3", "has no option 'ports'; vmc has people, origin"),
        ("vmc://127.0.0.1?people=0", "people is a whole number from 1 to 64, not '0'"),
        ("json://127.0.0.1?axes=maya", "axes is one of gltf, opencv, unity, unreal, blender, not 'maya'"),
        ("websocket://0.0.0.0", "opens the stream to the network. Give it a secret"),
        ("vmc://no.such.host.invalid", "has no address"),
    ],
)
def test_a_row_that_cannot_be_is_refused(row, words, body):
    with pytest.raises(UserError, match="outlet") as error:
        Outlets([row], Run(0.0), body)
    assert words in str(error.value)


def test_a_taken_port_is_said_and_the_others_are_closed(body):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for kind in ("sonic", "websocket"):
            with pytest.raises(UserError, match="cannot be bound"):
                Outlets(["json://127.0.0.1", f"{kind}://127.0.0.1:{port}"], Run(0.0), body)
    assert not [thread for thread in threading.enumerate() if "json" in thread.name and thread.is_alive()]


def test_a_row_needs_no_port_and_no_host():
    assert (parsed("vmc").host, parsed("vmc").port) == ("127.0.0.1", 39539)
    assert (parsed("sonic://0.0.0.0").host, parsed("sonic://0.0.0.0").port) == ("0.0.0.0", 5556)
    assert parsed("json://stdout").host == "stdout"
    assert parsed("vmc://[::1]:5000").host == "::1"
    assert set(outlets.KINDS) == {"vmc", "sonic", "json", "websocket"}
