"""Everything of one stream in the scene: people, trails, floor and cameras."""

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from refit_rt.body.smpl import Body
from refit_rt.body.stature import Stature
from refit_rt.geometry import WORLD_FROM_CAMERA
from refit_rt.stream.wire import Message
from refit_rt.types import People
from refit_rt.view.bones import bones_of
from refit_rt.view.figure import Mesh, Sticks, colour_of
from refit_rt.view.floor import UP, GuessedFloor, turn_of
from refit_rt.view.trail import Trail, faded

if TYPE_CHECKING:
    from viser import CameraFrustumHandle, LabelHandle, LineSegmentsHandle, ViserServer

FORGOTTEN_S = 4.0  # a person who is away for so long is taken out
HEAD, LABEL_M = 15, 0.28  # the joint, and how far above it the name stands
BACKGROUND = np.array([255.0, 255.0, 255.0])
ARM_M = 0.6  # how far a body reaches from its pelvis, level
FRUSTUM_M = 0.22
MISSING = (190, 190, 190)
FLOOR_STEP_M = 0.002  # a floor that moves by less stays
ALONE_M, BESIDE_M = 14.0, 4.0  # the side of the floor of a stream alone, and of one among several
TRAIL_M, ABOVE_FLOOR_M = 0.018, 0.01  # thickness; a line that lies on the floor would flicker
NO_LINES = np.zeros((0, 2, 3), np.float32)
AT_ORIGIN = tuple(np.column_stack([WORLD_FROM_CAMERA, np.zeros(3)]).ravel().tolist())


@dataclass(slots=True)
class Person:
    """What the scene has of one person."""

    figure: Mesh | Sticks
    label: "LabelHandle"
    line: "LineSegmentsHandle"
    trail: Trail
    seen_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Row:
    """A person in the table."""

    person: int
    confidence: float
    height_m: float | None  # None: the body is not known


