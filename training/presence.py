"""Trains the head that tells people from crops beside them and from background: `python -m training.presence OUT`.

The head is linear in the encoder's first hidden states, so the encoder stays as it is. Renders give the crops: people
as the live fitter crops them, crops that lie 0.4 to 1 of their side beside a person, and places without anybody. Every
crop is encoded in f32 and, if the bundle has such an encoder, in int8, so that one head serves both.
"""

import logging
import os
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import msgspec
import numpy as np
import torch
import tyro
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from refit_rt.bundle import read as bundles
from refit_rt.bundle.make import is_bundle, shortest, write_card
from refit_rt.bundle.read import Bundle, find_bundle, load_bundle
from refit_rt.errors import UserError
from refit_rt.files import write_whole_folder
from refit_rt.fit import start
from refit_rt.geometry import roll_matrix
from refit_rt.runners.cpu.encoder import OpenVinoEncoder
from refit_rt.runners.cpu.loop import NumbaLoop
from refit_rt.types import View
from training.reporting import Table, print_parts, run
from training.synthetic import cameras
from training.synthetic.draw import Person, draw
from training.synthetic.generator import DRAWN_PX, Assets, Generator, Sample, _inside_frame
from training.synthetic.motion import about_y
from training.synthetic.photo import CROP_PX, expose, sensor

log = logging.getLogger(__name__)
PERSON, SLID, BACKGROUND = range(3)
SLIDE = (0.4, 1.0)  # distance of a slid crop from the person's, in sides of the crop
LEAST_INSIDE = 0.35  # share of a slid crop or of background that lies in the picture
MOST_SEEN = 0.004  # share of a background crop that people may cover
WHOLE, MOST_HELD = 0.9, 0.5  # shares of a person in the picture, and of that part in a slid crop
TRIES = 6
CHUNK = 100  # scenes in one file of features
UPDATES = 5  # of the fit whose confidence the table compares
DECAY = 0.01  # weight of the squared weights of the standardised features in the loss
KEPT, SURE = 0.95, 0.9  # the bias lets this share of held-out people have at least this presence
SEED, HELD_SEED = 11, 901


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """One crop and what it shows."""

    image: np.ndarray  # (256, 256, 3) uint8 RGB
    view: View
    kind: int  # PERSON, SLID or BACKGROUND


Placed = tuple[np.ndarray, np.ndarray]  # a crop (256, 256, 3) uint8 RGB, and its box (3,): centre and side in pixels


class Surroundings(Generator):
    """Draws people, and crops of the same scenes that miss them."""

    def crops(self, number: int) -> list[Crop]:
        """The crops of one scene: a person, and what can be found of a slid crop and of background."""
        sample = self.sample(number)
        rng = np.random.default_rng([*self.key, 20, number])
        found = [(PERSON, (sample.image, sample.box)), (SLID, self._slid(rng, sample)), (BACKGROUND, self._empty(rng))]
        return [
            Crop(image[:, ::-1].copy() if rng.random() < 0.5 else image, view_of(sample, box), kind)
            for kind, one in found
            if one is not None
            for image, box in [one]
        ]

    def _shoot(self, rng, stage, person, rotations, shift, kind, jitter=None) -> Sample:
        joints = self.body.joints(rotations, stage.betas) + shift
        self._shown = replace(stage, view=cameras.stood_upright(stage.view, joints, stage.error)), person
        return super()._shoot(rng, stage, person, rotations, shift, kind, jitter)

    def _slid(self, rng: np.random.Generator, sample: Sample) -> Placed | None:
        stage, person = self._shown
        for _ in range(TRIES):
            box, angle = sample.box.astype(float), rng.uniform(0, 2 * np.pi)
            box[2] *= np.exp(rng.normal(0, 0.2))
            box[:2] += rng.uniform(*SLIDE) * max(box[2], sample.box[2]) * np.array([np.cos(angle), np.sin(angle)])
            if self._shows_as_much(stage.view, box, person):
                continue
            image, _ = self._picture(rng, stage.view, box, [person])
            if image is not None:
                return image, box
        return None

    def _shows_as_much(self, view: cameras.View, box: np.ndarray, person: Person) -> bool:
        """Whether a crop holds most of a person that the picture cuts off: such a crop could be the fitter's own, as
        nobody knows how far the hidden part reaches."""
        seen = view.to_camera(person.points[::9])
        pixels = seen[:, :2] / np.maximum(seen[:, 2:], 0.1) * view.focal_px  # about the principal point
        turned = pixels @ roll_matrix(view.turned)[:2, :2]
        shown = (np.abs(turned) < np.array(view.size) / 2).all(1) & (seen[:, 2] > 0.1)
        held = (np.abs(pixels + view.centre_px - box[:2]) < box[2] / 2).all(1)
        return shown.mean() < WHOLE and held[shown].mean() > MOST_HELD

    def _empty(self, rng: np.random.Generator) -> Placed | None:
        stage, person = self._shown
        for _ in range(TRIES):
            turn = about_y(np.array(rng.uniform(0, 2 * np.pi) if rng.random() < 0.7 else 0.0))
            view = replace(stage.view, camera_from_world=stage.view.camera_from_world @ turn)
            side = max(view.size) * np.exp(rng.uniform(np.log(0.06), np.log(0.9)))
            box = np.array([*(rng.uniform(0, 1, 2) * view.size), side])
            image, seen = self._picture(rng, view, box, [person])
            if image is not None and seen < MOST_SEEN:
                return image, box
        return None

    def _picture(
        self, rng: np.random.Generator, view: cameras.View, box: np.ndarray, people: list[Person]
    ) -> tuple[np.ndarray | None, float]:
        """The crop of a box, and the share of it that people cover; None where too little lies in the picture."""
        inside = _inside_frame(view, box, DRAWN_PX)
        if inside.mean() < LEAST_INSIDE:
            return None, 0.0
        camera = cameras.crop_camera(view, box, CROP_PX, DRAWN_PX)
        linear, owner = draw(self._shown[0].scene, view, people, *camera, inside, self.stock)
        picture, dark = expose(rng, linear, inside)
        image = sensor(rng, picture, float(box[2]), dark, self.noise)
        image[~_inside_frame(view, box, CROP_PX)] = 0
        return image, float((owner >= 0).mean())


