"""Blender add-on: people of a refit_rt stream drive armatures and are recorded as keyframes; imports motion.npz.

One file for Blender 3.4 or newer, with nothing to install beside it. Top to bottom: messages, how they arrive, bodies,
armatures, recordings, the panel. The first three parts work in any Python with numpy.

Frames: a body's world has y up and is right-handed, in metres; Blender's has z up, and a person in the T-pose faces -y,
the left arm at +x. Rotations are 3 x 3 matrices, quaternions are w x y z.
"""

import base64
import hashlib
import json
import os
import socket
import ssl
import struct
import textwrap
import threading
import time
import zipfile
import zlib
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

try:
    import bpy
    from bpy_extras.io_utils import ImportHelper
except ImportError:  # outside Blender
    bpy: Any = None

bl_info = {
    "name": "refit_rt: live people",
    "author": "refit_rt",
    "version": (1, 0, 0),
    "blender": (3, 4, 0),
    "location": "3D View > Sidebar > refit_rt; File > Import > refit_rt motion (.npz)",
    "description": "Drives armatures by a refit_rt stream, records keyframes, imports recordings",
    "category": "Animation",
}

JOINTS = 24
NAMES = (
    *("pelvis", "l_hip", "r_hip", "spine1", "l_knee", "r_knee", "spine2", "l_ankle", "r_ankle", "spine3", "l_foot"),
    *("r_foot", "neck", "l_collar", "r_collar", "head", "l_shoulder", "r_shoulder", "l_elbow", "r_elbow", "l_wrist"),
    *("r_wrist", "l_hand", "r_hand"),
)
PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
PELVIS, L_HIP, R_HIP, NECK, HEAD = 0, 1, 2, 12, 15
FEET = (10, 11)
LEGS = ((1, 4, 7), (2, 5, 8))  # hip, knee, ankle
# Joint → the joint that its bone points to. A joint that is not here points on in the direction of the bone before it.
TOWARDS = {0: 3, 1: 4, 2: 5, 3: 6, 4: 7, 5: 8, 6: 9, 7: 10, 8: 11, 9: 12, 12: 15} | {
    joint: joint + (3 if joint < 16 else 2) for joint in range(13, 22) if joint != HEAD
}
TIPS_M = {HEAD: 0.18, 22: 0.08, 23: 0.08}  # lengths of those bones
SHORTEST_M = 0.03  # Blender removes a bone without a length
BONES = {
    "smpl": (
        *("Pelvis", "L_Hip", "R_Hip", "Spine1", "L_Knee", "R_Knee", "Spine2", "L_Ankle", "R_Ankle", "Spine3"),
        *("L_Foot", "R_Foot", "Neck", "L_Collar", "R_Collar", "Head", "L_Shoulder", "R_Shoulder", "L_Elbow"),
        *("R_Elbow", "L_Wrist", "R_Wrist", "L_Hand", "R_Hand"),
    ),
    "mixamo": (
        *("Hips", "LeftUpLeg", "RightUpLeg", "Spine", "LeftLeg", "RightLeg", "Spine1", "LeftFoot", "RightFoot"),
        *("Spine2", "LeftToeBase", "RightToeBase", "Neck", "LeftShoulder", "RightShoulder", "Head", "LeftArm"),
        *("RightArm", "LeftForeArm", "RightForeArm", "LeftHand", "RightHand", "LeftHandMiddle1", "RightHandMiddle1"),
    ),
    "vrm": (
        *("hips", "leftUpperLeg", "rightUpperLeg", "spine", "leftLowerLeg", "rightLowerLeg", "chest", "leftFoot"),
        *("rightFoot", "upperChest", "leftToes", "rightToes", "neck", "leftShoulder", "rightShoulder", "head"),
        *("leftUpperArm", "rightUpperArm", "leftLowerArm", "rightLowerArm", "leftHand", "rightHand"),
        *("leftMiddleProximal", "rightMiddleProximal"),
    ),
    "unreal": (
        *("pelvis", "thigh_l", "thigh_r", "spine_01", "calf_l", "calf_r", "spine_02", "foot_l", "foot_r", "spine_03"),
        *("ball_l", "ball_r", "neck_01", "clavicle_l", "clavicle_r", "head", "upperarm_l", "upperarm_r"),
        *("lowerarm_l", "lowerarm_r", "hand_l", "hand_r", "middle_01_l", "middle_01_r"),
    ),
}
OWN = "refit_rt_place"  # a custom property of the armatures that this add-on makes
AWAY_S = 2.0  # after which a person's armature goes to the next one
SOLE_M = 0.02  # from the joint at the ball of the foot down to the floor
STILL_M = 0.0005  # a bone that moves less against its parent gets no keyframes of its location
RETRY_S = 1.0
ANSWER_S = 3.0  # to wait for a connection
SILENT_S = 60.0  # after which a connection counts as lost: the outlet's own pings come more often
MOST_KEPT = 3600  # messages that wait while Blender is busy during a recording: a minute of 60 per second
MOST_BYTES = 16 * 2**20  # of one message: 14,000 people


class RefitError(Exception):
    """What the user has to know, in one line."""


# --- messages -------------------------------------------------------------------------------------------------------

SCHEMA = "refit_rt.people/1"
TEXTS = ("status", "camera", "body", "bundle")
NUMBERS = (
    *("frame", "captured_unix_s", "captured_s", "time_s", "age_s", "dropped", "width_px", "height_px", "focal_px"),
    *("centre_x_px", "centre_y_px"),
)
ARRAYS = {  # name → dtype, shape of one person's row. docs/stream.md has every field
    "ids": ("I64", ()),
    "poses": ("F32", (JOINTS, 3)),  # axis-angle; joint 0: the body in the camera's frame
    "betas": ("F32", (10,)),
    "trans": ("F32", (3,)),
    "joints_camera": ("F32", (JOINTS, 3)),  # metres: x right, y down, z forward
    "joints_px": ("F32", (JOINTS, 2)),
    "joints_world": ("F32", (JOINTS, 3)),  # metres: y up, right-handed
    "box": ("F32", (4,)),
    "confidence": ("F32", ()),
    "iterations": ("I32", ()),
    "views": ("I32", ()),  # bit i: the stream's camera i showed the person
    "contacts": ("F32", (4,)),  # 0 to 1: l_ankle, r_ankle, l_foot, r_foot on the floor
}
ADDED = ("views", "contacts")  # absent from messages of earlier releases
DTYPES = {"I64": np.dtype("<i8"), "I32": np.dtype("<i4"), "F32": np.dtype("<f4")}


class Message(NamedTuple):
    """One frame of a stream."""

    about: dict[str, Any]  # the metadata; those of NUMBERS are numbers, `floor` and `world_from_cameras` arrays
    people: dict[str, np.ndarray]  # by ARRAYS' names, one row per person


