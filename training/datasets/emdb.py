"""Reads EMDB (Kaufmann et al., ICCV 2023) from its own files, P*/SEQUENCE/*_data.pkl and images/, into a Table.

Each file is one person: `gender`, `emdb1`, `emdb2`, `n_frames`, `good_frames_mask`, `camera` {intrinsics (3, 3),
extrinsics (frame, 4, 4) camera from world, width, height}, `smpl` {poses_root (frame, 3), poses_body (frame, 69), trans
(frame, 3), betas (10,)} in the world, `kp2d` (frame, 24, 2) SMPL's joints, `bboxes` {bboxes (frame, 4) xyxy}.
"""

from pathlib import Path
from typing import Any

import numpy as np

from refit_rt.errors import UserError
from refit_rt.geometry import axis_angle_from_matrix, matrix_from_axis_angle
from training.datasets.joints import points_73
from training.datasets.pickles import array, read_labels
from training.datasets.record import Bodies, Table, check_pictures, joined

FPS = 30.0
MARGIN = 1.2  # of the crop over EMDB's boxes, as for the other sets


def read_emdb(source: str, folder: Path, split: str, bodies: Bodies) -> Table:
    """Reads all good frames. folder holds P0 … P9; split is emdb1, emdb2 or all. Raises UserError.

    bodies: the labels use male, female and neutral SMPL. Chains are sequences in the order of their paths.
    """
    files = sorted(folder.glob("P*/*/*_data.pkl"))
    if not files:
        raise UserError(f"{folder}: holds no P*/*/*_data.pkl. Give EMDB's own folder (P0 … P9)")
    tables: list[Table] = []
    for file in files:
        found = read_labels(file, "EMDB")
        if split == "all" or bool(found.get(split)):
            table = _sequence(source, found, file, folder, bodies, len(tables))
            tables += [table] if len(table) else []
    if not tables:
        raise UserError(f"{folder}: no sequence is marked '{split}'. Choose emdb1, emdb2 or all, or fetch EMDB again")
    return check_pictures(joined(tables), folder)


def _sequence(source: str, found: dict[str, Any], file: Path, folder: Path, bodies: Bodies, chain: int) -> Table:
    """The good frames of one sequence."""
    camera_from_world = array(found, file, "camera.extrinsics", (None, 4, 4))
    count = len(camera_from_world)
    lens = array(found, file, "camera.intrinsics", (3, 3))
    root, limbs = array(found, file, "smpl.poses_root", (count, 3)), array(found, file, "smpl.poses_body", (count, 69))
    betas = array(found, file, "smpl.betas", (10,)).astype(np.float32)
    gender = str(found.get("gender", "neutral"))
    turn = camera_from_world[:, :3, :3]
    rotations = matrix_from_axis_angle(np.hstack([root, limbs]).reshape(count, 24, 3))
    rotations[:, 0] = turn @ rotations[:, 0]
    pelvis = array(found, file, "smpl.trans", (count, 3)) + bodies.of(gender).rest_pelvis(betas)
    pelvis = (turn @ pelvis[..., None])[..., 0] + camera_from_world[:, :3, 3]
    corners = array(found, file, "bboxes.bboxes", (count, 4))
    size = corners[:, 2:] - corners[:, :2]
    joints_px = np.dstack([array(found, file, "kp2d", (count, 24, 2)), np.ones((count, 24))])
    where = file.parent.relative_to(folder).as_posix()
    table = Table(
        source=source,
        folder=folder,
        names=np.array([f"{where}/images/{frame:05d}.jpg" for frame in range(count)]),
        boxes=np.column_stack([(corners[:, :2] + corners[:, 2:]) / 2, MARGIN * size.max(1)]).astype(np.float32),
        genders=np.full(count, gender),
        focals_px=np.full(count, (lens[0, 0] + lens[1, 1]) / 2, np.float32),
        centres_px=np.tile(lens[:2, 2].astype(np.float32), (count, 1)),
        poses=axis_angle_from_matrix(rotations).astype(np.float32),
        betas=np.tile(betas, (count, 1)),
        pelvis_m=pelvis.astype(np.float32),
        keypoints_2d=points_73(count, 3, smpl=joints_px),
        chains=np.full(count, chain),
        frames=np.arange(count),
    )
    good = array(found, file, "good_frames_mask", (count,)) > 0
    return table.take(good & (size > 0).all(1) & (pelvis[:, 2] > 0.1))
