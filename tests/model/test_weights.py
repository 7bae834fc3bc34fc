"""Official checkpoints load strictly, or the error says what is wrong."""

import pytest

torch = pytest.importorskip("torch", reason="the network needs torch: pip install refit-rt[train]")

from refit_rt.errors import UserError  # noqa: E402
from refit_rt.model import weights  # noqa: E402
from refit_rt.model.hrnet import HRNet  # noqa: E402
from tests.support import reference  # noqa: E402


@pytest.fixture(scope="module")
def checkpoint() -> dict:
    """An official checkpoint's names, including those of its bodies; the backbone's tensors are zero."""
    drawn = {
        name: torch.zeros(array.shape) if name.startswith("backbone") else torch.as_tensor(array)
        for name, array in reference.seeded_weights().items()
    }
    extras = {
        f"{body}.{part}": torch.zeros(3)
        for body in ("smpl", "smpl_male", "smpl_female")
        for part in ("v_template", "lbs_weights")
    }
    return drawn | extras


def test_a_checkpoint_file_gives_every_name_of_the_network(checkpoint, tmp_path):
    small = {name: tensor for name, tensor in checkpoint.items() if not name.startswith(("backbone", "corr_layer"))}
    torch.save({"model": small, "epoch": 3}, tmp_path / "official.pt")
    ours = weights.load_official(tmp_path / "official.pt")
    assert ours["update.gru.from_hidden"].shape == (26, 96, 32)
    assert not any(name.startswith("smpl") for name in ours)


def test_missing_and_surplus_names_are_listed(checkpoint):
    broken = dict(checkpoint) | {"smple.v": torch.zeros(1)}
    del broken["regressor.deccam.bias"], broken["update_block.cam_gru.lq.bias"]
    listed = r"missing: regressor.deccam.bias, update_block.cam_gru.lq.bias; surplus: smple.v"
    with pytest.raises(UserError, match=listed):
        weights.from_official(broken, "a.pt")


def test_a_backbone_of_another_width_is_refused_with_its_shapes():
    with pytest.raises(UserError, match=r"b\.pt: weights of another network .*transition1.0.0.weight is \(48, "):
        weights.load_into(HRNet(32), HRNet(48).state_dict(), "b.pt")


def test_weights_that_are_not_finite_or_of_other_shapes_are_refused(checkpoint):
    layer = torch.nn.Linear(2, 2)
    broken = {"weight": torch.tensor([[1.0, float("nan")], [0, 0]]), "bias": torch.zeros(2)}
    with pytest.raises(UserError, match=r"a\.pt: weight: values that are not finite"):
        weights.load_into(layer, broken, "a.pt")
    flat = dict(checkpoint) | {"update_block.pose_gru.lz.weight": torch.zeros(3)}
    with pytest.raises(UserError, match=r"a\.pt: the GRUs or their regressor have other shapes"):
        weights.from_official(flat, "a.pt")


def test_no_file_and_no_checkpoint_are_user_errors(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        weights.load_official(tmp_path / "nothing.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(UserError, match="not a checkpoint"):
        weights.load_official(tmp_path / "text.pt")


def test_a_coco_network_initialises_the_trunk_and_leaves_the_rest(tmp_path):
    coco, backbone = HRNet(32), HRNet(32)
    trunk = {name: tensor for name, tensor in coco.state_dict().items() if name.split(".")[0] in weights.COCO_PARTS}
    torch.save(trunk | {"final_layer.weight": torch.zeros(17, 32, 1, 1)}, tmp_path / "coco.pth")
    before = backbone.get_parameter("final_layer.0.weight").clone()
    weights.load_coco_backbone(backbone, tmp_path / "coco.pth")
    last = "stage4.2.branches.3.1.conv2.weight"
    torch.testing.assert_close(backbone.get_parameter(last), coco.get_parameter(last))
    torch.testing.assert_close(backbone.get_parameter("final_layer.0.weight"), before)