def decode(blob: bytes) -> Message:
    """The message in `blob`. Raises RefitError, and nothing else, for bytes that are none of this schema."""
    length = int.from_bytes(blob[:8], "little") if len(blob) >= 8 else 0
    if not 2 <= length <= len(blob) - 8:
        raise RefitError(f"received {len(blob)} bytes that are not a refit_rt message. Check the address")
    try:
        header = json.loads(blob[8 : 8 + length].decode("utf-8"), parse_int=_whole)
    except (ValueError, RecursionError) as error:
        raise RefitError("not a refit_rt message: its header cannot be read. Check the address") from error
    texts = header.pop("__metadata__", None) if isinstance(header, dict) else None
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise RefitError("not a refit_rt message: it has no metadata. Check the address")
    if texts.get("schema") != SCHEMA:
        raise RefitError(
            f"schema '{texts.get('schema', '')[:40]}', but this add-on reads '{SCHEMA}'. Install the sender's"
        )
    about: dict[str, Any] = dict(texts)
    for name in (*TEXTS, *NUMBERS):
        if name not in about:
            raise RefitError(f"incomplete message: no '{name}'")
    for name in NUMBERS:
        about[name] = _number(name, about[name])
    _read_places(about)
    data, count = memoryview(blob)[8 + length :], _count(header)
    sent = [name for name in ARRAYS if name in header or name not in ADDED]
    people = {name: _array(name, header.get(name), count, data) for name in sent}
    for name in ("poses", "joints_camera", "joints_world"):
        if not np.isfinite(people[name]).all():
            raise RefitError(f"damaged message: '{name}' has numbers that are not finite")
    return Message(about, people)


def _whole(text: str) -> float:
    """A whole number of JSON. A long one, whose digits would take long to read, is infinite for every use here."""
    return int(text) if len(text) < 20 else float("inf")


def _number(name: str, text: str) -> float:
    try:
        value = float(text) if len(text) < 64 else float("inf")
    except ValueError:
        value = float("inf")
    if not np.isfinite(value):
        raise RefitError(f"damaged message: '{name}' is not a number")
    return value


def _read_places(about: dict[str, Any]) -> None:
    """Turns the texts of the cameras' places (camera, 3, 4) and of the floor (4,) into arrays, where they are sent."""
    if about.get("cameras"):
        if "world_from_cameras" not in about:
            raise RefitError("incomplete message: no 'world_from_cameras'")
        names, places = about["cameras"].split(","), about["world_from_cameras"].split(",")
        if len(names) != len(places):
            raise RefitError("damaged message: 'world_from_cameras' has another number of places than 'cameras'")
        rows = [_numbers("world_from_cameras", place, 12) for place in places]
        about |= {"cameras": names, "world_from_cameras": np.array(rows).reshape(-1, 3, 4)}
    if "floor" in about:
        about["floor"] = np.array(_numbers("floor", about["floor"], 4))


def _numbers(name: str, text: str, count: int) -> list[float]:
    parts = text.split(" ", count)
    try:
        if len(parts) == count:
            return [_number(name, part) for part in parts]
    except RefitError:
        pass
    raise RefitError(f"damaged message: '{name}' is not {count} numbers")


def _count(header: dict) -> int:
    entry = header.get("ids")
    shape = entry.get("shape") if isinstance(entry, dict) else None
    if not isinstance(shape, list) or not shape or type(shape[0]) is not int or shape[0] < 0:
        raise RefitError("incomplete message: no array 'ids'")
    return shape[0]


def _array(name: str, entry: Any, count: int, data: memoryview) -> np.ndarray:
    """One array of a message. Nothing is allocated: it lies in the message's bytes."""
    if not isinstance(entry, dict):
        raise RefitError(f"incomplete message: no array '{name}'")
    code, row = ARRAYS[name]
    if entry.get("dtype") != code or entry.get("shape") != [count, *row]:
        raise RefitError(f"the array '{name}' has another type or shape than this add-on reads")
    offsets = entry.get("data_offsets")
    size = count * DTYPES[code].itemsize * int(np.prod(row, dtype=np.int64))
    if isinstance(offsets, list) and len(offsets) == 2 and all(type(one) is int for one in offsets):
        start, end = offsets
        if 0 <= start <= end <= len(data) and end - start == size:
            return np.frombuffer(data[start:end], DTYPES[code]).reshape(count, *row)
    raise RefitError(f"the array '{name}' does not lie within the message")


# --- how messages arrive --------------------------------------------------------------------------------------------


class Newest:
    """Receives a stream in a thread of its own and keeps the newest message; connects again by itself."""

    def __init__(self, address: str) -> None:
        """address: ws://HOST:PORT, wss://HOST:PORT, or tcp://HOST:PORT where pyzmq is installed.

        Raises RefitError for another.
        """
        self.address = address.strip()
        self.received = self.faults = 0  # messages; those of them that could not be read
        self.trouble = ""  # why there is no connection, in one line
        self.every = False  # keeps all messages until they are taken, for recordings
        self._open = _receiver(self.address)
        self._blobs: deque[bytes] = deque(maxlen=MOST_KEPT)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="refit_rt", daemon=True)
        self._thread.start()

    def take(self) -> list[Message]:
        """What has come since the last call, the newest last: one message, or with `every` all of them.

        Raises RefitError for a message that cannot be read; those that came after it are in the next call.
        """
        messages = []
        while True:
            try:
                messages.append(decode(self._blobs.popleft()))
            except IndexError:  # of an empty deque
                return messages
            except RefitError:
                self.faults += 1
                raise

    def close(self) -> None:
        """Ends the thread."""
        self._stop.set()
        self._thread.join(ANSWER_S + 1)

    def _run(self) -> None:
        self.trouble = "connecting"
        while not self._stop.is_set():
            try:
                receiver = self._open(self.address, self._stop)
                try:
                    while not self._stop.is_set():
                        self._keep(receiver.receive())
                finally:
                    receiver.close()
            except (OSError, RefitError) as error:
                text = str(error) if isinstance(error, RefitError) else f"no connection ({error.strerror or error})"
                self.trouble = f"{text}. Trying again"
                self._stop.wait(RETRY_S)

    def _keep(self, blob: bytes | None) -> None:
        if blob is not None:
            if not self.every:
                self._blobs.clear()
            self._blobs.append(blob)
            self.received += 1
        self.trouble = ""


def _receiver(address: str) -> Any:
    """The class that receives from an address."""
    try:
        parts = urlsplit(address)
        known, port = parts.scheme in ("ws", "wss", "tcp") and bool(parts.hostname), parts.port
    except ValueError:
        known, port = False, None
    if not known:
        raise RefitError(f"'{address}' is no address. Give one like ws://127.0.0.1:8765")
    if parts.scheme != "tcp":
        return WebSocket
    if port is None:
        raise RefitError(f"'{address}' has no port. Give one like tcp://127.0.0.1:5560")
    try:
        import zmq  # noqa: F401
    except ImportError as error:
        raise RefitError(
            "Blender's Python has no pyzmq for tcp://. Start refit-rt bridge websocket and give ws://127.0.0.1:8765"
        ) from error
    return ZeroMQ


