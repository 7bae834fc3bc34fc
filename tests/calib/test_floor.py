"""The floor of a rig: found from a board, points or feet; never upside down, and refused where it is uncertain."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from calib.board import Board, write_board
from calib.floor import floor, from_board, from_feet, from_plane, from_points, rescaled, similarity
from refit_rt.cameras import Camera, Rig, read_rig, write_rig
from refit_rt.errors import UserError

MIRRORED = np.diag([1.0, 1.0, -1.0])


def ring(count: int, rng: np.random.Generator) -> Rig:
    """Cameras in a ring of 3.5 m, 1.6 to 2.4 m above the floor, y up, that look at the middle of the room."""
    cameras = []
    for number in range(count):
        angle = 2 * np.pi * (number + rng.uniform(-0.2, 0.2)) / count
        position = np.array([3.5 * np.sin(angle), rng.uniform(1.6, 2.4), 3.5 * np.cos(angle)])
        forward = (0.0, 0.8, 0.0) - position
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, (0.0, 1.0, 0.0))
        right /= np.linalg.norm(right)
        place = np.eye(4)
        place[:3, :3], place[:3, 3] = np.stack([right, np.cross(forward, right), forward], -1), position
        cameras.append(Camera(f"cam_{number}", (1920, 1080), 1400.0, (959.5, 539.5), world_from_camera=place))
    return Rig(tuple(cameras))


def anywhere(rng: np.random.Generator) -> np.ndarray:
    """A rotation and translation (4, 4): the world of a rig whose floor is unknown."""
    matrix = np.eye(4)
    matrix[:3, :3] = cv2.Rodrigues(rng.uniform(-1, 1, 3) * 3)[0]
    matrix[:3, 3] = rng.uniform(-5, 5, 3)
    return matrix


def board(square_m: float, columns: int = 7, rows: int = 5) -> np.ndarray:
    """Inner corners (n, 2) on a board, x right, y down."""
    return square_m * np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1).reshape(-1, 2)


def lying(corners: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Corners (n, 3) of a board that lies on the floor somewhere, printed side up: its y is the world's z."""
    angle, middle = rng.uniform(0, 2 * np.pi), rng.uniform(-0.5, 0.5, 2)
    turned = corners @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) + middle
    return np.stack([turned[:, 0], np.zeros(len(turned)), turned[:, 1]], -1)


def seen(rig: Rig, points: np.ndarray, noise_px: float, rng: np.random.Generator) -> np.ndarray:
    """Pixels (camera, point, 2) with noise."""
    pixels = np.stack([camera.project(points) for camera in rig])
    return pixels + rng.normal(0, noise_px, pixels.shape)


def up_of(true: Rig, found: Rig) -> float:
    """Degrees between the true up direction and the one found, by the cameras' places in both."""
    turn = found.cameras[0].world_from_camera[:3, :3] @ true.cameras[0].world_from_camera[:3, :3].T
    return float(np.degrees(np.arccos(np.clip(turn[1, 1], -1, 1))))


def test_no_board_on_the_floor_flips_it_in_300_draws():
    """Boards of A4 to A1 size, two to four cameras at 3.5 m, 0.5 px of noise, a world that points anywhere."""
    rng = np.random.default_rng(16)
    tilts, refused = [], 0
    for _ in range(300):
        true = ring(int(rng.integers(2, 5)), rng)
        corners = board(rng.choice([0.03, 0.06, 0.1]))
        rig = true.moved(anywhere(rng))
        pixels = seen(true, lying(corners, rng), 0.5, rng)
        try:
            found = from_board(rig, rig.triangulate(pixels), corners)
        except UserError as error:
            assert "uncertain" in str(error)  # noqa: PT017
            refused += 1
            continue
        assert found.rig.floor
        assert min(camera.position[1] for camera in found.rig) > 0
        tilts.append(up_of(true, found.rig))
    assert max(tilts) < 4
    assert np.median(tilts) < 0.3
    assert refused < 60


@pytest.mark.parametrize("view", ["mirrored picture", "printed side down"])
def test_a_flipped_board_is_refused(view):
    rng = np.random.default_rng(1)
    true, corners = ring(4, rng), board(0.1)
    points = lying(corners, rng)
    flipped = corners * (-1, 1) if view == "mirrored picture" else corners[:, ::-1]
    with pytest.raises(UserError, match=r"under the floor, so it is upside down.*mirrored"):
        from_board(true, true.triangulate(seen(true, points, 0.2, rng)), flipped)


