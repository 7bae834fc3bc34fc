"""What the benchmark says: tables of errors an iteration, of parts of the set, and of how followed people hold."""

import numpy as np
import torch

from refit_rt.body.smpl import load_body
from training.evaluation import metrics
from training.evaluation.benchmark import EVERY, KINDS, MEASURES, Scores
from training.evaluation.smoothed import joints_as_sent
from training.losses import mpjpe_mm, pa_mpjpe_mm

HEAD = ("MPJPE mm", "PA-MPJPE mm", "PVE mm", "px of 256")
RIGHT_PX = 15.0  # mean error of the backbone's own limb landmarks up to which it saw the person right
WELL, HALF = 0.9, 0.5  # shares of the surface that is seen
STILLS, CLIPS, LONG_CLIPS = range(len(KINDS))
QUARTERS = 4  # of a long clip: 10 s each


def report(scores: Scores, live: int) -> str:
    """All tables that the set has rows for."""
    parts = [_iterations(scores), _parts(scores, live)]
    if (scores.chains.place > 1).any():
        parts.append(_steadiness(scores, live))
    return "\n\n".join(parts)


def _cells(values: np.ndarray) -> list[str]:
    """(n, MEASURES) → mean and median of each; - where there is none."""
    cells = []
    for column in values.T:
        known = column[~np.isnan(column)]
        cells.append(f"{known.mean():.1f} / {np.median(known):.1f}" if len(known) else "-")
    return cells


def _iterations(scores: Scores) -> str:
    """Stills cold; clips cold and followed, the same rows."""
    kind, again = scores.chains.kind, scores.chains.place > 0
    rows = []
    for name, group in (("stills", kind == STILLS), ("clips", (kind == CLIPS) & again)):
        ways = [("cold", scores.cold)] + ([("warm", scores.warm[0])] if again[group].any() else [])
        for way, errors in ways if group.any() else []:
            rows += [[f"{name}, {way} {i}", str(group.sum()), *_cells(errors[group, i])]
                     for i in range(errors.shape[1])]  # fmt: skip
    return metrics.table(["set, start, iterations", "rows", *HEAD], rows)


def _parts(scores: Scores, live: int) -> str:
    """Stills cold after the last iteration, and clips cold and followed, by what the pictures are like."""
    seen, off, away = scores.visible, scores.landmarks_px, scores.away
    groups = {
        f"{WELL:.0%} of the surface seen or more": seen >= WELL,
        f"{HALF:.0%} to {WELL:.0%} seen": (seen >= HALF) & (seen < WELL),
        f"less than {HALF:.0%} seen": seen < HALF,
        f"backbone's landmarks right (< {RIGHT_PX:.0f} px)": off <= RIGHT_PX,
        "backbone's landmarks wrong": off > RIGHT_PX,
        "faces the camera": away < -0.5,
        "from the side": np.abs(away) <= 0.5,
        "turns the back": away > 0.5,
    }
    stills = scores.chains.kind == STILLS
    clips = (scores.chains.kind == CLIPS) & (scores.chains.place > 0)
    last = scores.cold.shape[1] - 1
    rows = []
    for name, group in groups.items():
        sets = [
            (f"stills, cold {last}", stills, scores.cold[:, -1]),
            (f"clips, cold {last}", clips, scores.cold[:, -1]),
            (f"clips, warm {live}", clips, scores.warm[0][:, live]),
        ]
        for title, members, errors in sets:
            if (members & group).any():
                rows.append([f"{name}: {title}", str((members & group).sum()), *_cells(errors[members & group])])
    return metrics.table(["part", "rows", *HEAD], rows)


