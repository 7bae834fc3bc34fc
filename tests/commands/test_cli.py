import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

from refit_rt import config
from refit_rt.__main__ import VERBS, command
from tests.support.paths import ROOT


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """No config.yaml of the checkout."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def asked(monkeypatch):
    """What `run` would have run."""
    from refit_rt import pipeline

    seen = []

    def note(settings):
        seen.append(settings)
        return pipeline.Report(1, 0, 0, 1, 0.0, {})

    monkeypatch.setattr(pipeline, "run", note)
    return seen


def test_the_default_is_the_webcam(asked):
    assert command(["run"]) == 0
    assert asked == [config.Config()]


def test_short_and_long_options_and_the_file_come_together(asked, tmp_path):
    (tmp_path / "mine.yaml").write_text("fit: {iterations: 4}\ntrack: {max_people: 3}\n")
    clip = ["run", "clip.mp4", "--config", "mine.yaml", "--track.max-people", "2", "--smooth.no-enabled"]
    assert command(clip) == 0
    settings = asked[0]
    assert (settings.capture.source, settings.fit.iterations, settings.track.max_people) == ("clip.mp4", 4, 2)
    assert not settings.smooth.enabled


def test_a_settings_file_of_this_folder_is_taken_unless_another_is_named(asked, tmp_path):
    (tmp_path / "config.yaml").write_text("fit: {iterations: 7}\n")
    (tmp_path / "other.yaml").write_text("fit: {iterations: 9}\n")
    assert command(["run"]) == 0
    assert command(["run", "--config=other.yaml"]) == 0
    assert [settings.fit.iterations for settings in asked] == [7, 9]


def test_out_is_short_for_its_folder(asked, tmp_path):
    assert command(["run", "--out", str(tmp_path)]) == 0
    assert asked[0].out.dir == str(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["run", "gone.mp4", "--out", "new"],
            "refit-rt: gone.mp4: no such file, folder or camera",
        ),
        (["run", "--fit.iterations", "0"], "refit-rt: settings: Expected `int` >= 1 - at `$.fit.iterations`"),
        (["run", "--config", "gone.yaml"], "refit-rt: gone.yaml: cannot be read"),
        (["run", "x.mp4", "--out", "a-file"], "refit-rt: out.dir: a-file is in the way, it is a file"),
        (["run", "x.mp4", "--out", "a-file/below"], "refit-rt: out.dir: a-file/below is in the way"),
        (["run", "--capture.pace", "lossless"], "refit-rt: capture.pace: lossless needs a file or a folder"),
        (["listen", "nonsense"], "refit-rt: nonsense: is no address"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_exit_code_two(capsys, tmp_path, arguments, says):
    (tmp_path / "a-file").touch()
    assert command(arguments) == 2
    error = capsys.readouterr().err
    assert says in error
    assert "Traceback" not in error
    assert len([line for line in error.splitlines() if line.startswith("refit-rt: ")]) == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a-file"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "--capture.fsp", "30"], "--capture.fsp"),
        (["run", "--fit.backend", "tensorflow"], "--fit.backend"),
        (["run", "--fit.iterations", "many"], "--fit.iterations"),
        (["fly"], "fly"),
    ],
)
def test_an_unknown_option_is_exit_code_two_and_named(capsys, arguments, says):
    with pytest.raises(SystemExit) as end:
        command(arguments)
    assert end.value.code == 2
    captured = capsys.readouterr()
    assert says in captured.err + captured.out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(capsys, verb):
    with pytest.raises(SystemExit) as end:
        command([verb, "--help"])
    assert end.value.code in (0, None)
    assert f"usage: refit-rt {verb}" in capsys.readouterr().out


@pytest.mark.parametrize("verb", [*VERBS, ""])
def test_a_foreign_config_yaml_keeps_nobody_from_help(capsys, tmp_path, verb):
    (tmp_path / "config.yaml").write_text("site: somebody else's\n")
    with pytest.raises(SystemExit) as end:
        command([verb, "--help"] if verb else [])
    assert end.value.code in (0, None)


def test_a_foreign_config_yaml_stops_only_verbs_that_have_settings(capsys, tmp_path):
    (tmp_path / "config.yaml").write_text("site: somebody else's\n")
    assert command(["import-smpl", "gone.pkl"]) == 2
    assert "gone.pkl" in capsys.readouterr().err
    assert command(["run"]) == 2
    assert "config.yaml: Object contains unknown field `site`" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["doctor", "bench"])
def test_every_verb_checks_its_settings(capsys, verb):
    assert command([verb, "--track.max-people", "0"]) == 2
    assert "settings: Expected `int` >= 1 - at `$.track.max_people`" in capsys.readouterr().err


def test_the_doctor_names_the_settings_file(capsys, tmp_path):
    (tmp_path / "mine.yaml").write_text("fit: {bundle: none-such}\n")
    assert command(["doctor", "--config", "mine.yaml"]) == 1
    assert "settings  mine.yaml: source 0" in capsys.readouterr().out


def test_alone_it_shows_help(capsys):
    with pytest.raises(SystemExit) as end:
        command([])
    assert end.value.code in (0, None)
    assert "refit-rt run clip.mp4 --out DIR" in capsys.readouterr().out


LISTEN = [sys.executable, "-m", "refit_rt", "listen"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_listening_cleanly(tmp_path, number):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [*LISTEN, f"ipc://{tmp_path}/none"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("listening to")
    time.sleep(0.1)
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")


def test_a_run_stopped_by_a_signal_leaves_whole_files_and_code_zero(tmp_path):
    """The real thing in a process of its own, with stand-ins for the network."""
    clip = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"mp4v"), 50, (64, 48))
    for k in range(20):
        writer.write(np.full((48, 64, 3), 10 * k, np.uint8))
    writer.release()
    code = (
        "import sys\nfrom test_pipeline import load\nfrom refit_rt import pipeline, __main__\n"
        "pipeline.Pipeline.__init__.__defaults__ = (load(),)\n__main__.main()"
    )
    options = ["--capture.pace", "live", "--capture.loop", "--out", "out", "--out.no-overlay"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, "run", str(clip), *options, "--publish.address", f"ipc://{tmp_path}/stream"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("first person published"):
            break
    process.send_signal(signal.SIGINT)
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)  # as `timeout` does, and an impatient finger
    said, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    assert "p50 ms" in said
    assert "in out: motion.npz" in said
