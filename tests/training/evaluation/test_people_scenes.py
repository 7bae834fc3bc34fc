"""Made scenes: the truth agrees with the painted pixels, and a follower that knows the truth passes every case."""

import logging
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="training.evaluate needs torch: pip install refit-rt[train]")

from refit_rt.errors import UserError
from refit_rt.files import ASSETS
from training import evaluate
from training.evaluation.people import alone, cutouts, parts, report
from training.evaluation.people.cases import CASES
from training.evaluation.people.cutouts import Actor
from training.evaluation.people.painting import Canvas, Look, Wardrobe, dressed
from training.evaluation.people.scenes import Scene, Stage, follow

WIDTH, HEIGHT, TALL, PELVIS_ROW = 60, 220, 200, 110


def block_actor(name: str = "block", frames: int = 4) -> Actor:
    """A person who is a bright block of 40x200 px in cut-outs of 60x220, pelvis in the middle of the body."""
    pictures = np.zeros((frames, HEIGHT, WIDTH, 4), np.uint8)
    pictures[:, 10 : 10 + TALL, 10:50] = (90, 140, 210, 255)
    joints = np.tile([29.5, float(PELVIS_ROW)], (frames, 24, 1))
    joints[:, [12, 16, 17], 1], joints[:, 15, 1] = 50, 20
    joints[:, [4, 5], 1], joints[:, [7, 8, 10, 11], 1] = 160, 205
    joints[:, [1, 4, 7, 16, 18], 0], joints[:, [2, 5, 8, 17, 19], 0] = 40, 20
    return Actor(name, pictures, joints, float(TALL), np.full(frames, 9 + TALL))


@pytest.fixture(scope="module")
def wardrobe() -> Wardrobe:
    return Wardrobe([block_actor(str(i)) for i in range(4)])


def changed(image: np.ndarray, place: np.ndarray) -> np.ndarray:
    return np.abs(image.astype(int) - place).max(2) > 60


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(("x", "sole", "tall"), [(150.0, 280.0, 200.0), (150.5, 270.25, 100.0), (61.3, 299.0, 260.0)])
def test_joints_lie_where_the_person_is_painted(wardrobe, x, sole, tall, flip):
    place = np.zeros((300, 300, 3), np.uint8)
    canvas = Canvas(place, wardrobe)
    canvas.add("A", Look(0, flip=flip), 0.0, x, sole, tall)
    (person,) = canvas.people()
    rows, columns = np.nonzero(changed(canvas.image, place))
    assert person.seen == 1
    np.testing.assert_allclose(columns.mean(), x, atol=0.6)
    np.testing.assert_allclose(rows.max(), sole, atol=1.1)
    np.testing.assert_allclose(np.ptp(rows) + 1, tall, atol=2)
    np.testing.assert_allclose(person.joints_px[0], (x, sole - tall * (209 - PELVIS_ROW) / TALL), atol=0.6)
    left, right = person.joints_px[1, 0], person.joints_px[2, 0]
    assert (left < right) == flip


def test_what_hides_a_person_lowers_the_share_that_is_seen(wardrobe):
    place = np.zeros((300, 300, 3), np.uint8)
    canvas = Canvas(place, wardrobe)
    canvas.add("A", Look(0), 0.0, 150, 280, 200)
    canvas.add("B", Look(1), 0.0, 170, 280, 200)  # covers half of A's 40 px
    canvas.add("C", Look(1), 0.0, 300, 280, 200)  # half outside
    canvas.add("D", Look(1), 0.0, 400, 280, 200)
    canvas.cover(180, 230, np.full((300, 50, 3), 255, np.uint8))  # a quarter of B
    seen = [person.seen for person in canvas.people()]
    np.testing.assert_allclose(seen, (0.5, 0.75, 0.5, 0), atol=0.03)


def test_clothes_change_the_colours_and_not_the_outline():
    actor = block_actor()
    plain = actor.pictures[0]
    worn = dressed(plain, actor.joints_px[0], Look(0, shirt=(30, 160, 30)))
    np.testing.assert_array_equal(worn[..., 3], plain[..., 3])
    chest, shin = (75, 30), (195, 30)
    assert int(worn[chest][1]) > int(worn[chest][2]) + 40
    assert np.abs(worn[shin].astype(int) - plain[shin]).max() < 4


