"""Framing: squares change as they should, bodies are fitted in them, and rendered whole pictures show the truth."""

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="evaluation needs torch: pip install refit-rt[train]")

from refit_rt import config  # noqa: E402
from refit_rt.body.smpl import load_body  # noqa: E402
from refit_rt.bundle.read import EDGE_CROP, find_bundle  # noqa: E402
from refit_rt.geometry import apply_2d, crop, crop_from_image, project, square_around  # noqa: E402
from training.evaluation import box_plot, boxes  # noqa: E402
from training.evaluation.boxes import OWN, Framing  # noqa: E402
from training.evaluation.real_fit import Clip, Runtime, Track  # noqa: E402
from training.synthetic import Assets, Generator  # noqa: E402
from training.synthetic.generator import Sample  # noqa: E402

MARGIN = EDGE_CROP.margin


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    generator = Generator(5, held_out=True, outfits=4, whole=True)
    return [generator.sample(number) for number in range(8)]


@pytest.fixture(scope="module")
def clip() -> Clip:
    generator = Generator(5, held_out=True, outfits=4, whole=True)
    return boxes.clip_of("one", generator.clip(4, 15.0, 3), load_body(), EDGE_CROP)


def test_a_changed_box_gives_the_square_that_its_name_says():
    tall = np.array([[100.0, 50, 200, 450]])
    own = square_around(tall[0], MARGIN)
    for framing, name, side, right, down in (
        (OWN, "1", 1, 0, 0),
        (Framing(0.6), "0.6", 0.6, 0, 0),
        (Framing(2.0), "2", 2, 0, 0),
        (Framing(right=-0.15), "15% left", 1, -0.15, 0),
        (Framing(right=0.15), "15% right", 1, 0.15, 0),
        (Framing(down=-0.15), "15% up", 1, 0, -0.15),
        (Framing(down=0.15), "15% down", 1, 0, 0.15),
    ):
        square = square_around(framing.of(tall, MARGIN)[0], MARGIN)
        assert str(framing) == name
        assert square.side_px == pytest.approx(side * own.side_px)
        moved = own.centre_px + np.array([right, down]) * own.side_px
        np.testing.assert_allclose(square.centre_px, moved, atol=1e-9)


def test_whole_pictures_have_the_sensors_size_and_show_the_same_people_as_crops(samples: list[Sample]):
    """The crop that is cut out of a whole picture looks like the crop that is drawn for the same number."""
    generator, alike = Generator(5, held_out=True, outfits=4), []
    for number, whole in enumerate(samples):
        drawn = generator.sample(number)
        assert whole.image.shape == (*whole.size[::-1], 3)
        assert whole.roll == 0
        assert 0 <= whole.visible <= 1
        if (drawn.size, drawn.focal_px) != (whole.size, whole.focal_px):
            continue  # the view was drawn again, because little of the person was visible
        np.testing.assert_allclose(*(np.linalg.norm(one.joints, axis=1) for one in (drawn, whole)), rtol=1e-3)
        alike.append(correlation(whole, drawn))
    assert len(alike) >= 5
    assert np.median(alike) > 0.6


def correlation(whole: Sample, drawn: Sample) -> float:
    """Of a drawn crop with the same square of the whole picture, in grey, where the picture is."""
    turn = np.array([[np.cos(drawn.roll), np.sin(drawn.roll)], [-np.sin(drawn.roll), np.cos(drawn.roll)]])
    centre = (drawn.box[:2] - drawn.centre_px) @ turn + whole.centre_px  # out of the turned picture
    cut = crop(whole.image, boxes.Square(centre.astype(float), float(drawn.box[2]), drawn.roll), 256)
    grey = [cv2.GaussianBlur(image, (0, 0), 2).mean(-1) for image in (cut, drawn.image)]
    seen = (cut.max(-1) > 0) & (drawn.image.max(-1) > 0)
    return float(np.corrcoef(grey[0][seen], grey[1][seen])[0, 1])


def test_a_rendered_clip_has_the_truth_in_pixels_and_the_products_own_square(clip: Clip):
    assert clip.frames[0].shape == (*clip.camera.size[::-1], 3)
    np.testing.assert_allclose(clip.limbs_px, project(clip.limbs, clip.camera.focal_px, clip.camera.centre_px))
    for row in range(len(clip.frames)):
        square = square_around(clip.boxes[row], MARGIN, float(clip.roll[row]))
        points = clip.limbs_px[row]
        shown = ((points >= 0) & (points < clip.camera.size)).all(1)
        place = apply_2d(crop_from_image(square, 1), points[shown])
        assert shown.sum() >= 4
        assert 0 < place.min() < place.max() < 1
        assert np.ptp(place, axis=0).max() > 0.3  # of the crop