def test_a_board_seen_by_one_camera_is_refused():
    rng = np.random.default_rng(2)
    true, corners = ring(3, rng), board(0.1)
    pixels = seen(true, lying(corners, rng), 0.2, rng)
    pixels[1:] = np.nan
    with pytest.raises(UserError, match="0 of them are seen by two cameras"):
        from_board(true, true.triangulate(pixels), corners)


def test_a_boards_wrong_square_is_noticed_and_taken_if_wanted():
    rng = np.random.default_rng(3)
    true, corners = ring(4, rng), board(0.1)
    pixels = seen(true, lying(corners, rng), 0.1, rng)
    found = true.triangulate(pixels)
    with pytest.raises(UserError, match=r"are 1\.25\d times as far apart"):
        from_board(true, found, 0.8 * corners)
    smaller = from_board(true, found, 0.8 * corners, rescale=True)
    assert smaller.scale == pytest.approx(0.8, abs=0.002)
    apart = np.linalg.norm(true.cameras[0].position - true.cameras[1].position)
    now = np.linalg.norm(smaller.rig.cameras[0].position - smaller.rig.cameras[1].position)
    assert now / apart == pytest.approx(smaller.scale)
    kept = from_board(true, found, 0.99 * corners)
    assert (kept.scale, kept.measured) == (1.0, pytest.approx(0.99, abs=0.002))


def test_known_points_place_the_world_and_left_handed_ones_are_refused():
    rng = np.random.default_rng(4)
    true = ring(3, rng)
    points = np.array([[0.0, 0, 0], [1.5, 0, 0.2], [0.2, 0, 1.4], [-1, 1.1, -0.5], [0.5, 1.6, 0.4]])
    moved = true.moved(anywhere(rng))
    found = moved.triangulate(seen(true, points, 0.3, rng))
    placed = from_points(moved, found, points)
    for one, other in zip(placed.rig, true, strict=True):
        np.testing.assert_allclose(one.position, other.position, atol=0.01)
    assert placed.rms_m < 0.003
    with pytest.raises(UserError, match="left-handed"):
        from_points(moved, found, points @ MIRRORED, rescale=True)
    with pytest.raises(UserError, match="uncertain"):
        from_points(moved, found[[0, 1, 1]], points[[0, 1, 1]])


def test_points_on_the_floor_alone_give_a_floor_with_the_cameras_above():
    rng = np.random.default_rng(5)
    true = ring(3, rng)
    points = np.array([[-1.0, 0, -1], [1, 0, -1], [1, 0, 1], [-1, 0, 1]])
    moved = true.moved(anywhere(rng))
    placed = from_plane(moved, moved.triangulate(seen(true, points, 0.3, rng)))
    assert up_of(true, placed.rig) < 0.3
    for one, other in zip(placed.rig, true, strict=True):
        assert one.position[1] == pytest.approx(other.position[1], abs=0.01)
    assert placed.rig.cameras[0].position[0] == pytest.approx(0, abs=1e-9)
    assert placed.rig.cameras[0].position[2] > 0
    above = true.moved(np.eye(4)).cameras
    low = replace(above[1], world_from_camera=above[1].world_from_camera.copy())
    low.world_from_camera[1, 3] = -0.4
    with pytest.raises(UserError, match=r"'cam_1' by 0\.40 m under the floor, so it is ambiguous"):
        from_plane(Rig((above[0], low, above[2])), points)


