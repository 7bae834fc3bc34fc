"""How good a network is on 3DPW and EMDB, iteration by iteration, cold and followed, as the field reports it.

python -m training.evaluation.sets refit.pth.tar --body smpl.npz --threedpw 3DPW --regressor J_regressor_h36m.npy
python -m training.evaluation.sets runs/edge/last.pt --emdb EMDB --body smpl.npz
"""

import logging
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

from refit_rt import config
from refit_rt.body.smpl import Body, load_body
from refit_rt.errors import UserError
from refit_rt.model.config import EDGE, ReFitConfig
from refit_rt.model.refit import ReFit, build
from refit_rt.model.weights import from_official, load_into, read_checkpoint
from training.datasets.emdb import read_emdb
from training.datasets.followed import MEASURES, Protocol, Scores, score
from training.datasets.joints import read_regressor
from training.datasets.record import Bodies, Table
from training.datasets.threedpw import read_3dpw
from training.evaluation import metrics
from training.reporting import printed

# Of Human3.6M's 17 joints, the 14 of LSP in its order, as SPIN and ReFit take them; joint 0 is the pelvis.
H36M_ROWS = 17
LSP_14 = (6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10)

PROTOCOL = """\
{name}: {frames} frames of {chains} people in {runs} unbroken runs of frames; weights {weights}, body {body}.
Joints: {joints}. MPJPE: mean error, the pelvis as origin; PA: after the best similarity; PVE: of every vertex, the same
origin (-: the network's mesh is another one than the truth's); each mean / median over frames. Acceleration error: of
second differences of consecutive frames, mm a frame squared (at 30 frames a second, times 0.9: m/s²). Truth: SMPL of
{genders}. Boxes: the labels' own, 1.2 times the
{boxes}, in every frame. No averaging with the mirrored picture.
cold i: i updates from the network's own first estimate. warm i: i updates from {share:g} times the answer to the frame
before ({live} updates; the first of a run {iterations}, cold) and {rest:g} times the first estimate. "cold 0",
"warm 0": the start itself. Cold is told over all frames, warm over those that have a frame before.{upright}
"""
UPRIGHT = """
Crops stand people upright: cold ones by the trunk of a first look at an unturned crop, warm ones by the last frame."""


@dataclass(frozen=True)
class Arguments:
    """Evaluates a network on the test sets of the field."""

    weights: tyro.conf.Positional[Path]
    """A last.pt of training.train, or an official ReFit checkpoint."""
    threedpw: Path | None = None
    """3DPW's folder (imageFiles, sequenceFiles); its test split is taken."""
    emdb: Path | None = None
    """EMDB's folder (P0 … P9); EMDB 1 is taken."""
    body: Path | None = None
    """SMPL's neutral body (refit-rt import-smpl); left out: the free body, which is not what the labels mean."""
    male: Path | None = None
    female: Path | None = None
    """SMPL's male and female bodies, of the truth; left out: neutral, which costs some millimetres."""
    regressor: Path | None = None
    """J_regressor_h36m.npy of SPIN's data: joints are then the 14 of LSP, as the field has them; else SMPL's 24."""
    iterations: int = 5
    live: int = config.Fit().iterations
    """Updates of a warm answer before it is handed on to the next frame."""
    blend: float = config.Fit().blend
    limit: int = 0
    """Frames of each person to take; 0: all."""
    device: str = "cpu"
    threads: int = 1


def load_network(path: Path, body: Body | None) -> ReFit:
    """A checkpoint of training.train (averaged weights) or an official one, on SMPL's body or, for the edge network,
    the free one. Raises UserError."""
    found = read_checkpoint(path)
    own = "average" in found
    state = found["average"] if own else from_official(found.get("model", found), str(path))
    network_config = config_of(state)
    edge = network_config.backbone == "blazepose"
    if body is None and not edge:
        raise UserError(f"{path}: its network is of SMPL's body. Give one: --body (refit-rt import-smpl)")
    network = build(network_config, load_body() if edge or body is None else body)
    load_into(network, state, str(path))
    return network.eval()


