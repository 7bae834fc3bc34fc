"""ReFit's published recipe learns from labelled pictures, and rows teach only what their labels hold."""

import pytest

torch = pytest.importorskip("torch", reason="training is done in torch: pip install refit-rt[train]")

from refit_rt.model.refit import build  # noqa: E402
from tests.support.labelled import person, write_spin  # noqa: E402
from tests.support.tiny import Tiny  # noqa: E402
from training import published  # noqa: E402
from training.datasets.crop import NOTHING  # noqa: E402
from training.datasets.mix import SetRecipe  # noqa: E402
from training.parallel import Place  # noqa: E402
from training.recipe import PublishedRecipe  # noqa: E402
from training.train import Trainer  # noqa: E402


@pytest.fixture
def recipe(tmp_path, monkeypatch) -> PublishedRecipe:
    monkeypatch.setattr(published, "build", lambda config, body: build(config, body, Tiny()))
    monkeypatch.setattr(published, "load_coco_backbone", lambda *_: None)
    labels = write_spin(tmp_path, [person(seed) for seed in range(3)])
    sets = {"h36m": SetRecipe(kind="spin", labels=str(labels), images=str(tmp_path), ratio=1.0)}
    return PublishedRecipe(
        model="hrnet_w48",
        backbone="none",
        body="",
        sets=sets,
        augment=NOTHING,
        out=str(tmp_path / "run"),
        steps=24,
        batch=3,
        rate=6e-3,
        clip_norm=4.0,
        weight_decay=0.0,
        marker_dropout=0.0,
        iterations=3,
        workers=1,
    )


def test_the_error_on_the_training_rows_falls(recipe):
    trainer = Trainer(recipe)
    batches = trainer.task.batches(0)
    terms = [trainer.step(next(batches)) for _ in range(recipe.steps)]
    for name in ("keypoints_2d", "keypoints_3d", "rotations"):
        first, last = (sum(one[name] for one in part) for part in (terms[:5], terms[-5:]))
        assert last < 0.7 * first, name
    trainer.save()
    assert Trainer(recipe).steps == recipe.steps


def test_a_row_without_smpl_labels_teaches_by_its_keypoints_alone(recipe):
    task = published.Published(recipe, Place(0, 1, torch.device("cpu")), resumes=False)
    batch = next(task.batches(0))
    blind = batch._replace(has_smpl=torch.zeros(3), has_place=torch.zeros(3))
    terms = {name: float(term.detach()) for name, term in task.terms(blind, None).items()}
    assert terms["rotations"] == terms["betas"] == terms["markers"] == 0
    assert terms["keypoints_2d"] > 0
