"""BlazePose finds people: in drawn pictures with a stand-in for the network, and in real recordings with it."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from refit_rt import config
from refit_rt.detect import Detector, InParts, make_detector
from refit_rt.detect.blazepose import BlazePoseDetector, anchors, letterbox, suppress
from refit_rt.detect.tiles import LOOKS, TiledBlazePose, parts
from refit_rt.errors import UserError
from refit_rt.geometry import iou
from refit_rt.types import Frame
from tests.support.paths import SHARED

MEDIA = SHARED / "media"
NO_BOXES = np.zeros((0, 4), np.float32)
RED = (0, 0, 255)


def test_anchors_equal_a_loop_over_layers_cells_and_shapes() -> None:
    slow = []
    layers = [8, 16, 32, 32, 32]
    while layers:
        stride = layers[0]
        same = [layer for layer in layers if layer == stride]
        cells = 224 // stride
        for y in range(cells):
            for x in range(cells):
                slow += [((x + 0.5) / cells, (y + 0.5) / cells)] * (2 * len(same))
        layers = layers[len(same) :]
    np.testing.assert_allclose(anchors(), slow, atol=1e-7)


@pytest.mark.parametrize("size", [(1280, 720), (480, 640), (3840, 2160), (100, 90)])
def test_a_point_of_the_picture_keeps_its_place_in_the_letterbox(size: tuple[int, int]) -> None:
    width, height = size
    side = max(size)
    image = np.full((height, width, 3), 60, np.uint8)
    x, y = int(0.7 * width), int(0.4 * height)
    reach = side // 14
    image[y - reach : y + reach, x - reach : x + reach] = 255
    out = np.empty((224, 224, 3), np.uint8)
    letterbox(image, ((width - side) / 2, (height - side) / 2, side), out)
    v, u = np.mean(np.argwhere(out[..., 0] > 158), 0)
    back = np.array([u + 0.5, v + 0.5]) * side / 224 - [(side - width) / 2, (side - height) / 2]
    assert np.abs(back - (x, y)).max() < 0.6 * side / 224
    if width > height:
        assert not out[0].any()
        assert not out[-1].any()


def test_a_part_is_black_outside_the_picture() -> None:
    out = np.empty((224, 224, 3), np.uint8)
    letterbox(np.full((100, 100, 3), 200, np.uint8), (50, 50, 100), out)
    assert (out[:112, :112] == 200).all()
    assert not out[112:].any()
    letterbox(np.full((100, 100, 3), 200, np.uint8), (500, 50, 100), out)
    assert not out.any()


def test_detections_of_one_face_become_one_person_weighted_by_score() -> None:
    values = np.zeros((3, 6, 2))
    values[:, 0] = [(0.5, 0.5), (0.51, 0.5), (0.1, 0.1)]
    values[:, 1] = 0.1
    values[:, 2, 0] = [0.4, 0.6, 0.9]
    people, score = suppress(values, np.array([0.9, 0.6, 0.95]))
    np.testing.assert_allclose(score, [0.95, 0.9])
    np.testing.assert_allclose(people[:, 2, 0], [0.9, 0.4 * 0.6 + 0.6 * 0.4])
    assert len(suppress(np.zeros((0, 6, 2)), np.zeros(0))[1]) == 0


def test_parts_cover_the_picture_whatever_its_aspect() -> None:
    for width, height in ((1280, 720), (720, 1280), (640, 480), (500, 500), (3000, 400)):
        squares = parts(width, height)
        assert squares[0][2] == max(width, height)
        for level in {side for _, _, side in squares[1:]}:
            seen = np.zeros((height, width), bool)
            for left, top, side in squares[1:]:
                if side == level:
                    assert left >= 0
                    assert top >= 0
                    assert left + side <= width + 1e-6
                    assert top + side <= height + 1e-6
                    seen[round(top) : round(top + side), round(left) : round(left + side)] = True
            assert seen.all()


class ShortSighted:
    """A stand-in for BlazePose: finds the largest red ellipse of a part if it is at least a third of the part high."""

    def __init__(self, score: float = 0.9) -> None:
        self.looks, self.score = 0, score

    def look(self, image: np.ndarray, part: tuple, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        self.looks += 1
        left, top, side = part
        shift = np.array([[224 / side, 0, -left * 224 / side], [0, 224 / side, -top * 224 / side]])
        seen = cv2.warpAffine(image, shift, (224, 224))
        red = ((seen[..., 2] > 200) & (seen[..., 0] < 60)).astype(np.uint8)
        count, _, stats, centres = cv2.connectedComponentsWithStats(red)
        best = max(range(1, count), key=lambda index: stats[index][3], default=0)
        if not best or stats[best][3] < 224 / 3:
            return np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.float32)
        centre = (centres[best] + 0.5) * side / 224 + (left - 0.5, top - 0.5)
        half = stats[best][3] * side / 224 / 2
        box = np.concatenate([centre - half, centre + half])[None].astype(np.float32)
        if self.score < threshold:
            box = box[:0]
        return box, np.full(len(box), self.score, np.float32), np.zeros(len(box), np.float32)


def paper(*people: tuple[int, int, int], size: tuple[int, int] = (1280, 720)) -> tuple[np.ndarray, np.ndarray]:
    """A drawn picture of ellipses (centre x, y, height), and their squares."""
    image = np.full((size[1], size[0], 3), 90, np.uint8)
    for x, y, height in people:
        cv2.ellipse(image, (x, y), (height // 8, height // 2), 0, 0, 360, RED, -1)
    boxes = np.array([[x - h / 2, y - h / 2, x + h / 2, y + h / 2] for x, y, h in people], np.float32)
    return image, boxes


def all_found(found: np.ndarray, truth: np.ndarray) -> bool:
    return len(found) == len(truth) and bool((iou(truth, found).max(1) > 0.7).all())


@pytest.mark.parametrize(
    "people",
    [
        ((300, 360, 640), (640, 380, 600), (980, 360, 620)),
        ((400, 360, 640), (560, 380, 600)),
        ((200, 400, 320), (640, 400, 300), (1100, 420, 280)),
        ((200, 400, 640), (900, 300, 200), (1100, 420, 180)),
    ],
    ids=["filling-the-room", "shoulder-to-shoulder", "across-the-room", "near-and-far"],
)
def test_a_network_that_finds_one_person_at_a_time_finds_everyone_within_a_few_pictures(people) -> None:
    image, truth = paper(*people)
    tiled = TiledBlazePose(ShortSighted(), max_people=4)  # type: ignore[arg-type]
    found = NO_BOXES
    for _ in range(6):
        found = tiled.find(image, found, 0.5)[0]
    assert all_found(found, truth)


def test_people_filling_a_room_are_found_in_the_first_picture() -> None:
    image, truth = paper((300, 360, 640), (640, 380, 600), (980, 360, 620))
    assert all_found(TiledBlazePose(ShortSighted(), 3).find(image, NO_BOXES, 0.5)[0], truth)  # type: ignore[arg-type]


def test_a_lone_person_too_far_away_for_the_whole_picture_is_found_in_a_part() -> None:
    image, truth = paper((900, 400, 260))
    seer = ShortSighted()
    tiled = TiledBlazePose(seer, max_people=1)  # type: ignore[arg-type]
    answers = [tiled.find(image, NO_BOXES, 0.5)[0] for _ in range(3)]
    assert any(all_found(answer, truth) for answer in answers)


def test_a_search_takes_a_bounded_number_of_looks_and_none_when_everyone_is_found() -> None:
    seer = ShortSighted()
    tiled = TiledBlazePose(seer, max_people=3)  # type: ignore[arg-type]
    empty = paper()[0]
    for _ in range(5):
        seer.looks = 0
        assert not len(tiled.find(empty, NO_BOXES, 0.5)[0])
        assert seer.looks == LOOKS
    image, truth = paper((200, 360, 500), (640, 380, 500), (1080, 360, 500))
    seer.looks = 0
    assert all_found(tiled.find(image, truth, 0.5)[0], truth)
    assert seer.looks == 3  # one for each known person


def test_a_known_person_who_has_left_is_not_reported() -> None:
    image, truth = paper((300, 360, 640))
    tiled = TiledBlazePose(ShortSighted(), max_people=2)  # type: ignore[arg-type]
    known = np.concatenate([truth, truth + np.float32(600)])
    assert all_found(tiled.find(image, known, 0.5)[0], truth)


def test_a_doubtful_person_is_reported_only_where_a_person_is_tracked() -> None:
    image, truth = paper((300, 360, 640))
    detector = InParts(ShortSighted(score=0.3), 1, 0.5)
    xyxy, score, _ = find(detector, image, truth)
    assert all_found(xyxy, truth)
    assert score == pytest.approx(0.3)
    assert not len(find(detector, image)[0])


def test_a_doubtful_person_does_not_end_the_search_for_others() -> None:
    image, truth = paper((300, 360, 640))
    seer = ShortSighted(score=0.3)
    InParts(seer, 1, 0.5).find(Frame("camera", 0, 0.0, 0.0, image), truth)
    assert seer.looks == 1 + LOOKS


def test_boxes_are_in_the_pixels_of_a_picture_of_any_size() -> None:
    for factor in (1, 3):
        image, truth = paper((300 * factor, 360 * factor, 600 * factor), size=(1280 * factor, 720 * factor))
        found = TiledBlazePose(ShortSighted(), 1).find(image, NO_BOXES, 0.5)[0]  # type: ignore[arg-type]
        assert np.abs(found - truth).max() < 12 * factor


def test_a_file_that_is_not_the_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.tflite").write_bytes(b"no network")
    with pytest.raises(UserError, match=r"net.tflite: OpenVINO cannot read it"):
        BlazePoseDetector(tmp_path / "net.tflite")


def test_the_path_of_a_detector_may_start_with_the_users_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UserError, match=f"{tmp_path}/mine.onnx: no such file"):
        make_detector(config.Detect(model="~/mine.onnx"), 1, 1)


def still(video: str, index: int) -> np.ndarray:
    path = MEDIA / video
    if not path.is_file():
        pytest.skip(f"the recording {video} is not here")
    capture = cv2.VideoCapture(str(path))
    capture.set(cv2.CAP_PROP_POS_FRAMES, index)
    return capture.read()[1]


def find(detector: Detector, image: np.ndarray, known: np.ndarray = NO_BOXES) -> tuple[np.ndarray, ...]:
    boxes = detector.find(Frame("camera", 0, 0.0, 0.0, image), known)
    return boxes.xyxy, boxes.score, np.degrees(boxes.roll)


# Annotated by eye, in pixels: the midpoint of the hips and the crown of the head.
ANNOTATED = [
    ("treadmill_4cam/cam01.mp4", 5, (423, 752), (505, 335)),
    ("treadmill_4cam/cam02.mp4", 5, (538, 790), (585, 405)),
    ("treadmill_4cam/cam03.mp4", 5, (635, 893), (585, 430)),
    ("treadmill_4cam/cam04.mp4", 5, (417, 972), (230, 540)),
]


@pytest.mark.parametrize(("video", "index", "hip", "head"), ANNOTATED)
def test_a_walker_is_found_with_hips_head_and_lean(person_detector: Path, video: str, index: int, hip, head) -> None:
    image = still(video, index)
    for tiles in (False, True):
        xyxy, score, roll = find(make_detector(config.Detect(tiles=tiles), 1, 1), image)
        assert score[0] > 0.8
        assert np.linalg.norm((xyxy[0, :2] + xyxy[0, 2:]) / 2 - hip) < 60
        assert abs(roll[0] - np.degrees(np.arctan2(head[0] - hip[0], hip[1] - head[1]))) < 12
        assert 0.9 < (xyxy[0, 2] - xyxy[0, 0]) / 2 / np.linalg.norm(np.subtract(head, hip)) < 1.15


def test_a_quarter_turn_of_the_picture_is_a_quarter_turn_of_roll(person_detector: Path) -> None:
    image = np.ascontiguousarray(np.rot90(still("treadmill_4cam/cam03.mp4", 5)))  # counter-clockwise
    detector = BlazePoseDetector(person_detector, 1)
    _, score, roll = detector.find(image, 0.3)
    assert len(score)
    assert abs(np.degrees(roll[0]) - (-7 - 90)) < 15


def test_three_people_filling_a_room_are_all_found_in_one_picture(person_detector: Path) -> None:
    places = [(1, 5, 200, 1300, 180, 660), (2, 40, 250, 1350, 300, 780), (4, 60, 350, 1550, 150, 700)]
    columns = []
    for camera, index, top, bottom, left, right in places:
        column = still(f"treadmill_4cam/cam0{camera}.mp4", index)[top:bottom, left:right]
        columns.append(cv2.resize(column, (round(column.shape[1] * 720 / column.shape[0]), 720)))
    image = np.hstack(columns)
    detector = make_detector(config.Detect(), 4, 1)
    xyxy, score, _ = find(detector, image)
    assert len(xyxy) == 3
    edges = np.cumsum([0] + [column.shape[1] for column in columns])
    centres = np.sort((xyxy[:, 0] + xyxy[:, 2]) / 2)
    assert all(a < c < b for a, c, b in zip(edges, centres, edges[1:], strict=False))
    again, _, _ = find(detector, image, xyxy)
    assert len(again) == 3
    assert (iou(xyxy, again).max(1) > 0.7).all()
    assert score.min() > 0.5


def test_a_small_person_in_the_background_is_found(person_detector: Path) -> None:
    detector = make_detector(config.Detect(), 3, 1)
    known = NO_BOXES
    for index in (0, 1):
        known = find(detector, still("treadmill_4cam/cam01.mp4", index), known)[0]
    assert len(known) == 2
    sizes = np.sort(known[:, 2] - known[:, 0])
    assert sizes[1] > 1.5 * sizes[0]
