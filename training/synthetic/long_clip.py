"""Makes movement of any length for a static camera: joins recorded and parametric pieces within the picture."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from refit_rt.body.smpl import Body
from refit_rt.geometry import roll_matrix
from training.synthetic import gestures, motion
from training.synthetic.draw import Person
from training.synthetic.generator import Generator, Sample, Stage, turned
from training.synthetic.motion import Motion, about_y, joint_places
from training.synthetic.people import random_betas

JOIN_S = 0.6  # the overlap of two pieces
REACH_M, BACK_S = 1.4, 1.3  # farthest from the middle; walking people drift back within this time, as on a treadmill
FEET = [7, 8, 10, 11]
ON_FEET = (gestures.STAND, gestures.BEND, gestures.LUNGE, gestures.CROUCH)
SEATED = (gestures.DESK,)
TRIES = 30
CHECKED = 8  # frames in which the person must be visible
LEAST_VISIBLE, LEAST_INSIDE = 0.45, 0.98


@dataclass(frozen=True, slots=True, eq=False)
class Movement:
    """The poses and path of a person."""

    rotations: np.ndarray  # (frames, 24, 3, 3) the root in a world with y up
    places: np.ndarray  # (frames, 3) metres: x and z of the pelvis; y: the height of the lowest foot above the floor
    kind: int  # of `gestures`, or motion.RECORDED


def short_movement(rng: np.random.Generator, frames: int, fps: float, body: Body, recorded: Motion | None) -> Movement:
    """Draws the movement of a short clip as in training, with jumps above the floor."""
    poses, places, kind = motion.random_clip(rng, frames, fps, body, recorded)
    height = places[:, 1] if kind == motion.RECORDED else None
    return Movement(poses, np.stack([places[:, 0], air(poses, height, body), places[:, 2]], 1), kind)


def long_movement(
    rng: np.random.Generator, frames: int, fps: float, body: Body, recorded: Motion | None, seated: bool
) -> Movement:
    """Draws pieces of 1.5 to 8 s: recorded walks, runs, jumps and turns, and gestures; or only gestures at a desk.

    People walk on the spot: they are pulled back to the middle.
    """
    overlap = round(JOIN_S * fps)
    rotations, steps, heights = _piece(rng, fps, body, recorded, seated)
    while len(rotations) < frames + overlap:
        after, after_steps, after_heights = _piece(rng, fps, body, recorded, seated)
        turn = about_y(motion.yaw_of(rotations[-overlap, 0]) - motion.yaw_of(after[0, 0]))
        after[:, 0], after_steps = turn @ after[:, 0], after_steps @ turn.T
        share = np.linspace(0, 1, overlap)
        share = share * share * (3 - 2 * share)
        joined = mixed(rotations[-overlap:], after[:overlap], share)
        rotations = np.concatenate([rotations[:-overlap], joined, after[overlap:]])
        share = share[:, None]
        joined_steps = (1 - share) * steps[-overlap:] + share * after_steps[:overlap]
        steps = np.concatenate([steps[:-overlap], joined_steps, after_steps[overlap:]])
        both = (1 - share[:, 0]) * heights[-overlap:] + share[:, 0] * after_heights[:overlap]
        heights = np.concatenate([heights[:-overlap], both, after_heights[overlap:]])
    places = _pulled_back(steps[:frames], fps)
    places[:, 1] = heights[:frames]
    return Movement(rotations[:frames], places, gestures.DESK if seated else motion.RECORDED)


def _pulled_back(steps: np.ndarray, fps: float) -> np.ndarray:
    """Sums steps (frames, 3) to places (frames, 3) no farther than REACH_M from the middle."""
    places = np.zeros_like(steps)
    for i in range(1, len(steps)):
        places[i] = places[i - 1] * (1 - 1 / (BACK_S * fps)) + steps[i]
    far = np.linalg.norm(places[:, [0, 2]], axis=1) / REACH_M
    return places * (np.tanh(far) / np.maximum(far, 1e-6))[:, None]


def _piece(rng, fps: float, body: Body, recorded: Motion | None, seated: bool):
    """Draws rotations (n, 24, 3, 3), steps (n, 3) metres per frame on the floor, heights (n,) of the feet."""
    seconds = rng.uniform(3.0, 8.0)
    if recorded is not None and not seated and rng.random() < 0.65:
        return _recorded_piece(rng, seconds, fps, body, recorded)
    return _gesture_piece(rng, seconds, fps, body, SEATED if seated else ON_FEET)


def _recorded_piece(rng, seconds: float, fps: float, body: Body, recorded: Motion):
    long_enough = np.flatnonzero(recorded.length > 2.2 * recorded.fps)
    clip = int(rng.choice(long_enough if len(long_enough) else np.arange(len(recorded.length))))
    pace = float(np.exp(rng.normal(0, 0.15))) * recorded.fps / fps  # frames of the recording per frame
    length = int(recorded.length[clip])
    count = max(min(int(seconds * fps), int((length - 1) / pace)), round(1.5 * fps))
    begin = rng.uniform(0, max(length - 1 - (count - 1) * pace, 0))
    times = np.minimum(begin + np.arange(count) * pace, length - 1)
    poses, places = motion.at_times(recorded, int(recorded.start[clip]), length, times)
    if rng.random() < 0.5:
        poses, places = motion.mirrored(poses), places * [-1, 1, 1]
    heights = air(poses, places[:, 1], body)
    steps = np.diff(places, axis=0, prepend=places[:1])
    steps[:, 1] = 0
    return poses, steps, heights


def _gesture_piece(rng, seconds: float, fps: float, body: Body, kinds: tuple[int, ...]):
    """Draws gestures of one kind, a pose every 0.8 to 2.2 s, turning a little; seated legs hardly move."""
    count = int(seconds * fps)
    drawn, kind = gestures.random_gestures(rng, 160, desk_only=kinds == SEATED)
    one = int(rng.choice(kinds, p=_shares(kinds)))
    fine = np.flatnonzero((kind == one) & ~motion.through_itself(body, drawn))
    fine = fine if len(fine) else np.flatnonzero(kind == one)
    knots = np.cumsum(rng.uniform(0.8, 2.2, int(seconds / 0.8) + 2))
    poses = drawn[np.resize(fine, len(knots))]
    if one in SEATED:
        legs = [*gestures.LEFT_LEG, *gestures.RIGHT_LEG]
        poses[:, legs] = mixed(np.repeat(poses[:1], len(poses), 0), poses, np.full(len(poses), 0.15))[:, legs]
    out = motion.between(knots - knots[0], poses, np.arange(count) / fps)
    heading = np.linspace(0, rng.normal(0, 0.15 if one in SEATED else 0.6), count)
    out[:, 0] = about_y(heading) @ out[:, 0]
    return out, np.zeros((count, 3)), np.zeros(count)


def _shares(kinds: tuple[int, ...]) -> np.ndarray:
    return gestures.SHARES[list(kinds)] / gestures.SHARES[list(kinds)].sum()


def mixed(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Rotations between a and b (n, 24, 3, 3), at a share (n,) of the way."""
    step = Rotation.from_matrix((np.swapaxes(a, -1, -2) @ b).reshape(-1, 3, 3)).as_rotvec().reshape(-1, 24, 3)
    way = Rotation.from_rotvec((step * share[:, None, None]).reshape(-1, 3)).as_matrix().reshape(-1, 24, 3, 3)
    return a @ way


