"""Draws skirts: a tube around hips and thighs that follows both."""

import numpy as np

from training.synthetic import cloth
from training.synthetic.figure import Figure, Shell, grid_faces

ROWS, COLUMNS = 12, 36


def skirt_shell(rng: np.random.Generator, figure: Figure) -> Shell:
    """Draws a skirt from the waist to between thigh and ankle, narrow to wide, smooth or pleated."""
    joints, template = figure.joints, figure.smooth
    top = joints[0, 1] + rng.uniform(0.02, 0.1)
    bottom = rng.uniform(joints[4, 1] - 0.25, joints[4, 1] + 0.22)
    heights = np.linspace(top, bottom, ROWS)
    around = np.linspace(0, 2 * np.pi, COLUMNS, endpoint=False)
    flat = np.stack([np.sin(around), np.cos(around)], -1)
    legs = template[(np.abs(template[:, 0]) < 0.3) & (template[:, 1] < top + 0.1)]
    flare, pleats, depth = rng.uniform(0.0, 0.28), int(rng.integers(5, 14)), rng.uniform(0, 0.02)
    rest = np.zeros((ROWS, COLUMNS, 3))
    widest = np.zeros(COLUMNS)
    for row, height in enumerate(heights):
        ring = legs[np.abs(legs[:, 1] - height) < 0.05][:, [0, 2]]
        middle = np.array([0.0, joints[0, 2] + 0.01])
        reach = ((ring - middle) @ flat.T).max(0) + 0.012
        widest = np.maximum(widest * 0.985, reach)
        down = (top - height) / (top - bottom)
        radius = widest + flare * (top - height) * 0.6 + depth * down * np.sin(around * pleats)
        rest[row] = np.stack(
            [middle[0] + radius * flat[:, 0], np.full(COLUMNS, height), middle[1] + radius * flat[:, 1]], -1
        )
    weights = np.zeros((ROWS, COLUMNS, 24), np.float32)
    thigh = np.clip((top - 0.06 - heights) / 0.25, 0, 1)[:, None]
    left = 1 / (1 + np.exp(-rest[..., 0] / 0.04))
    shin = np.clip((joints[4, 1] - heights) / 0.2, 0, 0.8)[:, None]
    weights[..., 0] = 1 - thigh
    for hip, knee, share in ((1, 4, left), (2, 5, 1 - left)):
        weights[..., hip], weights[..., knee] = thigh * share * (1 - shin), thigh * share * shin
    return Shell(
        rest=rest.reshape(-1, 3).astype(np.float32),
        faces=grid_faces(ROWS, COLUMNS),
        weights=weights.reshape(-1, 24),
        kind=cloth.SKIRT_SHELL,
        coordinates=rest.reshape(-1, 3).astype(np.float32),
    )
