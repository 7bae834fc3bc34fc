"""The viewer: what is in the scene is what the stream says."""

import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import pytest
import viser.transforms
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from refit_rt import geometry
from refit_rt.__main__ import command
from refit_rt.commands.view import named
from refit_rt.errors import UserError
from refit_rt.motion.npz import read_motion
from refit_rt.motion.skeleton import influences
from refit_rt.stream.pictures import PicturePublisher
from refit_rt.types import People
from refit_rt.view.bones import rest_of
from refit_rt.view.figure import Mesh, Sticks
from refit_rt.view.floor import turn_of
from refit_rt.view.inside import inner_of
from refit_rt.view.page import open_page
from refit_rt.view.viewer import BESIDE_M, Viewer
from tests.support.dancer import danced
from tests.view.conftest import Source, until

IDS = [1, 2, 12]


@pytest.fixture
def shown(source_of, viewer_of, body) -> Callable[..., tuple]:
    """A viewer that shows people of one stream, and the stream."""

    def shown_people(people: People | None = None, name: str = "free") -> tuple:
        source = source_of("stream")
        viewer = viewer_of(("A", source.address))
        people = danced(body, IDS, 20) if people is None else people
        shows(viewer, lambda: source.send(people, name=name), people)
        return viewer, source, people

    return shown_people


def shows(viewer: Viewer, send: Callable[[], object], people: People) -> None:
    """Sends until the viewer shows these people."""
    scene = viewer.streams[0].scene
    until(lambda: [row.person for row in scene.rows] == people.ids.tolist(), send, viewer.step)


def bones(figure: Mesh) -> tuple[np.ndarray, np.ndarray]:
    """Places (24, 3) and orientations (24, 3, 3) of the bones as a browser gets them."""
    assert figure.handle is not None
    wxyz = np.array([bone.wxyz for bone in figure.handle.bones])
    return np.array([b.position for b in figure.handle.bones]), viser.transforms.SO3(wxyz).as_matrix()


def test_the_bones_are_at_the_joints_and_the_skinned_surface_is_the_body(shown, body) -> None:
    viewer, _, people = shown()
    figures = viewer.streams[0].scene.figures
    assert list(figures) == IDS
    joints_of, weights = influences(body)
    for row, person in enumerate(IDS):
        places, turns = bones(figures[person])
        assert np.abs(places - people.joints_world[row]).max() < 1e-3
        rest = rest_of(body, people.betas[row])
        moved = np.einsum("jab,vjb->vja", turns, rest.vertices[:, None] - rest.joints) + places
        skinned = (np.take_along_axis(moved, joints_of[..., None], 1) * weights[..., None]).sum(1)
        posed = body.vertices(geometry.matrix_from_axis_angle(people.poses[row]), people.betas[row])
        surface = (posed + people.trans[row]) @ geometry.WORLD_FROM_CAMERA.T
        error_m = np.linalg.norm(skinned - surface, axis=1)
        assert error_m.mean() < 5e-4
        assert error_m.max() < 0.03  # four influences per vertex


@pytest.mark.parametrize("inner", [True, False], ids=["inner functions of viser", "public functions of viser"])
def test_the_scene_follows_a_moving_person(shown, body, monkeypatch, inner: bool) -> None:
    if not inner:
        monkeypatch.setattr("refit_rt.view.inside.inner_of", lambda handle: None)
    viewer, source, _ = shown()
    assert inner_of(viewer.streams[0].scene.figures[2].handle) is not None or not inner
    scene = viewer.streams[0].scene
    for k in (26, 33):
        people = danced(body, IDS, k)
        until(lambda people=people: scene.frame == people.frame_index, lambda p=people: source.send(p), viewer.step)
        assert np.abs(bones(scene.figures[2])[0] - people.joints_world[1]).max() < 1e-3