def air(rotations: np.ndarray, height: np.ndarray | None, body: Body) -> np.ndarray:
    """The height (n,) of the lower foot above the floor for a recorded pelvis height (n,); 3 cm or less is standing."""
    if height is None:
        return np.zeros(len(rotations))
    rise = height + joint_places(body, rotations)[:, FEET, 1].min(1)
    return np.maximum(0.0, rise - np.percentile(rise, 20) - 0.03)


def film(generator: Generator, number: int, moved: Movement) -> Iterator[Sample]:
    """Yields the pictures of a movement from a static camera that keeps the person in view.

    The same generator and number give the same person and place. Memory does not grow with the length.
    """
    generator._count(number)
    rng = np.random.default_rng([*generator.key, 7, number])
    anyhow = moved.kind != gestures.DESK and rng.random() < 0.6
    heading = rng.uniform(-np.pi, np.pi) if anyhow else rng.normal(0, 0.5)
    poses, places = turned(moved.rotations, heading), moved.places @ about_y(np.array(heading)).T
    betas, outfit = random_betas(rng), generator.outfits[rng.integers(len(generator.outfits))]

    def person(frame: int) -> tuple[Person, np.ndarray]:
        dressed, shift = generator.dressed(outfit, poses[frame], betas)
        points = dressed.points + places[frame].astype(np.float32)
        return Person(outfit, points, dressed.normals), shift + places[frame]

    stage = _stage_in_sight(generator, rng, number, outfit, betas, poses, person, heading, moved.kind)
    for frame in range(len(poses)):
        same = np.random.default_rng([*generator.key, 8, number])  # one exposure and one kind of box for all
        dressed, shift = person(frame)
        yield generator._shoot(same, stage, dressed, poses[frame], shift, moved.kind, jitter=rng)


def _stage_in_sight(generator: Generator, rng, number: int, outfit, betas, poses, person, heading, kind) -> Stage:
    """The first drawn stage in which the person stays visible in the picture, else the best one."""
    close = kind == gestures.DESK
    count = len(poses)
    frames = np.linspace(0, count - 1, min(count, CHECKED)).astype(int)
    shown = {int(frame): person(int(frame)) for frame in frames}
    joints = {f: generator.body.joints(poses[f], betas) + shift for f, (_, shift) in shown.items()}
    trunks = np.stack([generator.body.joints(poses[f], betas)[[0, 12]] + person(f)[1] for f in range(0, count, 5)])
    best, best_score = None, -1.0
    for _ in range(TRIES):
        stage = generator._stage(
            rng, number, outfit, betas, joints[int(frames[len(frames) // 2])], heading, kind, close
        )
        inside = _inside(stage, trunks)
        if inside < LEAST_INSIDE and best is not None:
            continue
        shots = [
            generator._shoot(np.random.default_rng([number, 9]), stage, shown[f][0], poses[f], shown[f][1], kind)
            for f in joints
        ]
        seen = float(np.mean([shot.visible for shot in shots]))
        if inside + min(seen, LEAST_VISIBLE) > best_score:
            best, best_score = stage, inside + min(seen, LEAST_VISIBLE)
        if inside >= LEAST_INSIDE and seen >= LEAST_VISIBLE:
            break
    assert best is not None
    return best


def _inside(stage: Stage, trunks: np.ndarray) -> float:
    """The share of frames in which pelvis and neck (n, 2, 3) world lie well inside the sensor's picture."""
    seen = stage.view.to_camera(trunks)
    pixels = seen[..., :2] / np.maximum(seen[..., 2:], 0.05) * stage.view.focal_px
    turn = roll_matrix(stage.view.turned)[:2, :2]  # takes sensor pixels to the view's; a row vector times it goes back
    half = 0.5 * np.array(stage.view.size)
    return float(((np.abs(pixels @ turn) < 0.97 * half) & (seen[..., 2:] > 0.3)).all((1, 2)).mean())
