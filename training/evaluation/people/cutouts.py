"""Cuts people out of the treadmill clips: pictures with transparency, and the joints that a fit of the clip finds.

The four cameras stand still and have a picture of the place without the person, so a cut-out combines the fitted body,
the difference to the empty place, and cv2.grabCut.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from refit_rt import config
from refit_rt.draw.raster import buffers, rasterise
from refit_rt.errors import UserError
from refit_rt.files import cache_dir, write_whole
from refit_rt.follow import load_follower
from refit_rt.geometry import apply_2d, matrix_from_axis_angle
from refit_rt.types import Frame, People

CAMERAS = (1, 2, 3, 4)
LEVEL_DEG = {1: 4.0, 2: 0.0, 3: 0.0, 4: 22.0}  # turns the tilted cameras' people upright, clockwise
FRAMES, EVERY, FPS = 40, 2, 30.0  # first frames of the 60 fps clips that are cut out, the person walks in them
SHRINK = 0.5  # people are 400 to 460 px tall in the cut-outs
CLIP_FRAMES = 100
DIFFERENT, SAME = 26.0, 10.0  # grey levels between the clip and the empty place: surely a person, surely none
# Left, top, right, bottom of the people in the pictures of the empty places.
OTHERS = {1: (0, 230, 500, 1000), 2: (570, 380, 920, 1050), 3: (880, 740, 1088, 1920), 4: (0, 960, 440, 1920)}
VERSION = 2  # of this file's method; another one makes the cache anew


@dataclass(frozen=True, slots=True, eq=False)
class Actor:
    """One person's cut-outs, in the order of time, FPS pictures per second."""

    name: str
    pictures: np.ndarray  # (frame, height, width, 4) uint8 BGR and opacity
    joints_px: np.ndarray  # (frame, 24, 2) SMPL's joints in pixels of the cut-out
    height_px: float  # of the person who stands, hair to sole
    sole_px: np.ndarray  # (frame,) the lowest row of the person

    def at(self, time_s: float) -> int:
        """The picture to show at a time: forwards, backwards, and so on."""
        last = len(self.pictures) - 1
        step = round(time_s * FPS) % (2 * last)
        return min(step, 2 * last - step)


def load_actors(media: Path) -> list[Actor]:
    """The person as each of the four cameras sees him. Cut out once, then kept in the cache. Raises UserError."""
    clips = [media / "treadmill_4cam" / f"cam{camera:02}.mp4" for camera in CAMERAS]
    for clip in clips:
        if not clip.is_file():
            raise UserError(f"{clip}: no such clip. Give the folder that holds treadmill_4cam with --media")
    facts = "|".join(f"{clip.name} {clip.stat().st_size}" for clip in clips)
    key = hashlib.sha256(f"{VERSION} {FRAMES} {EVERY} {SHRINK} {facts}".encode()).hexdigest()[:12]
    path = cache_dir() / "evaluation" / f"people-{key}.npz"
    if not path.is_file():
        made = {}
        for camera, clip in zip(CAMERAS, clips, strict=True):
            actor = cut_out(clip, camera)
            made |= {f"{camera}_{part}": getattr(actor, part) for part in PARTS}
        with write_whole(path) as part, part.open("wb") as file:
            np.savez_compressed(file, **made)
    with np.load(path) as kept:
        parts = [{part: kept[f"{camera}_{part}"] for part in PARTS} for camera in CAMERAS]
    return [Actor(f"camera {camera}", **{**one, "height_px": float(one["height_px"])})
            for camera, one in zip(CAMERAS, parts, strict=True)]  # fmt: skip


PARTS = ("pictures", "joints_px", "height_px", "sole_px")


def cut_out(clip: Path, camera: int) -> Actor:
    """Fits and cuts out the person of one clip. Raises UserError for a clip that cannot be read."""
    empty = _shrunk(empty_place(clip, camera))
    cut, joints = [], []
    for index, (image, people, faces, surface) in enumerate(_fitted(read_frames(clip, range(FRAMES)))):
        if index % EVERY:
            continue
        body = _shrunk(_mask(people, faces, surface, image.shape[:2]), cv2.INTER_NEAREST)
        small = _shrunk(image)
        cut.append(np.dstack([small, _opacity(small, empty, body)]))
        joints.append((people.joints_px[0].astype(np.float64) + 0.5) * SHRINK - 0.5)
    return _trimmed(f"camera {camera}", *_levelled(cut, joints, LEVEL_DEG[camera]))