def config_of(state: Mapping[str, torch.Tensor]) -> ReFitConfig:
    """Which network a state dict is of, by its backbone's names and width."""
    first = next((weights for name, weights in state.items() if name.startswith("backbone.stage2.")), None)
    if first is None:
        return EDGE
    return ReFitConfig(backbone="hrnet_w48" if len(first) == 48 else "hrnet_w32")


def evaluate(settings: Arguments) -> Iterator[str]:
    """Protocol and table of each set. Raises UserError."""
    if settings.threedpw is None and settings.emdb is None:
        raise UserError("no data set is given. Set --threedpw or --emdb to its folder")
    if not 1 <= settings.live <= settings.iterations:
        raise UserError(f"--live {settings.live}: must lie between 1 and --iterations ({settings.iterations})")
    torch.set_num_threads(settings.threads)
    given = [None if path is None else load_body(path) for path in (settings.body, settings.male, settings.female)]
    bodies = Bodies(given[0] or load_body(), *given[1:])
    network = load_network(settings.weights, given[0]).to(settings.device)
    if settings.threedpw:
        table = read_3dpw("3DPW test", settings.threedpw, "test", bodies)
        yield from evaluate_table(network, table, bodies, settings, "extent of the detections (`poses2d`)")
    if settings.emdb:
        table = read_emdb("EMDB 1", settings.emdb, "emdb1", bodies)
        yield from evaluate_table(network, table, bodies, settings, "labels' `bboxes`")


def evaluate_table(
    network: ReFit, table: Table, bodies: Bodies, settings: Arguments, boxes: str, body: Body | None = None
) -> Iterator[str]:
    """Protocol and table of one set. body: the network's own; None: the free one of an edge net, else neutral SMPL."""
    edge = network.config.backbone == "blazepose"
    own = body or (load_body() if edge else bodies.neutral)
    regressor = None
    if settings.regressor:
        for one in (own, bodies.neutral):
            regressor = read_regressor(settings.regressor, H36M_ROWS, one)
    protocol = Protocol(settings.iterations, settings.live, settings.blend, upright=edge)
    scores = score(network, table, own, bodies, protocol, settings.limit,
                   None if regressor is None else regressor[[0, *LSP_14]])  # fmt: skip
    genders = sorted(set(map(str, [] if table.genders is None else table.genders)))
    told = ", ".join(f"{gender}: {bodies.of(gender).name}" for gender in genders) or bodies.neutral.name
    yield PROTOCOL.format(
        name=table.source, frames=len(scores.place), chains=len(np.unique(scores.chain)), body=own.name,
        runs=int((scores.place == 0).sum()), weights=settings.weights, genders=told, boxes=boxes, share=settings.blend,
        joints="14 of LSP, regressed from the surface (H36M)" if regressor is not None else "SMPL's 24",
        rest=1 - settings.blend, live=settings.live, iterations=settings.iterations, upright=UPRIGHT if edge else "",
    )  # fmt: skip
    yield report(scores)


def report(scores: Scores) -> str:
    """A line for each start and count of updates."""
    rows = []
    for way, errors, acceleration in (
        ("cold", scores.cold, scores.cold_acceleration()),
        ("warm", scores.warm, scores.warm_acceleration()),
    ):
        for i in range(errors.shape[1]):
            known = errors[:, i][~np.isnan(errors[:, i, 0])]
            if len(known):
                shake = f"{acceleration[i].mean():.1f}" if len(acceleration[i]) else "-"
                rows.append([f"{way} {i}", str(len(known)), *map(_cell, known.T), shake])
    return metrics.table(["start, updates", "frames", *MEASURES, "acceleration error"], rows)


def _cell(values: np.ndarray) -> str:
    return "-" if np.isnan(values).any() else f"{values.mean():.1f} / {np.median(values):.1f}"


def main() -> int:
    """The command line."""
    return printed(evaluate(tyro.cli(Arguments, description=__doc__)))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    sys.exit(main())
