"""Scores people followed in a studio against the truth: found, kept, and how far off, in the world."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from training.evaluation.metrics import acceleration_error_mm, acceleration_mm
from training.losses import pa_mpjpe_mm

NEAR_M = 0.5  # between the pelvises of a body and of the person that it may belong to
NOBODY = -1  # in `Matches.row`

Bodies = tuple[np.ndarray, np.ndarray]  # ids (n,), joints_world (n, 24, 3) metres, of one tick


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The people in every tick."""

    joints: np.ndarray  # (ticks, people, 24, 3) metres, world
    present: np.ndarray  # (ticks, people) bool: in the room
    counted: np.ndarray  # (ticks, people) bool: present, and visible enough that a follower must find the person


@dataclass(frozen=True, slots=True, eq=False)
class Score:
    """What a run got right. Errors are means over the counted person-ticks that have a body; NaN: there are none."""

    person_ticks: int  # counted
    recall: float  # share of the counted person-ticks that have a body
    precision: float  # share of the bodies that belong to a person
    identity: float  # share of the counted person-ticks that have the body with the one id of that person
    idf1: float  # the same, against the mean of counted person-ticks and bodies (Ristani et al. 2016)
    switches: int  # how often a person's body has another id than that person's body has had last
    mpjpe_mm: float  # in the world
    pelvis_mpjpe_mm: float  # with both pelvises at the origin
    pa_mpjpe_mm: float  # after Procrustes
    acceleration_mm: float  # mean second difference of the joints, mm per tick squared
    true_acceleration_mm: float  # the same of the truth in the same ticks
    acceleration_error_mm: float  # mean second difference of the error


def matched(run: Sequence[Bodies], truth: Truth) -> np.ndarray:
    """(ticks, people): the row of each person's body in its tick, else NOBODY.

    Each tick is matched by itself: the pairs whose pelvises are at most NEAR_M apart, as near as possible in sum.
    """
    rows = np.full(truth.present.shape, NOBODY)
    for tick, (_, joints) in enumerate(run):
        people = np.flatnonzero(truth.present[tick])
        if not len(people) or not len(joints):
            continue
        apart = np.linalg.norm(truth.joints[tick, people, None, 0] - joints[None, :, 0], axis=-1)
        far = np.where(apart <= NEAR_M, apart, 1e3)
        pairs = [(one, other) for one, other in zip(*linear_sum_assignment(far), strict=True) if far[one, other] < 1e3]
        for one, other in pairs:
            rows[tick, people[one]] = other
    return rows


def score(run: Sequence[Bodies], truth: Truth) -> Score:
    """Scores the bodies of every tick. A body that belongs to a present person who is not counted does no harm.

    Raises ValueError when the run and the truth have different numbers of ticks.
    """
    if len(run) != len(truth.joints):
        raise ValueError(f"{len(run)} ticks of bodies, but {len(truth.joints)} of truth")
    rows = matched(run, truth)
    found = (rows != NOBODY) & truth.counted
    excused = int(((rows != NOBODY) & ~truth.counted).sum())
    counted, bodies = int(truth.counted.sum()), sum(len(ids) for ids, _ in run) - excused
    ids = np.full(rows.shape, NOBODY, np.int64)
    joints = np.full(truth.joints.shape, np.nan)
    for tick, person in np.argwhere(found):
        ids[tick, person] = run[tick][0][rows[tick, person]]
        joints[tick, person] = run[tick][1][rows[tick, person]]
    kept = _kept(ids, found)
    return Score(
        person_ticks=counted,
        recall=_share(int(found.sum()), counted),
        precision=_share(int(found.sum()), bodies),
        identity=_share(kept, counted),
        idf1=_share(2 * kept, counted + bodies),
        switches=_switches(ids, found),
        **_errors(joints[found], truth.joints[found]),
        **_accelerations(joints, truth.joints),
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _kept(ids: np.ndarray, found: np.ndarray) -> int:
    """Person-ticks with the right id, when each person owns at most one id and each id at most one person."""
    known = np.unique(ids[found])
    together = np.array([[(found[:, person] & (ids[:, person] == one)).sum() for one in known]
                         for person in range(ids.shape[1])]).reshape(ids.shape[1], len(known))  # fmt: skip
    people, owned = linear_sum_assignment(together, maximize=True)
    return int(together[people, owned].sum())


def _switches(ids: np.ndarray, found: np.ndarray) -> int:
    return sum(int((np.diff(ids[found[:, person], person]) != 0).sum()) for person in range(ids.shape[1]))


def _errors(joints: np.ndarray, true_joints: np.ndarray) -> dict[str, float]:
    """Mean errors of bodies (n, 24, 3) metres."""
    if not len(joints):
        return dict.fromkeys(("mpjpe_mm", "pelvis_mpjpe_mm", "pa_mpjpe_mm"), float("nan"))
    centred, true_centred = joints - joints[:, :1], true_joints - true_joints[:, :1]
    aligned = pa_mpjpe_mm(torch.from_numpy(centred).double(), torch.from_numpy(true_centred).double())
    return {
        "mpjpe_mm": float(np.linalg.norm(joints - true_joints, axis=-1).mean() * 1000),
        "pelvis_mpjpe_mm": float(np.linalg.norm(centred - true_centred, axis=-1).mean() * 1000),
        "pa_mpjpe_mm": float(aligned.mean()),
    }


def _accelerations(joints: np.ndarray, true_joints: np.ndarray) -> dict[str, float]:
    """Means over the moments in the middle of three ticks in which a person has a body; joints without one are NaN."""
    names = ("acceleration_mm", "true_acceleration_mm", "acceleration_error_mm")
    rows = []
    for person in range(joints.shape[1]):
        own, true = joints[:, person], true_joints[:, person]
        if len(own) < 3:
            continue
        error = acceleration_error_mm(own, true)
        rows.append(np.stack([acceleration_mm(own), acceleration_mm(true), error], 1)[np.isfinite(error)])
    every = np.concatenate(rows) if rows else np.zeros((0, 3))
    means = every.mean(0) if len(every) else np.full(3, np.nan)
    return {name: float(value) for name, value in zip(names, means, strict=True)}
