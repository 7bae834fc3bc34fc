"""Mirrored crops: the network errs differently on a crop's mirror image, and the mean of both answers is better.

The flip test of the field (HRNet and most since) runs the network twice per picture. Live, it is enough to run it once
and to mirror every other frame, because following averages over frames anyway; `averaged` removes what alternates.

The functions on arrays take numpy or torch and any leading axes (...).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from refit_rt import geometry
from refit_rt.fit import kernels
from refit_rt.fit.start import Array
from refit_rt.geometry import constant_like, namespace_of
from refit_rt.runners import Runner
from refit_rt.types import Encoded, Pose, Result, State, View

# SMPL's joints with left and right exchanged.
SWAP = np.array([0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20, 23, 22])
# A rotation R becomes M R M with M = diag(-1, 1, 1): of the six numbers, those with x in one index change sign.
SIX_D_SIGNS = np.array([1, -1, -1, 1, -1, 1], np.float32)


class MirroredRunner:
    """Runs the network on each crop's mirror image. Arguments and answers are those of the crop itself, except
    `Encoded`, which only this runner reads.

    See refit_rt.runners.Runner. A body's mirror image must be a body of the same shape, as SMPL's nearly is.
    """

    def __init__(self, inner: Runner) -> None:
        self.inner, self.crop_px = inner, inner.crop_px

    def encode(self, crop: np.ndarray) -> Encoded:
        return self.inner.encode(flipped(crop))

    def encode_all(self, crops: np.ndarray) -> Iterable[Encoded]:
        return self.inner.encode_all(flipped(crops))

    def initial(self, encoded: Encoded, view: View) -> State:
        return self._mirrored(self.inner.initial(encoded, mirrored_view(view, self.crop_px)))

    def iterate(
        self,
        encoded: Encoded,
        view: View,
        state: State,
        iterations: int,
        update_rad: float = 0.0,
        deadline_s: float | None = None,
    ) -> Result:
        there, begin = mirrored_view(view, self.crop_px), self._mirrored(state)
        result = self.inner.iterate(encoded, there, begin, iterations, update_rad, deadline_s)
        placed = self.inner.iterate(encoded, view, self._mirrored(result.state), 0)
        return replace(placed, iterations=result.iterations, update_rad=result.update_rad, error_px=result.error_px)

    def _mirrored(self, state: State) -> State:
        """`mirrored_state`, compiled."""
        pose6d, cam = (np.ascontiguousarray(part, np.float32) for part in (state.pose6d, state.cam))
        other = State(np.empty_like(pose6d), state.betas, np.empty_like(cam))
        kernels.mirror(pose6d, cam, self.crop_px, SWAP, SIX_D_SIGNS, other.pose6d, other.cam)
        return other


class TwiceRunner:
    """Runs the network on each crop and on its mirror image, and answers the mean. See refit_rt.runners.Runner."""

    def __init__(self, inner: Runner) -> None:
        self.inner, self.crop_px, self._other = inner, inner.crop_px, MirroredRunner(inner)

    def encode(self, crop: np.ndarray) -> Encoded:
        (encoded,) = self.encode_all(crop[None])
        return encoded

    def encode_all(self, crops: np.ndarray) -> Iterable[Encoded]:
        both = np.stack([crops, flipped(crops)], 1).reshape(-1, *crops.shape[1:])
        looks = iter(self.inner.encode_all(both))
        for encoded, other in zip(looks, looks, strict=True):
            yield replace(encoded, maps=np.asarray(encoded.maps), mirrored=other)

    def initial(self, encoded: Encoded, view: View) -> State:
        assert encoded.mirrored
        return mean(self.inner.initial(encoded, view), self._other.initial(encoded.mirrored, view))

    def iterate(
        self,
        encoded: Encoded,
        view: View,
        state: State,
        iterations: int,
        update_rad: float = 0.0,
        deadline_s: float | None = None,
    ) -> Result:
        """Each of the two iterates by itself; the mean is of what both end with."""
        assert encoded.mirrored
        one = self.inner.iterate(encoded, view, state, iterations, update_rad, deadline_s)
        two = self._other.iterate(encoded.mirrored, view, state, iterations, update_rad, deadline_s)
        placed = self.inner.iterate(encoded, view, mean(one.state, two.state), 0)
        error_px = None
        if one.error_px is not None and two.error_px is not None:
            error_px = float(np.sqrt(one.error_px * two.error_px))
        presence = None if one.presence is None or two.presence is None else (one.presence + two.presence) / 2
        answered = {"iterations": one.iterations, "update_rad": one.update_rad}
        return replace(placed, error_px=error_px, presence=presence, **answered)


def flipped(crops: np.ndarray) -> np.ndarray:
    """Crops (..., S, S, 3) with left and right exchanged."""
    return np.ascontiguousarray(crops[..., ::-1, :])


def mirrored_view(view: View, crop_px: int) -> View:
    """The same crop in a picture that is mirrored at its principal point."""
    x, y, side = view.square
    return View((mirrored_x(x, side, view.centre_px[0], crop_px), y, side), view.focal_px, view.centre_px)


def mirrored_x(x: Array, side: Array, centre_px: Array, crop_px: int) -> Array:
    """The x (...) of a crop's centre in the mirrored picture. Pixel 0 of the crop changes places with the last, so the
    square, whose middle lies half a crop's pixel beyond the middle of these, moves on by one."""
    return 2 * centre_px - x + side / crop_px


