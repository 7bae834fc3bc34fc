"""Crops: pixels come from where the square says, whatever its size, the lens and the mirror."""

import numpy as np
import pytest

from refit_rt import geometry
from refit_rt.cameras import Camera, lens
from refit_rt.fit.crops import cut_rgb
from refit_rt.types import Square

SIZE = (960, 720)
STRAIGHT = Camera("straight", SIZE, 800.0, (479.5, 359.5))
BENT = Camera("bent", SIZE, 800.0, (470.0, 365.0), np.array([-0.15, 0.02, 0.0, 0.0, 0.0]))


def coordinates() -> np.ndarray:
    """A picture whose pixels hold their own x and y."""
    y, x = np.mgrid[: SIZE[1], : SIZE[0]].astype(np.float32)
    return np.stack([x, y], -1)


@pytest.mark.parametrize("side_px", [100.0, 400.0, 401.0, 530.0, 531.3])
@pytest.mark.parametrize("left_px", [0.0, 0.5, 1.0])
def test_a_pixel_of_a_crop_comes_from_its_place_in_the_picture(side_px: float, left_px: float) -> None:
    """Also where the picture is halved first, and the part of it that is has an odd size."""
    square = Square(np.array([400.0 + left_px, 350.0]), side_px, 0.2)
    crop = geometry.crop(coordinates(), square, 128)
    x, y = np.meshgrid(np.arange(10, 118), np.arange(10, 118))
    there = geometry.apply_2d(geometry.crop_from_image(square, 128), crop[10:118, 10:118].astype(float))
    assert np.abs(there - np.stack([x, y], -1)).max() < 0.05


def test_the_crop_for_the_network_is_rgb_of_the_straight_picture_and_may_be_mirrored() -> None:
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    image = np.stack([x // 4, y // 4, np.full_like(x, 9)], -1).astype(np.uint8)
    square, found = Square(np.array([600.0, 300.0]), 300.0, 0.1), np.empty((2, 64, 64, 3), np.uint8)
    for camera in (STRAIGHT, BENT):
        cut_rgb(image, square, camera, mirrored=False, out=found[0])
        cut_rgb(image, square, camera, mirrored=True, out=found[1])
        expected = geometry.crop(lens.straight_picture(image, camera), square, 64)[..., ::-1]
        assert np.abs(found[0].astype(int) - expected).max() <= 1
        np.testing.assert_array_equal(found[1], found[0][:, ::-1])
        assert (found[0][..., 0] == 9).all()