def empty_place(clip: Path, camera: int) -> np.ndarray:
    """The place of a clip without the person, (height, width, 3) BGR. Raises UserError.

    Other people stand in the picture of the empty place; there, the median of the clip's second half is taken.
    """
    frames = read_frames(clip, range(CLIP_FRAMES // 2, CLIP_FRAMES, 4))
    empty = cv2.imread(str(clip.with_name(f"{clip.stem}_ext.png")))
    if empty is None:
        raise UserError(f"{clip.stem}_ext.png: no readable picture beside {clip.name}. Fetch the recordings again")
    height, width = frames[0].shape[:2]
    rows = round(len(empty) * width / empty.shape[1])  # two clips are a little smaller, with bars above and below
    bar = (height - rows) // 2
    empty = cv2.resize(empty, (width, rows), interpolation=cv2.INTER_AREA)
    empty = cv2.copyMakeBorder(empty, bar, height - rows - bar, 0, 0, cv2.BORDER_CONSTANT)
    left, top, right, bottom = OTHERS[camera]
    window = np.s_[top:bottom, left:right]
    empty[window] = np.median([frame[window] for frame in frames], 0)
    return empty


def read_frames(clip: Path, wanted: range) -> list[np.ndarray]:
    """Pictures (height, width, 3) BGR of a clip by their numbers. Raises UserError."""
    video, frames = cv2.VideoCapture(str(clip)), []
    for index in range(wanted.stop):
        found, image = video.read()
        if not found:
            raise UserError(f"{clip}: holds {index} of the {wanted.stop} frames that are needed. Fetch it again")
        if index in wanted:
            frames.append(image)
    video.release()
    return frames


def _shrunk(image: np.ndarray, how: int = cv2.INTER_AREA) -> np.ndarray:
    return cv2.resize(image, None, fx=SHRINK, fy=SHRINK, interpolation=how)


def _fitted(frames: list[np.ndarray]) -> Iterator[tuple[np.ndarray, People, np.ndarray, np.ndarray]]:
    """Yields each frame with its tallest person, the body's faces, and that person's surface in the camera frame."""
    track = config.Track(max_people=1)
    follower = load_follower(config.Settings(track=track, smooth=config.Smooth(enabled=False)))
    body = follower.fitter.body
    for index, image in enumerate(frames):
        _, people = follower.step(Frame("clip", index, index / 60, index / 60, image))
        if not len(people.ids):
            raise UserError(f"treadmill_4cam: nobody is found in frame {index}. Fetch the recordings again")
        one = people.take([int(np.argmax(np.ptp(people.joints_px[..., 1], axis=1)))])
        surface = body.vertices(matrix_from_axis_angle(one.poses[0]), one.betas[0]) + one.trans[0]
        yield image, one, body.faces, surface.astype(np.float32)


def _mask(people: People, faces: np.ndarray, surface: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(height, width) uint8, 1 where the fitted body is."""
    inverse, ids = buffers(*shape)
    rasterise(surface, faces, 0, people.focal_px, np.array(people.centre_px), inverse, ids, False)
    return (ids >= 0).astype(np.uint8)


def _opacity(image: np.ndarray, empty: np.ndarray, body: np.ndarray) -> np.ndarray:
    """(height, width) uint8: 255 where the person is, less at the rim. All arguments have one size."""
    rows, columns = np.flatnonzero(body.any(1)), np.flatnonzero(body.any(0))
    pad = round(0.15 * len(rows))
    window = np.s_[max(rows[0] - pad, 0) : rows[-1] + pad, max(columns[0] - pad, 0) : columns[-1] + pad]
    opacity = np.zeros(body.shape, np.uint8)
    opacity[window] = _opacity_near(image[window], empty[window], body[window])
    return opacity


def _opacity_near(image: np.ndarray, empty: np.ndarray, body: np.ndarray) -> np.ndarray:
    difference = cv2.GaussianBlur(np.abs(image.astype(np.int16) - empty).max(2).astype(np.float32), (0, 0), 1.2)
    strong = (difference > DIFFERENT).astype(np.uint8)
    near, around = cv2.dilate(body, _disc(31)) > 0, cv2.dilate(body, _disc(61)) > 0
    marks = np.full(body.shape, cv2.GC_BGD, np.uint8)
    marks[near] = cv2.GC_PR_BGD
    marks[(around & (strong > 0)) | (body > 0)] = cv2.GC_PR_FGD
    marks[(near & (cv2.erode(strong, _disc(5)) > 0)) | (cv2.erode(body, _disc(11)) > 0)] = cv2.GC_FGD
    marks[(difference < SAME) & (cv2.erode(body, _disc(19)) == 0)] = cv2.GC_BGD
    marks[(difference < DIFFERENT / 2) & (body == 0)] = cv2.GC_BGD
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(np.ascontiguousarray(image), marks, (0, 0, 0, 0), *models, 3, cv2.GC_INIT_WITH_MASK)
    solid = np.isin(marks, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    solid = cv2.morphologyEx(cv2.morphologyEx(solid, cv2.MORPH_OPEN, _disc(3)), cv2.MORPH_CLOSE, _disc(5))
    _, labels, facts, _ = cv2.connectedComponentsWithStats(solid)
    largest = (labels == 1 + int(np.argmax(facts[1:, cv2.CC_STAT_AREA]))).astype(np.float32)
    return np.rint(255 * cv2.GaussianBlur(cv2.erode(largest, _disc(3)), (0, 0), 0.9)).astype(np.uint8)


def _disc(size: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))


def _levelled(pictures: list[np.ndarray], joints: list[np.ndarray], degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Turns pictures (height, width, 4) and joints (24, 2) clockwise about the pictures' centre."""
    height, width = pictures[0].shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, 1.0)
    turned = [cv2.warpAffine(one, turn, (width, height), flags=cv2.INTER_LINEAR) for one in pictures]
    return np.stack(turned), np.stack([apply_2d(turn, one) for one in joints])


def _trimmed(name: str, pictures: np.ndarray, joints: np.ndarray) -> Actor:
    """Cuts away what no picture needs, and measures the person."""
    solid = pictures[..., 3] > 127
    rows, columns = np.flatnonzero(solid.any((0, 2))), np.flatnonzero(solid.any((0, 1)))
    top, left = rows[0] - 3, columns[0] - 3
    pictures = pictures[:, top : rows[-1] + 4, left : columns[-1] + 4]
    lowest = np.array([np.flatnonzero(one.any(1))[-1] for one in solid]) - top
    first = np.flatnonzero(solid[0].any(1))
    return Actor(name, pictures, joints - (left, top), float(np.ptp(first) + 1), lowest)
