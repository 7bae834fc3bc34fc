"""Looks at the mirror images of crops: a network errs differently there, and the mean of both answers is better.

The flip test of the field (HRNet and most since) looks twice at each picture. Live, it is enough to look once, every
second time in a mirror: following averages over frames anyway. What sways from frame to frame, `steadied` takes out.
"""

from dataclasses import dataclass, replace

import numpy as np

from refit_rt import geometry
from refit_rt.runners import Result, Runner, Seen, State, View

# SMPL's joints with left and right exchanged.
SWAP = np.array([0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20, 23, 22])
# A rotation R becomes M R M with M = diag(-1, 1, 1): of the six numbers, those with x in one index change sign.
SIX_D_SIGNS = np.array([1, -1, -1, 1, -1, 1], np.float32)


class MirroredRunner:
    """Looks at the mirror image of each crop; all it takes and answers is of the crop as it is (but for `Seen`).

    See refit_rt.runners.Runner. A body's mirror image must be a body of the same shape, as SMPL's nearly is.
    """

    def __init__(self, inner: Runner) -> None:
        self.inner, self.crop_px = inner, inner.crop_px

    def encode(self, crop: np.ndarray) -> Seen:
        return self.inner.encode(np.ascontiguousarray(crop[:, ::-1]))

    def initial(self, seen: Seen, view: View) -> State:
        return mirrored_state(self.inner.initial(seen, mirrored_view(view, self.crop_px)), self.crop_px)

    def iterate(
        self,
        seen: Seen,
        view: View,
        state: State,
        iterations: int,
        update_rad: float = 0.0,
        deadline_s: float | None = None,
    ) -> Result:
        there, begin = mirrored_view(view, self.crop_px), mirrored_state(state, self.crop_px)
        result = self.inner.iterate(seen, there, begin, iterations, update_rad, deadline_s)
        placed = self.inner.iterate(seen, view, mirrored_state(result.state, self.crop_px), 0)
        return replace(placed, iterations=result.iterations, update_rad=result.update_rad, error_px=result.error_px)


class TwiceRunner:
    """Looks at each crop and at its mirror image, and answers the mean. See refit_rt.runners.Runner."""

    def __init__(self, inner: Runner) -> None:
        self.inner, self.crop_px, self._other = inner, inner.crop_px, MirroredRunner(inner)

    def encode(self, crop: np.ndarray) -> Seen:
        seen = self.inner.encode(crop)
        return replace(seen, maps=np.asarray(seen.maps), mirrored=self._other.encode(crop))

    def initial(self, seen: Seen, view: View) -> State:
        assert seen.mirrored
        return mean(self.inner.initial(seen, view), self._other.initial(seen.mirrored, view))

    def iterate(
        self,
        seen: Seen,
        view: View,
        state: State,
        iterations: int,
        update_rad: float = 0.0,
        deadline_s: float | None = None,
    ) -> Result:
        """Each look is followed by itself; the mean is of what both end with."""
        assert seen.mirrored
        one = self.inner.iterate(seen, view, state, iterations, update_rad, deadline_s)
        two = self._other.iterate(seen.mirrored, view, state, iterations, update_rad, deadline_s)
        placed = self.inner.iterate(seen, view, mean(one.state, two.state), 0)
        error_px = None
        if one.error_px is not None and two.error_px is not None:
            error_px = float(np.sqrt(one.error_px * two.error_px))
        return replace(placed, iterations=one.iterations, update_rad=one.update_rad, error_px=error_px)


def mirrored_view(view: View, crop_px: int) -> View:
    """The same crop in a picture mirrored at its principal point. Pixel 0 of the crop changes places with the last, so
    the box, whose middle lies half a crop's pixel beyond the middle of these, moves on by one."""
    x, y, side = view.box
    return View((2 * view.centre_px[0] - x + side / crop_px, y, side), view.focal_px, view.centre_px)


def mirrored_state(state: State, crop_px: int) -> State:
    """The mirror image of a body in the view's camera, seen in `mirrored_view`. Its own inverse."""
    pose6d = (state.pose6d.reshape(24, 6) * SIX_D_SIGNS)[SWAP].reshape(144)
    scale, x, y = state.cam
    return State(pose6d, state.betas, np.array([scale, -x - 2 / (crop_px * scale), y], np.float32))


def mean(one: State, two: State) -> State:
    return State((one.pose6d + two.pose6d) / 2, (one.betas + two.betas) / 2, (one.cam + two.cam) / 2)


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """A body at a time, in the camera's frame."""

    time_s: float
    rotations: np.ndarray  # (24, 3, 3)
    betas: np.ndarray  # (10,)
    trans: np.ndarray  # (3,) metres


def steadied(now: Answer, last: Answer, earlier: Answer) -> Answer:
    """The mean of an answer and of the last, the other hand's, carried on to now as the two of one hand have moved.

    What sways from hand to hand cancels; what moves evenly is not held back. At even times it is 3/4 now, 1/2 last and
    -1/4 earlier. Measured on real video: jitter 49 mm without, 26 with, 25 where every look is at the crop as it is.
    """
    on = (now.time_s - last.time_s) / (now.time_s - earlier.time_s)
    six, six_last, six_earlier = (geometry.six_d_from_matrix(one.rotations) for one in (now, last, earlier))
    six = (six + six_last + on * (six - six_earlier)) / 2
    betas, trans = (
        (here + there + on * (here - before)) / 2
        for here, there, before in ((now.betas, last.betas, earlier.betas), (now.trans, last.trans, earlier.trans))
    )
    return Answer(now.time_s, geometry.matrix_from_6d(six), betas, trans)
