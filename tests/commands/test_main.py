"""The table of verbs."""

import importlib
import os
import subprocess
import sys
from itertools import pairwise

import pytest

from refit_rt.__main__ import VERBS, command
from tests.support.paths import ROOT

HEAVY = ("cv2", "numba", "openvino", "scipy", "zmq", "torch", "tensorrt")


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=ROOT, check=True
    )


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_alone_it_shows_the_verbs_and_how_settings_are_given(capsys, arguments: list[str]) -> None:
    assert command(arguments) == 0
    shown = capsys.readouterr().out
    for verb, (_, line) in VERBS.items():
        assert f"  {verb} " in shown
        assert line in shown
    assert "--config FILE, else from config.yaml in the current folder" in shown


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_that_begins_with_its_line_in_the_table(capsys, verb: str) -> None:
    assert command([*verb.split(), "--help"]) == 0
    usage, line = capsys.readouterr().out.split("\n\n")[:2]
    assert usage.startswith(f"usage: refit-rt {verb}")
    assert line == VERBS[verb][1]


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_of_a_verb_has_a_text(capsys, verb: str) -> None:
    assert command([*verb.split(), "--help"]) == 0
    rows = [row.strip("│ ") for row in capsys.readouterr().out.splitlines()]
    options = [(row, below) for row, below in pairwise(rows) if row.startswith("--") and row.strip("-")]
    for row, below in options:
        text = row.partition("  ")[2].strip() or below
        assert text[:1].isalpha(), row
    assert options or verb in ("client", "quantise")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["rnu"], "unknown verb 'rnu'; did you mean run?"),
        (["fly"], "unknown verb 'fly'; refit-rt --help lists the verbs"),
        (["bench", "encodr"], "unknown verb 'bench encodr'; did you mean bench encoder?"),
        (["import_smpl"], "unknown verb 'import_smpl'; did you mean import-smpl?"),
        (
            ["--fit.iterations", "3", "run"],
            "--fit.iterations comes before the verb; options follow it, as in refit-rt run --fit.iterations "
            "(refit-rt --help)",
        ),
    ],
)
def test_an_unknown_verb_is_one_line(refusal, arguments: list[str], line: str) -> None:
    assert refusal(*arguments) == f"refit-rt: {line}"


def test_the_exit_code_of_the_program_is_that_of_the_command() -> None:
    code = "import sys; from refit_rt.__main__ import main; sys.argv[1:] = ['rnu']; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "refit-rt: unknown verb 'rnu'; did you mean run?\n")


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"]])
def test_a_reader_that_has_gone_away_is_no_error(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "refit_rt", *arguments], stdout=writer, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_list_of_verbs_imports_none_of_them() -> None:
    code = (
        "import sys; from refit_rt.__main__ import command; command([])\n"
        "print(*[m for m in sys.modules if m.partition('.')[0] in ('refit_rt', 'tyro', 'msgspec', 'numpy')])"
    )
    assert run_python(code).stdout.splitlines()[-1] == "refit_rt refit_rt.commands refit_rt.errors refit_rt.__main__"


def test_help_imports_the_verb_alone_and_nothing_heavy() -> None:
    code = (
        "import sys; from refit_rt.__main__ import command; command(sys.argv[1:])\n"
        "print(sorted(m for m in sys.modules if m.startswith('refit_rt.commands.')))\n"
        f"print([m for m in {HEAVY} if m in sys.modules])"
    )
    for verb, (module, _) in VERBS.items():
        commands, heavy = run_python(code, *verb.split(), "--help").stdout.splitlines()[-2:]
        assert heavy == "[]", verb
        others = {other for other, _ in VERBS.values()} - {module}
        assert not {f"'refit_rt.commands.{other}'" for other in others} & set(commands.strip("[]").split(", ")), verb


def test_the_table_is_short_and_names_functions_that_exist() -> None:
    assert len((ROOT / "refit_rt" / "__main__.py").read_text().splitlines()) <= 82
    for verb, (module, _) in VERBS.items():
        function = getattr(
            importlib.import_module(f"refit_rt.commands.{module}"), verb.replace(" ", "_").replace("-", "_")
        )
        assert callable(function)
