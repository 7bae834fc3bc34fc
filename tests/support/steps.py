"""People who walk, stand, jump and sit on a floor at y = 0, with feet that truly stand, and as a fit would see them."""

from dataclasses import dataclass

import numpy as np

from refit_rt import geometry
from refit_rt.body.smpl import load_body
from refit_rt.cameras import Camera
from refit_rt.types import CONTACTS, People

BODY = load_body()
FPS = 30.0
SPEED, STEP_S, STANCE = 0.9, 1.1, 0.6  # m/s; seconds of two steps; share of them in which a foot stands
FLOOR = (0.0, 1.0, 0.0, 0.0)
REST = BODY.joint_template.astype(np.float64)
SOLE = float(BODY.template[:, 1].min())
LEGS = ((1, 4, 7), (2, 5, 8))
CENTRE = (639.5, 359.5)


def camera(name: str = "test") -> Camera:
    """3.5 m beside the path, 1.5 m high, level: it looks along -x."""
    world_from_camera = np.eye(4)
    world_from_camera[:3, :3] = np.array([[0.0, 0.0, -1.0], [0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]])
    world_from_camera[:3, 3] = (3.5, 1.5, 0.0)
    return Camera(name, (1280, 720), 400.0, CENTRE, world_from_camera=world_from_camera)


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """A person's motion in the world."""

    times_s: np.ndarray  # (T,)
    rotations: np.ndarray  # (T, 24, 3, 3)
    pelvis: np.ndarray  # (T, 3) metres
    stands: np.ndarray  # (T, 2) bool: left and right foot

    @property
    def joints(self) -> np.ndarray:
        """(T, 24, 3) metres."""
        posed = np.stack([BODY.joints(one, np.zeros(10)) for one in self.rotations]).astype(np.float64)
        return posed - posed[:, :1] + self.pelvis[:, None]


def truth(times_s: np.ndarray, pelvis: np.ndarray, ankles: np.ndarray, stands: np.ndarray) -> Truth:
    """Legs that reach from a pelvis (T, 3) to ankles (T, 2, 3), both in the world; knees bend forwards (+z), soles
    stay level. Only the y and z of ankles count: legs swing in planes."""
    vectors = np.zeros((len(times_s), 24, 3))
    vectors[:, 16, 2], vectors[:, 17, 2] = -1.2, 1.2
    for foot, (hip, knee, ankle) in enumerate(LEGS):
        goal = (ankles[:, foot] - pelvis - (REST[hip] - REST[0]))[:, 1:]
        thigh, shank = (REST[knee] - REST[hip])[1:], (REST[ankle] - REST[knee])[1:]
        upper, lower, reach = np.linalg.norm(thigh), np.linalg.norm(shank), np.linalg.norm(goal, axis=1)
        assert (reach < upper + lower).all(), "the ankles are out of reach"
        inner = np.arccos((reach**2 + upper**2 - lower**2) / (2 * reach * upper))  # between thigh and goal
        outer = np.arccos((reach**2 - upper**2 - lower**2) / (2 * upper * lower))  # between thigh and shank

        def angle(vector: np.ndarray) -> np.ndarray:
            """About +x, from y to z."""
            return np.arctan2(vector[..., 1], vector[..., 0])

        thigh_angle = angle(goal) - inner
        shank_angle = thigh_angle + outer
        vectors[:, hip, 0] = thigh_angle - angle(thigh)
        vectors[:, knee, 0] = shank_angle - angle(shank) - vectors[:, hip, 0]
        vectors[:, ankle, 0] = -(vectors[:, hip, 0] + vectors[:, knee, 0])
    return Truth(times_s, geometry.matrix_from_axis_angle(vectors), pelvis, stands)


def standing_ankles() -> np.ndarray:
    """(2, 3) metres below a pelvis at x = z = 0, the soles on the floor."""
    return np.array([[REST[leg[2], 0] - REST[0, 0], REST[leg[2], 1] - SOLE, 0.0] for leg in LEGS])


def times(seconds: float, fps: float = FPS) -> np.ndarray:
    """(T,) seconds."""
    return np.arange(round(seconds * fps)) / fps


def walk(seconds: float = 4.0, fps: float = FPS, belt: bool = False) -> Truth:
    """Along +z; belt: on a treadmill, whose belt carries the feet back as fast as the person walks."""
    times_s = times(seconds, fps)
    ahead = SPEED * (times_s - seconds / 2)
    pelvis = np.stack([np.zeros(len(times_s)), np.full(len(times_s), 0.88), ahead], 1)
    ankles, stands = np.tile(standing_ankles(), (len(times_s), 1, 1)), np.ones((len(times_s), 2), bool)
    for foot in range(2):
        phase = times_s / STEP_S + foot / 2
        count, part = np.floor(phase), phase % 1
        swing = np.clip((part - STANCE) / (1 - STANCE), 0, 1)
        stands[:, foot] = swing == 0
        eased = swing**3 * (10 - 15 * swing + 6 * swing**2)
        stood = SPEED * STEP_S * (count - foot / 2 + STANCE / 2) - SPEED * seconds / 2
        ankles[:, foot, 2] = stood + SPEED * STEP_S * eased
        ankles[:, foot, 1] += 0.09 * np.sin(np.pi * swing) ** 2
    if belt:
        pelvis[:, 2] -= ahead
        ankles[:, :, 2] -= ahead[:, None]
    return truth(times_s, pelvis, ankles, stands)


