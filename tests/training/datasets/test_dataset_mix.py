"""Several data sets become one stream of rows in their ratio."""

from itertools import islice

import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install refit-rt[train]")

from refit_rt.model.body import BodyTorch  # noqa: E402
from refit_rt.model.camera import View, cam_from_translation, project_to_crop  # noqa: E402
from tests.support.labelled import BODY, mixed, person, picture, write_spin  # noqa: E402
from tests.support.paths import ROOT  # noqa: E402
from training.datasets.crop import NOTHING, Augment, Change, cut_out  # noqa: E402
from training.datasets.joints import NAMES  # noqa: E402
from training.datasets.mix import COLUMN, Mix, SetRecipe, batches  # noqa: E402
from training.datasets.spin import read_spin  # noqa: E402

torch.set_num_threads(1)
SURFACE = BodyTorch(BODY)


def test_rows_come_in_their_ratio(tmp_path):
    mix = mixed(tmp_path)
    assert mix.names == ["coco", "3dpw"]
    which, rows, _ = (np.concatenate(parts) for parts in zip(*map(mix.draw, range(400)), strict=True))
    assert abs(which.mean() - 0.75) < 0.03
    assert np.bincount(rows).min() > 600  # each of the four rows of either set


def test_a_step_is_the_same_however_many_threads_cut_it(tmp_path):
    mix, other = mixed(tmp_path), mixed(tmp_path, seed=1)
    alone = [mix.batch(step) for step in (3, 4, 5)]
    together = list(islice(batches(mix, first_step=3, threads=3), 3))
    for one, same in zip(alone, together, strict=True):
        for part, twin in zip(one, same, strict=True):
            torch.testing.assert_close(part, twin, rtol=0, atol=0)
    resumed = next(batches(mix, first_step=5, threads=1))
    torch.testing.assert_close(resumed.images, alone[2].images, rtol=0, atol=0)
    assert not torch.equal(other.batch(3).images, alone[0].images)


def test_a_batch_says_what_is_known_of_each_row_and_projects_it_right(tmp_path):
    batch = mixed(tmp_path, occlude=0, colour=0).batch(0)
    known = batch.source == 1
    assert batch.images.shape == (8, 256, 256, 3)
    assert batch.images.dtype == torch.uint8
    torch.testing.assert_close(batch.has_smpl, known.float())
    torch.testing.assert_close(batch.has_place, known.float())
    assert torch.isfinite(batch.labels).all()
    assert (batch.keypoints_3d == 0).all()
    view = View(*(batch.labels[:, COLUMN[name]] for name in ("box", "focal_px", "centre_px")))
    view = view._replace(focal_px=view.focal_px[:, 0])
    points, _ = SURFACE(batch.labels[:, COLUMN["rotations"]].view(-1, 24, 3, 3), batch.labels[:, COLUMN["betas"]])
    cam = cam_from_translation(batch.labels[:, COLUMN["trans"]], view)
    points_px = project_to_crop(points, cam, view)
    wrist = NAMES.index("op_l_wrist")
    torch.testing.assert_close(points_px[known, 20], batch.keypoints_2d[known, wrist, :2], atol=0.1, rtol=0)
    # A row without a body holds one that stands within its crop.
    assert ((points_px[~known] > -20) & (points_px[~known] < 276)).all()
    assert (batch.keypoints_2d[~known, NAMES.index("spin_l_wrist"), 2] == 1).all()


def test_without_changes_a_crop_is_the_labels_box(tmp_path):
    one = person(0)
    labels = write_spin(tmp_path, [one])
    table = read_spin("one", labels, tmp_path)
    sample = Mix({"one": table}, {"one": 1.0}, BODY, 1, NOTHING).sample(table[0], np.random.default_rng(0))
    np.testing.assert_allclose(sample.box, one.box, atol=1e-3)
    np.testing.assert_array_equal(sample.image, cut_out(table[0], picture(one), Change()).image)


def test_the_papers_recipe_names_its_sets():
    text = (ROOT / "training/configs/refit_w48.yaml").read_text()
    recipe = msgspec.yaml.decode(text)
    sets = msgspec.convert(recipe["sets"], dict[str, SetRecipe])
    assert abs(sum(one.ratio for one in sets.values()) - 1) < 1e-9
    assert msgspec.convert(recipe["augment"], Augment) == Augment()
    assert set(sets) == {"coco", "mpii", "mpi-inf-3dhp", "h36m", "3dpw"}
