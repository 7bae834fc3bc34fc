"""Renders the demo clip and its truth: python -m training.demo --motion FOLDER."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from refit_rt.body.smpl import Body, load_body
from refit_rt.draw.mp4 import VideoFile
from refit_rt.draw.overlay import contact_sheet
from refit_rt.draw.raster import vertex_normals
from refit_rt.errors import UserError
from refit_rt.files import ASSETS, write_whole
from refit_rt.geometry import WORLD_FROM_CAMERA
from refit_rt.motion.npz import SCHEMA
from training.demo.motion import FPS, Movement, demo_movement
from training.demo.room import demo_outfit, demo_scene
from training.reporting import run, write_picture
from training.synthetic import cloth, people, photo
from training.synthetic.cameras import View, look_at
from training.synthetic.draw import Person, Stock, draw
from training.synthetic.motion import load_motion

OUT = ASSETS / "demo"
SIZE, FOCAL_PX, SUPERSAMPLE = (1280, 720), 1080.0, 2
CAMERA, TARGET = np.array([0.1, 1.5, 4.45]), np.array([-0.12, 0.9, 0.0])
BETAS = np.array([0.35, -0.4, 0.3, 0.2, -0.3, 0.1, 0.0, 0.2, 0.0, 0.0], np.float32)
EXPOSURE = 1.0
SHADOW_TEXELS = 176


def main() -> None:
    """The command line. Raises UserError."""
    parser = argparse.ArgumentParser(prog="python -m training.demo", description=__doc__)
    parser.add_argument("--motion", type=Path, required=True, help="recorded motion that contains the clip of the walk")
    parser.add_argument("--out", type=Path, default=OUT, help="the folder to write")
    parser.add_argument("--every", type=int, default=1, help="render only every n-th frame, as a preview")
    parser.add_argument("--sheet", type=Path, help="also write a contact sheet to this file")
    arguments = parser.parse_args()
    render(arguments.motion, arguments.out, arguments.every, arguments.sheet)


def render(motion: Path, out: Path, every: int, sheet: Path | None) -> None:
    """Writes demo.mp4 and demo_truth.npz to the folder `out`. Raises UserError."""
    if every < 1:
        raise UserError(f"--every {every}: must be at least 1")
    body = load_body()
    movement = demo_movement(body, BETAS, load_motion(motion))
    middle = np.array([(SIZE[0] - 1) / 2, (SIZE[1] - 1) / 2])
    view = View(look_at(CAMERA, TARGET), CAMERA, FOCAL_PX, middle, SIZE, 0.0)
    out.mkdir(parents=True, exist_ok=True)
    kept = encode(out / "demo.mp4", frames(body, movement, view, every), 20 if every == 1 else 1)
    if sheet:
        small = [cv2.resize(picture, (640, 360), interpolation=cv2.INTER_AREA) for picture in kept]
        write_picture(sheet, contact_sheet(small, 3))
    if every == 1:
        write_truth(out / "demo_truth.npz", body, movement, view)


def frames(body: Body, movement: Movement, view: View, every: int) -> Iterator[np.ndarray]:
    """Renders the frames, (height, width, 3) uint8 BGR each."""
    scene, textures = demo_scene()
    stock = Stock(textures, [], cloth.noise_volume(np.random.default_rng(1)), photo.to_linear_table())
    outfit, curve = demo_outfit(body), photo.response(1.0, 1.05, 0.01)
    inside = np.ones((SIZE[1] * SUPERSAMPLE, SIZE[0] * SUPERSAMPLE), bool)
    picture, centre = np.empty((*inside.shape, 3), np.uint8), (view.centre_px + 0.5) * SUPERSAMPLE - 0.5
    for row in range(0, len(movement.rotations), every):
        points = people.posed(outfit, body, movement.rotations[row], BETAS) + shift_of(body, movement, row)
        person = Person(outfit, points, vertex_normals(points, outfit.faces))
        linear, _ = draw(scene, view, [person], FOCAL_PX * SUPERSAMPLE, centre, inside, stock, 1, SHADOW_TEXELS)
        photo.develop(linear, np.full(3, EXPOSURE, np.float32), curve, picture)
        yield np.ascontiguousarray(cv2.resize(picture, SIZE, interpolation=cv2.INTER_AREA)[..., ::-1])


def encode(path: Path, pictures: Iterator[np.ndarray], keep_every: int) -> list[np.ndarray]:
    """Writes a video and returns some of its pictures."""
    kept = []
    with VideoFile(path, SIZE, FPS, preset="slow", crf=19) as video:
        for row, picture in enumerate(pictures):
            video.write(picture, row / FPS)
            kept += [picture] if row % keep_every == 0 else []
    return kept


def shift_of(body: Body, movement: Movement, row: int) -> np.ndarray:
    """The shift (3,) float32 that places the posed body (its root joint at rest), with shoes, in the world."""
    pelvis = body.rest_pelvis(BETAS)
    return (movement.pelvis[row] - pelvis + np.array([0, people.SOLE_M, 0])).astype(np.float32)


def write_truth(path: Path, body: Body, movement: Movement, view: View) -> None:
    """Writes the truth with the keys of motion.npz: one person in every frame."""
    count = len(movement.rotations)
    pelvis = body.rest_pelvis(BETAS).astype(np.float64)
    rotations = movement.rotations.copy()
    rotations[:, 0] = view.camera_from_world @ rotations[:, 0]
    shift = np.stack([shift_of(body, movement, row) for row in range(count)])
    trans = (shift + pelvis - view.place) @ view.camera_from_world.T - pelvis
    joints = np.stack([body.joints(r, BETAS) for r in rotations]) + trans[:, None]
    pixels = joints[..., :2] / joints[..., 2:] * view.focal_px + view.centre_px
    with write_whole(path) as part:
        np.savez_compressed(
            part,
            frame=np.arange(count),
            time_s=np.arange(count) / FPS,
            person=np.zeros(count, np.int64),
            poses=Rotation.from_matrix(rotations.reshape(-1, 3, 3)).as_rotvec().reshape(count, 72).astype(np.float32),
            betas=np.tile(BETAS, (count, 1)),
            trans=trans.astype(np.float32),
            joints_camera=joints.astype(np.float32),
            joints_px=pixels.astype(np.float32),
            focal_px=np.float64(view.focal_px),
            fps=np.float64(FPS),
            size=np.array(SIZE),
            joints_world=(joints @ WORLD_FROM_CAMERA.T).astype(np.float32),
            box=np.concatenate([pixels.min(1), pixels.max(1)], 1).astype(np.float32),
            confidence=np.ones(count, np.float32),
            iterations=np.zeros(count, np.int32),
            body=body.name,
            bundle="truth",
            schema=SCHEMA,
        )


if __name__ == "__main__":
    sys.exit(run(main))
