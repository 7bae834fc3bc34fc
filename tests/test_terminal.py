"""What a terminal shows: one line that is rewritten, whole lines of the log above it; numbers for programs."""

import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from refit_rt.__main__ import command
from refit_rt.commands.shared import say
from refit_rt.commands.shown import JsonLines, TerminalLine, line_of, say_json, shown
from refit_rt.terminal import Line, LogHandler, bar, clock, is_terminal
from refit_rt.watch import LogLines, Progress
from tests.support.paths import ROOT


class Terminal(io.StringIO):
    """A terminal that is written to."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True

    def screen(self) -> list[str]:
        """The lines as they look, without the spaces at their ends."""
        lines = []
        for written in self.getvalue().split("\n"):
            line = ""
            for part in written.split("\r"):
                line = part + line[len(part) :]
            lines.append(line.rstrip())
        return lines


def on(stream: io.StringIO, monkeypatch) -> None:
    """Both outputs go there; pytest would put its own in their place."""
    for module in ("refit_rt.terminal", "refit_rt.commands.shared"):
        monkeypatch.setattr(f"{module}.sys", SimpleNamespace(stderr=stream, stdout=stream))


@pytest.fixture
def terminal(monkeypatch) -> Terminal:
    made = Terminal()
    on(made, monkeypatch)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    return made


@pytest.fixture
def line(monkeypatch) -> Line:
    made = Line()
    for module in ("refit_rt.terminal", "refit_rt.commands.shared", "refit_rt.commands.shown"):
        monkeypatch.setattr(f"{module}.LINE", made)
    return made


def test_one_line_is_rewritten_and_the_log_stands_above_it(terminal, line):
    record = logging.LogRecord("refit_rt", logging.INFO, "", 0, "the camera is %s", ("back",), None)
    line.show("frame 10: 2 people")
    line.show("frame 11: 1 person")
    LogHandler().emit(record)
    line.show("frame 12")
    say("a result")
    assert terminal.screen() == ["the camera is back", "a result", "frame 12"]
    line.show("")
    assert terminal.screen() == ["the camera is back", "a result", ""]


def test_a_line_is_never_wider_than_the_terminal(terminal, line):
    line.show("x" * 200)
    assert terminal.screen() == ["x" * 59]


def test_where_the_end_is_known_a_bar_and_the_time_left_are_shown():
    progress = Progress(60, 2, 30.0, done=0.25, left_s=95.0)
    assert line_of(progress) == "[#####...............] 25 %, 1:35 left, frame 60: 2 people, 30.0 frames/s"
    live = Progress(60, 1, 29.96, (20.4, 31.0), 3)
    assert line_of(live) == "frame 60: 1 person, 30.0 frames/s, age 20 ms (p95 31), 3 dropped"
    assert line_of(Progress(waiting="waiting for camera 0")) == "waiting for camera 0"
    assert (bar(2.0, 4), clock(59.6), clock(3661)) == ("[####]", "1:00", "1:01:01")


def test_a_terminal_has_the_line_a_file_plain_lines_and_a_program_json(terminal, monkeypatch):
    assert isinstance(shown(False, False), TerminalLine)
    monkeypatch.setenv("TERM", "dumb")
    assert not is_terminal()
    assert isinstance(shown(False, False), LogLines)
    monkeypatch.setenv("TERM", "xterm")
    on(io.StringIO(), monkeypatch)
    assert isinstance(shown(False, False), LogLines)


@pytest.fixture
def _level():
    log = logging.getLogger("refit_rt")
    before = log.level
    yield
    log.setLevel(before)


@pytest.mark.usefixtures("_level")
def test_json_has_plain_numbers_and_null_for_what_is_unknown(capsys):
    show = shown(False, True)
    assert isinstance(show, JsonLines)
    show(Progress(7, 1, 29.97004, (20.123456, 31.0), 2, done=None))
    say_json("report", {"mpjpe_mm": float("nan"), "steps": {"fit": (1.0, 2.0)}})
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["event"] == "progress"
    assert (first["frame"], first["fps"], first["age_p50_ms"], first["left_s"]) == (7, 29.97, 20.1235, None)
    assert second == {"event": "report", "mpjpe_mm": None, "steps": {"fit": [1.0, 2.0]}}


def test_quiet_and_json_exclude_each_other(capsys):
    assert command(["run", "x.mp4", "--quiet", "--json"]) == 2
    assert capsys.readouterr().err == "refit-rt: --quiet and --json: give one of them\n"


def test_characters_that_a_console_lacks_are_replaced():
    """As in a pipe of Windows."""
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    for arguments, code in ((["run", "--help"], 0), (["Łukasz → clip.mp4"], 2), (["run", "Łukasz.mp4"], 2)):
        command = [sys.executable, "-m", "refit_rt", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True)
        assert done.returncode == code
        assert b"Traceback" not in done.stderr
    assert b"?ukasz.mp4: no such file" in done.stderr


def in_a_process(folder: Path, *options: str) -> tuple[int, str, str]:
    """The real program on twenty frames, with stand-ins for the network; exit code, stdout, stderr."""
    clip = folder / "clip.mp4"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"mp4v"), 50, (64, 48))
    for k in range(20):
        writer.write(np.full((48, 64, 3), 10 * k, np.uint8))
    writer.release()
    code = (
        "from test_pipeline import load\nfrom refit_rt import pipeline, watch, __main__\n"
        "from refit_rt.commands import shown\nshown.JSON_S = shown.LINE_S = 0.0\n"
        "shown.JsonLines.every_s = shown.TerminalLine.every_s = 0.0\n"
        "pipeline.Pipeline.__init__.__defaults__ = (load(),)\n__main__.main()"
    )
    command = [sys.executable, "-c", code, "run", str(clip), "--publish.no-enabled", "--out", "out", *options]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def test_a_program_reads_one_object_per_line(tmp_path):
    code, out, errors = in_a_process(tmp_path, "--json")
    assert (code, errors) == (0, "")
    report = [json.loads(line) for line in out.splitlines()][-1]
    assert report["event"] == "report"
    assert (report["frames"], report["dropped"], report["folder"]) == (20, 0, "out")
    assert report["files"] == ["motion.npz", "overlay.mp4"]
    assert set(report["steps"]["fit"]) == {"p50_ms", "p95_ms", "count"}


def test_quiet_prints_nothing(tmp_path):
    assert in_a_process(tmp_path, "--quiet") == (0, "", "")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["motion.npz", "overlay.mp4"]
