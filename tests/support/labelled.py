"""People with known truth and pictures that show where their joints are, written as each data set writes them."""

import json
import pickle
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
from scipy.spatial.transform import Rotation

from refit_rt.body.smpl import load_body
from refit_rt.geometry import axis_angle_from_matrix, matrix_from_axis_angle, project
from training.datasets.crop import Augment
from training.datasets.joints import OPENPOSE_18, SMPL_PART, SPIN
from training.datasets.mix import Mix, SetRecipe, open_mix
from training.datasets.record import Record

BODY = load_body()
SIZE = (640, 480)  # width, height
FOCAL_PX, CENTRE_PX = 700.0, np.array([330.0, 228.0])  # not the middle: a mirrored camera is another one
# Joints that a picture shows as discs, each of its own colour (RGB).
SHOWN = {15: (255, 0, 0), 20: (0, 255, 0), 21: (0, 0, 255), 7: (255, 255, 0), 8: (255, 0, 255)}
AS_SMPL = np.array([0, 12, 17, 19, 21, 16, 18, 20, 0, 2, 5, 8, 1, 4, 7])  # OpenPose's first 15 points on SMPL's joints


@dataclass(frozen=True)
class Person:
    """In the camera frame."""

    rotations: np.ndarray  # (24, 3, 3)
    betas: np.ndarray  # (10,)
    pelvis: np.ndarray  # (3,) metres

    @property
    def trans(self) -> np.ndarray:
        return self.pelvis - BODY.rest_pelvis(self.betas)

    @property
    def joints(self) -> np.ndarray:
        """(24, 3) metres."""
        return BODY.joints(self.rotations, self.betas) + self.trans

    @property
    def pose(self) -> np.ndarray:
        """(72,) axis-angle."""
        return axis_angle_from_matrix(self.rotations).ravel()

    @property
    def joints_px(self) -> np.ndarray:
        return project(self.joints, FOCAL_PX, CENTRE_PX)

    @property
    def box(self) -> np.ndarray:
        """(3,) centre and side."""
        low, high = self.joints_px.min(0), self.joints_px.max(0)
        return np.array([*(low + high) / 2, 1.3 * (high - low).max()])


def person(seed: int) -> Person:
    """Somebody who stands about upright before the camera, arms half raised, turned a little, off the middle."""
    rng = np.random.default_rng(seed)
    turns = rng.normal(0, 0.12, (24, 3))
    turns[16, 2], turns[17, 2] = -0.5 + rng.normal(0, 0.1), 0.3 + rng.normal(0, 0.1)
    rotations = matrix_from_axis_angle(turns)
    heading = Rotation.from_euler("y", rng.normal(0, 25), degrees=True)
    rotations[0] = (Rotation.from_rotvec([np.pi, 0, 0]) * heading).as_matrix()
    return Person(rotations, rng.normal(0, 0.5, 10), np.array([rng.uniform(-0.4, 0.4), 0.1, rng.uniform(3.8, 4.5)]))


def picture(one: Person, size: tuple[int, int] = SIZE) -> np.ndarray:
    """(height, width, 3) uint8 RGB: grey, a disc at each joint of SHOWN."""
    image = np.full((size[1], size[0], 3), 90, np.uint8)
    for joint, colour in SHOWN.items():
        x, y = np.round(16 * one.joints_px[joint]).astype(int)
        cv2.circle(image, (int(x), int(y)), 7 * 16, colour, -1, cv2.LINE_AA, 4)
    return image


def write_picture(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1])


