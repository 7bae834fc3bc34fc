"""The whole product, from picture to body, where people are hidden, small, turned, mirrored, replaced, or not there.

The scenes are cut-outs of the demo clip's person in the clip's room. A body is right if its pelvis is within 0.1
heights of the person's and its joints are as far apart as the person's, within a factor of 1.3.
"""

from collections.abc import Iterable

import cv2
import numpy as np
import pytest

from refit_rt import config
from refit_rt.follow import Follower, load_follower
from refit_rt.types import Frame, People
from tests.support.cast import RED, WALKS, WHITE, YELLOW, Cast, Part

FPS = 30
NEAR, FACTOR = 0.1, 1.3
TALL_PX = 400.0
FILTER_OFF = config.Smooth(enabled=False)  # the truth does not trail


@pytest.fixture(scope="module")
def cast() -> Cast:
    return Cast()


@pytest.fixture(scope="module")
def follower() -> Follower:
    return load_follower(config.Settings(smooth=FILTER_OFF))


def play(follower: Follower, pictures: Iterable[np.ndarray], still: bool = False) -> list[People]:
    """Who is in each picture of a clip."""
    follower.forget()
    frames = (Frame("test", k, 100 + k / FPS, k / FPS, one, still=still) for k, one in enumerate(pictures))
    return [follower.step(frame)[1] for frame in frames]


def id_at(people: People, joints: np.ndarray) -> int | None:
    """The id of the body that is right for a person with these joints (24, 2); None: there is none."""
    height = np.ptp(joints[:, 1])
    for number, found in zip(people.ids.tolist(), people.joints_px, strict=True):
        factor = np.linalg.norm(np.ptp(found, axis=0)) / np.linalg.norm(np.ptp(joints, axis=0))
        if np.linalg.norm(found[0] - joints[0]) < NEAR * height and 1 / FACTOR < factor < FACTOR:
            return number
    return None


def walk(step: int, x: float, **other) -> Part:
    """Somebody who walks on the spot."""
    there = step % (2 * len(WALKS) - 2)
    frame = WALKS[min(there, 2 * len(WALKS) - 2 - there)]
    return Part(frame, x=x, height_px=TALL_PX, **other)


def test_a_cut_to_another_place_ends_who_was_there_and_begins_who_is(cast: Cast, follower: Follower) -> None:
    first, second = Part(x=500), Part(40, x=500)
    empty = cast.other_room
    pictures = [cast.paint(cast.room, first)] * 12 + [empty] * 8 + [cast.paint(cast.room, first)] * 12
    pictures += [cast.paint(empty, second)] * 12
    people = play(follower, pictures)
    ids = [one.ids.tolist() for one in people]
    assert ids[8:12] == [ids[8]] * 4
    assert len(ids[8]) == 1
    assert ids[13:20] == [[]] * 7
    assert [id_at(one, cast.joints(second)) for one in people[-6:]] == [ids[-1][0]] * 6
    assert len({*ids[8], *ids[31], *ids[-1]}) == 3


def test_two_people_who_are_dressed_alike_overlap_and_part_and_keep_their_ids(cast: Cast, follower: Follower) -> None:
    steps = range(75)
    ann = [walk(step, 380 + 7.0 * step, sole_y=610.0) for step in steps]
    bob = [walk(step + 20, 900 - 7.0 * step, sole_y=640.0, flip=True) for step in steps]
    people = play(follower, (cast.paint(cast.room, *pair) for pair in zip(ann, bob, strict=True)))
    kept = []
    for who in (ann, bob):
        ids = [id_at(one, cast.joints(part)) for one, part in zip(people, who, strict=True)]
        assert ids[8] is not None
        assert ids[-8:] == [ids[8]] * 8
        kept.append(ids[8])
    assert set(kept) == set(np.concatenate([one.ids for one in people]).tolist())
    assert len(set(kept)) == 2


def test_who_enters_where_another_has_left_is_somebody_else(cast: Cast, follower: Follower) -> None:
    there, other = Part(x=600, shirt=YELLOW), Part(x=600, shirt=RED, trousers=WHITE)
    pictures = [cast.paint(cast.room, there)] * 15 + [cast.room] * 12 + [cast.paint(cast.room, other)] * 20
    people = play(follower, pictures)
    assert id_at(people[14], cast.joints(there)) == people[14].ids[0]
    assert not any(len(one.ids) for one in people[17:27])
    last = id_at(people[-1], cast.joints(other))
    assert last is not None
    assert last != people[14].ids[0]


