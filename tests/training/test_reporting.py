"""Exit codes, tables and pictures of training's entry points."""

import logging

import numpy as np
import pytest

from refit_rt.commands.bench.table import Table
from refit_rt.commands.machine import processor_model
from refit_rt.errors import UserError
from training import reporting
from training.reporting import Caption, command_line, print_parts, run, write_picture


def failing(error: BaseException):
    def work() -> None:
        raise error

    return work


def test_exit_codes_follow_from_how_the_work_ends(caplog, tmp_path):
    assert run(lambda: None) == 0
    assert run(lambda: 7) == 7
    assert run(failing(KeyboardInterrupt())) == reporting.STOPPED == 130
    assert caplog.records == []
    assert run(failing(UserError("clip.mp4: is empty. Give another"))) == reporting.BAD_INPUT == 2
    assert run(lambda: (tmp_path / "gone").read_text() and None) == 2
    assert [record.getMessage() for record in caplog.records] == [
        "clip.mp4: is empty. Give another",
        f"{tmp_path / 'gone'}: No such file or directory. Give another path",
    ]
    assert {record.levelno for record in caplog.records} == {logging.ERROR}


def test_errors_that_name_no_file_are_not_hidden():
    for error in (OSError("the socket is closed"), ValueError("a mistake in the program")):
        with pytest.raises(type(error)):
            run(failing(error))


def test_a_caption_is_printed_with_tables_in_markdown_too(capsys):
    parts = ["Errors are in mm.", Caption("Boxes: the labels' own."), Table(["set"], [["stills"]])]
    print_parts(parts)
    assert capsys.readouterr().out == "Errors are in mm.\nBoxes: the labels' own.\n\nset\nstills\n\n"
    print_parts(parts, "python -m mine")
    printed = capsys.readouterr().out.splitlines()
    assert printed[:3] == ["Boxes: the labels' own.", "", f"`python -m mine` on {processor_model()}:"]
    assert "Errors are in mm." not in printed


def test_text_and_tables_are_printed_or_tables_alone_in_markdown(capsys, monkeypatch):
    parts = ["Errors are in mm.", Table(["set", "MPJPE mm"], [["stills", "141.6"], ["clips", "9.5"]])]
    print_parts(parts)
    assert capsys.readouterr().out == "Errors are in mm.\nset     MPJPE mm\nstills     141.6\nclips        9.5\n\n"
    monkeypatch.setattr("sys.argv", ["evaluate", "benchmark", "my net.pt", "--markdown"])
    command = command_line("training.evaluate")
    assert command == "python -m training.evaluate benchmark 'my net.pt' --markdown"
    print_parts(parts, command)
    assert capsys.readouterr().out.splitlines() == [
        f"`{command}` on {processor_model()}:",
        "",
        "| set | MPJPE mm |",
        "| --- | --- |",
        "| stills | 141.6 |",
        "| clips | 9.5 |",
        "",
    ]


def test_a_picture_is_written_or_refused(tmp_path):
    picture = np.zeros((4, 4, 3), np.uint8)
    write_picture(tmp_path / "deep" / "one.png", picture)
    assert (tmp_path / "deep" / "one.png").is_file()
    with pytest.raises(UserError, match=r"one\.xyz: not a name of a picture\. Give one that ends in \.png or \.jpg"):
        write_picture(tmp_path / "one.xyz", picture)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UserError, match=r"folder\.png: cannot be written\. Give another path"):
        write_picture(tmp_path / "folder.png", picture)
