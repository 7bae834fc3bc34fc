"""The score of a studio run: bodies that follow the truth, exchange ids, miss people, or stand where nobody is."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="the measures of training need torch: pip install refit-rt[train]")

from training.evaluation.studio_score import NOBODY, Bodies, Truth, matched, score

TICKS, PEOPLE = 20, 3


@pytest.fixture
def truth() -> Truth:
    """Three people who walk side by side, 1.5 m apart."""
    rng = np.random.default_rng(0)
    body = rng.normal(0, 0.4, (PEOPLE, 24, 3))
    body[:, 0] = [0.0, 0.95, 0.0]
    places = np.arange(PEOPLE)[:, None] * [1.5, 0, 0] + np.arange(TICKS)[:, None, None] * [0, 0, 0.04]
    everywhere = np.ones((TICKS, PEOPLE), bool)
    return Truth(body + places[:, :, None], everywhere, everywhere)


def run_of(truth: Truth) -> list[Bodies]:
    return [(np.array([7, 8, 9]), joints.copy()) for joints in truth.joints]


def test_the_truth_itself_is_right(truth: Truth):
    found = score(run_of(truth), truth)
    assert (found.recall, found.precision, found.identity, found.idf1, found.switches) == (1, 1, 1, 1, 0)
    assert found.person_ticks == TICKS * PEOPLE
    assert max(found.mpjpe_mm, found.pelvis_mpjpe_mm, found.pa_mpjpe_mm, found.acceleration_error_mm) < 1e-6


def test_two_exchanged_ids_cost_the_shorter_part(truth: Truth):
    run = run_of(truth)
    for tick in range(12, TICKS):
        run[tick] = (np.array([8, 7, 9]), run[tick][1])
    found = score(run, truth)
    assert found.identity == pytest.approx(1 - 2 * 8 / 60)
    assert found.switches == 2
    assert (found.recall, found.precision) == (1, 1)


def test_bodies_on_each_others_place_are_as_wrong_as_exchanged_ids(truth: Truth):
    run = run_of(truth)
    for tick in range(12, TICKS):
        run[tick] = (run[tick][0], run[tick][1][[1, 0, 2]])
    assert score(run, truth).identity == pytest.approx(1 - 2 * 8 / 60)


def test_a_new_id_after_a_gap_is_one_switch(truth: Truth):
    run = run_of(truth)
    for tick in range(5, 8):
        run[tick] = (run[tick][0][:2], run[tick][1][:2])
    for tick in range(8, TICKS):
        run[tick] = (np.array([7, 8, 10]), run[tick][1])
    found = score(run, truth)
    assert found.switches == 1
    assert found.recall == pytest.approx(57 / 60)
    assert found.identity == pytest.approx((40 + 12) / 60)
    assert found.precision == 1


def test_a_missing_person_lowers_recall_alone(truth: Truth):
    run = [(ids[:2], joints[:2]) for ids, joints in run_of(truth)]
    found = score(run, truth)
    assert found.recall == found.identity == pytest.approx(2 / 3)
    assert found.precision == 1
    assert found.idf1 == pytest.approx(2 * 40 / (60 + 40))


def test_a_ghost_lowers_precision_alone(truth: Truth):
    ghosts = [(np.append(ids, 50), np.concatenate([joints, joints[:1] - [2, 0, 0]])) for ids, joints in run_of(truth)]
    found = score(ghosts, truth)
    assert found.precision == pytest.approx(3 / 4)
    assert (found.recall, found.identity, found.switches) == (1, 1, 0)


def test_a_body_farther_than_half_a_metre_belongs_to_nobody(truth: Truth):
    run = run_of(truth)
    run[4][1][0] += [0.0, 0.0, 0.51]
    assert matched(run, truth)[4, 0] == NOBODY
    run[4][1][0] -= [0.0, 0.0, 0.02]
    assert matched(run, truth)[4, 0] == 0


def test_a_hidden_person_is_neither_missed_nor_a_ghost(truth: Truth):
    counted = truth.counted.copy()
    counted[:, 2] = False
    hidden = replace(truth, counted=counted)
    run = run_of(truth)
    assert score(run, hidden).precision == 1
    without = [(ids[:2], joints[:2]) for ids, joints in run]
    assert (score(without, hidden).recall, score(without, hidden).person_ticks) == (1, TICKS * 2)


def test_a_shift_is_an_error_in_the_world_only(truth: Truth):
    run = [(ids, joints + np.array([0.03, 0.0, 0.04])) for ids, joints in run_of(truth)]
    found = score(run, truth)
    assert found.mpjpe_mm == pytest.approx(50, abs=1e-6)
    assert found.pelvis_mpjpe_mm == pytest.approx(0, abs=1e-6)


def test_a_body_of_another_size_is_no_error_after_procrustes(truth: Truth):
    run = [(ids, joints[:, :1] + 1.1 * (joints - joints[:, :1])) for ids, joints in run_of(truth)]
    found = score(run, truth)
    assert found.pelvis_mpjpe_mm > 20
    assert found.pa_mpjpe_mm == pytest.approx(0, abs=1e-6)


def test_jitter_is_seen_in_the_second_difference(truth: Truth):
    shaken = [
        (ids, joints + np.array([0.005 * (-1) ** tick, 0, 0])) for tick, (ids, joints) in enumerate(run_of(truth))
    ]
    found = score(shaken, truth)
    assert found.acceleration_mm == pytest.approx(20, abs=1e-6)  # 5 mm to and fro: 5 + 2 * 5 + 5
    assert found.acceleration_error_mm == pytest.approx(20, abs=1e-6)
    assert found.true_acceleration_mm == pytest.approx(0, abs=1e-6)


def test_nobody_at_all_has_no_errors(truth: Truth):
    nobody = [(np.zeros(0, np.int64), np.zeros((0, 24, 3)))] * TICKS
    found = score(nobody, truth)
    assert (found.recall, found.identity, found.switches) == (0, 0, 0)
    assert np.isnan([found.precision, found.mpjpe_mm, found.acceleration_mm]).all()


def test_another_number_of_ticks_is_refused(truth: Truth):
    with pytest.raises(ValueError, match="19 ticks of bodies, but 20 of truth"):
        score(run_of(truth)[:-1], truth)
