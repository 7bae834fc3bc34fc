"""What people do in a studio: walk about, cross, hug, stand where one camera sees them, leave and come back."""

from dataclasses import dataclass

import numpy as np

from refit_rt.body.smpl import Body
from refit_rt.cameras import Camera, Rig
from refit_rt.errors import UserError
from training.synthetic import studio_hug, studio_motion
from training.synthetic.long_clip import mixed
from training.synthetic.motion import Motion, about_y
from training.synthetic.studio_hug import GAP_M, HUGGING, OPEN_M
from training.synthetic.studio_motion import LEGS, RATE, Movement, Route, grounded
from training.synthetic.studio_room import HALF_M

KINDS = ("walk", "cross", "hug", "bystander", "leave")
INNER_M, APART_M, PASS_M = 1.75, 0.75, 0.45  # reach of walks; least distance between people, and of those who cross
SPEED_MPS = 1.1
TRIES = 400
SCREEN_M, BEHIND_M = 4.1, 0.55  # of the folding screen from the middle; of a person behind it
REST = np.array([[0.0, 0.95, 0.0], [0.0, 1.6, 0.0], [0.0, 0.4, 0.0]])  # a standing person for a test of sight


@dataclass(frozen=True, slots=True, eq=False)
class Play:
    """The routes of all people, and the pair that hugs, if there is one."""

    routes: list[Route]
    meeting: "Meeting | None" = None
    screen: np.ndarray | None = None  # (3,) where a folding screen stands


@dataclass(frozen=True, slots=True)
class Meeting:
    """When and where the first two people hug: the first one faces `heading`."""

    place: tuple[float, float]
    heading: float
    begin_s: float
    end_s: float


STEP_S = 0.7  # from OPEN_M to GAP_M and back
RAISE_S = 0.6  # for the arms
CLOSING_M = 0.58  # between the pelvises when the raised arms begin to close


def make_play(kind: str, rng: np.random.Generator, people: int, seconds: float, rig: Rig) -> Play:
    """Draws a play of one of KINDS. Raises UserError when so many people or cameras have no such play."""
    if kind == "hug" and people < 2:
        raise UserError("--kind hug: needs two people. Give --people 2 or more")
    for _ in range(TRIES):
        play = _drawn(kind, rng, people, seconds, rig)
        if apart_m(play, seconds) >= (PASS_M if kind == "cross" else APART_M):
            return play
    raise UserError(f"--people {people}: found no room for so many in {seconds:g} s. Give fewer people")


def apart_m(play: Play, seconds: float) -> float:
    """The least distance between two people who do not hug, in metres."""
    times = np.arange(0, seconds, 0.1)
    paths = [route.sampled(times)[0] for route in play.routes]
    least = np.inf
    for one in range(len(paths)):
        for other in range(one + 1, len(paths)):
            if play.meeting is None or (one, other) != (0, 1):
                least = min(least, float(np.linalg.norm(paths[one] - paths[other], axis=1).min()))
    return least


def _drawn(kind: str, rng: np.random.Generator, people: int, seconds: float, rig: Rig) -> Play:
    if kind == "hug":
        turn, middle = rng.uniform(0, 2 * np.pi), rng.uniform(-0.4, 0.4, 2)
        begin = min(1.6, 0.3 * seconds)
        meeting = Meeting((float(middle[0]), float(middle[1])), turn, begin, max(begin + 1.6, seconds - 1.6))
        pair = [hug_route(meeting, row, seconds, rng.uniform(-0.5, 0.5, 2)) for row in range(2)]
        return Play([*pair, *(_round_route(rng, seconds) for _ in range(people - 2))], meeting)
    if kind == "cross":
        return Play([_crossing(rng, row, seconds) for row in range(people)])
    walks = [_walk(rng, seconds) for _ in range(people)]
    if kind == "bystander":
        walks[-1] = Route(np.array([0.0, seconds]), np.tile(_seen_by_one(rig, rng), (2, 1)))
        inward = float(np.arctan2(*-walks[-1].places[0]))
        walks[-1] = Route(walks[-1].times_s, walks[-1].places, [(0.0, seconds, inward)])
    if kind == "leave":
        screen = _between_cameras(rig, rng)
        walks[-1] = _leaving(screen, seconds)
        return Play(walks, screen=screen)
    return Play(walks)


