"""What each further person costs: copies of the bundled clip's person side by side, fitted and smoothed."""

import time
from collections.abc import Iterator

import cv2
import numpy as np

from refit_rt import config
from refit_rt.bundle.read import Bundle, find_bundle, load_bundle
from refit_rt.cameras import Camera, camera_for
from refit_rt.commands.bench.table import Table
from refit_rt.commands.demo_clip import CLIP, TRUTH
from refit_rt.errors import UserError
from refit_rt.fit.fitter import Fitter
from refit_rt.fit.load import warm_up
from refit_rt.fit.smooth import Smoother
from refit_rt.motion.npz import read_motion
from refit_rt.runners import Runner
from refit_rt.runners.make import make_runner
from refit_rt.types import Frame, Tracks

CROWDS = (1, 2, 3, 4, 6, 8)
FRAMES, UNCOUNTED = 110, 10  # of the clip; the first ones are not counted, because people start cold
BESIDE_PX = 30  # of the picture on either side of the person


class Crowd:
    """A number of people who are followed, and what each frame of them took."""

    def __init__(self, count: int, fit: config.Fit, smooth: config.Smooth, runner: Runner, bundle: Bundle) -> None:
        self._count = count
        self._fitter = Fitter(fit, runner, bundle.body, bundle.crop)
        self._smoother = Smoother(smooth, bundle.body)
        self._camera: Camera | None = None
        self.wall_ms: list[float] = []
        self.core_ms: list[float] = []

    def step(self, index: int, fps: float, strip: np.ndarray, box: np.ndarray) -> None:
        """One frame. strip: the part of the picture that holds the person; box (4,) px, the person in it."""
        image = np.tile(strip, (1, self._count, 1))
        apart_px = np.arange(self._count)[:, None] * strip.shape[1] * np.array([1, 0, 1, 0])
        ids, ones = np.arange(self._count), np.ones(self._count, np.float32)
        frame = Frame("bench", index, time.monotonic(), index / fps, image)
        boxes = (box + apart_px).astype(np.float32)
        tracks = Tracks(frame, ids, boxes, 0 * ones, ones, np.full(self._count, index == 0))
        self._camera = self._camera or camera_for(config.Camera(), "bench", frame.size)
        wall_s, core_s = time.perf_counter(), time.process_time()
        self._smoother.smooth(self._fitter.fit(tracks, self._camera), self._camera)
        self.wall_ms.append(1e3 * (time.perf_counter() - wall_s))
        self.core_ms.append(1e3 * (time.process_time() - core_s))

    def row(self) -> list[str]:
        """The figures of the frames that count."""
        wall_ms, core_ms = np.array(self.wall_ms[UNCOUNTED:]), np.array(self.core_ms[UNCOUNTED:])
        times = (np.median(wall_ms), np.quantile(wall_ms, 0.95), 1e3 / wall_ms.mean(), np.median(core_ms))
        return [str(self._count), *(f"{figure:.1f}" for figure in times), f"{np.median(core_ms) / self._count:.1f}"]


def measure(fit: config.Fit, smooth: config.Smooth) -> Table:
    """Milliseconds per frame for each number of CROWDS. The crowds take turns, frame by frame, so that a busy moment of
    the machine meets all. Raises UserError."""
    bundle = load_bundle(find_bundle(fit.bundle))
    runner = make_runner(fit, bundle)
    warm_up(fit, runner, bundle)
    crowds = [Crowd(count, fit, smooth, runner, bundle) for count in CROWDS]
    for index, (strip, box, fps) in enumerate(strips(FRAMES)):
        for crowd in crowds:
            crowd.step(index, fps, strip, box)
    arithmetic = getattr(runner, "precision", fit.precision)
    heads = [f"people, encoder in {arithmetic}", "median ms", "p95 ms", "frames per second", "core-ms", "per person"]
    return Table(heads, [crowd.row() for crowd in crowds])


def strips(count: int) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    """From each frame of the bundled clip, the upright strip that the person never leaves, the person's box (4,) px in
    it, and the clip's frames per second. Raises UserError when the clip cannot be read."""
    truth = read_motion(TRUTH)
    boxes = truth.box[:count]
    clip = cv2.VideoCapture(str(CLIP))
    try:
        width = int(clip.get(cv2.CAP_PROP_FRAME_WIDTH))
        left = int(max(boxes[:, 0].min() - BESIDE_PX, 0))
        right = int(min(boxes[:, 2].max() + BESIDE_PX, width))
        for box in boxes:
            read, image = clip.read()
            if not read:
                raise UserError(f"{CLIP}: cannot be read. Install refit-rt again")
            yield np.ascontiguousarray(image[:, left:right]), box - np.array([left, 0, left, 0]), truth.fps
    finally:
        clip.release()
