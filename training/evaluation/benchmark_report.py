"""The benchmark's tables: errors per iteration, errors of parts of the set, and the steadiness of followed people."""

from collections.abc import Iterator

import numpy as np
import torch

from refit_rt.body.smpl import load_body
from refit_rt.commands.bench.table import Table
from training.evaluation import metrics
from training.evaluation.benchmark import EVERY, KINDS, MEASURES, Scores
from training.evaluation.smoothed import published_joints
from training.losses import mpjpe_mm, pa_mpjpe_mm

HEADS = ("MPJPE mm", "PA-MPJPE mm", "PVE mm", "px of 256")
RIGHT_PX = 15.0  # largest mean error of the backbone's limb landmarks that counts as right
WELL, HALF = 0.9, 0.5  # visible shares of the surface
STILLS, CLIPS, LONG_CLIPS = range(len(KINDS))
QUARTERS = 4  # of a long clip: 10 s each


def report(scores: Scores, live: int) -> Iterator[Table]:
    """Yields all tables for which the set has rows."""
    yield _iterations(scores)
    yield _parts(scores, live)
    if (scores.chains.place > 1).any():
        yield _steadiness(scores, live)


def _cells(values: np.ndarray) -> list[str]:
    """Mean and median of each column of (n, MEASURES), or "-" for a column without values."""
    cells = []
    for column in values.T:
        known = column[~np.isnan(column)]
        cells.append(f"{known.mean():.1f} / {np.median(known):.1f}" if len(known) else "-")
    return cells


def _iterations(scores: Scores) -> Table:
    """Errors per iteration: of stills, cold, and of the same rows of clips, cold and followed."""
    kind, later = scores.chains.kind, scores.chains.place > 0
    rows = []
    for name, group in (("stills", kind == STILLS), ("clips", (kind == CLIPS) & later)):
        ways = [("cold", scores.cold)] + ([("warm", scores.warm[0])] if later[group].any() else [])
        for way, errors in ways if group.any() else []:
            count = str(group.sum())
            rows += [[f"{name}, {way} {i}", count, *_cells(errors[group, i])] for i in range(errors.shape[1])]
    return Table(["set, start, iterations", "rows", *HEADS], rows)


def _parts(scores: Scores, live: int) -> Table:
    """Errors of stills, cold after the last iteration, and of clips, cold and followed, by what the pictures show."""
    seen, off, away = scores.visible, scores.landmarks_px, scores.facing_away
    groups = {
        f"at least {WELL:.0%} of the surface visible": seen >= WELL,
        f"{HALF:.0%} to {WELL:.0%} visible": (seen >= HALF) & (seen < WELL),
        f"less than {HALF:.0%} visible": seen < HALF,
        f"backbone's landmarks right (< {RIGHT_PX:.0f} px)": off <= RIGHT_PX,
        "backbone's landmarks wrong": off > RIGHT_PX,
        "facing the camera": away < -0.5,
        "from the side": np.abs(away) <= 0.5,
        "from behind": away > 0.5,
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
    return Table(["part", "rows", *HEADS], rows)


def _steadiness(scores: Scores, live: int) -> Table:
    """Jitter of followed people compared with cold fits, and whether their error grows over time."""
    rows = []
    for kind, rate, every in [(CLIPS, 0, 1), *((LONG_CLIPS, rate, every) for rate, every in enumerate(EVERY))]:
        group = scores.chains.kind == kind
        chains = scores.chains.chain
        members = [np.flatnonzero(group & (chains == one))[::every] for one in np.unique(chains[group])]
        members = [one for one in members if len(one) > 2]
        if members:
            title = f"{KINDS[kind]}, {_rates(scores.chains.fps[group] / every)} fps"
            rows += _steady_rows(scores, members, rate, title, live)
    heads = [
        "set, start, iterations",
        "people",
        "MPJPE mm",
        "PA-MPJPE mm",
        "jitter mm",
        "jitter / cold",
        "acceleration error",
        "restarts %",
        "MPJPE of each quarter",
    ]
    return Table(heads, rows)


def _rates(fps: np.ndarray) -> str:
    found = sorted(set(fps.tolist()))
    return f"{found[0]:g}" if len(found) == 1 else f"{found[0]:g} to {found[-1]:g}"


def _steady_rows(scores: Scores, members: list[np.ndarray], rate: int, title: str, live: int) -> list[list[str]]:
    """The rows of cold fits, followed fits and the truth. members: the rows of each person, in order."""
    everyone, last = np.concatenate(members), scores.cold.shape[1] - 1
    followed = scores.warm[rate][:, live].copy()
    first = scores.chains.place == 0
    followed[first] = scores.cold[first, -1]
    restarts = f"{100 * scores.restarted[rate][everyone].mean():.1f}"
    published_points, published_errors = _published(scores, members, rate)
    ways = [
        (f"cold {last}", scores.cold_joints, scores.cold[:, -1], ""),
        (f"warm {live}", scores.warm_joints[rate], followed, restarts),
        (f"warm {live}, published", published_points, published_errors, ""),
        ("truth", scores.true_joints, None, ""),
    ]
    rows, cold_jitter = [], 0.0
    for name, joints, errors, restarted in ways:
        jitter = np.concatenate([metrics.acceleration_mm(joints[one]) for one in members]).mean()
        cold_jitter = cold_jitter or jitter
        row = [f"{title}: {name}", str(len(members))]
        shake = [f"{jitter:.1f}", f"{jitter / cold_jitter:.2f}"]
        if errors is None:
            rows.append([*row, "", "", *shake, "", "", ""])
            continue
        off = np.concatenate([metrics.acceleration_error_mm(joints[one], scores.true_joints[one]) for one in members])
        split = [np.array_split(one, QUARTERS) for one in members]
        quarters = [np.concatenate(parts) for parts in zip(*split, strict=True)]
        mm = errors[everyone].mean(0)[[MEASURES.index("mpjpe"), MEASURES.index("pa")]]
        drift = [f"{errors[quarter, 0].mean():.0f}" if len(quarter) else "-" for quarter in quarters]
        rows.append([*row, f"{mm[0]:.1f}", f"{mm[1]:.1f}", *shake, f"{off.mean():.1f}", restarted, " ".join(drift)])
    return rows


def _published(scores: Scores, members: list[np.ndarray], rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Followed people as they are published: joints (n, 24, 3) and errors (n, MEASURES), NaN for all other rows."""
    body = load_body()
    joints, errors = np.full_like(scores.true_joints, np.nan), np.full_like(scores.cold[:, 0], np.nan)
    for one in members:
        apart = int(scores.chains.place[one[1]] - scores.chains.place[one[0]])
        fps = float(scores.chains.fps[one[0]]) / apart
        followed = (scores.warm_poses[rate, one], scores.warm_betas[rate, one], scores.warm_confidence[rate, one])
        joints[one] = published_joints(*followed, fps, body)
        found, true = (torch.from_numpy(points[one]) for points in (joints, scores.true_joints))
        errors[one, MEASURES.index("mpjpe")] = mpjpe_mm(found, true).numpy()
        errors[one, MEASURES.index("pa")] = pa_mpjpe_mm(found, true).numpy()
    return joints, errors