def test_an_actor_walks_forwards_and_backwards():
    shown = [block_actor().at(index / cutouts.FPS) for index in range(8)]
    assert shown == [0, 1, 2, 3, 2, 1, 0, 1]


def test_a_person_is_cut_out_of_a_still_camera_by_a_body_that_fits_badly():
    random = np.random.default_rng(0)
    empty = cv2.GaussianBlur(random.integers(0, 255, (400, 300, 3), np.uint8), (0, 0), 3)
    solid = np.zeros((400, 300), np.uint8)
    cv2.ellipse(solid, (150, 200), (40, 140), 0, 0, 360, 1, -1)
    image = np.where(solid[..., None] > 0, np.array([200, 60, 230], np.uint8), empty)
    image = np.clip(image + random.normal(0, 2, image.shape), 0, 255).astype(np.uint8)
    body = np.roll(solid, 9, axis=1)
    found = cutouts._opacity(image, empty, body) > 127
    overlap = (found & (solid > 0)).sum() / (found | (solid > 0)).sum()
    assert overlap > 0.94  # the rim is cut a pixel inside


class Prophet:
    """A follower that publishes the truth, or what `change` makes of it."""

    def __init__(self, change=lambda index, people: people) -> None:
        self.change, self.forgotten = change, 0
        self.truth: Iterator[Any] = iter(())

    def forget(self) -> None:
        self.forgotten += 1

    def step(self, frame):
        people = self.change(frame.index, {p.name: p for p in next(self.truth) if p.seen > 0.02})
        joints = np.array([p.joints_px for p in people.values()]).reshape(-1, 24, 2)
        ids = np.array([self.id_of(name) for name in people], int)
        depth = np.full((len(ids), 24, 3), 4.0)
        return frame, SimpleNamespace(ids=ids, joints_px=joints, joints_camera=depth, confidence=np.ones(len(ids)))

    @staticmethod
    def id_of(name: str) -> int:
        return int.from_bytes(name.encode()[-7:], "big")


def played(scenes: list[Scene], prophet: Any) -> list[parts.Played]:
    out = []
    for scene in scenes:
        prophet.truth = iter([truth for _, truth in scene.play()])
        out.append((scene, follow(prophet, scene)[0]))
    return out


@pytest.fixture(scope="module")
def stage(wardrobe) -> Stage:
    """Small scenes of blocks before noise; no recording is needed."""
    stage: Any = Stage(ASSETS, ASSETS, (320, 180))
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 255, (180, 320, 3), np.uint8) for _ in range(12)]
    stage.places = SimpleNamespace(studio=pictures[:6], rooms=pictures[2:], floors=pictures, flat=pictures[:3])
    stage.__dict__["wardrobe"] = wardrobe
    stage.sized = lambda size: stage
    return stage


PERFECT = {  # what each case reports of a follower that knows the truth
    "pairs": ["0 of ", "0.00 s / 0.00 s", "0 of ", "100.0 %"],
    "several": ["0.00 s", "100.0 %"],
    "crossings": ["0 of ", "0 of ", "0 of ", "2.0 per crossing", "0.00 s", "100.0 %"],
    "hugs": ["3 of 3", "0.00 s", "100.0 %"],
    "pillar": ["3 of 3 (swapped 0, new 0, lost 0)", "3 of 3 (swapped 0, new 0, lost 0)", "100.0 %"],
    "mirror": ["0 of 2", "100 %"],
    "cuts": ["0 of ", "0 of ", "0 of ", "0 of "],
    "leaving": ["0 of ", "0", "0 of ", "0 of "],
    "entering": ["0.00 s / 0.00 s"],
    "replaced": ["3 of 3", "3 of 3"],
    "black": ["2 of 2", "0"],
    "roll": ["0.0 %, 0.0 %"] * 3,
    "slide": ["0.00 %", "0.000 %"],
    "small": ["1 of 1, pelvis off by 0.0 %"] * 4,
}


