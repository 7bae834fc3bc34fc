"""What a recording lacks: against boards that are projected exactly, and against what the report says of the same."""

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from calib.adjust import Scene, matrix_of
from calib.detect import View
from calib.guidance import Guidance, lenses_of
from calib.quality import CameraQuality, Quality
from calib.still import Stillness, is_new
from calib.weaknesses import FEW_FRAMES, FEW_SHARED, weaknesses
from refit_rt.cameras import Camera, Rig
from tests.support import board_rig
from training.evaluation.calibration import BOARD, CENTRE, SIZE

LENS = np.array([2400.0, 2400.0, 959.5, 539.5, -0.08, 0.02, 0.0, 0.0, 0.0])


def seen_at(place: tuple[float, float, float], tilt_deg: float = 0.0, axis: str = "y") -> View:
    """The corners of a board whose middle is at a place in the camera's frame, metres; those within the picture,
    with a detector's noise."""
    turn = Rotation.from_euler(axis, tilt_deg, degrees=True).as_matrix()
    here = (BOARD.points - CENTRE) @ turn.T + place
    pixels = cv2.projectPoints(here, np.zeros(3), np.zeros(3), matrix_of(LENS), LENS[4:])[0].reshape(-1, 2)
    inside = np.flatnonzero(((pixels > 2) & (pixels < np.array(SIZE) - 3)).all(1))
    noise = np.random.default_rng(len(inside)).normal(0, 0.15, (len(inside), 2))
    return View(inside, pixels[inside] + noise)


def one_camera(*views: View) -> Guidance:
    guidance = Guidance(BOARD, ("left",))
    for number, view in enumerate(views, 1):
        guidance.add(number, {"left": view}, {"left": SIZE})
    guidance.learn(lenses_of(BOARD, guidance.unsolved()))
    return guidance


EVERYWHERE = [seen_at((x, y, 2.65)) for y in (-0.45, -0.1, 0.1, 0.45) for x in (-0.85, -0.3, 0.3, 0.85)]


def test_the_next_thing_names_the_empty_part_of_the_picture() -> None:
    assert Guidance(BOARD, ("left",)).next() == "Hold the board still in front of 'left'."
    right_and_below = [seen_at((0.7, 0.3, 2.65)), seen_at((0.0, 0.4, 2.65)), seen_at((0.7, -0.3, 2.65))]
    assert one_camera(*right_and_below).next() == "Hold the board into the upper left of the picture of 'left'."
    assert not one_camera(*right_and_below).state("left").fields[0, 0]
    assert one_camera(*right_and_below).state("left").fields[3, 4]


def test_distances_tilts_and_places_are_asked_for_in_turn() -> None:
    whole = one_camera(*EVERYWHERE)
    assert whole.state("left").covered >= 0.8
    assert whole.next() == "Bring the board close to 'left', until it fills most of the picture."
    close = one_camera(*EVERYWHERE, seen_at((0, 0, 1.5)))
    assert (
        close.next() == "Carry the board away from 'left', until it looks half as large as it did up close, or smaller."
    )
    far = one_camera(*EVERYWHERE, seen_at((0, 0, 1.5)), seen_at((0.1, 0.2, 4.0)))
    assert far.next().startswith("Tilt the board by 30 to 45 degrees in front of 'left'")
    tilted = [seen_at((0.1, 0, 2.0), 40.0), seen_at((0, 0.1, 2.2), -40.0)]
    most = one_camera(*EVERYWHERE, seen_at((0, 0, 1.5)), seen_at((0.1, 0.2, 4.0)), seen_at((0.1, 0.2, 4.3)), *tilted)
    assert most.state("left").tilt_deg == pytest.approx(40, abs=6)
    assert most.state("left").takes == FEW_FRAMES + 1
    assert most.enough
    assert most.next() == "Enough."


def test_a_lens_that_is_known_needs_no_takes_of_its_own_but_pairs_do() -> None:
    names = ("a", "b", "c")
    guidance, view = Guidance(BOARD, names, lenses=False), EVERYWHERE[5]
    assert (
        guidance.next()
        == f"Stand where 'c' and one of 'a', 'b' both see the board, and hold it still at {FEW_SHARED} places."
    )

    def take(*cameras: str) -> None:
        guidance.add(guidance.takes + 1, dict.fromkeys(cameras, view), dict.fromkeys(cameras, SIZE))

    for _ in range(FEW_SHARED - 1):
        take("a", "b")
    assert guidance.next() == "Stand where 'a' and 'b' both see the board, and hold it still at 1 more place."
    take("a", "b")
    assert not guidance.connected()
    assert (
        guidance.next()
        == f"Stand where 'c' and one of 'a', 'b' both see the board, and hold it still at {FEW_SHARED} places."
    )
    for _ in range(FEW_SHARED):
        take("b", "c")
    assert guidance.connected()
    assert guidance.enough
    assert "where 'a' and a third camera both see it: so far it hangs on 'b' alone." in guidance.next()
    for _ in range(FEW_SHARED):
        take("c", "a")
    assert guidance.next() == "Enough."
    assert guidance.pairs().tolist() == [[20, 10, 10], [10, 20, 10], [10, 10, 20]]


