"""Training: plain and mirrored rows, rows of previous moments, repeatable steps, and runs that lose nothing."""

import logging
import os
import subprocess
import sys
from contextlib import contextmanager, nullcontext
from pathlib import Path

import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training is done in torch: pip install refit-rt[train]")

from refit_rt.body.smpl import load_body  # noqa: E402
from refit_rt.errors import UserError  # noqa: E402
from refit_rt.model.blazepose import BlazePose, blazepose_of  # noqa: E402
from refit_rt.model.body import BodyTorch  # noqa: E402
from refit_rt.model.weights import read_checkpoint  # noqa: E402
from tests.support.paths import ROOT  # noqa: E402
from training import lifting, train  # noqa: E402
from training.checkpoint import read_start  # noqa: E402
from training.heat import Heat  # noqa: E402
from training.landmark_map import load_map, observed  # noqa: E402
from training.optimise import ScaledAdamW, group_of, scale_of  # noqa: E402
from training.parallel import Place  # noqa: E402
from training.produce import label_row  # noqa: E402
from training.pull import pull  # noqa: E402
from training.recipe import EdgeRecipe, PublishedRecipe, read_recipe  # noqa: E402
from training.rendered import Rendered  # noqa: E402
from training.store.batches import ahead, draw, make_batch, mirror  # noqa: E402
from training.store.shards import Store, Writer  # noqa: E402
from training.synthetic.generator import Sample  # noqa: E402
from training.synthetic.motion import SWAP  # noqa: E402
from training.train import Trainer  # noqa: E402

BODY = load_body()
SHIPPED = "edge"  # the bundle that the runs here start from
CONFIGS = ROOT / "training/configs"
TWO_PROCESSES = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def row(turn: float, lift: float) -> tuple[np.ndarray, np.ndarray]:
    """A picture of noise, and the truth of a person 3 m from a 640x480 camera, turned by `turn`, one arm lifted."""
    rotations = np.tile(np.eye(3), (24, 1, 1))
    rotations[0] = np.array([[np.cos(turn), 0, np.sin(turn)], [0, -1, 0], [np.sin(turn), 0, -np.cos(turn)]])
    rotations[16] = [[np.cos(lift), -np.sin(lift), 0], [np.sin(lift), np.cos(lift), 0], [0, 0, 1]]
    betas = np.array([0.5, -1, 0.3, 0, 0, 0, 0, 0, 0, 0], np.float32)
    image = np.random.default_rng(int(1000 * (turn + 3 * lift))).integers(0, 255, (256, 256, 3), np.uint8)
    sample = Sample(
        image=image,
        rotations=rotations.astype(np.float32),
        betas=betas,
        trans=np.array([0.1, 0.25, 3.0], np.float32),
        box=np.array([330.0, 250.0, 420.0], np.float32),
        focal_px=600.0,
        centre_px=np.array([319.5, 239.5], np.float32),
        size=(640, 480),
        joints=np.zeros((24, 3), np.float32),
        roll=0.1,
        visible=1.0,
        kind=-1,
    )
    return image, label_row(sample, 30.0)


@pytest.fixture
def store(tmp_path) -> Store:
    writer = Writer(tmp_path / "store", "seed0")
    for i in range(6):
        writer.add([row(0.3 * i, 0.1), row(0.3 * i + 0.05, 0.2)] if i % 2 else [row(0.3 * i, 0.5)])
    writer.flush()
    return Store(tmp_path / "store")


def recipe(store: Store, out: Path, **changes) -> EdgeRecipe:
    """Four steps of two rows."""
    settings = {
        "store": str(store.folder),
        "out": str(out),
        "start_from": SHIPPED,
        "steps": 4,
        "batch": 2,
        "lifted": 0,
        "frozen": 12,
        "save_every_s": 1e9,
    }
    return EdgeRecipe(**(settings | changes))


def test_a_mirrored_row_shows_the_mirrored_person_where_the_mirrored_picture_does(store):
    rows = store.take(store.index)
    flipped = mirror(rows, np.ones(len(rows.labels), bool))
    body = BodyTorch(BODY)
    there, here = make_batch(flipped, body), make_batch(rows, body)
    expected = here.truth.joints_px[:, torch.from_numpy(SWAP)].clone()
    expected[..., 0] = 255 - expected[..., 0]
    assert (there.truth.joints_px - expected).norm(dim=-1).max() < 0.5  # px: the body is not quite symmetric
    np.testing.assert_array_equal(flipped.images[:, :, ::-1], rows.images)
    back = mirror(flipped, np.ones(len(rows.labels), bool))
    np.testing.assert_allclose(back.labels, rows.labels, atol=1e-4)


