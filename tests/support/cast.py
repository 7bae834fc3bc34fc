"""The demo clip's person, cut out and painted into other pictures, and the clip's room without the person."""

from dataclasses import dataclass
from functools import cache, cached_property

import cv2
import numpy as np

from refit_rt.body.smpl import load_body
from refit_rt.commands.demo_clip import CLIP, TRUTH
from refit_rt.draw.raster import buffers, rasterise
from refit_rt.geometry import matrix_from_axis_angle

STANDS = 110  # a frame in which the person stands and faces the camera
WALKS = range(24, 70)  # frames in which the person walks to the right
EMPTY_LEFT, EMPTY_RIGHT, SPLIT_PX = 150, 0, 550  # frames that show the room's left and right part without the person
DIFFERENT = 22  # grey levels between the frame and the empty room that are the person's
Colour = tuple[int, int, int]
RED, YELLOW, WHITE = (50, 40, 200), (60, 190, 220), (225, 225, 225)  # clothes, BGR


@dataclass(frozen=True, slots=True, eq=False)
class Actor:
    """A cut-out."""

    picture: np.ndarray  # (h, w, 4) float32: BGR 0..255, opacity 0..1
    joints_px: np.ndarray  # (24, 2) in pixels of the cut-out
    height_px: float  # hair to sole


@dataclass(frozen=True, slots=True)
class Part:
    """Somebody in a picture."""

    frame: int = STANDS  # of the clip
    x: float = 640.0  # of the pelvis
    sole_y: float = 640.0
    height_px: float = 400.0
    shirt: Colour | None = None
    trousers: Colour | None = None
    flip: bool = False


class Cast:
    """Cut-outs, made when they are first asked for."""

    def __init__(self) -> None:
        self._truth = dict(np.load(TRUTH))
        self._body = load_body()
        self.actor = cache(self._actor)

    @cached_property
    def frames(self) -> list[np.ndarray]:
        """The first frames of the clip, (720, 1280, 3) uint8 BGR."""
        video = cv2.VideoCapture(str(CLIP))
        return [video.read()[1] for _ in range(max(EMPTY_LEFT, STANDS) + 1)]

    @cached_property
    def room(self) -> np.ndarray:
        """The room without the person."""
        left, right = self.frames[EMPTY_LEFT], self.frames[EMPTY_RIGHT]
        return np.concatenate([left[:, :SPLIT_PX], right[:, SPLIT_PX:]], 1)

    @cached_property
    def other_room(self) -> np.ndarray:
        """Another place: soft patches."""
        rough = np.random.default_rng(4).normal(120, 30, (7, 12, 3)).clip(0, 255).astype(np.uint8)
        return cv2.resize(rough, (1280, 720), interpolation=cv2.INTER_CUBIC)

    def _actor(self, frame: int) -> Actor:
        truth, image = self._truth, self.frames[frame]
        rotations = matrix_from_axis_angle(truth["poses"][frame].reshape(24, 3))
        surface = self._body.vertices(rotations, truth["betas"][frame]) + truth["trans"][frame]
        inverse, ids = buffers(*image.shape[:2])
        centre = np.array([(image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2])
        rasterise(
            surface.astype(np.float32), self._body.faces, 0, float(truth["focal_px"]), centre, inverse, ids, False
        )
        margin = np.array([-40, -60, 40, 60])  # from the box of the joints to hair, hands and soles
        x0, y0, x1, y1 = np.round(truth["box"][frame] + margin).astype(int)
        window = np.s_[max(y0, 0) : y1, max(x0, 0) : x1]
        corner = np.array([max(x0, 0), max(y0, 0)])
        shown, body = image[window].astype(np.int16), (ids[window] >= 0).astype(np.uint8)
        differs = (np.abs(shown - self.room[window]).max(2) > DIFFERENT).astype(np.uint8)
        differs = cv2.morphologyEx(differs, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
        near, sure = (cv2.dilate(body, np.ones((19, 19), np.uint8)), cv2.erode(body, np.ones((3, 3), np.uint8)))
        solid = np.where((differs > 0) & (near > 0) | (sure > 0), 1, 0)
        y, x = np.nonzero(solid)
        tight = np.s_[y.min() - 3 : y.max() + 4, x.min() - 3 : x.max() + 4]
        corner += (x.min() - 3, y.min() - 3)
        opacity = cv2.GaussianBlur(solid.astype(np.float32), (0, 0), 0.8)[tight]
        picture = np.dstack([shown[tight].astype(np.float32), opacity])
        return Actor(picture, truth["joints_px"][frame] - corner, float(np.ptp(y) + 1))

    def paint(self, place: np.ndarray, *parts: Part) -> np.ndarray:
        """A picture of people in a place (h, w, 3) uint8 BGR; the last one is in front."""
        image = place.astype(np.float32)
        for part in parts:
            picture, place_of = self._dressed(part)
            image = _over(image, picture, place_of)
        return np.rint(image).astype(np.uint8)

    def joints(self, part: Part) -> np.ndarray:
        """Where a person's joints (24, 2) are in the picture."""
        actor = self.actor(part.frame)
        scale = part.height_px / actor.height_px
        joints = actor.joints_px * scale
        if part.flip:
            joints[:, 0] = actor.picture.shape[1] * scale - 1 - joints[:, 0]
        return joints + self._corner(part)

    def _corner(self, part: Part) -> np.ndarray:
        """(2,) where the cut-out's corner is in the picture."""
        actor = self.actor(part.frame)
        scale = part.height_px / actor.height_px
        pelvis = actor.joints_px[0, 0]
        pelvis = actor.picture.shape[1] - 1 - pelvis if part.flip else pelvis
        return np.array([part.x - pelvis * scale, part.sole_y - actor.picture.shape[0] * scale])

    def _dressed(self, part: Part) -> tuple[np.ndarray, np.ndarray]:
        actor = self.actor(part.frame)
        picture = actor.picture.copy()
        neck, pelvis, ankle = np.round(actor.joints_px[[12, 0, 7], 1]).astype(int)
        for colour, rows in ((part.shirt, picture[neck : pelvis + 8]), (part.trousers, picture[pelvis + 8 : ankle])):
            if colour is not None:
                light = rows[..., :3].mean(2, keepdims=True) / rows[..., :3].mean()
                rows[..., :3] = np.clip((0.4 + 0.6 * light) * np.array(colour, np.float32), 0, 255)
        if part.flip:
            picture = picture[:, ::-1]
        scale = part.height_px / actor.height_px
        size = round(picture.shape[1] * scale), round(picture.shape[0] * scale)
        return cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.round(self._corner(part)).astype(int)


def _over(image: np.ndarray, picture: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """Lays a cut-out (h, w, 4) over a picture; what is outside of it is cut off."""
    left, top = np.maximum(corner, 0)
    right, bottom = np.minimum(corner + picture.shape[1::-1], image.shape[1::-1])
    if right <= left or bottom <= top:
        return image
    x, y = corner
    part = picture[top - y : bottom - y, left - x : right - x]
    image[top:bottom, left:right] += part[..., 3:] * (part[..., :3] - image[top:bottom, left:right])
    return image
