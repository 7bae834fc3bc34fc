"""Files: written whole or not at all; hashes, the cache, output folders, and what ships in the package."""

import functools
import hashlib
import logging
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from refit_rt.errors import UserError

log = logging.getLogger(__name__)

ASSETS = Path(__file__).parent / "assets"
NOWHERE = Path(os.devnull) / "refit_rt"  # a folder that cannot be made
PATIENCE_S = 1.0
ROOM = "Make room, or write elsewhere"


@contextmanager
def write_whole(path: Path, cure: str = ROOM, reuse: bool = False) -> Iterator[Path]:
    """A new path beside `path`, with the same suffix, to write to. It replaces `path` when the block ends well and is
    deleted otherwise, so that a reader finds the old file or the new one, never half of one.

    Missing folders are made. reuse: the new path is always the same, so that what a killed process left is overwritten;
    for files that one process alone writes. Raises UserError with `cure` for an OSError, in the block too.
    """
    with _reported(path, cure):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.stem}-{'part' if reuse else secrets.token_hex(4)}{path.suffix}")
        try:
            part.touch(exist_ok=reuse)
            yield part
            _replace(part, path)
        finally:
            part.unlink(missing_ok=True)


def _replace(part: Path, path: Path) -> None:
    """Moves `part` to `path`. Windows refuses it as long as a virus scanner, which looks at every new file, or a player
    has one of them open: it is tried for PATIENCE_S."""
    end_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            part.replace(path)
            return
        except PermissionError:
            if time.monotonic() > end_s:
                raise
            time.sleep(PATIENCE_S / 20)


@contextmanager
def write_whole_folder(path: Path, ours: Callable[[Path], bool], what: str, reuse: bool = False) -> Iterator[Path]:
    """As `write_whole`, for a folder of a kind, `what`. An older one is replaced when it is empty or `ours(path)`.

    Raises UserError for anything else that is there, and for an OSError.
    """
    if path.exists() and not ours(path) and (path.is_file() or any(path.iterdir())):
        raise UserError(f"{path}: is there and is no {what}. Give an empty folder or a new name")
    with _reported(path, "Give a folder of your own"):
        path.parent.mkdir(parents=True, exist_ok=True)
        made = _emptied(path) if reuse else Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        try:
            yield made
            made.chmod(0o755)  # mkdtemp's folders, and the files of some writers, are the owner's alone
            for file in made.iterdir():
                file.chmod(0o644)
            if path.exists():
                old = made.with_name(f"{made.name}-old")
                path.rename(old)
                made.rename(path)
                shutil.rmtree(old)
            else:
                made.rename(path)
        finally:
            shutil.rmtree(made, ignore_errors=True)


def _emptied(path: Path) -> Path:
    """The folder beside `path` that is made for it each time, without what a killed process left in it."""
    made = path.with_name(f".{path.name}-part")
    for left in (made, made.with_name(f"{made.name}-old")):
        shutil.rmtree(left, ignore_errors=True)
    made.mkdir()
    return made


@contextmanager
def _reported(path: Path, cure: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error}). {cure}") from error


def sha256_of(path: Path) -> str:
    """In hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_dir() -> Path:
    """Where files are kept for the next start: $REFIT_RT_CACHE, else refit_rt in $XDG_CACHE_HOME or ~/.cache. It
    need not exist, and for a user without a home it cannot."""
    if own := os.environ.get("REFIT_RT_CACHE"):
        return Path(own)
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "refit_rt"
    try:
        return Path.home() / ".cache" / "refit_rt"
    except RuntimeError:  # a container's user may have no entry in the list of users
        return NOWHERE


def cache_folder(name: str) -> Path | None:
    """The folder `name` of `cache_dir`, made if need be. Where nothing can be written there, one of the temporary
    folder, and None without that: one line in the log names what is lost."""
    place = _place(cache_dir())
    if place is None or not _can_be_written(place / name):
        return None
    return place / name


@functools.cache
def _place(wanted: Path) -> Path | None:
    """Where the caches are that belong into `wanted`."""
    if _can_be_written(wanted):
        return wanted
    place = _temporary() if _can_be_written(_temporary()) and _is_ours(_temporary()) else None
    where = f"kept in {place}, which may not last" if place else "compiled again at each start"
    log.warning("%s cannot be written: what is compiled is %s. Set REFIT_RT_CACHE to a folder that can", wanted, where)
    return place


def _temporary() -> Path:
    """This user's own folder among the temporary ones."""
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    try:
        return Path(tempfile.gettempdir()) / f"refit_rt-{user}"
    except FileNotFoundError:
        return NOWHERE


def _can_be_written(folder: Path) -> bool:
    """Makes the folder if it is missing, for this user alone."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(0o700, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _is_ours(folder: Path) -> bool:
    """Whether no other user can have put anything there: what is compiled is executed, and all may write beside it."""
    if not hasattr(os, "getuid"):  # the temporary folder of a Windows user is private
        return True
    facts = folder.lstat()
    return stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid() and not facts.st_mode & 0o022


def openvino_cache() -> dict[str, str]:
    """The option for OpenVINO's compile_model that keeps compiled networks on disk; empty where no folder can be made.

    From there, a detector is ready in 0.2 s instead of 1.0.
    """
    folder = cache_folder("openvino")
    return {"CACHE_DIR": str(folder)} if folder else {}


def prepare_folder(folder: Path) -> Path:
    """Makes the folder of --out. Raises UserError when it cannot be made or cannot be written to."""
    cure = "Give another folder with --out"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"out.dir: {folder} is in the way, it is a file. {cure}") from error
    except OSError as error:
        raise UserError(f"out.dir: {folder} cannot be written to ({error.strerror}). {cure}") from error
    return folder
