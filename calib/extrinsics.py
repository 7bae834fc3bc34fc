"""The places of the cameras, from a target that two or more of them saw at the same time."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

from calib.adjust import (
    MAD_TO_SIGMA,
    Adjusted,
    Corners,
    Freedom,
    Scene,
    adjust_and_trim,
    inliers,
    matrix_of,
    residuals,
)
from calib.board import Board
from calib.detect import Sightings, View
from refit_rt.errors import UserError

HELD_OUT = 5  # every fifth board that several cameras saw is kept for the reported error
FEWEST_SHARED = 3  # boards that two cameras must both see to be tied together
FEWEST_FOR_HOLD_OUT = 10
MOST_SHARED = 100  # boards of one pair that are compared, evenly; the comparison grows with the square
USUAL_CENTRE = 0.02  # of the longer side: how far principal points are from the picture's middle
USUAL_BEND = (0.3, 0.3, 0.002, 0.002)  # k1 k2 p1 p2 of lenses that are no fisheyes
USUAL_DELAY = 1.0  # frames, the standard deviation of a camera's delay before any board is seen
WORTH_A_DELAY = 0.9  # delays are kept where boards that they were not found from fit better by a tenth
STILL_PX = 0.5  # of motion per frame; noise of corners makes 0.15 of it
FARTHEST_PX = 40.0  # of motion per frame; webcams at 6 frames a second showed 20 at most while a board was carried
NOISE_PX = 0.15  # of a corner, in renders of a studio
AGREE_DEG, AGREE_SHARE = 5.0, 0.1  # two boards give the same relative pose: angle, and share of the distance


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """Cameras in one world, that of camera `root`, and how well the corners fit."""

    adjusted: Adjusted  # its boards are in the order of `moments`
    corners: Corners  # rows of the residuals
    ids: np.ndarray  # (corner,) rows of Board.points
    moments: tuple[int, ...]
    root: int
    shared: np.ndarray  # (camera, camera) int: boards that both saw; on the diagonal, each alone
    held_out: np.ndarray  # (corner,) bool: of boards that a first solution did not see, without outliers
    held_out_residual_px: np.ndarray  # (corner, 2) by that first solution; NaN for other corners


def solve_places(
    board: Board,
    cameras: list[Sightings],
    lenses: np.ndarray,
    deviation: np.ndarray | None,
    alone: list[set[int]],
    still: bool = False,
) -> Solution:
    """The places of two or more cameras; with a `deviation` (camera, 9), their lenses too.

    lenses (camera, 9) as in adjust.LENS. alone: moments per camera that only its lens is found from, when lenses are
    free. Every lens number but k3 is free then; what a lens is before any corner is seen is `usual_lenses`. A delay per
    camera is free where the board moves, and is kept where it fits held-out boards better: four webcams of one computer
    were up to 0.8 frames of 6 per second apart, and the held-out error fell from 1.05 to 0.41 px. still: there is no
    delay to find, because moments do not follow each other in one movement. Raises UserError.
    """
    if not board.has_one_way_up:
        raise UserError(
            f"board: {board.columns} x {board.rows} squares look the same after half a turn, so they cannot tie "
            "cameras together. Use a board with an odd and an even number of squares, or a ChArUco board"
        )
    poses = [
        {moment: both_poses(board, view, lens) for moment, view in one.views.items()}
        for one, lens in zip(cameras, lenses, strict=True)
    ]
    shared = np.array([[len(one.views.keys() & other.views.keys()) for other in cameras] for one in cameras])
    root, places = chain([one.name for one in cameras], shared, poses)
    count = np.zeros(max(max(one.views) for one in cameras) + 1, int)
    for one in cameras:
        count[list(one.views)] += 1
    several = [int(moment) for moment in np.flatnonzero(count >= 2)]
    single = set().union(*alone) - set(several) if deviation is not None else set()
    moments = tuple(sorted({*several, *single}))
    corners, ids = corners_of(board, cameras, moments)
    boards = np.array([_board_pose(board, cameras, lenses, places, poses, moment) for moment in moments])
    start = Scene(np.array(lenses, float), places, boards)
    free = None
    if deviation is not None:
        free = np.ones(start.lenses.shape, bool)
        free[:, 8] = False
    usual, spread = usual_lenses(cameras)
    freedom = Freedom(root, free, usual, spread / NOISE_PX)
    if free is not None:
        rough = adjust_and_trim(corners, start, freedom)
        freedom = replace(freedom, deviation=spread / _view_noise(rough, corners))

    if len(several) < FEWEST_FOR_HOLD_OUT:
        none = np.zeros(len(corners), bool), np.full((len(corners), 2), np.nan)
        return Solution(adjust_and_trim(corners, start, freedom), corners, ids, moments, root, shared, *none)
    back = np.isin(moments, several[HELD_OUT // 2 :: HELD_OUT])
    first, off = _hold_out(corners, start, freedom, back)
    if still:
        moving, known = None, np.zeros(0, bool)
    else:
        moving, known = _moving(corners, motion_of(cameras, moments, corners, ids), np.isin(moments, several))
    if moving is not None:
        late = replace(freedom, delays=USUAL_DELAY / _view_noise(first, corners))
        tried, its_off = _hold_out(moving, first.scene, late, back)
        if _typical(its_off) < WORTH_A_DELAY * _typical(off[known]):
            corners, ids, first, off, freedom = moving, ids[known], tried, its_off, late
    held_out = np.zeros(len(corners), bool)
    rows = np.flatnonzero(back[corners.board])
    held_out[rows] = inliers(off[rows], corners.camera[rows], np.ones(len(rows), bool))
    found = adjust_and_trim(corners, first.scene, freedom)
    return Solution(found, corners, ids, moments, root, shared, held_out, off)


def _hold_out(corners: Corners, start: Scene, freedom: Freedom, back: np.ndarray) -> tuple[Adjusted, np.ndarray]:
    """The adjustment without the boards `back` (board,) bool, and the residuals (corner, 2) of theirs when only their
    places are fitted to it; NaN for other corners."""
    rows = np.flatnonzero(back[corners.board])
    off = np.full((len(corners), 2), np.nan)
    found = adjust_and_trim(corners.where(np.flatnonzero(~back[corners.board])), start, freedom)
    off[rows] = _refitted(corners.where(rows), found.scene, freedom.root)
    return found, off


def _typical(off: np.ndarray) -> float:
    """Median length in pixels of the residuals that are known."""
    return float(np.nanmedian(np.linalg.norm(off, axis=1)))


def motion_of(cameras: list[Sightings], moments: tuple[int, ...], corners: Corners, ids: np.ndarray) -> np.ndarray:
    """Velocity and acceleration (corner, 2, 2) in pixels and moments, from the same camera's pictures one moment before
    and after; from one of both, without acceleration. NaN where neither shows the corner, or it moves too far."""
    step = int(np.concatenate([np.diff(sorted(one.views)) for one in cameras]).min())
    motion = np.full((len(corners), 2, 2), np.nan)
    for camera, one in enumerate(cameras):
        where = {m: dict(zip(v.ids.tolist(), v.pixels, strict=True)) for m, v in one.views.items()}
        for row in np.flatnonzero(corners.camera == camera):
            corner, moment, here = int(ids[row]), moments[corners.board[row]], corners.pixel[row]
            before, after = (where.get(m, {}).get(corner) for m in (moment - step, moment + step))
            if before is not None and after is not None:
                motion[row] = (after - before) / 2, before + after - 2 * here
            elif before is not None or after is not None:
                motion[row] = here - before if after is None else after - here, np.zeros(2)
    motion[np.linalg.norm(motion[:, 0], axis=1) > FARTHEST_PX] = np.nan
    return motion / np.array([[step], [step**2]])


def _moving(corners: Corners, motion: np.ndarray, several: np.ndarray) -> tuple[Corners | None, np.ndarray]:
    """The corners with their motion, and which rows they are: without those of unknown motion on boards that `several`
    cameras saw. None when the board was held still, or is mostly seen in pictures that no other precedes or follows."""
    known = np.isfinite(motion[:, 0, 0])
    keep = known | ~several[corners.board]
    if known[several[corners.board]].mean() < 0.5 or np.median(np.linalg.norm(motion[known, 0], axis=1)) < STILL_PX:
        return None, keep
    return replace(corners.where(keep), motion=np.nan_to_num(motion[keep])), keep


def usual_lenses(cameras: list[Sightings]) -> tuple[np.ndarray, np.ndarray]:
    """Lenses (camera, 9) as cameras usually are, and their standard deviations.

    With boards all over the picture this moves the principal point by about 0.1 px. With boards in a fifth of it, as
    in a session of four webcams, the principal point would otherwise wander by 280 px.
    """
    sizes = np.array([one.size for one in cameras], float)
    usual, deviation = np.zeros((len(cameras), 9)), np.full((len(cameras), 9), np.inf)
    usual[:, 2:4] = (sizes - 1) / 2
    deviation[:, 2:4] = USUAL_CENTRE * sizes.max(1, keepdims=True)
    deviation[:, 4:8] = USUAL_BEND
    return usual, deviation


def _view_noise(found: Adjusted, corners: Corners) -> float:
    """Standard deviation of a view in pixels, as if all its corners erred alike: so they do when the board moves."""
    sigma = MAD_TO_SIGMA * float(np.median(np.abs(found.residual_px[found.used])))
    views = len(np.unique(corners.board * (corners.camera.max() + 1) + corners.camera))
    return max(sigma, NOISE_PX) * float(np.sqrt(len(corners) / views))


def both_poses(board: Board, view: View, lens: np.ndarray) -> np.ndarray:
    """camera_from_board (2, 4, 4): the two poses of a plane that fit (IPPE, Collins and Bartoli 2014), better first.

    Corners that do not fit the better one are left out of a second attempt.
    """
    points, pixels = board.points[view.ids], view.pixels
    poses = _ippe(points, pixels, lens)
    if len(points) > 6:
        off = _reproject(points, poses[0], lens) - pixels
        keep = inliers(off, np.zeros(len(off), int), np.ones(len(off), bool))
        if 6 <= keep.sum() < len(points):
            poses = _ippe(points[keep], pixels[keep], lens)
    return poses


def _ippe(points: np.ndarray, pixels: np.ndarray, lens: np.ndarray) -> np.ndarray:
    _, turns, places, _ = cv2.solvePnPGeneric(points, pixels, matrix_of(lens), lens[4:], flags=cv2.SOLVEPNP_IPPE)
    poses = np.tile(np.eye(4), (2, 1, 1))
    for index, pose in enumerate(poses):
        pick = min(index, len(turns) - 1)
        turn, place = turns[pick], places[pick]
        if index == 0:  # IPPE minimises an algebraic error
            turn, place = cv2.solvePnPRefineLM(points, pixels, matrix_of(lens), lens[4:], turn.copy(), place.copy())
        pose[:3, :3], pose[:3, 3] = cv2.Rodrigues(turn)[0], np.ravel(place)
    return poses


def _reproject(points: np.ndarray, pose: np.ndarray, lens: np.ndarray) -> np.ndarray:
    turn = cv2.Rodrigues(pose[:3, :3])[0]
    return cv2.projectPoints(points, turn, pose[:3, 3], matrix_of(lens), lens[4:])[0].reshape(-1, 2)


def relative(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, float]:
    """other_from_one (4, 4) on which most boards agree, and how many do.

    one, other: (board, 2, 4, 4) both poses of the same boards. Each board gives four answers, and the wrong ones of
    different boards differ: the answer with the smallest distance to the nearest answer of every board is taken.
    """
    step = max(1, -(-len(one) // MOST_SHARED))
    one, other = one[::step], other[::step]
    answers = (other[:, :, None] @ np.linalg.inv(one)[:, None]).reshape(-1, 4, 4)  # (4 boards, 4, 4)
    cosine = (np.einsum("aij,bij->ab", answers[:, :3, :3], answers[:, :3, :3]) - 1) / 2
    angle = np.rad2deg(np.arccos(np.clip(cosine, -1, 1))) / AGREE_DEG
    reach = np.median(np.linalg.norm(one[:, 0, :3, 3], axis=1))
    away = np.linalg.norm(answers[:, None, :3, 3] - answers[None, :, :3, 3], axis=2) / (AGREE_SHARE * reach)
    nearest = (angle + away).reshape(len(answers), -1, 4).min(2)  # (answer, board)
    score = np.minimum(nearest, 2.0).sum(1) + 0.01 * np.tile([0, 1, 1, 2], len(one))  # alike: the better poses
    best = int(np.argmin(score))
    return answers[best], float((nearest[best] < 1.0).sum()) * step


def chain(names: list[str], shared: np.ndarray, poses: list[dict[int, np.ndarray]]) -> tuple[int, np.ndarray]:
    """The root camera and camera_from_root (camera, 4, 4), along the pairs that agree on most boards (a maximum
    spanning tree). Raises UserError for a camera that no pair ties to the others."""
    count = len(names)
    weight, step = np.zeros((count, count)), {}
    for a in range(count):
        for b in range(a + 1, count):
            common = sorted(poses[a].keys() & poses[b].keys())
            if len(common) >= FEWEST_SHARED:
                pair = relative(np.array([poses[a][m] for m in common]), np.array([poses[b][m] for m in common]))
                step[a, b], weight[a, b] = pair
    root = int(np.argmax((weight + weight.T).sum(0)))
    tree = minimum_spanning_tree(np.where(weight > 0, -weight, 0.0))
    order, before = breadth_first_order(tree, root, directed=False)
    for lost in set(range(count)) - set(order.tolist()):
        best = max((int(shared[lost, other]), names[other]) for other in range(count) if other != lost)
        raise UserError(
            f"{names[lost]}: no camera sees the board together with it often enough ({best[0]} moments with {best[1]}, "
            f"{FEWEST_SHARED} that agree are needed). Record again, with the board held still where two cameras see it"
        )
    places = np.tile(np.eye(4), (count, 1, 1))
    for camera in order[1:]:
        a, b = int(before[camera]), int(camera)
        link = step[a, b] if (a, b) in step else np.linalg.inv(step[b, a])
        places[b] = link @ places[a]
    return root, places


def _board_pose(
    board: Board,
    cameras: list[Sightings],
    lenses: np.ndarray,
    places: np.ndarray,
    poses: list[dict[int, np.ndarray]],
    moment: int,
) -> np.ndarray:
    """world_from_board (4, 4): of both poses of every camera, the one that fits all of them best."""
    seeing = [index for index, one in enumerate(cameras) if moment in one.views]
    best, least = np.eye(4), np.inf
    for index in seeing:
        for pose in poses[index][moment]:
            world = np.linalg.inv(places[index]) @ pose
            error = 0.0
            for other in seeing:
                view, here = cameras[other].views[moment], places[other] @ world
                depth = board.points[view.ids] @ here[2, :3] + here[2, 3]
                off = _reproject(board.points[view.ids], here, lenses[other]) - view.pixels
                error += float(np.median(np.linalg.norm(off, axis=1))) if depth.min() > 0 else 1e6
            if error < least:
                best, least = world, error
    return best


def corners_of(board: Board, cameras: list[Sightings], moments: tuple[int, ...]) -> tuple[Corners, np.ndarray]:
    """All corners of these moments as rows, and their rows of Board.points."""
    rows = [
        (camera, place, one.views[moment])
        for camera, one in enumerate(cameras)
        for place, moment in enumerate(moments)
        if moment in one.views
    ]
    counts = [len(view.ids) for _, _, view in rows]
    ids = np.concatenate([view.ids for _, _, view in rows])
    camera = np.repeat([camera for camera, _, _ in rows], counts)
    place = np.repeat([place for _, place, _ in rows], counts)
    return Corners(camera, place, board.points[ids], np.concatenate([view.pixels for _, _, view in rows])), ids


def _refitted(corners: Corners, scene: Scene, root: int) -> np.ndarray:
    """(corner, 2) residuals of boards whose places alone are fitted."""
    found = adjust_and_trim(corners, scene, Freedom(root, cameras=False))
    return residuals(found.scene, corners)