@pytest.mark.parametrize("name", PERFECT)
def test_a_follower_that_knows_the_truth_passes(stage, name):
    scenes = CASES[name].scenes(stage)
    chosen = scenes[:: {"several": 9, "pairs": 9, "crossings": 7, "hugs": 3, "mirror": 2, "black": 3}.get(name, 1)]
    chosen = {
        "pillar": scenes[:6:2] + scenes[9::3],
        "cuts": [*scenes[:162:13], scenes[-1]],
        "leaving": scenes[::5],
        "entering": scenes[::5],
        "replaced": scenes[::4],
        "roll": scenes[::4],
        "slide": scenes[::5],
        "small": scenes[::4],
    }.get(name, chosen)
    found = [figure.value for figure in CASES[name].figures(played(chosen, Prophet()))]
    for value, start in zip(found, PERFECT[name], strict=False):
        assert value.startswith(start), (name, found)


def test_exchanged_ids_are_counted_in_crossings(stage):
    def exchange(index, people):
        return people if index < 40 else {{"A": "B", "B": "A"}[name]: person for name, person in people.items()}

    scenes = [scene for scene in CASES["crossings"].scenes(stage) if "1 heights/s, 30 fps" in scene.name]
    figures = CASES["crossings"].figures(played(scenes, Prophet(exchange)))
    assert figures[0].value == f"{len(scenes)} of {len(scenes)}"


def test_bodies_after_a_cut_are_counted(stage):
    last = {}

    def keep(index, people):
        last.update(people)
        return people or (last if index < 15 else {})  # the cut is at frame 12

    scenes = [scene for scene in CASES["cuts"].scenes(stage) if scene.facts["kind"] == "flat"]
    found = CASES["cuts"].figures(played(scenes[:4], Prophet(keep)))
    assert (found[0].value, found[1].value) == ("4 of 4", "4 of 4")


def test_a_body_that_stays_outside_and_a_dwarf_are_counted(stage):
    last = {}

    def linger(index, people):
        last.update(people)
        small = {name: SimpleNamespace(joints_px=p.joints_px * 0.5) for name, p in people.items() if p.seen < 0.9}
        return small or last

    found = {
        f.what: f.value for f in CASES["leaving"].figures(played(CASES["leaving"].scenes(stage)[:4], Prophet(linger)))
    }
    assert found["a body after the last pixel"] == "4 of 4"
    assert found["a dwarf at the edge"] == "4 of 4"


def test_a_trail_is_measured_in_heights(stage):
    def behind(index, people):  # three frames late, at 0.6 heights per second and 30 fps
        return {n: SimpleNamespace(joints_px=p.joints_px - (0.06 * p.height_px if index > 45 else 0, 0))
                for n, p in people.items()}  # fmt: skip

    scenes = [scene for scene in alone.slides(stage) if scene.facts["way"] > 0]
    assert alone.slide_figures(played(scenes[:1], Prophet(behind)))[0].value == "6.00 % of the height"


def test_every_case_is_painted_the_same_way_each_time(stage):
    for name in ("pairs", "hugs", "cuts"):
        one, other = (CASES[name].scenes(stage)[1] for _ in range(2))
        for (first, truth), (second, again), _ in zip(one.play(), other.play(), range(4), strict=False):
            np.testing.assert_array_equal(first, second)
            assert [p.seen for p in truth] == [p.seen for p in again]


def test_the_product_is_asked_to_forget_before_each_scene(stage):
    prophet = Prophet()
    played(CASES["black"].scenes(stage)[:2], prophet)
    assert prophet.forgotten == 2


def test_a_wrong_case_and_a_missing_folder_are_reported(tmp_path, monkeypatch, caplog):
    with pytest.raises(UserError, match=r"--case gone: no such case\. Give one of pairs, several"):
        list(report.report(report.Plan(tmp_path, tmp_path, ("gone",))))
    command = ["evaluate", "people", "--media", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", command)
    with caplog.at_level(logging.ERROR):
        assert evaluate.main() == 2
    assert "treadmill_4cam: no such folder. Give the one that is meant with --media" in caplog.text