def test_a_shape_that_changes_makes_the_mesh_anew(shown, monkeypatch) -> None:
    monkeypatch.setattr("refit_rt.view.figure.SHAPE_EVERY_S", 0.0)
    viewer, source, people = shown()
    figure = viewer.streams[0].scene.figures[1]
    first = figure.handle.vertices.copy()
    nearly = replace(people, betas=people.betas + np.float32(0.01), frame_index=21)
    scene = viewer.streams[0].scene
    until(lambda: scene.frame == 21, lambda: source.send(nearly), viewer.step)
    assert np.array_equal(figure.handle.vertices, first)
    taller = replace(people, betas=people.betas + np.float32(1.5), frame_index=22)
    until(lambda: scene.frame == 22, lambda: source.send(taller), viewer.step)
    assert np.abs(figure.handle.vertices - first).max() > 0.02
    assert np.abs(bones(figure)[0] - people.joints_world[0]).max() < 1e-3


def test_the_floor_is_under_the_feet_or_where_the_stream_says(shown, body) -> None:
    viewer, source, people = shown()
    scene = viewer.streams[0].scene
    lowest = people.joints_world[..., 1].min()
    assert scene.floor.visible
    assert 0 < lowest - scene.floor.position[1] < 0.05
    normal = np.array([0.1, 1.0, -0.05]) / np.linalg.norm([0.1, 1.0, -0.05])
    known = replace(people, floor=(*normal.tolist(), -1.5), frame_index=21)
    until(lambda: scene.frame == 21, lambda: source.send(known), viewer.step)
    up = viser.transforms.SO3(np.asarray(scene.floor.wxyz)).as_matrix()[:, 1]
    np.testing.assert_allclose(up, normal, atol=1e-4)
    assert np.asarray(scene.floor.position) @ normal == pytest.approx(-1.5, abs=1e-3)
    np.testing.assert_allclose(viser.transforms.SO3(turn_of(np.array([0.0, 1.0, 0.0]))).as_matrix(), np.eye(3))


def test_cameras_stand_where_the_stream_says_or_at_the_origin(shown, body) -> None:
    viewer, source, people = shown()
    scene = viewer.streams[0].scene
    (alone,) = scene.cameras
    forward = viser.transforms.SO3(np.asarray(alone.wxyz)).as_matrix()[:, 2]
    np.testing.assert_allclose(forward, [0, 0, -1], atol=1e-6)
    assert np.tan(alone.fov / 2) == pytest.approx(240 / 600)
    left = (1.0, 0, 0, -2, 0, -1, 0, 1.5, 0, 0, -1, 3)
    places = replace(people, cameras=("camera", "left"), world_from_cameras=(left, left), missing=("left",))
    until(lambda: len(scene.cameras) == 2, lambda: source.send(replace(places, frame_index=21)), viewer.step)
    np.testing.assert_allclose(scene.cameras[0].position, [-2, 1.5, 3])
    assert scene.cameras[0].color != scene.cameras[1].color


def test_who_leaves_is_hidden_and_what_is_left_shows_the_next_one(shown, body, monkeypatch) -> None:
    viewer, source, people = shown()
    scene = viewer.streams[0].scene
    gone = scene.figures[12]
    alone = replace(people.take([0]), frame_index=21)
    shows(viewer, lambda: source.send(alone), alone)
    assert not gone.handle.visible
    monkeypatch.setattr("refit_rt.view.scene.FORGOTTEN_S", 0.0)
    until(lambda: list(scene.figures) == [1], lambda: source.send(alone), viewer.step)
    new = replace(danced(body, [1, 13], 22))
    shows(viewer, lambda: source.send(new), new)
    assert scene.figures[13].handle.visible
    assert scene.made == 3  # skinned meshes never leave the scene