def mirrored_state(state: State, crop_px: int) -> State:
    """The mirror image of a body in the view's camera, as `mirrored_view` shows it. Its own inverse."""
    return State(mirrored_pose6d(state.pose6d), state.betas, mirrored_cam(state.cam, crop_px))


def mirrored_pose6d(pose6d: Array) -> Array:
    """(..., 144) → the pose of the mirror image: sides exchanged, turns about y and z reversed."""
    joints = pose6d.reshape(*pose6d.shape[:-1], 24, 6) * constant_like(SIX_D_SIGNS, pose6d)
    return joints[..., SWAP, :].reshape(*pose6d.shape)


def mirrored_cam(cam: Array, crop_px: int) -> Array:
    """(..., 3) scale, x, y of ReFit's camera → the same for the mirror image."""
    scale, x, y = cam[..., 0], cam[..., 1], cam[..., 2]
    return namespace_of(cam).stack([scale, -x - 2 / (crop_px * scale), y], -1)


def mean(one: State, two: State) -> State:
    return State((one.pose6d + two.pose6d) / 2, (one.betas + two.betas) / 2, (one.cam + two.cam) / 2)


def turn(known: Array, was_mirrored: Array) -> Array:
    """Whether (...) bool this frame is mirrored: each one after an unmirrored one; a person's first never is."""
    return known & (was_mirrored ^ True)


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """A body at a time, in the camera's frame."""

    time_s: float
    pose: Pose


def averaged(now: Moment, last: Moment, earlier: Moment) -> Pose:
    """The mean of a mirrored and an unmirrored body: this frame's, and last frame's carried on to now.

    Measured on real video: jitter is 49 mm without it and 26 mm with it; it is 25 mm where every frame is unmirrored.
    """
    on = (now.time_s - last.time_s) / (now.time_s - earlier.time_s)
    six, six_last, six_earlier = (geometry.six_d_from_matrix(one.pose.rotations) for one in (now, last, earlier))
    betas, trans = (
        carried_mean(here, there, before, on)
        for here, there, before in (
            (now.pose.betas, last.pose.betas, earlier.pose.betas),
            (now.pose.trans, last.pose.trans, earlier.pose.trans),
        )
    )
    return Pose(geometry.matrix_from_6d(carried_mean(six, six_last, six_earlier, on)), betas, trans)


def carried_mean(now: Array, last: Array, earlier: Array, on: Array) -> Array:
    """The mean of numbers now and of the last ones, which are moved on by `on` times the way from `earlier` to now.

    What alternates from frame to frame cancels; what moves evenly is not held back. At even times `on` is 1/2: the
    mean is 3/4 now, 1/2 last and -1/4 earlier.
    """
    return (now + last + on * (now - earlier)) / 2
