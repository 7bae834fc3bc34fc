"""A studio in a room: cameras on a ring, people who move in it, their videos, the rig and the truth."""

from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from refit_rt.body.smpl import Body
from refit_rt.cameras import Camera, Rig, write_rig
from refit_rt.draw.mp4 import VideoFile
from refit_rt.draw.raster import vertex_normals
from refit_rt.files import write_whole
from training.synthetic import cloth, photo
from training.synthetic.cameras import View, look_at
from training.synthetic.draw import Person, Stock, draw, shadows_of
from training.synthetic.people import Outfit, posed
from training.synthetic.scenes import Scene
from training.synthetic.studio_motion import Movement
from training.synthetic.textures import Textures

RADIUS_M, TARGET_M = 3.5, 0.95  # of the ring; the height at which its cameras look
HEIGHTS_M, FOCALS = (1.75, 2.3, 1.6, 2.4), (0.62, 0.68, 0.58, 0.72)  # of the cameras in turn; over the image's width
SHADOW_M, SHADOW_TEXELS = 8.0, 360
EVERY = 9  # every ninth vertex is tested for whether a camera sees it
MARGIN_PX = 4  # that a pinhole picture is wider than the lens sees


@dataclass(frozen=True, slots=True, eq=False)
class Actor:
    """One dressed person with a movement."""

    outfit: Outfit
    movement: Movement


@dataclass(frozen=True, slots=True, eq=False)
class Studio:
    """Everything that a studio's videos show."""

    body: Body
    rig: Rig
    scene: Scene
    textures: Textures
    actors: list[Actor]
    offsets_s: tuple[float, ...] = ()  # by which each camera films late; none: all at the same time
    supersample: int = 2
    coarse: int = 2  # the backdrop is drawn at 1 / coarse of the supersampled size
    noise: float = 0.0  # sd of the sensor's noise in grey levels
    gains: tuple[float, ...] = field(default_factory=tuple)  # of each camera's exposure; none: 1


def ring(count: int, size: tuple[int, int], distortion: float = -0.06, turn_rad: float = 0.4) -> Rig:
    """A rig of `count` cameras around the origin of a world whose floor is y = 0, each with a lens of its own.

    distortion: k1 of the lenses; 0: straight lines stay straight.
    """
    cameras = []
    for index in range(count):
        angle = turn_rad + 2 * np.pi * index / count
        place = np.array([RADIUS_M * np.sin(angle), HEIGHTS_M[index % 4], RADIUS_M * np.cos(angle)])
        world_from_camera = np.eye(4)
        world_from_camera[:3, :3] = look_at(place, np.array([0.0, TARGET_M, 0.0])).T
        world_from_camera[:3, 3] = place
        shift = 0.006 * size[0] * np.array([np.cos(2.1 * index), np.sin(2.1 * index)])  # of the principal point
        cameras.append(
            Camera(
                name=f"cam{index + 1}",
                size=size,
                focal_px=FOCALS[index % 4] * size[0],
                centre_px=((size[0] - 1) / 2 + shift[0], (size[1] - 1) / 2 + shift[1]),
                distortion=np.array([distortion, -0.2 * distortion, 0.0, 0.0, 0.0]),
                world_from_camera=world_from_camera,
            )
        )
    return Rig(tuple(cameras))


def perturbed(rig: Rig, seed: int, rotation_deg: float, centre_mm: float, focal_percent: float) -> Rig:
    """The rig with every camera turned, moved and zoomed by exactly so much, each in a direction drawn at random."""
    rng = np.random.default_rng([seed, 7])
    cameras = []
    for camera in rig:
        axis, way = (vector / np.linalg.norm(vector) for vector in rng.normal(0, 1, (2, 3)))
        moved = camera.world_from_camera.copy()
        moved[:3, :3] = moved[:3, :3] @ Rotation.from_rotvec(np.deg2rad(rotation_deg) * axis).as_matrix()
        moved[:3, 3] += way * centre_mm / 1000
        focal_px = camera.focal_px * (1 + rng.choice([-1, 1]) * focal_percent / 100)
        cameras.append(replace(camera, world_from_camera=moved, focal_px=focal_px))
    return Rig(tuple(cameras))


