"""People who walk about before a ring of cameras, as each camera's own single-view run sees them: with a body of
another size, turned and bent a little wrongly, and its joints some pixels off."""

from dataclasses import replace

import numpy as np

from calib.bodies import Track, Watched
from refit_rt import geometry
from refit_rt.cameras import Camera
from tests.support.all_knowing import BODY
from tests.support.studio import ring

FPS = 25.0


def walk(seed: int, times_s: np.ndarray) -> np.ndarray:
    """(n, 24, 3) metres, world: somebody who walks a curve of 1.2 m around the middle and swings arms and legs."""
    rng = np.random.default_rng(seed)
    turn_s, step_s, phase = rng.uniform(6, 9), rng.uniform(0.9, 1.2), rng.uniform(0, 2 * np.pi, 4)
    angle = 2 * np.pi * times_s / turn_s * rng.choice([-1, 1]) + phase[0]
    size = rng.uniform(0.8, 1.3, 2)
    path = np.stack([size[0] * np.sin(angle), np.full(len(angle), 0.95), size[1] * np.sin(2 * angle + phase[1])], 1)
    ahead = np.gradient(path, times_s, axis=0)
    heading = np.unwrap(np.arctan2(ahead[:, 0], ahead[:, 2]))
    swing = np.sin(2 * np.pi * times_s / step_s + phase[2])
    pose = np.zeros((len(times_s), 24, 3))
    pose[:, 1, 0], pose[:, 2, 0] = 0.5 * swing, -0.5 * swing  # hips
    pose[:, 4, 0], pose[:, 5, 0] = 0.4 - 0.4 * swing, 0.4 + 0.4 * swing  # knees
    pose[:, 16, 2], pose[:, 17, 2] = -1.2, 1.2  # arms hang
    pose[:, 16, 1], pose[:, 17, 1] = 0.4 * swing, 0.4 * swing
    pose[:, 18, 1], pose[:, 19, 1] = -0.5, 0.5 + 0.5 * np.sin(0.7 * times_s + phase[3])
    pose[:, 9, 1] = 0.15 * swing
    betas = rng.normal(0, 0.7, 10)
    joints = np.empty((len(times_s), 24, 3))
    for row, one in enumerate(pose):
        turns = geometry.matrix_from_axis_angle(one)
        turns[0] = geometry.matrix_from_axis_angle(np.array([0.0, heading[row], 0.0]))
        joints[row] = BODY.joints(turns, betas)
        joints[row] += path[row] - joints[row, 0]
    joints[..., 1] -= joints[:, [10, 11], 1].min() - 0.03
    return joints


def cameras(count: int, radius_m: float = 4.0) -> list[Camera]:
    """Without distortion, on a ring."""
    return [replace(one, name=f"cam{row + 1}") for row, one in enumerate(ring(count, radius_m))]


def watched(
    rig: list[Camera],
    people: tuple[int, ...] = (1,),
    seconds: float = 8.0,
    delays_s: tuple[float, ...] = (),
    noise_px: float = 3.0,
    seed: int = 0,
    fps: float = FPS,
) -> list[Watched]:
    """What each camera sees. delays_s: by which its pictures are older than they claim. A person's size errs by 4 %,
    orientations by 5 degrees and limbs by 4 cm, all slowly changing."""
    rng, found = np.random.default_rng(seed), []
    for row, camera in enumerate(rig):
        claimed_s = np.arange(0, seconds, 1 / fps) + rng.uniform(0, 0.2 / fps)
        shot_s = claimed_s - (delays_s[row] if delays_s else 0.0)
        tracks = []
        for person in people:
            joints = camera.camera(walk(person, shot_s))
            pixels = geometry.project(joints, camera.focal_px, camera.centre_px)
            pixels = pixels + noise_px * _slow(rng, pixels.shape)
            turn = geometry.matrix_from_axis_angle(np.radians(5) * _slow(rng, (len(shot_s), 3)))
            pelvis = joints[:, :1] * (1.04 + 0.03 * _slow(rng, (len(shot_s), 1, 1)))
            limbs = 1.04 * np.einsum("nij,nkj->nki", turn, joints - joints[:, :1])
            limbs = limbs + 0.04 * _slow(rng, joints.shape)
            tracks.append(Track(claimed_s, pelvis + limbs, pixels))
        order = rng.permutation(len(tracks))
        found.append(Watched(camera, tuple(tracks[one] for one in order), len(claimed_s), 1 / fps))
    return found


def _slow(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Noise of deviation 1 that is alike over about 5 frames of the first axis."""
    noise = rng.normal(size=(shape[0] + 8, *shape[1:]))
    weight = np.hanning(11)[1:-1]
    return np.stack([np.tensordot(weight, noise[row : row + 9], 1) for row in range(shape[0])]) / np.linalg.norm(weight)
