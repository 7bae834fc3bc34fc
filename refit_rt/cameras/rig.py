"""One camera's lens and place, and a rig of several in one world."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from refit_rt.geometry import WORLD_FROM_CAMERA

SAME_SHAPE_PX = 2  # an image scaled to the calibrated width may differ by so much in height


@dataclass(frozen=True, slots=True, eq=False)
class Camera:
    """A pinhole camera with a lens and a place in the world.

    ReFit's full-frame camera assumes square pixels, so that `focal_px` is one number; `aspect` keeps the rest.
    """

    name: str
    size: tuple[int, int]  # width, height in pixels
    focal_px: float  # mean of both axes
    centre_px: tuple[float, float]  # principal point
    distortion: np.ndarray = field(default_factory=lambda: np.zeros(5))  # (5,) OpenCV k1 k2 p1 p2 k3
    world_from_camera: np.ndarray = field(default_factory=lambda: upright())  # (4, 4) metres
    aspect: float = 1.0  # focal length along y over the one along x
    delay_s: float = 0.0  # by which its pictures are older than they claim, beside those of the rig's other cameras

    @property
    def matrix(self) -> np.ndarray:
        """The lens as OpenCV writes it (3, 3)."""
        focal_x = 2 * self.focal_px / (1 + self.aspect)
        return np.array([
            [focal_x, 0.0, self.centre_px[0]], [0.0, focal_x * self.aspect, self.centre_px[1]], [0.0, 0.0, 1.0],
        ])  # fmt: skip

    @property
    def camera_from_world(self) -> np.ndarray:
        """(4, 4) metres: the inverse of `world_from_camera`. A rounded rotation in a file comes back as it was."""
        return np.linalg.inv(self.world_from_camera)

    @property
    def position(self) -> np.ndarray:
        """(3,) metres: the centre of projection in the world."""
        return self.world_from_camera[:3, 3]

    @property
    def place(self) -> tuple[float, ...]:
        """The 12 numbers of the upper three rows of `world_from_camera`, row after row: as the stream has them."""
        return tuple(self.world_from_camera[:3].ravel().tolist())

    def world(self, points: np.ndarray) -> np.ndarray:
        """Camera-frame points (..., 3) → world points (..., 3), metres."""
        return points @ self.world_from_camera[:3, :3].T + self.world_from_camera[:3, 3]

    def camera(self, points: np.ndarray) -> np.ndarray:
        """World points (..., 3) → camera-frame points (..., 3), metres."""
        matrix = self.camera_from_world
        return points @ matrix[:3, :3].T + matrix[:3, 3]

    def project(self, points: np.ndarray) -> np.ndarray:
        """World points (..., 3) → pixels (..., 2) as the lens bends them."""
        flat = self.camera(points).reshape(-1, 1, 3)
        pixels, _ = cv2.projectPoints(flat, np.zeros(3), np.zeros(3), self.matrix, self.distortion)
        return pixels.reshape(*points.shape[:-1], 2)

    def rays(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) → directions (x/z, y/z) (..., 2) without distortion. NaN stays NaN."""
        flat = np.ascontiguousarray(pixels, float).reshape(-1, 1, 2)
        return cv2.undistortPoints(flat, self.matrix, self.distortion).reshape(pixels.shape)

    def scaled(self, size: tuple[int, int]) -> "Camera":
        """The same camera for images of another size (width, height). Raises ValueError when their shape differs."""
        factor = size[0] / self.size[0]
        if abs(size[1] - self.size[1] * factor) > SAME_SHAPE_PX:
            raise ValueError(f"was calibrated at {self.size}, the video is {size}")
        x, y = self.centre_px
        centre_px = ((x + 0.5) * factor - 0.5, (y + 0.5) * factor - 0.5)
        return replace(self, size=size, focal_px=self.focal_px * factor, centre_px=centre_px)


@dataclass(frozen=True, slots=True)
class Figures:
    """How well a rig was calibrated. What is not known is None or empty."""

    rms_px: float | None = None  # distance between corners found and projected, root of the mean square
    held_out_px: float | None = None  # the same, of corners that the calibration did not see
    made: str = ""  # date and time, ISO 8601
    approximate: bool = False  # from people: centimetres, not millimetres


