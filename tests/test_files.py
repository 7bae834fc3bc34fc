"""Files are written whole or not at all, and nothing is left beside them."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from refit_rt.errors import UserError
from refit_rt.files import write_whole
from tests.support.paths import ROOT


def fails(path: Path) -> None:
    with write_whole(path) as part:
        part.write_text("half")
        raise RuntimeError("the writer fails")


def test_a_file_is_the_old_one_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "deep" / "one.txt"
    with write_whole(path) as part:
        part.write_text("first")
    with write_whole(path) as part:
        part.write_text("second")
        assert path.read_text() == "first"
        assert part.suffix == ".txt"
    with pytest.raises(RuntimeError, match="fails"):
        fails(path)
    assert path.read_text() == "second"
    assert [file.name for file in path.parent.iterdir()] == ["one.txt"]
    assert stat.S_IMODE(path.stat().st_mode) & 0o600 == 0o600


def test_what_a_killed_process_left_is_overwritten(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from refit_rt.files import write_whole\n"
        "with write_whole(Path(sys.argv[1]), reuse=True) as part:\n    part.write_text('half'); os._exit(0)"
    )
    for _ in range(2):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / "one.mp4")], check=True, cwd=ROOT)
    assert len(list(tmp_path.iterdir())) == 1
    with write_whole(tmp_path / "one.mp4", reuse=True) as part:
        part.write_text("whole")
    assert [file.name for file in tmp_path.iterdir()] == ["one.mp4"]


def test_a_place_that_cannot_be_written_is_named_with_the_cure(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(UserError, match=r"one\.txt: cannot be written .* Elsewhere"),
        write_whole(tmp_path / "file" / "one.txt", "Elsewhere"),
    ):
        pass


def test_a_file_that_is_open_elsewhere_is_replaced_once_it_is_free(tmp_path, monkeypatch):
    """Windows refuses it meanwhile."""
    replace, refused = Path.replace, []

    def busy(part, path):
        if len(refused) < 2:
            refused.append(path)
            raise PermissionError(13, "The process cannot access the file because it is being used")
        return replace(part, path)

    monkeypatch.setattr(Path, "replace", busy)
    with write_whole(tmp_path / "one.txt") as part:
        part.write_text("whole")
    assert (tmp_path / "one.txt").read_text() == "whole"
    monkeypatch.setattr("refit_rt.files.PATIENCE_S", 0.0)
    refused.clear()
    with pytest.raises(UserError, match="used"), write_whole(tmp_path / "two.txt") as part:
        part.touch()
    assert [file.name for file in tmp_path.iterdir()] == ["one.txt"]
