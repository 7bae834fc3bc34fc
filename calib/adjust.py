"""Bundle adjustment: the lenses and places of cameras, and the places of a board, that fit the corners best.

The residual of a corner is its projection minus where it was found, in pixels. Where cameras take their pictures at
different times, a constant delay per camera moves a corner along its path to the common moment. The derivatives are
written out below (Brown's lens model as in OpenCV's documentation of `calib3d`; rotation vectors by the right Jacobian
of SO(3), Solà, Deray and Atchuthan 2018, eq. 143).
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_array
from scipy.spatial.transform import Rotation

LENS = ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3")  # the columns of a lens
MAD_TO_SIGMA = 1.4826  # of a normal distribution
TRIM_MAD = 4.0  # of 0.15 px corners, a 4 sigma gate drops 3 in 10 000
LEAST_TRIM_PX = 0.2  # perfect synthetic corners have no spread to measure
ROUNDS = 6  # of trimming; it settles in two or three
MOST_STEPS = 100
SMALLEST_GAIN = 1e-9  # of the cost: the adjustment ends after a step that gains less
DAMPING = (1e-10, 1e-4, 1e10)  # least, first and most of Levenberg and Marquardt's, relative to the diagonal


@dataclass(frozen=True, slots=True, eq=False)
class Corners:
    """Corners of a board that cameras saw, one row each."""

    camera: np.ndarray  # (corner,) int
    board: np.ndarray  # (corner,) int: which of the board's places
    point: np.ndarray  # (corner, 3) metres, in the board's frame
    pixel: np.ndarray  # (corner, 2)
    motion: np.ndarray | None = None  # (corner, 2, 2) its velocity and acceleration, in frames; None: it was still

    def __len__(self) -> int:
        return len(self.camera)

    def where(self, keep: np.ndarray) -> "Corners":
        """The rows that `keep`, a mask or indices, selects."""
        motion = None if self.motion is None else self.motion[keep]
        return Corners(self.camera[keep], self.board[keep], self.point[keep], self.pixel[keep], motion)

    def at_once(self, delay: np.ndarray) -> np.ndarray:
        """Pixels (corner, 2) at the moment that is `delay` (camera,) frames after the one in which they were found."""
        if self.motion is None:
            return self.pixel
        later = delay[self.camera, None]
        return self.pixel + later * self.motion[:, 0] + later**2 / 2 * self.motion[:, 1]

    def velocity(self, delay: np.ndarray) -> np.ndarray:
        """Pixels per frame (corner, 2) at that moment."""
        if self.motion is None:
            return np.zeros_like(self.pixel)
        return self.motion[:, 0] + delay[self.camera, None] * self.motion[:, 1]


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What is adjusted."""

    lenses: np.ndarray  # (camera, 9) as in LENS
    camera_from_world: np.ndarray  # (camera, 4, 4) metres
    world_from_board: np.ndarray  # (board, 4, 4) metres
    delay: np.ndarray | None = None  # (camera,) frames by which its pictures are older than they claim; None: at once

    @property
    def delays(self) -> np.ndarray:
        """(camera,) of `delay`, with zeros for None."""
        return np.zeros(len(self.lenses)) if self.delay is None else self.delay


@dataclass(frozen=True, slots=True, eq=False)
class Freedom:
    """What may change. A camera's place is fixed for the world to stay; others are free."""

    root: int = 0  # the camera whose place is the world's
    lenses: np.ndarray | None = None  # (camera, 9) bool; None: no lens changes
    usual: np.ndarray | None = None  # (camera, 9) lenses as they are before any corner is seen; None: no prior
    deviation: np.ndarray | None = None  # (camera, 9) from the usual ones, where a residual of 1 px is one; inf: none
    square: bool = False  # fy is fx times a constant: give only fx as free
    cameras: bool = True  # False: only the boards move
    turns: bool = True  # False: boards only shift, as a target of a single point does
    delays: float = 0.0  # standard deviation of a delay in frames, where a residual of 1 px is one; 0: they are fixed


@dataclass(frozen=True, slots=True, eq=False)
class Adjusted:
    """The result of an adjustment."""

    scene: Scene
    residual_px: np.ndarray  # (corner, 2)
    used: np.ndarray  # (corner,) bool: False for those that were trimmed
    deviation: np.ndarray  # (camera, 9) standard deviation of the lenses' numbers; 0: they were fixed

    @property
    def rms_px(self) -> float:
        """Root of the mean squared length of the residuals of the corners that were used."""
        return float(np.sqrt((self.residual_px[self.used] ** 2).sum(1).mean()))


