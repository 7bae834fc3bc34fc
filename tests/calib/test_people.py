"""Cameras placed by people who walk about: places, delays, guessed lenses, the floor, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calib.bodies import Watched
from calib.floor import similarity
from calib.from_people import Found, solve_people
from calib.people import NOTE, check_fit, placed
from calib.together import chained
from refit_rt.__main__ import command
from refit_rt.cameras import Camera, Rig
from refit_rt.errors import UserError
from tests.support import walkers

RIG = walkers.cameras(4)
DELAYS_S = (0.0, 0.031, -0.052, 1.9)
PEOPLE = (1, 2)


def errors(rig: Rig, truth: list[Camera]) -> tuple[float, float, float]:
    """Scale, the largest angle in degrees and distance in millimetres of a camera, after the best similarity."""
    found, known = (np.array([camera.position for camera in cameras]) for cameras in (rig, truth))
    scale, turn, shift, _ = similarity(found, known, scaled=True)
    apart_mm = 1000 * np.linalg.norm(scale * found @ turn.T + shift - known, axis=1).max()
    turns = [
        turn @ one.world_from_camera[:3, :3] @ other.world_from_camera[:3, :3].T
        for one, other in zip(rig, truth, strict=True)
    ]
    deg = max(np.degrees(np.arccos(np.clip((np.trace(one) - 1) / 2, -1, 1))) for one in turns)
    return scale, float(deg), float(apart_mm)


@pytest.fixture(scope="module")
def seen() -> list[Watched]:
    """Two people for five seconds; one camera's recording began 1.9 s before it claims."""
    return walkers.watched(RIG, PEOPLE, 5.0, DELAYS_S)


@pytest.fixture(scope="module")
def found(seen: list[Watched]) -> Found:
    return solve_people(seen, free_focal=False, most_delay_s=2.5)


def test_the_start_finds_two_seconds_of_delay_and_the_places_roughly(seen: list[Watched]) -> None:
    start = chained(seen, 2.5)
    late_s = np.array(DELAYS_S) - DELAYS_S[start.root]
    np.testing.assert_allclose(start.delays_s, late_s, atol=0.1)


def test_places_are_found_to_centimetres_and_delays_within_five_milliseconds(found: Found) -> None:
    _, deg, apart_mm = errors(found.rig, RIG)
    assert deg < 0.4
    assert apart_mm < 20
    late_s = np.array(DELAYS_S) - DELAYS_S[found.root]
    np.testing.assert_allclose([camera.delay_s for camera in found.rig], late_s, atol=0.005)
    assert found.median_px.max() < 3.5


def test_the_rig_stands_on_the_floor_with_the_delays_beside_the_first_camera_and_says_that_it_is_approximate(
    found: Found,
) -> None:
    rig = placed(found, Rig(tuple(replace(one, distortion=np.full(5, 0.01)) for one in RIG))).rig
    assert rig.floor
    assert rig.notes == NOTE == "approximate, from people"
    assert rig.figures.approximate
    assert rig["cam2"].distortion[0] == 0.01
    assert "cam1" not in rig.delays_s
    assert rig.delays_s["cam4"] == pytest.approx(1.9, abs=0.005)
    heights_m = [camera.position[1] for camera in rig]
    np.testing.assert_allclose(heights_m, [1.04 * camera.position[1] for camera in RIG], atol=0.12)


def test_guessed_focal_lengths_that_are_a_fifth_too_long_are_found_within_two_percent() -> None:
    seen = walkers.watched(RIG, (1,), 6.0)
    longer = [replace(one, camera=replace(one.camera, focal_px=1.2 * one.camera.focal_px)) for one in seen]
    found = solve_people(longer, free_focal=True, most_delay_s=0.3)
    np.testing.assert_allclose([camera.focal_px for camera in found.rig], [one.focal_px for one in RIG], rtol=0.02)
    assert any("guessed" in line for line in placed(found, None).said)


def test_a_camera_that_sees_other_people_is_refused(seen: list[Watched]) -> None:
    empty = [*seen[:3], replace(seen[3], tracks=())]
    with pytest.raises(UserError, match="cam4: no other camera sees the same people"):
        chained(empty, 0.1)


def test_cameras_that_do_not_fit_are_refused(found: Found) -> None:
    with pytest.raises(UserError, match="cam1: people fit the other cameras to 30 px only"):
        check_fit(replace(found, median_px=np.full(4, 30.0)))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--out", "rig.yaml"], "a rig file is called NAME.json"),
        (["--out", "rig.json"], "give --intrinsics FILE, or --guess-lenses"),
        (["--out", "rig.json", "--guess-lenses"], "needs two cameras or more"),
        (["--out", "rig.json", "--intrinsics", "none.json"], "none.json: cannot be read"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(options, says, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.mp4").touch()
    (tmp_path / "b.mp4").touch()
    films = [] if "--guess-lenses" in options else ["a.mp4", "b.mp4"]
    assert command(["calibrate", "people", *films, *options]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"a.mp4", "b.mp4"}
