"""Draws people: body shapes, skin, hair, outfits."""

from dataclasses import dataclass

import numpy as np

from refit_rt.body.smpl import Body, joint_transforms, skin_points
from training.synthetic import cloth
from training.synthetic.figure import Figure, Shell, shell_shape_dirs
from training.synthetic.hair import Hair, hair_shell, random_hair
from training.synthetic.skirt import skirt_shell
from training.synthetic.thickness import dressed_surface, sunk

BETA_SPREAD, BETA_LIMIT = 1.1, 3.0
SOLE_M = 0.008  # about the thickness of a shoe under the foot
SKIN_TONES = np.array(  # sRGB, from pale to very dark
    [[0.96, 0.83, 0.75], [0.93, 0.76, 0.65], [0.87, 0.68, 0.55], [0.78, 0.58, 0.44], [0.65, 0.46, 0.33],
     [0.50, 0.34, 0.24], [0.36, 0.24, 0.17], [0.25, 0.17, 0.13]]
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """The skinning of an outfit's shells, one after the other, in the format of `refit_rt.body.smpl.Skin`."""

    rest: np.ndarray  # (n, 3) float32
    shape_dirs: np.ndarray  # (n, 3, 10) float32
    starts: np.ndarray  # (n + 1,) int32
    bones: np.ndarray  # int32
    weights: np.ndarray  # float32


@dataclass(frozen=True, slots=True, eq=False)
class Outfit:
    """One outfit, ready to be posed: the geometry on the template, and the material of each point."""

    rest: np.ndarray  # (V, 3) float32: the dressed template
    shells: Pieces | None
    faces: np.ndarray  # (F, 3) int32 over the body's vertices followed by the shells'
    coordinates: np.ndarray  # (V + shell, 6) float32: rest x, y, z, head, hand, kind
    cuts: np.ndarray  # (cloth.CUTS,) float32
    fabric: np.ndarray  # (cloth.LAYERS, cloth.FIELDS) float32
    print_tile: np.ndarray  # (16, 16) float32


def posed(outfit: Outfit, body: Body, rotations: np.ndarray, betas: np.ndarray) -> np.ndarray:
    """The dressed surface (V + shell, 3) float32 in the body's own frame, posed by rotations (24, 3, 3).

    The body's pose blend shapes are left out: they move the skin under the clothes by millimetres."""
    transforms, _ = joint_transforms(body, rotations, betas)
    skin = body.surface_skin
    points = skin_points(outfit.rest, skin.shape_dirs, skin.starts, skin.bones, skin.weights, transforms, betas)
    if outfit.shells is None:
        return points
    s = outfit.shells
    return np.concatenate([points, skin_points(s.rest, s.shape_dirs, s.starts, s.bones, s.weights, transforms, betas)])


def random_betas(rng: np.random.Generator) -> np.ndarray:
    """Draws shape coefficients (10,) float32."""
    return np.clip(rng.normal(0, BETA_SPREAD, 10), -BETA_LIMIT, BETA_LIMIT).astype(np.float32)


def linear(srgb: np.ndarray) -> np.ndarray:
    """Converts sRGB colours to linear light."""
    srgb = np.asarray(srgb, float)
    return np.where(srgb <= 0.04045, srgb / 12.92, ((np.maximum(srgb, 0) + 0.055) / 1.055) ** 2.4)


def random_colour(rng: np.random.Generator) -> np.ndarray:
    """Draws a cloth colour, sRGB (3,): many greys, blues and earth tones, some bright colours."""
    kind = rng.random()
    if kind < 0.2:
        return np.full(3, rng.uniform(0.04, 0.3)) * rng.uniform(0.85, 1.15, 3)
    if kind < 0.38:
        return np.clip(np.full(3, rng.uniform(0.45, 0.97)) * rng.uniform(0.93, 1.07, 3), 0, 1)
    if kind < 0.55:
        return np.array([0.12, 0.2, 0.42]) * rng.uniform(0.4, 1.9) + rng.uniform(0, 0.1, 3)  # denim and navy
    if kind < 0.68:
        return np.clip(np.array([0.55, 0.46, 0.34]) * rng.uniform(0.4, 1.6) * rng.uniform(0.9, 1.1, 3), 0, 1)
    hue, saturation, value = rng.random() * 6, rng.uniform(0.25, 0.95), rng.uniform(0.25, 0.95)
    wheel = np.clip(np.abs((hue + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return value * (1 - saturation * (1 - wheel))


def random_fabric(rng: np.random.Generator) -> np.ndarray:
    """Draws the fabric (FIELDS,) of one garment."""
    row = np.zeros(cloth.FIELDS)
    row[0:3] = linear(random_colour(rng))
    row[3:6] = linear(random_colour(rng))
    weights = np.array([0.5, 0.12, 0.1, 0.06, 0.04, 0.06, 0.12])
    row[cloth.PATTERN] = rng.choice(len(weights), p=weights)
    row[cloth.FREQUENCY] = np.exp(rng.uniform(np.log(7), np.log(60)))
    row[cloth.DUTY] = rng.uniform(0.15, 0.7)
    row[cloth.AXIS] = rng.choice(3, p=[0.6, 0.3, 0.1])
    row[cloth.GRAIN], row[cloth.GRAIN_FREQUENCY] = rng.uniform(0.02, 0.25), rng.uniform(60, 400)
    row[cloth.BUMP], row[cloth.BUMP_FREQUENCY] = rng.uniform(0.05, 0.75), np.exp(rng.uniform(np.log(18), np.log(60)))
    row[cloth.GLOSS] = rng.uniform(0, 0.12) if rng.random() < 0.85 else rng.uniform(0.1, 0.5)
    return row


def random_outfit(rng: np.random.Generator, figure: Figure) -> Outfit:
    """Dresses the figure in a new outfit."""
    fabric = np.stack([random_fabric(rng) for _ in range(cloth.LAYERS)])
    cuts = random_cuts(rng, figure)
    hair = random_hair(rng)
    paint_skin_and_hair(rng, fabric, cuts, figure, hair)
    if rng.random() < 0.1:  # overalls, uniforms, sport suits
        fabric[cloth.TROUSERS] = fabric[cloth.SHIRT]
    skirt = rng.random() < 0.12
    if skirt:
        cuts[cloth.LEG] = min(cuts[cloth.LEG], figure.joints[1, 1] - 0.1) if rng.random() < 0.5 else 9.0
        if rng.random() < 0.4:  # a dress
            fabric[cloth.SKIRT] = fabric[cloth.SHIRT]
    return make_outfit(rng, figure, cuts, fabric, hair, skirt)


def make_outfit(
    rng: np.random.Generator,
    figure: Figure,
    cuts,
    fabric,
    hair: Hair,
    skirt: bool = False,
    worn: list[Shell] | None = None,
    hidden: np.ndarray | None = None,
) -> Outfit:
    """Dresses the figure with cuts (cloth.CUTS,) and fabric (cloth.LAYERS, cloth.FIELDS); folds are drawn at random.

    worn: shells over the painted clothes; hidden (V,) bool: the skin that they hide.
    """
    shells: list[Shell] = [hair_shell(rng, figure, hair)] if hair.shell else []
    shells += worn or []
    if skirt:
        shells.append(skirt_shell(rng, figure))
    rest = dressed_surface(rng, figure, cuts, hair)
    if hidden is not None:
        rest = sunk(figure, rest, hidden)
    tile = (rng.random((16, 16)) < rng.uniform(0.1, 0.6)).astype(np.float32) * rng.uniform(0.5, 1, (16, 16))
    return _assembled(figure, rest, shells, cuts, fabric, tile.astype(np.float32))


def random_cuts(rng: np.random.Generator, figure: Figure) -> np.ndarray:
    """Draws where each garment ends."""
    joints, cuts = figure.joints, np.full(cloth.CUTS, 9.0)
    pelvis, knee, ankle = joints[0, 1], joints[4, 1], joints[7, 1]
    shoulder, elbow, wrist = joints[16, 0], joints[18, 0], joints[20, 0]
    neck = joints[12, 1]
    cuts[cloth.HEM] = rng.uniform(pelvis - 0.16, pelvis + 0.1)
    kind = rng.random()
    if kind < 0.42:  # T-shirts, polo shirts
        cuts[cloth.SLEEVE] = rng.uniform(shoulder + 0.07, elbow + 0.03)
    elif kind < 0.82:  # long sleeves, rolled up or not
        cuts[cloth.SLEEVE] = (
            rng.uniform(wrist - 0.07, wrist + 0.02) if rng.random() < 0.75 else rng.uniform(elbow, wrist)
        )
    else:
        cuts[cloth.SLEEVE] = shoulder - rng.uniform(0.0, 0.05)
    cuts[cloth.ARM_ROOT] = shoulder + 0.02
    cuts[cloth.COLLAR] = neck + rng.uniform(-0.055, 0.02) if rng.random() < 0.85 else neck + rng.uniform(0.02, 0.06)
    cuts[cloth.V_DEPTH] = rng.uniform(0.02, 0.07) if rng.random() < 0.7 else rng.uniform(0.06, 0.2)
    cuts[cloth.V_WIDTH] = rng.uniform(0.05, 0.12)
    cuts[cloth.STRAP] = neck - 0.11 if cuts[cloth.SLEEVE] < shoulder and rng.random() < 0.4 else -9.0
    if rng.random() < 0.06:
        cuts[cloth.HEM] = 9.0  # bare-chested
    if rng.random() < 0.27:  # a jacket, a cardigan, a coat
        long = rng.random() < 0.25
        cuts[cloth.JACKET_HEM] = rng.uniform(knee, pelvis - 0.2) if long else rng.uniform(pelvis - 0.2, pelvis + 0.05)
        cuts[cloth.JACKET_SLEEVE] = rng.uniform(wrist - 0.06, wrist + 0.02)
        cuts[cloth.JACKET_GAP] = rng.choice([0.0, rng.uniform(0.02, 0.1)])
        cuts[cloth.JACKET_COLLAR] = neck + rng.uniform(-0.03, 0.03)
    cuts[cloth.WAIST] = max(min(cuts[cloth.HEM], 0.2) + 0.03, pelvis + rng.uniform(-0.02, 0.06))
    cuts[cloth.WAIST] = min(cuts[cloth.WAIST], pelvis + 0.12)
    cuts[cloth.LEG] = ankle + rng.uniform(-0.035, 0.07) if rng.random() < 0.66 else rng.uniform(knee - 0.1, knee + 0.25)
    cuts[cloth.SHOE] = ankle + rng.uniform(-0.03, 0.06) if rng.random() < 0.9 else -9.0
    if rng.random() < 0.06:
        cuts[cloth.SHOE] = rng.uniform(ankle + 0.1, knee - 0.05)  # boots
    cuts[cloth.SOCK] = ankle + rng.uniform(-0.02, 0.2) if rng.random() < 0.5 else -9.0
    cuts[cloth.SOLE_TOP] = figure.body.template[:, 1].min() + rng.uniform(0.008, 0.03)
    cuts[cloth.LOGO_X], cuts[cloth.LOGO_Y] = rng.choice([0.0, 0.07, -0.07]), neck - rng.uniform(0.12, 0.22)
    cuts[cloth.LOGO_SIZE] = rng.uniform(0.03, 0.13)
    return cuts


def paint_skin_and_hair(rng, fabric, cuts, figure: Figure, hair) -> None:
    """Draws the colours of skin, hair, eyes and shoes, and the face's measures, into `fabric` and `cuts`."""
    tone = rng.uniform(0, len(SKIN_TONES) - 1)
    low = min(int(tone), len(SKIN_TONES) - 2)
    skin = SKIN_TONES[low] * (low + 1 - tone) + SKIN_TONES[low + 1] * (tone - low)
    skin = skin * rng.uniform(0.92, 1.06) * rng.uniform(0.97, 1.03, 3)
    fabric[cloth.SKIN, 0:3] = linear(skin)
    fabric[cloth.SKIN, 3:] = 0
    fabric[cloth.SKIN, cloth.GRAIN], fabric[cloth.SKIN, cloth.GRAIN_FREQUENCY] = 0.06, 60
    fabric[cloth.SKIN, cloth.GLOSS] = rng.uniform(0.05, 0.22)
    fabric[cloth.LIPS] = fabric[cloth.SKIN]
    fabric[cloth.LIPS, 0:3] = (
        linear(skin * [0.86, 0.62, 0.6]) if rng.random() < 0.8 else linear(np.array([0.6, 0.1, 0.15]))
    )
    fabric[cloth.HAIR] = 0
    fabric[cloth.HAIR, 0:3] = linear(hair.colour)
    fabric[cloth.HAIR, cloth.GRAIN], fabric[cloth.HAIR, cloth.GRAIN_FREQUENCY] = rng.uniform(0.25, 0.6), 220
    fabric[cloth.HAIR, cloth.BUMP], fabric[cloth.HAIR, cloth.BUMP_FREQUENCY] = rng.uniform(0.4, 1.0), 90
    fabric[cloth.HAIR, cloth.GLOSS] = rng.uniform(0.05, 0.4)
    for layer in (cloth.SHOES, cloth.SOCKS, cloth.CAP, cloth.SOLE):
        fabric[layer, cloth.BUMP] *= 0.4
        if layer != cloth.SOCKS:
            fabric[layer, cloth.PATTERN] = cloth.PLAIN
    if rng.random() < 0.75:  # shoes are black, white, brown, grey
        shoe = [[0.05, 0.05, 0.06], [0.85, 0.85, 0.84], [0.32, 0.2, 0.13], [0.35, 0.35, 0.37]][rng.integers(4)]
        fabric[cloth.SHOES, 0:3] = linear(np.clip(np.array(shoe) * rng.uniform(0.7, 1.25), 0, 1))
    if rng.random() < 0.6:
        fabric[cloth.SOLE, 0:3] = linear(np.full(3, rng.choice([rng.uniform(0.8, 0.95), rng.uniform(0.05, 0.2)])))
    cuts[cloth.HAIR_COS], cuts[cloth.HAIR_FRONT], cuts[cloth.HAIR_SIDE] = hair.line, hair.front, hair.side
    cuts[cloth.BEARD] = hair.beard
    cuts[cloth.SKULL_Y], cuts[cloth.SKULL_Z] = figure.skull[1], figure.skull[2]
    cuts[cloth.EYE_X : cloth.EYE_Z + 1] = figure.eye_centre
    iris = [[0.25, 0.15, 0.08], [0.12, 0.08, 0.05], [0.3, 0.45, 0.6], [0.3, 0.4, 0.25]][rng.integers(4)]
    cuts[cloth.IRIS_R : cloth.IRIS_B + 1] = linear(np.array(iris))
    cuts[cloth.CAP_LINE] = rng.uniform(0.01, 0.04) if hair.cap else 9.0
    cuts[cloth.BROW] = rng.uniform(0.0015, 0.0045)
    cuts[cloth.NECK_TOP] = figure.joints[15, 1] - 0.09


def _assembled(figure: Figure, rest, shells: list[Shell], cuts, fabric, tile) -> Outfit:
    body = figure.body
    kind = np.where(figure.eye, cloth.EYE, cloth.BODY)
    foot = body.template[:, 1] < figure.joints[7, 1] - 0.03
    places = np.where(
        (foot & (cuts[cloth.SHOE] > -5))[:, None], rest, body.template
    )  # shoes are painted on their own shape
    coordinates = [np.column_stack([places, figure.head, figure.limb, kind])]
    faces, count, pieces = [body.faces], len(body.template), None
    if shells:
        for shell in shells:
            faces.append(shell.faces + count)
            count += len(shell.rest)
            size = len(shell.rest)
            coordinates.append(np.column_stack([shell.coordinates, np.zeros((size, 2)), np.full(size, shell.kind)]))
        weights = np.concatenate([shell.weights for shell in shells])
        rows, bones = np.nonzero(weights)
        starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(weights)))])
        pieces = Pieces(
            np.concatenate([shell.rest for shell in shells]).astype(np.float32),
            np.concatenate(
                [
                    shell.shape_dirs if shell.shape_dirs is not None else shell_shape_dirs(figure, shell)
                    for shell in shells
                ]
            ),
            starts.astype(np.int32),
            bones.astype(np.int32),
            weights[rows, bones].astype(np.float32),
        )
    return Outfit(
        rest=rest,
        shells=pieces,
        faces=np.ascontiguousarray(np.concatenate(faces), np.int32),
        coordinates=np.ascontiguousarray(np.concatenate(coordinates), np.float32),
        cuts=cuts.astype(np.float32),
        fabric=fabric.astype(np.float32),
        print_tile=tile,
    )
