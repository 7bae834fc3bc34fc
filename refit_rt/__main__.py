"""The command line. Only the module of the verb that is asked for is imported."""

import importlib.metadata
import io
import os
import signal
import sys
import threading

from refit_rt.commands import VERBS
from refit_rt.errors import UserError

ABOUT = """Video in, SMPL bodies out, live.

usage: refit-rt VERB [OPTIONS]

{}

Settings come from --config FILE, else from config.yaml in the current folder, else they are the defaults.
Any of them can be given as an option, as in --track.max-people 2. refit-rt run --help lists every setting.
"""


def main() -> None:
    """The program: ends with the verb's exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a pipe of Windows knows few characters, and a name may be no text
    code = command(sys.argv[1:])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is closed: a second Ctrl-C must not spoil the exit code
    if threading.active_count() > 1:  # a camera that hangs in its driver: its thread would crash the interpreter's end
        os._exit(code)
    sys.exit(code)


def command(arguments: list[str]) -> int:
    """Runs one verb and returns its exit code: 2, and one line on stderr, for what the user can mend."""
    try:
        code = _run(arguments or ["--help"])
        sys.stdout.flush()
        return code
    except UserError as error:
        sys.stderr.write(f"refit-rt: {error}\n")
        return 2
    except BrokenPipeError:  # refit-rt listen | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def _run(arguments: list[str]) -> int:
    others = {point.name: point for point in importlib.metadata.entry_points(group="refit_rt.verbs")}
    if arguments[0] in ("-h", "--help"):
        lines = [*((v, line) for v, (_, line) in VERBS.items()), *((v, others[v].load().__doc__) for v in others)]
        sys.stdout.write(ABOUT.format("\n".join(f"  {verb:<16}{line}" for verb, line in lines)))
        return 0
    from refit_rt.commands import parse, shared

    shared.quiet_libraries()
    verb, rest = parse.split(arguments, [*VERBS, *others])
    if verb in others:  # a verb of a package beside this one: a function of its arguments
        return others[verb].load()(rest)
    module = importlib.import_module(f"refit_rt.commands.{VERBS[verb][0]}")
    return parse.parse(getattr(module, verb.replace(" ", "_").replace("-", "_")), verb, rest)()


if __name__ == "__main__":
    main()
