"""Draws hair styles: a hairline, a volume, and a hanging surface for hair longer than the head."""

from dataclasses import dataclass

import numpy as np

from training.synthetic import cloth
from training.synthetic.figure import HEAD, Figure, Shell, grid_faces, hull_radius

ROWS, COLUMNS = 14, 30
COLOURS = np.array(  # sRGB
    [[0.07, 0.06, 0.06], [0.13, 0.09, 0.07], [0.24, 0.15, 0.10], [0.38, 0.25, 0.15], [0.62, 0.45, 0.26],
     [0.78, 0.65, 0.42], [0.50, 0.22, 0.10], [0.55, 0.54, 0.53], [0.82, 0.81, 0.80]]
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Hair:
    """One hair style. The hairline is a cosine of the angle from the crown: 1 is bald, 0 the skull's equator."""

    colour: np.ndarray  # (3,) sRGB
    line: float
    front: float  # added to the line at the front
    side: float  # added at the sides
    thickness: float  # metres on the skull itself
    shell: bool
    length: tuple[float, float, float]  # metres of the shell from the crown: front, sides, back
    volume: float  # metres between skull and shell
    beard: float
    cap: bool


def random_hair(rng: np.random.Generator) -> Hair:
    """Draws a style: bald, shaved, short, bobbed, long, curly, tied back, or under a cap."""
    colour = COLOURS[rng.choice(len(COLOURS), p=[0.26, 0.2, 0.16, 0.12, 0.08, 0.05, 0.05, 0.05, 0.03])]
    colour = np.clip(colour * rng.uniform(0.7, 1.3) * rng.uniform(0.92, 1.08, 3), 0, 1)
    line, front, side = rng.uniform(-0.5, -0.2), rng.uniform(0.75, 1.05), rng.uniform(0.05, 0.3)
    thickness, shell, length, volume = rng.uniform(0.003, 0.012), False, (0.0, 0.0, 0.0), 0.0
    beard = rng.uniform(0.2, 1.0) if rng.random() < 0.22 else 0.0
    kind = rng.random()
    if kind < 0.06:
        line = 2.0  # bald
    elif kind < 0.12:
        front, side = rng.uniform(1.1, 1.5), rng.uniform(0.05, 0.2)  # receding
    elif kind < 0.42:  # short
        shell, volume = True, rng.uniform(0.006, 0.028)
        length = (rng.uniform(0.06, 0.1), rng.uniform(0.11, 0.15), rng.uniform(0.16, 0.21))
    elif kind < 0.58:  # bob, to the chin or the shoulders
        shell, volume = True, rng.uniform(0.01, 0.035)
        length = (rng.uniform(0.07, 0.12), rng.uniform(0.2, 0.34), rng.uniform(0.24, 0.36))
        beard = 0.0
    elif kind < 0.76:  # long
        shell, volume = True, rng.uniform(0.008, 0.03)
        length = (rng.uniform(0.07, 0.12), rng.uniform(0.3, 0.55), rng.uniform(0.38, 0.62))
        beard = 0.0
    elif kind < 0.86:  # curly, afro
        shell, volume = True, rng.uniform(0.03, 0.085)
        length = (rng.uniform(0.08, 0.12), rng.uniform(0.17, 0.24), rng.uniform(0.2, 0.28))
    cap = rng.random() < 0.06
    shell = shell and not cap
    return Hair(colour, line, front, side, thickness, shell, length, volume, beard, cap)


def hair_shell(rng: np.random.Generator, figure: Figure, hair: Hair) -> Shell:
    """The surface of longer hair: over the skull, then straight down along neck and back."""
    body, skull, radius = figure.body, figure.skull, figure.skull_radius
    points = body.template[(figure.head > 0.5) & (body.template[:, 1] > skull[1] - 0.03) & ~_ears(figure)]
    around = np.linspace(0, 2 * np.pi, COLUMNS, endpoint=False)
    front, side, back = hair.length
    face = np.cos(around)
    length = np.where(
        face > 0, side + (front - side) * np.clip(face * 1.5 - 0.25, 0, 1), side + (back - side) * face**2
    )
    length = length * (1 + rng.normal(0, 0.05, COLUMNS)) + 0.02 * np.sin(around + rng.uniform(0, 6)) * rng.random()
    share = np.linspace(0.02, 1, ROWS)[:, None]
    arc = share * length  # metres from the crown
    angle = np.minimum(arc / radius, np.pi / 2 + 0.15)
    hang = np.maximum(arc - angle * radius, 0)
    direction = np.stack(
        [np.sin(angle) * np.sin(around), np.cos(angle), np.sin(angle) * np.cos(around)], -1
    )  # (rows, columns, 3)
    reach = hull_radius(points, skull, direction.reshape(-1, 3)).reshape(direction.shape[:2])
    puff = hair.volume * (0.6 + 0.4 * np.sin(np.clip(share, 0, 1) * np.pi * 0.8)) + 0.004
    waves = sum(
        np.sin(around * int(rng.integers(2, 9)) + share * rng.uniform(2, 9) + rng.uniform(0, 6)) for _ in range(3)
    )
    puff = puff * (1 + 0.22 * waves * min(1.0, 0.4 + hair.volume * 20))
    ends = 1 - np.clip(hang / 0.04, 0, 1)  # short hair ends on the skin, hanging hair in the air
    puff = puff * (1 - ends * share**5) - 0.007 * ends * (share > 0.97)
    rest = skull + direction * (reach + puff)[..., None]
    rest[..., 1] -= hang
    inward = np.clip(hang / 0.12, 0, 1) * rng.uniform(-0.15, 0.25)
    rest[..., 0] *= 1 - inward
    rest[..., 2] = np.where(face < 0.3, rest[..., 2] + np.clip(hang / 0.25, 0, 1) * 0.0, rest[..., 2])
    below = np.clip((figure.joints[12, 1] - rest[..., 1]) / 0.08, 0, 1)  # hair that reaches the shoulders rests on them
    rest[..., 2] = np.where(
        face < 0, rest[..., 2] * (1 - below) + below * np.minimum(rest[..., 2], -0.075), rest[..., 2]
    )
    rest[..., 2] = np.where(
        (face >= 0) & (below > 0), rest[..., 2] * (1 - below) + below * np.maximum(rest[..., 2], 0.1), rest[..., 2]
    )
    weights = np.zeros((ROWS, COLUMNS, 24), np.float32)
    torso = np.clip((figure.joints[15, 1] - 0.04 - rest[..., 1]) / 0.2, 0, 0.85)
    weights[..., HEAD], weights[..., 9] = 1 - torso, torso
    coordinates = np.stack(
        np.broadcast_arrays(np.cos(around) * 0.35, arc * 0.12, np.sin(around) * 0.35), -1
    )  # strands: a high frequency around the head, a low one along the hair
    return Shell(
        rest=rest.reshape(-1, 3).astype(np.float32),
        faces=grid_faces(ROWS, COLUMNS),
        weights=weights.reshape(-1, 24),
        kind=cloth.HAIR_SHELL,
        coordinates=coordinates.reshape(-1, 3).astype(np.float32),
    )


def _ears(figure: Figure) -> np.ndarray:
    template = figure.body.template
    return (np.abs(template[:, 0]) > 0.074) & (template[:, 1] < figure.skull[1])
