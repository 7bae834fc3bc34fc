"""Places without people: parts of the studio's pictures, views of panoramas, and flat colours."""

from functools import cache, cached_property
from pathlib import Path

import cv2
import numpy as np

from refit_rt.errors import UserError
from training.evaluation.people.cutouts import empty_place

# Camera of the studio; left, top, and width of a part of 16:9, in the pictures' own pixels. Nobody stands there.
PARTS = (
    (3, 0, 500, 1088),
    (3, 0, 1000, 1088),
    (4, 0, 820, 1088),
    (4, 0, 1250, 1088),
    (1, 500, 300, 580),
    (2, 0, 1150, 1080),
)
PEOPLED = ("venice_sunset", "potsdamer_platz")  # panoramas in which people walk
FLOORS = (0, 1, 2, 3, 5), (0, 1, 2, 3, 4, 5, 7, 8, 9)  # parts of the studio and rooms with a floor to stand on
FIELD_DEG, BRIGHT = 80.0, 0.9  # of a view; the quantile of light that becomes almost white
FLAT = ((128, 128, 128), (60, 90, 40), (235, 235, 230))


class Places:
    """Places of one picture size; each kind is made when it is first asked for."""

    def __init__(self, media: Path, panoramas: Path, size: tuple[int, int]) -> None:
        """media: the folder of treadmill_4cam; panoramas: a folder of .hdr files; size: width and height in pixels."""
        self.media, self.panoramas, self.size = media, panoramas, size

    @cached_property
    def studio(self) -> list[np.ndarray]:
        """Parts of the studio that the clips show, (h, w, 3) BGR. Raises UserError."""
        whole = _whole(self.media)
        return [self._part(whole[camera], left, top, width) for camera, left, top, width in PARTS]

    @cached_property
    def rooms(self) -> list[np.ndarray]:
        """One view of each panorama, (h, w, 3) BGR. Raises UserError where there are none."""
        files = [file for file in sorted(self.panoramas.glob("*.hdr")) if not file.name.startswith(PEOPLED)]
        if not files:
            raise UserError(f"{self.panoramas}: no panoramas (.hdr). Give their folder with --hdri")
        return [view(_light(file), 0.9 * i, self.size) for i, file in enumerate(files)]

    @property
    def floors(self) -> list[np.ndarray]:
        """The places in whose lower part a person can stand: parts of the studio, then rooms and landscapes."""
        return [*(self.studio[i] for i in FLOORS[0]), *(self.rooms[i] for i in FLOORS[1] if i < len(self.rooms))]

    @property
    def flat(self) -> list[np.ndarray]:
        """Pictures of one colour, (h, w, 3) BGR."""
        return [np.full((self.size[1], self.size[0], 3), colour, np.uint8) for colour in FLAT]

    def _part(self, picture: np.ndarray, left: int, top: int, width: int) -> np.ndarray:
        height = round(width * self.size[1] / self.size[0])
        return cv2.resize(picture[top : top + height, left : left + width], self.size, interpolation=cv2.INTER_AREA)


@cache
def _whole(media: Path) -> dict[int, np.ndarray]:
    """The whole empty place of each camera that PARTS names."""
    cameras = sorted({part[0] for part in PARTS})
    return {camera: empty_place(media / "treadmill_4cam" / f"cam{camera:02}.mp4", camera) for camera in cameras}


def _light(file: Path) -> np.ndarray:
    picture = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    if picture is None:
        raise UserError(f"{file}: not a readable panorama. Remove it from the folder")
    return picture


def view(panorama: np.ndarray, yaw: float, size: tuple[int, int]) -> np.ndarray:
    """A level look into an equirectangular picture (h, w, 3) of light, as 8 bits: (size[1], size[0], 3) BGR."""
    focal = size[0] / 2 / np.tan(np.deg2rad(FIELD_DEG / 2))
    x, y = np.meshgrid((np.arange(size[0]) - size[0] / 2) / focal, (np.arange(size[1]) - size[1] / 2) / focal)
    rows, columns = panorama.shape[:2]
    azimuth, elevation = np.arctan2(x, 1.0) + yaw, np.arctan2(-y, np.hypot(x, 1.0))
    across = (azimuth / (2 * np.pi) % 1 * columns).astype(np.float32)
    down = ((0.5 - elevation / np.pi) * rows).astype(np.float32)
    light = cv2.remap(panorama.astype(np.float32), across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    level = np.clip(0.8 * light / np.quantile(light.mean(2), BRIGHT), 0, 1)
    return np.rint(255 * level ** (1 / 2.2)).astype(np.uint8)
