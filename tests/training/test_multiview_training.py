"""Training on several cameras' views of one moment: they show one person in one world, and their loops agree."""

import numpy as np
import pytest
import torch

pytest.importorskip("torch")
from refit_rt.body.smpl import load_body
from refit_rt.errors import UserError
from refit_rt.model import camera, views
from refit_rt.model.config import EDGE
from refit_rt.model.refit import build
from refit_rt.model.rotation import matrix_from_6d, matrix_from_axis_angle, sixd_from_matrix
from refit_rt.model.update import State
from refit_rt.model.weights import load_into
from training import produce
from training.checkpoint import read_start
from training.multiview import agree_in_groups, nearest_rotation
from training.objective import Objective
from training.recipe import EdgeRecipe
from training.store.batches import Batch, Drawn, draw, make_batch, mirror
from training.store.shards import AROUND, Store, Writer
from training.synthetic import Generator
from training.synthetic.motion import SWAP
from training.train import Trainer


@pytest.fixture(scope="module")
def generator() -> Generator:
    return Generator(seed=5, outfits=4)


@pytest.fixture(scope="module")
def store(tmp_path_factory, generator) -> Store:
    """Two stills, and two people seen by three and by four cameras."""
    folder = tmp_path_factory.mktemp("store")
    writer = Writer(folder, "seed5")
    for number, count in enumerate((3, 4)):
        still = generator.sample(10 + number)
        writer.add([(still.image, produce.label_row(still))])
        views = generator.around(count, number)
        writer.add_around([(s.image, produce.label_row(s), s.camera_from_world) for s in views])
    writer.flush()
    return Store(folder)


@pytest.fixture(scope="module")
def net():
    network = build(EDGE, load_body()).eval()
    load_into(network, read_start("edge")["average"], "the shipped bundle")
    return network


def drawn_and_batch(store: Store, net, flip: float, groups: int = 2) -> tuple[Drawn, Batch]:
    drawn = draw(store, np.random.default_rng(2), 2 + 3 * groups, 0.8, flip, groups, 3)()
    return drawn, make_batch(drawn.rows, net.body)


def true_state(now: Batch) -> State:
    return State(sixd_from_matrix(now.truth.rotations), now.truth.betas, now.truth.cam)


def cameras_of(drawn: Drawn) -> torch.Tensor:
    return torch.from_numpy(drawn.rows.camera_from_world[drawn.alone :]).unflatten(0, (drawn.groups, drawn.cameras))


def moved_mm(net, a: State, b: State, view: camera.View) -> torch.Tensor:
    """The largest distance (B,) mm between the joints of two states in the camera's frame."""
    places = []
    for state in (a, b):
        joints, _ = net.body(matrix_from_6d(state.pose6d), state.betas)
        places.append(joints + camera.translation(state.cam, view)[:, None])
    return (places[0] - places[1]).norm(dim=-1).amax(1) * 1000


def test_the_cameras_of_a_group_see_the_same_joints_in_the_world(generator):
    views = generator.around(4, 1)
    world = [
        np.linalg.solve(s.camera_from_world.astype(float), np.column_stack([s.joints, np.ones(24)]).T).T for s in views
    ]
    assert np.abs(np.array(world) - world[0]).max() < 1e-5  # metres
    assert world[0][:, 1].min() > 0  # above the floor
    assert all(s.camera_from_world[:3, :3] @ [0, 1, 0] @ [0, 1, 0] < 0 for s in views)  # y is down in a camera
    ahead = np.array([s.camera_from_world[2, :3] for s in views])
    assert (ahead @ ahead.T)[~np.eye(4, dtype=bool)].max() < 0.98  # all look from elsewhere


def test_the_group_of_a_number_does_not_depend_on_earlier_ones(generator):
    once, again = generator.around(2, 7), Generator(seed=5, outfits=4).around(2, 7)
    for a, b in zip(once, again, strict=True):
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.camera_from_world, b.camera_from_world)


def test_true_views_agree_on_the_truth_also_when_mirrored(store, net):
    for flip, worst_mm in ((0.0, 0.5), (1.0, 2.0)):  # the body is symmetric to a millimetre
        drawn, now = drawn_and_batch(store, net, flip)
        agreed = agree_in_groups(net.body, now.view, cameras_of(drawn))(true_state(now))
        assert moved_mm(net, agreed, true_state(now), now.view).max() < worst_mm


def test_groups_agree_as_in_the_runtime_and_other_rows_do_not_change(store, net):
    drawn, now = drawn_and_batch(store, net, 0.0)
    torch.manual_seed(0)
    truth = true_state(now)
    state = State(*(part + 0.05 * torch.randn_like(part) for part in truth))
    agreed = agree_in_groups(net.body, now.view, cameras_of(drawn))(state)
    for old, new in zip(state, agreed, strict=True):
        assert torch.equal(old[: drawn.alone], new[: drawn.alone])
    for group, cameras in enumerate(cameras_of(drawn)):
        rows = slice(drawn.alone + 3 * group, drawn.alone + 3 * group + 3)
        view = camera.View(*(part[rows] for part in now.view))
        slow = views.average_place(net.body, view, cameras)(State(*(part[rows] for part in state)))
        assert moved_mm(net, slow, State(*(part[rows] for part in agreed)), view).max() < 0.5
    off, better = (moved_mm(net, s, truth, now.view)[drawn.alone :].mean() for s in (state, agreed))
    assert better < 0.6 * off


