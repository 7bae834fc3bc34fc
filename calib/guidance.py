"""What a recording of a board has so far, what it lacks, and the next thing to do.

The limits are those by which `calibrate report` judges a finished calibration (calib/weaknesses.py): a recording that
has enough leaves no weakness of coverage, tilt, distance, number or pairs.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.sparse.csgraph import connected_components

from calib.board import Board
from calib.detect import Sightings, View
from calib.extrinsics import both_poses
from calib.intrinsics import FEWEST_VIEWS, Lens, solve_lens, tilt_of
from calib.quality import CameraQuality
from calib.weaknesses import (
    COVERED,
    DISTANCES,
    EDGES_COVERED,
    FEW_FRAMES,
    FEW_SHARED,
    FIELD_CORNERS,
    FOCAL,
    GRID,
    TILT_DEG,
    coverage,
    share_covered,
)
from refit_rt.errors import UserError

# The lens is not known yet while its pictures are taken, so a little more is asked for than the report does.
WANTED_TILT_DEG, WANTED_DISTANCES = TILT_DEG + 5, 1.1 * DISTANCES
GUESSED_FOCAL = 0.8  # of the longer side, before a lens can be solved: webcams have 0.6 to 0.9
CLOSE_UP = 0.5  # of the picture's width or height: a board whose inner corners span more is close
ON_FLOOR = "Lay the board on the floor, printed side up, where two cameras or more see it, and step back."
ROWS, COLUMNS = ("upper", "upper", "", "lower", "lower"), ("left", "left", "", "right", "right")  # of the GRID's fields


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """Where a board is in front of a camera."""

    middle_px: np.ndarray  # (2,)
    normal: np.ndarray  # (3,) of the board, in the camera's frame
    distance_m: float
    tilt_deg: float  # between the board's normal and the line of sight
    share: float  # of the picture's width or height, whichever is more, that the board's corners span


@dataclass(frozen=True, slots=True, eq=False)
class CameraState:
    """What one camera has so far."""

    name: str
    takes: int
    fields: np.ndarray  # (GRID, GRID) bool, rows from the top: which fields of the picture have corners enough
    covered: float  # share of all fields
    edges: float  # share of the fields at the picture's edges
    tilt_deg: float  # the largest; 0: none
    distance_m: tuple[float, float] | None  # nearest and farthest board; None: none was seen
    lacks: tuple[str, ...]  # a sentence each, the most urgent first; empty: the lens has enough


class Guidance:
    """The takes of all cameras, and what they lack. Numbers of takes are those of their files."""

    def __init__(
        self, board: Board, names: tuple[str, ...], lenses: bool = True, places: bool = True, floor: bool = False
    ) -> None:
        """lenses, places: whether the lenses, and the cameras' places, are to be found from the takes. floor: one take
        of the board on the floor is wanted, and nothing else."""
        self.board, self.names, self._floor = board, names, floor
        lenses, places = lenses and not floor, places and not floor
        self._lenses, self._places = lenses, places and len(names) > 1
        self._views: dict[str, dict[int, View]] = {name: {} for name in names}
        self._sights: dict[str, dict[int, Sight]] = {name: {} for name in names}
        self._sizes: dict[str, tuple[int, int]] = {}
        self._solved: dict[str, tuple[int, Lens | None]] = {}  # from how many takes, and what
        self._states: dict[str, CameraState] = {}
        self._focus = next(iter(names))  # the camera that the person with the board stands before

    @property
    def lenses(self) -> bool:
        """Whether the lenses are to be found from the takes."""
        return self._lenses

    @property
    def takes(self) -> int:
        """How many sets of pictures there are."""
        return len(set().union(*self._views.values()))

    def sight(self, view: View, size: tuple[int, int]) -> Sight:
        """Where a board is, with a usual lens: good for comparing two views of one camera, not for measuring."""
        lens = np.zeros(9)
        lens[:2], lens[2:4] = GUESSED_FOCAL * max(size), (np.array(size) - 1) / 2
        pose = both_poses(self.board, view, lens)[0]
        middle = pose[:3, :3] @ self.board.points.mean(0) + pose[:3, 3]
        pixel = lens[:2] * middle[:2] / middle[2] + lens[2:4]
        spans = (view.pixels.max(0) - view.pixels.min(0)) / size
        away = float(np.linalg.norm(middle))
        return Sight(pixel, pose[:3, 2], away, tilt_of(pose[:3, :3], middle), float(spans.max()))

    def add(self, number: int, views: dict[str, View], sizes: dict[str, tuple[int, int]]) -> None:
        """A take: the cameras that see the board, and the sizes of their pictures."""
        for name, view in views.items():
            self._sizes[name] = sizes[name]
            self._views[name][number] = view
            self._sights[name][number] = self.sight(view, sizes[name])
            self._states.pop(name, None)
        if views:
            self._focus = max(views, key=lambda name: self._sights[name][number].share)

    def unsolved(self) -> list[Sightings]:
        """What cameras saw whose lens can be solved with more takes than it was."""
        if not self._lenses:
            return []
        return [
            Sightings(name, self._sizes[name], len(views), dict(views))
            for name, views in self._views.items()
            if len(views) >= FEWEST_VIEWS and self._solved.get(name, (0, None))[0] < len(views)
        ]

    def learn(self, solved: dict[str, tuple[int, Lens | None]]) -> None:
        """Lenses, as `lenses_of` returns them."""
        self._solved |= solved
        for name in solved:
            self._states.pop(name, None)

    def state(self, name: str) -> CameraState:
        """What a camera has so far."""
        if name not in self._states:
            self._states[name] = self._state(name)
        return self._states[name]

    def pairs(self) -> np.ndarray:
        """(camera, camera) int: takes in which both see the board; on the diagonal, each alone."""
        views = [self._views[name].keys() for name in self.names]
        return np.array([[len(one & other) for other in views] for one in views])

    def connected(self) -> bool:
        """Whether pairs with enough takes tie all cameras together."""
        return int(connected_components(self.pairs() >= FEW_SHARED, directed=False)[0]) == 1

    def lacks(self) -> list[str]:
        """All that is missing, a sentence each: first what the camera needs that the board was last held before, then
        the other cameras, then the pairs."""
        if self._floor:
            return [] if self.takes else [ON_FLOOR]
        order = [self._focus, *(name for name in self.names if name != self._focus)]
        found = [text for name in order for text in self.state(name).lacks]
        return [*found, *self._pair_lacks()] if self._places else found

    @property
    def enough(self) -> bool:
        """Whether nothing is missing."""
        return not self.lacks()

    def next(self) -> str:
        """The next thing to do, one sentence; when there is enough, what would make it better still."""
        missing = self.lacks()
        if missing:
            return missing[0]
        return " ".join(["Enough.", *(self._alone() if self._places else [])])

    def _quality(self, name: str) -> CameraQuality:
        """The takes of a camera as the report reads them."""
        views = self._views[name]
        frame = np.concatenate([np.full(len(view.ids), number) for number, view in views.items()])
        corner = np.concatenate([view.ids for view in views.values()])
        pixel = np.concatenate([view.pixels for view in views.values()])
        no = np.zeros(len(frame), bool)
        return CameraQuality(name, self._sizes[name], frame, corner, pixel, np.full(pixel.shape, np.nan), no, no)

    def _state(self, name: str) -> CameraState:
        views, sights = self._views[name], list(self._sights[name].values())
        if not views:
            missing = (f"Hold the board still in front of '{name}'.",) if self._lenses else ()
            return CameraState(name, 0, np.zeros((GRID, GRID), bool), 0.0, 0.0, 0.0, None, missing)
        quality, lens = self._quality(name), self._solved.get(name, (0, None))[1]
        firm = lens is not None and not lens.loose  # distances by a loose lens are further off than by a guessed one
        tilts = lens.tilt_deg if lens and firm else [one.tilt_deg for one in sights]
        away = lens.distance_m if lens and firm else [one.distance_m for one in sights]
        fields = coverage(quality) >= FIELD_CORNERS
        covered, edges = share_covered(quality)
        made = CameraState(name, len(views), fields, covered, edges, max(tilts), (min(away), max(away)), ())
        if not self._lenses:
            return made
        missing = tuple(self._lens_lacks(made, lens, max(one.share for one in sights)))
        return CameraState(name, len(views), fields, covered, edges, max(tilts), made.distance_m, missing)

    def _lens_lacks(self, state: CameraState, lens: Lens | None, share: float) -> Iterator[str]:
        """share: of the picture, that the closest board takes."""
        name = f"'{state.name}'"
        if state.covered < COVERED or state.edges < EDGES_COVERED:
            yield f"Hold the board into {_emptiest(state.fields)} of the picture of {name}."
        near, far = state.distance_m or (1.0, 1.0)
        if far < WANTED_DISTANCES * near:
            if share < CLOSE_UP:
                yield f"Bring the board close to {name}, until it fills most of the picture."
            else:
                yield f"Carry the board away from {name}, until it looks half as large as it did up close, or smaller."
        if state.tilt_deg < WANTED_TILT_DEG:
            yield f"Tilt the board by 30 to 45 degrees in front of {name}, to each side, forwards and backwards."
        if state.takes < FEW_FRAMES:
            missing = FEW_FRAMES - state.takes
            yield f"Hold the board still at {missing} more place{'s' * (missing > 1)} in front of {name}."
        elif lens is None or lens.deviation[:2].mean() > FOCAL * max(self._sizes[state.name]):
            yield f"Bring the board closer to {name}, tilted by 30 to 45 degrees: its focal length is not yet certain."

    def _pair_lacks(self) -> Iterator[str]:
        """What the pairs of cameras lack, those first that join cameras that nothing joins yet."""
        shared = self.pairs()
        np.fill_diagonal(shared, 0)
        count, group = connected_components(shared >= FEW_SHARED, directed=False)
        apart = np.where(group[:, None] != group[None], shared, -1)
        while count > 1:
            one, other = np.unravel_index(int(apart.argmax()), apart.shape)
            if apart[one, other] > 0:
                yield _together(self.names[one], f"'{self.names[other]}'", FEW_SHARED - int(apart[one, other]))
            else:
                sizes = (group[:, None] == group[None]).sum(1)  # of each camera's group
                alone = min(range(len(group)), key=lambda camera: (sizes[camera], shared[camera].max(), -camera))
                rest = [name for name, its in zip(self.names, group, strict=True) if its != group[alone]]
                second = f"'{rest[0]}'" if len(rest) == 1 else f"one of {', '.join(map(repr, rest))}"
                yield _together(self.names[alone], second, FEW_SHARED)
                one, other = alone, self.names.index(rest[0])
            group = np.where(group == group[other], group[one], group)
            apart = np.where(group[:, None] != group[None], shared, -1)
            count -= 1

    def _alone(self) -> list[str]:
        """Cameras that hang on one other camera: an error of that pair is noticed by no other."""
        good = self.pairs() >= FEW_SHARED
        np.fill_diagonal(good, False)
        if len(self.names) < 3:
            return []
        return [
            f"Better still, hold the board where '{name}' and a third camera both see it: so far it hangs on "
            f"'{self.names[int(row.argmax())]}' alone."
            for name, row in zip(self.names, good, strict=True)
            if row.sum() == 1
        ][:1]


def lenses_of(board: Board, seen: list[Sightings]) -> dict[str, tuple[int, Lens | None]]:
    """Camera name → number of views, and the lens that they fix; None: they fix none."""
    found: dict[str, tuple[int, Lens | None]] = {}
    for one in seen:
        try:
            found[one.name] = len(one.views), solve_lens(board, one)
        except UserError:
            found[one.name] = len(one.views), None
    return found


def _together(one: str, second: str, missing: int) -> str:
    places = f"{missing} more place{'s' * (missing > 1)}" if missing < FEW_SHARED else f"{missing} places"
    return f"Stand where '{one}' and {second} both see the board, and hold it still at {places}."


def _emptiest(fields: np.ndarray) -> str:
    """In words, the part of the picture with the most empty fields (GRID, GRID) bool; the corners win a draw."""
    empty: dict[tuple[str, str], float] = {}
    for row, upper in enumerate(ROWS):
        for column, left in enumerate(COLUMNS):
            words = (upper, left)
            most = (2 if upper else 1) * (2 if left else 1)
            empty[words] = empty.get(words, 0.0) + (not fields[row, column]) / most
    upper, left = max(empty, key=lambda words: (empty[words], bool(words[0]) + bool(words[1])))
    if upper and left:
        return f"the {upper} {left}"
    if upper:
        return f"the {upper} middle"
    return f"the {left} side" if left else "the middle"
