"""The follower: lenses made straight."""

import cv2
import numpy as np

from refit_rt.cameras import Camera
from refit_rt.follow import undistortion


def test_a_bent_line_is_straight_after_the_lens_is_undone_within_half_a_pixel() -> None:
    camera = Camera("wide", (640, 480), 500.0, (319.5, 239.5), np.array([-0.25, 0.05, 0.0, 0.0, 0.0]))
    lens = np.array([[500.0, 0, 319.5], [0, 500.0, 239.5], [0, 0, 1]])
    true = np.column_stack([np.linspace(60, 580, 60), np.full(60, 100.0)])  # a straight line, high in the picture
    rays = np.column_stack([(true - camera.centre_px) / 500, np.ones(60)])
    bent, _ = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), lens, camera.distortion)
    image = np.zeros((480, 640), np.uint8)
    cv2.polylines(image, [np.round(bent[:, 0] * 16).astype(np.int32)], False, 255, 2, cv2.LINE_AA, 4)
    straight = cv2.remap(image, *undistortion(camera), cv2.INTER_LINEAR).astype(float)
    columns = np.arange(80, 560)
    rows = (straight[:, columns] * np.arange(480)[:, None]).sum(0) / straight[:, columns].sum(0)
    assert np.abs(rows - 100).max() < 0.5
