"""A picture of a rig's world: its cameras, its floor, and the people on it, seen from outside."""

import cv2
import numpy as np

from refit_rt.body.smpl import Body
from refit_rt.cameras import Camera, Rig
from refit_rt.cameras.seen import seen_from
from refit_rt.draw.overlay import COLOURS_BGR, Overlay
from refit_rt.types import People

SIZE = (960, 720)  # width, height in pixels
TOWARDS = np.array([-0.33, 0.44, 0.83])  # from the middle of the floor to the eye: between two cameras of the demo
FOCAL_PX = 1100.0
MARGIN_PX = (70, 45)  # around everything that is drawn
FAR_M = 100.0
FRUSTUM_M = 0.55  # depth of the pyramid that stands for a camera
BACKGROUND, SHADE, GRID, AXIS = (58, 50, 44), (40, 34, 29), (92, 82, 74), (150, 140, 130)
CAMERA_COLOUR, POLE, NAME = (225, 225, 225), (105, 96, 88), (245, 245, 245)


class World:
    """Draws people in the world of a rig, whose floor is y = 0."""

    def __init__(self, body: Body, rig: Rig) -> None:
        self._rig, self._overlay = rig, Overlay(body, SIZE)
        places = np.array([camera.position for camera in rig])
        self._low, self._high = places[:, [0, 2]].min(0).round(), places[:, [0, 2]].max(0).round()
        self.eye = self._standpoint(places)

    def draw(self, people: People, here: Camera, paths: dict[int, np.ndarray]) -> np.ndarray:
        """The picture (height, width, 3) uint8 BGR.

        people: in the frame of camera `here`. paths: id → (n, 3) where that person's pelvis was, metres in the world.
        """
        picture = np.full((SIZE[1], SIZE[0], 3), BACKGROUND, np.uint8)
        self._floor(picture)
        for joints in people.joints_world:
            self._shadow(picture, joints)
        for number, path in paths.items():
            self._lines(picture, [path * (1, 0, 1)], _colour(number), 2)
        distances = {camera.name: float(self.eye.camera(camera.position)[2]) for camera in self._rig}
        middle = float(self.eye.camera(people.joints_world.reshape(-1, 3))[:, 2].mean()) if len(people.ids) else 0.0
        behind = [camera for camera in self._rig if distances[camera.name] >= middle]
        for camera in behind:
            self._camera(picture, camera)
        plain = np.full_like(picture, BACKGROUND)  # a body is translucent: what is behind it would shine through
        bodies = self._overlay.draw(plain, seen_from(people, here, self.eye))
        drawn = (bodies != plain).any(-1)
        picture[drawn] = bodies[drawn]
        for camera in self._rig:
            if camera not in behind:
                self._camera(picture, camera)
        return picture

    def _standpoint(self, places: np.ndarray) -> Camera:
        """The eye: as near as it can be with the whole floor and all cameras in the picture."""
        corners = [(x, 0.0, z) for x in (self._low[0], self._high[0]) for z in (self._low[1], self._high[1])]
        shown = np.concatenate([places, corners])
        target = np.array([*places.mean(0)]) * (1, 0, 1) + (0, 0.6, 0)
        for distance in np.arange(3.0, FAR_M, 0.2):
            eye = _looking(target + distance * TOWARDS, target)
            pixels, margin = eye.project(shown), np.array(MARGIN_PX)
            in_front = (eye.camera(shown)[:, 2] > 1).all()
            if in_front and (pixels > margin).all() and (pixels < np.array(SIZE) - margin).all():
                return eye
        return _looking(target + FAR_M * TOWARDS, target)

    def _floor(self, picture: np.ndarray) -> None:
        (left, back), (right, front) = self._low, self._high
        for x in np.arange(left, right + 1):
            self._lines(picture, [np.array([[x, 0, back], [x, 0, front]])], AXIS if x == 0 else GRID, 1)
        for z in np.arange(back, front + 1):
            self._lines(picture, [np.array([[left, 0, z], [right, 0, z]])], AXIS if z == 0 else GRID, 1)

    def _shadow(self, picture: np.ndarray, joints: np.ndarray) -> None:
        pixels = self.eye.project(joints * (1, 0, 1))
        cv2.fillConvexPoly(picture, cv2.convexHull(pixels.astype(np.float32)).astype(int), SHADE, cv2.LINE_AA)

    def _camera(self, picture: np.ndarray, camera: Camera) -> None:
        width, height = camera.size
        corners = camera.rays(np.array([[0.0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]]))
        ends = camera.world(FRUSTUM_M * np.column_stack([corners, np.ones(4)]))
        foot = camera.position * (1, 0, 1)
        self._lines(picture, [np.array([foot, camera.position])], POLE, 1)
        edges = [np.array([camera.position, end]) for end in ends]
        self._lines(picture, [*edges, np.concatenate([ends, ends[:1]])], CAMERA_COLOUR, 1)
        pixels = self.eye.project(np.array([camera.position, *ends]))
        x, y = pixels[:, 0].mean(), pixels[:, 1].min()
        (wide, _), _ = cv2.getTextSize(camera.name, cv2.FONT_HERSHEY_SIMPLEX, 0.6, 1)
        place = (round(x - wide / 2), round(y - 10))
        cv2.putText(picture, camera.name, place, cv2.FONT_HERSHEY_SIMPLEX, 0.6, NAME, 1, cv2.LINE_AA)

    def _lines(
        self, picture: np.ndarray, lines: list[np.ndarray], colour: tuple[float, float, float], width_px: int
    ) -> None:
        """Lines of points (n, 3) of the world."""
        pixels = [self.eye.project(line).round().astype(np.int32) for line in lines]
        cv2.polylines(picture, pixels, False, colour, width_px, cv2.LINE_AA)


def _looking(place: np.ndarray, target: np.ndarray) -> Camera:
    """A camera at a place that looks at the target, both (3,) in the world, metres."""
    forward = (target - place) / np.linalg.norm(target - place)
    right = np.cross(forward, (0, 1, 0))
    right /= np.linalg.norm(right)
    world_from_camera = np.eye(4)
    world_from_camera[:3] = np.column_stack([right, np.cross(forward, right), forward, place])
    centre = ((SIZE[0] - 1) / 2, (SIZE[1] - 1) / 2)
    return Camera("eye", SIZE, FOCAL_PX, centre, world_from_camera=world_from_camera)


def _colour(number: int) -> tuple[float, float, float]:
    blue, green, red = COLOURS_BGR[number % len(COLOURS_BGR)]
    return float(blue), float(green), float(red)