class ZeroMQ:
    """Receives from a ZeroMQ publisher."""

    def __init__(self, address: str, stop: threading.Event) -> None:
        import zmq

        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.CONFLATE, 1)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MOST_BYTES)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SUBSCRIBE, b"")
        try:
            self._socket.connect(address)
        except zmq.ZMQError as error:
            self.close()
            raise RefitError(f"no connection ({error})") from error

    def receive(self) -> bytes | None:
        """A message, or None after a while without one."""
        return self._socket.recv() if self._socket.poll(250) else None

    def close(self) -> None:
        """Closes the connection."""
        self._socket.close()
        self._context.term()


class WebSocket:
    """A client of RFC 6455 that receives binary messages and answers pings. The outlet sends the next message when its
    ping has been answered."""

    CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

    def __init__(self, address: str, stop: threading.Event) -> None:
        """Connects. Raises OSError where nobody answers, and RefitError where the answer is no."""
        parts = urlsplit(address)
        host, secure = parts.hostname or "", parts.scheme == "wss"
        port = parts.port or (443 if secure else 80)
        self._stop, self._buffer, self._heard_s = stop, bytearray(), time.monotonic()
        self._socket = socket.create_connection((host, port), ANSWER_S)
        try:
            if secure:
                self._socket = ssl.create_default_context().wrap_socket(self._socket, server_hostname=host)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._shake(host, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
            self._socket.settimeout(0.25)
        except BaseException:
            self.close()
            raise

    def _shake(self, host: str, port: int, path: str) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        name = f"[{host}]" if ":" in host else host
        self._socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {name}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        end_s = time.monotonic() + ANSWER_S
        while b"\r\n\r\n" not in self._buffer:
            if time.monotonic() > end_s or len(self._buffer) > 16_384 or self._stop.is_set():
                raise RefitError("the answer is not that of a WebSocket outlet. Check host and port")
            self._more()
        head, _, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        self._buffer = bytearray(rest)
        first, *lines = head.decode("latin-1").split("\r\n")
        fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status = [*first.split(), "", ""][1]
        if status in ("401", "403"):
            raise RefitError(f"refused ({status}). Give the outlet's token: ws://HOST:PORT/?token=SECRET")
        accept = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
        if status != "101" or fields.get("sec-websocket-accept") != base64.b64encode(accept).decode():
            raise RefitError("the answer is not that of a WebSocket outlet. Check host and port")

    def receive(self) -> bytes | None:
        """The next binary message, or None when the add-on stops. Raises OSError when the connection ends."""
        message, kind = bytearray(), self.BINARY
        while True:
            frame = self._frame()
            if frame is None:
                return None
            last, code, data = frame
            if code == self.PING:
                self._send(self.PONG, data)
            elif code == self.CLOSE:
                raise ConnectionResetError("the outlet has closed the connection")
            elif code in (self.TEXT, self.BINARY, self.CONTINUATION):
                kind = kind if code == self.CONTINUATION else code
                message += data
                if len(message) > MOST_BYTES:
                    raise RefitError("a message is too long. Check host and port")
                if last and kind == self.BINARY:
                    return bytes(message)
                if last:
                    message.clear()

    def close(self) -> None:
        """Closes the connection."""
        self._socket.close()

    def _frame(self) -> tuple[bool, int, bytes] | None:
        """Whether it is a message's last frame, its code, its bytes. None: the add-on stops."""
        head = self._read(2)
        if head is None:
            return None
        size, wide = head[1] & 127, {126: 2, 127: 8}.get(head[1] & 127)
        if wide:
            more = self._read(wide)
            if more is None:
                return None
            size = int.from_bytes(more, "big")
        if head[1] & 128 or head[0] & 112 or size > MOST_BYTES:
            raise RefitError("received what no WebSocket outlet sends. Check host and port")
        data = self._read(size)
        return None if data is None else (bool(head[0] & 128), head[0] & 15, data)

    def _read(self, size: int) -> bytes | None:
        while len(self._buffer) < size:
            if self._stop.is_set():
                return None
            self._more()
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def _more(self) -> None:
        try:
            data = self._socket.recv(65_536)
        except TimeoutError:
            if time.monotonic() - self._heard_s > SILENT_S:
                raise ConnectionResetError(f"nothing heard for {SILENT_S:.0f} s") from None
            return
        self._heard_s = time.monotonic()
        if not data:
            raise ConnectionResetError("the outlet has closed the connection")
        self._buffer += data

    def _send(self, code: int, data: bytes) -> None:
        """One short frame. Clients mask theirs."""
        mask, data = os.urandom(4), data[:125]
        masked = bytes(byte ^ mask[k % 4] for k, byte in enumerate(data))
        self._socket.sendall(struct.pack("BB", 128 | code, 128 | len(data)) + mask + masked)


# --- bodies ---------------------------------------------------------------------------------------------------------

BLENDER_FROM_WORLD = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])


class Bodies(NamedTuple):
    """n bodies in Blender's axes, metres."""

    turns: np.ndarray  # (n, 24, 3, 3) each joint against the T-pose, in the world
    joints: np.ndarray  # (n, 24, 3) world
    offsets: np.ndarray  # (n, 24, 3) each joint from its parent, in the T-pose; that of the pelvis is zero


def bodies_of(poses: np.ndarray, joints_world: np.ndarray, joints_camera: np.ndarray) -> Bodies:
    """poses, joints_world, joints_camera (n, 24, 3), as in a message, of one camera or rig.

    How the camera is turned in the world follows from the joints, which both frames have; the T-pose follows from
    joints and rotations, so that no body model is needed.
    """
    world, camera = joints_world.astype(np.float64), joints_camera.astype(np.float64)
    local = matrices(poses.astype(np.float64))
    local[:, 0] = (
        _turn_between(camera - camera.mean(1, keepdims=True), world - world.mean(1, keepdims=True)) @ local[:, 0]
    )
    turns, offsets = local.copy(), np.zeros_like(world)
    for joint in range(1, JOINTS):
        above = PARENTS[joint]
        turns[:, joint] = turns[:, above] @ local[:, joint]
        apart = (world[:, joint] - world[:, above])[:, :, None]
        offsets[:, joint] = (turns[:, above].transpose(0, 2, 1) @ apart)[:, :, 0]
    axes = BLENDER_FROM_WORLD
    return Bodies(axes @ turns @ axes.T, world @ axes.T, offsets @ axes.T)


def matrices(axis_angle: np.ndarray) -> np.ndarray:
    """Rotation matrices (…, 3, 3) of axis-angle vectors (…, 3): Rodrigues' formula."""
    angle = np.linalg.norm(axis_angle, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(axis_angle / np.maximum(angle[..., 0], 1e-12), -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*x.shape, 3, 3)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)


