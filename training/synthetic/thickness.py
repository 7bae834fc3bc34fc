"""Thickens the skin by painted garments, shoes and hair."""

import numpy as np

from training.synthetic import cloth
from training.synthetic.figure import Figure, smoothed

SUNK_M = 0.012  # cloth and skin bend almost, but not exactly, alike


def dressed_surface(rng: np.random.Generator, figure: Figure, cuts: np.ndarray, hair) -> np.ndarray:
    """The template (V, 3) float32 with the thickness of its clothes."""
    template = figure.body.template
    layers = cloth.layers_at(template, figure.head, figure.limb, cuts.astype(np.float32))
    thickness = np.zeros(len(template))
    loose = rng.random() < 0.5
    x, y = np.abs(template[:, 0]), template[:, 1]
    shirt, trousers = rng.uniform(0.003, 0.012), rng.uniform(0.004, 0.012)
    flare, leg_flare, sleeve = rng.uniform(0, 0.05, 3) * (1.0 if loose else 0.3)
    chest, hip = figure.joints[9, 1], figure.joints[1, 1]
    drop = np.clip((chest + 0.05 - y) / 0.35, 0, 1) * (x < 0.24)
    along_arm = np.clip((x - 0.2) / 0.4, 0, 1)
    down_leg = np.clip((hip - y) / 0.8, 0, 1)
    noise = wobble(rng, template)
    thickness = np.where(layers == cloth.SHIRT, shirt + flare * 0.6 * drop + sleeve * 0.5 * along_arm, thickness)
    thickness = np.where(layers == cloth.TROUSERS, trousers + leg_flare * 0.7 * down_leg, thickness)
    coat = rng.uniform(0.012, 0.03)
    thickness = np.where(layers == cloth.JACKET, coat + flare * drop + sleeve * 0.6 * along_arm, thickness)
    thickness = np.where(layers == cloth.SOCKS, 0.002, thickness)
    cloth_part = np.isin(layers, [cloth.SHIRT, cloth.TROUSERS, cloth.JACKET, cloth.SHOES, cloth.SOLE])
    thickness *= 1 + 0.45 * noise
    shoes = np.isin(layers, [cloth.SHOES, cloth.SOLE])
    thickness = np.where(shoes, rng.uniform(0.005, 0.014), thickness)
    thickness = np.where(layers == cloth.HAIR, hair.thickness * (1 + 0.7 * wobble(rng, template, 70)), thickness)
    thickness = np.where(layers == cloth.CAP, rng.uniform(0.008, 0.02), thickness)
    share = smoothed(figure.averaging, cloth_part.astype(float), 1)[:, None]
    thickness = smoothed(figure.averaging, thickness, 1)[:, None]
    tight = 0.75 if not loose else 1.0
    blend = tight * share
    blend[shoes] = 1.0
    rest = template * (1 - blend) + figure.smooth * blend + figure.normals * thickness
    if cuts[cloth.SHOE] > -5:
        for side in (1, -1):
            _shoe(rng, rest, figure, side)
    return rest.astype(np.float32)


def sunk(figure: Figure, rest: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """A dressed surface (V, 3) whose hidden skin, (V,) bool, is drawn in by SUNK_M.

    Soles keep their height: the body stands on them.
    """
    depth = SUNK_M * smoothed(figure.averaging, hidden.astype(float), 2)[:, None] * hidden[:, None]
    inward = figure.body.template - figure.normals * depth
    foot = figure.body.template[:, 1] < figure.joints[7, 1]
    inward[foot, 1] = figure.body.template[foot, 1]
    return np.where(hidden[:, None], inward, rest).astype(np.float32)


def _shoe(rng: np.random.Generator, rest: np.ndarray, figure: Figure, side: int) -> None:
    """Turns the front of a foot of `rest` (V, 3) into a shoe: pushes the toes out to one round box."""
    template, joints = figure.body.template, figure.joints
    ball, ground = joints[10, 2] - 0.025, template[:, 1].min()
    part = (template[:, 0] * side > 0.02) & (template[:, 1] < ground + 0.075) & (template[:, 2] > ball - 0.05)
    foot = template[part]
    tip, thick = foot[:, 2].max(), rng.uniform(0.006, 0.012)
    place = np.clip((foot[:, 2] - ball) / (tip - ball), 0, 1)  # 0 at the ball, 1 at the toes' tips
    middle = (foot[:, 0].max() + foot[:, 0].min()) / 2 + side * 0.0
    wide = (foot[:, 0].max() - foot[:, 0].min()) / 2 + thick
    half = wide * np.sqrt(np.clip(1 - (0.86 * place) ** 3.2, 0.05, 1))
    tall = (rng.uniform(0.05, 0.062) * (1 - place) + 0.043 * place) / 2
    centre = ground + tall - 0.004
    x, y = (foot[:, 0] - middle) / half, (foot[:, 1] - centre) / tall
    radius = (np.abs(x) ** 3 + np.abs(y) ** 3) ** (1 / 3) + 1e-6
    share = np.clip((foot[:, 2] - ball + 0.05) / 0.05, 0, 1)[:, None]
    pushed = np.stack([middle + x / radius * half, centre + y / radius * tall, foot[:, 2] + 0.012 * place], 1)
    rest[part] = rest[part] * (1 - share) + pushed * share


def wobble(rng: np.random.Generator, points: np.ndarray, scale: float = 16.0) -> np.ndarray:
    """Smooth noise (V,) of about -1..1 over points (V, 3); scale in radians per metre."""
    waves, phase = rng.normal(0, scale, (6, 3)), rng.uniform(0, 2 * np.pi, 6)
    return np.sin(points @ waves.T + phase).mean(1) * 1.6
