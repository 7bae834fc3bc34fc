"""Every message that flows from stage to stage, one frozen type per hop, and the table of a person's fields."""

from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, NamedTuple

import numpy as np

BETAS, JOINTS = 10, 24  # SMPL's shape coefficients and joints
COCO_KEYPOINTS = 17  # nose, eyes, ears, then shoulders, elbows, wrists, hips, knees, ankles; the left one first

# A person's row: field of `People` → dtype and shape of one row. Streams, recordings and selections read this table.
PERSON_FIELDS: dict[str, tuple[type, tuple[int, ...]]] = {
    "ids": (np.int64, ()),  # unique in a run, never used again
    "poses": (np.float32, (JOINTS, 3)),  # axis-angle, radians; joint 0 is the body in the camera's frame
    "betas": (np.float32, (BETAS,)),
    "trans": (np.float32, (3,)),  # metres, added to the posed body to place it in the camera's frame
    "joints_camera": (np.float32, (JOINTS, 3)),  # metres, OpenCV camera frame: x right, y down, z forward
    "joints_px": (np.float32, (JOINTS, 2)),  # image pixels
    "joints_world": (np.float32, (JOINTS, 3)),  # metres, y up; without a rig, the camera's own place
    "box": (np.float32, (4,)),  # x0 y0 x1 y1, image pixels
    "confidence": (np.float32, ()),  # 0..1
    "iterations": (np.int32, ()),  # updates made
    "views": (np.int32, ()),  # bit i: camera i of `cameras` showed the person; 0: nobody saw the person in this frame
    "contacts": (np.float32, (4,)),  # 0..1: whether the joints CONTACTS stand on the floor; 0 where that is not known
    "roll": (np.float32, ()),  # radians by which the person leans clockwise in the image
}
CONTACTS = (7, 8, 10, 11)  # the joints of `contacts`: l_ankle, r_ankle, l_foot, r_foot
ADDED_FIELDS = frozenset({"views", "contacts"})  # messages and recordings of earlier releases lack them: all 0 then
INTERNAL_FIELDS = frozenset({"roll"})  # between the fit and the tracker; version 1 of the stream does not carry them
PUBLISHED_FIELDS = {name: row for name, row in PERSON_FIELDS.items() if name not in INTERNAL_FIELDS}


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture from one camera."""

    camera: str  # its name
    index: int  # counted at the source; a gap is a frame that was never read
    captured_s: float  # monotonic seconds, taken beside the grab
    time_s: float  # seconds since the source's first frame; a file's own clock
    image: np.ndarray  # (height, width, 3) uint8, BGR
    focal_px: float | None = None  # what the picture's own file reports (EXIF); None: nothing
    name: str = ""  # of the picture's own file, without its folder; empty: a video's or camera's frame
    still: bool = False  # a picture by itself: it continues no other frame

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.image.shape[1], self.image.shape[0]


@dataclass(frozen=True, slots=True, eq=False)
class FrameSet:
    """The frames of one moment from the cameras of a rig: one tick of a studio."""

    names: tuple[str, ...]  # of the cameras
    frames: tuple[Frame | None, ...]  # one per camera, in the same order; None: that camera is late, gone or blind
    index: int  # counts the ticks
    captured_s: float  # monotonic seconds: the median of the frames' own
    time_s: float  # seconds since the first tick: the median of the frames' own

    still = False  # a tick continues the one before (class attributes, as a Frame has them)
    name = ""

    @property
    def missing(self) -> tuple[str, ...]:
        """The cameras without a frame."""
        return tuple(name for name, frame in zip(self.names, self.frames, strict=True) if frame is None)


@dataclass(frozen=True, slots=True)
class Status:
    """News of the source between two frames: `waiting` for it to come back, or `ended`."""

    text: Literal["waiting", "ended"]


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """People found in one frame, which may be older than the newest one."""

    frame: Frame
    xyxy: np.ndarray  # (person, 4) float32 image pixels, may reach beyond the image
    score: np.ndarray  # (person,) float32 0..1
    roll: np.ndarray  # (person,) float32 radians the person leans clockwise in the image; 0 where a detector cannot say
    keypoints: np.ndarray | None = None  # (person, 17, 3) float32: x, y image pixels, score 0..1; None: it finds none
    # (person,) int64 of a closer look: who was followed there. None: the whole picture was searched.
    ids: np.ndarray | None = None

    def take(self, rows: np.ndarray | list[int]) -> "Boxes":
        """The same frame with some of its people."""
        keypoints = None if self.keypoints is None else self.keypoints[rows]
        ids = None if self.ids is None else self.ids[rows]
        return Boxes(self.frame, self.xyxy[rows], self.score[rows], self.roll[rows], keypoints, ids)


class Known(NamedTuple):
    """Where the people who are followed should be in one frame."""

    ids: np.ndarray  # (k,) int64
    xyxy: np.ndarray  # (k, 4) float32 image pixels
    roll: np.ndarray  # (k,) float32 radians

    @classmethod
    def nobody(cls) -> "Known":
        """Where nobody is followed."""
        return cls(np.zeros(0, np.int64), np.zeros((0, 4), np.float32), np.zeros(0, np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class Tracks:
    """The people to fit in one frame."""

    frame: Frame
    ids: np.ndarray  # (person,) int64, never used again in a run
    xyxy: np.ndarray  # (person, 4) float32 image pixels
    roll: np.ndarray  # (person,) float32 radians, as in Boxes
    score: np.ndarray  # (person,) float32 0..1
    fresh: np.ndarray  # (person,) bool: the box comes from a detection in this frame, not from last frame's body
    # What a look has seen that came since the last frame: (person, 17, 3) key points as in Boxes, NaN for a person whom
    # it has not seen, and the `time_s` of its frame. None: no look came, or it finds no key points.
    keypoints: np.ndarray | None = None
    looked_s: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """One body: SMPL's parameters."""

    rotations: np.ndarray  # (24, 3, 3), each relative to the parent joint; joint 0 in the camera's frame
    betas: np.ndarray  # (10,)
    trans: np.ndarray  # (3,) metres, added to the posed body


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """A person to fit in one tick."""

    id: int
    views: tuple[int, ...]  # cameras that see the person
    boxes: dict[int, tuple[np.ndarray, float]] = field(default_factory=dict)  # camera → xyxy px, roll: starts cold