def stand(seconds: float = 3.0, fps: float = FPS) -> Truth:
    """Still, with knees a little bent."""
    times_s = times(seconds, fps)
    pelvis = np.tile([0.0, 0.9, 0.0], (len(times_s), 1))
    ankles = np.tile(standing_ankles(), (len(times_s), 1, 1))
    return truth(times_s, pelvis, ankles, np.ones((len(times_s), 2), bool))


def jump(seconds: float = 3.0, fps: float = FPS, air_s: float = 0.45) -> Truth:
    """Stands, and jumps once a second with both feet."""
    stood, times_s = stand(seconds, fps), times(seconds, fps)
    flight = np.clip((times_s % 1.0 - 0.4) / air_s, 0, 1)
    up = 9.81 * air_s**2 / 2 * flight * (1 - flight)
    return Truth(times_s, stood.rotations, stood.pelvis + up[:, None] * [0, 1, 0], np.tile(up[:, None] == 0, (1, 2)))


def sit(seconds: float = 3.0, fps: float = FPS) -> Truth:
    """On something high: the feet hang still, 0.35 m above the floor."""
    stood = stand(seconds, fps)
    return Truth(
        stood.times_s, stood.rotations, stood.pelvis + np.array([0, 0.35, 0]), np.zeros((len(stood.times_s), 2), bool)
    )


def seen(
    moved: Truth,
    lens: Camera,
    person: int = 1,
    seed: int | None = 0,
    floor: tuple[float, ...] | None = FLOOR,
    turned_deg: float = 1.5,
) -> list[People]:
    """The motion as a fit shows it, in each frame. seed: None: without errors. Errors change slowly, as after a filter:
    turns of the hips, knees and ankles, 6 mm of the place across the line of sight, and 2 % of the depth along it."""
    rotations, pelvis = moved.rotations.copy(), moved.pelvis.copy()
    if seed is not None:
        rng = np.random.default_rng(seed)
        wrong = np.radians(turned_deg) * drift(rng, (len(pelvis), 6, 3), moved.times_s, 0.15)
        legs = [joint for leg in LEGS for joint in leg]
        rotations[:, legs] = rotations[:, legs] @ geometry.matrix_from_axis_angle(wrong)
        there = lens.camera(pelvis)
        there += 0.006 * drift(rng, there.shape, moved.times_s, 0.3)
        there *= 1 + 0.02 * drift(rng, (len(there), 1), moved.times_s, 0.3)
        pelvis = lens.world(there)
    turn = lens.camera_from_world[:3, :3]
    out = []
    for k, time_s in enumerate(moved.times_s):
        turns = rotations[k].copy()
        turns[0] = turn @ turns[0]
        trans = lens.camera(pelvis[k]) - BODY.rest_pelvis(np.zeros(10))
        joints = BODY.joints(turns, np.zeros(10)) + trans
        rows = {
            "ids": [person], "poses": geometry.axis_angle_from_matrix(turns)[None], "trans": trans[None],
            "betas": np.zeros((1, 10)), "joints_camera": joints[None], "joints_world": lens.world(joints)[None],
            "joints_px": geometry.project(joints, lens.focal_px, lens.centre_px)[None], "confidence": [0.9],
            "views": [1],
        }  # fmt: skip
        out.append(People.of(
            rows, camera=lens.name, frame_index=k, captured_s=float(time_s), time_s=float(time_s), dropped=0,
            size=lens.size, focal_px=lens.focal_px, centre_px=lens.centre_px, cameras=(lens.name,),
            world_from_cameras=(lens.place,), floor=floor,
        ))  # fmt: skip
    return out


def drift(rng: np.random.Generator, shape: tuple[int, ...], times_s: np.ndarray, alike_s: float) -> np.ndarray:
    """Noise (T, …) of variance 1 that is alike for so long, smooth as a filter's output."""
    steps = max(round(4 * alike_s * (len(times_s) - 1) / (times_s[-1] - times_s[0])), 1)
    white = rng.normal(size=(shape[0] + steps, *shape[1:]))
    window = np.hanning(steps + 2)[1:-1]
    mixed = np.apply_along_axis(lambda column: np.convolve(column, window, "valid"), 0, white)[: shape[0]]
    return mixed / np.sqrt((window**2).sum())


def feet_of(shown: list[People], row: int = 0) -> np.ndarray:
    """(T, 4, 3) world: left and right ankle, left and right ball."""
    return np.stack([people.joints_world[row, list(CONTACTS)] for people in shown]).astype(np.float64)
