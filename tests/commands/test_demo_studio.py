"""The verb `demo --studio`. The films themselves are followed by the demo."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from refit_rt import config
from refit_rt.__main__ import command
from refit_rt.body.smpl import load_body
from refit_rt.cameras import read_rig
from refit_rt.commands import demo_studio
from refit_rt.commands.demo_studio import CAMERAS, RIG, STUDIO, TRUTH, errors_of, share
from refit_rt.commands.demo_world import SIZE, World
from refit_rt.geometry import axis_angle_from_matrix, matrix_from_axis_angle
from refit_rt.motion.npz import COLUMNS, ROW, Motion, MotionWriter
from refit_rt.sender import Report
from tests.support.fakes import people

FRAMES = (20, 60, 130)


@pytest.fixture(scope="module")
def truth() -> Motion:
    """A recording of some frames that is true, in the frame of the first camera. Ids are 10 more than the truth's."""
    body, camera = load_body(), read_rig(RIG)[CAMERAS[0]]
    with np.load(TRUTH) as file:
        told = {name: file[name] for name in file.files}
    rows: Any = np.zeros(3 * len(FRAMES), ROW)
    pick = [(frame, person) for frame in FRAMES for person in range(3)]
    for row, (frame, person) in zip(rows, pick, strict=True):
        joints, betas = told["joints_world"][frame, person], told["betas"][frame, person]
        pose = told["poses"][frame, person].reshape(24, 3).copy()
        turned = camera.camera_from_world[:3, :3] @ matrix_from_axis_angle(pose[:1])
        pose[:1] = axis_angle_from_matrix(turned)
        row["frame"], row["time_s"], row["person"] = frame, frame / 25, 10 + person
        row["poses"], row["betas"], row["joints_world"] = pose.ravel(), betas, joints
        row["joints_camera"] = camera.camera(joints)
        row["trans"] = row["joints_camera"][0] - body.rest_pelvis(betas)
        row["confidence"] = 0.9
    columns: dict[str, Any] = {name: rows[name] for name in COLUMNS}
    return Motion(**columns, focal_px=camera.focal_px, fps=25.0, size=camera.size, body="free", bundle="edge")


def test_the_truth_has_no_error(truth: Motion) -> None:
    errors = errors_of(truth)
    assert (errors.frames, errors.persons, errors.person_frames) == (150, 3, 450)
    assert (errors.found, errors.kept, errors.extra) == (9, 9, 0)
    assert max(errors.world_mm, errors.pelvis_mm, errors.pa_mm) < 0.01


def test_each_error_is_counted_where_it_belongs(truth: Motion) -> None:
    joints, person = truth.joints_world.copy(), truth.person.copy()
    joints += np.array([0.1, 0, 0], np.float32)  # all are 100 mm off, pelvis included
    joints[0] += 2.0  # nobody is there
    person[[4, 5]] = person[[5, 4]]  # two change their ids in the second of three frames
    errors = errors_of(replace(truth, joints_world=joints, person=person))
    assert (errors.found, errors.extra) == (8, 1)
    assert errors.kept == 6
    assert errors.world_mm == pytest.approx(100, abs=0.1)
    assert errors.pelvis_mm < 0.01


@pytest.mark.parametrize(("part", "whole", "says"), [(3, 3, "100 %"), (1, 2, "50.0 %"), (0, 0, "0 %")])
def test_a_share_is_a_percentage(part: int, whole: int, says: str) -> None:
    assert share(part, whole) == says


def test_nearly_all_is_not_all() -> None:
    assert share(9999, 10000) == "99.9 %"


def test_the_world_shows_all_cameras_and_each_person_in_the_own_colour(truth: Motion) -> None:
    rig = read_rig(RIG)
    world = World(load_body(), rig)
    shown = truth.people(FRAMES[-1])
    empty = world.draw(shown.take(np.zeros(3, bool)), rig[CAMERAS[0]], {})
    picture = world.draw(shown, rig[CAMERAS[0]], {})
    for camera in rig:
        x, y = world.eye.project(camera.position[None])[0].round().astype(int)
        assert empty[y - 2 : y + 3, x - 2 : x + 3].max() > 180, camera.name
    for joints in shown.joints_world:  # the chest is drawn over the floor
        x, y = world.eye.project(joints[6:7])[0].round().astype(int)
        assert np.abs(picture[y, x].astype(int) - empty[y, x]).max() > 20


@pytest.fixture
def short_film(monkeypatch: pytest.MonkeyPatch, truth: Motion) -> list[config.Settings]:
    """The pipeline writes the truth and a grey video. The settings it was started with."""
    given: list[config.Settings] = []

    def run(settings: config.Settings, show: object) -> Report:
        given.append(settings)
        folder = Path(settings.out.dir)
        folder.mkdir(parents=True, exist_ok=True)
        columns = {name: getattr(truth, name) for name in COLUMNS}
        facts = {name: getattr(truth, name) for name in ("focal_px", "fps", "size", "body", "bundle", "schema")}
        np.savez(folder / "motion.npz", **columns, **facts)
        video = cv2.VideoWriter(str(folder / "overlay.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 25, (128, 72))
        for _ in range(150):
            video.write(np.full((72, 128, 3), 200, np.uint8))
        video.release()
        return Report(150, 0, 0, 3, 10.0, {})

    monkeypatch.setattr(demo_studio, "run", run)
    return given


def test_it_says_how_good_each_figure_is_and_where_to_look(capsys, short_film: list[config.Settings]) -> None:
    assert command(["demo", "--studio", "--track.max-people", "4"]) == 0
    shown = capsys.readouterr().out
    assert "people found in 2.0 % of the person-frames, ids kept in 100 %, bodies of nobody: 0" in shown
    assert "MPJPE in the world, nothing aligned: 0 mm" in shown
    assert "MPJPE, aligned at the pelvis: 0 mm" in shown
    assert "look at out/demo_studio/studio.png" in shown
    picture = cv2.imread("out/demo_studio/studio.png")
    assert picture is not None
    assert picture.shape == (SIZE[1], SIZE[0] + SIZE[1] * 128 // 72, 3)
    assert all(Path("out/demo_studio", path.name).is_file() for path in (RIG, *STUDIO.glob("*.mp4")))
    assert list(short_film[0].capture.sources) == list(CAMERAS)
    assert (short_film[0].camera.calibration, short_film[0].track.max_people) == (str(RIG), 4)


@pytest.mark.parametrize(("frames", "says"), [(0, "ended before its first frame"), (3, "found no person")])
def test_without_a_result_it_is_refused(
    refusal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frames: int, says: str
) -> None:
    def run_without_people(settings: config.Settings, show: object) -> Report:
        if frames:
            writer = MotionWriter(Path(settings.out.dir) / "motion.npz", 25, "free", "edge")
            writer.add(people([]))
            writer.close()
        return Report(frames, 0, 0, 0, 0.0, {})

    (tmp_path / "studio.png").write_text("of an earlier run")
    monkeypatch.setattr(demo_studio, "run", run_without_people)
    assert says in refusal("demo", "--studio", "--out", str(tmp_path))
    assert not (tmp_path / "studio.png").exists()
