"""The report of a calibration: its record on disk, its weaknesses with their cures, and its page."""

from dataclasses import replace

import numpy as np
import pytest

from calib.quality import CameraQuality, Quality, beside, in_space, read_quality, rms, write_quality
from calib.report import page, report
from calib.weaknesses import share_covered, verdict, weaknesses
from refit_rt.cameras import Rig, write_rig
from refit_rt.errors import UserError
from tests.calib.test_floor import board, ring

SQUARE_M = 0.1


def recorded(rng: np.random.Generator, noise_px: float = 0.15, places: int = 40) -> tuple[Rig, Quality]:
    """A rig of three cameras and its record: a board at `places` all over the room, close to a camera each third time,
    every fifth held out."""
    rig = replace(ring(3, rng), floor=True)
    corners = board(SQUARE_M) - np.array([0.3, 0.2])
    worlds = np.zeros((places, len(corners), 3))
    for place in range(places):
        camera = rig.cameras[place % 3]
        flat = np.concatenate([corners, np.zeros((len(corners), 1))], -1)
        tilt = np.radians([*rng.uniform(-40, 40, 2), 0])
        flat = flat @ np.array(
            [[np.cos(tilt[0]), 0, np.sin(tilt[0])], [0, 1, 0], [-np.sin(tilt[0]), 0, np.cos(tilt[0])]]
        )
        depth = rng.uniform(0.9, 3.5)
        flat += np.array([*(rng.uniform(-0.55, 0.55, 2) * depth * (1, 0.6)), depth])
        worlds[place] = camera.world(flat)
    cameras, seen = [], np.zeros((3, places), bool)
    for number, camera in enumerate(rig):
        pixels = camera.project(worlds)
        inside = ((pixels > 0) & (pixels < camera.size)).all(-1) & (camera.camera(worlds)[..., 2] > 0.3)
        frame, corner = np.nonzero(inside)
        residual = rng.normal(0, noise_px / np.sqrt(2), (len(frame), 2))
        held_out = frame % 5 == 0
        seen[number] = inside.any(1)
        middle = camera.camera(worlds.mean(1))[seen[number]]
        cameras.append(
            CameraQuality(
                name=camera.name, size=camera.size, frame=frame, corner=corner,
                px=pixels[inside] + residual, residual_px=residual, used=~held_out, held_out=held_out,
                distance_m=np.linalg.norm(middle, axis=-1), tilt_deg=rng.uniform(0, 50, int(seen[number].sum())),
                lens_rms_px=noise_px, deviation={"focal_px": 1.2},
            )
        )  # fmt: skip
    quality = Quality(
        cameras=tuple(cameras),
        pairs=seen.astype(int) @ seen.T.astype(int),
        corners_m=worlds.reshape(-1, 3),
        square_m=SQUARE_M,
        squares_m=rng.normal(SQUARE_M, 0.0004, 300),
        lengths=(("left tripod to right tripod", 4.20, 4.202),),
        board="ChArUco 8 x 6, 100 mm",
        made="2026-11-28T12:00",
    )
    return rig, quality


@pytest.fixture(scope="module")
def good() -> tuple[Rig, Quality]:
    return recorded(np.random.default_rng(0), places=150)


def test_a_record_comes_back_from_its_file(good, tmp_path):
    _, quality = good
    file = beside(tmp_path / "rig.json")
    assert file.name == "rig.quality.npz"
    write_quality(quality, file)
    read = read_quality(file)
    for one, other in zip(read.cameras, quality.cameras, strict=True):
        assert (one.name, one.size, one.deviation, one.lens_rms_px) == (
            other.name, other.size, other.deviation, other.lens_rms_px,
        )  # fmt: skip
        np.testing.assert_array_equal(one.px, other.px)
        np.testing.assert_array_equal(one.held_out, other.held_out)
    assert read.rms_px == quality.rms_px
    assert (read.lengths, read.board, read.approximate) == (quality.lengths, quality.board, False)
    np.testing.assert_array_equal(read.pairs, quality.pairs)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", b"text"])
def test_a_damaged_record_is_refused(content, tmp_path):
    file = tmp_path / "rig.quality.npz"
    with pytest.raises(UserError, match="cannot be read"):
        read_quality(file)
    file.write_bytes(content)
    with pytest.raises(UserError, match="no record of a calibration"):
        read_quality(file)
    np.savez(file, pairs=np.eye(2))
    with pytest.raises(UserError, match="no record of a calibration"):
        read_quality(file)


def test_squares_are_measured_between_corners_that_two_cameras_see(good):
    """0.15 px of noise at 1 to 4 m, each corner for itself: a fraction of a millimetre."""
    rig, quality = good
    corners, sides = in_space(rig, quality.cameras, across=7)
    assert len(corners) > 1000
    assert len(sides) > 1000
    assert np.median(sides) == pytest.approx(SQUARE_M, abs=0.0002)
    assert np.sqrt(np.mean((sides - SQUARE_M) ** 2)) < 0.003
    assert len(in_space(rig, quality.cameras, across=0)[1]) == 0


def test_rms_counts_finite_rows_by_their_length():
    assert rms(np.array([[3.0, 4.0], [0.0, 0.0], [np.nan, 1.0]])) == pytest.approx(np.sqrt(12.5))
    assert np.isnan(rms(np.zeros((0, 2))))


def test_a_good_calibration_has_no_weakness(good):
    rig, quality = good
    assert verdict(quality) == "good"
    assert min(share_covered(one)[0] for one in quality.cameras) > 0.9
    assert [one.reason for one in weaknesses(rig, quality)] == []


