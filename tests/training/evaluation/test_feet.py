import numpy as np
import pytest

pytest.importorskip("torch", reason="training is done in torch: pip install refit-rt[train]")

from tests.support import steps
from training.evaluation import feet

CAMERA = steps.camera()


@pytest.fixture(scope="module")
def walk():
    return steps.walk()


@pytest.fixture(scope="module")
def case(walk) -> feet.Case:
    shown = steps.seen(walk, CAMERA)
    held = feet.planted(shown, CAMERA, steps.BODY, upright=True)
    frames = np.arange(len(shown))
    return feet.cases_of("walk", steps.FPS, shown, held, walk.joints[:, None], frames)[0]


def test_feet_that_stand_are_found_in_the_truth(walk):
    standing = feet.stands(walk.joints[:, feet.FEET], steps.FPS)
    true = np.tile(walk.stands, (1, 2))
    assert (standing == true).mean() > 0.85  # a foot is slow for a moment before and after it stands
    assert not standing[~true].mean() > 0.25


def test_a_foot_that_stands_still_does_not_slide(walk):
    points, standing = walk.joints[:, feet.FEET], np.tile(walk.stands, (1, 2))
    assert feet.steps_mm(points, standing).max() < 0.01
    moving = points + np.arange(len(points))[:, None, None] * [0.003, 0, 0]
    assert feet.steps_mm(moving, standing).mean() == pytest.approx(3, abs=0.01)


def test_a_jump_at_a_lift_counts_and_one_elsewhere_does_not(walk):
    points, standing = walk.joints[:, feet.FEET].copy(), np.tile(walk.stands, (1, 2))
    smooth = feet.jump_mm(points, standing, steps.FPS)
    stood = int(np.flatnonzero(standing[5:, 0])[0]) + 6
    points[stood, 0, 0] += 0.2
    assert standing[stood - 1 : stood + 2, 0].all()
    assert feet.jump_mm(points, standing, steps.FPS) == pytest.approx(smooth)
    lifts = int(np.flatnonzero(standing[:-1, 0] & ~standing[1:, 0])[1]) + 1
    points[lifts, 0, 0] += 0.2
    assert feet.jump_mm(points, standing, steps.FPS) > 300


def test_the_table_says_that_feet_slide_less(case):
    row = dict(zip(("clip", "frames", "slide", "held", "truth"), feet.row_of(case), strict=False))
    assert int(row["frames"]) > 200
    assert float(row["held"]) < 0.6 * float(row["slide"])
    assert float(row["truth"]) < 1.5


def test_frames_without_the_person_are_left_out(walk):
    shown = steps.seen(walk, CAMERA)
    shown = [people.take([]) if 40 <= moment < 50 else people for moment, people in enumerate(shown)]
    held = feet.planted(shown, CAMERA, steps.BODY, upright=True)
    case = feet.cases_of("walk", steps.FPS, shown, held, walk.joints[:, None], np.arange(len(shown)))[0]
    assert np.isnan(case.after[40:50]).all()
    assert np.isfinite(case.after[50:]).all()
    assert "nan" not in " ".join(feet.row_of(case))