def adjust_and_trim(corners: Corners, start: Scene, freedom: Freedom, least_px: float = LEAST_TRIM_PX) -> Adjusted:
    """Least squares over all corners, then again without those beyond 4 MAD and `least_px`, until none is left to drop.

    Linear first: from a start that is 12 px off, a robust loss stalled at 6.6 px, and with 3 % of outliers of 8 px,
    trimming left 0.08 mm of error where Huber's loss left 0.50 mm.
    """
    used = np.ones(len(corners), bool)
    found = adjust(corners, start, freedom)
    for _ in range(ROUNDS):
        kept = inliers(found.residual_px, corners.camera, used, least_px)
        if (kept == used).all():
            break
        used = kept
        found = _all_rows(corners, adjust(corners.where(used), found.scene, freedom), used)
    return found


def inliers(
    residual_px: np.ndarray, camera: np.ndarray, used: np.ndarray, least_px: float = LEAST_TRIM_PX
) -> np.ndarray:
    """Which corners (corner,) lie within 4 MAD of what is usual for their camera, as measured on those `used`, or
    within `least_px`."""
    length = np.linalg.norm(residual_px, axis=1)
    keep = np.zeros(len(length), bool)
    for one in np.unique(camera):
        mine = camera == one
        spread = MAD_TO_SIGMA * np.median(np.abs(residual_px[mine & used])) if (mine & used).any() else 0.0
        keep[mine] = length[mine] <= max(TRIM_MAD * spread, least_px)
    return keep


def adjust(corners: Corners, start: Scene, freedom: Freedom) -> Adjusted:
    """One least-squares adjustment of every free number."""
    problem = _Problem(corners, start, freedom)
    x = _least_squares(problem, problem.pack(start))
    scene = problem.unpack(x)
    residual_px = residuals(scene, corners)
    return Adjusted(scene, residual_px, np.ones(len(corners), bool), problem.deviation(x, residual_px))


def _least_squares(problem: "_Problem", x: np.ndarray) -> np.ndarray:
    """Levenberg-Marquardt: 0.3 s for 4 cameras with their lenses and 100 boards.

    scipy's least_squares solves sparse steps by LSMR, which needs 30 s for that: focal length, principal point and
    distance are nearly exchangeable. Here the boards, which touch only themselves, are eliminated exactly (Triggs et
    al. 2000, section 6.1).
    """
    residual, damping = problem.residual(x), DAMPING[1]
    for _ in range(MOST_STEPS):
        slope = problem.jacobian(x)
        normal = _Normal.of(slope, len(x) - problem.size * problem.boards, problem.boards, problem.size)
        downhill = -(slope.T @ residual)
        cost, gain = residual @ residual, 0.0
        while damping < DAMPING[2]:
            try:
                step = normal.step(downhill, damping)
            except np.linalg.LinAlgError:  # not positive definite to this precision
                damping *= 10
                continue
            tried = problem.residual(x + step)
            gain = cost - tried @ tried
            if np.isfinite(gain) and gain >= 0:
                x, residual, damping = x + step, tried, max(damping / 10, DAMPING[0])
                break
            damping *= 10
        if not gain > SMALLEST_GAIN * cost:
            break
    return x


