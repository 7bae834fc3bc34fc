"""Measures how a bundle's bodies and the detector's key points err: `python -m training.errors STORE OUT`.

Every rendered crop is fitted cold. The covariance of what the bodies lack (refit_rt.fit.refine), the places of the key
points beside the joints and their deviations become a file of the bundle, with which the live fitter moves bodies onto
key points.
"""

import logging
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import tyro
from safetensors.numpy import save_file

from refit_rt import config
from refit_rt.body.smpl import Body, joint_transforms
from refit_rt.bundle import read as bundles
from refit_rt.bundle.make import is_bundle, write_card
from refit_rt.bundle.read import find_bundle, load_bundle
from refit_rt.detect.movenet import MoveNet
from refit_rt.errors import UserError
from refit_rt.files import write_whole_folder
from refit_rt.fit.crops import translation_from_cam
from refit_rt.fit.refine import CROP_PX, LEAST_SCORE, NUMBERS, POINT_JOINTS, POINTS, SCORES
from refit_rt.geometry import axis_angle_from_matrix
from refit_rt.runners import Runner
from refit_rt.runners.make import make_runner
from refit_rt.types import JOINTS, Pose, Square, View
from training.reporting import run
from training.store.shards import LABELS, Store

log = logging.getLogger(__name__)
UPDATES = 5
WHOLE = 0.9  # rows count whose share of joints in the crop is at least this,
RIGHT_PX, RIGHT_RAD = 15.0, 1.8  # and whose joints are no farther off in the crop on average, and turned by no more
SPREAD = 0.8, 1.794  # a share of a plane Gaussian, and within how many deviations it lies: it covers heavy tails, too
LEAST_VARIANCE = 1e-5  # so that the joints without errors of their own keep the covariance regular
LEAST_ROWS = 200
SURE, TAIL_PX, ROUNDS = 0.5, 4.0, 10  # offsets: the least score of a key point, px at which its weight halves, rounds
BATCH = 128


@dataclass(frozen=True)
class Settings:
    """Measures errors on renders, and writes the bundle with them."""

    store: tyro.conf.Positional[Path]
    """Folder of training.produce, rendered with --held-out."""
    out: tyro.conf.Positional[Path]
    """The bundle to write."""
    bundle: str = "edge"
    """The bundle to measure: its name or its folder."""


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One crop's fit, its truth and the detector's key points."""

    body: Pose
    truth: Pose
    joints_px: np.ndarray  # (24, 2) of the true body, crop px
    focal_px: float  # of the lens, crop px
    fitted_px: np.ndarray  # (24, 2)
    keypoints: np.ndarray  # (17, 3) crop px and score; NaN: the detector finds nobody


def rows_of(store: Store, runner: Runner, body: Body) -> list[Row]:
    """Fits every row of the store."""
    detector, starts = MoveNet(threads=2), np.cumsum([0, *LABELS.values()])
    rows = []
    for begin in range(0, len(store), BATCH):
        batch = store.take(store.index[begin : begin + BATCH])
        for image, numbers in zip(batch.images, batch.labels.astype(np.float64), strict=True):
            label = dict(zip(LABELS, np.split(numbers, starts[1:-1]), strict=True))
            view = View(tuple(label["box"]), float(label["focal_px"][0]), tuple(label["centre_px"]))
            encoded = runner.encode(image)
            result = runner.iterate(encoded, view, runner.initial(encoded, view), UPDATES)
            truth = Pose(label["rotations"].reshape(JOINTS, 3, 3), label["betas"], label["trans"])
            placed = body.joints(truth.rotations, truth.betas) + truth.trans
            x, y, side = label["box"]
            image_px = view.focal_px * placed[:, :2] / placed[:, 2:] + label["centre_px"]
            fitted = Pose(
                result.rotations.astype(np.float64),
                result.state.betas.astype(np.float64),
                translation_from_cam(result.state.cam, view),
            )
            whole = Square(np.array([127.5, 127.5]), float(CROP_PX))
            found = detector.look_near(np.ascontiguousarray(image[..., ::-1]), whole, LEAST_SCORE)
            keypoints = found.keypoints[0] if len(found.score) else np.full((17, 3), np.nan)
            joints_px = (image_px - (x - side / 2, y - side / 2)) * CROP_PX / side
            focal_px = view.focal_px * CROP_PX / side
            rows.append(Row(fitted, truth, joints_px, focal_px, result.joints_px.astype(np.float64), keypoints))
        log.info("%d of %d rows", len(rows), len(store))
    return rows


def lacks(row: Row, body: Body) -> np.ndarray:
    """The correction (75,) of refit_rt.fit.refine that makes the body's pose and place the true ones."""
    turns = axis_angle_from_matrix(row.body.rotations.swapaxes(1, 2) @ row.truth.rotations)
    here, there = (body.rest_pelvis(one.betas) + one.trans for one in (row.body, row.truth))
    nearer = 1 - there[2] / here[2]
    return np.concatenate([turns.ravel(), [nearer], there[:2] - (1 - nearer) * here[:2]])