def view_of(sample: Sample, box: np.ndarray) -> View:
    """The place of a crop in the upright picture. Mirrored crops keep it: the head does not read it."""
    return View(tuple(box.tolist()), sample.focal_px, tuple(sample.centre_px.tolist()))


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """What the bundle makes of crops. Each crop has one row per precision of the encoder."""

    hidden: np.ndarray  # (n, 26 * H) float32, first hidden states
    sure: np.ndarray  # (n,) confidence from the predicted error alone, of a cold fit
    kind: np.ndarray  # (n,) PERSON, SLID or BACKGROUND


@dataclass(frozen=True)
class Settings:
    """Trains the presence head of a bundle on renders, and writes the bundle with that head."""

    out: tyro.conf.Positional[Path]
    """The folder of the new bundle."""
    bundle: str = "edge"
    """The bundle whose head is trained: a shipped one's name or a folder."""
    features: Path = Path("runs/presence")
    """Folder for what the bundle makes of the renders, which is made once. Give another one for other assets."""
    motion: Path | None = None
    """Recorded motion, as for training.produce."""
    hdri: Path | None = None
    """Folder of equirectangular panoramas."""
    garments: Path | None = None
    """Folder of MakeHuman's clothes and hair."""
    scenes: int = 1600
    """Scenes to train on: each gives a person, background, and mostly a slid crop."""
    held_out: int = 400
    """Scenes with people and places that training leaves out."""
    processes: int = 2


