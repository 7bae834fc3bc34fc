"""Where the page's own camera stands: so that it sees everybody."""

import math

import numpy as np

ROOM_M = 1.1  # beside the people, and above and below them
LEAST_M = 3.6
SIDEWAYS_RAD = 0.45  # from the straight line to the first camera: a body is seen better from an angle
ABOVE = 0.28  # of the distance
TALL_M = 1.9
LOWER_M = 0.25  # the view looks so much lower than the hips: the picture stands at its lower edge
LOWER = 0.45  # of half the height of the view: upright screens have the panel below


def looks_from(
    centre: np.ndarray, towards: np.ndarray, spread_m: float, fov_rad: float, aspect: float
) -> tuple[np.ndarray, np.ndarray]:
    """The camera's place and the point that it looks at, (3,) each, world, metres.

    centre: middle of the people. towards: level direction from which to look. spread_m: how far they reach from the
    middle. fov_rad: from bottom to top. aspect: width by height.
    """
    up = math.tan(fov_rad / 2)
    distance = max(LEAST_M, (TALL_M / 2 + ROOM_M / 2) / up, (spread_m + ROOM_M / 2) / (up * aspect) + spread_m)
    cos, sin = math.cos(SIDEWAYS_RAD), math.sin(SIDEWAYS_RAD)
    side = np.array([cos * towards[0] + sin * towards[2], ABOVE, -sin * towards[0] + cos * towards[2]])
    lower_m = LOWER * distance * up if aspect < 1 else LOWER_M
    return centre + distance * side, centre - np.array([0.0, lower_m, 0.0])