def changed(quality: Quality, number: int, **change: object) -> Quality:
    cameras = list(quality.cameras)
    cameras[number] = replace(cameras[number], **change)
    return replace(quality, cameras=tuple(cameras))


COLUMNS = ("frame", "corner", "px", "residual_px", "used", "held_out")
ALONE = np.array([[50, 30, 0], [30, 50, 0], [0, 0, 50]])  # frames that two cameras share: the third has no part in it,
FEW = np.array([[50, 30, 5], [30, 50, 5], [5, 5, 50]])  # too small a one,
LEAF = np.array([[50, 30, 20], [30, 50, 5], [20, 5, 50]])  # one with the first alone


def nothing(camera: CameraQuality) -> dict[str, np.ndarray]:
    """What a camera saw that saw nothing."""
    return {name: getattr(camera, name)[:0] for name in COLUMNS}


def half(camera: CameraQuality) -> dict[str, np.ndarray]:
    """What a camera saw of a board that was never in the right half of its picture."""
    left = camera.px[:, 0] < camera.size[0] / 2
    return {name: getattr(camera, name)[left] for name in COLUMNS}


@pytest.mark.parametrize(
    ("spoil", "reason", "cure", "grave"),
    [
        (lambda q: changed(q, 0, residual_px=8 * q.cameras[0].residual_px), "cam_0 is 1.1", "cam_0 moved", False),
        (lambda q: changed(q, 1, residual_px=30 * q.cameras[1].residual_px), "agree to 2.5", "flat, stiff", True),
        (lambda q: changed(q, 0, residual_px=5 * q.cameras[0].residual_px), "board moved between", "still", False),
        (lambda q: changed(q, 2, **half(q.cameras[2])), "of the picture of cam_2", "empty fields of cam_2", False),
        (lambda q: changed(q, 1, distance_m=np.array([2.0, 3.0])), "from 2.0 to 3.0 m", "close", False),
        (lambda q: changed(q, 1, tilt_deg=np.array([2.0, 10.0])), "tilted by 10 degrees", "Tilt the board", False),
        (lambda q: changed(q, 1, deviation={"focal_px": 20.0}), "known to 20 px", "closer to cam_1", False),
        (lambda q: changed(q, 1, used=q.cameras[1].used & (q.cameras[1].corner > 6)), "left out", "blur", False),
        (lambda q: changed(q, 1, **nothing(q.cameras[1])), "cam_1 never saw the board.", "Show cam_1", True),
        (lambda q: replace(q, pairs=ALONE), "cam_2 never saw", "second", True),
        (lambda q: replace(q, pairs=FEW), "cam_2 saw the board together", "both", False),
        (lambda q: replace(q, pairs=LEAF), "cam_2 hangs on cam_0", "third", False),
        (lambda q: replace(q, squares_m=1.01 * q.squares_m), "+1.0% off", "ten squares", False),
        (lambda q: replace(q, squares_m=np.random.default_rng(0).normal(0.1, 0.02, 500)), "mm off", "too small", True),
        (lambda q: replace(q, lengths=(("door", 2.0, 2.1),)), "door is 2.000 m long and 2.100 m", "wrong scale", True),
        (lambda q: replace(q, lengths=()), "No measured length", "with a tape", False),
        (lambda q: replace(q, approximate=True), "centimetres", "with a board", False),
    ],
)  # fmt: skip
def test_each_weakness_has_its_reason_and_its_cure(spoil, reason, cure, grave, good):
    rig, quality = good
    found = [one for one in weaknesses(rig, spoil(quality)) if reason in one.reason]
    assert len(found) == 1, [one.reason for one in weaknesses(rig, spoil(quality))]
    assert cure in found[0].cure
    assert found[0].grave == grave


def test_a_rig_without_a_floor_and_an_overfitted_one_are_weak(good):
    rig, quality = good
    assert any("Where the floor is" in one.reason for one in weaknesses(replace(rig, floor=False), quality))
    fitted = [
        replace(one, residual_px=np.where(one.held_out[:, None], 3, 1) * one.residual_px) for one in quality.cameras
    ]
    found = weaknesses(rig, replace(quality, cameras=tuple(fitted)))
    assert any("did not see" in one.reason for one in found)


def test_the_page_needs_no_other_file_and_shows_every_part(good):
    rig, quality = good
    text = page(rig, quality, "studio <a>")
    assert "studio &lt;a&gt;" in text
    assert "://" not in text
    assert "src=" not in text
    assert text.count("<svg") == 2 * 3 + 2
    for heading in ("What is weak", "Where the board was seen", "What is left over", "share", "in space", "Lengths"):
        assert heading in text
    assert "left tripod to right tripod" in text
    assert len(text) < 2_000_000


def test_the_verb_writes_the_page_beside_the_rig_and_refuses_another_rigs_record(good, tmp_path, capsys):
    rig, quality = good
    write_rig(rig, tmp_path / "studio.json")
    write_quality(quality, beside(tmp_path / "studio.json"))
    assert report(str(tmp_path / "studio.json")) == 0
    assert "studio.html: good, 0.1" in capsys.readouterr().out
    assert "Calibration of studio" in (tmp_path / "studio.html").read_text()
    write_quality(replace(quality, cameras=quality.cameras[:2]), beside(tmp_path / "studio.json"))
    with pytest.raises(UserError, match="is of the cameras cam_0, cam_1, but"):
        report(str(tmp_path / "studio.json"))
