"""Generates training pictures of people with their truth, or short sequences, each from a number."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from refit_rt.body.smpl import Body, load_body
from refit_rt.draw.raster import vertex_normals
from training.synthetic import cameras, cloth, furniture, gestures, motion, scenes, wardrobe, webcam
from training.synthetic.cameras import View
from training.synthetic.draw import Person, Stock, draw
from training.synthetic.figure import make_figure
from training.synthetic.garments import load_wardrobe
from training.synthetic.motion import Poses, about_y
from training.synthetic.people import Outfit, posed, random_betas, random_outfit
from training.synthetic.photo import CROP_PX, expose, make_noise, sensor, to_linear_table
from training.synthetic.scenes import Scene
from training.synthetic.textures import make_textures

DRAWN_PX = 320  # pictures are drawn this large and shrunk to CROP_PX
EPOCH = 6000  # numbers after which outfits, pictures and bystanders are drawn again
POSE_BATCH = 64
RECORDED_SHARE = 0.5
TRIES, LEAST_VISIBLE = 3, 0.22  # a person hidden behind furniture or out of the frame is drawn again
GARMENT_SHARE = 0.6  # of the outfits are meshes at least in part, if there are garments; the others are painted
CLOSE = 0.06  # share of people, in the benchmark as well
HELD_EVERY = 6  # every sixth recorded clip, panorama, photo and garment is kept for the benchmark


@dataclass(frozen=True, slots=True, eq=False)
class Assets:
    """Folders or files of assets; None: only the procedural replacement."""

    motion: Path | None = None
    hdri: Path | None = None
    photos: Path | None = None
    garments: Path | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One crop and its truth. The camera is the upright one: the sensor's picture is turned by `roll` first."""

    image: np.ndarray  # (256, 256, 3) uint8 RGB; a whole picture is (height, width, 3), with roll 0
    rotations: np.ndarray  # (24, 3, 3) float32, the root in the camera's frame
    betas: np.ndarray  # (10,) float32
    trans: np.ndarray  # (3,) float32 metres, added to the posed body
    box: np.ndarray  # (3,) float32 centre x, y and side in pixels of the whole upright picture: [0, 256] of the crop
    focal_px: float
    centre_px: np.ndarray  # (2,) float32
    size: tuple[int, int]  # of the sensor's picture
    joints: np.ndarray  # (24, 3) float32 metres, camera frame
    roll: float  # radians, as in `geometry.roll_matrix`
    visible: float  # share of the surface towards the camera that is in the crop, in the frame and not hidden
    kind: int  # of `gestures`, -1 recorded
    camera_from_world: np.ndarray = field(default_factory=lambda: np.eye(4, dtype=np.float32))  # (4, 4); floor y = 0


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """Everything in a picture except the person's pose."""

    number: int
    view: View  # as the sensor stands
    scene: Scene
    others: list[Person]
    outfit: Outfit
    betas: np.ndarray
    error: float | None  # radians by which the crop is not upright; None: drawn for each picture