def hug_route(meeting: Meeting, row: int, seconds: float, aside: np.ndarray) -> Route:
    """The route of person `row` who walks up, hugs, steps back and walks away; `aside` (2,) bends its ends."""
    turn = about_y(np.array(meeting.heading))
    near, close = ((turn @ studio_hug.standing_at(gap, row))[[0, 2]] + meeting.place for gap in (OPEN_M, GAP_M))
    back = (near - meeting.place) / np.linalg.norm(near - meeting.place)
    across = np.array([back[1], -back[0]])
    begin, end = meeting.begin_s, meeting.end_s
    leave_s = max(seconds - end - STEP_S, 0.1)
    start = near + back * SPEED_MPS * max(begin - STEP_S, 0) + 0.4 * across * aside[0]
    away = near + back * 0.6 * SPEED_MPS * leave_s + across * (1 if aside[1] > 0 else -1) * 0.6 * SPEED_MPS * leave_s
    times = [0.0, begin - STEP_S, begin, end, end + STEP_S, seconds + 0.1]
    facing = meeting.heading if row == 0 else meeting.heading + np.pi
    looks = [(begin - STEP_S - 0.3, end + STEP_S + 0.35, facing)]
    return Route(np.array(times), np.stack([start, near, close, close, near, away]), looks)


def _walk(rng: np.random.Generator, seconds: float) -> Route:
    """A walk between places near the middle, with a stop here and there."""
    times, places = [0.0], [_place(rng)]
    while times[-1] < seconds:
        after = _place(rng)
        far = float(np.linalg.norm(after - places[-1]))
        if far < 0.8:
            continue
        times.append(times[-1] + far / SPEED_MPS * rng.uniform(1.0, 1.3))
        places.append(after)
        if rng.random() < 0.35:
            times.append(times[-1] + rng.uniform(0.6, 1.8))
            places.append(after)
    return Route(np.array(times), np.array(places))


def _place(rng: np.random.Generator) -> np.ndarray:
    angle, far = rng.uniform(0, 2 * np.pi), INNER_M * np.sqrt(rng.random())
    return far * np.array([np.sin(angle), np.cos(angle)])


