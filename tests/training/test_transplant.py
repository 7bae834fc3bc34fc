"""Heads are moved behind another backbone, and the outputs of a backbone that does not learn are computed once."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training is done in torch: pip install refit-rt[train]")

from refit_rt.body.smpl import load_body  # noqa: E402
from refit_rt.model.blazepose import BlazePose, Plan, blazepose_of  # noqa: E402
from refit_rt.model.config import EDGE  # noqa: E402
from refit_rt.model.refit import build  # noqa: E402
from tests.training.test_train import recipe, store  # noqa: E402, F401
from training import remembered, transplant  # noqa: E402
from training.checkpoint import read_start  # noqa: E402
from training.recipe import EdgeRecipe  # noqa: E402
from training.remembered import Remembered, compiled  # noqa: E402
from training.rendered import Rendered  # noqa: E402
from training.train import Trainer  # noqa: E402


def pictures(count: int):
    """(count, 3, 256, 256) of eight bits, blocks of colour."""
    blocks = np.random.default_rng(0).integers(0, 256, (count, 3, 16, 16))
    return torch.from_numpy(np.kron(blocks, np.ones((1, 1, 16, 16))) / 255).float()


def test_a_crop_is_seen_once_and_its_mirror_image_apart(monkeypatch) -> None:
    calls = []

    def backbone(image):
        calls.append(1)
        return image[:, :1], image.mean((2, 3)), image[:, 0, 0], image[:, 0, :, 0]

    monkeypatch.setattr(remembered, "compiled", lambda *_: backbone)
    images = pictures(3)
    memory = Remembered(BlazePose(), 4)
    first = memory(images)
    again = memory(images.flip(0))
    assert len(calls) == len(memory) == 3
    for one, other in zip(first, again, strict=True):
        torch.testing.assert_close(one.flip(0), other)
    assert (first[0] - images[:, :1]).abs().max() < 1e-3  # maps are kept in half precision
    memory(images.flip(-1))
    assert len(calls) == 6
    assert len(memory) == 4  # it is full, and the other mirror images are computed anew
    memory(images.flip(-1))
    assert len(calls) == 8


@torch.no_grad()
def test_openvino_gives_what_the_backbone_gives_in_torch() -> None:
    torch.manual_seed(0)
    trunk = ((16, 8, 3, 2), (16, 8, 3, 2), (16, 8, 3, 2), (16, 8, 3, 2))
    backbone = BlazePose(Plan("small", 8, trunk, {0: 8, 1: 8, 2: 8}, (1, 1))).eval()
    image = pictures(1)
    for mine, theirs in zip(compiled(backbone)(image), backbone.raw(image), strict=True):
        assert (mine - theirs).abs().max() < 1e-3 * max(1.0, float(theirs.abs().max()))


def noise_of(image):
    """Raw outputs that depend on the picture; no backbone runs."""
    noise = torch.Generator().manual_seed(int(image.sum()))
    map_, summary, landmarks, world = (
        torch.randn(1, *shape, generator=noise) for shape in ((48, 64, 64), (288, 2, 2), (195,), (117,))
    )
    return 3 + map_, summary, 128 + 40 * landmarks, world


@torch.no_grad()
def test_heads_behind_a_backbone_with_other_channels_see_what_they_saw(monkeypatch) -> None:
    average = read_start("edge")["average"]
    old, new = (build(EDGE, load_body()).eval() for _ in range(2))
    for net in (old, new):
        net.load_state_dict({name: v for name, v in average.items() if not name.startswith("presence.")})
    mixing = torch.eye(48) + 0.2 * torch.randn(48, 48, generator=torch.Generator().manual_seed(0))

    def mixed(backbone, _threads):
        def raw(image):
            map_, *others = noise_of(image)
            if backbone is blazepose_of(new):
                map_ = torch.einsum("dc,bchw->bdhw", mixing, map_)
            return map_, *others

        return raw

    monkeypatch.setattr(transplant, "compiled", mixed)
    images = pictures(24)
    shares = transplant.transplant(old, new, images)
    assert min(shares) > 0.95
    known, found = (
        net.encode_features(blazepose_of(net).see(*mixed(blazepose_of(net), 1)(images[:1]))) for net in (old, new)
    )
    assert (found.maps - known.maps).std() < 0.1 * known.maps.std()
    assert (found.hidden - known.hidden).abs().mean() < 0.1


def test_a_run_with_the_heavy_network_trains_the_moved_heads_alone(
    store,  # noqa: F811
    tmp_path: Path,
    heavy_network,
    monkeypatch,
) -> None:
    for module in (transplant, remembered):
        monkeypatch.setattr(module, "compiled", lambda *_: noise_of)
    settings: EdgeRecipe = recipe(store, tmp_path / "out", backbone="heavy", frozen=-1, remember=100, steps=2)
    trainer = Trainer(settings)
    own = BlazePose(blazepose_of(trainer.net).plan)
    own.load_tflite(heavy_network)
    gru = trainer.net.update.gru.from_hidden.detach().clone()
    torch.testing.assert_close(gru, read_start("edge")["average"]["update.gru.from_hidden"])
    assert trainer.run()
    assert isinstance(trainer.task, Rendered)
    memory = trainer.task.objective.remembered
    assert memory is not None
    assert len(memory) > 0
    for one, other in zip(blazepose_of(trainer.net).parameters(), own.parameters(), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(gru, trainer.net.update.gru.from_hidden)
