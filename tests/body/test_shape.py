"""Known shapes: their files, and the bodies that are given them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from refit_rt import config, geometry
from refit_rt.body.shape import Shape, Shapes, read_betas, write_shape
from refit_rt.errors import UserError
from refit_rt.fit.fitter import Fitter
from tests.support.all_knowing import BODY, CAMERA, FOCAL_PX, UPRIGHT, AllKnowing, follow, truth

BETAS = np.array([1.0, -0.5, 0.3, 0, 0, 0, 0.2, 0, 0, -0.4])


def shape(**other) -> Shape:
    facts = {"betas": BETAS.tolist(), "stature_m": 1.8, "frames": 30, "seconds": 1.0}
    return Shape(**{**facts, "body": BODY.name, "body_sha256": BODY.digest, **other})


def test_a_shape_file_holds_the_betas(tmp_path: Path) -> None:
    write_shape(tmp_path / "ann.json", shape())
    np.testing.assert_allclose(read_betas(tmp_path / "ann.json", BODY), BETAS)


@pytest.mark.parametrize("rows", [None, 1, 5])
def test_an_npz_with_betas_serves_as_well(tmp_path: Path, rows: int | None) -> None:
    np.savez(tmp_path / "ann.npz", betas=BETAS if rows is None else np.tile(BETAS, (rows, 1)))
    np.testing.assert_allclose(read_betas(tmp_path / "ann.npz", BODY), BETAS)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("nonsense", "is no shape file"),
        ('{"betas": []}', "is no shape file"),
        (shape(betas=[1.0, 2.0]), "does not hold 10 betas"),
        (shape(betas=[90.0] * 10), "no person has betas as large as 90.0"),
        (shape(body="smpl", body_sha256="0"), "was measured with body smpl"),
    ],
)
def test_files_that_cannot_be_used_are_refused_in_one_line(tmp_path: Path, content, reason: str) -> None:
    path = tmp_path / "ann.json"
    if isinstance(content, Shape):
        write_shape(path, content)
    else:
        path.write_text(content)
    with pytest.raises(UserError, match=reason) as refused:
        read_betas(path, BODY)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_missing_files_and_other_archives_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", poses=np.zeros(72))
    (tmp_path / "broken.npz").write_bytes(b"PK")
    for name, reason in (("none.json", "cannot be read"), ("none.npz", "cannot be read"), ("other.npz", "no betas")):
        with pytest.raises(UserError, match=reason):
            read_betas(tmp_path / name, BODY)
    with pytest.raises(UserError, match="no betas"):
        read_betas(tmp_path / "broken.npz", BODY)


def test_a_key_that_is_no_person_is_refused(tmp_path: Path) -> None:
    write_shape(tmp_path / "ann.json", shape())
    with pytest.raises(UserError, match=r"fit\.shapes: 'ann' is nobody"):
        Shapes(BODY, {"ann": str(tmp_path / "ann.json")})


def test_each_person_has_the_own_shape_and_all_others_that_of_everybody(tmp_path: Path) -> None:
    write_shape(tmp_path / "ann.json", shape())
    write_shape(tmp_path / "others.json", shape(betas=[0.0] * 10))
    shapes = Shapes(BODY, {"2": str(tmp_path / "ann.json"), "all": str(tmp_path / "others.json")})
    fitted, place = np.full(10, 0.1), np.array([0.1, 0.2, 3.0])
    for person, betas in ((2, BETAS), (0, np.zeros(10)), (7, np.zeros(10))):
        made = shapes.made(person, fitted, place)
        assert made is not None
        np.testing.assert_allclose(made[0], betas, atol=1e-6)
    assert Shapes(BODY, {"2": str(tmp_path / "ann.json")}).made(0, fitted, place) is None


def test_a_known_shape_keeps_the_person_in_place_in_the_picture_and_is_as_far_as_its_size_says(tmp_path: Path) -> None:
    who = truth(3)
    who.betas = BETAS.astype(np.float32)
    taken = replace(who, betas=np.zeros(10, np.float32))  # the network takes everybody for the mean body
    larger = Shapes(BODY, {}, 0)._height
    taken.trans = who.trans * larger.of(taken.betas) / larger.of(who.betas)
    write_shape(tmp_path / "ann.json", shape())
    settings = config.Fit(shapes={"all": str(tmp_path / "ann.json")})
    people = follow(Fitter(settings, AllKnowing(taken), BODY, UPRIGHT), taken, 0)
    np.testing.assert_allclose(people.betas[0], BETAS, atol=1e-5)
    pelvis = BODY.joints(taken.rotations, taken.betas)[0] + taken.trans
    there = geometry.project(pelvis[None], FOCAL_PX, CAMERA.centre_px)
    assert np.abs(people.joints_px[0, :1] - there).max() < 0.1
    assert abs(people.joints_camera[0, 0, 2] - who.joints[0, 2]) < 0.03
