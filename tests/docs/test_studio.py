"""docs/studio.md is true: its commands are accepted; those that need no film of a board run on the demo's files."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from refit_rt import config
from refit_rt.__main__ import command
from refit_rt.cameras import read_rig
from refit_rt.files import ASSETS
from refit_rt.sender import Report
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "studio.md").read_text(encoding="utf-8")
COMMANDS = [shlex.split(line)[1:] for line in re.findall(r"^refit-rt .*", PAGE, re.MULTILINE)]
RUNNABLE = [words for words in COMMANDS if words[:2] in (["calibrate", "board"], ["calibrate", "convert"])]


@pytest.fixture(autouse=True)
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with the files that the demo leaves, and studio.yaml as on the page."""
    for path in (ASSETS / "studio").iterdir():
        shutil.copy(path, tmp_path)
    (yaml,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "studio.yaml").write_text(yaml)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("words", RUNNABLE, ids=" ".join)
def test_boards_and_conversions_run_as_they_stand(words: list[str]) -> None:
    assert command(words) == 0


def test_a_converted_rig_is_the_same() -> None:
    assert command(next(words for words in RUNNABLE if "rig.toml" in words)) == 0
    assert read_rig(Path("rig.toml")).names == read_rig(Path("rig.json")).names


def test_the_run_has_the_sources_and_the_rig_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[config.Settings] = []
    Path("out/studio").mkdir(parents=True)

    def run(settings: config.Settings, show: object) -> Report:
        given.append(settings)
        return Report(1, 0, 0, 1, 0.0, {})

    monkeypatch.setattr("refit_rt.pipeline.run", run)
    assert command(next(words for words in COMMANDS if words[0] == "run")) == 0
    names = read_rig(Path(given[0].camera.calibration)).names
    assert tuple(given[0].capture.sources) == names
    assert all(Path(source).is_file() for source in given[0].capture.sources.values())
    assert given[0].out.dir == "out/studio"


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_option_is_an_option_of_its_verb(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    verb = words[:2] if words[0] == "calibrate" else words[:1]
    assert command([*verb, "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in words if word.startswith("--"))