def _crossing(rng: np.random.Generator, row: int, seconds: float) -> Route:
    """To and fro through the middle, everybody on a line of their own."""
    angle = np.pi * row + np.pi / 3 * (row // 2) + rng.uniform(-0.3, 0.3)
    ahead = np.array([np.sin(angle), np.cos(angle)])
    aside = np.array([ahead[1], -ahead[0]]) * rng.choice([-1, 1]) * rng.uniform(0.2, 0.4)
    legs = max(1, round(seconds / (2 * INNER_M / SPEED_MPS)))
    times = np.linspace(0, seconds, legs + 1) + np.r_[0, rng.uniform(-0.3, 0.3, legs - 1), 0.1]
    return Route(times, np.array([aside + ahead * INNER_M * (-1) ** leg for leg in range(legs + 1)]))


def _round_route(rng: np.random.Generator, seconds: float) -> Route:
    """An arc around the middle."""
    far, begin, way = rng.uniform(1.5, 2.1), rng.uniform(0, 2 * np.pi), rng.choice([-1, 1])
    times = np.linspace(0, seconds + 0.1, max(4, round(seconds) + 2))
    angles = begin + way * times * rng.uniform(0.6, 1.0) * SPEED_MPS / far
    return Route(times, far * np.stack([np.sin(angles), np.cos(angles)], 1))


def _leaving(screen: np.ndarray, seconds: float) -> Route:
    """From the middle round the screen, a stay behind it, and back."""
    out = screen[[0, 2]] / np.linalg.norm(screen)
    along = np.array([out[1], -out[0]])
    edge, behind = out * (SCREEN_M + 0.1) + along * 1.45, out * (SCREEN_M + BEHIND_M)
    places = np.array([0.4 * out, edge, behind, behind, edge, 0.4 * out - 0.5 * along])
    return Route(np.array([0.0, 0.3, 0.42, 0.58, 0.7, 1.0]) * seconds, places)


def _between_cameras(rig: Rig, rng: np.random.Generator) -> np.ndarray:
    """Where (3,) a screen stands, farthest in angle from every camera."""
    cameras = [np.arctan2(*camera.world_from_camera[[0, 2], 3]) for camera in rig]
    angles = rng.uniform(0, 2 * np.pi) + np.linspace(0, 2 * np.pi, 90, endpoint=False)
    gaps = [min(abs(np.angle(np.exp(1j * (angle - camera)))) for camera in cameras) for angle in angles]
    angle = angles[int(np.argmax(gaps))]
    return SCREEN_M * np.array([np.sin(angle), 0.0, np.cos(angle)])


def _seen_by_one(rig: Rig, rng: np.random.Generator) -> np.ndarray:
    """A place (2,) outside the middle that as few cameras see as possible, but at least one sees whole."""
    best: tuple[float, np.ndarray] | None = None
    for angle in rng.uniform(0, 2 * np.pi) + np.linspace(0, 2 * np.pi, 48, endpoint=False):
        for far in np.arange(2.2, HALF_M - 0.5, 0.3):
            place = far * np.array([np.sin(angle), np.cos(angle)])
            marks = REST + np.array([place[0], 0, place[1]])
            counts = [_in_sight(camera, marks) for camera in rig]
            whole, partly = counts.count(3), sum(count > 0 for count in counts)
            if whole and (best is None or partly < best[0]):
                best = partly, place
    if best is None:
        raise UserError("--kind bystander: no camera sees a person beside the middle. Give other --cameras")
    return best[1]


def _in_sight(camera: Camera, marks: np.ndarray) -> int:
    """How many of the three marks (3, 3) on a person lie in the picture of this camera."""
    ahead = camera.camera(marks)[:, 2] > 0.4
    rays = camera.camera(marks)[:, :2] / np.maximum(camera.camera(marks)[:, 2:], 0.1)
    pixels = rays * camera.focal_px + np.array(camera.centre_px)
    return int((ahead & (pixels > 0).all(1) & (pixels < np.array(camera.size)).all(1)).sum())


def acted(
    body: Body, betas: np.ndarray, play: Play, seconds: float, recorded: Motion, rng: np.random.Generator
) -> list[Movement]:
    """The movements of people with betas (people, 10), each with a recorded walk of their own."""
    walks = rng.permutation(studio_motion.WALKS)
    moved = []
    for row, route in enumerate(play.routes):
        stride = studio_motion.find_stride(recorded, str(walks[row % len(walks)]))
        stand, begin = studio_motion.STANDS[row % 2], float(rng.uniform(0, 12))
        moved.append(studio_motion.moved(body, betas[row], route, seconds, stride, stand, begin))
    if play.meeting is not None:
        hug = studio_hug.find_hug(body, betas[:2])
        gap = np.linalg.norm((moved[0].pelvis - moved[1].pelvis)[:, [0, 2]], axis=1)
        moved[:2] = [
            _hugging(body, moved[row], hug.raised[row], hug.closed[row], gap, play.meeting) for row in range(2)
        ]
    return moved


def _hugging(
    body: Body, movement: Movement, raised: np.ndarray, closed: np.ndarray, gap: np.ndarray, meeting: Meeting
) -> Movement:
    """The movement with the arms of a hug while it lasts; they close as the gap (samples,) between both does."""
    times = np.arange(len(movement.pelvis)) / RATE
    near = np.clip((OPEN_M - gap) / (OPEN_M - GAP_M), 0, 1)
    up, down = meeting.begin_s - STEP_S, meeting.end_s + STEP_S
    arms = _ramp(times, up - RAISE_S, up) * (1 - _ramp(times, down, down + RAISE_S))
    count = len(times)
    close = np.clip((CLOSING_M - gap) / (CLOSING_M - GAP_M), 0, 1)
    pose = mixed(np.repeat(raised[None], count, 0), np.repeat(closed[None], count, 0), close)
    rotations = movement.rotations.copy()
    rotations[:, HUGGING] = mixed(rotations, pose, arms)[:, HUGGING]
    still = np.clip(2.5 * near, 0, 1)  # short steps, or knees would meet
    standing = np.tile(np.eye(3), (count, 24, 1, 1))
    rotations[:, LEGS] = mixed(rotations, standing, still)[:, LEGS]
    return grounded(body, Movement(movement.betas, rotations, movement.pelvis))


def _ramp(times: np.ndarray, begin: float, end: float) -> np.ndarray:
    """0 before, 1 after, eased between."""
    share = np.clip((times - begin) / (end - begin), 0, 1)
    return share * share * (3 - 2 * share)