@dataclass(frozen=True, slots=True, eq=False)
class _Normal:
    """The normal matrix, in parts: n numbers of lenses and cameras, and s (6 or 3) of each board."""

    rig: np.ndarray  # (n, n)
    mixed: np.ndarray  # (board, n, s)
    boards: np.ndarray  # (board, s, s)

    @classmethod
    def of(cls, slope: csr_array, count: int, boards: int, size: int) -> "_Normal":
        """Of a Jacobian (residuals, count + size * boards)."""
        by_column = slope.tocsc()
        rig, board = by_column[:, :count], by_column[:, count:]
        mixed = (rig.T @ board).toarray().reshape(count, boards, size).transpose(1, 0, 2)
        square = (board.T @ board).tocoo()
        blocks = np.zeros((boards, size, size))
        blocks[square.row // size, square.row % size, square.col % size] = square.data
        return cls((rig.T @ rig).toarray(), mixed, blocks)

    def step(self, downhill: np.ndarray, damping: float) -> np.ndarray:
        """The solution of (N + damping diag N) step = downhill. Raises LinAlgError."""
        count = len(self.rig)
        rig, board = downhill[:count], downhill[count:].reshape(len(self.boards), -1, 1)
        eliminated = np.linalg.solve(_damped(self.boards, damping), np.concatenate([self._across, board], 2))
        step = np.zeros(0)
        if count:
            less = np.einsum("bni,bij->nj", self.mixed, eliminated)
            step = cho_solve(cho_factor(_damped(self.rig, damping) - less[:, :-1]), rig - less[:, -1])
        return np.concatenate([step, (eliminated[..., -1] - eliminated[..., :-1] @ step).ravel()])

    @property
    def _across(self) -> np.ndarray:
        return self.mixed.transpose(0, 2, 1)

    def covariance(self) -> np.ndarray:
        """(n, n) of the lenses and cameras, for residuals of unit variance."""
        less = np.einsum("bni,bij->nj", self.mixed, np.linalg.solve(_damped(self.boards, 1e-12), self._across))
        reduced = self.rig - less
        scale = np.sqrt(np.maximum(reduced.diagonal(), 1e-30))
        return np.linalg.pinv(reduced / np.outer(scale, scale), hermitian=True) / np.outer(scale, scale)


def _damped(matrix: np.ndarray, damping: float) -> np.ndarray:
    """Matrices (..., n, n) with their diagonals made larger by a factor."""
    diagonal = np.einsum("...ii->...i", matrix)
    return matrix + np.maximum(damping * diagonal, 1e-12)[..., None] * np.eye(matrix.shape[-1])


def project(scene: Scene, corners: Corners) -> np.ndarray:
    """Where the scene puts the corners: pixels (corner, 2)."""
    turn = scene.world_from_board[corners.board]
    world = np.einsum("nij,nj->ni", turn[:, :3, :3], corners.point) + turn[:, :3, 3]
    place = scene.camera_from_world[corners.camera]
    here = np.einsum("nij,nj->ni", place[:, :3, :3], world) + place[:, :3, 3]
    return through_lens(scene.lenses[corners.camera], here)[0]


def residuals(scene: Scene, corners: Corners) -> np.ndarray:
    """(corner, 2) projected minus found, at the common moment."""
    return project(scene, corners) - corners.at_once(scene.delays)


def through_lens(lens: np.ndarray, here: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points (n, 3) in their cameras' frames through lenses (n, 9): pixels (n, 2), and their derivatives by the points
    (n, 2, 3) and by the lenses (n, 2, 9)."""
    fx, fy, cx, cy, k1, k2, p1, p2, k3 = lens.T
    inverse = 1 / here[:, 2]
    x, y = here[:, 0] * inverse, here[:, 1] * inverse
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    slope = k1 + r2 * (2 * k2 + 3 * r2 * k3)  # of radial, by r2
    bent_x = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    bent_y = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    pixel = np.stack([fx * bent_x + cx, fy * bent_y + cy], 1)

    cross = 2 * x * y * slope + 2 * p1 * x + 2 * p2 * y
    by_flat = np.empty((len(here), 2, 2))  # of the pixel, by x and y
    by_flat[:, 0, 0] = fx * (radial + 2 * x * x * slope + 2 * p1 * y + 6 * p2 * x)
    by_flat[:, 0, 1] = fx * cross
    by_flat[:, 1, 0] = fy * cross
    by_flat[:, 1, 1] = fy * (radial + 2 * y * y * slope + 6 * p1 * y + 2 * p2 * x)
    flat_by_point = np.zeros((len(here), 2, 3))
    flat_by_point[:, 0, 0] = flat_by_point[:, 1, 1] = inverse
    flat_by_point[:, 0, 2] = -x * inverse
    flat_by_point[:, 1, 2] = -y * inverse

    by_lens = np.zeros((len(here), 2, 9))
    by_lens[:, 0, 0], by_lens[:, 1, 1] = bent_x, bent_y
    by_lens[:, 0, 2] = by_lens[:, 1, 3] = 1
    by_lens[:, 0, 4], by_lens[:, 1, 4] = fx * x * r2, fy * y * r2
    by_lens[:, 0, 5], by_lens[:, 1, 5] = fx * x * r2**2, fy * y * r2**2
    by_lens[:, 0, 6], by_lens[:, 1, 6] = fx * 2 * x * y, fy * (r2 + 2 * y * y)
    by_lens[:, 0, 7], by_lens[:, 1, 7] = fx * (r2 + 2 * x * x), fy * 2 * x * y
    by_lens[:, 0, 8], by_lens[:, 1, 8] = fx * x * r2**3, fy * y * r2**3
    return pixel, by_flat @ flat_by_point, by_lens


def lens_of(matrix: np.ndarray, distortion: np.ndarray) -> np.ndarray:
    """OpenCV's camera matrix (3, 3) and distortion (5,) as one row (9,) of LENS."""
    return np.array([matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2], *np.ravel(distortion)[:5]])


def matrix_of(lens: np.ndarray) -> np.ndarray:
    """The camera matrix (3, 3) of a row (9,) of LENS; its distortion is lens[4:]."""
    return np.array([[lens[0], 0, lens[2]], [0, lens[1], lens[3]], [0, 0, 1]])


def _all_rows(corners: Corners, found: Adjusted, used: np.ndarray) -> Adjusted:
    """The result with a residual for the trimmed corners too."""
    return replace(found, residual_px=residuals(found.scene, corners), used=used)


def _hat(vector: np.ndarray) -> np.ndarray:
    """Cross-product matrices (n, 3, 3) of vectors (n, 3)."""
    x, y, z = vector.T
    zero = np.zeros(len(vector))
    return np.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).reshape(-1, 3, 3)


