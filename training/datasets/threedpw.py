"""Reads 3DPW (von Marcard et al., ECCV 2018) from its own files, sequenceFiles/SPLIT/*.pkl and imageFiles/.

Each file is one sequence of one or two people: `sequence`, `cam_intrinsics` (3, 3), `cam_poses` (frame, 4, 4) camera
from world, `img_frame_ids`, and lists with one entry per person: `poses` (frame, 72) and `trans` (frame, 3) in the
world, `betas`, `genders`, `jointPositions` (frame, 72), `poses2d` (frame, 3, 18) OpenPose's detections, `campose_valid`
(frame,).
"""

from pathlib import Path
from typing import Any

import numpy as np

from refit_rt.errors import UserError
from refit_rt.geometry import axis_angle_from_matrix, matrix_from_axis_angle
from training.datasets.joints import OPENPOSE_18, points_73
from training.datasets.pickles import array, checked, read_labels
from training.datasets.record import Bodies, Table, check_pictures, joined

FPS = 30.0
MARGIN = 1.2  # of the box round the detections, as SPIN's and ReFit's label files have it


def read_3dpw(source: str, folder: Path, split: str, bodies: Bodies, pictures: Path | None = None) -> Table:
    """Reads all people in all frames with a valid camera. folder holds sequenceFiles and imageFiles.

    split: train, validation or test. bodies: the labels use male and female SMPL. A chain is one person in one
    sequence, in the order of their names. Raises UserError.
    """
    place = folder / "sequenceFiles" / split
    files = sorted(place.glob("*.pkl"))
    if not files:
        raise UserError(f"{place}: holds no .pkl files. Give 3DPW's own folder (imageFiles, sequenceFiles)")
    tables: list[Table] = []
    for file in files:
        found = read_labels(file, "3DPW")
        people = found.get("poses")
        for person in range(len(people) if isinstance(people, (list, tuple)) else 1):
            table = _person(source, found, file, person, bodies, pictures or folder / "imageFiles", len(tables))
            tables += [table] if len(table) else []
    if not tables:
        raise UserError(f"{place}: none of its frames has a valid camera. Fetch 3DPW again")
    return check_pictures(joined(tables), place)


def _person(
    source: str, found: dict[str, Any], file: Path, person: int, bodies: Bodies, pictures: Path, chain: int
) -> Table:
    """The valid frames of one person."""
    camera_from_world = array(found, file, "cam_poses", (None, 4, 4))
    count = len(camera_from_world)
    lens = array(found, file, "cam_intrinsics", (3, 3))

    def of(key: str, shape: tuple[int | None, ...]) -> np.ndarray:
        entries = found.get(key)
        if not isinstance(entries, (list, tuple, np.ndarray)) or len(entries) <= person:
            raise UserError(f"{file}: {key} is missing for some people. Fetch 3DPW again")
        return checked(entries[person], file, f"{key}[{person}]", shape)

    rotations = matrix_from_axis_angle(of("poses", (count, 72)).reshape(count, 24, 3))
    turn = camera_from_world[:, :3, :3]
    rotations[:, 0] = turn @ rotations[:, 0]
    genders = found.get("genders")
    gender = str(genders[person]) if isinstance(genders, (list, tuple)) and len(genders) > person else "neutral"
    betas = of("betas", (None,))[:10].astype(np.float32)
    if "jointPositions" in found:  # the person's own pelvis, independent of the body used
        pelvis = of("jointPositions", (count, 72))[:, :3]
    else:
        pelvis = of("trans", (count, 3)) + bodies.of(gender).rest_pelvis(betas)
    pelvis = (turn @ pelvis[..., None])[..., 0] + camera_from_world[:, :3, 3]
    seen = of("poses2d", (count, 3, 18)).transpose(0, 2, 1)
    boxes, found_any = detection_boxes(seen)
    detections = np.zeros((count, 25, 3), np.float32)
    detections[:, OPENPOSE_18] = seen
    name = str(found.get("sequence", file.stem))
    table = Table(
        source=source,
        folder=pictures,
        names=np.array([f"{name}/image_{frame:05d}.jpg" for frame in range(count)]),
        boxes=boxes,
        genders=np.full(count, gender),
        focals_px=np.full(count, (lens[0, 0] + lens[1, 1]) / 2, np.float32),
        centres_px=np.tile(lens[:2, 2].astype(np.float32), (count, 1)),
        poses=axis_angle_from_matrix(rotations).astype(np.float32),
        betas=np.tile(betas, (count, 1)),
        pelvis_m=pelvis.astype(np.float32),
        keypoints_2d=points_73(count, 3, openpose=detections),
        chains=np.full(count, chain),
        frames=np.arange(count),
    )
    valid = of("campose_valid", (count,)) > 0
    return table.take(valid & found_any & (pelvis[:, 2] > 0.1))


def detection_boxes(seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squares around detections (n, 18, 3): (n, 3) float32 centre and side, and (n,) whether two points were found."""
    sure = seen[..., 2] > 0
    low = np.where(sure[..., None], seen[..., :2], np.inf).min(1)
    high = np.where(sure[..., None], seen[..., :2], -np.inf).max(1)
    good = np.isfinite(low).all(1) & ((high - low).max(1) > 1)
    low, high = np.where(good[:, None], low, 0), np.where(good[:, None], high, 1)
    return np.column_stack([(low + high) / 2, MARGIN * (high - low).max(1)]).astype(np.float32), good
