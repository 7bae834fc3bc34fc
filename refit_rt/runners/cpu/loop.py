"""The loop on one CPU core, in numba: 0.12 ms per iteration and person."""

import math
from time import monotonic

import numpy as np

from refit_rt.bundle.read import AGAIN, Bundle
from refit_rt.errors import UserError
from refit_rt.model.config import OFFSET_GAIN, SIDE_MEAN, SIDE_SPREAD
from refit_rt.runners.cpu import kernels
from refit_rt.runners.cpu.packing import body_arrays, check_shapes, loop_arrays, workspace
from refit_rt.types import Encoded, Result, State, View

NO_KEYPOINTS = np.zeros((0, 4), np.float32)


class NumbaLoop:
    """One network's loop, and the workspace for one person. It must not be used by two threads at once."""

    def __init__(self, bundle: Bundle) -> None:
        """Raises UserError when loop.safetensors lacks an array or an array has another shape."""
        weights = bundle.weights
        try:
            self._means = [weights[f"mean_{part}"].reshape(-1) for part in ("pose6d", "betas", "cam")]
            self._loop = loop_arrays(bundle)
        except KeyError as error:
            raise UserError(f"{bundle.path}: loop.safetensors lacks {error}. {AGAIN}") from error
        check_shapes(self._loop, bundle)
        self._judge = (
            [weights[f"confidence.{name}"] for name in ("first.weight", "first.bias", "last.weight", "last.bias")]
            if bundle.sizes.confidence
            else None
        )
        self._presence = (
            (weights["presence.weight"].reshape(-1), float(weights["presence.bias"][0]))
            if bundle.sizes.presence
            else None
        )
        self._body = body_arrays(bundle.body)
        self._work = workspace(self._loop, bundle.sizes)

    def initial(self, encoded: Encoded, view: View) -> State:
        """The mean body, corrected from the crop's first hidden states."""
        pose6d, betas, cam = (mean.copy() for mean in self._means)
        kernels.regress(self._loop, encoded.hidden, box_features(view), self._work.layer, pose6d, betas, cam)
        return State(pose6d, betas, cam)

    def iterate(
        self,
        encoded: Encoded,
        view: View,
        state: State,
        iterations: int,
        update_rad: float = 0.0,
        deadline_s: float | None = None,
    ) -> Result:
        """See refit_rt.runners.Runner. With a deadline, the clock is read after every iteration (0.02 ms each)."""
        work, box = self._work, box_features(view)
        work.pose6d[:], work.betas[:], work.cam[:], work.hidden[:] = state.pose6d, state.betas, state.cam, 0
        keypoints = NO_KEYPOINTS if encoded.keypoints is None else encoded.keypoints
        stride = iterations if deadline_s is None else 1
        done, turned = 0, np.float32(0)
        while True:
            made, turned = kernels.run(
                self._body,
                self._loop,
                encoded.maps,
                keypoints,
                box,
                view_array(view),
                work,
                min(stride, iterations - done),
                np.float32(update_rad),
            )
            done += made
            if done >= iterations or turned < update_rad or (deadline_s is not None and monotonic() >= deadline_s):
                break
        new = State(work.pose6d.copy(), work.betas.copy(), work.cam.copy())
        return Result(
            new,
            done,
            float(turned),
            self._error_px(work.hidden if done else np.ascontiguousarray(encoded.hidden, np.float32), box),
            work.rotations.copy(),
            work.joints.copy(),
            work.markers.copy(),
            work.joints_px.copy(),
            work.markers_px.copy(),
            self.presence(encoded.hidden),
        )

    def presence(self, hidden: np.ndarray) -> float | None:
        """0..1: whether the crop of these first hidden states (26, H) shows a person; None without such a head."""
        if self._presence is None:
            return None
        weight, bias = self._presence
        return 1 / (1 + math.exp(-float(weight @ hidden.reshape(-1)) - bias))

    def _error_px(self, hidden: np.ndarray, box: np.ndarray) -> float | None:
        if self._judge is None:
            return None
        first_weight, first_bias, last_weight, last_bias = self._judge
        return float(kernels.judge(first_weight, first_bias, last_weight, last_bias, hidden, box))


def box_features(view: View) -> np.ndarray:
    """(3,) float32: the crop's position and size, whitened as in CLIFF."""
    (x, y, side), (middle_x, middle_y) = view.square, view.centre_px
    return np.array(
        [
            (x - middle_x) / view.focal_px * OFFSET_GAIN,
            (y - middle_y) / view.focal_px * OFFSET_GAIN,
            (side / view.focal_px - SIDE_MEAN) / SIDE_SPREAD,
        ],
        np.float32,
    )


def view_array(view: View) -> np.ndarray:
    """(6,) float32: the square's x, y and side, the focal length, the principal point's x and y."""
    return np.array([*view.square, view.focal_px, *view.centre_px], np.float32)
