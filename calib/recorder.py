"""Looks at the pictures of all cameras, and takes a set when the board is held still at a new place."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

import numpy as np

from calib.board import Board
from calib.detect import SMALLEST_MARKER_PX, Detector, View, why_not
from calib.guidance import CameraState, Guidance, Sight, lenses_of
from calib.intrinsics import Lens
from calib.still import HOLD_S, MOVED, Stillness, is_new, moved_px
from calib.takes import FloorPictures, Takes
from refit_rt.live.beside import AtOnce, Beside
from refit_rt.types import Frame, FrameSet

GONE_S = 2.0  # without a picture, a camera is reported
UNSEEN_S, ASK_AGAIN_S = 8.0, 20.0  # until the reason is looked for why a camera does not see the board, and between
KEPT, KEPT_EVERY_S = 6, 1.0  # pictures in which the reason is looked for
SHOWN_S = 1.5  # how long a take is announced
Answer = TypeVar("Answer")
Solver: TypeAlias = AtOnce[Answer] | Beside[Answer]
NOTHING_SEEN = "shows no "  # the beginning of why_not's answer when it knows no reason


@dataclass(frozen=True, slots=True, eq=False)
class CameraLook:
    """One camera at one look."""

    state: CameraState
    frame: Frame | None  # the newest; None: there is none of this moment
    view: View | None  # of the board; None: it is not seen
    still: bool
    note: str  # what is wrong; empty: nothing


@dataclass(frozen=True, slots=True, eq=False)
class Progress:
    """A recording after a look."""

    takes: int
    now: str  # what goes on at this moment
    next: str  # what to do next, a sentence
    enough: bool
    cameras: tuple[CameraLook, ...]
    pairs: np.ndarray  # (camera, camera) int: takes that both see
    lenses: bool  # whether the lenses are to be found, so that tilts, distances and empty fields matter
    connected: bool  # whether pairs with enough takes tie all cameras together
    last: tuple[int, tuple[str, ...]] | None = None  # number and cameras of the newest take of this run


@dataclass(slots=True, eq=False)
class Eye:
    """What is remembered of one camera from look to look."""

    detector: Detector
    stillness: Stillness
    size: tuple[int, int] | None = None  # of its takes, else of its first picture
    seen: bool = False  # whether it has ever seen the board
    frame_s: float | None = None  # when its last picture came
    kept: list[np.ndarray] = field(default_factory=list)  # pictures without a board
    kept_s: float = -np.inf
    asked_s: float | None = (
        None  # when the reason was looked for; None: not yet, the time starts with its first picture
    )
    reason: str = ""  # for which it has not seen the board


class Recorder:
    """Makes takes of the frames that `look` is given. `progress` may be read from any thread."""

    def __init__(
        self,
        board: Board,
        takes: Takes | FloorPictures,
        guidance: Guidance,
        at_once: bool,
        still_px: float = 0.0,
        hold_s: float = HOLD_S,
        fewest: int = 1,
    ) -> None:
        """The takes that are in the folder count. at_once: lenses are solved while the next look waits, so that the
        same recording gives the same takes; otherwise in the time that is left. still_px, hold_s: as Stillness has
        them. fewest: cameras that a take needs."""
        self.board, self.names = board, guidance.names
        self._takes, self._guidance, self._fewest = takes, guidance, fewest
        self._pool = ThreadPoolExecutor(min(len(self.names), os.cpu_count() or 1), "detect")
        self._eyes = {name: Eye(Detector(board), Stillness(still_px, hold_s)) for name in self.names}
        self._lenses: Solver[dict[str, tuple[int, Lens | None]]]
        self._why: Solver[tuple[str, str]]
        if at_once:
            self._lenses, self._why = AtOnce(lenses_of), AtOnce(_why)
        else:
            self._lenses, self._why = Beside(lenses_of, "lenses"), Beside(_why, "reasons")
        self._sights: list[dict[str, Sight]] = []  # of the takes
        self._last_views: dict[str, View] = {}  # of the newest take
        self._announced_s = -np.inf
        self._last: tuple[int, tuple[str, ...]] | None = None
        for number, pictures in takes.read():
            self._remember(number, self._detect(pictures), pictures)
        self._learn()
        self.progress = self._progress({}, {}, {}, "Waiting for pictures.")

    def look(self, tick: Frame | FrameSet) -> None:
        """One moment of all cameras. Raises UserError when a take cannot be written."""
        frames = {one.camera: one for one in ((tick,) if isinstance(tick, Frame) else tick.frames) if one is not None}
        now_s = tick.time_s
        usable = {name: frame.image for name, frame in frames.items() if self._fits(name, frame, now_s)}
        views = self._detect(usable)
        longer = {name: max(frames[name].size) for name in views}
        still = {name: self._eyes[name].stillness.add(now_s, view, longer[name]) for name, view in views.items()}
        for name in usable:
            self._note_unseen(name, usable[name], name in views, now_s)
        now = self._judged(views, still, longer, usable, now_s)
        self._learn()
        self.progress = self._progress(frames, views, still, now, now_s)

    def close(self) -> None:
        """Ends the threads."""
        for one in (self._lenses, self._why):
            one.close()
        self._pool.shutdown()

    def reason(self) -> str:
        """Why no camera has ever seen the board, as far as that is known; empty: one has."""
        if any(eye.seen for eye in self._eyes.values()):
            return ""
        for eye in self._eyes.values():
            if eye.kept and not eye.reason:
                eye.reason = why_not(self.board, eye.kept)
        reasons = {name: eye.reason for name, eye in self._eyes.items() if eye.reason}
        known = {name: text for name, text in reasons.items() if not text.startswith(NOTHING_SEEN)} or reasons
        return next((f"'{name}': {text}" for name, text in known.items()), "no camera delivered a picture")

    def _detect(self, pictures: dict[str, np.ndarray]) -> dict[str, View]:
        found = self._pool.map(lambda name: self._eyes[name].detector(pictures[name]), pictures)
        return {name: view for name, view in zip(pictures, found, strict=True) if view is not None}

    def _fits(self, name: str, frame: Frame, now_s: float) -> bool:
        """Whether a picture has the size of the takes."""
        eye = self._eyes[name]
        eye.frame_s, eye.size = now_s, eye.size or frame.size
        return frame.size == eye.size

    def _judged(
        self,
        views: dict[str, View],
        still: dict[str, bool | None],
        longer: dict[str, int],
        pictures: dict[str, np.ndarray],
        now_s: float,
    ) -> str:
        """Takes a set if one is due; what goes on, in words."""
        if now_s < self._announced_s:  # a recording that starts again
            self._announced_s = -np.inf
        announced = self._last and now_s - self._announced_s < SHOWN_S
        if not views:
            return "No camera sees the board."
        if len(views) < self._fewest:
            return f"Only {', '.join(views)} sees the board."
        if False in still.values() or True not in still.values():
            hint = "The board moves: hold it still." if False in still.values() else "Hold the board still."
            return self._announcement() if announced else hint
        apart = [moved_px(view, self._last_views[name]) / longer[name] for name, view in views.items()
                 if name in self._last_views]  # fmt: skip
        sights = {name: self._guidance.sight(view, self._eyes[name].size or (1, 1)) for name, view in views.items()}
        if (apart and max(apart) < MOVED) or not is_new(sights, self._sights, longer):
            return self._announcement() if announced else "This place is taken: carry the board on, or tilt it."
        number = self._takes.write({name: pictures[name] for name in views})
        self._remember(number, views, pictures)
        self._last, self._announced_s = (number, tuple(views)), now_s
        return self._announcement()

    def _announcement(self) -> str:
        number, names = self._last or (0, ())
        return f"Take {number}: {', '.join(names)}."

    def _remember(self, number: int, views: dict[str, View], pictures: dict[str, np.ndarray]) -> None:
        sizes = {name: (pictures[name].shape[1], pictures[name].shape[0]) for name in views}
        for name, size in sizes.items():
            self._eyes[name].size, self._eyes[name].seen = size, True
        self._guidance.add(number, views, sizes)
        self._sights.append({name: self._guidance.sight(view, sizes[name]) for name, view in views.items()})
        self._last_views = views

    def _learn(self) -> None:
        """Has lenses solved that have new takes, and takes in those that are solved."""
        if unsolved := self._guidance.unsolved():
            self._lenses.ask(self.board, unsolved)
        if (found := self._lenses.take()) is not None:
            self._guidance.learn(found)

    def _note_unseen(self, name: str, picture: np.ndarray, seen: bool, now_s: float) -> None:
        """Keeps some pictures of a camera that has never seen the board, and has the reason looked for."""
        eye = self._eyes[name]
        if seen:
            eye.seen, eye.kept, eye.reason = True, [], ""
        if eye.seen:
            return
        if now_s - eye.kept_s >= KEPT_EVERY_S:
            eye.kept, eye.kept_s = [*eye.kept[-KEPT + 1 :], picture], now_s
        eye.asked_s = now_s - ASK_AGAIN_S + UNSEEN_S if eye.asked_s is None else eye.asked_s
        if now_s - eye.asked_s >= ASK_AGAIN_S:
            eye.asked_s = now_s
            self._why.ask(self.board, name, eye.kept)
        if (answer := self._why.take()) is not None:
            asked, reason = answer
            self._eyes[asked].reason = "" if self._eyes[asked].seen else reason

    def _progress(
        self,
        frames: dict[str, Frame],
        views: dict[str, View],
        still: dict[str, bool | None],
        now: str,
        now_s: float = 0.0,
    ) -> Progress:
        guidance = self._guidance
        cameras = tuple(
            CameraLook(
                guidance.state(name), frames.get(name), views.get(name), bool(still.get(name)), self._note(name, frames,
                name in views, now_s)
            )
            for name in self.names
        )  # fmt: skip
        missing = guidance.lacks()
        return Progress(
            guidance.takes, now, guidance.next(), not missing, cameras, guidance.pairs(), guidance.lenses,
            guidance.connected(),
            self._last,
        )  # fmt: skip

    def _note(self, name: str, frames: dict[str, Frame], sees: bool, now_s: float) -> str:
        """What is wrong with a camera."""
        eye, frame = self._eyes[name], frames.get(name)
        if frame is None:
            gone = now_s - (eye.frame_s or 0.0) > GONE_S
            return "delivers no picture. The others go on" if gone else ""
        if frame.size != eye.size and eye.size:
            return (
                f"delivers pictures of {frame.size[0]} x {frame.size[1]} pixels, but its takes have {eye.size[0]} x "
                f"{eye.size[1]}. Set it back, or record into a new folder"
            )
        if sees and self.board.kind != "chessboard" and eye.detector.marker_sides[-1] < SMALLEST_MARKER_PX:
            size = eye.detector.marker_sides[-1]
            return f"sees markers {size:.0f} px wide, and {SMALLEST_MARKER_PX:.0f} are needed. Come closer"
        unknown = eye.reason.startswith(NOTHING_SEEN) and any(one.seen for one in self._eyes.values())
        return "" if unknown else eye.reason


def _why(board: Board, name: str, pictures: list[np.ndarray]) -> tuple[str, str]:
    """A camera's name, and why it does not see the board."""
    return name, why_not(board, pictures)