def test_who_carries_the_board_is_not_sent_from_camera_to_camera() -> None:
    guidance = Guidance(BOARD, ("a", "b"))
    guidance.add(1, {"b": EVERYWHERE[0]}, {"b": SIZE})
    assert "'b'" in guidance.next()
    guidance.add(2, {"a": EVERYWHERE[0], "b": seen_at((0, 0, 4.0))}, {"a": SIZE, "b": SIZE})
    assert "'a'" in guidance.next()


def test_a_recording_with_enough_has_no_weakness_that_the_report_would_find() -> None:
    """A ring of four cameras: takes come until there is enough; then the report's own rules are asked."""
    rng = np.random.default_rng(0)
    lenses, places = board_rig.ring(rng)
    near = Scene(lenses, places, np.zeros((0, 4, 4)))
    boards = [*(board_rig.close_up(rng, near, camera, 25) for camera in range(4)), board_rig.held_up(rng, 120)]
    corners = board_rig.seen(rng, Scene(lenses, places, np.concatenate(boards)))
    ids = np.rint((corners.point[:, :2] / board_rig.SQUARE_M - 1) @ (1, board_rig.COLUMNS - 1)).astype(int)
    names = tuple(f"cam_{number}" for number in range(4))
    guidance, taken = Guidance(BOARD, names), 0
    while not guidance.enough:
        rows = {name: np.flatnonzero((corners.camera == n) & (corners.board == taken)) for n, name in enumerate(names)}
        views = {name: View(ids[its], corners.pixel[its]) for name, its in rows.items() if len(its) >= 6}
        guidance.add(taken, views, dict.fromkeys(views, SIZE))
        taken += 1
        if taken == 100:
            guidance.learn(lenses_of(BOARD, guidance.unsolved()))
    assert 100 < taken < 220
    advice = guidance.next()
    cameras = []
    for number, name in enumerate(names):
        its = np.flatnonzero((corners.camera == number) & (corners.board < taken))
        no = np.zeros(len(its), bool)
        ((_, lens),) = lenses_of(BOARD, [one for one in _sightings(guidance) if one.name == name]).values()
        assert lens is not None
        spread = {"focal_px": float(lens.deviation[:2].mean())}
        cameras.append(CameraQuality(
            name, SIZE, corners.board[its], ids[its], corners.pixel[its], np.full((len(its), 2), np.nan), no, no,
            np.array(lens.distance_m), np.array(lens.tilt_deg), lens.rms_px, spread,
        ))  # fmt: skip
    rig = Rig(tuple(Camera(name, SIZE, 1450.0, (959.5, 539.5)) for name in names))
    found = weaknesses(rig, Quality(tuple(cameras), guidance.pairs()))
    rest = [one.reason for one in found if not one.reason.startswith(("Where the floor is", "No measured length"))]
    alone = [reason for reason in rest if "hangs on" in reason]  # this is not needed, it is only better
    assert rest == alone
    assert advice.startswith("Enough. Better still, hold the board where" if alone else "Enough.")


def _sightings(guidance: Guidance) -> list:
    guidance.learn(dict.fromkeys(guidance.names, (0, None)))
    return guidance.unsolved()


def test_a_board_is_still_when_it_has_stayed_for_a_while() -> None:
    def moved(by_px: float) -> View:
        return View(EVERYWHERE[5].ids, EVERYWHERE[5].pixels + by_px)

    held = Stillness()
    assert [held.add(t, moved(0.0), 1280) for t in (0.0, 0.1, 0.2, 0.3, 0.4)] == [None, None, None, True, True]
    assert held.add(0.5, moved(20.0), 1280) is False
    assert held.add(0.7, moved(20.0), 1280) is False  # it was elsewhere within that time
    assert held.add(0.85, moved(20.0), 1280) is True
    drifting = Stillness()
    speed_px = 12.0  # per second along x and along y
    assert not any(drifting.add(t, moved(speed_px * t), 1280) for t in np.arange(0, 2, 0.1))
    assert Stillness(20.0).add(0.0, moved(0.0), 1280) is None


def test_a_place_is_new_when_it_was_not_taken_by_all_that_see_it() -> None:
    guidance = Guidance(BOARD, ("a", "b"))
    wide = {"a": SIZE[0], "b": SIZE[0]}

    def sights(view: View, *names: str) -> dict:
        return {name: guidance.sight(view, SIZE) for name in names}

    taken = [sights(seen_at((0, 0, 2.0)), "a", "b")]
    assert not is_new(sights(seen_at((0.02, 0, 2.05), 3.0), "a", "b"), taken, wide)
    assert not is_new(sights(seen_at((0, 0, 2.0)), "a"), taken, wide)
    for elsewhere in (
        seen_at((0.5, 0, 2.0)),
        seen_at((0, 0, 2.6)),
        seen_at((0, 0, 2.0), 25.0),
        seen_at((0, 0, 2), 25, "x"),
    ):
        assert is_new(sights(elsewhere, "a", "b"), taken, wide)
    assert is_new(sights(seen_at((0, 0, 2.0)), "a", "b"), [sights(seen_at((0, 0, 2.0)), "a")], wide)
