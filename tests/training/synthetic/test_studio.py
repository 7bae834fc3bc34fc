"""The rendered studio: its pictures, rig and truth agree, people stand on the floor, and a hug keeps bodies apart."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from refit_rt.body.smpl import Body, load_body
from refit_rt.cameras import read_rig
from refit_rt.errors import UserError
from training.synthetic import people, studio_hug, studio_plays
from training.synthetic.figure import make_figure
from training.synthetic.motion import Motion
from training.synthetic.studio import Actor, Shots, Studio, film, perturbed, ring
from training.synthetic.studio_motion import STANDS, WALKS, Route, find_stride, moved
from training.synthetic.studio_room import studio_room

SIZE, PERIOD, STRIDE_M = (192, 108), 30, 1.3


@pytest.fixture(scope="module")
def body() -> Body:
    return load_body()


@pytest.fixture(scope="module")
def recorded() -> Motion:
    """Even walks along +x, and people who stand with hanging arms."""
    frames = 90
    swing = 0.35 * np.sin(2 * np.pi * np.arange(frames) / PERIOD)
    walk = np.zeros((frames, 24, 3))
    walk[:, 0, 1] = np.pi / 2
    walk[:, 1, 0], walk[:, 2, 0] = swing, -swing
    walk[:, 16, 2], walk[:, 17, 2] = -1.3, 1.3
    stand = np.zeros((frames, 24, 3))
    stand[:, 16, 2], stand[:, 17, 2] = -1.3, 1.3
    poses = np.concatenate([walk] * len(WALKS) + [stand] * len(STANDS))
    way = np.zeros((frames, 3))
    way[:, 0] = np.arange(frames) * STRIDE_M / PERIOD
    count = len(WALKS) + len(STANDS)
    return Motion(
        rotations=Rotation.from_rotvec(poses.reshape(-1, 3)).as_matrix().reshape(-1, 24, 3, 3).astype(np.float32),
        trans=np.tile(way, (count, 1)).astype(np.float32),
        start=np.arange(count) * frames,
        length=np.full(count, frames),
        name=np.array([*WALKS, *STANDS]),
        fps=30.0,
    )


@pytest.fixture(scope="module")
def studio(body: Body, recorded: Motion) -> Studio:
    """One person who walks through the middle in front of two cameras."""
    route = Route(np.array([0.0, 2.0]), np.array([[-0.8, 0.3], [0.8, 0.3]]))
    movement = moved(body, np.zeros(10, np.float32), route, 1.0, find_stride(recorded, WALKS[0]), STANDS[0], 0.0)
    outfit = people.random_outfit(np.random.default_rng(3), make_figure(body))
    scene, textures = studio_room(1)
    return Studio(body, ring(2, SIZE), scene, textures, [Actor(outfit, movement)])


def test_a_stride_is_found_and_repeats_without_a_jump(recorded: Motion):
    stride = find_stride(recorded, WALKS[0])
    assert stride.frames == PERIOD
    rotations, sway = stride.at(np.array([0.0, 0.999, 1.0, 2.0]))
    assert np.abs(rotations[1] - rotations[0]).max() < 0.01
    assert np.allclose(rotations[2:], rotations[0], atol=1e-5)
    assert np.abs(sway).max() < 1e-3
    assert rotations[0, 0] @ [0, 0, 1] == pytest.approx([0, 0, 1], abs=1e-5)


def test_a_motion_without_the_walks_is_refused(recorded: Motion):
    with pytest.raises(UserError, match="has no clip 099_01"):
        find_stride(recorded, "099_01")


def test_people_face_where_they_go_and_stand_on_the_floor(studio: Studio, body: Body):
    movement = studio.actors[0].movement
    rotations, pelvis = movement.at(np.array([0.4, 0.6]))
    assert (pelvis[1] - pelvis[0]) / 0.2 == pytest.approx([0.8, 0, 0], abs=0.05)
    assert rotations[0, 0] @ [0, 0, 1] == pytest.approx([1, 0, 0], abs=0.02)
    lowest = [body.vertices(r, movement.betas)[:, 1].min() - body.rest_pelvis(movement.betas)[1] for r in rotations]
    assert pelvis[:, 1] + lowest == pytest.approx(np.full(2, people.SOLE_M), abs=0.005)


def test_a_hug_touches_and_keeps_bodies_apart(body: Body):
    betas = np.zeros((2, 10), np.float32)
    betas[1, 0] = -0.6
    hug = studio_hug.find_hug(body, betas)
    placed = [studio_hug.placed(body, hug.closed[row], betas[row], studio_hug.GAP_M, row) for row in range(2)]
    (one, skin), (other, other_skin) = placed
    assert skin is not None
    assert other_skin is not None
    assert max(
        studio_hug.overlap_m(skin, other_skin, body.faces), studio_hug.overlap_m(other_skin, skin, body.faces)
    ) < 0.012  # fmt: skip
    assert np.linalg.norm(one[22] - other[17]) < 0.2  # the first one's left hand on the other's right shoulder
    assert np.linalg.norm(other[22] - one[0]) < 0.4  # the other's hand at the waist


def test_the_picture_shows_the_person_where_rig_and_truth_say(studio: Studio, tmp_path: Path):
    film(studio, tmp_path, 25.0, 0.08)
    with np.load(tmp_path / "truth.npz") as truth:
        joints, seen = truth["joints_world"], truth["seen"]
        assert truth["poses"].shape == (2, 1, 72)
        assert truth["trans"].shape == (2, 1, 3)
        root = Rotation.from_rotvec(truth["poses"].reshape(2, 24, 3)[0]).as_matrix()
        rebuilt = studio.body.joints(root, truth["betas"][0, 0]) + truth["trans"][0, 0]
        assert rebuilt == pytest.approx(joints[0, 0], abs=1e-4)
    assert (seen > 0.8).all()
    far = Actor(studio.actors[0].outfit, replace(studio.actors[0].movement, pelvis=np.full_like(
        studio.actors[0].movement.pelvis, 50.0)))  # fmt: skip
    shots, empty = Shots(studio), Shots(replace(studio, actors=[far]))
    for index, camera in enumerate(read_rig(tmp_path / "rig.json")):
        with_person, without = shots.picture(index, 0.0)[0], empty.picture(index, 0.0)[0]
        pixels = camera.project(joints[0, 0].astype(float))
        changed = np.abs(with_person.astype(int) - without).max(-1) > 40
        rows, columns = np.nonzero(changed)
        assert columns.min() - 4 < pixels[:, 0].min()
        assert pixels[:, 0].max() < columns.max() + 4
        inside = changed[np.round(pixels[[3, 6, 9], 1]).astype(int), np.round(pixels[[3, 6, 9], 0]).astype(int)]
        assert inside.all()
        assert abs(rows.max() - pixels[:, 1].max()) < 8
        video = cv2.VideoCapture(str(tmp_path / f"{camera.name}.mp4"))
        assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 2
        assert np.abs(video.read()[1].astype(int) - with_person).mean() < 12


def test_a_late_camera_films_a_later_moment(studio: Studio, tmp_path: Path):
    film(replace(studio, offsets_s=(0.0, 0.4)), tmp_path, 25.0, 0.04)
    late = cv2.VideoCapture(str(tmp_path / "cam2.mp4")).read()[1].astype(int)
    shots = Shots(studio)
    now, later = (np.abs(late - shots.picture(1, time_s)[0]).mean() for time_s in (0.0, 0.4))
    assert later < 0.7 * now


def test_a_perturbed_rig_is_off_by_exactly_so_much():
    rig = ring(3, SIZE)
    for exact, off in zip(rig, perturbed(rig, 1, 0.5, 8.0, 1.0), strict=True):
        turn = exact.world_from_camera[:3, :3].T @ off.world_from_camera[:3, :3]
        assert np.degrees(Rotation.from_matrix(turn).magnitude()) == pytest.approx(0.5)
        moved_m = np.linalg.norm(exact.world_from_camera[:3, 3] - off.world_from_camera[:3, 3])
        assert moved_m == pytest.approx(0.008)
        assert abs(off.focal_px / exact.focal_px - 1) == pytest.approx(0.01)


@pytest.mark.parametrize("kind", studio_plays.KINDS)
def test_people_of_every_play_keep_apart(kind: str):
    play = studio_plays.make_play(kind, np.random.default_rng(2), 3, 6.0, ring(4, SIZE))
    assert studio_plays.apart_m(play, 6.0) >= studio_plays.PASS_M
    assert len(play.routes) == 3


def test_one_camera_alone_sees_the_bystander():
    rig = ring(4, SIZE)
    play = studio_plays.make_play("bystander", np.random.default_rng(2), 2, 6.0, rig)
    place = play.routes[-1].places[0]
    marks = studio_plays.REST + np.array([place[0], 0, place[1]])
    assert sorted(studio_plays._in_sight(camera, marks) for camera in rig) == [0, 0, 0, 3]


def test_a_hug_of_one_is_refused():
    with pytest.raises(UserError, match="needs two people"):
        studio_plays.make_play("hug", np.random.default_rng(0), 1, 6.0, ring(4, SIZE))