def seen_px(crop: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """(2,) middle of the disc of a colour in a crop (h, w, 3)."""
    far = np.abs(crop.astype(int) - np.array(colour)).max(-1)
    weight = np.clip(1 - far / 100, 0, None)  # the ground, and rims of other discs, are farther
    y, x = np.indices(weight.shape)
    assert weight.sum() > 20, "the crop does not show it"
    return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


def spin_points(one: Person) -> np.ndarray:
    """(24, 3): the limbs of `part`, confidence 1; what SMPL has no joint for stays 0."""
    limbs = {"ankle": (7, 8), "knee": (4, 5), "wrist": (20, 21), "elbow": (18, 19), "shoulder": (16, 17)}
    points = np.zeros((24, 3))
    for limb, (left, right) in limbs.items():
        for side, joint in (("l", left), ("r", right)):
            points[SPIN.index(f"{side}_{limb}")] = [*one.joints_px[joint], 1]
    return points


def write_spin(folder: Path, people: list[Person], **others: np.ndarray | None) -> Path:
    """labels.npz and pictures in SPIN's format, as ReFit's own files have it."""
    points_3d = np.zeros((len(people), 24, 4))
    for row, one in enumerate(people):
        known = spin_points(one)[:, 2] > 0
        points_3d[row, known, 3] = 1
        for point, name in enumerate(SPIN):
            if known[point]:
                side, limb = name.split("_")
                joints = {"ankle": 7, "knee": 4, "wrist": 20, "elbow": 18, "shoulder": 16}
                points_3d[row, point, :3] = (one.joints - one.joints[0])[joints[limb] + (side == "r")]
        write_picture(folder / "images" / f"{row}.png", picture(one))
    columns: dict[str, Any] = {
        "imgname": np.array([f"images/{row}.png" for row in range(len(people))]),
        "center": np.array([one.box[:2] for one in people]),
        "scale": np.array([one.box[2] / 200 for one in people]),
        "part": np.array([spin_points(one) for one in people]), "S": points_3d,
        "pose": np.array([one.pose for one in people]), "shape": np.array([one.betas for one in people]),
        "has_smpl": np.ones(len(people)), "gender": np.array(["f"] * len(people)),
        "img_focal": np.full(len(people), FOCAL_PX), "img_center": np.tile(CENTRE_PX, (len(people), 1)),
    } | others  # fmt: skip
    path = folder / "labels.npz"
    np.savez(path, **{name: column for name, column in columns.items() if column is not None})
    return path


def write_eft(folder: Path, people: list[Person]) -> Path:
    """EFT's own json of COCO."""
    rows = []
    for row, one in enumerate(people):
        write_picture(folder / "train2014" / f"{row}.jpg", picture(one))
        rows.append({
            "imageName": f"{row}.jpg", "bbox_center": one.box[:2].tolist(), "bbox_scale": one.box[2] / 200,
            "gt_keypoint_2d": [[0, 0, 0]] * 25 + spin_points(one).tolist(), "annotId": row, "parm_cam": [1, 0, 0],
            "parm_pose": one.rotations.tolist(), "parm_shape": one.betas.tolist(),
        })  # fmt: skip
    path = folder / "COCO2014-All-ver01.json"
    path.write_text(json.dumps({"meta": {"dbname": "COCO2014-All"}, "data": rows}))
    return path


def write_bedlam(folder: Path, people: list[Person], scene: str = "20221010_scene_6fps", lying: bool = False) -> Path:
    """One scene's .npz in labels/, its pictures in SCENE/png/. lying: pictures on their side, as its close-ups."""
    lens = np.array([[FOCAL_PX, 0, CENTRE_PX[0]], [0, FOCAL_PX, CENTRE_PX[1]], [0, 0, 1]])
    outside = np.tile(np.eye(4), (len(people), 1, 1))
    outside[:, :3, 3] = [0.5, -0.2, 2.0]
    for row, one in enumerate(people):
        image = picture(one)
        write_picture(folder / scene / "png" / "seq_0" / f"{row}.png", np.rot90(image) if lying else image)
    path = folder / "labels" / f"{scene}.npz"
    path.parent.mkdir(exist_ok=True)
    np.savez(
        path, imgname=np.array([f"seq_0/{row}.png" for row in range(len(people))]),
        center=np.array([one.box[:2] for one in people]), scale=np.array([one.box[2] / 200 / 1.12 for one in people]),
        pose_cam=np.array([one.pose for one in people]), shape=np.array([one.betas for one in people]),
        trans_cam=np.array([one.trans for one in people]) - outside[:, :3, 3], cam_ext=outside,
        cam_int=np.tile(lens, (len(people), 1, 1)), gtkps=np.zeros((len(people), 45, 2)),
        motion_info=np.array([{"never": "read"}] * len(people), object),
    )  # fmt: skip
    return path


def in_world(one: Person, camera_from_world: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pose (72,), translation (3,) and joints (24, 3) of a person as a world-frame label has them."""
    back = np.linalg.inv(camera_from_world)
    rotations = one.rotations.copy()
    rotations[0] = back[:3, :3] @ rotations[0]
    pelvis = back[:3, :3] @ one.pelvis + back[:3, 3]
    joints = one.joints @ back[:3, :3].T + back[:3, 3]
    return axis_angle_from_matrix(rotations).ravel(), pelvis - BODY.rest_pelvis(one.betas), joints


def cameras(count: int) -> np.ndarray:
    """(count, 4, 4) camera from world, of a camera that goes somewhere."""
    place = np.tile(np.eye(4), (count, 1, 1))
    for i in range(count):
        place[i, :3, :3] = Rotation.from_rotvec([0.4, 0.02 * i + 0.7, -0.2]).as_matrix()
        place[i, :3, 3] = [0.3 + 0.01 * i, -1.0, 2.5]
    return place


def write_3dpw(folder: Path, people: list[list[Person]], split: str = "test", name: str = "downtown_x_00",
               valid: np.ndarray | None = None, joint_positions: bool = True) -> Path:  # fmt: skip
    """One sequence: people[p][frame]. The pictures show the first person. valid (people, frames)."""
    frames = len(people[0])
    place = cameras(frames)
    world = [[in_world(one, place[i]) for i, one in enumerate(track)] for track in people]
    detections = np.zeros((len(people), frames, 3, 18))
    for p, track in enumerate(people):
        for i, one in enumerate(track):
            for slot, point in enumerate(OPENPOSE_18):
                if point < 15:
                    detections[p, i, :, slot] = [*one.joints_px[AS_SMPL[point]], 0.8]
            detections[p, i, :, 0] = 0  # no nose on this body
    for i, one in enumerate(people[0]):
        write_picture(folder / "imageFiles" / name / f"image_{i:05d}.jpg", picture(one))
    found = {
        "sequence": name, "poses": [np.array([w[0] for w in track]) for track in world],
        "trans": [np.array([w[1] for w in track]) for track in world],
        "betas": [np.concatenate([track[0].betas, np.zeros(290)]) for track in people],
        "genders": ["m", "f"][: len(people)], "cam_poses": place, "img_frame_ids": np.arange(frames),
        "cam_intrinsics": np.array([[FOCAL_PX, 0, CENTRE_PX[0]], [0, FOCAL_PX, CENTRE_PX[1]], [0, 0, 1]]),
        "poses2d": list(detections),
        "campose_valid": list(np.ones((len(people), frames), int) if valid is None else valid.astype(int)),
    }  # fmt: skip
    if joint_positions:
        found["jointPositions"] = [np.array([w[2].ravel() for w in track]) for track in world]
    path = folder / "sequenceFiles" / split / f"{name}.pkl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(found, protocol=2))
    return path


def write_emdb(folder: Path, track: list[Person], name: str = "P1/14_outdoor_climb", emdb1: bool = True,
               good: np.ndarray | None = None) -> Path:  # fmt: skip
    """One sequence and its pictures."""
    place, count = cameras(len(track)), len(track)
    world = [in_world(one, place[i]) for i, one in enumerate(track)]
    corners = np.array([[*one.joints_px.min(0), *one.joints_px.max(0)] for one in track])
    for i, one in enumerate(track):
        write_picture(folder / name / "images" / f"{i:05d}.jpg", picture(one))
    poses = np.array([w[0] for w in world])
    found = {
        "name": name.replace("/", "_"), "gender": "female", "emdb1": emdb1, "emdb2": not emdb1, "n_frames": count,
        "good_frames_mask": np.ones(count, bool) if good is None else good,
        "camera": {
            "intrinsics": np.array([[FOCAL_PX, 0, CENTRE_PX[0]], [0, FOCAL_PX, CENTRE_PX[1]], [0, 0, 1]]),
            "extrinsics": place, "width": SIZE[0], "height": SIZE[1],
        },
        "smpl": {
            "poses_root": poses[:, :3], "poses_body": poses[:, 3:], "trans": np.array([w[1] for w in world]),
            "betas": track[0].betas,
        },
        "kp2d": np.array([one.joints_px for one in track]),
        "bboxes": {"bboxes": corners, "invalid_idxs": np.zeros(0, int)},
    }  # fmt: skip
    path = folder / name / f"{name.replace('/', '_')}_data.pkl"
    path.write_bytes(pickle.dumps(found))
    return path


def record_of(one: Person, image: Path = Path("none.png")) -> Record:
    """What a reader should make of them."""
    keypoints = np.zeros((73, 3), np.float32)
    keypoints[SMPL_PART] = np.column_stack([one.joints_px, np.ones(24)])
    space = np.zeros((73, 4), np.float32)
    space[SMPL_PART] = np.column_stack([one.joints, np.ones(24)])
    return Record("made", image, one.box.astype(np.float32), "neutral", FOCAL_PX, CENTRE_PX, one.rotations, one.betas,
                  one.pelvis, keypoints, space)  # fmt: skip


def check_person(record: Record, one: Person, pelvis: bool = True) -> None:
    """The record says what the person is, to half a millimetre and a tenth of a pixel."""
    assert record.rotations is not None
    assert record.betas is not None
    np.testing.assert_allclose(record.rotations, one.rotations, atol=1e-5)
    np.testing.assert_allclose(record.betas, one.betas, atol=1e-5)
    if pelvis:
        assert record.pelvis_m is not None
        np.testing.assert_allclose(record.pelvis_m, one.pelvis, atol=5e-4)
        trans = record.pelvis_m - BODY.rest_pelvis(record.betas)
        assert record.focal_px is not None
        assert record.centre_px is not None
        px = project(BODY.joints(record.rotations, record.betas) + trans, record.focal_px, record.centre_px)
        np.testing.assert_allclose(px, one.joints_px, atol=0.1)


def mixed(tmp_path: Path, seed: int = 0, **augment: float) -> Mix:
    """Half with keypoints alone, half with all."""
    people = [replace(person(seed), betas=person(0).betas) for seed in range(4)]  # 3DPW: one shape a sequence
    write_spin(tmp_path / "coco", people, pose=None, shape=None, has_smpl=None, img_focal=None, img_center=None)
    write_3dpw(tmp_path / "3dpw", [people], split="train")
    sets = {
        "coco": SetRecipe(kind="spin", labels=str(tmp_path / "coco/labels.npz"), ratio=0.1, keypoints_3d=False),
        "3dpw": SetRecipe(kind="3dpw", labels=str(tmp_path / "3dpw"), ratio=0.3),
        "unused": SetRecipe(kind="emdb", labels="nowhere", ratio=0),
    }
    return open_mix(sets, BODY, batch=8, augment=msgspec.structs.replace(Augment(), **augment), seed=seed)