@dataclass(frozen=True, slots=True, eq=False)
class Rig:
    """Cameras that were calibrated together, in one world."""

    cameras: tuple[Camera, ...]
    floor: bool = False  # whether the world's y = 0 is known to be the floor, with y up
    notes: str = ""  # the user's own words
    figures: Figures = field(default_factory=Figures)

    def __iter__(self) -> Iterator[Camera]:
        return iter(self.cameras)

    def __len__(self) -> int:
        return len(self.cameras)

    def __getitem__(self, name: str) -> Camera:
        """Raises KeyError for a name that no camera has."""
        return {camera.name: camera for camera in self.cameras}[name]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(camera.name for camera in self.cameras)

    @property
    def delays_s(self) -> dict[str, float]:
        """Name → constant delay in seconds, of the cameras that have one. It is subtracted from their times."""
        return {camera.name: camera.delay_s for camera in self.cameras if camera.delay_s}

    def for_sources(self, sizes: Mapping[str, tuple[int, int]]) -> "Rig":
        """The rig of some sources: their names and image sizes (width, height), in their order.

        Raises ValueError for a source that is no camera of the rig, and for images of another shape.
        """
        if missing := [name for name in sizes if name not in self.names]:
            raise ValueError(f"has no camera '{missing[0]}', only {', '.join(self.names)}")
        cameras = []
        for name, size in sizes.items():
            try:
                cameras.append(self[name].scaled(size))
            except ValueError as error:
                raise ValueError(f"camera '{name}' {error}") from error
        return replace(self, cameras=tuple(cameras))

    def moved(self, new_from_world: np.ndarray, scale: float = 1.0) -> "Rig":
        """The rig in another world: new = new_from_world (4, 4, a rotation and a translation) @ (scale * old).

        Pixels of a point stay as they are. Whether y = 0 is the floor is for the caller to say.
        """
        cameras = []
        for camera in self.cameras:
            world_from_camera = camera.world_from_camera.copy()
            world_from_camera[:3, 3] *= scale
            cameras.append(replace(camera, world_from_camera=new_from_world @ world_from_camera))
        return replace(self, cameras=tuple(cameras), floor=False)

    def triangulate(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (camera, point, 2), NaN where a camera does not see a point → world points (point, 3), metres.

        The point with the least squared distance to the rays of its pixels, each weighted by focal length over depth,
        so that it is about pixels. NaN: fewer than two cameras see it.
        """
        count = pixels.shape[1]
        across, towards = np.zeros((len(self), count, 3, 3)), np.zeros((len(self), count, 3))
        for number, camera in enumerate(self.cameras):
            rays = np.concatenate([camera.rays(pixels[number]), np.ones((count, 1))], -1)
            rays = rays @ camera.world_from_camera[:3, :3].T
            rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
            across[number] = np.eye(3) - rays[:, :, None] * rays[:, None, :]
            towards[number] = across[number] @ camera.position
        seen = np.isfinite(towards).all(-1)
        across[~seen], towards[~seen] = 0.0, 0.0
        enough = seen.sum(0) >= 2
        points = np.full((count, 3), np.nan)
        focals = np.array([camera.focal_px for camera in self.cameras])
        positions = np.array([camera.position for camera in self.cameras])
        weights = np.ones((len(self), count))
        for _ in range(3):
            normal = np.einsum("cp,cpij->pij", weights, across)[enough]
            normal += 1e-12 * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(3)  # parallel rays
            points[enough] = np.linalg.solve(normal, np.einsum("cp,cpi->pi", weights, towards)[enough][..., None])[
                ..., 0
            ]
            depth = np.linalg.norm(points - positions[:, None], axis=-1)
            weights = np.where(seen & enough, (focals[:, None] / np.maximum(depth, 1e-6)) ** 2, 0.0)
        return points


def upright() -> np.ndarray:
    """The place (4, 4) of a camera without a rig: at the origin, y up."""
    matrix = np.eye(4)
    matrix[:3, :3] = WORLD_FROM_CAMERA
    return matrix