def features_of(settings: Settings, seed: int, held_out: bool, begin: int) -> Path:
    """Renders and encodes CHUNK scenes from number `begin`, unless their file exists; returns the file."""
    cv2.setNumThreads(1)
    bundle = load_bundle(find_bundle(settings.bundle))
    key = "".join(digest[:4] for digest in bundle.card.files.values())
    path = settings.features / f"{key}-{'held' if held_out else 'seed'}{seed}-{begin:05}.npz"
    if path.is_file():
        return path
    scenes, rows = scenes_of(settings, seed, held_out), []
    encoders, loop = encoders_of(settings.bundle), NumbaLoop(bundle)
    for number in range(begin, begin + CHUNK):
        for crop in scenes.crops(number):
            for encoder in encoders:
                encoded = encoder(crop.image)
                result = loop.iterate(encoded, crop.view, loop.initial(encoded, crop.view), UPDATES)
                sure = start.confidence(result.error_px, np.float64(result.state.cam[0]), None)
                rows.append((encoded.hidden.ravel(), sure, crop.kind))
    hidden, sure, kind = (np.array(column) for column in zip(*rows, strict=True))
    settings.features.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.npz")
    np.savez(part, hidden=hidden, sure=sure, kind=kind)
    part.replace(path)
    log.info("%s: %d crops", path, len(rows) // len(encoders))
    return path


@cache
def scenes_of(settings: Settings, seed: int, held_out: bool) -> Surroundings:
    assets = Assets(motion=settings.motion, hdri=settings.hdri, garments=settings.garments)
    return Surroundings(seed, assets, held_out=held_out, outfits=40, close=0.15, webcam=0.15)


@cache
def encoders_of(name: str) -> list[OpenVinoEncoder]:
    """The bundle's encoder in f32 and, if it has one, in int8."""
    bundle = load_bundle(find_bundle(name))
    return [OpenVinoEncoder(bundle, precision, 1) for precision in precisions_of(bundle)]


def precisions_of(bundle: Bundle) -> tuple[str, ...]:
    return ("f32", "int8") if bundles.ENCODER_INT8 in bundle.card.files else ("f32",)


def read_features(files: list[Path]) -> Features:
    """All rows of these files."""
    parts = [np.load(file) for file in files]
    return Features(*(np.concatenate([part[name] for part in parts]) for name in ("hidden", "sure", "kind")))


def train(seen: Features, held: Features) -> tuple[Tensor, Tensor]:
    """Logistic regression: weight (1, 26 * H) and bias (1,) of the head. People weigh as much as all else.

    The bias is then moved so that most held-out people have a presence near 1: a factor that lay lower would make
    people look lost.
    """
    hidden, is_person = torch.from_numpy(seen.hidden).double(), torch.from_numpy(seen.kind == PERSON).double()
    middle, spread = hidden.mean(0), hidden.std(0) + 1e-3
    given, share = (hidden - middle) / spread, float(is_person.mean())
    balance = torch.where(is_person > 0, 0.5 / share, 0.5 / (1 - share))
    weight, bias = (torch.zeros(size, dtype=torch.double, requires_grad=True) for size in (hidden.shape[1], 1))
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=150, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        wrong = binary_cross_entropy_with_logits(given @ weight + bias, is_person, balance)
        whole = wrong + DECAY / 2 * weight.square().sum()
        whole.backward()
        return whole

    optimiser.step(loss)  # type: ignore[arg-type]  # the stub wants a float
    with torch.no_grad():
        weight = (weight / spread).half().float()  # so that a short checkpoint, which rounds matrices, changes nothing
        people = torch.from_numpy(held.hidden[held.kind == PERSON]) @ weight
        bias = np.log(SURE / (1 - SURE)) - torch.quantile(people, 1 - KEPT)
    return weight[None], bias[None]


def presence_of(hidden: np.ndarray, weight: Tensor, bias: Tensor) -> np.ndarray:
    """(n,) 0..1 of first hidden states (n, 26 * H), as ReFit.present computes it."""
    return torch.sigmoid(torch.from_numpy(hidden) @ weight[0] + bias).numpy()


def refused(score: np.ndarray, kind: np.ndarray) -> dict[str, float]:
    """Per cent of background and of slid crops below the score that KEPT of the people reach."""
    least = np.quantile(score[kind == PERSON], 1 - KEPT)
    return {
        name: round(100 * float((score[kind == which] < least).mean()), 1)
        for name, which in (("background", BACKGROUND), ("slid", SLID))
    }


def write_bundle(source: Path, out: Path, weight: Tensor, bias: Tensor, data: str, accuracy: dict) -> None:
    """Writes the bundle `source` with this head. The card gets its data and its accuracy. Raises UserError."""
    bundle = load_bundle(source)
    arrays = {name: torch.from_numpy(array) for name, array in bundle.weights.items()}
    arrays |= {"presence.weight": weight, "presence.bias": bias}
    with write_whole_folder(out, is_bundle, "bundle") as made:
        for name in bundle.card.files:
            shutil.copyfile(source / name, made / name)
        save_file({name: shortest(array.contiguous()) for name, array in arrays.items()}, made / bundles.LOOP)
        card, key = bundle.card, f"presence_refused_percent_at_{round(100 * KEPT)}_kept"
        facts = {"training": card.training | {"presence": data}, "accuracy": card.accuracy | {key: accuracy}}
        write_card(made, msgspec.structs.replace(card, **facts))


def main(settings: Settings) -> None:
    """Renders, trains, writes the bundle and prints what the head refuses. Raises UserError."""
    source = find_bundle(settings.bundle)
    if min(settings.scenes, settings.held_out) < 1:
        raise UserError(f"--scenes {settings.scenes}, --held-out {settings.held_out}: give at least 1 of each")
    jobs = [(SEED, False, begin) for begin in range(0, settings.scenes, CHUNK)]
    jobs += [(HELD_SEED, True, begin) for begin in range(0, settings.held_out, CHUNK)]
    with ProcessPoolExecutor(settings.processes, get_context("spawn")) as pool:
        files = list(pool.map(features_of, [settings] * len(jobs), *zip(*jobs, strict=True)))
    sets = [
        read_features([file for file, job in zip(files, jobs, strict=True) if job[1] == held]) for held in (False, True)
    ]
    weight, bias = train(*sets)
    seen, held = sets
    presence = presence_of(held.hidden, weight, bias)
    ways = {"confidence": held.sure, "presence": presence, "both": held.sure * presence}
    found = {name: refused(score, held.kind) for name, score in ways.items()}
    counts = np.bincount(seen.kind, minlength=3) // len(precisions_of(load_bundle(source)))
    data = "renders of {} people, {} slid crops and {} crops of background, mirrored in half of the cases".format(
        *counts
    )
    write_bundle(source, settings.out, weight, bias, data, found)
    rows = [[name, *(f"{value:.1f}" for value in values.values())] for name, values in found.items()]
    print_parts([Table([f"{KEPT:.0%} of people kept", "background refused %", "slid refused %"], rows)], "")


if __name__ == "__main__":
    sys.exit(run(lambda: main(tyro.cli(Settings)), "%(asctime)s %(message)s"))