def _steadiness(scores: Scores, live: int) -> str:
    """How much followed people shake beside cold ones, and whether the error grows."""
    rows = []
    for kind, rate, every in [(CLIPS, 0, 1), *((LONG_CLIPS, rate, every) for rate, every in enumerate(EVERY))]:
        group = scores.chains.kind == kind
        members = [np.flatnonzero(group & (scores.chains.chain == one))[::every]
                   for one in np.unique(scores.chains.chain[group])]  # fmt: skip
        members = [one for one in members if len(one) > 2]
        if members:
            title = f"{KINDS[kind]}, {_rates(scores.chains.fps[group] / every)} a second"
            rows += _steady_rows(scores, members, rate, title, live)
    head = ["set, start, iterations", "people", "MPJPE mm", "PA-MPJPE mm", "jitter mm", "over cold's",
            "acceleration error", "started anew %", "MPJPE of each quarter"]  # fmt: skip
    return metrics.table(head, rows)


def _rates(fps: np.ndarray) -> str:
    found = sorted(set(fps.tolist()))
    return f"{found[0]:g}" if len(found) == 1 else f"{found[0]:g} to {found[-1]:g}"


def _steady_rows(scores: Scores, members: list[np.ndarray], rate: int, title: str, live: int) -> list[list[str]]:
    """Lines for cold, followed and the truth of people whose rows are given each in order."""
    everyone, last = np.concatenate(members), scores.cold.shape[1] - 1
    followed = scores.warm[rate][:, live].copy()
    first = scores.chains.place == 0
    followed[first] = scores.cold[first, -1]
    anew = f"{100 * scores.restarted[rate][everyone].mean():.1f}"
    sent_joints, sent = _as_sent(scores, members, rate)
    ways = [(f"cold {last}", scores.cold_joints, scores.cold[:, -1], ""),
            (f"warm {live}", scores.warm_joints[rate], followed, anew),
            (f"warm {live}, as sent", sent_joints, sent, ""),
            ("truth", scores.true_joints, None, "")]  # fmt: skip
    rows, cold_jitter = [], 0.0
    for name, joints, errors, restarts in ways:
        jitter = np.concatenate([metrics.acceleration_mm(joints[one]) for one in members]).mean()
        cold_jitter = cold_jitter or jitter
        row = [f"{title}: {name}", str(len(members))]
        if errors is None:
            rows.append([*row, "", "", f"{jitter:.1f}", f"{jitter / cold_jitter:.2f}", "", "", ""])
            continue
        off = np.concatenate([metrics.acceleration_error_mm(joints[one], scores.true_joints[one]) for one in members])
        quarters = [np.concatenate(parts) for parts in zip(*(np.array_split(one, QUARTERS) for one in members),
                                                           strict=True)]  # fmt: skip
        mm = errors[everyone].mean(0)[[MEASURES.index("mpjpe"), MEASURES.index("pa")]]
        drift = [f"{errors[quarter, 0].mean():.0f}" if len(quarter) else "-" for quarter in quarters]
        rows.append([*row, f"{mm[0]:.1f}", f"{mm[1]:.1f}", f"{jitter:.1f}", f"{jitter / cold_jitter:.2f}",
                     f"{off.mean():.1f}", restarts, " ".join(drift)])  # fmt: skip
    return rows


def _as_sent(scores: Scores, members: list[np.ndarray], rate: int) -> tuple[np.ndarray, np.ndarray]:
    """What a subscriber gets of followed people: joints (n, 24, 3) and errors (n, MEASURES), NaN for everyone else."""
    body, joints, errors = (
        load_body(),
        np.full_like(scores.true_joints, np.nan),
        np.full_like(scores.cold[:, 0], np.nan),
    )
    for one in members:
        apart = int(scores.chains.place[one[1]] - scores.chains.place[one[0]])
        fps = float(scores.chains.fps[one[0]]) / apart
        joints[one] = joints_as_sent(scores.warm_poses[rate, one], scores.warm_betas[rate, one], fps, body)
        found, true = (torch.from_numpy(points[one]) for points in (joints, scores.true_joints))
        errors[one, MEASURES.index("mpjpe")] = mpjpe_mm(found, true).numpy()
        errors[one, MEASURES.index("pa")] = pa_mpjpe_mm(found, true).numpy()
    return joints, errors