def walk(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Feet (n, 3) and heads (m, 3) of a person who walks about: half of the feet in the air, some of them wrong."""
    places = rng.uniform(-1.5, 1.5, (400, 2))
    lifted = np.where(rng.random(400) < 0.5, 0.0, rng.uniform(0, 0.25, 400)) + rng.normal(0, 0.008, 400)
    feet = np.stack([places[:, 0], lifted, places[:, 1]], -1)
    feet[:4, 1] -= rng.uniform(0.1, 0.5, 4)
    return feet, feet[::4] + np.array([0, 1.65, 0])


def test_the_feet_of_a_person_who_walks_about_give_the_floor():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        true, turn = ring(3, rng), anywhere(rng)
        feet, heads = (points @ turn[:3, :3].T + turn[:3, 3] for points in walk(rng))
        for above in (heads, None):
            placed = from_feet(true.moved(turn), feet, above)
            assert up_of(true, placed.rig) < 0.5
            assert placed.rig.cameras[0].position[1] == pytest.approx(true.cameras[0].position[1], abs=0.015)


def test_people_upside_down_in_one_line_or_nowhere_are_refused():
    rng = np.random.default_rng(6)
    true = ring(3, rng)
    feet, heads = walk(rng)
    down = np.array([1.0, -1.0, 1.0])
    ceiling = (0.0, 1.0, 0.0)
    with pytest.raises(UserError, match="stand on their heads"):
        from_feet(true, feet * down + ceiling, heads * down + ceiling)
    line = np.array([1.0, 1.0, 0.001])
    with pytest.raises(UserError, match="uncertain"):
        from_feet(true, feet * line, heads * line)
    with pytest.raises(UserError, match="no common floor"):
        from_feet(true, rng.uniform(-2, 2, (300, 3)), None)
    with pytest.raises(UserError, match="there are 0"):
        from_feet(true, np.full((5, 3), np.nan))


def test_a_measured_length_sets_the_scale():
    rig = replace(ring(2, np.random.default_rng(7)), floor=True)
    larger, ratio = rescaled(rig, 1.5, 1.8)
    assert ratio == pytest.approx(1.2)
    assert larger.floor
    np.testing.assert_allclose(larger.cameras[0].position, 1.2 * rig.cameras[0].position)
    for wrong in (0.0, -1.0, np.nan):
        with pytest.raises(UserError, match="above zero"):
            rescaled(rig, 1.5, wrong)


def test_a_similarity_is_found_and_is_no_reflection():
    rng = np.random.default_rng(8)
    source, turn = rng.normal(size=(6, 3)), anywhere(rng)
    target = 2.5 * source @ turn[:3, :3].T + turn[:3, 3]
    scale, found, shift, rms = similarity(source, target, scaled=True)
    assert scale == pytest.approx(2.5)
    np.testing.assert_allclose(found, turn[:3, :3], atol=1e-9)
    np.testing.assert_allclose(shift, turn[:3, 3], atol=1e-9)
    assert rms < 1e-9
    assert np.linalg.det(similarity(source, target @ MIRRORED, scaled=True)[1]) == pytest.approx(1)


@pytest.fixture
def marked(tmp_path):
    """A rig's file in a world of its own, and a function that writes a file of points marked in its pictures."""
    rng = np.random.default_rng(9)
    true = ring(3, rng)
    write_rig(true.moved(anywhere(rng), scale=0.5), tmp_path / "rig.json")
    points = {"a": (-1.0, 0, -1), "b": (1.0, 0, -1), "c": (1.0, 0, 1), "d": (-1.0, 0, 1)}

    def write(worlds: bool, **more: object):
        rows = [
            {"name": name, "px": {c.name: c.project(np.array([at]))[0].tolist() for c in true}}
            | ({"world": at} if worlds else {})
            for name, at in points.items()
        ]
        (tmp_path / "points.json").write_text(json.dumps({"points": rows} | more))
        return str(tmp_path / "points.json")

    return tmp_path, true, write


def test_the_verb_puts_a_rig_on_its_floor(marked, capsys):
    folder, true, write = marked
    rig, out = str(folder / "rig.json"), str(folder / "floor.json")
    assert floor(rig, out, points=write(False, lengths=[["a", "b", 2.0], ["cam_0", "cam_1", 6.0]])) == 0
    says = capsys.readouterr().out
    assert "a to b: 2.000 m measured, 1.000 m in the rig" in says
    assert "cam_0 to cam_1: 6.000 m measured" in says
    assert floor(rig, out, points=write(True), rescale=True) == 0
    assert "The rig is 2.0000 times as large as given" in capsys.readouterr().out
    read = read_rig(folder / "floor.json")
    assert read.floor
    np.testing.assert_allclose(read["cam_2"].position, true["cam_2"].position, atol=1e-4)
    feet, heads = walk(np.random.default_rng(0))
    np.savez(folder / "feet.npz", feet=feet, heads=heads)
    assert floor(out, str(folder / "again.json"), feet=str(folder / "feet.npz")) == 0
    assert "above the floor" in capsys.readouterr().out
    joints = np.zeros((200, 24, 3))
    joints[:, 10], joints[:, 11], joints[:, 15] = feet[:200], feet[200:], feet[:200] + np.array([0, 1.65, 0])
    np.savez(folder / "motion.npz", joints_world=joints)
    assert floor(out, str(folder / "again.json"), feet=str(folder / "motion.npz")) == 0
    raised = read_rig(folder / "again.json").cameras[0].position[1] - true.cameras[0].position[1]
    assert raised == pytest.approx(0.028, abs=0.015)


@pytest.fixture
def filmed(tmp_path):
    """A rig in a world of its own, and pictures of a board that lies on the floor, as its cameras see it."""
    true = ring(3, np.random.default_rng(10))
    write_rig(true.moved(anywhere(np.random.default_rng(11))), tmp_path / "rig.json")
    target = Board(columns=8, rows=6, square_m=0.12, marker_m=0.09)
    write_board(target, tmp_path / "board.toml")
    wide, tall = target.size_m
    print_px = target.charuco().generateImage((800, 600))
    corners = np.array([[0, 0], [wide, 0], [wide, tall], [0, tall]])
    worlds = np.stack([corners[:, 0] - wide / 2, np.zeros(4), corners[:, 1] - tall / 2], -1)
    (tmp_path / "pictures").mkdir()
    for camera in true:
        on_print = np.array([[-0.5, -0.5], [799.5, -0.5], [799.5, 599.5], [-0.5, 599.5]], np.float32)
        view = cv2.getPerspectiveTransform(on_print, camera.project(worlds).astype(np.float32))
        picture = cv2.warpPerspective(print_px, view, camera.size, borderValue=255, flags=cv2.INTER_AREA)
        cv2.imwrite(str(tmp_path / "pictures" / f"{camera.name}.png"), picture)
    return tmp_path, true


def test_pictures_of_a_board_on_the_floor_give_the_floor(filmed, capsys):
    folder, true = filmed
    board_file, pictures = str(folder / "board.toml"), str(folder / "pictures")
    assert floor(str(folder / "rig.json"), str(folder / "floor.json"), board=board_file, pictures=pictures) == 0
    assert "cam_2 sees 35 corners" in capsys.readouterr().out
    read = read_rig(folder / "floor.json")
    assert read.floor
    shift = np.array([0.48, 0.0, 0.36])  # the board's origin is its corner
    for one, other in zip(read, true, strict=True):
        np.testing.assert_allclose(one.position, other.position + shift, atol=0.02)


def test_a_board_that_one_camera_sees_and_pictures_of_another_size_are_refused(filmed):
    folder, _ = filmed
    out = folder / "out.json"
    board_file, pictures = str(folder / "board.toml"), str(folder / "pictures")
    cv2.imwrite(str(folder / "pictures/cam_0.png"), np.full((720, 1280), 255, np.uint8))
    with pytest.raises(UserError, match=r"has \(1280, 720\) pixels, 'cam_0' was calibrated at \(1920, 1080\)"):
        floor(str(folder / "rig.json"), str(out), board=board_file, pictures=pictures)
    (folder / "pictures/cam_0.png").unlink()
    (folder / "pictures/cam_1.png").unlink()
    with pytest.raises(UserError, match=r"1 cameras see the ChArUco board .* look alike"):
        floor(str(folder / "rig.json"), str(out), board=board_file, pictures=pictures)
    assert not out.exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "is no file of points"),
        ('{"points": [{"name": "a"}]}', "is no file of points"),
        ('{"points": [{"name": "a", "px": {"door": [1, 2]}}]}', "is in camera 'door', the rig has only cam_0"),
        ('{"points": [{"name": "a", "px": {}}, {"name": "a", "px": {}}]}', "two points have the same name"),
        ('{"points": [{"name": "a", "px": {}}, {"name": "b", "px": {}, "world": [0, 0, 0]}]}', "1 of 2 points have"),
        ('{"points": [{"name": "a", "px": {}}], "lengths": [["a", "cam_0", 1]]}', "'a' is no camera and no point"),
        ('{"points": [{"name": "a", "px": {"cam_0": [1, 2]}}]}', "0 of them are seen"),
    ],
)
def test_a_bad_file_of_points_is_refused_and_nothing_is_written(content, says, marked):
    folder, _, _ = marked
    (folder / "points.json").write_text(content)
    with pytest.raises(UserError, match=says):
        floor(str(folder / "rig.json"), str(folder / "out.json"), points=str(folder / "points.json"))
    assert not (folder / "out.json").exists()


def test_the_verb_wants_one_source_and_a_json(marked):
    folder, _, write = marked
    with pytest.raises(UserError, match="with --pictures DIR"):
        floor(str(folder / "rig.json"), str(folder / "out.json"))
    with pytest.raises(UserError, match=r"Name it out\.json"):
        floor(str(folder / "rig.json"), str(folder / "out.toml"), points=write(True))
    with pytest.raises(UserError, match="is no npz file"):
        floor(str(folder / "rig.json"), str(folder / "out.json"), feet=str(folder / "rig.json"))
    (folder / "feet.npz").write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(UserError, match="is no npz file"):
        floor(str(folder / "rig.json"), str(folder / "out.json"), feet=str(folder / "feet.npz"))
