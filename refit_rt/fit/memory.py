"""What the fit remembers of a person from frame to frame, and the next start that comes of it."""

from dataclasses import dataclass

import numpy as np

from refit_rt.body.smpl import Body
from refit_rt.bundle.read import Crop
from refit_rt.fit import kernels, start
from refit_rt.fit.crops import square_of_body
from refit_rt.fit.mirror import Moment
from refit_rt.fit.place import Fitted
from refit_rt.types import BETAS, JOINTS, Frame, Square, State, View


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """Where a person was a moment ago."""

    moment: Moment  # the body, in the camera's frame
    around: Square  # the body, image pixels
    velocity_px_s: np.ndarray  # (2,)
    opposed_since_s: float  # since when the fresh estimates exchange front and back; inf: they do not
    born_s: float  # when it last started cold
    mirrored: bool  # the network saw the crop's mirror image
    earlier: Moment | None  # the body before, if this one continued it

    def square(self, frame: Frame) -> Square:
        """Where to cut the person out of this frame: around the last body, moved on at its velocity."""
        moved = self.around.centre_px + self.velocity_px_s * (frame.time_s - self.moment.time_s)
        return Square(moved, self.around.side_px, self.around.roll)


def remembered(frame: Frame, fitted: Fitted, before: Memory | None, crop: Crop) -> Memory:
    """The memory after a fit; `before`: the one that the fit may have continued."""
    time_s, around = frame.time_s, square_of_body(fitted.points_px, fitted.roll, frame.size, crop)
    velocity = np.zeros(2)
    if before is not None and time_s > before.moment.time_s:
        step = (around.centre_px - before.around.centre_px) / (time_s - before.moment.time_s)
        velocity = 0.5 * before.velocity_px_s + 0.5 * step
    continued = None if fitted.cold else before
    return Memory(
        moment=Moment(time_s, fitted.pose),
        around=around,
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
    last = memory.moment.pose
    times_s = np.array([time_s, memory.opposed_since_s, memory.born_s])
    policy = np.array([np.cos(start.OPPOSED_RAD), start.OPPOSED_S, start.MOST_SCALE, start.LEAST_DEPTH_M, share])
    numbers = np.empty(6 * JOINTS + BETAS + 3)
    how = kernels.blend_start(
        np.ascontiguousarray(last.rotations, np.float64),
        np.asarray(last.betas, np.float64),
        np.asarray(last.trans, np.float64),
        np.asarray(body.rest_pelvis(last.betas), np.float64),
        np.ascontiguousarray(fresh.pose6d, np.float32),
        np.ascontiguousarray(fresh.betas, np.float32),
        np.ascontiguousarray(fresh.cam, np.float32),
        np.array([*view.square, view.focal_px, *view.centre_px], np.float64),
        float(square.roll),
        times_s,
        policy,
        numbers,
    )
    if how == kernels.COLD:
        return None
    pose6d, betas, cam = np.split(numbers.astype(np.float32), [6 * JOINTS, 6 * JOINTS + BETAS])
    return WarmStart(State(pose6d, betas, cam), how == kernels.OPPOSED)