def test_who_walks_behind_a_pillar_comes_out_with_the_same_id(cast: Cast, follower: Follower) -> None:
    parts = [walk(step, 300 + 7.0 * step) for step in range(85)]
    pictures = [cast.paint(cast.room, part) for part in parts]
    for picture in pictures:
        picture[:, 520:720] = (120, 125, 130)
    people = play(follower, pictures)
    ids = [id_at(one, cast.joints(part)) for one, part in zip(people, parts, strict=True)]
    assert ids[8] is not None
    assert None in ids[35:55]
    assert ids[-8:] == [ids[8]] * 8


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_picture_on_its_side_or_upside_down(cast: Cast, follower: Follower, turns: int) -> None:
    part = Part(x=640)
    picture = np.ascontiguousarray(np.rot90(cast.paint(cast.room, part), turns))
    joints = cast.joints(part)
    for turn in range(turns):  # each a quarter, anticlockwise
        joints = np.column_stack([joints[:, 1], (1279, 719)[turn % 2] - joints[:, 0]])
    people = play(follower, [picture] * 8)[-1]
    assert len(people.ids) == 1
    away = np.linalg.norm(people.joints_px[0] - joints, axis=-1)
    assert away[[0, 12, 4, 5, 7, 8]].max() < 0.12 * TALL_PX  # pelvis, neck, knees, ankles


def test_a_person_of_12_per_cent_of_the_height(cast: Cast, follower: Follower) -> None:
    part = Part(x=1000, sole_y=460, height_px=0.12 * 720)
    people = play(follower, [cast.paint(cast.room, part)] * 10)
    assert [id_at(one, cast.joints(part)) for one in people[-6:]] == [people[-1].ids[0]] * 6


def test_a_mirror_that_is_ignored_shows_nobody(cast: Cast, follower: Follower) -> None:
    part = Part(x=400)
    picture = cast.paint(cast.room, part)
    picture[:, 760:1080] = cv2.flip(picture[:, 240:560], 1)
    assert [len(one.ids) for one in play(follower, [picture] * 8)[-2:]] == [2, 2]
    ignoring = config.Settings(smooth=FILTER_OFF, detect=config.Detect(ignore=((0.58, 0.0, 0.86, 1.0),)))
    people = play(load_follower(ignoring), [picture] * 8)
    assert all(len(one.ids) <= 1 for one in people)
    assert id_at(people[-1], cast.joints(part)) is not None


def test_black_frames_show_nobody_and_the_person_keeps_the_id(cast: Cast, follower: Follower) -> None:
    part = Part(x=640)
    picture, black = cast.paint(cast.room, part), np.zeros((720, 1280, 3), np.uint8)
    people = play(follower, [picture] * 12 + [black] * 4 + [picture] * 12)
    assert not any(len(one.ids) for one in people[12:16])
    assert id_at(people[11], cast.joints(part)) is not None
    assert id_at(people[-1], cast.joints(part)) == id_at(people[11], cast.joints(part))


def test_ten_unrelated_stills_of_mixed_size(cast: Cast, follower: Follower) -> None:
    sizes = [(1280, 720), (640, 480), (480, 640), (1920, 1080), (360, 360)]
    pictures, expected = [], []
    for k in range(10):
        width, height = sizes[k % 5]
        place = cv2.resize(cast.other_room if k % 2 else cast.room, (width, height), interpolation=cv2.INTER_AREA)
        tall = (0.55 + 0.03 * (k % 4)) * height
        parts = [
            Part((110, 40, 55)[(k + n) % 3], width * (0.28 + 0.44 * n), 0.95 * height, tall, (None, RED)[n])
            for n in range(k % 3)
        ]
        pictures.append(cast.paint(place, *parts))
        expected.append(parts)
    people = play(follower, pictures, still=True)
    for one, parts in zip(people, expected, strict=True):
        assert len(one.ids) == len(parts)
        assert None not in [id_at(one, cast.joints(part)) for part in parts]
    ids = np.concatenate([one.ids for one in people])
    assert len(set(ids.tolist())) == len(ids) == 9
