"""Paints people into a place, and keeps the truth: who stands where, and how much of each is seen."""

from collections import OrderedDict
from dataclasses import dataclass

import cv2
import numpy as np

from training.evaluation.people.cutouts import Actor

PELVIS, NECK, L_HIP, R_HIP, L_SHOULDER, R_SHOULDER, L_ELBOW, R_ELBOW = 0, 12, 1, 2, 16, 17, 18, 19
KEPT = 160  # scaled cut-outs in memory, each up to 2 MB
SKIN_HUES = 28  # of OpenCV's 180: skin lies below
Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Look:
    """How a person appears: one of the actors, and the colours (BGR) of the clothes; None: as filmed."""

    actor: int
    shirt: Colour | None = None
    shorts: Colour | None = None
    light: float = 1.0  # factor on all colours
    flip: bool = False  # exchanges left and right of the picture
    phase_s: float = 0.0  # added to the time at which the actor is shown


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """The truth about one person in one picture."""

    name: str
    joints_px: np.ndarray  # (24, 2)
    height_px: float  # of the person who stands
    seen: float  # share of the person's pixels that the picture shows, 0..1

    @property
    def extent_px(self) -> float:
        """Diagonal of the box round the joints."""
        return extent_px(self.joints_px)


def extent_px(joints_px: np.ndarray) -> float:
    """Diagonal of the box round joints (24, 2)."""
    return float(np.linalg.norm(np.ptp(joints_px, axis=0)))


