"""Reads label files in the formats of SPIN (also used by ReFit, EFT and AGORA), EFT and BEDLAM into a Table.

Columns: SPIN (Kolotouros et al., ICCV 2019; COCO, MPII, MPI-INF-3DHP, Human3.6M, 3DPW) `imgname center scale part
openpose S pose shape has_smpl gender`; ReFit adds `img_focal img_center` (3DPW, BEDLAM, AGORA). BEDLAM's own (Black et
al., CVPR 2023, SMPL labels) `imgname center scale pose_cam shape trans_cam cam_int cam_ext gtkps gender`, one file per
scene; `gtkps` is not read, because the body and its place say more. EFT's own json (Joo et al., 2020): a list `data` of
`imageName bbox_center bbox_scale gt_keypoint_2d parm_pose parm_shape`.
"""

import json
import zipfile
from pathlib import Path

import numpy as np

from refit_rt.errors import UserError
from refit_rt.geometry import axis_angle_from_matrix
from training.datasets.joints import points_73
from training.datasets.record import PIXELS_PER_SCALE, Bodies, Table, check_pictures, joined

BEDLAM_MARGIN = 1.12  # ReFit's: BEDLAM's boxes hold the visible joints with less room than SPIN's
LEAST_SCALE = 0.3  # of BEDLAM's people: smaller ones are left out, as in ReFit
Columns = dict[str, np.ndarray]
SPIN_COLUMNS = {
    "center": (2,),
    "scale": (),
    "part": (24, 3),
    "openpose": (25, 3),
    "S": (24, 4),
    "pose": (72,),
    "shape": (10,),
    "has_smpl": (),
    "gender": (),
    "img_focal": (),
    "img_center": (2,),
}
EFT_FOLDERS = {"COCO2014-All": "train2014", "COCO2014-Part": "train2014", "MPII": "images"}  # of `dbname`


def read_spin(source: str, labels: Path, pictures: Path, keypoints_3d: bool = True) -> Table:
    """Reads an .npz in SPIN's format. pictures: the folder that `imgname` is relative to; keypoints_3d: read `S` too.

    Raises UserError.
    """
    found = columns_of(labels, ("imgname", "center", "scale"), tuple(SPIN_COLUMNS))
    count = len(found["imgname"])
    check_shapes(found, SPIN_COLUMNS, count, labels)
    poses, betas = found.get("pose"), found.get("shape")
    if (poses is None) != (betas is None) or ("img_focal" in found) != ("img_center" in found):
        raise UserError(f"{labels}: pose needs shape, and img_focal needs img_center. Fetch the file again")
    if poses is not None:
        poses = poses.reshape(count, 24, 3).astype(np.float32)
        poses[found.get("has_smpl", np.ones(count)) == 0] = np.nan
    drawn = "part" in found or "openpose" in found
    table = Table(
        source=source,
        folder=pictures,
        names=texts(found["imgname"]),
        boxes=boxes(found["center"], found["scale"]),
        genders=texts(found["gender"]) if "gender" in found else None,
        focals_px=_floats(found.get("img_focal")),
        centres_px=_floats(found.get("img_center")),
        poses=poses,
        betas=_floats(betas),
        keypoints_2d=points_73(count, 3, openpose=found.get("openpose"), spin=found.get("part")) if drawn else None,
        keypoints_3d=points_73(count, 4, spin=found["S"]) if "S" in found and keypoints_3d else None,
    )
    return check_pictures(table, labels)


def read_eft(source: str, labels: Path, pictures: Path) -> Table:
    """Reads EFT's own .json (`read_spin` reads its .npz). pictures: the data set's folder. Raises UserError."""
    try:
        found = json.loads(labels.read_text(encoding="utf-8"))
        folder, rows = EFT_FOLDERS.get(found["meta"]["dbname"], ""), found["data"]
        columns = {
            "imgname": np.array([f"{folder}/{row['imageName']}".lstrip("/") for row in rows]),
            "center": _array([row["bbox_center"] for row in rows]),
            "scale": _array([row["bbox_scale"] for row in rows]),
            "keypoints": _array([row["gt_keypoint_2d"] for row in rows]),
            "pose": _array([row["parm_pose"] for row in rows]),
            "shape": _array([row["parm_shape"] for row in rows]),
        }
    except OSError as error:
        raise UserError(f"{labels}: cannot be read ({error.strerror}). Set `labels` to EFT's json file") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{labels}: not a json file of EFT's fits ({error!r}). Fetch it again") from error
    shapes = {"center": (2,), "scale": (), "keypoints": (49, 3), "pose": (24, 3, 3), "shape": (10,)}
    check_shapes(columns, shapes, len(rows), labels)
    keypoints = columns["keypoints"]
    table = Table(
        source=source,
        folder=pictures,
        names=columns["imgname"],
        boxes=boxes(columns["center"], columns["scale"]),
        poses=axis_angle_from_matrix(columns["pose"].astype(float)).astype(np.float32),
        betas=columns["shape"],
        keypoints_2d=points_73(len(rows), 3, openpose=keypoints[:, :25], spin=keypoints[:, 25:]),
    )
    return check_pictures(table, labels)


