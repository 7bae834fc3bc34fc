"""Labels and pictures that cannot be used are named in one line."""

import pickle
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install refit-rt[train]")

from refit_rt.errors import UserError  # noqa: E402
from tests.support.labelled import BODY, mixed, person, write_3dpw, write_bedlam, write_emdb, write_spin  # noqa: E402
from training.datasets.crop import NOTHING, Augment  # noqa: E402
from training.datasets.emdb import read_emdb  # noqa: E402
from training.datasets.mix import SetRecipe, batches, open_mix, open_set  # noqa: E402
from training.datasets.record import Bodies, Table  # noqa: E402
from training.datasets.spin import read_bedlam, read_spin  # noqa: E402
from training.datasets.threedpw import read_3dpw  # noqa: E402

torch.set_num_threads(1)
BODIES = Bodies(BODY)


def spin(tmp_path: Path, **columns) -> Table:
    return read_spin("made", write_spin(tmp_path, [person(0)], **columns), tmp_path)


def test_labels_that_are_not_there_or_not_whole_are_named(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.npz: no such label file\. Set `labels`"):
        read_spin("made", tmp_path / "nothing.npz", tmp_path)
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(UserError, match=r"text\.npz: not a label file"):
        read_spin("made", tmp_path / "text.npz", tmp_path)
    whole = write_spin(tmp_path, [person(0)]).read_bytes()
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"half\.npz: not a label file"):
        read_spin("made", tmp_path / "half.npz", tmp_path)
    with pytest.raises(UserError, match=r"labels\.npz: lacks scale; it has .*imgname"):
        spin(tmp_path, scale=None)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("pose", np.zeros((1, 165)), r"pose has shape \(1, 165\), but \(1, 72\) is needed"),
        ("part", np.zeros((1, 17, 3)), r"part has shape \(1, 17, 3\), but \(1, 24, 3\)"),
        ("center", np.zeros((2, 2)), r"center has shape \(2, 2\), but \(1, 2\)"),
        ("shape", np.full((1, 10), np.nan), r"shape holds values that are not finite"),
        ("shape", None, r"pose needs shape, and img_focal needs img_center"),
        ("imgname", np.array(["images/else.png"]), r"else\.png: no such picture, though .*labels\.npz names it"),
        ("imgname", np.array(["a", "b"], object), r"not a label file, an \.npz of plain arrays"),
    ],
)
def test_labels_of_the_wrong_shape_are_named(tmp_path, column: str, value, message: str):
    with pytest.raises(UserError, match=message):
        spin(tmp_path, **{column: value})


def test_folders_without_their_files_are_named(tmp_path):
    for kind, message in (
        ("3dpw", r"train: holds no \.pkl files\. Give 3DPW's own folder"),
        ("emdb", r"holds no P\*/\*/\*_data\.pkl\. Give EMDB's own folder"),
        ("bedlam", r"holds no \.npz file\. Set `labels` to BEDLAM's folder"),
    ):
        with pytest.raises(UserError, match=message):
            open_set("made", SetRecipe(kind=kind, labels=str(tmp_path), ratio=1), BODIES)  # type: ignore[arg-type]
    labels = write_spin(tmp_path, [person(0)])
    with pytest.raises(UserError, match=r"gone: no such folder, though .*labels\.npz refers to pictures in it"):
        read_spin("made", labels, tmp_path / "gone")
    write_emdb(tmp_path / "emdb", [person(0)], emdb1=False)
    with pytest.raises(UserError, match="no sequence is marked 'emdb1'"):
        read_emdb("emdb", tmp_path / "emdb", "emdb1", BODIES)


def test_smplx_labels_of_bedlam_are_refused(tmp_path):
    labels = write_bedlam(tmp_path, [person(0)])
    with np.load(labels, allow_pickle=True) as archive:
        columns: dict[str, Any] = {name: archive[name] for name in archive.files}
    columns["pose_cam"] = np.zeros((1, 165))
    np.savez(labels, **columns)
    with pytest.raises(UserError, match=r"holds SMPL-X poses\. Fetch BEDLAM's SMPL labels"):
        read_bedlam("bedlam", labels, tmp_path, BODIES)


class Evil:
    def __reduce__(self):
        return print, ("run",)


def test_pickles_that_ask_for_code_or_lack_parts_are_refused(tmp_path, capsys):
    path = write_3dpw(tmp_path, [[person(0)]])
    found = pickle.loads(path.read_bytes())
    path.write_bytes(pickle.dumps(found | {"trans": Evil()}, protocol=2))
    with pytest.raises(UserError, match=r"downtown_x_00\.pkl: not a label file of 3DPW \(it asks to run .*print"):
        read_3dpw("3dpw", tmp_path, "test", BODIES)
    assert capsys.readouterr().out == ""
    for key, value, message in (
        ("cam_poses", np.zeros((1, 3, 4)), r"cam_poses has shape \(1, 3, 4\), but \(any, 4, 4\)"),
        ("poses", [np.zeros((1, 66))], r"poses\[0\] has shape \(1, 66\), but \(1, 72\)"),
        ("poses2d", [], "poses2d is missing for some people"),
    ):
        path.write_bytes(pickle.dumps(found | {key: value}))
        with pytest.raises(UserError, match=message):
            read_3dpw("3dpw", tmp_path, "test", BODIES)
    path = write_emdb(tmp_path, [person(0)])
    found = pickle.loads(path.read_bytes())
    path.write_bytes(pickle.dumps(found | {"smpl": {}}))
    with pytest.raises(UserError, match=r"_data\.pkl: lacks smpl\.poses_root"):
        read_emdb("emdb", tmp_path, "emdb1", BODIES)


def test_a_picture_that_cannot_be_read_stops_with_one_line(tmp_path):
    mix = mixed(tmp_path)
    for path in tmp_path.rglob("*.jpg"):
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"image_0000\d\.jpg: not a picture, or damaged\. Fetch") as caught:
        list(islice(batches(mix), 3))
    assert "\n" not in str(caught.value)


def test_a_mix_needs_a_ratio(tmp_path):
    labels = write_spin(tmp_path, [person(0)])
    with pytest.raises(UserError, match="ratio"):
        open_mix({"one": SetRecipe(kind="spin", labels=str(labels), ratio=-1)}, BODY, 4, NOTHING)
    with pytest.raises(UserError, match="ratio"):
        open_mix({}, BODY, 4, NOTHING)
    with pytest.raises(UserError, match=r"holds no \.png cut-outs"):
        open_mix(
            {"one": SetRecipe(kind="spin", labels=str(labels), ratio=1)}, BODY, 4, Augment(occluders=str(tmp_path))
        )
