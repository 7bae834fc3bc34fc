"""The command line: a few lines a verb. What is heavy is imported by the verb that needs it."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import tyro
from tyro.conf import Positional, arg

from refit_rt import config
from refit_rt.commands.build import build
from refit_rt.errors import UserError

ABOUT = """Video in, SMPL bodies out, live.

  refit-rt run                       the webcam, streamed over ZeroMQ
  refit-rt run clip.mp4 --out DIR    a file, every frame, to motion.npz and overlay.mp4
  refit-rt listen                    what arrives, in another terminal
  refit-rt doctor                    what is here and what is missing

Settings come from --config FILE, else from config.yaml in this folder, else they are the
defaults; any of them can be given as an option, as in --track.max-people 2. See refit-rt run --help."""

HERE = Path("config.yaml")
Settings = Annotated[config.Config, arg(name="")]
ConfigFile = Annotated[str, arg(metavar="FILE")]
OutFolder = Annotated[str, arg(metavar="DIR")]


def run(
    source: Positional[Annotated[str, arg(metavar="[SOURCE]")]] = "",
    /,
    *,
    out: OutFolder = "",
    config: ConfigFile = "",
    settings: Settings,
) -> int:
    """Follow people in a webcam, a file, a folder of images or a network stream, and publish their bodies.

    Args:
        source: Webcam index, video file, folder of images, rtsp:// or http:// address; short for --capture.source.
        out: Leave motion.npz and overlay.mp4 in this folder; short for --out.dir. A file is then processed losslessly.
        config: Settings file; config.yaml of this folder when there is one and none is given.
    """
    _quiet_libraries()
    from refit_rt import pipeline

    settings = _with(settings, source, out)
    report = pipeline.run(settings)
    _say(report.table())
    if settings.out.dir:
        _say(f"in {settings.out.dir}: " + ", ".join(sorted(file.name for file in Path(settings.out.dir).iterdir())))
    return int(report.hung)


def demo(*, out: OutFolder = "", config: ConfigFile = "", settings: Settings) -> int:
    """Play the bundled clip as a camera, with a second process listening, and measure.

    Args:
        out: Folder for overlay.png, overlay.mp4 and motion.npz; out/demo when none is given.
        config: Settings file; config.yaml of this folder when there is one and none is given.
    """
    _quiet_libraries()
    from refit_rt.commands import demo

    _say(demo.main(_with(settings, "", out)))
    return 0


def listen(
    address: Positional[Annotated[str, arg(metavar="[ADDRESS]")]] = "tcp://127.0.0.1:5560",
    /,
    *,
    record: Annotated[str, arg(metavar="FILE")] = "",
    once: bool = False,
) -> int:
    """Subscribe to a stream and print a line a message: who, how many a second, how old.

    Args:
        address: Where a publisher is bound.
        record: Also write the messages to a motion.npz.
        once: End when the stream ends, instead of waiting for the next.
    """
    from refit_rt.stream.subscribe import listen

    listen(address, _say, Path(record) if record else None, once)
    return 0


def doctor(*, config: ConfigFile = "", settings: Settings) -> int:
    """Say what is here, and how to get what is missing. Exit code 1 when `run` could not work.

    Args:
        config: Settings file; config.yaml of this folder when there is one and none is given.
    """
    _quiet_libraries()
    from refit_rt.commands.doctor import examine

    findings = examine(_with(settings, "", ""), config or (HERE.name if HERE.is_file() else "defaults"))
    for finding in findings:
        _say(finding.line())
    return int(any(finding.needed and not finding.good for finding in findings))


def import_smpl(
    file: Positional[Annotated[str, arg(metavar="FILE")]],
    /,
    *,
    out: Annotated[str, arg(metavar="FILE")] = "smpl_neutral.npz",
) -> int:
    """Read your own SMPL model (.pkl or .npz, or the folder that holds it) into a body file for --fit.body.

    Args:
        file: SMPL_NEUTRAL.pkl, basicModel_neutral_lbs_10_207_0_v1.0.0.pkl, SMPL_NEUTRAL.npz …
        out: The body file to write.
    """
    from refit_rt.body.smpl_file import import_smpl

    _say(f"{import_smpl(Path(file), Path(out))}: use it with --fit.body {out}")
    return 0


def import_weights(
    checkpoint: Positional[Annotated[str, arg(metavar="CHECKPOINT")]],
    body: Positional[Annotated[str, arg(metavar="BODY")]],
    /,
    *,
    out: OutFolder = "refit-official",
) -> int:
    """Turn an official ReFit checkpoint into a bundle for --fit.bundle. Needs torch.

    Args:
        checkpoint: The checkpoint of the authors, refit_all.pt or the like.
        body: The SMPL body it was trained on, from import-smpl.
        out: The bundle's folder.
    """
    with _torch_needed():
        from refit_rt.bundle.make import import_weights
    import_weights(Path(checkpoint), Path(body), Path(out))
    _say(f"{out}: use it with --fit.bundle {out}")
    return 0


def export(
    checkpoint: Positional[Annotated[str, arg(metavar="CHECKPOINT")]],
    /,
    *,
    out: OutFolder = "bundle",
    licence: str = "",
    facts: Annotated[str, arg(metavar="FILE")] = "",
) -> int:
    """Turn a checkpoint of training/ into a bundle for --fit.bundle. Needs torch.

    Args:
        checkpoint: A last.pt of training.
        out: The bundle's folder.
        licence: Of the weights, for the bundle's card.
        facts: A yaml file with `training` and `accuracy`, for the card.
    """
    with _torch_needed():
        from refit_rt.bundle.checkpoint import export_checkpoint
    export_checkpoint(Path(checkpoint), Path(out), licence, Path(facts) if facts else None)
    _say(f"{out}: use it with --fit.bundle {out}")
    return 0


def quantise(
    bundle: Positional[Annotated[str, arg(metavar="BUNDLE")]],
    images: Positional[Annotated[str, arg(metavar="IMAGES")]],
    /,
) -> int:
    """Add an int8 encoder to a bundle, for --fit.precision int8. Needs torch and onnx.

    Args:
        bundle: The bundle's folder.
        images: A folder of photos of people, 100 or more: the ranges of numbers are measured on them.
    """
    _quiet_libraries()
    with _torch_needed():
        from refit_rt.bundle.quantise import quantise_with
    stray = quantise_with(bundle, Path(images))
    _say(f"{bundle}: use it with --fit.precision int8 (its maps stray by {stray:.1%} from the exact ones)")
    return 0


def bench(
    what: Positional[Literal["live", "encoder", "loop"]] = "live", /, *, config: ConfigFile = "", settings: Settings
) -> int:
    """Measure the whole, or a part of it, on this machine.

    Args:
        what: live: a 720p clip played at 60 frames a second, heard by a second process. encoder: milliseconds by
            precision. loop: the compiled loop against torch (needs torch).
        config: Settings file; config.yaml of this folder when there is one and none is given.
    """
    _quiet_libraries()
    from refit_rt.commands import bench

    with _torch_needed():
        _say(bench.main(_with(settings, "", ""), what))
    return 0


VERBS: dict[str, Callable[..., int]] = {
    "run": run,
    "demo": demo,
    "listen": listen,
    "doctor": doctor,
    "import-smpl": import_smpl,
    "import-weights": import_weights,
    "export": export,
    "quantise": quantise,
    "build": build,
    "bench": bench,
}


def main() -> None:
    """The program: ends with the verb's exit code."""
    code = command(sys.argv[1:])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is closed: a second Ctrl-C must not spoil the exit code
    sys.stdout.flush()
    sys.stderr.flush()
    if threading.active_count() > 1:  # a camera that hangs in its driver: its thread would crash the interpreter's end
        os._exit(code)
    sys.exit(code)