def test_rows_that_are_not_mirrored_do_not_change(store):
    rows = store.take(store.index)
    only = np.arange(len(rows.labels)) == 2
    flipped = mirror(rows, only)
    np.testing.assert_array_equal(flipped.labels[~only], rows.labels[~only])
    np.testing.assert_array_equal(flipped.images[~only], rows.images[~only])


def test_the_rows_of_a_step_do_not_depend_on_earlier_steps(store):
    def choose(step: int):
        return draw(store, np.random.default_rng([0, step]), 3, 1.0, 0.5)

    whole = ahead(choose, 0, 2)
    first = [next(whole) for _ in range(5)]
    later = ahead(choose, 3, 1)
    for step in (3, 4):
        again = next(later)
        np.testing.assert_array_equal(again.rows.images, first[step].rows.images)
        np.testing.assert_array_equal(again.before.labels, first[step].before.labels)
    whole.close()
    later.close()
    assert any(len(drawn.own) for drawn in first)


def test_target_landmarks_are_where_blazepose_places_them(store):
    body = BodyTorch(BODY)
    now = make_batch(store.take(store.index[:1]), body)
    wanted = load_map()(observed(now.truth, now.trans, now.view))
    joints = now.truth.joints_px[0]
    for landmark, joint in ((11, 16), (12, 17), (15, 20), (16, 21), (25, 4), (27, 7)):  # shoulders, wrists, knee, ankle
        assert (wanted.pixels[0, landmark] - joints[joint]).norm() < 12  # px
    assert wanted.pixels[0, 0, 1] < joints[12, 1]  # the nose is above the neck


def test_an_interrupted_run_ends_with_the_same_weights(store, tmp_path, monkeypatch):
    monkeypatch.setattr(lifting, "ENOUGH", 2)  # people without pictures from the second step on
    whole = Trainer(recipe(store, tmp_path / "whole", lifted=3))
    assert whole.run()
    half = Trainer(recipe(store, tmp_path / "half", lifted=3))
    batches = half.task.batches(0)
    for _ in range(2):
        half.step(next(batches))
    half.save()
    batches.close()
    again = Trainer(recipe(store, tmp_path / "half", lifted=3))
    assert again.steps == 2
    again.run()
    for name, value in whole.net.state_dict().items():
        torch.testing.assert_close(again.net.state_dict()[name], value, rtol=1e-4, atol=1e-6)
    start = read_start(SHIPPED)["average"]
    moved = {name for name, value in whole.net.state_dict().items() if not torch.equal(value, start[name])}
    assert "regressor.pose.weight" in moved
    assert "backbone.landmarks.weight" in moved
    assert not any(name.startswith(("backbone.stem", "backbone.trunk.3.")) for name in moved)


def test_steps_are_in_proportion_to_the_weights():
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(6, 5) * torch.tensor([10.0, 1, 1, 1, 1, 0.1])[:, None])
    scale = scale_of(weight)
    before = weight.detach().clone()
    optimiser = ScaledAdamW([{"params": [weight], "scales": [scale], "share": 1, "weight_decay": 0.0}], lr=0.01)
    weight.grad = torch.randn(6, 5)
    optimiser.step()
    moved = (weight.detach() - before).abs()
    torch.testing.assert_close(moved, (0.01 * scale).expand_as(moved), rtol=1e-3, atol=1e-7)
    assert scale[0].mean() > 5 * scale[1].mean() > 20 * scale[5].mean()


def test_held_weights_move_back_by_the_rate_and_free_ones_do_not():
    linear, anchor = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)
    before, target = (module.weight.detach().clone() for module in (linear, anchor))
    for hold, back in ((2.0, 0.02), (0.0, 0.0)):
        with torch.no_grad():
            linear.weight.copy_(before)
        optimiser = ScaledAdamW([group_of(linear, 1.0, hold, anchor)], lr=0.01)
        linear.weight.grad, linear.bias.grad = torch.zeros(3, 4), torch.zeros(3)
        optimiser.step()
        torch.testing.assert_close(linear.weight.detach(), before + back * (target - before))


