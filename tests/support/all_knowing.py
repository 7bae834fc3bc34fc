"""A stand-in for the network that knows where people are, for tests of the fit stage.

The picture holds its own coordinates as colours, so that the stand-in can read where, how large and how turned a crop
was cut, and answers with the truth as seen there.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from refit_rt import geometry
from refit_rt.body.smpl import load_body
from refit_rt.bundle.read import Crop
from refit_rt.cameras import Camera
from refit_rt.fit import mirror
from refit_rt.fit.crops import cam_from_translation
from refit_rt.fit.fitter import Fitter
from refit_rt.fit.place import Fitted
from refit_rt.types import Encoded, Frame, People, Pose, Result, State, Tracks, View

WIDTH, HEIGHT, FOCAL_PX = 1000, 800, 900.0
BODY = load_body()
UPRIGHT = Crop(normalise_roll=True)
CAMERA = Camera("test", (WIDTH, HEIGHT), FOCAL_PX, (499.5, 399.5))


@dataclass
class Truth:
    """A body in the camera's frame."""

    rotations: np.ndarray
    betas: np.ndarray
    trans: np.ndarray

    @property
    def joints(self) -> np.ndarray:
        return BODY.joints(self.rotations, self.betas) + self.trans


def truth(seed: int, roll: float = 0.0, trans: tuple[float, float, float] = (0.3, 0.2, 3.5)) -> Truth:
    """Somebody in a random pose who leans clockwise by `roll`."""
    rng = np.random.default_rng(seed)
    rotations = geometry.matrix_from_axis_angle(rng.normal(0, 0.15, (24, 3)))
    upright = geometry.matrix_from_axis_angle(np.array([np.pi, 0.0, 0.0]))
    rotations[0] = geometry.roll_matrix(roll).T @ upright @ geometry.matrix_from_axis_angle(rng.normal(0, 0.1, 3))
    return Truth(rotations.astype(np.float32), rng.normal(0, 1, 10).astype(np.float32), np.array(trans))


class AllKnowing:
    """Answers every crop, and every mirror image of one, with the truth; its first estimate is `off` by some radians a
    joint. sway: metres by which a mirror image shows people further right, and a crop as it is further left. stays: the
    loop ends where it starts."""

    crop_px = 256

    def __init__(self, who: Truth, off: float = 0.0, sway: float = 0.0, stays: bool = False) -> None:
        self.who, self.off, self.sway, self.stays = who, off, sway, stays
        self.rolls, self.hands, self.asked = [], [], []

    def encode(self, crop: np.ndarray) -> Encoded:
        red, green, blue = crop[..., 0], crop[..., 1], crop[..., 2]
        v, u = np.nonzero((red == 255) & (green > 8) & (green < 190) & (blue > 8) & (blue < 240))
        known = np.column_stack([u, v, np.ones(len(u))])
        image = np.linalg.lstsq(known, np.column_stack([blue[v, u], green[v, u]]) * 4.0, rcond=None)[0]
        # Columns of the crop's axes in the picture: the first is (cos, sin) of the roll, or in a mirror its opposite.
        self.hands.append(bool(np.linalg.det(image[:2]) < 0))
        right = -image[0] if self.hands[-1] else image[0]
        self.rolls.append(float(np.arctan2(right[1], right[0])))
        hidden = np.zeros((26, 32), np.float32)
        hidden[0, :2] = self.hands[-1], self.rolls[-1]
        return Encoded(np.zeros((67, 64, 64), np.float32), hidden)

    def encode_all(self, crops: np.ndarray) -> Iterable[Encoded]:
        return map(self.encode, crops)

    def _state(self, encoded: Encoded, view: View, off: float = 0.0) -> State:
        in_mirror, roll = bool(encoded.hidden[0, 0]), float(encoded.hidden[0, 1])
        view = mirror.mirrored_view(view, self.crop_px) if in_mirror else view
        turn = geometry.roll_matrix(roll)
        rotations = self.who.rotations @ geometry.matrix_from_axis_angle(np.full((24, 3), off))
        rotations[0] = turn @ rotations[0]
        pelvis = BODY.rest_pelvis(self.who.betas)
        place = self.who.trans + np.array([self.sway if in_mirror else -self.sway, 0, 0])
        cam = cam_from_translation(turn @ (place + pelvis) - pelvis, view)
        state = State(geometry.six_d_from_matrix(rotations).reshape(144), self.who.betas, cam)
        return mirror.mirrored_state(state, self.crop_px) if in_mirror else state

    def initial(self, encoded: Encoded, view: View) -> State:
        return self._state(encoded, view, self.off)

    def iterate(self, encoded, view, state, iterations, update_rad=0.0, deadline_s=None) -> Result:
        right = state  # of no iteration: it is asked where a body is
        if iterations:
            self.asked.append((mirror.mirrored_state(state, 256) if encoded.hidden[0, 0] else state, iterations))
            right = state if self.stays else self._state(encoded, view)
        rotations = geometry.matrix_from_6d(right.pose6d.reshape(24, 6))
        joints, markers = BODY.joints(rotations, right.betas), BODY.markers_at(rotations, right.betas)
        nowhere = np.zeros((24, 2))
        return Result(right, iterations, 0.0, 2.0, rotations, joints, markers, nowhere, nowhere)


def picture(index: int = 0, fps: float = 30.0) -> Frame:
    """Blue is x / 4, green is y / 4, red marks the picture's inside."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    image = np.stack([x / 4, y / 4, np.full_like(x, 255)], -1).round().astype(np.uint8)
    return Frame("test", index, index / fps, index / fps, image)


def fitted(who: Truth) -> Fitted:
    """The truth as a fit."""
    points = np.concatenate([who.joints, BODY.markers_at(who.rotations, who.betas) + who.trans])
    pixels = geometry.project(points, FOCAL_PX, CAMERA.centre_px)
    pose = Pose(who.rotations, who.betas, who.trans)
    return Fitted(pose, who.joints, pixels, 0.0, 1.0, 5, cold=True, opposed=False, mirrored=False)


def follow(fitter: Fitter, who: Truth, index: int, roll: float = 0.0, fresh: bool = False) -> People:
    """Fits one frame of a person tracked as number 4."""
    pixels = geometry.project(who.joints, FOCAL_PX, CAMERA.centre_px)
    box = np.concatenate([pixels.min(0), pixels.max(0)])[None].astype(np.float32)
    one = np.ones(1, np.float32)
    tracks = Tracks(picture(index), np.array([4]), box, roll * one, one, np.array([index == 0 or fresh]))
    return fitter.fit(tracks, CAMERA)
