"""Renders people and shows them to the frozen backbone: `python -m training.produce FOLDER` fills a store.

Runs until stopped; start one a core with different seeds. Each row is one crop; half of the rows belong to short
sequences (three moments at 60 to 8 frames a second), so that the trainer can start from its own answer of the moment
before.
"""

import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import tyro

from refit_rt.detect.pull import pull
from training.store import Writer
from training.synthetic.generator import Assets, Generator, Sample

log = logging.getLogger(__name__)
MOMENTS = 3
RATES = (60.0, 30.0, 15.0, 8.0)  # frames per second of a sequence
CALIBRATION = 256  # crops from which the features' quanta are taken


class FrozenBackbone:
    """BlazePose's landmark network in OpenVINO: the same answers as `refit_rt.model.blazepose`."""

    def __init__(self, precision: str = "f32", threads: int = 1) -> None:
        import openvino

        graph = openvino.Core().read_model(pull("pose_landmark_full.tflite"))
        into = {}
        for node in graph.get_ordered_ops():
            if node.get_type_name() == "Convolution":
                into.setdefault(tuple(node.input_value(1).get_partial_shape().to_shape())[:2], node.input_value(0))
        results = {output.get_any_name(): output.get_node().input_value(0) for output in graph.outputs}
        wanted = [into[39, 48], into[195, 288], results["Identity"], results["Identity_4"]]
        part = openvino.Model(wanted, graph.get_parameters(), "seen")  # type: ignore[call-overload]  # a stub's fault
        options = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision}
        self._run = openvino.Core().compile_model(part, "CPU", options)

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(256, 256, 3) uint8 RGB -> map (48, 64, 64), summary (1152,), landmarks (195,), world (117,)."""
        answer = self._run(image[None].astype(np.float32) / 255)
        features, summary, landmarks, world = (answer[i] for i in range(4))
        return features[0], summary.ravel(), landmarks.ravel(), world.ravel()


def label_row(sample: Sample) -> np.ndarray:
    """(LABEL_COUNT,) in the order of `store.LABELS`."""
    parts = [sample.rotations.ravel(), sample.betas, sample.trans, sample.box, [sample.focal_px], sample.centre_px,
             [sample.roll], [sample.visible]]  # fmt: skip
    return np.concatenate(parts).astype(np.float32)


@dataclass(frozen=True)
class Settings:
    """What to render, and where to put it."""

    folder: tyro.conf.Positional[Path]
    seed: int = 0
    motion: Path | None = None
    """Recorded motion (npz of SMPL poses); none: the parametric library only."""
    hdri: Path | None = None
    """Folder of equirectangular panoramas; none: procedural places only."""
    photos: Path | None = None
    """Folder of photographs to stand people before."""
    rows: int = 0
    """Stop after so many; 0: never."""
    sequences: Annotated[float, tyro.conf.arg(metavar="SHARE")] = 0.5
    """Share of rows that belong to sequences."""
    held_out: bool = False
    """Draw from the benchmark's people, motions and places, which training never sees."""


def main(settings: Settings) -> None:
    """Fills the store."""
    assets = Assets(motion=settings.motion, hdri=settings.hdri, photos=settings.photos)
    generator = Generator(settings.seed, assets, held_out=settings.held_out)
    rng = np.random.default_rng(settings.seed + 1)
    see = FrozenBackbone()
    step = feature_step(settings.folder, generator, see)
    writer = Writer(settings.folder, f"{'held' if settings.held_out else 'seed'}{settings.seed}", step)
    made, began, told = 0, time.monotonic(), time.monotonic()
    while not settings.rows or made < settings.rows:
        in_sequence = rng.random() < settings.sequences / (MOMENTS - (MOMENTS - 1) * settings.sequences)
        samples = generator.clip(MOMENTS, float(rng.choice(RATES))) if in_sequence else [generator.sample()]
        writer.add([(*see(sample.image), label_row(sample)) for sample in samples])
        made += len(samples)
        if time.monotonic() - told > 60:
            told = time.monotonic()
            log.info("%d crops, %.0f a second", made, made / (told - began))
    writer.flush()


def feature_step(folder: Path, generator: Generator, see: FrozenBackbone) -> np.ndarray:
    """The quantum of each feature channel (48,): read from the store, or measured and left there."""
    path = folder / "step.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        highest = np.max([see(generator.sample().image)[0].max((1, 2)) for _ in range(CALIBRATION)], axis=0)
        np.save(path, (1.2 * highest / 255).astype(np.float32))
    return np.load(path)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    main(tyro.cli(Settings))