def test_a_held_backbone_stays_nearer_to_its_own_weights_also_after_a_pause(store, tmp_path):
    far = []
    for hold in (0.0, 3e4):  # the learning rate is still rising, so each step moves a small part of the way
        made = recipe(store, tmp_path / str(hold), steps=2, hold=hold, start_from=SHIPPED)
        Trainer(made).run()
        trainer = Trainer(msgspec.structs.replace(made, steps=4))
        trainer.run()
        own = BlazePose()
        own.load_tflite(pull("pose_landmark_full.tflite"))
        pairs = zip(blazepose_of(trainer.net).parameters(), own.parameters(), strict=True)
        far.append(sum(float((a - b).detach().norm()) for a, b in pairs))
    assert far[1] < 0.9 * far[0]


def test_a_full_disk_leaves_the_last_good_checkpoint(store, tmp_path, monkeypatch, caplog):
    trainer = Trainer(recipe(store, tmp_path / "run"))
    trainer.save()
    good = trainer.last.read_bytes()

    def full(_, path):
        Path(path).write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with caplog.at_level(logging.ERROR):
        trainer.save()
    assert trainer.last.read_bytes() == good
    assert list(trainer.out.glob("*.part")) == []
    assert "Make room" in caplog.text


def test_a_full_disk_leaves_the_earlier_shards(tmp_path, monkeypatch):
    writer = Writer(tmp_path / "store", "seed0")
    writer.add([row(0, 0)])
    writer.flush()
    writer.add([row(1, 0)])

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", full)
        with pytest.raises(UserError, match=r"No space left.*make room"):
            writer.flush()
    assert len(Store(tmp_path / "store")) == 1


def test_a_checkpoint_of_another_network_is_refused(store, tmp_path):
    (tmp_path / "run").mkdir()
    torch.save({"net": {"a": torch.zeros(1)}}, tmp_path / "run/last.pt")
    with pytest.raises(UserError, match="another network"):
        Trainer(recipe(store, tmp_path / "run"))
    (tmp_path / "run/last.pt").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"last\.pt: is a text, not a checkpoint"):
        Trainer(recipe(store, tmp_path / "run"))


def test_a_wrong_key_and_a_missing_gpu_are_named(store, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("store: a\nout: b\nepochs: 3\n")
    with pytest.raises(UserError, match=r"recipe\.yaml.*epochs"):
        read_recipe(path)
    path.write_text("store: [\n")
    with pytest.raises(UserError, match=r"recipe\.yaml: [^\n]* line 2[^\n]*Compare it with [^\n]*$"):
        read_recipe(path)
    with pytest.raises(UserError, match=r"gone\.yaml: cannot be read \(No such file or directory\)"):
        read_recipe(tmp_path / "gone.yaml")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="no GPU"):
            Trainer(recipe(store, tmp_path / "run", device="cuda"))


def test_the_recipes_that_ship_are_read():
    for name in ("edge", "edge_gpu", "heavy"):
        assert isinstance(read_recipe(CONFIGS / f"{name}.yaml"), EdgeRecipe)
    published = read_recipe(CONFIGS / "refit_w48.yaml")
    assert isinstance(published, PublishedRecipe)
    assert sum(one.ratio for one in published.sets.values()) == pytest.approx(1)


