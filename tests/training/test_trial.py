"""The fastest precision and layout: a real step is timed, and the fastest combination goes into the recipe."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training is done in torch: pip install refit-rt[train]")

from refit_rt.errors import UserError
from tests.support.paths import ROOT
from training import trial
from training.produce import label_row
from training.recipe import EdgeRecipe, read_recipe
from training.store.shards import Store, Writer
from training.synthetic import Generator
from training.trial import step_s, trials

CONFIGS = ROOT / "training/configs"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A store of four stills."""
    folder = tmp_path_factory.mktemp("trial") / "store"
    generator, writer = Generator(outfits=4), Writer(folder, "seed0")
    for number in range(4):
        still = generator.sample(number)
        writer.add([(still.image, label_row(still))])
    writer.flush()
    return folder


def test_pictures_kept_unpacked_are_the_pictures(folder):
    store, kept = Store(folder), Store(folder, unpacked=True)
    rows = store.index[[2, 0, 2]]
    for _ in range(2):
        np.testing.assert_array_equal(kept.take(rows).images, store.take(rows).images)
    shard = kept.shards[0]
    assert shard.kept is not None
    assert sorted(shard.kept) == [0, 2]
    shard.kept[0][:] = 7  # a second read returns what is kept
    assert (kept.take(store.index[:1]).images == 7).all()


@pytest.mark.parametrize("layout", ["channels_last", "contiguous"])
def test_a_step_is_timed_in_either_layout_and_leaves_nothing(folder, layout, tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "WARM_UP", 0)
    monkeypatch.setattr(trial, "STEPS", 1)
    out = tmp_path / "out"
    recipe = EdgeRecipe(store=str(folder), out=str(out), start_from="edge", batch=2, lifted=0, frozen=12, layout=layout)
    assert step_s(recipe) > 0
    assert not out.exists()


def test_the_fastest_combination_goes_into_the_recipe(tmp_path, monkeypatch):
    times = {("bf16", "channels_last"): 24.0, ("bf16", "contiguous"): 0.35, ("f32", "channels_last"): 11.0}
    monkeypatch.setattr(trial, "step_s", lambda asked: times.get((asked.precision, asked.layout), 0.23))
    lines = list(trials(trial.Settings(CONFIGS / "edge.yaml", into=tmp_path / "best.yaml", more=4)))
    assert lines == [
        "bf16 channels_last: 24000.0 ms per step of 24 rows",
        "bf16 contiguous: 350.0 ms per step of 24 rows",
        "f32 channels_last: 11000.0 ms per step of 24 rows",
        "f32 contiguous: 230.0 ms per step of 24 rows",
        "fastest: f32 contiguous",
        "f32 contiguous: 230.0 ms per step of 96 rows",
    ]
    best, recipe = read_recipe(tmp_path / "best.yaml"), read_recipe(CONFIGS / "edge.yaml")
    assert isinstance(best, EdgeRecipe)
    assert isinstance(recipe, EdgeRecipe)
    assert best.batch == recipe.batch
    assert (best.precision, best.layout, best.rate, best.store) == ("f32", "contiguous", recipe.rate, recipe.store)


def test_a_recipe_of_another_model_is_refused():
    with pytest.raises(UserError, match=r"refit_w48.yaml: is not a recipe of the edge model"):
        list(trials(trial.Settings(CONFIGS / "refit_w48.yaml")))
