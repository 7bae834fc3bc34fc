"""Tests of the command line run in a folder of their own, away from the config.yaml of the checkout."""

from collections.abc import Callable
from pathlib import Path

import pytest

from refit_rt import config
from refit_rt.__main__ import command
from refit_rt.sender import Report


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def settings_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., config.Settings]:
    """The settings with which `refit-rt run` and these arguments would start the pipeline."""
    given: list[config.Settings] = []

    def note(settings: config.Settings, show: object = None) -> Report:
        given.append(settings)
        return Report(1, 0, 0, 1, 0.0, {})

    monkeypatch.setattr("refit_rt.pipeline.run", note)

    def settings_of_run(*arguments: str) -> config.Settings:
        assert command(["run", *arguments]) == 0
        return given.pop()

    return settings_of_run


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The one line with which refit-rt refuses these arguments."""

    def refusal_of(*arguments: str) -> str:
        capsys.readouterr()
        assert command(list(arguments)) == 2
        out, error = capsys.readouterr()
        assert out == ""
        assert error.startswith("refit-rt: ")
        assert error.count("\n") == 1
        assert error.endswith("\n")
        return error.strip()

    return refusal_of