class Scene:
    """One stream below one node of the scene."""

    def __init__(
        self, server: "ViserServer", node: str, name: str, body: Body, colour: tuple[int, int, int], alone: bool
    ) -> None:
        """name: of the stream, which is part of its people's names unless it is `alone`. body: of the people whose
        `body` bears its name. colour: of its cameras."""
        self.rows: list[Row] = []  # of the people in the newest message
        self.centre: np.ndarray | None = None  # (3,) middle of where the people were of late, world, metres
        self.spread_m = 0.0  # how far their bodies reach from it, level
        self.unknown = ""  # name of a body that is not at hand
        self._server, self._node, self._name, self._body = server, f"/{node}", name, body
        self._colour, self._alone = colour, alone
        self._stature, self._people, self._free = Stature(body, 0.0), dict[int, Person](), list[Person]()
        self._guessed, self.frame = GuessedFloor(), -1  # frame: index of the newest one
        self._trails = self._shows_cameras = True
        self.root = server.scene.add_frame(self._node, show_axes=False)
        side = ALONE_M if alone else BESIDE_M
        self.floor = server.scene.add_grid(
            f"{self._node}/floor",
            side,
            side,
            plane="xz",
            infinite_grid=alone,
            cell_color=(226, 228, 232),
            section_color=(196, 200, 206),
            cell_size=0.25,
            section_size=1.0,
            fade_distance=22.0,
            shadow_opacity=0.2,
            visible=False,
        )
        self.middle = np.zeros(3)  # of the floor, metres; of a stream alone, where its plane is nearest to the origin
        self._floor_at = np.full(4, np.nan)
        self.cameras: list[CameraFrustumHandle] = []
        self._placed: tuple = ()

    @property
    def made(self) -> int:
        """How many figures have been made."""
        return len(self._people) + len(self._free)

    @property
    def figures(self) -> dict[int, Mesh | Sticks]:
        """Person's id → what shows the person."""
        return {person: one.figure for person, one in self._people.items()}

    def show(self, message: Message) -> None:
        """Puts the scene into the state of a message."""
        people = message.people
        if people.frame_index < self.frame:  # another run has begun
            self.clear()
        self.frame = people.frame_index
        self.unknown = message.body if message.body != self._body.name else ""
        self._show_floor(people)
        self._show_people(people)
        self._show_cameras(people)

    def clear(self) -> None:
        """Nobody, and nothing known of the floor."""
        for person in list(self._people):
            self._remove(person)
        self._guessed, self.frame, self.rows = GuessedFloor(), -1, []

    def hide_people(self) -> None:
        """Nobody is seen; trails and floor stay."""
        for one in self._people.values():
            one.figure.hide()
            one.label.visible = False
        self.rows = []

    def camera_side(self) -> np.ndarray:
        """The level direction (3,) from the people to the first camera; towards +z if they stand below it."""
        centre = np.zeros(3) if self.centre is None else self.centre
        at = np.reshape(self._placed[1][0] if self._placed else AT_ORIGIN, (3, 4))[:, 3]
        level = (at - centre) * (1.0, 0.0, 1.0)
        length = np.linalg.norm(level)
        return level / length if length > 0.2 else np.array([0.0, 0.0, 1.0])

    def _show_people(self, people: People) -> None:
        now_s, joints = time.monotonic(), people.joints_world.astype(np.float64)
        turns = bones_of(self._body, people) if len(people.ids) else np.zeros((0, 24, 4))
        for row, person in enumerate(people.ids.tolist()):
            one = self._people.get(person)
            if one is None or isinstance(one.figure, Mesh) is bool(self.unknown):
                one = self._add(person)
            one.figure.show(joints[row], turns[row], people.betas[row])
            one.label.position = joints[row, HEAD] + (0, LABEL_M, 0)
            one.label.visible, one.line.visible, one.seen_s = True, self._trails, now_s
            if one.trail.add(joints[row, 0], people.time_s) and self._trails:
                self._draw_trail(person, one)
        for person, one in list(self._people.items()):
            if person not in people.ids:
                one.figure.hide()
                one.label.visible = False
                if now_s - one.seen_s > FORGOTTEN_S:
                    self._remove(person)
        if len(joints):
            places = np.concatenate([self._people[person].trail.points() for person in people.ids.tolist()])
            centre = self.centre = (places.min(0) + places.max(0)) / 2
            self.spread_m = float(np.linalg.norm((places - centre)[:, [0, 2]], axis=-1).max()) + ARM_M
        self.rows = [
            Row(person, float(people.confidence[row]), None if self.unknown else self._stature.of(people.betas[row]))
            for row, person in enumerate(people.ids.tolist())
        ]

    def _add(self, person: int) -> Person:
        """Takes what another person has left, or something new."""
        if person in self._people:
            self._remove(person)
        kind = Sticks if self.unknown else Mesh
        one = next((free for free in self._free if isinstance(free.figure, kind)), None)
        if one is None:
            one = self._new(person)
        else:
            self._free.remove(one)
            one.figure.become(person)
        one.label.text = str(person) if self._alone else f"{self._name} {person}"
        one.trail = Trail()
        one.line.points, one.line.colors = NO_LINES, NO_LINES.astype(np.uint8)
        self._people[person] = one
        return one

    def _new(self, person: int) -> Person:
        scene, name = self._server.scene, f"{self._node}/{self.made}"
        scene.add_frame(name, show_axes=False)
        path = f"{name}/body"
        figure = Sticks(scene, path, person) if self.unknown else Mesh(scene, path, person, self._body)
        label = scene.add_label(f"{name}/label", "", anchor="bottom-center", font_screen_scale=1.1)
        line = scene.add_line_segments(f"{name}/trail", NO_LINES, NO_LINES.astype(np.uint8), thickness=TRAIL_M)
        return Person(figure, label, line, Trail())

    def _remove(self, person: int) -> None:
        one = self._people.pop(person)
        one.figure.hide()
        one.label.visible = one.line.visible = False
        self._free.append(one)

    def _draw_trail(self, person: int, one: Person) -> None:
        segments = one.trail.segments()
        if len(segments):
            one.line.colors = faded(colour_of(person).astype(np.float64), BACKGROUND, len(segments))
            one.line.points = self._on_floor(segments)

    def _on_floor(self, points: np.ndarray) -> np.ndarray:
        """The points (..., 3) of the floor below others; while no floor is known, the points themselves."""
        if np.isnan(self._floor_at).any():
            return points
        normal, offset_m = self._floor_at[:3], self._floor_at[3] + ABOVE_FLOOR_M
        return (points - ((points @ normal) - offset_m)[..., None] * normal).astype(np.float32)

    def show_trails(self, wanted: bool) -> None:
        """Shows or hides the trails."""
        self._trails = wanted
        for one in self._people.values():
            one.line.visible = wanted

    def show_cameras(self, wanted: bool) -> None:
        """Shows or hides the cameras."""
        for camera in self.cameras:
            camera.visible = wanted
        self._shows_cameras = wanted

    def _show_floor(self, people: People) -> None:
        self._guessed.add(people.joints_world, people.time_s)
        if people.floor is not None:
            normal, offset_m = np.array(people.floor[:3]), people.floor[3]
        elif self._guessed.height_m is not None:
            normal, offset_m = UP, self._guessed.height_m
        else:
            return
        at = np.array([*normal, offset_m])
        if np.allclose(at, self._floor_at, atol=FLOOR_STEP_M):
            return
        if np.isnan(self._floor_at).any() and not self._alone and len(people.ids):
            self.middle = people.joints_world[:, 0].mean(0).astype(np.float64)
        self._floor_at = at
        self.middle = self.middle - (self.middle @ normal - offset_m) * normal
        self.floor.position = self.middle
        self.floor.wxyz = turn_of(normal)
        self.floor.visible = True

    def _show_cameras(self, people: People) -> None:
        names, places = people.cameras or (people.camera,), people.world_from_cameras or (AT_ORIGIN,)
        of = names, places, people.size, people.focal_px
        if of != self._placed:
            for old in self.cameras:
                old.remove()
            self._placed = of
            self.cameras = [
                self._camera(f"{self._node}/cameras/{number}", name, place, people)
                for number, (name, place) in enumerate(zip(names, places, strict=True))
            ]
        for name, camera in zip(names, self.cameras, strict=True):
            colour = MISSING if name in people.missing else self._colour
            if camera.color != colour:
                camera.color = colour

    def _camera(self, path: str, name: str, place: tuple[float, ...], people: People) -> "CameraFrustumHandle":
        """Lens and picture are the first camera's: a message has no others."""
        import viser.transforms as tf

        matrix = np.reshape(place, (3, 4))
        width, height = people.size
        frustum = self._server.scene.add_camera_frustum(
            path,
            fov=2 * math.atan(height / 2 / people.focal_px),
            aspect=width / height,
            scale=FRUSTUM_M,
            thickness=0.008,
            color=self._colour,
            wxyz=tf.SO3.from_matrix(matrix[:, :3]).wxyz,
            position=matrix[:, 3],
            visible=self._shows_cameras,
            cast_shadow=False,
            variant="filled",
        )
        self._server.scene.add_label(f"{path}/name", name, font_screen_scale=0.8, anchor="bottom-center")
        return frustum
