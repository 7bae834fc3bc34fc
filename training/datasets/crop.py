"""Cuts a 256x256 crop and its truth from a record's picture, augmented at random as in ReFit's training.

The camera remains that of the whole picture. A crop turned by `roll` is seen by a camera rolled about its principal
point, and a mirrored crop by the camera of the mirrored picture, so the truth stays exact (`refit_rt.model.camera`).
"""

from dataclasses import dataclass

import cv2
import msgspec
import numpy as np

from refit_rt import geometry
from refit_rt.errors import UserError
from refit_rt.fit.crops import lean
from refit_rt.types import Square
from training.datasets.joints import MIRROR, NAMES
from training.datasets.record import Record
from training.synthetic.motion import mirrored

CROP_PX = 256
SHORT_TRUNK = 0.05  # of the box's side, for keypoints: a shorter trunk does not show which way is up
FLAT_TRUNK = 0.2  # sine of its angle to the line of sight, for bodies
TRUNK_NAMES = (  # hips and neck in labels of SMPL's, OpenPose's and SPIN's kind
    (("smpl_pelvis",), ("smpl_neck",)),
    (("op_mid_hip",), ("op_neck",)),
    (("spin_r_hip", "spin_l_hip"), ("spin_r_shoulder", "spin_l_shoulder")),
)
TRUNKS = tuple(tuple([NAMES.index(name) for name in end] for end in ends) for ends in TRUNK_NAMES)
NO_PLACE_SCALE = 0.9  # of a body with an unknown place: a stand-in for a truth that no loss uses


class Augment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How crops are changed in training. The defaults are ReFit's (`lib/datasets/base_dataset.py`)."""

    flip: float = 0.5
    """Share of people who are mirrored."""
    rotation_deg: float = 30.0
    """Standard deviation of the crop's rotation, which is clipped at twice this."""
    scale: float = 0.25
    """Standard deviation and limit of the relative change of the box's side."""
    colour: float = 0.4
    """Largest relative gain or loss of each colour channel."""
    occlude: float = 0.5
    """Share of people occluded by pasted objects."""
    occluders: str = ""
    """Folder of .png cut-outs with alpha to paste (ReFit: objects of PASCAL VOC); empty: pieces of the picture."""
    cut: float = 0.0
    """Share of people shown in part: the crop keeps 40 to 85 % of the box's side. ReFit uses 0."""
    upright: bool = False
    """Rotate crops so that people stand upright, as the edge model expects; `rotation_deg` is added to that."""


