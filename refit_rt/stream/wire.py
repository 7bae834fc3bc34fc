"""Encodes and decodes the messages of the stream: one safetensors blob per message.

| bytes | what |
|---|---|
| 8 | length of the header, little-endian unsigned |
| header | JSON padded with spaces to a multiple of 8: `__metadata__`, all text; `name: {dtype, shape, data_offsets}` |
| rest | the arrays, packed, little-endian, row-major; offsets count from here |

`unpack` is all that a reader in another language has to implement. In Python, `safetensors.numpy.load` reads the
arrays. A reader ignores metadata and arrays that it does not know, and refuses a version that it does not know:
docs/stream.md has the rules. refit_rt.types.PUBLISHED_FIELDS lists the arrays, for n people (n may be 0). Poses are
SMPL axis-angle: each joint is relative to its parent, and joint 0 is the body's orientation in the camera frame. Of a
rig, that is the frame of the first camera; the key `missing` names the cameras that have no picture in this message,
separated by commas, and is left out where all have one.
"""

import json
import math
import struct
from dataclasses import dataclass

import numpy as np

from refit_rt.errors import UserError
from refit_rt.types import ADDED_FIELDS, PUBLISHED_FIELDS, People

SCHEMA = "refit_rt.people/1"
FRAME_OF_REFERENCE = "opencv-camera: x right, y down, z forward, metres"

DTYPES = {"I64": np.dtype("<i8"), "I32": np.dtype("<i4"), "F32": np.dtype("<f4")}
CODES = {dtype: code for code, dtype in DTYPES.items()}
# Array → safetensors dtype. The order is that of PUBLISHED_FIELDS: 8-byte numbers come first, which aligns every array.
TENSORS = {name: CODES[np.dtype(dtype).newbyteorder("<")] for name, (dtype, _) in PUBLISHED_FIELDS.items()}


@dataclass(frozen=True, slots=True)
class Run:
    """The facts that are the same in every message of one run."""

    epoch_s: float  # Unix time minus monotonic time, taken once
    body: str = ""
    bundle: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """One message as a subscriber receives it."""

    people: People
    captured_unix_s: float  # when the frame was grabbed: seconds since 1970 on the sender's clock
    age_s: float  # from grab to send
    status: str  # live; waiting: the source is disconnected and being reopened, no people; ended: the last message
    body: str
    bundle: str


def encode(people: People, run: Run, sent_s: float, status: str = "live") -> bytes:
    """The message of one frame, as bytes. `sent_s`: the time of sending, in monotonic seconds."""
    about = {
        "schema": SCHEMA,
        "status": status,
        "camera": people.camera,
        "frame": str(people.frame_index),
        "captured_unix_s": f"{people.captured_s + run.epoch_s:.6f}",
        "captured_s": repr(people.captured_s),
        "time_s": repr(people.time_s),
        "age_s": f"{sent_s - people.captured_s:.6f}",
        "dropped": str(people.dropped),
        "width_px": str(people.size[0]),
        "height_px": str(people.size[1]),
        "focal_px": repr(float(people.focal_px)),
        "centre_x_px": repr(float(people.centre_px[0])),
        "centre_y_px": repr(float(people.centre_px[1])),
        "frame_of_reference": FRAME_OF_REFERENCE,
        "body": run.body,
        "bundle": run.bundle,
    }
    if people.cameras:
        about["cameras"] = ",".join(people.cameras)
        about["world_from_cameras"] = ",".join(map(_numbers, people.world_from_cameras))
    if people.missing:  # of a rig's cameras
        about["missing"] = ",".join(people.missing)
    if people.floor:
        about["floor"] = _numbers(people.floor)
    arrays = {}
    for name, code in TENSORS.items():
        arrays[name] = (code, np.ascontiguousarray(getattr(people, name), DTYPES[code]))
    return pack(about, arrays)


def _numbers(values: tuple[float, ...]) -> str:
    """Numbers as text, with seven digits."""
    return " ".join(f"{value:.7g}" for value in values)


def _names(about: dict[str, str], key: str) -> tuple[str, ...]:
    """What commas join in a text, which may be absent."""
    return tuple(about[key].split(",")) if about.get(key) else ()


def _read_numbers(text: str, count: int) -> tuple[float, ...]:
    """`count` finite numbers in a text. Raises ValueError."""
    values = tuple(float(one) for one in text.split(" "))
    if len(values) != count or not all(map(math.isfinite, values)):
        raise ValueError(f"'{text}' is not {count} numbers")
    return values


def pack(about: dict[str, str], arrays: dict[str, tuple[str, np.ndarray]]) -> bytes:
    """Metadata, and arrays each with its safetensors dtype -> a safetensors blob."""
    header: dict = {"__metadata__": about}
    parts, end = [], 0
    for name, (dtype, array) in arrays.items():
        start, end = end, end + array.nbytes
        header[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": (start, end)}
        parts.append(array.tobytes())
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([struct.pack("<Q", len(text)), text, *parts])


def unpack(blob: bytes) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """The metadata and arrays of a safetensors blob, read without a library: the reference for other languages.

    An array of a type that is not in DTYPES is left out, since a later release may add one. Raises ValueError,
    KeyError, TypeError, AttributeError, OverflowError or RecursionError for bytes that are not such a blob.
    """
    (length,) = struct.unpack_from("<Q", blob) if len(blob) >= 8 else (0,)
    if not 2 <= length <= len(blob) - 8:
        raise ValueError("no safetensors header")
    header = json.loads(blob[8 : 8 + length])
    about = header.pop("__metadata__", {})
    if not all(isinstance(value, str) for value in about.values()):
        raise ValueError("metadata that is not text")
    data, arrays = blob[8 + length :], {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        if not 0 <= start <= end <= len(data) or min(entry["shape"], default=0) < 0:
            raise ValueError(f"array {name} lies outside the message")
        if entry["dtype"] in DTYPES:
            arrays[name] = np.frombuffer(data[start:end], DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return about, arrays


def decode(blob: bytes) -> Message:
    """The message in `blob`. Raises UserError for anything other than a message of this schema."""
    try:
        about, arrays = unpack(blob)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise UserError(
            f"stream: received {len(blob)} bytes that are not a refit_rt message. Check the address"
        ) from error
    schema = about.get("schema")
    if schema != SCHEMA:
        raise UserError(
            f"stream: schema '{schema}', but this version reads '{SCHEMA}'. Use the same version on both sides"
        )
    try:
        cameras = _names(about, "cameras")
        places = _names(about, "world_from_cameras") if cameras else ()
        if len(places) != len(cameras):
            raise ValueError(f"{len(places)} places of {len(cameras)} cameras")
        people = People.of(
            {name: arrays[name] for name in TENSORS if name in arrays or name not in ADDED_FIELDS},
            camera=about["camera"],
            frame_index=int(about["frame"]),
            captured_s=float(about["captured_s"]),
            time_s=float(about["time_s"]),
            dropped=int(about["dropped"]),
            size=(int(about["width_px"]), int(about["height_px"])),
            focal_px=float(about["focal_px"]),
            centre_px=(float(about["centre_x_px"]), float(about["centre_y_px"])),
            missing=_names(about, "missing"),
            cameras=cameras,
            world_from_cameras=tuple(_read_numbers(place, 12) for place in places),
            floor=_read_numbers(about["floor"], 4) if "floor" in about else None,
        )
        facts = {key: about[key] for key in ("status", "body", "bundle")}
        return Message(people, float(about["captured_unix_s"]), float(about["age_s"]), **facts)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"stream: received an incomplete message ({error}). Use the same version on both sides"
        ) from error
