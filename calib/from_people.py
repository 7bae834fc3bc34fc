"""The places, delays and, where they are guessed, focal lengths of cameras that see people walk about.

The start is `together.chained`. Then, in rounds: who is who at each tick, and a bundle adjustment of all joints' pixels
with the joints free in space, a constant delay per camera, and outliers trimmed (`adjust`).
"""

from dataclasses import dataclass, replace

import numpy as np

from calib.adjust import Adjusted, Corners, Freedom, Scene, adjust_and_trim
from calib.bodies import Watched
from calib.together import BONES, COMPARED, Clocked, Sight, chained, clocked, sights
from refit_rt.cameras import Rig
from refit_rt.errors import UserError

ADJUSTED = COMPARED  # without hands, toes, collars and the spine, which no picture shows
# Round by round: lines of sight of one person pass each other within so many metres, and so many sights are adjusted
ROUNDS = ((0.35, 80), (0.2, 150), (0.15, 300))
FINEST_S = 1 / 30  # of the clock
LEAST_SIGHTS = 15  # of a camera
BEHIND_M = 0.2  # a joint nearer to a camera than this is not seen by it
NO_OUTLIER = 0.01  # of the focal length: joints that are 4 cm off at 4 m are usual
USUAL_DELAY_S = 0.1  # deviation of a delay from the coarse one
USUAL_FOCAL = 0.2  # deviation of a guessed focal length, as a share
ALIKE = 100.0  # errors of pixels that are as good as one: of the joints of a body, over half a second


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Cameras placed by the people that they see."""

    rig: Rig  # lenses without distortion, in the world of the root camera, upright; delays are relative to it
    root: int
    seen: np.ndarray  # (camera,) sights of each
    median_px: np.ndarray  # (camera,) of the residuals of all that was matched
    rms_px: float  # of the residuals that were not trimmed
    used: float  # share of the residuals that were not trimmed
    joints: np.ndarray  # (sight, 24, 3) metres, in the rig's world; NaN: not known
    sizes: np.ndarray  # (sight,) how much longer the bodies of the fits are than those that the rig sees
    focal_share: np.ndarray | None  # (camera,) standard deviation of the focal length; None: it was known


def solve_people(seen: list[Watched], free_focal: bool, most_delay_s: float) -> Found:
    """The rig of cameras that saw people at the same time. Raises UserError where they did not, or too little."""
    start = chained(seen, most_delay_s)
    upright = seen[start.root].camera.world_from_camera
    rig = Rig(
        tuple(
            replace(one.camera, world_from_camera=upright @ np.linalg.inv(place), delay_s=float(delay_s))
            for one, place, delay_s in zip(seen, start.camera_from_root, start.delays_s, strict=True)
        )
    )
    step_s = max(FINEST_S, *(one.period_s for one in seen))
    found = None
    for gate_m, most in ROUNDS:
        found = _round(seen, rig, start.root, step_s, gate_m, most, free_focal)
        rig = found.rig
    assert found is not None
    return found


def _round(
    seen: list[Watched], rig: Rig, root: int, step_s: float, gate_m: float, most: int, free_focal: bool
) -> Found:
    """Matches people in ticks that are evenly apart as the rig is, and adjusts it. most: sights, about."""
    views = clocked(seen, step_s, np.array([camera.delay_s for camera in rig]))
    people = np.isfinite(np.concatenate([view.pixels[..., 0, 0] for view in views])).sum() / len(rig)  # times ticks
    ticks = np.arange(0, views[0].pixels.shape[1], max(1, round(people / most)))
    matched = list(sights(views, rig, ticks, gate_m))
    counts = np.zeros(len(rig), int)
    for one in matched:
        counts[[camera for camera, _ in one.tracks]] += 1
    for camera, count in zip(rig, counts, strict=True):
        if count < LEAST_SIGHTS:
            raise UserError(
                f"{camera.name}: sees the same person as another camera in {count} moments only, and {LEAST_SIGHTS} "
                "are needed. Record longer, with a person who walks all over the room in view of two cameras or more"
            )
    corners, starts = corners_of(views, rig, matched)
    scene = Scene(
        np.array([[one.focal_px, one.focal_px, *one.centre_px, 0, 0, 0, 0, 0] for one in rig]),
        np.stack([one.camera_from_world for one in rig]),
        starts,
    )
    least_px = NO_OUTLIER * float(scene.lenses[:, 0].mean())
    adjusted = adjust_and_trim(corners, scene, _freedom(scene, root, step_s, free_focal), least_px)
    return _found(rig, root, views, matched, corners, adjusted, step_s, counts, free_focal)


def pixels_of(views: list[Clocked], matched: list[Sight]) -> np.ndarray:
    """(camera, sight, 24, 2) in pictures without distortion; NaN: that camera does not see the person."""
    pixels = np.full((len(views), len(matched), 24, 2), np.nan)
    for row, one in enumerate(matched):
        for camera, track in one.tracks:
            pixels[camera, row] = views[camera].pixels[track, one.tick]
    return pixels


def triangulated(rig: Rig, pixels: np.ndarray) -> np.ndarray:
    """(sight, 24, 3) metres, world, of pixels (camera, sight, 24, 2)."""
    return rig.triangulate(pixels.reshape(len(rig), -1, 2)).reshape(*pixels.shape[1:-1], 3)


def corners_of(views: list[Clocked], rig: Rig, matched: list[Sight]) -> tuple[Corners, np.ndarray]:
    """Joints as targets of one point each: rows of their pixels, and where they start, transforms (point, 4, 4)."""
    count, pixels = len(ADJUSTED), pixels_of(views, matched)
    world = triangulated(rig, pixels)[:, ADJUSTED]
    starts = np.tile(np.eye(4), (len(matched) * count, 1, 1))
    starts[:, :3, 3] = world.reshape(-1, 3)
    who = [(number, row, track) for row, one in enumerate(matched) for number, track in one.tracks]
    cameras, rows, _ = np.array(who).T
    motion = [_motion(views[number].pixels[track], matched[row].tick)[ADJUSTED] for number, row, track in who]
    corners = Corners(
        np.repeat(cameras, count),
        (count * rows[:, None] + np.arange(count)).ravel(),
        np.zeros((len(who) * count, 3)),
        pixels[cameras, rows][:, ADJUSTED].reshape(-1, 2),
        np.concatenate(motion),
    )
    eyes = np.stack([one.camera_from_world for one in rig])[corners.camera]
    depth = np.einsum("nj,nj->n", eyes[:, 2, :3], starts[corners.board, :3, 3]) + eyes[:, 2, 3]
    good = np.isin(corners.board, np.unique(corners.board[~(depth > BEHIND_M)]), invert=True)
    kept, renumbered = np.unique(corners.board[good], return_inverse=True)
    return replace(corners.where(good), board=renumbered), starts[kept]


def _motion(view: np.ndarray, tick: int) -> np.ndarray:
    """(24, 2, 2) velocity and acceleration of pixels (tick, 24, 2), by a parabola through up to five ticks: the noise
    of one tick is as large as the motion."""
    ticks = np.arange(max(0, tick - 2), min(len(view), tick + 3))
    ticks = ticks[np.isfinite(view[ticks, 0, 0])]
    motion = np.zeros((view.shape[1], 2, 2))
    degree = min(2, len(ticks) - 1)
    if degree < 1:
        return motion
    powers = np.vander(ticks - tick, degree + 1, increasing=True)
    found = np.linalg.lstsq(powers, view[ticks].reshape(len(ticks), -1), rcond=None)[0].reshape(degree + 1, -1, 2)
    motion[:, 0] = found[1]
    if degree == 2:
        motion[:, 1] = 2 * found[2]
    return motion


def _freedom(scene: Scene, root: int, step_s: float, free_focal: bool) -> Freedom:
    """What is adjusted. Errors of a body's joints are alike, in a tick and from tick to tick: deviations of what is
    usual are set against so many fewer pixels."""
    noise_px = 4.0 * np.sqrt(ALIKE)
    delays = USUAL_DELAY_S / step_s / noise_px
    if not free_focal:
        return Freedom(root, delays=delays, turns=False)
    lenses = np.zeros(scene.lenses.shape, bool)
    lenses[:, 0] = True
    deviation = np.full(scene.lenses.shape, np.inf)
    deviation[:, 0] = USUAL_FOCAL * scene.lenses[:, 0] / noise_px
    return Freedom(root, lenses, scene.lenses, deviation, square=True, delays=delays, turns=False)


def _found(
    rig: Rig,
    root: int,
    views: list[Clocked],
    matched: list[Sight],
    corners: Corners,
    adjusted: Adjusted,
    step_s: float,
    counts: np.ndarray,
    free_focal: bool,
) -> Found:
    scene = adjusted.scene
    place = np.linalg.inv(scene.camera_from_world)
    cameras = [
        replace(one, focal_px=float(lens[0]), world_from_camera=there, delay_s=float(one.delay_s + step_s * delay))
        for one, lens, there, delay in zip(rig, scene.lenses, place, scene.delays, strict=True)
    ]
    new = Rig(tuple(cameras))
    joints = triangulated(new, pixels_of(views, matched))
    sizes = sizes_of(views, joints, matched)
    length = np.linalg.norm(adjusted.residual_px, axis=1)
    median = np.array([np.median(length[corners.camera == number]) for number in range(len(rig))])
    share = adjusted.deviation[:, 0] * np.sqrt(ALIKE) / scene.lenses[:, 0] if free_focal else None
    return Found(
        new, root, counts, median, adjusted.rms_px, float(adjusted.used.mean()), joints, sizes, share
    )  # fmt: skip


def sizes_of(views: list[Clocked], joints: np.ndarray, matched: list[Sight]) -> np.ndarray:
    """(sight,) how much longer the bones of the single views' bodies are than those of joints (sight, 24, 3): the
    median of the long bones."""
    sizes = np.full(len(matched), np.nan)
    for row, one in enumerate(matched):
        bodies = np.stack([views[number].joints[track, one.tick] for number, track in one.tracks])
        sizes[row] = np.median(lengths(bodies).mean(0) / np.maximum(lengths(joints[row]), 1e-6))
    return sizes


def lengths(joints: np.ndarray) -> np.ndarray:
    """(..., bone) of BONES, of joints (..., 24, 3)."""
    return np.linalg.norm(joints[..., BONES[:, 0], :] - joints[..., BONES[:, 1], :], axis=-1)
