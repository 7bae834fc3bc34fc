"""The benchmark is the same each time it is rendered, continues where it stopped, and its people move as people do."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from refit_rt.body.smpl import load_body
from refit_rt.errors import UserError
from tests.support.recordings import recording
from training.evaluation import make_benchmark
from training.evaluation.make_benchmark import Settings
from training.store.shards import Store
from training.synthetic import Generator, gestures, long_clip, motion
from training.synthetic.motion import joint_places

BODY = load_body()


@pytest.fixture(scope="module")
def generator() -> Generator:
    return Generator(seed=5, held_out=True, outfits=4)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> motion.Motion:
    path = tmp_path_factory.mktemp("motion") / "walks.npz"
    recording(path)
    return motion.load_motion(path)


def movement(recorded: motion.Motion | None, seconds: float, seated: bool = False) -> long_clip.Movement:
    return long_clip.long_movement(np.random.default_rng(1), round(seconds * 60), 60.0, BODY, recorded, seated)


@pytest.mark.parametrize("seated", [False, True])
def test_long_movement_is_smooth_and_stays_in_its_place(recorded, seated):
    moved = movement(recorded, 40, seated)
    assert moved.rotations.shape == (2400, 24, 3, 3)
    turns = np.swapaxes(moved.rotations[:-1], -1, -2) @ moved.rotations[1:]
    degrees_s = np.rad2deg(Rotation.from_matrix(turns.reshape(-1, 3, 3)).magnitude()) * 60
    assert np.median(degrees_s) > 0.5  # people move
    assert degrees_s.max() < 1500  # a fast wrist; clips joined without a blend reach 7500
    assert np.linalg.norm(moved.places[:, [0, 2]], axis=1).max() <= long_clip.REACH_M
    assert np.linalg.norm(np.diff(moved.places, axis=0), axis=1).max() * 60 < 3  # metres a second
    if seated:
        bent = np.rad2deg(Rotation.from_matrix(moved.rotations[:, 1]).magnitude())
        assert bent.min() > 40
        assert moved.kind == gestures.DESK


def test_walking_is_walking_on_the_spot(recorded):
    """The recording walks at one metre per second; the person is pulled back and stays within reach."""
    walk = long_clip._pulled_back(np.tile([0.0, 0, 1 / 60], (1200, 1)), 60.0)
    assert 0.8 < walk[-1, 2] < long_clip.REACH_M
    np.testing.assert_allclose(walk[600:], walk[[600]].repeat(600, 0), atol=0.02)


def test_a_jump_leaves_the_floor_and_a_crouch_does_not():
    pose = np.tile(np.eye(3), (60, 24, 1, 1))
    pose[30:, [4, 5]] = motion.Rotation.from_euler("x", 1.5).as_matrix()  # knees bent: feet behind
    stands = -joint_places(BODY, pose)[:, long_clip.FEET, 1].min(1)
    np.testing.assert_allclose(long_clip.air(pose, stands, BODY), 0)
    np.testing.assert_allclose(long_clip.air(pose, None, BODY), 0)
    jump = np.where(np.arange(60) % 20 == 7, 0.33, 0.0)
    np.testing.assert_allclose(long_clip.air(pose, stands + jump, BODY), np.maximum(jump - 0.03, 0), atol=1e-6)


def test_a_mixture_of_two_poses_lies_between_them():
    a, b = (np.tile(Rotation.from_euler("y", angle).as_matrix(), (3, 24, 1, 1)) for angle in (0.2, 1.2))
    angle = Rotation.from_matrix(long_clip.mixed(a, b, np.array([0, 0.3, 1]))[:, 5]).magnitude()
    np.testing.assert_allclose(angle, [0.2, 0.5, 1.2], atol=1e-6)


def test_a_film_is_the_same_each_time_and_keeps_its_person_in_view(generator):
    moved = movement(None, 4)
    few = long_clip.Movement(moved.rotations[::24], moved.places[::24], moved.kind)
    film = list(long_clip.film(generator, 70, few))
    generator.sample(3)
    again = list(long_clip.film(generator, 70, few))
    for one, other in zip(film, again, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.trans, other.trans)
    assert np.mean([sample.visible for sample in film]) > 0.4
    assert len({(sample.size, sample.focal_px) for sample in film}) == 1  # one camera
    np.testing.assert_array_equal(film[0].betas, film[-1].betas)
    pelvis_px = [sample.joints[0, :2] / sample.joints[0, 2] * sample.focal_px + sample.centre_px for sample in film]
    for sample, at in zip(film, pelvis_px, strict=True):  # as live, the person is in the middle of the crop
        assert np.abs(at - sample.box[:2]).max() < 0.6 * sample.box[2]


def test_shards_hold_whole_people_and_cover_all():
    found = list(make_benchmark.parts(Settings(None)))  # type: ignore[arg-type]
    assert [(part.name, part.begin, part.end) for part in found[:2]] == [("still", 0, 500), ("still", 500, 1000)]
    for name, count in (("still", 2000), ("clip", 36), ("long", 4)):
        assert sum(part.end - part.begin for part in found if part.name == name) == count


def test_an_interrupted_run_continues_to_the_same_set(generator, tmp_path, monkeypatch):
    monkeypatch.setattr(make_benchmark, "Generator", lambda *_, **__: generator)
    for name, value in (("CLIP_S", 0.1), ("LONG_S", 0.1), ("FIRST_CLIP", 100), ("FIRST_LONG", 200)):
        monkeypatch.setattr(make_benchmark, name, value)
    settings = Settings(tmp_path / "once", stills=3, clips=2, long=2)
    make_benchmark.main(settings)
    whole = Store(tmp_path / "once")
    labels = whole.labels()
    assert len(whole) == 3 + 2 * 3 + 2 * 6
    names = sorted(path.name for path in (tmp_path / "once").iterdir())
    assert names == ["clip-0000", "long-0000", "long-0001", "still-0000"]
    assert sorted(set(labels[:, -2].tolist())) == [0, 30, 60]
    made, drawn = make_benchmark.moments, []

    def until_the_second_long_clip(generator, name, number):
        if (name, number) == ("long", 1):
            raise UserError("the disk is full")
        return made(generator, name, number)

    monkeypatch.setattr(make_benchmark, "moments", until_the_second_long_clip)
    twice = Settings(tmp_path / "twice", stills=3, clips=2, long=2)
    with pytest.raises(UserError, match="disk"):
        make_benchmark.main(twice)
    monkeypatch.setattr(make_benchmark, "moments", lambda *given: (drawn.append(given[1:]), made(*given))[1])
    make_benchmark.main(twice)
    assert drawn == [("long", 1)]
    again = Store(tmp_path / "twice")
    np.testing.assert_array_equal(again.labels(), labels)
    np.testing.assert_array_equal(again.take(again.index[-1:]).images, whole.take(whole.index[-1:]).images)
