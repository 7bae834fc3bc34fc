"""The verb `run`."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.paths import ROOT


def test_the_short_forms_are_settings(settings_of, capsys, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "motion.npz").touch()
    settings = settings_of("clip.mp4", "--out", "out")
    assert (settings.capture.source, settings.out.dir) == ("clip.mp4", "out")
    assert "in out: motion.npz" in capsys.readouterr().out


def test_pictures_are_as_recognised_unless_stated(settings_of) -> None:
    assert settings_of("a").capture.pictures == "auto"
    assert settings_of("a", "--stills").capture.pictures == "stills"
    assert settings_of("a", "--capture.pictures", "clip").capture.pictures == "clip"


def test_the_short_forms_win_over_the_long_ones(settings_of) -> None:
    assert settings_of("b.mp4", "--capture.source", "a.mp4").capture.source == "b.mp4"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["gone.mp4", "--out", "new"], "refit-rt: gone.mp4: no such file, folder or camera"),
        (["x.mp4", "--out", "a-file"], "refit-rt: out.dir: a-file is in the way, it is a file"),
        (["x.mp4", "--out", "a-file/below"], "refit-rt: out.dir: a-file/below is in the way"),
        (
            ["x.mp4", "--stills"],
            "refit-rt: capture.pictures: stills needs a picture or a folder",
        ),
        (["0", "--stills"], "refit-rt: capture.pictures: stills needs a picture or a folder"),
        (["--capture.pace", "lossless"], "refit-rt: capture.pace: lossless needs a file or a folder"),
    ],
)
def test_what_cannot_be_opened_is_one_line_and_leaves_nothing_behind(
    refusal, tmp_path: Path, arguments: list[str], says: str
) -> None:
    for name in ("a-file", "x.mp4"):
        (tmp_path / name).touch()
    assert says in refusal("run", *arguments)
    assert {file.name for file in tmp_path.iterdir()} == {"a-file", "x.mp4"}


def test_a_full_disk_ends_the_run_with_a_line_and_code_two(tmp_path: Path) -> None:
    """A limit of the file's size stands for the full disk."""
    pytest.importorskip("resource", reason="this system has no limit of a file's size")
    clip = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"mp4v"), 25, (320, 240))
    noise = np.random.default_rng(0)
    for _ in range(60):
        writer.write(noise.integers(0, 255, (240, 320, 3), np.uint8))
    writer.release()
    code = (
        "import resource, sys\nfrom test_pipeline import load\nfrom refit_rt import pipeline, __main__\n"
        "pipeline.Pipeline.__init__.__defaults__ = (load(),)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n__main__.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "run", str(clip), "--out", "out", "--publish.no-enabled", "--quiet"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
    )
    assert done.returncode == 2
    assert done.stderr.startswith("refit-rt: out/overlay.mp4: the video cannot be written (")
    assert done.stderr.count("\n") == 1
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["motion.npz"]


def test_a_run_stopped_by_a_signal_leaves_whole_files_and_code_zero(tmp_path: Path) -> None:
    """The real program in a process of its own, with stand-ins for the network."""
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
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("first person published"):
            break
    process.send_signal(signal.SIGINT)
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)  # as `timeout` does, and an impatient finger
    shown, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    assert "p50 ms" in shown
    assert "in out: motion.npz" in shown