def test_parts_begin_at_even_distances_and_a_short_rest_is_left_out(clip: Clip):
    parts = boxes.parts_of([clip], 2)
    assert [len(part.frames) for part in parts] == [2, 2]
    np.testing.assert_array_equal(parts[1].limbs, clip.limbs[2:])
    np.testing.assert_array_equal(parts[1].boxes, clip.boxes[2:])
    assert [len(part.frames) for part in boxes.parts_of([clip], 3)] == [3]
    assert [len(part.frames) for part in boxes.parts_of([clip], 8)] == [4]  # never none


def test_a_second_fit_brings_a_loose_square_back(clip: Clip):
    """The live fitter cuts a body out again where it found it: in a square half as large again its joints lie within
    2 % of the person's extent of those of the own square, and a first fit's do not."""
    runtime = Runtime(find_bundle("edge"), config.Fit(precision="f32", threads=1))
    loose = boxes.replace(clip, boxes=Framing(1.5).of(clip.boxes, MARGIN))

    def off(way: boxes.Way) -> float:
        joints = [runtime.fit([one], way)[0].joints_px for one in (clip, loose)]
        extent = np.ptp(joints[0], axis=1).max(-1)
        return float((np.linalg.norm(joints[0] - joints[1], axis=-1).mean(1) / extent).mean())

    assert off(boxes.TWICE) < 0.6 * off(boxes.ONCE)
    assert off(boxes.TWICE) < 0.03


def fake(clip_rows: list, error_m) -> SimpleNamespace:
    """A runtime whose bodies are the truth, but for one wrist, which is off as far as the framing says."""

    def fit(parts: list[Clip], way: boxes.Way) -> list[Track]:
        tracks = []
        for part in parts:
            frames = np.arange(0, len(part.frames), way.every)
            joints = np.zeros((len(frames), 24, 3))
            joints[:, boxes.SMPL_LIMBS] = part.limbs[frames]
            joints[:, 21] += (0, 0, error_m(part, way))
            clip_rows.append((way, len(frames)))
            none = np.zeros((len(frames), 24, 3))
            sure = np.full(len(frames), 0.9 if way.refit else 0.1)
            tracks.append(Track(frames, joints, none[..., :2], none, np.zeros((len(frames), 10)), none[:, 0], sure))
        return tracks

    return SimpleNamespace(fit=fit, crop=EDGE_CROP)


def test_errors_are_compared_with_those_in_the_own_square_and_starts_do_not_count(clip: Clip):
    own_side = (clip.boxes[0, 2:] - clip.boxes[0, :2]).max()
    calls: list = []

    def error_m(part: Clip, way: boxes.Way) -> float:  # 120 mm per unit of scale beyond 1, in first fits alone
        scale = (part.boxes[0, 2:] - part.boxes[0, :2]).max() / own_side
        return 0.0 if way.refit else 0.12 * (scale - 1)

    framed = boxes.framed_as([clip, clip], (*boxes.SIZES, *boxes.SHIFTS), MARGIN)
    found = boxes.measure(fake(calls, error_m), framed, 2, 1)  # type: ignore[arg-type]
    assert {(way.warm, way.refit, count) for way, count in calls} == {
        (False, False, 2),
        (False, True, 2),
        (True, True, 4),
    }
    assert [len(part) for part in found["1", "followed"].pa] == [3, 3]
    np.testing.assert_allclose(np.concatenate(found["2", "once"].mpjpe), 10, atol=0.1)  # of twelve joints
    for name, more in (("once", True), ("twice", False), ("followed", False)):
        difference = found["2", name].more_than(found["1", name])
        assert difference.shape == (2,)
        assert (difference.min() > 2) == more
        assert np.abs(found["15% right", name].more_than(found["1", name])).max() < 0.1
    assert not np.concatenate(found["1", "once"].sure).any()
    errors, differences = boxes._errors_table(found), boxes._differences(found)
    assert [row[0] for row in errors.rows] == [row[0] for row in differences.rows]
    assert errors.rows[4] == ["1", *["0.0 / 0.0"] * 6, "0"]
    assert differences.rows[4] == ["1", *["+0.0 ± 0.0"] * 3]