def test_the_mean_rotation_has_a_gradient_even_where_all_views_agree():
    torch.manual_seed(1)
    turn = matrix_from_axis_angle(torch.randn(4, 3)).double()
    mean = (0.7 * turn + 0.1 * torch.randn(4, 3, 3).double()).requires_grad_()
    assert torch.autograd.gradcheck(nearest_rotation, (mean,))
    same = turn.float().requires_grad_()
    nearest_rotation(same)[:, 0].sum().backward()
    assert same.grad is not None
    assert same.grad.abs().max() < 2


def test_a_step_with_groups_teaches_and_its_views_end_as_one_person(store, net, tmp_path, monkeypatch):
    recipe = EdgeRecipe(store=str(store.folder), out=str(tmp_path), lifted=0, perturbed=0.5)
    drawn, now = drawn_and_batch(store, net, 0.5)
    seen = []
    monkeypatch.setattr(net, "forward", lambda *args, run=net.forward: seen.append(run(*args)) or seen[-1])
    torch.manual_seed(0)
    terms = Objective(net, recipe, None).terms(drawn, np.random.default_rng(0))
    torch.stack(list(terms.values())).sum().backward()
    gradients = [p.grad for p in net.regressor.parameters()]
    assert all(g is not None and g.isfinite().all() and g.abs().max() > 0 for g in gradients)
    net.zero_grad()
    for estimate in seen[-1]:
        betas = estimate.betas[drawn.alone :].unflatten(0, (2, 3))
        root = (cameras_of(drawn)[..., :3, :3].mT @ estimate.rotations[drawn.alone :, 0].unflatten(0, (2, 3))).detach()
        assert (betas - betas[:, :1]).abs().max() < 1e-6
        assert (root - root[:, :1]).abs().max() < 1e-4
    assert (now.truth.betas[drawn.alone :].unflatten(0, (2, 3)).diff(dim=1) == 0).all()


def test_groups_of_one_view_teach_what_rows_alone_do(store, net, tmp_path):
    recipe = EdgeRecipe(store=str(store.folder), out=str(tmp_path), lifted=0, perturbed=0.5)
    alone = drawn_and_batch(store, net, 0.0)[0]
    alone = Drawn(alone.rows, alone.before, alone.own)
    groups = Drawn(alone.rows, alone.before, alone.own, cameras=1, groups=6)
    found = []
    for drawn in (alone, groups):
        torch.manual_seed(0)
        found.append(Objective(net, recipe, None).terms(drawn, np.random.default_rng(0)))
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-3, atol=1e-4)


def test_groups_are_drawn_whole_and_mirrored_whole(store, net):
    assert [int(views) for _, _, views in store.around] == [3, 4]
    drawn, _ = drawn_and_batch(store, net, 0.5, groups=8)
    plain = draw(store, np.random.default_rng(2), 2 + 3 * 8, 0.8, 0.0, 8, 3)()
    flipped = np.array([(a != b).any() for a, b in zip(drawn.rows.labels, plain.rows.labels, strict=True)])
    flipped = flipped[drawn.alone :].reshape(8, 3)
    assert (flipped.all(1) | ~flipped.any(1)).all()
    assert 0 < flipped.sum() < flipped.size
    everywhere = mirror(plain.rows, np.ones(len(plain.rows.labels), bool))
    there, here = make_batch(everywhere, net.body), make_batch(plain.rows, net.body)
    assert (there.truth.joints[:, torch.from_numpy(SWAP), 1] - here.truth.joints[..., 1]).abs().max() < 2e-3


def test_stores_without_groups_are_read_but_have_none_to_draw(store, tmp_path, generator):
    writer = Writer(tmp_path / "old", "seed0")
    still = generator.sample(3)
    writer.add([(still.image, produce.label_row(still))] * 2)
    writer.flush()
    assert not list((tmp_path / "old").rglob(AROUND))
    old = Store(tmp_path / "old")
    assert len(old.around) == 0
    with pytest.raises(UserError, match=r"seen by 3 cameras.*--around"):
        draw(old, np.random.default_rng(0), 4, 0.8, 0.5, 1, 3)
    with pytest.raises(UserError, match="seen by 5 cameras"):
        draw(store, np.random.default_rng(0), 5, 0.8, 0.5, 1, 5)


def test_a_run_with_a_share_of_groups_draws_and_learns_from_them(store, tmp_path):
    recipe = EdgeRecipe(
        store=str(store.folder),
        out=str(tmp_path),
        start_from="edge",
        lifted=0,
        frozen=-1,
        batch=5,
        around=0.6,
        cameras=3,
    )
    trainer = Trainer(recipe)
    batches = trainer.task.batches(0)
    drawn = next(batches)
    assert (drawn.groups, drawn.cameras, drawn.alone) == (1, 3, 2)
    assert all(np.isfinite(list(trainer.step(drawn).values())))
    batches.close()


def test_produce_fills_a_store_with_groups(generator, tmp_path, monkeypatch):
    monkeypatch.setattr(produce, "Generator", lambda *_, **__: generator)
    produce.main(produce.Settings(tmp_path / "store", rows=5, around=1.0))
    assert Store(tmp_path / "store").around[:, 2].tolist() == [4, 4]
