"""MoveNet: decoding against a slow twin, coordinates, closer looks, and a recorded person in any posture."""

from pathlib import Path

import cv2
import numpy as np
import pytest

import refit_rt.detect
from refit_rt import config, geometry
from refit_rt.detect import check_parts, make_detector
from refit_rt.detect.movenet import (
    HEADS,
    LONGER_PX,
    NEAR_PX,
    STRIDE,
    THRESHOLD,
    Found,
    MoveNet,
    MoveNetDetector,
    decoded,
    distinct,
    joined,
    roll_of,
)
from refit_rt.detect.network import MULTIPLE, Network, fitted
from refit_rt.errors import UserError
from refit_rt.files import ASSETS
from refit_rt.types import Boxes, Frame, Known, Square
from tests.support.paths import SHARED
from tests.track.stick import keypoints

TREADMILL = SHARED / "media" / "treadmill_4cam"
SIZES = [(1280, 720), (641, 479), (317, 1001), (1080, 1920), (3840, 2160), (3839, 2161), (448, 448), (53, 37)]


# Decoding


def slow(heads: list[np.ndarray], threshold: float) -> list[tuple[np.ndarray, float, np.ndarray]]:
    """Each person's box, score and key points, in the words of the network's description."""
    centre, size, offset, regressed, heat, heat_offset = (head.astype(np.float64) for head in heads)
    rows, columns = centre.shape[:2]
    people = []
    for y in range(rows):
        for x in range(columns):
            around = centre[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2, 0]
            if centre[y, x, 0] < threshold or centre[y, x, 0] < around.max():
                continue
            middle = np.array([x + offset[y, x, 1], y + offset[y, x, 0]])
            half = np.array([max(size[y, x, 1], 0), max(size[y, x, 0], 0)]) / 2
            low, high = middle - half, middle + half
            spread = max(1.0, 0.15 * np.sqrt(max(1.0, np.prod(high - low))))
            points = np.zeros((17, 3))
            for kind in range(17):
                rough = x + regressed[y, x, 2 * kind + 1], y + regressed[y, x, 2 * kind]
                points[kind] = *rough, 0
                best = -1.0
                for v in range(max(0, int(low[1]) - 2), min(rows, int(high[1]) + 3)):
                    for u in range(max(0, int(low[0]) - 2), min(columns, int(high[0]) + 3)):
                        away = (u - rough[0]) ** 2 + (v - rough[1]) ** 2
                        weighed = heat[v, u, kind] * np.exp(-away / (2 * spread**2))
                        if weighed > best:
                            best = weighed
                            dy, dx = heat_offset[v, u, 2 * kind : 2 * kind + 2]
                            points[kind] = u + dx, v + dy, heat[v, u, kind]
            points[:, :2] = STRIDE * points[:, :2] - 0.5
            people.append((STRIDE * np.concatenate([low, high]) - 0.5, centre[y, x, 0], points))
    return sorted(people, key=lambda one: -one[1])


def random_heads(seed: int, rows: int = 24, columns: int = 32) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)

    def some(low: float, high: float, channels: int) -> np.ndarray:
        return rng.uniform(low, high, (rows, columns, channels)).astype(np.float32)

    return [some(0, 1, 1), some(-1, 12, 2), some(-1, 1, 2), some(-9, 9, 34), some(0, 1, 17), some(-1, 1, 34)]


@pytest.mark.parametrize("seed", range(4))
def test_decoding_gives_what_the_slow_twin_gives(seed: int) -> None:
    heads = random_heads(seed)
    found, truth = decoded(heads, 0.8), slow(heads, 0.8)
    assert 20 < len(truth) < 100
    np.testing.assert_allclose(found.xyxy, [box for box, _, _ in truth], atol=0.001)
    np.testing.assert_allclose(found.score, [score for _, score, _ in truth])
    np.testing.assert_allclose(found.keypoints, [points for *_, points in truth], atol=0.001)
    assert found.xyxy.dtype == found.score.dtype == found.keypoints.dtype == np.float32


