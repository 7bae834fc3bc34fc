"""A checkpoint of training/ → a bundle."""

from pathlib import Path
from typing import Any

import msgspec

from refit_rt.body.smpl import load_body
from refit_rt.bundle.make import Facts, export_bundle
from refit_rt.bundle.read import EDGE_CROP
from refit_rt.errors import UserError
from refit_rt.model.config import EDGE
from refit_rt.model.refit import build
from refit_rt.model.weights import load_into, read_checkpoint


def export_checkpoint(checkpoint: Path, out: Path, licence: str, told: Path | None = None) -> None:
    """Writes the edge network's averaged weights as a bundle named like its folder; `licence` goes on its card.

    told: a yaml file with `training` and `accuracy`, facts for the card. Raises UserError for a file that is no
    checkpoint, or one of another network.
    """
    facts = read_facts(told) if told else {}
    state = read_checkpoint(checkpoint)
    if "average" not in state:
        raise UserError(f"{checkpoint}: is no checkpoint of training/. An official one: refit-rt import-weights")
    model = build(EDGE, load_body()).eval()
    load_into(model, state["average"], str(checkpoint))
    # Half precision then holds this matrix, and the loop reads half as much (runners/packing.py, `halved`); so with the
    # encoder, as BlazePose's file has it, and the bundle is 8 MB smaller (export.store_halves).
    encoder = [*model.backbone.parameters(), *model.map_head.parameters(), *model.init_head.parameters()]
    for weight in (model.update.gru.from_input.weight, *encoder):
        weight.data = weight.data.half().float()
    done = {name: state[name] for name in ("steps", "views") if name in state}
    training, accuracy = done | facts.get("training", {}), facts.get("accuracy", {})
    export_bundle(model, out, Facts(out.name, licence, EDGE_CROP, training=training, accuracy=accuracy))


def read_facts(path: Path) -> dict[str, dict[str, Any]]:
    """A yaml file of `training` and `accuracy`. Raises UserError."""
    try:
        return msgspec.yaml.decode(path.read_bytes(), type=dict[str, dict[str, Any]])
    except (OSError, msgspec.MsgspecError) as error:
        raise UserError(f"{path}: {error}. Give a yaml file with `training` and `accuracy`") from error