def quaternions(turns: np.ndarray) -> np.ndarray:
    """Quaternions (…, 4), w x y z, of rotation matrices (…, 3, 3). The matrix of all products 4 q qᵀ is linear in the
    rotation; its row with the largest diagonal is q up to its length."""
    m = turns
    x, y, z = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    wx, wy, wz = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    xy, xz, yz = m[..., 1, 0] + m[..., 0, 1], m[..., 2, 0] + m[..., 0, 2], m[..., 2, 1] + m[..., 1, 2]
    rows = (
        *(1 + x + y + z, wx, wy, wz, wx, 1 + x - y - z, xy, xz),
        *(wy, xy, 1 - x + y - z, yz, wz, xz, yz, 1 - x - y + z),
    )
    products = np.stack(rows, -1).reshape(*x.shape, 4, 4)
    largest = np.diagonal(products, axis1=-2, axis2=-1).argmax(-1)
    q = np.take_along_axis(products, largest[..., None, None], -2)[..., 0, :]
    return q / np.linalg.norm(q, axis=-1, keepdims=True)


def even(quats: np.ndarray) -> np.ndarray:
    """The same rotations (n, …, 4) with signs that do not jump from one row to the next."""
    agree = np.where((quats[1:] * quats[:-1]).sum(-1, keepdims=True) < 0, -1.0, 1.0)
    return np.concatenate([quats[:1], quats[1:] * np.cumprod(agree, axis=0)])