def test_nobody_is_decoded_below_the_threshold() -> None:
    found = decoded(random_heads(0), 1.1)
    assert found.xyxy.shape == (0, 4)
    assert found.keypoints.shape == (0, 17, 3)
    assert not len(distinct(found).score)


# Coordinates


class Spots:
    """A network that finds one person, all of whose key points are at the middle of the bright spot of its picture."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []  # (height, width) of the pictures that it saw
        self.blind: set[tuple[int, int]] = set()  # sizes in which it finds nobody

    def __call__(self, pictures: np.ndarray) -> dict[str, np.ndarray]:
        (canvas,) = pictures
        height, width = canvas.shape[:2]
        assert canvas.dtype == np.uint8
        assert height % MULTIPLE == width % MULTIPLE == 0
        self.sizes.append((height, width))
        light = canvas.astype(np.float64).sum(-1)
        rows, columns = height // STRIDE, width // STRIDE
        heads = {name: np.zeros((1, rows, columns, channels), np.float32)
                 for name, channels in zip(HEADS, (1, 2, 2, 34, 17, 34), strict=True)}  # fmt: skip
        if light.sum() and (height, width) not in self.blind:
            y, x = ((light * axis).sum() / light.sum() for axis in np.mgrid[:height, :width])
            y, x = (y + 0.5) / STRIDE, (x + 0.5) / STRIDE  # in cells, from the corner of the picture
            v, u = min(int(y), rows - 1), min(int(x), columns - 1)
            heads["centre"][0, v, u] = 0.9
            heads["size"][0, v, u] = 10, 4
            heads["offset"][0, v, u] = y - v, x - u
            heads["regressed"][0, v, u] = np.tile([y - v, x - u], 17)
            heads["heat"][0, v, u] = 0.8
            heads["heat_offset"][0, v, u] = np.tile([y - v, x - u], 17)
        return heads


@pytest.fixture
def spots() -> Spots:
    return Spots()


@pytest.fixture
def movenet(spots: Spots, monkeypatch: pytest.MonkeyPatch) -> MoveNet:
    monkeypatch.setattr(Network, "prepare", lambda self, size: self._compiled.update({size: spots}))
    return MoveNet()


def spotted(size: tuple[int, int], centre: np.ndarray) -> np.ndarray:
    """A black picture with a soft bright spot."""
    width, height = size
    reach = max(size) / 40
    y, x = (np.exp(-((np.arange(n) - c) ** 2) / (2 * reach**2)) for n, c in ((height, centre[1]), (width, centre[0])))
    return np.repeat(np.round(250 * y[:, None] * x).astype(np.uint8)[..., None], 3, -1)


@pytest.mark.parametrize("size", SIZES)
def test_a_picture_of_any_size_fills_the_canvas_and_keeps_its_proportions(size: tuple[int, int]) -> None:
    canvas, scale = fitted(np.full((size[1], size[0], 3), 200, np.uint8), LONGER_PX)
    assert not any(side % MULTIPLE for side in canvas.shape[:2])
    assert max(canvas.shape[:2]) == LONGER_PX
    filled = np.argwhere(canvas[..., 0] == 200).max(0) + 1
    assert filled.max() == LONGER_PX
    np.testing.assert_allclose(filled[::-1], np.array(size) * scale, atol=1e-6)
    assert not canvas[filled[0] :].any()
    assert not canvas[:, filled[1] :].any()
    assert abs(scale[0] / scale[1] - 1) < 1 / min(filled)  # sides are whole pixels


@pytest.mark.parametrize("size", SIZES)
def test_key_points_land_within_a_pixel_in_pictures_of_any_size(movenet: MoveNet, size: tuple[int, int]) -> None:
    for share in ((0.5, 0.5), (0.3, 0.62), (0.71, 0.34)):
        centre = np.array(share) * size
        found = movenet.look(spotted(size, centre), 0.5)
        assert found.score.shape == (1,)
        np.testing.assert_allclose(found.keypoints[0, :, :2], np.tile(centre, (17, 1)), atol=1.0)
        np.testing.assert_allclose((found.xyxy[0, :2] + found.xyxy[0, 2:]) / 2, centre, atol=1.0)
        wide_high = np.array([4, 10]) * STRIDE * max(size) / LONGER_PX
        np.testing.assert_allclose(found.xyxy[0, 2:] - found.xyxy[0, :2], wide_high, rtol=0.05)


@pytest.mark.parametrize("degrees", [0, 20, -75, 90, 180])
@pytest.mark.parametrize("side_px", [150.0, 400.0, 900.0])
def test_a_closer_look_reports_in_picture_coordinates_under_any_roll(
    movenet: MoveNet, spots: Spots, degrees: float, side_px: float
) -> None:
    centre = np.array([600.0, 380.0])
    square = Square(centre + 0.08 * side_px * np.array([1, -0.5]), side_px, np.radians(degrees))
    picture = cv2.resize(spotted((160, 160), np.array([79.5, 79.5])), None, fx=side_px / 400, fy=side_px / 400)
    image = np.zeros((800, 1280, 3), np.uint8)
    half = len(picture) / 2
    x0, y0 = np.round(centre - half + 0.5).astype(int)
    image[y0 : y0 + len(picture), x0 : x0 + len(picture)] = picture
    centre = np.array([x0, y0]) + half - 0.5
    found = movenet.look_near(image, square, 0.5)
    assert spots.sizes == [(NEAR_PX, NEAR_PX)]
    # The crop's pixels are counted from SPIN's corner: half a pixel of the crop either way
    np.testing.assert_allclose(found.keypoints[0, :, :2], np.tile(centre, (17, 1)), atol=1.0 + 0.6 * side_px / NEAR_PX)
    cos, sin = abs(np.cos(square.roll)), abs(np.sin(square.roll))
    high, wide = 10 * STRIDE * side_px / NEAR_PX, 4 * STRIDE * side_px / NEAR_PX
    bounds = found.xyxy[0, 2:] - found.xyxy[0, :2]
    np.testing.assert_allclose(bounds, [wide * cos + high * sin, wide * sin + high * cos], rtol=0.02)


def test_a_person_who_is_followed_and_not_found_in_the_whole_picture_is_looked_at_closely(spots, movenet) -> None:
    del movenet  # its network is the one that sees spots
    detector, centre = MoveNetDetector(), np.array([500.0, 300.0])
    frame = Frame("test", 0, 0.0, 0.0, spotted((1280, 720), centre))
    box = np.array([[475, 240, 525, 360]], np.float32)
    known = Known(np.array([4]), box, np.zeros(1, np.float32))
    assert len(detector.find(frame, known).score) == 1
    assert spots.sizes == [(256, 448)]
    spots.blind = {(256, 448)}
    assert not len(detector.find(frame, Known.nobody()).score)
    found = detector.find(frame, known)
    assert found.keypoints is not None
    np.testing.assert_allclose(found.keypoints[0, :, :2], np.tile(centre, (17, 1)), atol=2.0)
    assert spots.sizes[-2:] == [(256, 448), (NEAR_PX, NEAR_PX)]


# People, each once


def person(x: float, y: float = 300.0, height: float = 300.0, score: float = 0.9) -> Found:
    points = keypoints(np.array([x, y]), height)[None].astype(np.float32)
    wide = 0.3 * height
    box = np.array([[x - wide, y - height / 2, x + wide, y + height / 2]], np.float32)
    return Found(box, np.array([score], np.float32), points)


def test_one_person_who_is_found_twice_is_reported_once_with_the_better_score() -> None:
    both = joined(person(300, score=0.6), person(304, score=0.8))
    np.testing.assert_allclose(both.score, [0.8])
    np.testing.assert_allclose(both.xyxy, person(304).xyxy)


def test_people_who_embrace_are_two_though_they_share_a_box() -> None:
    ann, bob = person(300), person(360, score=0.7)
    shared = Found(np.repeat(ann.xyxy, 2, 0), np.concatenate([ann.score, bob.score]),
                   np.concatenate([ann.keypoints, bob.keypoints]))  # fmt: skip
    assert distinct(shared).score.tolist() == shared.score.tolist()
    assert len(joined(ann, bob).score) == 2


@pytest.mark.parametrize("degrees", [0, 30, -60, 90, 179, -170])
def test_the_roll_is_the_angle_by_which_a_person_leans_clockwise(degrees: float) -> None:
    found = person(300)
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[cos, -sin], [sin, cos]], np.float32)  # clockwise in a picture, whose y points down
    found.keypoints[..., :2] = (found.keypoints[..., :2] - (300, 300)) @ turn.T + (300, 300)
    assert abs(np.degrees(roll_of(found)[0]) - degrees) < 0.1


def test_a_roll_that_is_not_seen_is_zero() -> None:
    hidden = person(300)
    hidden.keypoints[0, 11, 2] = 0.1  # a hip
    assert roll_of(hidden).tolist() == [0]
    towards = person(300)
    torso = towards.keypoints[0, [5, 6, 11, 12], :2]
    towards.keypoints[0, [5, 6, 11, 12], :2] = torso.mean(0) + 0.2 * (torso - torso.mean(0))[:, ::-1]
    assert roll_of(towards).tolist() == [0]


# Settings and files


class Three:
    """Finds a person in the left, the middle and the right of every picture."""

    threshold = 0.5

    def find(self, frame: Frame, known: Known) -> Boxes:
        width, height = frame.size
        middle = np.array([0.1, 0.5, 0.9])[:, None] * width
        boxes = np.concatenate([middle - 40, middle * 0 + 0.4 * height, middle + 40, middle * 0 + height], 1)
        points = np.repeat(middle[..., None], 17, 1).repeat(3, 2)
        return Boxes(frame, boxes.astype(np.float32), np.ones(3, np.float32), np.zeros(3, np.float32), points)


@pytest.mark.parametrize(
    ("settings", "left"),
    [
        ({"region": (0.0, 0.0, 0.6, 1.0)}, [0, 1]),
        ({"region": (0.0, 0.0, 1.0, 0.5)}, []),
        ({"ignore": ((0.4, 0.0, 0.6, 1.0),)}, [0, 2]),
        ({"ignore": ((0.4, 0.0, 0.6, 1.0), (0.8, 0.5, 1.0, 1.0))}, [0]),
        ({"region": (0.3, 0.0, 1.0, 1.0), "ignore": ((0.0, 0.0, 0.2, 0.2), (0.8, 0.0, 1.0, 1.0))}, [1]),
    ],
)
def test_people_are_reported_within_the_region_and_outside_of_what_is_ignored(settings, left, monkeypatch) -> None:
    monkeypatch.setattr(refit_rt.detect, "_detector", lambda settings, threads: Three())
    frame = Frame("test", 0, 0.0, 0.0, np.zeros((720, 1280, 3), np.uint8))
    detector = make_detector(config.Detect(**settings))
    found = detector.find(frame, Known.nobody())
    assert detector.threshold == 0.5
    np.testing.assert_allclose((found.xyxy[:, 0] + 40) / 1280, np.array([0.1, 0.5, 0.9])[left], atol=1e-6)
    assert found.keypoints is not None
    np.testing.assert_allclose(found.keypoints[:, 0, 0] / 1280, np.array([0.1, 0.5, 0.9])[left], atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"region": (0.5, 0.0, 0.5, 1.0)}, r"detect\.region: 0\.5 0 0\.5 1 has no area"),
        ({"region": (0.0, 0.9, 1.0, 0.1)}, r"detect\.region: 0 0\.9 1 0\.1 has no area"),
        ({"ignore": ((0.0, 0.0, 0.1, 0.1), (0.9, 0.0, 0.8, 1.0))}, r"detect\.ignore: 0\.9 0 0\.8 1 has no area"),
    ],
)
def test_a_part_of_the_picture_without_an_area_is_one_clear_line(settings: dict, line: str) -> None:
    for check in (check_parts, make_detector):
        with pytest.raises(
            UserError, match=rf"^{line}\. Give left top right bottom, in shares of the picture: 0 0 1 1$"
        ):
            check(config.Detect(**settings))


def test_movenet_is_the_default_and_keeps_its_own_threshold_or_takes_the_users() -> None:
    detector = make_detector(config.Detect())
    assert isinstance(detector, MoveNetDetector)
    assert detector.threshold == THRESHOLD
    assert make_detector(config.Detect(threshold=0.6)).threshold == 0.6


def test_a_broken_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no network")
    for path, reason in {
        tmp_path / "broken.onnx": "OpenVINO cannot read it",
        tmp_path / "gone.onnx": "OpenVINO cannot read it",
        ASSETS
        / "bundles"
        / "edge"
        / "encoder.onnx": "has no output centre, size, offset, regressed, heat, heat_offset",
    }.items():
        with pytest.raises(UserError, match=rf"^\S*{path.name}: {reason}\. Install refit_rt again$") as raised:
            MoveNet(path)
        assert "\n" not in str(raised.value)


# The network itself


def test_nobody_is_found_in_a_picture_that_shows_nothing() -> None:
    detector = MoveNetDetector()
    for size in ((640, 480), (31, 200), (1, 1)):
        for level in (0, 255):
            frame = Frame("test", 0, 0.0, 0.0, np.full((size[1], size[0], 3), level, np.uint8))
            found = detector.find(frame, Known.nobody())
            assert found.xyxy.shape == (0, 4)
            assert found.roll.shape == (0,)


@pytest.mark.skipif(not TREADMILL.is_dir(), reason="needs the recordings in shared/media")
def test_the_man_on_the_treadmill_is_found_alone_upright_lying_and_upside_down() -> None:
    image = cv2.VideoCapture(str(TREADMILL / "cam03.mp4")).read()[1]
    movenet, height, width = MoveNet(), *image.shape[:2]
    upright = movenet.look(image, THRESHOLD)
    size = float(upright.xyxy[0, 3] - upright.xyxy[0, 1])
    assert len(upright.score) == 1
    assert 800 < size < 1000  # he is 900 px high
    truth = closely(movenet, image, upright)
    for quarters, degrees in ((1, -90), (2, 180), (3, 90)):
        turned = np.ascontiguousarray(np.rot90(image, quarters))
        found = movenet.look(turned, THRESHOLD)
        assert len(found.score) == 1
        leaning = np.degrees(roll_of(found)[0] - roll_of(upright)[0]) - degrees
        assert abs((leaning + 180) % 360 - 180) < 12
        whole = turned_back(found.keypoints[0], quarters, width, height)
        near = turned_back(closely(movenet, turned, found), quarters, width, height)
        for pair in ([5, 6], [11, 12]):  # shoulders, hips
            assert np.linalg.norm(whole[pair].mean(0) - upright.keypoints[0, pair, :2].mean(0)) < 0.05 * size
            assert np.linalg.norm(near[pair] - truth[pair, :2], axis=-1).max() < 0.03 * size


@pytest.mark.skipif(not TREADMILL.is_dir(), reason="needs the recordings in shared/media")
def test_nobody_is_found_in_the_empty_studio() -> None:
    image = cv2.imread(str(TREADMILL / "cam03_ext.png"))
    assert image is not None
    empty = Frame("test", 0, 0.0, 0.0, image)
    assert not (MoveNetDetector().find(empty, Known.nobody()).score >= THRESHOLD).any()


def closely(movenet: MoveNet, image: np.ndarray, found: Found) -> np.ndarray:
    """The key points (17, 3) of a person in a closer look that stands them upright."""
    near = movenet.look_near(image, geometry.square_around(found.xyxy[0], 1.4, float(roll_of(found)[0])), THRESHOLD)
    assert len(near.score) == 1
    return near.keypoints[0]


def turned_back(points: np.ndarray, quarters: int, width: int, height: int) -> np.ndarray:
    """Key points (n, 3) of a picture that np.rot90 has turned, in pixels (n, 2) of the picture as it was."""
    x, y, _ = points.T
    ways = {
        1: (width - 1 - y, x),
        2: (width - 1 - x, height - 1 - y),
        3: (y, height - 1 - x),
    }
    return np.stack(ways[quarters], 1)