def command(arguments: list[str]) -> int:
    """Runs one verb: its exit code. 2 and one line on stderr for what the user can mend."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("refit_rt").setLevel(logging.INFO)
    try:
        loaded = config.check(_settings_file(arguments)) if _wants_settings(arguments) else config.Config()
        verbs = {n: partial(v, settings=loaded) if "settings" in v.__annotations__ else v for n, v in VERBS.items()}
        arguments = arguments or ["--help"]
        return tyro.extras.subcommand_cli_from_dict(verbs, prog="refit-rt", description=ABOUT, args=arguments)
    except UserError as error:
        sys.stderr.write(f"refit-rt: {error}\n")
        return 2
    except BrokenPipeError:  # refit-rt listen | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def _wants_settings(arguments: list[str]) -> bool:
    """Not for help, nor for verbs without settings: the config.yaml of this folder may be somebody else's."""
    verb = VERBS.get(arguments[0]) if arguments else None
    return verb is not None and "settings" in verb.__annotations__ and not {"-h", "--help"} & set(arguments)


def _settings_file(arguments: list[str]) -> config.Config:
    """What --config names, else ./config.yaml, else the defaults. Read before the rest: it holds their defaults."""
    for place, argument in enumerate(arguments):
        if argument == "--config" and place + 1 < len(arguments):
            return config.load(Path(arguments[place + 1]))
        if argument.startswith("--config="):
            return config.load(Path(argument.partition("=")[2]))
    return config.load(HERE) if HERE.is_file() else config.Config()


def _with(settings: config.Config, source: str, out: str) -> config.Config:
    """The settings with the short forms put in, checked."""
    replace = msgspec.structs.replace
    if source:
        settings = replace(settings, capture=replace(settings.capture, source=source))
    if out:
        settings = replace(settings, out=replace(settings.out, dir=out))
    return config.check(settings)


def _quiet_libraries() -> None:
    """OpenCV and FFMPEG write to stderr of themselves what is then said in one line. Before cv2 is imported."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


@contextmanager
def _torch_needed() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise UserError(f"this needs {error.name}. Install it: pip install 'refit-rt[train]'") from error


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
