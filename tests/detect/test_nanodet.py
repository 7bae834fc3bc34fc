"""NanoDet: decoding against a slow twin, the parts of a picture, coordinates, and a rendered crowd of small people."""

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from refit_rt import config
from refit_rt.detect import make_detector
from refit_rt.detect.nanodet import (
    BINS,
    MAPS,
    OVERLAP,
    SIDE_PX,
    THRESHOLD,
    NanoDet,
    cut,
    decoded,
    parts_of,
    reduced,
)
from refit_rt.detect.network import MULTIPLE, Network, fitted
from refit_rt.errors import UserError
from refit_rt.files import ASSETS
from refit_rt.types import Frame, Known
from tests.support.paths import SHARED

TREADMILL = SHARED / "media" / "treadmill_4cam"
SIZES = [(1280, 720), (641, 479), (317, 1001), (1080, 1920), (3840, 2160), (3839, 2161), (416, 416), (53, 37)]


# Decoding


def slow(maps: dict[str, np.ndarray], threshold: float) -> list[tuple[list[float], float]]:
    """The box and the score of every cell on a person, in the words of the network's description."""
    people = []
    for name, stride in MAPS.items():
        rows, columns = maps[name].shape[:2]
        for y in range(rows):
            for x in range(columns):
                cell = maps[name][y, x].astype(np.float64)
                score = 1 / (1 + np.exp(-cell[0]))
                if score < threshold:
                    continue
                away = []
                for side in range(4):
                    chances = np.exp(cell[1 + side * BINS : 1 + (side + 1) * BINS])
                    away.append(sum(k * chance for k, chance in enumerate(chances)) / sum(chances))
                middle_x, middle_y = x + 0.5, y + 0.5
                box = [middle_x - away[0], middle_y - away[1], middle_x + away[2], middle_y + away[3]]
                people.append(([side * stride for side in box], score))
    return people