@dataclass(frozen=True, slots=True, eq=False)
class WorldFit:
    """One person's body in one tick."""

    id: int
    pose: Pose  # in the world
    joints: np.ndarray  # (24, 3) metres, world
    confidence: float  # 0..1
    iterations: int
    views: tuple[int, ...]  # cameras that it was fitted in; none: nobody has seen the person, and the body says nothing
    cold: bool


@dataclass(frozen=True, slots=True, eq=False)
class Square:
    """Where a crop is cut out of a picture: a square that stands the person upright."""

    centre_px: np.ndarray  # (2,) float64 image pixels
    side_px: float
    roll: float = 0.0  # radians by which the person leans clockwise in the image


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """Where a crop was cut and through which lens, in pixels of the whole picture."""

    square: tuple[float, float, float] | np.ndarray  # (3,) centre x, centre y, side
    focal_px: float
    centre_px: tuple[float, float] | np.ndarray  # (2,) principal point


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """What the encoder makes of one crop."""

    maps: np.ndarray  # (marker, 64, 64) float32, one feature map per marker
    hidden: np.ndarray  # (26, 32) float32, first hidden states: joints, shape, camera
    keypoints: np.ndarray | None = None  # (33, 4) float32: x px, y px of the crop, depth px, visibility 0..1
    mirrored: "Encoded | None" = None  # of the crop's mirror image, where a runner encodes both (fit/mirror.py)


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """The numbers that the loop changes."""

    pose6d: np.ndarray  # (144,) float32, 24 joints in 6-D, not yet orthonormal
    betas: np.ndarray  # (10,) float32
    cam: np.ndarray  # (3,) float32: scale, x, y of ReFit's full-frame camera


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """A body after some iterations. Metres in the body's frame, before the translation of the camera."""

    state: State
    iterations: int  # updates made
    update_rad: float  # the most that the last update turned a joint; 0 when none was made
    error_px: float | None  # predicted mean error in crop pixels; None when the network has no such head
    rotations: np.ndarray  # (24, 3, 3) relative to the parent joint
    joints: np.ndarray  # (24, 3)
    markers: np.ndarray  # (marker, 3)
    joints_px: np.ndarray  # (24, 2) crop pixels
    markers_px: np.ndarray  # (marker, 2) crop pixels
    presence: float | None = None  # 0..1: whether the crop shows a person; None when the network has no such head


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """The bodies in one frame: what is published. `n` people; PERSON_FIELDS has the units of each array."""

    camera: str
    frame_index: int
    captured_s: float  # monotonic seconds of this run
    time_s: float  # seconds since the source's first frame
    dropped: int  # frames of this run lost before this one
    size: tuple[int, int]  # image width, height in pixels
    focal_px: float
    centre_px: tuple[float, float]  # principal point
    ids: np.ndarray  # (n,) int64
    poses: np.ndarray  # (n, 24, 3) float32
    betas: np.ndarray  # (n, 10) float32
    trans: np.ndarray  # (n, 3) float32
    joints_camera: np.ndarray  # (n, 24, 3) float32
    joints_px: np.ndarray  # (n, 24, 2) float32
    joints_world: np.ndarray  # (n, 24, 3) float32
    box: np.ndarray  # (n, 4) float32
    confidence: np.ndarray  # (n,) float32
    iterations: np.ndarray  # (n,) int32
    views: np.ndarray  # (n,) int32
    contacts: np.ndarray  # (n, 4) float32
    roll: np.ndarray  # (n,) float32
    missing: tuple[str, ...] = ()  # cameras of a rig that have no frame in this tick
    cameras: tuple[str, ...] = ()  # names; the first is `camera`. Empty: an earlier release does not say
    world_from_cameras: tuple[tuple[float, ...], ...] = ()  # of each: the upper (3, 4) of its matrix, row after row
    floor: tuple[float, ...] | None = None  # (4,) world: unit normal, upwards, and metres; None: not known

    @classmethod
    def of(cls, rows: dict[str, Any], **header: Any) -> "People":
        """header: every field that is not per person. rows: arrays by PERSON_FIELDS' names, cast and shaped by that
        table; one that is missing is zero (a stream carries no roll)."""
        count = len(rows["ids"])
        arrays: dict[str, Any] = {
            name: np.asarray(rows[name], dtype).reshape(count, *shape)
            if name in rows
            else np.zeros((count, *shape), dtype)
            for name, (dtype, shape) in PERSON_FIELDS.items()
        }
        return cls(**header, **arrays)

    @classmethod
    def empty(cls, **header: Any) -> "People":
        """A frame with nobody in it. header: every field that is not per person."""
        return cls.of({"ids": ()}, **header)

    def header(self) -> dict[str, Any]:
        """Every field that is not per person."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name not in PERSON_FIELDS}

    def take(self, rows: np.ndarray | slice | list[int]) -> "People":
        """The same frame with some of its people: a mask (n,), indices or a slice."""
        return replace(self, **{name: getattr(self, name)[rows] for name in PERSON_FIELDS})
