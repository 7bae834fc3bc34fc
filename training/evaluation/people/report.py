"""Runs the cases and reports their figures."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from refit_rt import config
from refit_rt.commands.bench.table import Table
from refit_rt.draw.overlay import contact_sheet
from refit_rt.errors import UserError
from refit_rt.follow import Follower, load_follower
from training.evaluation.people.cases import CASES
from training.evaluation.people.parts import Case, Played
from training.evaluation.people.scenes import Scene, Stage, follow
from training.reporting import write_picture

log = logging.getLogger(__name__)
HEADS = ["case", "asked for", "figure", "value", "aim"]
PROTOCOL = """\
Made scenes: cut-outs of a filmed person, dressed in several ways, before real places. No clock is in it: every frame is
processed. A body is right if its pelvis is within 0.1 heights of the person's and its size within a factor of 1.25. A
person is visible if at least 30 % of the person's pixels are, and followed after three right frames in a row. Settings
are the defaults but for track.max_people ("asked for").
"""
STRIP, STRIP_WIDTH = 8, 320  # pictures of a scene on a sheet, and their width in pixels


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run."""

    media: Path
    panoramas: Path
    names: tuple[str, ...] = ()  # of cases; none: all
    quick: bool = False
    max_people: int | None = None  # in place of what each case asks for
    sheets: Path | None = None
    settings: config.Settings = field(default_factory=config.Settings)


def report(plan: Plan) -> Iterator[str | Table]:
    """Yields one table per case. Raises UserError."""
    unknown = [name for name in plan.names if name not in CASES]
    if unknown:
        raise UserError(f"--case {unknown[0]}: no such case. Give one of {', '.join(CASES)}")
    for folder, what in ((plan.media / "treadmill_4cam", "--media"), (plan.panoramas, "--hdri")):
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder. Give the one that is meant with {what}")
    stage = Stage(plan.media, plan.panoramas)
    followers: dict[tuple[int, bool], Follower] = {}
    for name in plan.names or CASES:
        yield Table(HEADS, rows(name, CASES[name], plan, stage, followers))


def rows(
    name: str, case: Case, plan: Plan, stage: Stage, followers: dict[tuple[int, bool], Follower]
) -> list[list[str]]:
    """The figures of one case, once for each of its settings."""
    scenes = case.scenes(stage)[:: case.every if plan.quick else 1]
    asked = case.asked if plan.max_people is None else (plan.max_people,)
    found = []
    for most in asked:
        for smooth in case.smooth:
            follower = _follower(plan.settings, most, smooth, followers)
            log.info("%s: %d scenes, track.max_people %d", name, len(scenes), most)
            played = [_play(follower, scene, plan, f"{name}_{most}_{i:03}") for i, scene in enumerate(scenes)]
            title = name if len(case.smooth) == 1 else f"{name}, smooth {'on' if smooth else 'off'}"
            found += [[title, str(most or "all"), one.what, one.value, one.aim] for one in case.figures(played)]
    return found


def _follower(settings: config.Settings, most: int, smooth: bool, known: dict[tuple[int, bool], Follower]) -> Follower:
    import msgspec

    if (most, smooth) not in known:
        replace = msgspec.structs.replace
        track, filtered = replace(settings.track, max_people=most), replace(settings.smooth, enabled=smooth)
        known[most, smooth] = load_follower(config.check(replace(settings, track=track, smooth=filtered)))
    return known[most, smooth]


def _play(follower: Follower, scene: Scene, plan: Plan, file: str) -> Played:
    frames, pictures = follow(follower, scene, STRIP if plan.sheets else 0)
    if plan.sheets:
        import cv2

        height = round(pictures[0].shape[0] * STRIP_WIDTH / pictures[0].shape[1])
        small = [cv2.resize(one, (STRIP_WIDTH, height), interpolation=cv2.INTER_AREA) for one in pictures]
        write_picture(plan.sheets / f"{file}.jpg", contact_sheet(small, 4))
    return scene, frames