def test_two_processes_learn_as_one(store, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(msgspec.yaml.encode(recipe(store, tmp_path / "run", steps=2, frozen=-1, flip=0.0)))
    done = subprocess.run(
        [*TWO_PROCESSES, "-m", "training.train", str(path)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = read_checkpoint(tmp_path / "run/last.pt")
    assert found["steps"] == 2
    assert found["views"] == 8  # two steps of two rows in two processes


def test_a_frozen_backbone_stays(store, tmp_path):
    trainer = Trainer(recipe(store, tmp_path / "run", steps=1, frozen=-1))
    before = {name: value.clone() for name, value in blazepose_of(trainer.net).state_dict().items()}
    trainer.run()
    for name, value in blazepose_of(trainer.net).state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("compare", ["random", "resnet"])
def test_another_backbone_learns_in_the_same_way_and_has_the_same_shapes(store, tmp_path, compare):
    trainer = Trainer(recipe(store, tmp_path / "run", steps=2, compare=compare, start_from="", heat=0.3))
    net = trainer.net
    before = [p.detach().clone() for p in net.backbone.parameters()]
    assert all(p.requires_grad for p in net.backbone.parameters())  # `frozen` applies to BlazePose's own weights alone
    with torch.no_grad():
        raw = blazepose_of(net).raw(torch.rand(2, 3, 256, 256))
    assert [tuple(part.shape) for part in raw] == [(2, 48, 64, 64), (2, 288, 2, 2), (2, 195), (2, 117)]
    assert (raw[2].reshape(2, 39, 5)[..., :2] - 128).abs().mean() < 30  # px: landmarks begin in the crop's middle
    assert trainer.run()
    moved = [not torch.equal(old, new) for old, new in zip(before, net.backbone.parameters(), strict=True)]
    assert sum(moved) > 0.9 * len(moved)


def test_a_step_uses_the_given_device_alone(store, tmp_path, monkeypatch):
    """torch's meta device stands in for a GPU: a tensor left on the processor makes the step fail."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # meta has none
    monkeypatch.setattr(lifting, "ENOUGH", 2)
    asked = recipe(store, tmp_path / "run", start_from="", lifted=2, frozen=0, perturbed=0.5, heat=0.3)
    task = Rendered(asked, Place(0, 1, torch.device("meta")), resumes=True)
    for step in range(2):
        batch = draw(store, np.random.default_rng(step), 4, 1.0, 0.5)()
        terms = task.terms(batch, np.random.default_rng(step))
    assert set(terms) == {"loop", "first", "landmarks", "heat", "lifted"}
    loss = torch.stack(list(terms.values())).sum()
    loss.backward()
    assert loss.device.type == "meta"


def test_processes_begin_alike_and_average_their_gradients(tmp_path):
    code = f"""
import torch
from training.parallel import average_gradients, join, leave, same_everywhere
place = join("cpu")
net = torch.nn.Linear(2, 1)
torch.nn.init.constant_(net.weight, place.rank + 5.0)
same_everywhere(net, place)
net.weight.grad = torch.full((1, 2), 1.0 + 2 * place.rank)
average_gradients(net.parameters(), place)
torch.save([net.weight.detach(), net.weight.grad, net.bias.grad], r"{tmp_path}/" + str(place.rank))
leave()
"""
    (tmp_path / "both.py").write_text(code)
    done = subprocess.run(
        [*TWO_PROCESSES, str(tmp_path / "both.py")],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for rank in "01":
        weight, gradient, bias = torch.load(tmp_path / rank)
        assert torch.equal(weight, torch.full((1, 2), 5.0))
        assert torch.equal(gradient, torch.full((1, 2), 2.0))  # the mean of 1 and 3
        assert torch.equal(bias, torch.zeros(1))


def heat_of(trainer: Trainer) -> Heat:
    assert isinstance(trainer.task, Rendered)
    assert trainer.task.objective.heat is not None
    return trainer.task.objective.heat


def test_the_maps_second_task_learns_and_continues_after_a_pause(store, tmp_path):
    asked = recipe(store, tmp_path / "run", heat=0.3, steps=2)
    trainer = Trainer(asked)
    heat = heat_of(trainer)
    before = [p.detach().clone() for p in heat.parameters()]
    assert "heat" in trainer.step(next(trainer.task.batches(0)))
    assert all(not torch.equal(a, b) for a, b in zip(before, heat.parameters(), strict=True))
    trainer.save()
    again = heat_of(Trainer(asked))
    for kept, one in zip(heat.parameters(), again.parameters(), strict=True):
        assert torch.equal(kept, one)
    assert not any("heat" in name for name in read_checkpoint(trainer.last)["average"])  # none of it ships


def test_scales_move_to_the_parameters_device():
    group = {"params": [torch.nn.Parameter(torch.ones(3, 2))], "scales": [torch.ones(3, 2)]}
    kept = ScaledAdamW([group]).state_dict()
    elsewhere = ScaledAdamW([{"params": [torch.nn.Parameter(torch.ones(3, 2, device="meta"))], "scales": []}])
    elsewhere.load_state_dict(kept)
    assert elsewhere.param_groups[0]["scales"][0].device.type == "meta"


def test_a_stopped_run_returns_false_and_saves_a_checkpoint(store, tmp_path, monkeypatch):
    trainer = Trainer(recipe(store, tmp_path / "run"))

    @contextmanager
    def pressed(stop):
        stop.set()
        yield

    monkeypatch.setattr(train, "ended_by_signals", pressed)
    assert not trainer.run()
    assert read_checkpoint(trainer.last)["steps"] == 0
