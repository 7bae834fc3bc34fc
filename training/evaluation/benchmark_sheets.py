"""Draws the benchmark's best, median and worst stills, with the fitted body over the crop."""

from pathlib import Path

import numpy as np
import torch

from refit_rt.body.smpl import Body, load_body
from refit_rt.model.camera import translation
from refit_rt.model.refit import ReFit
from training.evaluation.benchmark import MEASURES, Scores, batch_of
from training.evaluation.real_clip import SMPL_LIMBS
from training.evaluation.sheets import crop_tiles, sheet
from training.store.shards import Rows, Store

SHOWN = 8


def still_sheets(network: ReFit, store: Store, scores: Scores, folder: Path, body: Body | None = None) -> list[str]:
    """Draws sheets of the best, median, worst and evenly spread stills, by MPJPE of cold fits after the last update.

    Returns the paths of the pictures. Raises UserError.
    """
    body = body or load_body()
    errors = scores.cold[:, -1]
    stills = np.flatnonzero(scores.chains.kind == 0)
    order = stills[np.argsort(errors[stills, MEASURES.index("mpjpe")])]
    middle = max(len(order) // 2 - SHOWN // 2, 0)
    groups = {
        "best": order[:SHOWN],
        "median": order[middle : middle + SHOWN],
        "worst": order[::-1][:SHOWN],
        "spread": order[np.linspace(0, len(order) - 1, min(SHOWN, len(order))).astype(int)],
    }
    for name, chosen in groups.items():
        if len(chosen):
            rows = store.take(store.index[scores.chains.row[chosen]])
            pictures = fitted_tiles(network, rows, scores.cold.shape[1] - 1, body)
            captions = [_caption(scores, one) for one in chosen]
            sheet(list(zip(pictures, captions, strict=True)), folder / f"{name}.png")
    return [str(folder / f"{name}.png") for name, chosen in groups.items() if len(chosen)]


def _caption(scores: Scores, one: int) -> str:
    mpjpe, pa, _, px = scores.cold[one, -1]
    visible = scores.visible[one]
    return f"still {scores.chains.row[one]}: MPJPE {mpjpe:.0f} mm, PA {pa:.0f}, {px:.1f} px, {visible:.0%} visible"


@torch.no_grad()
def fitted_tiles(network: ReFit, rows: Rows, iterations: int, body: Body) -> list[np.ndarray]:
    """Fits crops cold and draws each as `sheets.crop_tiles`."""
    batch = batch_of(network, rows)
    view = batch.crops.view
    answer = network(batch.crops.encoded, view, iterations)[-1]
    trans = translation(answer.cam, view).numpy()
    tiles = []
    for i, image in enumerate(rows.images):
        box, scale = view.square[i].numpy(), len(image) / float(view.square[i, 2])
        lens = float(view.focal_px[i]) * scale, (view.centre_px[i].numpy() - box[:2] + box[2] / 2) * scale
        betas = answer.betas[i].numpy()
        front = body.vertices(np.broadcast_to(np.eye(3), (24, 3, 3)), betas)[:, 2] > 0
        points = body.vertices(answer.rotations[i].double().numpy(), betas) + trans[i]
        joints = body.joints(batch.rotations[i].double().numpy(), batch.betas[i].numpy()) + batch.trans[i].numpy()
        tiles.append(crop_tiles(np.ascontiguousarray(image[..., ::-1]), points, front, joints[SMPL_LIMBS], body, lens))
    return tiles
