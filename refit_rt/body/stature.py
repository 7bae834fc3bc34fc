"""A person whose height is known: the body is made as tall, and stands as far away that the picture stays the same.

One camera does not show how large somebody is: a child near by looks like a giant far off. Fits are as tall as people
are on average (held-out renders: fitted and true sizes correlate by 0.14), and as near or far as that makes them.
"""

import numpy as np

from refit_rt.body.smpl import Body
from refit_rt.errors import UserError

MOST_BETAS = 5.0  # length of betas beyond which shapes are no longer people's


class Stature:
    """Bodies of one height, barefoot in the T-pose: a linear function of betas, between two vertices."""

    def __init__(self, body: Body, stature_m: float) -> None:
        """Raises UserError when no shape of the body is so tall."""
        top, sole = int(body.template[:, 1].argmax()), int(body.template[:, 1].argmin())
        self._mean_m = float(body.template[top, 1] - body.template[sole, 1])
        self._slope_m = (body.shape_dirs[top, 1] - body.shape_dirs[sole, 1]).astype(float)  # (10,) a unit of beta
        self._body, self._stature_m = body, stature_m
        spread_m = MOST_BETAS * float(np.linalg.norm(self._slope_m))
        if abs(stature_m - self._mean_m) > spread_m:
            least_m, most_m = self._mean_m - spread_m, self._mean_m + spread_m
            raise UserError(
                f"fit.stature_m {stature_m:g}: body {body.name} can be {least_m:.2f} to {most_m:.2f} m tall. "
                "Give metres in between, or 0 where the height is not known"
            )

    def of(self, betas: np.ndarray) -> float:
        """betas (10,) → metres."""
        return self._mean_m + float(self._slope_m @ betas)

    def made(self, betas: np.ndarray, trans: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """betas (10,) and translation (3,) in the camera's frame → those of somebody as tall as is known, whose pelvis
        falls on the same pixel. Of all shapes of that height it is the one nearest to betas.
        """
        was_m = max(self.of(betas), 0.1)
        tall = betas + self._slope_m * (self._stature_m - self.of(betas)) / float(self._slope_m @ self._slope_m)
        pelvis = trans + self._body.rest_pelvis(betas)
        placed = pelvis * (self._stature_m / was_m) - self._body.rest_pelvis(tall)
        return tall.astype(np.float32), placed.astype(np.float32)
