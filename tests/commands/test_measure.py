"""The verb `measure`."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from refit_rt.__main__ import command
from refit_rt.body.smpl import load_body
from refit_rt.commands.demo_clip import CLIP
from refit_rt.commands.measure import Seen, shape_of


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> Path:
    """The first frames of the demo clip as pictures of a clip."""
    folder, video = tmp_path_factory.mktemp("clip"), cv2.VideoCapture(str(CLIP))
    for index in range(14):
        cv2.imwrite(str(folder / f"frame_{index:04d}.jpg"), video.read()[1])
    video.release()
    return folder


def test_a_person_is_measured_and_the_file_is_a_shape_that_run_takes(recording: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "ann.json"
    assert command(["measure", str(recording), "--out", str(out), "--fit.stature-m", "1.83"]) == 0
    assert "stature 1.83 m, as given" in capsys.readouterr().out
    found = json.loads(out.read_text())
    assert found["frames"] >= 10
    body = load_body()
    height = np.ptp(body.vertices(np.tile(np.eye(3), (24, 1, 1)), np.array(found["betas"]))[:, 1])
    assert abs(height - 1.83) < 0.005
    run = ["run", str(recording), "--out", str(tmp_path / "out"), "--publish.no-enabled", "--out.no-overlay"]
    assert command([*run, "--fit.shapes", "all", str(out)]) == 0
    with np.load(tmp_path / "out" / "motion.npz") as motion:
        np.testing.assert_allclose(motion["betas"], np.tile(found["betas"], (len(motion["betas"]), 1)), atol=1e-4)


def test_surer_fits_count_more() -> None:
    body = load_body()
    seen = Seen([0.0, 0.5], [np.zeros(10), np.ones(10)], [3.0, 1.0])
    shape = shape_of(seen, body, 0.0)
    np.testing.assert_allclose(shape.betas, 0.25)
    assert (shape.frames, shape.seconds, shape.body) == (2, 0.5, body.name)


@pytest.mark.parametrize("empty", [False, True])
def test_what_cannot_be_measured_is_said_in_one_line(empty: bool, tmp_path: Path, capsys) -> None:
    for index in range(2):
        cv2.imwrite(str(tmp_path / f"frame_{index}.png"), np.zeros((240, 320, 3), np.uint8))
    out = "ann.json" if empty else "ann.yaml"
    assert command(["measure", str(tmp_path), "--out", str(tmp_path / out)]) == 2
    error = capsys.readouterr().err
    assert ("shows a person in 0 frames" if empty else "a shape file is called NAME.json") in error
    assert error.splitlines()[-1].startswith("refit-rt: ")
    assert not (tmp_path / out).exists()
