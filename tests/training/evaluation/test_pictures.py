"""The detector on pictures: the score of a known detector is known, and rendered people lie in their boxes."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="training.evaluate needs torch: pip install refit-rt[train]")

from refit_rt import config
from refit_rt.commands.bench.table import Table
from refit_rt.errors import UserError
from refit_rt.types import Boxes
from training import evaluate
from training.evaluation import crowds, pictures
from training.evaluation.pictures import Marked, figures, outcome
from training.synthetic.generator import Generator

GREY = np.full((200, 400, 3), 90, np.uint8)
PEOPLE = np.array([[100.0, 50, 140, 150], [200, 100, 212, 130], [300, 20, 360, 200]])  # 50, 15 and 90 % of the height


def marked(ignored: list = []) -> Marked:  # noqa: B006
    return Marked("made", GREY, PEOPLE, np.array(ignored, float).reshape(-1, 4))


def test_a_find_is_right_when_it_is_near_and_of_the_persons_size() -> None:
    near, far = PEOPLE[0] + [28, 0, 28, 0], PEOPLE[0] + [32, 0, 32, 0]  # of a person 100 px high
    small, smaller = np.array([107.0, 74, 133, 126]), np.array([107.0, 76, 133, 124])  # 52 and 48 px high
    for box, right in ((near, True), (far, False), (small, True), (smaller, False)):
        found = outcome(marked(), box[None], np.array([0.6]))
        assert found.found.tolist() == ([0.6, 0, 0] if right else [0, 0, 0])
        assert found.wrong.tolist() == ([] if right else [0.6])


def test_each_person_is_found_once_by_the_best_score_and_ignored_people_are_no_mistakes() -> None:
    hidden = [20.0, 50, 50, 150]
    boxes = np.array([PEOPLE[0], PEOPLE[0], hidden, PEOPLE[2]])
    found = outcome(marked([hidden]), boxes, np.array([0.5, 0.7, 0.9, 0.3]))
    assert found.found.tolist() == [0.7, 0, 0.3]
    assert found.wrong.tolist() == [0.5]


def test_precision_and_recall_follow_the_threshold_and_the_height() -> None:
    boxes = np.array([PEOPLE[0], PEOPLE[1], [10, 10, 30, 60]])
    outcomes = [outcome(marked(), boxes, np.array([0.8, 0.4, 0.6]))]
    precision, recall, by_height, wrong = figures(outcomes, 0.3)
    assert (precision, recall, wrong) == (pytest.approx(2 / 3), pytest.approx(2 / 3), 1)
    assert by_height[:3] == [0.5, pytest.approx(np.nan, nan_ok=True), 1.0]
    precision, recall, by_height, wrong = figures(outcomes, 0.7)
    assert (precision, recall, wrong) == (1.0, pytest.approx(1 / 3), 0)
    assert by_height[2] == 0


def test_rendered_people_fill_their_boxes(monkeypatch) -> None:
    drawn, draw = [], crowds.draw
    monkeypatch.setattr(crowds, "draw", lambda *given: drawn.append(draw(*given)) or drawn[-1])
    generator = Generator(3, held_out=True, outfits=4)
    generator.sample(0)
    made = [crowds.crowd(generator, number) for number in range(4)]
    np.testing.assert_array_equal(made[2][0], crowds.crowd(generator, 2)[0])
    heights, away = [], []
    for (image, boxes, seen), (_, owner) in zip(made, drawn, strict=False):
        assert image.shape == (720, 1280, 3)
        assert len(boxes) == len(seen) >= 2
        for row, (box, share) in enumerate(zip(boxes, seen, strict=True)):
            y, x = np.nonzero(owner == row)
            heights.append((box[3] - box[1]) / 720)
            if share > 0.9:
                away.append(np.abs(box - [x.min(), y.min(), x.max(), y.max()]))
            if len(x):
                assert (box[:2] - 2 <= (x.min(), y.min())).all()
                assert (box[2:] + 2 >= (x.max(), y.max())).all()
    assert np.mean(np.array(away) < 3) > 0.9  # the rest are hands behind furniture
    assert min(heights) < 0.2
    assert max(heights) > 0.3


class Known:
    """Finds the people of the demo clip's frames, and one who is nobody, with score 0.5; or nothing."""

    threshold = 0.35

    def __init__(self, settings: config.Detect) -> None:
        self.lowest = settings.threshold

    def find(self, frame, known) -> Boxes:
        boxes = np.array([[5.0, 5, 25, 90], PEOPLE[0]], np.float32)
        return Boxes(frame, boxes, np.array([0.3, 0.5], np.float32), np.zeros(2, np.float32))


