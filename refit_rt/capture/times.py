"""Times of frames: those of a csv file, and a clock that never runs backwards."""

import csv
import logging
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from refit_rt.errors import UserError

log = logging.getLogger(__name__)

# Names of each column; the second ones are Caliscope's, whose files also have a column sync_index.
COLUMNS = {"camera": ("camera", "cam_id", "port"), "frame": ("frame", "frame_index"), "time": ("time", "frame_time")}
CURE = "Give a csv with the columns camera, frame, time (capture.timestamps)"


def read_times(path: Path, cameras: list[str]) -> dict[str, np.ndarray]:
    """Seconds of the frames of each camera: (frame,) float64, in the order of their frame numbers.

    The row with a camera's lowest frame number is the first frame of its file. A camera that is a number in the file,
    3, may be called cam_3 here, as Caliscope's are. Raises UserError for a file that is missing or of another kind,
    and for one that lacks a camera.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            names = {name: _column(path, wanted, reader.fieldnames or ()) for name, wanted in COLUMNS.items()}
            rows: dict[str, list[tuple[int, float]]] = defaultdict(list)
            for number, row in enumerate(reader, 2):
                try:
                    rows[row[names["camera"]].strip()].append((int(row[names["frame"]]), float(row[names["time"]])))
                except (ValueError, TypeError, AttributeError) as error:
                    raise UserError(f"{path}: line {number} is no frame of a camera ({error}). {CURE}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}). Check capture.timestamps") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: is no csv file ({error}). {CURE}") from error
    times = {}
    for camera in cameras:
        found = rows.get(camera) or rows.get(camera.removeprefix("cam_"))
        if not found:
            raise UserError(f"{path}: has no times of camera '{camera}', only of {', '.join(rows) or 'none'}. {CURE}")
        times[camera] = np.array([time_s for _, time_s in sorted(found)])
    return times


def _column(path: Path, names: tuple[str, ...], given: Sequence[str]) -> str:
    found = next((name for name in names if name in given), None)
    if found is None:
        raise UserError(f"{path}: has no column '{names[0]}'. {CURE}")
    return found


class Steady:
    """The times of one camera's frames as they are used: a time that is not later than the last one is replaced by
    that of a frame one period after it, and reported once."""

    def __init__(self, camera: str, cure: str) -> None:
        self._camera, self._cure = camera, cure
        self._last_s: float | None = None
        self._reported = False

    def next(self, time_s: float, period_s: float) -> float:
        """The time of the next frame, in seconds."""
        if self._last_s is not None and time_s <= self._last_s:
            if not self._reported:
                back_s, self._reported = self._last_s - time_s, True
                log.warning("camera '%s': its times jump back by %.3f s. %s", self._camera, back_s, self._cure)
            time_s = self._last_s + period_s
        self._last_s = time_s
        return time_s