def test_a_stream_that_is_lost_comes_back(shown, source_of, body, monkeypatch) -> None:
    viewer, source, _ = shown()
    stream = viewer.streams[0]
    assert stream.line().good
    monkeypatch.setattr("refit_rt.view.feed.SILENT_S", 0.2)
    source.close()
    until(lambda: not stream.scene.rows, viewer.step)
    assert "silent for" in stream.line().text
    assert not stream.scene.figures[1].handle.visible
    monkeypatch.undo()
    again, other = source_of("stream"), danced(body, [1, 2], 3)
    shows(viewer, lambda: again.send(other), other)
    assert stream.line().text.startswith("live, 2 people")
    until(lambda: stream.feed.status == "waiting", lambda: again.send(other.take(slice(0)), "waiting"), viewer.step)
    assert stream.line().text == "waiting for the camera"
    until(lambda: stream.feed.status == "ended", lambda: again.send(other.take(slice(0)), "ended"), viewer.step)
    assert stream.line().text.startswith("ended")


def test_messages_that_cannot_be_read_are_counted_and_left_out(shown, body, monkeypatch) -> None:
    viewer, source, people = shown()
    stream = viewer.streams[0]
    wrong = replace(people, joints_world=np.full_like(people.joints_world, np.nan), frame_index=99)
    for number, send in enumerate((lambda: source.raw(b"nonsense"), lambda: source.send(wrong))):
        until(lambda number=number: stream.feed.bad > number, send, viewer.step)
    later = danced(body, IDS, 30)
    until(lambda: stream.scene.frame == 30, lambda: source.send(later), viewer.step)
    assert "joints_world holds values that are not finite numbers" in stream.line().note
    monkeypatch.setattr("refit_rt.view.feed.SAID_S", 0.0)
    assert stream.line().note == f"{stream.feed.bad} messages could not be read"
    assert np.abs(bones(stream.scene.figures[1])[0] - later.joints_world[0]).max() < 1e-3


def test_an_encrypted_stream_and_its_pictures_are_shown_to_who_has_the_key(tmp_path, viewer_of, body) -> None:
    secret = str(tmp_path / "studio.key_secret")
    source = Source(f"ipc://{tmp_path}/stream", secret)
    publisher = PicturePublisher(f"ipc://{tmp_path}/pictures", secret)
    people, jpeg = danced(body, IDS, 20), cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    key = str(tmp_path / "studio.key")
    viewer = viewer_of(("A", source.address), pictures=publisher.address, key=key)
    shows(viewer, lambda: source.send(people), people)
    until(lambda: viewer.panel.picture, lambda: publisher.send(jpeg), viewer.step)
    stranger = viewer_of(("A", source.address))
    until(lambda: "is encrypted" in stranger.streams[0].line().note, stranger.step)
    source.close()
    publisher.close()


def test_the_button_records_every_message(shown, body, tmp_path: Path) -> None:
    viewer, source, _ = shown()
    viewer.press_record()
    viewer.step()
    recorder = viewer.streams[0].recorder
    assert recorder is not None
    frames = iter(range(30, 4000))
    until(lambda: recorder.count > 3, lambda: source.send(danced(body, IDS, next(frames))), viewer.step)
    viewer.press_record()
    viewer.step()
    (file,) = (tmp_path / "recorded").glob("motion-*.npz")
    motion = read_motion(file)
    assert len(np.unique(motion.frame)) == recorder.count
    assert set(motion.person) == set(IDS)
    assert viewer.recorded == f"{file} is written: {recorder.count} frames"


def test_an_unknown_body_is_drawn_as_sticks(shown) -> None:
    viewer, _, people = shown(name="SMPL_NEUTRAL")
    stream = viewer.streams[0]
    figure = stream.scene.figures[1]
    assert isinstance(figure, Sticks)
    np.testing.assert_allclose(figure.joints.points, people.joints_world[0], atol=1e-3)
    assert "SMPL_NEUTRAL" in stream.line().note
    assert stream.scene.rows[0].height_m is None