def is_right(row: Row, lack: np.ndarray) -> bool:
    """Whether a fit is one that the live fitter would go on from: the others' errors have no Gaussian distribution."""
    inside = ((row.joints_px > 0) & (row.joints_px < CROP_PX)).all(-1).mean() >= WHOLE
    off_px = np.linalg.norm(row.fitted_px - row.joints_px, axis=-1).mean()
    turned = np.linalg.norm(lack[: 3 * JOINTS].reshape(JOINTS, 3), axis=-1).max()
    return bool(inside and off_px < RIGHT_PX and turned < RIGHT_RAD)


def slopes_of(row: Row, body: Body) -> np.ndarray:
    """(12, 2, 3): how far a key point of the true body moves in the crop, px per metre that it lies beside its joint,
    in the frame of the joint's parent."""
    world, joints = joint_transforms(body, row.truth.rotations, row.truth.betas)
    x, y, z = (joints[POINT_JOINTS] + row.truth.trans).T
    flat = np.zeros((len(POINTS), 2, 3))
    flat[:, 0, 0] = flat[:, 1, 1] = row.focal_px / z
    flat[:, 0, 2], flat[:, 1, 2] = -row.focal_px * x / z**2, -row.focal_px * y / z**2
    return flat @ world[body.parents[POINT_JOINTS], :, :3]


def offsets_of(rows: list[Row], body: Body) -> np.ndarray:
    """(12, 3) metres from each joint to its key point, in the frame of the joint's parent; left and right alike.

    The least squares of errors with heavy tails, of rows that are whole in the crop.
    """
    seen = np.array([row.keypoints[POINTS] for row in rows])
    off = seen[..., :2] - [row.joints_px[POINT_JOINTS] for row in rows]
    slopes = np.array([slopes_of(row, body) for row in rows])
    sure = seen[..., 2] >= SURE
    off[~sure] = 0
    found = np.zeros((len(POINTS), 3))
    for point in range(len(POINTS)):
        weight = sure[:, point].astype(float)
        for _ in range(ROUNDS):
            weighed = slopes[:, point] * weight[:, None, None]
            found[point] = np.linalg.solve(
                np.einsum("nij,nik->jk", weighed, slopes[:, point]), np.einsum("nij,ni->j", weighed, off[:, point])
            )
            left = off[:, point] - slopes[:, point] @ found[point]
            weight = sure[:, point] / (1 + (left**2).sum(-1) / TAIL_PX**2)
    mirrored = found.reshape(-1, 2, 3)[:, ::-1].reshape(-1, 3) * (-1, 1, 1)
    return ((found + mirrored) / 2).astype(np.float32)


def deviations_of(rows: list[Row], offsets: np.ndarray, body: Body) -> np.ndarray:
    """(12, 4) px of the crop: the key points' deviations from where the offsets (12, 3) put them, at each of SCORES, of
    rows that are whole in the crop."""
    seen = np.array([row.keypoints[POINTS] for row in rows])
    there = [row.joints_px[POINT_JOINTS] + (slopes_of(row, body) @ offsets[..., None])[..., 0] for row in rows]
    off = np.linalg.norm(seen[..., :2] - there, axis=-1)
    share, deviations = SPREAD
    bins = np.digitize(seen[..., 2], (SCORES[1:] + SCORES[:-1]) / 2)
    known = seen[..., 2] >= LEAST_SCORE
    found = np.empty((len(POINTS), len(SCORES)), np.float32)
    for point, level in np.ndindex(*found.shape):
        these = off[known[:, point] & (bins[:, point] == level), point]
        found[point, level] = np.quantile(these, share) / deviations
    return found


def main(settings: Settings) -> None:
    """Measures and writes. Raises UserError."""
    source = find_bundle(settings.bundle)
    bundle = load_bundle(source)
    rows = rows_of(Store(settings.store), make_runner(config.Fit(), bundle), bundle.body)
    lack = [lacks(row, bundle.body) for row in rows]
    right = [one for row, one in zip(rows, lack, strict=True) if is_right(row, one)]
    if len(right) < LEAST_ROWS:
        raise UserError(
            f"{settings.store}: {len(right)} of {len(rows)} rows are fitted well, and {LEAST_ROWS} are needed. "
            "Render more: python -m training.produce"
        )
    inside = [row for row in rows if ((row.joints_px > 0) & (row.joints_px < CROP_PX)).all(-1).mean() >= WHOLE]
    covariance = (np.cov(np.array(right).T) + LEAST_VARIANCE * np.eye(NUMBERS)).astype(np.float32)
    with write_whole_folder(settings.out, is_bundle, "bundle") as made:
        for name in bundle.card.files:
            shutil.copyfile(source / name, made / name)
        offsets = offsets_of(inside, bundle.body)
        deviations = deviations_of(inside, offsets, bundle.body)
        errors = {"covariance": covariance, "deviations": deviations, "offsets": offsets}
        save_file(errors, made / bundles.ERRORS)
        facts = {"errors": f"measured on {len(right)} of {len(rows)} held-out renders, fitted cold ({UPDATES} updates)"}
        write_card(made, msgspec.structs.replace(bundle.card, training=bundle.card.training | facts))
    log.info("%d of %d rows count", len(right), len(rows))


if __name__ == "__main__":
    sys.exit(run(lambda: main(tyro.cli(Settings)), "%(asctime)s %(message)s"))
