import pytest

torch = pytest.importorskip("torch", reason="checkpoints need torch")

from refit_rt.body import load_body  # noqa: E402
from refit_rt.bundle import load_bundle  # noqa: E402
from refit_rt.checkpoint import export_checkpoint  # noqa: E402
from refit_rt.errors import UserError  # noqa: E402
from refit_rt.model.config import EDGE  # noqa: E402
from refit_rt.model.refit import build  # noqa: E402


def test_a_checkpoint_of_training_becomes_a_bundle(tmp_path):
    torch.save({"average": build(EDGE, load_body()).state_dict(), "steps": 12, "views": 345}, tmp_path / "last.pt")
    export_checkpoint(tmp_path / "last.pt", tmp_path / "mine", "CC0-1.0")
    card = load_bundle(tmp_path / "mine").card
    assert (card.name, card.licence, card.training) == ("mine", "CC0-1.0", {"steps": 12, "views": 345})


def test_what_is_no_checkpoint_of_training_is_refused_and_leaves_nothing(tmp_path):
    torch.save({"model": {}}, tmp_path / "official.pt")
    torch.save({"average": {"other": torch.zeros(1)}}, tmp_path / "other.pt")
    with pytest.raises(UserError, match="import-weights"):
        export_checkpoint(tmp_path / "official.pt", tmp_path / "mine", "")
    with pytest.raises(UserError, match="other"):
        export_checkpoint(tmp_path / "other.pt", tmp_path / "mine", "")
    with pytest.raises(UserError, match="no such file"):
        export_checkpoint(tmp_path / "gone.pt", tmp_path / "mine", "")
    assert not (tmp_path / "mine").exists()