def test_the_command_prints_both_tables_and_draws_every_picture(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(pictures, "make_detector", Known)
    monkeypatch.setattr(pictures, "pictures", lambda *folders: iter([marked(), marked()]))
    protocol, by_threshold, by_kind = evaluate.pictures(evaluate.Pictures(thresholds=(0.2, 0.4), sheets=tmp_path))
    assert isinstance(protocol, str)
    assert protocol.startswith("2 pictures, 6 people")
    assert isinstance(by_threshold, Table)
    assert isinstance(by_kind, Table)
    assert by_threshold.rows[0] == ["0.20", "0.50", "0.33", "0.40", "0.50", "-", "0.00", "-", "2"]
    assert by_threshold.rows[1] == ["0.40", "1.00", "0.33", "0.50", "0.50", "-", "0.00", "-", "0"]
    assert by_kind.heads[0] == "pictures, at 0.35"
    assert by_kind.rows == [["made", *by_threshold.rows[1][1:]]]
    sheet = cv2.imread(str(tmp_path / "000_made.jpg"))
    assert sheet is not None
    assert sheet[100, 100, 1] > sheet[100, 100, 2] + 40  # green: found
    assert sheet[100, 300, 2] > sheet[100, 300, 1] + 40  # red: missed


def test_marks_name_frames_and_boxes_inside_them(tmp_path) -> None:
    marks = json.loads(pictures.MARKED.read_text())
    assert len(marks) >= 9
    for frames in marks.values():
        for boxes in frames.values():
            every = np.array(boxes["people"] + boxes["ignored"])
            assert (every[:, 2:] > every[:, :2]).all()
    with pytest.raises(UserError, match=r"gone\.avi: frame 0 cannot be read\. Give the clips with --media"):
        list(pictures.marked(tmp_path / "gone.avi", "clip", marks["vtest.avi"]))


def test_the_demo_clip_shows_its_person_in_every_marked_frame() -> None:
    frames = list(pictures.demo())
    assert [len(one.people) for one in frames] == [1] * 10
    assert {one.image.shape for one in frames} == {(720, 1280, 3)}


def test_pasted_people_and_empty_places() -> None:
    """A stage that paints nothing: the truth is that of the painter."""
    joints = np.zeros((24, 2)) + np.linspace(0, 100, 24)[:, None]
    place = np.zeros((720, 1280, 3), np.uint8)
    people = [SimpleNamespace(joints_px=joints, seen=seen) for seen in (0.9, 0.1)]
    places = SimpleNamespace(floors=[place], studio=[place], rooms=[], flat=[place])
    stage = SimpleNamespace(size=(1280, 720), places=places, paint=lambda *_: (place, people))
    made = list(pictures.pasted(stage))  # type: ignore[arg-type]
    assert [one.kind for one in made] == ["pasted"] * pictures.PASTED + ["nobody"] * 2
    assert (len(made[0].people), len(made[0].ignored), len(made[-1].people)) == (1, 1, 0)


def test_thresholds_are_checked() -> None:
    for wrong in ((), (0.0, 0.5), (1.5,)):
        with pytest.raises(UserError, match=r"--thresholds: give at least one, each above 0 and at most 1"):
            list(evaluate.pictures(evaluate.Pictures(thresholds=wrong)))
