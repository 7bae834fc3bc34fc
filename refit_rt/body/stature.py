"""Known stature: gives the body a person's height and moves it so that its projection stays the same.

One camera cannot measure size: a small child nearby and a tall adult far away project alike. Without a known stature
the fit takes an average height (on held-out renders, fitted and true sizes correlate by 0.14), and with it a distance.
"""

import numpy as np

from refit_rt.body.smpl import Body
from refit_rt.errors import UserError

MOST_BETAS = 5.0  # longer betas give shapes that people do not have


class Stature:
    """Gives bodies one stature: the height of a T-pose from sole to crown, a linear function of betas."""

    def __init__(self, body: Body, stature_m: float) -> None:
        """stature_m: the person's height, metres, barefoot; 0: not known, and only measured. Raises UserError when the
        body cannot take that height."""
        top, sole = int(body.template[:, 1].argmax()), int(body.template[:, 1].argmin())
        self._mean_m = float(body.template[top, 1] - body.template[sole, 1])
        self._slope_m = (body.shape_dirs[top, 1] - body.shape_dirs[sole, 1]).astype(float)  # (10,) metres per beta
        self._body, self._stature_m = body, stature_m
        spread_m = MOST_BETAS * float(np.linalg.norm(self._slope_m))
        if stature_m and abs(stature_m - self._mean_m) > spread_m:
            least_m, most_m = self._mean_m - spread_m, self._mean_m + spread_m
            raise UserError(
                f"fit.stature_m {stature_m:g}: body {body.name} can be {least_m:.2f} to {most_m:.2f} m tall. "
                "Give a value in this range, or 0 if the height is not known"
            )

    def of(self, betas: np.ndarray) -> float:
        """Returns the stature in metres of betas (10,)."""
        return self._mean_m + float(self._slope_m @ betas)

    def made(self, betas: np.ndarray, trans: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Changes betas (10,) and translation (3,), camera frame, metres, to those of a body with the known stature.

        The pelvis stays on the same pixel. Of all shapes with that stature, the result is the nearest to `betas`.
        """
        was_m = max(self.of(betas), 0.1)
        tall = betas + self._slope_m * (self._stature_m - self.of(betas)) / float(self._slope_m @ self._slope_m)
        pelvis = trans + self._body.rest_pelvis(betas)
        placed = pelvis * (self._stature_m / was_m) - self._body.rest_pelvis(tall)
        return tall.astype(np.float32), placed.astype(np.float32)