def _right_jacobian(turn: np.ndarray) -> np.ndarray:
    """Of rotation vectors (n, 3): (n, 3, 3)."""
    angle = np.linalg.norm(turn, axis=1)[:, None, None]
    small = angle < 1e-4
    safe = np.where(small, 1.0, angle)
    first = np.where(small, 0.5 - angle**2 / 24, (1 - np.cos(safe)) / safe**2)
    second = np.where(small, 1 / 6 - angle**2 / 120, (safe - np.sin(safe)) / safe**3)
    hat = _hat(turn)
    return np.eye(3) - first * hat + second * hat @ hat


def _six(transform: np.ndarray) -> np.ndarray:
    """Transforms (n, 4, 4) as rotation vectors and translations (n, 6)."""
    return np.concatenate([Rotation.from_matrix(transform[:, :3, :3]).as_rotvec(), transform[:, :3, 3]], 1)


def _transform(six: np.ndarray) -> np.ndarray:
    """The inverse of `_six`: (n, 6) → (n, 4, 4)."""
    transform = np.tile(np.eye(4), (len(six), 1, 1))
    transform[:, :3, :3] = Rotation.from_rotvec(six[:, :3]).as_matrix()
    transform[:, :3, 3] = six[:, 3:]
    return transform


class _Problem:
    """The residuals and their sparse Jacobian as functions of one vector: lens numbers, cameras, delays, boards."""

    def __init__(self, corners: Corners, start: Scene, freedom: Freedom) -> None:
        cameras, boards = len(start.lenses), len(start.world_from_board)
        lenses = np.zeros((cameras, 9), bool) if freedom.lenses is None else freedom.lenses
        moving = np.full((cameras, 6), freedom.cameras)
        delays = np.full(cameras, freedom.delays > 0 and corners.motion is not None)
        moving[freedom.root] = delays[freedom.root] = False
        self.corners, self.start, self.boards, self.square = corners, start, boards, freedom.square
        turns = np.tile([freedom.turns] * 3 + [True] * 3, boards)
        self.size = 6 if freedom.turns else 3  # numbers of a board
        self.usual = start.lenses if freedom.usual is None else freedom.usual
        self.free = np.concatenate([lenses.ravel(), moving.ravel(), delays, turns])
        column = np.where(self.free, np.cumsum(self.free) - 1, -1)
        lens, camera, delay, board = np.split(column, self._ends)
        self.lens_column = lens.reshape(-1, 9).copy()
        if freedom.square:
            self.lens_column[:, 1] = self.lens_column[:, 0]
        columns = np.concatenate(
            [
                self.lens_column[corners.camera],
                camera.reshape(-1, 6)[corners.camera],
                delay[corners.camera, None],
                board.reshape(-1, 6)[corners.board],
            ],
            1,
        )  # (corner, 22)
        self.kept = np.repeat(columns >= 0, 2, 0)  # (2 corners, 22): u and v have the same columns
        weight = np.zeros((cameras, 9))
        if freedom.usual is not None and freedom.deviation is not None:
            weight = np.where(lenses & np.isfinite(freedom.deviation), 1 / freedom.deviation, 0.0)
        pull = np.concatenate([weight.ravel(), np.zeros(moving.size), delays / max(freedom.delays, 1e-9)])
        self.held = np.flatnonzero(pull)
        self.pull = pull[self.held]
        rows = np.concatenate([self.kept.sum(1), np.ones(len(self.held), int)])
        self.indptr = np.concatenate([[0], np.cumsum(rows)])
        self.indices = np.concatenate([np.repeat(columns, 2, 0)[self.kept], column[self.held]])
        self.whole = self._whole(start)
        self.middle = np.concatenate([self.usual.ravel(), np.zeros(moving.size + cameras)])[self.held]

    @property
    def _ends(self) -> np.ndarray:
        """Where lenses, cameras and delays end in the vector of all numbers."""
        return np.cumsum([9, 6, 1]) * len(self.start.lenses)

    @staticmethod
    def _whole(scene: Scene) -> np.ndarray:
        """All numbers of a scene."""
        places, boards = _six(scene.camera_from_world).ravel(), _six(scene.world_from_board).ravel()
        return np.concatenate([scene.lenses.ravel(), places, scene.delays, boards])

    def pack(self, scene: Scene) -> np.ndarray:
        """The free numbers of a scene."""
        return self._whole(scene)[self.free]

    def _all(self, x: np.ndarray) -> np.ndarray:
        whole = self.whole.copy()
        whole[self.free] = x
        if self.square:
            lenses, start = whole[: self._ends[0]].reshape(-1, 9), self.start.lenses
            lenses[:, 1] = lenses[:, 0] * start[:, 1] / start[:, 0]
        return whole

    def _parts(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Lenses (camera, 9), cameras (camera, 6), delays (camera,) and boards (board, 6)."""
        lens, camera, delay, board = np.split(self._all(x), self._ends)
        return lens.reshape(-1, 9), camera.reshape(-1, 6), delay, board.reshape(-1, 6)

    def unpack(self, x: np.ndarray) -> Scene:
        """The scene of the free numbers."""
        lens, camera, delay, board = self._parts(x)
        return Scene(lens, _transform(camera), _transform(board), delay)

    def residual(self, x: np.ndarray) -> np.ndarray:
        """(2 corners + priors,)."""
        off = (self._all(x)[self.held] - self.middle) * self.pull
        return np.concatenate([residuals(self.unpack(x), self.corners).ravel(), off])

    def jacobian(self, x: np.ndarray) -> csr_array:
        """(2 corners + priors, free numbers)."""
        lens, camera, delay, board = self._parts(x)
        corners, one, other = self.corners, self.corners.camera, self.corners.board
        board_turn, camera_turn = (Rotation.from_rotvec(six[:, :3]).as_matrix() for six in (board, camera))
        board_slope, camera_slope = _right_jacobian(board[:, :3]), _right_jacobian(camera[:, :3])
        world = np.einsum("nij,nj->ni", board_turn[other], corners.point) + board[other, 3:]
        here = np.einsum("nij,nj->ni", camera_turn[one], world) + camera[one, 3:]
        _, by_here, by_lens = through_lens(lens[one], here)
        by_world = by_here @ camera_turn[one]
        values = np.empty((len(corners), 2, 22))
        values[..., :9] = by_lens
        if self.square:
            values[..., 1] *= (self.start.lenses[one, 1] / self.start.lenses[one, 0])[:, None]
        values[..., 9:12] = -by_world @ _hat(world) @ camera_slope[one]
        values[..., 12:15] = by_here
        values[..., 15] = -corners.velocity(delay)
        values[..., 16:19] = -by_world @ board_turn[other] @ _hat(corners.point) @ board_slope[other]
        values[..., 19:22] = by_world
        data = np.concatenate([values.reshape(-1, 22)[self.kept], self.pull])
        return csr_array((data, self.indices, self.indptr), shape=(len(self.indptr) - 1, int(self.free.sum())))

    def deviation(self, x: np.ndarray, residual_px: np.ndarray) -> np.ndarray:
        """(camera, 9) standard deviations of the lenses by the Jacobian and the residuals' own spread."""
        found = np.zeros((len(self.start.lenses), 9))
        columns = self.lens_column >= 0
        if not columns.any():
            return found
        count = len(x) - self.size * self.boards
        variance = np.diag(_Normal.of(self.jacobian(x), count, self.boards, self.size).covariance())
        variance = variance * (residual_px**2).sum() / max(residual_px.size - len(x), 1)
        found[columns] = np.sqrt(np.maximum(variance[self.lens_column[columns]], 0))
        return found
