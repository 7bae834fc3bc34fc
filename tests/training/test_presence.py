"""The presence head: its crops show what their kinds say, and a bundle with the head answers as it was trained."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training is done in torch: pip install refit-rt[train]")
pytest.importorskip("onnx", reason="exporting needs onnx: pip install refit-rt[train]")

from refit_rt.body.smpl import load_body  # noqa: E402
from refit_rt.bundle.make import Facts, export_bundle  # noqa: E402
from refit_rt.bundle.read import load_bundle  # noqa: E402
from refit_rt.model.config import EDGE  # noqa: E402
from refit_rt.runners.cpu.runner import CpuRunner  # noqa: E402
from refit_rt.types import Encoded, View  # noqa: E402
from tests.support.tiny import lively  # noqa: E402
from training import presence  # noqa: E402

VIEW = View((700.0, 400.0, 420.0), 1100.0, (640.0, 360.0))
WIDTH = 26 * EDGE.hidden


@pytest.fixture(scope="module")
def scenes() -> list[list[presence.Crop]]:
    surroundings = presence.Surroundings(5, outfits=4)
    return [surroundings.crops(number) for number in range(6)]


def test_slid_crops_lie_beside_the_person_and_all_crops_show_a_part_of_the_picture(scenes) -> None:
    slides = []
    for crops in scenes:
        places = {crop.kind: np.array(crop.view.square) for crop in crops}
        assert presence.PERSON in places
        for crop in crops:
            assert (crop.image.shape, crop.image.dtype) == ((256, 256, 3), np.uint8)
            assert (crop.image.max(-1) > 0).mean() > presence.LEAST_INSIDE / 2 or crop.kind == presence.PERSON
        if presence.SLID in places:
            person, slid = places[presence.PERSON], places[presence.SLID]
            slides.append(np.linalg.norm(slid[:2] - person[:2]) / max(person[2], slid[2]))
    assert len(slides) >= 3
    assert 0.4 <= min(slides) <= max(slides) <= 1.0
    kinds = [crop.kind for crops in scenes for crop in crops]
    assert kinds.count(presence.BACKGROUND) >= 4


def made(seed: int) -> presence.Features:
    """First hidden states, of which 60 numbers are higher where there is a person."""
    rng = np.random.default_rng(seed)
    kind = np.repeat([presence.PERSON, presence.SLID, presence.BACKGROUND], 200)
    hidden = rng.normal(0, 0.3, (600, WIDTH))
    hidden[:, :60] += np.where(kind == presence.PERSON, 0.4, -0.4)[:, None]
    return presence.Features(hidden.astype(np.float32), np.full(600, 0.5), kind)


def test_the_head_refuses_what_is_no_person_and_keeps_people_near_one() -> None:
    weight, bias = presence.train(made(0), made(1))
    score, kind = presence.presence_of(made(2).hidden, weight, bias), made(2).kind
    assert min(presence.refused(score, kind).values()) > 95  # per cent
    assert np.quantile(score[kind == presence.PERSON], 0.05) == pytest.approx(presence.SURE, abs=0.05)
    assert score[kind != presence.PERSON].max() < 0.5


def test_a_share_is_refused_that_lies_below_the_kept_people() -> None:
    kind = np.repeat([presence.PERSON, presence.BACKGROUND, presence.SLID], [100, 10, 10])
    score = np.concatenate([np.linspace(0.5, 1, 100), np.full(7, 0.1), np.full(3, 0.9), np.full(10, 0.95)])
    assert presence.refused(score, kind) == {"background": 70.0, "slid": 0.0}


def test_a_bundle_with_the_head_answers_as_the_head_and_is_otherwise_the_same(tmp_path: Path) -> None:
    export_bundle(lively(EDGE, load_body()), tmp_path / "plain", Facts("mine", "none"))
    weight, bias = presence.train(made(0), made(1))
    presence.write_bundle(
        tmp_path / "plain", tmp_path / "seeing", weight, bias, "renders", {"presence": {"slid": 98.0}}
    )
    plain, seeing = (load_bundle(tmp_path / name) for name in ("plain", "seeing"))
    assert seeing.weights.keys() - plain.weights.keys() == {"presence.weight", "presence.bias"}
    for name, array in plain.weights.items():
        np.testing.assert_array_equal(seeing.weights[name], array)
    assert seeing.card.training["presence"] == "renders"
    assert seeing.card.accuracy["presence_refused_percent_at_95_kept"] == {"presence": {"slid": 98.0}}
    assert seeing.card.files["encoder.onnx"] == plain.card.files["encoder.onnx"]
    runners = [CpuRunner(one, "f32", 1) for one in (plain, seeing)]
    encoded = runners[0].encode(np.zeros((256, 256, 3), np.uint8))
    hidden = made(2).hidden[:2].reshape(2, 26, -1)
    for row in hidden:
        crop = Encoded(encoded.maps, row, encoded.keypoints)
        none, found = (runner.iterate(crop, VIEW, runner.initial(crop, VIEW), 1).presence for runner in runners)
        assert none is None
        assert found == pytest.approx(float(presence.presence_of(row.reshape(1, -1), weight, bias)[0]), abs=1e-5)