class Generator:
    """Draws pictures by number: the same seed and number give the same picture in any order.

    held_out: draw people, clips and places that the other generators of the same assets never show.
    """

    def __init__(
        self,
        seed: int = 0,
        assets: Assets | None = None,
        held_out: bool = False,
        body: Body | None = None,
        outfits: int = 120,
        close: float = CLOSE,
        webcam: float = 0.0,
        whole: bool = False,
    ) -> None:
        """close: share of people, besides those at desks, close to a webcam. webcam: share of people who talk to one
        with their hands or hold objects up to it; it does not change how the other people are drawn. whole: draw the
        sensor's whole pictures, without its blur, noise and compression, in place of crops."""
        assets = assets or Assets()
        self.body = body or load_body()
        self.key = [seed, int(held_out)]
        self.figure = make_figure(self.body)
        recording = motion.load_motion(assets.motion) if assets.motion else None
        self.motion = motion.part(recording, HELD_EVERY, held_out) if recording else None
        self.panoramas = _part(scenes.load_panoramas(assets.hdri) if assets.hdri else [], held_out)
        self.photos = _part(scenes.load_photos(assets.photos) if assets.photos else [], held_out)
        garments = load_wardrobe(assets.garments, self.figure) if assets.garments else None
        self.wardrobe = wardrobe.part(garments, HELD_EVERY, held_out) if garments else None
        fixed = np.random.default_rng([*self.key, 1])
        self.noise_volume, self.noise, self.to_linear = cloth.noise_volume(fixed), make_noise(fixed), to_linear_table()
        self.outfit_count, self.close, self.webcam, self._epoch, self._next = outfits, close, webcam, -1, 0
        self.whole = whole
        self._batch = (-1, Poses(np.zeros((0, 24, 3, 3), np.float32), np.zeros(0, int)))

    def sample(self, number: int | None = None) -> Sample:
        """The picture of this number, or the next one."""
        number = self._count(number)
        rng = np.random.default_rng([*self.key, 2, number])
        if (talker := self._talker(number)) is not None:
            return self._talking(talker, number, 1, 0.0)[0]
        rotations, kind = self._pose(number)
        heading = rng.uniform(-np.pi, np.pi) if rng.random() < 0.6 else rng.normal(0, 0.6)
        close = (kind == gestures.DESK and rng.random() < 0.75) or rng.random() < self.close
        heading = rng.normal(0, 0.45) if close else heading
        rotations = turned(rotations, heading)
        betas, outfit = random_betas(rng), self.outfits[rng.integers(len(self.outfits))]
        person, shift = self.dressed(outfit, rotations, betas)
        joints = self.body.joints(rotations, betas) + shift
        for _ in range(TRIES):
            stage = self._stage(rng, number, outfit, betas, joints, heading, kind, close)
            sample = self._shoot(rng, stage, person, rotations, shift, kind)
            if sample.visible > LEAST_VISIBLE:
                break
        return sample

    def clip(self, frames: int, fps: float, number: int | None = None) -> list[Sample]:
        """One person moving in front of a static camera: `frames` pictures, `fps` per second."""
        number = self._count(number)
        if (talker := self._talker(number)) is not None:
            return self._talking(talker, number, frames, fps)
        rng = np.random.default_rng([*self.key, 5, number])
        heading = rng.uniform(-np.pi, np.pi) if rng.random() < 0.6 else rng.normal(0, 0.6)
        poses, places, kind = motion.random_clip(rng, frames, fps, self.body, self.motion)
        poses, places = turned(poses, heading), places @ about_y(np.array(heading)).T
        betas, outfit = random_betas(rng), self.outfits[rng.integers(len(self.outfits))]
        people = [self.dressed(outfit, pose, betas) for pose in poses]
        if kind == motion.RECORDED:  # the floor of the whole clip, not of each frame
            rise = places[:, 1] - np.array([shift[1] for _, shift in people])
            places[:, 1] -= rise.min()
        moved = []
        for (person, shift), place in zip(people, places, strict=True):
            extra = np.array([place[0], place[1] - shift[1] if kind == motion.RECORDED else 0.0, place[2]])
            moved.append((Person(outfit, person.points + extra.astype(np.float32), person.normals), shift + extra))
        middle = frames // 2
        joints = self.body.joints(poses[middle], betas) + moved[middle][1]
        close = (kind == gestures.DESK and rng.random() < 0.75) or rng.random() < self.close
        stage = self._stage(rng, number, outfit, betas, joints, heading, kind, close)
        frame_rng = lambda: np.random.default_rng([*self.key, 6, number])  # noqa: E731  one exposure and box for all
        return [
            self._shoot(frame_rng(), stage, person, pose, shift, kind, jitter=rng)
            for (person, shift), pose in zip(moved, poses, strict=True)
        ]

    def _talker(self, number: int) -> np.random.Generator | None:
        """The random generator for the talker of this number; None: this number shows no talker."""
        rng = np.random.default_rng([*self.key, 8, number]) if self.webcam else None
        return rng if rng is not None and rng.random() < self.webcam else None

    def _talking(self, rng: np.random.Generator, number: int, frames: int, fps: float) -> list[Sample]:
        """Pictures of a person talking to a webcam, or to another person beside it."""
        for _ in range(TRIES):
            talk = webcam.random_talk(rng, frames, fps, self.body)
            heading = rng.normal(0, 0.35) if rng.random() < 0.6 else rng.uniform(-1.9, 1.9)
            poses = turned(talk.rotations, heading)
            betas, outfit = random_betas(rng), self.outfits[rng.integers(len(self.outfits))]
            people = [self.dressed(outfit, pose, betas) for pose in poses]
            joints = [self.body.joints(pose, betas) + shift for pose, (_, shift) in zip(poses, people, strict=True)]
            held = webcam.random_held(rng, self.stock.textures, talk, joints[0])
            stage = self._stage(rng, number, outfit, betas, joints[frames // 2], heading, talk.kind, True)
            samples = []
            for pose, (person, shift), at in zip(poses, people, joints, strict=True):
                things = stage.scene.things if held is None else furniture.joined(stage.scene.things, held.at(at))
                now = replace(stage, scene=replace(stage.scene, things=things))
                alike = np.random.default_rng([*self.key, 9, number])  # one exposure and box for all
                jitter = rng if frames > 1 else None
                samples.append(self._shoot(alike, now, person, pose, shift, talk.kind, jitter))
            if min(sample.visible for sample in samples) > LEAST_VISIBLE:
                break
        return samples

    def around(self, count: int, number: int | None = None) -> list[Sample]:
        """One person at one moment from `count` cameras around the person: one picture per camera."""
        number = self._count(number)
        rng = np.random.default_rng([*self.key, 7, number])
        rotations, kind = self._pose(number)
        rotations = turned(rotations, heading := rng.uniform(-np.pi, np.pi))
        betas, outfit = random_betas(rng), self.outfits[rng.integers(len(self.outfits))]
        person, shift = self.dressed(outfit, rotations, betas)
        joints = self.body.joints(rotations, betas) + shift
        for _ in range(TRIES):
            views = _views_around(rng, count, joints)
            inside, place = np.concatenate([joints, [view.place for view in views]]), views[0].place
            stock = (self.stock.textures, self.panoramas, [])  # no photos: they show one side only
            scene = scenes.random_scene(rng, *stock, inside, heading, kind, place)
            others = self._others(rng, joints, views[0])
            stages = [Stage(number, v, scene, others, outfit, betas, cameras.random_roll_error(rng)) for v in views]
            samples = [self._shoot(rng, stage, person, rotations, shift, kind) for stage in stages]
            if min(sample.visible for sample in samples) > LEAST_VISIBLE:
                break
        return samples

    def _stage(self, rng, number: int, outfit, betas, joints, heading: float, kind: int, close: bool) -> Stage:
        view = cameras.random_view(rng, joints, close)
        scene = scenes.random_scene(
            rng, self.stock.textures, self.panoramas, self.photos, joints, heading, kind, view.place
        )
        return Stage(
            number, view, scene, self._others(rng, joints, view), outfit, betas, cameras.random_roll_error(rng)
        )

    def _shoot(self, rng, stage: Stage, person: Person, rotations, shift, kind: int, jitter=None) -> Sample:
        """Renders one picture. jitter: random generator for the small changes of boxes and rolls within a clip."""
        if self.whole:
            return self._shoot_whole(rng, stage, person, rotations, shift, kind)
        joints = self.body.joints(rotations, stage.betas) + shift
        unrest = jitter.normal(0, [0.035, 0.008, 0.008, 0.012]) if jitter is not None else np.zeros(4)
        view = cameras.stood_upright(stage.view, joints, stage.error, float(unrest[0]))
        seen = view.to_camera(person.points[: len(self.body.template)])
        box = cameras.random_box(rng, view, seen[::4])
        box = box + unrest[1:] * box[2]
        camera, inside = cameras.crop_camera(view, box, CROP_PX, DRAWN_PX), _inside_frame(view, box, DRAWN_PX)
        linear, owner = draw(stage.scene, view, [person, *stage.others], *camera, inside, self.stock)
        picture, dark = expose(rng, linear, inside)
        image = sensor(rng, picture, float(box[2]), dark, self.noise)
        if not inside.all():
            image[~_inside_frame(view, box, CROP_PX)] = 0
        visible = self._visible(view, camera, person, owner)
        return self._truth(view, rotations, stage.betas, shift, box, image, visible, kind)

    def _shoot_whole(self, rng, stage: Stage, person: Person, rotations, shift, kind: int) -> Sample:
        """Renders the sensor's whole picture; its box is the square around it."""
        view = cameras.as_sensor(stage.view)
        inside, box = np.ones(view.size[::-1], bool), np.array([*view.centre_px, max(view.size)])
        camera = view.focal_px, view.centre_px
        linear, owner = draw(stage.scene, view, [person, *stage.others], *camera, inside, self.stock)
        image, _ = expose(rng, linear, inside)
        visible = self._visible(view, camera, person, owner)
        return self._truth(view, rotations, stage.betas, shift, box, image, visible, kind)

    def _truth(self, view: View, rotations, betas, shift, box, image, visible, kind) -> Sample:
        own = rotations.astype(np.float32)
        own[0] = view.camera_from_world @ rotations[0]
        pelvis = self.body.rest_pelvis(betas)
        trans = view.camera_from_world @ (pelvis + shift - view.place) - pelvis
        camera = np.eye(4, dtype=np.float32)
        camera[:3] = np.column_stack([view.camera_from_world, -view.camera_from_world @ view.place])
        return Sample(
            image=image,
            rotations=own,
            betas=betas,
            trans=trans.astype(np.float32),
            box=box.astype(np.float32),
            focal_px=float(view.focal_px),
            centre_px=view.centre_px.astype(np.float32),
            size=view.size,
            joints=self.body.joints(own, betas) + trans.astype(np.float32),
            roll=float(view.turned),
            visible=visible,
            kind=int(kind),
            camera_from_world=camera,
        )

    def dressed(self, outfit: Outfit, rotations, betas) -> tuple[Person, np.ndarray]:
        """The dressed surface in the world, pelvis above the origin and lowest point on the floor, and the shift (3,)
        that places the posed body there."""
        points = posed(outfit, self.body, rotations, betas)
        pelvis = self.body.rest_pelvis(betas)
        lowest = float(points[: len(self.body.template), 1].min())
        shift = np.array([-pelvis[0], -lowest, -pelvis[2]])
        points += shift.astype(np.float32)
        return Person(outfit, points, vertex_normals(points, outfit.faces)), shift

    def _visible(self, view: View, camera: tuple[float, np.ndarray], person: Person, owner: np.ndarray) -> float:
        """The share of the camera-facing vertices whose pixel belongs to the person."""
        chosen = slice(0, len(self.body.template), 9)
        points, normals = person.points[chosen], person.normals[chosen]
        facing = (normals * (view.place - points)).sum(1) > 0
        seen = view.to_camera(points[facing])
        pixels = np.round(seen[:, :2] / np.maximum(seen[:, 2:], 0.05) * camera[0] + camera[1]).astype(int)
        size = np.array(owner.shape[::-1])
        within = ((pixels >= 0) & (pixels < size)).all(1) & (seen[:, 2] > 0.05)
        clipped = pixels.clip(0, size - 1)
        return float((within & (owner[clipped[:, 1], clipped[:, 0]] == 0)).mean())

    def _others(self, rng, joints: np.ndarray, view: View) -> list[Person]:
        """Draws bystanders: one or two in a quarter of the pictures."""
        others = []
        toward = (view.place - joints[0])[[0, 2]]
        distance = float(np.linalg.norm(toward))
        toward = toward / max(distance, 1e-6)
        for _ in range(int(rng.choice([0, 1, 2], p=[0.76, 0.17, 0.07]))):
            stranger = self.strangers[rng.integers(len(self.strangers))]
            deep = rng.uniform(-3.0, 0.2 * distance) if rng.random() < 0.85 else rng.uniform(0.2, 0.45) * distance
            aside = rng.choice([-1, 1]) * rng.uniform(0.35, 0.9) * (1 + max(-deep, 0) * 0.4)
            flat = joints[0, [0, 2]] + toward * deep + np.array([toward[1], -toward[0]]) * aside
            turn = about_y(np.array(rng.uniform(0, 2 * np.pi))).astype(np.float32)
            points = stranger.points @ turn.T + np.array([flat[0], 0, flat[1]], np.float32)
            others.append(Person(stranger.outfit, points, stranger.normals @ turn.T))
        return others

    def _pose(self, number: int) -> tuple[np.ndarray, int]:
        batch, place = divmod(number, POSE_BATCH)
        if self._batch[0] != batch:
            rng = np.random.default_rng([*self.key, 3, batch])
            self._batch = (batch, motion.random_poses(rng, POSE_BATCH, self.body, self.motion, RECORDED_SHARE))
        poses = self._batch[1]
        return poses.rotations[place].astype(np.float64), int(poses.kind[place])

    def _outfit(self, rng: np.random.Generator) -> Outfit:
        if self.wardrobe is not None and rng.random() < GARMENT_SHARE:
            return wardrobe.random_dressed(rng, self.figure, self.wardrobe)
        return random_outfit(rng, self.figure)

    def _count(self, number: int | None) -> int:
        """The number, or the next one; draws outfits, pictures and bystanders again when an epoch begins."""
        number = self._next if number is None else number
        self._next, epoch = number + 1, number // EPOCH
        if epoch != self._epoch:
            rng = np.random.default_rng([*self.key, 4, epoch])
            self.stock = Stock(make_textures(rng, self.photos), self.panoramas, self.noise_volume, self.to_linear)
            self.outfits = [self._outfit(rng) for _ in range(self.outfit_count)]
            poses = motion.random_poses(rng, 24, self.body, self.motion, RECORDED_SHARE)
            self.strangers = [
                self.dressed(self.outfits[rng.integers(len(self.outfits))], rotations.astype(float), random_betas(rng))[
                    0
                ]
                for rotations in poses.rotations
            ]
            self._epoch = epoch
        return number


def turned(rotations: np.ndarray, heading: float) -> np.ndarray:
    """Poses (..., 24, 3, 3) turned about the vertical by a heading."""
    out = rotations.astype(np.float64)
    out[..., 0, :, :] = about_y(np.array(heading)) @ out[..., 0, :, :]
    return out


def _views_around(rng, count: int, joints: np.ndarray) -> list[View]:
    """Draws cameras on an arc or circle around a person with joints (24, 3) in the world, 45 degrees apart or more."""
    apart = rng.uniform(np.pi / 4, 2 * np.pi / max(count, 2))
    turns = about_y(rng.uniform(0, 2 * np.pi) + apart * np.arange(count) + rng.normal(0, 0.15, count))
    drawn = zip(turns, [cameras.random_view(rng, joints @ turn.T, False) for turn in turns], strict=True)
    return [replace(v, camera_from_world=v.camera_from_world @ turn, place=turn.T @ v.place) for turn, v in drawn]


def _part(items: list, held_out: bool) -> list:
    """Every sixth item if held out, else the others; all items if there are too few to divide."""
    chosen = [item for i, item in enumerate(items) if (i % HELD_EVERY == HELD_EVERY - 1) == held_out]
    return chosen or items


def _inside_frame(view: View, box: np.ndarray, side: int) -> np.ndarray:
    """(side, side) bool: the pixels of the crop inside the sensor's picture."""
    corners = cameras.border(view, *cameras.crop_camera(view, box, CROP_PX, side))
    inside = np.zeros((side, side), np.uint8)
    cv2.fillConvexPoly(inside, np.round(corners * 16).astype(np.int32), 1, shift=4)
    return inside > 0
