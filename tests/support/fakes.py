"""Stand-ins for the parts of the pipeline that need a network or a camera."""

import numpy as np

from refit_rt.cameras import Camera
from refit_rt.types import PERSON_FIELDS, Boxes, Frame, Known, People, Tracks

CENTRE = (319.5, 239.5)


def frame(index: int = 0, time_s: float = 0.0, size: tuple[int, int] = (64, 48)) -> Frame:
    """A grey picture."""
    return Frame("test", index, 100 + time_s, time_s, np.full((size[1], size[0], 3), 90, np.uint8))


def people(
    ids: list[int], time_s: float = 0.0, *, poses: np.ndarray | None = None, trans: np.ndarray | None = None
) -> People:
    """Some people, each of them different; poses (n, 24, 3) and trans (n, 3) where a test says them."""
    n, rng = len(ids), np.random.default_rng(1)

    def some(*shape: int) -> np.ndarray:
        return rng.normal(size=(n, *shape)).astype(np.float32)

    rows = {
        "ids": ids,
        "poses": some(24, 3) if poses is None else poses,
        "betas": some(10),
        "trans": some(3) + np.array([0, 0, 4], np.float32) if trans is None else trans,
        **{name: some(*shape) for name, (_, shape) in list(PERSON_FIELDS.items())[4:9]},
        "iterations": range(n),
    }
    return People.of(
        rows, camera="test", frame_index=7, captured_s=100 + time_s, time_s=time_s, dropped=2, size=(640, 480),
        focal_px=800.0, centre_px=CENTRE,
    )  # fmt: skip


class FakeDetector:
    """Finds one person in the middle of every frame."""

    threshold = 0.5

    def find(self, frame: Frame, known: Known) -> Boxes:
        width, height = frame.size
        box = np.array([[0.4 * width, 0.1 * height, 0.6 * width, 0.9 * height]], np.float32)
        return Boxes(frame, box, np.ones(1, np.float32), np.zeros(1, np.float32))


class FakeTracker:
    """Follows person 1 from the first detection on."""

    most, waiting = 1, 0
    camera: Camera | None = None

    def __init__(self) -> None:
        self.boxes: Boxes | None = None
        self.seen = 0

    def wants_look(self, time_s: float, every_s: float) -> bool:
        return self.boxes is None

    def predict(self, time_s: float) -> Known:
        return Known.nobody()

    def update(self, frame: Frame, boxes: Boxes | None) -> Tracks:
        self.boxes = boxes or self.boxes
        found = self.boxes or Boxes(frame, *(np.zeros(shape, np.float32) for shape in ((0, 4), 0, 0)))
        ids = np.ones(len(found.score), np.int64)
        return Tracks(frame, ids, found.xyxy, found.roll, found.score, ids == (0 if boxes is None else 1))

    def observe(self, people: People) -> np.ndarray:
        self.seen += len(people.ids)
        return np.ones(len(people.ids), bool)

    def lose_sight(self) -> None:
        """Grey pictures show nothing, and the fake follows its person all the same."""

    def doubt(self) -> None:
        """Nothing depends on it here."""

    def forget(self) -> None:
        self.boxes = None


class FakeFitter:
    """A body that turns with the frame's own brightness: a result that depends on every frame before it."""

    def __init__(self, body, wrong_at: int | None = None) -> None:
        self.body, self.bundle_name = body, "fake"
        self._wrong_at, self._turn = wrong_at, 0.0

    def forget(self) -> None:
        """Nothing is remembered of a person."""

    def fit(self, tracks: Tracks, camera: Camera) -> People:
        frame = tracks.frame
        if frame.index == self._wrong_at:
            raise RuntimeError("the fit failed")
        self._turn = 0.9 * self._turn + float(frame.image.mean()) / 255
        n = len(tracks.ids)
        poses = np.zeros((n, 24, 3), np.float32)
        poses[:, 0, 1] = self._turn
        rows = {
            "ids": tracks.ids,
            "poses": poses,
            "trans": np.tile([0, 0, 4], (n, 1)),
            "box": tracks.xyxy,
            "confidence": np.ones(n),
            "iterations": np.full(n, 2),
        }
        return People.of(
            rows, camera=frame.camera, frame_index=frame.index, captured_s=frame.captured_s, time_s=frame.time_s,
            dropped=0, size=frame.size, focal_px=camera.focal_px, centre_px=camera.centre_px,
        )  # fmt: skip
