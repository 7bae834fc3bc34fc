"""Dresses people in garment meshes, sometimes in part: a shirt over painted trousers, hair over a painted suit."""

from dataclasses import fields, replace

import numpy as np

from training.synthetic import cloth
from training.synthetic.figure import Figure, Shell
from training.synthetic.garments import Garment, Wardrobe
from training.synthetic.hair import random_hair
from training.synthetic.people import Outfit, make_outfit, paint_skin_and_hair, random_cuts, random_fabric
from training.synthetic.thickness import wobble

SUIT_SHARE, TOP_SHARE, BOTTOM_SHARE, SHOES_SHARE, HAIR_SHARE, HAT_SHARE = 0.14, 0.85, 0.85, 0.75, 0.7, 0.07
TUCKED_M, OVERLAP_M = 0.0025, 0.02  # cloth under a top is this far from the skin, up to this far below the top's hem
DIRECTIONS = 24  # around the trunk: a top has its own height of hem in each
NOWHERE = 9.0


def part(wardrobe: Wardrobe, every: int, held_out: bool) -> Wardrobe:
    """Every `every`-th garment of a kind if held out, else the others; all of them if there are too few."""

    def some(garments: list[Garment]) -> list[Garment]:
        return [g for i, g in enumerate(garments) if (i % every == every - 1) == held_out] or garments

    return Wardrobe(*(some(getattr(wardrobe, field.name)) for field in fields(Wardrobe)))


def random_dressed(rng: np.random.Generator, figure: Figure, wardrobe: Wardrobe) -> Outfit:
    """Dresses the figure at random in meshes of the wardrobe and painted clothes."""
    fabric = np.stack([random_fabric(rng) for _ in range(cloth.LAYERS)])
    cuts, hair = random_cuts(rng, figure), random_hair(rng)
    garments = _clothes(rng, wardrobe)
    if wardrobe.hats and rng.random() < HAT_SHARE:
        garments.append(wardrobe.hats[rng.integers(len(wardrobe.hats))])
        hair = replace(hair, shell=False, cap=False, thickness=0.003)
    elif wardrobe.hair and not hair.cap and hair.line < 1 and rng.random() < HAIR_SHARE:
        garments.append(wardrobe.hair[rng.integers(len(wardrobe.hair))])
        hair = replace(hair, shell=False, thickness=0.002)
    paint_skin_and_hair(rng, fabric, cuts, figure, hair)
    if rng.random() < 0.12:  # overalls, uniforms, sport suits
        fabric[cloth.TROUSERS] = fabric[cloth.SHIRT]
    _leave_out_painted(cuts, garments)
    shells = [_worn(rng, garment, garments) for garment in garments]
    hidden = np.any([garment.hides for garment in garments], axis=0) if garments else None
    return make_outfit(rng, figure, cuts, fabric, hair, worn=shells, hidden=hidden)


def _clothes(rng: np.random.Generator, wardrobe: Wardrobe) -> list[Garment]:
    """Draws a suit, a top, trousers, or top and trousers; and shoes."""
    garments = []
    if wardrobe.suits and rng.random() < SUIT_SHARE:
        garments.append(wardrobe.suits[rng.integers(len(wardrobe.suits))])
    else:
        for kind, share in ((wardrobe.tops, TOP_SHARE), (wardrobe.bottoms, BOTTOM_SHARE)):
            if kind and rng.random() < share:
                garments.append(kind[rng.integers(len(kind))])
    if wardrobe.shoes and rng.random() < SHOES_SHARE:
        garments.append(wardrobe.shoes[rng.integers(len(wardrobe.shoes))])
    return garments


def _leave_out_painted(cuts: np.ndarray, garments: list[Garment]) -> None:
    """Removes painted clothes that are worn as a mesh; a painted shirt ends inside trousers that are a mesh."""
    layers = {int(layer) for garment in garments for layer in np.unique(garment.layer)}
    legs = [garment for garment in garments if {cloth.TROUSERS, cloth.SKIRT} & set(garment.layer.tolist())]
    if layers & {cloth.SHIRT, cloth.JACKET}:
        cuts[cloth.HEM] = cuts[cloth.JACKET_HEM] = NOWHERE
    if legs:
        cuts[cloth.WAIST] = -NOWHERE
        belt = float(legs[0].rest[:, 1].max())
        for hem in (cloth.HEM, cloth.JACKET_HEM):
            if cuts[hem] < NOWHERE:
                cuts[hem] = belt - 0.05
    if cloth.SHOES in layers:
        cuts[cloth.SHOE] = cuts[cloth.SOLE_TOP] = -NOWHERE


def _hem_at(top: Garment, points: np.ndarray) -> np.ndarray:
    """The height (n,) in metres of a top's hem on the side of the trunk where points (n, 3) lie."""

    def side(at: np.ndarray) -> np.ndarray:
        return np.floor((np.arctan2(at[:, 0], at[:, 2]) / (2 * np.pi) + 0.5) * DIRECTIONS).astype(int) % DIRECTIONS

    lowest = np.full(DIRECTIONS, NOWHERE)
    np.minimum.at(lowest, side(top.rest), top.rest[:, 1])
    return lowest[side(points)]


def _worn(rng: np.random.Generator, garment: Garment, others: list[Garment]) -> Shell:
    """A garment, made slightly wider or narrower, under the garments worn over it."""
    rest = garment.rest.astype(np.float64)
    height = garment.height.astype(np.float64)
    loose = rng.uniform(0, 0.008) * (1 + 0.8 * wobble(rng, rest))
    rest += garment.outward * np.maximum(loose, 0)[:, None]
    height += np.maximum(loose, 0)
    if cloth.TROUSERS in garment.layer or cloth.SKIRT in garment.layer:
        for top in others:
            if top is not garment and cloth.SHIRT in top.layer:
                under = np.clip((rest[:, 1] - _hem_at(top, rest)) / OVERLAP_M + 1, 0, 1)
                rest -= garment.outward * (under * np.maximum(height - TUCKED_M, 0))[:, None]
    return Shell(
        rest=rest.astype(np.float32),
        faces=garment.faces,
        weights=garment.weights,
        kind=cloth.GARMENT + garment.layer,
        coordinates=garment.rest,
        shape_dirs=garment.shape_dirs,
    )
