"""Evaluates a network on 3DPW and EMDB with the usual measures, per iteration, cold and followed.

python -m training.evaluation.sets refit.pth.tar --body smpl.npz --threedpw 3DPW --regressor J_regressor_h36m.npy
python -m training.evaluation.sets runs/edge/last.pt --emdb EMDB --body smpl.npz
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

from refit_rt import config
from refit_rt.body.smpl import Body, load_body
from refit_rt.commands.bench.table import Table as Results
from refit_rt.errors import UserError
from refit_rt.model.config import ReFitConfig
from refit_rt.model.refit import ReFit, build
from refit_rt.model.weights import edge_of, from_official, load_into
from training.checkpoint import read_start
from training.datasets.emdb import read_emdb
from training.datasets.followed import MEASURES, Protocol, Scores, score
from training.datasets.joints import read_regressor
from training.datasets.record import Bodies, Table
from training.datasets.threedpw import read_3dpw
from training.reporting import Caption, command_line, print_parts, run

# The 14 joints of LSP in its order, as rows of Human3.6M's 17 joints; SPIN and ReFit use the same. Row 0 is the pelvis.
H36M_ROWS = 17
LSP_14 = (6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10)

PROTOCOL = """\
{name}: {frames} frames of {chains} people in {runs} unbroken runs of frames. Weights: {weights}, body: {body}.
Joints: {joints}. MPJPE is the mean error with the pelvis as origin, PA the same after the best similarity, and PVE that
of all vertices with the same origin ("-" if the meshes of network and truth differ); each is mean / median over frames.
The acceleration error is that of second differences of consecutive frames in mm per frame squared (at 30 fps, 0.9 times
this is m/s²). The truth is SMPL with {genders}.
Results are not averaged with mirrored pictures.
"cold i" are i updates from the network's first estimate. "warm i" are i updates from {share:g} times the result of the
previous frame ({live} updates; {iterations}, cold, in the first frame of a run) and {rest:g} times the first estimate.
"cold 0" and "warm 0" are the starts. Cold errors cover all frames, warm ones frames with a previous one.
"""
BOXES = "Boxes: the labels' own, {boxes}, in every frame, followed or not.{upright}"
UPRIGHT = " They are turned upright by a fit of the unturned crop, or, when followed, by the previous frame's."


@dataclass(frozen=True)
class Arguments:
    """Evaluates a network on public test sets."""

    weights: tyro.conf.Positional[str]
    """A last.pt of training.train, an official ReFit checkpoint, or a bundle of the edge network: the name of a shipped
    one, or a folder."""
    threedpw: Path | None = None
    """3DPW's folder (imageFiles, sequenceFiles). Its test split is used."""
    emdb: Path | None = None
    """EMDB's folder (P0 … P9). EMDB 1 is used."""
    body: Path | None = None
    """SMPL's neutral body (refit-rt import-smpl). Without it the free body is used, which does not fit the labels."""
    male: Path | None = None
    """SMPL's male body, for the truth. Without it the neutral one is used, which costs some millimetres."""
    female: Path | None = None
    """SMPL's female body, for the truth. Without it the neutral one is used, which costs some millimetres."""
    regressor: Path | None = None
    """J_regressor_h36m.npy of SPIN's data, for the usual 14 joints of LSP. Without it the joints are SMPL's 24."""
    iterations: int = 5
    """Largest number of updates."""
    live: int = config.Fit().iterations
    """Updates of a followed fit whose result the next frame starts from."""
    blend: float = config.Fit().blend
    """Share of the last body in a warm start."""
    limit: int = 0
    """Frames per person. 0: all."""
    device: str = "cpu"
    """cpu or cuda."""
    threads: int = 1
    """Processor threads."""
    markdown: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print the tables alone, in Markdown, with the command and the processor."""


def load_network(source: str | Path, body: Body | None) -> ReFit:
    """Loads a network for evaluation: a checkpoint of training.train (its averaged weights), an official one, or a
    bundle of the edge network, by name or folder. The edge network gets the free body, others get SMPL's. Raises
    UserError."""
    found = read_start(source)
    own = "average" in found
    state = found["average"] if own else from_official(found.get("model", found), str(source))
    network_config = config_of(state)
    edge = network_config.backbone.startswith("blazepose")
    if body is None and not edge:
        raise UserError(f"{source}: its network needs SMPL's body. Give one: --body (refit-rt import-smpl)")
    network = build(network_config, load_body() if edge or body is None else body)
    load_into(network, state, str(source))
    return network.eval()


def config_of(state: Mapping[str, torch.Tensor]) -> ReFitConfig:
    """Finds the configuration of a state dict by its backbone's names and width."""
    first = next((weights for name, weights in state.items() if name.startswith("backbone.stage2.")), None)
    if first is None:
        return edge_of(state)
    return ReFitConfig(backbone="hrnet_w48" if len(first) == 48 else "hrnet_w32")


def evaluate(settings: Arguments) -> Iterator[str | Results]:
    """Yields protocol and table of each set. Raises UserError."""
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
        yield from evaluate_table(
            network, table, bodies, settings, "1.2 times the extent of OpenPose's detections (`poses2d`)"
        )
    if settings.emdb:
        table = read_emdb("EMDB 1", settings.emdb, "emdb1", bodies)
        yield from evaluate_table(network, table, bodies, settings, "1.2 times EMDB's `bboxes`")


def evaluate_table(
    network: ReFit, table: Table, bodies: Bodies, settings: Arguments, boxes: str, body: Body | None = None
) -> Iterator[str | Results]:
    """Yields protocol and table of one set.

    body: the network's own; None: the free body for the edge network, neutral SMPL for others.
    """
    edge = network.config.backbone.startswith("blazepose")
    own = body or (load_body() if edge else bodies.neutral)
    regressor = None
    if settings.regressor:
        for one in (own, bodies.neutral):
            regressor = read_regressor(settings.regressor, H36M_ROWS, one)
    protocol = Protocol(settings.iterations, settings.live, settings.blend, upright=edge)
    joints = None if regressor is None else regressor[[0, *LSP_14]]
    scores = score(network, table, own, bodies, protocol, settings.limit, joints)
    genders = sorted(set(map(str, [] if table.genders is None else table.genders)))
    yield PROTOCOL.format(
        name=table.source,
        frames=len(scores.place),
        chains=len(np.unique(scores.chain)),
        body=own.name,
        runs=int((scores.place == 0).sum()),
        weights=settings.weights,
        genders=", ".join(f"{gender}: {bodies.of(gender).name}" for gender in genders) or bodies.neutral.name,
        share=settings.blend,
        joints="14 of LSP, regressed from the surface (H36M)" if regressor is not None else "SMPL's 24",
        rest=1 - settings.blend,
        live=settings.live,
        iterations=settings.iterations,
    )
    yield Caption(BOXES.format(boxes=boxes, upright=UPRIGHT if edge else ""))
    yield report(scores, table.source)


def report(scores: Scores, name: str) -> Results:
    """Makes the table of a set: one row per start and number of updates."""
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
    return Results([f"{name}: start, updates", "frames", *MEASURES, "acceleration error"], rows)


def _cell(values: np.ndarray) -> str:
    return "-" if np.isnan(values).any() else f"{values.mean():.1f} / {np.median(values):.1f}"


def main() -> int:
    """The command line. Returns the exit code."""
    settings = tyro.cli(Arguments, description=__doc__)
    command = command_line("training.evaluation.sets") if settings.markdown else ""
    return run(lambda: print_parts(evaluate(settings), command))


if __name__ == "__main__":
    sys.exit(main())
