"""Errors on 3DPW and EMDB: bodies with a known error get that error, in the usual measures."""

import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="evaluation needs torch: pip install refit-rt[train]")

from refit_rt.commands.bench.table import Table as Results  # noqa: E402
from refit_rt.commands.machine import processor_model  # noqa: E402
from refit_rt.errors import UserError  # noqa: E402
from refit_rt.geometry import roll_matrix  # noqa: E402
from refit_rt.model.camera import View  # noqa: E402
from refit_rt.model.config import ReFitConfig  # noqa: E402
from refit_rt.model.refit import build  # noqa: E402
from tests.support.labelled import BODY, person, write_3dpw, write_emdb, write_spin  # noqa: E402
from tests.support.tiny import Tiny, lively  # noqa: E402
from training.datasets.crop import Change, cut_out, read_picture  # noqa: E402
from training.datasets.emdb import read_emdb  # noqa: E402
from training.datasets.followed import Protocol, Scores, Yardstick, runs, score, turns  # noqa: E402
from training.datasets.record import Bodies, Table  # noqa: E402
from training.datasets.spin import read_spin  # noqa: E402
from training.datasets.threedpw import read_3dpw  # noqa: E402
from training.evaluation.sets import (  # noqa: E402
    Arguments,
    config_of,
    evaluate,
    evaluate_table,
    load_network,
    main,
    report,
)

torch.set_num_threads(1)
BODIES = Bodies(BODY)
CONFIG = ReFitConfig(light_heads=True, scale_floor=0.15)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def sequence(tmp_path_factory) -> Table:
    """Two people of four frames, the second one without the third frame."""
    folder = tmp_path_factory.mktemp("3dpw")
    tracks = [[person(seed)] * 4 for seed in (0, 1)]
    write_3dpw(folder, tracks, valid=np.array([[1, 1, 1, 1], [1, 1, 0, 1]]))
    return read_3dpw("3DPW test", folder, "test", BODIES)


def protocol(share: float = 0.7, upright: bool = False) -> Protocol:
    return Protocol(iterations=2, live=1, share=share, upright=upright)


def posed(seed: int) -> tuple:
    one = person(seed)
    return torch.tensor(one.rotations[None]).float(), torch.tensor(one.betas[None]).float()


def test_points_have_the_pelvis_of_their_kind_as_origin():
    rotations, betas = posed(0)
    joints, vertices = Yardstick(BODY, None, CPU)(rotations, betas)
    truth = BODY.joints(person(0).rotations, person(0).betas)
    np.testing.assert_allclose(joints[0], truth - truth[0], atol=1e-5)
    regressor = np.zeros((3, len(BODY.template)), np.float32)
    regressor[0, 5], regressor[1, 7], regressor[2, 9] = 1, 1, 1
    points, surface = Yardstick(BODY, regressor, CPU)(rotations, betas)
    np.testing.assert_allclose(points[0], vertices[0, [7, 9]] - vertices[0, 5], atol=1e-5)
    np.testing.assert_allclose(surface[0], vertices[0] - vertices[0, 5], atol=1e-5)


def test_a_turned_crop_is_turned_back_before_it_is_compared():
    roll = np.array([0.4, -1.2])
    points = np.random.default_rng(0).normal(size=(2, 5, 3))
    turned = np.stack([one @ roll_matrix(angle).T for one, angle in zip(points, roll, strict=True)])
    back = torch.from_numpy(turned) @ turns(torch.from_numpy(roll))
    np.testing.assert_allclose(back, points, atol=1e-12)


def test_a_run_ends_where_the_person_or_the_frame_number_jumps(sequence: Table):
    np.testing.assert_array_equal(sequence.frames, [0, 1, 2, 3, 0, 1, 3])
    rows, place = runs(sequence, 0)
    np.testing.assert_array_equal(rows, np.arange(7))
    np.testing.assert_array_equal(place, [0, 1, 2, 3, 0, 1, 0])
    rows, place = runs(sequence, 2)
    np.testing.assert_array_equal(rows, [0, 1, 4, 5])
    np.testing.assert_array_equal(place, [0, 1, 0, 1])