def between(rows: np.ndarray, at: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Rows (n, …) at moments `at` (n,), ascending, linearly at the moments wanted (m,), which lie within them."""
    after = np.clip(np.searchsorted(at, wanted), 1, len(at) - 1)
    share = (wanted - at[after - 1]) / (at[after] - at[after - 1])
    share = share.reshape(-1, *[1] * (rows.ndim - 1))
    return rows[after - 1] * (1 - share) + rows[after] * share


def _turn_between(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The rotation (3, 3) that takes vectors `start` (…, 3) to `end` best (Kabsch 1976)."""
    u, _, vt = np.linalg.svd(start.reshape(-1, 3).T @ end.reshape(-1, 3))
    return vt.T @ np.diag([1, 1, np.linalg.det(vt.T @ u.T)]) @ u.T


def _shortest(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The rotation (3, 3) by the smallest angle that takes the direction `start` (3,) to `end` (3,)."""
    axis = np.cross(start, end)
    sine, cosine = np.linalg.norm(axis), start @ end
    if sine < 1e-9 * np.linalg.norm(start) * np.linalg.norm(end):
        return np.eye(3)
    return matrices(axis / sine * np.arctan2(sine, cosine))


# --- armatures ------------------------------------------------------------------------------------------------------


class Rig:
    """How 24 joints drive the bones of an armature, whatever its bones' axes, rest pose and size.

    Bones: y along the bone. Space of the armature: that of its object, before the object's own place and scale.
    """

    def __init__(self, armature: Any, names: "list[str | None]", offsets: np.ndarray) -> None:
        """names: bone of each joint; None: it has none. offsets (24, 3): a person's, as in Bodies."""
        bones = armature.data.bones
        self.names = names
        self.own = OWN in armature
        self.rest = np.stack([_matrix(bones[name]) if name else np.eye(4) for name in names])
        self.heads, self.rest = self.rest[:, :3, 3], self.rest[:, :3, :3]
        self.above = [_above(bones, names, joint) for joint in range(JOINTS)]
        self.offsets = self.heads - self.heads[np.maximum(PARENTS, 0)]  # in the rest pose, for armatures of our own
        self.turned, self.align, self.scale = np.eye(3), np.tile(np.eye(3), (JOINTS, 1, 1)), 1.0
        if not self.own:
            self.turned = _facing(names, self.heads)
            self._aligned(offsets)
            lengths = [
                _leg(names, self.heads),
                np.linalg.norm(offsets[list(sum((leg[1:] for leg in LEGS), ()))], axis=1),
            ]
            self.scale = lengths[0] / max(lengths[1].sum() / 2, 1e-6) if lengths[0] else 1 / armature.scale[0]

    def _aligned(self, offsets: np.ndarray) -> None:
        """Finds the rotations from the armature's rest pose, an A-pose for instance, to the T-pose."""
        for joint in range(JOINTS):
            if not self.names[joint]:
                continue
            above, towards = self.above[joint], TOWARDS.get(joint)
            self.align[joint] = self.align[above] if above >= 0 else np.eye(3)
            if joint in (PELVIS, HEAD) or towards is None or not self.names[towards]:
                continue
            bone, limb = self.heads[towards] - self.heads[joint], self.turned @ offsets[towards]
            # Spine, neck and feet differ between skeletons by where their joints are put, not by the pose.
            if joint in (3, 6, 9, NECK, 7, 8, 13, 14) or not bone.any() or not limb.any():
                continue
            self.align[joint] = _shortest(bone, limb)

    def channels(self, bodies: Bodies, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What pose bones hold: quaternions (n, 24, 4), locations (n, 24, 3). start (3,): the place, metres, that
        becomes the armature's origin."""
        count = len(bodies.turns)
        turns = self.turned @ bodies.turns @ self.turned.T @ self.align  # of the rest pose, in the armature's space
        basis, locations = np.tile(np.eye(3), (count, JOINTS, 1, 1)), np.zeros((count, JOINTS, 3))
        for joint, name in enumerate(self.names):
            if name:
                above = self.above[joint]
                local = turns[:, joint] if above < 0 else turns[:, above].transpose(0, 2, 1) @ turns[:, joint]
                basis[:, joint] = self.rest[joint].T @ local @ self.rest[joint]
        place = (bodies.joints - start) @ self.turned.T * self.scale
        if self.own:  # bones of this person's lengths, at every moment
            locations[:, 1:] = np.einsum("jba,njb->nja", self.rest[1:], (bodies.offsets - self.offsets)[:, 1:])
            root = place[:, PELVIS]
        elif self.names[L_HIP] and self.names[R_HIP]:  # skeletons put the pelvis at different heights above the hips
            apart = self.heads[[L_HIP, R_HIP]].mean(0) - self.heads[PELVIS]
            root = place[:, [L_HIP, R_HIP]].mean(1) - turns[:, PELVIS] @ apart
        else:
            root = place[:, PELVIS]
        locations[:, PELVIS] = (root - self.heads[PELVIS]) @ self.rest[PELVIS]
        return quaternions(basis), locations

    def show(self, armature: Any, quats: np.ndarray, locations: np.ndarray) -> None:
        """Poses the armature. quats (24, 4), locations (24, 3)."""
        for joint, name in enumerate(self.names):
            bone = armature.pose.bones.get(name) if name else None
            if bone is None:
                continue
            bone.rotation_mode = "QUATERNION"
            bone.rotation_quaternion = quats[joint].tolist()
            if self.own or joint == PELVIS:
                bone.location = locations[joint].tolist()

    def keyed(self, armature: Any, name: str, frames: np.ndarray, quats: np.ndarray, locations: np.ndarray) -> None:
        """Gives the armature a new action. frames (n,), ascending; quats (n, 24, 4); locations (n, 24, 3)."""
        action = bpy.data.actions.new(name)
        action.use_fake_user = True  # it stays in the file when the armature takes another one
        data = armature.animation_data or armature.animation_data_create()
        data.action = action
        new, quats = _curves(action, data), even(quats)
        for joint, bone in enumerate(self.names):
            pose = armature.pose.bones.get(bone) if bone else None
            if pose is None:
                continue
            pose.rotation_mode = "QUATERNION"
            path = f'pose.bones["{bpy.utils.escape_identifier(bone)}"]'
            for axis in range(4):
                _key(new(f"{path}.rotation_quaternion", axis, bone), frames, quats[:, joint, axis])
            moves = self.own and np.abs(locations[:, joint]).max() > STILL_M
            for axis in range(3 if moves or joint == PELVIS else 0):
                _key(new(f"{path}.location", axis, bone), frames, locations[:, joint, axis])


def _matrix(bone: Any) -> np.ndarray:
    return np.array(bone.matrix_local, np.float64)


def _above(bones: Any, names: "list[str | None]", joint: int) -> int:
    """The joint of the nearest bone above a joint's bone that is driven as well; -1: there is none."""
    name = names[joint]
    bone = bones[name].parent if name else None
    while bone is not None:
        if bone.name in names:
            return names.index(bone.name)
        bone = bone.parent
    return -1


def _heads(offsets: np.ndarray) -> np.ndarray:
    """The joints (24, 3) of the T-pose, the pelvis at the origin."""
    heads = np.zeros((JOINTS, 3))
    for joint in range(1, JOINTS):
        heads[joint] = heads[PARENTS[joint]] + offsets[joint]
    return heads


def _leg(names: "Sequence[str | None]", heads: np.ndarray) -> float:
    """The length of a leg, the mean of both; 0 where the armature lacks bones of it."""
    if not all(names[joint] for leg in LEGS for joint in leg):
        return 0.0
    return sum(float(np.linalg.norm(np.diff(heads[list(leg)], axis=0), axis=1).sum()) for leg in LEGS) / 2


def _facing(names: "list[str | None]", heads: np.ndarray) -> np.ndarray:
    """The rotation (3, 3) from Blender's axes, in which a person faces -y, to those of an armature: along its own axes,
    from where its bones lie at rest."""
    across = next((k for k in ((1, 2), (16, 17), (13, 14)) if names[k[0]] and names[k[1]]), None)
    high = next((joint for joint in (HEAD, NECK, 9, 6, 3) if names[joint]), None)
    if across is None or high is None or not names[PELVIS]:
        return np.eye(3)
    left, up = heads[across[0]] - heads[across[1]], heads[high] - heads[PELVIS]
    up = _axis(up)
    left = _axis(left * (up == 0))
    return np.stack([left, np.cross(up, left), up], 1) if left.any() and up.any() else np.eye(3)


def _axis(vector: np.ndarray) -> np.ndarray:
    """The signed axis that is nearest to a vector; zero for zero."""
    largest = np.abs(vector).argmax()
    return np.eye(3)[largest] * np.sign(vector[largest])


def _curves(action: Any, data: Any) -> Any:
    """A function (data path, index, group) → new curve of an action, in every version of Blender."""
    slot = action.slots.new(id_type="OBJECT", name="refit_rt") if hasattr(action, "slots") else None  # from 4.4
    if slot is not None:
        data.action_slot = slot
    if hasattr(action, "fcurves"):  # to 4.5: those of the first slot
        return lambda path, index, group: action.fcurves.new(path, index=index, action_group=group)
    bag = action.layers.new("refit_rt").strips.new(type="KEYFRAME").channelbag(slot, ensure=True)
    return lambda path, index, group: bag.fcurves.new(path, index=index, group_name=group)


def _key(curve: Any, frames: np.ndarray, values: np.ndarray) -> None:
    """Gives a curve its keys, straight lines between them."""
    curve.keyframe_points.add(len(frames))
    curve.keyframe_points.foreach_set("co", np.stack([frames, values], 1).astype(np.float32).ravel())
    linear = bpy.types.Keyframe.bl_rna.properties["interpolation"].enum_items["LINEAR"].value
    curve.keyframe_points.foreach_set("interpolation", np.full(len(frames), linear, np.int32))
    curve.update()


def made_armature(scene: Any, name: str, offsets: np.ndarray, place: int) -> Any:
    """A new armature in the scene with SMPL's 24 bones. offsets (24, 3): as in Bodies."""
    heads, tails = _heads(offsets), np.zeros((JOINTS, 3))
    for joint in range(JOINTS):
        towards = TOWARDS.get(joint)
        bone = offsets[joint] if towards is None else heads[towards] - heads[joint]
        length = np.linalg.norm(bone)
        wanted = max(length, SHORTEST_M) if towards is not None else TIPS_M.get(joint, SHORTEST_M)
        tails[joint] = heads[joint] + (bone / length * wanted if length > 1e-6 else (0, 0, wanted))
    armature = bpy.data.objects.new(name, bpy.data.armatures.new(name))
    armature[OWN] = place
    armature.show_in_front = True
    scene.collection.objects.link(armature)
    with _editing(armature):
        bones = armature.data.edit_bones
        for joint in range(JOINTS):
            bone = bones.new(BONES["smpl"][joint])
            bone.head, bone.tail = heads[joint].tolist(), tails[joint].tolist()
            bone.parent = bones[BONES["smpl"][PARENTS[joint]]] if joint else None
    return armature


class _editing:  # noqa: N801
    """Edit mode for one armature; afterwards what was active is active again, in its mode."""

    def __init__(self, armature: Any) -> None:
        self._armature = armature

    def __enter__(self) -> None:
        windows = [] if bpy.app.background else bpy.context.window_manager.windows[:1]
        self._override = bpy.context.temp_override(window=windows[0]) if windows else None  # a timer has no window
        if self._override:
            self._override.__enter__()
        self._layer = bpy.context.view_layer
        self._active = self._layer.objects.active
        self._mode = self._active.mode if self._active else "OBJECT"
        if self._mode != "OBJECT":
            bpy.ops.object.mode_set(mode="OBJECT")
        self._layer.objects.active = self._armature
        bpy.ops.object.mode_set(mode="EDIT")

    def __exit__(self, *_: object) -> None:
        bpy.ops.object.mode_set(mode="OBJECT")
        self._layer.objects.active = self._active
        if self._mode != "OBJECT":
            bpy.ops.object.mode_set(mode=self._mode)
        if self._override:
            self._override.__exit__(None, None, None)


def bones_of(armature: Any, which: str) -> "tuple[list[str | None], list[str]]":
    """The bone of each joint in an armature, None where it has none; the names of the bones that are missing.

    which: a name of BONES, or AUTO, which takes the one that fits most bones. Case and prefixes like `mixamorig:` do
    not matter. Raises RefitError where the pelvis or nearly everything is missing.
    """
    plain = {bone.name.rpartition(":")[2].lower(): bone.name for bone in armature.data.bones}
    found = {key: [plain.get(name.lower()) for name in names] for key, names in BONES.items()}
    key = max(found, key=lambda key: sum(map(bool, found[key]))) if which == "AUTO" else which
    names = found[key]
    missing = [name for name, bone in zip(BONES[key], names, strict=True) if not bone]
    if not names[PELVIS] or len(missing) > JOINTS // 2:
        lacks = ", ".join(missing[:3])
        raise RefitError(f"'{armature.name}' does not have the bones of '{key}': no {lacks}. Choose another bone map")
    return names, missing


# --- recordings -----------------------------------------------------------------------------------------------------


class Recording(NamedTuple):
    """A motion.npz."""

    fps: float
    people: "dict[int, tuple[np.ndarray, Bodies]]"  # id → moments (n,) s, ascending; bodies


def read_recording(path: "str | Path") -> Recording:
    """Reads a motion.npz. Raises RefitError for every other file."""
    wanted = ("schema", "person", "time_s", "poses", "joints_world", "joints_camera")
    try:
        with np.load(path, allow_pickle=False) as file:
            entries = {name: file[name] for name in (*wanted, "mocap_framerate", "fps", "name") if name in file.files}
    except FileNotFoundError as error:
        raise RefitError(f"{path}: no such file. Choose a motion.npz") from error
    except (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error, SyntaxError) as error:
        raise RefitError(f"{path}: is damaged or is no motion.npz ({error}). Record it again") from error
    except (NotImplementedError, RuntimeError, TypeError, struct.error, AttributeError) as error:  # other kinds of zip
        raise RefitError(f"{path}: is no motion.npz ({error}). Choose another file") from error
    lacks = [name for name in wanted if name not in entries]
    if lacks:
        raise RefitError(f"{path}: is no motion.npz, it lacks {', '.join(lacks)}. Choose another file")
    if str(entries["schema"]) != "refit_rt.motion/1":
        raise RefitError(f"{path}: has schema '{entries['schema']}', this add-on reads 'refit_rt.motion/1'. Update it")
    if "name" in entries:
        raise RefitError(
            f"{path}: is a recording of pictures by themselves, which make no motion. Choose one of a film"
        )
    return _recorded(path, entries)


def _recorded(path: "str | Path", entries: dict[str, np.ndarray]) -> Recording:
    person, time_s = entries["person"], entries["time_s"]
    rows = person.shape[0] if person.ndim == 1 else -1
    shapes = {"time_s": (rows,), "poses": (rows, 72), "joints_world": (rows, 24, 3), "joints_camera": (rows, 24, 3)}
    for name, shape in shapes.items():
        array = entries[name]
        if array.shape != shape or array.dtype.kind != "f" or not np.isfinite(array).all():
            raise RefitError(f"{path}: '{name}' is damaged. Record it again")
    if not rows:
        raise RefitError(f"{path}: has nobody in it. Record it again with a person in view")
    rate = entries.get("mocap_framerate", entries.get("fps", np.zeros(())))
    fps = float(rate) if rate.ndim == 0 and rate.dtype.kind in "fiu" else 0.0
    if not 0 < fps < 10_000:
        raise RefitError(f"{path}: states no frame rate. Record it again")
    arrays = (entries["poses"].reshape(-1, JOINTS, 3), entries["joints_world"], entries["joints_camera"])
    bodies, people = bodies_of(*arrays), {}
    for one in np.unique(person).tolist():
        own = np.flatnonzero(person == one)
        own = own[np.unique(time_s[own], return_index=True)[1]]
        people[one] = (time_s[own].astype(np.float64), Bodies(*(array[own] for array in bodies)))
    return Recording(fps, people)


def imported(scene: Any, recording: Recording, name: str, take_rate: bool) -> list[Any]:
    """An animated armature per person. take_rate: the scene takes the recording's frame rate and length."""
    if take_rate:
        whole = max(1, round(recording.fps))
        scene.render.fps, scene.render.fps_base = whole, whole / recording.fps
    fps = scene.render.fps / scene.render.fps_base
    first_s, armatures, end = min(times[0] for times, _ in recording.people.values()), [], scene.frame_start
    for person, (times, bodies) in recording.people.items():
        middle = np.median(bodies.offsets, axis=0)
        armature = made_armature(scene, f"{name} person {person}", middle, -1)
        rig = Rig(armature, list(BONES["smpl"]), middle)
        frames = scene.frame_start + (times - first_s) * fps
        near = np.abs(frames - np.round(frames)) < 0.02  # frame; times in the file are rounded
        frames = np.where(near, np.round(frames), frames)
        rig.keyed(armature, armature.name, frames, *rig.channels(bodies, np.zeros(3)))
        end = max(end, int(np.ceil(frames[-1])))
        armatures.append(armature)
    if take_rate:
        scene.frame_end = end
    return armatures


# --- live -----------------------------------------------------------------------------------------------------------


class Driven:
    """An armature that a person drives."""

    def __init__(self, armature: Any, rig: Rig, start: np.ndarray) -> None:
        self.name, self.rig, self.start = armature.name, rig, start  # objects by name: undo makes new ones
        self.person, self.seen_s = -1, 0.0
        self.take: list[tuple[float, np.ndarray, np.ndarray]] = []  # moment, quaternions, locations


class Live:
    """What is heard and who drives what, from Listen to Stop."""

    def __init__(self, address: str) -> None:
        self.stream = Newest(address)
        self.driven: list[Driven] = []
        self.about: dict[str, Any] = {}
        self.people = 0  # in the newest message
        self.trouble = ""  # of messages and armatures, in one line
        self.missing = ""  # bones that the armature lacks, in one line
        self.recording = False
        self._past_s = self._last_s = 0.0  # of a take: the length of earlier runs, the time of the last message
        self._shown: tuple = ()
        self._rates: list[float] = []  # when the last messages came

    def hear(self, scene: Any) -> bool:
        """Takes what has come and poses the armatures by the newest message; returns whether something had come."""
        try:
            messages = self.stream.take()
            for message in messages:
                self._rates = [*self._rates[-30:], time.monotonic()]
                self.about, self.trouble = message.about, ""
                self.people = len(message.people["ids"]) if message.about["status"] == "live" else 0
                if message.about["status"] == "live":
                    self._drive(scene, message)
        except RefitError as error:
            self.trouble = str(error)
            return False
        return bool(messages)

    def lines(self) -> list[str]:
        """What the panel shows."""
        lines = [text for text in (self.stream.trouble, self.trouble, self.missing) if text]
        if self.about and not self.stream.trouble:
            status = {"waiting": "waiting for the camera", "ended": "the run has ended"}
            lines.append(f"{status.get(self.about['status'], self.about['status'])}, frame {self.about['frame']:.0f}")
            lines.append(f"people: {self.people}, age {(time.time() - self.about['captured_unix_s']) * 1000:.0f} ms")
            if len(self._rates) > 1 and self._rates[-1] > self._rates[0]:
                lines.append(f"{(len(self._rates) - 1) / (self._rates[-1] - self._rates[0]):.0f} messages per second")
        elif not lines:
            lines.append("connected; no message yet")
        if self.recording:
            lines.append(f"recording: {max((one.take[-1][0] for one in self.driven if one.take), default=0):.1f} s")
        return lines

    def changed(self) -> bool:
        """Whether the panel's lines are not those of the last call, apart from the age."""
        before, self._shown = self._shown, (self.stream.trouble, self.trouble, self.about.get("status"))
        return before != self._shown

    def record(self) -> None:
        """Begins a take."""
        self.recording = self.stream.every = True
        self._past_s = -self._last_s
        for one in self.driven:
            one.take = []

    def recorded(self, scene: Any) -> str:
        """Ends the take: each armature gets an action with keys on whole frames. Returns what was recorded."""
        self.recording = self.stream.every = False
        fps, said = scene.render.fps / scene.render.fps_base, []
        begin_s = min((one.take[0][0] for one in self.driven if one.take), default=0.0)
        for one in self.driven:
            armature = bpy.data.objects.get(one.name)
            if armature is None or not one.take:
                continue
            at, quats, locations = (np.array(column) for column in zip(*one.take, strict=True))
            at = scene.frame_start + (at - begin_s) * fps
            frames = np.arange(int(np.ceil(at[0] - 1e-3)), int(np.floor(at[-1] + 1e-3)) + 1, dtype=np.float64)
            if len(at) > 1 and len(frames):
                wanted = np.clip(frames, at[0], at[-1])
                quats, locations = between(even(quats), at, wanted), between(locations, at, wanted)
                quats = quats / np.linalg.norm(quats, axis=-1, keepdims=True)
            else:
                frames, quats, locations = np.round(at[:1]), quats[:1], locations[:1]
            one.rig.keyed(armature, f"{one.name} take", frames, quats, locations)
            scene.frame_end = max(scene.frame_end, int(frames[-1]))
            said.append(f"{one.name}: frames {frames[0]:.0f} to {frames[-1]:.0f}")
            one.take = []
        return "; ".join(said)

    def close(self) -> None:
        """Ends the connection."""
        self.stream.close()
        for one in self.driven:
            armature = bpy.data.objects.get(one.name)
            if armature is not None:
                armature.hide_viewport = False

    def _drive(self, scene: Any, message: Message) -> None:
        now_s, ids = message.about["time_s"], message.people["ids"].tolist()
        if now_s < self._last_s:  # another run, or a recording that begins again
            self._past_s += self._last_s - now_s + 1 / 30
        self._last_s = now_s
        bodies = bodies_of(*(message.people[name] for name in ("poses", "joints_world", "joints_camera")))
        for row, place in self._places(scene, ids, now_s, bodies):
            one, body = self.driven[place], Bodies(*(array[row : row + 1] for array in bodies))
            armature = bpy.data.objects.get(one.name)
            if armature is None:  # deleted by the user: the next message makes a new one
                self.driven.pop(place)
                return
            quats, locations = (array[0] for array in one.rig.channels(body, one.start))
            one.rig.show(armature, quats, locations)
            armature.hide_viewport = False
            if self.recording and (not one.take or self._past_s + now_s > one.take[-1][0]):
                one.take.append((self._past_s + now_s, quats, locations))

    def _places(self, scene: Any, ids: list[int], now_s: float, bodies: Bodies) -> list[tuple[int, int]]:
        """Row of a message → index of `driven`, for those who drive an armature. A person keeps it until the person has
        been away for AWAY_S."""
        target = scene.refit_rt.target
        for one in self.driven:
            if one.person in ids:
                one.seen_s = now_s
            elif not 0 <= now_s - one.seen_s <= AWAY_S:
                one.person = -1
                armature = bpy.data.objects.get(one.name)
                if armature is not None and OWN in armature:
                    armature.hide_viewport = True
        for row, person in enumerate(ids):
            if person in [one.person for one in self.driven]:
                continue
            free = next((k for k, one in enumerate(self.driven) if one.person == -1), None)
            if free is None:
                if target is not None and self.driven:
                    continue  # the chosen armature has its person
                self.driven.append(self._new(scene, bodies.offsets[row]))
                free = len(self.driven) - 1
            one = self.driven[free]
            one.person, one.seen_s = person, now_s
            one.start = _start(scene, bodies.joints[row], self.about.get("floor"))
        places = {one.person: place for place, one in enumerate(self.driven)}
        return [(row, places[person]) for row, person in enumerate(ids) if person in places]

    def _new(self, scene: Any, offsets: np.ndarray) -> Driven:
        """The next armature: the one that is chosen in the panel, one of this scene from an earlier time, a new one."""
        armature, place = scene.refit_rt.target, len(self.driven) + 1
        names: list[str | None] = list(BONES["smpl"])
        if armature is not None:
            names, missing = bones_of(armature, scene.refit_rt.bones)
            self.missing = f"'{armature.name}' lacks {', '.join(missing)}: skipped" if missing else ""
        else:
            armature = next((one for one in scene.objects if one.get(OWN) == place), None)
            if armature is None or any(name not in armature.data.bones for name in BONES["smpl"]):
                armature = made_armature(scene, f"refit_rt {place}", offsets, place)
        if armature.animation_data is not None:
            armature.animation_data.action = None  # it would move the bones as well; the action stays in the file
        return Driven(armature, Rig(armature, names, offsets), np.zeros(3))


def _start(scene: Any, joints: np.ndarray, floor: "np.ndarray | None") -> np.ndarray:
    """The place (3,) that becomes an armature's origin. joints (24, 3); floor (4,) as in a message."""
    if scene.refit_rt.place == "WORLD":
        return np.zeros(3)
    x, y, z = joints[PELVIS, 0], joints[PELVIS, 1], joints[list(FEET), 2].min() - SOLE_M
    if floor is not None and floor[1] > 0.5:  # the world's y is Blender's z, its z is Blender's -y
        z = (floor[3] - floor[0] * x + floor[2] * y) / floor[1]
    return np.array([x, y, z])


class _State:
    """The one listener of this Blender."""

    live: "Live | None" = None


def start_listening(scene: Any) -> None:
    """Raises RefitError."""
    stop_listening()
    if scene.refit_rt.target is not None:
        bones_of(scene.refit_rt.target, scene.refit_rt.bones)  # a wrong one is refused before anything begins
    _State.live = Live(scene.refit_rt.address)
    if not bpy.app.timers.is_registered(tick):
        bpy.app.timers.register(tick)


def stop_listening(*_: Any) -> None:
    """Ends the connection, if there is one."""
    live, _State.live = _State.live, None
    if live is not None:
        live.close()


def tick() -> "float | None":
    """What Blender's timer calls: poses the armatures by the newest message.

    Returns the seconds until the next call, None: never.
    """
    live = _State.live
    if live is None:
        return None
    if live.hear(bpy.context.scene) or live.changed():
        for window in bpy.context.window_manager.windows:
            for area in window.screen.areas:
                if area.type == "VIEW_3D":
                    area.tag_redraw()
    return 1 / 60


# --- Blender's interface --------------------------------------------------------------------------------------------

# pyright: reportInvalidTypeForm=false
# Blender's properties are annotations that are calls.

if bpy is not None:

    class RefitSettings(bpy.types.PropertyGroup):
        """What the panel sets."""

        address: bpy.props.StringProperty(
            name="Address",
            description="Of a WebSocket outlet: refit-rt run --publish.outlets websocket",
            default="ws://127.0.0.1:8765",
        )
        target: bpy.props.PointerProperty(
            name="Armature",
            description="The armature that the first person drives. Empty: each person gets a new one",
            type=bpy.types.Object,
            poll=lambda _, thing: thing.type == "ARMATURE",
        )
        bones: bpy.props.EnumProperty(
            name="Bone map",
            description="How the armature's bones are called",
            items=[
                ("AUTO", "Find out", "The names that fit most bones"),
                ("smpl", "SMPL", "Pelvis, L_Hip, …"),
                ("mixamo", "Mixamo", "mixamorig:Hips, mixamorig:LeftUpLeg, …"),
                ("vrm", "VRM", "hips, leftUpperLeg, …"),
                ("unreal", "Unreal", "pelvis, thigh_l, …"),
            ],
        )
        place: bpy.props.EnumProperty(
            name="Place",
            description="Where people stand",
            items=[
                ("WORLD", "As in the world", "The rig's world. Without a rig, the camera is the origin, looking at +y"),
                ("FLOOR", "From the origin", "Each person starts at the armature's origin, with the feet at z = 0"),
            ],
        )

    class RefitListen(bpy.types.Operator):
        """Lets the people of a stream drive armatures, or stops"""

        bl_idname = "refit_rt.listen"
        bl_label = "Listen"

        def execute(self, context: Any) -> set[str]:
            if _State.live is not None:
                stop_listening()
                return {"FINISHED"}
            try:
                start_listening(context.scene)
            except RefitError as error:
                self.report({"ERROR"}, str(error))
                return {"CANCELLED"}
            return {"FINISHED"}

    class RefitRecord(bpy.types.Operator):
        """Records keyframes. The second press writes them and stops listening, so that they can be played"""

        bl_idname = "refit_rt.record"
        bl_label = "Record"

        @classmethod
        def poll(cls, _: Any) -> bool:
            return _State.live is not None

        def execute(self, context: Any) -> set[str]:
            live = _State.live
            if live is None:
                return {"CANCELLED"}
            if not live.recording:
                live.record()
                return {"FINISHED"}
            said = live.recorded(context.scene)
            stop_listening()
            self.report({"INFO"} if said else {"WARNING"}, said or "nobody was seen: nothing is recorded")
            return {"FINISHED"}

    class RefitPanel(bpy.types.Panel):
        """The panel in the sidebar of the 3D view"""

        bl_idname = "VIEW3D_PT_refit_rt"
        bl_label = "refit_rt"
        bl_space_type = "VIEW_3D"
        bl_region_type = "UI"
        bl_category = "refit_rt"

        def draw(self, context: Any) -> None:
            settings, live, layout = context.scene.refit_rt, _State.live, self.layout
            column = layout.column()
            column.enabled = live is None
            column.prop(settings, "address", text="")
            column.prop(settings, "target")
            if settings.target is not None:
                column.prop(settings, "bones")
            column.prop(settings, "place")
            layout.operator("refit_rt.listen", text="Listen" if live is None else "Stop", depress=live is not None)
            recording = live is not None and live.recording
            text = "Stop recording" if recording else "Record keyframes"
            layout.operator("refit_rt.record", text=text, icon="REC", depress=recording)
            across = max(20, int(context.region.width / context.preferences.system.ui_scale / 8))  # letters
            lines = live.lines() if live is not None else []
            below = layout.column(align=True)
            for text in (part for line in lines for part in textwrap.wrap(line, across)):
                below.label(text=text)

    class RefitImport(bpy.types.Operator, ImportHelper):
        """Makes an animated armature of each person in a motion.npz"""

        bl_idname = "import_anim.refit_rt"
        bl_label = "Import refit_rt motion"
        bl_options = {"UNDO"}  # noqa: RUF012
        filename_ext = ".npz"
        filter_glob: bpy.props.StringProperty(default="*.npz", options={"HIDDEN"})
        take_rate: bpy.props.BoolProperty(
            name="Take its frame rate",
            description="The scene takes the recording's frame rate and length. Otherwise keys stand between frames",
            default=True,
        )

        def execute(self, context: Any) -> set[str]:
            try:
                recording = read_recording(self.filepath)
            except RefitError as error:
                self.report({"ERROR"}, str(error))
                return {"CANCELLED"}
            imported(context.scene, recording, Path(self.filepath).stem, self.take_rate)
            self.report({"INFO"}, f"people: {len(recording.people)}, {recording.fps:g} frames per second")
            return {"FINISHED"}

    CLASSES = (RefitSettings, RefitListen, RefitRecord, RefitPanel, RefitImport)

    def _menu(self: Any, _: Any) -> None:
        self.layout.operator(RefitImport.bl_idname, text="refit_rt motion (.npz)")

    def register() -> None:
        """Called by Blender when the add-on is switched on."""
        for one in CLASSES:
            bpy.utils.register_class(one)
        bpy.types.Scene.refit_rt = bpy.props.PointerProperty(type=RefitSettings)
        bpy.types.TOPBAR_MT_file_import.append(_menu)
        bpy.app.handlers.load_pre.append(bpy.app.handlers.persistent(stop_listening))

    def unregister() -> None:
        """Called by Blender when the add-on is switched off."""
        stop_listening()
        bpy.app.handlers.load_pre.remove(stop_listening)
        bpy.types.TOPBAR_MT_file_import.remove(_menu)
        del bpy.types.Scene.refit_rt
        for one in reversed(CLASSES):
            bpy.utils.unregister_class(one)
