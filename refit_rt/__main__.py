"""The command line: the table of verbs. Only the module of the verb that is asked for is imported."""

import importlib.metadata
import os
import signal
import sys
import threading

from refit_rt.errors import UserError

ABOUT = """Video in, SMPL bodies out, live.

usage: refit-rt VERB [OPTIONS]

{}

Settings come from --config FILE, else from config.yaml in the current folder, else they are the defaults.
Any of them can be given as an option, as in --track.max-people 2. refit-rt run --help lists every setting.
"""
VERBS = {  # verb → module of refit_rt.commands, first line of its help; "bench live" is the function bench_live
    "run": ("run", "Follow people in a webcam, a file or a network stream, and publish their bodies."),
    "demo": ("demo", "Play the bundled clip as a camera, and measure speed, delay and accuracy."),
    "camera": ("camera", "Send the pictures of a camera to a run on another machine."),
    "measure": ("measure", "Measure a person's shape in a recording, for --fit.shapes."),
    "listen": ("listen", "Subscribe to a stream and print one line per message: people, rate, age."),
    "doctor": ("doctor", "Report what is installed, and how to get what is missing."),
    "import-smpl": ("import_smpl", "Turn your own SMPL model into a body file for --fit.body."),
    "import-weights": ("import_weights", "Turn an official ReFit checkpoint into a bundle for --fit.bundle."),
    "bundle": ("bundle", "Turn a checkpoint of training/ into a bundle for --fit.bundle."),
    "quantise": ("quantise", "Add an int8 encoder to a bundle, for --fit.precision int8."),
    "build": ("build", "Build the TensorRT engines of a bundle for this GPU."),
    "bench live": ("bench", "Measure the whole pipeline on a 720p clip at 60 frames per second."),
    "bench people": ("bench", "Measure what each further person costs."),
    "bench encoder": ("bench", "Measure the encoder in every precision."),
    "bench loop": ("bench", "Measure the compiled loop against torch."),
    "bench kernels": ("bench", "Measure the CUDA kernels of the loop against torch."),
}


def main() -> None:
    """The program: ends with the verb's exit code."""
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