def test_cold_errors_are_those_of_the_network_on_the_labels_box(sequence: Table):
    network = lively(CONFIG, BODY)
    scores = score(network, sequence, BODY, BODIES, protocol())
    for row in (0, 3, 6):
        record = sequence[row]
        sample = cut_out(record, read_picture(record), Change())
        image = torch.from_numpy(sample.image).permute(2, 0, 1)[None].float() / 255
        parts = (sample.box, sample.focal_px, sample.centre_px)
        view = View(*(torch.tensor(np.asarray(part, np.float32)[None]) for part in parts))
        with torch.no_grad():
            estimates = network(image, view, 2)
        assert record.rotations is not None
        assert record.betas is not None
        truth = BODY.joints(record.rotations, record.betas)
        surface = BODY.vertices(record.rotations, record.betas) - truth[0]
        for i, one in enumerate(estimates):
            joints = one.joints[0].numpy()
            off = 1000 * np.linalg.norm((joints - joints[0]) - (truth - truth[0]), axis=1).mean()
            vertices = BODY.vertices(one.rotations[0].numpy(), one.betas[0].numpy()) - joints[0]
            pve = 1000 * np.linalg.norm(vertices - surface, axis=1).mean()
            np.testing.assert_allclose(scores.cold[row, i, 0], off, rtol=1e-3)
            np.testing.assert_allclose(scores.cold[row, i, 2], pve, rtol=1e-3)
            assert scores.cold[row, i, 1] < off  # Procrustes


@pytest.mark.parametrize("upright", [False, True])
def test_a_start_from_the_first_estimate_alone_is_cold(sequence: Table, upright: bool):
    scores = score(lively(CONFIG, BODY), sequence, BODY, BODIES, protocol(share=0.0, upright=upright))
    again = scores.place > 0
    assert np.isnan(scores.warm[~again]).all()
    assert not np.isnan(scores.warm[again]).any()
    if not upright:  # the previous frame turns upright crops of followed people, a fit of the unturned crop cold ones
        np.testing.assert_allclose(scores.warm[again, 0], scores.cold[again, 0], rtol=1e-4)
    followed = score(lively(CONFIG, BODY), sequence, BODY, BODIES, protocol(share=1.0, upright=upright))
    assert np.abs(followed.warm[again] - scores.warm[again]).max() > 1


def test_every_frame_of_a_run_starts_from_the_previous_one(sequence: Table):
    """Without a share of the first estimate, the start is the previous frame's result: with the same box, the same
    body."""
    scores = score(lively(CONFIG, BODY), sequence, BODY, BODIES, protocol(share=1.0))
    second, third = np.flatnonzero(scores.place == 1)[0], np.flatnonzero(scores.place == 2)[0]
    result = scores.warm[second, 1]  # after `live` updates
    np.testing.assert_allclose(scores.warm[third, 0], result, rtol=0.02)
    np.testing.assert_allclose(scores.warm[second, 0], scores.cold[second - 1, 2], rtol=0.02)


def test_acceleration_is_that_of_consecutive_frames_only():
    true = np.zeros((7, 2, 3), np.float32)
    shaking = np.zeros((7, 1, 2, 3), np.float32)
    shaking[1, 0, :, 0] = 0.005  # 5 mm off in one frame of the first run
    shaking[4:, 0, :, 1] = 0.5  # a steady error does not count, nor does the jump to another run
    place, none = np.array([0, 1, 2, 3, 0, 1, 2]), np.full((7, 1, 3), np.nan)
    scores = Scores(np.array([0, 0, 0, 0, 1, 1, 1]), place, none, none, shaking, shaking, true)
    np.testing.assert_allclose(scores.cold_acceleration()[0], [10, 5, 0], atol=1e-3)


