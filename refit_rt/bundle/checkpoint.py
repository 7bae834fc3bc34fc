"""Makes a bundle from a checkpoint of training/."""

from pathlib import Path
from typing import Any

import msgspec
from torch import Tensor

from refit_rt.body.smpl import load_body
from refit_rt.bundle.make import Facts, export_bundle
from refit_rt.bundle.read import EDGE_CROP
from refit_rt.errors import UserError
from refit_rt.model.refit import build
from refit_rt.model.weights import edge_of, load_into, read_checkpoint


def export_checkpoint(checkpoint: Path, out: Path, licence: str, facts_file: Path | None = None) -> None:
    """Writes the edge network's averaged weights as a bundle with the name of its folder, and `licence` on its card.

    facts_file: a yaml file with `training` and `accuracy`, which go on the card. Raises UserError when the file is not
    a checkpoint of training/ or holds another network.
    """
    facts = read_facts(facts_file) if facts_file else {}
    state = read_checkpoint(checkpoint)
    average = state.get("average")
    if not isinstance(average, dict) or not all(isinstance(value, Tensor) for value in average.values()):
        raise UserError(
            f"{checkpoint}: not a checkpoint of training/. "
            "Give one, or turn an official checkpoint into a bundle: refit-rt import-weights"
        )
    model = build(edge_of(average), load_body()).eval()
    load_into(model, average, str(checkpoint))
    # Rounded to half precision, the loop's largest matrix is read in half the time (runners/cpu/packing.py, `halved`),
    # and the encoder makes the bundle 8 MB smaller (make.store_halves). BlazePose's own weights are in half precision.
    encoder = [*model.backbone.parameters(), *model.map_head.parameters(), *model.init_head.parameters()]
    for weight in (model.update.gru.from_input.weight, *encoder):
        weight.data = weight.data.half().float()
    done = {name: state[name] for name in ("steps", "views") if name in state}
    training, accuracy = done | facts.get("training", {}), facts.get("accuracy", {})
    export_bundle(model, out, Facts(out.name, licence, EDGE_CROP, training=training, accuracy=accuracy))


def read_facts(path: Path) -> dict[str, dict[str, Any]]:
    """Reads a yaml file with `training` and `accuracy`. Raises UserError."""
    try:
        return msgspec.yaml.decode(path.read_bytes(), type=dict[str, dict[str, Any]])
    except (OSError, msgspec.MsgspecError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: {reason}. Give a yaml file with `training` and `accuracy`") from error
