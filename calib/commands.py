"""The verb `calibrate`: the table of its sub-verbs. Only the module of the sub-verb that is asked for is imported."""

import importlib
import sys

from refit_rt.errors import UserError

ABOUT = """usage: refit-rt calibrate WHAT [OPTIONS]

{}

1. Print a board (calibrate board), glue it to something flat and stiff, and measure one of its squares.
2. refit-rt calibrate record takes --board board.toml --capture.sources left 0 right 2
   says what to do next, takes pictures by itself, and says when it is enough.
3. refit-rt calibrate solve takes --board board.toml --square-mm 59.8 --out rig.json
4. refit-rt run --camera.calibration rig.json uses what was found.

refit-rt calibrate WHAT --help lists the options.
"""
WHAT = {  # sub-verb → module of calib and its function, first line of its help
    "board": ("board:board", "Make a board to print: a PDF, a PNG, and the file that describes it."),
    "record": ("record:record", "Record a board with all cameras, guided: what is missing, and when it is enough."),
    "solve": ("solve:solve", "Find the lenses and places of cameras from recordings of a board."),
    "people": ("people:people", "Find the places and delays of cameras from people who walk about."),
    "check": ("check:check", "Compare a rig with what its cameras see, and name one that was knocked."),
    "report": ("report:report", "Show how good a calibration is, what is weak and what cures it, in one page."),
    "floor": ("floor:floor", "Put a rig's world on its floor, by a board, marked points or people's feet."),
    "convert": ("convert:convert", "Convert a calibration file to another program's format, or from it."),
}


def calibrate(arguments: list[str]) -> int:
    """Calibrate cameras: print a board, record it, solve, set the floor, convert, report."""
    if not arguments or arguments[0] in ("-h", "--help"):
        table = "\n".join(f"  {verb:<16}{line}" for verb, (_, line) in WHAT.items())
        sys.stdout.write(f"{calibrate.__doc__}\n\n{ABOUT.format(table)}")
        return 0
    from refit_rt.commands import parse

    verb, rest = arguments[0], arguments[1:]
    if verb not in WHAT:
        raise UserError(f"calibrate {verb}: there is only {', '.join(WHAT)} (refit-rt calibrate --help)")
    module, function = WHAT[verb][0].split(":")
    return parse.parse(getattr(importlib.import_module(f"calib.{module}"), function), f"calibrate {verb}", rest)()