NOTHING = Augment(flip=0, rotation_deg=0, scale=0, colour=0, occlude=0)


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """The augmentation of one crop."""

    mirror: bool = False
    roll: float = 0.0  # radians, as geometry.roll_matrix
    grow: float = 1.0  # of the box's side
    shift: tuple[float, float] = (0.0, 0.0)  # of the box's centre, in sides of the record's box
    gains: tuple[float, float, float] = (1.0, 1.0, 1.0)  # of red, green, blue


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One crop and its truth, in the picture's camera after the crop's augmentation."""

    image: np.ndarray  # (256, 256, 3) uint8 RGB
    box: np.ndarray  # (3,) centre x, centre y, side, px of the whole picture
    focal_px: float
    centre_px: np.ndarray  # (2,)
    roll: float
    rotations: np.ndarray | None  # (24, 3, 3)
    betas: np.ndarray | None  # (10,)
    pelvis_m: np.ndarray | None  # (3,)
    keypoints_2d: np.ndarray | None  # (73, 3) crop px, confidence
    keypoints_3d: np.ndarray | None  # (73, 4)


def random_change(rng: np.random.Generator, record: Record, settings: Augment) -> Change:
    """Draws one augmentation, with the same count of random numbers for any settings."""
    mirror, cut = bool(rng.random() < settings.flip), bool(rng.random() < settings.cut)
    turn = np.deg2rad(settings.rotation_deg) * np.clip(rng.normal(), -2, 2)
    grow = float(np.clip(1 + settings.scale * rng.normal(), 1 - settings.scale, 1 + settings.scale))
    gains = 1 + settings.colour * rng.uniform(-1, 1, 3)
    part, aside = rng.uniform(0.4, 0.85), rng.uniform(-1, 1, 2)
    up = trunk_lean(record) if settings.upright else 0.0
    shift = aside * (1 - part) / 2 if cut else np.zeros(2)
    return Change(
        mirror=mirror,
        roll=float(turn + (-up if mirror else up)),
        grow=part if cut else grow,
        shift=(float(shift[0]), float(shift[1])),
        gains=(float(gains[0]), float(gains[1]), float(gains[2])),
    )


def trunk_lean(record: Record) -> float:
    """Radians by which the trunk leans clockwise in the picture; 0 if neither body nor keypoints show it."""
    if record.rotations is not None:
        up = record.rotations[0] @ np.array([0.0, 1.0, 0.0])
        return 0.0 if np.hypot(up[0], up[1]) < FLAT_TRUNK else float(np.arctan2(up[0], -up[1]))
    if record.keypoints_2d is None:
        return 0.0
    for hips, neck in TRUNKS:
        low, high = record.keypoints_2d[hips], record.keypoints_2d[neck]
        if (low[:, 2] > 0).all() and (high[:, 2] > 0).all():
            return lean(low[:, :2].mean(0), high[:, :2].mean(0), SHORT_TRUNK * float(record.box[2]), 0.0)
    return 0.0


def read_picture(record: Record) -> np.ndarray:
    """Reads a record's picture, (height, width, 3) uint8 RGB. Raises UserError.

    BEDLAM stores its portrait close-ups as landscape pictures while their labels mean portrait ones. The principal
    point gives such a picture away, and it is turned clockwise.
    """
    image = cv2.imread(str(record.image), cv2.IMREAD_COLOR_RGB)
    if image is None:
        what = "not a picture, or damaged" if record.image.is_file() else "no such picture"
        raise UserError(f"{record.image}: {what}. Fetch the pictures of '{record.source}' again, or set its `images`")
    if record.centre_px is not None and image.shape[1] > image.shape[0] and _stands(record.centre_px):
        image = cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE)
    return image


def _stands(centre_px: np.ndarray) -> bool:
    return bool(centre_px[1] > 1.2 * centre_px[0])


def cut_out(record: Record, image: np.ndarray, change: Change) -> Sample:
    """Cuts the crop of a record out of its picture (height, width, 3) uint8 RGB, with the truth of the crop."""
    height, width = image.shape[:2]
    focal_px = float(np.hypot(width, height)) if record.focal_px is None else record.focal_px
    middle = np.array([width - 1, height - 1]) / 2 if record.centre_px is None else record.centre_px.astype(float)
    box = record.box.astype(float)
    box[:2] += np.array(change.shift) * box[2]
    box[2] *= change.grow
    if change.mirror:
        image = cv2.flip(image, 1)
        box[0], middle = width - 1 - box[0], np.array([width - 1 - middle[0], middle[1]])
    turn = geometry.roll_matrix(change.roll)
    crop = geometry.crop(image, Square(box[:2], box[2], change.roll), CROP_PX)
    if change.gains != (1.0, 1.0, 1.0):
        crop = np.clip(crop * np.array(change.gains, np.float32), 0, 255).astype(np.uint8)
    rotations, betas, pelvis = _changed_body(record, change.mirror, turn)
    return Sample(
        image=crop,
        box=np.array([*(turn[:2, :2] @ (box[:2] - middle) + middle), box[2]]),
        focal_px=focal_px,
        centre_px=middle,
        roll=change.roll,
        rotations=rotations,
        betas=betas,
        pelvis_m=pelvis,
        keypoints_2d=_changed_2d(record, change, box, width),
        keypoints_3d=_changed_3d(record, change.mirror, turn),
    )


def _changed_body(
    record: Record, mirror: bool, turn: np.ndarray
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """Rotations, betas and pelvis of the augmented body."""
    rotations, pelvis = record.rotations, record.pelvis_m
    if rotations is not None:
        rotations = mirrored(rotations) if mirror else rotations.copy()
        rotations[0] = turn @ rotations[0]
    if pelvis is not None:
        pelvis = turn @ (pelvis * ([-1, 1, 1] if mirror else [1, 1, 1]))
    return rotations, record.betas, pelvis


def _changed_2d(record: Record, change: Change, box: np.ndarray, width: int) -> np.ndarray | None:
    if record.keypoints_2d is None:
        return None
    points = record.keypoints_2d.astype(float)
    if change.mirror:
        points = points[MIRROR]
        points[:, 0] = width - 1 - points[:, 0]
    crop_from_image = geometry.crop_from_image(Square(box[:2], box[2], change.roll), CROP_PX)
    points[:, :2] = geometry.apply_2d(crop_from_image, points[:, :2])
    return points


def _changed_3d(record: Record, mirror: bool, turn: np.ndarray) -> np.ndarray | None:
    if record.keypoints_3d is None:
        return None
    points = record.keypoints_3d.astype(float)
    if mirror:
        points = points[MIRROR]
        points[:, 0] *= -1
    points[:, :3] = points[:, :3] @ turn.T
    return points


def pelvis_in_sight(sample: Sample) -> np.ndarray:
    """(3,) metres: a stand-in for an unknown place, where a person of the box's size would stand."""
    depth = 2 * sample.focal_px / (NO_PLACE_SCALE * sample.box[2])
    return np.array([*((sample.box[:2] - sample.centre_px) * depth / sample.focal_px), depth])
