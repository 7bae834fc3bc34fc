"""Photos of people → the crops for measuring int8 ranges, and the verb `quantise`."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="a bundle's card is written by the exporter: pip install refit-rt[train]")
pytest.importorskip("onnx", reason="exporting needs onnx: pip install refit-rt[train]")

from refit_rt.__main__ import command
from refit_rt.body.smpl import load_body
from refit_rt.bundle import make, quantise
from refit_rt.bundle.read import Crop, load_bundle
from refit_rt.errors import UserError
from refit_rt.model.config import EDGE
from refit_rt.types import Boxes
from tests.support.tiny import lively


class Finds:
    """A detector that finds the same people in every picture."""

    threshold = 0.5

    def __init__(self, *people: tuple[float, float, float, float], roll: float = 0.0):
        self.people, self.roll = np.array(people, np.float32).reshape(-1, 4), roll

    def find(self, frame, known):
        count = len(self.people)
        return Boxes(frame, self.people, np.ones(count, np.float32), np.full(count, self.roll, np.float32))


def blue_left_red_right() -> np.ndarray:
    picture = np.zeros((240, 400, 3), np.uint8)
    picture[:, :200, 0], picture[:, 200:, 2] = 200, 200
    return picture


def test_people_are_cropped_with_the_margin_in_rgb():
    left, right = quantise.crops_of([blue_left_red_right()], Finds((60, 60, 100, 160), (280, 80, 360, 160)), Crop(64))
    assert left.shape == right.shape == (64, 64, 3)
    assert (left[32, 32] == (0, 0, 200)).all()
    assert (right[32, 32] == (200, 0, 0)).all()


def test_a_leaning_person_is_upright_only_in_crops_with_normalised_roll():
    stick = np.zeros((200, 200, 3), np.uint8)
    cv2.line(stick, (60, 60), (140, 140), (255, 255, 255), 5)  # leans by 45 degrees counter-clockwise
    finder = Finds((40, 40, 160, 160), roll=-np.pi / 4)
    (upright,) = quantise.crops_of([stick], finder, Crop(64, normalise_roll=True))
    (leaning,) = quantise.crops_of([stick], finder, Crop(64))
    columns = [int((crop[..., 0].max(0) > 100).sum()) for crop in (upright, leaning)]
    assert columns[0] < 6
    assert columns[1] > 25


def test_without_a_detection_the_whole_picture_is_the_crop():
    (crop,) = quantise.crops_of([blue_left_red_right()], Finds(), Crop(100))
    assert not crop[:15].any()  # above and below the picture it is black
    assert (crop[50, 10] == (0, 0, 200)).all()
    assert (crop[50, 90] == (200, 0, 0)).all()


def test_a_folder_without_images_is_refused_by_name(tmp_path):
    (tmp_path / "notes.txt").touch()
    for folder in (tmp_path, tmp_path / "gone"):
        with pytest.raises(UserError, match=f"{folder}: not a folder with images"):
            quantise.photos(folder)


def test_files_that_only_look_like_images_are_skipped(tmp_path):
    (tmp_path / "a.jpg").touch()
    (tmp_path / "b.jpg").write_bytes(b"no image")
    cv2.imwrite(str(tmp_path / "c.png"), blue_left_red_right())
    assert [picture.shape for picture in quantise.photos(tmp_path)] == [(240, 400, 3)]


def patchwork(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)
    return [np.kron(one, np.ones((16, 16, 1), np.uint8)) for one in coarse]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "mine"
    make.export_bundle(lively(EDGE, load_body()), folder, make.Facts("mine", "none"))
    return folder


@pytest.fixture
def mine(bundle, tmp_path) -> Path:
    shutil.copytree(bundle, tmp_path / "mine")
    return tmp_path / "mine"


def test_the_verb_adds_an_encoder_that_the_bundle_lists(mine, tmp_path, monkeypatch, capsys):
    (tmp_path / "photos").mkdir()
    for index, picture in enumerate(patchwork(4)):
        cv2.imwrite(str(tmp_path / "photos" / f"{index}.png"), picture)
    monkeypatch.setattr(quantise, "make_detector", lambda *_: Finds())
    assert command(["quantise", str(tmp_path / "mine"), str(tmp_path / "photos")]) == 0
    assert "use it with --fit.precision int8" in capsys.readouterr().out
    assert "encoder_int8.onnx" in load_bundle(mine).card.files


def test_the_error_is_on_the_card_and_is_measured_on_separate_crops(mine, monkeypatch):
    held, shown = [], []
    apart, observe = quantise.apart, quantise.observe
    monkeypatch.setattr(quantise, "apart", lambda exact, near, crops: held.extend(crops) or apart(exact, near, crops))
    monkeypatch.setattr(quantise, "observe", lambda model, crops: shown.extend(crops) or observe(model, crops))
    stray = quantise.quantise(mine, patchwork(10))
    assert len(held) == 2
    assert len(shown) == 8
    assert not any(np.array_equal(one, other) for one in held for other in shown)
    accuracy = load_bundle(mine).card.accuracy
    assert 0 < stray == pytest.approx(accuracy["int8_maps_stray"], abs=1e-4)
    assert stray < 0.05
    assert 0 < accuracy["int8_landmarks_stray_px"] < 1


@pytest.mark.parametrize("strays", [(0.3, 0.1), (0.01, 9.0)])
def test_too_large_an_error_is_refused_and_the_bundle_is_unchanged(mine, monkeypatch, strays):
    before = {path.name: path.read_bytes() for path in mine.iterdir()}
    monkeypatch.setattr(quantise, "apart", lambda *_: strays)
    with pytest.raises(UserError, match=f"{strays[0]:.0%}.*{strays[1]} px.*Keep fit.precision at auto"):
        quantise.quantise(mine, patchwork(2))
    assert {path.name: path.read_bytes() for path in mine.iterdir()} == before


def test_the_verb_refuses_a_folder_that_is_not_a_bundle_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(quantise, "make_detector", lambda *_: Finds())
    assert command(["quantise", str(tmp_path), str(tmp_path)]) == 2
    assert "no bundle" in capsys.readouterr().err
