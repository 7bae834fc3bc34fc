"""The recipe for official weights, as a user follows it: SMPL and a checkpoint of ReFit's trainer → a run on a picture.

This test is slow, because the answers on file are those of the full HRNet-W48. Most of its time goes into drawing 76
million weights, exporting them, and compiling the encoder.
"""

import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="importing weights needs torch: pip install refit-rt[train]")
onnx = pytest.importorskip("onnx", reason="exporting needs onnx: pip install refit-rt[train]")
ort = pytest.importorskip("onnxruntime", reason="runs the encoder on inputs that are no picture")

from refit_rt.__main__ import command  # noqa: E402
from refit_rt.bundle.read import Bundle, load_bundle  # noqa: E402
from refit_rt.files import ASSETS  # noqa: E402
from refit_rt.motion.npz import read_motion  # noqa: E402
from refit_rt.runners.cpu.loop import NumbaLoop  # noqa: E402
from refit_rt.types import Encoded, View  # noqa: E402
from tests.support import reference  # noqa: E402


def write_smpl(path: Path) -> None:
    """A file in SMPL's format, with the body of the reference."""
    body = reference.seeded_body()
    tree = np.stack([body.parents, np.arange(24)]).astype(np.int64)
    tree[0, 0] = 2**32 - 1  # as in SMPL's files
    arrays = {"v_template": body.template, "shapedirs": body.shape_dirs, "posedirs": body.pose_dirs, "f": body.faces}
    arrays |= {"J_regressor": body.regressor, "weights": body.skinning, "kintree_table": tree}
    path.write_bytes(pickle.dumps(arrays, 2))


def write_checkpoint(path: Path) -> None:
    """A checkpoint with the keys of ReFit's trainer (lib/core/base_trainer.py, save_checkpoint)."""
    layer = torch.nn.Linear(1, 1)
    optimiser = torch.optim.AdamW(layer.parameters(), lr=1e-4)
    layer(torch.ones(1, 1)).sum().backward()
    optimiser.step()
    model = {name: torch.as_tensor(array) for name, array in reference.seeded_weights().items()}
    bodies = {f"{body}.J_regressor": torch.zeros(24, 10) for body in ("smpl", "smpl_male", "smpl_female")}
    content: dict[str, Any] = {
        "epoch": 3,
        "batch": 500,
        "global_step": 12000,
        "model": model | bodies,
        "optimizer": optimiser.state_dict(),
        "lr_scheduler": torch.optim.lr_scheduler.MultiStepLR(optimiser, [5]).state_dict(),
        "dataperm": np.random.default_rng(0).permutation(100),
        "performance": np.float64(58.5),
        "best_performance": np.float32(57.1),
    }
    torch.save(content, path)


def assert_official_answers(bundle: Bundle) -> None:
    """Every iteration is within 1e-3 (metres, radians) and 0.2 px of the official code's answers."""
    graph, given = onnx.load(str(bundle.encoder)), reference.seeded_inputs(2)
    graph.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT  # the inputs on file are no picture
    encoder = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    mean, spread = (np.array(values, np.float32) for values in (bundle.card.input.mean, bundle.card.input.spread))
    crops = 255 * (given["images"][:1].transpose(0, 2, 3, 1) * spread + mean)
    maps, hidden = encoder.run(["maps", "hidden"], {"crop": crops})
    seen = Encoded(maps[0], hidden[0], None)
    place = View(tuple(given["box"][0]), float(given["focal_px"][0]), tuple(given["centre_px"][0]))
    loop, truth = NumbaLoop(bundle), np.load(reference.HERE / "refit_w48.npz")
    begin = loop.initial(seen, place)
    for done in range(1, 6):
        result = loop.iterate(seen, place, begin, done)
        for ours, theirs, tolerance in (
            (result.rotations, "rotmat", 1e-3),
            (result.state.betas, "shape", 1e-3),
            (result.state.cam, "cam", 1e-3),
            (result.joints, "joints24", 1e-3),
            (result.markers, "markers", 1e-3),
            (result.markers_px, "markers2d", 0.2),
        ):
            np.testing.assert_allclose(ours, truth[theirs][done][0], atol=tolerance, err_msg=f"{theirs}, {done}")


@pytest.mark.slow
def test_a_checkpoint_of_the_official_trainer_gives_the_official_answers_and_runs_on_a_picture(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    write_smpl(tmp_path / "SMPL_NEUTRAL.pkl")
    write_checkpoint(tmp_path / "checkpoint_best.pth.tar")
    assert command(["import-smpl", "SMPL_NEUTRAL.pkl", "--out", "smpl.npz"]) == 0
    assert command(["import-weights", "checkpoint_best.pth.tar", "smpl.npz", "--out", "official"]) == 0
    assert_official_answers(load_bundle(tmp_path / "official"))
    film = cv2.VideoCapture(str(ASSETS / "demo" / "demo.mp4"))
    cv2.imwrite("picture.png", film.read()[1])
    film.release()
    # Random weights know no people: the body is published as the network gives it, wherever it lies in the picture.
    monkeypatch.setattr("refit_rt.track.one_camera.AGREES", np.inf)
    as_it_is = ["--fit.min-confidence", "0", "--fit.no-keypoints", "--fit.mirror", "off", "--smooth.no-enabled"]
    quick = ["--fit.precision", "f32", "--fit.threads", "1", "--publish.no-enabled"]
    assert command(["run", "picture.png", "--fit.bundle", "official", "--out", "out", *as_it_is, *quick]) == 0
    motion = read_motion(tmp_path / "out" / "motion.npz")
    assert (motion.bundle, motion.body) == ("refit-hrnet_w48", "smpl_neutral")
    assert len(motion.poses) == 1
    assert np.isfinite(motion.poses).all()
    assert np.isfinite(motion.trans).all()
    assert list((tmp_path / "out" / "overlay").glob("picture*.jpg"))
