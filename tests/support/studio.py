"""A made studio: a ring of cameras around the origin, and a stand-in for the network that knows a body in the world.

The pictures hold their own coordinates as colours (support/all_knowing.py) and the row of their camera.
"""

import functools
from dataclasses import replace

import numpy as np

from refit_rt import geometry
from refit_rt.cameras import Camera
from refit_rt.types import Encoded, Frame, Pose, Result, State, View
from tests.support.all_knowing import BODY, FOCAL_PX, HEIGHT, WIDTH, AllKnowing, Truth, picture

RED_STEP = 10  # grey levels of red from camera to camera
NO_MAPS = np.zeros((67, 1, 1), np.float32)  # nobody reads them
CENTRE_PX = ((WIDTH - 1) / 2, (HEIGHT - 1) / 2)


def looking(place: np.ndarray, at: np.ndarray, roll: float = 0.0) -> np.ndarray:
    """world_from_camera (4, 4), y up, of a camera that looks at a point. Who stands leans clockwise by `roll`."""
    forward = (at - place) / np.linalg.norm(at - place)
    right = np.cross(forward, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    matrix = np.eye(4)
    matrix[:3, :3] = np.column_stack([right, np.cross(forward, right), forward]) @ geometry.roll_matrix(roll)
    matrix[:3, 3] = place
    return matrix


def ring(count: int, radius_m: float = 4.0, rolls: tuple[float, ...] = ()) -> list[Camera]:
    """Cameras 1.2 to 2.2 m high that look at the middle of a room."""
    cameras = []
    for row in range(count):
        angle = 2 * np.pi * (row + 0.3) / count
        place = np.array([radius_m * np.sin(angle), 1.2 + row % 3 / 2, radius_m * np.cos(angle)])
        there = looking(place, np.array([0.0, 1.0, 0.0]), rolls[row] if rolls else 0.0)
        cameras.append(Camera(f"cam{row}", (WIDTH, HEIGHT), FOCAL_PX, CENTRE_PX, world_from_camera=there))
    return cameras


def standing(seed: int, place: tuple[float, float, float] = (0.2, 1.0, -0.1), bent_rad: float = 0.15) -> Pose:
    """A person of the world whose pelvis is at a place, metres."""
    rng = np.random.default_rng(seed)
    rotations = geometry.matrix_from_axis_angle(rng.normal(0, bent_rad, (24, 3)))
    rotations[0] = geometry.matrix_from_axis_angle(np.array([0, rng.uniform(-3, 3), 0])) @ rotations[0]
    betas = rng.normal(0, 1, 10)
    return Pose(rotations, betas, np.array(place) - BODY.rest_pelvis(betas))


def joints_of(pose: Pose) -> np.ndarray:
    """(24, 3) metres."""
    return BODY.joints(pose.rotations, pose.betas) + pose.trans


def in_camera(pose: Pose, camera: Camera) -> Truth:
    """A body of the world in a camera's frame."""
    there, pelvis = camera.camera_from_world, BODY.rest_pelvis(pose.betas)
    rotations = np.array(pose.rotations, np.float32)
    rotations[0] = there[:3, :3] @ pose.rotations[0]
    return Truth(
        rotations,
        np.asarray(pose.betas, np.float32),
        there[:3, :3] @ (pose.trans + pelvis) + there[:3, 3] - pelvis,
    )


@functools.cache
def _image(camera: int) -> np.ndarray:
    image = picture().image.copy()
    image[..., 2] -= RED_STEP * camera
    return image


def frames(cameras: list[Camera], index: int = 0, without: tuple[int, ...] = (), fps: float = 30.0) -> list:
    """A tick's pictures; None for the cameras `without` one."""
    time_s = index / fps
    return [
        None if row in without else Frame(camera.name, index, 100 + time_s, time_s, _image(row))
        for row, camera in enumerate(cameras)
    ]


class AllKnowingRig(AllKnowing):
    """Answers each camera's crops with the body of the world as seen there.

    in_view: bodies of the world that single cameras take for the truth. errors_px, presences: what it predicts of its
    answers in single cameras.
    """

    def __init__(self, who: Pose, cameras: list[Camera], off: float = 0.0) -> None:
        super().__init__(in_camera(who, cameras[0]), off)
        self.body, self.cameras = who, cameras
        self.in_view: dict[int, Pose] = {}
        self.errors_px: dict[int, float] = {}
        self.presences: dict[int, float] = {}
        self.seen_in: list[int] = []  # the cameras of the crops, in their order

    def encode(self, crop: np.ndarray) -> Encoded:
        camera = round((255 - int(crop[..., 0].max())) / RED_STEP)
        self.seen_in.append(camera)
        few = crop[::4, ::4].copy()  # a sixteenth of the pixels determine the roll as well
        few[..., 0] = np.where(few[..., 0] == crop[..., 0].max(), 255, 0)
        encoded = super().encode(few)
        encoded.hidden[1, 0] = camera
        return replace(encoded, maps=NO_MAPS)

    def _state(self, encoded: Encoded, view: View, off: float = 0.0) -> State:
        camera = int(encoded.hidden[1, 0])
        self.who = in_camera(self.in_view.get(camera, self.body), self.cameras[camera])
        return super()._state(encoded, view, off)

    def iterate(self, encoded, view, state, iterations, update_rad=0.0, deadline_s=None) -> Result:
        result, camera = super().iterate(encoded, view, state, iterations), int(encoded.hidden[1, 0])
        errors_px, presence = self.errors_px.get(camera, result.error_px), self.presences.get(camera)
        return replace(result, error_px=errors_px, presence=presence)