def random_maps(seed: int, height: int = 128, width: int = 192) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    sizes = {name: (height // stride, width // stride, 1 + 4 * BINS) for name, stride in MAPS.items()}
    return {name: rng.normal(0, 2, size).astype(np.float32) for name, size in sizes.items()}


@pytest.mark.parametrize("seed", range(4))
def test_decoding_gives_what_the_slow_twin_gives(seed: int) -> None:
    maps = random_maps(seed)
    boxes, scores = decoded(maps, 0.8)
    truth = slow(maps, 0.8)
    assert 80 < len(truth) < 160
    np.testing.assert_allclose(boxes, [box for box, _ in truth], atol=0.001)
    np.testing.assert_allclose(scores, [score for _, score in truth], rtol=1e-5)
    assert boxes.dtype == scores.dtype == np.float32


def test_nobody_is_decoded_below_the_threshold() -> None:
    boxes, scores = decoded(random_maps(0), 1.1)
    assert boxes.shape == (0, 4)
    assert scores.shape == (0,)


# Parts


@pytest.mark.parametrize("size", SIZES)
def test_the_squares_are_as_high_as_the_picture_cover_it_and_overlap(size: tuple[int, int]) -> None:
    width, height = size
    whole, *squares = parts_of(width, height)
    assert whole == (0, 0, width, height)
    if width == height:
        assert not squares
        return
    side = min(size)
    seen = np.zeros((height, width), int)
    for left, top, right, bottom in squares:
        assert (right - left, bottom - top) == (side, side)
        seen[top:bottom, left:right] += 1
    assert seen.min() == 1
    axis = 0 if width > height else 1
    for one, after in pairwise(squares):
        assert one[2 + axis] - after[axis] >= OVERLAP * side - 1


def test_a_wide_picture_has_two_squares_and_a_panorama_more() -> None:
    assert parts_of(1280, 720)[1:] == [(0, 0, 720, 720), (560, 0, 1280, 720)]
    assert parts_of(1080, 1920)[1:] == [(0, 0, 1080, 1080), (0, 840, 1080, 1920)]
    assert len(parts_of(4000, 1000)) == 6


def test_boxes_at_an_edge_inside_the_picture_are_cut_and_others_are_not() -> None:
    boxes = np.array([[558, 10, 600, 90], [900, 10, 1279, 90], [600, 0, 650, 719], [575, 10, 600, 90]], float)
    assert cut(boxes, (560, 0, 1280, 720), 1280, 720).tolist() == [True, False, False, False]
    assert cut(boxes, (0, 0, 720, 720), 1280, 720).tolist() == [False, True, False, False]
    assert not cut(boxes, (0, 0, 1280, 720), 1280, 720).any()
    upright = boxes[:, [1, 0, 3, 2]]
    assert cut(upright, (0, 560, 720, 1280), 720, 1280).tolist() == [True, False, False, False]


# Coordinates


class Panes:
    """A network that finds a person wherever its picture has a bright pane, as far as the picture shows it."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []  # (height, width) of the pictures that it saw

    def __call__(self, pictures: np.ndarray) -> dict[str, np.ndarray]:
        (canvas,) = pictures
        height, width = canvas.shape[:2]
        assert canvas.dtype == np.uint8
        assert height % MULTIPLE == width % MULTIPLE == 0
        self.sizes.append((height, width))
        maps = {name: np.full((1, height // n, width // n, 1 + 4 * BINS), -9.0, np.float32) for name, n in MAPS.items()}
        for x, y, wide, high, _ in cv2.connectedComponentsWithStats((canvas[..., 1] > 99).astype(np.uint8))[2][1:]:
            name = next((name for name, n in MAPS.items() if max(wide, high) < 1.8 * (BINS - 1) * n / 2), "stride_32")
            stride = MAPS[name]
            column, row = int((x + wide / 2) / stride), int((y + high / 2) / stride)
            middle_x, middle_y = column + 0.5, row + 0.5
            cell = maps[name][0, row, column]
            cell[0] = 2.0
            sides = middle_x - x / stride, middle_y - y / stride, (x + wide) / stride - middle_x
            for index, side in enumerate((*sides, (y + high) / stride - middle_y)):
                low = min(int(side), BINS - 2)
                chances = np.full(BINS, 1e-9)
                chances[low], chances[low + 1] = max(low + 1 - side, 1e-9), max(side - low, 1e-9)
                cell[1 + index * BINS : 1 + (index + 1) * BINS] = np.log(chances)
        return maps


@pytest.fixture
def panes() -> Panes:
    return Panes()


@pytest.fixture
def nanodet(panes: Panes, monkeypatch: pytest.MonkeyPatch) -> NanoDet:
    monkeypatch.setattr(Network, "prepare", lambda self, size: self._compiled.update({size: panes}))
    return NanoDet()


@pytest.mark.parametrize("size", SIZES)
def test_a_picture_of_any_size_fills_the_canvas_and_keeps_its_proportions(size: tuple[int, int]) -> None:
    canvas, scale = fitted(np.full((size[1], size[0], 3), 200, np.uint8), SIDE_PX)
    assert not any(side % MULTIPLE for side in canvas.shape[:2])
    assert max(canvas.shape[:2]) == SIDE_PX
    filled = np.argwhere(canvas[..., 0] == 200).max(0) + 1
    assert filled.max() == SIDE_PX
    np.testing.assert_allclose(filled[::-1], np.array(size) * scale, atol=1e-6)


def test_large_pictures_are_halved_until_a_square_is_near_the_networks_size() -> None:
    assert reduced(np.zeros((720, 1280, 3), np.uint8)).shape == (720, 1280, 3)
    assert reduced(np.zeros((2160, 3840, 3), np.uint8)).shape == (1080, 1920, 3)
    assert reduced(np.zeros((4320, 7680, 3), np.uint8)).shape == (1080, 1920, 3)


@pytest.mark.parametrize("size", [size for size in SIZES if min(size) > 300])
def test_everybody_is_found_once_and_whole_wherever_the_squares_end(nanodet: NanoDet, size: tuple[int, int]) -> None:
    width, height = size
    short = min(size)
    image = np.zeros((height, width, 3), np.uint8)
    people = []
    wide, high = round(0.06 * short), round(0.12 * short)
    for x in np.arange(0, width - wide, 1.7 * wide).astype(int):
        for y in (np.array([0.02, 0.4, 0.85]) * height).astype(int):
            people.append((x, y, x + wide, y + high))
            image[y : y + high, x : x + wide] = 255
    xyxy, score, roll = nanodet.find(image, 0.5)
    assert len(xyxy) == len(score) == len(roll) == len(people)
    truth = np.array(people) - 0.5  # of the pixels' corners
    away = np.abs(xyxy[None] - truth[:, None]).max(-1)
    pixel = short / SIDE_PX  # of the network's input in the squares, in the picture's pixels
    assert (away.min(1) < 2 * pixel + 1).all()
    assert len(set(away.argmin(1))) == len(people)


def test_a_person_larger_than_the_overlap_is_whole_in_the_whole_picture(nanodet: NanoDet, panes: Panes) -> None:
    image = np.zeros((720, 1280, 3), np.uint8)
    image[100:700, 500:780] = 255  # over the ends of both squares
    xyxy, _, _ = nanodet.find(image, 0.5)
    np.testing.assert_allclose(xyxy, [[499.5, 99.5, 779.5, 699.5]], atol=4)
    assert panes.sizes == [(256, 416), (416, 416), (416, 416)]


# Settings and files


def test_far_keeps_its_own_threshold_or_takes_the_users() -> None:
    assert make_detector(config.Detect(model="far")).threshold == THRESHOLD
    assert make_detector(config.Detect(model="far", threshold=0.6)).threshold == 0.6


def test_an_unknown_detector_is_one_clear_line_that_names_them_all() -> None:
    with pytest.raises(UserError, match=r"no detector 'near'\. Set detect\.model to movenet, far, or the path of"):
        make_detector(config.Detect(model="near"))


def test_a_broken_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no network")
    for path, reason in {
        tmp_path / "broken.onnx": "OpenVINO cannot read it",
        tmp_path / "gone.onnx": "OpenVINO cannot read it",
        ASSETS / "detectors" / "movenet" / "movenet.onnx": "has no output stride_8, stride_16, stride_32",
    }.items():
        with pytest.raises(UserError, match=rf"^\S*{path.name}: {reason}\. Install refit_rt again$") as raised:
            NanoDet(path)
        assert "\n" not in str(raised.value)


# The network itself


def test_nobody_is_found_in_a_picture_that_shows_nothing() -> None:
    detector = make_detector(config.Detect(model="far"))
    for size in ((640, 480), (31, 200), (1, 1)):
        for level in (0, 255):
            frame = Frame("test", 0, 0.0, 0.0, np.full((size[1], size[0], 3), level, np.uint8))
            found = detector.find(frame, Known.nobody())
            assert found.xyxy.shape == (0, 4)
            assert found.roll.shape == (0,)
            assert found.keypoints is None


def test_a_rendered_crowd_at_an_eighth_of_the_height_is_found_each_person_once() -> None:
    frame = cv2.VideoCapture(str(ASSETS / "demo" / "demo.mp4")).read()[1]
    nanodet = NanoDet()
    (box,) = nanodet.find(frame, THRESHOLD)[0]
    left, top, right, bottom = (int(side) for side in box + np.array([-40, -40, 40, 40]))
    share = 0.125 * 720 / (box[3] - box[1])
    person = cv2.resize(frame[top:bottom, left:right], None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
    crowd = np.empty((720, 1280, 3), np.uint8)
    crowd[:] = np.median(frame.reshape(-1, 3), 0)
    corners = [(x, y) for y in (100, 400) for x in (40, 300, 560, 620, 700, 900, 1150)]  # two at the squares' edges
    for x, y in corners:
        crowd[y : y + len(person), x : x + person.shape[1]] = person
    xyxy, score, _ = nanodet.find(crowd, THRESHOLD)
    assert len(score) == len(corners)
    truth = (box - (left, top, left, top)) * share + np.array([(x, y, x, y) for x, y in corners])
    away = np.abs(xyxy[None] - truth[:, None]).max(-1)
    assert (away.min(1) < 9).all()  # px, a tenth of a person's height: boxes fit less closely around large people
    assert len(set(away.argmin(1))) == len(corners)


@pytest.mark.skipif(not TREADMILL.is_dir(), reason="needs the recordings in shared/media")
def test_the_man_on_the_treadmill_is_found_near_and_the_empty_studio_is_empty() -> None:
    nanodet = NanoDet()
    xyxy, score, _ = nanodet.find(cv2.VideoCapture(str(TREADMILL / "cam03.mp4")).read()[1], THRESHOLD)
    assert len(score) == 1
    assert 800 < xyxy[0, 3] - xyxy[0, 1] < 1000  # he is 900 px high