def test_two_streams_lie_side_by_side_and_one_can_be_chosen(source_of, viewer_of, body) -> None:
    sources = [source_of("left"), source_of("right")]
    viewer = viewer_of(("left", sources[0].address), ("right", sources[1].address))
    people = danced(body, [1], 5)
    left, right = viewer.streams
    until(lambda: left.scene.rows and right.scene.rows, *(lambda s=s: s.send(people) for s in sources), viewer.step)
    viewer.arrange()
    middles = [np.asarray(one.scene.root.position) + one.scene.middle for one in viewer.streams]
    np.testing.assert_allclose(middles[1] - middles[0], [BESIDE_M, 0, 0], atol=1e-6)
    assert np.abs(people.joints_world[0, 0] - left.scene.middle)[[0, 2]].max() < 0.1  # the floor is below the person
    viewer.panel.stream.value = "right"
    viewer.arrange()
    assert (left.scene.root.visible, right.scene.root.visible) == (False, True)
    np.testing.assert_array_equal(right.scene.root.position, 0)


def test_the_first_view_sees_everybody_from_the_side_of_the_camera(shown) -> None:
    viewer, _, people = shown()
    for aspect in (16 / 9, 0.46):
        place, target = viewer.view(aspect, 0.75)
        forward = (target - place) / np.linalg.norm(target - place)
        right = np.cross(forward, [0, 1, 0])
        right /= np.linalg.norm(right)
        up = np.cross(right, forward)
        seen = people.joints_world.reshape(-1, 3) - place
        across, height = seen @ right / (seen @ forward), seen @ up / (seen @ forward)
        assert np.abs(across).max() < np.tan(0.75 / 2) * aspect
        assert np.abs(height).max() < np.tan(0.75 / 2)
        assert place[2] > people.joints_world[..., 2].max()  # the camera looks along -z


def test_what_cannot_be_shown_is_one_line(capsys, monkeypatch) -> None:
    def refused(*arguments: str) -> str:
        assert command(["view", *arguments]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        return error

    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "cannot be bound (address already in use)" in refused("--port", str(taken.getsockname()[1]))
    assert "nonsense: is not an address" in refused("nonsense", "--port", "0")
    assert "'a' is there twice" in refused("a=tcp://127.0.0.1:1", "a=tcp://127.0.0.1:2")
    assert "a port is a number" in refused("--port", "70000")
    monkeypatch.setitem(sys.modules, "viser", None)
    assert "pip install 'refit-rt[view]'" in refused()


def test_streams_have_names() -> None:
    given = ("tcp://a:1", "desk=tcp://b:2", "ipc://run/a=b")
    assert named(given) == [("A", "tcp://a:1"), ("desk", "tcp://b:2"), ("C", "ipc://run/a=b")]
    for wrong in ("all", "../up"):
        with pytest.raises(UserError, match="cannot be a stream's name"):
            named((f"{wrong}=tcp://a:1",))


def test_a_page_for_the_network_is_warned_about_and_has_no_public_address(caplog) -> None:
    with caplog.at_level("WARNING"):
        server = open_page("0.0.0.0", 0, "test")
    try:
        assert "everybody who can reach this machine" in caplog.text
        assert server.request_share_url() is None
        assert "there is none" in caplog.text
    finally:
        server.stop()
    with pytest.raises(UserError, match="cannot be bound"):
        open_page("192.0.2.1", 0, "test")


def test_a_page_of_the_internet_cannot_connect_from_the_browser_of_this_machine() -> None:
    server = open_page("127.0.0.1", 0, "test")
    protocol = cast(Any, f"viser-v{viser.__version__}")
    try:
        address = f"ws://127.0.0.1:{server.get_port()}/"
        with pytest.raises(InvalidStatus, match="403"), connect(address, origin="https://evil.example"):  # type: ignore[arg-type]
            pass
        for origin in (None, "http://127.0.0.1:8090"):
            with connect(address, origin=origin, subprotocols=[protocol], max_size=None) as page:  # type: ignore[arg-type]
                assert page.recv(timeout=10)
    finally:
        server.stop()