class Lens:
    """Turns a pinhole picture into the picture of a camera with distortion, and makes the pinhole's view."""

    def __init__(self, camera: Camera, supersample: int) -> None:
        width, height = camera.size
        columns, rows = np.meshgrid(np.arange(width, dtype=float), np.arange(height, dtype=float))
        rays = camera.rays(np.stack([columns, rows], -1))
        focal = camera.focal_px * supersample
        low, high = np.floor(rays.min((0, 1)) * focal) - MARGIN_PX, np.ceil(rays.max((0, 1)) * focal) + MARGIN_PX
        wide, tall = np.maximum(np.ceil((high - low + 1) / 8) * 8, 8).astype(int)  # divisible by every `coarse`
        self.focal_px, self.centre_px = float(focal), -low
        self.inside = np.ones((tall, wide), bool)
        to = (rays * focal - low).astype(np.float32)
        to = cv2.resize(to, (width * supersample, height * supersample), interpolation=cv2.INTER_LINEAR)
        self.map_x, self.map_y = cv2.split(to)
        self.size, self.name = camera.size, camera.name
        matrix = camera.world_from_camera
        self.view = View(matrix[:3, :3].T, matrix[:3, 3], self.focal_px, self.centre_px, (int(wide), int(tall)), 0.0)

    def bend(self, picture: np.ndarray) -> np.ndarray:
        """The pinhole picture (h, w, 3) uint8 RGB as the camera's own, BGR."""
        bent = cv2.remap(picture, self.map_x, self.map_y, cv2.INTER_LINEAR)
        return np.ascontiguousarray(cv2.resize(bent, self.size, interpolation=cv2.INTER_AREA)[..., ::-1])


def film(studio: Studio, folder: Path, fps: float, seconds: float, ids: np.ndarray | None = None) -> None:
    """Writes cam1.mp4 and so on, rig.json and truth.npz into a folder. Raises UserError.

    truth.npz: time_s (frames,), ids (frames, people), poses (frames, people, 72) axis-angle with the root in the world,
    betas (frames, people, 10), trans (frames, people, 3), joints_world (frames, people, 24, 3) metres, seen (frames,
    people, cameras) the share of the surface towards the camera that the picture shows, offsets_s (cameras,), fps.
    """
    folder.mkdir(parents=True, exist_ok=True)
    frames = round(seconds * fps)
    offsets = studio.offsets_s or (0.0,) * len(studio.rig)
    seen = np.zeros((frames, len(studio.actors), len(studio.rig)), np.float32)
    with ExitStack() as stack:
        videos = [
            stack.enter_context(VideoFile(folder / f"{camera.name}.mp4", camera.size, fps, preset="slow", crf=22))
            for camera in studio.rig
        ]
        shots = Shots(studio)
        for frame in range(frames):
            for index, video in enumerate(videos):
                picture, seen[frame, :, index] = shots.picture(index, frame / fps + offsets[index])
                video.write(picture, frame / fps)
    write_rig(studio.rig, folder / "rig.json")
    write_truth(studio, folder / "truth.npz", np.arange(frames) / fps, seen, ids, fps)


