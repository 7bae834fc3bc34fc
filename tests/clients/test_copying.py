"""The verb `client` lists the clients and copies one out, whole, to where nothing is."""

import filecmp
from pathlib import Path

import pytest

from refit_rt.__main__ import command
from refit_rt.commands.client import BORROWED, CLIENTS, clients


def test_without_a_name_it_lists_every_client(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["client"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == clients()
    assert {"cpp", "javascript", "unity", "unreal"} <= set(clients())
    assert set(clients()) == {path.name for path in CLIENTS.iterdir() if path.is_dir() and any(path.glob("*.*"))}


@pytest.mark.parametrize("name", clients())
def test_a_client_is_copied_whole(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "new" / name
    assert command(["client", name, str(target)]) == 0
    assert str(target / "README.md") in capsys.readouterr().out
    files = {path.relative_to(CLIENTS / name): path for path in (CLIENTS / name).rglob("*") if path.is_file()}
    files = {place: path for place, path in files.items() if "__pycache__" not in path.parts}
    files |= {Path(place): CLIENTS / path for place, path in BORROWED.get(name, {}).items()}
    assert {path.relative_to(target) for path in target.rglob("*") if path.is_file()} == files.keys()
    assert all(filecmp.cmp(path, target / place, shallow=False) for place, path in files.items())


def test_an_empty_folder_is_filled_and_a_full_one_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(["client", "cpp", "."]) == 0
    header = tmp_path / "refit_rt.hpp"
    header.write_text("mine")
    assert command(["client", "cpp", "."]) == 2
    assert "not empty. Give an empty folder" in capsys.readouterr().err
    assert header.read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["cobol", "folder"], "there is none named 'cobol'. Give one of blender"),
        (["cpp"], "names no folder. Give one, as in refit-rt client cpp refit-rt-cpp"),
        (["cpp", "taken"], "taken: is there and is not empty"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    words: list[str], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("a file")
    assert command(["client", *words]) == 2
    shown = capsys.readouterr().err
    assert text in shown
    assert len(shown.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