def read_bedlam(source: str, labels: Path, pictures: Path, bodies: Bodies) -> Table:
    """Reads BEDLAM's own .npz with SMPL labels, or a folder of them, one per scene. Raises UserError.

    pictures: the folder of the scenes (`SCENE/png/...`), or of the pictures of one scene when `labels` is one file.
    bodies: `trans_cam` counts from the pelvis of these; BEDLAM's SMPL labels use the neutral body.
    """
    files = sorted(labels.glob("*.npz")) if labels.is_dir() else [labels]
    if not files:
        raise UserError(f"{labels}: holds no .npz file. Set `labels` to BEDLAM's folder all_npz_12_smpl_training")
    return joined([check_pictures(_bedlam_scene(source, file, pictures, bodies), file) for file in files])


def _bedlam_scene(source: str, file: Path, pictures: Path, bodies: Bodies) -> Table:
    needed = ("imgname", "center", "scale", "pose_cam", "shape", "trans_cam", "cam_int", "cam_ext")
    found = columns_of(file, needed)
    count = len(found["imgname"])
    if found["pose_cam"].ndim == 2 and found["pose_cam"].shape[1] == 165:
        raise UserError(f"{file}: holds SMPL-X poses. Fetch BEDLAM's SMPL labels (all_npz_12_smpl_training)")
    shapes = {"center": (2,), "scale": (), "pose_cam": (72,), "trans_cam": (3,), "cam_int": (3, 3), "cam_ext": (4, 4)}
    check_shapes(found, shapes, count, file)
    betas = found["shape"][:, :10].astype(np.float32)
    check_shapes({"shape": betas}, {"shape": (10,)}, count, file)
    names = texts(found["imgname"])
    if not (len(names) and (pictures / names[0]).is_file()):
        names = np.array([f"{file.stem}/png/{name}" for name in names])
    pelvis = found["trans_cam"] + found["cam_ext"][:, :3, 3] + bodies.neutral.rest_pelvis(betas)
    scale, camera = BEDLAM_MARGIN * found["scale"], found["cam_int"]
    table = Table(
        source=source,
        folder=pictures,
        names=names,
        boxes=boxes(found["center"], scale),
        focals_px=((camera[:, 0, 0] + camera[:, 1, 1]) / 2).astype(np.float32),
        centres_px=camera[:, :2, 2].astype(np.float32),
        poses=found["pose_cam"].reshape(count, 24, 3).astype(np.float32),
        betas=betas,
        pelvis_m=pelvis.astype(np.float32),
    )
    return table.take(scale > LEAST_SCALE)


def columns_of(path: Path, needed: tuple[str, ...], optional: tuple[str, ...] = ()) -> Columns:
    """Reads the columns that an .npz has, without unpickling. Raises UserError."""
    cure = "Fetch or create the label file again"
    if not path.is_file():
        raise UserError(f"{path}: no such label file. Set `labels` to an .npz file")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            missing = [name for name in needed if name not in archive.files]
            if missing:
                raise UserError(f"{path}: lacks {', '.join(missing)}; it has {', '.join(archive.files)}. {cure}")
            found = {name: archive[name] for name in (*needed, *optional) if name in archive.files}
    except (OSError, ValueError, KeyError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{path}: not a label file, an .npz of plain arrays ({why}). {cure}") from error
    if found["imgname"].ndim != 1:
        raise UserError(f"{path}: imgname has shape {found['imgname'].shape}, but a list of names is needed. {cure}")
    return found


def check_shapes(found: Columns, shapes: dict[str, tuple[int, ...]], count: int, path: Path) -> None:
    """Raises UserError for a column that has another shape than (count, *shape), or values that are not finite."""
    for name, shape in shapes.items():
        if name not in found:
            continue
        column = found[name]
        if column.shape != (count, *shape):
            raise UserError(
                f"{path}: {name} has shape {column.shape}, but {(count, *shape)} is needed. Fetch or create it again"
            )
        if column.dtype.kind not in "USO" and not np.isfinite(column).all():
            raise UserError(f"{path}: {name} holds values that are not finite. Fetch or create the file again")


def texts(column: np.ndarray) -> np.ndarray:
    """Names as str; files written by Python 2 hold bytes."""
    return np.char.decode(column, "utf-8") if column.dtype.kind == "S" else column.astype(str)


def boxes(centres: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """SPIN's center (n, 2) and scale (n,) → (n, 3) centre and side in pixels."""
    return np.column_stack([centres, PIXELS_PER_SCALE * scales]).astype(np.float32)


def _floats(column: np.ndarray | None) -> np.ndarray | None:
    return None if column is None else column.astype(np.float32)


def _array(rows: list) -> np.ndarray:
    return np.asarray(rows, np.float32)
