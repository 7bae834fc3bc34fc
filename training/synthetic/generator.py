"""Seed → a training picture of a person with its truth."""

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from refit_rt.body import Body, _blend, _transforms
from refit_rt.raster import buffers, rasterise, vertex_normals
from training.synthetic import backdrop, cameras, cloth, gestures, scenes, shade
from training.synthetic.cameras import View
from training.synthetic.figure import make_figure
from training.synthetic.light import shadow_map
from training.synthetic.motion import Poses, about_y, load_motion, random_poses
from training.synthetic.people import Outfit, random_betas, random_outfit
from training.synthetic.photo import CROP_PX, expose, make_noise, sensor, to_linear_table
from training.synthetic.scenes import Scene
from training.synthetic.textures import make_textures

DRAWN_PX = 320  # pictures are drawn this large and shrunk to CROP_PX
EPOCH = 6000  # samples after which outfits, pictures and passers-by are drawn anew
POSE_BATCH = 64
OUTSIDE = -3  # in the buffer of triangle ids: not part of the sensor's picture
SUN_SOFT = 0.25  # metres: how soft the shadow of the whole sky is


@dataclass(frozen=True, slots=True, eq=False)
class Assets:
    """Folders or files of material; None: the procedural stand-in alone."""

    motion: Path | None = None
    hdri: Path | None = None
    photos: Path | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One picture and its truth. All cameras are upright ones: the picture was turned before (see `geometry.roll`)."""

    image: np.ndarray  # (256, 256, 3) uint8 RGB
    rotations: np.ndarray  # (24, 3, 3) float32, the root in the camera's frame
    betas: np.ndarray  # (10,) float32
    trans: np.ndarray  # (3,) float32 metres, added to the posed body
    box: np.ndarray  # (3,) float32 centre x, y and side in pixels of the whole picture; the crop is [0, 256] of it
    focal_px: float
    centre_px: np.ndarray  # (2,) float32
    size: tuple[int, int]
    joints: np.ndarray  # (24, 3) float32 metres, camera frame
    visible: float  # share of the surface towards the camera that is in the crop, in the frame and not hidden
    kind: int  # of `gestures`, -1 recorded


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """Somebody in the world."""

    outfit: Outfit
    points: np.ndarray  # (V, 3) float32 dressed surface, world
    normals: np.ndarray  # (V, 3) float32


class Generator:
    """Draws samples by number: the same seed and number give the same picture whatever was drawn before."""

    def __init__(self, body: Body, assets: Assets | None = None, seed: int = 0, outfits: int = 120) -> None:
        assets = assets or Assets()
        self.body, self.seed, self.outfit_count = body, seed, outfits
        self.figure = make_figure(body)
        self.motion = load_motion(assets.motion) if assets.motion else None
        self.panoramas = scenes.load_panoramas(assets.hdri) if assets.hdri else []
        self.photos = scenes.load_photos(assets.photos) if assets.photos else []
        fixed = np.random.default_rng([seed, 1])
        self.noise_volume, self.noise, self.to_linear = cloth.noise_volume(fixed), make_noise(fixed), to_linear_table()
        self._epoch, self._batch = -1, (-1, Poses(np.zeros((0, 24, 3, 3)), np.zeros(0)))

    def sample(self, index: int) -> Sample:
        """The sample of this number."""
        self._refresh(index // EPOCH)
        rng = np.random.default_rng([self.seed, 2, index])
        rotations, kind = self._pose(index)
        betas = random_betas(rng)
        heading = rng.uniform(-np.pi, np.pi) if rng.random() < 0.6 else rng.normal(0, 0.6)
        close = kind == gestures.DESK and rng.random() < 0.75 or rng.random() < 0.06
        heading = rng.normal(0, 0.45) if close else heading
        rotations = rotations.copy()
        rotations[0] = about_y(np.array(heading)) @ rotations[0]
        outfit = self.outfits[rng.integers(len(self.outfits))]
        person, shift = self.dressed(outfit, rotations, betas)
        joints = self.body.joints(rotations, betas) + shift
        view = cameras.stood_upright(rng, cameras.random_view(rng, joints, close), joints)
        scene = scenes.random_scene(
            rng, self.textures, self.panoramas, self.photos, joints, heading, kind, view.place
        )  # fmt: skip
        others = self._others(rng, joints, view)
        seen = view.to_camera(person.points[: len(self.body.template)])
        box = cameras.random_box(rng, view, seen[::4])
        inside = _inside_frame(view, box, DRAWN_PX)
        camera = cameras.crop_camera(view, box, CROP_PX, DRAWN_PX)
        linear, owner = self.draw(rng, scene, view, [person, *others], *camera, inside)
        picture, dark = expose(rng, linear, inside)
        image = sensor(rng, picture, float(box[2]), dark, self.noise)
        if not inside.all():
            image[_inside_frame(view, box, CROP_PX) == 0] = 0
        visible = self._visible(view, camera, person, owner)
        return self._truth(view, rotations, betas, shift, box, image, visible, kind)

    def _truth(self, view: View, rotations, betas, shift, box, image, visible, kind) -> Sample:
        root = (view.camera_from_world @ rotations[0]).astype(np.float32)
        pelvis = self.body.joint_template[0] + self.body.joint_shape_dirs[0] @ betas
        trans = view.camera_from_world @ (pelvis + shift - view.place) - pelvis
        own = rotations.astype(np.float32)
        own[0] = root
        return Sample(
            image=image, rotations=own, betas=betas, trans=trans.astype(np.float32), box=box.astype(np.float32),
            focal_px=float(view.focal_px), centre_px=view.centre_px.astype(np.float32), size=view.size,
            joints=self.body.joints(own, betas) + trans.astype(np.float32), visible=visible, kind=int(kind),
        )  # fmt: skip

    def dressed(self, outfit: Outfit, rotations, betas, floor: bool = True) -> tuple[Person, np.ndarray]:
        """The dressed surface in the world, its pelvis over the origin and its lowest point on the floor, and the shift
        (3,) that put it there."""
        transforms, joints = _transforms(self.body, rotations, betas)
        skin = self.body.surface_skin
        points = _blend(outfit.rest, skin.shape_dirs, skin.starts, skin.bones, skin.weights, transforms, betas)
        lowest = float(points[:, 1].min())
        if outfit.pieces:
            points = np.concatenate([points, _blend(*outfit.pieces, transforms, betas)])
        shift = np.array([-joints[0, 0], -lowest if floor else 0.0, -joints[0, 2]])
        points += shift.astype(np.float32)
        return Person(outfit, points, vertex_normals(points, outfit.faces)), shift

    def draw(self, rng, scene: Scene, view: View, people: list[Person], focal_px: float, centre_px: np.ndarray,
             inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        """Linear light (h, w, 3) float32 of a scene, and whose pixel it is (h, w) int32: 0 the first person, 1 the
        next ..., -1 none's. Only pixels `inside` (h, w) bool are drawn."""
        inverse, ids = buffers(*inside.shape)
        first, ranges, seen = 0, [], []
        for person in people:
            seen.append(view.to_camera(person.points))
            rasterise(seen[-1], person.outfit.faces, first, focal_px, centre_px, inverse, ids, False)
            ranges.append((first, first + len(person.outfit.faces)))
            first = ranges[-1][1]
        things = scene.things
        thing_points = view.to_camera(things.points)
        rasterise(thing_points, things.faces, first, focal_px, centre_px, inverse, ids, False)
        light = scene.light
        centre = people[0].points.mean(0)
        clouds = [person.points for person in people]
        key = shadow_map(light.directions[0], light.softness, centre, 3.6, clouds, things.quads)
        sky = shadow_map(np.array([0.02, 1.0, 0.01]), SUN_SOFT, centre, 3.6, clouds, things.quads)
        hard = tuple((m.nearest, m.axes, m.centre, m.texels_per_m) for m in (key, sky))
        soft = tuple((m.cover, m.axes, m.centre, m.texels_per_m) for m in (key, sky))
        ids[~inside] = OUTSIDE
        out = np.zeros((*inside.shape, 3), np.float32)
        self._backdrop(rng, scene, view, ids, focal_px, centre_px, soft, out)
        lit = (light.ambient, light.directions, light.colours, *hard, light.occlusion, out)
        for person, (start, end), points in zip(people, ranges, seen, strict=True):
            outfit = person.outfit
            shade.shade_person(
                ids, start, end, points, person.points, person.normals, outfit.faces, outfit.coordinates,
                outfit.cuts, outfit.fabric, outfit.print_tile, self.noise_volume, view.place, focal_px, centre_px, *lit,
            )  # fmt: skip
        if len(things.faces):
            shade.shade_things(
                ids, first, first + len(things.faces), thing_points, things.points, things.faces, things.normals,
                things.colours, things.textures, things.uv, self.textures.pictures, self.to_linear, self.noise_volume,
                focal_px, centre_px, *lit,
            )  # fmt: skip
        owner = np.full(ids.shape, -1, np.int32)
        for number, (start, end) in enumerate(ranges):
            owner[(ids >= start) & (ids < end)] = number
        return out, owner

    def _backdrop(self, rng, scene: Scene, view: View, ids, focal_px, centre_px, soft, out) -> None:
        world_from_camera = np.ascontiguousarray(view.camera_from_world.T)
        light = scene.light
        if scene.kind == scenes.ROOM:
            backdrop.draw_room(
                ids, world_from_camera, view.place, focal_px, centre_px, scene.low, scene.high, scene.turn, scene.pictures,
                scene.stretch, scene.tints, self.textures.pictures, self.to_linear, scene.open_sky, light.ambient,
                light.directions, light.colours, *soft, light.occlusion, out,
            )  # fmt: skip
        elif scene.kind == scenes.PANORAMA:
            panorama = self.panoramas[scene.panorama]
            sun = float(light.colours[0].mean())
            strength = sun / (sun + float(light.ambient[2].mean()))
            backdrop.draw_panorama(
                ids, world_from_camera, view.place, focal_px, centre_px, panorama.root, scene.panorama_yaw,
                math.sqrt(scenes.PANORAMA_PEAK) / 65535, *soft, strength, out,
            )  # fmt: skip
        else:
            backdrop.draw_photo(ids, _photo_part(rng, scene.photo, out.shape[:2]), self.to_linear, scene.gain, out)

    def _visible(self, view: View, camera: tuple[float, np.ndarray], person: Person, owner: np.ndarray) -> float:
        """The share of the vertices that face the camera whose pixel is the person's own."""
        chosen = slice(0, len(self.body.template), 9)
        points, normals = person.points[chosen], person.normals[chosen]
        facing = (normals * (view.place - points)).sum(1) > 0
        seen = view.to_camera(points[facing])
        pixels = np.round(seen[:, :2] / np.maximum(seen[:, 2:], 0.05) * camera[0] + camera[1]).astype(int)
        within = ((pixels >= 0) & (pixels < DRAWN_PX)).all(1) & (seen[:, 2] > 0.05)
        clipped = pixels.clip(0, DRAWN_PX - 1)
        return float((within & (owner[clipped[:, 1], clipped[:, 0]] == 0)).mean())

    def _others(self, rng, joints: np.ndarray, view: View) -> list[Person]:
        """In a quarter of the pictures one or two others stand about."""
        others = []
        toward = (view.place - joints[0])[[0, 2]]
        distance = float(np.linalg.norm(toward))
        toward = toward / max(distance, 1e-6)
        for _ in range(int(rng.choice([0, 1, 2], p=[0.76, 0.17, 0.07]))):
            stranger = self.strangers[rng.integers(len(self.strangers))]
            deep = rng.uniform(-2.5, 0.45 * distance) if rng.random() < 0.75 else rng.uniform(-0.2, 0.2)
            aside = rng.choice([-1, 1]) * rng.uniform(0.35, 0.9) * (1 + max(-deep, 0) * 0.4)
            flat = joints[0, [0, 2]] + toward * deep + np.array([toward[1], -toward[0]]) * aside
            angle = rng.uniform(0, 2 * np.pi)
            turn = about_y(np.array(angle)).astype(np.float32)
            points = stranger.points @ turn.T + np.array([flat[0], 0, flat[1]], np.float32)
            others.append(Person(stranger.outfit, points, stranger.normals @ turn.T))
        return others

    def _pose(self, index: int) -> tuple[np.ndarray, int]:
        number, place = divmod(index, POSE_BATCH)
        if self._batch[0] != number:
            rng = np.random.default_rng([self.seed, 3, number])
            self._batch = (number, random_poses(rng, POSE_BATCH, self.body, self.motion, 0.5))
        poses = self._batch[1]
        return poses.rotations[place].astype(np.float64), int(poses.kind[place])

    def _refresh(self, epoch: int) -> None:
        """Outfits, pictures and passers-by of an epoch."""
        if epoch == self._epoch:
            return
        rng = np.random.default_rng([self.seed, 4, epoch])
        self.textures = make_textures(rng, self.photos)
        self.outfits = [random_outfit(rng, self.figure) for _ in range(self.outfit_count)]
        poses = random_poses(rng, 24, self.body, self.motion, 0.5)
        self.strangers = [
            self.dressed(self.outfits[rng.integers(len(self.outfits))], rotations.astype(float), random_betas(rng))[0]
            for rotations in poses.rotations
        ]
        self._epoch = epoch


def _inside_frame(view: View, box: np.ndarray, side: int) -> np.ndarray:
    """(side, side) bool: pixels of the crop that the sensor's picture fills."""
    corners = cameras.border(view, *cameras.crop_camera(view, box, CROP_PX, side))
    inside = np.zeros((side, side), np.uint8)
    cv2.fillConvexPoly(inside, np.round(corners * 16).astype(np.int32), 1, shift=4)
    return inside > 0


def _photo_part(rng, photo: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    side = int(rng.uniform(0.3, 1.0) * min(photo.shape[:2]))
    y, x = rng.integers(photo.shape[0] - side + 1), rng.integers(photo.shape[1] - side + 1)
    part = photo[y : y + side, x : x + side]
    part = part[:, ::-1] if rng.random() < 0.5 else part
    part = cv2.resize(part, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(part, (0, 0), float(rng.uniform(0.6, 5))) if rng.random() < 0.4 else part
