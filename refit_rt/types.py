"""What flows from stage to stage: one frozen message a hop."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture from one camera."""

    camera: str  # its name
    index: int  # counted at the source; a gap is a frame that was never read
    captured_s: float  # monotonic seconds, taken beside the grab
    time_s: float  # seconds since the source's first frame; a file's own clock
    image: np.ndarray  # (height, width, 3) uint8, BGR

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.image.shape[1], self.image.shape[0]


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """People found in one frame."""

    frame: Frame
    xyxy: np.ndarray  # (person, 4) float32 image pixels, may reach beyond the image
    score: np.ndarray  # (person,) float32 0..1
    roll: np.ndarray  # (person,) float32 radians the person leans clockwise in the image; 0 where a detector cannot say


@dataclass(frozen=True, slots=True, eq=False)
class Tracks:
    """The people to fit in one frame."""

    frame: Frame
    ids: np.ndarray  # (person,) int64, never used again in a run
    xyxy: np.ndarray  # (person, 4) float32 image pixels
    roll: np.ndarray  # (person,) float32 radians, as in Boxes
    score: np.ndarray  # (person,) float32 0..1
    fresh: np.ndarray  # (person,) bool: the box comes from a detection in this frame, not from last frame's body


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """The bodies in one frame: what is published. `n` people, SMPL's 24 joints."""

    camera: str
    frame_index: int
    captured_s: float  # monotonic seconds of this run
    time_s: float  # seconds since the source's first frame
    dropped: int  # frames of this run lost before this one
    size: tuple[int, int]  # image width, height in pixels
    focal_px: float
    centre_px: tuple[float, float]  # principal point
    ids: np.ndarray  # (n,) int64
    poses: np.ndarray  # (n, 24, 3) float32 axis-angle, radians; joint 0 is the body in the camera's frame
    betas: np.ndarray  # (n, 10) float32
    trans: np.ndarray  # (n, 3) float32 metres, added to the posed body to place it in the camera's frame
    joints_camera: np.ndarray  # (n, 24, 3) float32 metres, OpenCV camera frame
    joints_px: np.ndarray  # (n, 24, 2) float32 image pixels
    joints_world: np.ndarray  # (n, 24, 3) float32 metres, y up; without a rig the camera's own place
    box: np.ndarray  # (n, 4) float32 xyxy image pixels
    confidence: np.ndarray  # (n,) float32 0..1
    iterations: np.ndarray  # (n,) int32 updates made
