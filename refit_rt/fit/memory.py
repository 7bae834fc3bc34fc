"""What the fit remembers of a person from frame to frame, and the next start that comes of it."""

from dataclasses import dataclass

import numpy as np

from refit_rt.body.smpl import Body
from refit_rt.bundle.read import Crop
from refit_rt.fit import start
from refit_rt.fit.crops import cam_from_translation, square_of_body
from refit_rt.fit.mirror import Moment
from refit_rt.fit.place import Fitted, into_crop
from refit_rt.geometry import matrix_from_6d, six_d_from_matrix
from refit_rt.types import JOINTS, Frame, Square, State, View


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """Where a person was a moment ago."""

    moment: Moment  # the body, in the camera's frame
    points_px: np.ndarray  # (91, 2) joints and markers, image pixels
    roll: float  # radians
    centre_px: np.ndarray  # (2,) of the crop's square
    velocity_px_s: np.ndarray  # (2,)
    opposed_since_s: float  # since when the fresh estimates exchange front and back; inf: they do not
    born_s: float  # when it last started cold
    mirrored: bool  # the network saw the crop's mirror image
    earlier: Moment | None  # the body before, if this one continued it

    def square(self, frame: Frame, crop: Crop) -> Square:
        """Where to cut the person out of this frame: around the last body, moved on at its velocity."""
        square = square_of_body(self.points_px, self.roll, frame.size, crop)
        moved = square.centre_px + self.velocity_px_s * (frame.time_s - self.moment.time_s)
        return Square(moved, square.side_px, square.roll)


def remembered(frame: Frame, fitted: Fitted, before: Memory | None, crop: Crop) -> Memory:
    """The memory after a fit; `before`: the one that the fit may have continued."""
    time_s, centre = frame.time_s, square_of_body(fitted.points_px, fitted.roll, frame.size, crop).centre_px
    velocity = np.zeros(2)
    if before is not None and time_s > before.moment.time_s:
        step = (centre - before.centre_px) / (time_s - before.moment.time_s)
        velocity = 0.5 * before.velocity_px_s + 0.5 * step
    continued = None if fitted.cold else before
    return Memory(
        moment=Moment(time_s, fitted.pose),
        points_px=fitted.points_px,
        roll=fitted.roll,
        centre_px=centre,
        velocity_px_s=velocity,
        opposed_since_s=float(
            start.opposed_since(fitted.opposed, before.opposed_since_s if before else np.inf, time_s)
        ),
        born_s=continued.born_s if continued else time_s,
        mirrored=fitted.mirrored,
        earlier=continued.moment if continued else None,
    )


@dataclass(frozen=True, slots=True, eq=False)
class WarmStart:
    """A state between last frame's body and the fresh estimate."""

    state: State
    exchange: bool  # the two oppose each other: the landmarks' left and right must be exchanged


def start_from(
    memory: Memory, fresh: State, square: Square, view: View, body: Body, share: float, time_s: float
) -> WarmStart | None:
    """Where the loop starts for a remembered person, as `start.choose_start` says; None: cold, from `fresh` alone.

    share: of the last body, where the two agree.
    """
    last = into_crop(memory.moment.pose, square, body)
    rotations = matrix_from_6d(fresh.pose6d.reshape(JOINTS, 6))
    cam = cam_from_translation(last.trans, view) if last.trans[2] >= start.LEAST_DEPTH_M else fresh.cam
    chosen = start.choose_start(
        last_root=last.rotations[0],
        fresh_root=rotations[0],
        last_scale=cam[0],
        fresh_scale=fresh.cam[0],
        depth_m=last.trans[2],
        time_s=time_s,
        opposed_since_s=memory.opposed_since_s,
        born_s=memory.born_s,
        share=share,
    )
    if chosen.cold:
        return None
    parts = (
        (six_d_from_matrix(last.rotations).reshape(6 * JOINTS), six_d_from_matrix(rotations).reshape(6 * JOINTS)),
        (last.betas, fresh.betas),
        (cam, fresh.cam),
    )
    weight = float(chosen.weight)
    state = State(*(start.blended(old, new, weight).astype(np.float32) for old, new in parts))
    return WarmStart(state, bool(chosen.exchange))