class Wardrobe:
    """Dressed, scaled cut-outs; the last ones used are kept."""

    def __init__(self, actors: list[Actor]) -> None:
        self.actors = actors
        self._kept: OrderedDict[tuple, tuple[np.ndarray, np.ndarray, np.ndarray]] = OrderedDict()

    def get(self, look: Look, time_s: float, height_px: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The cut-out (h, w, 4) float32, premultiplied, 0..255 and opacity 0..1; its joints (24, 2); its anchor (2,),
        below the pelvis on the floor."""
        actor = self.actors[look.actor]
        index = actor.at(time_s + look.phase_s)
        key = look.actor, look.shirt, look.shorts, look.light, look.flip, index, round(height_px, 2)
        if key not in self._kept:
            self._kept[key] = self._made(actor, look, index, height_px)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    def _made(self, actor: Actor, look: Look, index: int, height_px: float):
        picture, joints = dressed(actor.pictures[index], actor.joints_px[index], look), actor.joints_px[index]
        scale = height_px / actor.height_px
        size = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        opacity = picture[..., 3:].astype(np.float32) / 255
        picture = np.concatenate([picture[..., :3] * opacity, opacity], 2)
        picture = np.clip(cv2.resize(picture, size, interpolation=how), 0, (255, 255, 255, 1)).astype(np.float32)
        stretch = np.array(size) / (actor.pictures.shape[2], actor.pictures.shape[1])
        joints = (joints + 0.5) * stretch - 0.5
        if look.flip:
            picture = np.ascontiguousarray(picture[:, ::-1])
            joints = joints * (-1, 1) + (size[0] - 1, 0)
        anchor = np.array([joints[PELVIS, 0], actor.sole_px[index] * stretch[1]])
        return picture, joints, anchor


def dressed(picture: np.ndarray, joints: np.ndarray, look: Look) -> np.ndarray:
    """A cut-out (h, w, 4) uint8 in the clothes of a look: a shirt with short sleeves over the bare back, and shorts."""
    colours = picture[..., :3].astype(np.float32)
    hue, saturation, value = cv2.split(cv2.cvtColor(picture[..., :3], cv2.COLOR_BGR2HSV))
    if look.shorts is not None:
        thigh = float(np.linalg.norm(joints[L_HIP] - joints[4]))
        dark = ((value < 75) & (_rows(picture) > joints[[L_HIP, R_HIP], 1].min() - 0.4 * thigh)).astype(np.float32)
        dark *= _rows(picture) < joints[[4, 5], 1].max() + 0.2 * thigh
        soft = cv2.GaussianBlur(dark, (0, 0), 1.0)[..., None]
        colours += soft * ((0.25 + value[..., None] / 75) * np.array(look.shorts, np.float32) * 0.8 - colours)
    if look.shirt is not None:
        torso = np.zeros(picture.shape[:2], np.uint8)
        shoulders, hips = joints[[L_SHOULDER, R_SHOULDER]], joints[[R_HIP, L_HIP]]
        width = max(float(np.linalg.norm(joints[NECK] - joints[PELVIS])) * 0.27, 3.0)
        outline = np.concatenate([shoulders, hips, joints[[NECK]]]).astype(np.int32)
        cv2.fillConvexPoly(torso, cv2.convexHull(outline), 255)
        torso = cv2.dilate(torso, np.ones((round(width * 0.8), round(width * 0.9)), np.uint8))
        for one, other in ((L_SHOULDER, L_ELBOW), (R_SHOULDER, R_ELBOW)):
            start, end = (
                tuple(int(v) for v in joints[one] + share * (joints[other] - joints[one])) for share in (0, 0.6)
            )
            cv2.line(torso, start, end, 255, round(width))
        bare = (hue < SKIN_HUES) & (saturation > 25) & (value > 45)
        bare = cv2.morphologyEx(((torso > 0) & bare).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
        soft = cv2.GaussianBlur(bare.astype(np.float32), (0, 0), 1.2)[..., None]
        colours += soft * ((0.3 + value[..., None] / 255.0) * np.array(look.shirt, np.float32) - colours)
    colours = np.clip(colours * look.light, 0, 255)
    return np.dstack([colours.astype(np.uint8), picture[..., 3]])


def _rows(picture: np.ndarray) -> np.ndarray:
    return np.arange(len(picture))[:, None]


class Canvas:
    """One picture in the making."""

    def __init__(self, place: np.ndarray, wardrobe: Wardrobe) -> None:
        """place: (h, w, 3) uint8 BGR, not changed."""
        self.image = place.copy()
        self._wardrobe = wardrobe
        self._owner = np.zeros(place.shape[:2], np.uint8)  # 1 + the person's place in the list, 0 for the rest
        self._people: list[tuple[str, np.ndarray, float, int]] = []

    def add(self, name: str, look: Look, time_s: float, x: float, sole_y: float, height_px: float) -> None:
        """Paints a person in front of what is there: the pelvis above x, the lowest sole at sole_y."""
        picture, joints, anchor = self._wardrobe.get(look, time_s, height_px)
        place = np.array([x, sole_y]) - anchor
        whole = np.floor(place).astype(int)
        rest = place - whole
        shift = np.array([[1, 0, rest[0]], [0, 1, rest[1]]])
        picture = cv2.warpAffine(picture, shift, (picture.shape[1] + 1, picture.shape[0] + 1))
        solid = picture[..., 3] > 0.5
        count = int(solid.sum())
        top, left = max(0, -whole[1]), max(0, -whole[0])
        bottom = min(picture.shape[0], self.image.shape[0] - whole[1])
        right = min(picture.shape[1], self.image.shape[1] - whole[0])
        self._people.append((name, joints + place, height_px, count))
        if bottom <= top or right <= left:
            return
        part, solid = picture[top:bottom, left:right], solid[top:bottom, left:right]
        window = np.s_[whole[1] + top : whole[1] + bottom, whole[0] + left : whole[0] + right]
        under = self.image[window]
        self.image[window] = np.rint(part[..., :3] + under * (1 - part[..., 3:])).astype(np.uint8)
        self._owner[window][solid] = len(self._people)

    def cover(self, left: int, right: int, strip: np.ndarray) -> None:
        """Puts a strip (h, right - left, 3) in front of everybody."""
        self.image[:, left:right] = strip
        self._owner[:, left:right] = 0

    def people(self) -> tuple[Person, ...]:
        """The truth about everybody who was added, in that order."""
        counts = np.bincount(self._owner.ravel(), minlength=len(self._people) + 1)
        return tuple(
            Person(name, joints, height, float(counts[1 + i] / count))
            for i, (name, joints, height, count) in enumerate(self._people)
        )