def test_the_report_has_the_box_protocol_and_a_plot(clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(boxes, "Runtime", lambda *_: fake([], lambda *_: 0.05))
    monkeypatch.setattr(boxes, "detected", lambda *_: ([clip, clip], np.array([[1.1, 0.02, -0.03]] * 3)))
    some = boxes.Set("mine", "my people", boxes.TRUE_BOXES, [clip, clip], 2, 1)
    protocol, caption, errors, differences, detector, plot = boxes.report(some, Path("edge"), config.Fit(), tmp_path)
    assert "my people: 2 parts" in str(protocol)
    assert str(caption).startswith("Boxes: ground truth, 1.2 times the extent of the true body")
    assert isinstance(detector, boxes.Table)
    assert detector.heads[0] == "detector's squares, 3 of 4 found"
    assert detector.rows[1] == ["50 % of them", "1.10", "0.02", "-0.03"]
    assert str(plot) == f"Plot: {tmp_path / 'mine.png'}"
    assert (tmp_path / "mine.png").stat().st_size > 5000
    assert isinstance(errors, boxes.Table)
    assert [row[0] for row in errors.rows[-2:]] == ["15% down", "detector's"]
    assert isinstance(differences, boxes.Table)


def test_a_curve_lies_higher_where_its_error_is_larger():
    scales = np.array([0.6, 1.0, 2.0])
    curve = box_plot.Curve("one", np.array([80.0, 60.0, 100.0]), np.array([70.0]))
    image = box_plot.draw("title", scales, ["left"], [curve], None)
    assert image.shape == (box_plot.HEIGHT, box_plot.WIDTH, 3)
    dots = (image == box_plot.COLOURS[0]).all(-1)[box_plot.TOP : box_plot.BOTTOM]
    left, shifted = (dots[:, first:last] for first, last in ((0, box_plot.MIDDLE), (box_plot.RIGHT, box_plot.WIDTH)))
    rows, columns = np.nonzero(left)
    assert rows[columns == columns.max()].mean() < rows[columns == columns.min()].mean() < rows.max()
    assert np.ptp(np.nonzero(shifted)[0]) > 0.2 * np.ptp(rows)  # 60 and 70 of 60 to 100
    assert box_plot.ticks_of(61, 99).tolist() == [60, 70, 80, 90, 100]
    assert box_plot.ticks_of(52.0, 52.2).tolist() == [52, 53]


def test_the_detectors_box_replaces_the_own_one_where_it_finds_the_person(monkeypatch, clip: Clip):
    low, high = clip.boxes[0, :2], clip.boxes[0, 2:]
    longer = float((high - low).max())
    seen = np.array([[0, 0, 5, 5], [*low, *(low + 0.9 * longer)]], np.float32)
    looks = iter([seen, seen[:1]])  # the third frame shows nobody near
    monkeypatch.setattr(boxes, "MoveNet", lambda: SimpleNamespace(look=lambda *_: SimpleNamespace(xyxy=next(looks))))
    (part,), squares = boxes.detected([clip], 2, MARGIN)
    np.testing.assert_array_equal(part.boxes[0], seen[1])
    np.testing.assert_array_equal(part.boxes[1:], clip.boxes[1:])
    expected = [0.9, -0.05 / MARGIN, -0.05 / MARGIN]  # its corner at the top left stays
    np.testing.assert_allclose(squares, [expected], atol=1e-3)


def test_people_of_whom_little_is_seen_are_left_out(monkeypatch: pytest.MonkeyPatch, samples: list[Sample]):
    shown = [boxes.replace(samples[0], visible=visible) for visible in (0.2, 0.9, 0.8)]
    generator = SimpleNamespace(clip=lambda frames, fps, number: [shown[number]] * frames)
    monkeypatch.setattr(boxes, "Generator", lambda *_, **__: generator)
    bundle = SimpleNamespace(body=load_body(), crop=EDGE_CROP)
    found = boxes.rendered_set(3, Assets(), bundle, 5)  # type: ignore[arg-type]
    assert [part.camera.name for part in found.parts] == ["person 1", "person 2"]
    assert [len(part.frames) for part in found.parts] == [boxes.PART] * 2
