"""Checkpoints of training/ become bundles, and `training.checkpoint` averages and blends them."""

import pytest

torch = pytest.importorskip("torch", reason="checkpoints need torch")

from refit_rt.body.smpl import load_body  # noqa: E402
from refit_rt.bundle.checkpoint import export_checkpoint  # noqa: E402
from refit_rt.bundle.read import load_bundle  # noqa: E402
from refit_rt.bundle.torch_state import read_network  # noqa: E402
from refit_rt.errors import UserError  # noqa: E402
from refit_rt.model.blazepose import BlazePose  # noqa: E402
from refit_rt.model.config import EDGE, HEAVY  # noqa: E402
from refit_rt.model.refit import build  # noqa: E402


def test_a_checkpoint_of_training_becomes_a_bundle(tmp_path):
    torch.save({"average": build(EDGE, load_body()).state_dict(), "steps": 12, "views": 345}, tmp_path / "last.pt")
    export_checkpoint(tmp_path / "last.pt", tmp_path / "mine", "CC0-1.0")
    card = load_bundle(tmp_path / "mine").card
    assert (card.name, card.licence, card.training) == ("mine", "CC0-1.0", {"steps": 12, "views": 345})


def test_a_file_that_is_not_a_checkpoint_of_training_is_refused_and_nothing_is_written(tmp_path):
    torch.save({"model": {}}, tmp_path / "official.pt")
    torch.save({"average": {"other": torch.zeros(1)}}, tmp_path / "other.pt")
    with pytest.raises(UserError, match="import-weights"):
        export_checkpoint(tmp_path / "official.pt", tmp_path / "mine", "")
    with pytest.raises(UserError, match="other"):
        export_checkpoint(tmp_path / "other.pt", tmp_path / "mine", "")
    with pytest.raises(UserError, match="no such file"):
        export_checkpoint(tmp_path / "gone.pt", tmp_path / "mine", "")
    assert not (tmp_path / "mine").exists()


def test_the_mean_of_runs_weighs_each_run_by_its_share(tmp_path, monkeypatch):
    from training import checkpoint

    for name, number, views in (("a", 1.0, 10), ("b", 5.0, 30)):
        weights = {"matrix": torch.full((2, 2), number), "backbone.feature_mean": torch.full((2,), number / 3)}
        torch.save({"average": weights | {"count": torch.tensor(7)}, "views": views}, tmp_path / f"{name}.pt")
    given = [str(tmp_path / name) for name in ("a.pt", "b.pt", "out.pt")]
    monkeypatch.setattr("sys.argv", ["checkpoint", *given, "--shares", "3", "1"])
    assert checkpoint.main() == 0
    mean = torch.load(tmp_path / "out.pt", weights_only=True)
    assert mean["average"]["matrix"].dtype == torch.float16
    assert mean["average"]["matrix"].tolist() == [[2, 2], [2, 2]]
    torch.testing.assert_close(mean["average"]["backbone.feature_mean"], torch.full((2,), 2 / 3))
    assert (mean["average"]["count"], mean["views"]) == (7, 40)


def test_a_backbone_is_blended_with_its_original_weights_and_the_heads_stay(tmp_path, monkeypatch, caplog):
    from training import checkpoint

    net, own = build(EDGE, load_body()), BlazePose()
    checkpoint.load_own(own)
    torch.save({"average": net.state_dict()}, tmp_path / "a.pt")
    given = ["checkpoint", str(tmp_path / "a.pt"), str(tmp_path / "out.pt"), "--own"]
    monkeypatch.setattr("sys.argv", [*given, "0.25"])
    assert checkpoint.main() == 0
    made = torch.load(tmp_path / "out.pt", weights_only=True)["average"]
    for name, value in own.named_parameters():
        tuned = net.state_dict()[f"backbone.{name}"]
        torch.testing.assert_close(made[f"backbone.{name}"].float(), 0.75 * tuned + 0.25 * value, atol=1e-4, rtol=1e-3)
    name = "update.gru.from_input.weight"
    torch.testing.assert_close(made[name].float(), net.state_dict()[name], atol=1e-4, rtol=1e-3)
    monkeypatch.setattr("sys.argv", [*given, "1"])
    assert checkpoint.main() == 0
    again = BlazePose()
    checkpoint.load_own(again, str(tmp_path / "out.pt"))  # for machines that cannot read a .tflite
    for one, other in zip(again.parameters(), own.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)
    torch.save({"average": {"backbone.other": torch.zeros(1)}}, tmp_path / "a.pt")
    with pytest.raises(UserError, match="--own 1"):
        checkpoint.load_own(again, str(tmp_path / "a.pt"))
    for share, message in (("0.25", "is not BlazePose"), ("1.5", "between 0 and 1")):
        monkeypatch.setattr("sys.argv", [*given, share])
        assert checkpoint.main() == 2
        assert message in caplog.text


def test_a_mean_of_other_networks_or_with_other_shares_is_refused_and_nothing_is_written(tmp_path, monkeypatch, caplog):
    from training import checkpoint

    for name, size in (("a", 2), ("b", 3)):
        torch.save({"average": {"matrix": torch.zeros(size)}}, tmp_path / f"{name}.pt")
    given = [str(tmp_path / name) for name in ("a.pt", "b.pt", "out.pt")]
    for more, message in (
        ([], "different networks"),
        (["--shares", "1"], "--shares"),
        (["--shares", "1", "-1"], "--shares"),
    ):
        monkeypatch.setattr("sys.argv", ["checkpoint", *given, *more])
        assert checkpoint.main() == 2
        assert message in caplog.records[-1].message
    monkeypatch.setattr("sys.argv", ["checkpoint", given[0]])
    assert checkpoint.main() == 2
    assert not (tmp_path / "out.pt").exists()


def test_a_network_with_the_heavy_backbone_becomes_a_bundle_and_is_read_back(tmp_path):
    net = build(HEAVY, load_body()).eval()
    torch.save({"average": net.state_dict()}, tmp_path / "last.pt")
    export_checkpoint(tmp_path / "last.pt", tmp_path / "heavy", "Apache-2.0")
    again = read_network(load_bundle(tmp_path / "heavy"))
    assert again.config == HEAVY
    for (name, one), other in zip(net.backbone.named_parameters(), again.backbone.parameters(), strict=True):
        assert torch.equal(one.half().float(), other), name