def test_a_report_has_the_protocol_and_one_row_per_start_and_number_of_updates(sequence: Table, tmp_path: Path):
    write_emdb(tmp_path, [person(2)] * 3)
    settings = Arguments("weights.pt", iterations=2, live=1)
    network = lively(CONFIG, BODY)
    protocol_text, boxes, results = evaluate_table(network, sequence, BODIES, settings, "the extent")
    assert "3DPW test: 7 frames of 2 people in 3 unbroken runs" in str(protocol_text)
    assert "SMPL's 24" in str(protocol_text)
    assert str(boxes).startswith("Boxes: the labels' own, the extent, in every frame")
    assert isinstance(results, Results)
    assert [row[0] for row in results.rows] == [f"{way} {i}" for way in ("cold", "warm") for i in range(3)]
    table = read_emdb("EMDB 1", tmp_path, "emdb1", BODIES)
    regressor = np.zeros((17, len(BODY.template)), np.float32)
    regressor[np.arange(17), np.arange(17)] = 1
    np.save(tmp_path / "regressor.npy", regressor)
    settings = replace(settings, regressor=tmp_path / "regressor.npy")
    protocol_text, *_ = evaluate_table(network, table, BODIES, settings, "boxes")
    assert "14 of LSP" in str(protocol_text)
    assert f"female: {BODY.name}" in str(protocol_text)
    np.save(tmp_path / "regressor.npy", regressor[:14])
    with pytest.raises(UserError, match=r"regressor\.npy: its shape is \(14, "):
        list(evaluate_table(network, table, BODIES, settings, "boxes"))


def test_surfaces_of_other_meshes_are_not_compared(sequence: Table):
    fewer = replace(
        BODY,
        template=BODY.template[:-1],
        shape_dirs=BODY.shape_dirs[:-1],
        skinning=BODY.skinning[:-1],
        pose_dirs=None if BODY.pose_dirs is None else BODY.pose_dirs[:-1],
    )
    scores = score(lively(CONFIG, BODY), sequence, fewer, BODIES, protocol(), limit=2)
    assert np.isnan(scores.cold[..., 2]).all()
    results = report(scores, "3DPW test")
    column = results.heads.index("PVE mm")
    assert {row[column] for row in results.rows} == {"-"}


def test_a_bundle_is_evaluated_by_its_name_and_its_table_printed_in_markdown(tmp_path: Path, monkeypatch, capsys):
    write_3dpw(tmp_path, [[person(0)] * 3], valid=np.ones((1, 3)))
    given = ["edge", "--threedpw", str(tmp_path), "--iterations", "1", "--live", "1", "--markdown"]
    monkeypatch.setattr("sys.argv", ["sets", *given])
    assert main() == 0
    boxes, _, first, blank, heads, rule, *rows = capsys.readouterr().out.rstrip().splitlines()
    assert boxes.startswith("Boxes: the labels' own, 1.2 times the extent of OpenPose's detections")
    assert first == f"`{shlex.join(['python', '-m', 'training.evaluation.sets', *given])}` on {processor_model()}:"
    assert blank == ""
    assert heads == "| 3DPW test: start, updates | frames | MPJPE mm | PA-MPJPE mm | PVE mm | acceleration error |"
    assert rule == "| --- | --- | --- | --- | --- | --- |"
    assert [row.split(" | ")[:2] for row in rows] == [
        ["| cold 0", "3"],
        ["| cold 1", "3"],
        ["| warm 0", "2"],
        ["| warm 1", "2"],
    ]


def test_bad_input_is_reported(tmp_path: Path):
    last = str(tmp_path / "last.pt")
    with pytest.raises(UserError, match="no data set is given"):
        list(evaluate(Arguments(last)))
    with pytest.raises(UserError, match="--live 9: must lie between 1 and --iterations"):
        list(evaluate(Arguments(last, emdb=tmp_path, live=9)))
    with pytest.raises(UserError, match=r"last\.pt: no such file"):
        list(evaluate(Arguments(last, emdb=tmp_path)))
    table = read_spin("spin", write_spin(tmp_path, [person(0)]), tmp_path)
    with pytest.raises(UserError, match="labels do not say which frames follow each other"):
        runs(table, 0)


def test_an_hrnet_needs_smpls_body_and_its_width_names_it(tmp_path: Path):
    wide, narrow = ({"backbone.stage2.0.branches.0.weight": torch.zeros(width, 1)} for width in (48, 32))
    assert [config_of(state).backbone for state in (wide, narrow, {})] == ["hrnet_w48", "hrnet_w32", "blazepose"]
    torch.save({"average": narrow}, tmp_path / "last.pt")
    with pytest.raises(UserError, match=r"its network needs SMPL's body\. Give one: --body"):
        load_network(tmp_path / "last.pt", None)
    torch.save({"average": build(CONFIG, BODY, Tiny()).state_dict()}, tmp_path / "last.pt")
    with pytest.raises(UserError, match="another network"):
        load_network(tmp_path / "last.pt", None)