class Shots:
    """Pictures of a studio, at any time from any of its cameras."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.lenses = [Lens(camera, studio.supersample) for camera in studio.rig]
        self._stock = Stock(studio.textures, [], cloth.noise_volume(np.random.default_rng(1)), photo.to_linear_table())
        self._curve = photo.response(1.0, 1.05, 0.01)
        self._rng = np.random.default_rng(2)
        self._moment: tuple[float, list[Person], tuple] | None = None

    def picture(self, index: int, time_s: float) -> tuple[np.ndarray, np.ndarray]:
        """The picture (height, width, 3) uint8 BGR of one camera, and the share (people,) of each person it shows."""
        studio, lens = self.studio, self.lenses[index]
        people, shadows = self._people(time_s)
        camera = lens.focal_px, lens.centre_px
        linear, owner = draw(
            studio.scene, lens.view, people, *camera, lens.inside, self._stock, studio.coarse, shadows=shadows
        )
        developed = np.empty(linear.shape, np.uint8)
        gain = studio.gains[index] if studio.gains else 1.0
        photo.develop(linear, np.full(3, gain, np.float32), self._curve, developed)
        shown = lens.bend(developed)
        if studio.noise:
            noisy = shown + self._rng.normal(0, studio.noise, shown.shape).astype(np.float32)
            shown = np.clip(noisy + 0.5, 0, 255).astype(np.uint8)
        count = len(studio.body.template)
        seen = [visible(lens, person, owner == row, count) for row, person in enumerate(people)]
        return shown, np.array(seen, np.float32)

    def _people(self, time_s: float) -> tuple[list[Person], tuple]:
        """The dressed people of one moment and their shadows; the cameras of one moment share them."""
        if self._moment is None or self._moment[0] != time_s:
            people = [self._dressed(actor, time_s) for actor in self.studio.actors]
            middle = np.array([0.0, TARGET_M, 0.0])
            shadows = shadows_of(self.studio.scene, people, middle, SHADOW_M, SHADOW_TEXELS)
            self._moment = time_s, people, shadows
        return self._moment[1], self._moment[2]

    def _dressed(self, actor: Actor, time_s: float) -> Person:
        rotations, pelvis = (rows[0] for rows in actor.movement.at(np.array([time_s])))
        shift = pelvis - self.studio.body.rest_pelvis(actor.movement.betas)
        points = posed(actor.outfit, self.studio.body, rotations, actor.movement.betas) + shift.astype(np.float32)
        return Person(actor.outfit, points, vertex_normals(points, actor.outfit.faces))


def visible(lens: Lens, person: Person, own: np.ndarray, count: int) -> float:
    """The share of the skin's vertices towards the camera whose pixel is the person's; own (h, w) bool: those pixels.

    count: of the body's vertices, the first ones of the dressed surface.
    """
    points, normals = person.points[:count:EVERY], person.normals[:count:EVERY]
    facing = (normals * (lens.view.place - points)).sum(1) > 0
    seen = lens.view.to_camera(points[facing])
    front = seen[:, 2] > 0.05
    pixels = np.round(seen[:, :2] / np.maximum(seen[:, 2:], 0.05) * lens.focal_px + lens.centre_px).astype(int)
    size = np.array(own.shape[::-1])
    within = ((pixels >= 0) & (pixels < size)).all(1) & front
    x, y = pixels.clip(0, size - 1).T
    return float((within & own[y, x]).mean())


def write_truth(
    studio: Studio, path: Path, times_s: np.ndarray, seen: np.ndarray, ids: np.ndarray | None, fps: float
) -> None:
    """Writes what `film` says of truth.npz. Raises UserError."""
    poses, trans, joints = [], [], []
    for actor in studio.actors:
        betas = actor.movement.betas
        rotations, pelvis = actor.movement.at(times_s)
        shift = pelvis - studio.body.rest_pelvis(betas)
        poses.append(Rotation.from_matrix(rotations.reshape(-1, 3, 3)).as_rotvec().reshape(len(times_s), 72))
        trans.append(shift)
        joints.append(np.stack([studio.body.joints(row, betas) for row in rotations]) + shift[:, None])
    count = len(studio.actors)
    betas = np.stack([actor.movement.betas for actor in studio.actors])
    with write_whole(path) as part:
        np.savez_compressed(
            part,
            time_s=times_s,
            ids=np.tile(np.arange(count) if ids is None else ids, (len(times_s), 1)),
            poses=np.stack(poses, 1).astype(np.float32),
            betas=np.tile(betas, (len(times_s), 1, 1)).astype(np.float32),
            trans=np.stack(trans, 1).astype(np.float32),
            joints_world=np.stack(joints, 1).astype(np.float32),
            seen=seen,
            cameras=np.array(studio.rig.names),
            offsets_s=np.array(studio.offsets_s or (0.0,) * len(studio.rig)),
            fps=np.float64(fps),
            body=studio.body.name,
        )
