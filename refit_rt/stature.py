"""A person whose height is known: the body is made as tall, and stands as far away that the picture stays the same.

One camera does not show how large somebody is: a child near by looks like a giant far off. Fits are as tall as people
are on average (held-out renders: fitted and true sizes correlate by 0.14), and as near or far as that makes them.
"""

import numpy as np

from refit_rt.body import Body


class Stature:
    """Heights of a body's shapes, barefoot in the T-pose: a linear function of betas, between two of its vertices."""

    def __init__(self, body: Body) -> None:
        top, sole = int(body.template[:, 1].argmax()), int(body.template[:, 1].argmin())
        self._mean_m = float(body.template[top, 1] - body.template[sole, 1])
        self._slope_m = (body.shape_dirs[top, 1] - body.shape_dirs[sole, 1]).astype(float)  # (10,) a unit of beta
        self._body = body

    def of(self, betas: np.ndarray) -> float:
        """betas (10,) → metres."""
        return self._mean_m + float(self._slope_m @ betas)

    def made(self, stature_m: float, betas: np.ndarray, trans: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """betas (10,) and translation (3,) in the camera's frame → those of somebody so tall whose pelvis falls on the
        same pixel, as large.

        Of all shapes of that height it is the one nearest in betas, the likeliest: they are normally distributed.
        """
        was_m = self.of(betas)
        tall = betas + self._slope_m * (stature_m - was_m) / float(self._slope_m @ self._slope_m)
        pelvis = trans + self._pelvis(betas)
        return tall.astype(np.float32), (pelvis * (stature_m / was_m) - self._pelvis(tall)).astype(np.float32)

    def _pelvis(self, betas: np.ndarray) -> np.ndarray:
        """(3,) metres: the place that the root turns about."""
        return self._body.joint_template[0] + self._body.joint_shape_dirs[0] @ betas
