"""A training run → a bundle: `python -m training.ship runs/edge refit_rt/assets/bundles/edge`."""

import logging
from dataclasses import dataclass
from pathlib import Path

import msgspec
import tyro

from refit_rt.body import load_body
from refit_rt.export import Facts, export_bundle, quantise
from refit_rt.model.config import EDGE
from refit_rt.model.refit import build
from training.synthetic.generator import Assets, Generator
from training.train import read_checkpoint

log = logging.getLogger(__name__)
CALIBRATION_SEED = 700  # people that no training run draws
LICENCE = "Apache-2.0"


@dataclass(frozen=True)
class Settings:
    """Exports the averaged weights of a run's last checkpoint."""

    run: tyro.conf.Positional[Path]
    """Folder of training.train."""
    out: tyro.conf.Positional[Path]
    """Folder of the bundle."""
    name: str = "edge"
    facts: Path | None = None
    """A yaml file of `training` and `accuracy`, measured figures for the model card."""
    hdri: Path | None = None
    """Panoramas behind the crops on which int8 is calibrated."""
    int8: bool = True


def main(settings: Settings) -> None:
    """Writes the bundle, f32 and int8."""
    checkpoint = read_checkpoint(settings.run / "last.pt")
    model = build(EDGE, load_body()).eval()
    model.load_state_dict(checkpoint["average"])
    told = msgspec.yaml.decode(settings.facts.read_bytes(), type=dict) if settings.facts else {}
    training = {"steps": checkpoint["steps"], "views": checkpoint["views"], "minutes": round(checkpoint["seconds"] / 60)}
    facts = Facts(settings.name, LICENCE, 1.2, True, training | told.get("training", {}), told.get("accuracy", {}))
    export_bundle(model, settings.out, facts)
    if settings.int8:
        generator = Generator(CALIBRATION_SEED, Assets(hdri=settings.hdri))
        quantise(settings.out, (generator.sample(index).image for index in range(128)))
    log.info("%s: %s", settings.out, ", ".join(f"{p.name} {p.stat().st_size / 2**20:.1f} MB" for p in settings.out.iterdir()))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    main(tyro.cli(Settings))
